"""Races of connections that break, of devices that vanish, of media that flaps, and of tokens that are not good."""

from __future__ import annotations

import itertools
from typing import Any

from statecore.endpoint import Do, Media
from statecore.flow import Timers
from statecore.model import Reason
from statecore.testing.oracle import assert_over, assert_settled
from statecore.testing.world import Plan, World

from ._parts import (
    LIVE,
    ROUGH,
    RUNG,
    TWO,
    Budget,
    Race,
    Sweep,
    active,
    all_of,
    calls,
    connected,
    does,
    enters,
    joins,
    only,
    opens_nothing,
    outcome,
    races,
    reason,
    told,
    world,
)

CUTS: list[Budget] = [{"cuts": 1}, {"cuts": 2}, {"cuts": 1, "duplicates": 1}]


def _cut_off(made: World, device: str) -> World:
    """A device without a link, which the service knows."""
    made.cut(device)
    made.act(("notice", 0))
    made.trail = ()
    return made


def _ends_offline(**budget: int) -> World:
    made = _cut_off(active(does("a1", "end", "active")), "a1")
    made.act(("plan", 4))
    assert made.state("a1", "S") == "ended", "not over here at once"
    made.budget.update(budget)
    return made


def _ended_meanwhile(**budget: int) -> World:
    made = _cut_off(active(does("b1", "end", "active")), "a1")
    made.act(("plan", 4))
    made.budget.update(budget)
    return made


def _answered_offline(trigger: str, **budget: int) -> World:
    made = _cut_off(world(TWO, calls(), does("b1", trigger, *RUNG), start=1), "a1")
    made.budget.update(budget)
    return made


def _given_up(trigger: str, **budget: int) -> World:
    made = _cut_off(world(TWO, calls(), does("a1", trigger, *RUNG), start=1), "b1")
    made.budget.update(budget)
    return made


def _never_active_again(made: World) -> None:
    """Who was cut off while the other hung up is told the end, and nothing else."""
    only("hangup")(made)
    assert made.watch.told.get(("a1", "session_joined"), 0) == 1
    assert made.watch.told.get(("a1", "call_ended_message_received"), 0) == 1


def _active_once(made: World) -> None:
    for device in TWO:
        assert made.watch.told.get((device, "session_joined"), 0) <= 1
    assert made.state("a1", "S") == made.state("b1", "S") == "active"


TOKENS: dict[str, Any] = {
    "another session": {"session": "T"},
    "another user": {"user": "carol"},
    "not valid yet": {"not_before": 4_000_000_000},
    "expired": {"expires": 1},
    "bound to another device": {"device": "x9"},
}


def _token(made: World, how: str) -> str:
    more = dict(TOKENS[how])
    return made.token(more.pop("user", "bob"), more.pop("session", "S"), **more)


def _refused_token(how: str, **budget: int) -> World:
    made = world(TWO, calls(), does("b1", "accept"), start=2)
    bad = does("b1", "join", "accepted", token=_token(made, how) if how in TOKENS else how)
    made.plans = (*made.plans, bad)
    made.budget.update(budget)
    made.trail = ()
    return made


GUESTS = {"a1": "alice", "g1": "guest", "g2": "guest"}


def _guests(*plans: Plan, **more: Any) -> World:
    """Two devices to which somebody without a login has brought one token."""
    return world(GUESTS, *plans, guests={"g1": "S", "g2": "S"}, **more)


def _one_is_in(made: World) -> None:
    assert sorted(made.watch.outcomes.values()) == ["ok", "token_foreign"]
    lonely = next(device for device in ("g1", "g2") if not made.state(device, "S"))
    opens_nothing(lonely)(made)
    assert [leg.device for leg in made.record("S").legs] == [{"g1": "g2", "g2": "g1"}[lonely]]


def _only_where_it_was(made: World) -> None:
    assert (made.watch.outcomes[3], made.watch.outcomes[4]) == ("token_foreign", "ok")
    opens_nothing("g2")(made)
    assert {leg.device for leg in made.record("S").legs} == {"g1"}


def _refused(made: World) -> None:
    assert made.watch.outcomes[3].startswith("token_"), made.watch.outcomes[3]
    opens_nothing("b1")(made)
    assert made.state("b1", "S") == "accepted"


