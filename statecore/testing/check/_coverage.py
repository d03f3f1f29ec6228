"""Which rows of the tables were taken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from msgspec.structs import replace

from statecore.endpoint import Do, Effect, Endpoint, LocalLeg, Received, Send, Settle
from statecore.endpoint._intent import Intent, intent
from statecore.flow import Row
from statecore.machine import Cell
from statecore.testing.check._scenario import Core


def row_name(row: Row) -> str:
    """A row in a line; no two of a flow's have the same."""
    guard = "".join([*(f" {name}" for name in row.when), *(f" !{name}" for name in row.unless)])
    return f"{row.state} {row.trigger}{guard} -> {row.refuse or row.to}"


class _Rows(dict[int, Row]):
    """A cell's rows, that notes which were looked up."""

    def __init__(self, rows: dict[int, Row], seen: set[int]) -> None:
        super().__init__(rows)
        self._seen = seen

    def get(self, key: int, default: Any = None) -> Any:
        row = super().get(key, default)
        self._seen.add(id(row))
        return row


class Coverage:
    """Looks on at which rows are taken: by the service, as it looks them up, and by devices, as they end by themselves,
    refuse, and need do nothing."""

    def __init__(self, core: Core, flows: Iterable[str]) -> None:
        self._machines = {name: core.board.machine(name) for name in flows}
        self._seen: set[int] = set()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note what the service looks up meanwhile."""
        cells: list[tuple[Cell, dict[int, Row]]] = []
        for machine in self._machines.values():
            cells += [(cell, cell.rows) for by_trigger in machine.cells.values() for cell in by_trigger.values()]
        try:
            for cell, rows in cells:
                cell.rows = _Rows(rows, self._seen)
            yield
        finally:
            for cell, rows in cells:
                cell.rows = rows

    def device(self, before: Endpoint, after: Endpoint, given: Any, effects: list[Effect]) -> None:
        """Note what a device has done by itself."""
        if isinstance(given, Do):
            leg = before.legs.get(before.names.get(given.session, given.session))
            codes = {effect.error.code for effect in effects if isinstance(effect, Settle) and effect.error}
            if leg is not None and codes:
                self._note(row for row in self._may(leg, given.trigger).refusing if row.refuse in codes)
            elif leg is not None and not any(isinstance(effect, Send) for effect in effects):
                rows = self._may(leg, given.trigger).rows
                self._note(row for row in rows if row.to == row.state and not row.effects)
        if not isinstance(given, Received):
            for session, leg in after.legs.items():
                was = before.legs.get(session)
                if leg.reason is not None and (was is None or was.reason is None) and leg.owed:
                    was = was if was is not None else replace(leg, state=self._machines[leg.flow].initial)
                    own = self._may(was, leg.owed[-1].trigger).own
                    self._note([own] if own is not None else [])

    def _may(self, leg: LocalLeg, trigger: str) -> Intent:
        return intent(self._machines[leg.flow], leg, trigger)

    def _note(self, rows: Iterable[Row]) -> None:
        self._seen.update(id(row) for row in rows)

    def taken(self) -> dict[str, frozenset[int]]:
        """The rows that were taken, by flow and place."""
        return {
            name: frozenset(place for place, row in enumerate(machine.flow.rows) if id(row) in self._seen)
            for name, machine in self._machines.items()
        }
