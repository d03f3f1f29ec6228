"""Emitting to listeners by id, beside bare pyee; and changing who listens, however many there are."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle, islice, repeat

from pyee.base import EventEmitter

from statecore.listeners import ListenerRegistry

from ._harness import Effort, Figure, Loop, alternate, at_most, cpu

_EVENT = "call_ended_message_received"
_LIMIT = 1.5


def _handler() -> Callable[[object], None]:
    """A new one each time: pyee keeps equal handlers only once."""

    def handle(_: object) -> None:
        pass

    return handle


def _registry(listeners: int) -> ListenerRegistry:
    registry = ListenerRegistry()
    for number in range(listeners):
        registry.on(_EVENT, _handler(), f"listener-{number}")
    return registry


def _emit_ours(listeners: int) -> Loop:
    emit, call = _registry(listeners).emit, object()

    def loop(count: int) -> None:
        for _ in repeat(None, count):
            emit(_EVENT, call)

    return loop


def _emit_pyee(listeners: int) -> Loop:
    emitter = EventEmitter()
    for _ in range(listeners):
        emitter.on(_EVENT, _handler())
    emit, call = emitter.emit, object()

    def loop(count: int) -> None:
        for _ in repeat(None, count):
            emit(_EVENT, call)

    return loop


def _change(listeners: int) -> Loop:
    """Remove the oldest, add it again as the newest, and replace one in the middle."""
    registry, handler = _registry(listeners), _handler()
    ids = [f"listener-{number}" for number in range(listeners)]
    oldest, middle = cycle(ids), islice(cycle(ids), listeners // 2, None)

    def loop(count: int) -> None:
        for _ in repeat(None, count):
            name = next(oldest)
            registry.remove(name)
            registry.on(_EVENT, handler, name)
            registry.on(_EVENT, handler, next(middle))

    return loop


def _change_pyee(listeners: int) -> Loop:
    """The same of handlers that have no id: what is replaced is removed, and added as the newest."""
    emitter, handlers = EventEmitter(), [_handler() for _ in range(listeners)]
    for handler in handlers:
        emitter.on(_EVENT, handler)
    oldest, middle = cycle(handlers), islice(cycle(handlers), listeners // 2, None)

    def loop(count: int) -> None:
        for _ in repeat(None, count):
            for handler in (next(oldest), next(middle)):
                emitter.remove_listener(_EVENT, handler)
                emitter.on(_EVENT, handler)

    return loop


def listeners(effort: Effort) -> list[Figure]:
    """Figures of emitting, then of changing."""
    return [*(_emitting(effort, size) for size in (1, 4, 64)), *_changing(effort)]


def _emitting(effort: Effort, size: int) -> Figure:
    taken = alternate({"ours": cpu(_emit_ours(size)), "pyee": cpu(_emit_pyee(size))}, effort)
    value, peer = taken["ours"] * 1e6, taken["pyee"] * 1e6
    held = size == 4
    return Figure(
        name=f"emit to {size} listener{'s' * (size > 1)} by id", value=value, unit="us", peer="bare pyee",
        peer_value=peer, ratio=value / peer, target=f"<= {_LIMIT}x" if held else "",
        met=at_most(_LIMIT, value / peer) if held else None,
    )  # fmt: skip


def _changing(effort: Effort) -> list[Figure]:
    few, *many = (10, 1_000, 10_000) if effort.quick else (10, 1_000, 100_000)
    ours = {f"ours {size}": cpu(_change(size)) for size in (few, *many)}
    pyee = {f"pyee {size}": cpu(_change_pyee(size)) for size in (few, *many)}
    taken = alternate(ours | pyee, effort)

    def figure(who: str, size: int, name: str) -> Figure:
        value, peer = taken[f"{who} {size}"] * 1e6, taken[f"{who} {few}"] * 1e6
        held = who == "ours"
        return Figure(
            name=name, value=value, unit="us", peer=f"of {few}", peer_value=peer, ratio=value / peer,
            target=f"<= {_LIMIT}x" if held else "", met=at_most(_LIMIT, value / peer) if held else None,
        )  # fmt: skip

    return [
        each
        for size in many
        for each in (
            figure("ours", size, f"remove, add and replace one of {size:,} listeners"),
            figure("pyee", size, f"the same with {size:,} handlers of bare pyee"),
        )
    ]
