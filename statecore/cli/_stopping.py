"""Work that ends in its order when it is told to: by Ctrl-C, by what `kill` sends, and by a terminal that closes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
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


def say(text: str) -> None:
    """Print a line of work that is run. It ends, as it would by a signal, if nobody reads that any more."""
    try:
        print(text, flush=True)
    except OSError as error:
        stop = _stop.get(None)
        if stop is None:
            raise
        let_go()
        if not isinstance(error, BrokenPipeError):
            complain(error)
        stop(signal.SIGPIPE)


def complain(what: object) -> None:
    """Say in a line on standard error what is wrong; to nobody where that is gone, as a terminal that was closed."""
    with contextlib.suppress(OSError):
        print(f"statecore: {what}", file=sys.stderr, flush=True)


def let_go() -> None:
    """What waits to be printed could not be, and would be complained of once more, at last as the process ends."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


async def _watched(work: Coroutine[Any, Any, int]) -> int:
    loop, task, told = asyncio.get_running_loop(), asyncio.current_task(), list[int]()
    if task is None:
        raise AssertionError("a coroutine runs in a task")

    def stop(number: int) -> None:
        told.append(number)
        task.cancel()
        loop.call_later(_PATIENCE, task.cancel)

    _stop.set(stop)
    for number in signals():
        loop.add_signal_handler(number, stop, number)
    try:
        return await work
    except asyncio.CancelledError:
        raise Stopped(*told[:1]) from None
