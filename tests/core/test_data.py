"""Data messages between participants: numbered, contiguous, bounded, once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from statecore.aio._limits import Bucket
from statecore.endpoint import Do, Emit, Endpoint, EndpointMachine, LinkDown, LinkUp, Received, Say, Send, Settle, Tick
from statecore.endpoint._data import KEPT, LONGEST, WINDOW
from statecore.testing.world import World
from statecore.wire import Peer, Relay, Relayed, View, Welcome


class Chat:
    """A session of these devices, and what each was told."""

    def __init__(self, *devices: str) -> None:
        self.world = World({device: device for device in devices}).settle()
        for device in devices:
            self.world.user(device, Do("S", "join", flow="session", token="fresh"))
            self.world.settle(media=True)
        self.heard: list[tuple[str, str, str]] = []
        give = self.world.give

        def listen(device: str, given: Any) -> list[Any]:
            effects = give(device, given)
            told = [e for e in effects if isinstance(e, Emit) and e.event == "message_received"]
            self.heard += [(device, e.peer.user if e.peer else "", e.value) for e in told]
            return effects

        self.world.give = listen  # type: ignore[method-assign]  # the world itself keeps no events

    def say(self, device: str, text: str, to: str = "", session: str = "S") -> int:
        """Send, without delivering."""
        self.world.tickets += 1
        self.world.watch.outcomes[self.world.tickets] = ""
        self.world.give(device, Say(session, json.dumps(text), to, self.world.tickets))
        return self.world.tickets

    def outcome(self, ticket: int) -> str:
        """What became of it."""
        return self.world.watch.outcomes[ticket]


def test_everybody_or_one_hears_it_once() -> None:
    """To all who have joined, or to one; settled when everyone addressed has it."""
    chat = Chat("a", "b", "c")
    all_, one = chat.say("a", "hi"), chat.say("b", "psst", to="1")
    assert chat.outcome(all_) == ""
    chat.world.settle()
    assert sorted(chat.heard) == [("a", "b", "psst"), ("b", "a", "hi"), ("c", "a", "hi")]
    assert chat.outcome(all_) == chat.outcome(one) == "ok"


def test_a_cut_loses_nothing_and_repeats_nothing() -> None:
    """Whatever is lost in either direction is said again, in order, and delivered once."""
    for lost in ("a", "b"):
        for cut_after in range(6):
            chat = Chat("a", "b")
            tickets = [chat.say("a", str(number)) for number in range(3)]
            for _ in range(cut_after):
                action = next((x for x in chat.world.enabled() if x[0] in ("up", "down")), None)
                if action is not None:
                    chat.world.act(action)
            chat.world.cut(lost)
            tickets.append(chat.say("a", "3"))
            chat.world.settle()
            assert chat.heard == [("b", "a", str(number)) for number in range(4)]
            assert [chat.outcome(ticket) for ticket in tickets] == ["ok"] * 4


def test_what_is_missing_is_asked_for_once() -> None:
    """A number that comes too early tells that others were lost: the sender is asked, and says them again."""
    chat = Chat("a", "b")
    for number in range(3):
        chat.say("a", str(number))
        if number < 2:  # the service could not hand these on
            chat.world.places["a"] = replace(chat.world.places["a"], up=())
    chat.world.settle()
    assert chat.heard == [("b", "a", str(number)) for number in range(3)]


def test_each_receiver_has_numbers_of_his_own() -> None:
    """After a cut each gets what he lacks, whatever is on the way to the others."""
    chat = Chat("a", "b", "c")
    chat.say("a", "one", to="2")
    chat.say("a", "other", to="3")
    chat.world.cut("a")
    chat.world.settle()
    assert sorted(chat.heard) == [("b", "a", "one"), ("c", "a", "other")]


def test_what_cannot_be_sent_is_refused() -> None:
    """Outside the session, too long, to nobody who is here, or too many on the way: a typed error each."""
    chat = Chat("a", "b")
    assert chat.outcome(chat.say("a", "x", session="T")) == "session_inactive"
    assert chat.outcome(chat.say("a", "x" * (LONGEST + 1))) == "invalid_argument"
    assert chat.outcome(chat.say("a", "x", to="9")) == "invalid_argument"
    for _ in range(KEPT):
        chat.say("a", "x")
    assert chat.outcome(chat.say("a", "x")) == "rate_limited"
    alone = Chat("a")
    assert alone.outcome(alone.say("a", "x")) == "ok"


def test_nobody_waits_for_who_has_left_or_does_not_answer() -> None:
    """A receiver who leaves settles it; one who is silent lets it fail in time; the sender's end fails it."""
    chat = Chat("a", "b", "c")
    ticket = chat.say("a", "x", to="2")
    chat.world.cut("b")
    chat.world.user("b", Do("S", "leave"))
    chat.world.settle()
    assert chat.outcome(ticket) == "ok"
    late = Chat("a", "b")
    ticket = late.say("a", "x")
    late.world.cut("b")
    late.world.fire(("tick", "a"))  # it is said again
    late.world.fire(("tick", "a"))
    assert late.outcome(ticket) == "command_timeout"
    ticket = late.say("a", "y")
    late.world.user("a", Do("S", "leave"))
    assert late.outcome(ticket) == "call_ended"


