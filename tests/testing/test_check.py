"""The model checker: what holds is told so, what does not is found by the shortest way, and nothing depends on how."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
from msgspec.structs import replace

from statecore.cli._diagram import find
from statecore.flow import FLOWS, RINGING, Answer, Fire, Flow, Row
from statecore.testing.check import SCENARIOS, Scenario, as_mermaid, as_test, as_text, check, of_flow, replay

EXAMPLES = Path(__file__).parents[2] / "examples"


def _without(trigger: str, state: str, effect: type, **only: Any) -> Flow:
    """The ringing flow, with one kind of effect gone from some rows."""
    old = [row for row in RINGING.rows if (row.trigger, row.state) == (trigger, state) and row.refuse is None]
    new = [
        Row(r.state, r.trigger, r.to, tuple(e for e in r.effects if not _is(e, effect, only)), when=r.when,
            unless=r.unless, reason=r.reason, decider=r.decider)
        for r in old
    ]  # fmt: skip
    return RINGING.extend("ringing", rows=new, without=old)


def _is(effect: Any, kind: type, only: dict[str, Any]) -> bool:
    return isinstance(effect, kind) and all(getattr(effect, name) == value for name, value in only.items())


def _small(name: str = "ringing", **faults: int) -> Scenario:
    return replace(SCENARIOS[name], faults=faults)


def test_the_shipped_code_holds() -> None:
    """A call without faults and a call from both sides at once: exhausted, and nothing wrong."""
    for scenario in (_small(), SCENARIOS["glare"]):
        result = check(scenario)
        assert result.violation is None, as_text(scenario, result.violation)
        assert result.states > 2_000
        assert result.transitions > result.states > result.depth > 20
        assert result.collision < 1e-9


def test_what_is_reduced_changes_no_verdict() -> None:
    """With and without reductions: the same rows taken and the same verdict, for what holds and for what does not."""
    broken = replace(_small(), flows={**FLOWS, "ringing": _without("end", "active", Fire)})
    for scenario in (_small(), broken):
        less, more = check(scenario), check(scenario, reduces=False)
        assert less.states <= more.states
        assert (less.rows, less.violation is None) == (more.rows, more.violation is None)


BROKEN = {
    "the caller does not hear of an accept": _without("accept", "ringing", Fire, at="peers"),
    "the invitation stays open after an accept": _without("accept", "ringing", Answer),
    "the callee rings on after a cancel": _without("cancel", "ringing", Fire),
    "one is active alone": _without("up", "accepted", Fire),
    "the other stays in after an end": _without("end", "active", Fire),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_flow_is_found(name: str) -> None:
    """Each way of breaking the table is found; the way there can be read, drawn, and replayed as a test."""
    scenario = replace(_small(), flows={**FLOWS, "ringing": BROKEN[name]})
    found = check(scenario).violation
    assert found is not None
    text, diagram = as_text(scenario, found), as_mermaid(scenario, found)
    assert f"after {len(found.trace)} steps" in text
    assert diagram.startswith("sequenceDiagram\n    participant a1\n")
    space: dict[str, Any] = {"HERE": scenario}
    exec(as_test(found, "HERE"), space)  # noqa: S102 - as somebody who pastes it
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever was found
        space["test_found_by_the_model_check"]()
    assert not isinstance(caught.value, LookupError)
    with pytest.raises(LookupError):
        replay(scenario, [("plan", "nobody", 0)])


def test_a_limit_that_is_reached_is_a_failure() -> None:
    """What was not exhausted has not been shown."""
    found = check(_small(), limit=100).violation
    assert found is not None
    assert "not exhausted" in found.why


@pytest.mark.parametrize("name", ["own_flow.py:HOLD", "contact_centre.py:FLOW"])
def test_a_flow_of_ones_own_is_checked(name: str) -> None:
    """The examples' flows hold, by what can be explored of any flow."""
    flow = find(str(EXAMPLES / name))
    whole, cut = of_flow(flow)
    result = check(whole)
    assert result.violation is None, as_text(whole, result.violation)
    assert len(result.rows[flow.name]) > 50
    assert cut.faults == {"cuts": 1}


def test_a_mistake_in_a_flow_of_ones_own_is_found() -> None:
    """An end that the other side does not hear of."""
    flow = find(str(EXAMPLES / "own_flow.py:HOLD"))
    old = [row for row in flow.rows if (row.state, row.trigger) == ("active", "end")]
    effects = [tuple(e for e in row.effects if not isinstance(e, Fire)) for row in old]
    bad = [attrs.evolve(row, effects=kept) for row, kept in zip(old, effects, strict=True)]
    broken = flow.extend(flow.name, rows=bad, without=old)
    assert check(of_flow(broken)[0]).violation is not None
