"""The endpoint by its public `step`: what a device does by itself, when, and what it tells."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from statecore.endpoint import (
    Await,
    CloseMedia,
    Do,
    Drive,
    Effect,
    Emit,
    Endpoint,
    EndpointMachine,
    LinkDown,
    LinkUp,
    LocalLeg,
    Media,
    OpenMedia,
    Received,
    Reply,
    Say,
    Send,
    Settle,
    Signal,
    Tick,
)
from statecore.endpoint._data import KEPT
from statecore.errors import CallGone, CallNotFound, IllegalTransition, RateLimited, TokenExpired
from statecore.flow import FLOWS, RINGING, Custom, Mark, Release, Row, Timers, Trigger
from statecore.model import Reason
from statecore.testing.oracle import assert_over, assert_settled
from statecore.testing.world import CALM, World
from statecore.wire import (
    Ask,
    Beat,
    Command,
    Hello,
    Peer,
    Refused,
    Relay,
    Relayed,
    Token,
    Unknown,
    View,
    Welcome,
)

TWO = {"a1": "alice", "b1": "bob"}


class Device:
    """One endpoint and what it did last."""

    def __init__(self, **more: Any) -> None:
        self.machine = EndpointMachine(**more)
        self.endpoint = Endpoint("alice", "a1", "a1-1")
        self.now = 1000
        self.effects: list[Effect] = []
        self.give(LinkUp())
        calm = more.get("timers") is CALM
        self.hear(Welcome("alice", heartbeat=10**8, lease=10**8) if calm else Welcome("alice"))

    def give(self, given: Any) -> list[Effect]:
        """One input."""
        self.endpoint, self.effects = self.machine.step(self.endpoint, given, self.now)
        return self.effects

    def hear(self, message: Any) -> list[Effect]:
        """One message."""
        return self.give(Received(message))

    def do(self, trigger: str, session: str = "S", **more: Any) -> list[Effect]:
        """One command."""
        return self.give(Do(session, trigger, **more))

    def leg(self, session: str = "S") -> LocalLeg:
        """A leg that is known."""
        return self.endpoint.legs[session]

    def wait(self) -> list[Effect]:
        """Let the next timer fire."""
        self.now = max(self.now, self.machine.next_due(self.endpoint))
        return self.give(Tick())

    def sent(self) -> list[Any]:
        """What was said last."""
        return [effect.message for effect in self.effects if isinstance(effect, Send)]

    def events(self) -> list[str]:
        """What was told last."""
        return [effect.event for effect in self.effects if isinstance(effect, Emit)]

    def driven(self) -> list[tuple[Any, ...]]:
        """What media was told last."""
        return [(effect.what, *effect.args) for effect in self.effects if isinstance(effect, Drive)]

    def settled(self) -> dict[int, str]:
        """What was settled last, by ticket."""
        return {e.ticket: e.error.code if e.error else "ok" for e in self.effects if isinstance(e, Settle)}


def view(seq: int, state: str, **more: Any) -> View:
    """A fact about Alice's leg of a call to Bob."""
    data: dict[str, Any] = {"session": "S", "pid": "1", "initiator": "alice", "receiver": "bob", "role": "caller"}
    return View(seq=seq, state=state, **{**data, **more})


BOB = Peer("2", "bob", "b1", joined=2)
CAROL = Peer("3", "carol", "c1", joined=3)


def calling(**more: Any) -> Device:
    """Alice has called Bob, and it rings."""
    device = Device(**more)
    device.do("initiate", flow="ringing", receiver="bob", ticket=1)
    device.hear(view(1, "ringing", heard=1))
    assert device.settled() == {1: "ok"}
    return device


def in_call(*peers: Peer, flow: str = "ringing", machine: dict[str, Any] | None = None, **more: Any) -> Device:
    """Alice's media is open, her leg active, and these others are there."""
    device = calling(**(machine or {})) if flow == "ringing" else Device(**(machine or {}))
    role = "caller" if flow == "ringing" else "member"
    if flow == "ringing":
        device.hear(view(2, "accepted", heard=1))
    device.do("join", token="t", ticket=2, flow="" if flow == "ringing" else flow, **more)
    grants = frozenset({"audio", "video", "screen"})
    common: dict[str, Any] = {"role": role, "flow": flow, "grants": grants, "peers": peers, "joined": 1}
    device.hear(view(3, "accepted", flags=frozenset({"joined"}), heard=9, **common))
    device.give(Media("S", "up"))
    device.hear(view(4, "active", flags=frozenset({"joined", "connected"}), heard=9, **common))
    assert device.leg().state == "active"
    return device


# --- the link ---------------------------------------------------------------------------------------------------------


def test_it_says_hello_with_what_it_knows_and_beats() -> None:
    """The hello carries the last view of each session; the heartbeat goes out when it is due, while online."""
    device = calling()
    assert device.give(LinkDown())[0] == Emit("connection_lost")
    assert not device.give(LinkDown())
    device.give(LinkUp(name="Al", flows={"x": "y"}))
    assert device.sent() == [Hello("a1", "a1-1", 2, name="Al", flows={"x": "y"}, sessions={"S": 1})]
    device.hear(Welcome("alice", heartbeat=500, lease=2000))
    assert device.events() == ["connection_restored"]
    device.wait()
    assert device.sent() == [Beat()]
    assert not device.hear(Beat())
    device.give(LinkDown())
    assert device.machine.next_due(Endpoint("a", "b", "c")) == 0


def test_a_first_connection_restores_nothing() -> None:
    """However many attempts it took to be welcomed, nothing was lost before."""
    device = Device()
    assert device.events() == []
    fresh = Device.__new__(Device)
    fresh.machine, fresh.endpoint, fresh.now = EndpointMachine(), Endpoint("alice", "a1", "e"), 5
    fresh.give(LinkUp())
    fresh.give(LinkDown())
    assert fresh.effects == []
    fresh.give(LinkUp())
    fresh.hear(Welcome("alice"))
    assert fresh.events() == []


def test_a_new_connection_over_an_old_one_is_not_online_until_welcomed() -> None:
    """What is owed goes out after the welcome, oldest first, and before anything new."""
    device = calling()
    device.give(LinkUp())
    assert device.events() == ["connection_lost"]
    device.do("end")
    assert not device.sent()
    device.hear(Welcome("alice"))
    assert device.sent() == [Command("S", 2, "end", "1")]


def test_it_ends_by_itself_when_the_service_is_silent_for_a_lease() -> None:
    """Patience: bounded, whatever else is known of the leg."""
    device = calling()
    device.give(LinkDown())
    device.now = device.endpoint.confirmed + device.endpoint.lease
    device.wait()
    assert device.leg().reason == Reason.LOST
    assert device.leg().by == ""
    assert device.events() == ["call_ended_message_received"]
    assert device.machine.next_due(device.endpoint) == 0
    assert not device.give(Tick())


