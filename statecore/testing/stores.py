"""Stores for tests: the conformance suite for stores, and stores that make life hard for who uses them.

`StoreConformance` is what a store's tests inherit. `RefusingStore` and `SlowStore` stand in front of another store:
what works over them does not rest on luck with conflicts, or on a store that answers at once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any
from unittest import SkipTest

from msgspec.structs import replace

from ..errors import StoreConflict
from ..model import Control, Ending, Leg, Line, Record, Status, people
from ..ports import CallIndex, Key, Place, Store
from .pair import CallPair


class RefusingStore:
    """Refuses every second commit, as if another node had been faster, and passes on everything else."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.commits = 0
        """How many commits were asked for."""
        self.refused = 0
        """How many of them were refused without need."""

    async def load(self, keys: Iterable[Key]) -> dict[Key, tuple[int, Any]]:
        """As the inner store says."""
        return await self.inner.load(keys)

    async def commit(self, writes: Mapping[Key, tuple[int, Any]]) -> bool:
        """False every other time, beginning with the first."""
        self.commits += 1
        if self.commits % 2:
            self.refused += 1
            return False
        return await self.inner.commit(writes)

    async def scan(self, kind: str) -> list[tuple[Key, Any]]:
        """As the inner store says."""
        return await self.inner.scan(kind)


class SlowStore:
    """Lets others run for some turns of the loop before and after everything it does, so that decisions interleave."""

    def __init__(self, inner: Store, turns: int = 1) -> None:
        self.inner = inner
        self.turns = turns
        """How many turns each time."""

    async def load(self, keys: Iterable[Key]) -> dict[Key, tuple[int, Any]]:
        """As the inner store says, in a while."""
        await self._turns()
        loaded = await self.inner.load(keys)
        await self._turns()
        return loaded

    async def commit(self, writes: Mapping[Key, tuple[int, Any]]) -> bool:
        """As the inner store says, in a while."""
        await self._turns()
        done = await self.inner.commit(writes)
        await self._turns()
        return done

    async def scan(self, kind: str) -> list[tuple[Key, Any]]:
        """As the inner store says, in a while."""
        await self._turns()
        found = await self.inner.scan(kind)
        await self._turns()
        return found

    async def _turns(self) -> None:
        for _ in range(self.turns):
            await asyncio.sleep(0)


def _place(record: Record) -> Place:
    return record.initiated_at, record.session_id


def _asked(chance: random.Random, places: list[Place]) -> dict[str, Any]:
    """What may be asked of an index."""
    ends = sorted([chance.choice([(-1, ""), (5, ""), (99, ""), *places]) for _ in range(2)])
    return {
        "user": chance.choice([None, None, "a", "b", "nobody"]), "live": chance.choice([None, True, False]),
        "above": ends[0], "below": ends[1], "newest": chance.random() < 0.5, "limit": chance.choice([None, 1, 3]),
    }  # fmt: skip


def _expected(
    calls: list[Record], user: str | None, live: bool | None, above: Place, below: Place, newest: bool,
    limit: int | None,
) -> list[Record]:  # fmt: skip
    fitting = [
        call
        for call in (reversed(calls) if newest else calls)
        if (user is None or user in people(call)) and live in (None, not call.end.at) and above < _place(call) < below
    ]
    return fitting[:limit]


_A, _B, _C, _OTHER = ("line", "a"), ("line", "b"), ("call", "c"), ("of others", "d")
_CALL = Record("c", "ringing", "audio", "a", "b", end=Ending(1))
_ONE, _TWO, _THREE = Line("one"), Line("two"), Line("three")
_LONGEST = 20.0
"""Seconds that calls may take on a store that works; a fraction of one is enough."""


