"""The quickest way to try a mutant: in a process that has imported and collected everything already.

Where only the inside of functions differs, and nothing of it runs on import, the functions that there are get the
changed code, in a child of that process, and the tests of the core run there. That takes some hundredths of a second.
What else differs, and what these tests do not notice, has to be loaded from its changed text (`forked.py`).
"""

from __future__ import annotations

import functools
import gc
import json
import os
import resource
import signal
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import CodeType, FunctionType
from typing import IO, Any

import pytest
from forked import MEMORY, Chosen, Mutant, in_child, run_tests

FILES = tuple(
    f"tests/{name}.py"
    for name in (
        *("test_flow", "test_machine", "core/test_switchboard", "core/test_endpoint", "core/test_invite"),
        *("core/test_guests", "core/test_data", "core/test_plans", "core/test_world", "core/test_shared"),
        *("core/test_decisions", "core/test_refusals", "core/test_remembered", "core/test_whole_calls"),
        *("core/test_own_flows",),
        *("core/test_endpoint_time", "core/test_endpoint_facts", "core/test_endpoint_words"),
        *("core/test_endpoint_commands", "core/test_endpoint_told", "core/test_data_rules"),
    )
)
"""The tests that stand ready."""
FUNCTION = 0x1 | 0x2
"""The flags of a function's code, which that of a class or a module does not have."""


class Standing:
    """The process that stands ready. One for each process that asks."""

    def __init__(self, package: Path, known: Mapping[str, float]) -> None:
        self._package = package
        asks, self._asked = os.pipe()
        self._told, tells = os.pipe()
        if os.fork() == 0:
            os.close(self._asked)
            os.close(self._told)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with who asks
            log = os.open(os.environ.get("MUTANT_LOG", os.devnull), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(log, 1)
            os.dup2(log, 2)
            try:
                run_tests(FILES, Ready(os.fdopen(asks), os.fdopen(tells, "w"), known))
            finally:
                os._exit(0)
        os.close(asks)
        os.close(tells)
        self._to, self._from = os.fdopen(self._asked, "w"), os.fdopen(self._told)

    def noticed(self, mutant: Mutant, before: str, tests: Mapping[str, float]) -> str | None:
        """What noticed the mutant; empty if none of these tests did; None if it cannot be tried in this way."""
        file = self._package / mutant.path
        if functions(before, mutant.source, str(file)) is None:
            return None
        told = {"file": str(file), "before": before, "after": mutant.source, "tests": dict(tests)}
        print(json.dumps(told), file=self._to, flush=True)
        by: str | None = json.loads(self._from.readline())
        return by


class Ready:
    """Collects the tests, and then waits for mutants to run them on."""

    def __init__(self, asked: IO[str], tell: IO[str], known: Mapping[str, float]) -> None:
        self._asked = asked
        self._tell = tell
        self._known = known

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Try each mutant in a child."""
        items = {item.nodeid: item for item in session.items}
        gc.unfreeze()  # what is frozen (`tests/conftest.py`) is not among the objects that it tells
        alive, caches = _functions(), list(_caches())
        gc.collect()
        gc.freeze()  # what a child does not touch is not copied
        for line in self._asked:
            by = self._tried(session, items, alive, caches, **json.loads(line))
            print(json.dumps(by), file=self._tell, flush=True)
        return True

    def _tried(
        self,
        session: pytest.Session,
        items: Mapping[str, pytest.Item],
        alive: Mapping[tuple[str, str, int], list[FunctionType]],
        caches: Sequence[Any],
        *,
        file: str,
        before: str,
        after: str,
        tests: Mapping[str, float],
    ) -> str | None:
        pairs = functions(before, after, file) or []
        found = [(alive.get((file, old.co_qualname, old.co_firstlineno), []), new) for old, new in pairs]
        if not all(them for them, _ in found):
            return None
        new = [item for name, item in items.items() if name not in self._known]
        chosen = [*new, *(items[name] for name in tests if name in items)]

        def tested(tell: Any) -> int:
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            for them, new in found:
                for each in them:
                    each.__code__ = new
            for cache in caches:
                cache.cache_clear()
            failed: list[str] = []
            watch = Chosen(tests, self._known, failed.append)
            session.config.pluginmanager.register(watch)
            for item, following in pairwise([*chosen, None]):
                assert item is not None
                session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if failed:
                    tell(failed[0])
                    return 1
            return 0

        status, told = in_child(tested)
        return told or ("" if status == 0 else None if status > 0 else f"signal {-status}")


def functions(before: str, after: str, file: str) -> list[tuple[CodeType, CodeType]] | None:
    """The code of each function that differs, old and new; None if anything else does."""
    try:
        new = compile(after, file, "exec", dont_inherit=True)
    except SyntaxError:
        return None
    return _differing(compile(before, file, "exec", dont_inherit=True), new)


def _differing(old: CodeType, new: CodeType) -> list[tuple[CodeType, CodeType]] | None:
    if old == new:
        return []
    if old.co_flags & FUNCTION == FUNCTION:
        return [(old, new)] if (old.co_freevars, old.co_name) == (new.co_freevars, new.co_name) else None
    if _own(old) != _own(new):
        return None
    found = []
    for one, other in zip(_inner(old), _inner(new), strict=True):
        inside = _differing(one, other)
        if inside is None:
            return None
        found += inside
    return found


def _own(code: CodeType) -> tuple[Any, ...]:
    """What a module or a class does itself when it is made."""
    constants = [None if isinstance(each, CodeType) else (type(each), each) for each in code.co_consts]
    return code.co_code, code.co_names, constants


def _inner(code: CodeType) -> list[CodeType]:
    return [each for each in code.co_consts if isinstance(each, CodeType)]


def _functions() -> dict[tuple[str, str, int], list[FunctionType]]:
    """Every function that there is, by where it was written."""
    alive: dict[tuple[str, str, int], list[FunctionType]] = {}
    for each in gc.get_objects():
        if type(each) is FunctionType:
            code = each.__code__
            alive.setdefault((code.co_filename, code.co_qualname, code.co_firstlineno), []).append(each)
    return alive


def _caches() -> Iterator[Any]:
    for each in gc.get_objects():
        if isinstance(each, functools._lru_cache_wrapper) and each.__module__.startswith("statecore."):
            yield each