def test_nothing_begins_without_a_link() -> None:
    """No call comes of it, and whoever asked is told."""
    device = Device()
    device.give(LinkDown())
    device.do("initiate", flow="ringing", receiver="bob", ticket=3)
    assert device.settled() == {3: "not_connected"}
    assert not device.endpoint.legs


# --- commands ---------------------------------------------------------------------------------------------------------


def test_what_is_illegal_is_told_at_once() -> None:
    """Each kind of illegal command has its error, settles at once, and says nothing to the service."""
    device = calling()
    cases = {
        "accept": "illegal_transition", "mute_audio": "session_inactive", "join": "not_accepted",
        "switch_to_video": "session_inactive",
    }  # fmt: skip
    for ticket, (trigger, code) in enumerate(cases.items(), 10):
        device.do(trigger, ticket=ticket)
        assert device.settled() == {ticket: code}
        assert not device.sent()
    device.do("end", session="T", ticket=20)
    assert device.settled() == {20: "call_not_found"}


def test_grants_are_known_here_too() -> None:
    """What the token does not grant is refused without asking the service."""
    device = in_call(BOB)
    device.do("end_for_all", ticket=5)
    assert device.settled() == {5: "token_lacks_grant"}
    device.do("join", ticket=6)
    assert device.settled() == {6: "already_joined"}


def test_a_command_that_is_owed_is_not_said_twice() -> None:
    """A double tap is one command on the wire, and both taps get its outcome; another payload is another command."""
    device = Device()
    ring = View("S", 1, "2", "ringing", "bob", receiver="alice")
    device.hear(ring)
    device.do("accept", ticket=1)
    assert len(device.sent()) == 1
    device.do("accept", ticket=2)
    assert not device.sent()
    device.hear(replace(ring, seq=2, state="accepted", heard=1))
    assert device.settled() == {1: "ok", 2: "ok"}
    device.do("accept", ticket=3)
    assert device.settled() == {3: "ok"}
    assert not device.sent()
    device.do("join", token="t", ticket=4)
    device.do("join", token="t", ticket=5)
    assert device.settled() == {5: "already_joined"}


def test_ending_is_done_here_at_once_and_owed() -> None:
    """Media closes, listeners hear, the wait settles; after that ending again is done already, the rest is gone."""
    device = in_call(BOB)
    device.do("end", ticket=5)
    assert device.settled() == {5: "ok"}
    assert CloseMedia("S") in device.effects
    assert device.events() == ["call_ended_message_received", "session_left", "call_ended"]
    assert device.leg().by == "alice"
    late = (("end", "ok"), ("join", "call_ended"), ("initiate", "call_gone"), ("mute_audio", "already_left"))
    for ticket, (trigger, code) in enumerate(late, 6):
        device.do(trigger, ticket=ticket)
        assert device.settled() == {ticket: code}
    device.hear(view(5, "ended", reason=Reason.HANGUP, heard=99))
    assert not device.endpoint.legs
    device.do("end", ticket=10)
    assert device.settled() == {10: "call_gone"}
    (gone,) = [effect.error for effect in device.effects if isinstance(effect, Settle)]
    assert isinstance(gone, CallGone)
    assert gone.data == {"session_id": "S", "reason": "ended"}


@pytest.mark.parametrize("refused", [False, True])
def test_an_end_for_all_is_owed_beside_the_own_end(refused: bool) -> None:
    """Who leaves while the end for everyone is on its way owes both, in order; if one is refused, the other stands."""
    device = in_call(BOB, flow="session")
    grants, there = frozenset({"end_for_all"}), frozenset({"joined", "connected"})
    member: dict[str, Any] = {"role": "member", "flow": "session", "peers": (BOB,), "joined": 1}
    device.hear(view(5, "active", grants=grants, flags=there, heard=9, **member))
    device.endpoint = replace(device.endpoint, n=9)  # as the service has heard
    device.do("raise_hand")
    device.do("end_for_all", ticket=7)
    [wider] = device.sent()
    device.do("leave")
    [own] = device.sent()
    assert device.settled() == {7: "call_ended"}
    assert device.leg().owed == (wider, own)
    if refused:
        device.hear(Refused("S", wider.n, "token_lacks_grant"))
        assert device.leg().owed == (own,)
        assert not device.sent()
    device.hear(view(9, "ended", reason=Reason.HANGUP, heard=own.n, **member))
    assert not device.endpoint.legs


def test_an_end_that_is_refused_is_insisted_on() -> None:
    """If the table over there has no such row, the surest word follows. If that is refused as well the leg has ended
    there, and is kept until it is said when. If the leg is unknown, that is the end."""
    device = in_call(BOB)
    device.do("end")
    n = device.sent()[0].n
    device.hear(Refused("S", n, "illegal_transition"))
    assert [message.trigger for message in device.sent()] == ["lost"]
    device.hear(Refused("S", n, "illegal_transition"))
    assert not device.effects
    assert not device.hear(Refused("S", n + 1, "illegal_transition"))
    assert not device.hear(view(device.leg().seq + 1, "active", peers=(BOB,), joined=1)), (
        "it was overtaken by the refusals"
    )
    assert not device.hear(view(device.leg().seq + 2, "ended", reason=Reason.HANGUP, heard=n))
    assert not device.endpoint.legs
    other = in_call(BOB)
    other.do("end")
    other.hear(Refused("S", other.sent()[0].n if other.sent() else n, "call_not_found"))
    assert not other.endpoint.legs


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("code", ["illegal_transition", "store_conflict"])
def test_the_surest_word_is_refused(known: bool, code: str) -> None:
    """A leg whose loss was refused is kept only if the service told of it and says that it has ended there: then a view
    of that comes. Otherwise nothing comes that would end the waiting, and it is forgotten."""
    device = in_call(BOB) if known else Device()
    device.do("initiate", flow="ringing", receiver="bob")
    device.give(LinkDown())
    device.now += 10**9
    device.give(Tick())
    device.give(LinkUp())
    device.hear(Welcome("alice"))
    (lost,) = [message for message in device.sent() if isinstance(message, Command)][-1:]
    assert lost.trigger == "lost"
    assert bool(device.leg().seq) == known
    device.hear(Refused("S", lost.n, code))
    assert ("S" in device.endpoint.legs) == (known and code == "illegal_transition")


def test_what_is_illegal_says_what_is_legal() -> None:
    """The error names the state, the trigger, and what this leg may do instead."""
    device = calling()
    device.do("accept", ticket=1)
    (error,) = [effect.error for effect in device.effects if isinstance(effect, Settle)]
    assert isinstance(error, IllegalTransition)
    assert (error.state, error.trigger) == (device.leg().state, "accept")
    assert error.legal == ["cancel", "end", "leave"]
    device = in_call(BOB)
    device.do("decline_video", ticket=1)
    (error,) = [effect.error for effect in device.effects if isinstance(effect, Settle)]
    assert isinstance(error, IllegalTransition)
    assert {"decline_video", "withdraw_video"}.isdisjoint(error.legal)
    for ticket, trigger in enumerate(error.legal, 2):
        device = in_call(BOB)
        device.do(trigger, ticket=ticket)
        assert device.settled().get(ticket, "") in ("", "ok"), trigger


