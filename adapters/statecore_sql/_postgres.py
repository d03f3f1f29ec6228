"""A store in a PostgreSQL database, on psycopg."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict

from statecore.errors import InvalidArgument, StoreUnusable
from statecore.ports import Key

from ._records import INDEX, LISTS, SCAN, Row, SqlStore, renewed, wall

T = TypeVar("T")

_SCHEMA = 3
_MARK = 0x53746361
"""The advisory lock under which the tables are made."""
_AGAIN = 0.05
"""Seconds until a server is asked again what became of a commit."""
# A number that was not given out yet is of a server that another has replaced, which knows nothing of that commit.
_BECAME = """SELECT CASE WHEN ?::xid8 < pg_snapshot_xmax(pg_current_snapshot()) THEN pg_xact_status(?::xid8) END"""
_ADVICE = {
    "25006": "it only reads: name the server that writes",
    "42501": "this user may not: make it the owner of the schema statecore, or of the database",
    "53100": "its disk is full: make room",
    "55P03": "another service keeps a record locked: see whether that one hangs",
}
"""By SQLSTATE."""
# Ids are bytes: a text of PostgreSQL depends on encoding and collation, and cannot hold every id that may be asked for.
_CREATE = (
    """CREATE TABLE records (
    place BIGINT GENERATED ALWAYS AS IDENTITY, kind TEXT COLLATE "C" NOT NULL, id BYTEA NOT NULL,
    version BIGINT NOT NULL, value BYTEA, over BIGINT NOT NULL, PRIMARY KEY (kind, id))""",
    INDEX,
    "CREATE TABLE version (version INTEGER NOT NULL)",
)
_SINCE_2 = (
    "ALTER TABLE records ADD COLUMN made BIGINT NOT NULL DEFAULT -1",
    "CREATE TABLE people (person BYTEA, made BIGINT, id BYTEA, PRIMARY KEY (person, made, id))",
    *LISTS,
)
_ROWS = """SELECT kind, id, version, value FROM unnest(?::text[], ?::bytea[]) AS wanted (kind, id)
    JOIN records USING (kind, id)"""
_LOCK = " ORDER BY kind, id FOR UPDATE OF records"
_LIST = """INSERT INTO people SELECT * FROM unnest(?::bytea[], ?::bigint[], ?::bytea[]) ON CONFLICT DO NOTHING"""
_LISTING = f"WITH listed AS ({_LIST}) "  # in one statement, as each waits for the server
_WRITE = """INSERT INTO records (kind, id, version, value, over, made)
    SELECT * FROM unnest(?::text[], ?::bytea[], ?::bigint[], ?::bytea[], ?::bigint[], ?::bigint[])
    ON CONFLICT (kind, id) DO UPDATE SET version = excluded.version, value = excluded.value, over = excluded.over,
        made = excluded.made
        WHERE records.version = excluded.version - 1
    RETURNING pg_current_xact_id()::text"""


class _InDoubt(Exception):
    """The answer to a commit was lost with the connection."""

    def __init__(self, number: str) -> None:
        super().__init__(number)
        self.number = number


class PostgresStore(SqlStore):
    """Versioned records in a PostgreSQL database (13 or newer), in a schema `statecore` that is made if it is missing.

    `url` is what libpq takes, `postgresql://user@host/database`; a password stands in it, in PGPASSWORD or in
    `~/.pgpass`, and is never shown. Several services may share a database; each commit is decided by the versions. All
    are of one version of statecore: stop those of an older one before the first newer one takes its calls over.

    A commit that returned True is as durable as the server's `synchronous_commit` says. A cancelled commit may have
    been written or not. When the server was restarted the store connects again by itself. A commit whose answer was
    lost returns as soon as the server has said what became of it: True if it was made; False if not, and it is to be
    decided again as after a conflict. `keep` and `now` are as for SqliteStore.

    Raises InvalidArgument for a URL that cannot be read or a wrong `keep`, and StoreUnusable, which says why, if the
    server cannot be reached or refuses; if a newer version made the schema; and if another service kept a record locked
    for `patience` seconds. As soon as the server is there again, the store works again."""

    def __init__(
        self, url: str, *, patience: float = 5.0, keep: float | None = None, now: Callable[[], int] = wall
    ) -> None:
        given = _read(url)
        self._patience = patience
        self._parameters = _bounded(given, patience)
        self._xact = ""
        """The number of the newest transaction that wrote."""
        super().__init__(_shown(given), keep, now)

    def _open(self) -> None:
        try:
            self._connect()
            try:
                with self._db.transaction():
                    self._begin()
            except BaseException:
                self._db.close()
                raise
        except psycopg.Error as error:
            why = _why(error)
        else:
            return
        raise self._unusable(why)

    def _begin(self) -> None:
        # Of several services that start at once, one makes the tables.
        self._execute("SELECT pg_advisory_xact_lock(?)", _MARK)
        if self._one("SELECT to_regnamespace('statecore')") is None:
            self._execute("CREATE SCHEMA statecore")
        if self._one("SELECT to_regclass('statecore.version')") is None:
            for statement in _CREATE:
                self._execute(statement)
            self._execute("INSERT INTO version VALUES (1)")
        version = self._one("SELECT max(version) FROM version")
        if version > _SCHEMA:
            raise self._unusable("a newer statecore made its tables: update statecore, or choose another database")
        if version < _SCHEMA:
            for statement in _SINCE_2 if version < 2 else ():
                self._execute(statement)
            self._bring_up()
            self._execute("INSERT INTO version VALUES (?)", _SCHEMA)
        self._prune()

    def _connect(self) -> None:
        self._db = psycopg.connect(**self._parameters, autocommit=True)

    def _close(self) -> None:
        self._db.close()

    async def commit(self, writes: Mapping[Key, tuple[int, Any]]) -> bool:
        """Write all, or nothing."""
        try:
            return await super().commit(writes)
        except _InDoubt as doubt:
            number = doubt.number
        while True:
            with suppress(StoreUnusable):
                became = await self._run(lambda: self._one(_BECAME, number, number))
                if became != "in progress":
                    return bool(became == "committed")
            await asyncio.sleep(_AGAIN)

    def _do(self, work: Callable[[], T], *, writing: bool) -> T:
        try:
            try:
                return self._once(work, writing=writing)
            except psycopg.Error:
                if not self._db.closed:
                    raise
            # The connection was cut, perhaps long ago, and nothing was done.
            self._connect()
            return self._once(work, writing=writing)
        except psycopg.Error as error:
            why = _why(error)
        raise self._unusable(why)

    def _unusable(self, why: str) -> StoreUnusable:
        """To be raised where no error of psycopg is handled: those carry the password with them."""
        return StoreUnusable(store=self._name, why=why)

    def _once(self, work: Callable[[], T], *, writing: bool) -> T:
        if not writing:
            return work()  # one statement, which sees one instant
        self._xact = ""
        self._db.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        try:
            done = work()
        except BaseException:
            if not self._db.closed:
                self._db.execute("ROLLBACK")
            raise
        in_doubt = False
        try:
            self._db.execute("COMMIT" if done else "ROLLBACK")
        except psycopg.Error:
            in_doubt = bool(done and self._xact and self._db.closed)
            if not in_doubt:
                raise
        if in_doubt:
            raise _InDoubt(self._xact)
        return done

    def _execute(self, statement: str, *values: Any) -> psycopg.Cursor[Any]:
        return self._db.execute(statement.replace("?", "%s").encode(), values)

    def _one(self, statement: str, *values: Any) -> Any:
        row = self._execute(statement, *values).fetchone()
        return row and row[0]

    def _rows(self, keys: Sequence[Key], *, lock: bool = False) -> dict[Key, tuple[int, bytes | None]]:
        wanted = [kind for kind, _ in keys], [name.encode() for _, name in keys]
        found = {
            (kind, name.decode()): (version, data)
            for kind, name, version, data in self._execute(_ROWS + _LOCK * lock, *wanted)
        }
        return {key: found.get(key, (0, None)) for key in keys}

    def _scan(self, kind: str) -> Iterable[tuple[str, bytes]]:
        return ((name.decode(), data) for name, data in self._execute(SCAN, kind))

    def _write(self, rows: Sequence[Row]) -> bool:
        if not rows:
            return True
        ordered = sorted(rows)  # as all services do, so that no two wait for each other
        listed = _columns(ordered)
        written = self._execute(
            _LISTING + _WRITE if listed[0] else _WRITE,
            *(listed if listed[0] else ()),
            [row.key[0] for row in ordered],
            [row.key[1].encode() for row in ordered],
            [row.version + 1 for row in ordered],
            [row.data for row in ordered],
            [row.over for row in ordered],
            [row.made for row in ordered],
        ).fetchall()
        self._xact = written[0][0] if written else ""
        return len(written) == len(rows)

    def _bring_up(self) -> None:
        """Note of the calls of an older version what it did not. No service of that version writes meanwhile."""
        self._execute("LOCK TABLE records IN EXCLUSIVE MODE")
        found = self._execute(SCAN, "call").fetchall()
        rows = [self._row(("call", name.decode()), 0, renewed(data, self._name)) for name, data in found]
        self._execute(
            """UPDATE records SET value = new.value, made = new.made
            FROM unnest(?::bytea[], ?::bytea[], ?::bigint[]) AS new (id, value, made)
            WHERE kind = 'call' AND records.id = new.id""",
            [row.key[1].encode() for row in rows],
            [row.data for row in rows],
            [row.made for row in rows],
        )
        self._execute(_LIST, *_columns(rows))

    def _id(self, text: str) -> bytes:
        return text.encode(errors="replace")


def _columns(rows: Sequence[Row]) -> tuple[list[bytes], list[int], list[bytes]]:
    """What goes into the lists."""
    listed = [(person.encode(), row.made, row.key[1].encode()) for row in rows for person in row.people]
    return [who for who, _, _ in listed], [when for _, when, _ in listed], [name for _, _, name in listed]


def _read(url: str) -> dict[str, Any]:
    """What a URL says. Raises InvalidArgument, without what may be a secret."""
    given: dict[str, Any] = {"host": "@"}
    with suppress(psycopg.ProgrammingError):
        given = conninfo_to_dict(url)
    # A password with an @ or a / of its own is torn, and a piece of it would be shown as the name of something else.
    ports = f"{given.get('port', '')}".replace(",", "")
    if "@" in f"{given.get('host')} {given.get('dbname')}" or (ports and not ports.isdecimal()):
        raise InvalidArgument(
            "the URL of the store cannot be read; whatever is special in its password is written as %40, %2F ...",
            name="url",
        )
    return given


def _shown(given: Mapping[str, Any]) -> str:
    """The database, as errors call it."""
    port = f":{given['port']}" if "port" in given else ""
    return f"postgresql://{given.get('host', '')}{port}/{given.get('dbname', '')}"


def _bounded(given: Mapping[str, Any], patience: float) -> dict[str, Any]:
    """What to connect with: bounds for whatever could last, unless others were given."""
    seconds, milliseconds = max(2, math.ceil(patience)), math.ceil(patience * 1000)
    bounds = {
        "connect_timeout": seconds,
        "keepalives_idle": seconds,
        "keepalives_interval": seconds,
        "keepalives_count": 2,
        "tcp_user_timeout": milliseconds,
        "target_session_attrs": "read-write",
        "fallback_application_name": "statecore",
    }
    # A service that hangs within a transaction loses it, so that the others go on.
    ours = {
        "search_path": "statecore",
        "client_encoding": "utf8",
        "lock_timeout": milliseconds,
        "idle_in_transaction_session_timeout": milliseconds,
    }
    options = " ".join([given.get("options", ""), *(f"-c {name}={value}" for name, value in ours.items())])
    return {**bounds, **given, "options": options}


def _why(error: psycopg.Error) -> str:
    """What the server or the way to it says, in a line, and what to do."""
    return _ADVICE.get(error.sqlstate or "") or error.diag.message_primary or " ".join(str(error).split())


__all__ = ["PostgresStore"]
