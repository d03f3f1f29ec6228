"""What a simulated world is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from statecore.endpoint import Do, Endpoint, EndpointMachine
from statecore.flow import Flow, Timers
from statecore.ports import Key
from statecore.settings import ServiceSettings
from statecore.switchboard import Switchboard

NOON = 1_700_000_000_000
"""When a world begins, in Unix milliseconds."""
CALM = Timers(heartbeat=3000, lease=3600)
"""Timers under which only what a call itself carries ever fires."""


class Plan(Struct, frozen=True):
    """Something a user is going to do, once."""

    device: str
    """On which device."""
    given: Do
    """What."""
    when: tuple[str, ...] = ()
    """Only while the leg is in one of these states; "" for no leg. Empty: at any time."""
    after: tuple[int, ...] = ()
    """Only after these other plans, by their places."""


class Place(Struct, frozen=True):
    """A device and its link."""

    endpoint: Endpoint
    born: int
    """The zero of its clock."""
    linked: bool = False
    """Whether there is a connection."""
    greeted: bool = False
    """Whether the service has taken its hello."""
    up: tuple[bytes, ...] = ()
    """On the way to the service."""
    down: tuple[bytes, ...] = ()
    """On the way to the device."""


class Setup:
    """What all copies of a world share."""

    def __init__(self, flows: Mapping[str, Flow], timers: Timers, settings: ServiceSettings | None) -> None:
        self.board = Switchboard(flows=flows, timers=timers, settings=settings)
        self.machine = EndpointMachine(flows=flows, timers=timers)


class Records(dict[Key, Any]):
    """A store in which what is absent is None."""

    def __missing__(self, key: Key) -> None:
        return None