def test_a_refusal_settles_whoever_waited_or_is_an_error_event() -> None:
    """With a ticket the error is the outcome; without one, listeners hear of it."""
    device = in_call(BOB)
    device.do("raise_hand", ticket=7)
    device.hear(Refused("S", device.endpoint.n, "illegal_transition", {"state": "x", "trigger": "y", "legal": []}))
    assert device.settled() == {7: "illegal_transition"}
    device.do("raise_hand")
    device.hear(Refused("S", device.endpoint.n, "illegal_transition"))
    assert device.events() == ["error"]
    assert not device.hear(Refused("S", 0, "malformed_message"))
    assert not device.hear(Refused("never", 3, "token"))


def test_a_call_that_the_service_refuses_never_was() -> None:
    """No listener hears of it; every wait gets the error."""
    device = Device()
    device.do("initiate", flow="ringing", receiver="zed", ticket=1)
    device.give(Await("S", 2))
    device.hear(Refused("S", 1, "unknown_user", {"user": "zed"}))
    assert device.settled() == {1: "unknown_user", 2: "call_not_found"}
    assert device.events() == []
    assert not device.endpoint.legs


SEEN = {"heard": 9, "peers": (BOB,), "joined": 1, "grants": frozenset({"audio", "video", "screen"})}
HERE = frozenset({"joined", "connected"})


def shown(seq: int, *flags: str, **more: Any) -> View:
    """A fact about Alice in the call, with these flags."""
    return view(seq, "active", flags=HERE | set(flags), **{**SEEN, **more})


def overdue(device: Device, trigger: str) -> Device:
    """Alice gives a command, and nobody answers in time."""
    device.do(trigger, ticket=8)
    device.give(LinkDown())
    device.now += 10_000
    device.give(Tick())
    assert device.settled() == {8: "command_timeout"}
    return device


@pytest.mark.parametrize(
    ("trigger", "kind", "flags", "back", "closed"),
    [
        ("unmute_audio", "audio", {"audio_muted"}, "mute_audio", "audio"),
        ("resume_video", "video", {"camera", "video_paused"}, "pause_video", "video"),
        ("resume_video", "video", set(), "withdraw_video", "video"),
        ("switch_to_video", "audio", set(), "withdraw_video", "video"),
        ("start_screen_share", "video", set(), "stop_screen_share", ""),
    ],
)
def test_what_failed_opens_nothing_when_it_was_heard_all_the_same(
    trigger: str, kind: str, flags: set[str], back: str, closed: str
) -> None:
    """Its opposite is owed, and until that is heard no capture opens under it; nobody hears that it was not needed."""
    device = in_call(BOB, machine={"timers": CALM})
    device.hear(shown(5, *flags, type=kind))
    overdue(device, trigger)
    assert [command.trigger for command in device.leg().owed] == [back]
    assert device.leg().consent == {"audio", "video"} - {closed}
    device.give(LinkUp())
    device.hear(Welcome("alice"))
    (said,) = [message.trigger for message in device.sent() if isinstance(message, Command)]
    assert said == back
    device.hear(shown(6, "camera", "presenting", type="video", heard=device.endpoint.n - 1))
    assert (closed, True) not in [entry[1:] for entry in device.driven() if entry[0] == "capture"]
    device.hear(Refused("S", device.endpoint.n, "illegal_transition"))
    assert device.events() == []
    assert device.leg().owed == device.leg().waits == ()


def test_agreeing_to_video_is_taken_back() -> None:
    """Who was told that his agreement failed has no camera on, although it has become a video call."""
    device = in_call(BOB, machine={"timers": CALM})
    asking = replace(BOB, flags=frozenset({"wants_video"}))
    device.hear(shown(5, type="audio", peers=(asking,)))
    overdue(device, "accept_video")
    device.hear(shown(6, "camera", type="video", heard=device.endpoint.n - 1))
    assert not [entry for entry in device.driven() if entry[0] == "capture"]
    assert [command.trigger for command in device.leg().owed] == ["withdraw_video"]


def test_what_opens_nothing_is_not_taken_back() -> None:
    """Sound that is on goes on, whatever became of the command to turn it on."""
    device = overdue(in_call(BOB, machine={"timers": CALM}), "unmute_audio")
    assert device.leg().owed == ()
    assert device.leg().consent == {"audio", "video"}


def test_what_was_said_later_to_open_the_same_stands() -> None:
    """The first of two requests to be heard has failed, the second not yet: nothing is taken back before that has."""
    device = in_call(BOB, machine={"timers": CALM})
    device.hear(shown(5, "audio_muted"))
    device.do("unmute_audio", ticket=8)
    device.do("mute_audio")
    device.now += 5000
    device.do("unmute_audio", ticket=9)
    device.now += 5000
    device.give(Tick())
    assert device.settled() == {8: "command_timeout"}
    assert [command.trigger for command in device.leg().owed] == ["mute_audio", "unmute_audio"]
    assert device.leg().consent == {"audio", "video"}
    device.now += 5000
    device.give(Tick())
    assert [command.trigger for command in device.leg().owed] == ["mute_audio", "mute_audio"]
    assert device.leg().consent == {"video"}


def test_a_command_is_owed_as_long_as_anybody_waits_for_it() -> None:
    """The first of two who say the same has waited long enough; the second has not, and it is not taken back yet."""
    device = in_call(BOB, machine={"timers": CALM})
    device.hear(shown(5, "audio_muted"))
    device.do("unmute_audio", ticket=8)
    device.now += 5000
    device.do("unmute_audio", ticket=9)
    device.now += 5000
    device.give(Tick())
    assert device.settled() == {8: "command_timeout"}
    assert [command.trigger for command in device.leg().owed] == ["unmute_audio"]
    device.hear(shown(6, heard=device.endpoint.n))
    assert device.settled() == {9: "ok"}
    assert device.driven() == [("capture", "audio", True)]


def test_a_command_that_nobody_hears_times_out() -> None:
    """A wait has its bound; what was to begin something ends it, anything else only fails."""
    device = in_call(BOB, machine={"timers": CALM})
    device.do("raise_hand", ticket=5)
    device.now += 10_000
    device.give(Tick())
    assert device.settled() == {5: "command_timeout"}
    assert device.leg().state == "active"
    device.give(LinkUp())  # what has failed must not come true later
    device.hear(Welcome("alice"))
    assert not [message for message in device.sent() if isinstance(message, Command)]
    ring = Device(timers=CALM)
    ring.do("initiate", flow="ringing", receiver="bob", ticket=1)
    ring.give(Await("S", 2))
    assert ring.machine.next_due(ring.endpoint) == ring.now + 10_000
    ring.wait()
    assert ring.settled() == {1: "command_timeout", 2: "call_ended"}
    assert ring.leg().reason == Reason.LOST
    ring.give(Tick())
    assert not ring.effects


