"""Sinks: what arrives, handed frame by frame to a function of the application's."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from ..errors import InvalidArgument, StatecoreError
from ..listeners import Registration
from ._tasks import Tasks

if TYPE_CHECKING:
    from ._media import Frames

T = TypeVar("T")
Fault = Callable[[BaseException], object]


def add_sink(
    frames: Callable[[], Frames[T]], sink: Callable[[T], object], tasks: Tasks, fault: Fault, name: str
) -> Registration:
    """Hand each of these frames to a sink, from now on. Raises InvalidArgument for what cannot be called, and whatever
    `frames` raises."""
    if not callable(sink):
        raise InvalidArgument(f"{sink!r} cannot be called", name="sink")

    def forget(*_: object) -> None:
        handle.active = False
        # A sink that removes itself may finish what it is doing; one that has not begun has yet to close its frames.
        if asyncio.current_task() is not task and inspect.getcoroutinestate(work) != inspect.CORO_CREATED:
            task.cancel()

    handle = Registration(name, forget)
    work = _deliver(frames(), sink, fault, handle)
    task = tasks.start(work, name)
    task.add_done_callback(forget)
    return handle


async def _deliver(frames: Frames[T], sink: Callable[[T], object], fault: Fault, handle: Registration) -> None:
    works = True
    try:
        while not handle.dropped:
            error = await _hand_over(await anext(frames), sink)
            # One that fails for every frame would fill the log at their pace.
            if error is not None and works:
                fault(error)
            works = error is None
    except (StopAsyncIteration, StatecoreError):
        return  # there is no more; or receiving broke, and was told
    finally:
        await frames.aclose()


async def _hand_over(frame: T, sink: Callable[[T], object]) -> BaseException | None:
    """What the sink raised."""
    me = asyncio.current_task()
    try:
        done = sink(frame)
        if inspect.isawaitable(done):
            await done
    except asyncio.CancelledError as error:
        if me is None or me.cancelling():
            raise
        return error  # of something that the sink awaited, not of the sink
    except Exception as error:  # noqa: BLE001 - whatever a sink raises is told and harms nobody
        return error
    return None


__all__ = ["add_sink"]
