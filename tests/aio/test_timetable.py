"""The index of what is due when."""

from __future__ import annotations

import random

import pytest

from statecore.aio._time import Timetable
from statecore.ports import Key

NOON = 1_700_000_000_000


@pytest.mark.parametrize("seed", range(20))
def test_each_record_is_taken_when_its_time_has_come(seed: int) -> None:
    """Not a millisecond before, in whatever order they were noted, and as an index says that only knows notes."""
    chance, table, now = random.Random(seed), Timetable(), NOON  # noqa: S311 - not a secret
    notes: set[tuple[int, Key]] = set()
    for _ in range(300):
        for _ in range(chance.randrange(4)):
            key: Key = (chance.choice(("call", "line")), str(chance.randrange(20)))
            due = now + chance.choice((-5, 0, 1, 999, 1000, chance.randrange(5_000), chance.randrange(60_000)))
            table.note(key, due)
            notes.add((due, key))
        coming = min((due for due, _ in notes), default=0)
        following = table.next()
        assert following <= coming
        assert bool(following) == bool(coming)
        now = chance.choice((now, following or now, coming or now, now + chance.randrange(2_000)))
        found = table.take(now)
        assert sorted(found) == sorted({key for due, key in notes if due <= now})
        notes = {(due, key) for due, key in notes if due > now}


def test_what_is_due_earlier_is_taken_earlier() -> None:
    """Of all that has come meanwhile, in the order of its times."""
    table = Timetable()
    for later in (2_500, 700, 2_499, 1_000, 0):
        table.note(("call", str(later)), NOON + later)
    table.note(("call", "never"), 0)
    assert table.take(NOON + 2_499) == [("call", "0"), ("call", "700"), ("call", "1000"), ("call", "2499")]
    assert table.take(NOON + 10_000) == [("call", "2500")]
    assert table.next() == 0