# --- waiting for the answer -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (Reason.REJECTED, "call_rejected"),
        (Reason.UNANSWERED, "call_unanswered"),
        (Reason.BUSY, "user_busy"),
        (Reason.LOST, "call_ended"),
    ],
)
def test_whoever_awaits_the_answer_hears_how_it_ended(reason: Reason, code: str) -> None:
    """Each way of not being answered is an error of its own; waiting after the end gets the same."""
    device = calling()
    assert not device.give(Await("S", 4))
    device.hear(view(2, "ended", reason=reason, heard=1))
    assert device.settled() == {4: code}
    device.give(Await("S", 5))
    assert device.settled() == {5: "call_not_found"}


def test_waiting_for_an_answer_that_is_there() -> None:
    """Accepted: at once. Ended here, but not known there yet: at once, too."""
    device = calling()
    device.hear(view(2, "accepted", heard=1))
    device.give(Await("S", 4))
    assert device.settled() == {4: "ok"}
    device.do("cancel")
    device.give(Await("S", 5))
    assert device.settled() == {5: "call_ended"}
    other = calling()
    other.do("cancel")
    other.give(Await("S", 6))
    assert other.settled() == {6: "call_cancelled"}


@pytest.mark.parametrize(
    ("reason", "goal", "code"),
    [
        (Reason.ANSWERED_ELSEWHERE, "accept", "answered_elsewhere"),
        (Reason.CANCELLED, "accept", "call_gone"),
        (Reason.FAILED_MEDIA, "join", "media_connection_failed"),
        (Reason.HANGUP, "join", "call_ended"),
    ],
)
def test_a_callee_who_waits_hears_how_it_ended(reason: Reason, goal: str, code: str) -> None:
    """The same for who accepts or joins."""
    device = Device()
    ring = View("S", 1, "2", "ringing", "bob", receiver="alice")
    device.hear(ring)
    if goal == "join":
        device.hear(replace(ring, seq=2, state="accepted"))
    device.do(goal, ticket=1, token="t")
    device.hear(replace(ring, seq=3, state="ended", reason=reason))
    assert device.settled() == {1: code}


# --- facts ------------------------------------------------------------------------------------------------------------


def test_a_gap_heals_and_listeners_see_a_legal_path() -> None:
    """From ringing to active in one fact: every step between is told, in order."""
    device = calling()
    device.hear(view(2, "accepted", heard=1))
    device.do("join", token="t")
    device.hear(view(9, "active", heard=2, flags=frozenset({"joined", "connected"}), peers=(BOB,), joined=1))
    assert device.events() == ["session_joined", "user_joined", "user_list_updated"]
    assert any(isinstance(effect, OpenMedia) for effect in device.effects)
    late = calling()
    late.hear(view(9, "ended", heard=1, reason=Reason.HANGUP, flags=frozenset({"joined"})))
    assert "outgoing_call_accepted" in late.events()
    assert not any(isinstance(effect, OpenMedia | CloseMedia) for effect in late.effects)


def test_what_cannot_be_is_not_believed() -> None:
    """Old facts, facts of an unknown flow, of a state without a way there, of a call that ended: nothing changes."""
    device = calling()
    before = device.endpoint.legs
    for fact in (
        view(0, "accepted"), view(2, "idle", heard=1), view(2, "nowhere", heard=1), view(2, "accepted"),
        view(2, "ended", heard=1, reason=Reason.ANSWERED_ELSEWHERE),
        view(2, "ringing", session="T", flow="other"), view(2, "ended", session="T", reason=Reason.LOST),
    ):  # fmt: skip
        assert not device.hear(fact)
        assert device.endpoint.legs == before
    device.hear(view(5, "ended", heard=1, reason=Reason.REJECTED))
    for seq in (1, 5):
        assert not device.hear(view(seq, "ringing"))
    assert not device.endpoint.legs


def test_an_older_fact_changes_nothing() -> None:
    """What overtook it counts, also where the older one would be a legal fact of its own."""
    device = in_call(BOB)
    common: dict[str, Any] = {"heard": 9, "peers": (BOB,), "joined": 1}
    there = frozenset({"joined", "connected"})
    device.hear(view(6, "active", flags=there, **common))
    assert not device.hear(view(5, "active", flags=there | {"audio_muted"}, **common))
    assert "audio_muted" not in device.leg().flags


def test_media_opens_only_where_it_was_asked_for() -> None:
    """A fact that says joined opens nothing on a device whose user has not joined."""
    device = calling()
    device.hear(view(2, "accepted", heard=1, flags=frozenset({"joined"})))
    assert not device.effects or not any(isinstance(effect, OpenMedia) for effect in device.effects)


def test_a_session_the_service_does_not_know_is_over() -> None:
    """Live: ended as lost. Ended here: forgotten. Never told of: said again, so it stays."""
    device = calling()
    assert not device.hear(Unknown("S", 0))
    device.hear(Unknown("S", 1))
    assert device.events() == ["call_ended_message_received"]
    assert not device.endpoint.legs
    assert not device.hear(Unknown("S", 1))
    ended = calling()
    ended.do("cancel")
    ended.hear(Unknown("S", 1))
    assert not ended.endpoint.legs
    fresh = Device()
    fresh.do("initiate", flow="ringing", receiver="bob")
    fresh.hear(Unknown("S", 0))
    assert fresh.leg().state == "idle"


def test_a_call_that_the_service_has_forgotten_may_ring_again() -> None:
    """Whoever began it says so once more to a service whose store was lost, and its facts are numbered from 1 again: it
    rings where it had been lost, and not where a user had said no."""
    ring = View("S", 1, "2", "ringing", "bob", receiver="alice")
    lost, declined = Device(), Device()
    for device in (lost, declined):
        device.hear(ring)
    declined.do("reject")
    for device in (lost, declined):
        device.hear(Unknown("S", 1))
        device.hear(ring)
    assert lost.leg().state == "ringing"
    assert not declined.endpoint.legs


def test_a_ring_that_was_lost_may_come_again_but_no_other() -> None:
    """A leg that ended by itself has a successor; one that the user ended has none until his word was heard."""
    device = Device()
    ring = View("S", 1, "2", "ringing", "bob", receiver="alice")
    device.hear(ring)
    device.now += 45_000
    device.give(Tick())
    assert device.leg().reason == Reason.LOST
    device.hear(replace(ring, seq=3, pid="3"))
    assert device.events() == ["incoming_call_received"]
    device.do("reject")
    device.hear(replace(ring, seq=4, pid="4"))
    assert device.events() == []
    assert device.leg().reason == Reason.REJECTED


def test_tombs_are_bounded() -> None:
    """A device remembers at least its last 128 ended sessions, and at most twice as many."""
    device = Device()
    for number in range(300):
        device.hear(View(f"S{number}", 1, "2", "ringing", "bob", receiver="alice"))
        device.hear(View(f"S{number}", 2, "2", "ended", "bob", receiver="alice", reason=Reason.CANCELLED))
    assert not device.endpoint.legs
    remembered = [number for number in range(300) if device.endpoint.tomb(f"S{number}") is not None]
    assert remembered == list(range(128, 300))
    assert not device.hear(View("S299", 1, "2", "ringing", "bob", receiver="alice"))


