"""That decisions are remembered at all, up to what size of a call, and that what would lead astray is not."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from statecore.endpoint import Do
from statecore.flow import FLOWS, RINGING, Mark, Row, Trigger
from statecore.switchboard import Act, Done, Input, Switchboard
from statecore.switchboard._work import Work
from statecore.testing.world import World
from statecore.wire import Ask, Command

WHO = {"a1": "alice", "b1": "bob", "b2": "bob"}


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many rows the table's interpreter takes, by trigger."""
    count: Counter[str] = Counter()
    apply = Work.apply

    def counted(self: Work, draft: Any, place: int, trigger: str, act: Act | None = None) -> None:
        count[trigger] += 1
        apply(self, draft, place, trigger, act)

    monkeypatch.setattr(Work, "apply", counted)
    return count


def talk(world: World, session: str, end: str = "end") -> None:
    """A call from its ring to its end."""
    world.say("a1", "initiate", session, flow="ringing", receiver="bob")
    world.say("b1", "accept", session)
    for device in ("a1", "b1"):
        world.say(device, "join", session, token="given")
    world.settle(media=True)
    assert world.state("b1", session) == "active"
    for trigger in ("mute_audio", "raise_hand", end):
        assert world.say("a1", trigger, session) == "ok"


def board(world: World, remember: int) -> World:
    """The world with a switchboard that remembers so much."""
    world._setup.board = Switchboard(timers=world.board.timers, settings=world.board.settings, remember=remember)
    return world


def test_from_the_third_time_on_a_call_is_filled_in(taken: Counter[str]) -> None:
    """Nothing of it is worked out by the table again; and every time if nothing is to be remembered."""
    world = World(WHO).settle()
    for session in "ST":
        talk(world, session)
    assert {trigger for trigger, count in taken.items() if count} >= {"initiate", "accept", "join", "up", "end"}
    taken.clear()
    talk(world, "U")
    assert not taken
    plain = board(World(WHO), 0).settle()
    counts = []
    for session in "STU":
        taken.clear()
        talk(plain, session)
        counts.append(dict(taken))
    assert counts[0] == counts[1] == counts[2]
    assert counts[0]["initiate"] == 1


def test_what_little_may_be_remembered_is_the_latest(taken: Counter[str]) -> None:
    """With room for two shapes two that take turns stay; a third makes room for itself."""
    world = board(World(WHO), 2).settle()
    talk(world, "S")
    world.say("a1", "initiate", "T", flow="ringing", receiver="bob")
    for trigger in ("accept", "join"):
        world.say("b1", trigger, "T", token="given")
    world.say("a1", "join", "T", token="given")
    world.settle(media=True)
    world.say("a1", "mute_audio", "T")
    for _ in range(2):
        for trigger in ("unmute_audio", "mute_audio"):
            world.say("a1", trigger, "T")
    taken.clear()
    for trigger in ("unmute_audio", "mute_audio"):
        world.say("a1", trigger, "T")
    assert not taken
    for _ in range(2):
        world.say("b1", "raise_hand", "T")
    for trigger in ("mute_audio",):
        world.say("a1", trigger, "T")
    assert taken["mute_audio"] == 1


@pytest.mark.parametrize(("legs", "filled"), [(8, True), (9, False)])
def test_a_call_of_many_legs_is_not_remembered(taken: Counter[str], legs: int, filled: bool) -> None:
    """Eight legs are remembered; nine come in too many shapes."""
    world = World({f"{name}1": name * 3 for name in "abcdefghi"[:legs]}).settle()
    for device in world.places:
        world.said((device, "join"), flow="session", token="fresh")
    for _ in range(3):
        world.say("a1", "raise_hand")
    taken.clear()
    world.say("a1", "raise_hand")
    assert (not taken) is filled


def test_what_holds_together_is_remembered_together(taken: Counter[str]) -> None:
    """Of two conditions of one's own, and of neither alone: also once the decision is filled in."""
    rows = [
        Row("active", "greet", "active", (Mark("both"),), when=("early", "kind")),
        Row("active", "greet", "active", (Mark("one"),), when="early", unless="kind"),
        Row("active", "greet", "active", (Mark("other"),), when="kind", unless="early"),
    ]
    greeting, flags = Trigger("greet", "user"), ("both", "one", "other")
    flow = RINGING.extend("greeting", rows=rows, triggers=(greeting,), flags=flags, conditions=("early", "kind"))
    world = World(WHO, flows={**FLOWS, flow.name: flow}, given=("early", "kind")).settle()
    for session in "STU":
        world.say("a1", "initiate", session, flow="greeting", receiver="bob")
        world.say("b1", "accept", session)
        for device in ("a1", "b1"):
            world.say(device, "join", session, token="given")
        world.settle(media=True)
        taken.clear()
        assert world.say("a1", "greet", session) == "ok"
        assert {*flags} & world.record(session).legs[0].control.flags == {"both"}
        world.say("a1", "end", session)
    assert not taken["greet"]


