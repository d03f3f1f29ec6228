"""Races of setting up, of calling each other, of what is old or foreign: each in every order of its messages."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import pytest

from statecore.endpoint import Do
from statecore.model import Reason
from statecore.settings import ServiceSettings
from statecore.testing.explore import Found, explore
from statecore.testing.world import Plan, World

SOAK = bool(os.environ.get("STATECORE_SOAK"))
LIMIT = 200_000 if SOAK else 2_500
SEED = int(os.environ.get("STATECORE_SEED", "7"))
TWO = {"a1": "alice", "b1": "bob"}
THREE = {"a1": "alice", "b1": "bob", "b2": "bob"}
RUNG = ("ringing",)
LIVE = ("idle", "ringing", "accepted", "active")


def calls(device: str = "a1", session: str = "S", receiver: str = "bob", **more: Any) -> Plan:
    """Somebody calls."""
    after = more.pop("after", ())
    return Plan(device, Do(session, "initiate", flow="ringing", receiver=receiver, **more), after=after)


def does(device: str, trigger: str, *when: str, session: str = "S", after: tuple[int, ...] = (), **more: Any) -> Plan:
    """Somebody does something, when his leg is in one of these states."""
    return Plan(device, Do(session, trigger, **more), when=when, after=after)


def joins(device: str, session: str = "S") -> Plan:
    """Somebody joins the session of an accepted call."""
    return Plan(device, Do(session, "join", token="given"), when=("accepted",))


def enters(device: str, session: str = "S", **more: Any) -> Plan:
    """Somebody joins a session by a token alone."""
    after = more.pop("after", ())
    return Plan(device, Do(session, "join", flow="session", token="fresh", **more), after=after)


def world(devices: dict[str, str], *plans: Plan, start: int = 0, **more: Any) -> World:
    """A world whose devices are connected, and whose first `start` plans are carried out with all that follows."""
    budget = {name: more.pop(name) for name in list(more) if name in _BUDGET}
    made = World(devices, plans=plans, **more).settle()
    for place in range(start):
        made.act(("plan", place))
        made.settle(media=True)
    made.budget.update(budget)
    made.trail = ()
    return made


_BUDGET = ("cuts", "duplicates", "ticks", "crashes", "restarts", "failures")


def reason(made: World, session: str = "S") -> str:
    """Why a call ended; "" while it lives."""
    return made.record(session).reason


# --- what must come of it, beside the oracle --------------------------------------------------------------------------


def only(*reasons: str, session: str = "S") -> Callable[[World], None]:
    """The call ended for one of these reasons ("" if it may live)."""

    def check(made: World) -> None:
        assert reason(made, session) in reasons

    return check


def all_of(*checks: Callable[[World], None]) -> Callable[[World], None]:
    """Several checks."""

    def check(made: World) -> None:
        for one in checks:
            one(made)

    return check


def connected(check: Callable[[World], None]) -> Callable[[World], None]:
    """A check that asks nothing where somebody tried to begin something without a link."""
    return lambda made: None if "not_connected" in made.watch.outcomes.values() else check(made)


def told(device: str, event: str, *times: int) -> Callable[[World], None]:
    """A device's listeners heard an event so often."""

    def check(made: World) -> None:
        assert made.watch.told.get((device, event), 0) in times

    return check


def outcome(ticket: int, *codes: str) -> Callable[[World], None]:
    """What became of a command: "ok" or an error's code."""

    def check(made: World) -> None:
        assert made.watch.outcomes.get(ticket, codes[0]) in codes

    return check


def on_wire_once(trigger: str, device: str) -> Callable[[World], None]:
    """A command was counted once: its leg took no second one."""

    def check(made: World) -> None:
        assert made.places[device].endpoint.n <= 2, trigger

    return check


def opens_nothing(device: str) -> Callable[[World], None]:
    """A device never opened media."""

    def check(made: World) -> None:
        assert all(track.opened == 0 for (where, _), track in made.watch.tracks.items() if where == device)

    return check


