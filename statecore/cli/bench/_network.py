"""Whole calls through `statecore serve` over WebSockets on loopback, beside a bare echo on the same server library.

The service is one process and its devices are this one, so that each has a core. Wall time, but where messages
are held against those of the echo: there it is processor time of the server, whatever the devices can do.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import attrs
import httpx

from statecore.ports import Channel
from statecore_web import WebSocketSignaling

from ._harness import Effort, Figure, at_least, at_most
from ._janus import janus, phones
from ._load import Device
from ._processes import Process, Server, echo, service

CALLS = 1_000
"""How many calls a second the service is to carry on one core."""
TIMES = 1.5
"""How many times as many as the videocall plugin of Janus, at a lower ring delay."""
TRIALS = 10
"""How often Janus may crash in a turn."""
SHARE = 0.5
"""What part of the messages of a bare echo it is to carry."""
KEPT = 0.5
"""What part of its calls it is to carry with every record on the disk before it is told."""
_AT_ONCE = 250
"""How many users connect before those who are there are looked after."""
_KEY = "key"
_OPEN = ("--api-key", _KEY, "--set", "calls_per_minute=1000000", "--set", "messages_per_second=1000000")
_MESSAGE = b'"' + b"x" * 318 + b'"'
"""As long as a message of a call is on average."""


@attrs.frozen
class _Size:
    """How much is measured."""

    turns: int
    """How often each side has its turn, and how often what happens once is made to happen."""
    seconds: float
    """How long a turn lasts."""
    pairs: int
    """How many calls are under way at a time."""
    many: int
    """How many where the records are in a file, so that more share a commit."""
    few: int
    """How many are beside Janus."""
    idle: tuple[int, int]
    """How many users are connected and idle."""
    delays: int
    """How many ring delays are taken among them."""


_FULL = _Size(turns=7, seconds=1.0, pairs=32, many=128, few=8, idle=(100, 5_000), delays=2_000)
_QUICK = _Size(turns=1, seconds=0.2, pairs=2, many=4, few=1, idle=(4, 20), delays=10)


def network(effort: Effort) -> list[Figure]:
    """Figures of the service on a network."""
    size = _QUICK if effort.quick else _FULL
    return [
        *_run(_rates(size)),
        *_run(_beside_janus(size)),
        *_run(_among_idle(size)),
        *_starting(size),
        *_run(_after_a_crash(size)),
    ]


def _run(figures: Awaitable[list[Figure]]) -> list[Figure]:
    import uvloop

    async def main() -> list[Figure]:
        return await figures

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


# --- who is there -----------------------------------------------------------------------------------------------------


async def _devices(server: Server, names: Iterable[str]) -> list[Device]:
    """A device for each of these users, connected."""
    async with httpx.AsyncClient(trust_env=False, timeout=30.0, headers={"Authorization": f"Bearer {_KEY}"}) as client:
        devices = []
        for name in names:
            (await client.post(f"{server.url}/v1/users", json={"uid": name})).raise_for_status()
            told = (await client.post(f"{server.url}/v1/users/{name}/auth-tokens", json={})).raise_for_status()
            devices.append(Device(name, server.url, told.json()["token"]))
    for device in devices:
        await device.connect()
    return devices


@asynccontextmanager
async def _pairs(server: Server, count: int) -> AsyncIterator[list[tuple[Device, Device]]]:
    devices = await _devices(server, (f"user-{number}" for number in range(2 * count)))
    try:
        yield list(zip(devices[::2], devices[1::2], strict=True))
    finally:
        for device in devices:
            await device.close()


# --- rates ------------------------------------------------------------------------------------------------------------

_TICK = 0.01
"""The least processor time that the system tells of a process, in seconds."""

_Act: TypeAlias = Callable[[], Awaitable[int]]
"""Does one thing over a server; how many messages went through that."""


@attrs.frozen
class _Turn:
    rate: float
    """How many acts there were in a second of wall time."""
    messages: float
    """How many messages in a second of the server's processor time."""


