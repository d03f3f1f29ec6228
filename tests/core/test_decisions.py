"""What every decision keeps to: which records it asks for, what the views say that it sends, and to whom."""

from __future__ import annotations

import random
from typing import Any

import pytest
from msgspec.structs import replace

from statecore.endpoint import Do
from statecore.flow import RINGING
from statecore.model import Leg, Record
from statecore.ports import Key
from statecore.settings import ServiceSettings
from statecore.switchboard import Act, Connect, Deliver, Done, Due, Input, Need
from statecore.testing.world import World
from statecore.wire import Peer, Refused, View

DEVICES = {"a1": "alice", "b1": "bob", "b2": "bob", "c1": "carol"}
INSIDE = ("accepted", "active")
"""The states in which one is a participant."""
TRIGGERS = sorted({trigger.name for trigger in RINGING.triggers if trigger.by == "user"} - {"initiate", "join"})


# --- what a device is to see, said once more, as plainly as can be ----------------------------------------------------


def seen(record: Record, me: Leg, now: int) -> View:
    """The view of a leg."""
    inside = me.control.state in INSIDE
    others = [leg for leg in record.legs if leg.control.state in INSIDE and leg.pid != me.pid]
    peers = [
        Peer(
            leg.pid,
            leg.user,
            leg.device,
            leg.name,
            leg.avatar,
            leg.control.role,
            leg.joined,
            leg.joined_at,
            leg.control.flags - {"connected"},
        )
        for leg in others
    ]
    gone = {
        leg.pid: leg.control.reason
        for leg in record.legs
        if leg.control.state == "ended" and leg.joined and leg.control.reason != "hangup"
    }
    holds = [offer for offer in record.offers if offer.holder == me.pid]
    return View(
        session=record.session_id,
        seq=me.seq,
        pid=me.pid,
        state=me.control.state,
        initiator=record.initiator,
        flow=record.flow,
        role=me.control.role,
        type=record.type,
        receiver=record.receiver,
        heard=me.heard if not me.refused else me.heard - 1,
        reason=me.control.reason or None,  # type: ignore[arg-type]
        by=me.end.by,
        by_device=me.end.device,
        via=me.via,
        joined=me.joined,
        joined_at=me.joined_at,
        flags=me.control.flags,
        grants=me.grants,
        peers=tuple(peers) if inside else (),
        offers={next(pid for pid in offer.pair if pid != me.pid): offer.turn for offer in holds},
        left=me.deadline - now if me.deadline > now else 0,
        age=now - record.initiated_at if now > record.initiated_at else 0,
        at=(record.initiated_at, record.ringing_at, record.answered_at, record.active_at, record.end.at),
        metadata=record.metadata,
        gone=(gone or None) if inside else None,  # type: ignore[arg-type]
    )


def told(before: Record | None, after: Record) -> set[str]:
    """Whoever is to hear of what became of a call: whose own part of it changed, and of those who have joined all for
    whom anything did but the time."""
    if after.merged_into:
        return set()
    found = set()
    for leg in after.legs:
        old = next((old for old in before.legs if old.pid == leg.pid), None) if before is not None else None
        if old is None or before is None or replace(old, seq=0) != replace(leg, seq=0):
            found.add(leg.pid)
        elif leg.control.state in INSIDE and leg.joined:
            one, other = (replace(seen(record, leg, 0), seq=0, gone=None) for record in (before, after))
            found |= {leg.pid} if one != other else set()
    return found


