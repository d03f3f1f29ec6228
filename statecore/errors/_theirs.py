"""Theirs: what the other people, or the session, refused."""

from __future__ import annotations

from ._base import PeerError


class CallDeclined(PeerError):
    """An outgoing call came to nothing. `call` is the ended Call."""

    code = "call_declined"
    template = "the call to {user!r} came to nothing"


class UserBusy(CallDeclined):
    """The receiver's line is taken. The call exists, ended at once, and stands in the log."""

    code = "user_busy"
    retryable = True
    template = "user {user!r} is busy"
    advice = "Try again later."


class CallRejected(CallDeclined):
    """The receiver declined."""

    code = "call_rejected"
    template = "user {user!r} rejected the call"


class CallUnanswered(CallDeclined):
    """Nobody answered before the ring timer fired."""

    code = "call_unanswered"
    retryable = True
    template = "user {user!r} did not answer"


class CallCancelled(CallDeclined):
    """The call was cancelled before it was answered."""

    code = "call_cancelled"
    template = "the call to {user!r} was cancelled"


class CallEnded(PeerError):
    """The call ended before what was awaited could happen. `call` is the ended Call, `reason` says why."""

    code = "call_ended"
    template = "the call {session_id!r} ended ({reason})"


class SessionFull(PeerError):
    """The session has as many participants as it may have."""

    code = "session_full"
    retryable = True
    template = "the session {session_id!r} is full"
    advice = "Try again when somebody has left: nobody knows when that will be."


class ConsentDeclined(PeerError):
    """The other side did not agree, withdrew, or did not answer in time."""

    code = "consent_declined"
    retryable = True
    template = "the other side did not agree to {what}"
