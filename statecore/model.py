"""The values statecore is about: users, devices, calls, invitations, legs, and why things end.

Two families, for two kinds of reader:

- *Public values* (attrs): `User`, `Participant`, `Call`, `EndReason`. What listeners and callers see. Times are Unix
  time in seconds (float), as Python programs expect.
- *Records* (msgspec Structs): `Record`, `Leg`, `Ending`, `Invitation`, `Offer`, `Line`, `Device`. What the switchboard
  decides over and the store keeps. Times are Unix time in integer milliseconds; 0 means "not yet". All are immutable.

A leg's `Control` (state, role, flags, reason) is kept apart from its ids and times, so that control states compare and
hash cheaply, and are shared among all legs that are in the same condition.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal, TypeAlias

import attrs
import msgspec

CallType: TypeAlias = Literal["audio", "video"]
Role: TypeAlias = Literal["caller", "callee", "member"]


class Reason(StrEnum):
    """Why a leg or a call ended. The record's reason is the truth; a classic `Status` is derived from it."""

    HANGUP = "hangup"
    """Somebody in the call ended it, or left."""
    REJECTED = "rejected"
    """The receiver declined."""
    CANCELLED = "cancelled"
    """The caller gave up before the answer."""
    BUSY = "busy"
    """The receiver's line was taken."""
    UNANSWERED = "unanswered"
    """The ring timer fired."""
    ANSWERED_ELSEWHERE = "answered_elsewhere"
    """Another device of the same user answered."""
    REJECTED_ELSEWHERE = "rejected_elsewhere"
    """Another device of the same user declined."""
    FAILED_MEDIA = "failed_media"
    """Media never connected."""
    LOST = "lost"
    """A device, its process or its media was lost."""
    EXPIRED = "expired"
    """The token or the permitted duration ran out."""
    KICKED = "kicked"
    """A moderator removed the participant, or ended the session for all."""
    IDLE = "idle"
    """Alone for too long."""
    MERGED = "merged"
    """Both called each other: this id became a second name of the other call."""


class Status(StrEnum):
    """The classic status of a call. Terminal ones never change. `missed` is how a cancelled, busy, unanswered or lost
    call stands in the log of whom it did not reach."""

    INITIATED = "initiated"
    ONGOING = "ongoing"
    REJECTED = "rejected"
    BUSY = "busy"
    CANCELLED = "cancelled"
    UNANSWERED = "unanswered"
    MISSED = "missed"
    ENDED = "ended"


STATUS: dict[Reason, Status] = {
    **dict.fromkeys(Reason, Status.ENDED),
    Reason.REJECTED: Status.REJECTED,
    Reason.REJECTED_ELSEWHERE: Status.REJECTED,
    Reason.CANCELLED: Status.CANCELLED,
    Reason.BUSY: Status.BUSY,
    Reason.UNANSWERED: Status.UNANSWERED,
}
"""The classic status that each end reason stands for."""

_OWN_ENDS = (Reason.LOST, Reason.IDLE, Reason.EXPIRED)
_OVERTAKEN: dict[str, frozenset[Reason]] = {
    "caller": frozenset({Reason.HANGUP, Reason.CANCELLED, *_OWN_ENDS}),
    "callee": frozenset({Reason.HANGUP, Reason.REJECTED, Reason.BUSY, *_OWN_ENDS}),
    "member": frozenset({Reason.HANGUP, *_OWN_ENDS}),
}

COMPATIBLE: frozenset[tuple[str, Reason, Reason]] = frozenset(
    {(role, reason, reason) for role in _OVERTAKEN for reason in Reason}
    | {(role, local, record) for role, locals_ in _OVERTAKEN.items() for local in locals_ for record in Reason}
)
"""The (role, local reason, recorded reason) triples that may stand side by side: the natural ones, and a local end that
an earlier decision at the switchboard overtook. Nothing else."""


# --- public values ----------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class User:
    """Somebody who can call and be called."""

    uid: str
    """The user's id."""
    name: str = ""
    """A name to show; the id if empty."""
    avatar: str = ""
    """The address of a picture, or empty."""


