"""The SQLite store: the conformance suite, and what only a file can do."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

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
        with tempfile.TemporaryDirectory() as folder:
            self.path = Path(folder, "calls.db")
            with closing(SqliteStore(self.path)) as store:
                yield store

    @asynccontextmanager
    async def reopened(self, store: SqliteStore) -> AsyncIterator[SqliteStore]:
        """Another on its file."""
        store.close()
        with closing(SqliteStore(self.path)) as again:
            yield again


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


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x81\xa1a\xa1\xff", b"\x91" * 100_000])
def test_a_record_that_cannot_be_read_is_told(data: bytes, tmp_path: Path) -> None:
    """What another program has written in a row is no record: which file and what kind is said."""
    path = tmp_path / "calls.db"
    with closing(SqliteStore(path)) as store:
        asyncio.run(store.commit({("line", "a"): (0, Line("a"))}))
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE records SET value = ?", (data,))
        db.commit()
    with closing(SqliteStore(path)) as store:
        for read in (store.load([("line", "a")]), store.scan("line")):
            with pytest.raises(StoreUnusable, match="a line in it cannot be read") as caught:
                asyncio.run(read)
            assert caught.value.data["store"] == str(path)


def test_a_file_that_another_keeps_locked_is_told_and_free_again_later(tmp_path: Path) -> None:
    """Nothing is written meanwhile; afterwards everything goes on."""
    path, write = tmp_path / "calls.db", {("line", "a"): (0, Line("a"))}
    with closing(SqliteStore(path, patience=0.05)) as store, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnusable, match="keeps it locked"):
            asyncio.run(store.commit(write))
        other.rollback()
        assert asyncio.run(store.commit(write))


_HOLDS = """
import sys
from statecore_sql import SqliteStore
store = SqliteStore(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
store.close()
"""


def _holder(path: Path, program: str = _HOLDS) -> subprocess.Popen[str]:
    """A process that has a file until its input ends."""
    command = [sys.executable, "-P", "-c", program, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_file_is_one_process_s_at_a_time(tmp_path: Path) -> None:
    """A second one is told which way out there is, by whichever name it comes, and waits for one that is on its way
    out. Who only reads is not in the way, and nothing is left beside the file."""
    path, link = tmp_path / "calls.db", tmp_path / "link.db"
    link.symlink_to(path)
    process = _holder(path)
    for name in (path, link):
        with pytest.raises(StoreUnusable, match="another process has it, and one at a time may: stop that one"):
            SqliteStore(name, patience=0.05)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM records").fetchone() == (0,)
    assert process.stdin is not None
    process.stdin.close()
    SqliteStore(path, patience=20).close()
    assert process.wait() == 0
    assert process.stdout is not None
    process.stdout.close()
    assert {each.name for each in tmp_path.iterdir()} == {"calls.db", "link.db"}


def test_a_file_is_free_when_its_process_was_killed(tmp_path: Path) -> None:
    """At once, whatever was left beside it."""
    path = tmp_path / "calls.db"
    process = _holder(path)
    process.kill()
    process.communicate()
    assert Path(f"{path}-lock").exists()
    with closing(SqliteStore(path, patience=0)) as store:
        assert asyncio.run(store.commit({("line", "a"): (0, Line("a"))}))
    assert {each.name for each in tmp_path.iterdir()} == {"calls.db"}


_FORKS = """
import os, sys
from statecore_sql import SqliteStore
store = SqliteStore(sys.argv[1])
if os.fork() == 0:
    store._unlock()  # as if it closed what is its parent's
    print("held", flush=True)
    sys.stdin.read()
    os._exit(0)
os.wait()
"""


def test_a_forked_process_does_not_have_the_file(tmp_path: Path) -> None:
    """A child of the process that has the file cannot give it away, and does not keep it when that one is killed."""
    path = tmp_path / "calls.db"
    process = _holder(path, _FORKS)
    with pytest.raises(StoreUnusable, match="another process has it"):
        SqliteStore(path, patience=0)
    process.kill()
    process.wait()
    SqliteStore(path, patience=0).close()
    process.communicate()


def test_a_file_whose_lock_cannot_be_had_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody goes on without the lock where the file can be written: which file is in the way is said, and no
    descriptor stays open. Where it cannot be written that is said."""
    path = tmp_path / "calls.db"
    SqliteStore(path).close()
    lock = Path(f"{path}-lock")
    lock.mkdir()
    with pytest.raises(StoreUnusable, match=r"calls\.db-lock, which keeps others out, cannot be locked \(Is a"):
        SqliteStore(path)
    lock.rmdir()

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)  # as some network file systems do
    before = os.listdir("/proc/self/fd")
    with pytest.raises(StoreUnusable, match=r"cannot be locked \(No locks available\)"):
        SqliteStore(path)
    assert os.listdir("/proc/self/fd") == before
    with pytest.raises(StoreUnusable, match="it cannot be opened: check that its directory is there"):
        SqliteStore(tmp_path / "nowhere" / "calls.db")


def test_a_full_disk_is_told_and_nothing_is_half_written(tmp_path: Path) -> None:
    """A commit of two keys for the second of which there is no room leaves neither."""
    writes: dict[Key, tuple[int, Any]] = {("line", "a"): (0, Line("a")), ("call", "c"): (0, _large())}
    with closing(SqliteStore(tmp_path / "calls.db")) as store:
        store._thread.submit(store._db.execute, "PRAGMA max_page_count=12").result()  # a disk that is full
        with pytest.raises(StoreUnusable, match="the disk is full"):
            asyncio.run(store.commit(writes))
        assert asyncio.run(store.load(writes)) == {("line", "a"): (0, None), ("call", "c"): (0, None)}
        assert asyncio.run(store.commit({("line", "a"): (0, Line("a"))}))


