"""Every error statecore raises: one root, one tree, one stable code each.

The first branching is by blame, because that decides what a program does next:

    StatecoreError
    ├── UsageError            yours: change the call you make
    │   ├── InvalidArgument       BlankId, SpacedId, CallingSelf, UnknownUser, InvalidSettings, InvalidFlow,
    │   │                         InvalidTrace, SourceError
    │   ├── NotReady              ClientClosed, NotConnected, SessionInactive, NotAccepted
    │   ├── CallError             IllegalTransition, CallNotFound, CallGone, AnsweredElsewhere, AlreadyInCall,
    │   │                         TooManySessions, NotAParty, AlreadyJoined, AlreadyLeft
    │   ├── TokenError            TokenMissing, TokenMalformed, TokenForged, TokenExpired, TokenNotYetValid,
    │   │                         TokenForeign, TokenRevoked, TokenLacksGrant
    │   └── AdapterMissing
    ├── PeerError             theirs: the other people, or the session, said no
    │   ├── CallDeclined          UserBusy, CallRejected, CallUnanswered, CallCancelled
    │   ├── CallEnded
    │   ├── SessionFull, ConsentDeclined
    │   └── ...
    └── NetworkError          the network's, a machine's or a device's: often worth another try
        ├── SignalingError        SignalingLost, SignalingRefused, UnsupportedVersion, MalformedMessage, RateLimited,
        │                         TooManyDevices, CommandTimeout
        ├── MediaError            MediaDeviceError, NegotiationFailed, MediaConnectionFailed, MediaTimeout
        ├── NoticeRefused
        └── StoreConflict, StoreUnusable

An error carries data as attributes; `str()` makes the sentence, `advice` says what to do next, `retryable` whether the
same thing may succeed later. Codes are part of the public contract and of the wire: they never change meaning.
"""

from __future__ import annotations

from typing import Any

from ._base import NetworkError, PeerError, StatecoreError, UsageError
from ._network import (
    CommandTimeout,
    MalformedMessage,
    MediaConnectionFailed,
    MediaDeviceError,
    MediaError,
    MediaTimeout,
    NegotiationFailed,
    NoticeRefused,
    RateLimited,
    SignalingError,
    SignalingLost,
    SignalingRefused,
    StoreConflict,
    StoreUnusable,
    TooManyDevices,
    UnsupportedVersion,
)
from ._theirs import (
    CallCancelled,
    CallDeclined,
    CallEnded,
    CallRejected,
    CallUnanswered,
    ConsentDeclined,
    SessionFull,
    UserBusy,
)
from ._yours import (
    AdapterMissing,
    AlreadyInCall,
    AlreadyJoined,
    AlreadyLeft,
    AnsweredElsewhere,
    BlankId,
    CallError,
    CallGone,
    CallingSelf,
    CallNotFound,
    ClientClosed,
    IllegalTransition,
    InvalidArgument,
    InvalidFlow,
    InvalidSettings,
    InvalidTrace,
    NotAccepted,
    NotAParty,
    NotConnected,
    NotReady,
    SessionInactive,
    SourceError,
    SpacedId,
    TokenError,
    TokenExpired,
    TokenForeign,
    TokenForged,
    TokenLacksGrant,
    TokenMalformed,
    TokenMissing,
    TokenNotYetValid,
    TokenRevoked,
    TooManySessions,
    UnknownUser,
)


def _tree(cls: type[StatecoreError]) -> dict[str, type[StatecoreError]]:
    cls.__module__ = __name__  # a traceback says where an error is imported from
    found = {cls.code: cls}
    for sub in cls.__subclasses__():
        found.update(_tree(sub))
    return found


CODES: dict[str, type[StatecoreError]] = _tree(StatecoreError)
"""Every stable code and the class it stands for."""


def from_code(code: str, detail: str = "", /, **data: Any) -> StatecoreError:
    """The error that `code` names, as a receiver of the wire rebuilds it; an unknown code gives the root."""
    return CODES.get(code, StatecoreError)(detail, **data)


__all__ = [
    "CODES",
    "AdapterMissing",
    "AlreadyInCall",
    "AlreadyJoined",
    "AlreadyLeft",
    "AnsweredElsewhere",
    "BlankId",
    "CallCancelled",
    "CallDeclined",
    "CallEnded",
    "CallError",
    "CallGone",
    "CallNotFound",
    "CallRejected",
    "CallUnanswered",
    "CallingSelf",
    "ClientClosed",
    "CommandTimeout",
    "ConsentDeclined",
    "IllegalTransition",
    "InvalidArgument",
    "InvalidFlow",
    "InvalidSettings",
    "InvalidTrace",
    "MalformedMessage",
    "MediaConnectionFailed",
    "MediaDeviceError",
    "MediaError",
    "MediaTimeout",
    "NegotiationFailed",
    "NetworkError",
    "NotAParty",
    "NotAccepted",
    "NotConnected",
    "NotReady",
    "NoticeRefused",
    "PeerError",
    "RateLimited",
    "SessionFull",
    "SessionInactive",
    "SignalingError",
    "SignalingLost",
    "SignalingRefused",
    "SourceError",
    "SpacedId",
    "StatecoreError",
    "StoreConflict",
    "StoreUnusable",
    "TokenError",
    "TokenExpired",
    "TokenForeign",
    "TokenForged",
    "TokenLacksGrant",
    "TokenMalformed",
    "TokenMissing",
    "TokenNotYetValid",
    "TokenRevoked",
    "TooManyDevices",
    "TooManySessions",
    "UnknownUser",
    "UnsupportedVersion",
    "UsageError",
    "UserBusy",
    "from_code",
]
