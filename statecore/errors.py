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

from typing import Any, ClassVar


class StatecoreError(Exception):
    """The root of everything statecore raises on purpose.

    Keyword arguments become attributes and fill `template`. An unknown placeholder stays visible rather than raising,
    so that making an error can never fail.
    """

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False
    template: ClassVar[str] = "statecore could not do this"
    advice: ClassVar[str] = "See the error's attributes."

    def __init__(self, detail: str = "", /, **data: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.data = data

    def __getattr__(self, name: str) -> Any:
        # Only reached for names that are not real attributes; dunder look-ups (copy, pickle) must fail fast.
        data = self.__dict__.get("data", {})
        if name in data:
            return data[name]
        raise AttributeError(name)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.detail, self.data)

    def __str__(self) -> str:
        return self.detail or self.template.format_map(_Visible(self.data))


class _Visible(dict[str, Any]):
    """Formats a missing placeholder as itself."""

    def __missing__(self, key: str) -> str:
        return "{" + key + "}"


def _rebuild(cls: type[StatecoreError], detail: str, data: dict[str, Any]) -> StatecoreError:
    return cls(detail, **data)


# --- yours ------------------------------------------------------------------------------------------------------------


class UsageError(StatecoreError):
    """The caller of the library asked for something that cannot be done as asked."""

    code = "usage"
    template = "this call is not possible as made"
    advice = "Change the call you make."


class InvalidArgument(UsageError, ValueError):
    """An argument has a wrong type or a value outside its bounds."""

    code = "invalid_argument"
    template = "{name} is not valid"
    advice = "Pass a value of the documented type and range."


class BlankId(InvalidArgument):
    """An id is empty, or nothing but white space."""

    code = "blank_id"
    template = "{name} is blank"
    advice = "Pass the id of a user or a session."


class SpacedId(InvalidArgument):
    """An id contains white space or a control character, or is longer than 128 characters."""

    code = "spaced_id"
    template = "{name} {value!r} contains white space or control characters, or is longer than 128"
    advice = "Ids are up to 128 characters without white space or control characters."


class CallingSelf(InvalidArgument):
    """A user tried to call himself."""

    code = "calling_self"
    template = "user {user!r} cannot call himself"
    advice = "Call somebody else, or start a session by a call token."


class UnknownUser(InvalidArgument):
    """The receiver is not a user the service knows."""

    code = "unknown_user"
    template = "the service does not know the user {user!r}"
    advice = "Register the user with the service first, or check the id."


class InvalidSettings(InvalidArgument):
    """A setting has a wrong type or is outside its bounds."""

    code = "invalid_settings"
    template = "setting {name}={value!r}: {why}"
    advice = "See the settings reference for types, units and bounds."


class InvalidFlow(InvalidArgument):
    """A flow breaks one of the rules that every flow must keep."""

    code = "invalid_flow"
    template = "flow {flow!r}: {why}"
    advice = "Mend the row or role that the message names."


class InvalidTrace(InvalidArgument):
    """A recorded trace cannot be read, or cannot be replayed with the flows that were given."""

    code = "invalid_trace"
    template = "line {line} of the trace: {why}"
    advice = "Give the file as it was recorded, and the flows it was recorded with."


class SourceError(InvalidArgument):
    """A media source is missing, unreadable, or has no track of the kind wanted."""

    code = "source"
    template = "source {source!r}: {why}"
    advice = "Pass an existing audio or video file that has a track of the kind wanted."


class NotReady(UsageError):
    """The client or the session is not in a condition to do this yet, or any more."""

    code = "not_ready"
    template = "not ready"
    advice = "Connect, log in or join first."


class ClientClosed(NotReady):
    """The client was closed, or never opened."""

    code = "client_closed"
    template = "the client is closed"
    advice = "Use the client inside `async with CallClient(...)`."


class NotConnected(NotReady):
    """The client has no link to the service just now, so no call comes of this."""

    code = "not_connected"
    retryable = True
    template = "not connected to the call service"
    advice = "Wait for on_connection_restored, then try again."


