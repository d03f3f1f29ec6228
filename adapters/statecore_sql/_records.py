"""What both stores share: how a record stands in a row, and when rows are read, compared, written and forgotten."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from statecore.errors import InvalidArgument, StoreUnusable
from statecore.model import LIVE, Ending, Line, Record, people
from statecore.ports import EXPIRING, Key, Place

T = TypeVar("T")

SCAN = "SELECT id, value FROM records WHERE kind = ? AND value IS NOT NULL ORDER BY place"
# The kind is hidden in an expression from the planners, and `over` by a sign: one of two indexes has just the few.
LAPSED = "SELECT 1 FROM records WHERE over > 0 AND kind || '' = 'call' AND over <= ? LIMIT 1"
LET_GO = """UPDATE records SET value = NULL, over = 0, made = -1, version = version + 1
    WHERE over > 0 AND kind || '' = 'call' AND over <= ?"""
LET_GO_OF_PEOPLE = """DELETE FROM people
    WHERE id IN (SELECT id FROM records WHERE over > 0 AND kind || '' = 'call' AND over <= ?)"""
PRUNE = "DELETE FROM records WHERE kind = ? AND +over > 0 AND +over <= ?"
INDEX = "CREATE INDEX IF NOT EXISTS records_over ON records (over) WHERE over > 0"
LISTS = (
    "CREATE INDEX IF NOT EXISTS records_made ON records (made, id) WHERE made >= 0",
    "CREATE INDEX IF NOT EXISTS records_live ON records (made, id) WHERE made >= 0 AND over = 0",
)
COUNT_LIVE = "SELECT count(*) FROM records WHERE made >= 0 AND over = 0"
_FIND = """SELECT value FROM records WHERE made >= 0{live}
    AND (made, id) > (?, ?) AND (made, id) < (?, ?) ORDER BY made {way}, id {way} LIMIT ?"""
_FIND_OF = """SELECT value FROM people AS p JOIN records ON kind = 'call' AND records.id = p.id
    WHERE person = ? AND records.made >= 0{live}
    AND (p.made, p.id) > (?, ?) AND (p.made, p.id) < (?, ?) ORDER BY p.made {way}, p.id {way} LIMIT ?"""
_LIVE = {None: "", True: " AND over = 0", False: " AND +over > 0"}
"""The sign keeps an index out of it in whose order nobody wants them."""
_ALL = 1 << 62
_LISTED = 10_000
"""Of how many calls it is noted who stands in the lists."""
HOUR = 3_600_000
"""How often it is looked for what may be forgotten, and how much longer than told what expires is kept."""
_LONGEST = 36_500 * 86_400
"""For how many seconds a call is kept at the most, unless it is for ever."""
_TYPES: dict[str, Any] = {"call": Record, "line": Line}


class Row(NamedTuple):
    """What is to be written."""

    key: Key
    version: int
    """What it must have now."""
    data: bytes | None
    value: Any
    """What the data says."""
    over: int
    made: int
    """When a call was made; -1 for what stands in no list."""
    people: tuple[str, ...]
    """Whose call it is, unless they are known to stand in the lists."""


def _kept(keep: object) -> float | None:
    if keep is None:
        return None
    if isinstance(keep, bool) or not isinstance(keep, int | float) or not 0 < keep <= _LONGEST:
        raise InvalidArgument(f"keep is seconds, more than 0 and at most {_LONGEST}, or None for ever", name="keep")
    return float(keep)


def wall() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


class SqlStore:
    """A `Store` over one connection. Whatever uses the connection runs on one thread, one piece of work at a time."""

    def __init__(self, name: str, keep: float | None, now: Callable[[], int]) -> None:
        self._name = name
        """What errors call it."""
        self._keep = _kept(keep)
        self._now = now
        self._pruned = now()
        self._listed: dict[str, int] = {}
        """With how many legs a call was written whose people stand in the lists. There come more, and nobody goes."""
        self._thread = ThreadPoolExecutor(1, "statecore-sql")
        try:
            self._thread.submit(self._open).result()
        except BaseException:
            self._thread.shutdown()
            raise

    async def load(self, keys: Iterable[Key]) -> dict[Key, tuple[int, Any]]:
        """Each key with its version and value, all read at one instant."""
        wanted = list(keys)
        return await self._run(lambda: self._load(wanted))

    async def commit(self, writes: Mapping[Key, tuple[int, Any]]) -> bool:
        """Write all, or nothing."""
        rows = [self._row(key, version, value) for key, (version, value) in writes.items()]

        def write() -> bool:
            old = self._rows([row.key for row in rows], lock=True)
            if any(old[row.key][0] != row.version for row in rows):
                return False
            done = self._write([row for row in rows if row.data is None or row.data != old[row.key][1]])
            if done and self._now() - self._pruned >= HOUR:
                self._prune()
            return done

        done = await self._run(write, writing=True)
        if done:
            self._note(writes)
        return done

    def _row(self, key: Key, version: int, value: Any) -> Row:
        when, who = made(value), tuple[str, ...]()
        if when >= 0 and self._listed.get(key[1]) != len(value.legs):
            who = tuple(sorted(people(value)))
        return Row(key, version, self._data(key, value), value, over(key, value), when, who)

    def _data(self, key: Key, value: Any) -> bytes | None:
        return value if value is None or key[0] not in _TYPES else msgspec.msgpack.encode(value)

    def _note(self, writes: Mapping[Key, tuple[int, Any]]) -> None:
        if len(self._listed) > _LISTED:
            self._listed.clear()
        for (_, name), (_, value) in writes.items():
            if made(value) >= 0:
                self._listed[name] = len(value.legs)

    async def find_calls(
        self, *, user: str | None, live: bool | None, above: Place, below: Place, newest: bool, limit: int | None
    ) -> list[Record]:
        """See `CallIndex`."""
        form, who = (_FIND, ()) if user is None else (_FIND_OF, (self._id(user),))
        statement = form.format(live=_LIVE[live], way="DESC" if newest else "ASC")
        between = (above[0], self._id(above[1]), below[0], self._id(below[1]))
        most = limit if limit is not None else _ALL

        def read() -> list[Record]:
            return [
                decoded("call", data, self._name)
                for (data,) in self._execute(statement, *who, *between, most).fetchall()
            ]

        return await self._run(read)

    async def count_live(self) -> int:
        """See `CallIndex`."""
        return int(await self._run(lambda: self._execute(COUNT_LIVE).fetchone()[0]))

    async def scan(self, kind: str) -> list[tuple[Key, Any]]:
        """Every live record of a kind."""
        return await self._run(
            lambda: [((kind, name), decoded(kind, data, self._name)) for name, data in self._scan(kind)]
        )

    def close(self) -> None:
        """Finish what was begun and let go of the database. Closing again does nothing."""
        try:
            self._thread.submit(self._close).result()
        except RuntimeError:
            return  # closed before
        self._thread.shutdown()

    def _load(self, keys: Sequence[Key]) -> dict[Key, tuple[int, Any]]:
        found = self._rows(keys)
        return {key: (version, decoded(key[0], data, self._name)) for key, (version, data) in found.items()}

    async def _run(self, work: Callable[[], T], *, writing: bool = False) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: self._do(work, writing=writing))

    def _prune(self) -> None:
        self._pruned = now = self._now()
        if self._keep is not None:
            until = now - round(self._keep * 1000)
            if self._execute(LAPSED, until).fetchone():  # who stands in the lists is found by reading them all
                self._execute(LET_GO_OF_PEOPLE, until)
                self._execute(LET_GO, until)
        for kind in sorted(EXPIRING):
            self._execute(PRUNE, kind, now - HOUR)

    # --- what each does in its own way, on the thread

    def _open(self) -> None:
        raise NotImplementedError

    def _close(self) -> None:
        raise NotImplementedError

    def _do(self, work: Callable[[], T], *, writing: bool) -> T:
        """Work, in a transaction if it writes; what gives False when it writes leaves nothing. Raises StoreUnusable."""
        raise NotImplementedError

    def _execute(self, statement: str, *values: Any) -> Any:
        """One statement, with a `?` for each value."""
        raise NotImplementedError

    def _rows(self, keys: Sequence[Key], *, lock: bool = False) -> dict[Key, tuple[int, bytes | None]]:
        """Version and data of each key; to stay as they are until the transaction is over, if `lock`."""
        raise NotImplementedError

    def _id(self, text: str) -> Any:
        """An id as it stands in a column; one that cannot stand in any finds nothing."""
        return text.encode(errors="replace").decode()

    def _scan(self, kind: str) -> Iterable[tuple[str, bytes]]:
        raise NotImplementedError

    def _write(self, rows: Sequence[Row]) -> bool:
        """Write rows, unless another was faster."""
        raise NotImplementedError


def over(key: Key, value: Any) -> int:
    """Since when a call is over, or until when a record matters that expires, in Unix milliseconds; 0 for everything
    else. A second name of a call has no end of its own."""
    if isinstance(value, Record):
        return value.initiated_at if value.merged_into else value.end.at
    return int(value.partition(b" ")[0]) if key[0] in EXPIRING and value is not None else 0


def made(value: Any) -> int:
    """When a call was made, in Unix milliseconds; -1 for everything else. A second name of a call stands in no list."""
    return value.initiated_at if isinstance(value, Record) and not value.merged_into else -1


def decoded(kind: str, data: bytes | None, store: str = "the store") -> Any:
    """What `SqlStore` encoded. Raises StoreUnusable, with the name of the store, if it is nothing of the kind."""
    return data if data is None or kind not in _TYPES else _read(kind, data, _TYPES[kind], store)


def _read(kind: str, data: bytes, type_: Any, store: str) -> Any:
    try:
        return msgspec.msgpack.decode(data, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StoreUnusable(store=store, why=f"a {kind} in it cannot be read: {error}") from None


class _OldEnd(msgspec.Struct):
    """How a call or a leg ended, as older versions wrote it, or as this one does."""

    ended_at: int = 0
    by: str = ""
    end: Ending = LIVE

    @property
    def now(self) -> Ending:
        return self.end if self.end.at else Ending(self.ended_at, self.by)


class _Old(_OldEnd):
    legs: tuple[_OldEnd, ...] = ()


def renewed(data: bytes, store: str) -> Record:
    """A call that an older version wrote. Raises StoreUnusable, as `decoded` does."""
    call, old = decoded("call", data, store), _read("call", data, _Old, store)
    legs = (replace(leg, end=was.now) for leg, was in zip(call.legs, old.legs, strict=True))
    as_now: Record = replace(call, end=old.now, legs=tuple(legs))
    return as_now


__all__ = ["INDEX", "LISTS", "SCAN", "Row", "SqlStore", "decoded", "made", "over", "renewed", "wall"]
