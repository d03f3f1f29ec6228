"""The model checker finds what goes wrong only late, in each of its scenarios."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from statecore.model import Reason, Record
from statecore.switchboard import Disconnect, Done, Forget, Switchboard
from statecore.testing.check import SCENARIOS, Core, as_mermaid, as_text, check, replay, shipped
from statecore.testing.check._station import NEWEST
from statecore.wire import Refused, View

LATE = {
    "ringing": 9, "cuts": 9, "overtaking": 9, "crash": 9, "death": 16, "media": 9, "session": 9, "host": 9, "glare": 9,
    "devices": 11, "video": 20, "video-both": 20, "recall": 9, "actions": 18, "actions-shown": 18,
    "session-actions": 14, "session-shown": 14, "session-video": 12, "for-all": 9, "alone": 9, "session-alone": 9,
    "session-crash": 9, "late": 9, "words": 9, "session-words": 8, "full": 6, "full-call": 7, "dismissed": 9,
    "session-dismissed": 9, "glare-dismissed": 9, "cuts-unanswered": 9, "devices-end": 11, "session-cuts": 9,
    "session-third": 15, "session-overtaking": 8, "session-death": 14,
}  # fmt: skip
"""How many changes of its legs a call must have seen before the service forgets to tell of the next."""
LATER = {"busy": 8, "glare-crash": 10, "refused": 9, "recall-elsewhere": 11}
"""The same, of all calls together: none of them sees many."""
DEEP = 12
"""How many steps away a planted mistake must be."""
LIMIT = 600_000


class Planted:
    """The switchboard that ships, but for a mistake."""

    def __init__(self, board: Switchboard) -> None:
        self._board = board

    def __getattr__(self, name: str) -> Any:
        return getattr(self._board, name)

    def step(self, store: Any, given: Any, now: int) -> Any:
        """Decide."""
        return self._board.step(store, given, now)


def changes(store: Any, decision: Done, session: str = "") -> int:
    """How often the legs of a call, or of all, have changed when a decision is kept."""
    kept = {**store, **decision.writes}
    records = [kept["call", session]] if session else kept.values()
    return sum(leg.seq for record in records if isinstance(record, Record) for leg in record.legs)


class Forgetful(Planted):
    """It keeps what it decides on calls, but once their legs have changed often tells no device."""

    def __init__(self, board: Switchboard, often: int, *, of_all: bool = False) -> None:
        super().__init__(board)
        self._often, self._of_all = often, of_all

    def step(self, store: Any, given: Any, now: int) -> Any:
        """Decide."""
        decision = super().step(store, given, now)
        if not isinstance(decision, Done):
            return decision
        told = tuple(e for e in decision.effects if not self._is_late(store, decision, e.message))
        return replace(decision, effects=told)

    def _is_late(self, store: Any, decision: Done, message: Any) -> bool:
        if not isinstance(message, View):
            return False
        return changes(store, decision, "" if self._of_all else message.session) >= self._often


class Silent(Planted):
    """It does not answer some whom it refuses."""

    def step(self, store: Any, given: Any, now: int) -> Any:
        """Decide."""
        decision = super().step(store, given, now)
        if not isinstance(decision, Done):
            return decision
        return replace(decision, effects=tuple(e for e in decision.effects if not self._is_lost(store, e.message)))

    def _is_lost(self, store: Any, message: Any) -> bool:
        return isinstance(message, Refused) and self.is_tired(store, message)

    def is_tired(self, store: Any, message: Refused) -> bool:
        """Whether it has had enough."""
        raise NotImplementedError


class Tired(Silent):
    """It does not answer whom it refuses again, once their session has been active and is over."""

    def is_tired(self, store: Any, message: Refused) -> bool:
        """After all this."""
        record = store["call", message.session]
        return message.n == 2 and record is not None and bool(record.active_at and record.end.at)


class Curt(Silent):
    """It does not answer who calls somebody whom it does not know, once he has been answered by another and hung up."""

    def is_tired(self, store: Any, message: Refused) -> bool:
        """After all this."""
        return message.session == "U" and any(record.answered_at for record in _hung_up(store))


class Confused(Planted):
    """It takes the end of a link for that of the present one, if there have been three since and a call was hung up."""

    def step(self, store: Any, given: Any, now: int) -> Any:
        """Decide."""
        if isinstance(given, Disconnect) and given.conn == NEWEST - 3 and _hung_up(store):
            given = replace(given, conn=NEWEST)
        return super().step(store, given, now)


def _hung_up(store: Any) -> list[Record]:
    return [one for one in store.values() if isinstance(one, Record) and one.reason == Reason.HANGUP]


OTHERWISE: dict[str, type[Planted]] = {"guests": Tired, "reconnect": Confused, "refused-calls": Curt}
"""Where legs cannot change often: another mistake."""


def _planted(name: str, board: Switchboard) -> Planted:
    if name in OTHERWISE:
        return OTHERWISE[name](board)
    return Forgetful(board, {**LATE, **LATER}[name], of_all=name in LATER)


SAMPLE = 2
"""In so many scenarios `make test` looks for a mistake, drawn by its seed; `make soak` in all."""


def _drawn(config: pytest.Config) -> list[str]:
    every = sorted({**LATE, **LATER, **OTHERWISE})
    if config.getoption("--hypothesis-profile") == "soak":
        return every
    return random.Random(config.getoption("--hypothesis-seed") or None).sample(every, SAMPLE)  # noqa: S311 - repeatable


@pytest.mark.no_cover
@pytest.mark.soak
@pytest.mark.timeout(0)
def test_a_mistake_that_shows_late_is_found(
    request: pytest.FixtureRequest, subtests: pytest.Subtests, figures: Callable[[str, Any], None]
) -> None:
    """The service forgets to tell of calls that have changed often, or something else that shows late: found in each
    scenario, a dozen steps and more away; in `make test` in a few of them."""
    steps: dict[str, int] = {}
    for name in _drawn(request.config):
        with subtests.test(name):
            core = shipped(SCENARIOS[name])
            board: Any = _planted(name, core.board)
            found = check(SCENARIOS[name], core=Core(board, core.machine), limit=LIMIT).violation
            assert found is not None
            assert "not exhausted" not in found.why
            assert len(found.trace) >= DEEP, f"{len(found.trace)} steps: {found.why}"
            steps[name] = len(found.trace)
    figures("planted", [{"scenario": name, "steps": count} for name, count in steps.items()])


def test_there_is_a_late_mistake_for_each_scenario() -> None:
    """No scenario of every day is left out."""
    assert {*LATE, *LATER, *OTHERWISE} == {scenario.name for scenario in SCENARIOS.values() if not scenario.deep}


class Unbound(Planted):
    """It does not keep what a guest's token is bound to."""

    def step(self, store: Any, given: Any, now: int) -> Any:
        """Decide."""
        decision = super().step(store, given, now)
        if not isinstance(decision, Done):
            return decision
        return replace(decision, writes={key: value for key, value in decision.writes.items() if key[0] != "bound"})


