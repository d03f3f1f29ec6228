"""The table of every timer there is."""

from __future__ import annotations

from math import isnan
from typing import Any

import attrs

from .errors import InvalidSettings


def _timer(default: float, belongs: str, fires: str, *, at_most: float = 3600.0, at_least: float = 0.001) -> Any:
    return attrs.field(
        default=default,
        converter=lambda value: _seconds(value, default),
        validator=_within(at_least, at_most),
        metadata={"belongs": belongs, "fires": fires, "at_least": at_least, "at_most": at_most},
    )


def _seconds(value: Any, default: float) -> float:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or isnan(value):
        raise InvalidSettings(name="timer", value=value, why="must be a number of seconds, or None for the default")
    return float(value) if value > 0 else default


def _within(low: float, high: float) -> Any:
    def check(_: Any, attribute: attrs.Attribute[float], value: float) -> None:
        if not low <= value <= high:
            raise InvalidSettings(name=attribute.name, value=value, why=f"must be from {low:g} to {high:g} seconds")

    return check


@attrs.frozen(kw_only=True)
class Timers:
    """Every timer there is, in seconds. None, 0 or less means the default; fractions are kept.

    Raises InvalidSettings for what is out of bounds, and for a lease that would run out between two heartbeats."""

    ring: float = _timer(45.0, "a call", "the leg's ring timer: unanswered")
    connect: float = _timer(30.0, "an accepted leg", "the leg's connect timer: media never connected")
    heartbeat: float = _timer(15.0, "a connection", "a heartbeat to the service", at_most=3000.0)
    lease: float = _timer(
        45.0, "a device", "lost, unless its link was confirmed; the service waits 5 s longer", at_least=0.002
    )
    media_notice: float = _timer(2.0, "media with one participant", "tell that media is lost")
    media_lost: float = _timer(30.0, "media with one participant", "it is lost for good; ends who can reach nobody")
    command: float = _timer(10.0, "a command", "a command that was not confirmed fails")
    close: float = _timer(5.0, "a media session", "closing is forced")
    consent: float = _timer(30.0, "a request to switch to video", "the request lapses")
    offer: float = _timer(10.0, "an offer token", "the token is taken back")
    empty: float = _timer(60.0, "a session without participants", "the session ends")

    def __attrs_post_init__(self) -> None:
        if self.lease <= self.heartbeat:
            why = f"must be longer than the heartbeat, which is {self.heartbeat:g} seconds"
            raise InvalidSettings(name="lease", value=self.lease, why=why)

    @classmethod
    def table(cls) -> list[dict[str, Any]]:
        """The table for people: name, default, bounds, whom it belongs to, what it fires."""
        return [{"name": field.name, "default": field.default, **field.metadata} for field in attrs.fields(cls)]
