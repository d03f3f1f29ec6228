"""The tables: the rules every flow keeps, the export, extension, and walks over the rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statecore import flow as vocabulary
from statecore.errors import InvalidFlow
from statecore.flow import (
    CONDITIONS,
    FLOWS,
    RINGING,
    SESSION,
    Capture,
    Claim,
    CloseMedia,
    Custom,
    Deadline,
    Fire,
    Flow,
    Mark,
    OpenMedia,
    Release,
    Roles,
    Row,
    Tell,
    Trigger,
)
from statecore.model import Reason
from statecore.tokens import ROLE_GRANTS, Role

each_flow = pytest.mark.parametrize("flow", FLOWS.values(), ids=lambda flow: flow.name)

# --- a small flow, and all the ways to break one ----------------------------------------------------------------------

ENDS = tuple(
    Row(state, trigger, "over", (CloseMedia(),), reason=Reason.HANGUP)
    for state in ("open", "talking")
    for trigger in ("stop", "broken", "lost")
)
ROWS = (Row("nil", "dial", "open", (OpenMedia(),)), Row("open", "works", "talking", when="joined"), *ENDS)


def _triggers(*names: str) -> tuple[Trigger, ...]:
    return tuple(Trigger(name, "user") for name in names)


def small(*more: Row, **changes: Any) -> Flow:
    """A flow that keeps every rule, but for what is changed."""
    base: dict[str, Any] = {
        "name": "small", "rows": (*ROWS, *more), "initial": "nil", "final": "over",
        "triggers": _triggers("dial", "works", "stop", "broken", "lost"),
        "roles": Roles(joinable={"open"}, media={"talking"}),
        "start": "dial", "up": "works", "failed": "broken", "lost": "lost", "flags": ("bright",),
    }  # fmt: skip
    return Flow(**{**base, **changes})


def _over(state: str, *effects: Any, **more: Any) -> Row:
    return Row(state, "stop", "over", effects, reason=Reason.HANGUP, **more)


BROKEN: dict[str, tuple[Any, str]] = {
    "a trigger twice": (lambda: small(triggers=_triggers("dial", "dial")), "declared twice"),
    "state like trigger": (
        lambda: small(
            roles=Roles(joinable={"open"}, media={"works"}),
            rows=(
                ROWS[0],
                Row("open", "works", "works", when="joined"),
                *ENDS[:3],
                *(attrs.evolve(r, state="works") for r in ENDS[3:]),
            ),
        ),
        "state and trigger share the name 'works'",
    ),
    "condition like trigger": (
        lambda: small(Row("nil", "stop", "nil", when="dial"), conditions=("dial",)),
        "condition and trigger",
    ),
    "event like trigger": (lambda: small(Row("nil", "stop", "nil", (Tell("stop"),))), "event and trigger"),
    "unknown trigger in a row": (lambda: small(Row("nil", "sing", "nil")), "trigger 'sing' is not declared"),
    "unknown trigger fired": (
        lambda: small(Row("nil", "stop", "nil", (Fire("sing", "peers"),))),
        "'sing' is not declared",
    ),
    "unknown trigger of a timer": (
        lambda: small(deadlines=[Deadline("open", "ring", "sing")]),
        "'sing' is not declared",
    ),
    **{
        f"unknown trigger as {role}": (lambda role=role: small(**{role: "sing"}), "'sing' is not declared")
        for role in ("start", "up", "failed", "lost", "idle", "expire")
    },
    "unused trigger": (
        lambda: small(triggers=_triggers("dial", "works", "stop", "broken", "lost", "sing")),
        "'sing' is declared but never used",
    ),
    "unknown condition": (lambda: small(Row("nil", "stop", "nil", when="sunny")), "condition 'sunny'"),
    "unknown condition, negated": (
        lambda: small(Row("nil", "stop", "nil", unless="other_dark")),
        "condition 'other_dark'",
    ),
    "unknown flag": (lambda: small(Row("nil", "stop", "nil", (Mark("dark"),))), "flag 'dark'"),
    "a refusal that moves": (lambda: small(Row("nil", "stop", "open", refuse="usage")), "refuses: it must stay"),
    "a refusal that does": (
        lambda: small(Row("nil", "stop", "nil", (Tell("x"),), refuse="usage")),
        "refuses: it must stay",
    ),
    "a refusal without a code": (
        lambda: small(Row("nil", "stop", "nil", refuse="no such code")),
        "refuses: it must stay",
    ),
    "an end without a reason": (lambda: small(Row("nil", "stop", "over")), "must give a reason exactly if"),
    "a reason without an end": (
        lambda: small(Row("nil", "stop", "nil", reason=Reason.HANGUP)),
        "must give a reason exactly if",
    ),
    "a row of the endpoint's own that ends nothing": (
        lambda: small(Row("nil", "stop", "nil", decider="endpoint")),
        "ends nothing: only the switchboard may take it",
    ),
    "a row that tells and leads nowhere": (
        lambda: small(Row("nil", "stop", "nil", [Custom("stopped")])),
        "mark a flag, or lead to a state of its own",
    ),
    "a guard against itself": (
        lambda: small(Row("nil", "stop", "nil", when="full", unless="full")),
        "can never be taken",
    ),
    "two rows in a cell": (
        lambda: small(_over("nil", when="full"), _over("nil", unless="caller")),
        "two rows for one cell",
    ),
    "a row after the end": (lambda: small(Row("over", "dial", "nil")), "has a row that leads on"),
    "an unreachable state": (lambda: small(_over("moon")), "state 'moon' cannot be reached"),
    "a state without an end": (lambda: small(Row("nil", "stop", "trap")), "no way from state 'trap'"),
    "media opened nowhere": (lambda: small(Row("nil", "stop", "nil", (OpenMedia(),))), "opens media in a state"),
    "media left open": (
        lambda: small(rows=(*ROWS[:-1], attrs.evolve(ROWS[-1], effects=()))),
        "must close media exactly if",
    ),
    "media closed too often": (lambda: small(_over("nil", CloseMedia())), "must close media exactly if"),
    "media without joining": (
        lambda: small(rows=(ROWS[0], attrs.evolve(ROWS[1], when=()), *ENDS)),
        "reaches a state with media without `joined`",
    ),
    "a line held for ever": (lambda: small(Row("nil", "stop", "nil", (Claim(),))), "without releasing its line"),
    "two deadlines": (
        lambda: small(deadlines=[Deadline("open", "ring", "stop"), Deadline("open", "connect", "stop")]),
        "has two deadlines",
    ),
    "a deadline beside one for always": (
        lambda: small(deadlines=[Deadline("open", "ring", "stop"), Deadline("open", "consent", "stop", "bright")]),
        "has two deadlines",
    ),
    "a timer that there is not": (
        lambda: small(deadlines=[Deadline("open", "rign", "stop")]),
        "there is no timer 'rign', but ring, connect",
    ),
    "a deadline nowhere": (lambda: small(deadlines=[Deadline("moon", "ring", "stop")]), "'moon', which is no state"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_flow_that_breaks_a_rule_is_not_built(name: str) -> None:
    """Each rule, broken alone, raises InvalidFlow, which names the flow and what is wrong."""
    make, why = BROKEN[name]
    with pytest.raises(InvalidFlow) as caught:
        make()
    assert caught.value.flow == "small"
    assert why in str(caught.value)


def test_what_nearly_breaks_a_rule_is_built() -> None:
    """The small flow keeps every rule, also with rows and deadlines that only look like a breach."""
    many = small(
        _over("nil", when="full"),
        _over("nil", unless="full"),
        Row("open", "dial", "open", (OpenMedia(), Mark("bright"))),
        Row("open", "works", "open", (Mark("connected"),), unless="joined"),
        deadlines=[Deadline("open", "consent", "stop", "bright"), Deadline("talking", "consent", "stop", "bright")],
        idle="stop",
        expire="lost",
    )
    assert many.states == ("nil", "open", "talking", "over")


def test_lines_are_released_where_they_are_claimed() -> None:
    """A flow that claims lines is built if every end but that from nowhere releases them."""
    ends = tuple(attrs.evolve(row, effects=(*row.effects, Release())) for row in ENDS)
    claims = attrs.evolve(ROWS[0], effects=(OpenMedia(), Claim()))
    assert small(rows=(claims, ROWS[1], *ends, _over("nil"))).rows[0] is claims


# --- our flows --------------------------------------------------------------------------------------------------------


def test_the_states_are_those_that_the_essay_tells() -> None:
    """The states stand in the order of a call."""
    assert RINGING.states == ("idle", "ringing", "accepted", "active", "ended")
    assert SESSION.states == ("idle", "accepted", "active", "ended")


def test_a_session_runs_the_same_in_call_actions() -> None:
    """What can be done in an active session is the same row in both flows, and nowhere but in `active`."""
    actions = [{row for row in flow.rows if _is_action(flow, row)} for flow in FLOWS.values()]
    assert actions[0] == actions[1] != set()
    assert {(row.state, row.to) for row in actions[0]} == {("active", "active")}


def _is_action(flow: Flow, row: Row) -> bool:
    trigger = flow.trigger(row.trigger)
    shared = {"join", "accept", "end_for_all"}
    return trigger is not None and trigger.by == "user" and row.to == "active" and row.trigger not in shared


@each_flow
def test_every_state_ends_on_loss_by_the_endpoint_alone(flow: Flow) -> None:
    """Wherever a leg is, losing its device ends it, whatever the conditions, and the endpoint may do so itself."""
    for state in flow.states[:-1]:
        rows = [row for row in flow.rows if (row.state, row.trigger) == (state, flow.lost)]
        assert all((row.to, row.decider, row.reason) == (flow.final, "endpoint", Reason.LOST) for row in rows)
        unguarded = [row for row in rows if not row.when and not row.unless]
        both = {frozenset(row.when) for row in rows} == {frozenset(), frozenset({"caller"})}
        assert unguarded or both


@each_flow
def test_an_endpoint_decides_toward_safety_only(flow: Flow) -> None:
    """A row that an endpoint may take by itself ends the leg."""
    assert {row.to for row in flow.rows if row.decider == "endpoint"} == {flow.final}


@each_flow
def test_an_end_of_a_leg_that_a_listener_knows_is_told_once(flow: Flow) -> None:
    """Each row that ends a live leg tells exactly one of the three ways in which a call ends for a listener."""
    ends = {"outgoing_call_rejected", "incoming_call_cancelled", "call_ended_message_received"}
    for row in flow.rows:
        if row.to == flow.final and row.refuse is None and row.reason is not Reason.MERGED:
            told = [effect.event for effect in row.effects if isinstance(effect, Tell)]
            assert len(ends & set(told)) == 1
            assert ("session_left" in told) == ("call_ended" in told) == (CloseMedia() in row.effects)


@given(st.data())
def test_a_walk_can_always_come_to_its_end(data: st.DataObject) -> None:
    """After any walk over the rows, however long, some rows still lead to the end, and none leads out of it."""
    flow = data.draw(st.sampled_from(list(FLOWS.values())))
    state = flow.initial
    for _ in range(data.draw(st.integers(0, 12))):
        steps = [row for row in flow.rows if row.state == state]
        if state == flow.final:
            assert all(row.to == state and row.refuse for row in steps)
            return
        state = data.draw(st.sampled_from(steps)).to
    seen = {state}
    while flow.final not in seen:
        fresh = {row.to for row in flow.rows if row.state in seen} - seen
        assert fresh, f"stuck in {sorted(seen)}"
        seen |= fresh


@each_flow
def test_what_a_trigger_is_can_be_asked(flow: Flow) -> None:
    """Each trigger is found by its name, has a line of help, and an unknown name finds nothing."""
    for trigger in flow.triggers:
        assert flow.trigger(trigger.name) is trigger
        assert trigger.help
    assert flow.trigger("sing") is None


@each_flow
def test_only_a_user_consents_and_only_grants_are_asked_for(flow: Flow) -> None:
    """What opens a capture is a user's own command; what needs a grant that tokens give has a row for who lacks it or
    does nothing."""
    for trigger in flow.triggers:
        assert not trigger.consent or trigger.by == "user"
        assert {*trigger.consent, *trigger.revokes} <= {capture.kind for capture in flow.captures}
        assert trigger.grant in {None, *ROLE_GRANTS[Role.HOST]}
        cells = [row for row in flow.rows if row.trigger == trigger.name]
        assert bool(trigger.grant) == any("granted" in (*row.when, *row.unless) for row in cells)


@each_flow
def test_whose_word_a_trigger_is_follows_from_where_it_comes_from(flow: Flow) -> None:
    """A deadline's is a timer's; what a row fires at others is a leg's, but for what they could say themselves."""
    by = {trigger.name: trigger.by for trigger in flow.triggers}
    timers = {deadline.trigger for deadline in flow.deadlines}
    fired = {effect.trigger for row in flow.rows for effect in row.effects if isinstance(effect, Fire)}
    assert {name for name in by if by[name] == "timer"} == timers
    assert {name for name in by if by[name] == "leg"} == fired - {"accept", "lost"}
    assert {name for name in by if by[name] == "media"} == {"up", "failed"}
    assert {name for name in by if by[name] == "system"} == {"lost", "idle_timeout", "expire"}
    assert set(by.values()) == {"user", "media", "timer", "leg", "system"}