def test_second_names_end_with_their_call() -> None:
    """Ending under the own, merged id ends the call; afterwards both ids are known to be gone."""
    device = Device()
    device.do("initiate", session="X", flow="ringing", receiver="bob", ticket=1)
    device.hear(View("Y", 1, "2", "accepted", "bob", receiver="alice", via="X", heard=1))
    assert device.events() == []
    assert device.settled() == {1: "ok"}
    assert device.endpoint.names == {"X": "Y"}
    device.do("end", session="X", ticket=2)
    assert device.settled() == {2: "ok"}
    device.hear(View("Y", 2, "2", "ended", "bob", receiver="alice", via="X", heard=2, reason=Reason.HANGUP))
    assert (device.endpoint.names, set(device.endpoint.tombs)) == ({}, {"X", "Y"})
    device.do("end", session="X", ticket=3)
    assert device.settled() == {3: "call_gone"}


def test_an_older_fact_says_that_two_calls_are_one() -> None:
    """What the own call awaited comes over, and is heard as far as that fact says."""
    device = in_call(BOB)
    device.do("mute_audio", ticket=1)
    device.do("initiate", session="X", flow="ringing", receiver="bob", ticket=2)
    muting, initiating = (each.n for each in (device.leg().owed[-1], device.leg("X").owed[-1]))
    assert muting < initiating
    there: dict[str, Any] = {"receiver": "alice", "flags": frozenset({"joined"})}
    device.hear(View("Y", 2, "2", "active", "bob", role="caller", **there))
    device.hear(View("Y", 1, "2", "active", "bob", role="caller", via="S", heard=muting, **there))
    assert device.settled() == {1: "ok"}
    device.hear(View("Y", 1, "2", "active", "bob", role="caller", via="X", heard=initiating, **there))
    assert [(wait.ticket, wait.due) for wait in device.leg("Y").waits] == [(2, 0)]


def test_a_device_that_never_had_a_link_calls_nobody() -> None:
    """It is told so at once; nothing is said, kept or timed."""
    machine, new = EndpointMachine(), Endpoint("alice", "a1", "a1-1")
    after, effects = machine.step(new, Do("S", "initiate", 1, flow="ringing", receiver="bob"), 5)
    assert [(e.ticket, e.error.code) for e in effects if isinstance(e, Settle) and e.error] == [(1, "not_connected")]
    assert (len(effects), after, machine.next_due(after)) == (1, new, 0)


def test_a_call_that_is_over_here_hides_no_timer_of_another() -> None:
    """The end that is still owed has no time; what is waited for in another call has its own."""
    device = Device()
    device.hear(View("Y", 1, "2", "ringing", "bob", receiver="alice"))
    device.do("reject", session="Y")
    device.do("initiate", session="X", flow="ringing", receiver="carol", ticket=1)
    assert list(device.endpoint.legs) == ["Y", "X"]
    assert device.machine.next_due(device.endpoint) == device.now + 10_000


RING = View("Y", 1, "2", "ringing", "bob", receiver="alice")
"""Bob calls Alice."""


def crossing() -> Device:
    """Alice has called Bob, nothing is decided about it, and Bob's ring is here."""
    device = Device()
    device.do("initiate", session="X", flow="ringing", receiver="bob", ticket=1)
    assert not device.hear(RING)
    return device


def test_no_ring_from_whom_one_is_calling_oneself() -> None:
    """A ring that my own call is about to accept is not shown: the two become one call, and it is told as mine."""
    device = crossing()
    device.hear(View("Y", 2, "2", "accepted", "bob", receiver="alice", via="X", heard=1))
    assert device.events() == []
    assert device.settled() == {1: "ok"}
    assert (device.leg("Y").state, device.endpoint.held) == ("accepted", {})
    assert not device.hear(RING)


@pytest.mark.parametrize(
    "decided",
    [
        View("X", 1, "1", "ringing", "alice", receiver="bob", role="caller", heard=1),
        View("X", 1, "1", "ended", "alice", receiver="bob", role="caller", heard=1, reason=Reason.BUSY),
        Refused("X", 1, "unknown_user"),
    ],
    ids=["lives", "ended", "refused"],
)
def test_a_ring_that_was_held_is_shown_once_the_own_call_is_another(decided: Any) -> None:
    """Whatever becomes of my own call, if it is not the other's, the other's rings: once, and as it stood last."""
    device = crossing()
    assert not device.hear(replace(RING, seq=2, metadata="new"))
    assert not device.hear(RING)
    device.hear(decided)
    assert device.events()[-1] == "incoming_call_received"
    assert (device.leg("Y").seq, device.leg("Y").metadata, device.endpoint.held) == (2, "new", {})


def test_a_ring_that_was_held_waits_for_a_call_that_was_withdrawn() -> None:
    """I called, and took it back: until the service has said what became of it, nothing rings."""
    device = crossing()
    device.do("cancel", session="X")
    assert device.endpoint.held
    device.hear(Refused("X", 2, "call_not_found"))
    assert device.events() == ["incoming_call_received"]


@pytest.mark.parametrize(
    "word",
    [
        View("Y", 2, "2", "ended", "bob", receiver="alice", reason=Reason.CANCELLED),
        Unknown("Y", 1),
    ],
    ids=["ended", "unknown"],
)
def test_a_ring_that_ended_while_it_was_held_is_never_shown(word: Any) -> None:
    """Not then, and not when my own call is decided; the link may have been cut meanwhile."""
    device = crossing()
    device.give(LinkDown())
    [hello] = [effect.message for effect in device.give(LinkUp()) if isinstance(effect, Send)]
    assert hello.sessions == {"Y": 1}
    device.hear(Welcome("alice"))
    device.hear(word)
    assert device.endpoint.held == {}
    device.hear(Refused("X", 1, "unknown_user"))
    assert device.events() == []
    assert "Y" not in device.endpoint.legs


def test_a_call_that_was_lost_here_does_not_ring_anew_while_ones_own_may_be_it() -> None:
    """Bob's ring was here before I called him, and both were lost with the link: its successor waits, too."""
    device = Device()
    device.hear(RING)
    assert device.events() == ["incoming_call_received"]
    device.do("initiate", session="X", flow="ringing", receiver="bob")
    device.give(LinkDown())
    device.now += device.endpoint.lease
    device.give(Tick())
    assert [leg.reason for leg in device.endpoint.legs.values()] == [Reason.LOST, Reason.LOST]
    device.give(LinkUp())
    device.hear(Welcome("alice"))
    assert not device.hear(replace(RING, seq=3, pid="3"))
    device.hear(Refused("X", 3, "call_not_found"))
    assert device.events() == ["incoming_call_received"]
    assert device.endpoint.held == {}


