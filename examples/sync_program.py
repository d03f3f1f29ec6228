"""Calls from a program that is not asynchronous: the loop runs in a thread, and the program hands work to it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Self, TypeVar

from statecore import Call, CallClient, CallListener, CallService
from statecore_aiortc import AiortcMedia, Tone

T = TypeVar("T")


class LoopThread:
    """An event loop in a thread of its own. Everything of statecore is made and used in there."""

    def __enter__(self) -> Self:
        ready: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="calls")
        self._thread.start()
        self._loop = ready.result()
        return self

    def _run(self, ready: Future[asyncio.AbstractEventLoop]) -> None:
        async def until_stopped() -> None:
            self._stopped = asyncio.Event()
            ready.set_result(asyncio.get_running_loop())
            await self._stopped.wait()

        asyncio.run(until_stopped())  # also cancels what is left, and closes the loop

    def __call__(self, work: Coroutine[Any, Any, T], timeout: float = 30.0) -> T:
        """Run it in the loop, and wait for its result; what it raises is raised here."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout)
        except BaseException:
            future.cancel()
            raise

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()


async def answer(call: Call) -> None:
    """Bob's side. Handlers run in the loop's thread: hand what concerns the program to a queue."""
    async with call.answer() as session:
        await session.wait_ended()


def main() -> None:
    """A synchronous program; each line waits until its step is done."""
    with LoopThread() as run:
        service = CallService()
        alice = CallClient(service.signaling("alice"), AiortcMedia(audio=Tone(440)))
        bob = CallClient(service.signaling("bob"), AiortcMedia())
        try:
            run(alice.connect())
            run(bob.connect())
            bob.add_call_listener("app", CallListener(on_incoming_call_received=answer))

            call = run(alice.initiate_call("bob", type="audio"))
            print(f"it rings: {call.state}")
            call = run(call.answered())
            print(f"accepted: {call.state}")
            token = run(alice.generate_token(call.session_id))
            session = run(alice.start_session(token, type="audio"))
            print(f"talking: {session.state}")
            run(session.mute_audio())
            run(session.end())
            print(f"over: {run(session.wait_ended()).what}")
        finally:
            run(bob.close())
            run(alice.close())
            run(service.close())


if __name__ == "__main__":
    main()
