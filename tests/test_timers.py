"""The timers: their defaults, their bounds, and that every deadline is armed from one."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from statecore.errors import InvalidSettings
from statecore.flow import FLOWS, Flow, Timers

TIMERS = Timers.table()
each_timer = pytest.mark.parametrize("timer", TIMERS, ids=lambda timer: timer["name"])


@each_timer
@pytest.mark.parametrize("value", [None, 0, 0.0, -1, -0.5, float("-inf")])
def test_nothing_or_less_means_the_default(timer: dict[str, Any], value: float | None) -> None:
    """None, 0 and less stand for the default of every timer."""
    assert getattr(Timers(**{timer["name"]: value}), timer["name"]) == timer["default"]


_ROOM = {"heartbeat": {"lease": 3600}, "lease": {"heartbeat": 0.001}}
"""What else is set for a timer to go to its bounds: a lease has to be longer than a heartbeat."""


@each_timer
def test_a_timer_keeps_fractions_and_its_bounds(timer: dict[str, Any]) -> None:
    """A fraction is kept, both bounds are allowed, and a hair beyond either is not."""
    name = timer["name"]
    for value in (0.25, timer["at_least"], timer["at_most"]):
        assert getattr(Timers(**{**_ROOM.get(name, {}), name: value}), name) == value
    for value in (timer["at_least"] / 2, timer["at_most"] + 0.001, float("inf")):
        with pytest.raises(InvalidSettings, match=f"{name}="):
            Timers(**{**_ROOM.get(name, {}), name: value})


def test_a_lease_lasts_longer_than_a_heartbeat() -> None:
    """A device that says what it has to say in time never loses its lease by its settings."""
    for heartbeat, lease in ((15, 15), (20, 10), (50, None)):
        with pytest.raises(InvalidSettings, match="must be longer than the heartbeat"):
            Timers(heartbeat=heartbeat, lease=lease)
    assert Timers(heartbeat=15, lease=15.5).lease == 15.5


@each_timer
@pytest.mark.parametrize("value", ["45", True, float("nan"), [45]])
def test_a_timer_is_a_number(timer: dict[str, Any], value: Any) -> None:
    """What is no number of seconds is refused, truth values and not-a-number included."""
    with pytest.raises(InvalidSettings, match="must be a number of seconds"):
        Timers(**{timer["name"]: value})


def test_every_timer_has_its_line() -> None:
    """The table lists every timer with its default, its bounds, whom it belongs to and what it fires."""
    assert [timer["name"] for timer in TIMERS] == [field.name for field in attrs.fields(Timers)]
    for timer in TIMERS:
        assert timer["at_least"] <= timer["default"] <= timer["at_most"]
        assert timer["belongs"]
        assert timer["fires"]


@pytest.mark.parametrize("flow", FLOWS.values(), ids=lambda flow: flow.name)
def test_deadlines_name_timers_that_exist(flow: Flow) -> None:
    """Every deadline of our flows is armed from a timer of the table."""
    assert {deadline.timer for deadline in flow.deadlines} <= {timer["name"] for timer in TIMERS}
