"""A store in a SQLite file, on the `sqlite3` of the standard library."""

from __future__ import annotations

import asyncio
import itertools
import os
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from statecore.errors import StoreUnusable
from statecore.ports import Key

from ._lock import Lock, lock_of
from ._records import INDEX, LISTS, SCAN, Row, SqlStore, decoded, renewed, wall

T = TypeVar("T")

_SCHEMA = 4
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
_CREATE = """CREATE TABLE IF NOT EXISTS records (
    place INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, value BLOB,
    over INTEGER NOT NULL DEFAULT 0, made INTEGER NOT NULL DEFAULT -1, UNIQUE (kind, id))"""
_PEOPLE = """CREATE TABLE IF NOT EXISTS people (
    person TEXT NOT NULL, made INTEGER NOT NULL, id TEXT NOT NULL, PRIMARY KEY (person, made, id)) WITHOUT ROWID"""
_SINCE = {
    2: "ALTER TABLE records ADD COLUMN over INTEGER NOT NULL DEFAULT 0",
    3: "ALTER TABLE records ADD COLUMN made INTEGER NOT NULL DEFAULT -1",
}
"""What the versions of the file brought; the fourth another way to say how a call ended."""
_ROW = "SELECT version, value FROM records WHERE kind = ? AND id = ?"
_WRITE = """INSERT INTO records (kind, id, version, value, over, made) VALUES {}
    ON CONFLICT (kind, id) DO UPDATE SET version = excluded.version, value = excluded.value, over = excluded.over,
        made = excluded.made"""
_LIST = "INSERT OR IGNORE INTO people VALUES {}"
_AT_ONCE = 64
"""How many rows a statement writes. With each one the thread lets go of the interpreter, and waits for it again."""
_KNOWN = 4_096
"""How many records are remembered."""


class _Piece(NamedTuple):
    """Something to do, and who waits for it."""

    work: Callable[[], Any]
    done: asyncio.Future[Any]


class _Entry(NamedTuple):
    """A record as it stands in the file."""

    version: int
    value: Any
    data: bytes | None


class _Outcome(NamedTuple):
    """What became of it."""

    done: asyncio.Future[Any]
    result: Any
    error: BaseException | None = None


