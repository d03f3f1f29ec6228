"""What a simulated world is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from statecore.endpoint import Do, Endpoint, EndpointMachine
from statecore.errors import TokenError, TokenMalformed
from statecore.flow import Flow, Timers
from statecore.model import NO_FLAGS, Record
from statecore.ports import Key
from statecore.settings import ServiceSettings
from statecore.switchboard import Act, Confirm, Connect, Goodbye, Input, Negotiate, Route, Switchboard
from statecore.tokens import ROLE_GRANTS, Claims, Role
from statecore.wire import Ask, Beat, Bye, Command, Free, Hello, Relay, Up

NOON = 1_700_000_000_000
"""When a world begins, in Unix milliseconds."""
PICTURES = "https://pictures.test/"
"""Everybody in a world has a picture here, by the user's id."""
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
    again: bool = False
    """Whether as often as it is possible."""


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


class Service(Protocol):
    """The service's side of a world."""

    @property
    def store(self) -> Mapping[Key, Any]:
        """Its records; None for what is absent."""

    @property
    def board(self) -> Switchboard:
        """What decides over them."""

    @property
    def now(self) -> int:
        """Its time, in Unix milliseconds."""

    def records(self) -> list[Record]:
        """Every call."""

    def record(self, session: str) -> Record:
        """A call."""


def call_token(user: str, session: str, second: int, **more: Any) -> str:
    """A call token as text, not signed: its claims as JSON."""
    return msgspec.json.encode(claims(user, session, second, **more), order="deterministic").decode()


def claims(user: str, session: str, second: int, **more: Any) -> Claims:
    """What such a token says. All for one user and session have one id, as if it were one token."""
    said: dict[str, Any] = {
        "issuer": "statecore", "user": user, "session": session, "token_id": f"{user}/{session}", "issued_at": second,
        "not_before": second, "expires": second + 36_000, "grants": ROLE_GRANTS[Role.PARTICIPANT], **more,
    }  # fmt: skip
    return Claims(**said)


def verify(token: str) -> tuple[Claims | None, TokenError | None]:
    """The claims of such a token, or what is wrong with it."""
    if not token:
        return None, None
    try:
        return msgspec.json.decode(token, type=Claims), None
    except msgspec.MsgspecError:
        return None, TokenMalformed(why="it is not one")


def as_input(
    endpoint: Endpoint, message: Up, given: frozenset[str] = NO_FLAGS, guest: Claims | None = None
) -> Input | None:
    """What a device's message is for the switchboard; None for a request for a token, which is the shell's. `guest` is
    what the token says that admitted the device, if its user has not logged in."""
    who = (endpoint.user, endpoint.device, endpoint.epoch)
    if isinstance(message, Hello):
        return Connect(endpoint.user, message, guest)
    if isinstance(message, Command):
        return Act(*who, message, *verify(message.token), given, guest=guest)
    if isinstance(message, Relay):
        return Route(*who, message)
    if isinstance(message, Ask | Free):
        return Negotiate(*who, message)
    if isinstance(message, Beat):
        return Confirm(*who)
    return Goodbye(*who) if isinstance(message, Bye) else None
