"""Runs a script: devices, service and network in virtual time, with the oracle looking on at every step."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from msgspec.structs import replace

from statecore.endpoint import (
    Await,
    Do,
    Drive,
    Effect,
    Endpoint,
    EndpointMachine,
    LinkDown,
    LinkUp,
    LocalLeg,
    Media,
    OpenMedia,
    Received,
    Say,
    Send,
    Settle,
    Signal,
    Tick,
)
from statecore.flow import FLOWS, Flow, Timers
from statecore.switchboard import Done, Switchboard
from statecore.switchboard import Input as Asked
from statecore.testing.oracle import assert_always, assert_over, assert_settled
from statecore.trace import Recorder
from statecore.wire import Ask, Free, Relay, decode_down, encode

if TYPE_CHECKING:
    from statecore.testing.world import World

from ._faults import Faults
from ._office import Office
from ._parts import Clock, Mix, Place, Wire, latency
from ._script import DOINGS, Item, Script

_FIELDS = frozenset(Do.__struct_fields__)
_PATIENCE = {"initiate": 12_000, "accept": 120_000, "join": 120_000}
"""For how long a command may be awaited, in milliseconds of its device's clock; the rest for as long as `initiate`."""


class Violation(AssertionError):
    """What must hold did not: says when and after which event, and carries the script."""

    def __init__(self, text: str, script: Script) -> None:
        super().__init__(text)
        self.script = script


TIMERS = Timers(media_lost=8, empty=20)
"""Of service and devices: the defaults, but for two that would only draw runs out."""


class Core(NamedTuple):
    """What is simulated; holds no state, so all runs may share it."""

    board: Switchboard
    machine: EndpointMachine

    @staticmethod
    @functools.cache
    def standard() -> Core:
        """What ships."""
        return Core.of(FLOWS)

    @staticmethod
    def of(flows: Mapping[str, Flow]) -> Core:
        """With flows of one's own, under the names of ours."""
        return Core(Switchboard(flows=flows, timers=TIMERS), EndpointMachine(flows=flows, timers=TIMERS))