def _as_viewer(**budget: int) -> World:
    made = world(TWO, enters("a1"), start=1)
    viewer = made.token("bob", "S", grants=frozenset())
    more = [Plan("b1", Do("S", "join", flow="session", token=viewer))]
    more += [does("b1", trigger, "active") for trigger in ("start_screen_share", "end_for_all")]
    made.plans = (*made.plans, *more)
    made.budget.update(budget)
    made.trail = ()
    return made


def _may_nothing(made: World) -> None:
    for place in (2, 3):
        assert made.watch.outcomes.get(place + 1, "") != "ok"
    assert reason(made) == ""
    leg = made.its_leg("b1", "S")
    assert leg is not None
    assert "screen_shared" not in leg.control.flags


# --- time that passes, and media that flaps


def _flaps() -> int:
    """Media between two is lost for a while, on one side or both, in either order, and comes back or does not."""
    count = 0
    for milliseconds in (1, 500, 1999, 2000, 2001, 10_000, 29_999, 30_000, 30_001, 60_000):
        for lost, back in itertools.product((("a1",), ("b1",), ("a1", "b1"), ("b1", "a1")), repeat=2):
            _flap(milliseconds, lost, back)
            count += 1
    return count


def _flap(milliseconds: int, lost: tuple[str, ...], back: tuple[str, ...]) -> None:
    made = active()
    pids = {device: made.its_leg(device, "S") for device in TWO}

    def report(what: Any, devices: tuple[str, ...]) -> None:
        for device in devices:
            other = pids["b1" if device == "a1" else "a1"]
            assert other is not None
            made.give(device, Media("S", what, other.pid))

    report("peer_lost", lost)
    made.pass_time(milliseconds / 1000)
    report("peer_connected", (*back, *(device for device in lost if device not in back)))
    made.settle()
    for device in TWO:
        notices = made.watch.told.get((device, "remote_connection_lost"), 0)
        assert notices == (device in lost and milliseconds >= 2000), f"{device} after {milliseconds}: {notices}"
        restored = made.watch.told.get((device, "remote_connection_restored"), 0)
        assert restored == (notices if milliseconds < 30_000 else 0)
    # Lost for good is another reason than never connected, and both sides hear of it.
    assert made.record("S").reason == ("" if milliseconds < 30_000 else Reason.LOST)
    assert_settled(made)
    assert_over(made.end_all().pass_time(100))


def _killed() -> int:
    """A device vanishes without a word at any point of a call: the lease ends its leg, and its line is free."""
    count = 0
    for gone, other in (("a1", "b1"), ("b1", "a1")):
        for far, crash in itertools.product(range(6), (False, True)):
            count += _vanish(gone, other, far, crash=crash)
    return count


def _vanish(gone: str, other: str, far: int, *, crash: bool) -> int:
    begun = (calls(), does("b1", "accept"), joins("a1"), joins("b1"), does("b1", "mute_audio"))
    made = world(TWO, *begun, timers=Timers(ring=3600, connect=3600))
    for place in range(far):
        made.act(("plan", place))
        made.settle(media=True)
    if crash:
        made.budget["crashes"] = 1
        made.act(("crash", gone))
    else:
        made.cut(gone)
    before = made.now
    while not all(record.end.at for record in made.records()) and made.now - before < 200_000:
        _deliver(made, gone)
        made.fire(made.timers()[0])
    _deliver(made, gone)
    for record in made.records():
        accepted = far >= 2
        if accepted or gone == "a1":
            assert record.end.at, f"{record.session_id} lives on"
            assert record.end.at - before <= 51_000, "later than its lease"
            assert record.reason in (Reason.LOST, Reason.CANCELLED)
            assert not made.store["line", "bob"].holds
            assert not made.store["line", "alice"].holds
            assert made.state(other, "S") == ""
    return 1


def _deliver(made: World, gone: str) -> None:
    """Everything is delivered but to and from who is gone."""
    while made.notices:
        made.act(("notice", 0))
    for device in made.places:
        while device != gone and (made.places[device].down or made.places[device].up):
            made.act(("down" if made.places[device].down else "up", device))


