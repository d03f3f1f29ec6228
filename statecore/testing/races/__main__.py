"""`python -m statecore.testing.races`: walk through every race, and say how many orders there were."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from statecore.testing.explore import Found

from .._core import stamp
from . import RACES


def main(argv: list[str] | None = None) -> int:
    """Walk through all of them, or those whose name contains a text."""
    parser = argparse.ArgumentParser(prog="python -m statecore.testing.races", description="Walk through the races.")
    parser.add_argument("name", nargs="?", default="", help="only those whose name contains this")
    parser.add_argument("--limit", type=int, default=20_000, help="states walked through exhaustively; more is sampled")
    parser.add_argument("--seed", type=int, default=7, help="of the sampling")
    parser.add_argument("--out", type=Path, help="write the counts to this file, as JSON")
    args = parser.parse_args(argv)
    counts: dict[str, Any] = {}
    told = {**stamp(), "races": counts}
    for races in RACES.values():
        for race in races:
            if args.name in race.name:
                counts[race.name] = counted(race.run(args.limit, args.seed))
                sys.stdout.write(f"{race.name}: {counts[race.name]}\n")
                sys.stdout.flush()
    if args.out is not None:
        args.out.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


def counted(found: list[Found]) -> dict[str, Any]:
    """What was walked through, added up."""
    return {
        "interleavings": sum(each.interleavings for each in found),
        "states": sum(each.states for each in found),
        "exhaustive": all(each.exhaustive for each in found),
    }


if __name__ == "__main__":
    raise SystemExit(main())
