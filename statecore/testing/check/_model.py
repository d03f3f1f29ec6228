"""The whole, in numbers: a state is a row of small integers, one for each component.

    column 0        the service: every record it keeps
    column 1        how many of the bounded faults may still happen, four bits for each kind
    column 2 ...    the devices, each with its link

No component knows of another, so what happens to one is worked out once for all states in which it is the same: a
decision for each pair of (service, input), a step for each pair of (device, input), a delivery for each pair of
(device, messages). Nothing is worked out for a whole state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import astuple

from statecore.testing.check._coverage import Coverage
from statecore.testing.check._office import Ask, OfficeRules, Post, Store, erased, is_empty, is_over
from statecore.testing.check._scenario import FAULTS, Core, Scenario
from statecore.testing.check._side import key_of
from statecore.testing.check._station import SILENCE, Move, Station, Stations
from statecore.testing.check._tables import Numbers
from statecore.testing.oracle import assert_agrees, assert_left, assert_told

Label = tuple[Any, ...]
"""What happened: its name, the device if it is one's, and more."""

_FAIR = frozenset({"up", "down", "mend", "notice", "up_media", "plan"})
"""What comes about by itself, or by a user: no fault, and no timer."""


class Model:
    """One scenario, run by one core. Every number below zero is a fault that the oracle found."""

    def __init__(self, core: Core, scenario: Scenario) -> None:
        self.core = core
        self.scenario = scenario
        self.devices = list(scenario.devices)
        users = list(scenario.devices.values())
        self.groups = [[n for n, user in enumerate(users) if user == one] for one in dict.fromkeys(users)]
        """The places of each user's devices."""
        self.office = OfficeRules(core, scenario)
        self.coverage = Coverage(core, scenario.flows_run)
        self.places = [Stations(core, scenario, device, self.coverage) for device in self.devices]
        self.faults: list[Exception] = []
        self.stores: Numbers[Store] = Numbers((), _shape)
        self.asks: Numbers[Ask] = Numbers(Ask("", None), _question)
        self.stations = [Numbers(Station(0)) for _ in self.devices]
        self.posts: Numbers[tuple[tuple[str, int], ...]] = Numbers(())
        self.labels: Numbers[Label] = Numbers(())

    # --- where it begins

    def begin(self) -> list[int]:
        """Everybody is connected, and the plans that begin have been carried out."""
        store = self.office.begin()
        row = [self.stores.of(store), self._budget()]
        row += [numbers.of(place.begin()) for numbers, place in zip(self.stations, self.places, strict=True)]
        row = self._settled(row)
        for number in range(self.scenario.begun):
            device = self.devices.index(self.scenario.plans[number].device)
            row = self._settled(self.follow(row, ("plan", self.devices[device], number)))
        return row

    def _budget(self) -> int:
        return sum(self.scenario.faults.get(name, 0) << 4 * place for place, name in enumerate(FAULTS))

    def _settled(self, row: list[int]) -> list[int]:
        """Everything is delivered, and media connects."""
        while True:
            label = self._next(row)
            if label is None:
                return row
            row = self.follow(row, label)

    def _next(self, row: list[int]) -> Label | None:
        for place in range(len(self.devices)):
            for label, *_ in self.moves(place, row[2 + place]):
                named = self.labels.values[label]
                if named[0] in ("mend", "down", "up", "up_media", "notice"):
                    return named
        return None

    def follow(self, row: list[int], label: Label) -> list[int]:
        """Let one thing happen to one state. Raises what the oracle found, or LookupError if it cannot happen here."""
        after = next((new for wanted, new in self._all(row) if wanted == label), None)
        if after is None:
            raise LookupError(label)
        for number in after:
            if number < 0:
                raise self.faults[-number - 1]
        return after

    def _all(self, row: list[int]) -> list[tuple[Label, list[int]]]:
        found = []
        for place in range(-1, len(self.devices)):
            for label, after, costs, ask in self.moves(place, row[2 + place]) if place >= 0 else self.timers(row[0]):
                if costs and not row[1] & costs * 15:
                    continue
                new = list(row)
                new[1] -= costs
                if place >= 0:
                    new[2 + place] = after
                found.append((self.labels.values[label], self._asked(new, ask) if ask and after >= 0 else new))
        return found

    def _asked(self, row: list[int], ask: int) -> list[int]:
        store, *posts = self.decision(row[0], ask)
        row[0] = store
        for place, post in enumerate(posts):
            if post:
                row[2 + place] = self.delivery(place, row[2 + place], post)
        return row

    # --- one component at a time

    def moves(self, place: int, number: int) -> list[tuple[int, int, int, int]]:
        """What can happen at a device: label, the device after it, what it costs, what the service is asked."""
        found: list[tuple[int, int, int, int]] = []
        if not number:
            return found
        for move in self.places[place].moves(self.stations[place].values[number]):
            label = self.labels.of((move.name, self.devices[place], *move.what))
            after = self._guarded(self._moved, place, move)
            costs = 1 << 4 * FAULTS.index(move.costs) if move.costs else 0
            found.append((label, after, costs, self.asks.of(move.ask) if move.ask is not None else 0))
        return found

    def _moved(self, place: int, move: Move) -> int:
        return self.stations[place].of(move.go())

    def timers(self, store: int) -> list[tuple[int, int, int, int]]:
        """The timers of the service, and what the application asks of it, in the same form."""
        found = []
        for ask in self.office.timers(self.stores.values[store]) if self.scenario.timers else ():
            what = ask.what if isinstance(ask.what, tuple) else (ask.what,)
            found.append((self.labels.of(("due", ask.kind, *what)), 0, 0, self.asks.of(ask)))
        for given in self.scenario.asks:
            label = self.labels.of(("ask", type(given).__name__, *astuple(given)))
            found.append((label, 0, 1 << 4 * FAULTS.index("asks"), self.asks.of(Ask("take", given))))
        return found

    def decision(self, store: int, ask: int) -> tuple[int, ...]:
        """What the service decides: its records, and the number of what is posted to each device."""
        try:
            after, post = self.office.decide(self.stores.values[store], self.asks.values[ask])
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is the finding
            return (self._fault(error), *(0 for _ in self.devices))
        return (self.stores.of(after), *self._posts(self.asks.values[ask], post))

    def _posts(self, ask: Ask, post: Post) -> list[int]:
        if ask.kind == "die":
            return [self.posts.of(SILENCE)] * len(self.devices)
        found = []
        for device, place in zip(self.devices, self.places, strict=True):
            mine = tuple((epoch, place.messages.of(message)) for to, epoch, message in post if to == device)
            found.append(self.posts.of(mine) if mine else 0)
        return found

    def delivery(self, place: int, number: int, post: int) -> int:
        """A device after something was posted to it."""
        return self._guarded(self._delivered, place, number, post)

    def _delivered(self, place: int, number: int, post: int) -> int:
        stations = self.stations[place]
        return stations.of(self.places[place].posted(stations.values[number], self.posts.values[post]))

    # --- what must hold

    def is_quiet(self, place: int, number: int) -> bool:
        """Whether nothing is on its way to or from a device."""
        return not number or self.places[place].is_quiet(self.stations[place].values[number])

    def takes(self, place: int, number: int) -> bool:
        """Whether a device has something to take from a link that stands."""
        station = self.stations[place].values[number]
        return station.linked and bool(station.down)

    def may_begin(self, place: int, number: int) -> bool:
        """Whether a call may yet begin at a device, or has begun and the service has not said so."""
        station, stations = self.stations[place].values[number], self.places[place]
        plans = any(plan.given.flow and (plan.again or not station.done >> n & 1) for n, plan in stations.plans)
        return plans or any(leg.seq == 0 for leg in stations.side(station).endpoint.legs.values())

    def erased(self, store: int, group: int) -> int:
        """The service after the end of everything, with what concerns one user only."""
        keep = self.devices[self.groups[group][0]]
        return self.stores.of(erased(self.stores.values[store], self.scenario.devices[keep]))

    def is_over(self, store: int) -> bool:
        """Whether every call has ended."""
        return is_over(self.stores.values[store])

    def is_empty(self, store: int) -> bool:
        """Whether nobody is in any call."""
        return is_empty(self.stores.values[store])

    def agreement(self, place: int, store: int, number: int) -> int:
        """Below zero if a quiet device does not stand as the service says."""
        return self._guarded(self._agree, place, store, number)

    def _agree(self, place: int, store: int, number: int) -> int:
        if not number:
            return 0
        desk, side = (
            self.office.desk(self.stores.values[store]),
            self.places[place].side(self.stations[place].values[number]),
        )
        endpoint = side.endpoint
        assert_agrees(desk, endpoint)
        line = desk.store["line", endpoint.user]  # None once the user is deleted
        devices = line.devices if line is not None else ()
        assert all(d.online for d in devices if d.device == endpoint.device), f"{endpoint.device} counts as away"
        for epoch, session, ends in side.ends:
            assert_told(desk, endpoint.device, epoch, session, ends)
        for leg in endpoint.legs.values():
            board_leg = next(g for g in desk.store["call", leg.session].legs if g.pid == leg.pid)
            assert not leg.waits or board_leg.deadline or any(w.due for w in leg.waits), f"{leg.waits} wait for ever"
        if is_over(self.stores.values[store]):
            assert_left(endpoint)
        return 0

    def is_fair(self, label: int) -> bool:
        """Whether it comes about without a fault or a timer."""
        return self.labels.values[label][0] in _FAIR

    def _guarded(self, work: Callable[..., int], *args: Any) -> int:
        try:
            return work(*args)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is the finding
            return self._fault(error)

    def _fault(self, error: Exception) -> int:
        self.faults.append(error)
        return -len(self.faults)


def _shape(store: Store) -> bytes:
    return key_of(store)


def _question(ask: Ask) -> tuple[str, str, bytes]:
    return ask.kind, type(ask.what).__name__, key_of(ask.what)
