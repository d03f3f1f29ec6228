"""Change the core one small thing at a time, and see whether the tests notice: `python tests/mutants/run.py`.

Each mutant is the installed package with one place changed, in a process of its own that is forked from one which has
imported all that is slow to import. The change is made as the module is loaded: no file is written. A mutant is killed
when a test fails, when it cannot even be imported, or when the tests take ten times as long as they should. One that
survives is a hole in the tests, unless it behaves no differently, which then has to be said, and why.

Without options: those written by hand (`byhand.py`). With `--tool`: those that a mutation tool makes of the table, the
switchboard and the endpoint, all of them or a sample.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OUT = ROOT / "out"
CORE = ("flow.py", "switchboard/*.py", "endpoint/*.py")
"""What the tool changes, below the package."""
TESTS = (
    "tests/test_flow.py",
    "tests/test_machine.py",
    "tests/core/test_switchboard.py",
    "tests/core/test_endpoint.py",
    "tests/core",
    "tests/aio/test_aio_calls.py",
    "tests/aio/test_service_governing.py",
    "tests/aio/test_system_model.py",
    "tests/testing/test_check.py",
)
"""The tests that are to notice, quick ones first. One that is not there is left out."""
OPTIONS = (
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",  # what was imported already was not made for tests to look into
    "--deselect",
    "tests/test_flow.py::test_the_hash_is_the_same_in_every_process",  # it would compare with unchanged code
)
SLOWER = 10
"""How many times as long as unchanged code the tests may take before a mutant counts as hanging."""


class Mutant(NamedTuple):
    """One changed place."""

    name: str
    """What was done, in a few words."""
    path: str
    """The module, below the package."""
    source: str
    """The module's whole text, changed."""
    equivalent: str = ""
    """Why it behaves no differently, if it does not."""


class Result(NamedTuple):
    """What became of a mutant."""

    mutant: Mutant
    killed: bool
    how: str


class Overlay(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads one module from changed text."""

    def __init__(self, package: Path, mutant: Mutant) -> None:
        self._name = ".".join(("statecore", *Path(mutant.path).with_suffix("").parts)).removesuffix(".__init__")
        self._file = package / mutant.path
        self._changed = mutant.source

    def find_spec(self, fullname: str, _path: object, _target: object = None) -> importlib.machinery.ModuleSpec | None:
        """The changed module, and no other."""
        if fullname != self._name:
            return None
        inside = [str(self._file.parent)] if self._file.name == "__init__.py" else None
        return importlib.util.spec_from_file_location(
            fullname, self._file, loader=self, submodule_search_locations=inside
        )

    def exec_module(self, module: ModuleType) -> None:
        """Run the changed text; never from a cache."""
        exec(compile(self._changed, self._file, "exec", dont_inherit=True), vars(module))  # noqa: S102 - that is the point


def main() -> int:
    """Run them; exit 1 if one survives that should not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only those (patterns)")
    parser.add_argument("--tool", action="store_true", help="those of the mutation tool")
    parser.add_argument("--sample", type=int, metavar="N", help="so many of those, by chance")
    parser.add_argument("--seed", type=int, default=1, help="of the sample (default: 1)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at once (default: one a core)")
    parser.add_argument("--list", action="store_true", help="only name them")
    args = parser.parse_args()
    package = Path(importlib.util.find_spec("statecore").submodule_search_locations[0])  # type: ignore[union-attr, index]
    sys.path.insert(0, str(HERE))
    if args.tool:
        from bytool import mutants

        every, population = mutants(package, args.sample, args.seed)
    else:
        from byhand import mutants as written

        every = written(package)
        population = len(every)
    chosen = [each for each in every if not args.names or any(fnmatch.fnmatch(each.name, n) for n in args.names)]
    if args.sample is not None:
        print(f"{len(chosen)} of {population} mutants, seed {args.seed}", flush=True)
    if args.list:
        print(*(f"{each.path}: {each.name}" for each in chosen), sep="\n")
        return 0
    return report(chosen, package, args.jobs, "mutants-tool.json" if args.tool else "mutants.json", population)


def report(chosen: Sequence[Mutant], package: Path, jobs: int, file: str, population: int) -> int:
    """Run, print and write down."""
    warm()
    unchanged = Mutant("nothing", "__init__.py", (package / "__init__.py").read_text())
    began = time.monotonic()
    [(_, broken, how)] = run([unchanged], package, 1, 3600)
    took = time.monotonic() - began
    if broken:
        print(f"The tests fail on unchanged code ({how}): mend them first.", file=sys.stderr)
        return 2
    print(f"Unchanged code passes, in {took:.0f} s", flush=True)
    results = []
    for result in run(chosen, package, jobs, SLOWER * took + 60):
        results.append(result)
        mark = "killed" if result.killed else "equivalent" if result.mutant.equivalent else "SURVIVED"
        print(f"{len(results):5}/{len(chosen)}  {mark:10}  {result.mutant.path}: {result.mutant.name}", flush=True)
    alive = sorted((r.mutant for r in results if not r.killed), key=lambda m: (m.path, m.name))
    killed, holes = len(results) - len(alive), [m for m in alive if not m.equivalent]
    survivors = [{"name": f"{m.path}: {m.name}", "why": m.equivalent} for m in alive]
    OUT.mkdir(exist_ok=True)
    written = {"total": len(results), "killed": killed, "of": population, "survivors": survivors}
    (OUT / file).write_text(json.dumps(written, indent=2) + "\n")
    print(f"{killed} of {len(results)} killed, {len(alive) - len(holes)} equivalent, {len(holes)} survived: out/{file}")
    return 1 if holes else 0


def warm() -> None:
    """Import what every mutant's tests import, but nothing of ours."""
    import attrs
    import hypothesis.stateful
    import joserfc.jwt
    import msgspec
    import numpy as np
    import pyee
    import pytest
    import transitions

    del attrs, hypothesis, joserfc, msgspec, np, pyee, pytest, transitions
    assert "statecore" not in sys.modules


def run(mutants: Sequence[Mutant], package: Path, jobs: int, patience: float) -> Iterator[Result]:
    """What becomes of each, in the order in which they are done."""
    todo, running = list(reversed(mutants)), dict[int, tuple[Mutant, float]]()
    try:
        while todo or running:
            while todo and len(running) < jobs:
                mutant = todo.pop()
                sys.stdout.flush()
                pid = os.fork()
                if pid == 0:
                    os._exit(tested(package, mutant))
                running[pid] = mutant, time.monotonic() + patience
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid in running:
                mutant, _ = running.pop(pid)
                code = os.waitstatus_to_exitcode(status)
                yield Result(mutant, code != 0, f"exit {code}")
            for late in [pid for pid, (_, until) in running.items() if until < time.monotonic()]:
                os.kill(late, signal.SIGKILL)
            if not pid:
                time.sleep(0.05)
    finally:
        for pid in running:
            os.kill(pid, signal.SIGKILL)


def tested(package: Path, mutant: Mutant) -> int:
    """In the child: run the tests on the changed code. The exit status."""
    import pytest

    log = os.open(os.environ.get("MUTANT_LOG", os.devnull), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        sys.meta_path.insert(0, Overlay(package, mutant))
        os.chdir(ROOT)
        tests = [path for path in TESTS if (ROOT / path).exists()]
        return int(pytest.main(["-x", "-q", "--import-mode=importlib", "-p", "no:cacheprovider", *OPTIONS, *tests]))
    except BaseException:  # noqa: BLE001 - whatever it is, it is noticed
        traceback.print_exc()
        return 99


if __name__ == "__main__":
    raise SystemExit(main())