def one_call(made: World) -> None:
    """Both called: one call lives, accepted on both sides, with no second tap and no ring shown where none was due."""
    live = [record for record in made.records() if not record.ended_at]
    assert len(live) == 1, "not one call"
    session = live[0].session_id
    assert made.state("a1", session) == made.state("b1", session) == "accepted"
    assert sum(1 for record in made.records() if record.merged_into == session) <= 1


Entry = tuple[str, Callable[..., World], list[dict[str, int]], Callable[[World], None] | None]
CALM: list[dict[str, int]] = [{}]
ROUGH: list[dict[str, int]] = [{}, {"cuts": 1}, {"duplicates": 1}]
TIMED: list[dict[str, int]] = [*ROUGH, {"ticks": 1}]
WILD: list[dict[str, int]] = [*TIMED, {"crashes": 1}, {"restarts": 1}]


def active(*plans: Plan, devices: dict[str, str] = TWO, start: int = 0, **more: Any) -> World:
    """A call that is active, and what comes then."""
    begun = (calls(), does("b1", "accept"), joins("a1"), joins("b1"))
    return world(devices, *begun, *plans, start=4 + start, **more)


END = {"hangup"}
GONE = ("call_gone", "call_ended", "answered_elsewhere", "call_not_found")


def _answered_or_rejected(made: World) -> None:
    """What came first at the switchboard holds for both screens."""
    if made.watch.outcomes[2] == "ok":
        assert reason(made) == ""
    else:
        assert reason(made) == "rejected"


def _one_in(made: World) -> None:
    states = {device: made.its_leg(device, "S") for device in ("b1", "b2")}
    live = [device for device, leg in states.items() if leg is not None and not leg.ended_at]
    assert len(live) == 1
    other = states["b2" if live == ["b1"] else "b1"]
    assert other is None or other.control.reason in (Reason.ANSWERED_ELSEWHERE, "")


def both(*more: Plan, devices: dict[str, str] = TWO, a: str = "video", b: str = "video", **budget: Any) -> World:
    """Both call each other, and what else they do."""
    first = (calls("a1", "A", "bob", type=a), calls("b1", "B", "alice", type=b))
    return world(devices, *first, *more, **budget)


def _video_only_if_both(made: World) -> None:
    one_call(made)
    assert {record.type for record in made.records() if not record.ended_at} == {"audio"}


def _no_ring(made: World) -> None:
    """Whoever placed a call that was merged before he saw the other's ring was shown none."""
    one_call(made)
    merged = next((record for record in made.records() if record.merged_into), None)
    if merged is not None:
        device = merged.legs[0].device
        assert made.watch.told.get((device, "call_ended_message_received"), 0) == 0


def _all_over_or_ring(made: World) -> None:
    """B has ended his part: either the merged call is over, or his own never was and the other's rings him."""
    for record in made.records():
        if not record.ended_at:
            mine = [leg for leg in record.legs if leg.user == "bob" and not leg.ended_at]
            assert all(leg.control.state == "ringing" and not leg.via for leg in mine)


def _again(made: World) -> World:
    made.budget["crashes"] += 1
    made.act(("crash", "a1"))
    made.act(("mend", "a1"))
    made.settle()
    made.trail = ()
    return made


def _elsewhere(**budget: int) -> World:
    made = active(calls("a2", "N"), devices={**TWO, "a2": "alice"})
    made.cut("a1")
    made.act(("notice", 0))
    made.budget.update(budget)
    made.trail = ()
    return made


def _recalled(made: World) -> None:
    if made.watch.outcomes[5] == "already_in_call":
        assert reason(made) == ""
    else:
        all_of(only("lost"), only("", session="N"))(made)


def _rings_or_busy(made: World) -> None:
    record = made.store["call", "N"]
    if record is not None:
        assert record.reason in ("", "busy", "rejected", "cancelled", "lost")


