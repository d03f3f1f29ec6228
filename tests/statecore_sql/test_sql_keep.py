"""What a store forgets, and when."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from msgspec.structs import replace

from statecore.errors import InvalidArgument, StoreUnusable
from statecore.model import Control, Ending, Leg, Line, Record
from statecore.ports import EXPIRING, Key
from statecore_sql import SqliteStore

_DAY = 86_400_000
_NOON = 1_800_000_000_000


def _calls() -> dict[Key, tuple[int, Any]]:
    """One that lives, one that ended a day before noon, one at noon, and a second name of that one; and a user."""
    live = Record("live", "ringing", "audio", "a", "b", initiated_at=_NOON - 2 * _DAY)
    end = Ending(_NOON, "b")
    legs = (
        Leg("1", "a", "a1", "e", Control("ended", "caller", reason="hangup"), end=end),
        Leg("2", "b", "b1", "e", Control("ended", "callee", reason="hangup"), end=end),
    )
    records = [
        live,
        replace(live, session_id="old", end=Ending(_NOON - _DAY)),
        replace(live, session_id="new", initiated_at=_NOON - 5, legs=legs, end=end, reason="hangup"),
        replace(live, session_id="second", initiated_at=_NOON - 5, merged_into="new"),
    ]
    return {("line", "a"): (0, Line("a")), **{("call", record.session_id): (0, record) for record in records}}


def _kept(place: Any, **more: Any) -> list[str]:
    with closing(place.open(**more)) as store:
        assert len(asyncio.run(store.scan("line"))) == 1
        return sorted(name for (_, name), _ in asyncio.run(store.scan("call")))


@pytest.mark.parametrize("keep", [0, -1, float("nan"), float("inf"), 1e300, True, "90"])
def test_a_time_that_is_none_is_refused(tmp_path: Path, keep: Any) -> None:
    """Before the file is touched, and by name."""
    with pytest.raises(InvalidArgument, match="keep is seconds"):
        SqliteStore(tmp_path / "calls.db", keep=keep)
    assert list(tmp_path.iterdir()) == []


def test_calls_leave_the_log_when_it_was_said_that_they_do(place: Any) -> None:
    """As the store is opened: those that ended so long ago, with their second names, and never one that lives."""
    with closing(place.open()) as store:
        assert asyncio.run(store.commit(_calls()))
    assert _kept(place) == ["live", "new", "old", "second"]
    assert _kept(place, keep=86_400, now=lambda: _NOON - 1) == ["live", "new", "old", "second"]
    assert _kept(place, keep=86_400, now=lambda: _NOON) == ["live", "new", "second"]
    assert _kept(place, keep=86_400, now=lambda: _NOON + _DAY) == ["live"]


def test_the_id_of_a_call_that_has_left_stays_used(place: Any) -> None:
    """Of a call that is not kept any more its key stays written: what was decided before finds another version, and
    who comes later can tell that there was one."""
    key: Key = ("call", "old")
    with closing(place.open()) as store:
        assert asyncio.run(store.commit(_calls()))
    with closing(place.open(keep=86_400, now=lambda: _NOON)) as store:
        (version, value) = asyncio.run(store.load([key]))[key]
        assert version > 1
        assert value is None
        for stale in (0, 1):
            assert not asyncio.run(store.commit({key: (stale, _calls()[key][1])}))


def test_calls_leave_the_log_of_a_service_that_goes_on_for_long(place: Any) -> None:
    """Hourly, with a commit."""
    times = [_NOON]
    with closing(place.open(keep=86_400, now=lambda: times[-1])) as store:
        assert asyncio.run(store.commit(_calls()))
        for passed, left in ((3_599_999, 4), (3_600_000, 3), (_DAY + 3_600_000, 1)):
            times.append(_NOON + passed)
            version = asyncio.run(store.load([("line", "a")]))["line", "a"][0]
            assert asyncio.run(store.commit({("line", "a"): (version, Line("a", str(passed)))}))
            found = asyncio.run(store.load([key for key in _calls() if key[0] == "call"]))
            assert sum(value is not None for _, value in found.values()) == left
            assert len(asyncio.run(store.scan("call"))) == left


@pytest.mark.parametrize("kind", sorted(EXPIRING))
def test_what_expires_leaves_with_its_token(place: Any, kind: str) -> None:
    """That a token is void, or for one device only, is forgotten an hour after it has expired, whether calls are kept
    or not; until then it is there."""
    writes: dict[Key, tuple[int, Any]] = {(kind, "t"): (0, f"{_NOON} phone".encode()), ("other", "t"): (0, b"1")}
    with closing(place.open(now=lambda: _NOON)) as store:
        assert asyncio.run(store.commit(writes))
    for passed, left in ((3_599_999, 1), (3_600_000, 0)):
        with closing(place.open(now=lambda passed=passed: _NOON + passed)) as store:
            assert len(asyncio.run(store.scan(kind))) == left
            assert asyncio.run(store.scan("other")) == [(("other", "t"), b"1")]


def test_to_look_for_what_may_go_costs_the_same_however_much_stays(tmp_path: Path) -> None:
    """Hourly, in a commit: that of a log of a thousand calls takes as many steps as that of ten, where nothing is to
    be forgotten."""
    steps = []
    for many in (10, 1_000):
        now, count = [_NOON], itertools.count()
        with closing(SqliteStore(tmp_path / f"{many}.db", keep=86_400, now=lambda now=now: now[0])) as store:
            live = Record("live", "ringing", "audio", "a", "b", initiated_at=_NOON)
            calls = [replace(live, session_id=f"S{n}", end=Ending(_NOON)) for n in range(many)]
            assert asyncio.run(store.commit({("call", call.session_id): (0, call) for call in calls}))
            now[0] += 2 * 3_600_000
            handler = lambda count=count: next(count) * 0  # noqa: E731 - it goes on
            store._thread.submit(store._db.set_progress_handler, handler, 1).result()
            assert asyncio.run(store.commit({("line", "a"): (0, Line("a"))}))
            steps.append(next(count))
    assert steps[1] < steps[0] + 50


_BACK = {
    "sqlite": (
        "PRAGMA user_version=3",
        """DROP INDEX records_made; DROP INDEX records_live; DROP TABLE people;
        ALTER TABLE records DROP COLUMN made; PRAGMA user_version=2""",
        "DROP INDEX records_over; ALTER TABLE records DROP COLUMN over; PRAGMA user_version=1",
    ),
    "postgres": (
        "SET search_path = statecore; DELETE FROM version; INSERT INTO version VALUES (2)",
        """SET search_path = statecore; DROP INDEX records_made; DROP INDEX records_live; DROP TABLE people;
        ALTER TABLE records DROP COLUMN made; DELETE FROM version; INSERT INTO version VALUES (1)""",
    ),
}
"""What makes of a database one of an earlier version, one step after the other."""


def _older(value: bytes) -> bytes:
    """A call as it was written before it said on which device it was ended."""
    call = msgspec.msgpack.decode(value)
    for part in (call, *call["legs"]):
        end = part.pop("end")
        part.update(ended_at=end["at"], by=end["by"])
    return msgspec.msgpack.encode(call | {"joins": 1})


def _take_back(place: Any, steps: int, then: str = "") -> None:
    calls = "records WHERE kind = 'call' AND value IS NOT NULL"
    if place.kind is SqliteStore:
        with closing(sqlite3.connect(place.where)) as db:
            for where, value in db.execute(f"SELECT place, value FROM {calls}").fetchall():  # noqa: S608 - our own
                db.execute("UPDATE records SET value = ? WHERE place = ?", (_older(value), where))
            db.commit()
            for step in (*_BACK["sqlite"][:steps], then):
                db.executescript(step)
    else:
        with psycopg.connect(place.where, autocommit=True) as db:
            db.execute("SET search_path = statecore")
            for where, value in db.execute(f"SELECT place, value FROM {calls}".encode()).fetchall():  # noqa: S608
                db.execute("UPDATE records SET value = %s WHERE place = %s", (_older(value), where))
            for step in (*_BACK["postgres"][:steps], then):
                db.execute(step.encode())


_STEPS = [("sqlite", 1), ("sqlite", 2), ("sqlite", 3), ("postgres", 1), ("postgres", 2)]


@pytest.mark.parametrize(("places", "steps"), _STEPS, indirect=["places"])
def test_a_database_of_a_version_before_that_cannot_be_read_is_told(place: Any, steps: int) -> None:
    """A call in it that is none is said to be in this store."""
    with closing(place.open()) as store:
        assert asyncio.run(store.commit(_calls()))
    _take_back(place, steps, "UPDATE records SET value = substr(value, 2) WHERE kind = 'call'")
    with pytest.raises(StoreUnusable, match="a call in it cannot be read") as caught:
        place.open()
    assert str(caught.value.data["store"]).endswith(place.where.rpartition("/")[2])


@pytest.mark.parametrize(("places", "steps"), _STEPS, indirect=["places"])
def test_a_database_of_a_version_before_is_taken_over(place: Any, steps: int) -> None:
    """What it holds is there and stands in the lists, and its calls leave the log like others."""
    calls = _calls()
    with closing(place.open()) as store:
        assert asyncio.run(store.commit(calls))
    _take_back(place, steps)
    with closing(place.open()) as store:
        assert asyncio.run(store.count_live()) == 1
        for user, found in ((None, 3), ("a", 3), ("c", 0)):
            everything = {"live": None, "above": (-1, ""), "below": (1 << 52, ""), "newest": True, "limit": None}
            assert len(asyncio.run(store.find_calls(user=user, **everything))) == found
        now = {key: value for key, (_, value) in asyncio.run(store.load(calls)).items()}
        assert now == {key: value for key, (_, value) in calls.items()}
    assert _kept(place) == ["live", "new", "old", "second"]
    assert _kept(place, keep=86_400, now=lambda: _NOON) == ["live", "new", "second"]
