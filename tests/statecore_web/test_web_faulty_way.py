"""A way to the service that breaks at every message of a call, delays, and repeats: over real sockets, both sides."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import Counter, deque
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import settings
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from statecore import Call, CallClient, CallService
from statecore.model import Line, Record
from statecore.testing import FakeMedia, assert_invariants
from statecore.trace import read
from statecore_web import CallApp, WebSocketSignaling

_SOON = 40.0
"""Seconds in which what must happen happens: less than any lease or ring timer, which would hide a call forgotten."""
_OVER = ("outgoing_call_rejected", "incoming_call_cancelled", "call_ended_message_received")
_PROTOCOL = Subprotocol("statecore.v1")
_PLAIN: dict[str, Any] = {"compression": None, "close_timeout": 0.1}
_AT_ONCE = 12
"""How many calls go on side by side."""


class FaultyWay:
    """A WebSocket proxy for one device: counts the messages of both directions, and breaks the connection instead of
    passing one on. After that it works; what the device said last before the break may be said once more by the proxy,
    as the network may do that is between two proxies, as soon as the device is back."""

    def __init__(
        self, url: str, *, break_at: int = 0, repeats: bool = False, delay: float = 0.0, seed: int = 0
    ) -> None:
        self.there = url.replace("http", "ws") + "/v1/signaling"
        self.break_at = break_at
        self.repeats = repeats
        self.delay = delay
        self.passed = 0
        self.broke = 0
        self.repeated = 0
        self._chance = random.Random(seed)  # noqa: S311 - to be had again by its seed
        self._last: str | bytes | None = None
        self._server: Server | None = None

    async def __aenter__(self) -> str:
        self._server = await serve(
            self._serve, "127.0.0.1", 0, subprotocols=[_PROTOCOL], process_request=_no_requests, **_PLAIN
        )
        return f"http://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, here: ServerConnection) -> None:
        assert here.request is not None
        headers = {"Authorization": here.request.headers["Authorization"]}
        again, self._last = self._last, None
        async with connect(self.there, additional_headers=headers, subprotocols=[_PROTOCOL], **_PLAIN) as there:
            up = asyncio.create_task(self._copy(here, there, again))
            down = asyncio.create_task(self._copy(there, here))
            await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
            for task in (up, down):
                task.cancel()
            await asyncio.wait([up, down])

    async def _copy(
        self,
        source: ServerConnection | ClientConnection,
        to: ServerConnection | ClientConnection,
        again: str | bytes | None = None,
    ) -> None:
        """One direction, in order. `again` is sent after the greeting."""
        with contextlib.suppress(ConnectionClosed):
            async for message in source:
                self.passed += 1
                if self.passed == self.break_at:
                    self.broke += 1
                    source.transport.abort()
                    to.transport.abort()
                    return
                if self.delay:
                    await asyncio.sleep(self._chance.random() * self.delay)
                await to.send(message)
                if isinstance(source, ServerConnection):
                    if self.repeats and json.loads(message)["m"] != "hello":
                        self._last = message
                    if again is not None and json.loads(message)["m"] == "hello":
                        await to.send(again)
                        self.repeated += 1
                        again = None


def _no_requests(connection: ServerConnection, request: Request) -> Response | None:
    """Nothing but the link goes this way: there are no servers for media to be had."""
    return None if request.path == "/v1/signaling" else connection.respond(404, "")


class Side:
    """A user's device behind such a way, and what its listeners heard."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.lines: list[str] = []
        self.rang: Counter[str] = Counter()
        self.ended: dict[str, list[str]] = {}
        self.got: list[object] = []
        self.media = FakeMedia()
        self.client: CallClient

    async def open(self, stack: AsyncExitStack, app: CallApp, way: FaultyWay) -> None:
        """Connect."""
        app.service.add_user(self.user)
        token, _ = await app.tokens.issue(self.user)
        link = WebSocketSignaling(await stack.enter_async_context(way), token, device=f"{self.user}-phone")
        self.client = CallClient(link, self.media, trace=self.lines.append, jitter=lambda: 0.0)
        self.client.on("incoming_call_received", lambda call: self.rang.update([call.session_id]))
        for event in _OVER:
            self.client.on(event, self._end)
        await stack.enter_async_context(self.client)

    def _end(self, call: Call) -> None:
        assert call.end_reason is not None
        self.ended.setdefault(call.session_id, []).append(call.end_reason.what)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(_SOON):
        while not condition():  # noqa: ASYNC110 - of two clients at once
            await asyncio.sleep(0.002)


