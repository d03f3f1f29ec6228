"""Work that ends in its order when it is told to: by Ctrl-C, by what `kill` sends, and by a terminal that closes."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

_PATIENCE = 10.0
"""For how many seconds what is being ended may go on, before it is told once more, as by a second Ctrl-C."""

_stop: ContextVar[Callable[[int], None]] = ContextVar("stop")
"""Tells the work that is run to end, as by a signal."""


class Stopped(KeyboardInterrupt):
    """A command was told to end, by the signal that is its argument, and has."""


def run(work: Coroutine[Any, Any, int]) -> int:
    """What the work comes to. A signal cancels it, and it ends in its order what it has begun: whoever is in a call
    hangs up. A second signal does not wait for that. Raises Stopped."""
    return asyncio.run(_watched(work))


def signals() -> list[signal.Signals]:
    """Those that tell a command to end. What a shell starts in the background ignores SIGINT; that does not count here:
    whoever sends it means it. What `nohup` starts ignores SIGHUP, and is to outlive its terminal."""
    outlives = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([] if outlives else [signal.SIGHUP])]


def stop(number: int) -> bool:
    """Tell the work that is run here to end, as that signal does; tells whether any is."""
    tell = _stop.get(None)
    if tell is not None:
        tell(number)
    return tell is not None


async def _watched(work: Coroutine[Any, Any, int]) -> int:
    loop, task, told = asyncio.get_running_loop(), asyncio.current_task(), list[int]()
    if task is None:
        raise AssertionError("a coroutine runs in a task")

    def tell(number: int) -> None:
        told.append(number)
        task.cancel()
        loop.call_later(_PATIENCE, task.cancel)

    _stop.set(tell)
    for number in signals():
        loop.add_signal_handler(number, tell, number)
    try:
        return await work
    except asyncio.CancelledError:
        raise Stopped(*told[:1]) from None
