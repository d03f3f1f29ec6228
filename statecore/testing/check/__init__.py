"""The model checker: every interleaving of what may happen to a call, within bounds, by the code that ships::

    result = check(SCENARIOS["ringing"])
    assert result.violation is None

A *scenario* says who is there, what they may do, and how much may go wrong. Its states are explored breadth first: user
actions, deliveries, broken links with reconnect and resume, messages that come twice or overtake one another, timers,
media, processes that die, a service that dies right after a commit. In every state the oracle of `statecore.testing`
looks on: every record, every line, every deadline, standing consent, what listeners see, and that foreign and stale
inputs change nothing. Wherever a device has nothing on its way it must stand as the service says, before any timer
fires. And from every state, without a fault and before any timer, everything can end.

What is reduced, and why that is sound:

- *Time* stands still. A timer that is armed may fire at any moment, so how long it has still to run makes no
  difference; that it was armed to the right time is checked when it is armed. More is explored than can be, not less.
- *Components* (the service, each device with its link) are numbered, and what happens to one is worked out once: the
  code under test is pure, so it would do the same again.
- *A delivery first*: once no fault may happen any more, a device that has a message to take takes it before anything
  else happens elsewhere. Taking a message changes that device only, and takes nothing away from what others may do, so
  any order with it later leads to a state that is reached with it first (an ample set of one process; no cycle can put
  it off for ever, since each delivery makes the queue shorter).
- *What is over, apart*: when every call has ended and none can begin, users share no record any more, and each is
  explored by himself.

*Symmetry* is not used: who calls and who is called are not alike, and where people are, in a session, their names stand
in every component, so that each state would have to be renamed to be looked up.

States are told apart by 64-bit hashes; the odds of a collision are reported.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable

from statecore.testing.check._coverage import row_name
from statecore.testing.check._model import Label, Model
from statecore.testing.check._own import of_flow
from statecore.testing.check._result import Result, as_mermaid, as_test, as_text, never_taken, replay, stale
from statecore.testing.check._scenario import FAULTS, Core, Scenario, shipped
from statecore.testing.check._scenarios import DEEP, STANDARD, UNREACHED, does
from statecore.testing.check._search import Search, Violation

SCENARIOS: dict[str, Scenario] = {scenario.name: scenario for scenario in (*STANDARD, *DEEP)}
"""Our own, by name."""
LIMIT = 60_000_000
"""A scenario with more states has failed: it was not exhausted."""


def check(
    scenario: Scenario,
    *,
    core: Core | None = None,
    limit: int = LIMIT,
    reduces: bool = True,
    progress: Callable[[int, int], object] | None = None,
) -> Result:
    """Explore a scenario to its end, or to the first thing that is wrong. `progress` is told states and depth.

    `core` is the code under test (default: what ships). Takes minutes and gigabytes for large ones; not to be
    cancelled but by ending the process."""
    began = time.monotonic()
    model = Model(core or shipped(scenario), scenario)
    with model.coverage.watching():
        search = Search(model, limit, reduces=reduces)
        search.run((lambda it: progress(it.visited.count, it.depth)) if progress is not None else None)
    taken = {flow: sorted(rows) for flow, rows in model.coverage.taken().items()}
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
    return Result(
        scenario=scenario.name,
        states=search.visited.count,
        transitions=search.transitions,
        depth=search.depth,
        seconds=time.monotonic() - began,
        megabytes=kilobytes // 1024,
        rows=taken,
        named={flow: [row_name(scenario.flows[flow].rows[place]) for place in rows] for flow, rows in taken.items()},
        rows_total={flow: len(scenario.flows[flow].rows) for flow in scenario.flows_run},
        violation=search.violation,
        bounds=scenario.bounds,
    )


__all__ = [
    "DEEP",
    "FAULTS",
    "SCENARIOS",
    "STANDARD",
    "UNREACHED",
    "Core",
    "Label",
    "Result",
    "Scenario",
    "Violation",
    "as_mermaid",
    "as_test",
    "as_text",
    "check",
    "does",
    "never_taken",
    "of_flow",
    "replay",
    "row_name",
    "shipped",
    "stale",
]
