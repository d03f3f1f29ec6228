"""The model checker: what holds is told so, what does not is found by the shortest way, and nothing depends on how."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from msgspec.structs import replace

from statecore.cli import main
from statecore.cli._diagram import find, load
from statecore.endpoint import Effect, Endpoint, EndpointMachine, Input, Received
from statecore.flow import FLOWS, RINGING, SESSION, Answer, Fire, Flow, Row, Trigger
from statecore.testing.check import (
    SCENARIOS,
    Core,
    Result,
    Scenario,
    as_mermaid,
    as_test,
    as_text,
    check,
    never_taken,
    of_flow,
    replay,
    shipped,
)
from statecore.testing.check._model import Model
from statecore.testing.check._search import Search
from statecore.wire import View

EXAMPLES = Path(__file__).parents[2] / "examples"


def _small(name: str = "ringing", **faults: int) -> Scenario:
    return replace(SCENARIOS[name], faults=faults)


@pytest.mark.no_cover
def test_the_shipped_code_holds() -> None:
    """A call without faults and a call from both sides at once: exhausted, and nothing wrong."""
    for scenario in (_small(), _small("glare")):
        result = check(scenario)
        assert result.violation is None, as_text(scenario, result.violation)
        assert result.states > 2_000
        assert result.transitions > result.states > result.depth > 20
        assert result.collision < 1e-9


def test_what_is_reduced_changes_no_verdict(without: Callable[..., Flow]) -> None:
    """With and without reductions: the same rows taken and the same verdict, for what holds and for what does not."""
    broken = replace(_small(), flows={**FLOWS, "ringing": without("end", "active", Fire, {})})
    for scenario in (_small(), broken):
        less, more = check(scenario), check(scenario, reduces=False)
        assert less.states <= more.states
        assert (less.rows, less.violation is None) == (more.rows, more.violation is None)


@pytest.mark.parametrize("fault", ["cuts", "crashes", "deaths", "duplicates", "overtakings", "failures", "drops"])
def test_each_fault_adds_to_what_happens(fault: str) -> None:
    """Two in a call, one of whom hangs up: there is more to explore with a fault than without, and all of it holds."""
    plain, result = check(_small("reconnect")), check(_small("reconnect", **{fault: 1}))
    assert plain.violation is None
    assert result.violation is None
    assert result.states > plain.states


@pytest.mark.no_cover
def test_media_that_drops_fails_its_call() -> None:
    """No media fails by itself in this scenario: one drop, which may last, brings every failure that a call knows."""
    result = check(_small("media", drops=1))
    assert result.violation is None
    assert _taken(result, "ringing") >= {("accepted", "failed"), ("active", "failed")}


def test_a_sessions_own_clocks_may_run_out_at_any_time() -> None:
    """Who is alone for too long, and what lasts too long, ends, whenever that may be."""
    result = check(_small("session-alone"))
    assert result.violation is None
    assert _taken(result, "session") >= {("active", "idle_timeout"), ("active", "expire")}


def _taken(result: Result, flow: str) -> set[tuple[str, str]]:
    rows = FLOWS[flow].rows
    return {(rows[place].state, rows[place].trigger) for place in result.rows[flow]}


class Calm(Search):
    """A search that keeps every state in which no device has anything on its way."""

    def __init__(self, model: Model, *, reduces: bool) -> None:
        super().__init__(model, 1_000_000, reduces=reduces)
        self.calm: list[Any] = []

    def _admit(self, columns: Any, *rest: Any) -> Any:
        self.calm += [state for state in columns.T if self._is_calm(state)]
        return super()._admit(columns, *rest)

    def _is_calm(self, state: Any) -> bool:
        return all(self.model.is_quiet(place, int(number)) for place, number in enumerate(state[2:]))

    def told_apart(self) -> set[tuple[int, ...]]:
        """Those states; where all is over, one for each user."""
        nothing, columns = np.zeros(len(self.calm), np.int64), np.array(self.calm).T
        return {tuple(state) for state in self._apart(nothing, nothing, columns)[2].T.tolist()}


@pytest.mark.no_cover
@pytest.mark.parametrize(("name", "faults"), [("ringing", {}), ("ringing", {"duplicates": 1}), ("full", {})])
def test_what_is_reduced_loses_no_quiet_state(name: str, faults: dict[str, int]) -> None:
    """With and without reductions: the same states in which nothing is on its way, every one of them."""
    scenario = _small(name, **faults)
    model = Model(shipped(scenario), scenario)
    less, more = Calm(model, reduces=True), Calm(model, reduces=False)
    less.run()
    more.run()
    assert (less.violation, more.violation) == (None, None)
    assert less.visited.count < more.visited.count
    assert len(more.calm) > 50
    assert less.told_apart() == more.told_apart()


BROKEN = {
    "the caller does not hear of an accept": ("accept", "ringing", Fire, {"at": "peers"}),
    "the invitation stays open after an accept": ("accept", "ringing", Answer, {}),
    "the callee rings on after a cancel": ("cancel", "ringing", Fire, {}),
    "one is active alone": ("up", "accepted", Fire, {}),
    "the other stays in after an end": ("end", "active", Fire, {}),
}


@pytest.mark.no_cover
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_flow_is_found(name: str, without: Callable[..., Flow]) -> None:
    """Each way of breaking the table is found; the way there can be read, drawn, and replayed as a test."""
    scenario = replace(_small(), flows={**FLOWS, "ringing": without(*BROKEN[name])})
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
    assert as_text(_small(), found) == f"ringing: {found.why}"
    assert (as_mermaid(_small(), found), as_test(found, "HERE")) == ("", "")


def test_what_never_ends_is_found() -> None:
    """Nobody in this scenario can hang up: found at once, told step by step, and replayed."""
    scenario = replace(_small(), plans=SCENARIOS["ringing"].plans[:4])
    found = check(scenario).violation
    assert found is not None
    assert found.why == "from here nothing ever ends"
    assert as_text(scenario, found).count("\n") == 1 + len(found.trace)
    with pytest.raises(AssertionError, match="from here nothing ever ends"):
        replay(scenario, found.trace)


def test_what_may_happen_once_happens_once() -> None:
    """A way with more faults than its scenario bounds is none of its ways."""
    replay(_small(cuts=1), [("cut", "a1")])
    with pytest.raises(LookupError):
        replay(_small(cuts=1), [("cut", "a1"), ("cut", "b1")])


class Forgetful(EndpointMachine):
    """A device that does not remember which calls have ended."""

    def step(self, endpoint: Endpoint, given: Input, now: int) -> tuple[Endpoint, list[Effect]]:
        """Take an input."""
        if isinstance(given, Received) and isinstance(given.message, View):
            endpoint = replace(endpoint, tombs={}, older={})
        return super().step(endpoint, given, now)


def test_a_device_that_hears_what_it_must_not_is_found() -> None:
    """Nothing comes late in this scenario; that a ring after its end would ring is found all the same."""
    scenario = _small()
    found = check(scenario, core=Core(shipped(scenario).board, Forgetful(timers=scenario.durations))).violation
    assert found is not None
    assert "state='ringing'" in found.why
    assert "brought" in found.why


WHOLE = "from statecore.flow import RINGING\n\nMINE = RINGING.extend('mine')\n"
MISTAKEN = """import attrs
from statecore.flow import RINGING, Fire

