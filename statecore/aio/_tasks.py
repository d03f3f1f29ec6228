"""Tasks that are kept: every one that is started is known, and none is left."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any


class Tasks:
    """The tasks of one owner."""

    def __init__(self, on_error: Callable[[BaseException, str], object]) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._on_error = on_error

    def start(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start a task and keep it until it is done; what it raises goes to the hook."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_error(error, task.get_name())

    async def finish(self, seconds: float, *, but: frozenset[asyncio.Task[Any]] = frozenset()) -> None:
        """Let them end by themselves for so long, then cancel them. Never waits for who is waiting for this."""
        mine = asyncio.current_task()
        waiting = {task for task in self._tasks if task is not mine and task not in but}
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=seconds)
            await cancel(*late)

    def __len__(self) -> int:
        return len(self._tasks)


async def cancel(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they are done."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


class Mailboxes:
    """Runs what async handlers return: in order for each listener, and no listener waits for another."""

    def __init__(self, tasks: Tasks, on_error: Callable[[BaseException, str, str], object]) -> None:
        self._tasks = tasks
        self._on_error = on_error
        self._boxes: dict[str, deque[tuple[Coroutine[Any, Any, object], str]]] = {}

    def post(self, work: Coroutine[Any, Any, object], listener: str, event: str) -> None:
        """Run it after what this listener still has to do."""
        box = self._boxes.get(listener)
        if box is not None:
            box.append((work, event))
            return
        self._boxes[listener] = deque([(work, event)])
        self._tasks.start(self._run(listener), f"statecore listener {listener}")

    async def _run(self, listener: str) -> None:
        box = self._boxes[listener]
        try:
            while box:
                work, event = box.popleft()
                try:
                    await work
                except Exception as error:  # noqa: BLE001 - whatever a handler raises is reported and harms nobody
                    self._on_error(error, event, listener)
        finally:
            for work, _ in box:
                work.close()
            del self._boxes[listener]
