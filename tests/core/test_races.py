"""Every race of the catalogue, in every order of its messages, with losses, repeats and timers in every gap."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from statecore.testing.races import ELSEWHERE, RACES, WAITING, Race, named
from statecore.testing.world import World

ROOT = Path(__file__).parents[2]
NAMES = [race.name for races in RACES.values() for race in races]


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """What a sample is drawn by: `make test` gives another each time, and prints it."""
    return int(request.config.getoption("--hypothesis-seed") or 7)


@pytest.mark.soak
@pytest.mark.no_cover
@pytest.mark.parametrize("name", NAMES)
def test_every_order_of_a_race_keeps_what_must_hold(name: str, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Each race keeps to the oracle, and to what it promises, whatever comes first. `make soak` draws far more of the
    orders where there are too many."""
    limit = 200_000 if settings.default is settings.get_profile("soak") else 250
    found = named(name).run(limit, seed)
    with capsys.disabled():
        for each in found:
            how = "all" if each.exhaustive else f"sampled, seed {seed}"
            sys.stdout.write(f"\n{name}: {each.interleavings} interleavings, {each.states} states ({how})")
    assert sum(each.interleavings for each in found) > 1


@pytest.mark.parametrize("name", NAMES)
def test_a_few_orders_of_a_race_are_drawn(name: str) -> None:
    """Where there are more than can be run, some are: the same each time, as the lines are counted here."""
    assert sum(each.interleavings for each in named(name).run(60, seed=7)) > 0


def test_a_promise_that_is_not_kept_is_seen(seed: int) -> None:
    """What a race promises is asked for: with the opposite promised, it fails, and tells the way there."""

    def nothing_ends(made: World) -> None:
        assert made.record("S").reason == ""

    race = named("both end at once")
    assert isinstance(race, Race)
    wrong = Race(race.name, race.promise, race.build, [{}], nothing_ends)
    with pytest.raises(AssertionError) as found:
        wrong.run(1_500, seed)
    assert "after (" in "".join(found.value.__notes__)


def test_no_name_stands_for_two() -> None:
    """Races are told apart by their names."""
    assert len(set(NAMES)) == len(NAMES) > 60
    assert not set(NAMES) & {*ELSEWHERE, *WAITING}


def test_every_race_has_been_counted() -> None:
    """The figures in the documentation are of the races there are."""
    counts = json.loads((ROOT / "docs" / "races.json").read_text(encoding="utf-8"))
    assert list(counts["races"]) == NAMES


def test_what_is_held_elsewhere_is_held_there() -> None:
    """The tests that the catalogue points to exist, by their names."""
    for where in ELSEWHERE.values():
        path, _, name = where.partition("::")
        body = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
        assert name in [each.name for each in body if isinstance(each, ast.FunctionDef)], where