OLD = [row for row in RINGING.rows if (row.trigger, row.state) == ("cancel", "ringing")]
NEW = [attrs.evolve(row, effects=[e for e in row.effects if not isinstance(e, Fire)]) for row in OLD]
MINE = RINGING.extend("mine", rows=NEW, without=OLD)
"""


def _pytest(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_pasted.py"]
    way = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    env |= {"PYTHONPATH": way, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # which take longer to load than the test takes
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.parametrize("where", ["mine.py:MINE", pytest.param("mine:MINE", marks=pytest.mark.no_cover)])
def test_what_it_prints_can_be_pasted(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The test that the command prints fails for what was found, as it is, and passes when the flow is mended."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    (tmp_path / "mine.py").write_text(MISTAKEN)
    assert main(["check", where, "--jobs", "1", "--limit", "200"]) == 1  # the mistake is near
    printed = capsys.readouterr().out
    test, end, _ = printed.split("Note over S: ", 1)[1].split("\n\n", 1)[1].partition("\n    )\n")
    (tmp_path / "test_pasted.py").write_text(test + end)
    why = printed.split("mine: ", 1)[1].splitlines()[0]
    broken = _pytest(tmp_path)
    assert (broken.returncode, why in broken.stdout) == (1, True), broken.stdout
    (tmp_path / "mine.py").write_text(WHOLE)
    mended = _pytest(tmp_path)
    assert mended.returncode == 0, mended.stdout


def test_actions_that_move_nothing_come_one_after_another() -> None:
    """A few actions of a flow's own are said in any order; many in the order in which the flow names them."""
    nods = [f"nod_{n}" for n in range(4)]
    rows = [Row("active", nod, "active", when="caller" if nod == "nod_0" else ()) for nod in nods]
    for count, after in ((3, [(), (), ()]), (4, [(), (0,), (1,), (2,)])):
        triggers = [Trigger(nod, "user") for nod in nods[:count]]
        plans = of_flow(RINGING.extend("nodding", triggers=triggers, rows=rows[:count]))[0].plans
        order = {plan.given.trigger: place for place, plan in enumerate(plans) if plan.device == "a1"}
        first = order["nod_0"]
        assert [tuple(place - first for place in plans[order[nod]].after) for nod in nods[:count]] == after
        assert "nod_0" not in [plan.given.trigger for plan in plans if plan.device == "b1"]


