"""What an end means to somebody who awaits something else."""

from __future__ import annotations

from ..errors import (
    AnsweredElsewhere,
    CallCancelled,
    CallDeclined,
    CallEnded,
    CallGone,
    CallRejected,
    CallUnanswered,
    MediaConnectionFailed,
    StatecoreError,
    UserBusy,
)
from ..model import Reason
from ._types import LocalLeg

_DECLINED: dict[Reason, type[CallDeclined]] = {
    Reason.BUSY: UserBusy,
    Reason.REJECTED: CallRejected,
    Reason.UNANSWERED: CallUnanswered,
    Reason.CANCELLED: CallCancelled,
}
_ELSEWHERE = (Reason.ANSWERED_ELSEWHERE, Reason.REJECTED_ELSEWHERE)


def refusal(leg: LocalLeg, goal: str) -> StatecoreError:
    """The error that an ended leg gives to who awaited `goal`."""
    reason = leg.reason or Reason.LOST
    if leg.role == "caller" and reason in _DECLINED:
        return _DECLINED[reason](user=leg.receiver, session_id=leg.session)
    if goal == "joinable" and reason in _ELSEWHERE:
        return AnsweredElsewhere(session_id=leg.session)
    if goal == "joinable" and leg.role != "caller":
        return CallGone(session_id=leg.session, reason=reason)
    if goal == "media" and reason == Reason.FAILED_MEDIA:
        return MediaConnectionFailed(why="not connected in time, or the other side failed")
    return CallEnded(session_id=leg.session, reason=reason)
