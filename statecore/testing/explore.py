"""Walks a world through every order of events, or through as many as one has time for."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import Struct

from statecore.testing.oracle import assert_always, assert_deaf, assert_over, assert_settled
from statecore.testing.world import Action, World

Check = Callable[[World], None]


class Found(Struct, frozen=True):
    """How far an exploration went."""

    states: int
    """Different worlds seen."""
    interleavings: int
    """Complete orders of events that they stand for (all of them walked, since equal worlds go on equally)."""
    exhaustive: bool
    """Whether that was everything there is."""


class _Enough(Exception):
    """The limit was reached."""


class _Search:
    def __init__(self, limit: int, always: Check | None, finally_: Check | None) -> None:
        self.limit = limit
        self.always = always
        self.finally_ = finally_
        self.paths: dict[bytes, int] = {}
        self.seen: set[bytes] = set()
        self.deaf: set[object] = set()

    def visit(self, world: World) -> None:
        """Hold a world to the oracle."""
        with _way(world):
            assert_always(world)
            assert_settled(world)
            _assert_deaf_once(world, self.deaf)
            if self.always is not None:
                self.always(world)

    def finish(self, world: World) -> None:
        """Nothing more is going to happen: end it, both at once and by its timers."""
        with _way(world):
            if self.finally_ is not None:
                self.finally_(world.copy())
            over = world.copy().end_all()
            assert_over(over.pass_time(100))
            late = world.copy().pass_time(100)
            assert_settled(late)
            assert_over(late.end_all().pass_time(100))

    def walk(self, world: World) -> int:
        """Every order of events from here: how many there are."""
        key = world.digest()
        known = self.paths.get(key)
        if known is not None:
            return known
        if len(self.paths) + len(self.seen) >= self.limit:
            raise _Enough
        self.seen.add(key)
        self.visit(world)
        actions = world.enabled()
        total = sum(self.walk(_step(world, action)) for action in actions)
        if not actions:
            self.finish(world)
            total = 1
        self.seen.discard(key)
        self.paths[key] = total
        return total

    def stroll(self, world: World, chance: random.Random) -> bytes:
        """One order of events, by chance."""
        order: list[bytes] = []
        while True:
            key = world.digest()
            order.append(key)
            fresh = key not in self.paths and key not in self.seen
            if fresh:
                self.seen.add(key)
                self.visit(world)
            actions = world.enabled()
            if not actions:
                if fresh:
                    self.finish(world)
                return b"".join(order)
            world = _step(world, chance.choice(actions))


@contextmanager
def _way(world: World, *more: Action) -> Iterator[None]:
    """Let a failure tell how it came to be."""
    try:
        yield
    except Exception as error:
        error.add_note(f"after {(*world.trail, *more)}")
        raise


def _step(world: World, action: Action) -> World:
    with _way(world, action):
        return world.after(action)


def _assert_deaf_once(world: World, seen: set[object]) -> None:
    """The probes are many; they depend on little."""
    key = tuple((r.flow, r.end.at > 0, tuple(leg.control for leg in r.legs)) for r in world.records())
    if key not in seen:
        seen.add(key)
        assert_deaf(world)


def explore(
    world: World, *, limit: int = 5000, seed: int = 1, always: Check | None = None, finally_: Check | None = None
) -> Found:
    """Walk through every order of the events that a world can bring; `always` and `finally_` add to the oracle.

    Beyond `limit` different worlds the rest is sampled: random walks with the given seed. A failure names the way
    there, for `World.act` to repeat."""
    search = _Search(limit, always, finally_)
    deep = sys.getrecursionlimit()
    sys.setrecursionlimit(max(deep, 10_000))
    try:
        paths = search.walk(world)
        return Found(len(search.paths), paths, True)
    except _Enough:
        return _sample(search, world, seed)
    finally:
        sys.setrecursionlimit(deep)


def _sample(search: _Search, world: World, seed: int) -> Found:
    search.seen.clear()
    chance, orders = random.Random(seed), set[bytes]()
    while len(orders) < search.limit // 20:
        orders.add(search.stroll(world, chance))
    return Found(len(search.paths) + len(search.seen), len(orders), False)
