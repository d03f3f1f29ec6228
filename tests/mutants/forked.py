"""One mutant, tested in a process of its own: the installed package with one place changed, as it is loaded."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "out"
PLUGINS = ("pytest_timeout", "pytest_cov.plugin", "_hypothesis_pytestplugin")
"""All that the tests need: the others take longer to load than most mutants live."""
OPTIONS = (
    *(option for name in PLUGINS for option in ("-p", name)),
    *("-p", "no:cacheprovider", "--import-mode=importlib", "--assert=plain", "-q", "--timeout=0"),
    *(
        "--deselect",
        "tests/test_flow.py::test_the_hash_is_the_same_in_every_process",
    ),  # other processes: unchanged code
)
SLOWER = 15
"""How many times as long as on unchanged code a test may take before it counts as hanging,"""
SPARE = 5.0
"""and how many seconds beside that: of the processor, or four times as many by the clock."""
MEMORY = 4 << 30


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


class Chosen:
    """Runs the tests that it was given in their order, and tells which one failed."""

    def __init__(self, tests: Mapping[str, float], known: Mapping[str, float], tell: Callable[[str], object]) -> None:
        self._tests = tests
        self._known = known
        self._tell = tell

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Those that were chosen, and those that unchanged code does not have."""
        places = {name: place for place, name in enumerate(self._tests)}
        new = [item for item in items if item.nodeid not in self._known]
        items[:] = new + sorted((i for i in items if i.nodeid in places), key=lambda item: places[item.nodeid])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """A test that hangs ends this process: by its processor's time, or by the clock where it only waits."""
        bound = SPARE + SLOWER * self._known.get(item.nodeid, 1.0)
        signal.setitimer(signal.ITIMER_PROF, bound)
        signal.setitimer(signal.ITIMER_REAL, 4 * bound)
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """What noticed it."""
        if report.failed:
            self._tell(report.nodeid)


def warm(modules: Sequence[str]) -> None:
    """Import what every mutant's tests import, but nothing of ours."""
    for name in modules:
        importlib.import_module(name)
    assert "statecore" not in sys.modules


def in_child(what: Callable[[Callable[[str], object]], int]) -> tuple[int, str]:
    """Do it in a process of its own: its exit status, below 0 for the signal that ended it, and what it told."""
    reads, writes = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            os.close(reads)
            log = os.open(os.environ.get("MUTANT_LOG", os.devnull), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(log, 1)
            os.dup2(log, 2)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # its parent ends it
            status = what(lambda text: os.write(writes, f"{text}\n".encode()))
        except BaseException:  # noqa: BLE001 - whatever it is, it is noticed
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writes)
    try:
        with os.fdopen(reads) as told:
            text = told.read()
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text.strip()
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def run_tests(paths: Sequence[str], *plugins: Any) -> int:
    """Run pytest here, once, the same way each time: nothing is drawn by chance, and no clock hurries it."""
    from hypothesis import settings

    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.chdir(ROOT)
    settings.register_profile("mutants", deadline=None, derandomize=True, database=None)
    settings.load_profile("mutants")
    return int(pytest.main([*OPTIONS, *paths], plugins=plugins))


def noticed(package: Path, mutant: Mutant, tests: Mapping[str, float], known: Mapping[str, float]) -> str:
    """What noticed the mutant: a test, or the end of its process. Empty if nothing did.

    `tests` are to run, in this order; of all that are `known`, with the seconds that each takes.
    """
    paths = list(dict.fromkeys(name.partition("::")[0] for name in tests))

    def tested(tell: Callable[[str], object]) -> int:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        sys.meta_path.insert(0, Overlay(package, mutant))
        return run_tests(["-x", *paths], Chosen(tests, known, tell))

    if not tests:
        return ""
    status, told = in_child(tested)
    if status in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
        return ""
    return told or (f"signal {-status}" if status < 0 else "collection")


def elapsed(began: float) -> float:
    """Seconds since."""
    return round(time.monotonic() - began, 3)