def test_what_rings_and_who_takes_part_follow_from_the_rows() -> None:
    """The ring is what is fired at the invited; participants are in joinable states or in states with media."""
    assert (RINGING.ring, SESSION.ring) == ("ring", None)
    assert RINGING.participating == SESSION.participating == {"accepted", "active"}


@each_flow
def test_a_row_knows_which_flags_it_changes(flow: Flow) -> None:
    """What a row sets and clears is what its effects mark, and `joined` where media opens."""
    for row in flow.rows:
        marks = {(effect.flag, effect.on) for effect in row.effects if isinstance(effect, Mark)}
        marks |= {("joined", True)} if OpenMedia() in row.effects else set()
        assert {(flag, True) for flag in row.sets} | {(flag, False) for flag in row.clears} == marks


def test_every_known_condition_is_explained() -> None:
    """Each condition that the switchboard works out has a line, and our flows use no other but flags."""
    assert all(CONDITIONS.values())
    for flow in FLOWS.values():
        used = {name for row in flow.rows for name in (*row.when, *row.unless)}
        flags = set(flow.flags) | {"other_" + flag for flag in flow.flags}
        assert used <= set(CONDITIONS) | flags
        assert not flow.conditions


# --- extension --------------------------------------------------------------------------------------------------------


def test_an_extended_flow_keeps_what_it_came_from() -> None:
    """Rows are added and taken away, sequences grow, other values are replaced, and the first flow stays as it was."""
    before = RINGING.hash
    gone = [row for row in RINGING.rows if row.trigger == "raise_hand"]
    wave = Trigger("wave", "user")
    more = RINGING.extend(
        "waving",
        without=gone,
        rows=(Row("active", "wave", "active", (Mark("waving"),)), Row("active", "raise_hand", "active")),
        triggers=(wave,),
        flags=("waving",),
        captures=(Capture(kind="screen", on="waving", at_join=False),),
        lingers=True,
    )
    assert more.name == "waving"
    assert more.trigger("wave") is wave
    assert more.flags == (*RINGING.flags, "waving")
    assert more.captures[:-1] == RINGING.captures
    assert more.lingers
    assert len(more.rows) == len(RINGING.rows) - len(gone) + 2
    assert RINGING.hash == before != more.hash