class SessionInactive(NotReady):
    """An in-call action was asked of a session that is not active."""

    code = "session_inactive"
    template = "session {session_id!r} is {state!r}, not active; {trigger!r} needs an active session"
    advice = "Act between start_session() and the end of the session."


class NotAccepted(NotReady):
    """A session was started before its call was accepted."""

    code = "not_accepted"
    template = "the call {session_id!r} has not been accepted yet"
    advice = "Await call.answered(), or accept the call, then start the session."


class CallError(UsageError):
    """The call cannot take this command."""

    code = "call"
    template = "the call cannot take this command"
    advice = "Look at the call's state first."


class IllegalTransition(CallError):
    """The flow has no row for this trigger in this state; nothing changed."""

    code = "illegal_transition"
    template = "in state {state!r} the trigger {trigger!r} is not legal; legal now: {legal}"
    advice = "Use one of the triggers that are legal in this state."


class CallNotFound(CallError):
    """No call or session with this id is known here."""

    code = "call_not_found"
    template = "no call {session_id!r} is known"
    advice = "Check the session id."


class CallGone(CallError):
    """The call has ended (cancelled, unanswered, ended): it can no longer be accepted, rejected or joined."""

    code = "call_gone"
    template = "the call {session_id!r} is over ({reason})"
    advice = "Start a new call."


class AnsweredElsewhere(CallGone):
    """Another device of this user answered first."""

    code = "answered_elsewhere"
    template = "another device of this user took the call {session_id!r}"
    advice = "Nothing to do: the call goes on at the other device."


class AlreadyInCall(CallError):
    """This user's line is taken by another call."""

    code = "already_in_call"
    template = "user {user!r} is in a call already"
    advice = "End the other call first, or raise the line's capacity."


class TooManySessions(CallError):
    """This user is in as many calls and sessions as one user may be."""

    code = "too_many_sessions"
    template = "user {user!r} is in {limit} calls and sessions already"
    advice = "Leave another one first, on whichever device: there is nothing to wait for."


class NotAParty(CallError):
    """This user has no part in the call."""

    code = "not_a_party"
    template = "user {user!r} has no part in the call {session_id!r}"
    advice = "Use a session id of a call this user is in."


class AlreadyJoined(CallError):
    """This device is in the session already."""

    code = "already_joined"
    template = "this device has joined the session {session_id!r} already"
    advice = "Use the session object you have."


class AlreadyLeft(CallError):
    """This device has left the session."""

    code = "already_left"
    template = "this device has left the session {session_id!r}"
    advice = "Start the session again with a valid call token."


class TokenError(UsageError):
    """A call token or an auth token was refused; nothing changed."""

    code = "token"
    template = "the token was refused"
    advice = "Ask for a new token."


class TokenMissing(TokenError):
    """No token was given."""

    code = "token_missing"
    template = "a token is needed"
    advice = "Pass the token from generate_token()."


class TokenMalformed(TokenError):
    """The text is not such a token, or lacks a claim it must have."""

    code = "token_malformed"
    template = "the token is malformed: {why}"


class TokenForged(TokenError):
    """The signature does not fit, or the algorithm or key is not one the service uses."""

    code = "token_forged"
    template = "the token's signature is not valid"


class TokenExpired(TokenError):
    """The token's time is over."""

    code = "token_expired"
    template = "the token expired {seconds} s ago"


class TokenNotYetValid(TokenError):
    """The token's time has not come."""

    code = "token_not_yet_valid"
    retryable = True
    template = "the token becomes valid in {seconds} s"
    advice = "Wait until the token's not-before time."


class TokenForeign(TokenError):
    """The token is for another session, user, device or issuer."""

    code = "token_foreign"
    template = "the token is for another {what}"


class TokenRevoked(TokenError):
    """The token was revoked."""

    code = "token_revoked"
    template = "the token was revoked"


class TokenLacksGrant(TokenError):
    """The token does not grant this action."""

    code = "token_lacks_grant"
    template = "the token does not grant {grant!r}"
    advice = "Ask for a token with a role or grant that allows it."


