"""`python -m statecore.testing.sim`: a soak, in any number of seeds. `make soak` runs it."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from .._core import stamp
from .soaking import run_core, run_shells, soak

PARTS = {"core": run_core, "shells": run_shells}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m statecore.testing.sim", description="Simulate calls under faults.")
    parser.add_argument("--seeds", type=_seeds, default=None, metavar="A:B", help="these seeds; one number is one seed")
    parser.add_argument("--first", type=int, default=1, metavar="SEED", help="without --seeds: begin with this one")
    parser.add_argument("--core-calls", type=int, default=1_000_000, metavar="N", help="without --seeds: so many calls")
    parser.add_argument("--shell-calls", type=int, default=50_000, metavar="N", help="the same for the shells")
    parser.add_argument("--part", choices=(*PARTS, "all"), default="all", help="what is simulated")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes; every core by default")
    parser.add_argument("--out", type=Path, default=Path("out/soak.json"), help="where the result is written")
    parser.add_argument("--keep", type=Path, default=Path("tests/sim/regressions"), help="where failing scripts go")
    parser.add_argument("--json", action="store_true", help="print the result as JSON, and no progress")
    return parser


def _seeds(text: str) -> range:
    first, colon, last = text.partition(":")
    return range(int(first), int(last) if colon else int(first) + 1)


class _Progress:
    """A line every few seconds."""

    def __init__(self, quiet: bool) -> None:
        self.quiet, self.last = quiet, time.monotonic()

    def __call__(self, so_far: dict[str, Any]) -> None:
        if not self.quiet and time.monotonic() - self.last > 5:
            self.last = time.monotonic()
            sys.stderr.write(_line(so_far) + "\n")


def _line(part: dict[str, Any]) -> str:
    return (
        f"{part['kind']}: seed {part['last_seed']}, {part.get('calls', 0)} calls, {part['faults_per_call']} faults a "
        f"call, {part['share_met']:.0%} with glare, crash or resume, {part['calls_per_cpu_second']} calls a second, "
        f"{len(part['violations'])} violations"
    )


def main(argv: list[str] | None = None) -> int:
    """Run a soak; 1 if anything was found."""
    args = _parser().parse_args(argv)
    results, begun = [], stamp()
    for part, work in PARTS.items():
        if args.part in (part, "all"):
            run = partial(work, folder=args.keep)
            seeds = args.seeds if args.seeds is not None else count(args.first)
            calls = args.core_calls if part == "core" else args.shell_calls
            enough = None if args.seeds is not None else calls
            progress = _Progress(args.json)
            done = soak(part, seeds, run, enough=enough, jobs=args.jobs, progress=progress)
            results.append({**done, **begun})
            _write(args.out, results)
    if args.json:
        sys.stdout.write(json.dumps(results, indent=1) + "\n")
    else:
        found = [str(each) for part in results for each in part["violations"]]
        sys.stdout.write("\n".join([*map(_line, results), *found]) + "\n")
    return int(any(part["violations"] for part in results))


def _write(path: Path, results: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