def test_what_is_malformed_foreign_or_repeated_is_ignored() -> None:
    """A body that is none, a sender who is not there, an old number: nothing is told, at most it is acknowledged."""
    chat = Chat("a", "b")
    chat.say("a", "x")
    chat.world.settle()
    chat.heard.clear()
    for source, body in (("1", "{"), ("9", json.dumps({"n": 2})), ("1", json.dumps({"n": 1, "text": json.dumps("x")}))):
        chat.world.give("b", Received(Relayed("S", source, "data", body)))
    chat.world.give("b", Received(Relayed("S", "1", "data", json.dumps({"n": 7, "text": json.dumps("gap")}))))
    chat.world.settle()
    assert chat.heard == []


def test_a_message_that_is_no_json_is_taken_and_not_told() -> None:
    """What a participant of another making sends under a good number holds up nothing of what comes after it."""
    chat = Chat("a", "b")
    for n, text in enumerate(("no JSON", '"good"'), 1):
        body = json.dumps({"n": n, "text": text})
        chat.world.give("b", Received(Relayed("S", "1", "data", body)))
    assert chat.heard == [("b", "a", "good")]


def test_what_is_lost_without_a_cut_is_said_again() -> None:
    """A message, or the word that it came, is lost on its way and no link breaks: it is made good before the wait for
    it fails."""
    for lost in ("up", "down"):
        for receiver in ("a", "b"):
            chat = Chat("a", "b")
            ticket = chat.say("a", "hi")
            if receiver == "a":
                chat.world.act(("up", "a"))
                chat.world.act(("down", "b"))
            if lost == "down":
                chat.world.act(("up", "b" if receiver == "a" else "a"))
            place = receiver if lost == "down" else "b" if receiver == "a" else "a"
            chat.world.places[place] = replace(chat.world.places[place], **{lost: ()})
            chat.world.settle()
            assert chat.outcome(ticket) == ""
            chat.world.fire(("tick", "a"))
            chat.world.settle()
            assert chat.outcome(ticket) == "ok"
            assert chat.heard == [("b", "a", "hi")]


class Crowd:
    """A device in a session with others who answer at once, and a service that counts what it takes from a connection
    as the real one does."""

    def __init__(self, others: int, rate: int = 200) -> None:
        self.machine = EndpointMachine()
        self.rate = rate
        self.now = 1_000
        self.endpoint = Endpoint("u0", "d0", "e")
        self.peers = tuple(Peer(str(n), f"u{n}", f"d{n}", joined=n) for n in range(2, others + 2))
        self.sent: list[tuple[str, dict[str, Any]]] = []
        """What went out, and is not answered: to whom, and the parcel."""
        self.most = 0
        """The most that were on the way to one participant."""
        self.settled: dict[int, str] = {}
        self.link()
        self.give(Do("S", "join", flow="session", token="t"))
        self.told(1, self.peers)

    def told(self, seq: int, peers: tuple[Peer, ...]) -> None:
        """These are there."""
        joined = frozenset({"joined"})
        self.give(Received(View("S", seq, "1", "active", "u0", "session", heard=1, flags=joined, peers=peers)))

    def link(self) -> None:
        """A new connection."""
        self.bucket = Bucket(self.rate, 10 * self.rate, self.now)
        self.give(LinkUp())
        self.give(Received(Welcome("u0", rate=self.rate)))

    def give(self, given_: Any) -> None:
        """An input; what it sends counts."""
        self.endpoint, effects = self.machine.step(self.endpoint, given_, self.now)
        for effect in effects:
            if isinstance(effect, Settle):
                self.settled[effect.ticket] = effect.error.code if effect.error is not None else "ok"
            if isinstance(effect, Send):
                assert self.bucket.take(self.now) == 0.0, "the service cuts the link"
                if isinstance(effect.message, Relay):
                    self.sent.append((effect.message.to, json.loads(effect.message.body)))
        way = [to for to, parcel in self.sent if "n" in parcel]
        self.most = max([self.most, *(way.count(peer.pid) for peer in self.peers)])

    def say(self, count: int) -> None:
        """So many messages to everybody."""
        for ticket in range(1, count + 1):
            self.give(Say("S", "1", "", ticket))

    def answer(self) -> None:
        """Everybody has what is on the way."""
        sent, self.sent = self.sent, []
        for to, parcel in sent:
            if "n" in parcel:
                self.give(Received(Relayed("S", to, "data", json.dumps({"got": parcel["n"]}))))

    def pass_time(self) -> None:
        """Until the next timer, which is due at a whole millisecond."""
        due = self.machine.next_due(self.endpoint)
        assert isinstance(due, int)
        self.now = max(self.now, due)
        self.give(Tick())

    def run(self) -> None:
        """Until nothing is on the way and nothing is to go out."""
        while self.sent or any(lane.mails for lane in self.endpoint.legs["S"].lanes.values()):
            while self.sent:
                self.answer()
            self.pass_time()


