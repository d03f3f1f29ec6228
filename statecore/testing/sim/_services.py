"""The services of a simulation of the shells, and what is around them: the store, the bus, and who takes notices."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Container, Coroutine, Iterable, Mapping, Sequence
from typing import Any

from statecore.aio import CallService, MemoryBus, MemoryStore
from statecore.errors import SignalingLost
from statecore.flow import Flow, Timers
from statecore.machine import compiled
from statecore.model import Line, Reason, Record
from statecore.ports import CHANGES, Channel, Key, Notice, Store
from statecore.switchboard import Done, Input, Need, Switchboard
from statecore.testing.loop import VirtualClock
from statecore.testing.network import FaultyLink, FaultyNetwork
from statecore.testing.oracle import Watch
from statecore.testing.stores import RefusingStore, SlowStore

from ._parts import Mix

TIMERS = Timers(media_lost=8, empty=20)
"""Of service and devices: the defaults, but for two that would only draw runs out."""


class Board(Switchboard):
    """A switchboard each of whose decisions the oracle sees."""

    def __init__(self, watch: Watch, problems: list[str], flows: Mapping[str, Flow]) -> None:
        super().__init__(flows=flows, timers=TIMERS)
        self._watch, self._problems = watch, problems

    def step(self, view: Mapping[Key, Any], command: Input, now: int) -> Need | Done:
        """Decide."""
        decision = super().step(view, command, now)
        if isinstance(decision, Done):
            try:
                self._watch.decided(self, {key: view[key] for key in decision.writes}, decision, now)
            except AssertionError as error:  # the service would log it and go on
                self._problems.append(f"{type(command).__name__} at {now}: {error}")
        return decision


class Gone(Exception):
    """What a service that has died meets, wherever it turns."""


class Life:
    """A service's way to the store, which ends with it. Implements the `Store` port."""

    def __init__(self, store: Store) -> None:
        self.over = False
        self.last: Callable[[], object] | None = None
        """Called once the next commit is made: nobody has heard of it yet."""
        self._store = store

    async def load(self, keys: Iterable[Key]) -> dict[Key, tuple[int, Any]]:
        """As the store says, while it lasts."""
        self.check()
        return await self._store.load(keys)

    async def commit(self, writes: Mapping[Key, tuple[int, Any]]) -> bool:
        """As the store says, who may have it though the service never learns of it."""
        self.check()
        done = await self._store.commit(writes)
        last, self.last = self.last if done else None, None if done else self.last
        if last is not None and not self.over:
            last()
        self.check()
        return done

    async def scan(self, kind: str) -> list[tuple[Key, Any]]:
        """As the store says, while it lasts."""
        self.check()
        return await self._store.scan(kind)

    def check(self) -> None:
        """Raises Gone once it is over."""
        if self.over:
            raise Gone


class Post:
    """Takes the notices of one service, one in ten of them after a while, and gives one in ten up. Implements the
    `Notifier` port."""

    wants = CHANGES

    def __init__(self, life: Life, told: dict[str, Notice], chance: random.Random, mix: Mix) -> None:
        self._life, self._told, self._chance, self._mix = life, told, chance, mix

    async def notify(self, notice: Notice) -> None:
        """Take one."""
        roll = self._chance.random()
        if roll < 0.1:
            self._mix.faults["notice_slow"] += 1
            await asyncio.sleep(roll * 200)
        self._life.check()
        self._told[notice.id] = notice
        if roll > 0.9:
            self._mix.faults["notice_refused"] += 1
            raise OSError("nobody is there who takes it")

    async def close(self) -> None:
        """There is nothing to release."""


class Way:
    """How a device reaches the services, whichever incarnations of them run. Implements the `Signaling` port."""

    def __init__(self, services: Sequence[CallService | None], user: str, device: str) -> None:
        self.user, self.device = user, device
        self._services = services
        self._turn = 0
        self.place = 0
        """At which of the services it is."""

    async def connect(self) -> Channel:
        """A connection, to another service each time; raises SignalingLost while that one is down."""
        self.place = self._turn % len(self._services)
        self._turn += 1
        service = self._services[self.place]
        if service is None:
            raise SignalingLost
        return await service.signaling(self.user, self.device).connect()


