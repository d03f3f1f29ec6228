"""Decisions that are remembered by their shape are the decisions that the table's interpreter makes."""

from __future__ import annotations

import random
from typing import Any

import pytest

from statecore.endpoint import Do
from statecore.flow import FLOWS, RINGING, Fire, Invite, Mark, Row, Trigger, Withdraw
from statecore.settings import ServiceSettings
from statecore.switchboard import Done, Input, Register, Switchboard
from statecore.testing.world import World

DEVICES = {"a1": "alice", "b1": "bob", "b2": "bob", "c1": "carol"}
TRIGGERS = sorted({trigger.name for trigger in RINGING.triggers if trigger.by == "user"} - {"initiate", "join"})


class Twice(World):
    """A world in which every decision is made twice: remembered, and anew."""

    compared = 0

    def decide(self, given: Input) -> Done:
        """Decide, and hold what was decided against the decision of a switchboard that remembers nothing."""
        flows = {name: machine.flow for name, machine in self.board._machines.items()}
        anew = Switchboard(flows=flows, timers=self.board.timers, settings=self.board.settings, remember=0)
        plain = anew.step(self.store, given, self.now)
        for _ in range(2):  # a shape is learned when it comes again
            self.board.step(self.store, given, self.now)
        remembered = self.board.step(self.store, given, self.now)
        assert isinstance(plain, Done)
        assert isinstance(remembered, Done)
        assert remembered.writes == plain.writes
        assert remembered.effects == plain.effects
        assert set(remembered.reads) == set(plain.reads)
        type(self).compared += 1
        return super().decide(given)


def wish(chance: random.Random) -> Do:
    """Something that a user may want, sensible or not."""
    session = chance.choice(("S", "T", "M"))
    kind = chance.random()
    if kind < 0.3:
        more: dict[str, Any] = {"type": chance.choice(("audio", "video"))}
        return Do(session, "initiate", flow="ringing", receiver=chance.choice(("alice", "bob", "carol")), **more)
    if kind < 0.6:
        flags = frozenset(chance.sample(("camera", "audio_muted", "presenting"), chance.randrange(3)))
        return Do(session, "join", flow=chance.choice(("", "session")), token="fresh", flags=flags)
    return Do(session, chance.choice((*TRIGGERS, "accept", "accept", "accept")))


@pytest.mark.parametrize("seed", range(40))
def test_what_is_remembered_is_what_would_be_decided_anew(seed: int) -> None:
    """On random ways through calls and sessions, each decision has the writes, reads and effects of a fresh one."""
    Twice.compared = 0
    chance = random.Random(seed)  # noqa: S311 - the same ways in every run
    settings = ServiceSettings(session_capacity=chance.choice((2, 50)), line_capacity=chance.choice((1, 2)))
    world = Twice(DEVICES, settings=settings, cuts=2, duplicates=3, ticks=2, crashes=1, restarts=1).settle()
    for _ in range(150):
        actions = world.enabled()
        if not actions or chance.random() < 0.2:
            world.user(chance.choice(list(DEVICES)), wish(chance))
        else:
            world.act(chance.choice(actions))
    assert Twice.compared > 20


def test_a_switchboard_that_may_remember_little_forgets_and_decides_the_same() -> None:
    """With room for a single shape, a call goes its way as it does with room for all."""
    worlds = []
    for remember in (0, 1, 1000):
        world = World({"a1": "alice", "b1": "bob"})
        world._setup.board = Switchboard(timers=world.board.timers, remember=remember)
        world.settle()
        world.say("a1", "initiate", flow="ringing", receiver="bob")
        world.say("b1", "accept")
        world.say("a1", "join", token="given")
        world.say("b1", "join", token="given")
        world.settle(media=True)
        assert world.say("a1", "end") == "ok"
        worlds.append(world.record("S"))
    assert worlds[0].reason == "hangup"
    assert worlds[0] == worlds[1] == worlds[2]


POKE = RINGING.extend(
    "poke",
    triggers=[Trigger("poke", "user"), Trigger("poked", "leg")],
    flags=["bright"],
    rows=[
        Row("active", "poke", "active", [Fire("poked", "others")]),
        Row("active", "poked", "active", [Mark("bright")], when="known"),
    ],
)


def test_what_is_fired_may_ask_for_more_than_a_shape_shows() -> None:
    """Where a fired trigger's row rests on a line, every decision is the interpreter's own, and none is remembered."""
    Twice.compared = 0
    world = Twice({"a1": "alice", "b1": "bob"}, flows={**FLOWS, "poke": POKE}).settle()
    world.say("a1", "initiate", flow="poke", receiver="bob")
    world.say("b1", "accept")
    for device in ("a1", "b1"):
        world.say(device, "join", token="given")
    world.settle(media=True)
    compared = Twice.compared
    for _ in range(3):
        assert world.say("a1", "poke") == "ok"
    assert Twice.compared == compared + 3
    leg = world.its_leg("b1", "S")
    assert leg is not None
    assert "bright" in leg.control.flags


ADD = RINGING.extend(
    "add",
    triggers=[Trigger("add", "user"), Trigger("stop", "user")],
    rows=[
        Row("active", "add", "active", [Invite()], when="known"),
        Row("active", "stop", "active", [Withdraw(), Fire("cancelled", "others")]),
    ],
)


def test_a_call_into_which_others_were_rung_is_remembered_as_it_is() -> None:
    """With several invitations, open or settled, and several devices that ring: as the table says, the second time and
    every other."""
    devices = {"a1": "alice", "b1": "bob", "c1": "carol", "c2": "carol"}
    world = Twice(devices, flows={**FLOWS, "add": ADD}).settle()
    world.decide(Register("dora"))
    world.said(("a1", "initiate"), flow="add", receiver="bob")
    world.said(("b1", "accept")).said(("a1", "join"), ("b1", "join"), token="given")
    states = []
    for users, answer in ((("dora",), "stop"), (("carol", "dora"), "accept"), (("dora",), "stop")):
        for user in users:
            assert world.say("a1", "add", data={"user": user}) == "ok"
            for trigger in ("raise_hand", "lower_hand"):
                assert world.say("b1", trigger) == "ok"
        world.said(("a1" if answer == "stop" else "c2", answer))
        states.append([(each.user, each.state) for each in world.record("S").invitations])
    assert states == [
        [("bob", "joined"), ("dora", "unanswered")],
        [("bob", "joined"), ("carol", "joined"), ("dora", "ringing")],
        [("bob", "joined"), ("carol", "joined"), ("dora", "unanswered")],
    ]
    world.said(("c2", "join"), token="given")
    assert world.say("b1", "end") == "ok"
    assert [(each.user, each.state) for each in world.record("S").invitations] == [
        ("bob", "left"),
        ("carol", "left"),
        ("dora", "unanswered"),
    ]
