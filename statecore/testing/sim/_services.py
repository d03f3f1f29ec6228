"""The services of a simulation of the shells, and what is around them: the store, the bus, and who takes notices."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from statecore.aio import CallService, MemoryBus, MemoryStore
from statecore.flow import Flow, Timers
from statecore.machine import compiled
from statecore.model import Reason, Record
from statecore.ports import CHANGES, Key, Notice, Store
from statecore.switchboard import Done, Input, Need, Switchboard
from statecore.testing.loop import VirtualClock
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


class Services:
    """One service, or two, on one store. What was committed survives them, unless the store is lost as well."""

    def __init__(self, seed: int, users: Iterable[str], flows: Mapping[str, Flow], mix: Mix) -> None:
        self.clock = VirtualClock()
        self.running: list[CallService | None] = [None] * (2 if seed % 3 == 1 else 1)
        """None for one that is down."""
        self.problems: list[str] = []
        """What the oracle saw where nothing can be raised."""
        self.forgotten: set[str] = set()
        """The calls of stores that were lost."""
        self.told: dict[str, Notice] = {}
        self._seed, self._users, self._flows, self._mix = seed, tuple(dict.fromkeys(users)), flows, mix
        self._bus = MemoryBus(delay=0.02)
        self._chance = random.Random(f"{seed} notices")
        self._lives: list[Life] = [Life(MemoryStore()) for _ in self.running]
        self._new_store()

    def _new_store(self) -> None:
        self.store: Store = MemoryStore()
        """What all of them stand on."""
        self._way = RefusingStore(self.store) if self._seed % 3 == 0 else SlowStore(self.store, self._seed % 2)

    @property
    def with_notices(self) -> bool:
        """Whether somebody takes notices."""
        return self._seed % 2 == 0

    async def open(self, place: int) -> None:
        """Start the service of a place."""
        life = self._lives[place] = Life(self._way)
        notifier = Post(life, self.told, self._chance, self._mix) if self.with_notices else None
        service = CallService(
            clock=self.clock, store=life, bus=self._bus, key=b"k" * 32, timers=TIMERS, flows=self._flows,
            notifier=notifier,
        )  # fmt: skip
        watch = Watch({name: compiled(flow) for name, flow in self._flows.items()})
        service.switchboard = Board(watch, self.problems, self._flows)
        self.running[place] = await service.__aenter__()
        for user in self._users:
            service.add_user(user)

    def take(self, place: int, *, dead: bool) -> CallService | None:
        """A service is down from now on: `dead`, nothing of what it is about reaches anybody or the store."""
        service, self.running[place] = self.running[place], None
        self._lives[place].last = None
        if service is not None and dead:
            self._lives[place].over = True
        return service

    def at_next_commit(self, place: int, do: Callable[[], object] | None) -> None:
        """Do this as soon as the service has committed something; None takes it back."""
        self._lives[place].last = do

    async def records(self) -> list[Record]:
        """Every call in the store."""
        return [record for _, record in await self.store.scan("call")]

    async def is_idle(self) -> bool:
        """Whether no call lives, and no notice waits."""
        over = all(record.end.at or record.merged_into for record in await self.records())
        return over and not await self.store.scan("outbox")

    async def forget(self) -> None:
        """The store is lost, with all calls."""
        records = await self.records()
        self._new_store()
        self._mix.count(records)
        self.forgotten |= {record.session_id for record in records}

    async def close(self) -> None:
        """Close every one."""
        for service in self.running:
            assert service is not None
            await service.close()

    def check_notices(self, records: Iterable[Record]) -> None:
        """Each change was told at least once, and no other: so many different notices as there were changes."""
        found: dict[str, Counter[tuple[str, str]]] = {}
        for notice in self.told.values():
            found.setdefault(notice.session_id, Counter())[notice.what, notice.user] += 1
        for record in records:
            if self.with_notices and not record.merged_into and record.session_id not in self.forgotten:
                told = found.get(record.session_id, Counter())
                rings = [told.pop((what, record.receiver), 0) for what in ("ring", "stop") if record.receiver]
                assert rings in ([], [1, 1]) or (rings == [0, 0] and record.reason == Reason.BUSY), f"{record}: {rings}"
                assert told == _changes(record), f"of {record} was told {told}"


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
