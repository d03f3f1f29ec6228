"""The PostgreSQL store: the conformance suite, and what only a server can do."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from typing import Any

import psycopg
import pytest

import statecore_sql
from statecore.errors import AdapterMissing, InvalidArgument, StoreUnusable
from statecore.model import Line
from statecore.testing.stores import StoreConformance
from statecore_sql import PostgresStore

_A, _B = ("line", "a"), ("line", "b")


class TestPostgresStore(StoreConformance):
    """The suite on a new database each."""

    @pytest.fixture(autouse=True)
    def _on(self, database: str) -> None:
        self.url = database

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[PostgresStore]:
        """A store on it."""
        with closing(PostgresStore(self.url)) as store:
            yield store

    @asynccontextmanager
    async def reopened(self, store: PostgresStore) -> AsyncIterator[PostgresStore]:
        """Another on its database."""
        store.close()
        with closing(PostgresStore(self.url)) as again:
            yield again


def test_two_stores_on_one_database_never_lose_a_write(database: str) -> None:
    """Each adds to two records, one of which is new, as often as it can at the same time as the other."""

    async def add(store: PostgresStore, name: str) -> int:
        refused = 0
        for number in range(40):
            while True:
                loaded = await store.load([_A, _B])
                writes = {
                    key: (version, Line("n", sessions=(*(line.sessions if line else ()), f"{name}{number}")))
                    for key, (version, line) in loaded.items()
                }
                if await store.commit(writes if number % 2 else dict(reversed(writes.items()))):
                    break
                refused += 1
        return refused

    async def main() -> None:
        with closing(PostgresStore(database)) as one, closing(PostgresStore(database)) as two:
            refused = await asyncio.gather(add(one, "one"), add(two, "two"))
            loaded = await one.load([_A, _B])
            assert loaded == await two.load([_A, _B])
        assert [version for version, _ in loaded.values()] == [80, 80]
        assert [len(set(line.sessions)) for _, line in loaded.values()] == [80, 80]
        assert sum(refused), "no conflict was forced"

    asyncio.run(main())


def test_two_who_write_the_same_in_different_orders_never_wait_for_each_other(database: str) -> None:
    """Of two commits that make the same records, one is made and one refused, and neither is a victim."""

    async def main() -> None:
        with closing(PostgresStore(database)) as one, closing(PostgresStore(database)) as two:
            for number in range(40):
                writes = {("line", f"{number}.{n}"): (0, Line("n")) for n in range(300)}
                done = await asyncio.gather(one.commit(writes), two.commit(dict(reversed(writes.items()))))
                assert sorted(done) == [False, True]

    asyncio.run(main())


def test_of_two_who_expect_absence_one_writes(database: str) -> None:
    """The other waits for the first to finish, and is refused, with all that it wanted to write."""

    async def main() -> None:
        with closing(PostgresStore(database)) as store, psycopg.connect(database) as first:
            first.execute("INSERT INTO statecore.records VALUES (DEFAULT, 'line', 'b', 1, '', 0)")
            second = asyncio.create_task(store.commit({_A: (0, Line("a")), _B: (0, Line("b"))}))
            await _waits_for_lock(database)
            first.commit()
            assert not await second
            assert (await store.load([_A]))[_A] == (0, None)

    asyncio.run(main())


def test_a_check_holds_until_the_commit(database: str) -> None:
    """What a commit only checks cannot change before it is made: the other waits, and is refused."""

    async def main() -> None:
        with closing(PostgresStore(database)) as store, psycopg.connect(database) as first:
            assert await store.commit({_A: (0, Line("a"))})
            first.execute("UPDATE statecore.records SET version = 2")
            second = asyncio.create_task(store.commit({_A: (1, Line("a")), _B: (0, Line("b"))}))
            await _waits_for_lock(database)
            first.commit()
            assert not await second
            assert (await store.load([_B]))[_B] == (0, None)

    asyncio.run(main())


async def _waits_for_lock(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as db:
        async with asyncio.timeout(10):
            # It is the other process that is waited for.
            while not db.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone():  # noqa: ASYNC110
                await asyncio.sleep(0.005)


def test_a_record_that_another_keeps_locked_is_told_and_free_again_later(database: str) -> None:
    """Nothing is written meanwhile; afterwards everything goes on. Who locks and hangs loses its transaction."""
    with closing(PostgresStore(database, patience=0.05)) as store, psycopg.connect(database) as other:
        assert asyncio.run(store.commit({_A: (0, Line("a"))}))
        other.execute("SELECT FROM statecore.records FOR UPDATE")
        with pytest.raises(StoreUnusable, match="keeps a record locked"):
            asyncio.run(store.commit({_A: (1, Line("b"))}))
        other.rollback()
        assert asyncio.run(store.commit({_A: (1, Line("b"))}))
        store._thread.submit(store._db.execute, "BEGIN; SELECT FROM records FOR UPDATE").result()  # it hangs there
        other.execute("SELECT FROM statecore.records FOR UPDATE")


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_that_restarts(database: str, server: Any, mode: str) -> None:
    """Stopped or crashed: a typed error while it is away, and all is there, without a new store, when it is back. A
    restart while nobody asks for anything is not noticed."""
    with closing(PostgresStore(database)) as store:
        assert asyncio.run(store.commit({_A: (0, Line("a"))}))
        server.stop(mode)
        try:
            for work in (store.load([_A]), store.commit({_A: (1, Line("b"))}), store.scan("line")):
                with pytest.raises(StoreUnusable, match="Connection refused") as caught:
                    asyncio.run(work)
                assert caught.value.retryable
        finally:
            server.start()
        assert asyncio.run(store.load([_A])) == {_A: (1, Line("a"))}
        server.stop(mode)
        server.start()
        assert asyncio.run(store.commit({_A: (1, Line("b"))}))
        assert asyncio.run(store.scan("line")) == [(_A, Line("b"))]


class Way:
    """A way to a server that breaks at the first commit: before the server hears of it, or once it has made it."""

    def __init__(self, port: int, *, made: bool, mends: bool) -> None:
        self.there, self._made, self._mends = port, made, mends
        self.armed = False
        self._serving: list[Any] = []
        self.whole = True
        """Whether new connections are let through."""
        self.broken = False
        """Whether the commit came."""

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[int]:
        """Gives the port at this end."""
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as listening:
            yield listening.sockets[0].getsockname()[1]
            await asyncio.gather(*self._serving)

    async def _serve(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        self._serving.append(asyncio.current_task())
        if self.whole:
            await self._forward(near, back)
        back.close()
        await back.wait_closed()

    async def _forward(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        far, on = await asyncio.open_connection("127.0.0.1", self.there)
        answers = asyncio.create_task(_copy(far, back))
        while data := await near.read(65536):
            if b"COMMIT\0" in data and self.armed and not self.broken:
                self.broken, self.whole = True, self.whole and self._mends
                answers.cancel()
                await asyncio.wait([answers])
                if self._made:
                    on.write(data)
                    assert b"COMMIT" in await far.read(65536)
                break
            on.write(data)
        on.close()
        await asyncio.wait([answers])
        await on.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)


@asynccontextmanager
async def _through(way: Way, url: str) -> AsyncIterator[PostgresStore]:
    """A store that goes by it; what it commits from now on breaks it."""
    async with way.opened() as port:
        with closing(await asyncio.to_thread(PostgresStore, re.sub(r":\d+/", f":{port}/", url))) as store:
            way.armed = True
            yield store


@pytest.mark.parametrize("made", [True, False], ids=["made", "not made"])
def test_the_answer_to_a_commit_is_lost(server: Any, database: str, made: bool) -> None:
    """The store finds out what became of it, and goes on: all of it is there, or nothing, and that is what it says."""

    async def main() -> None:
        way = Way(server.port, made=made, mends=True)
        async with _through(way, database) as store:
            assert await store.commit({_A: (0, Line("a")), _B: (0, Line("b"))}) is made
            assert way.broken
            loaded = (await store.load([_A, _B])).values()
            assert list(loaded) == ([(1, Line("a")), (1, Line("b"))] if made else [(0, None)] * 2)
            assert await store.commit({_A: (int(made), Line("b"))})

    asyncio.run(main())


@pytest.mark.parametrize("made", [True, False], ids=["made", "not made"])
def test_the_server_stays_away_that_knows_of_a_commit(server: Any, database: str, made: bool) -> None:
    """That commit waits for it; everything else is told at once."""

    async def main() -> None:
        way = Way(server.port, made=made, mends=False)
        async with _through(way, database) as store:
            commit = asyncio.create_task(store.commit({_A: (0, Line("a"))}))
            async with asyncio.timeout(10):
                while not way.broken:  # noqa: ASYNC110 - it is another process that is waited for
                    await asyncio.sleep(0.005)
            for _ in range(3):
                with pytest.raises(StoreUnusable):
                    await store.load([_A])
            assert not commit.done()
            way.whole = True
            assert await commit is made
            assert (await store.load([_A]))[_A] == ((1, Line("a")) if made else (0, None))

    asyncio.run(main())


def test_another_server_takes_the_place_of_the_one_that_knew(server: Any, database: str) -> None:
    """One that never heard of the commit has not made it."""
    with closing(server.another()) as other:
        with psycopg.connect(other.url("postgres"), autocommit=True) as db:
            db.execute(f"CREATE DATABASE {database.rpartition('/')[2]}".encode())
        with psycopg.connect(database, autocommit=True) as db:
            for _ in range(20):  # transactions, more than the other server has had
                db.execute("SELECT pg_current_xact_id()")

        async def main() -> None:
            way = Way(server.port, made=True, mends=True)
            async with _through(way, database) as store:
                way.there = other.port
                assert not await store.commit({_A: (0, Line("a"))})
                assert way.broken

        asyncio.run(main())


def _newer(database: str) -> None:
    PostgresStore(database).close()
    with psycopg.connect(database) as db:
        db.execute("UPDATE statecore.version SET version = 99")


def _foreign(database: str) -> None:
    with psycopg.connect(database) as db:
        db.execute("CREATE SCHEMA statecore")
        db.execute("CREATE TABLE statecore.records (title TEXT)")


def _read_only(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as db:
        db.execute(f"ALTER DATABASE {database.rpartition('/')[2]} SET default_transaction_read_only = on".encode())


@pytest.mark.parametrize(
    ("spoil", "why"), [(_newer, "a newer statecore"), (_foreign, "already exists"), (_read_only, "read-only")]
)
def test_a_database_that_is_no_store_of_ours_is_refused(spoil: Callable[[str], None], why: str, database: str) -> None:
    """It says why, and nothing was changed."""
    spoil(database)
    with pytest.raises(StoreUnusable, match=why):
        PostgresStore(database)
    if spoil is _foreign:
        with psycopg.connect(database) as db:
            tables = db.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'statecore'").fetchall()
        assert tables == [("records",)]


def test_services_that_start_at_once_on_an_empty_database(database: str) -> None:
    """One makes the tables, and all can use them."""

    async def main() -> None:
        stores = await asyncio.gather(*(asyncio.to_thread(PostgresStore, database) for _ in range(4)))
        try:
            assert sum(await asyncio.gather(*(store.commit({_A: (0, Line("a"))}) for store in stores))) == 1
        finally:
            for store in stores:
                store.close()

    asyncio.run(main())


def test_a_user_with_no_rights_but_on_the_schema(server: Any, database: str) -> None:
    """One who owns the schema can use it; one who may not make it is told."""
    name = database.rpartition("/")[2]
    with psycopg.connect(database) as db:
        db.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'p'".encode())
    url = server.url(name, password="p").replace("statecore:", f"{name}:")
    with pytest.raises(StoreUnusable, match="make it the owner"):
        PostgresStore(url)
    with psycopg.connect(database) as db:
        db.execute(f"CREATE SCHEMA statecore AUTHORIZATION {name}".encode())
    for version in range(2):
        with closing(PostgresStore(url)) as store:
            assert asyncio.run(store.commit({_A: (version, Line(str(version)))}))


def test_ids_that_no_text_can_hold(database: str) -> None:
    """Whatever a stranger asks for is looked up; it is not there."""

    async def main() -> None:
        with closing(PostgresStore(database)) as store:
            key = ("auth", "\0\x7f\U0001f600 é")
            assert await store.load([key]) == {key: (0, None)}
            assert await store.commit({key: (0, b"x")})
            assert await store.scan("auth") == [(key, b"x")]

    asyncio.run(main())


def test_a_missing_driver_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what mends it; the SQLite store does not miss it. Any other name is an AttributeError."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "statecore_sql._postgres")
    monkeypatch.delattr(statecore_sql, "_postgres")
    monkeypatch.delattr(statecore_sql, "PostgresStore")
    with pytest.raises(AdapterMissing, match=r"pip install 'statecore\[postgres\]'"):
        _ = statecore_sql.PostgresStore
    assert not hasattr(statecore_sql, "MongoStore")


# --- its password -----------------------------------------------------------------------------------------------------


def _everything(error: BaseException | None) -> str:
    """What can be seen of an error, and of those behind it."""
    return f"{error} {error!r} {vars(error)} {_everything(error.__cause__ or error.__context__)}" if error else ""


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:sec/ret@127.0.0.1:9/calls",
        "postgresql://ann:sec@ret@127.0.0.1:9/calls",
        "postgresql://ann:sec ret@127.0.0.1:9/calls",
        "postgresql://ann:sec%ret@127.0.0.1:9/calls",
        "postgresql://ann:secret",
        "postgresql://ann:1/secret@127.0.0.1:9/calls",
        "postgre://ann:secret@127.0.0.1:9/calls",
        "host=127.0.0.1 password=sec ret",
    ],
)
def test_a_url_that_cannot_be_read_is_not_shown(url: str) -> None:
    """The error says what is wrong in general, and holds no piece of it."""
    with pytest.raises(InvalidArgument, match="URL") as caught:
        PostgresStore(url)
    assert not re.search("sec|ret", _everything(caught.value))


def test_the_password_is_never_shown(server: Any, database: str, caplog: pytest.LogCaptureFixture) -> None:
    """Not by the store, nor by its errors: when it is wrong, when nobody listens, and when the server goes."""
    caplog.set_level(logging.DEBUG)
    secret, seen = "very%secret@", ""
    name = database.rpartition("/")[2]
    for url in (server.url(name, password=secret), server.url(name, password=secret, port=9)):
        with pytest.raises(StoreUnusable) as caught:
            PostgresStore(url)
        seen += _everything(caught.value)
    assert "password authentication failed" in seen
    assert "refused" in seen
    with closing(PostgresStore(database)) as store:
        seen += repr(store) + str(store)
        store._thread.submit(store._db.execute, "DROP TABLE records").result()
        with pytest.raises(StoreUnusable, match="does not exist") as lacking:
            asyncio.run(store.load([_A]))
        seen += _everything(lacking.value)
    assert secret not in seen + caplog.text
    assert server.password not in seen + caplog.text