class Simulation(Faults, Office):
    """One run of a script. `trace`, if given, gets a line for everything that happens."""

    def __init__(
        self, script: Script, *, core: Core | None = None, trace: Callable[[str], object] | None = None
    ) -> None:
        core = core or Core.standard()
        super().__init__(core.board)
        script.check()
        self.script = script
        self.machine = core.machine
        self.places: dict[str, Place] = {}
        self._trace = trace
        self._recorders: dict[str, Recorder] = {}
        self.lines: dict[str, list[str]] = {}
        """With `trace`, what each incarnation of a device recorded: see `statecore.trace`."""
        self._tickets = 0
        self._asked: dict[int, tuple[int, str]] = {}
        self._waiting: dict[tuple[str, str], list[tuple[Item, int]]] = {}
        self._last: Any = None
        self._do_about: dict[type, Callable[[str, Any], None]] = {
            Send: self._send, Settle: self._settle, OpenMedia: self._open, Drive: self._drive,
        }  # fmt: skip
        for user in dict.fromkeys(script.devices.values()):
            self.register(user)
        for number, (device, user) in enumerate(script.devices.items()):
            self.places[device] = Place(user, device, Clock(0, 1000 * (number + 1)), self._chance(device))

    def _chance(self, name: str) -> random.Random:
        return random.Random(f"{self.script.seed} {name}")

    # --- the whole run

    def run(self) -> Mix:
        """Run it to its end; raises Violation."""
        try:
            self._run()
        except Exception as error:
            kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
            text = f"seed {self.script.seed}, at {self.agenda.now} ms, {self._last}: {kind}{error}"
            raise Violation(text, self.script) from error
        return self.mix

    def _run(self) -> None:
        for device in self.places:
            self.agenda.at(0, self.connect, device)
        for item in self.script.items:
            self.agenda.at(item.at, self._happen, item)
        last = self.script.items[-1].at if self.script.items else 0
        self._until(lambda: self.agenda.now > last + 1000)
        self.mend_all()
        self._until(lambda: self.quiet, at_most=120_000)
        self._hold()
        for device, place in self.places.items():
            for leg in list(place.endpoint.legs.values()):
                self._do(Item(self.agenda.now, "do", device, leg.session, {"trigger": "end"}))
        self._until(lambda: self.quiet and all(record.end.at for record in self.records()), at_most=150_000)
        self._hold()
        assert_over(cast("World", self))
        self._count()

    def _until(self, is_done: Callable[[], bool], at_most: int = 10**12) -> None:
        end = self.agenda.now + at_most
        while not is_done() and self.agenda.now <= end:
            self.mix.events += 1
            self.agenda.step()

    def _hold(self) -> None:
        assert self.quiet, f"never quiet: {[d for d, place in self.places.items() if not place.calm]}"
        assert_always(cast("World", self))
        assert_settled(cast("World", self))

    def _count(self) -> None:
        self.mix.seconds = self.agenda.now // 1000
        self.mix.count(self.records())
        self.mix.outcomes.update(self.watch.outcomes.values())

    # --- what the oracle looks at

    @property
    def quiet(self) -> bool:
        """Whether every link is up and nothing is on its way."""
        return not self.down and all(place.calm for place in self.places.values())

    def leg(self, device: str, session: str) -> LocalLeg | None:
        """A device's leg, as the device knows it."""
        endpoint = self.places[device].endpoint
        return endpoint.legs.get(endpoint.names.get(session, session))

    def state(self, device: str, session: str) -> str:
        """The state of a device's leg, "" if it has none."""
        leg = self.leg(device, session)
        return leg.state if leg is not None else ""

    # --- links

    def connect(self, device: str) -> None:
        """A device makes a connection, or tries again soon."""
        place = self.places[device]
        if not place.running or place.wire is not None:
            return
        if self.down or place.cut_until > self.agenda.now:
            self.reconnect(device)
            return
        number = place.endpoint.conn + 1
        place.wire = Wire(device, place.endpoint.user, number, self._chance(f"{place.endpoint.epoch} {number}"))
        self.give(device, LinkUp(flows=self.machine.hashes))

    def reconnect(self, device: str) -> None:
        """Connect after a pause."""
        place = self.places[device]
        pause = 50 + latency(place.chance) * 4
        self.agenda.at(max(self.agenda.now + pause, place.cut_until), self.connect, device)

    def lost(self, wire: Wire) -> None:
        """A device learns that its connection is gone."""
        if wire.here:
            wire.here = False
            self.places[wire.device].wire = None
            self.left(wire.device)

    def left(self, device: str) -> None:
        """A device knows that it has no connection."""
        self.give(device, LinkDown())
        self.reconnect(device)

    def hear(self, wire: Wire, data: bytes) -> None:
        """A device takes a message."""
        message = decode_down(data)
        if type(message).__name__ == "Welcome" and self.places[wire.device].endpoint.beat_due:
            legs = self.places[wire.device].endpoint.legs
            self.mix.met["resume"] |= legs.keys()
        self.give(wire.device, Received(message))

    def arrived(self, wire: Wire) -> None:
        """Where nothing is on its way any more, both sides must be of one mind."""
        place = self.places[wire.device]
        if place.wire is wire and place.calm:
            for session in list(place.endpoint.legs):
                self._agree(session)

    def slowness(self, wire: Wire) -> int:
        """What this link's latency is more than usual."""
        more, until = self.places[wire.device].slow
        return more if self.agenda.now < until else 0

    def _agree(self, session: str) -> None:
        """Settled agreement, of one call: nothing is on its way to or from anyone in it."""
        record = self.record(session)
        devices = {leg.device for leg in record.legs} if record is not None else set()
        if self.down or not all(self.places[device].calm for device in devices):
            return
        assert record is not None, f"{session} is known to a device alone"
        self.mix.agreements += 1
        for device in devices:
            there = self.leg_of(record, device)
            here = self.places[device].endpoint.legs.get(record.session_id)
            if there is None or there.end.at:
                assert here is None, f"{device} is in {here}, which ended as {there}"
                continue
            if here is None and session in self.watch.deaf(self.places[device].endpoint):
                continue
            assert here is not None, f"{device} does not know of its {there}"
            control = there.control
            mine = (here.pid, here.state, here.flags, here.seq, here.joined, here.owed)
            assert mine == (there.pid, control.state, control.flags, there.seq, there.joined, ()), f"{here} is {there}"
            assert (here.media == "open") == ("joined" in here.flags), here

    # --- a device's side

    def give(self, device: str, given: Any) -> list[Effect]:
        """Give a device's endpoint an input, and carry out what comes of it."""
        place = self.places[device]
        before, now = place.endpoint, place.clock.read(self.agenda.now)
        after, effects = self.machine.step(before, given, now)
        self._last = f"{device} after {type(given).__name__}"
        if self._trace is not None:
            self._record(device, self._trace).took(before, given, now, after, effects)
        place.endpoint = after
        self.watch.stepped(before, after, effects)
        for effect in effects:
            do = self._do_about.get(type(effect))
            if do is not None:
                do(device, effect)
        if before.online and not place.endpoint.online and place.wire is not None and type(given) is Tick:
            self.drop(place.wire)  # it gave up a link that only seemed to stand, and its shell closes it
        self._arm_tick(device, place)
        if self._waiting and before.legs != after.legs:
            self._wake(device)
        return effects

    def _record(self, device: str, trace: Callable[[str], object]) -> Recorder:
        epoch = self.places[device].endpoint.epoch
        if epoch not in self._recorders:
            self.lines[epoch] = []
            self._recorders[epoch] = Recorder(partial(self._write, trace, epoch), self.machine, TIMERS, self.clock)
        return self._recorders[epoch]

    def _write(self, trace: Callable[[str], object], epoch: str, line: str) -> None:
        self.lines[epoch].append(line + "\n")
        trace(f"{self.agenda.now} {epoch} {line}")

    def note_decision(self, given: Asked, decision: Done) -> None:
        """For the trace."""
        if self._trace is not None:
            told = [[effect.device, type(effect.message).__name__] for effect in decision.effects]
            line = {"service": type(given).__name__, "writes": [list(key) for key in decision.writes], "tells": told}
            self._trace(f"{self.agenda.now} service {json.dumps(line)}")

    def _send(self, device: str, effect: Send) -> None:
        wire = self.places[device].wire
        assert wire is not None, f"{device} says {effect.message} without a link"
        self.carry(wire, 0, encode(effect.message))

    def _settle(self, device: str, effect: Settle) -> None:
        asked = self._asked.pop(effect.ticket, None)
        if asked is not None:
            began, trigger = asked
            took = self.places[device].clock.read(self.agenda.now) - began
            jumped = 50_000  # a clock that was put forward counts what nobody waited
            assert took <= _PATIENCE.get(trigger, 12_000) + jumped + 70_000, f"{trigger} took {took} ms at {device}"

    def _arm_tick(self, device: str, place: Place) -> None:
        due = self.machine.next_due(place.endpoint)
        if not due or not place.running:
            return
        when = place.clock.when(due)
        if not place.tick_at or when < place.tick_at:
            place.tick_at = max(when, self.agenda.now)
            self.agenda.at(place.tick_at, self._tick, device, place.tick_at, place.number)

    def _rearm(self, device: str) -> None:
        self.places[device].tick_at = 0
        self._arm_tick(device, self.places[device])

    def _tick(self, device: str, when: int, number: int) -> None:
        place = self.places[device]
        if place.tick_at != when or place.number != number:
            return
        place.tick_at = 0
        due = self.machine.next_due(place.endpoint)
        if due and place.clock.read(self.agenda.now) >= due:
            self.give(device, Tick())
            assert place.tick_at != self.agenda.now, f"a timer of {device} fires, and stays due"
        else:
            self._arm_tick(device, place)

    # --- media

    def _open(self, device: str, effect: OpenMedia) -> None:
        place = self.places[device]
        if place.fail_media:
            place.fail_media = False
            self.mix.faults["media_fail"] += 1
            self.agenda.after(50, self._media, device, effect.session, "failed", place.number)
        else:
            self.agenda.after(20 + 5 * latency(place.chance), self._media, device, effect.session, "up", place.number)

    def _media(self, device: str, session: str, what: Any, number: int) -> None:
        leg = self.leg(device, session)
        if leg is None or leg.media != "open" or self.places[device].number != number:
            return
        if what == "up" and not self._exchanges(leg):
            self.agenda.after(200, self._media, device, session, what, number)
        elif not leg.reported or what != "up":
            self.give(device, Media(session, what))

    def _exchanges(self, leg: LocalLeg) -> bool:
        """Whether media can work now: with everyone who has joined, and of two, with the other."""
        ready = [self._has_media(peer.device, leg.session) for peer in leg.peers if peer.joined]
        return all(ready) and (bool(ready) or leg.role == "member")

    def _has_media(self, device: str, session: str) -> bool:
        leg = self.leg(device, session)
        return leg is not None and leg.media == "open"

    def _drive(self, device: str, effect: Drive) -> None:
        """What a media session does about its orders: offer, answer, and give the turn back."""
        session = effect.session
        if effect.what == "granted":
            self.give(device, Signal(session, Relay(session, effect.args[0], "offer", "an offer")))
        elif effect.what == "receive":
            source, kind, _ = effect.args
            if kind == "offer":
                self.give(device, Signal(session, Relay(session, source, "answer", "an answer")))
            else:  # an answer
                self.give(device, Signal(session, Free(session, source)))

    # --- users

    def _happen(self, item: Item) -> None:
        self._last = item
        if item.what in DOINGS:
            self._do(item)
        else:
            self.fault(item)

    def _do(self, item: Item) -> None:
        """A user does something, now or once his call has come so far."""
        place = self.places[item.device]
        if not place.running:
            return
        when = item.how.get("when") or (("active",) if item.what != "do" else ())
        if when and self.state(item.device, item.session) not in when:
            wait = item.how.get("wait", 0)
            if wait:
                key = (item.device, item.session)
                self._waiting.setdefault(key, []).append((item, self.agenda.now + wait))
                return
        if item.what == "do":
            self._command(place.endpoint, item)
        else:
            self._signal(item)

    def _wake(self, device: str) -> None:
        """What waits for a state that has come is done now."""
        for key in [key for key in self._waiting if key[0] == device]:
            state = self.state(*key)
            items = self._waiting.pop(key)
            rest = [(item, until) for item, until in items if state not in item.how["when"]]
            rest = [(item, until) for item, until in rest if until >= self.agenda.now]
            if rest:
                self._waiting[key] = rest
            for item, until in items:
                if state in item.how["when"] and until >= self.agenda.now:
                    self.agenda.after(0, self._do, Item(self.agenda.now, item.what, *key, {**item.how, "wait": 0}))

    def _command(self, endpoint: Endpoint, item: Item) -> None:
        how: Mapping[str, Any] = {name: value for name, value in item.how.items() if name in _FIELDS}
        self._tickets += 1
        leg = self.leg(item.device, item.session)
        token = self._token(endpoint.user, leg.session if leg else item.session, leg, item.how.get("token", ""))
        given = replace(Do(item.session, **{**how, "token": token}), ticket=self._tickets)
        self._asked[self._tickets] = (self.places[item.device].clock.read(self.agenda.now), given.trigger)
        self.watch.wanted(endpoint, leg, given)
        self.give(item.device, given)
        if given.trigger == "initiate" and self.leg(item.device, item.session) is not None:
            self._tickets += 1
            self.watch.outcomes[self._tickets] = ""
            self.watch.owners[self._tickets] = item.device
            self.give(item.device, Await(item.session, self._tickets))

    def _token(self, user: str, session: str, leg: LocalLeg | None, kind: str) -> str:
        if kind == "given":
            return leg.token if leg is not None else ""
        if kind == "fresh":
            return self.token(user, session)
        if kind == "wrong":
            wrong = (self.token("mallory", session), self.token(user, "another"), self.token(user, session, age=7200))
            return self._chance(session).choice(("forged", *wrong))
        return kind

    def _signal(self, item: Item) -> None:
        leg = self.leg(item.device, item.session)
        if leg is None:
            return
        if item.what == "say":
            self._tickets += 1
            self.watch.outcomes[self._tickets] = ""
            self.watch.owners[self._tickets] = item.device
            self.give(item.device, Say(leg.session, '"hello"', ticket=self._tickets))
        else:
            for peer in leg.peers:
                if peer.joined:
                    self.give(item.device, Signal(leg.session, Ask(leg.session, peer.pid)))


def simulate(script: Script, *, core: Core | None = None, trace: Callable[[str], object] | None = None) -> Mix:
    """Run a script; answers with what it met, or raises Violation."""
    return Simulation(script, core=core, trace=trace).run()


__all__ = ["Core", "Simulation", "Violation", "simulate"]