def test_an_extension_is_checked_like_any_flow() -> None:
    """An extension that breaks a rule is not built."""
    with pytest.raises(InvalidFlow, match="two rows for one cell"):
        SESSION.extend("twice", rows=[Row("active", "raise_hand", "active")])


def test_one_name_needs_no_brackets() -> None:
    """A single condition, flag, capture or state may be given as a plain string."""
    row = Row("open", "works", "talking", when="joined", unless="full")
    assert (row.when, row.unless) == (("joined",), ("full",))
    assert Trigger("accept", "user", consent="audio").consent == ("audio",)
    assert Roles(joinable="open", media="talking").media == {"talking"}


# --- the export -------------------------------------------------------------------------------------------------------


def _rebuilt(data: dict[str, Any]) -> Flow:
    """What a client in another language would do: make the flow from nothing but the exported text."""

    def effect(spec: dict[str, Any]) -> Any:
        fields = dict(spec)
        return getattr(vocabulary, fields.pop("do"))(**fields)

    def row(spec: dict[str, Any]) -> Row:
        reason = Reason(spec["reason"]) if spec["reason"] else None
        return Row(**{**spec, "effects": [effect(e) for e in spec["effects"]], "reason": reason})

    rest = {key: value for key, value in data.items() if key != "states"}
    rest["rows"] = [row(spec) for spec in data["rows"]]
    for key, cls in (("triggers", Trigger), ("deadlines", Deadline), ("captures", Capture)):
        rest[key] = [cls(**spec) for spec in data[key]]
    rest["roles"] = Roles(**data["roles"])
    return Flow(**rest)


