"""The conformance suite for stores: the store in memory passes it, and stores with a fault do not."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from unittest import SkipTest

import pytest
from msgspec.structs import replace

from statecore import MemoryStore, testing
from statecore.errors import StoreConflict
from statecore.model import Record
from statecore.ports import Key, Store
from statecore.testing import RefusingStore, SlowStore, StoreConformance


class _Suite(StoreConformance):
    make: Callable[[], Store]

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Store]:
        """A new one."""
        yield type(self).make()


class TestMemoryStore(_Suite):
    """The store in memory."""

    make = MemoryStore


class TestSlowStore(_Suite):
    """A slow store is as good a store as the one behind it."""

    make = staticmethod(lambda: SlowStore(MemoryStore(), turns=3))  # type: ignore[assignment]


class _Faulty(MemoryStore):
    """Does what it should; those below have one fault each."""


class _Forgets(_Faulty):
    async def commit(self, writes: Mapping[Key, tuple[int, Any]]) -> bool:
        done = await super().commit(writes)
        for key, (_, value) in writes.items():
            if value is None:
                del self._records[key[0]][key[1]]
        return done


class _Halves(_Faulty):
    async def commit(self, writes: Mapping[Key, tuple[int, Any]]) -> bool:
        done = [await super(_Halves, self).commit({key: write}) for key, write in writes.items()]
        return all(done)


class _TakesAnything(_Faulty):
    async def commit(self, writes: Mapping[Key, tuple[int, Any]]) -> bool:
        versions = {key: version for key, (version, _) in (await self.load(writes)).items()}
        return await super().commit({key: (versions[key], value) for key, (_, value) in writes.items()})


class _TearsReads(_Faulty):
    async def load(self, keys: Iterable[Key]) -> dict[Key, tuple[int, Any]]:
        loaded: dict[Key, tuple[int, Any]] = {}
        for key in keys:
            loaded |= await super().load([key])
            await asyncio.sleep(0)
        return loaded


class _ScansTheDead(_Faulty):
    async def scan(self, kind: str) -> list[tuple[Key, Any]]:
        return [((kind, name), entry.value) for name, entry in self._records.get(kind, {}).items()]


class _ScansBackwards(_Faulty):
    async def scan(self, kind: str) -> list[tuple[Key, Any]]:
        return (await super().scan(kind))[::-1]


class _Skips(_Faulty):
    async def commit(self, writes: Mapping[Key, tuple[int, Any]]) -> bool:
        done = await super().commit(writes)
        if done:
            for kind, name in writes:
                entry = self._records[kind][name]
                self._records[kind][name] = replace(entry, version=entry.version + 1)
        return done


class _ConflictsAlways(_Faulty):
    async def commit(self, writes: Mapping[Key, tuple[int, Any]]) -> bool:
        return False if len(writes) > 1 else await super().commit(writes)


class _Blurs(_Faulty):
    """A field of calls is lost on the way."""

    async def commit(self, writes: Mapping[Key, tuple[int, Any]]) -> bool:
        return await super().commit(
            {
                key: (version, replace(value, answered_at=0) if isinstance(value, Record) else value)
                for key, (version, value) in writes.items()
            }
        )


class _Absent(_Faulty):
    async def load(self, keys: Iterable[Key]) -> dict[Key, tuple[int, Any]]:
        return {key: found for key, found in (await super().load(keys)).items() if found[1] is not None}


class _Forgetful(_Suite):
    """A suite of a store that is empty when it is opened again."""

    make = MemoryStore

    @asynccontextmanager
    async def reopened(self, store: Store) -> AsyncIterator[Store]:
        """One that was never written to."""
        del store
        yield MemoryStore()


class _Durable(_Suite):
    """A suite of a store that outlives its process."""

    make = MemoryStore

    @asynccontextmanager
    async def reopened(self, store: Store) -> AsyncIterator[Store]:
        """The same once more."""
        yield store


@pytest.mark.parametrize(
    ("make", "test"),
    [
        (_Forgets, "test_a_deleted_key_keeps_its_version"),
        (_Halves, "test_a_stale_version_writes_nothing_at_all"),
        (_TakesAnything, "test_of_many_writers_none_loses"),
        (_TakesAnything, "test_a_check_holds_or_refuses"),
        (_TearsReads, "test_of_many_writers_none_loses"),
        (_ScansTheDead, "test_a_deleted_key_keeps_its_version"),
        (_ScansBackwards, "test_a_scan_finds_what_lives_in_order"),
        (_Skips, "test_a_write_counts_up"),
        (_ConflictsAlways, "test_of_many_writers_none_loses"),
        (_Absent, "test_what_was_never_written_is_absent"),
        (_Blurs, "test_whole_calls_are_carried"),
    ],
)
def test_each_fault_is_found(make: Callable[[], Store], test: str) -> None:
    """A store with one fault fails the test that is about it."""

    class Suite(_Suite):
        pass

    Suite.make = staticmethod(make)  # type: ignore[assignment]
    with pytest.raises((AssertionError, StoreConflict, KeyError)):
        getattr(Suite(), test)()


def test_a_store_that_outlives_its_process_is_held_to_it() -> None:
    """One that says so, and holds nothing when it is opened again, fails; one that holds all does not."""
    _Durable().test_what_was_committed_outlives_the_store()
    with pytest.raises(AssertionError):
        _Forgetful().test_what_was_committed_outlives_the_store()


def test_what_a_store_does_not_say_is_not_held_to_have_been_shown() -> None:
    """A store that does not say how it is opened again, or finds no calls by itself, is not told that it passes that:
    the test is skipped, and says why."""

    class Slow(_Suite):
        make = staticmethod(lambda: SlowStore(MemoryStore()))  # type: ignore[assignment]

    with pytest.raises(SkipTest, match="`reopened`"):
        Slow().test_what_was_committed_outlives_the_store()
    with pytest.raises(SkipTest, match="CallIndex"):
        Slow().test_calls_are_found_as_they_are()


def test_the_base_wants_a_store() -> None:
    """Who inherits the suite has to say which store it is about."""
    with pytest.raises(NotImplementedError):
        StoreConformance().test_a_write_counts_up()


def test_every_second_commit_is_refused() -> None:
    """A refusing store refuses the first commit and takes the second, and counts; nothing else is different."""

    async def main() -> None:
        store = RefusingStore(MemoryStore())
        key: Key = ("line", "a")
        assert [await store.commit({key: (n // 2, n)}) for n in range(4)] == [False, True, False, True]
        assert await store.load([key]) == {key: (2, 3)}
        assert await store.scan("line") == [(key, 3)]
        assert (store.commits, store.refused) == (4, 2)

    asyncio.run(main())


def test_a_slow_store_lets_others_run() -> None:
    """Between a call and its answer others have had their turns."""

    async def main() -> None:
        store, turns = SlowStore(MemoryStore(), turns=2), 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(others())
        seen = [turns]
        for work in (store.load([]), store.commit({}), store.scan("line")):
            await work
            seen.append(turns)
        assert all(after - before >= 4 for before, after in itertools.pairwise(seen))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_the_context_is_the_store_s_own() -> None:
    """A store is opened and released by its own context manager."""
    assert isinstance(TestMemoryStore().opened(), AbstractAsyncContextManager)


def test_the_kit_lists_its_names() -> None:
    """Every public name of the kit can be had, and there are no others."""
    assert dir(testing) == sorted(testing.__all__)
    assert all(getattr(testing, name).__module__.startswith("statecore.testing") for name in testing.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = testing.nothing