class Services:
    """One service, or two, on one store, in this process and in virtual time. What was committed survives them, unless
    the store is lost as well. Implements `Site`."""

    def __init__(self, seed: int, users: Iterable[str], flows: Mapping[str, Flow]) -> None:
        self.running: list[CallService | None] = [None] * (2 if seed % 3 == 1 else 1)
        """None for one that is down."""
        self.mix = Mix()
        self.problems: list[str] = []
        self.forgotten: set[str] = set()
        self.patience = 25_000 if len(self.running) > 1 else 0
        """What a service has decided, and died before it said so, those who are connected to another hear at their next
        heartbeat, by slow clocks."""
        self.told: dict[str, Notice] = {}
        self._clock = VirtualClock()
        self._network = FaultyNetwork(seed, latency=0.005, jitter=0.06)
        self._ways: dict[str, tuple[Way, FaultyLink]] = {}
        self._seed, self._users, self._flows = seed, tuple(dict.fromkeys(users)), flows
        self._bus = MemoryBus(delay=0.02)
        self._chance = random.Random(f"{seed} notices")
        self._lives: list[Life] = [Life(MemoryStore()) for _ in self.running]
        self._new_store()

    def _new_store(self) -> None:
        self._store: Store = MemoryStore()
        """What all of them stand on."""
        self._way = RefusingStore(self._store) if self._seed % 3 == 0 else SlowStore(self._store, self._seed % 2)

    @property
    def with_notices(self) -> bool:
        """Whether somebody takes notices."""
        return self._seed % 2 == 0

    def wall(self) -> int:
        """See `Site`, for this and what follows."""
        return self._clock.wall()

    def turn_clock(self, milliseconds: int) -> None:
        self._clock.start += milliseconds

    def link(self, user: str, device: str) -> FaultyLink:
        way = Way(self.running, user, device)
        link = self._network.link(way)
        self._ways[device] = way, link
        return link

    def place(self, device: str) -> int:
        return self._ways[device][0].place

    async def open(self, place: int) -> None:
        life = self._lives[place] = Life(self._way)
        notifier = Post(life, self.told, self._chance, self.mix) if self.with_notices else None
        service = CallService(
            clock=self._clock, store=life, bus=self._bus, key=b"k" * 32, timers=TIMERS, flows=self._flows,
            notifier=notifier,
        )  # fmt: skip
        watch = Watch({name: compiled(flow) for name, flow in self._flows.items()})
        service.switchboard = Board(watch, self.problems, self._flows)
        self.running[place] = await service.__aenter__()
        for user in self._users:
            service.add_user(user)

    def take(self, place: int, *, dead: bool) -> Coroutine[Any, Any, object] | None:
        service, self.running[place] = self.running[place], None
        self._lives[place].last = None
        if service is None:
            return None
        if dead:
            self._lives[place].over = True
            for way, link in self._ways.values():
                if way.place == place:
                    link.drop()
        return service.close()  # of a dead one only what is left is cleared

    def at_next_commit(self, place: int, do: Callable[[], object] | None) -> None:
        self._lives[place].last = do

    async def records(self) -> list[Record]:
        return [record for _, record in await self._store.scan("call")]

    async def lines(self) -> list[Line]:
        return [line for _, line in await self._store.scan("line")]

    async def is_idle(self) -> bool:
        over = all(record.end.at or record.merged_into for record in await self.records())
        return over and not await self._store.scan("outbox")

    async def log(self) -> list[str]:
        service = self.running[0]
        assert service is not None
        return [call.session_id for call in await service.call_log()]

    async def forget(self) -> None:
        records = await self.records()
        self._new_store()
        self.mix.count(records)
        self.forgotten |= {record.session_id for record in records}

    async def close(self) -> None:
        for service in self.running:
            assert service is not None
            await service.close()
        await self._network.close()

    def check_notices(self, records: Iterable[Record]) -> None:
        if self.with_notices:
            check_notices(self.told.values(), records, self.forgotten)


def check_notices(told: Iterable[Notice], records: Iterable[Record], forgotten: Container[str]) -> None:
    """Each change was told at least once, and no other: so many different notices as there were changes."""
    found: dict[str, Counter[tuple[str, str]]] = {}
    for notice in told:
        found.setdefault(notice.session_id, Counter())[notice.what, notice.user] += 1
    for record in records:
        if not record.merged_into and record.session_id not in forgotten:
            those = found.get(record.session_id, Counter())
            rings = [those.pop((what, record.receiver), 0) for what in ("ring", "stop") if record.receiver]
            assert rings in ([], [1, 1]) or (rings == [0, 0] and record.reason == Reason.BUSY), f"{record}: {rings}"
            assert those == _changes(record), f"of {record} was told {those}"


def _changes(record: Record) -> Counter[tuple[str, str]]:
    """What is to be told of a call that is over, but for its ringing."""
    other = record.receiver
    due = Counter({("initiated", other): 1, ("ended", other): 1})
    due["accepted", other] += bool(other and record.answered_at)
    due["started", other] += bool(record.active_at)
    for leg in record.legs:
        for what in ("participant_joined", "participant_left") if leg.joined else ():
            due[what, leg.user] += 1
    return +due


__all__ = ["Services"]