def test_a_ring_of_somebody_else_is_shown_at_once() -> None:
    """Only who is called himself can be about to be merged with."""
    device = Device()
    device.do("initiate", session="X", flow="ringing", receiver="carol")
    device.hear(RING)
    assert device.events() == ["incoming_call_received"]


def test_a_merge_into_a_call_that_was_declined_meanwhile() -> None:
    """He called, then declined the other's ring: whoever awaited his own call hears that it came to nothing."""
    device = Device()
    device.hear(RING)
    device.do("initiate", session="X", flow="ringing", receiver="bob", ticket=1)
    device.do("reject", session="Y", ticket=2)
    device.hear(View("Y", 2, "2", "accepted", "bob", receiver="alice", via="X", heard=1))
    assert device.settled() == {1: "call_ended"}
    assert device.leg("Y").reason == Reason.REJECTED


# --- media ------------------------------------------------------------------------------------------------------------


def test_reports_of_media_count_once_and_while_it_is_open() -> None:
    """Up is said once, before it was heard and after; after the end nothing is."""
    early = calling()
    early.hear(view(2, "accepted", heard=1))
    early.do("join", token="t")
    early.hear(view(3, "accepted", heard=2, flags=frozenset({"joined"}), joined=1))
    early.give(Media("S", "up"))
    assert [message.trigger for message in early.sent()] == ["up"]
    early.hear(view(4, "accepted", heard=9, flags=frozenset({"joined", "connected"}), joined=1))
    early.give(Media("S", "up"))
    assert not early.sent()
    device = in_call(BOB)
    device.give(Media("S", "up"))
    assert not device.sent()
    device.give(Media("S", "failed"))
    assert [message.trigger for message in device.sent()] == ["failed"]
    device.do("end")
    for given in (Media("S", "up"), Media("S", "failed"), Media("T", "failed"), Signal("S", Ask("S", "2"))):
        assert not device.give(given)


def test_media_lost_with_a_participant() -> None:
    """Under two seconds nobody is told; then it is told once; restored is told if lost was; thirty seconds end a call
    of two."""
    device = in_call(BOB, machine={"timers": CALM})
    device.give(Media("S", "peer_lost", "2"))
    device.now += 1999
    assert not device.give(Tick())
    assert not device.give(Media("S", "peer_connected", "2"))
    device.give(Media("S", "peer_lost", "2"))
    device.give(Media("S", "peer_lost", "2"))
    device.wait()
    assert device.effects == [Emit("remote_connection_lost", device.effects[0].leg, BOB)]  # type: ignore[union-attr]
    device.give(Media("S", "peer_connected", "2"))
    assert device.events() == ["remote_connection_restored"]
    device.give(Media("S", "peer_lost", "2"))
    device.wait()
    device.wait()
    assert [message.trigger for message in device.sent()] == ["failed"]


def test_one_of_several_who_is_lost_ends_nothing() -> None:
    """Only if nobody can be reached it is this side's media; and no timer stays due."""
    device = in_call(BOB, CAROL, flow="session", machine={"timers": CALM})
    device.give(Media("S", "peer_lost", "2"))
    device.wait()
    device.wait()
    assert not device.sent()
    assert device.machine.next_due(device.endpoint) > device.now
    device.give(Media("S", "peer_lost", "3"))
    device.wait()
    device.wait()
    assert [message.trigger for message in device.sent()] == ["failed"]


def test_there_is_no_media_to_lose_with_who_is_not_here() -> None:
    """What an adapter reports of a stranger, or of who has left, ends nobody and is told to nobody."""
    device = in_call(BOB, flow="session")
    left = view(
        5, "active", flow="session", role="member", flags=HERE, **{**SEEN, "peers": (BOB, replace(CAROL, joined=0))}
    )
    device.hear(left)
    for pid in ("3", "9", "1"):
        device.give(Media("S", "peer_lost", pid))
    assert device.leg().lost == ()


def test_of_two_in_a_session_who_cannot_reach_the_other_waits_for_who_is_gone() -> None:
    """Where people come and go, the other may be gone and come back: only when a lease later the service still has him
    it is the media of both that cannot go on. So a session of two whose media is lost for good ends, too."""
    for leaves in (True, False):
        device = in_call(BOB, flow="session", machine={"timers": CALM})
        said: list[str] = []

        def wait_until(passed: int, device: Device = device, said: list[str] = said, began: int = device.now) -> None:
            while device.machine.next_due(device.endpoint) - began <= passed:
                device.hear(Beat())
                device.wait()
                said += [message.trigger for message in device.sent() if isinstance(message, Command)]

        device.give(Media("S", "peer_lost", "2"))
        for_good = 30_000 + device.endpoint.lease
        wait_until(for_good - 1)
        assert (said, device.leg().state) == ([], "active")
        if leaves:
            device.hear(view(9, "active", flow="session", role="member", flags=device.leg().flags, heard=9))
        wait_until(for_good)
        assert said == ([] if leaves else ["failed"])


def test_what_media_says_and_hears_passes_while_open() -> None:
    """Signals go up while there is a link, relays come to the open media session."""
    device = in_call(BOB)
    device.give(Signal("S", Ask("S", "2")))
    assert device.sent() == [Ask("S", "2")]
    device.hear(Relayed("S", "2", "offer", "sdp"))
    assert device.driven() == [("receive", "2", "offer", "sdp")]
    assert not device.hear(Relayed("T", "2", "offer", "sdp"))
    device.give(LinkDown())
    assert not device.give(Signal("S", Ask("S", "2")))
    device.give(LinkUp())
    device.hear(Welcome("alice"))
    assert ("resumed",) in device.driven()


def test_offer_tokens_are_told_once_for_each_turn() -> None:
    """A grant is told when its number is new."""
    device = in_call(BOB)
    common: dict[str, Any] = {
        "flags": frozenset({"joined", "connected"}), "peers": (BOB,), "joined": 1, "heard": 9,
        "grants": frozenset({"audio", "video", "screen"}),
    }  # fmt: skip
    device.hear(view(5, "active", offers={"2": 1}, **common))
    assert device.driven() == [("granted", "2")]
    device.hear(view(6, "active", offers={"2": 1}, **common))
    assert device.driven() == []
    device.hear(view(7, "active", offers={"2": 3}, **common))
    assert device.driven() == [("granted", "2")]


def test_capture_follows_flags_grants_and_consent() -> None:
    """Muting stops the microphone; a camera opens only with the user's own yes; a screen needs none but its flag."""
    device = in_call(BOB, consent=frozenset({"audio"}))
    grants = frozenset({"audio", "video", "screen"})
    common: dict[str, Any] = {"peers": (BOB,), "joined": 1, "heard": 9, "grants": grants}
    device.hear(view(5, "active", flags=frozenset({"joined", "audio_muted", "presenting"}), **common))
    assert device.driven() == [("capture", "audio", False), ("capture", "screen", True)]
    assert device.events() == ["audio_muted", "screen_share_started"]
    device.endpoint.legs["S"] = replace(device.leg(), consent=frozenset({"audio"}))
    device.hear(view(6, "active", flags=frozenset({"joined", "camera"}), **common))
    assert device.driven() == [("capture", "audio", True), ("capture", "screen", False)]


