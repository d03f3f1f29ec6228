"""A store in a SQLite file.

On the `sqlite3` of the standard library: nothing to install, and one thread of our own keeps the loop free.
PostgreSQL is not supported yet.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from statecore.model import Line, Record
from statecore.ports import Key

T = TypeVar("T")

_SCHEMA = 1
_TYPES: dict[str, Any] = {"call": Record, "line": Line}
_CREATE = """CREATE TABLE IF NOT EXISTS records (
    place INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, value BLOB,
    UNIQUE (kind, id))"""
_WRITE = """INSERT INTO records (kind, id, version, value) VALUES (?, ?, ?, ?)
    ON CONFLICT (kind, id) DO UPDATE SET version = excluded.version, value = excluded.value"""


class StoreUnusable(Exception):
    """The file cannot be used as a store; the message says why and what to do."""


class SqliteStore:
    """Versioned records in a SQLite file, which is made if it is missing.

    A commit that returned True is on the disk (WAL, synchronous=FULL; with NORMAL a loss of power could take the newest
    commits back). A cancelled commit may have been written or not. Nothing is ever removed: ended calls stay.

    Raises StoreUnusable if the file is no database or of a newer version; whatever else SQLite refuses (locked,
    read-only, full disk) is raised as its own sqlite3.OperationalError."""

    def __init__(self, path: str | Path) -> None:
        self._thread = ThreadPoolExecutor(1, "statecore-sqlite")
        try:
            self._db = self._thread.submit(_opened, str(path)).result()
        except BaseException:
            self._thread.shutdown()
            raise

    async def load(self, keys: Iterable[Key]) -> dict[Key, tuple[int, Any]]:
        """Each key with its version and value, all read in one transaction."""
        wanted = list(keys)

        def read() -> dict[Key, tuple[int, Any]]:
            found = {key: self._row(key) for key in wanted}
            return {key: (version, _decoded(key[0], data)) for key, (version, data) in found.items()}

        return await self._run("BEGIN", read)

    async def commit(self, writes: Mapping[Key, tuple[int, Any]]) -> bool:
        """Write all, or nothing."""
        rows = {
            key: (version, value if value is None or key[0] not in _TYPES else msgspec.msgpack.encode(value))
            for key, (version, value) in writes.items()
        }

        def write() -> bool:
            old = {key: self._row(key) for key in rows}
            if any(old[key][0] != version for key, (version, _) in rows.items()):
                return False
            for key, (version, data) in rows.items():
                if data is None or data != old[key][1]:
                    self._db.execute(_WRITE, (*key, version + 1, data))
            return True

        return await self._run("BEGIN IMMEDIATE", write)

    async def scan(self, kind: str) -> list[tuple[Key, Any]]:
        """Every live record of a kind."""
        query = "SELECT id, value FROM records WHERE kind = ? AND value IS NOT NULL ORDER BY place"

        def read() -> list[tuple[Key, Any]]:
            return [((kind, name), _decoded(kind, data)) for name, data in self._db.execute(query, (kind,))]

        return await self._run("BEGIN", read)

    def close(self) -> None:
        """Finish what was begun and release the file. Closing again does nothing."""
        try:
            self._thread.submit(self._db.close).result()
        except RuntimeError:
            return  # closed before
        self._thread.shutdown()

    def _row(self, key: Key) -> tuple[int, bytes | None]:
        row = self._db.execute("SELECT version, value FROM records WHERE kind = ? AND id = ?", key).fetchone()
        return row or (0, None)

    async def _run(self, begin: str, work: Callable[[], T]) -> T:
        def transaction() -> T:
            self._db.execute(begin)
            try:
                done = work()
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            return done

        return await asyncio.get_running_loop().run_in_executor(self._thread, transaction)


def _opened(path: str) -> sqlite3.Connection:
    # Secrets are kept here, too: a new file is for its owner only.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
    db = sqlite3.connect(path, isolation_level=None)
    try:
        _check_version(db, path)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute(_CREATE)
        db.execute(f"PRAGMA user_version={_SCHEMA}")
    except BaseException as error:
        db.close()
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            raise StoreUnusable(f"{path} is not a SQLite database: choose another file") from error
        raise
    return db


def _check_version(db: sqlite3.Connection, path: str) -> None:
    if db.execute("PRAGMA user_version").fetchone()[0] > _SCHEMA:
        raise StoreUnusable(f"{path} was written by a newer statecore: update statecore, or choose another file")


def _decoded(kind: str, data: bytes | None) -> Any:
    return data if data is None or kind not in _TYPES else msgspec.msgpack.decode(data, type=_TYPES[kind])


__all__ = ["SqliteStore", "StoreUnusable"]
