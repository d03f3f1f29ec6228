"""What was left behind: tasks, timers, registrations, threads and file descriptors, by name."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from ..listeners import ListenerRegistry

_FDS = Path("/proc/self/fd")


class Owner(Protocol):
    """Something that listeners are registered with: a client, a session."""

    @property
    def listeners(self) -> ListenerRegistry:
        """Its registry."""


@contextmanager
def assert_fully_reaped(*owners: Owner) -> Iterator[None]:
    """Within: whatever is started has to be gone at the end, or an AssertionError names it.

    In a coroutine it looks at the tasks and timers of the running loop, anywhere at threads and open files. What was
    there at the beginning may stay. `owners` (clients, sessions) must have no listener left at the end; a list may be
    filled meanwhile. A body that raises is not looked at any further."""
    before = snapshot()
    yield
    left = leaks(before, *owners)
    assert not left, "left behind: " + "; ".join(left)


def snapshot() -> set[object]:
    """What there is now: the tasks and timers of the running loop, threads, open files."""
    return set(_things())


def leaks(before: set[object], *owners: Owner) -> list[str]:
    """What is there now and was not before, in words."""
    gc.collect()  # a loop or a file that nobody refers to any more is not a leak, though it may be a ResourceWarning
    left = [text for thing, text in _things().items() if thing not in before]
    return left + [f"{len(owner.listeners)} listeners of {owner!r}" for owner in owners if len(owner.listeners)]


def _things() -> dict[object, str]:
    things: dict[object, str] = {thread: f"thread {thread.name}" for thread in threading.enumerate()}
    things.update((file, f"file {file[1]}") for file in open_files())
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return things
    me = asyncio.current_task()
    things.update((task, f"task {task!r}") for task in asyncio.all_tasks() if task is not me)
    things.update((timer, f"timer {timer!r}") for timer in timers(loop))
    return things


def timers(loop: asyncio.AbstractEventLoop) -> list[asyncio.TimerHandle]:
    """The timers of a loop that are still to fire; none for a loop that does not tell (uvloop)."""
    scheduled: list[Any] = getattr(loop, "_scheduled", [])
    return [timer for timer in scheduled if not timer.cancelled()]


def open_files() -> set[tuple[str, str]]:
    """The file descriptors of this process with what they lead to; none where the system does not tell."""
    found = set()
    for file in _FDS.iterdir() if _FDS.is_dir() else ():
        try:
            target = os.readlink(file)
        except OSError:
            continue  # the one that listed them
        found.add((file.name, target))
    return found


__all__ = ["Owner", "assert_fully_reaped", "leaks", "open_files", "snapshot", "timers"]
