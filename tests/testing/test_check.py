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
from statecore.cli._diagram import find
from statecore.endpoint import Effect, Endpoint, EndpointMachine, Input, Received
from statecore.flow import FLOWS, Answer, Fire, Flow
from statecore.testing.check import (
    SCENARIOS,
    Core,
    Result,
    Scenario,
    as_mermaid,
    as_test,
    as_text,
    check,
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

OLD = [row for row in RINGING.rows if (row.trigger, row.state) == ("end", "active")]
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
    assert main(["check", where, "--jobs", "1"]) == 1
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
    """What an agent may do in a call is done in its order, as the flow's order of triggers has it."""
    whole, _ = of_flow(find(str(EXAMPLES / "contact_centre.py:FLOW")))
    order = {plan.given.trigger: place for place, plan in enumerate(whole.plans)}
    after = {name: whole.plans[order[name]].after for name in ("hold", "resume", "transfer")}
    assert after == {"hold": (), "resume": (order["hold"],), "transfer": (order["resume"],)}


@pytest.mark.no_cover  # which takes twice as long, and nothing is run here that other tests do not run
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
