"""What races are made of: worlds, what people do in them, how much may go wrong, and what must come of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import attrs

from statecore.endpoint import Do
from statecore.testing.explore import Found, explore
from statecore.testing.world import Plan, World

Check: TypeAlias = Callable[[World], None]
Budget: TypeAlias = dict[str, int]
"""How much of what may go wrong: cuts, duplicates, ticks, crashes, restarts, failures."""

TWO = {"a1": "alice", "b1": "bob"}
THREE = {"a1": "alice", "b1": "bob", "b2": "bob"}
RUNG = ("ringing",)
LIVE = ("idle", "ringing", "accepted", "active")


@attrs.frozen
class Race:
    """A family of races that is walked through in every order of its messages."""

    name: str
    promise: str
    """What holds, in a few words, beside the oracle's list."""
    build: Callable[..., World]
    """Makes the world from a budget."""
    budgets: list[Budget]
    """The budgets it is walked through with, one after the other."""
    check: Check | None = None
    """What must come of it, beside the oracle, in every world in which nothing more happens; not asked for where
    devices may die."""

    def run(self, limit: int, seed: int) -> list[Found]:
        """Walk through it; for each budget, how many orders there were. Raises AssertionError, with the way there."""
        return [
            explore(self.build(**budget), limit=limit, seed=seed, finally_=None if "crashes" in budget else self.check)
            for budget in self.budgets
        ]


Entry: TypeAlias = tuple[str, Callable[..., World], list[Budget], Check | None]


def races(entries: dict[str, Entry]) -> list[Race]:
    """Races by name."""
    return [Race(name, *entry) for name, entry in entries.items()]


@attrs.frozen
class Sweep:
    """A family of races whose orders are made by hand: time that passes, permutations of what is on its way."""

    name: str
    promise: str
    walk: Callable[[], int]
    """Goes through all of them; answers with how many there were. Raises AssertionError."""

    def run(self, limit: int, seed: int) -> list[Found]:  # noqa: ARG002 - as of a Race
        """Walk through it."""
        count = self.walk()
        return [Found(count, count, True)]


def calls(device: str = "a1", session: str = "S", receiver: str = "bob", **more: Any) -> Plan:
    """Somebody calls."""
    after = more.pop("after", ())
    return Plan(device, Do(session, "initiate", flow="ringing", receiver=receiver, **more), after=after)


def does(device: str, trigger: str, *when: str, session: str = "S", after: tuple[int, ...] = (), **more: Any) -> Plan:
    """Somebody does something, when his leg is in one of these states."""
    return Plan(device, Do(session, trigger, **more), when=when, after=after)


def joins(device: str, session: str = "S") -> Plan:
    """Somebody joins the session of an accepted call."""
    return Plan(device, Do(session, "join", token="given"), when=("accepted",))  # noqa: S106 - a kind of token


def enters(device: str, session: str = "S", **more: Any) -> Plan:
    """Somebody joins a session by a token alone."""
    after = more.pop("after", ())
    return Plan(device, Do(session, "join", flow="session", token="fresh", **more), after=after)  # noqa: S106 - likewise


def world(devices: dict[str, str], *plans: Plan, start: int = 0, kind: type[World] = World, **more: Any) -> World:
    """A world whose devices are connected, and whose first `start` plans are carried out with all that follows."""
    budget = {name: more.pop(name) for name in list(more) if name in _BUDGET}
    made = kind(devices, plans=plans, **more).settle()
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
    live = [record for record in made.records() if not record.end.at]
    assert len(live) == 1, "not one call"
    session = live[0].session_id
    assert made.state("a1", session) == made.state("b1", session) == "accepted"
    assert sum(1 for record in made.records() if record.merged_into == session) <= 1


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