def _busy_then_free(made: World) -> None:
    assert made.record("T").reason in ("busy", "")
    if ("call", "U") in made.store and made.record("T").reason == "busy":
        assert made.record("U").reason in ("", "busy", "lost")


def _flags(made: World) -> None:
    leg = made.its_leg("a1", "S")
    assert leg is not None
    assert {"hand_raised"} == leg.control.flags & {"hand_raised", "audio_muted"}


def _in_again(made: World) -> None:
    assert reason(made) == ""
    assert made.state("b1", "S") == "active"
    assert made.watch.outcomes[4] == "ok"
    assert made.state("a1", "S") == "active"


def _long_offline(**budget: int) -> World:
    made = world(TWO, calls())
    made.cut("b1")
    made.act(("notice", 0))
    made.act(("plan", 0))
    made.act(("up", "a1"))
    made.fire(("due", "call", "S"))
    made.budget.update(budget)
    made.trail = ()
    return made


def _wrong_clock(**budget: int) -> World:
    made = World(TWO, plans=[calls()])
    born = made.places["b1"]
    made.places["b1"] = type(born)(born.endpoint, born.born - 86_400_000)
    made.settle()
    made.budget.update(budget)
    made.trail = ()
    return made


def _batch(**budget: int) -> World:
    made = world(TWO, calls(), does("a1", "cancel"))
    made.cut("b1")
    for action in (("plan", 0), ("up", "a1"), ("plan", 1), ("up", "a1")):
        made.act(action)
    made.budget.update(budget)
    made.trail = ()
    return made


def _for_all(**budget: int) -> World:
    made = world(TWO, enters("a1"), start=1)
    token = made.token("bob", "S", grants=frozenset({"audio", "end_for_all"}))
    made.plans = (*made.plans, Plan("b1", Do("S", "join", flow="session", token=token)))
    made.act(("plan", 1))
    made.settle(media=True)
    more = (does("b1", "end_for_all", "active"), does("a1", "leave", *LIVE), enters("a1", after=(2, 3)))
    made.plans = (*made.plans, *more)
    made.budget.update(budget)
    made.trail = ()
    return made