class StoreConformance:
    """What every `Store` must do, as tests. Inherit, and override `opened`; and `reopened`, where
    records outlive the store's process. What a store need not do and does not is skipped (`unittest.SkipTest`).

    Values are what the switchboard writes, Line and Record, and bytes for kinds of others. A store may hand back the
    value it was given, or an equal one. Every test uses a store of its own, in a loop of its own."""

    def opened(self) -> AbstractAsyncContextManager[Store]:
        """A new and empty store; leaving releases it."""
        raise NotImplementedError

    def reopened(self, store: Store) -> AbstractAsyncContextManager[Store] | None:
        """Another store with the same records, as after a restart: release `store` first, which `opened` may release
        once more. None if records do not outlive the process, as of a store in memory."""
        del store
        return None

    def run(self, main: Coroutine[Any, Any, None]) -> None:
        """Run one test. Override to use another loop."""
        asyncio.run(main)

    def test_what_was_never_written_is_absent(self) -> None:
        """A key that was never written has version 0 and no value, and scanning finds nothing."""

        async def main() -> None:
            async with self.opened() as store:
                assert await store.load([_A, _C]) == {_A: (0, None), _C: (0, None)}
                assert await store.load([]) == {}
                assert await store.scan("line") == []

        self.run(main())

    def test_a_write_counts_up(self) -> None:
        """A commit with the right versions writes every value, and each version goes up by one."""

        async def main() -> None:
            async with self.opened() as store:
                assert await store.commit({_A: (0, _ONE), _B: (0, _TWO)})
                assert await store.load([_A, _B]) == {_A: (1, _ONE), _B: (1, _TWO)}
                assert await store.commit({_A: (1, _THREE)})
                assert await store.load([_B, _A]) == {_A: (2, _THREE), _B: (1, _TWO)}

        self.run(main())

    def test_a_stale_version_writes_nothing_at_all(self) -> None:
        """If one of several versions is not the expected one, too old or too new, nothing is written."""

        async def main() -> None:
            async with self.opened() as store:
                assert await store.commit({_A: (0, _ONE)})
                for wrong in (0, 2):
                    assert not await store.commit({_B: (0, _TWO), _A: (wrong, _THREE)})
                    assert not await store.commit({_A: (wrong, _THREE), _B: (0, _TWO)})
                assert await store.load([_A, _B]) == {_A: (1, _ONE), _B: (0, None)}

        self.run(main())

    def test_a_deleted_key_keeps_its_version(self) -> None:
        """Deleting is a write, of whatever kind: the version goes up, no scan finds the key, and it may be written
        again. So what was a call is told from what never was."""
        writes: list[tuple[Key, Any, Any]] = [(_A, _ONE, _TWO), (_C, _CALL, _CALL), (("other", "d"), b"1", b"2")]

        async def main() -> None:
            async with self.opened() as store:
                for key, one, two in writes:
                    assert await store.commit({key: (0, one)})
                    assert await store.commit({key: (1, None)})
                    assert await store.load([key]) == {key: (2, None)}
                    assert await store.scan(key[0]) == []
                    assert not await store.commit({key: (0, two)})
                    assert await store.commit({key: (2, two)})
                    assert await store.load([key]) == {key: (3, two)}

        self.run(main())

    def test_a_check_holds_or_refuses(self) -> None:
        """Writing the value that is there checks the version: it lets the other writes through, or stops them."""

        async def main() -> None:
            async with self.opened() as store:
                assert await store.commit({_A: (0, _ONE)})
                value = (await store.load([_A]))[_A][1]
                assert await store.commit({_A: (1, value), _B: (0, _TWO)})
                version, after = (await store.load([_A]))[_A]
                assert after == _ONE
                assert await store.commit({_A: (version, _THREE)})
                assert not await store.commit({_A: (version, value), _B: (1, _ONE)})
                assert (await store.load([_B]))[_B] == (1, _TWO)

        self.run(main())

    def test_a_scan_finds_what_lives_in_order(self) -> None:
        """A scan gives the live records of one kind in the order of first writing, however often rewritten."""

        async def main() -> None:
            async with self.opened() as store:
                record = Record("c", "ringing", "audio", "a", "b")
                assert await store.commit({_B: (0, _TWO)})
                assert await store.commit({_A: (0, _ONE), _C: (0, record)})
                assert await store.commit({_B: (1, _THREE)})
                assert await store.scan("line") == [(_B, _THREE), (_A, _ONE)]
                assert await store.scan("call") == [(_C, record)]

        self.run(main())

    def test_other_kinds_are_kept_as_bytes(self) -> None:
        """A kind that the store never heard of is written, read, found, changed and deleted like the others."""

        async def main() -> None:
            async with self.opened() as store:
                key, value = ("of others", "a"), bytes(range(256))
                assert await store.commit({key: (0, value), _A: (0, _ONE)})
                assert await store.load([key]) == {key: (1, value)}
                assert await store.scan("of others") == [(key, value)]
                assert await store.commit({key: (1, b"")})
                assert await store.scan("of others") == [(key, b"")]
                assert await store.commit({key: (2, None)})
                assert await store.load([key]) == {key: (3, None)}

        self.run(main())

    def test_what_was_committed_outlives_the_store(self) -> None:
        """A store that was opened again holds every value, in the order of first writing, each at its version, those
        of deleted keys too; and goes on from there."""

        async def main() -> None:
            async with self.opened() as store:
                assert await store.commit({_B: (0, _TWO), _C: (0, _CALL)})
                assert await store.commit({_A: (0, _ONE), _OTHER: (0, b"1")})
                assert await store.commit({_B: (1, _THREE), _C: (1, None)})
                reopened = self.reopened(store)
                if reopened is None:
                    raise SkipTest("optional: `reopened` does not say how the store is opened again")
                async with reopened as again:
                    expected = {_A: (1, _ONE), _B: (2, _THREE), _C: (2, None), _OTHER: (1, b"1")}
                    assert await again.load(expected) == expected
                    assert await again.scan("line") == [(_B, _THREE), (_A, _ONE)]
                    assert not await again.commit({_A: (0, _TWO)})
                    assert await again.commit({_A: (1, _TWO), _C: (2, _CALL)})

        self.run(main())

    def test_whole_calls_are_carried(self) -> None:
        """A service on the store carries a call from the first ring to the log, and after it neither line is busy: the
        next call is the other way round."""

        async def main() -> None:
            async with asyncio.timeout(_LONGEST), self.opened() as store, CallPair(service={"store": store}) as pair:
                hers, his = await pair.talk()
                await his.end()
                (row,) = await pair.service.call_log()
                assert row.end_reason == await hers.wait_ended()
                assert [row.initiator, row.receiver] == [each.uid for each in row.participants] == ["alice", "bob"]
                assert None not in (row.initiated_at, row.ringing_at, row.answered_at, row.active_at, row.ended_at)
                again = await pair.callee.initiate_call("alice")
                await again.cancel()
                assert {seen.status for seen in await pair.service.call_log()} == {Status.ENDED, Status.CANCELLED}

        self.run(main())

    def test_calls_are_found_as_they_are(self) -> None:
        """A store that finds calls by itself (a `CallIndex`) finds, of everybody and of each of their people, live and
        ended, from either end and between any two places, just those that a scan shows: after calls were made, joined,
        ended, merged into others, and deleted."""

        async def main() -> None:
            async with self.opened() as store:
                if not isinstance(store, CallIndex):
                    raise SkipTest("optional: it is no CallIndex, and finds no calls by itself")
                chance = random.Random(1)
                for _ in range(4):
                    await self._change_calls(store, chance)
                    calls = [record for _, record in await store.scan("call") if not record.merged_into]
                    calls.sort(key=_place)
                    assert await store.count_live() == sum(not call.end.at for call in calls)
                    for _ in range(40):
                        asked = _asked(chance, [_place(call) for call in calls])
                        found = [call.session_id for call in await store.find_calls(**asked)]
                        assert found == [call.session_id for call in _expected(calls, **asked)], asked

        self.run(main())

    async def _change_calls(self, store: Store, chance: random.Random) -> None:
        """Some calls are made, and something happens to some that there are."""
        keys = [("call", f"s{number}") for number in range(40)]
        loaded = await store.load(keys)
        writes: dict[Key, tuple[int, Any]] = {}
        for key in chance.sample(keys, 20):
            version, old = loaded[key]
            if version and old is None:
                continue  # an id is never used twice
            caller, callee = chance.sample("abcd", 2)
            made = Record(key[1], "ringing", "audio", caller, callee, initiated_at=chance.randint(1, 9))
            leg = Leg("1", chance.choice("abcd"), "phone", "e", Control("active", "member"))
            changes: list[Record | None] = [made] if old is None else [
                None, replace(old, end=Ending(10)), replace(old, merged_into="s0"), replace(old, legs=(*old.legs, leg)),
            ]  # fmt: skip
            writes[key] = version, chance.choice(changes)
        assert await store.commit(writes)

    def test_of_many_writers_none_loses(self) -> None:
        """Writers that read, think and write the same keys at once never lose a write of another."""

        async def main() -> None:
            async with self.opened() as store:
                before = sum(version for version, _ in (await store.load([_A, _B])).values())
                writers, rounds = 4, 5
                reader = asyncio.ensure_future(self._read(store))
                try:
                    refusals = await asyncio.gather(*(self._write(store, str(n), rounds) for n in range(writers)))
                finally:
                    reader.cancel()
                    await asyncio.wait((reader,))
                assert reader.cancelled(), "two keys were read at two instants"
                loaded = await store.load([_A, _B])
                assert all(len(value.sessions) == writers * rounds for _, value in loaded.values())
                assert sum(version for version, _ in loaded.values()) == before + 2 * writers * rounds
                assert sum(refusals) > 0, "no conflict was forced"

        self.run(main())

    async def _write(self, store: Store, name: str, rounds: int) -> int:
        refused = 0
        for number in range(rounds):
            for _ in range(1000):
                loaded = await store.load([_A, _B])
                await asyncio.sleep(0)
                lines = {key: (version, value or Line("n")) for key, (version, value) in loaded.items()}
                said = f"{name}.{number}"
                writes = {
                    key: (version, Line("n", sessions=(*line.sessions, said))) for key, (version, line) in lines.items()
                }
                if await store.commit(writes):
                    break
                refused += 1
            else:
                raise StoreConflict(attempts=1000)
        return refused

    async def _read(self, store: Store) -> None:
        pause = 0
        while True:
            values = [value for _, value in (await store.load([_A, _B])).values()]
            assert values[0] == values[1]
            pause = pause % 5 + 1
            for _ in range(pause):
                await asyncio.sleep(0)


__all__ = ["RefusingStore", "SlowStore", "StoreConformance"]