def test_a_session_of_ones_own_begins_for_everybody() -> None:
    """Without ringing each of two joins by himself; nobody is rung, and no third is called."""
    made = of_flow(SESSION.extend("meeting"))
    assert [scenario.name for scenario in made] == ["meeting", "meeting, words", "meeting, faults", "meeting, cut"]
    assert [plan.device for plan in made[0].plans if plan.given.flow] == ["a1", "b1"]


def _own(name: str) -> tuple[Flow, dict[str, Scenario]]:
    """An example's flow, and its scenarios by name."""
    flow = find(str(EXAMPLES / name))
    offered = getattr(load(str(EXAMPLES / name.partition(":")[0])), "SCENARIOS", ())
    return flow, {scenario.name: scenario for scenario in (*of_flow(flow), *offered)}


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("name", "scenario", "own"),
    [
        ("own_flow.py:HOLD", "hold", {"hold", "resume", "put_on_hold", "taken_back"}),
        ("contact_centre.py:FLOW", "not handed over", {"transfer"}),
        ("intercom.py:FLOW", "intercom", {"look", "dtmf", "unlock", "relock", "answered", "ring_timeout"}),
        ("intercom.py:FLOW", "opened by a viewer", {"end_for_all", "dismissed", "expire", "leave"}),
    ],
)
def test_a_flow_of_ones_own_is_checked(name: str, scenario: str, own: set[str]) -> None:
    """The examples' flows hold in these scenarios, and what is theirs is taken in them."""
    flow, scenarios = _own(name)
    result = check(scenarios[scenario])
    assert result.violation is None, as_text(scenarios[scenario], result.violation)
    ours = {row for each in FLOWS.values() for row in each.rows}
    taken = [flow.rows[place] for place in result.rows[flow.name]]
    assert own <= {row.trigger for row in taken if row not in ours}


@pytest.mark.no_cover
@pytest.mark.soak(only=True)  # it takes minutes
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", ["own_flow.py:HOLD", "contact_centre.py:FLOW", "intercom.py:FLOW"])
def test_every_row_of_a_flow_of_ones_own_is_taken(name: str) -> None:
    """The examples' flows hold in all of their scenarios, and each of their rows is taken or named with the reason."""
    assert main(["check", str(EXAMPLES / name)]) == 0