SETTING_UP: dict[str, Entry] = {
    "the same offer arrives again after the accept": (
        "told once", lambda **b: world(TWO, calls(), does("b1", "accept", *RUNG), **b),
        [{"duplicates": 3}, {"cuts": 1, "duplicates": 1}], connected(told("b1", "incoming_call_received", 1)),
    ),
    "cancel and accept cross": (
        "one wins for everybody",
        lambda **b: world(TWO, calls(), does("a1", "cancel", *RUNG), does("b1", "accept", *RUNG), start=1, **b),
        WILD, None,
    ),
    "cancel first: the accept raises gone, sends nothing, opens nothing": (
        "gone",
        lambda **b: world(TWO, calls(), does("a1", "cancel"), does("b1", "accept"), start=2, **b),
        CALM, all_of(outcome(3, "call_gone"), only("cancelled"), opens_nothing("b1")),
    ),
    "the caller ends while it rings, crossing the accept": (
        "both end once",
        lambda **b: world(
            TWO, calls(), does("a1", "end"), does("b1", "accept", *RUNG), joins("b1"), start=1, **b),
        TIMED, only("cancelled", "hangup", "lost", "failed_media", "unanswered"),
    ),
    "the caller hangs up before he knows that it rings": (
        "the intent is kept, nothing is resurrected",
        lambda **b: world(TWO, calls(), does("a1", "end", "idle", "ringing", after=(0,)), **b), WILD,
        lambda w: None if ("call", "S") not in w.store else only("cancelled", "lost", "unanswered")(w),
    ),
    "cancel is heard but no last word comes": (
        "bounded", lambda **b: world(TWO, calls(), does("a1", "cancel", *RUNG), start=1, **b),
        [{"cuts": 2}, {"cuts": 1, "ticks": 2}], None,
    ),
    "ringing arrives after the cancel": (
        "ignored", lambda **b: world(TWO, calls(), does("a1", "cancel", "idle", after=(0,)), **b),
        ROUGH, told("a1", "call_ended_message_received", 0, 1),
    ),
    "cancel is never busy, busy never rejected": (
        "its own reason",
        lambda **b: world(
            {**TWO, "c1": "carol"}, calls(), does("a1", "cancel", *RUNG), does("b1", "reject_busy", *RUNG),
            calls("c1", "T"), start=1, **b),
        ROUGH, only("cancelled", "busy"),
    ),
    "two accepts on one device": (
        "one on the wire, one result",
        lambda **b: world(
            TWO, calls(), does("b1", "accept", "ringing", "accepted"), does("b1", "accept", "ringing", "accepted"),
            start=1, **b),
        ROUGH, all_of(only(""), outcome(2, "ok"), outcome(3, "ok"), on_wire_once("accept", "b1")),
    ),
    "two devices accept": (
        "the first is in, the other ends elsewhere",
        lambda **b: world(THREE, calls(), does("b1", "accept", *RUNG), does("b2", "accept", *RUNG), start=1, **b),
        [{}, {"duplicates": 1}, {"cuts": 1}], all_of(
            only(""), outcome(2, "ok", "answered_elsewhere"), outcome(3, "ok", "answered_elsewhere"),
            _one_in),
    ),
    "a second screen declines after the first answered": (
        "the call survives",
        lambda **b: world(THREE, calls(), does("b1", "accept"), does("b2", "reject", *RUNG), start=1, **b),
        [{}, {"cuts": 1}, {"duplicates": 1}], _answered_or_rejected,
    ),
    "one device rejects, the other stops ringing": (
        "both end",
        lambda **b: world(THREE, calls(), does("b1", "reject", *RUNG), does("b2", "accept", *RUNG), start=1, **b),
        [{}, {"duplicates": 1}, {"cuts": 1}], only("", "rejected", "hangup"),
    ),
    "ring timer and accept in one tick": (
        "one winner",
        lambda **b: world(TWO, calls(), does("b1", "accept", *RUNG), start=1, **b),
        [{"ticks": 1}, {"ticks": 2, "duplicates": 1}, {"ticks": 1, "cuts": 1}], None,
    ),
    "ring timer and connect timer differ": (
        "each fires its own end",
        lambda **b: world(TWO, calls(), does("b1", "accept", *RUNG), joins("a1"), start=1, **b),
        [{"ticks": 2}], only("", "unanswered", "failed_media", "lost"),
    ),
    "end twice": (
        "one end", lambda **b: active(does("a1", "end"), does("a1", "end"), **b), WILD,
        all_of(only("hangup", "lost"), told("a1", "session_left", 0, 1), outcome(5, "ok", "gone", *GONE)),
    ),
    "answering a caller who has left": (
        "ended, never connecting",
        lambda **b: world(TWO, calls(), does("b1", "accept", *RUNG), start=1, **b),
        [{"crashes": 1}, {"crashes": 1, "cuts": 1}], None,
    ),
    "media cannot start": (
        "failed, the peer told, what was opened closed",
        lambda **b: world(TWO, calls(), does("b1", "accept"), joins("a1"), joins("b1"), start=2, **b),
        [{"failures": 1}, {"failures": 2}, {"ticks": 1}, {"failures": 1, "cuts": 1}], None,
    ),
    "media connects or fails after the end": (
        "ignored", lambda **b: world(
            TWO, calls(), does("b1", "accept"), joins("a1"), joins("b1"), does("a1", "end"), start=4, **b),
        [{"failures": 1}, {"failures": 2, "cuts": 1}], None,
    ),
}  # fmt: skip


