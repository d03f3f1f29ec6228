"""The store that lives in the process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import Struct

from ..model import Record
from ..ports import EXPIRING, Key

_HOUR = 3_600_000
"""How often it is looked for what may be forgotten, and how much longer than told it is kept."""


class Entry(Struct, frozen=True, gc=False):
    """A record and its version: the lightest pair there is, as there are three of them for every call that rings."""

    version: int = 0
    value: Any = None


_NOTHING = Entry()
_GONE = Entry(1 << 32)
"""What was let go of. No record has been written as often."""


def _has_expired(value: bytes | None, now: int) -> bool:
    return value is not None and int(value.partition(b" ")[0]) <= now - _HOUR


class MemoryStore:
    """Versioned records in a dictionary for each kind. Keeps the newest `log_limit` ended calls, and the versions of as
    many deleted keys (all of them if None). `now` gives Unix milliseconds: what has expired by then, such as the
    revocation of a call token, is forgotten hourly with a commit (default: never).

    Of every older call it keeps a number of eight bytes that is made from the id, so that the id is not used again: of
    the newest `used_ids` of them, and of twice as many at most, in about 70 bytes each, so that a service that runs for
    ever does not grow for ever. Another id has the same number by a chance of one in 2**64 for each; a call with
    it is refused, as if its id had been used.

    Safe within one event loop: nothing is awaited between the check of the versions and the writing."""

    def __init__(
        self, log_limit: int | None = 10_000, *, used_ids: int = 500_000, now: Callable[[], int] = lambda: 0
    ) -> None:
        self._records: dict[str, dict[str, Entry]] = {}
        self._ended: deque[Key] = deque()
        self._gone: tuple[set[int], set[int]] = set(), set()
        """Of calls that were let go of: the newer ones, and those before them."""
        self._used_ids = used_ids
        self._deleted: deque[Key] = deque()
        self._limit = log_limit
        self._now = now
        self._pruned = 0

    async def load(self, keys: Iterable[Key]) -> dict[Key, tuple[int, Any]]:
        """Each key with its version and value."""
        found = {}
        for key in keys:
            entry = self._entry(key)
            found[key] = (entry.version, entry.value)
        return found

    async def commit(self, writes: Mapping[Key, tuple[int, Any]]) -> bool:
        """Write all, or nothing."""
        entries = {key: self._entry(key) for key in writes}
        for key, (version, _) in writes.items():
            if entries[key].version != version:
                return False
        expires = False
        for key, (version, value) in writes.items():
            old = entries[key].value
            if value is old and value is not None:
                continue  # a check of the version
            kind, name = key
            self._records.setdefault(kind, {})[name] = Entry(version + 1, value)
            expires = expires or kind in EXPIRING
            if type(value) is Record and value.end.at and not (type(old) is Record and old.end.at):
                self._ended.append(key)
            if value is None:
                self._deleted.append(key)
        self._forget(expires=expires)
        return True

    def _forget(self, *, expires: bool) -> None:
        """What is too old to be kept, and what has expired if this commit wrote something that does."""
        while self._limit is not None and len(self._ended) > self._limit:
            kind, name = self._ended.popleft()
            self._records[kind].pop(name, None)
            self._use_up(name)
        while self._limit is not None and len(self._deleted) > self._limit:
            key = self._deleted.popleft()
            if self._entry(key).value is None:
                self._records[key[0]].pop(key[1], None)
        if expires and (now := self._now()) - self._pruned >= _HOUR:
            self._pruned = now
            for kind in EXPIRING:
                entries = self._records.get(kind, {})
                self._records[kind] = {name: e for name, e in entries.items() if not _has_expired(e.value, now)}

    def _use_up(self, name: str) -> None:
        newer, _ = self._gone
        newer.add(hash(name))
        if len(newer) >= self._used_ids:
            self._gone = set(), newer

    async def scan(self, kind: str) -> list[tuple[Key, Any]]:
        """Every live record of a kind."""
        entries = self._records.get(kind, {})
        return [((kind, name), entry.value) for name, entry in entries.items() if entry.value is not None]

    def _entry(self, key: Key) -> Entry:
        entry = self._records.get(key[0], {}).get(key[1])
        if entry is not None:
            return entry
        used = key[0] == "call" and any(hash(key[1]) in ids for ids in self._gone)
        return _GONE if used else _NOTHING


__all__ = ["MemoryStore"]