class Plain(World):
    """A world in which each decision is made of nothing but what it asks for, and held against what is said above."""

    decided = 0

    def decide(self, given: Input) -> Done:
        """Decide, and look at all that comes of it."""
        view: dict[Key, Any] = {}
        while isinstance(decision := self.board.step(view, given, self.now), Need):
            for kind, name in decision.keys:
                assert kind in ("call", "line", "bound")
                assert name
                assert isinstance(name, str)
                assert (kind, name) not in view
                view[kind, name] = self.store[kind, name]
        assert decision == self.board.step(self.store, given, self.now)
        assert set(decision.writes) <= set(decision.reads) <= set(view)
        for key, value in decision.writes.items():
            if isinstance(given, Act | Due):  # what a device says of itself may say nothing new
                assert value != self.store[key]
            if isinstance(value, Record):
                self._told(self.store[key], value, given, decision)
        views = [effect for effect in decision.effects if isinstance(effect.message, View)]
        for effect in views:
            self._viewed(effect, decision)
        Plain.decided += 1
        return super().decide(given)

    def _told(self, before: Record | None, after: Record, given: Input, decision: Done) -> None:
        views = [effect.message for effect in decision.effects if isinstance(effect.message, View)]
        pids = [view.pid for view in views if view.session == after.session_id]
        refused = any(isinstance(effect.message, Refused) for effect in decision.effects)
        new = set() if refused else told(before, after)  # of a refusal there is a note, for whoever asks again
        assert len(pids) == len(set(pids))
        if isinstance(given, Connect):  # it may lack more
            new |= {leg.pid for leg in after.legs if leg.device == given.hello.device and leg.pid in pids}
        assert set(pids) == new
        numbers = {(leg.device, leg.epoch): leg.seq for leg in before.legs} if before is not None else {}
        for leg in after.legs:
            known = numbers.get((leg.device, leg.epoch), 0)
            assert leg.seq == known + 1 if leg.pid in told(before, after) and not refused else leg.seq <= known

    def _viewed(self, effect: Deliver, decision: Done) -> None:
        assert isinstance(effect.message, View)
        key = ("call", effect.message.session)
        record = decision.writes.get(key) or self.store[key]
        (leg,) = [leg for leg in record.legs if leg.pid == effect.message.pid]
        assert (effect.user, effect.device, effect.epoch) == (leg.user, leg.device, leg.epoch)
        assert effect.message == seen(record, leg, self.now)
        if effect.wants_token:
            assert (leg.control.state, leg.joined) == ("accepted", 0)


def wish(chance: random.Random, world: World, device: str) -> Do:
    """Something that a user may want, sensible or not."""
    session = chance.choice(("S", "T", "M"))
    kind = chance.random()
    data = {"user": chance.choice(("alice", "bob", 17))} if chance.random() < 0.1 else None
    if kind < 0.3:
        more: dict[str, Any] = {"type": chance.choice(("audio", "video")), "data": data}
        who = chance.choice(("alice", "bob", "carol", "dora"))
        return Do(session, "initiate", flow="ringing", receiver=who, timeout=chance.choice((0, 5000)), **more)
    if kind < 0.6:
        flags = frozenset(chance.sample(("camera", "audio_muted", "presenting"), chance.randrange(3)))
        user = world.places[device].endpoint.user
        grants = frozenset(chance.sample(("audio", "video", "screen", "end_for_all"), chance.randrange(5)))
        token = world.token(user, chance.choice((session, session, session, "T")), grants=grants)
        return Do(session, "join", flow=chance.choice(("", "session")), token=token, flags=flags)
    return Do(session, chance.choice((*TRIGGERS, "accept", "accept", "accept")), data=data)


@pytest.mark.parametrize("seed", range(8))
def test_each_decision_rests_on_what_it_asks_for_and_tells_whom_it_concerns(seed: int) -> None:
    """On random ways through calls and sessions: it asks for records by their names, once each, and decides the same as
    with all; it writes what changes, each view is what the record says, numbered by one more, and none is left out."""
    Plain.decided = 0
    chance = random.Random(seed)  # noqa: S311 - the same ways in every run
    settings = ServiceSettings(session_capacity=chance.choice((2, 50)), line_capacity=chance.choice((1, 2)))
    world = Plain(DEVICES, settings=settings, cuts=2, duplicates=3, ticks=4, crashes=1, restarts=1).settle()
    for _ in range(120):
        actions = world.enabled()
        if not actions or chance.random() < 0.2:
            device = chance.choice(list(DEVICES))
            world.user(device, wish(chance, world, device))
        else:
            world.act(chance.choice(actions))
    assert Plain.decided > 20