@attrs.frozen(kw_only=True)
class EndReason:
    """Why a call or a leg ended, by whom, and when."""

    what: Reason
    """The reason."""
    by: str | None = None
    """The user whose act it was; None for a timer or the network."""
    device: str | None = None
    """The device on which that user acted; None likewise."""
    when: float = 0.0
    """Unix time in seconds, by the service's clock; of an end that this device decided itself, as it reckons that."""

    @property
    def status(self) -> Status:
        """The classic status of this reason."""
        return STATUS[self.what]


@attrs.frozen(kw_only=True)
class Participant:
    """One connection of a user to a session."""

    pid: str
    """The participant's id in this session."""
    uid: str
    """The user's id."""
    name: str = ""
    """A name to show."""
    avatar: str = ""
    """The address of a picture, or empty."""
    device: str = ""
    """The device's id."""
    role: Role = "member"
    """What this participant is in the call."""
    joined: int = 0
    """The place in the order of joining, from 1; 0 while not joined."""
    joined_at: float | None = None
    """When that was, in Unix seconds by the service's clock; None while not joined."""
    flags: frozenset[str] = frozenset()
    """The marks of the flow that are on, such as `audio_muted`."""

    @property
    def audio_muted(self) -> bool:
        """The microphone is off."""
        return "audio_muted" in self.flags

    @property
    def video_paused(self) -> bool:
        """The camera is paused."""
        return "video_paused" in self.flags

    @property
    def presenting(self) -> bool:
        """A screen is being shared."""
        return "presenting" in self.flags

    @property
    def hand_raised(self) -> bool:
        """The hand is up."""
        return "hand_raised" in self.flags


@attrs.frozen(kw_only=True)
class Call:
    """A call as it stood at one moment. A snapshot: it never changes; later events bring later ones."""

    session_id: str
    """The call's id, also the id of its session."""
    type: CallType
    """Audio or video; may become video in the middle."""
    state: str
    """The state of this device's leg."""
    role: Role
    """What this device is in the call."""
    status: Status
    """The classic status."""
    initiator: str
    """The user who called, or who opened the session."""
    receiver: str
    """The user who is called; empty for a session."""
    end_reason: EndReason | None = None
    """Why it ended; None while it lives."""
    initiated_at: float | None = None
    """When the call was made; Unix seconds by the service's clock, like the times below."""
    ringing_at: float | None = None
    """When a device of the receiver began to ring; None in a session, and where none was there."""
    answered_at: float | None = None
    """When somebody accepted."""
    active_at: float | None = None
    """When media was up on both sides; durations are counted from here."""
    ended_at: float | None = None
    """When it ended."""
    age: float = 0.0
    """Seconds since the call was made, by the service's clock, when the service last spoke of it."""
    participants: tuple[Participant, ...] = ()
    """Everyone who has a live part, oneself included."""
    metadata: dict[str, Any] | None = None
    """What the caller attached."""

    @property
    def peer(self) -> str:
        """The other user of a call of two; empty in a session."""
        return self.initiator if self.role == "callee" else self.receiver


# --- records ----------------------------------------------------------------------------------------------------------

NO_FLAGS: frozenset[str] = frozenset()