@given(
    others=st.integers(1, 5),
    count=st.integers(1, 80),
    rate=st.sampled_from([1, 7, 200, 5_000]),
    cuts=st.lists(st.integers(0, 40), max_size=3),
)
@settings(deadline=None, max_examples=25)
def test_no_burst_is_more_than_the_service_takes(others: int, count: int, rate: int, cuts: list[int]) -> None:
    """However many messages go to however many, at first and after each cut, no more are on the way to one than the
    window has, the service never has a reason to cut the link, and each wait is settled."""
    crowd = Crowd(others, rate)
    crowd.say(count)
    for rounds in cuts:
        for _ in range(rounds):
            crowd.answer()
        crowd.give(LinkDown())
        crowd.sent.clear()
        crowd.link()
    crowd.run()
    assert crowd.most <= WINDOW
    assert set(crowd.settled) == set(range(1, count + 1))
    assert set(crowd.settled.values()) <= {"ok", "command_timeout"}


@pytest.mark.no_cover
def test_a_burst_to_many_arrives_in_time() -> None:
    """250 messages to eleven participants, more than the service takes at once: each is delivered, within its bound."""
    crowd = Crowd(11)
    crowd.say(250)
    assert crowd.most == WINDOW
    crowd.run()
    assert set(crowd.settled.values()) == {"ok"}


def test_word_of_what_was_got_is_paced_and_stands_for_all() -> None:
    """Of many who send at once, each hears in one word of everything that was got, as soon as there is room for it."""
    crowd = Crowd(11, rate=1)
    for n in range(1, WINDOW + 1):
        for peer in crowd.peers:
            crowd.give(Received(Relayed("S", peer.pid, "data", json.dumps({"n": n, "text": "1"}))))
    while len({to for to, parcel in crowd.sent if parcel.get("got") == WINDOW}) < 11:
        crowd.pass_time()
    assert len(crowd.sent) < 25


def test_nothing_is_posted_to_who_has_not_joined() -> None:
    """Who is there but exchanges no media now is not written to; what waits goes out when he is back, within its
    time."""
    crowd = Crowd(1)
    crowd.say(1)
    crowd.sent.clear()
    crowd.told(2, (replace(crowd.peers[0], joined=0),))
    crowd.give(LinkDown())
    assert crowd.machine.next_due(crowd.endpoint) == crowd.now + 10_000, "nothing can go out, only the wait ends"
    crowd.link()
    crowd.pass_time()
    assert not crowd.sent
    crowd.told(3, crowd.peers)
    assert crowd.machine.next_due(crowd.endpoint) == 1, "at once: a time that has passed, and not before all time"
    crowd.run()
    assert crowd.settled == {1: "ok"}


def test_what_is_repeated_meanwhile_asks_for_nothing_anew() -> None:
    """After it has asked for what is missing, a device's further words of what it got do not ask again."""
    crowd = Crowd(1)
    for number, asks in ((2, True), (2, False), (3, False), (1, False)):
        crowd.sent.clear()
        crowd.give(Received(Relayed("S", "2", "data", json.dumps({"n": number, "text": '"x"'}))))
        assert [parcel.get("again", False) for _, parcel in crowd.sent] == [asks]


@pytest.mark.parametrize("got", [0, 99])
def test_who_asks_again_gets_the_window_once(got: int) -> None:
    """A participant who asks for what was lost gets at most the window again; who claims to have got what was never
    sent gets nothing more."""
    crowd = Crowd(1)
    crowd.say(40)
    crowd.sent.clear()
    crowd.give(Received(Relayed("S", "2", "data", json.dumps({"got": got, "again": True}))))
    assert [parcel["n"] for _, parcel in crowd.sent] == ([] if got else list(range(1, WINDOW + 1)))
