"""The essay and the tables: what can happen to a call. If a transition is not a row here, it does not exist.

How many machines are there?
    One kind: the machine of a *leg*, one device's part in a call. A call of two has at least two legs; the callee has
    one for every device that rings. Nothing else runs a machine: what a user, a call or a session "is in" is derived
    from its legs.

What does a machine see?
    A *trigger*, and the truth of a few named *conditions*. It never sees the other legs, the clock, a token or a store:
    the switchboard works out the conditions that a cell mentions and hands them over as bits. So a cell is (state,
    trigger, bits) and the whole table can be enumerated.

What couples the machines?
    Only effects. `Fire` sends a trigger to other legs: the peers (other people's legs), the siblings (the same user's
    other devices), all others, those who are invited, or, across calls, a leg found through the user's line (`merged`,
    `stale`). A fired trigger that has no row where it lands does nothing; a command that has no row is refused.

Who moves a leg?
    The switchboard, by these rows. A device's endpoint applies what it is told, and may by itself take only the rows
    whose `decider` is the endpoint: those lead to safety (an end, a release of media) and are owed to the switchboard.

The ringing flow
    The caller's leg goes idle -> ringing by `initiate`, which claims both lines and fires `ring` at every device of the
    receiver. The first `accept` wins: it fires `answered` at the caller and `answered_elsewhere` at the siblings. Then
    each side joins with a call token (`join` opens media), reports its media (`up`), and when the last report is in,
    everybody gets `connect`: nobody is active alone.

The session-only flow
    A valid call token is the acceptance: `join` goes from idle to accepted at once. Each leg becomes active by its own
    report, and its end concerns nobody else.

What did not fit?
    *Both call each other*: B's `initiate` finds A's call ringing B and is B's accept of it; B's own id becomes a second
    name (reason `merged`). It is the row with `glare`. *Recall*: a caller whose old call to the same user is held by a
    device that is gone ends the old call; the row with `stale`. Both reach another call only through a line. *Refusals*
    are rows too: `refuse` names the error that is raised, and nothing changes, so the table also says what is wrong
    with a command rather than only that it is. *Timers* are not effects: a state carries at most one deadline (see
    `Deadline`), armed when the state is entered, and a stale firing finds nothing due.
"""

from __future__ import annotations

from typing import Any

from ._effects import (
    Answer,
    Claim,
    CloseMedia,
    Custom,
    Effect,
    Fire,
    Invite,
    Mark,
    OpenMedia,
    Release,
    Retype,
    Tell,
    Withdraw,
)
from ._rows import CONDITIONS, Capture, Deadline, Flow, Roles, Row, Trigger, names
from ._timers import Timers
from .model import Reason

# --- the triggers -----------------------------------------------------------------------------------------------------

