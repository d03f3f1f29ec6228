"""Numbers for values, and growing tables over those numbers."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")
Ids: TypeAlias = npt.NDArray[np.int64]


class Numbers(Generic[T]):
    """Gives equal values one number, from 1; 0 stands for nothing."""

    def __init__(self, nothing: T, key: Callable[[T], Hashable] | None = None) -> None:
        self.values: list[T] = [nothing]
        self._key = key
        self._ids: dict[Hashable, int] = {}

    def of(self, value: T) -> int:
        """The number of a value."""
        key: Hashable = value if self._key is None else self._key(value)
        number = self._ids.get(key)
        if number is None:
            number = self._ids[key] = len(self.values)
            self.values.append(value)
        return number


class Growing:
    """A NumPy array that rows are added to."""

    def __init__(self, width: int = 0) -> None:
        shape = (1024, width) if width else (1024,)
        self._rows = np.zeros(shape, np.int64)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, rows: Iterable[Any]) -> None:
        """Add rows at the end."""
        more = np.array(list(rows), np.int64)
        if not len(more):
            return
        while self._size + len(more) > len(self._rows):
            self._rows = np.concatenate((self._rows, np.zeros_like(self._rows)))
        self._rows[self._size : self._size + len(more)] = more
        self._size += len(more)

    @property
    def rows(self) -> Ids:
        """All rows so far."""
        return self._rows[: self._size]


class Fans:
    """For each number, a few rows, worked out when they are first asked for."""

    def __init__(self, width: int, work_out: Callable[[int], Sequence[tuple[int, ...]]]) -> None:
        self._work_out = work_out
        self._known: dict[int, int] = {}
        self._spans = Growing(2)
        self._rows = Growing(width)

    def unfold(self, ids: Ids) -> tuple[Ids, Ids]:
        """All rows of many numbers: for each row the place in `ids` of its number, and the row."""
        distinct, back = np.unique(ids, return_inverse=True)
        spans = self._spans_of(distinct)[back]
        counts = spans[:, 1]
        source = np.repeat(np.arange(len(ids)), counts)
        begin = np.repeat(spans[:, 0] - (np.cumsum(counts) - counts), counts)
        return source, self._rows.rows[np.arange(len(source)) + begin]

    def _spans_of(self, distinct: Ids) -> Ids:
        known = self._known
        places: list[int] = []
        spans: list[tuple[int, int]] = []
        rows: list[tuple[int, ...]] = []
        size = len(self._rows)
        for one in distinct.tolist():
            place = known.get(one)
            if place is None:
                place = known[one] = len(self._spans) + len(spans)
                new = self._work_out(one)
                spans.append((size + len(rows), len(new)))
                rows += new
            places.append(place)
        self._spans.add(spans)
        self._rows.add(rows)
        return self._spans.rows[np.array(places, np.int64)]


class Pairs:
    """A function of two numbers, each pair worked out once."""

    def __init__(self, work_out: Callable[[int, int], int]) -> None:
        self._work_out = work_out
        self._known: dict[int, int] = {}

    def of(self, left: Ids, right: Ids) -> Ids:
        """The function of many pairs."""
        if not len(left):
            return np.zeros(0, np.int64)
        distinct, back = np.unique((left << 32) | right, return_inverse=True)
        known = self._known
        found = [known.get(one) for one in distinct.tolist()]
        for place, one in enumerate(found):
            if one is None:
                key = int(distinct[place])
                found[place] = known[key] = self._work_out(key >> 32, key & 0xFFFFFFFF)
        return np.array(found, np.int64)[back]