class AdapterMissing(UsageError, ImportError):
    """An adapter or an optional library is not installed."""

    code = "adapter_missing"
    template = "{what} is not installed"
    advice = "Install it: pip install {extra}"

    def __str__(self) -> str:
        return f"{super().__str__()}; {self.advice.format_map(_Visible(self.data))}"


# --- theirs -----------------------------------------------------------------------------------------------------------


class PeerError(StatecoreError):
    """The other side, or the session itself, said no."""

    code = "peer"
    template = "the other side refused"
    advice = "Tell the user; try again later if that makes sense."


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


# --- the network's ----------------------------------------------------------------------------------------------------


class NetworkError(StatecoreError):
    """A link, a machine or a device failed."""

    code = "network"
    retryable = True
    template = "something between the two sides failed"
    advice = "Try again; look at the link if it happens again."


class SignalingError(NetworkError):
    """The link to the call service failed or refused."""

    code = "signaling"
    template = "the link to the call service failed"


class SignalingLost(SignalingError, ConnectionError):
    """The link broke."""

    code = "signaling_lost"
    template = "the link to the call service was lost"


class SignalingRefused(SignalingError, ConnectionError):
    """The service would not take the connection."""

    code = "signaling_refused"
    template = "the call service refused the connection: {why}"


class UnsupportedVersion(SignalingError):
    """The peer speaks a version of the protocol, or holds a flow, that this side does not."""

    code = "unsupported_version"
    retryable = False
    template = "the peer speaks {theirs!r}, this side {ours!r}"
    advice = "Run versions of statecore and flows that fit together on both sides."


class MalformedMessage(SignalingError, ValueError):
    """A message is not one of the protocol's: refused, nothing changed."""

    code = "malformed_message"
    retryable = False
    template = "malformed message: {why}"
    advice = "The sender is at fault; see the protocol's reference."


class RateLimited(SignalingError):
    """Too much at once."""

    code = "rate_limited"
    template = "too many {what} at once"
    advice = "Wait {seconds} s, then go on."


class TooManyDevices(SignalingError):
    """As many devices of this user are connected as may be, or were until a moment ago. That is not for good: a device
    tries again after `seconds`, when there may be room."""

    code = "too_many_devices"
    template = "{limit} devices of user {user!r} are connected already"
    advice = "Disconnect another device, or wait {seconds} s: one that is gone gives way when its lease is over."


class CommandTimeout(SignalingError, TimeoutError):
    """The service did not confirm a command within its bound."""

    code = "command_timeout"
    template = "the call service did not confirm {trigger!r} in time"


class MediaError(NetworkError):
    """Media could not be opened, connected or kept."""

    code = "media"
    template = "media failed: {why}"


class MediaDeviceError(MediaError):
    """A microphone, camera, screen or file could not be opened or broke."""

    code = "media_device"
    template = "media device: {why}"
    advice = "Check that the device exists and is not in use."


class NegotiationFailed(MediaError):
    """The two sides could not agree on how to exchange media."""

    code = "negotiation_failed"
    template = "media negotiation failed: {why}"


class MediaConnectionFailed(MediaError):
    """Media could not reach the other side, or was lost for too long."""

    code = "media_connection_failed"
    template = "media could not reach the other side: {why}"
    advice = "Check the STUN and TURN settings and the network."


class MediaTimeout(MediaError, TimeoutError):
    """A media step did not finish within its bound."""

    code = "media_timeout"
    template = "media step {step!r} took too long"


class NoticeRefused(NetworkError, ValueError):
    """A notice was not taken: it is not genuine, or too old; or its receiver does not want it, or does not answer."""

    code = "notice_refused"
    retryable = False
    template = "the notice was not taken: {why}"
    advice = "Compare the secrets and clocks of both sides, and look into the receiver's log."


class StoreConflict(NetworkError):
    """The store kept refusing a commit; another node is working on the same call."""

    code = "store_conflict"
    template = "the store refused the commit {attempts} times"


class StoreUnusable(NetworkError):
    """The store cannot be used as it is; nothing was changed."""

    code = "store_unusable"
    template = "{store} cannot be used: {why}"


def _tree(cls: type[StatecoreError]) -> dict[str, type[StatecoreError]]:
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
