"""What goes in and out of the REST part, as JSON."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, Struct

Id = Annotated[str, Meta(min_length=1, max_length=128, description="An id: text without spaces, not `.` or `..`.")]
Seconds = Annotated[float, Meta(ge=1, le=10 * 365 * 86_400, description="How long it is good for, in seconds.")]


class NewUser(Struct, forbid_unknown_fields=True):
    """Somebody who can call and be called."""

    uid: Id
    name: Annotated[str, Meta(max_length=256, description="A name to show.")] = ""
    avatar: Annotated[str, Meta(max_length=2048, description="The address of a picture.")] = ""
    capacity: (
        Annotated[int, Meta(ge=1, le=100, description="How many calls the user may be in at once before being busy.")]
        | None
    ) = None


class UserBody(Struct):
    """A user, as the service knows them."""

    uid: str
    name: str
    avatar: str
    online: bool


class NewAuthToken(Struct, forbid_unknown_fields=True):
    """What an auth token is to be like."""

    lifetime: Seconds | None = None


class AuthTokenBody(Struct, omit_defaults=True):
    """An auth token. The token itself is said once, when it is made."""

    id: str
    user: str
    issued_at: int
    expires_at: int
    token: str = ""


RoleName: TypeAlias = Literal["host", "moderator", "presenter", "participant", "viewer"]


class NewCallToken(Struct, forbid_unknown_fields=True):
    """What a call token is to be like."""

    user: Id
    role: RoleName = "participant"
    lifetime: Seconds | None = None


class NewSession(Struct, forbid_unknown_fields=True):
    """A session to be, and who may come to it."""

    users: Annotated[
        dict[Id, RoleName], Meta(min_length=1, max_length=100, description="Who may join, and in which role.")
    ]
    lifetime: Seconds | None = None


class SessionBody(Struct):
    """A session that nobody has joined yet."""

    session_id: str
    tokens: dict[str, str]


class CallTokenBody(Struct):
    """A call token."""

    token: str


class GivenToken(Struct, forbid_unknown_fields=True):
    """A call token that was given out. It stands in the body, since addresses are written to logs."""

    token: Annotated[str, Meta(min_length=1, max_length=8192)]


class OldToken(GivenToken, forbid_unknown_fields=True):
    """A call token that is to be renewed."""

    lifetime: Seconds | None = None


class ErrorBody(Struct):
    """Why something was refused: a stable code, a sentence, and what it is about."""

    code: str
    message: str
    data: dict[str, Any] = {}


class Participant(Struct):
    """Somebody who joined."""

    pid: str
    uid: str
    device: str
    role: str


class CallBody(Struct):
    """A call or session, live or ended. Times are Unix seconds; `duration` runs from active. `ended_on` is the
    device on which `ended_by` ended it."""

    session_id: str
    type: str
    status: str
    category: str
    initiator: str
    receiver: str
    reason: str | None
    ended_by: str | None
    ended_on: str | None
    initiated_at: float | None
    ringing_at: float | None
    answered_at: float | None
    active_at: float | None
    ended_at: float | None
    duration: float
    participants: list[Participant]
    metadata: dict[str, Any] | None


class CallPageBody(Struct):
    """Some calls, newest first, and the cursors of the pages around them; empty where there is none."""

    calls: list[CallBody]
    older: str
    newer: str


def call_body(call: Any) -> CallBody:
    end, active = call.end_reason, call.active_at
    return CallBody(
        session_id=call.session_id,
        type=call.type,
        status=call.status,
        category="call" if call.receiver else "direct",
        initiator=call.initiator,
        receiver=call.receiver,
        reason=end.what if end else None,
        ended_by=end.by if end else None,
        ended_on=end.device if end else None,
        initiated_at=call.initiated_at,
        ringing_at=call.ringing_at,
        answered_at=call.answered_at,
        active_at=active,
        ended_at=call.ended_at,
        duration=max(0.0, call.ended_at - active) if active and call.ended_at else 0.0,
        participants=[Participant(p.pid, p.uid, p.device, p.role) for p in call.participants],
        metadata=call.metadata,
    )
