"""The compiled look-up and the `transitions.Machine` it is made from, over every cell."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statecore.errors import IllegalTransition
from statecore.flow import (
    RINGING,
    SESSION,
    CloseMedia,
    Custom,
    Deadline,
    Flow,
    Mark,
    OpenMedia,
    Release,
    Roles,
    Row,
    Tell,
    Trigger,
)
from statecore.machine import FlowMachine, asked, build, compiled
from statecore.model import Reason


def _user(*names: str) -> tuple[Trigger, ...]:
    return tuple(Trigger(name, "user") for name in names)


HOLD = RINGING.extend(
    "hold",
    triggers=_user("hold", "resume"),
    flags=("on_hold",),
    rows=(
        Row("active", "hold", "held", (Mark("on_hold"),), when="granted"),
        Row("active", "hold", "active", refuse="token_lacks_grant", unless="granted"),
        Row("held", "resume", "active", (Mark("on_hold", False),), when=("joined", "on_hold")),
        *(
            Row("held", trigger, "ended", (CloseMedia(), Release()), reason=Reason.HANGUP)
            for trigger in ("end", "leave", "lost", "hangup")
        ),
    ),
    roles=Roles(ringing={"ringing"}, joinable={"accepted"}, media={"active", "held"}),
)
"""One of ours, extended."""

_LIVE = ("talking", "with_expert")
DESK = Flow(
    name="help desk",
    rows=(
        Row("outside", "dial", "waiting", (Tell("queued"), Custom("music", "on")), when="open_now"),
        Row("outside", "dial", "gone", (Tell("closed"),), unless="open_now", reason=Reason.UNANSWERED),
        Row("waiting", "pick_up", "answered", (OpenMedia(), Custom("music", "off"))),
        Row("waiting", "overflow", "waiting", (Mark("important"),), unless="important"),
        Row("waiting", "overflow", "gone", when="important", reason=Reason.UNANSWERED),
        Row("answered", "works", "talking", when="joined"),
        Row("talking", "ask_expert", "with_expert", when=("expert_free", "important")),
        Row("talking", "ask_expert", "talking", refuse="user_busy", unless="expert_free"),
        Row("with_expert", "ask_expert", "talking"),
        *(Row(state, "hang_up", "gone", reason=Reason.HANGUP) for state in ("outside", "waiting")),
        *(
            Row(state, trigger, "gone", (CloseMedia(),), reason=Reason.HANGUP)
            for state in ("answered", *_LIVE)
            for trigger in ("hang_up", "broken", "gone_dark")
        ),
    ),
    triggers=(
        *_user("dial", "pick_up", "ask_expert", "hang_up"),
        Trigger("overflow", "timer"),
        Trigger("works", "media"),
        Trigger("broken", "media"),
        Trigger("gone_dark", "system"),
    ),
    roles=Roles(ringing={"waiting"}, joinable={"answered"}, media=_LIVE),
    initial="outside",
    final="gone",
    deadlines=(
        Deadline("waiting", "ring", "overflow"),
        Deadline("talking", "consent", "overflow", "important"),
    ),
    flags=("important",),
    conditions=("open_now", "expert_free"),
    start="dial",
    up="works",
    failed="broken",
    lost="gone_dark",
)
"""One that shares no name with ours."""

FLOWS = [RINGING, SESSION, HOLD, DESK]
each_flow = pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)


def _mentioned(flow: Flow, state: str, trigger: str) -> list[str]:
    rows = [row for row in flow.rows if (row.state, row.trigger) == (state, trigger)]
    return list(dict.fromkeys(name for row in rows for name in (*row.when, *row.unless)))


def _expected(flow: Flow, state: str, trigger: str, truth: dict[str, bool]) -> Row | None:
    """What the rows say, read directly."""
    for row in flow.rows:
        fits = all(truth[name] for name in row.when) if (row.state, row.trigger) == (state, trigger) else False
        if fits and not any(truth[name] for name in row.unless):
            return row
    return None


@each_flow
def test_every_cell_has_one_answer_in_three_readings(flow: Flow) -> None:
    """For every state, trigger and truth of its conditions, look-up, `transitions` and the bare rows agree."""
    machine, built = compiled(flow), build(flow)
    for state, trigger in product(flow.states, flow.triggers):
        names = _mentioned(flow, state, trigger.name)
        for values in product((False, True), repeat=len(names)):
            truth = dict(zip(names, values, strict=True))
            row = _expected(flow, state, trigger.name, truth)
            assert asked(built, state, trigger.name, truth) == (row.to if row else state, row)
            bits = machine.pack({name for name, value in truth.items() if value})
            if row:
                assert machine.next(state, trigger.name, bits) is row
            else:
                with pytest.raises(IllegalTransition):
                    machine.next(state, trigger.name, bits)


@given(st.data())
def test_conditions_that_a_cell_does_not_mention_change_nothing(data: st.DataObject) -> None:
    """Bits of conditions that the cell's rows do not name have no say in which row is taken."""
    flow = data.draw(st.sampled_from(FLOWS))
    machine = compiled(flow)
    state, trigger = data.draw(st.sampled_from([(s, t) for s, cells in machine.cells.items() for t in cells]))
    true = data.draw(st.sets(st.sampled_from(sorted(machine.bits))))
    bits = machine.pack(true)
    noise = data.draw(st.integers(0, 2**40)) & ~machine.cells[state][trigger].mask
    truth = {name: name in true for name in machine.bits}
    row = asked(machine.machine, state, trigger, truth)[1]
    for given_bits in (bits, bits ^ noise):
        try:
            found = machine.next(state, trigger, given_bits)
        except IllegalTransition:
            found = None
        assert found is row


