"""After every test of the shells: nothing is left of it."""

from __future__ import annotations

import asyncio
import gc
import threading
from asyncio import runners
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
import pytest
from hypothesis import settings

from statecore.flow import RINGING, Flow
from statecore.testing.leaks import timers

# `make test` draws a sample, and prints the seed that it draws by; `make soak` goes on for longer. Tests that need many
# examples, or can afford few, take a multiple or a part of what the profile says.
settings.register_profile("soak", max_examples=2_000, deadline=None)


@pytest.fixture(scope="session")
def without() -> Callable[..., Flow]:
    """Give the ringing flow, with one kind of effect gone from the rows of a trigger in a state."""

    def made(trigger: str, state: str, kind: type, only: Mapping[str, Any]) -> Flow:
        def stays(effect: Any) -> bool:
            return not isinstance(effect, kind) or any(getattr(effect, name) != only[name] for name in only)

        old = [row for row in RINGING.rows if (row.trigger, row.state) == (trigger, state) and row.refuse is None]
        new = [attrs.evolve(row, effects=tuple(filter(stays, row.effects))) for row in old]
        return RINGING.extend("ringing", rows=new, without=old)

    return made


@pytest.fixture
def may_leave() -> None:
    """Ask for it in a test whose subject is something that leaves things behind."""


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test leaves a task or a timer for `asyncio.run` to sweep up, nor a thread."""
    if "aio" not in request.node.path.parts:  # conformance suites and adapters look after themselves, in their own way
        yield
        return
    left: list[str] = []
    sweep = runners._cancel_all_tasks  # type: ignore[attr-defined]

    def look(loop: asyncio.AbstractEventLoop) -> None:
        left.extend(f"task {task!r}" for task in asyncio.all_tasks(loop))
        left.extend(f"timer {timer!r}" for timer in timers(loop))
        sweep(loop)

    monkeypatch.setattr(runners, "_cancel_all_tasks", look)
    before = set(threading.enumerate())
    yield
    gc.collect(0)  # what was dropped without being closed complains now, in the test that dropped it
    left.extend(f"thread {thread.name}" for thread in threading.enumerate() if thread not in before)
    assert not left or "may_leave" in request.fixturenames, "left behind: " + "; ".join(left)
