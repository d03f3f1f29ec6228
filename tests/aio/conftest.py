"""A town: a service, its users' clients with media in memory, all in virtual time, and what must hold in the end."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import pytest

from statecore import (
    Call,
    CallClient,
    CallListener,
    CallService,
    MemoryBus,
    MemoryLink,
    MemoryStore,
    OngoingCallListener,
    Session,
)
from statecore.listeners import events
from statecore.model import COMPATIBLE, Leg, Reason, Record
from statecore.ports import AudioFrame, VideoFrame
from statecore.testing import FakeMedia, VirtualClock, assert_fully_reaped, run_virtual

Run: TypeAlias = Callable[..., Any]

ENDS = ("outgoing_call_rejected", "incoming_call_cancelled", "call_ended_message_received")


class Still:
    """A source that costs next to nothing: one frame a second."""

    def __init__(self, kind: str, mark: int = 1) -> None:
        self.kind, self.mark = kind, mark

    async def __aiter__(self) -> AsyncIterator[Any]:
        for second in itertools.count():
            if self.kind == "audio":
                yield AudioFrame(samples=np.full((8, 1), self.mark, np.int16), rate=8000, time=float(second))
            else:
                yield VideoFrame(pixels=np.full((2, 2, 3), self.mark, np.uint8), time=float(second))
            await asyncio.sleep(1)


class Town:
    """Who is here, and what they saw."""

    def __init__(self, services: list[CallService], stack: AsyncExitStack) -> None:
        self.service = services[0]
        self.services = services
        """Those on the store; who comes is connected to each in turn, unless it says `at` which."""
        self.stack = stack
        self.links: dict[str, MemoryLink] = {}
        self.media: dict[str, FakeMedia] = {}
        self.clients: dict[str, CallClient] = {}
        self.seen: list[tuple[str, str, Call]] = []
        """(client, event, call) of every event of a client."""
        self.told: dict[str, list[tuple[str, tuple[Any, ...]]]] = {}
        """What the listeners made by `log` were told."""
        self.numbers = itertools.count(1)

    def id(self) -> str:
        """A new id."""
        return f"id-{next(self.numbers)}"

    def make(self, name: str, /, **more: Any) -> CallClient:
        """A client that is not entered; `name` is user or user/device."""
        user, _, device = name.partition("/")
        service = self.services[more.pop("at", len(self.clients)) % len(self.services)]
        link = more.pop("link", None) or service.signaling(user, device or f"{user}-phone")
        media = more.pop("media", None) or FakeMedia(Still("audio"), Still("video"))
        more = {"clock": VirtualClock(), "ids": self.id, "jitter": lambda: 1.0, **more}
        client = CallClient(link, media, **more)
        self.links[name], self.media[name], self.clients[name] = link, media, client
        for event, payload in events(CallListener).items():
            if payload == ("call",):
                client.on(event, partial(self._saw, name, event))
        return client

    def _saw(self, name: str, event: str, call: Call) -> None:
        self.seen.append((name, event, call))

    async def add(self, name: str, /, **more: Any) -> CallClient:
        """A client that is connected, and closed in the end."""
        return await self.stack.enter_async_context(self.make(name, **more))

    def log(self, name: str) -> OngoingCallListener:
        """A listener that notes everything under a name."""
        told = self.told.setdefault(name, [])

        def note(event: str, *args: Any) -> None:
            told.append((event, args))

        return OngoingCallListener(**{f"on_{event}": partial(note, event) for event in events(OngoingCallListener)})

    def names(self, name: str) -> list[str]:
        """The events that such a listener was told."""
        return [event for event, _ in self.told[name]]

    async def until(self, condition: Callable[[], object], seconds: float = 600) -> None:
        """Wait until something holds, in virtual time."""
        for _ in range(20):
            if condition():
                return
            await asyncio.sleep(0)
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - many things are waited for, in virtual time
                await asyncio.sleep(0.01)

    async def pair(self, type: str = "audio", **more: Any) -> tuple[Session, Session]:  # noqa: A002
        """Alice has called Bob; both are in."""
        alice, bob = self.clients["alice"], self.clients["bob"]
        call = await alice.initiate_call("bob", type=type)  # type: ignore[arg-type]
        await self.until(lambda: bob.calls)
        theirs, _ = await asyncio.gather(bob.accept_call(call.session_id), call.answered())
        tokens = {client: await client.generate_token(theirs.session_id) for client in (alice, bob)}
        hers, his = await asyncio.gather(
            *(client.start_session(token, type=type, **more) for client, token in tokens.items())
        )
        return hers, his

    async def meet(self, *names: str, room: str = "room", **more: Any) -> list[Session]:
        """Some users are in a session."""
        sessions = []
        for name in names:
            client = self.clients[name]
            more["listener"] = self.log(name)
            sessions.append(await client.start_session(await client.generate_token(room), **more))
        return sessions

    async def check(self) -> None:
        """What must hold once everybody has gone: see the oracle's list."""
        records = [r for _, r in await self.service.store.scan("call")]
        ends = Counter((name, call.session_id) for name, event, call in self.seen if event in ENDS)
        for (name, session), count in ends.items():
            legs = [leg for r in records if r.session_id == session for leg in self._legs(name, r)]
            assert count <= max(1, len(legs)), f"{name} was told {count} times of the end of {session}"
        for name, media in self.media.items():
            assert not media.sessions, f"media of {name} is open"
        log = await self.service.call_log()
        assert len({call.session_id for call in log}) == len(log)
        assert {call.session_id for call in log} == {r.session_id for r in records if r.end.at and not r.merged_into}
        for name, event, call in self.seen:
            if event in ENDS:
                self._compare(name, call, records)

    def _legs(self, name: str, record: Record) -> list[Leg]:
        client = self.clients[name]
        return [leg for leg in record.legs if (leg.user, leg.device) == (client.user.uid, client.device)]

    def _compare(self, name: str, call: Call, records: list[Record]) -> None:
        record = next((r for r in records if r.session_id == call.session_id), None)
        if record is None or record.merged_into or call.end_reason is None:
            return
        legs = [leg for leg in self._legs(name, record) if leg.end.at]
        assert any(
            (leg.control.role, call.end_reason.what, Reason(leg.control.reason)) in COMPATIBLE for leg in legs
        ), (name, call, legs)


