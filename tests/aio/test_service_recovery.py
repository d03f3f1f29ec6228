"""What a service does with the lines in a store that outlived its process, however many and however the store is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from statecore import CallService, MemoryStore
from statecore.errors import StoreConflict
from statecore.model import Device, Line
from statecore.ports import Key
from statecore.testing.stores import RefusingStore

_MANY = 1_001


class Counting(MemoryStore):
    """Counts the commits, and refuses all while it is told to."""

    commits = 0
    refusing = False

    async def commit(self, writes: Any) -> bool:
        """As it is told."""
        self.commits += 1
        return not self.refusing and await super().commit(writes)


async def _fill(store: MemoryStore, users: int) -> None:
    lines: dict[Key, Any] = {
        ("line", f"user{n}"): (0, Line(f"user{n}", devices=(Device("phone", "e", 1, True, 1),))) for n in range(users)
    }
    assert await store.commit({**lines, ("line", "nobody"): (0, Line("nobody"))})


async def _devices(store: MemoryStore) -> list[Device]:
    return [device for _, line in await store.scan("line") for device in line.devices]


def test_many_lines_are_taken_up_in_few_commits() -> None:
    """Every device has a whole lease again and counts as not online, and the disk is waited for a few times only."""

    async def main() -> None:
        store = Counting()
        await _fill(store, _MANY)
        before = store.commits
        async with CallService(store=store, key=b"k" * 32):
            devices = await _devices(store)
            assert len(devices) == _MANY
            assert all(device.lease > 1 and not device.online for device in devices)
            assert store.commits - before <= 5

    asyncio.run(main())


def test_lines_are_taken_up_again_where_a_commit_was_refused() -> None:
    """A refused commit is decided anew, as another service may have been there meanwhile."""

    async def main() -> None:
        inner = MemoryStore()
        await _fill(inner, 3)
        store = RefusingStore(inner)
        async with CallService(store=store, key=b"k" * 32):
            assert store.refused
            assert not any(device.online for device in await _devices(inner))

    asyncio.run(main())


def test_a_service_that_could_not_take_up_its_lines_does_so_when_it_is_tried_again() -> None:
    """Starting fails with StoreConflict while the store refuses, and works once it does not."""

    async def main() -> None:
        store = Counting()
        await _fill(store, 3)
        store.refusing = True
        service = CallService(store=store, key=b"k" * 32)
        with pytest.raises(StoreConflict):
            await service.__aenter__()
        store.refusing = False
        async with service:
            assert not any(device.online for device in await _devices(store))

    asyncio.run(main())