@given(st.data())
def test_what_is_illegal_says_where_what_and_what_instead(data: st.DataObject) -> None:
    """Whatever holds: the error of an illegal trigger names the state, the trigger, and exactly the users' triggers
    that are taken there then; so never the refused one itself."""
    flow = data.draw(st.sampled_from(FLOWS))
    machine = compiled(flow)
    state = data.draw(st.sampled_from(flow.states))
    true = data.draw(st.sets(st.sampled_from(sorted(machine.bits))))
    bits = machine.pack(true)
    for trigger in flow.triggers:
        try:
            machine.next(state, trigger.name, bits)
            continue
        except IllegalTransition as error:
            caught = error
        assert asked(machine.machine, state, trigger.name, {name: name in true for name in machine.bits})[1] is None
        assert (caught.state, caught.trigger) == (state, trigger.name)
        assert repr(state) in str(caught)
        assert repr(trigger.name) in str(caught)
        assert trigger.name not in caught.legal
        for other in flow.triggers:
            cell = machine.cells[state].get(other.name)
            row = cell.rows.get(bits & cell.mask) if cell is not None else None
            taken = other.by == "user" and row is not None and row.refuse is None
            assert (other.name in caught.legal) == taken


@pytest.mark.parametrize(("state", "trigger"), [("nowhere", "end"), ("idle", "sing"), ("nowhere", "sing")])
def test_unknown_names_are_illegal_too(state: str, trigger: str) -> None:
    """A state or a trigger that the flow has never heard of raises the same error as a missing row."""
    with pytest.raises(IllegalTransition):
        compiled(RINGING).next(state, trigger)
    assert asked(compiled(RINGING).machine, "idle", "sing", {}) == ("idle", None)


@each_flow
def test_what_is_legal_can_be_taken(flow: Flow) -> None:
    """Every trigger that `legal` names has a row, under some conditions, that does not refuse; nothing else has."""
    machine = compiled(flow)
    for state in flow.states:
        legal = machine.legal(state)
        for trigger in flow.triggers:
            cell = machine.cells[state].get(trigger.name)
            goes = any(row.refuse is None for row in cell.rows.values()) if cell else False
            assert (trigger.name in legal) == (goes and trigger.by == "user")
    assert machine.legal(flow.final) == []


@each_flow
def test_packing_and_reading_bits_agree(flow: Flow) -> None:
    """Each condition has one bit of its own; names the flow does not mention have none."""
    machine = compiled(flow)
    assert machine.pack({"no such condition"}) == 0
    assert machine.pack(set(machine.bits)) == 2 ** len(machine.bits) - 1
    assert all(machine.pack({name}) == bit for name, bit in machine.bits.items())


@each_flow
def test_each_row_is_taken_somewhere(flow: Flow) -> None:
    """No row is dead: some truth of its cell's conditions takes it."""
    machine = compiled(flow)
    taken = {id(row) for cells in machine.cells.values() for cell in cells.values() for row in cell.rows.values()}
    assert taken == {id(row) for row in flow.rows}


@each_flow
def test_a_state_carries_the_deadline_of_its_table(flow: Flow) -> None:
    """The deadline of a state and its flags is the one the flow lists, and none where it lists none."""
    machine = compiled(flow)
    for state in flow.states:
        listed = [deadline for deadline in flow.deadlines if deadline.state == state]
        always = next((deadline for deadline in listed if deadline.flag is None), None)
        assert machine.deadline(state, frozenset()) is always
        for deadline in listed:
            assert machine.deadline(state, frozenset({deadline.flag} if deadline.flag else ())) is deadline


def test_one_machine_serves_all_calls_of_a_flow() -> None:
    """Compiling twice gives the same object, equal flows share it, and nothing of a call is kept in it."""
    assert compiled(RINGING) is compiled(RINGING)
    assert isinstance(compiled(DESK), FlowMachine)
    assert compiled(RINGING).machine.models == []


def test_a_condition_may_be_named_like_anything_a_model_has() -> None:
    """The names of conditions never collide with what the probe itself is made of."""
    flow = RINGING.extend(
        "odd", conditions=("state_", "taken_"), rows=(Row("active", "ring", "active", when="taken_"),)
    )
    assert asked(build(flow), "active", "ring", {"taken_": True})[1] is flow.rows[-1]
    assert asked(build(flow), "active", "ring", {"taken_": False}) == ("active", None)