@asynccontextmanager
async def _town(*names: str, check: bool = True, services: int = 1, **more: Any) -> AsyncIterator[Town]:
    more = {"clock": VirtualClock(), "store": MemoryStore(), "bus": MemoryBus(), "key": b"k" * 32, **more}
    clients: list[CallClient] = []
    with assert_fully_reaped():
        async with AsyncExitStack() as outer:
            all_of_them = [await outer.enter_async_context(CallService(**more)) for _ in range(services)]
            async with AsyncExitStack() as stack:
                town = Town(all_of_them, stack)
                for name in names:
                    await town.add(name)
                yield town
            if check:
                await town.check()
        clients += town.clients.values()
        assert more["bus"] is None or not more["bus"]._members, "a service is on the bus still"
        assert not [client for client in clients if client.closed and len(client.listeners)]


@pytest.fixture
def town() -> Callable[..., Any]:
    """Opens a town with these users; closing it checks that nothing is left, and what must hold."""
    return _town


@pytest.fixture
def run() -> Run:
    """Runs a coroutine function in virtual time, in debug mode."""

    def runner(main: Callable[..., Coroutine[Any, Any, Any]], *args: Any, debug: bool = True) -> Any:
        return run_virtual(main(*args), debug=debug)

    return runner


@pytest.fixture
def still() -> Callable[..., Still]:
    """Makes a cheap source."""
    return Still


async def settle(awaitable: Awaitable[Any]) -> Any:
    """The result, or the exception."""
    try:
        return await awaitable
    except Exception as error:  # noqa: BLE001 - it is what was asked for
        return error


@pytest.fixture
def outcome() -> Callable[[Awaitable[Any]], Awaitable[Any]]:
    """The result of something awaited, or what it raised."""
    return settle
