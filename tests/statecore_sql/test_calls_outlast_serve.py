"""The service in a process of its own, killed with -9 in the middle of calls, and started again on its database."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack, closing, suppress
from typing import Any

import pytest
from hypothesis import settings

from statecore import Call, CallClient
from statecore.errors import StatecoreError
from statecore.model import COMPATIBLE, Line, Reason, Record
from statecore.testing import FakeMedia, assert_invariants
from statecore.trace import read
from statecore_web import AuthTokens, WebSocketSignaling

_SOON = 20.0
"""Seconds in which what must happen happens: less than any lease or ring timer, which would hide a call forgotten."""
_PLANS = ("caller ends", "callee ends", "both end", "reject", "cancel", "outlast", "outlast")
_OVER = ("outgoing_call_rejected", "incoming_call_cancelled", "call_ended_message_received")


class Process:
    """`statecore serve` on a database: always the same port, whichever it was first."""

    def __init__(self, store: str) -> None:
        self.store = store
        self.port = 0
        self.downtimes: list[float] = []
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it; it listens when this returns."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "statecore.cli", "serve", "--port", str(self.port), "--json",
            "--api-key", "key", "--store", self.store,
            env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        assert line, (await self._process.communicate())[1].decode()
        self.port = int(json.loads(line)["url"].rpartition(":")[2])

    async def kill(self) -> None:
        """SIGKILL: nothing is finished."""
        assert self._process is not None
        self._process.kill()
        await self._process.communicate()

    async def leave(self) -> None:
        """Leave no process behind, whatever went wrong."""
        if self._process is not None and self._process.returncode is None:
            await self.kill()

    async def stop(self) -> None:
        """SIGTERM: a clean end, with nothing to complain of all the while."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        _, complaints = await asyncio.wait_for(self._process.communicate(), _SOON)
        assert (self._process.returncode, complaints.decode()) == (0, "")


class Side:
    """One user's device, and everything that its listeners heard."""

    def __init__(self, town: Town, user: str, token: str) -> None:
        self.town = town
        self.user = user
        self.lines: list[str] = []
        self.rang: Counter[str] = Counter()
        self.ended: dict[str, list[str]] = {}
        self.media = FakeMedia()
        self.client = CallClient(
            WebSocketSignaling(town.process.url, token), self.media, trace=self.lines.append,
            jitter=lambda: 0.0,
        )  # fmt: skip
        self.client.on("incoming_call_received", self._ring)
        for event in _OVER:
            self.client.on(event, self._end)

    def _ring(self, call: Call) -> None:
        self.rang[call.session_id] += 1
        self.town.step()
        self.town.spawn(self._answer(call))

    def _end(self, call: Call) -> None:
        assert call.end_reason is not None
        self.ended.setdefault(call.session_id, []).append(call.end_reason.what)
        self.town.step()

    async def _answer(self, call: Call) -> None:
        """What a callee does is in the caller's plan."""
        assert call.metadata is not None
        plan = call.metadata["plan"]
        with suppress(StatecoreError):
            if plan == "reject":
                await call.reject()
            elif plan != "cancel":
                async with call.answer(type="audio") as session:
                    self.town.step()
                    if plan in ("callee ends", "both end"):
                        await self.town.talk()
                    else:
                        await session.wait_ended()

    async def ring(self, other: Side, plan: str) -> None:
        """Call somebody, and carry it out; it is over for both when this returns."""
        await self.town.until(lambda: self.client.connected)  # without, it would be refused at once
        try:
            call = await self.client.initiate_call(other.user, type="audio", metadata={"plan": plan})
            self.town.step()
            if plan == "cancel":
                await self.town.talk()
                await call.cancel()
            else:
                await call.answered()
                async with self.client.started(call.session_id, type="audio") as session:
                    self.town.step()
                    if plan == "outlast":
                        await self.town.outlast(self, other, call.session_id)
                    elif plan == "callee ends":
                        await session.wait_ended()
                    else:
                        await self.town.talk()
        except StatecoreError as error:
            self.town.errors[type(error).__name__] += 1
        # Whatever came of it: neither is left in it by the other, and nobody's timer is needed for that.
        await self.client.clear_active_call()
        await self.town.until(lambda: not self.client.calls and not other.client.calls)


