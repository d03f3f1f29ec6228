"""The messages between a device's endpoint and the switchboard, and their codec: JSON, typed, validated, versioned.

Up go what a device wants and reports: `Hello`, `Command`, `Relay`, `Ask`, `Free`, `TokenRequest`, `Beat`, `Bye`. Down
come facts: `Welcome`, `View` (the whole view of a leg, never a change to one), `Refused`, `Unknown`, `Relayed`,
`Token`, `Beat`.

Unknown fields are tolerated within a version, so that a newer peer may add some. Anything else that does not fit is
refused with MalformedMessage, before any state is looked at. Durations and ages are integer milliseconds; the wall
times in a view are Unix time in integer milliseconds by the service's clock, for people to read and never to be
compared with a device's clock.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from .errors import MalformedMessage, UnsupportedVersion
from .model import NO_FLAGS, CallType, Reason, Role

VERSION = 1
"""The version of the protocol. A peer that speaks another is refused with UnsupportedVersion."""
MAX_SIZE = 65536
"""The longest message in bytes, unless the settings say otherwise."""

Id = Annotated[str, Meta(min_length=1, max_length=128)]
"""The id of a session, a user, a device or a participant."""
Name = Annotated[str, Meta(max_length=256)]
"""A name for people."""
Count = Annotated[int, Meta(ge=0, le=2**53)]
"""A number, a duration or a time; never negative."""
Version = Annotated[int, Meta(ge=VERSION, le=VERSION)]
"""Ours, and no other."""


def without_token(message: Struct) -> str:
    """A repr that may be logged."""
    fields = {name: getattr(message, name) for name in message.__struct_fields__ if name != "token"}
    return f"{type(message).__name__}({', '.join(f'{name}={value!r}' for name, value in fields.items())})"


# --- up ---------------------------------------------------------------------------------------------------------------


class Hello(Struct, frozen=True, gc=False, tag_field="m", tag="hello", omit_defaults=True):
    """The first message of every connection: who I am and what I know."""

    device: Id
    """The device's id."""
    epoch: Id
    """The incarnation: new at each start of the process."""
    conn: Count
    """The number of this connection within the epoch: rising."""
    v: Version = VERSION
    """The protocol's version."""
    name: Name = ""
    """A name to show others."""
    flows: dict[str, str] = {}
    """The flows this device holds: name to hash."""
    sessions: dict[Id, Count] = {}
    """Every session the device has a part in, with the number of the last view seen."""


class Command(Struct, frozen=True, gc=False, tag_field="m", tag="command", omit_defaults=True):
    """A trigger for my leg of a session. Said again after every resume until a view shows that it was heard."""

    session: Id
    """The session's id."""
    n: Count
    """The number of this command of this leg: rising from 1."""
    trigger: Id
    """A trigger of the flow."""
    pid: Annotated[str, Meta(max_length=128)] = ""
    """The leg it is for, if the device knows. An end that a user says is for the newest leg all the same."""
    flow: Annotated[str, Meta(max_length=64)] = ""
    """Which flow to run, where the command makes the call."""
    receiver: Annotated[str, Meta(max_length=128)] = ""
    """Who is called, likewise."""
    type: CallType = "video"
    """Audio or video, likewise."""
    timeout: Count = 0
    """How long to ring, likewise; 0 for the service's default."""
    metadata: str = ""
    """Anything, as JSON, likewise."""
    token: str = ""
    """The call token, where the command joins."""
    flags: frozenset[str] = NO_FLAGS
    """Flags to join with."""
    data: dict[str, Any] | None = None
    """Whatever else a flow of the application's own wants."""

    __repr__ = without_token


class Relay(Struct, frozen=True, gc=False, tag_field="m", tag="relay"):
    """A piece of media signaling or data for another participant: not kept, lost with a link."""

    session: Id
    """The session's id."""
    to: Id
    """The participant's pid."""
    kind: Literal["offer", "answer", "candidate", "data"]
    """What it is. An offer is carried only for the holder of the pair's offer token, an answer only to him."""
    body: str
    """Anything."""


class Ask(Struct, frozen=True, gc=False, tag_field="m", tag="ask"):
    """I want the offer token of the pair with this participant."""

    session: Id
    """The session's id."""
    pid: Id
    """The other participant."""


class Free(Struct, frozen=True, gc=False, tag_field="m", tag="free"):
    """I give that token back."""

    session: Id
    """The session's id."""
    pid: Id
    """The other participant."""


class TokenRequest(Struct, frozen=True, gc=False, tag_field="m", tag="token?"):
    """I want a call token for a session."""

    session: Id
    """The session's id."""
    n: Count
    """The number of this request, echoed in the answer."""


class Beat(Struct, frozen=True, gc=False, tag_field="m", tag="beat"):
    """I am here. Sent by a device; echoed by the service, which confirms the link."""


class Bye(Struct, frozen=True, gc=False, tag_field="m", tag="bye"):
    """This device goes for good."""


# --- down -------------------------------------------------------------------------------------------------------------


class Welcome(Struct, frozen=True, gc=False, tag_field="m", tag="welcome", omit_defaults=True):
    """The answer to `Hello`: the link stands. The views the device lacks follow."""

    user: Id
    """Who the service takes the device for."""
    v: Version = VERSION
    """The protocol's version."""
    avatar: str = ""
    """The address of the user's picture, or empty."""
    heartbeat: Count = 15_000
    """How often to send a `Beat`."""
    lease: Count = 45_000
    """How long the device may believe in its calls without word from the service."""
    rate: Annotated[int, Meta(ge=1, le=2**53)] = 200
    """How many messages a second the device may send in the long run, ten times that at once."""


