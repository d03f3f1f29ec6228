"""Data messages between participants: numbered, contiguous, bounded, once."""

from __future__ import annotations

import json
from typing import Any

from msgspec.structs import replace

from statecore.endpoint import Do, Emit, Received, Say
from statecore.endpoint._data import KEPT, LONGEST
from statecore.testing.world import World
from statecore.wire import Relayed


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