def test_a_token_that_is_bound_to_no_device_is_found() -> None:
    """A guest's token is good on one device in every order of what two do with it; one that nobody binds is found."""
    scenario = replace(SCENARIOS["guests"], faults={})
    core = shipped(scenario)
    assert check(scenario, core=core).violation is None
    board: Any = Unbound(core.board)
    found = check(scenario, core=Core(board, core.machine)).violation
    assert found is not None
    assert "bound to None" in found.why


def test_what_is_planted_is_replayed_with_what_it_was_planted_in() -> None:
    """The way to a device that was not told ends in the same disagreement, and by the code that ships in none."""
    scenario = replace(SCENARIOS["ringing"], faults={})
    core = shipped(scenario)
    board: Any = Forgetful(core.board, 5)
    found = check(scenario, core=Core(board, core.machine)).violation
    assert found is not None
    with pytest.raises(AssertionError) as caught:
        replay(scenario, found.trace, core=Core(board, core.machine))
    assert str(caught.value) in found.why
    replay(scenario, found.trace)


class Careless(Planted):
    """It deletes users, whatever they are in."""

    def step(self, store: Any, given: Any, now: int) -> Any:
        """Decide."""
        if not isinstance(given, Forget) or store["line", given.user] is None:
            return super().step(store, given, now)
        return Done({("line", given.user): None}, (("line", given.user),), ())


def test_what_the_application_asks_is_explored() -> None:
    """A user deleted in the middle of a call: what ships holds, and what forgets the call is found and shown."""
    plans = SCENARIOS["dismissed"].plans
    scenario = replace(SCENARIOS["dismissed"], plans=(plans[0], *plans[-2:]), faults={"asks": 1, "cuts": 1})
    held = check(scenario)
    assert held.violation is None, as_text(scenario, held.violation)
    core = shipped(scenario)
    board: Any = Careless(core.board)
    found = check(scenario, core=Core(board, core.machine)).violation
    assert found is not None
    assert found.trace[-1] == ("ask", "Forget", "bob")
    assert "service   the application asks     Forget bob" in as_text(scenario, found)
    assert "Note over S: the application asks Forget bob" in as_mermaid(scenario, found)
    with pytest.raises(AssertionError):
        replay(scenario, found.trace, core=Core(board, core.machine))
    replay(scenario, found.trace)