class Peer(Struct, frozen=True, gc=False, omit_defaults=True):
    """A participant, as others see it."""

    pid: str
    """The participant's id in the session."""
    user: str
    """The user's id."""
    device: str = ""
    """The device's id."""
    name: str = ""
    """A name to show."""
    avatar: str = ""
    """The address of a picture, or empty."""
    role: Role = "member"
    """caller, callee or member."""
    joined: int = 0
    """Place in the order of joining; 0 before."""
    joined_at: int = 0
    """Wall time of that; 0 before."""
    flags: frozenset[str] = NO_FLAGS
    """Its marks."""


class View(Struct, frozen=True, gc=False, tag_field="m", tag="view", omit_defaults=True):
    """A fact: the whole view of one device's leg. The last one is the truth; a gap heals itself."""

    session: str
    """The session's id."""
    seq: Count
    """The number of this view: rising by one for each sent to this leg."""
    pid: str
    """The leg's id in the session."""
    state: str
    """A state of the flow."""
    initiator: str
    """Who called."""
    flow: str = "ringing"
    """The flow's name."""
    role: Role = "callee"
    """What this leg is."""
    type: CallType = "video"
    """Audio or video."""
    receiver: str = ""
    """Who is called."""
    heard: Count = 0
    """The number of the last command taken from this leg."""
    reason: Reason | None = None
    """Why the leg ended; absent while it lives."""
    by: str = ""
    """Whose act ended it."""
    by_device: str = ""
    """The device on which it was done."""
    via: str = ""
    """The own initiate that counted as this leg's yes."""
    joined: int = 0
    """Place in the order of joining; 0 before."""
    joined_at: int = 0
    """Wall time of that; 0 before."""
    flags: frozenset[str] = NO_FLAGS
    """The leg's marks, `joined` among them."""
    grants: frozenset[str] = NO_FLAGS
    """What its token allows."""
    peers: tuple[Peer, ...] = ()
    """Everyone else who was accepted and has not left."""
    offers: dict[str, int] = {}
    """The pairs whose offer token this leg holds: the other's pid, and the number of the turn."""
    left: Count = 0
    """Milliseconds until the state's timer fires; 0 for none."""
    age: Count = 0
    """Milliseconds since the call was made."""
    at: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)
    """Wall times: initiated, ringing, answered, active, ended; 0 for not yet."""
    metadata: str = ""
    """What the caller attached, as JSON."""
    gone: dict[str, Reason] | None = None
    """Why participants are gone who did not just leave, by pid: the newest of them."""
    token: str = ""
    """A call token, with the view that says the leg may join."""

    __repr__ = without_token


class Refused(Struct, frozen=True, gc=False, tag_field="m", tag="refused", omit_defaults=True):
    """A command or request was refused; nothing changed."""

    session: str
    """The session's id."""
    n: Count
    """The command's or request's number."""
    code: str
    """An error code."""
    data: dict[str, Any] = {}
    """The error's data."""
    request: bool = False
    """Whether it was a `TokenRequest`."""


class Unknown(Struct, frozen=True, gc=False, tag_field="m", tag="unknown"):
    """The service knows no live part of this device in a session that the device named."""

    session: str
    """The session's id."""
    seq: Count
    """The number the device named."""


class Relayed(Struct, frozen=True, gc=False, tag_field="m", tag="relayed"):
    """What a participant sent with `Relay`."""

    session: str
    """The session's id."""
    source: str
    """The sender's pid."""
    kind: str
    """offer, answer, candidate or data."""
    body: str
    """As sent."""


class Token(Struct, frozen=True, gc=False, tag_field="m", tag="token"):
    """The answer to a `TokenRequest`."""

    session: str
    """The session's id."""
    n: Count
    """The request's number."""
    token: str
    """The call token."""

    __repr__ = without_token


Up = Hello | Command | Relay | Ask | Free | TokenRequest | Beat | Bye
Down = Welcome | View | Refused | Unknown | Relayed | Token | Beat

_encoder = msgspec.json.Encoder()
_up: msgspec.json.Decoder[Up] = msgspec.json.Decoder(Up)
_down: msgspec.json.Decoder[Down] = msgspec.json.Decoder(Down)

encode = _encoder.encode
"""A message as bytes."""


def decode_up(data: bytes, limit: int = MAX_SIZE) -> Up:
    """A device's message. Raises MalformedMessage, or UnsupportedVersion for a `Hello` of another version."""
    if len(data) > limit:
        raise _too_long(data, limit)
    try:
        return _up.decode(data)
    except _FAULTS as error:
        raise _fault(data, error) from None


def decode_down(data: bytes, limit: int = 16 * MAX_SIZE) -> Down:
    """The service's message. Raises MalformedMessage, or UnsupportedVersion for a `Welcome` of another version."""
    if len(data) > limit:
        raise _too_long(data, limit)
    try:
        return _down.decode(data)
    except _FAULTS as error:
        raise _fault(data, error) from None


_FAULTS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Greeting(Struct):
    """What every version's greeting has in common, whatever else it says."""

    m: Literal["hello", "welcome"]
    v: int = VERSION


_greeting = msgspec.json.Decoder(_Greeting)


def _too_long(data: bytes, limit: int) -> MalformedMessage:
    return MalformedMessage(why=f"{len(data)} bytes, more than {limit}")


def _fault(data: bytes, error: Exception) -> MalformedMessage | UnsupportedVersion:
    # A greeting of another version may well have other fields: that it is of another version is what is wrong with it.
    with suppress(*_FAULTS):
        theirs = _greeting.decode(data).v
        if theirs != VERSION:
            return UnsupportedVersion(theirs=theirs, ours=VERSION)
    # The reason names a place and a type, never a value: a message may carry a token.
    return MalformedMessage(why=str(error))