async def _rates(size: _Size) -> list[Figure]:
    with (
        TemporaryDirectory() as folder,
        service(*_OPEN) as ours,
        service(*_OPEN, "--store", f"sqlite:{Path(folder, 'calls.db')}") as kept,
        echo() as bare,
    ):
        async with (
            _pairs(ours, size.many) as pairs,
            _pairs(kept, size.many) as others,
            _channels(bare, 2 * size.pairs) as channels,
        ):
            calls: list[_Act] = [partial(_call, *pair) for pair in pairs]
            written: list[_Act] = [partial(_call, *pair) for pair in others]
            sides: tuple[tuple[Server, list[_Act]], ...] = (
                (ours, calls[: size.pairs]),
                (kept, written[: size.pairs]),
                (bare, [partial(_echo, channel) for channel in channels]),
                (ours, calls),
                (kept, written),
            )
            turns: list[list[_Turn]] = []
            for _ in range(size.turns + 1):
                turns.append([await _turn(server, size.seconds, acts) for server, acts in sides])
                _beat(*(device for pair in (*pairs, *others) for device in pair))  # all of it takes as long as a lease
    told = list(zip(*turns[1:], strict=True))  # the first warmed up
    few, few_written, _, many, many_written = (median(turn.rate for turn in side) for side in told)
    value, peer = (median(turn.messages for turn in told[place]) for place in (0, 2))
    return [
        Figure(
            name=f"calls through the service, {size.pairs} at a time", value=few, unit="calls/s",
            target=f">= {CALLS:,}/s", met=at_least(CALLS, few),
        ),
        Figure(
            name="messages of calls in a second of the server's processor time", value=value, unit="messages/s",
            peer="a bare echo on the same server", peer_value=peer, ratio=value / peer, target=f">= {SHARE:g}x",
            met=at_least(SHARE, value / peer),
        ),
        *(
            Figure(
                name=f"calls through the service, {at_a_time} at a time, in an SQLite file", value=kept_rate,
                unit="calls/s", peer="in memory", peer_value=rate, ratio=kept_rate / rate, target=f">= {KEPT:g}x",
                met=at_least(KEPT, kept_rate / rate),
            )
            for at_a_time, kept_rate, rate in ((size.pairs, few_written, few), (size.many, many_written, many))
        ),
    ]  # fmt: skip


async def _turn(server: Process, seconds: float, acts: Sequence[_Act]) -> _Turn:
    """All of them at a time, each again and again."""
    count = messages = 0

    async def again(act: _Act) -> None:
        nonlocal count, messages
        while time.perf_counter() < start + seconds:
            passed = await act()
            messages += passed
            count += 1

    start, cpu = time.perf_counter(), server.cpu()
    await asyncio.gather(*map(again, acts))
    spent = max(server.cpu() - cpu, _TICK)
    return _Turn(count / (time.perf_counter() - start), messages / spent)


async def _beside_janus(size: _Size) -> list[Figure]:
    """Both with the same number of calls at a time, and in turn."""
    ours, theirs = list[float](), list[float]()
    turns: list[tuple[float, float | None]] = []
    with service(*_OPEN) as server:
        async with _pairs(server, size.few) as pairs:
            for _ in range(size.turns + 1):
                turn = await _turn(server, size.seconds, [partial(_ring, *pair, ours) for pair in pairs])
                turns.append((turn.rate, await _there(size, theirs)))
    rates = [beside for _, beside in turns[1:] if beside is not None]
    rate, rival = median(own for own, _ in turns[1:]), median(rates) if rates else None
    delay, other = median(ours) * 1e3, median(theirs) * 1e3 if theirs else None
    times, part = rival and rate / rival, other and delay / other
    why = "ended each time" if shutil.which("janus") else "not installed"
    name = "Janus, its videocall plugin" if rates else f"Janus ({why})"
    return [
        Figure(
            name=f"calls through the service, {size.few} at a time", value=rate, unit="calls/s", peer=name,
            peer_value=rival, ratio=times, target=f">= {TIMES:g}x", met=at_least(TIMES, times),
        ),
        Figure(
            name=f"ring delay, p50, {size.few} calls at a time", value=delay, unit="ms", peer=name,
            peer_value=other, ratio=part, target="<= 1x", met=at_most(1.0, part),
        ),
    ]  # fmt: skip


async def _there(size: _Size, delays: list[float]) -> float | None:
    """The rate of a turn of Janus, with a new process for each: it is not steady. None if it is not installed, or ended
    each time."""
    for _ in range(TRIALS):
        with suppress(ChildProcessError), janus() as peer:
            if peer is None:
                return None
            async with phones(peer, size.few) as pairs:  # pragma: no cover - only where it is installed
                return (await _turn(peer, size.seconds, [partial(_ring, *pair, delays) for pair in pairs])).rate
    return None  # pragma: no cover - likewise