_MEDIA = (
    Trigger("up", "media", "media can be exchanged with everyone who has joined"),
    Trigger("failed", "media", "media cannot go on"),
    Trigger("connect_timeout", "timer", "accepted, but media did not connect in time"),
    Trigger("lost", "system", "the device, its process or its lease is gone"),
    Trigger("idle_timeout", "system", "alone in the session for too long"),
    Trigger("expire", "system", "the session lasted as long as it may"),
)
_LEAVING = (
    Trigger("end", "user", "end my part; of two, either ends the call"),
    Trigger("leave", "user", "the same as end, named for sessions"),
    Trigger("end_for_all", "user", "end the session for everyone", grant="end_for_all"),
    Trigger("dismissed", "leg", "the application, or somebody with the grant, ended it for all"),
)
_JOINING = (Trigger("join", "user", "join the session with a call token", consent=("audio", "video")),)
_ACTIONS = (
    Trigger("mute_audio", "user", "stop sending sound"),
    Trigger("unmute_audio", "user", "send sound again", grant="audio", consent="audio"),
    Trigger("pause_video", "user", "stop sending the camera's picture"),
    Trigger("resume_video", "user", "send the camera's picture", grant="video", consent="video"),
    Trigger("start_screen_share", "user", "share a screen as a second video stream", grant="screen"),
    Trigger("stop_screen_share", "user", "stop sharing"),
    Trigger("raise_hand", "user", "raise the hand"),
    Trigger("lower_hand", "user", "lower the hand"),
    Trigger("switch_to_video", "user", "ask the others to make this a video call", grant="video", consent="video"),
    Trigger("accept_video", "user", "agree to video", grant="video", consent="video"),
    Trigger("decline_video", "user", "do not agree to video"),
    Trigger("withdraw_video", "user", "take the request for video back", revokes="video"),
    Trigger("video_agreed", "leg", "somebody agreed to video"),
    Trigger("video_declined", "leg", "somebody did not agree to video"),
    Trigger("consent_timeout", "timer", "nobody answered the request for video"),
)
_RINGING = (
    Trigger("initiate", "user", "call a user", consent=("audio", "video")),
    Trigger("ring", "leg", "somebody calls"),
    Trigger("accept", "user", "answer", consent=("audio", "video")),
    Trigger("answered", "leg", "the receiver answered"),
    Trigger("answered_elsewhere", "leg", "another device of this user answered"),
    Trigger("reject", "user", "decline"),
    Trigger("reject_busy", "user", "decline as busy"),
    Trigger("rejected", "leg", "the receiver declined"),
    Trigger("rejected_busy", "leg", "the receiver declined as busy"),
    Trigger("rejected_elsewhere", "leg", "another device of this user declined"),
    Trigger("cancel", "user", "give up before the answer"),
    Trigger("cancelled", "leg", "the caller gave up"),
    Trigger("ring_timeout", "timer", "nobody answered in time"),
    Trigger("unanswered", "leg", "nobody answered in time"),
    Trigger("hangup", "leg", "the other side ended the call"),
    Trigger("peer_failed", "leg", "the other side's media never connected"),
    Trigger("peer_lost", "leg", "the other side is gone"),
)

# --- what a call tells ------------------------------------------------------------------------------------------------

_RINGS = Tell("incoming_call_received")
_ACCEPTED = Tell("outgoing_call_accepted")
_DECLINED = Tell("outgoing_call_rejected")
_GONE = Tell("incoming_call_cancelled")
_OVER = Tell("call_ended_message_received")
_JOINED = Tell("session_joined")
_LEFT = (Tell("session_left"), Tell("call_ended"))

_FLAGS = ("audio_muted", "video_paused", "presenting", "hand_raised", "camera", "wants_video")
_CAPTURES = (
    Capture(kind="audio", off="audio_muted"),
    Capture(kind="video", on="camera", off="video_paused", type="video"),
    Capture(kind="screen", on="presenting", at_join=False),
)


# --- rows both flows share --------------------------------------------------------------------------------------------


def _actions() -> tuple[Row, ...]:
    """In-call actions: they exist here, as rows active -> active, and nowhere else."""

    def act(trigger: str, *effects: Effect, **guard: Any) -> Row:
        return Row("active", trigger, "active", effects, **guard)

    def lacks(trigger: str, **guard: Any) -> Row:
        return Row("active", trigger, "active", refuse="token_lacks_grant", unless="granted", **guard)

    asked, agreed = Mark("wants_video"), (Mark("wants_video", False), Mark("camera"), Mark("video_paused", False))
    return (
        act("mute_audio", Mark("audio_muted")),
        act("unmute_audio", Mark("audio_muted", False), when="granted"),
        lacks("unmute_audio"),
        act("pause_video", Mark("video_paused")),
        act("resume_video", Mark("camera"), Mark("video_paused", False), when=("granted", "video")),
        lacks("resume_video"),
        act("start_screen_share", Mark("presenting"), when="granted"),
        lacks("start_screen_share"),
        act("stop_screen_share", Mark("presenting", False)),
        act("raise_hand", Mark("hand_raised")),
        act("lower_hand", Mark("hand_raised", False)),
        # Who asks while the other side is asking has agreed: both asking is one switch.
        act("switch_to_video", asked, when="granted", unless=("video", "other_wants_video")),
        act(
            "switch_to_video", Retype("video"), *agreed, Fire("video_agreed", "others"),
            when=("granted", "other_wants_video"), unless="video",
        ),
        act("switch_to_video", when=("granted", "video")),
        lacks("switch_to_video"),
        act(
            "accept_video", Retype("video"), *agreed, Fire("video_agreed", "others"),
            when=("granted", "other_wants_video"), unless="video",
        ),
        lacks("accept_video"),
        act("decline_video", Fire("video_declined", "others"), when="other_wants_video"),
        act("withdraw_video", Mark("wants_video", False), when="wants_video"),
        # The agreement came first: it is a video call, but this camera stays off.
        act("withdraw_video", Mark("camera", False), when="camera", unless="wants_video"),
        # Only who asked has consented: the agreement opens no third person's camera.
        act("video_agreed", *agreed, when="wants_video"),
        act("video_declined", Mark("wants_video", False)),
        act("consent_timeout", Mark("wants_video", False)),
    )  # fmt: skip


