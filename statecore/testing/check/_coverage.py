"""Which rows of the tables were taken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from statecore.endpoint import Do, Effect, Endpoint, Received, Send, Settle
from statecore.flow import Row
from statecore.machine import Cell
from statecore.testing.check._scenario import Core


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
                self._note(leg.flow, leg.state, given.trigger, refuse=codes)
            elif leg is not None and not any(isinstance(effect, Send) for effect in effects):
                self._note(leg.flow, leg.state, given.trigger, refuse={None}, idle=True)
        if not isinstance(given, Received):
            for session, leg in after.legs.items():
                was = before.legs.get(session)
                if leg.reason is not None and (was is None or was.reason is None) and leg.owed:
                    state = was.state if was is not None else self._machines[leg.flow].initial
                    self._note(leg.flow, state, leg.owed[-1].trigger, refuse={None})

    def _note(self, flow: str, state: str, trigger: str, refuse: set[Any], *, idle: bool = False) -> None:
        machine = self._machines.get(flow)
        for row in machine.flow.rows if machine is not None else ():
            own = row.decider == "endpoint" or row.refuse is not None
            if idle:
                own = row.to == row.state and not row.effects
            if (row.state, row.trigger) == (state, trigger) and row.refuse in refuse and own:
                self._seen.add(id(row))

    def taken(self) -> dict[str, frozenset[int]]:
        """The rows that were taken, by flow and place."""
        return {
            name: frozenset(place for place, row in enumerate(machine.flow.rows) if id(row) in self._seen)
            for name, machine in self._machines.items()
        }
