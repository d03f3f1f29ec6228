"""What a service did, for Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, generate_latest

from statecore.model import Record
from statecore.ports import Key
from statecore.switchboard import Act, Done, Input
from statecore.wire import Refused

if TYPE_CHECKING:
    from statecore import CallService

CONTENT_TYPE = CONTENT_TYPE_LATEST
"""The media type of what `Metrics.text` gives."""


class Metrics:
    """Counts what a service decides, from now on. No label has values that a stranger could make up."""

    def __init__(self, service: CallService) -> None:
        self._service = service
        self._registry = mine = CollectorRegistry()
        self._connections = Gauge("statecore_connections", "Connections of devices.", registry=mine)
        self._live = Gauge("statecore_live_calls", "Calls that ring or are on, and sessions.", registry=mine)
        self._commands = Counter("statecore_commands", "Commands, by result.", ["trigger", "result"], registry=mine)
        self._ended = Counter("statecore_ended_calls", "What ended, by reason.", ["flow", "reason"], registry=mine)
        self._triggers = {trigger.name for flow in service.flows.values() for trigger in flow.triggers}
        service.observe(self._decided)

    async def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        self._connections.set(self._service.connections)
        self._live.set(len(await self._service.calls()))
        return generate_latest(self._registry)

    def _decided(self, given: Input, done: Done, before: Mapping[Key, Any]) -> None:
        if isinstance(given, Act):
            refused = next((e.message for e in done.effects if isinstance(e.message, Refused)), None)
            trigger = given.command.trigger if given.command.trigger in self._triggers else "unknown"
            self._commands.labels(trigger, refused.code if refused is not None else "ok").inc()
        for key, record in done.writes.items():
            if isinstance(record, Record) and record.ended_at and not record.merged_into:
                old = before.get(key)
                if not (isinstance(old, Record) and old.ended_at):
                    self._ended.labels(record.flow, record.reason).inc()


__all__ = ["CONTENT_TYPE", "Metrics"]