async def _ring(caller: Any, callee: Any, delays: list[float]) -> int:
    delays.append(await caller.call(callee))
    return 0


async def _call(caller: Device, callee: Device) -> int:
    before = caller.messages + callee.messages
    await caller.call(callee)
    return caller.messages + callee.messages - before


async def _echo(channel: Channel) -> int:
    channel.send(_MESSAGE)
    await channel.receive()
    return 2


@asynccontextmanager
async def _channels(server: Server, count: int) -> AsyncIterator[list[Channel]]:
    channels: list[Channel] = [
        await WebSocketSignaling(server.url, "none", user="nobody").connect() for _ in range(count)
    ]
    try:
        yield channels
    finally:
        for channel in channels:
            await channel.close()


# --- among idle users -------------------------------------------------------------------------------------------------


async def _among_idle(size: _Size) -> list[Figure]:
    """Ring delays, and what an idle user costs, with few and with many of them connected."""
    few, many = (_connectable(count) for count in size.idle)
    delays: list[list[float]] = []
    memory: list[float] = []
    with service(*_OPEN) as server:
        async with _pairs(server, 1) as ((caller, callee),):
            idle: list[Device] = []
            for count in (few, many):
                while len(idle) < count:
                    numbers = range(len(idle), min(count, len(idle) + _AT_ONCE))
                    idle += await _devices(server, (f"idle-{number}" for number in numbers))
                    _beat(caller, callee, *idle)  # to connect them all takes longer than a lease on a slow machine
                memory.append(server.memory())
                await caller.call(callee)
                delays.append([await _delay(caller, callee, idle) for _ in range(size.delays)])
            for device in idle:
                await device.close()
    each = (memory[1] - memory[0]) / (many - few)
    marks = [(median(taken), quantiles(taken, n=100)[98]) for taken in delays]
    return [
        *(
            Figure(
                name=f"ring delay, {mark}, {many:,} users idle", value=marks[1][place] * 1e3, unit="ms",
                peer=f"with {few:,}", peer_value=marks[0][place] * 1e3, ratio=marks[1][place] / marks[0][place],
            )
            for place, mark in enumerate(("p50", "p99"))
        ),
        Figure(name=f"memory of each of {many:,} idle users", value=each, unit="KiB"),
    ]  # fmt: skip


async def _delay(caller: Device, callee: Device, idle: Sequence[Device]) -> float:
    """Of one call, among the heartbeats of who is due for one."""
    _beat(caller, callee, *idle)
    return await caller.call(callee)


def _beat(*devices: Device) -> None:
    for device in devices:
        device.beat_if_due()


def _connectable(count: int) -> int:
    """As many as that, or as this system lets one process hold."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 1_000
    limit = max(soft, wanted if hard == resource.RLIM_INFINITY else min(hard, wanted))
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return min(count, limit - 200)


# --- beginnings -------------------------------------------------------------------------------------------------------


def _starting(size: _Size) -> list[Figure]:
    taken = []
    for _ in range(size.turns):
        start = time.perf_counter()
        with service("--api-key", _KEY):
            taken.append(time.perf_counter() - start)
    return [Figure(name="statecore serve, from its start until it listens", value=median(taken) * 1e3, unit="ms")]


async def _after_a_crash(size: _Size) -> list[Figure]:
    taken = []
    with TemporaryDirectory() as folder:
        words = (*_OPEN, "--store", f"sqlite:{Path(folder, 'calls.db')}")
        server = service(*words)
        again = (*words, "--port", server.url.rpartition(":")[2])
        caller, callee = await _devices(server, ("alice", "bob"))
        await caller.call(callee)
        for _ in range(size.turns):
            start = time.perf_counter()
            server.kill()
            server = service(*again)
            for device in (caller, callee):
                await device.connect()
            await caller.call(callee)
            taken.append(time.perf_counter() - start)
        for device in (caller, callee):
            await device.close()
        server.kill()
    return [
        Figure(
            name="kill -9 of a service on a file to the end of the first call after it",
            value=median(taken) * 1e3,
            unit="ms",
        )
    ]