class Town:
    """Some pairs who call each other all the time, and a service that is killed."""

    def __init__(self, process: Process, seed: int, *, gently: bool = False) -> None:
        self.process = process
        self.gently = gently
        """Whether it is told to stop, instead of being killed."""
        self.random = random.Random(seed)  # noqa: S311 - to be had again by its seed
        self.sides: list[Side] = []
        self.errors: Counter[str] = Counter()
        self.outlasted = self.kills = self._steps = self._until = 0
        self._reached = asyncio.Event()
        self._over = False
        self._tasks: set[asyncio.Task[None]] = set()

    def step(self) -> None:
        """Something happened at a device."""
        self._steps += 1
        if self._steps == self._until:
            self._reached.set()

    def spawn(self, work: Any) -> None:
        """Do something meanwhile."""
        self._tasks.add(asyncio.get_running_loop().create_task(work))

    async def talk(self) -> None:
        """Be in a call for a while: how the kills hit different places of it."""
        await asyncio.sleep(self.random.uniform(0, 0.03))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that must become true soon."""
        async with asyncio.timeout(_SOON):
            while not condition():  # noqa: ASYNC110 - of several clients at once
                await asyncio.sleep(0.005)

    async def outlast(self, one: Side, other: Side, session: str) -> None:
        """Stay in a call until the service was killed and is back: it goes on, for both."""
        before = self.kills
        await self.until(lambda: self._over or self.kills > before)
        if self.kills > before:
            assert [call.session_id for side in (one, other) for call in side.client.calls] == [session] * 2
            assert {call.state for side in (one, other) for call in side.client.calls} == {"active"}
            self.outlasted += 1

    async def _pair(self, one: Side, other: Side) -> None:
        while not self._over:
            caller, callee = self.random.sample((one, other), 2)
            await caller.ring(callee, self.random.choice(_PLANS))

    async def run(self, kills: int) -> None:
        """Kill and start the service so many times, and check everything that was seen."""
        async with AsyncExitStack() as stack:
            for side in self.sides:
                await stack.enter_async_context(side.client)
            pairs = [asyncio.create_task(self._pair(*self.sides[n : n + 2])) for n in range(0, len(self.sides), 2)]
            for _ in range(kills):
                await self._kill(pairs)
            self._over = True
            await asyncio.gather(*pairs)
            await asyncio.gather(*self._tasks)
            await self.until(lambda: not any(side.media.sessions for side in self.sides))

    async def _kill(self, pairs: list[asyncio.Task[None]]) -> None:
        self._reached.clear()
        self._until = self._steps + self.random.randint(1, 60)
        reached = asyncio.create_task(self._reached.wait())
        # When everybody outlasts, nothing more happens: that is a place to be killed at, too.
        await asyncio.wait([reached, *pairs], timeout=0.3, return_when=asyncio.FIRST_COMPLETED)
        reached.cancel()
        for pair in pairs:
            if pair.done():
                pair.result()
        await asyncio.sleep(self.random.uniform(0, 0.01))
        began = time.monotonic()
        await (self.process.stop() if self.gently else self.process.kill())
        await self.process.start()
        await self.until(lambda: all(side.client.connected for side in self.sides))
        self.process.downtimes.append(time.monotonic() - began)
        self.kills += 1

    def check(self, records: list[Record], lines: list[Line]) -> None:
        """Everybody's listeners, everybody's trace and the call log tell one story."""
        told = [read([line + "\n" for line in side.lines]) for side in self.sides]
        assert_invariants(*told)
        rows = {record.session_id: record for record in records}
        assert len(rows) == len(records)
        unheard = 0
        for side, trace in zip(self.sides, told, strict=True):
            assert all(count == 1 for count in side.rang.values()), side.rang
            assert set(side.rang) <= set(side.ended)
            for session, reasons in side.ended.items():
                if session not in rows:
                    # Killed so often that the call was given up before any service heard of it.
                    assert (reasons, "ringing" in trace.path(session)) == (["lost"], False), (side.user, session)
                    unheard += 1
                    continue
                record = rows[session]
                role = "caller" if record.initiator == side.user else "callee"
                assert len(reasons) == 1, (side.user, session, reasons)
                assert (role, Reason(reasons[0]), Reason(record.reason)) in COMPATIBLE, (role, reasons, record.reason)
        assert unheard <= self.errors["CommandTimeout"]
        everybody = {side.user: side for side in self.sides}
        for record in records:
            assert record.end.at, f"{record.session_id} lives on"
            assert record.session_id in everybody[record.initiator].ended
            active = [side.user for side, trace in zip(self.sides, told, strict=True)
                      if "active" in trace.path(record.session_id)]  # fmt: skip
            assert record.active_at or not active, f"{active} active alone in {record.session_id}"
        assert not [line.user for line in lines if line.holds or line.sessions]


async def _round(place: Any, seed: int, kills: int, *, gently: bool = False) -> Town:
    """A service on a new database, three pairs, and some kills."""
    process = Process(place.spec)
    users = [f"user{n}" for n in range(6)]
    with closing(place.open()) as store:
        tokens = [(await AuthTokens(store).issue(user))[0] for user in users]
        await asyncio.gather(*(store.commit({("line", user): (0, Line(user))}) for user in users))
    try:
        await process.start()
        town = Town(process, seed, gently=gently)
        town.sides = [Side(town, user, token) for user, token in zip(users, tokens, strict=True)]
        await town.run(kills)
        await process.stop()
    finally:
        await process.leave()
    with closing(place.open()) as store:
        records, lines = await store.scan("call"), await store.scan("line")
    town.check([record for _, record in records], [line for _, line in lines])
    return town


@pytest.mark.soak
def test_calls_go_on_or_end_when_the_service_is_killed(
    places: Any, request: pytest.FixtureRequest, figures: Callable[[str, Any], None]
) -> None:
    """Killed at random moments of running calls: each side sees one end of each call, nobody is left in one alone,
    calls outlast the service, and the call log agrees with both sides."""
    many = settings.default is settings.get_profile("soak")
    seed = int(request.config.getoption("--hypothesis-seed") or random.SystemRandom().randrange(1 << 31))
    print(f"seed {seed}")  # noqa: T201 - to draw the same again
    kills, outlasted, calls, downtimes = 0, 0, 0, list[float]()
    for number in range(40 if many else 2):
        town = asyncio.run(_round(places(), seed + number, 5 if many else 3))
        kills, outlasted = kills + town.kills, outlasted + town.outlasted
        calls += sum(len(side.ended) for side in town.sides) // 2
        downtimes += town.process.downtimes
    downtimes.sort()
    back = f"back in {downtimes[len(downtimes) // 2]:.2f} s, at most {downtimes[-1]:.2f} s"
    print(f"{kills} kills, {calls} calls, {outlasted} times one outlasted, {back}")  # noqa: T201 - the figures
    assert calls > kills
    assert outlasted
    if places().spec.startswith("sqlite:"):
        figures("killed", {"kills": kills, "calls": calls, "seeds": f"{seed} to {seed + 39}"})


@pytest.mark.parametrize("places", ["sqlite"], indirect=True)
def test_calls_go_on_or_end_when_the_service_is_told_to_stop(places: Any, request: pytest.FixtureRequest) -> None:
    """By SIGTERM at a random moment of running calls: the service ends in good order and complains of nothing, and the
    next one carries on what lived."""
    seed = int(request.config.getoption("--hypothesis-seed") or random.SystemRandom().randrange(1 << 31))
    print(f"seed {seed}")  # noqa: T201 - to draw the same again
    town = asyncio.run(_round(places(), seed, 1, gently=True))
    assert town.kills == 1
