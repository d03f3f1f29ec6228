"""The store that lives in the process."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from ..model import Record
from ..ports import Key


class MemoryStore:
    """Versioned records in a dictionary. Keeps the newest `log_limit` ended calls (all of them if None).

    Safe within one event loop: nothing is awaited between the check of the versions and the writing."""

    def __init__(self, log_limit: int | None = 10_000) -> None:
        self._records: dict[Key, tuple[int, Any]] = {}
        self._ended: deque[Key] = deque()
        self._limit = log_limit

    async def load(self, keys: Iterable[Key]) -> dict[Key, tuple[int, Any]]:
        """Each key with its version and value."""
        records = self._records
        return {key: records.get(key, (0, None)) for key in keys}

    async def commit(self, writes: Mapping[Key, tuple[int, Any]]) -> bool:
        """Write all, or nothing."""
        records = self._records
        for key, (version, _) in writes.items():
            if records.get(key, (0, None))[0] != version:
                return False
        for key, (version, value) in writes.items():
            old = records.get(key, (0, None))[1]
            if value is old and value is not None:
                continue  # a check of the version
            records[key] = (version + 1, value)
            if type(value) is Record and value.ended_at and not (type(old) is Record and old.ended_at):
                self._ended.append(key)
        while self._limit is not None and len(self._ended) > self._limit:
            self._records.pop(self._ended.popleft(), None)
        return True

    async def scan(self, kind: str) -> list[tuple[Key, Any]]:
        """Every live record of a kind."""
        return [(key, value) for key, (_, value) in self._records.items() if key[0] == kind and value is not None]