def _joins(state: str) -> tuple[Row, ...]:
    """Joining with a token, from where it is possible."""
    return (
        Row(state, "join", "accepted", (OpenMedia(),), when="authorized", unless=("joined", "full")),
        Row(state, "join", state, refuse="session_full", when=("authorized", "full"), unless="joined"),
        Row(state, "join", state, refuse="token", unless=("joined", "authorized")),
        Row(state, "join", state, refuse="already_joined", when="joined"),
    )


_ENDS_ITSELF: dict[str, Any] = {"reason": Reason.HANGUP, "decider": "endpoint"}

# --- the ringing flow -------------------------------------------------------------------------------------------------


def _placing() -> tuple[Row, ...]:
    """From idle: the caller's side, in the order in which a service looks at a call."""

    def initiate(to: str, effects: tuple[Effect, ...] = (), **guard: Any) -> Row:
        when = ("caller", *names(guard.pop("when", ())))
        return Row("idle", "initiate", to, effects, when=when, **guard)

    rings = (Claim(), Fire("ring", "invited"))
    free = ("to_self", "engaged", "glare", "busy")
    return (
        initiate("ringing", rings, when="known", unless=(*free, "stale")),
        # A recall: the old call, held by a device that is gone, ends first and frees both lines.
        initiate("ringing", (Fire("lost", "stale"), *rings), when=("known", "stale"), unless=free),
        initiate("ended", (_DECLINED,), when=("known", "busy"), unless=free[:3], reason=Reason.BUSY),
        # Both call each other: this is the yes to the call that rings here already.
        initiate("ended", (Fire("accept", "merged"),), when=("known", "glare"), unless="to_self", reason=Reason.MERGED),
        initiate("idle", when=("known", "engaged"), unless=("to_self", "glare"), refuse="already_in_call"),
        initiate("idle", when=("known", "to_self"), refuse="calling_self"),
        initiate("idle", unless="known", refuse="unknown_user"),
        Row("idle", "ring", "ringing", (_RINGS,), unless="caller"),
        # Given up before the service has replied: the endpoint's own decision, owed to the service.
        *(Row("idle", t, "ended", (_OVER,), reason=Reason.CANCELLED, decider="endpoint") for t in _GIVE_UP),
        Row("idle", "lost", "ended", (_OVER,), reason=Reason.LOST, decider="endpoint"),
    )


_GIVE_UP = ("cancel", "end", "leave")
_DECLINE = ("reject", "reject_busy")