class Control(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """The part of a leg that the flow's table sees and changes."""

    state: str
    """A state of the flow."""
    role: Role
    """caller, callee, or member of a session."""
    flags: frozenset[str] = NO_FLAGS
    """Marks that rows set and clear, and `joined`."""
    reason: str = ""
    """Why it ended; empty while it lives."""


class Ending(msgspec.Struct, frozen=True, gc=False):
    """When a leg or a call ended, and whose act that was. Why is in the leg's control, and in the record."""

    at: int = 0
    """When; 0 while it lives."""
    by: str = ""
    """The user whose act it was; empty for a timer or the network."""
    device: str = ""
    """The device on which that user acted; empty likewise."""


LIVE = Ending()
"""What lives has not ended."""


class Leg(msgspec.Struct, frozen=True, gc=False):
    """One device's part in a call, and the only thing that runs the machine."""

    pid: str
    """The leg's id within the call: "1", "2" ... in the order of making."""
    user: str
    """The user's id."""
    device: str
    """The device's id."""
    epoch: str
    """Which incarnation (process start) of the device."""
    control: Control
    """Where it stands."""
    deadline: int = 0
    """When the state's timer fires; 0 for none."""
    seq: int = 0
    """How many views were sent to this leg's device."""
    heard: int = 0
    """The number of the last command taken from this leg's device."""
    refused: str = ""
    """How that command was refused: the error's code, a space, and the error's data as JSON; empty if it was done."""
    via: str = ""
    """The session id of the own initiate that counted as this leg's yes."""
    joined: int = 0
    """Place in the order of joining; 0 before."""
    grants: frozenset[str] = NO_FLAGS
    """What the token of this leg allows."""
    joined_at: int = 0
    """When it joined."""
    end: Ending = LIVE
    """When it ended, and by whom."""
    name: str = ""
    """The name to show, as it was when the leg was made."""
    avatar: str = ""
    """The address of the user's picture, likewise."""


class Invitation(msgspec.Struct, frozen=True, gc=False):
    """A user who was rung."""

    user: str
    """The user's id."""
    state: Literal["ringing", "joined", "declined", "unanswered", "left"] = "ringing"
    """What became of it."""


class Offer(msgspec.Struct, frozen=True, gc=False):
    """The offer token of one pair of legs: who may change their media now, and who waits."""

    pair: tuple[str, str]
    """The two pids, the one that joined first in front."""
    holder: str = ""
    """Who holds it; empty if nobody does."""
    waiting: str = ""
    """Who asked for it meanwhile; empty if nobody did."""
    until: int = 0
    """When it is taken back."""
    turn: int = 0
    """How often it was granted so far."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """A call or a session. Once ended it is its own row in the call log, and the tombstone of its id."""

    session_id: str
    """The id."""
    flow: str
    """The name of the flow it runs."""
    type: CallType
    """Audio or video."""
    initiator: str
    """The user who made it."""
    receiver: str = ""
    """The user who is called; empty in a session."""
    legs: tuple[Leg, ...] = ()
    """Every leg there ever was, live and ended."""
    invitations: tuple[Invitation, ...] = ()
    """Everyone who was rung."""
    offers: tuple[Offer, ...] = ()
    """The pairs whose offer token was ever asked for."""
    metadata: str = ""
    """What the caller attached, as JSON."""
    initiated_at: int = 0
    """When it was made."""
    ringing_at: int = 0
    """When the first device of somebody who was invited began to ring."""
    ring_until: int = 0
    """When the ring timer fires, also for legs made later."""
    answered_at: int = 0
    """When somebody accepted."""
    active_at: int = 0
    """When the first leg became active."""
    end: Ending = LIVE
    """When it was over, and by whom."""
    empty_until: int = 0
    """Until when an empty session waits for somebody to come back; 0 while it is not empty."""
    reason: str = ""
    """Why it ended."""
    merged_into: str = ""
    """The session id of the call that this id became a second name of."""


FORGOTTEN = Record("", "", "video", "", end=Ending(1))
"""What stands for a call that has ended and of which the store has kept no more than that."""


class Device(msgspec.Struct, frozen=True, gc=False):
    """A device that is, or shortly was, connected."""

    device: str
    """The device's id."""
    epoch: str
    """Its incarnation."""
    conn: int = 0
    """The number of its newest connection within the epoch."""
    online: bool = True
    """Whether that connection stands."""
    lease: int = 0
    """When the device counts as lost unless it is heard of."""
    guest: str = ""
    """The only session that it may take part in, if a call token admitted it; empty where its user has logged in."""


def people(record: Record) -> frozenset[str]:
    """Everybody whose call it is: who made it, who was called in it, and who had a part in it."""
    return frozenset({record.initiator, record.receiver, *(leg.user for leg in record.legs)} - {""})


class Line(msgspec.Struct, frozen=True, gc=False):
    """What the switchboard knows of one user. Who is not known has a line only while a guest by that name is here."""

    user: str
    """The user's id."""
    name: str = ""
    """A name to show."""
    avatar: str = ""
    """The address of a picture, or empty."""
    devices: tuple[Device, ...] = ()
    """The devices that are connected or leased."""
    holds: tuple[str, ...] = ()
    """The session ids of the calls that take this line."""
    sessions: tuple[str, ...] = ()
    """The session ids of every other live call or session this user has a part in."""
    capacity: int = 0
    """How many calls may take this line at once; 0 for as many as the service's settings say."""
    known: bool = True
    """Whether the user is known, and so can be rung."""

    @property
    def ringing(self) -> list[Device]:
        """The devices that ring for this user now. A guest's never does."""
        return [device for device in self.devices if device.online and not device.guest]
