"""Public values made from records and legs."""

from __future__ import annotations

from typing import Any

import msgspec

from ..endpoint import LocalLeg
from ..errors import StoreUnusable
from ..model import STATUS, Call, EndReason, Leg, Participant, Reason, Record, Status, User
from ..wire import Peer


def _when(milliseconds: int) -> float | None:
    return milliseconds / 1000 if milliseconds else None


DEEPEST = 64
"""How many values may stand within one another in metadata. It is a stranger's: of much more neither what reads JSON
nor what writes it makes anything but an error, and one call would be the end of every list that it stands in."""


def is_deep(data: Any) -> bool:
    """Whether values stand within one another more often than that."""
    inner: list[Any] = [data]
    for _ in range(DEEPEST):
        values = [each.values() if isinstance(each, dict) else each for each in inner if isinstance(each, dict | list)]
        if not values:
            return False
        inner = [child for each in values for child in each]
    return True


def _metadata(text: str) -> dict[str, Any] | None:
    """What a caller attached; None if that is nothing, no object, or too deep."""
    try:
        data = msgspec.json.decode(text) if text else None
    except (msgspec.DecodeError, RecursionError):
        return None
    deep = text.count("{") + text.count("[") >= DEEPEST and is_deep(data)
    return data if isinstance(data, dict) and not deep else None


def _reason(record: Record) -> Reason:
    try:
        return Reason(record.reason)
    except ValueError:
        why = f"the call {record.session_id} in it ended for a reason that is none: {record.reason!r}"
        raise StoreUnusable(store="the store", why=why) from None


def call_of_record(record: Record, user: str | None = None) -> Call:
    """A call as the service knows it: for the log, for looking up. With a user, as that one sees it. Its participants
    are those who have a live part, or had one if it has ended. Raises StoreUnusable for a record that no service has
    written."""
    end = None
    if record.end.at:
        end = _end_reason(_reason(record), record.end.by, record.end.device, record.end.at)
    live = [leg for leg in record.legs if not leg.end.at]
    return Call(
        session_id=record.session_id,
        type=record.type,
        state=live[-1].control.state if live else "ended",
        role="member" if not record.receiver else "caller" if user in (None, record.initiator) else "callee",
        status=_status(record, end, user),
        initiator=record.initiator,
        receiver=record.receiver,
        end_reason=end,
        initiated_at=_when(record.initiated_at),
        ringing_at=_when(record.ringing_at),
        answered_at=_when(record.answered_at),
        active_at=_when(record.active_at),
        ended_at=_when(record.end.at),
        participants=tuple(_participant_of_leg(leg) for leg in (record.legs if end else live) if leg.joined),
        metadata=_metadata(record.metadata),
    )


def _status(record: Record, end: EndReason | None, user: str | None) -> Status:
    if end is None:
        return Status.ONGOING if record.answered_at else Status.INITIATED
    return Status.MISSED if _missed(record, user) else end.status


def _missed(record: Record, user: str | None) -> bool:
    """Whether an ended call was meant for a user who did not say yes or no to it, on any device."""
    answers = {invitation.user: invitation.state for invitation in record.invitations}
    if user == record.initiator or user not in {record.receiver, *answers}:
        return False
    return answers.get(user, "unanswered") in ("ringing", "unanswered")  # nobody is rung whose line is busy


def _participant_of_leg(leg: Leg) -> Participant:
    return Participant(
        pid=leg.pid, uid=leg.user, name=leg.name or leg.user, avatar=leg.avatar, device=leg.device,
        role=leg.control.role, joined=leg.joined, joined_at=_when(leg.joined_at),
        flags=leg.control.flags - {"joined", "connected"},
    )  # fmt: skip


def participant(peer: Peer) -> Participant:
    """A participant as others see it."""
    return Participant(
        pid=peer.pid, uid=peer.user, name=peer.name or peer.user, avatar=peer.avatar, device=peer.device,
        role=peer.role, joined=peer.joined, joined_at=_when(peer.joined_at), flags=peer.flags - {"joined"},
    )  # fmt: skip


def own_participant(leg: LocalLeg, me: User, device: str) -> Participant:
    """Oneself."""
    return Participant(
        pid=leg.pid, uid=me.uid, name=me.name or me.uid, avatar=me.avatar, device=device, role=leg.role,
        joined=leg.joined, joined_at=_when(leg.joined_at), flags=leg.flags - {"joined", "connected"},
    )  # fmt: skip


def end_reason(leg: LocalLeg) -> EndReason:
    """Why a leg ended."""
    return _end_reason(leg.reason or Reason.LOST, leg.by, leg.by_device, leg.at[-1])


def _end_reason(what: Reason, by: str, device: str, when: int) -> EndReason:
    return EndReason(what=what, by=by or None, device=device or None, when=when / 1000)


def fields_of_leg(leg: LocalLeg, me: User, device: str) -> dict[str, Any]:
    """What makes a `Call` of a device's own leg."""
    initiated, ringing, answered, active, ended = leg.at
    end = end_reason(leg) if leg.reason is not None else None
    people = (own_participant(leg, me, device), *(participant(peer) for peer in leg.peers)) if leg.pid else ()
    return {
        "session_id": leg.session,
        "type": leg.type,
        "state": leg.state,
        "role": leg.role,
        "status": STATUS[end.what] if end else Status.ONGOING if answered else Status.INITIATED,
        "initiator": leg.initiator,
        "receiver": leg.receiver,
        "end_reason": end,
        "initiated_at": _when(initiated),
        "ringing_at": _when(ringing),
        "answered_at": _when(answered),
        "active_at": _when(active),
        "ended_at": _when(ended),
        "age": leg.age / 1000,
        "participants": people if not end else (),
        "metadata": _metadata(leg.metadata),
    }
