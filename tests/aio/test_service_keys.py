"""The key of a service's tokens, in a store that other services write to at the same time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from statecore import CallService, MemoryStore
from statecore.errors import InvalidArgument, StoreConflict
from statecore.testing.stores import RefusingStore


class Taken(MemoryStore):
    """A store in which somebody else is always faster."""

    async def commit(self, _writes: Any) -> bool:
        """Not this time."""
        return False


def test_a_key_that_could_not_be_written_is_written_again() -> None:
    """A commit that was refused is made again, and the next service on the store takes tokens by the same key."""

    async def main() -> None:
        store = RefusingStore(MemoryStore())
        async with CallService(store=store) as one:
            assert store.refused >= 1
            await one.register_user("alice")
            token = await one.generate_token("alice", "room")
        async with CallService(store=store) as other:
            await other.revoke_token(token)

    asyncio.run(main())


def test_a_service_does_not_start_without_its_key() -> None:
    """Where nothing can be written, starting fails with StoreConflict, after as many attempts as the settings say."""

    async def main() -> None:
        async with CallService(store=Taken()):
            raise AssertionError("it has no key")

    with pytest.raises(StoreConflict):
        asyncio.run(main())


@pytest.mark.parametrize("key", [b"", b"short"])
def test_a_key_that_signs_nothing_is_refused_at_once(key: bytes) -> None:
    """A key that is empty or too short is an error when the service is made, and not with the first token."""
    with pytest.raises(InvalidArgument, match="32 bytes"):
        CallService(key=key)
