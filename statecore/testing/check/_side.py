"""A device alone: its endpoint, and what the oracle has to remember of it. One step at a time, every step looked at.

Time stands still. Every armed timer may fire at any time, so how long it has still to run is no part of a state: a
timer fires by being made due for one step, and what was armed or renewed in that step is armed as ever afterwards.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from statecore.endpoint import Do, Endpoint, LocalLeg, Received, Send, Settle, Tick
from statecore.testing._world_parts import NOON, Plan, call_token
from statecore.testing.check._coverage import Coverage
from statecore.testing.check._scenario import Core
from statecore.testing.oracle import Ends, Track, Watch
from statecore.tokens import ROLE_GRANTS, Role
from statecore.wire import Down, Refused, Relayed, Unknown, View, encode

CLOCK = 100_000_000
"""What the monotonic clock of every device shows, in milliseconds."""

Timer = tuple[Any, ...]
"""A timer of a device: what it is of, and which one."""


class Side(Struct, frozen=True):
    """A device's endpoint, and what its listeners and its user have seen and said so far."""

    endpoint: Endpoint
    tracks: tuple[tuple[str, Track], ...] = ()
    agreed: tuple[tuple[str, frozenset[str]], ...] = ()
    ends: tuple[tuple[str, str, Ends], ...] = ()
    """By epoch and session: the ends that were told."""


key_of = msgspec.msgpack.Encoder(order="deterministic", enc_hook=repr).encode
"""Equal for equal values."""


class SideRules:
    """How devices move, under the eyes of the oracle."""

    def __init__(self, core: Core, coverage: Coverage) -> None:
        self.machine = core.machine
        self.coverage = coverage

    def step(self, side: Side, given: Any) -> tuple[Side, tuple[bytes, ...]]:
        """One input: the side after it, and what it wants sent."""
        before, watch = side.endpoint, self._watch(side)
        if isinstance(given, Do):
            watch.wanted(before, self.leg(before, given.session), given)
        after, effects = self.machine.step(before, given, CLOCK)
        watch.stepped(before, after, effects)
        self.coverage.device(before, after, given, effects)
        _check_tickets(before, after, given, effects)
        sent = tuple(encode(effect.message) for effect in effects if isinstance(effect, Send))
        return _side(after, watch), sent

    def fire(self, side: Side, timer: Timer) -> tuple[Side, tuple[bytes, ...]]:
        """One of its timers fires, and no other."""
        due = replace(side, endpoint=_FIRE[timer[0]](self, side.endpoint, *timer[1:]))
        after, sent = self.step(due, Tick())
        return replace(after, endpoint=_calm(after.endpoint)), sent

    def timers(self, endpoint: Endpoint) -> list[Timer]:
        """The timers that are armed. A heartbeat is none: all that it renews is time."""
        live = [leg for leg in endpoint.legs.values() if leg.state != self.machine.machines[leg.flow].final]
        found: list[Timer] = [("patience",)] if live or endpoint.online else []
        for leg in live:
            found += [("command", leg.session, n) for n in sorted({wait.n for wait in leg.waits if wait.due})]
            if leg.media == "open":
                last = len(self.stages(endpoint, leg))
                found += [("gone", leg.session, pid, told) for pid, _, told in leg.lost if told < last]
                found += [("until", leg.session)] if leg.until else []
                found += [("idle", leg.session, leg.alone_since > 0)] if leg.alone_since else []
        return found

    def stages(self, endpoint: Endpoint, leg: LocalLeg) -> tuple[int, ...]:
        """For how long media of a leg is lost when something comes of it."""
        return self.machine.stages(self.machine.machines[leg.flow].flow, endpoint.lease)

    def crashed(self, side: Side) -> Side:
        """The process died, and another was started."""
        old = side.endpoint
        name, number = old.epoch.rsplit("-", 1)
        fresh = Endpoint(old.user, old.device, f"{name}-{int(number) + 1}", confirmed=CLOCK)
        return Side(fresh, ends=side.ends)

    def leg(self, endpoint: Endpoint, session: str) -> LocalLeg | None:
        """A leg by its session's id or second name."""
        return endpoint.legs.get(endpoint.names.get(session, session))

    def is_ready(self, endpoint: Endpoint, plan: Plan) -> bool:
        """Whether the plan's states say that it may be carried out now."""
        leg = self.leg(endpoint, plan.given.session)
        return not plan.when or (leg.state if leg is not None else "") in plan.when

    def want(self, endpoint: Endpoint, plan: Plan, ticket: int) -> Do:
        """What a plan asks for: tokens are named "fresh" for a new one, "given" for the one that came with a view."""
        given, leg = plan.given, self.leg(endpoint, plan.given.session)
        session = leg.session if leg is not None else given.session
        second = NOON // 1000
        known = {
            "fresh": call_token(endpoint.user, session, second),
            "host": call_token(endpoint.user, session, second, grants=ROLE_GRANTS[Role.HOST]),
            "viewer": call_token(endpoint.user, session, second, grants=ROLE_GRANTS[Role.VIEWER]),
            "foreign": call_token("mallory", session, second),
            "given": leg.token if leg else "",
        }
        return replace(given, ticket=ticket, token=known.get(given.token, given.token))

    def assert_deaf(self, endpoint: Endpoint) -> None:
        """Foreign and stale messages change nothing but when the service was last heard of."""
        for message in _strange(endpoint):
            after, effects = self.machine.step(endpoint, Received(message), CLOCK)
            assert not effects, f"{message} brought {effects}"
            assert replace(after, confirmed=endpoint.confirmed) == endpoint, f"{message} changed {endpoint}"

    def _watch(self, side: Side) -> Watch:
        device = side.endpoint.device
        watch = Watch(self.machine.machines)
        watch.tracks = {(device, session): track for session, track in side.tracks}
        watch.agreed = {(device, session): yes for session, yes in side.agreed}
        watch.ends = {(device, epoch, session): ends for epoch, session, ends in side.ends}
        watch.outcomes = dict.fromkeys(_tickets(side.endpoint), "")
        return watch


