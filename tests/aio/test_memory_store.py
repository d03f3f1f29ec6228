"""What the store in memory forgets, so that a service that runs for long does not grow."""

from __future__ import annotations

import asyncio
from typing import Any

from statecore import MemoryStore
from statecore.model import Line
from statecore.ports import EXPIRING, Key

_NOON = 1_700_000_000_000
_HOUR = 3_600_000


def test_what_has_expired_is_forgotten() -> None:
    """An hour after its time, with the next commit of something that expires; until then it is there, and so is what
    was deleted."""

    async def main() -> None:
        times = [_NOON]
        store = MemoryStore(now=lambda: times[-1])
        until = str(_NOON).encode()
        first: dict[Key, tuple[int, Any]] = {(kind, "a"): (0, until) for kind in EXPIRING}
        assert await store.commit({**first, ("bound", "b"): (0, until + b" phone"), ("revoked", "gone"): (0, until)})
        assert await store.commit({("revoked", "gone"): (1, None)})
        for passed, left in ((_HOUR - 1, {"a", "b"}), (_HOUR, set[str]())):
            times.append(_NOON + passed)
            later = str(times[-1] + 1).encode()
            assert await store.commit({("line", "x"): (passed - _HOUR + 1, Line("x", str(passed)))})
            assert await store.commit({("bound", f"new {passed}"): (0, later)})
            there = {name for (_, name), _ in await store.scan("bound")} - {f"new {_HOUR - 1}", f"new {_HOUR}"}
            assert there == left
            assert [name for (_, name), _ in await store.scan("revoked")] == ["a"] * bool(left)
        assert len(await store.scan("bound")) == 2

    asyncio.run(main())


def test_the_versions_of_deleted_keys_are_bounded() -> None:
    """Of very many keys that were deleted the newest keep their versions; one that is in use again keeps its own."""

    async def main() -> None:
        store = MemoryStore(2)
        keys: list[Key] = [("line", name) for name in "abcd"]
        for key in keys:
            assert await store.commit({key: (0, Line(key[1]))})
        assert await store.commit({keys[0]: (1, None)})
        assert await store.commit({keys[0]: (2, Line("a", "again"))})
        for key in keys[1:]:
            assert await store.commit({key: (1, None)})
        loaded = await store.load(keys)
        assert [loaded[key][0] for key in keys] == [3, 0, 2, 2]

    asyncio.run(main())
