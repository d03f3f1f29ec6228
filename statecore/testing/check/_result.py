"""What came of an exploration: figures, and if something is wrong the shortest way to it, for people and as a test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from statecore.flow import FLOWS, Flow, Row
from statecore.testing.check._coverage import row_name
from statecore.testing.check._model import Label, Model
from statecore.testing.check._scenario import Core, Scenario, shipped
from statecore.testing.check._scenarios import UNREACHED
from statecore.testing.check._search import Search, Violation

Unreached: TypeAlias = Mapping[tuple[str, str, str, str], str]
"""Rows, by flow, state, trigger, and state or refusal, that no call takes, and why they are there."""


class Result(Struct, frozen=True, kw_only=True):
    """What came of one scenario."""

    scenario: str
    """Its name."""
    states: int
    """How many different states there are."""
    transitions: int
    """How many steps lead from one to another."""
    depth: int
    """How many steps the farthest state is away from the beginning."""
    seconds: float
    """How long it took."""
    megabytes: int
    """The most memory that the process had."""
    rows: dict[str, list[int]]
    """The rows of each flow's table that were taken, by their places."""
    named: dict[str, list[str]]
    """The same rows by what they say."""
    rows_total: dict[str, int]
    """How many rows each flow has."""
    violation: Violation | None
    """What is wrong; None if nothing is."""
    bounds: dict[str, Any]
    """Within which bounds everything was tried."""

    @property
    def collision(self) -> float:
        """The odds that two states were taken for one, by their hashes of 64 bits."""
        return self.states**2 / 2.0**65

    def report(self) -> dict[str, Any]:
        """The figures, for a file."""
        found = self.violation
        return {
            "scenario": self.scenario,
            "states": self.states,
            "transitions": self.transitions,
            "depth": self.depth,
            "seconds": round(self.seconds, 1),
            "states_per_second": round(self.states / self.seconds) if self.seconds else 0,
            "megabytes": self.megabytes,
            "rows_taken": sum(len(rows) for rows in self.rows.values()),
            "rows_total": sum(self.rows_total.values()),
            "rows": self.named,
            "violations": [{"why": found.why, "trace": [list(step) for step in found.trace]}] if found else [],
            "bounds": self.bounds,
            "hash_bits": 64,
            "collision_odds": self.collision,
        }


def never_taken(flow: Flow, results: Iterable[Result], unreached: Unreached = UNREACHED) -> list[Row]:
    """The rows of a flow that none of these results took, but for those that are named as unreached; and of a flow of
    one's own, but for those that are ours and unchanged: our own scenarios take them."""
    known = FLOWS.get(flow.name) == flow
    ours = set() if known else {row for ours in FLOWS.values() for row in ours.rows}
    return [row for row in _untaken(flow, results) if row not in ours and _key(flow, row) not in unreached]


def stale(flow: Flow, results: Iterable[Result], unreached: Unreached = UNREACHED) -> list[tuple[str, str, str, str]]:
    """What is named as unreached of a flow, though it was taken, or is no row at all."""
    untaken = {_key(flow, row) for row in _untaken(flow, results)}
    return [key for key in unreached if key[0] == flow.name and key not in untaken]


def _untaken(flow: Flow, results: Iterable[Result]) -> list[Row]:
    taken = {name for result in results for name in result.named.get(flow.name, ())}
    return [row for row in flow.rows if row_name(row) not in taken]


def _key(flow: Flow, row: Row) -> tuple[str, str, str, str]:
    return flow.name, row.state, row.trigger, row.refuse or row.to


def replay(scenario: Scenario, trace: Sequence[Label], *, core: Core | None = None) -> None:
    """Walk a way that a check has found. Raises what is wrong at its end, AssertionError if from there nothing ever
    ends, LookupError if the way is not there any more. `core` is the code under test (default: what ships)."""
    model = Model(core or shipped(scenario), scenario)
    row = model.begin()
    for step in trace:
        row = model.follow(row, tuple(step))
    for place in range(len(model.devices)):
        if model.is_quiet(place, row[2 + place]) and (fault := model.agreement(place, row[0], row[2 + place])) < 0:
            raise model.faults[-fault - 1]
    rest = Search(model, 10_000_000, begin=row, fair=True)
    rest.run()
    if rest.violation is not None:
        raise AssertionError(rest.violation.why)