def _side(endpoint: Endpoint, watch: Watch) -> Side:
    return Side(
        endpoint,
        tuple(sorted(((session, track) for (_, session), track in watch.tracks.items()), key=_first)),
        tuple(sorted(((session, yes) for (_, session), yes in watch.agreed.items()), key=_first)),
        tuple(sorted((epoch, session, ends) for (_, epoch, session), ends in watch.ends.items())),
    )


def _first(item: tuple[str, Any]) -> str:
    return item[0]


# --- waits ------------------------------------------------------------------------------------------------------------


def _tickets(endpoint: Endpoint) -> set[int]:
    return {wait.ticket for leg in endpoint.legs.values() for wait in leg.waits if wait.ticket}


def _check_tickets(before: Endpoint, after: Endpoint, given: Any, effects: list[Any]) -> None:
    """Whoever waited is answered once or waits on; nobody is forgotten."""
    asked = [given.ticket] if isinstance(given, Do) and given.ticket else []
    settled = [effect.ticket for effect in effects if isinstance(effect, Settle)]
    waiting = [wait.ticket for leg in after.legs.values() for wait in leg.waits if wait.ticket]
    there = sorted([*_tickets(before), *asked])
    assert sorted([*settled, *waiting]) == there, f"waited {there}, settled {settled}, waits {waiting}"


# --- timers -----------------------------------------------------------------------------------------------------------


def _patience(_rules: SideRules, endpoint: Endpoint) -> Endpoint:
    return replace(endpoint, confirmed=CLOCK - endpoint.lease)


def _put(endpoint: Endpoint, leg: LocalLeg) -> Endpoint:
    return replace(endpoint, legs={**endpoint.legs, leg.session: leg})


def _command(_rules: SideRules, endpoint: Endpoint, session: str, n: int) -> Endpoint:
    leg = endpoint.legs[session]
    waits = tuple(replace(wait, due=CLOCK) if wait.n == n and wait.due else wait for wait in leg.waits)
    return _put(endpoint, replace(leg, waits=waits))


def _gone(rules: SideRules, endpoint: Endpoint, session: str, pid: str, told: int) -> Endpoint:
    leg = endpoint.legs[session]
    since = CLOCK - rules.stages(endpoint, leg)[told]
    return _put(endpoint, replace(leg, lost=tuple((p, since if p == pid else s, t) for p, s, t in leg.lost)))


def _until(_rules: SideRules, endpoint: Endpoint, session: str) -> Endpoint:
    return _put(endpoint, replace(endpoint.legs[session], until=CLOCK))


def _idle(_rules: SideRules, endpoint: Endpoint, session: str, unprompted: bool) -> Endpoint:
    leg = endpoint.legs[session]
    since = CLOCK - leg.idle[0] if unprompted else sum(leg.idle) - CLOCK
    return _put(endpoint, replace(leg, alone_since=since))


_FIRE: dict[str, Any] = {"patience": _patience, "command": _command, "gone": _gone, "until": _until, "idle": _idle}


def _calm(endpoint: Endpoint) -> Endpoint:
    """With what is still armed armed as ever."""
    legs = dict(endpoint.legs)
    for session, leg in legs.items():
        lost = tuple((pid, CLOCK, told) for pid, _, told in leg.lost)
        since = CLOCK if leg.alone_since > 0 else -CLOCK if leg.alone_since < 0 else 0
        if lost != leg.lost or since != leg.alone_since:
            legs[session] = replace(leg, lost=lost, alone_since=since)
    return replace(endpoint, legs=legs, confirmed=CLOCK)


# --- probes -----------------------------------------------------------------------------------------------------------


def _strange(endpoint: Endpoint) -> list[Down]:
    messages: list[Down] = [
        Unknown("elsewhere", 0),
        Refused("elsewhere", 1, "call_gone"),
        Relayed("x", "1", "data", ""),
    ]
    messages += [Relayed(leg.session, "nobody", "data", '{"n":1}') for leg in endpoint.legs.values()]
    messages += [Refused(leg.session, 2**40, "call_gone") for leg in endpoint.legs.values()]
    messages += [Unknown(leg.session, leg.seq - 1) for leg in endpoint.legs.values() if leg.seq > 1]
    for session, seq in endpoint.tombs.items():
        messages.append(View(session, max(seq, 0), "1", "ringing", "alice"))
    for leg in endpoint.legs.values():
        if leg.seq > 1 and leg.reason is None:
            messages.append(View(leg.session, leg.seq - 1, leg.pid, leg.state, leg.initiator, leg.flow, leg.role))
    return messages
