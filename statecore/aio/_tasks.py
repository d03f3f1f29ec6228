"""Tasks that are kept: every one that is started is known, and none is left."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Coroutine
from typing import Any, TypeVar

from ..listeners import Registration

T = TypeVar("T")

_log = logging.getLogger("statecore.aio")
_STUBBORN = 1.0
"""Seconds that a cancelled task has to end. One that takes longer is left to itself: nothing can make it end."""


class Tasks:
    """The tasks of one owner."""

    def __init__(self, on_error: Callable[[BaseException, str], object]) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._on_error = on_error

    def start(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Start a task and keep it until it is done; what it raises goes to the hook."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_error(error, task.get_name())

    async def finish(self, seconds: float, *, but: Collection[asyncio.Task[Any]] = ()) -> None:
        """Let them end by themselves for so long, then cancel them. Never waits for who is waiting for this."""
        loop, me = asyncio.get_running_loop(), asyncio.current_task()
        deadline = loop.time() + seconds
        while waiting := [task for task in self._tasks if task is not me and task not in but]:
            left = deadline - loop.time()
            if left > 0:
                await asyncio.wait(waiting, timeout=left)
            elif not await cancel(*waiting, seconds=max(seconds, _STUBBORN)):
                return


async def cancel(*tasks: asyncio.Task[Any], seconds: float = _STUBBORN) -> bool:
    """Cancel tasks and wait until they are done, for so long at the most; tells whether they are."""
    for task in tasks:
        task.add_done_callback(_look)
        task.cancel()
    late = (await asyncio.wait(tasks, timeout=seconds))[1] if tasks else ()
    for task in late:
        _log.error(
            "%s was cancelled and does not end", task.get_name(), extra={"session": "", "user": "", "device": ""}
        )
    return not late


def _look(task: asyncio.Task[Any]) -> None:
    """What a cancelled task raised instead is of no interest; Python complains if nobody looks at it."""
    if not task.cancelled():
        task.exception()


async def bounded(work: Coroutine[Any, Any, T], seconds: float, name: str) -> T:
    """The result of somebody else's work. Raises what it raises, TimeoutError if it takes too long, and RuntimeError
    if it cancels itself: only who calls this can be cancelled."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    try:
        await asyncio.wait((task,), timeout=seconds)
    finally:
        late = not task.done()
        if late:
            await cancel(task)
    if late:
        raise TimeoutError
    if task.cancelled():
        raise RuntimeError(f"{name} was cancelled from within")
    return task.result()


class Mailboxes:
    """Runs what async handlers return: in order for each registration, and none waits for another, not even for the one
    that it replaced. Of a registration that was dropped meanwhile nothing more is begun."""

    def __init__(self, tasks: Tasks, on_error: Callable[[BaseException, str, str], object]) -> None:
        self._tasks = tasks
        self._on_error = on_error
        self._boxes: dict[Registration, deque[tuple[Coroutine[Any, Any, object], str]]] = {}

    def post(self, work: Coroutine[Any, Any, object], owner: Registration, event: str) -> None:
        """Run it after what this registration still has to do."""
        box = self._boxes.get(owner)
        if box is not None:
            box.append((work, event))
            return
        self._boxes[owner] = deque([(work, event)])
        self._tasks.start(self._run(owner), f"statecore listener {owner.id}")

    async def _run(self, owner: Registration) -> None:
        box = self._boxes[owner]
        try:
            while box and not owner.dropped:
                work, event = box.popleft()
                await self._handle(work, event, owner.id)
        finally:
            for work, _ in box:
                work.close()
            del self._boxes[owner]

    async def _handle(self, work: Coroutine[Any, Any, object], event: str, listener: str) -> None:
        me = asyncio.current_task()
        try:
            await work
        except asyncio.CancelledError as error:
            if me is None or me.cancelling():
                raise
            self._on_error(error, event, listener)  # of something that the handler awaited, not of the handler
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is reported and harms nobody
            self._on_error(error, event, listener)
