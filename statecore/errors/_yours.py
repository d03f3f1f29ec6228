"""Yours: what the caller of the library did that cannot be done as asked."""

from __future__ import annotations

from ._base import UsageError, Visible


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
        return f"{super().__str__()}; {self.advice.format_map(Visible(self.data))}"