EACH_OTHER: dict[str, Entry] = {
    "both call each other": ("one call", both, [{}, {"duplicates": 2}, {"cuts": 1}], connected(one_call)),
    "both call, and ask for different things": (
        "video only if both asked", lambda **b: both(b="audio", **b), ROUGH, connected(_video_only_if_both),
    ),
    "no ring is shown": ("quiet", both, CALM, _no_ring),
    "both call, each has a second device": (
        "one call", lambda **b: both(devices={"a1": "alice", "b1": "bob", "b2": "bob"}, **b), CALM, one_call,
    ),
    "both call, one goes away for good": ("settles", both, [{"crashes": 1}, {"restarts": 1}, {"ticks": 1}], None),
    "he hangs up under the id that was merged away": (
        "the merged call ends, once",
        lambda **b: both(does("b1", "end", session="B", after=(1,)), **b), [{}, {"cuts": 1}, {"duplicates": 1}],
        _all_over_or_ring,
    ),
    "he cancels his own call while the other's rings": (
        "his yes is taken back: nothing opens",
        lambda **b: both(does("b1", "cancel", session="B", after=(1,)), joins("b1", "A"), joins("a1", "A"), **b),
        [{}, {"cuts": 1}], None,
    ),
    "he rejects the ring after he called himself": (
        "his last word counts",
        lambda **b: both(does("b1", "reject", *RUNG, session="A", after=(1,)), **b),
        [{}, {"cuts": 1}, {"duplicates": 1}], None,
    ),
    "he accepts the ring after he called himself": (
        "one call", lambda **b: both(does("b1", "accept", *RUNG, session="A", after=(1,)), **b),
        [{}, {"duplicates": 1}], one_call,
    ),
    "both join at once after the merge": (
        "both are in",
        lambda **b: both(joins("a1", "A"), joins("b1", "B"), joins("a1", "B"), joins("b1", "A"), **b), CALM, None,
    ),
    "the caller's process died and he calls again": (
        "the old call ends lost, the new one rings",
        lambda **b: _again(active(calls("a1", "N", after=(3,)), **b)), ROUGH,
        connected(all_of(only("lost"), only("", session="N"))),
    ),
    "he calls again from another device while the old one is gone": (
        "recall, unless the old device is back first", _elsewhere, ROUGH,
        connected(_recalled),
    ),
    "the end of the old call and the offer of a new one cross": (
        "not busy once the end was first; the late end does not touch the new call",
        lambda **b: active(does("a1", "end"), calls("a1", "N", after=(4,)), does("b1", "end", *LIVE), **b), ROUGH,
        all_of(only("hangup"), _rings_or_busy),
    ),
    "a third one calls while it rings": (
        "busy; hanging up frees the line",
        lambda **b: world(
            {**TWO, "c1": "carol"}, calls(), calls("c1", "T", after=(0,)), does("a1", "cancel", *RUNG),
            calls("c1", "U", after=(1, 2)), start=1, **b),
        [{}, {"cuts": 1}], connected(_busy_then_free),
    ),
    "call waiting: a line that takes two": (
        "both ring",
        lambda **b: world(
            {**TWO, "c1": "carol"}, calls(), calls("c1", "T"), does("b1", "accept", *RUNG),
            does("b1", "reject", *RUNG, session="T"), settings=ServiceSettings(line_capacity=2), **b),
        CALM, all_of(only(""), only("rejected", session="T")),
    ),
}  # fmt: skip


