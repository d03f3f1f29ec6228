"""The SQLite store: the conformance suite, and what only a file can do."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from statecore.errors import StoreUnusable
from statecore.model import Line, Record
from statecore.ports import Key
from statecore.testing.stores import StoreConformance
from statecore_sql import SqliteStore


class TestSqliteStore(StoreConformance):
    """The suite on a new file each."""

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[SqliteStore]:
        """A store in a directory that goes with it."""
        with tempfile.TemporaryDirectory() as folder, closing(SqliteStore(Path(folder, "calls.db"))) as store:
            yield store


def test_what_was_committed_is_there_when_the_file_is_opened_again(tmp_path: Path) -> None:
    """Values and versions outlive the store that wrote them, and closing twice is harmless."""
    line, record = Line("a", "Ann", holds=("c",)), Record("c", "ringing", "audio", "a", "b", ring_until=7)
    writes = {("line", "a"): (0, line), ("call", "c"): (0, record)}
    store = SqliteStore(tmp_path / "calls.db")
    assert asyncio.run(store.commit(writes))
    store.close()
    store.close()
    with closing(SqliteStore(tmp_path / "calls.db")) as again:
        assert asyncio.run(again.load(writes)) == {("line", "a"): (1, line), ("call", "c"): (1, record)}


def _foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE songs (title TEXT)")


def _newer(path: Path) -> None:
    SqliteStore(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version=99")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (_newer, "a newer statecore wrote it"),
        (_foreign, "another program's database"),
        (lambda path: path.write_text("no database " * 100), "not a SQLite database"),
        (lambda path: path.mkdir(), "cannot be opened"),
    ],
    ids=["newer", "foreign", "text", "directory"],
)
def test_a_file_that_is_no_store_of_ours_is_refused(spoil: Callable[[Path], object], why: str, tmp_path: Path) -> None:
    """It says why and what to do, and the file is left as it is."""
    path = tmp_path / "calls.db"
    spoil(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StoreUnusable, match=why) as caught:
        SqliteStore(path)
    assert caught.value.data["store"] == str(path)
    assert (path.read_bytes() if path.is_file() else None) == before


def test_a_file_that_another_keeps_locked_is_told_and_free_again_later(tmp_path: Path) -> None:
    """Nothing is written meanwhile; afterwards everything goes on."""
    path, write = tmp_path / "calls.db", {("line", "a"): (0, Line("a"))}
    with closing(SqliteStore(path, patience=0.05)) as store, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnusable, match="keeps it locked"):
            asyncio.run(store.commit(write))
        other.rollback()
        assert asyncio.run(store.commit(write))


def test_a_full_disk_is_told_and_nothing_is_half_written(tmp_path: Path) -> None:
    """A commit of two keys for the second of which there is no room leaves neither."""
    writes: dict[Key, tuple[int, Any]] = {("line", "a"): (0, Line("a")), ("call", "c"): (0, _large())}
    with closing(SqliteStore(tmp_path / "calls.db")) as store:
        store._thread.submit(store._db.execute, "PRAGMA max_page_count=12").result()  # a disk that is full
        with pytest.raises(StoreUnusable, match="the disk is full"):
            asyncio.run(store.commit(writes))
        assert asyncio.run(store.load(writes)) == {("line", "a"): (0, None), ("call", "c"): (0, None)}
        assert asyncio.run(store.commit({("line", "a"): (0, Line("a"))}))


_DAY = 86_400_000
_NOON = 1_800_000_000_000


def _calls() -> dict[Key, tuple[int, Any]]:
    """One that lives, one that ended a day before noon, one at noon, and a second name of that one; and a user."""
    live = Record("live", "ringing", "audio", "a", "b", initiated_at=_NOON - 2 * _DAY)
    records = [
        live,
        replace(live, session_id="old", ended_at=_NOON - _DAY),
        replace(live, session_id="new", initiated_at=_NOON - 5, ended_at=_NOON),
        replace(live, session_id="second", initiated_at=_NOON - 5, merged_into="new"),
    ]
    return {("line", "a"): (0, Line("a")), **{("call", record.session_id): (0, record) for record in records}}


def _kept(path: Path, **more: Any) -> list[str]:
    with closing(SqliteStore(path, **more)) as store:
        assert len(asyncio.run(store.scan("line"))) == 1
        return [name for (_, name), _ in asyncio.run(store.scan("call"))]


def test_calls_leave_the_log_when_it_was_said_that_they_do(tmp_path: Path) -> None:
    """As the file is opened: those that ended so long ago, with their second names, and never one that lives."""
    path = tmp_path / "calls.db"
    with closing(SqliteStore(path)) as store:
        assert asyncio.run(store.commit(_calls()))
    assert _kept(path) == ["live", "old", "new", "second"]
    assert _kept(path, keep=86_400, now=lambda: _NOON - 1) == ["live", "old", "new", "second"]
    assert _kept(path, keep=86_400, now=lambda: _NOON) == ["live", "new", "second"]
    assert _kept(path, keep=86_400, now=lambda: _NOON + _DAY) == ["live"]


def test_calls_leave_the_log_of_a_service_that_goes_on_for_long(tmp_path: Path) -> None:
    """Hourly, with a commit."""
    times = [_NOON]
    with closing(SqliteStore(tmp_path / "calls.db", keep=86_400, now=lambda: times[-1])) as store:
        assert asyncio.run(store.commit(_calls()))
        for passed, left in ((3_599_999, 4), (3_600_000, 3), (_DAY + 3_600_000, 1)):
            times.append(_NOON + passed)
            version = asyncio.run(store.load([("line", "a")]))["line", "a"][0]
            assert asyncio.run(store.commit({("line", "a"): (version, Line("a", str(passed)))}))
            assert len(asyncio.run(store.scan("call"))) == left


def test_a_file_of_the_version_before_is_taken_over(tmp_path: Path) -> None:
    """What it holds is there, and its calls leave the log like others."""
    path = tmp_path / "calls.db"
    with closing(SqliteStore(path)) as store:
        assert asyncio.run(store.commit(_calls()))
    with closing(sqlite3.connect(path)) as db:
        db.executescript("DROP INDEX records_over; ALTER TABLE records DROP COLUMN over; PRAGMA user_version=1")
    assert _kept(path) == ["live", "old", "new", "second"]
    assert _kept(path, keep=86_400, now=lambda: _NOON) == ["live", "new", "second"]


def _large() -> Record:
    return Record("c", "ringing", "audio", "a", "b", metadata="x" * 200_000)
