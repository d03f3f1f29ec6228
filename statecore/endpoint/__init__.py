"""One device's side of every call it has a part in. Pure: state and input in, state and effects out.

A leg moves on facts (views) from the switchboard, along the table's shortest path, so that listeners see a legal one.
By itself the endpoint takes only rows whose decider it is: ends, which release media at once and are owed to the
switchboard. What is owed is said again after every resume until a fact shows that it was heard. Every wait settles: by
a fact, by a refusal, by the end of the leg, or, if the service does not hear the command, by its bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from ..errors import CallNotFound, from_code
from ..flow import FLOWS, Flow, Timers
from ..machine import compiled
from ..wire import Beat, Hello, Peer, Refused, Relayed, Token, Unknown, View, Welcome
from ._data import clock, resume, say, take, times
from ._facts import let_go, refused, unknown, view
from ._outcome import refusal
from ._step import Step
from ._types import (
    Await,
    CloseMedia,
    Do,
    Drive,
    Effect,
    Emit,
    Endpoint,
    Input,
    LinkDown,
    LinkUp,
    LocalLeg,
    Media,
    OpenMedia,
    Received,
    Reply,
    Say,
    Send,
    Settle,
    Signal,
    Tick,
    Wait,
)


class EndpointMachine:
    """Interprets the flows on the device's side. Holds nothing but what it was configured with; safe to share."""

    def __init__(self, *, flows: Mapping[str, Flow] = FLOWS, timers: Timers | None = None) -> None:
        self.machines = {name: compiled(flow) for name, flow in flows.items()}
        self.hashes = {name: flow.hash for name, flow in flows.items()}
        self.timers = {name: round(value * 1000) for name, value in attrs.asdict(timers or Timers()).items()}
        self._inputs: dict[type, Any] = {
            Await: self._await,
            Do: Step.do,
            LinkDown: self._link_down,
            LinkUp: self._link_up,
            Media: self._media,
            Received: self._received,
            Say: say,
            Signal: self._signal,
            Tick: self._tick,
        }
        self._messages: dict[type, Any] = {
            Beat: lambda *_: None,
            Refused: self._refused,
            Relayed: self._relayed,
            Token: self._token,
            Unknown: unknown,
            View: view,
            Welcome: self._welcome,
        }

    def step(self, endpoint: Endpoint, given: Input, now: int) -> tuple[Endpoint, list[Effect]]:
        """Take one input. `now` is the device's monotonic clock in milliseconds."""
        step = Step(endpoint, self.machines, self.timers, now)
        self._inputs[type(given)](step, given)
        if step.get("held"):
            let_go(step)
        return step.done()

    # --- the user

    def _await(self, step: Step, given: Await) -> None:
        """Wait for the acceptance: bounded by the ring timer and by the device's patience."""
        leg = step.legs.get(step.session(given.session))
        if leg is None:
            step.settle(given.ticket, None, CallNotFound(session_id=given.session))
        elif step.is_over(leg):
            step.settle(given.ticket, leg, refusal(leg, "joinable"))
        elif leg.state in step.machine(leg).answered:
            step.settle(given.ticket, leg)
        else:
            step.put(leg, waits=(*leg.waits, Wait(given.ticket, "joinable", 0, "")))

    # --- the link

    def _link_up(self, step: Step, given: LinkUp) -> None:
        self._link_down(step, None)  # this connection replaces the one before
        if given.wall and not step.get("ahead"):
            step.changes["ahead"] = given.wall - step.now
        step.changes["conn"] = conn = step.get("conn") + 1
        known = {session: ring.seq for session, ring in step.get("held").items()}
        known.update({leg.session: leg.seq for leg in step.legs.values() if leg.seq})
        endpoint = step.endpoint
        hello = Hello(endpoint.device, endpoint.epoch, conn, name=given.name, flows=given.flows, sessions=known)
        step.effects.append(Send(hello))

    def _link_down(self, step: Step, _: LinkDown | None) -> None:
        if step.online:
            step.online = False
            step.emit("connection_lost")

    def _welcome(self, step: Step, message: Welcome) -> None:
        """The link stands: say again what is owed, and let media make good what was lost meanwhile."""
        again = step.endpoint.beat_due > 0
        beat = step.now + message.heartbeat
        step.online = True
        step.changes.update(
            avatar=message.avatar, heartbeat=message.heartbeat, lease=message.lease, rate=message.rate, beat_due=beat
        )
        owed = [command for leg in step.legs.values() for command in leg.owed]
        step.effects += [Send(command) for command in sorted(owed, key=lambda command: command.n)]
        for leg in step.legs.values():
            if again and leg.media == "open":
                step.effects.append(Drive(leg.session, "resumed"))
                resume(step, leg)
        if again:
            step.emit("connection_restored")

    def _received(self, step: Step, given: Received) -> None:
        step.confirmed = step.now
        self._messages[type(given.message)](step, given.message)

    def _refused(self, step: Step, message: Refused) -> None:
        error = from_code(message.code, **message.data)
        if message.request:
            step.effects.append(Reply(message.n, error=error))
        else:
            refused(step, message.session, message.n, error)

    def _relayed(self, step: Step, message: Relayed) -> None:
        leg = step.legs.get(step.session(message.session))
        if leg is None or leg.media != "open":
            return
        if message.kind == "data":
            take(step, leg, message.source, message.body)
        else:
            step.effects.append(Drive(leg.session, "receive", (message.source, message.kind, message.body)))

    def _token(self, step: Step, message: Token) -> None:
        step.effects.append(Reply(message.n, message.token))

    # --- media

    def _media(self, step: Step, given: Media) -> None:
        leg = step.legs.get(step.session(given.session))
        if leg is None or leg.media != "open":
            return  # too late: it has ended
        flow = step.machine(leg).flow
        if given.what == "up" and not leg.reported:
            step.put(leg, reported=True)
            step.do(Do(leg.session, flow.up))
        elif given.what == "failed":
            step.do(Do(leg.session, flow.failed))
        elif given.what == "peer_lost":
            peer = _peer(leg, given.pid)  # of who is not here there is no media to lose
            if peer is not None and peer.joined and not any(pid == given.pid for pid, _, _ in leg.lost):
                step.put(leg, lost=(*leg.lost, (given.pid, step.now, 0)))
        elif given.what == "peer_connected":
            for pid, _, told in leg.lost:
                if pid == given.pid and told:
                    step.emit("remote_connection_restored", leg, _peer(leg, pid))
            step.put(leg, lost=tuple(entry for entry in leg.lost if entry[0] != given.pid))

    def _signal(self, step: Step, given: Signal) -> None:
        leg = step.legs.get(step.session(given.session))
        if leg is not None and leg.media == "open" and step.online:
            step.effects.append(Send(given.message))

    # --- time

    def _tick(self, step: Step, _: Tick) -> None:
        now = step.now
        if step.online and now - step.confirmed >= step.get("lease"):
            self._link_down(step, LinkDown())  # it only seems to stand: nothing was heard for a whole lease
        if step.online and step.get("beat_due") <= now:
            step.changes["beat_due"] = now + step.get("heartbeat")
            step.effects.append(Send(Beat()))
        for leg in list(step.legs.values()):
            if step.is_over(leg):
                continue
            if now - step.confirmed >= step.get("lease"):
                step.end_by(leg, step.machine(leg).flow.lost)
                continue
            step.timeouts(leg)
            leg = step.legs.get(leg.session, leg)
            if leg.lanes:
                leg = clock(step, leg)
            if not step.is_over(leg) and leg.media == "open":
                self._media_clocks(step, leg)

    def _media_clocks(self, step: Step, leg: LocalLeg) -> None:
        now, flow = step.now, step.machine(leg).flow
        stages = self.stages(flow, step.get("lease"))
        lost = []
        for pid, since, told in leg.lost:
            if not told and now - since >= stages[0]:
                step.emit("remote_connection_lost", leg, _peer(leg, pid))
            lost.append((pid, since, sum(now - since >= stage for stage in stages)))
        leg = step.put(leg, lost=tuple(lost))
        others = sum(1 for peer in leg.peers if peer.joined)
        # If nobody of several can be reached, it is this side's media that cannot go on; of two, it is everybody's.
        last = len(stages) if others == 1 else 2
        if 0 < others == sum(told >= last for _, _, told in lost):
            step.put(leg, lost=())
            step.do(Do(leg.session, flow.failed))
        elif leg.until and leg.until <= now:
            step.end_by(leg, flow.expire)
        elif leg.alone_since:
            self._alone(step, leg)

    def _alone(self, step: Step, leg: LocalLeg) -> None:
        until_prompt, until_end = leg.idle
        alone = step.now - abs(leg.alone_since)
        if leg.alone_since > 0 and alone >= until_prompt:
            step.put(leg, alone_since=-leg.alone_since)
            step.emit("idle_prompt", leg, value=until_end / 1000)
        elif alone >= until_prompt + until_end:
            step.emit("session_timeout", leg)
            step.end_by(leg, step.machine(leg).flow.idle)

    def stages(self, flow: Flow, lease: int) -> tuple[int, ...]:
        """For how long media with somebody is lost when that is told, and when it is for good. Where a call waits for
        people to come back, whoever is left with one other waits a lease more: was it that device which is gone, the
        service has known it by then, and the other stays."""
        notice, lost = self.timers["media_notice"], self.timers["media_lost"]
        return (notice, lost, lost + lease) if flow.lingers else (notice, lost)

    def next_due(self, endpoint: Endpoint) -> int:
        """When to `Tick` next; 0 for never."""
        due = [endpoint.beat_due, endpoint.confirmed + endpoint.lease] if endpoint.online else []
        for leg in endpoint.legs.values():
            if leg.state == self.machines[leg.flow].flow.final:
                continue
            due.append(endpoint.confirmed + endpoint.lease)
            due += [wait.due for wait in leg.waits if wait.due]
            if leg.lost:
                stages = self.stages(self.machines[leg.flow].flow, endpoint.lease)
                due += [since + stages[told] for _, since, told in leg.lost if told < len(stages)]
            due += [leg.until] if leg.until else []
            due += times(endpoint, leg) if leg.lanes else ()
            if leg.alone_since:
                due.append(abs(leg.alone_since) + leg.idle[0] + (leg.idle[1] if leg.alone_since < 0 else 0))
        return min(due, default=0)


def _peer(leg: LocalLeg, pid: str) -> Peer | None:
    return next((peer for peer in leg.peers if peer.pid == pid), None)


__all__ = [
    "Await",
    "CloseMedia",
    "Do",
    "Drive",
    "Effect",
    "Emit",
    "Endpoint",
    "EndpointMachine",
    "Input",
    "LinkDown",
    "LinkUp",
    "LocalLeg",
    "Media",
    "OpenMedia",
    "Received",
    "Reply",
    "Say",
    "Send",
    "Settle",
    "Signal",
    "Tick",
    "Wait",
    "refusal",
]
