"""What a service did, for Prometheus."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, generate_latest

if TYPE_CHECKING:
    from statecore import CallService, Decision

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
        self._counted = functools.cache(self._commands.labels)
        """To be had at once: every command is counted, and there are but so many triggers and codes."""
        self._counted_ends = functools.cache(self._ended.labels)
        self._triggers = {trigger.name for flow in service.flows.values() for trigger in flow.triggers}
        service.observe(self._decided)

    async def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        self._connections.set(self._service.connections)
        self._live.set(await self._service.count_calls())
        return generate_latest(self._registry)

    def _decided(self, decision: Decision) -> None:
        if decision.command:
            trigger = decision.command if decision.command in self._triggers else "unknown"
            self._counted(trigger, decision.refused or "ok").inc()
        for record in decision.ended:
            self._counted_ends(record.flow, record.reason).inc()


__all__ = ["CONTENT_TYPE", "Metrics"]