OLD: dict[str, Entry] = {
    "an offer older than its lifetime": (
        "no ring, a missed call", _long_offline, [{}, {"duplicates": 1}],
        all_of(only("unanswered"), told("b1", "incoming_call_received", 0)),
    ),
    "the device's clock is wrong by a day": (
        "it rings all the same", _wrong_clock, [{}, {"cuts": 1}],
        connected(told("b1", "incoming_call_received", 1)),
    ),
    "offer and end in one catch-up batch": (
        "never rings", _batch, [{}, {"duplicates": 1}],
        all_of(only("cancelled"), told("b1", "incoming_call_received", 0)),
    ),
    "many sequenced facts": (
        "in order, each once, a gap heals",
        lambda **b: active(
            does("a1", "mute_audio", "active"), does("a1", "unmute_audio", "active", after=(4,)),
            does("a1", "raise_hand", "active", after=(5,)), **b),
        [{}, {"duplicates": 2}, {"cuts": 1}], _flags,
    ),
    "an end without a call, or for an old one": (
        "ends nothing else",
        lambda **b: active(does("b1", "end", session="X"), does("a1", "end", session="OLD"), **b), ROUGH, only(""),
    ),
    "a decline after the time-out, by a stranger, for another call": (
        "ignored",
        lambda **b: world(
            {**TWO, "c1": "carol"}, calls(), does("c1", "reject"), does("b1", "reject", *RUNG),
            does("b1", "reject", session="T"), start=1, **b),
        [{}, {"ticks": 1}, {"cuts": 1}], only("rejected", "unanswered"),
    ),
    "a restart with persisted calls, ringing": (
        "live ones resume, dead ones are lost, old timers do not fire",
        lambda **b: world(TWO, calls(), does("b1", "accept", *RUNG), start=1, **b),
        [{"restarts": 1}, {"restarts": 1, "ticks": 1}, {"restarts": 1, "crashes": 1}], None,
    ),
    "a restart with persisted calls, active": (
        "they resume", lambda **b: active(does("a1", "end", "active"), **b), [{"restarts": 1}], only("hangup"),
    ),
    "a session without ringing: join, leave, join again": (
        "views of the old leg are ignored",
        lambda **b: world(
            {"a1": "alice", "b1": "bob"}, enters("b1"), enters("a1"), does("a1", "leave", *LIVE, after=(1,)),
            enters("a1", after=(2,)), start=1, **b),
        [{}, {"cuts": 1}, {"duplicates": 1}], connected(_in_again),
    ),
    "two devices of one user in a session": (
        "two legs", lambda **b: world(
            {"a1": "alice", "a2": "alice"}, enters("a1"), enters("a2"), does("a1", "leave", "active"), **b),
        [{}, {"crashes": 1}], None,
    ),
    "somebody ends the session for all": (
        "everybody is out, nobody comes back",
        _for_all, [{}, {"cuts": 1}, {"duplicates": 1}], only("kicked", "hangup"),
    ),
}  # fmt: skip


WAITING = {
    "end() inside a handler; a handler that raises, hangs or is cancelled": "handlers run in the shell, after the core",
    "push and socket both deliver the ring": "there is no push port yet; twice on the socket is covered above",
    "the caller's token expires during a reconnect": "the third heading, with the client",
    "marks itself busy before it checks the other; two nodes": "the store's conformance suite forces the conflicts",
    "candidates before the endpoint knows of the merge": "the switchboard carries relays between joined legs only",
    "a gap timer unblocks a missing message": "facts are whole views: there is no log to wait for",
}
"""Entries of the catalogue that do not concern the pure core, and why."""

FAMILIES = {**SETTING_UP, **EACH_OTHER, **OLD}


@pytest.mark.parametrize("name", FAMILIES)
def test_every_order_of_a_race_keeps_what_must_hold(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each race, in every order of its messages, with losses, repeats and timers in every gap, keeps to the oracle."""
    _, build, budgets, finally_ = FAMILIES[name]
    for budget in budgets:
        # What is expected of the undisturbed race need not come about when devices die or time runs out.
        check = finally_ if not budget.keys() & {"crashes"} else None
        found = explore(build(**budget), limit=LIMIT, seed=SEED, finally_=check)
        _report(name, budget, found, capsys)


def _report(name: str, budget: dict[str, int], found: Found, capsys: pytest.CaptureFixture[str]) -> None:
    how = "all" if found.exhaustive else f"sampled, seed {SEED}"
    with capsys.disabled():
        sys.stdout.write(f"\n{name} {budget or ''}: {found.interleavings} interleavings, {found.states} states ({how})")