async def _call(caller: Side, callee: Side) -> None:
    """A whole call: rung, answered, joined, muted, hung up by the caller. A cut that is shorter than the lease keeps no
    step from coming about, in time: whatever is raised is a fault."""
    async with asyncio.timeout(_SOON), asyncio.TaskGroup() as group:
        group.create_task(_answer(callee))
        await _until(lambda: caller.client.connected)
        call = await caller.client.initiate_call(callee.user, type="audio")
        await call.answered()
        async with caller.client.started(call.session_id, type="audio") as session:
            await session.mute_audio()
            await session.send_message({"text": "hello"})
            await session.end()
        await _until(lambda: not caller.client.calls and not callee.client.calls)


async def _answer(callee: Side) -> None:
    await _until(lambda: bool(callee.client.calls))
    async with callee.client.calls[0].answer(type="audio") as session:
        session.on("message_received", lambda _, value: callee.got.append(value))
        reason = await session.wait_ended()
    assert reason.what == "hangup"


async def _check(app: CallApp, sides: tuple[Side, Side]) -> None:
    """The one call rang once and was hung up by the caller: so say both sides' listeners and traces, and the call log.
    Nothing is left of it."""
    caller, callee = sides
    await _until(lambda: not any(side.media.sessions for side in sides))
    traces = [read([line + "\n" for line in side.lines]) for side in sides]
    assert_invariants(*traces)
    users = {side.user for side in sides}
    (record,) = [
        record
        for _, record in await app.service.store.scan("call")
        if isinstance(record, Record) and record.initiator in users
    ]
    assert (record.reason, record.end.by, record.initiator) == ("hangup", caller.user, caller.user)
    assert [side.ended for side in sides] == [{record.session_id: ["hangup"]}] * 2
    assert (caller.rang, callee.rang) == ({}, {record.session_id: 1})
    assert callee.got == [{"text": "hello"}]
    lines = [line for _, line in await app.service.store.scan("line") if isinstance(line, Line) and line.user in users]
    assert len(lines) == 2
    assert not [line.user for line in lines if line.holds or line.sessions]


async def _once(app: CallApp, url: str, name: str, **ways: Any) -> dict[str, FaultyWay]:
    """One call whose caller's and callee's ways have the faults that are given."""
    sides = Side(f"{name}-caller"), Side(f"{name}-callee")
    made = {who: FaultyWay(url, **ways.get(who, {})) for who in ("caller", "callee")}
    async with AsyncExitStack() as stack:
        for side, way in zip(sides, made.values(), strict=True):
            await side.open(stack, app, way)
        await _call(*sides)
        await _check(app, sides)
    return made


@pytest.mark.no_cover
@pytest.mark.parametrize("repeats", [False, True], ids=["broken", "broken and repeated"])
@pytest.mark.parametrize("who", ["caller", "callee"])
def test_a_connection_that_breaks_at_any_message(served: Callable[..., Any], who: str, repeats: bool) -> None:
    """At each message of the call, either way: it goes on to where the caller hangs up, and nothing is left. Also with
    what was said last before the break said again behind the device's back."""

    async def main() -> tuple[int, int]:
        app = CallApp(CallService())
        at = repeated = 0
        async with served(app) as url:
            while True:
                faults = [{"break_at": at + more, "repeats": repeats} for more in range(1, _AT_ONCE + 1)]
                made = await asyncio.gather(*(_once(app, url, f"{who}-{f['break_at']}", **{who: f}) for f in faults))
                repeated += sum(ways[who].repeated for ways in made)
                at += sum(ways[who].broke for ways in made)
                if not made[-1][who].broke:
                    return at, repeated

    at, repeated = asyncio.run(main())
    assert at > 14, "a call has more messages than that"
    assert (repeated > 5) == repeats


@pytest.mark.soak
def test_ways_that_take_their_time(served: Callable[..., Any], request: pytest.FixtureRequest) -> None:
    """Every message of both sides is late by a time of its own, and both connections break somewhere: the call goes on
    all the same."""
    seed = int(request.config.getoption("--hypothesis-seed") or random.SystemRandom().randrange(1 << 31))
    print(f"seed {seed}")  # noqa: T201 - to draw the same again
    chance = random.Random(seed)  # noqa: S311 - to be had again by its seed
    rounds = 200 if settings.default is settings.get_profile("soak") else 10

    async def one(app: CallApp, url: str, number: int) -> None:
        fault = {
            who: {"delay": 0.03, "seed": chance.random(), "break_at": chance.randrange(25), "repeats": True}
            for who in ("caller", "callee")
        }
        await _once(app, url, f"late-{number}", **fault)

    async def main() -> None:
        app = CallApp(CallService())
        async with served(app) as url:
            waiting = deque(range(rounds))
            while waiting:
                some = [waiting.popleft() for _ in range(min(_AT_ONCE, len(waiting)))]
                await asyncio.gather(*(one(app, url, number) for number in some))

    asyncio.run(main())
