"""Breadth first over arrays: all states of one depth at a time, each a column of numbers.

A state is known by 64 bits that are mixed from its row; the visited ones lie in sorted arrays, with the number that
each was given. What is kept of a state is that, the state it was first reached from, and by what.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from statecore.testing.check._model import Label, Model
from statecore.testing.check._scenario import FAULTS
from statecore.testing.check._tables import Fans, Growing, Ids, Pairs

T = TypeVar("T")
Hashes = npt.NDArray[np.uint64]
CHUNK = 1 << 17
"""How many states are looked at together."""


class Violation(Struct, frozen=True):
    """Something that must not be, and the shortest way to it."""

    why: str
    """What is wrong."""
    trace: tuple[Label, ...]
    """What happened, from the scenario's beginning."""
    limit: bool = False
    """Whether it is only that there are too many states: nothing is known to be wrong, and no way leads to it."""


class Visited:
    """The states that are known, by their hashes: a few sorted runs, merged as they grow."""

    def __init__(self) -> None:
        self.count = 0
        self._runs: list[tuple[Hashes, Ids]] = []

    def find(self, hashes: Hashes) -> Ids:
        """The numbers of states, -1 for those that are not known. The hashes must be sorted and distinct."""
        found = np.full(len(hashes), -1, np.int64)
        for known, numbers in self._runs:
            places = np.searchsorted(known, hashes)
            places[places == len(known)] = 0
            hit = known[places] == hashes
            found[hit] = numbers[places[hit]]
        return found

    def add(self, hashes: Hashes) -> Ids:
        """New ones, sorted and distinct: the numbers that they are given."""
        numbers = np.arange(self.count, self.count + len(hashes), dtype=np.int64)
        self.count += len(hashes)
        self._runs.append((hashes, numbers.astype(np.int32)))
        while len(self._runs) > 1 and len(self._runs[-2][0]) < 2 * len(self._runs[-1][0]):
            (a, m), (b, n) = self._runs.pop(), self._runs.pop()
            both, marks = np.concatenate((a, b)), np.concatenate((m, n))
            order = np.argsort(both, kind="stable")
            self._runs.append((both[order], marks[order]))
        return numbers


def mix(columns: Ids) -> Hashes:
    """64 bits for each state, as good as random."""
    mixed = np.full(columns.shape[1], 0x9E3779B97F4A7C15, np.uint64)
    for column in columns:
        mixed ^= column.astype(np.uint64)
        for shift, factor in ((32, 0xD6E8FEB86659FD93), (29, 0xBF58476D1CE4E5B9)):
            mixed *= np.uint64(factor)
            mixed ^= mixed >> np.uint64(shift)
    return mixed