def test_participants_come_go_and_change() -> None:
    """Who joins, leaves, mutes or raises a hand is told once, from the moment of being in."""
    device = in_call(BOB)
    common: dict[str, Any] = {"flags": frozenset({"joined", "connected"}), "joined": 1, "heard": 9}
    waiting = Peer("4", "dora")
    device.hear(view(5, "active", peers=(BOB, CAROL, waiting), **common))
    assert device.events() == ["user_joined", "user_list_updated"]
    device.hear(view(6, "active", peers=(replace(CAROL, flags=frozenset({"hand_raised", "wants_video"})),), **common))
    assert device.events() == ["user_left", "hand_raised", "call_switch_to_video_requested", "user_list_updated"]
    assert ("peers", (device.leg().peers[0],)) in device.driven()


def test_why_a_participant_is_gone_is_told() -> None:
    """Who left has left; of anybody else it is told why, also to a device that has missed when it happened."""
    device = in_call(BOB, CAROL, Peer("4", "dora", joined=4))
    common: dict[str, Any] = {"flags": frozenset({"joined", "connected"}), "joined": 1, "heard": 9}
    device.hear(view(9, "active", gone={"3": Reason.KICKED, "4": Reason.LOST, "9": Reason.LOST}, **common))
    left = [(e.peer.user, e.value) for e in device.effects if isinstance(e, Emit) and e.event == "user_left" and e.peer]
    assert left == [("bob", "left"), ("carol", "kicked"), ("dora", "lost")]


def test_a_request_for_video_is_over_for_whom_it_asked() -> None:
    """Who was asked for video hears that the request was withdrawn, or not answered in time; agreed to, it is a switch
    and nothing else."""
    device = in_call(BOB)
    common: dict[str, Any] = {"flags": frozenset({"joined", "connected"}), "joined": 1, "heard": 9}
    asks = (replace(BOB, flags=frozenset({"wants_video"})),)
    device.hear(view(5, "active", peers=asks, type="audio", **common))
    device.events()
    device.hear(view(6, "active", peers=(BOB,), type="audio", **common))
    assert device.events() == ["call_switch_to_video_declined"]
    device.hear(view(7, "active", peers=asks, type="audio", **common))
    assert device.events() == ["call_switch_to_video_requested"]
    device.hear(view(8, "active", peers=(BOB,), type="video", **common))
    assert device.events() == ["call_switched_to_video"]


def test_nobody_is_told_of_others_before_being_in() -> None:
    """Somebody who joins and leaves while I have not joined is no event; who is there when I am in, is."""
    device = calling()
    device.hear(view(2, "accepted", heard=1, peers=(BOB,)))
    assert device.events() == ["outgoing_call_accepted"]
    device.hear(view(3, "accepted", heard=1))
    assert device.events() == []


# --- the session's own clocks -----------------------------------------------------------------------------------------


def test_alone_for_too_long() -> None:
    """A prompt, then the end; company sets the clock back."""
    device = in_call(flow="session", machine={"timers": CALM}, idle=(120_000, 60_000))
    device.wait()
    assert device.events() == ["idle_prompt"]
    flags = frozenset({"joined", "connected"})
    common: dict[str, Any] = {"flags": flags, "role": "member", "flow": "session", "heard": 9}
    device.hear(view(5, "active", peers=(BOB,), joined=1, **common))
    device.hear(view(6, "active", joined=1, **common))
    device.wait()
    assert device.events() == ["idle_prompt"]
    assert not device.give(Tick())
    device.wait()
    assert device.events() == ["session_timeout", "call_ended_message_received", "session_left", "call_ended"]
    assert device.leg().reason == Reason.IDLE


def test_as_long_as_it_may_last() -> None:
    """The longest duration runs from being in, and ends the leg."""
    device = in_call(BOB, machine={"timers": CALM}, longest=90_000)
    start = device.now
    device.give(Tick())
    assert device.leg().state == "active"
    device.wait()
    assert (device.now, device.leg().reason) == (start + 90_000, Reason.EXPIRED)


# --- requests, flows of one's own -------------------------------------------------------------------------------------


def test_requests_for_tokens_are_answered_or_refused() -> None:
    """Each request gets its own answer."""
    device = Device()
    assert device.hear(Token("S", 4, "t")) == [Reply(4, "t")]
    (reply,) = device.hear(Refused("S", 5, "token_expired", {"seconds": 3}, request=True))
    assert isinstance(reply, Reply)
    assert isinstance(reply.error, TokenExpired)


def test_a_flow_of_ones_own_tells_its_custom_effects() -> None:
    """A custom effect of a row that a device walks is an event with its name and data; the same command with other
    data is another command."""
    flow = RINGING.extend(
        "knock",
        triggers=(Trigger("knock", "user"),),
        rows=(
            Row("accepted", "knock", "accepted", (Mark("hand_raised"),)),
            Row("idle", "knock", "waiting"),
            Row("waiting", "ring", "ringing", (Custom("open", "door"),), when="caller"),
            Row("waiting", "lost", "ended", (Release(),), reason=Reason.LOST),
        ),
    )
    device = Device(flows={**FLOWS, "knock": flow})
    device.do("initiate", flow="knock", receiver="bob")
    device.hear(view(1, "waiting", flow="knock", heard=1))
    device.hear(view(2, "ringing", flow="knock", heard=1))
    assert [(e.event, e.value) for e in device.effects if isinstance(e, Emit)] == [("custom", ("open", "door"))]
    device.hear(view(3, "accepted", flow="knock", heard=1))
    device.do("knock", data={"n": 1}, ticket=1)
    device.do("knock", data={"n": 1}, ticket=2)
    device.do("knock", data={"n": 2}, ticket=3)
    assert [command.data for command in device.leg().owed] == [{"n": 1}, {"n": 2}]
    device.hear(view(4, "accepted", flow="knock", heard=2))
    assert device.settled() == {1: "ok", 2: "ok"}


def test_coming_back_is_a_new_leg_and_old_views_are_ignored() -> None:
    """A view that does not know of my new join is of the old leg, whenever it comes."""
    made = World({"a1": "alice", "b1": "bob"}).settle()
    join = Do("S", "join", flow="session", token="fresh")
    made.user("b1", join)
    made.settle(media=True)
    made.user("a1", join)
    for _ in range(1):
        made.act(("up", "a1"))
    made.user("a1", Do("S", "leave"))
    made.user("a1", join)
    old = made.places["a1"].down
    made.settle(media=True)
    assert made.state("a1", "S") == "active"
    made.places["a1"] = replace(made.places["a1"], down=old)
    made.settle()
    assert made.state("a1", "S") == "active"
    assert_settled(made)
    assert_over(made.end_all().pass_time(100))


