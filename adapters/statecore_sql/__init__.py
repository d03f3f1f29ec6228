"""A store in a SQLite file.

On the `sqlite3` of the standard library: nothing to install, and one thread of our own keeps the loop free.
PostgreSQL is not supported yet.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from statecore.errors import StoreUnusable
from statecore.model import Line, Record
from statecore.ports import Key

T = TypeVar("T")

_SCHEMA = 2
_MARK = 0x53746361
"""SQLite's `application_id` of our files."""
_ADVICE = {
    "SQLITE_NOTADB": "it is not a SQLite database: choose another file",
    "SQLITE_CORRUPT": "it is damaged: put a copy back that you have saved",
    "SQLITE_BUSY": "another process keeps it locked: stop that one, or choose another file",
    "SQLITE_READONLY": "it may not be written: give this process the right to, for its directory as well",
    "SQLITE_PERM": "it may not be written: give this process the right to, for its directory as well",
    "SQLITE_CANTOPEN": "it cannot be opened: check that its directory is there and may be written",
    "SQLITE_FULL": "the disk is full: make room",
    "SQLITE_IOERR": "the disk does not read or write: see what is wrong with it",
}
"""By the beginning of SQLite's name for what it met."""
_TYPES: dict[str, Any] = {"call": Record, "line": Line}
_CREATE = """CREATE TABLE IF NOT EXISTS records (
    place INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, value BLOB,
    over INTEGER NOT NULL DEFAULT 0, UNIQUE (kind, id))"""
_SINCE_2 = "ALTER TABLE records ADD COLUMN over INTEGER NOT NULL DEFAULT 0"
"""Since when a call is over, in Unix milliseconds; 0 for what is not, and for all other kinds."""
_INDEX = "CREATE INDEX IF NOT EXISTS records_over ON records (over) WHERE over > 0"
_WRITE = """INSERT INTO records (kind, id, version, value, over) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (kind, id) DO UPDATE SET version = excluded.version, value = excluded.value, over = excluded.over"""
_PRUNE = "DELETE FROM records WHERE over > 0 AND over <= ?"
_HOUR = 3_600_000


class SqliteStore:
    """Versioned records in a SQLite file, which is made if it is missing.

    A commit that returned True is on the disk (WAL, synchronous=FULL; with NORMAL a loss of power could take the newest
    commits back). A cancelled commit may have been written or not.

    `keep` is for how many seconds a call stays in the log after its end (default: for ever): older ones are removed
    when the file is opened, and hourly with a commit. `now` gives Unix milliseconds.

    Raises StoreUnusable, which says what to do, if the file is no database, another program's, or of a newer version;
    if it cannot be opened, read or written; and if another process kept it locked for `patience` seconds."""

    def __init__(
        self,
        path: str | Path,
        *,
        patience: float = 5.0,
        keep: float | None = None,
        now: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._path = str(path)
        self._keep = keep
        self._now = now
        self._pruned = now()
        self._thread = ThreadPoolExecutor(1, "statecore-sqlite")
        try:
            self._db = self._thread.submit(_opened, self._path, patience, self._oldest()).result()
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
            key: (
                version,
                value if value is None or key[0] not in _TYPES else msgspec.msgpack.encode(value),
                _over(value),
            )
            for key, (version, value) in writes.items()
        }

        def write() -> bool:
            old = {key: self._row(key) for key in rows}
            if any(old[key][0] != version for key, (version, _, _) in rows.items()):
                return False
            for key, (version, data, over) in rows.items():
                if data is None or data != old[key][1]:
                    self._db.execute(_WRITE, (*key, version + 1, data, over))
            if self._now() - self._pruned >= _HOUR:
                self._pruned = self._now()
                self._db.execute(_PRUNE, (self._oldest(),))
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

    def _oldest(self) -> int:
        """Until when a call must have been over to be removed; 0 for none."""
        return self._now() - round(self._keep * 1000) if self._keep is not None else 0

    def _row(self, key: Key) -> tuple[int, bytes | None]:
        row = self._db.execute("SELECT version, value FROM records WHERE kind = ? AND id = ?", key).fetchone()
        return row or (0, None)

    async def _run(self, begin: str, work: Callable[[], T]) -> T:
        def transaction() -> T:
            try:
                self._db.execute(begin)
                done = work()
                self._db.execute("COMMIT")
            except BaseException as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.DatabaseError):
                    raise StoreUnusable(store=self._path, why=_why(error)) from error
                raise
            return done

        return await asyncio.get_running_loop().run_in_executor(self._thread, transaction)


def _opened(path: str, patience: float, oldest: int) -> sqlite3.Connection:
    # Secrets are kept here, too: a new file is for its owner only. What is wrong with a path, SQLite says below.
    with suppress(OSError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
    try:
        db = sqlite3.connect(path, isolation_level=None, timeout=patience)
        try:
            _begin(db, path, oldest)
        except BaseException:
            db.close()
            raise
    except sqlite3.DatabaseError as error:
        raise StoreUnusable(store=path, why=_why(error)) from error
    return db


def _begin(db: sqlite3.Connection, path: str, oldest: int) -> None:
    """Check whose file it is before anything is written to it."""
    (mark,), (version,) = (db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version"))
    if mark not in (0, _MARK) or (mark == 0 and db.execute("SELECT 1 FROM sqlite_schema").fetchone()):
        raise StoreUnusable(store=path, why="it is another program's database: choose another file")
    if version > _SCHEMA:
        raise StoreUnusable(store=path, why="a newer statecore wrote it: update statecore, or choose another file")
    if db.execute("PRAGMA journal_mode=WAL").fetchone()[0] != "wal":
        raise StoreUnusable(store=path, why="SQLite cannot keep a write-ahead log there: choose a file on a local disk")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("BEGIN IMMEDIATE")
    db.execute(_CREATE)
    if version == 1:
        _to_2(db)
    db.execute(_INDEX)
    db.execute(_PRUNE, (oldest,))
    db.execute(f"PRAGMA application_id={_MARK}")
    db.execute(f"PRAGMA user_version={_SCHEMA}")
    db.execute("COMMIT")


def _to_2(db: sqlite3.Connection) -> None:
    db.execute(_SINCE_2)
    for place, data in db.execute(
        "SELECT place, value FROM records WHERE kind = 'call' AND value IS NOT NULL"
    ).fetchall():
        db.execute("UPDATE records SET over = ? WHERE place = ?", (_over(_decoded("call", data)), place))


def _over(value: Any) -> int:
    """Since when this is a call that is over. A second name of a call has no end of its own."""
    if not isinstance(value, Record):
        return 0
    return value.initiated_at if value.merged_into else value.ended_at


def _why(error: sqlite3.DatabaseError) -> str:
    """What SQLite found, and what to do."""
    name = getattr(error, "sqlite_errorname", "")
    return next((advice for start, advice in _ADVICE.items() if name.startswith(start)), str(error))


def _decoded(kind: str, data: bytes | None) -> Any:
    return data if data is None or kind not in _TYPES else msgspec.msgpack.decode(data, type=_TYPES[kind])


__all__ = ["SqliteStore"]