class Search:
    """One exploration."""

    def __init__(
        self, model: Model, limit: int, *, reduces: bool = True, begin: list[int] | None = None, fair: bool = False
    ) -> None:
        """`begin` is a state to begin at, and not the model's beginning; `fair` leaves out faults and timers."""
        self.model = model
        self._begin = begin
        self._only_fair = fair
        self.reduces = reduces
        self.limit = limit
        self.visited = Visited()
        self.transitions = 0
        self.depth = 0
        self.violation: Violation | None = None
        places = range(len(model.devices))
        self._moves = [Fans(4, _at(model.moves, place)) for place in places]
        self._timers = Fans(4, model.timers)
        self._decisions = Growing(1 + len(places))
        self._decide = Pairs(self._decided)
        self._deliver = [Pairs(_at2(model.delivery, place)) for place in places]
        self._agree = [Pairs(_at2(model.agreement, place)) for place in places]
        self._quiet = [Known(_at(model.is_quiet, place)) for place in places]
        self._takes = [Known(_at(model.takes, place)) for place in places]
        self._begins = [Known(_at(model.may_begin, place)) for place in places]
        self._deaths = 15 << 4 * FAULTS.index("deaths")
        self._erased = Pairs(model.erased)
        self._over = Known(model.is_over)
        self._empty = Known(model.is_empty)
        self._fair = Known(model.is_fair)
        self._parents: list[npt.NDArray[np.int32]] = []
        self._labels: list[npt.NDArray[np.int32]] = []
        self._edges: list[tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]] = []
        self._ended: list[npt.NDArray[np.bool_]] = []

    def run(self, progress: Callable[[Search], object] | None = None) -> None:
        """Explore everything, until something is found."""
        try:
            begin = self._begin or self.model.begin()
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is the finding
            self.violation = Violation(f"{type(error).__name__}: {error}", ())
            return
        first = np.array([[number] for number in begin], np.int64)
        self._admit(first, mix(first), np.full(1, -1), np.zeros(1, np.int64))
        frontier, base = first, 0
        while frontier.shape[1] and not self._is_wrong():
            known, found = self.visited.count, []
            for start in range(0, frontier.shape[1], CHUNK):
                found.append(self._expand(frontier[:, start : start + CHUNK], base + start))
                if self._is_wrong():
                    return
            frontier, base = np.concatenate(found, axis=1), known
            self.depth += bool(frontier.shape[1])
            if progress is not None:
                progress(self)
            if self.visited.count > self.limit:
                self.violation = Violation(f"more than {self.limit} states: not exhausted", (), limit=True)
        if self.violation is None:
            self._check_ends()

    def _is_wrong(self) -> bool:
        return self.violation is not None

    def _expand(self, frontier: Ids, base: int) -> Ids:
        """All successors of some states: those that are new."""
        source, labels, columns = self._successors(frontier)
        self._stop_at_fault(columns.min(axis=0), source + base, labels)
        if self.violation is not None:
            return columns[:, :0]
        self.transitions += len(source)
        if self.reduces:
            source, labels, columns = self._apart(source, labels, columns)
        hashes = mix(columns)
        distinct, first, back = np.unique(hashes, return_index=True, return_inverse=True)
        numbers = self.visited.find(distinct)
        fresh = numbers < 0
        chosen = first[fresh]
        numbers[fresh] = self._admit(columns[:, chosen], distinct[fresh], source[chosen] + base, labels[chosen])
        fair = self._fair.of(labels)
        self._edges.append(((source[fair] + base).astype(np.int32), numbers[back[fair]].astype(np.int32)))
        return columns[:, chosen]

    def _admit(self, columns: Ids, hashes: Hashes, parents: Ids, labels: Ids) -> Ids:
        """New states: give them numbers, and hold them to what must hold."""
        numbers = self.visited.add(hashes)
        self._parents.append(parents.astype(np.int32))
        self._labels.append(labels.astype(np.int32))
        ended = self._empty.of(columns[0])
        for place, agree in enumerate(self._agree):
            quiet = self._quiet[place].of(columns[2 + place])
            ended &= quiet
            where = np.flatnonzero(quiet)
            verdict = agree.of(columns[0][where], columns[2 + place][where])
            bad = np.flatnonzero(verdict < 0)
            if len(bad) and self.violation is None:
                self._found(int(verdict[bad[0]]), self._trace(int(numbers[where[bad[0]]])))
        self._ended.append(ended)
        return numbers

    def _successors(self, frontier: Ids) -> tuple[Ids, Ids, Ids]:
        """For every transition: the state it is from, its label, and the state it leads to."""
        first = self._firsts(frontier)
        parts = [self._fanned(frontier, place, first) for place in range(len(self._moves))]
        parts.append(self._fanned(frontier, -2, first))
        source, labels, asks = (np.concatenate([part[n] for part in parts]) for n in range(3))
        columns = np.concatenate([part[3] for part in parts], axis=1)
        asked = np.flatnonzero((asks > 0) & (columns.min(axis=0) >= 0))
        columns[:, asked] = self._answered(columns[:, asked], asks[asked])
        return source, labels, columns

    def _firsts(self, frontier: Ids) -> Ids:
        """For each state the device that takes steps alone, -1 where everything may happen: see `_reductions`."""
        first = np.full(frontier.shape[1], -1, np.int64)
        if self.reduces:
            for place in reversed(range(len(self._moves))):
                first[self._takes[place].of(frontier[2 + place])] = place
            first[frontier[1] != 0] = -1
        return first

    def _apart(self, source: Ids, labels: Ids, columns: Ids) -> tuple[Ids, Ids, Ids]:
        """States in which all is over are taken apart, into one for each user: see `_reductions`."""
        over = self._over.of(columns[0]) & (columns[1] & self._deaths == 0)
        for place, begins in enumerate(self._begins):
            over &= (columns[2 + place] > 0) & ~begins.of(columns[2 + place])
        where = np.flatnonzero(over)
        rest = np.flatnonzero(~over)
        sources, named, rows = [source[rest]], [labels[rest]], [columns[:, rest]]
        for number, group in enumerate(self.model.groups):
            alone = columns[:, where]
            alone[0] = self._erased.of(alone[0], np.full(len(where), number))
            alone[[2 + place for place in range(len(self._moves)) if place not in group]] = 0
            sources.append(source[where])
            named.append(labels[where])
            rows.append(alone)
        return np.concatenate(sources), np.concatenate(named), np.concatenate(rows, axis=1)

    def _fanned(self, frontier: Ids, place: int, first: Ids) -> tuple[Ids, Ids, Ids, Ids]:
        fans = self._moves[place] if place >= 0 else self._timers
        source, rows = fans.unfold(frontier[2 + place])
        takes = (rows[:, 2] == 0) | (frontier[1][source] & rows[:, 2] * 15 != 0)
        if self._only_fair:
            takes &= self._fair.of(rows[:, 0])
        takes &= (first[source] < 0) | ((first[source] == place) & (rows[:, 3] == 0))
        source, rows = source[takes], rows[takes]
        columns = frontier[:, source]
        columns[1] -= rows[:, 2]
        if place >= 0:
            columns[2 + place] = rows[:, 1]
        return source, rows[:, 0], rows[:, 3], columns

    def _answered(self, columns: Ids, asks: Ids) -> Ids:
        """The service has decided, and what it says is on its way."""
        answers = self._decide.of(columns[0], asks)
        answers = self._decisions.rows[answers]
        columns[0] = answers[:, 0]
        for place, deliver in enumerate(self._deliver):
            posted = np.flatnonzero(answers[:, 1 + place])
            columns[2 + place][posted] = deliver.of(columns[2 + place][posted], answers[posted, 1 + place])
        return columns

    def _decided(self, store: int, ask: int) -> int:
        self._decisions.add([self.model.decision(store, ask)])
        return len(self._decisions) - 1

    # --- what was found

    def _stop_at_fault(self, worst: Ids, sources: Ids, labels: Ids) -> None:
        bad = np.flatnonzero(worst < 0)
        if len(bad):
            first = bad[0]
            last = self.model.labels.values[int(labels[first])]
            self._found(int(worst[first]), (*self._trace(int(sources[first])), last))

    def _found(self, fault: int, trace: tuple[Label, ...]) -> None:
        error = self.model.faults[-fault - 1]
        self.violation = Violation(f"{type(error).__name__}: {error}", trace)

    def _trace(self, number: int) -> tuple[Label, ...]:
        parents, labels = np.concatenate(self._parents), np.concatenate(self._labels)
        found = []
        while parents[number] >= 0:
            found.append(self.model.labels.values[int(labels[number])])
            number = int(parents[number])
        return tuple(reversed(found))

    def _check_ends(self) -> None:
        """From every state, the end of everything can be reached without a fault and before any timer fires."""
        good = np.concatenate(self._ended)
        before = -1
        while before != (before := int(np.count_nonzero(good))):
            for source, target in reversed(self._edges):
                good[source[good[target]]] = True
        bad = np.flatnonzero(~good)
        if len(bad):
            self.violation = Violation("from here nothing ever ends", self._trace(int(bad[0])))


class Known:
    """A yes or no for each number, asked once."""

    def __init__(self, ask: Callable[[int], bool]) -> None:
        self._ask = ask
        self._known = np.zeros(0, np.int8)

    def of(self, numbers: Ids) -> npt.NDArray[np.bool_]:
        """The answers for many."""
        if len(numbers) and int(numbers.max()) >= len(self._known):
            more = np.zeros(2 * int(numbers.max()) + 1 - len(self._known), np.int8)
            self._known = np.concatenate((self._known, more))
        for one in np.unique(numbers[self._known[numbers] == 0]).tolist():
            self._known[one] = 1 + self._ask(one)
        return np.asarray(self._known[numbers] == 2)


def _at(work: Callable[[int, int], T], place: int) -> Callable[[int], T]:
    return lambda number: work(place, number)


def _at2(work: Callable[..., int], place: int) -> Callable[[int, int], int]:
    return lambda left, right: work(place, left, right)