def test_timers_may_be_the_applications() -> None:
    """The command timer is as long as it is set."""
    device = Device(timers=Timers(command=2))
    device.do("initiate", flow="ringing", receiver="bob", ticket=1)
    assert device.machine.next_due(device.endpoint) == device.now + 2000
    error = CallNotFound(session_id="S")
    assert str(error)


# --- what exactly is told ---------------------------------------------------------------------------------------------


def test_who_comes_is_told_in_the_order_of_joining_with_the_leg_as_it_is() -> None:
    """Each event of a participant carries the leg and that participant; the first to have joined is told first."""
    device = in_call()
    late, early = Peer("2", "bob", "b1", joined=9), Peer("3", "carol", "c1", joined=4)
    device.hear(view(5, "active", flags=device.leg().flags, heard=9, joined=1, peers=(late, early)))
    told = [effect for effect in device.effects if isinstance(effect, Emit) and effect.event == "user_joined"]
    assert [effect.peer for effect in told] == [early, late]
    assert all(effect.leg is not None and effect.leg.peers == (late, early) for effect in told)


@pytest.mark.parametrize("session", ["S", "T"])
def test_a_data_message_outside_a_session_says_where_and_why(session: str) -> None:
    """The error names the session, the state it is in, if it is known, and what was wanted."""
    device = calling()
    device.give(Say(session, "hello", ticket=5))
    [settled] = [effect for effect in device.effects if isinstance(effect, Settle)]
    assert settled.error is not None
    state = "ringing" if session == "S" else "unknown"
    assert settled.error.data == {"session_id": session, "state": state, "trigger": "send_message"}


def test_the_longest_data_message_is_taken_and_no_longer_one() -> None:
    """What counts is what goes over the wire, with the longest numbers there are; at the limit it still goes."""
    device = in_call(BOB)
    parcel = msgspec.json.encode({"n": 2**53, "got": 2**53, "text": ""}).decode()
    longest = 32_768 - len(msgspec.json.encode(parcel))
    device.give(Say("S", "x" * (longest + 1), ticket=6))
    assert device.settled() == {6: "invalid_argument"}
    device.give(Say("S", "x" * longest, ticket=7))
    assert [type(message) for message in device.sent()] == [Relay]


@pytest.mark.parametrize(
    ("flag", "own", "others"),
    [
        ("audio_muted", ["audio_muted", "audio_unmuted"], ["user_muted", "user_unmuted"]),
        ("video_paused", ["video_paused", "video_resumed"], ["user_video_paused", "user_video_resumed"]),
        (
            "presenting",
            ["screen_share_started", "screen_share_stopped"],
            ["screen_share_started", "screen_share_stopped"],
        ),
        ("hand_raised", ["hand_raised", "hand_lowered"], ["hand_raised", "hand_lowered"]),
    ],
)
def test_what_goes_on_and_off_is_told_of_oneself_and_of_others(flag: str, own: list[str], others: list[str]) -> None:
    """Each by its own word, once, and of whom."""
    device = in_call(BOB)
    plain, on, seq = device.leg().flags, frozenset({"joined", "connected", flag}), 4
    told: list[tuple[str, str]] = []
    for flags, peer in ((on, BOB), (plain, BOB), (plain, replace(BOB, flags=frozenset({flag}))), (plain, BOB)):
        seq += 1
        device.hear(view(seq, "active", flags=flags, heard=9, joined=1, peers=(peer,)))
        told += [(e.event, e.peer.user if e.peer else "") for e in device.effects if isinstance(e, Emit)]
    assert told == [*((event, "") for event in own), *((event, "bob") for event in others)]


def test_a_data_message_that_cannot_be_sent_settles_with_the_leg_as_it_is() -> None:
    """Too many on the way: the error says for how long, and what waited for it sees the session."""
    device = in_call(BOB)
    for ticket in range(1, KEPT + 2):
        device.give(Say("S", "x", ticket=ticket))
    [settled] = [effect for effect in device.effects if isinstance(effect, Settle)]
    assert (settled.ticket, settled.leg) == (KEPT + 1, device.leg())
    assert isinstance(settled.error, RateLimited)
    assert settled.error.data == {"what": "data messages", "seconds": 1}


def test_coming_back_in_vain_forgets_nothing() -> None:
    """Who is refused where a session was left before remembers the number of its last view: an older one stays old."""
    device = in_call(flow="session")
    device.do("leave", ticket=5)
    device.hear(view(7, "ended", flow="session", role="member", reason=Reason.HANGUP, heard=99))
    assert device.endpoint.tomb("S") == 7
    device.do("join", flow="session", token="t", ticket=6)
    device.hear(Refused("S", device.leg().owed[0].n, "session_full"))
    assert device.settled() == {6: "session_full"}
    assert device.endpoint.tomb("S") == 7


def test_a_refusal_that_a_device_can_tell_says_of_what() -> None:
    """Where a row refuses by what the device knows itself, the error names the session, the state and the user."""
    device = in_call(BOB)
    device.do("join", token="t", ticket=7)
    [settled] = [effect for effect in device.effects if isinstance(effect, Settle)]
    assert settled.error is not None
    assert settled.error.code == "already_joined"
    assert settled.error.data == {"session_id": "S", "reason": "active", "user": "alice"}


def test_of_a_call_that_nobody_has_heard_of_yet_only_what_was_asked_is_known() -> None:
    """The rest is empty: there is no number, nobody else, no token, and media has not been asked for."""
    device = Device()
    device.do("initiate", flow="ringing", receiver="bob", type="audio", metadata="m", ticket=1)
    known = {name: repr(value) for name, value in msgspec.structs.asdict(device.leg()).items()}
    asked = {
        "session": "'S'", "flow": "'ringing'", "state": "'idle'", "role": "'caller'", "type": "'audio'",
        "initiator": "'alice'", "receiver": "'bob'", "metadata": "'m'", "first": "1", "media": "'none'",
    }  # fmt: skip
    texts = dict.fromkeys(("pid", "by", "by_device", "token"), "''")
    numbers = dict.fromkeys(("seq", "joined", "joined_at", "age", "alone_since", "until", "longest"), "0")
    sets = dict.fromkeys(("flags", "grants"), "frozenset()") | dict.fromkeys(("peers", "lost"), "()")
    empty = texts | numbers | sets | dict.fromkeys(("offers", "lanes"), "{}")
    plain = {"reason": "None", "reported": "False", "at": "(0, 0, 0, 0, 0)", "idle": "(0, 0)"}
    assert known == known | asked | empty | plain
    assert known.keys() - {*asked, *empty, *plain} == {"owed", "waits", "consent"}


def test_a_data_message_that_nobody_has_taken_in_time_says_what_failed() -> None:
    """It settles with the error of a command that nobody heard, by the name of what was to be done."""
    device = in_call(BOB)
    device.give(Say("S", "x", ticket=5))
    while 5 not in device.settled():
        device.wait()
    [settled] = [effect for effect in device.effects if isinstance(effect, Settle)]
    assert settled.error is not None
    assert (settled.error.code, settled.error.data) == ("command_timeout", {"trigger": "send_message"})