class SqliteStore(SqlStore):
    """Versioned records in a SQLite file, which is made if it is missing.

    A commit that returned True is on the disk (WAL, synchronous=FULL; with NORMAL a loss of power could take the newest
    commits back). A cancelled commit may have been written or not.

    `keep` is for how many seconds, up to 36,500 days, a call stays in the log after its end (default: for ever): older
    ones are removed when the file is opened, and hourly with a commit, and so are revocations of tokens that have
    expired. Of a call its id stays, so that it is not used again: about 150 bytes. `now` gives Unix milliseconds.

    Raises InvalidArgument for another `keep`. Raises StoreUnusable, which says what to do, if the file is no database,
    another program's, or of a newer version; if it cannot be opened, read or written; and if another process had it for
    `patience` seconds: one at a time may. That one is known by a lock on a file beside it, `calls.db-lock`, which a
    process that was killed does not hold, nor one that was forked off: that one must not use the store."""

    def __init__(
        self,
        path: str | Path,
        *,
        patience: float = 5.0,
        keep: float | None = None,
        now: Callable[[], int] = wall,
    ) -> None:
        self._patience = patience
        self._waiting: dict[bool, list[_Piece]] = {False: [], True: []}
        """What is to be done next: what reads, and what writes."""
        self._known: OrderedDict[Key, _Entry] = OrderedDict()
        """What stands in the file, of what was read or written last: it is one process's at a time."""
        self._news: dict[Key, _Entry] = {}
        """What a transaction has read or is to write."""
        self._records: list[tuple[Any, ...]] = []
        """The rows that a transaction is to write."""
        self._people: list[tuple[Any, ...]] = []
        """Who is to stand in the lists for them."""
        self._edition = 0
        """The file as it is known: SQLite gives it another number when somebody else has written."""
        self._gate = threading.Lock()
        super().__init__(str(path), keep, now)

    def _open(self) -> None:
        # Secrets are kept here, too: a new file is for its owner only. What is wrong with a path, SQLite says below.
        with suppress(OSError):
            os.close(os.open(self._name, os.O_CREAT | os.O_EXCL, 0o600))
        self._lock = self._locked()
        try:
            self._connect()
        except BaseException:
            self._unlock()
            raise

    def _locked(self) -> Lock | None:
        try:
            return Lock(self._name, self._patience)
        except TimeoutError:
            why = "another process has it, and one at a time may: stop that one, or choose another file"
            raise StoreUnusable(store=self._name, why=why) from None
        except OSError as error:
            if not os.access(self._name, os.W_OK):
                return None  # SQLite says better why nothing can be written there
            why = (
                f"{lock_of(self._name)}, which keeps others out, cannot be locked ({error.strerror}): "
                "give this process the right to write that file, or choose a file on a local disk"
            )
            raise StoreUnusable(store=self._name, why=why) from None

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.free()

    def _connect(self) -> None:
        try:
            self._db = sqlite3.connect(self._name, isolation_level=None, timeout=self._patience)
            try:
                self._begin()
            except BaseException:
                self._db.close()
                raise
        except sqlite3.DatabaseError as error:
            raise StoreUnusable(store=self._name, why=_why(error)) from error

    def _begin(self) -> None:
        """Check whose file it is before anything is written to it."""
        db, path = self._db, self._name
        (mark,), (version,) = (db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version"))
        if mark not in (0, _MARK) or (mark == 0 and db.execute("SELECT 1 FROM sqlite_schema").fetchone()):
            raise StoreUnusable(store=path, why="it is another program's database: choose another file")
        if version > _SCHEMA:
            raise StoreUnusable(store=path, why="a newer statecore wrote it: update statecore, or choose another file")
        if db.execute("PRAGMA journal_mode=WAL").fetchone()[0] != "wal":
            raise StoreUnusable(
                store=path, why="SQLite cannot keep a write-ahead log there: choose a file on a local disk"
            )
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA temp_store=MEMORY")  # where it keeps how to take a statement back
        db.execute("BEGIN IMMEDIATE")
        db.execute(_CREATE)
        db.execute(_PEOPLE)
        for since, statement in _SINCE.items():
            if 0 < version < since:
                db.execute(statement)
        if 0 < version < _SCHEMA:
            self._bring_up()
        for statement in (INDEX, *LISTS):
            db.execute(statement)
        self._prune()
        db.execute(f"PRAGMA application_id={_MARK}")
        db.execute(f"PRAGMA user_version={_SCHEMA}")
        db.execute("COMMIT")
        self._edition = self._edition_now()

    def _close(self) -> None:
        self._db.close()
        self._unlock()

    async def load(self, keys: Iterable[Key]) -> dict[Key, tuple[int, Any]]:
        """Each key with its version and value, all read at one instant: from memory, if all of them are known."""
        wanted = list(keys)
        with self._gate:
            found = {key: (known.version, known.value) for key in wanted if (known := self._known.get(key)) is not None}
        return found if len(found) == len(set(wanted)) else await super().load(wanted)

    def _data(self, key: Key, value: Any) -> bytes | None:
        known = self._known.get(key)
        return known.data if known is not None and known.value is value else super()._data(key, value)

    def _load(self, keys: Sequence[Key]) -> dict[Key, tuple[int, Any]]:
        found = {}
        for key, (version, data) in self._rows(keys).items():
            value = decoded(key[0], data, self._name)
            self._news[key] = _Entry(version, value, data)
            found[key] = version, value
        return found

    def _remember(self) -> None:
        """What a transaction has read or written is so."""
        with self._gate:
            for key, entry in self._news.items():
                self._known[key] = entry
                self._known.move_to_end(key)
            while len(self._known) > _KNOWN:
                self._known.popitem(last=False)

    def _prune(self) -> None:
        self._flush()
        super()._prune()
        self._forget()

    def _forget(self) -> None:
        """What is known is to be read again."""
        self._news.clear()
        with self._gate:
            self._known.clear()

    async def _run(self, work: Callable[[], T], *, writing: bool = False) -> T:
        """What comes while the disk is busy is done together afterwards: a hundred commits take hardly longer than
        one, as it is the disk that they wait for."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        with self._gate:
            if not any(self._waiting.values()):
                self._thread.submit(self._serve)
            self._waiting[writing].append(_Piece(work, done))
        return await done

    def _serve(self) -> None:
        """Do what waits. Who reads need not wait for the disk, and sees what was committed."""
        with self._gate:
            waiting, self._waiting = self._waiting, {False: [], True: []}
        reads, writes = ([piece for piece in pieces if not piece.done.cancelled()] for pieces in waiting.values())
        _tell([self._outcome(piece, writing=False) for piece in reads])
        try:
            results = self._do(lambda: [piece.work() for piece in writes], writing=True) if writes else []
        except Exception:  # noqa: BLE001 - nothing was written; whose fault it is, and what it is, is found one by one
            _tell([self._outcome(piece, writing=True) for piece in writes])
        else:
            _tell([_Outcome(piece.done, result) for piece, result in zip(writes, results, strict=True)])

    def _outcome(self, piece: _Piece, *, writing: bool) -> _Outcome:
        """Do something by itself."""
        try:
            return _Outcome(piece.done, self._do(piece.work, writing=writing))
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is for who waits
            return _Outcome(piece.done, None, error)

    def _do(self, work: Callable[[], T], *, writing: bool) -> T:
        self._news.clear()
        self._records.clear()
        self._people.clear()
        try:
            self._db.execute("BEGIN IMMEDIATE" if writing else "BEGIN")
            if writing and (edition := self._edition_now()) != self._edition:
                self._edition = edition
                self._forget()
            done = work()
            self._flush()
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.DatabaseError):
                raise StoreUnusable(store=self._name, why=_why(error)) from error
            raise
        self._remember()
        return done

    def _execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        return self._db.execute(statement, values)

    def _edition_now(self) -> int:
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    def _rows(self, keys: Sequence[Key], *, lock: bool = False) -> dict[Key, tuple[int, bytes | None]]:  # noqa: ARG002 - who writes has the whole file
        return {key: self._row_of(key) for key in keys}

    def _row_of(self, key: Key) -> tuple[int, bytes | None]:
        """Version and data of a record: as it is known, if it is."""
        entry = self._news.get(key)
        if entry is None:
            with self._gate:
                entry = self._known.get(key)
        return (entry.version, entry.data) if entry is not None else self._execute(_ROW, *key).fetchone() or (0, None)

    def _scan(self, kind: str) -> Iterable[tuple[str, bytes]]:
        return self._execute(SCAN, kind)

    def _write(self, rows: Sequence[Row]) -> bool:
        for row in rows:
            self._records.append((*row.key, row.version + 1, row.data, row.over, row.made))
            self._people += [(person, row.made, row.key[1]) for person in row.people]
            self._news[row.key] = _Entry(row.version + 1, row.value, row.data)
        return True

    def _flush(self) -> None:
        """Write what the transaction is to write so far."""
        for statement, rows in ((_WRITE, self._records), (_LIST, self._people)):
            for start in range(0, len(rows), _AT_ONCE):
                some = rows[start : start + _AT_ONCE]
                self._execute(_many(statement, len(some), len(some[0])), *itertools.chain.from_iterable(some))
            rows.clear()

    def _bring_up(self) -> None:
        """Note of the calls of an older version what it did not."""
        calls = self._execute("SELECT place, id, value FROM records WHERE kind = 'call' AND value IS NOT NULL")
        for place, name, data in calls.fetchall():
            row = self._row(("call", name), 0, renewed(data, self._name))
            changed = (row.data, row.over, row.made, place)
            self._execute("UPDATE records SET value = ?, over = ?, made = ? WHERE place = ?", *changed)
            self._people += [(person, row.made, name) for person in row.people]
        self._flush()


@cache
def _many(statement: str, rows: int, columns: int) -> str:
    """The statement for so many rows."""
    return statement.format(", ".join([f"({', '.join('?' * columns)})"] * rows))


def _tell(outcomes: list[_Outcome]) -> None:
    """Say to who waits, in their loops, what became of it: once for all that was done together."""
    for loop, told in itertools.groupby(outcomes, key=lambda outcome: outcome.done.get_loop()):
        with suppress(RuntimeError):  # it is closed: nobody waits any more
            loop.call_soon_threadsafe(_settle, list(told))


def _settle(outcomes: list[_Outcome]) -> None:
    for done, result, error in outcomes:
        if done.cancelled():
            continue
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)


def _why(error: sqlite3.DatabaseError) -> str:
    """What SQLite found, and what to do."""
    name = getattr(error, "sqlite_errorname", "")
    return next((advice for start, advice in _ADVICE.items() if name.startswith(start)), str(error))


__all__ = ["SqliteStore"]