def _silent(flow: Flow, states: set[str], triggers: set[str]) -> Flow:
    """A flow in which these rows fire nothing any more."""
    old = [row for row in flow.rows if row.state in states and row.trigger in triggers and row.refuse is None]
    kept = [tuple(effect for effect in row.effects if not isinstance(effect, Fire)) for row in old]
    changed = [attrs.evolve(row, effects=effects) for row, effects in zip(old, kept, strict=True)]
    return flow.extend(flow.name, rows=changed, without=old)


def test_a_door_that_nobody_hears_of_is_found() -> None:
    """What ends an intercom's call while it is looked at, or the door open, and is not told to the other side."""
    flow, scenarios = _own("intercom.py:FLOW")
    words = {"end", "leave", "hangup", "cancelled", "reject"}
    for states, name in (({"opening", "looking"}, "intercom"), ({"unlocked"}, "opened by a viewer")):
        scenario = replace(scenarios[name], flows={**FLOWS, flow.name: _silent(flow, states, words)})
        found = check(scenario).violation
        assert found is not None
        assert found.trace[-1][1] in scenario.devices


def test_a_hold_that_nobody_hears_of_is_found() -> None:
    """A customer who is not told that he is held: the scenario's own rule says so before anything else happens; and
    without the rule the rows that he would take are named as never taken."""
    flow, scenarios = _own("contact_centre.py:FLOW")
    bad = _silent(flow, {"active"}, {"hold", "resume", "transfer"})
    scenario = replace(scenarios["not handed over"], flows={**FLOWS, flow.name: bad})
    found = check(scenario).violation
    assert found is not None
    assert (found.why.partition(":")[0], found.trace) == ("AssertionError", ())
    assert as_text(scenario, found).endswith("after 0 steps:")
    with pytest.raises(AssertionError):
        replay(scenario, found.trace)
    result = check(replace(scenario, always=None))
    assert result.violation is None
    missing = {row.trigger for row in never_taken(bad, [result])}
    assert missing >= {"put_on_hold", "taken_back"}
    assert "hold" not in missing


@pytest.mark.parametrize(("answer", "taken"), [(True, {"active"}), (False, {"invalid_argument"}), (None, None)])
def test_what_the_application_answers_is_explored(answer: bool | None, taken: set[str] | None) -> None:
    """A condition of the application's own holds as the scenario says, or both ways if it says nothing."""
    scenario = _own("intercom.py:FLOW")[1]["opened by a viewer"]
    conditions = {} if answer is None else {"code_right": lambda *_: answer}
    begun, *rest = (*scenario.plans[:4], scenario.plans[4], *scenario.plans[-2:])
    result = check(replace(scenario, plans=(begun, *rest), begun=4, conditions=conditions, faults={"duplicates": 1}))
    assert result.violation is None
    rows = [row for row in result.named["intercom"] if row.startswith("active dtmf")]
    assert {row.rpartition(" ")[2] for row in rows} == (taken or {"active", "invalid_argument"})


def test_a_way_names_what_the_application_answered() -> None:
    """A way on which a condition held says so, where the service takes the command, and is replayed with it."""
    flow, scenarios = _own("intercom.py:FLOW")
    scenario = replace(scenarios["opened by a viewer"], conditions={}, begun=4, flows={**FLOWS, flow.name: _mute(flow)})
    found = check(scenario).violation
    assert found is not None
    assert ("up", "hall", "code_right") in found.trace
    assert "command S dtmf code_right" in as_text(scenario, found)
    with pytest.raises(AssertionError):
        replay(scenario, found.trace)


def _mute(flow: Flow) -> Flow:
    return _silent(flow, {"unlocked"}, {"end", "leave", "cancel"})


@pytest.mark.no_cover
def test_a_mistake_in_a_flow_of_ones_own_is_found() -> None:
    """An end that the other side does not hear of."""
    flow = find(str(EXAMPLES / "own_flow.py:HOLD"))
    old = [row for row in flow.rows if (row.state, row.trigger) == ("active", "end")]
    effects = [tuple(e for e in row.effects if not isinstance(e, Fire)) for row in old]
    bad = [attrs.evolve(row, effects=kept) for row, kept in zip(old, effects, strict=True)]
    broken = flow.extend(flow.name, rows=bad, without=old)
    assert check(of_flow(broken)[0]).violation is not None