def _ringing() -> tuple[Row, ...]:
    """While it rings: the caller waits, each of the receiver's devices may decide."""

    def caller(trigger: str, to: str, *effects: Effect, **more: Any) -> Row:
        return Row("ringing", trigger, to, effects, when="caller", **more)

    def callee(trigger: str, to: str, *effects: Effect, **more: Any) -> Row:
        return Row("ringing", trigger, to, effects, unless="caller", **more)

    gives_up: dict[str, Any] = {"reason": Reason.CANCELLED, "decider": "endpoint"}
    declines: dict[str, Any] = {"reason": Reason.REJECTED, "decider": "endpoint"}
    busy: dict[str, Any] = {"reason": Reason.BUSY, "decider": "endpoint"}
    quiet = (Answer("declined"), Release(), Fire("rejected_elsewhere", "siblings"))
    no = (*quiet, Fire("rejected", "peers"), _OVER)
    missed = (Answer("unanswered"), Release())
    yes = (Fire("answered_elsewhere", "siblings"), Fire("answered", "peers"))
    return (
        callee("accept", "accepted", Answer("joined"), *yes),
        caller("answered", "accepted", _ACCEPTED),
        callee("answered_elsewhere", "ended", Release(), _GONE, reason=Reason.ANSWERED_ELSEWHERE),
        *(callee(t, "ended", *no, **declines) for t in ("reject", "end", "leave")),
        callee("reject_busy", "ended", *quiet, Fire("rejected_busy", "peers"), _OVER, **busy),
        caller("rejected", "ended", Release(), _DECLINED, reason=Reason.REJECTED),
        caller("rejected_busy", "ended", Release(), _DECLINED, reason=Reason.BUSY),
        callee("rejected_elsewhere", "ended", Release(), _GONE, reason=Reason.REJECTED_ELSEWHERE),
        *(caller(t, "ended", Release(), Fire("cancelled", "others"), _OVER, **gives_up) for t in _GIVE_UP),
        callee("cancelled", "ended", *missed, _GONE, reason=Reason.CANCELLED),
        caller("ring_timeout", "ended", Release(), Fire("unanswered", "others"), _DECLINED, reason=Reason.UNANSWERED),
        callee("ring_timeout", "ended", *missed, Fire("unanswered", "others"), _GONE, reason=Reason.UNANSWERED),
        caller("unanswered", "ended", Release(), _DECLINED, reason=Reason.UNANSWERED),
        callee("unanswered", "ended", *missed, _GONE, reason=Reason.UNANSWERED),
        # A caller who is gone ends the call; a device lost while it rings loses its leg, not the invitation.
        caller("lost", "ended", Release(), Fire("peer_lost", "others"), _OVER, reason=Reason.LOST, decider="endpoint"),
        callee("lost", "ended", Release(), _OVER, reason=Reason.LOST, decider="endpoint"),
        callee("peer_lost", "ended", *missed, _OVER, reason=Reason.LOST),
        # The application takes the call back, as the caller might.
        caller("dismissed", "ended", Release(), Fire("cancelled", "others"), _OVER, reason=Reason.CANCELLED),
        Row("ringing", "join", "ringing", refuse="not_accepted"),
    )


def _two() -> tuple[Row, ...]:
    """Accepted and active, of two people: whatever ends one leg ends the other."""
    live = ("accepted", "active")
    over = (Answer("left"), CloseMedia(), Release())
    together = (Fire("connect", "others"), _JOINED)

    def end(state: str, trigger: str, reason: Reason, fired: str = "", **more: Any) -> Row:
        fires = (Fire(fired, "others"),) if fired else ()
        return Row(state, trigger, "ended", (*over, *fires, _OVER, *_LEFT), reason=reason, **more)

    return (
        *_joins("accepted"),
        Row("accepted", "accept", "accepted"),
        Row("active", "accept", "active"),
        Row("accepted", "up", "accepted", (Mark("connected"),), when="joined", unless="ready"),
        Row("accepted", "up", "active", (Mark("connected"), *together), when=("joined", "ready")),
        Row("accepted", "connect", "active", (_JOINED,), when="joined"),
        Row("active", "up", "active"),
        end("accepted", "failed", Reason.FAILED_MEDIA, "peer_failed"),
        end("accepted", "connect_timeout", Reason.FAILED_MEDIA, "peer_failed"),
        end("active", "failed", Reason.LOST, "peer_lost"),
        # Also what was said while it still rang, and crossed the acceptance: the call ends all the same.
        *(end(s, t, Reason.HANGUP, "hangup", decider="endpoint") for s in live for t in (*_GIVE_UP, *_DECLINE)),
        *(end(s, "lost", Reason.LOST, "peer_lost", decider="endpoint") for s in live),
        *(end(s, "hangup", Reason.HANGUP) for s in live),
        *(end(s, "peer_failed", Reason.FAILED_MEDIA) for s in live),
        *(end(s, "peer_lost", Reason.LOST) for s in live),
        *(end(s, "dismissed", Reason.KICKED) for s in live),
        end("active", "idle_timeout", Reason.IDLE, "hangup", decider="endpoint"),
        end("active", "expire", Reason.EXPIRED, "hangup", decider="endpoint"),
        Row(
            "active", "end_for_all", "ended", (*over, Fire("dismissed", "others"), _OVER, *_LEFT),
            when="granted", reason=Reason.KICKED,
        ),
        Row("active", "end_for_all", "active", unless="granted", refuse="token_lacks_grant"),
        Row("active", "join", "active", refuse="already_joined"),
        *_actions(),
    )  # fmt: skip


