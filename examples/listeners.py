"""Listeners stand under an id: registering the id again replaces, removing is exact, and no listener harms another."""

from __future__ import annotations

import asyncio
import logging

from statecore import Call, CallClient, CallListener, CallService
from statecore.errors import CallRejected


def says(text: str) -> CallListener:
    """A listener that prints that somebody calls."""
    return CallListener(on_incoming_call_received=lambda call: print(f"  {text}: {call.initiator} calls"))


class Broken(CallListener):
    """The other way to make a listener: a subclass with methods. This one has a fault."""

    def on_incoming_call_received(self, call: Call) -> None:
        """Fails at each call."""
        raise RuntimeError("the fault of one listener")


class Slow:
    """Any object with `on_<event>` methods will do. What is async runs beside the call, which does not wait for it."""

    def __init__(self) -> None:
        self.done = asyncio.Event()

    async def on_incoming_call_received(self, call: Call) -> None:
        """Takes its time."""
        print("  slow: begins")
        await call.reject()
        print("  slow: has rejected the call")
        self.done.set()


async def ring(title: str, alice: CallClient) -> None:
    """Call Bob, and give up."""
    print(title)
    call = await alice.initiate_call("bob")
    await call.cancel()


async def main() -> None:
    """Nobody answers in this example; what counts is who hears of it, and in which order."""
    logging.getLogger("statecore").addHandler(logging.NullHandler())  # else the log shows the traceback of Broken
    async with (
        CallService() as service,
        CallClient(service.signaling("alice")) as alice,
        CallClient(service.signaling("bob")) as bob,
    ):
        bob.add_call_listener("window", says("window"))
        sound = bob.add_call_listener("sound", says("sound"))
        await ring("two listeners, in the order of their registration", alice)

        bob.add_call_listener("window", says("new window"))
        await ring("the same id again: replaced, in its old place", alice)

        sound.remove()
        bob.remove_call_listener("nobody")  # nothing stands there: False, and no error
        await ring("removed by its handle", alice)

        bob.add_call_listener("window", Broken())
        bob.add_call_listener("sound", says("sound"))
        bob.on("error", lambda error: print(f"  told as an error: {error}"))
        await ring("one raises: the others hear all the same", alice)

        slow = Slow()
        bob.add_call_listener("window", slow)
        print("an async one: nobody waits for it")
        call = await alice.initiate_call("bob")
        await slow.done.wait()
        try:
            await call.answered()
        except CallRejected as error:
            print(f"  alice: {error}")


if __name__ == "__main__":
    asyncio.run(main())
