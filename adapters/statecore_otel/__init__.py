"""OpenTelemetry for calls: spans and metrics out of what a client records.

    client = CallClient(service.signaling("alice"), media, trace=Telemetry())

Each part a device has in a call becomes a span `call`, with a span for each state it goes through inside it, at the
times when they happened; nothing secret is in them (see `statecore.trace`). Metrics: `statecore.calls.live`,
`statecore.calls.ended` by reason, `statecore.state.duration` by state. Without providers the global ones are used,
which do nothing unless the application has set some.
"""

from __future__ import annotations

import json
from typing import Any

from opentelemetry.metrics import MeterProvider, get_meter
from opentelemetry.trace import Span, StatusCode, TracerProvider, get_tracer, set_span_in_context

_FAULTS = ("failed", "lost", "expired")
"""How the reasons begin that are nobody's wish."""


class Telemetry:
    """Takes the lines of one client's trace. Make one for each client."""

    def __init__(
        self, *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        self._tracer = get_tracer("statecore", tracer_provider=tracer_provider)
        meter = get_meter("statecore", meter_provider=meter_provider)
        self._live = meter.create_up_down_counter("statecore.calls.live", "{call}", "Calls this device has a part in")
        self._ended = meter.create_counter("statecore.calls.ended", "{call}", "Calls that ended, by reason")
        self._lasted = meter.create_histogram("statecore.state.duration", "s", "How long a state lasted")
        self._calls: dict[str, _Call] = {}
        self._who: dict[str, str] = {}
        self._offset = 0
        """Nanoseconds to add to the device's monotonic clock to have Unix time."""

    def __call__(self, line: str) -> None:
        """A line of the trace."""
        data = json.loads(line)
        if "trace" in data:
            self._who = {"statecore.user": data["user"], "statecore.device": data["device"]}
            self._offset = (data["began"] - data["at"]) * 1_000_000
            return
        now = data["at"] * 1_000_000 + self._offset
        for session, path in data.get("moves", {}).items():
            call = self._calls.get(session) or self._begin(session, data["given"], now)
            for state in path:
                self._enter(call, state, now)
        for did, what, session in data.get("did", ()):
            if did == "tell" and session in self._calls:
                self._calls[session].span.add_event(what, timestamp=now)
        for session, reason in data.get("ended", {}).items():
            if session in self._calls:
                self._end(self._calls.pop(session), reason, now)

    def close(self) -> None:
        """End the spans of calls that are not over: the client is gone. Idempotent."""
        for call in self._calls.values():
            if call.inner is not None:
                call.inner.end()
            call.span.end()
            self._live.add(-1, call.kind)
        self._calls.clear()

    def _begin(self, session: str, given: dict[str, Any], now: int) -> _Call:
        inner = given.get("message") or given
        kind = {"statecore.flow": str(inner.get("flow") or "ringing")}
        about = {**self._who, **kind, "statecore.session": session, "statecore.type": str(inner.get("type", "video"))}
        span = self._tracer.start_span("call", attributes=about, start_time=now)
        self._live.add(1, kind)
        call = self._calls[session] = _Call(span, kind)
        return call

    def _enter(self, call: _Call, state: str, now: int) -> None:
        if state == call.state:
            return
        if call.inner is not None:
            call.inner.end(now)
            self._lasted.record((now - call.since) / 1e9, {**call.kind, "statecore.state": call.state})
        call.state, call.since = state, now
        call.inner = self._tracer.start_span(state, context=set_span_in_context(call.span), start_time=now)

    def _end(self, call: _Call, reason: str, now: int) -> None:
        if call.inner is not None:
            call.inner.end(now)
        call.span.set_attribute("statecore.reason", reason)
        if reason.startswith(_FAULTS):
            call.span.set_status(StatusCode.ERROR, reason)
        call.span.end(now)
        self._live.add(-1, call.kind)
        self._ended.add(1, {**call.kind, "statecore.reason": reason})


class _Call:
    """A call that is not over."""

    def __init__(self, span: Span, kind: dict[str, str]) -> None:
        self.span = span
        self.kind = kind
        self.state = ""
        self.since = 0
        self.inner: Span | None = None


__all__ = ["Telemetry"]
