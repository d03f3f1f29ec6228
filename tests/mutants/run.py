"""Change the core one small thing at a time, and see whether the tests notice: `python tests/mutants/run.py`.

Each mutant is the installed package with one place changed, in a process of its own that is forked from one which has
imported all that is slow to import (`forked.py`). The change is made as the module is loaded: no file is written. It
meets the tests that run the changed lines, the quickest first (`record.py`), and is killed when one of them fails, when
it cannot even be imported, or when a test takes much longer than it should. One that survives is a hole in the tests,
unless it behaves no differently, which then has to be said, and why.

Without options: those written by hand (`byhand.py`). With `--tool`: those that a mutation tool makes of the table, the
switchboard and the endpoint (`bytool.py`). Most of these need not even be loaded: they are tried where the tests stand
ready (`standing.py`). They come in an order drawn by a seed, so that whatever part of them has been run is a
fair sample of all. It keeps what it has done: interrupt it, and go on with `--resume`.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib.util
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from forked import OUT, Mutant, noticed, warm  # noqa: E402 - they stand beside this file, which is run as a command
from record import LONG, Record, recorded, split  # noqa: E402


def main() -> int:
    """Run them; exit 1 if one survives that should not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only those (patterns)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at once (default: one a core)")
    parser.add_argument("--list", action="store_true", help="only name them")
    parser.add_argument("--record", action="store_true", help="record anew which test sees which line")
    tool = parser.add_argument_group("those of the mutation tool")
    tool.add_argument("--tool", action="store_true", help="run them")
    tool.add_argument("--sample", type=int, metavar="N", help="only the first N of their order")
    tool.add_argument("--seed", type=int, default=1, help="of their order (default: 1)")
    tool.add_argument("--shard", default="1/1", metavar="K/N", help="only the K-th of N parts, for several machines")
    tool.add_argument("--resume", action="store_true", help="go on where an earlier run of the same core ended")
    tool.add_argument("--again", action="store_true", help="with --resume: try those once more that were not noticed")
    tool.add_argument(
        "--quick",
        action="store_true",
        help="leave undecided what the tests that stand ready, or quick ones, do not notice",
    )
    tool.add_argument("--full", action="store_true", help="leave none undecided: run even the longest tests")
    args = parser.parse_args()
    package = Path(importlib.util.find_spec("statecore").submodule_search_locations[0])  # type: ignore[union-attr, index]
    if args.tool:
        from bytool import run

        return run(package, args)
    from byhand import mutants

    every = mutants(package)
    chosen = [each for each in every if not args.names or any(fnmatch.fnmatch(each.name, n) for n in args.names)]
    if args.list:
        print(*(f"{each.path}: {each.name}" for each in chosen), sep="\n")
        return 0
    record = recorded(package, anew=args.record)
    warm(record.modules)
    return report(chosen, package, record)


def report(chosen: Sequence[Mutant], package: Path, record: Record) -> int:
    """Run those that were written by hand, print and write down."""
    began = time.monotonic()
    alive = []
    flow = (package / "flow.py").read_text(encoding="utf-8")
    tests, _ = split(record.watchers("flow.py", flow, f"\n{flow}"), LONG)
    if by := noticed(package, Mutant("nothing", "flow.py", flow), tests, record.times):
        raise SystemExit(f"{by} fails on unchanged code, in the way that mutants are tried: mend that first.")
    print(f"Unchanged code passes, in {time.monotonic() - began:.0f} s", flush=True)
    for number, mutant in enumerate(chosen, 1):
        tests = record.watchers(mutant.path, (package / mutant.path).read_text(encoding="utf-8"), mutant.source)
        if mutant.equivalent:  # the long ones would only take their time
            tests, _ = split(tests, LONG)
        by = noticed(package, mutant, tests, record.times)
        alive += [] if by else [mutant]
        mark = "killed" if by else "equivalent" if mutant.equivalent else "SURVIVED"
        print(f"{number:5}/{len(chosen)}  {mark:10}  {mutant.path}: {mutant.name}", flush=True)
    killed, holes = len(chosen) - len(alive), [mutant for mutant in alive if not mutant.equivalent]
    survivors = [{"name": f"{m.path}: {m.name}", "why": m.equivalent} for m in alive]
    OUT.mkdir(exist_ok=True)
    written = {"total": len(chosen), "killed": killed, "survivors": survivors, **record.stamp}
    (OUT / "mutants.json").write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    print(
        f"{killed} of {len(chosen)} killed, {len(alive) - len(holes)} equivalent, {len(holes)} survived, "
        f"in {time.monotonic() - began:.0f} s: out/mutants.json"
    )
    return 1 if holes else 0


if __name__ == "__main__":
    raise SystemExit(main())