RACES: list[Race | Sweep] = [
    *races(
        {
            "the caller's socket drops while it rings; the other accepts": (
                "on return each change is seen once", lambda **b: _answered_offline("accept", **b),
                [{}, {"cuts": 1}, {"duplicates": 1}], all_of(only(""), told("a1", "outgoing_call_accepted", 1)),
            ),
            "the caller's socket drops while it rings; the other rejects": (
                "on return each change is seen once", lambda **b: _answered_offline("reject", **b),
                [{}, {"cuts": 1}, {"duplicates": 1}],
                all_of(only("rejected"), told("a1", "outgoing_call_rejected", 1)),
            ),
            "the caller's socket drops while it rings; the other hangs up": (
                "on return each change is seen once", lambda **b: _answered_offline("end", **b),
                [{}, {"cuts": 1}, {"duplicates": 1}],
                all_of(only("rejected"), told("a1", "outgoing_call_rejected", 1)),
            ),
            **{
                f"the callee's socket drops while it rings; the caller {how}": (
                    "on return it rings no more, and that is said once",
                    lambda trigger=trigger, **b: _given_up(trigger, **b),
                    [{}, {"cuts": 1}, {"duplicates": 1}],
                    all_of(only("cancelled"), told("b1", "incoming_call_cancelled", 1)),
                )
                for how, trigger in (("cancels", "cancel"), ("hangs up", "end"))
            },
            "hanging up while offline": (
                "over here at once, told when it can be", _ends_offline, [{}, {"cuts": 2}, {"duplicates": 1}],
                all_of(only("hangup"), told("a1", "call_ended_message_received", 1)),
            ),
            "the other hangs up while this side is cut off": (
                "the reconnect yields ended, never active", _ended_meanwhile, [{}, {"cuts": 2}, {"duplicates": 1}],
                _never_active_again,
            ),
            "a new connection replaces the old one, whose close comes late": (
                "the call lives on", lambda **b: active(does("b1", "mute_audio", "active"), **b), CUTS, only(""),
            ),
            "media connects before the accept is known, or after": (
                "active exactly once",
                lambda **b: world(TWO, calls(), does("b1", "accept", *RUNG), joins("a1"), joins("b1"), start=1, **b),
                [*ROUGH, {"cuts": 1, "duplicates": 1}], _active_once,
            ),
            **{
                f"a token that is {how if how in TOKENS else 'malformed'}".replace("is another", "is for another"): (
                    "refused before anything changes", lambda how=how, **b: _refused_token(how, **b),
                    [{}, {"cuts": 1}, {"duplicates": 1}], connected(_refused),
                )
                for how in (*TOKENS, "no token at all")
            },
            "a token for another role": (
                "in, with what that role may do, and nothing more", _as_viewer, [{}, {"cuts": 1}, {"duplicates": 1}],
                connected(_may_nothing),
            ),
            "the right token after a wrong one": (
                "in", lambda **b: world(
                    TWO, calls(), does("b1", "accept"),
                    does("b1", "join", "accepted", token="x"),  # noqa: S106 - what is no token
                    does("b1", "join", "accepted", after=(2,), token="given"),  # noqa: S106 - a kind of token
                    joins("a1"), start=2, **b),
                [{}, {"duplicates": 1}],
                all_of(only(""), outcome(3, "token_malformed"), outcome(4, "ok", "already_joined")),
            ),
            "a guest's token on two devices at once": (
                "one is in, the other is told whose it is", lambda **b: _guests(enters("g1"), enters("g2"), **b),
                [{}, {"duplicates": 1}, {"duplicates": 2}], _one_is_in,
            ),
            "a guest's token is used again, by its device and by another": (
                "good on the first one only",
                lambda **b: _guests(
                    enters("g1"), does("g1", "leave", *LIVE, after=(0,)), enters("g2", after=(0,)),
                    enters("g1", after=(1,)), start=1, **b),
                [{}, {"duplicates": 1}, {"duplicates": 2}], _only_where_it_was,
            ),
            "a link that breaks again and again while somebody ends": (
                "settles", lambda **b: active(does("a1", "end", *LIVE), **b), [{"cuts": 3}], only("hangup"),
            ),
        }
    ),
    Sweep("media flaps", "not told under 2 s, told and restored up to 30, lost for good after", _flaps),
    Sweep("a device is killed, or its link is, at any point", "its lease ends its leg, and its line is free", _killed),
]  # fmt: skip