def _after(*triggers: str) -> tuple[Row, ...]:
    """After the end: commands that people do send late, and what they are told."""
    return tuple(Row("ended", trigger, "ended", refuse="call_gone") for trigger in triggers)


_DEADLINES = (
    Deadline("accepted", "connect", "connect_timeout"),
    Deadline("active", "consent", "consent_timeout", "wants_video"),
)

RINGING = Flow(
    name="ringing",
    rows=(*_placing(), *_ringing(), *_two(), *_after("initiate", "accept", "reject", "join")),
    triggers=(
        *_RINGING, *_JOINING, *_MEDIA, *_LEAVING, *_ACTIONS,
        Trigger("connect", "leg", "everybody's media works"),
    ),
    roles=Roles(ringing={"ringing"}, joinable={"accepted"}, media={"active"}),
    deadlines=(Deadline("ringing", "ring", "ring_timeout"), *_DEADLINES),
    flags=_FLAGS,
    captures=_CAPTURES,
    start="initiate",
    up="up",
    failed="failed",
    lost="lost",
    idle="idle_timeout",
    expire="expire",
    dismissed="dismissed",
)  # fmt: skip
"""One user calls another, whose devices ring."""

# --- the session-only flow --------------------------------------------------------------------------------------------


def _many() -> tuple[Row, ...]:
    """Accepted and active, of several people: an end concerns one leg."""

    def end(state: str, trigger: str, reason: Reason, **more: Any) -> Row:
        return Row(state, trigger, "ended", (CloseMedia(), _OVER, *_LEFT), reason=reason, **more)

    live = ("accepted", "active")
    return (
        *_joins("idle"),
        *(Row("idle", t, "ended", (_OVER,), reason=Reason.HANGUP, decider="endpoint") for t in ("end", "leave")),
        Row("idle", "lost", "ended", (_OVER,), reason=Reason.LOST, decider="endpoint"),
        Row("accepted", "join", "accepted", refuse="already_joined"),
        Row("active", "join", "active", refuse="already_joined"),
        Row("accepted", "up", "active", (Mark("connected"), _JOINED), when="joined"),
        Row("active", "up", "active"),
        end("accepted", "failed", Reason.FAILED_MEDIA),
        end("accepted", "connect_timeout", Reason.FAILED_MEDIA),
        end("active", "failed", Reason.LOST),
        *(end(s, t, **_ENDS_ITSELF) for s in live for t in ("end", "leave")),
        *(end(s, "lost", Reason.LOST, decider="endpoint") for s in live),
        *(end(s, "dismissed", Reason.KICKED) for s in live),
        end("active", "idle_timeout", Reason.IDLE, decider="endpoint"),
        end("active", "expire", Reason.EXPIRED, decider="endpoint"),
        Row(
            "active", "end_for_all", "ended", (CloseMedia(), Fire("dismissed", "others"), _OVER, *_LEFT),
            when="granted", reason=Reason.KICKED,
        ),
        Row("active", "end_for_all", "active", unless="granted", refuse="token_lacks_grant"),
        *_actions(),
    )  # fmt: skip


SESSION = Flow(
    name="session",
    rows=(*_many(), *_after("join")),
    triggers=(*_JOINING, *_MEDIA, *_LEAVING, *_ACTIONS),
    roles=Roles(joinable={"accepted"}, media={"active"}),
    deadlines=_DEADLINES,
    flags=_FLAGS,
    captures=_CAPTURES,
    start="join",
    up="up",
    failed="failed",
    lost="lost",
    idle="idle_timeout",
    expire="expire",
    dismissed="dismissed",
    lingers=True,
)
"""Whoever holds a valid call token is in."""

FLOWS: dict[str, Flow] = {flow.name: flow for flow in (RINGING, SESSION)}
"""The flows every service and client knows."""

__all__ = [
    "CONDITIONS",
    "FLOWS",
    "RINGING",
    "SESSION",
    "Answer",
    "Capture",
    "Claim",
    "CloseMedia",
    "Custom",
    "Deadline",
    "Effect",
    "Fire",
    "Flow",
    "Invite",
    "Mark",
    "OpenMedia",
    "Release",
    "Retype",
    "Roles",
    "Row",
    "Tell",
    "Timers",
    "Trigger",
    "Withdraw",
]
