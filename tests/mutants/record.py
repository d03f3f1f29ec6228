"""Which test sees which line of the core, and how long it takes: recorded once, on unchanged code."""

from __future__ import annotations

import ast
import functools
import gc
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import attrs
import pytest
from forked import OUT, ROOT, in_child, run_tests

CORE = ("flow.py", "switchboard/*.py", "endpoint/*.py")
"""What is changed, below the package."""
READY = 8.0
"""Seconds of tests, as recorded, of those that stand ready (`standing.py`)."""
QUICK = 4.0
"""Seconds of tests, as recorded, in the quick part, which most mutants do not outlive."""
LONG = 40.0
"""And in the part after that. What outlives it too is undecided, until it is run in full."""
FILE = OUT / "mutants-record.json"
TESTS = (
    "tests/test_flow.py",
    "tests/test_machine.py",
    "tests/test_diagram.py",
    "tests/test_trace.py",
    "tests/core",
    "tests/aio",
    "tests/examples/test_contact_centre.py",
    "tests/examples/test_intercom.py",
    "tests/testing/test_call_pair.py",
    "tests/testing/test_check.py",
)
"""The tests that are to notice. One that is not there is left out."""


@attrs.frozen
class Record:
    """What is known of the tests on unchanged code."""

    stamp: dict[str, str]
    """Of which core it is, and since when."""
    times: dict[str, float]
    """Each test, and its seconds of the processor."""
    seen: dict[str, dict[int, list[str]]]
    """By module and line, the tests that run it."""
    loaded: dict[str, set[int]]
    """By module, the lines that run when it is imported: of these every test sees something."""
    modules: list[str]
    """What else is imported for them."""

    def watchers(self, path: str, before: str, after: str) -> dict[str, float]:
        """The tests that may notice this change, with their seconds: the quickest first, and before those that only
        load the change the ones in the file that is named after its module."""
        lines, seen = _touched(before, after), self.seen.get(path, {})
        names = {name for line in lines for name in seen.get(line, ())}
        if self.runs_on_import(path, before, after):  # what no other line of the module is run by comes last
            near = {name for by in seen.values() for name in by} - names
            far = self.times.keys() - near - names
        else:
            near = far = set()
        own = {name for name in near | far if name.startswith(f"tests/test_{Path(path).stem}.py::")}
        parts = (names, own, near - own, far - own)
        return {name: self.times[name] for part in parts for name in sorted(part, key=self._rank)}

    def runs_on_import(self, path: str, before: str, after: str) -> bool:
        """Whether some of the change runs as soon as the module is imported."""
        return bool(_touched(before, after) & self.loaded.get(path, set()))

    def _rank(self, name: str) -> tuple[float, str]:
        return self.times[name], name


def _touched(before: str, after: str) -> set[int]:
    """The lines of the statements that differ: a tracer tells a statement of several lines by some of them only."""
    old, new = before.splitlines(), after.splitlines()
    head = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))
    tail = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old[::-1], new[::-1], strict=False)))
    first, last = head + 1, max(len(old) - tail, head + 1)
    lines = set(range(first, last + 1))
    for node in ast.walk(ast.parse(before)):
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            end = body[0].lineno - 1 if body else node.end_lineno or node.lineno
            if node.lineno <= last and first <= end:
                lines |= set(range(node.lineno, end + 1))
    return lines


def recorded(package: Path, *, anew: bool = False) -> Record:
    """The record of this core: the one that was kept, or a new one, which takes some minutes."""
    stamp = _stamp()
    kept = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() and not anew else None
    if kept is None or kept["stamp"]["core"] != stamp["core"]:
        print("Recording which test sees which line, on unchanged code", flush=True)
        FILE.parent.mkdir(exist_ok=True)
        status, _ = in_child(lambda _: _record(package, stamp))
        if status:
            raise SystemExit(f"The tests fail on unchanged code ({status}): mend them first. MUTANT_LOG=FILE shows it.")
        kept = json.loads(FILE.read_text(encoding="utf-8"))
    names = list(kept["times"])
    seen = {
        path: {int(n): [names[place] for place in places] for n, places in lines.items()}
        for path, lines in kept["seen"].items()
    }
    loaded = {path: set(lines) for path, lines in kept["loaded"].items()}
    return Record(kept["stamp"], kept["times"], seen, loaded, kept["modules"])


def _stamp() -> dict[str, str]:
    """Asked of another process: none of ours may be imported before it is changed."""
    command = "import json; from statecore.testing._core import stamp; print(json.dumps(stamp()))"
    told = subprocess.run([sys.executable, "-P", "-c", command], check=True, capture_output=True, text=True)
    stamp: dict[str, str] = json.loads(told.stdout)
    return stamp


def _record(package: Path, stamp: dict[str, str]) -> int:
    from coverage import Coverage

    changed = [f"{package}/{pattern}" for pattern in CORE]  # to trace the rest, too, would take twice as long
    coverage = Coverage(data_file=None, include=changed, config_file=False, messages=False)
    watch = _Watch(coverage.switch_context)
    coverage.start()
    status = run_tests([path for path in TESTS if (ROOT / path).exists()], watch)
    coverage.stop()
    if status:
        return status
    data, places = coverage.get_data(), {name: place for place, name in enumerate(watch.times)}
    seen: dict[str, dict[int, list[int]]] = {}
    loaded: dict[str, list[int]] = {}
    for file in data.measured_files():
        path = str(Path(file).relative_to(package))
        lines = data.contexts_by_lineno(file)
        seen[path] = {n: [places[name] for name in names if name in places] for n, names in lines.items()}
        loaded[path] = [n for n, names in lines.items() if "" in names]
    kept = {"stamp": stamp, "times": watch.times, "seen": seen, "loaded": loaded, "modules": _others()}
    FILE.write_text(json.dumps(kept), encoding="utf-8")
    return 0


class _Watch:
    """Tells the tracer whose lines they are, and takes the time."""

    def __init__(self, switch: Callable[[str], Any]) -> None:
        self.times: dict[str, float] = {}
        self._switch = switch
        self._caches: list[Any] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        """Find what remembers something, also among what is put aside (`tests/conftest.py`)."""
        gc.unfreeze()
        self._caches = [
            each
            for each in gc.get_objects()
            if isinstance(each, functools._lru_cache_wrapper) and each.__module__.startswith("statecore.")
        ]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """What was remembered for the test before would hide what this one runs."""
        for each in self._caches:
            each.cache_clear()
        self._switch(item.nodeid)
        began = time.process_time()
        result = yield
        self.times[item.nodeid] = round(time.process_time() - began, 4)
        self._switch("")
        return result


def _others() -> list[str]:
    """The modules that are imported by now, but for ours and the tests, in the order of their import: another might
    find one half made, and take something else for it."""
    installed = [Path(importlib.util.__file__).parents[1], Path(pytest.__file__).parents[1]]
    found = []
    for name, module in list(sys.modules.items()):
        file = getattr(getattr(module, "__spec__", None), "origin", None) or ""
        ours = name.startswith(("statecore", "__"))
        if not ours and getattr(module, "__name__", "") == name and any(p in Path(file).parents for p in installed):
            found.append(name)
    return found


def split(tests: dict[str, float], seconds: float) -> tuple[dict[str, float], dict[str, float]]:
    """The quick part, of so many seconds in all, and the rest."""
    quick: dict[str, float] = {}
    for name, takes in tests.items():
        if quick and sum(quick.values()) + takes > seconds:
            break
        quick[name] = takes
    return quick, {name: takes for name, takes in tests.items() if name not in quick}