@each_flow
def test_the_export_holds_everything(flow: Flow) -> None:
    """A flow made again from its exported JSON equals the first in every row, role and timer, and in its hash."""
    text = json.dumps(flow.export())
    again = _rebuilt(json.loads(text))
    assert again == flow
    assert again.hash == flow.hash
    assert json.loads(text)["states"] == list(flow.states)


@each_flow
def test_any_change_of_a_row_changes_the_hash(flow: Flow) -> None:
    """Taking any one effect out of the table gives another hash."""
    hashes = {flow.hash}
    marked = [(number, row) for number, row in enumerate(flow.rows) if row.refuse is None and row.to == flow.final]
    for number, row in marked:
        changed = attrs.evolve(row, reason=Reason.KICKED if row.reason is not Reason.KICKED else Reason.IDLE)
        rows = (*flow.rows[:number], changed, *flow.rows[number + 1 :])
        hashes.add(attrs.evolve(flow, rows=rows).hash)
    assert len(hashes) == len(marked) + 1


def test_the_hash_is_the_same_in_every_process() -> None:
    """Processes with different hash seeds agree on every flow's hash, so two sides can compare them."""
    code = "from statecore.flow import FLOWS; print(*(flow.hash for flow in FLOWS.values()))"
    outputs = set()
    for seed in ("0", "1", "77"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, timeout=60
        )
        outputs.add(done.stdout.split()[0] + done.stdout.split()[1])
    assert outputs == {"".join(flow.hash for flow in FLOWS.values())}


def test_our_flows_are_found_by_name() -> None:
    """Service and client look a flow up by the name it carries."""
    assert FLOWS == {"ringing": RINGING, "session": SESSION}


def test_the_page_runs_the_very_same_tables() -> None:
    """The page that the service hands out has these rows and these hashes: with another table it would be refused."""
    text = (Path(__file__).parents[1] / "adapters" / "statecore_web" / "page" / "flows.js").read_text(encoding="utf-8")
    lines = [line.strip().rstrip(",") for line in text.splitlines()]
    rows = [json.loads(line) for line in lines if line.startswith('{"state": ')]
    assert rows == [row for flow in FLOWS.values() for row in json.loads(json.dumps(flow.export()["rows"]))]
    (hashes,) = [line.removeprefix("export const HASHES = ") for line in lines if "HASHES" in line]
    assert json.loads(hashes.rstrip(";")) == {name: flow.hash for name, flow in FLOWS.items()}
