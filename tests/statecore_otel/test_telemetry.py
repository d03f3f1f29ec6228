"""Spans and metrics of real calls, through the SDK's own exporters."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from statecore import CallClient, CallService, StatecoreError
from statecore.testing import FakeMedia, VirtualClock, run_virtual
from statecore_otel import Telemetry


class Seen:
    """What a client's telemetry gave."""

    def __init__(self) -> None:
        self._spans, self._metrics = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracing = TracerProvider()
        self.tracing.add_span_processor(SimpleSpanProcessor(self._spans))
        self.telemetry = Telemetry(
            tracer_provider=self.tracing, meter_provider=MeterProvider(metric_readers=[self._metrics])
        )

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        """The spans that ended, by name."""
        return {span.name: span for span in self._spans.get_finished_spans()}

    def points(self, name: str) -> list[Any]:
        """The data points of a metric."""
        data = self._metrics.get_metrics_data()
        found = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics] if data else []
        return [point for metric in found if metric.name == name for point in metric.data.data_points]


def call(seen: Seen, *, answer: bool) -> None:
    """Alice calls Bob, who answers, or lets it ring."""

    async def main() -> None:
        clock = VirtualClock()
        async with (
            CallService(clock=clock) as service,
            CallClient(service.signaling("alice"), FakeMedia(), clock=clock, trace=seen.telemetry) as alice,
            CallClient(service.signaling("bob"), FakeMedia(), clock=clock) as bob,
        ):

            async def take(call: Any) -> None:
                async with call.answer() as session:
                    await session.wait_ended()

            if answer:
                bob.on("incoming_call_received", take)
                async with alice.call("bob", type="audio"):
                    pass
            else:
                ringing = await alice.initiate_call("bob", timeout=7)
                with pytest.raises(StatecoreError):
                    await ringing.answered()

    run_virtual(main())


def test_a_call_is_a_span_with_its_states_inside() -> None:
    """The call's span holds one for each state, one after the other, and says who, what and why it ended."""
    seen = Seen()
    call(seen, answer=True)
    whole = seen.spans["call"]
    states = [seen.spans[name] for name in ("idle", "ringing", "accepted", "active", "ended")]
    assert whole.context is not None
    assert all(state.parent is not None and state.parent.span_id == whole.context.span_id for state in states)
    times = [time for state in states for time in (state.start_time, state.end_time)]
    assert times == sorted(times)  # type: ignore[type-var]  # every one of them has begun and ended
    told = dict(whole.attributes or {})
    assert told["statecore.user"] == "alice"
    assert (told["statecore.flow"], told["statecore.type"], told["statecore.reason"]) == ("ringing", "audio", "hangup")
    assert whole.status.status_code is StatusCode.UNSET
    assert {"outgoing_call_accepted", "session_joined"} <= {event.name for event in whole.events}


def test_metrics_count_calls_and_time_states() -> None:
    """A call that rang for seven seconds in vain is counted under its reason, its ringing is timed, none is live."""
    seen = Seen()
    call(seen, answer=False)
    (ended,) = seen.points("statecore.calls.ended")
    assert (ended.value, ended.attributes["statecore.reason"]) == (1, "unanswered")
    (live,) = seen.points("statecore.calls.live")
    assert live.value == 0
    lasted = {point.attributes["statecore.state"]: point for point in seen.points("statecore.state.duration")}
    assert lasted["ringing"].sum == pytest.approx(7, abs=0.1)


def test_what_nobody_wished_is_an_error() -> None:
    """A call that ends because something failed has a span whose status says so."""
    seen = Seen()
    head = '{"trace":1,"user":"a","device":"d","epoch":"e","flows":{},"timers":{},"began":1000,"at":0}'
    for line in (
        head,
        '{"at":5,"in":"Do","given":{"flow":"ringing"},"moves":{"s":["idle","ringing"]}}',
        '{"at":9,"in":"Tick","given":{},"moves":{"s":["ringing","ended"]},"ended":{"s":"lost"}}',
    ):
        seen.telemetry(line)
    whole = seen.spans["call"]
    assert whole.status.status_code is StatusCode.ERROR
    assert (whole.start_time, whole.end_time) == (1_005_000_000, 1_009_000_000)


def test_what_was_not_over_ends_at_the_close() -> None:
    """Closing ends the spans of calls that the trace says nothing more of; closing again does nothing."""
    seen = Seen()
    seen.telemetry('{"trace":1,"user":"a","device":"d","epoch":"e","flows":{},"timers":{},"began":1,"at":0}')
    seen.telemetry('{"at":5,"in":"Do","given":{},"moves":{"s":["idle"]},"did":[["tell","x","s"],["send","y","s"]]}')
    seen.telemetry('{"at":6,"in":"Tick","given":{},"ended":{"unknown":"hangup"}}')
    assert seen.spans == {}
    seen.telemetry.close()
    seen.telemetry.close()
    assert set(seen.spans) == {"idle", "call"}
    (live,) = seen.points("statecore.calls.live")
    assert live.value == 0


def test_without_an_sdk_nothing_happens() -> None:
    """With the global providers, which do nothing, a call goes on as ever."""
    seen = Seen()
    seen.telemetry = Telemetry()
    call(seen, answer=True)
    assert seen.spans == {}
