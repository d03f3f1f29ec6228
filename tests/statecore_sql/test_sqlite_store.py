"""The SQLite store: the conformance suite, and what only a file can do."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from statecore.model import Line, Record
from statecore.testing.stores import StoreConformance
from statecore_sql import SqliteStore, StoreUnusable


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


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """A file with a higher schema number is not touched."""
    with closing(sqlite3.connect(tmp_path / "calls.db")) as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(StoreUnusable, match="newer"):
        SqliteStore(tmp_path / "calls.db")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """Any other file is refused and left as it is."""
    path = tmp_path / "calls.db"
    path.write_text("no database " * 100)
    with pytest.raises(StoreUnusable, match="not a SQLite"):
        SqliteStore(path)
    assert path.read_text() == "no database " * 100