async def _together(store: SqliteStore, *works: Coroutine[Any, Any, Any], dropped: int = 0) -> list[Any]:
    """What becomes of these, all asked for while the disk is busy with something else; the last of them are cancelled
    before that is over."""
    free = threading.Event()
    store._thread.submit(free.wait, 30)
    asked = [asyncio.create_task(work) for work in works]
    await asyncio.sleep(0)
    for task in asked[len(asked) - dropped :]:
        task.cancel()
    await asyncio.sleep(0)
    free.set()
    return await asyncio.gather(*asked, return_exceptions=True)


def test_what_comes_while_the_disk_is_busy_is_written_together(tmp_path: Path) -> None:
    """Twenty commits are one for the disk. Each is decided by itself: of two with one key one is refused, and what is
    read meanwhile is what was committed before."""
    said: list[str] = []
    lines: list[Any] = [("line", f"{number}") for number in range(20)]

    async def main(store: SqliteStore) -> None:
        assert await store.commit({lines[0]: (0, Line("0"))})
        store._thread.submit(store._db.set_trace_callback, said.append).result()
        writes = [store.commit({key: (0, Line(key[1]))}) for key in (*lines[1:], lines[1])]
        *done, found = await _together(store, *writes, store.load(lines[:2]))
        assert done == [True] * 19 + [False]
        assert found == {lines[0]: (1, Line("0")), lines[1]: (0, None)}
        assert await store.load([lines[19]]) == {lines[19]: (1, Line("19"))}

    with closing(SqliteStore(tmp_path / "calls.db")) as store:
        asyncio.run(main(store))
    assert said.count("BEGIN IMMEDIATE") == 1


def test_of_what_is_written_together_each_fails_by_itself(tmp_path: Path) -> None:
    """There is room for two of three commits: the third is told so, and the two are on the disk. One that was
    cancelled before it began is not."""
    keys: list[Any] = [("line", "a"), ("call", "c"), ("line", "b"), ("line", "d")]
    values: list[Any] = [Line("a"), _large(), Line("b"), Line("d")]

    async def main(store: SqliteStore) -> None:
        works = [store.commit({key: (0, value)}) for key, value in zip(keys, values, strict=True)]
        one, refused, two, late = await _together(store, *works, dropped=1)
        assert (one, two) == (True, True)
        assert isinstance(refused, StoreUnusable)
        assert isinstance(late, asyncio.CancelledError)
        found = await store.load(keys)
        assert [version for version, _ in found.values()] == [1, 0, 1, 0]

    with closing(SqliteStore(tmp_path / "calls.db")) as store:
        store._thread.submit(store._db.execute, "PRAGMA max_page_count=16").result()  # a disk that is full
        asyncio.run(main(store))


def test_what_is_known_is_read_without_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written or read last is given while the disk is busy, and of a store's records so many are remembered;
    the others are read."""
    monkeypatch.setattr("statecore_sql._sqlite._KNOWN", 2)
    keys: list[Any] = [("line", "a"), ("line", "b"), ("line", "c")]
    kept = {key: (1, Line(key[1])) for key in keys}

    async def main(store: SqliteStore) -> None:
        for key in keys:
            assert await store.commit({key: (0, Line(key[1]))})
        assert await store.load(keys) == kept
        free = threading.Event()
        store._thread.submit(free.wait, 30)
        try:
            async with asyncio.timeout(10):
                assert await store.load(keys[1:]) == {key: kept[key] for key in keys[1:]}
            late = asyncio.create_task(store.load(keys[:2]))
            await asyncio.sleep(0)
            assert not late.done()
        finally:
            free.set()
        assert await late == {key: kept[key] for key in keys[:2]}

    with closing(SqliteStore(tmp_path / "calls.db")) as store:
        asyncio.run(main(store))


def test_what_somebody_else_has_written_is_found_out(tmp_path: Path) -> None:
    """A hand that wrote into the file meanwhile costs a conflict, as another service would, and no more."""
    key: Any = ("line", "a")
    other: Any = ("line", "b")

    async def main(store: SqliteStore) -> None:
        assert await store.commit({key: (0, Line("a"))})
        with closing(sqlite3.connect(tmp_path / "calls.db")) as db:
            db.execute("UPDATE records SET version = 7")
            db.commit()
        assert not await store.commit({key: (1, Line("a", "Ann"))})
        assert await store.load([key]) == {key: (7, Line("a"))}
        # What was asked for together is told apart, one by one.
        both = store.commit({key: (7, Line("a", "Ann"))}), store.commit({other: (0, Line("b"))})
        assert await asyncio.gather(*both) == [True, True]
        with closing(sqlite3.connect(tmp_path / "calls.db")) as db:
            db.execute("UPDATE records SET version = 9 WHERE id = 'a'")
            db.commit()
        both = store.commit({key: (8, Line("a"))}), store.commit({other: (1, Line("b", "Bob"))})
        assert await asyncio.gather(*both) == [False, True]
        assert await store.load([key, other]) == {key: (9, Line("a", "Ann")), other: (2, Line("b", "Bob"))}
        # So is what was only to stay as it was.
        with closing(sqlite3.connect(tmp_path / "calls.db")) as db:
            db.execute("UPDATE records SET version = 10 WHERE id = 'a'")
            db.commit()
        stays: Any = (await store.load([key]))[key]
        assert not await store.commit({key: stays, other: (2, Line("b"))})
        assert await store.commit({key: (10, Line("a", "Ann")), other: (2, Line("b"))})

    with closing(SqliteStore(tmp_path / "calls.db")) as store:
        asyncio.run(main(store))


def _large() -> Record:
    return Record("c", "ringing", "audio", "a", "b", metadata="x" * 200_000)