# --- the way, for people ----------------------------------------------------------------------------------------------


def _steps(scenario: Scenario, trace: tuple[Label, ...]) -> Iterator[tuple[Label, str]]:
    """Each step, and what was carried by it. None if something is wrong before the exploration begins."""
    if not trace:
        return
    model = Model(shipped(scenario), scenario)
    row = model.begin()
    for label in trace:
        yield label, _carried(model, row, label)
        try:
            row = model.follow(row, label)
        except Exception:  # noqa: BLE001 - the last step is the one that is wrong
            return


def _carried(model: Model, row: list[int], label: Label) -> str:
    name = label[0]
    if name == "plan":
        given = model.scenario.plans[label[2]].given
        return f"{given.trigger} {given.session}"
    if name not in ("up", "down", "again_up", "again_down", "die", "overtake"):
        return " ".join(str(word) for word in label[1 if name in _SERVICE else 2 :])
    place = model.devices.index(label[1])
    station = model.stations[place].values[row[2 + place]]
    queue = station.up if "up" in name or name == "die" else station.down
    said = msgspec.json.decode(model.places[place].messages.values[queue[1 if name == "overtake" else 0]])
    words = (said.get("m"), said.get("session"), said.get("trigger") or said.get("state") or said.get("code"))
    words = (*words, *(label[2:] if "up" in name or name == "die" else ()))
    return " ".join(str(word) for word in words if word)


def as_text(scenario: Scenario, found: Violation) -> str:
    """The way there, a line a step. For a limit that was reached, what it is."""
    if found.limit:
        return f"{scenario.name}: {found.why}"
    lines = [f"{scenario.name}: {found.why}", f"after {len(found.trace)} steps:"]
    for number, (label, carried) in enumerate(_steps(scenario, found.trace), 1):
        who = "service" if label[0] in _SERVICE else label[1]
        lines.append(f"{number:4}  {who:8}  {_NAMES.get(label[0], label[0]):24} {carried}")
    return "\n".join(lines)


_NAMES = {
    "plan": "the user wants",
    "up": "the service takes",
    "down": "the device takes",
    "again_up": "the service takes, again",
    "again_down": "the device takes, twice",
    "overtake": "the device takes, early",
    "die": "the service takes, and dies",
    "cut": "the link breaks",
    "mend": "the link stands again",
    "notice": "the service learns of it",
    "crash": "the process starts anew",
    "tick": "a timer fires",
    "due": "a timer fires",
    "ask": "the application asks",
    "lease": "the lease runs out",
    "up_media": "media connects",
    "fail_media": "media fails",
    "peer_lost": "media drops",
    "peer_connected": "media comes back",
}


_SERVICE = ("due", "ask")
"""What happens at the service by itself."""


def as_mermaid(scenario: Scenario, found: Violation) -> str:
    """The way there, as a sequence diagram. Empty for a limit that was reached."""
    if found.limit:
        return ""
    lines = ["sequenceDiagram", *(f"    participant {device}" for device in scenario.devices), "    participant S"]
    for label, carried in _steps(scenario, found.trace):
        name, who = label[0], "S" if label[0] in _SERVICE else label[1]
        text = f"{carried}" if name in ("up", "down") else f"{_NAMES.get(name, name)} {carried}".strip()
        if name in ("up", "again_up", "die"):
            lines.append(f"    {who}->>S: {text}")
        elif name in ("down", "again_down", "overtake"):
            lines.append(f"    S->>{who}: {text}")
        else:
            lines.append(f"    Note over {who}: {text}")
    return "\n".join([*lines, f"    Note over S: {found.why.splitlines()[0][:120]}"])


def as_test(found: Violation, where: str, *imports: str) -> str:
    """The way there, as a file with a test case. `where` is the expression that gives the scenario, `imports` are the
    statements that it needs beside `from statecore.testing import check`. Empty for a limit that was reached."""
    if found.limit:
        return ""
    first = "".join(f"{line}\n" for line in imports)
    trace = "\n".join(f"            {step!r}," for step in found.trace)
    return f'''{first}from statecore.testing import check


def test_found_by_the_model_check() -> None:
    """What the model check has found is not so any more."""
    # It was: {found.why.splitlines()[0][:100]}
    check.replay(
        {where},
        [
{trace}
        ],
    )
'''