def test_when_it_first_rang_is_not_forgotten(taken: Counter[str]) -> None:
    """A leg that rings on because of what is said there keeps the time: also once that is filled in."""
    rows = [Row("ringing", "snooze", "ringing", (Mark("snoozed"),), unless="caller")]
    flow = RINGING.extend("snoozing", rows=rows, triggers=(Trigger("snooze", "user"),), flags=("snoozed",))
    world = World(WHO, flows={**FLOWS, flow.name: flow}).settle()
    for session in "STU":
        world.say("a1", "initiate", session, flow="snoozing", receiver="bob")
        rang = world.record(session).ringing_at
        assert rang == world.now
        world.pass_time(1.0)
        taken.clear()
        assert world.say("b1", "snooze", session) == "ok"
        assert world.record(session).ringing_at == rang
        world.say("a1", "cancel", session)
    assert not taken["snooze"]


class Twice(World):
    """A world in which every decision is held against that of a switchboard that remembers nothing."""

    def decide(self, given: Input) -> Done:
        """Decide thrice, so that the shape is known, and compare."""
        plain = Switchboard(timers=self.board.timers, settings=self.board.settings, remember=0)
        for _ in range(3):
            remembered = self.board.step(self.store, given, self.now)
        expected = plain.step(self.store, given, self.now)
        assert isinstance(remembered, Done)
        assert isinstance(expected, Done)
        assert (remembered.writes, remembered.effects) == (expected.writes, expected.effects)
        assert set(remembered.reads) == set(expected.reads)
        return super().decide(given)


def test_a_token_that_is_not_good_is_not_taken_for_one_that_is() -> None:
    """However often a good one made a session, or joined a call: foreign, out of date, or without the grant."""
    world = Twice(WHO).settle()
    world.said(("a1", "join"), session="M", flow="session", token="fresh")
    assert world.state("a1", "M") == "active"
    for bad in (world.token("alice", "X"), world.token("bob", "N"), world.token("alice", "N", expires=0)):
        assert world.say("a1", "join", "N", flow="session", token=bad) in ("token_foreign", "token_expired")
        assert ("call", "N") not in world.store
    assert world.say("a1", "leave", "M") == "ok"
    talk(world, "S")
    world.say("a1", "initiate", "T", flow="ringing", receiver="bob")
    world.say("b1", "accept", "T")
    assert world.say("a1", "join", "T", token=world.token("alice", "T", expires=0)) == "token_expired"
    assert world.say("a1", "join", "T", token=world.token("alice", "T", grants=frozenset({"audio"}))) == ""
    assert world.say("b1", "join", "T", token="given") == ""
    world.settle(media=True)
    for trigger in ("start_screen_share", "resume_video"):
        assert world.say("b1", trigger, "T") == "ok"
        assert world.say("a1", trigger, "T") == "token_lacks_grant"
    assert world.say("a1", "unmute_audio", "T") == "ok"


def test_whose_turn_it_is_to_offer_is_not_forgotten() -> None:
    """A call is filled in as it was before somebody offered, and not while somebody does: the view names the turn."""
    world = Twice(WHO).settle()
    world.said(("a1", "initiate"), flow="ringing", receiver="bob")
    world.said(("b1", "accept")).said(("a1", "join"), ("b1", "join"), token="given")
    for trigger in ("raise_hand", "lower_hand", "raise_hand"):
        assert world.say("a1", trigger) == "ok"
    world.signal("a1", "S", Ask("S", "2"))
    world.settle()
    assert world.say("a1", "lower_hand") == "ok"
    leg = world.leg("a1", "S")
    assert leg is not None
    assert leg.offers == {"2": 1}


def test_data_of_an_initiate_leads_nobody_astray() -> None:
    """Whoever it names, a new call rings its receiver, and nobody rings himself; the first time and every other."""
    world = Twice(WHO).settle()
    for name in ("alice", "nobody", 17):
        assert world.say("a1", "initiate", f"S{name}", flow="ringing", receiver="bob", data={"user": name}) == "ok"
        assert world.say("a1", "cancel", f"S{name}") == "ok"
    for name in ("bob", "nobody"):
        code = world.say("a1", "initiate", f"T{name}", flow="ringing", receiver="alice", data={"user": name})
        assert code == "calling_self"


def test_each_way_to_decline_is_remembered_as_it_is() -> None:
    """By either side, on a device with a sibling, with a call of a name that merges: as by the table."""
    world = Twice(WHO).settle()
    for number, (device, trigger) in enumerate((d, t) for d in WHO for t in ("reject", "reject_busy", "cancel", "end")):
        session = f"S{number}"
        assert world.say("a1", "initiate", session, flow="ringing", receiver="bob") == "ok"
        world.say(device, trigger, session)
        world.say("a1", "end", session)
        assert world.record(session).end.at
    world.user("a1", Do("A", "initiate", flow="ringing", receiver="bob"))
    world.user("b1", Do("B", "initiate", flow="ringing", receiver="alice"))
    world.settle()
    assert "" in {world.record("A").merged_into, world.record("B").merged_into}
    assert {world.record("A").merged_into, world.record("B").merged_into} != {""}


def test_what_is_filled_in_reads_what_the_table_reads() -> None:
    """A decision that was filled in rests on the same records, under the same keys."""
    world = Twice(WHO).settle()
    talk(world, "S")
    decision = world.decide(Act("alice", "a1", "a1-1", Command("T", 900, "initiate", flow="ringing", receiver="bob")))
    assert set(decision.reads) == {("call", "T"), ("line", "alice"), ("line", "bob")}
    assert set(decision.writes) == set(decision.reads)
