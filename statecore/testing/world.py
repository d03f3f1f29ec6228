"""A whole world in memory: devices, one switchboard, the links between them, media and time, nothing left to chance.

A test decides what happens next: `enabled()` lists the actions that are possible now, `after(action)` is the world in
which one of them has happened. What is kept is immutable or small, so a copy is cheap, and `digest()` tells whether two
worlds are the same: every order of events can be walked through (`statecore.testing.explore`). Messages travel as the
bytes that `wire` makes of them. The oracle (`statecore.testing.oracle`) looks on at every step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import msgspec
from msgspec.structs import replace

from statecore.endpoint import (
    Do,
    Effect,
    Endpoint,
    LinkDown,
    LinkUp,
    LocalLeg,
    Media,
    Received,
    Send,
    Signal,
    Tick,
)
from statecore.flow import FLOWS, Flow, Timers
from statecore.model import NO_FLAGS, Leg, Record
from statecore.ports import Key
from statecore.settings import ServiceSettings
from statecore.switchboard import (
    Deliver,
    Disconnect,
    Done,
    Due,
    Input,
    Register,
    Restart,
    Switchboard,
    next_due,
)
from statecore.testing._world_parts import (
    CALM,
    NOON,
    PICTURES,
    Place,
    Plan,
    Records,
    Setup,
    as_input,
    call_token,
    claims,
)
from statecore.testing.oracle import Watch
from statecore.wire import (
    Beat,
    Hello,
    Token,
    TokenRequest,
    View,
    decode_down,
    decode_up,
    encode,
)

Action: TypeAlias = tuple[Any, ...]
"""Something that can happen, by name: see `World.enabled`."""

_state = msgspec.msgpack.Encoder(order="deterministic").encode
_budget = ("cuts", "duplicates", "ticks", "crashes", "restarts", "failures")


class World:
    """Devices (name -> user), a switchboard and everything between. `guests` are those of them that a call token
    admits, with the session that it is for: their users have not logged in. `budget` bounds what `enabled` offers:
    cuts, duplicates, ticks, crashes, restarts, failures (of media); none by default."""

    def __init__(
        self,
        devices: Mapping[str, str],
        *,
        plans: Iterable[Plan] = (),
        flows: Mapping[str, Flow] = FLOWS,
        timers: Timers = CALM,
        settings: ServiceSettings | None = None,
        given: Iterable[str] = (),
        guests: Mapping[str, str] | None = None,
        **budget: int,
    ) -> None:
        self._setup = Setup(flows, timers, settings)
        self.given = frozenset(given)  # the application's own conditions that hold
        self._guests = dict(guests or {})
        self.now = NOON
        self.store: dict[Key, Any] = Records()
        self.places: dict[str, Place] = {}
        self.notices: tuple[Disconnect, ...] = ()
        self.plans = tuple(plans)
        self.done: frozenset[int] = frozenset()
        self.budget = {name: budget.get(name, 0) for name in _budget}
        self.tickets = 1000
        self.trail: tuple[Action, ...] = ()
        self.watch = Watch(self._setup.machine.machines)
        for device, user in devices.items():
            if device not in self._guests:
                self.decide(Register(user, user.title(), avatar=PICTURES + user))
            self.places[device] = Place(Endpoint(user, device, f"{device}-1"), 1000 * len(self.places))

    def copy(self) -> World:
        """An independent copy."""
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        other.store, other.places, other.budget = Records(self.store), dict(self.places), dict(self.budget)
        other.watch = self.watch.copy()
        return other

    def after(self, action: Action) -> World:
        """The world in which this has happened."""
        other = self.copy()
        other.act(action)
        return other

    def digest(self) -> bytes:
        """Equal for equal worlds."""
        parts = (
            self.now, sorted(self.store.items()), sorted(self.places.items()), self.notices, sorted(self.done),
            self.budget, self.tickets, self.watch.state(),
        )  # fmt: skip
        return hashlib.blake2b(_state(parts), digest_size=16).digest()

    # --- looking

    @property
    def board(self) -> Switchboard:
        """The switchboard."""
        return self._setup.board

    def leg(self, device: str, session: str) -> LocalLeg | None:
        """A device's leg, as the device knows it."""
        endpoint = self.places[device].endpoint
        return endpoint.legs.get(endpoint.names.get(session, session))

    def state(self, device: str, session: str) -> str:
        """The state of a device's leg, "" if it has none."""
        leg = self.leg(device, session)
        return leg.state if leg is not None else ""

    def record(self, session: str) -> Record:
        """A call as the switchboard keeps it."""
        record = self.store["call", session]
        assert isinstance(record, Record), f"no call {session}"
        return record

    def records(self) -> list[Record]:
        """Every call."""
        return [value for value in self.store.values() if isinstance(value, Record)]

    def its_leg(self, device: str, session: str) -> Leg | None:
        """A device's newest leg, as the switchboard knows it."""
        endpoint = self.places[device].endpoint
        mine = (endpoint.user, device, endpoint.epoch)
        return next((g for g in reversed(self.record(session).legs) if (g.user, g.device, g.epoch) == mine), None)

    @property
    def quiet(self) -> bool:
        """Whether every link is up and nothing is on its way."""
        places = self.places.values()
        return not self.notices and all(p.linked and p.endpoint.online and not p.up and not p.down for p in places)

    # --- what can happen

    def enabled(self) -> list[Action]:
        """Everything that can happen next."""
        actions: list[Action] = [("plan", place) for place in range(len(self.plans)) if self._is_ready(place)]
        actions += [("notice", place) for place in range(len(self.notices))]
        for device, place in self.places.items():
            actions += self._of_link(device, place)
            actions += [("up_media", device, leg.session) for leg in place.endpoint.legs.values() if self._joins(leg)]
            if self.budget["failures"]:
                opened = [leg for leg in place.endpoint.legs.values() if leg.media == "open"]
                actions += [("fail_media", device, leg.session) for leg in opened]
            if self.budget["crashes"]:
                actions.append(("crash", device))
        if self.budget["ticks"]:
            actions += self.timers()
        if self.budget["restarts"]:
            actions.append(("restart",))
        return actions

    def _of_link(self, device: str, place: Place) -> list[Action]:
        if not place.linked:
            return [("mend", device)]
        actions: list[Action] = [("cut", device)] if self.budget["cuts"] else []
        for way in ("up", "down"):
            if getattr(place, way):
                actions.append((way, device))
                if self.budget["duplicates"]:
                    actions.append(("again_" + way, device))
        return actions

    def _is_ready(self, place: int) -> bool:
        plan = self.plans[place]
        if (place in self.done and not plan.again) or not self.done.issuperset(plan.after):
            return False
        return not plan.when or self.state(plan.device, plan.given.session) in plan.when

    def _joins(self, leg: LocalLeg) -> bool:
        """Whether media can work now: with everyone who has joined, and of two, with the other."""
        if leg.media != "open" or leg.reported:
            return False
        ready = [self._has_media(peer.device, leg.session) for peer in leg.peers if peer.joined]
        alone = leg.role == "member" or leg.state in self.board.machine(leg.flow).flow.roles.ringing
        return all(ready) and (bool(ready) or alone)

    def _has_media(self, device: str, session: str) -> bool:
        leg = self.leg(device, session)
        return leg is not None and leg.media == "open"

    def timers(self) -> list[Action]:
        """The timers that fire next: those due first, or all that are due already."""
        due: list[tuple[int, Action]] = []
        for key, value in self.store.items():
            due.append((next_due(value), ("due", *key)))
        for device, place in self.places.items():
            when = self._setup.machine.next_due(place.endpoint)
            due.append((when and when + place.born, ("tick", device)))
        due = [(max(when, self.now), action) for when, action in due if when]
        first = min((when for when, _ in due), default=0)
        return [action for when, action in due if when == first]

    # --- making it happen

    def act(self, action: Action) -> None:
        """Let one action happen."""
        self.trail = (*self.trail, action)
        name, *args = action
        getattr(self, "_on_" + name)(*args)

    def _spend(self, name: str) -> None:
        self.budget[name] -= 1

    def _on_plan(self, place: int) -> None:
        plan = self.plans[place]
        self.done |= {place}
        self.user(plan.device, plan.given, place + 1)

    def user(self, device: str, given: Do, ticket: int = 0) -> int:
        """A user does something; answers with the ticket, whose outcome is in `watch.outcomes`. Those of plans are
        their places, from 1."""
        self.tickets += not ticket
        leg = self.leg(device, given.session)
        given = replace(given, ticket=ticket or self.tickets, token=self._resolved(device, leg, given))
        self.watch.wanted(self.places[device].endpoint, leg, given)
        self.give(device, given)
        return given.ticket

    def _resolved(self, device: str, leg: LocalLeg | None, given: Do) -> str:
        """Plans name tokens that there will be: "fresh" for a new one, "given" for the one that came with a view."""
        session = leg.session if leg is not None else given.session
        known = {
            "fresh": self.token(self.places[device].endpoint.user, session),
            "given": leg.token if leg is not None else "",
        }
        return known.get(given.token, given.token)

    def say(self, device: str, trigger: str, session: str = "S", **more: Any) -> str:
        """A user does something, and every message is delivered: the code of the outcome, "ok", or "" for none yet."""
        ticket = self.user(device, Do(session, trigger, **more))
        self.settle()
        return self.watch.outcomes[ticket]

    def said(self, *said: tuple[str, str], **more: Any) -> World:
        """Users have given these commands, (device, trigger), one after the other, each with what `more` names;
        everything was delivered, and media has connected."""
        for device, trigger in said:
            self.say(device, trigger, **more)
            self.settle(media=True)
        return self

    def token(self, user: str, session: str, **more: Any) -> str:
        """A call token as text, not signed."""
        return call_token(user, session, self.now // 1000, **more)

    def _on_up(self, device: str, *, keep: bool = False) -> None:
        place = self.places[device]
        message, *rest = place.up
        if not keep:
            self.places[device] = replace(place, up=tuple(rest))
        self._serve(device, decode_up(message))

    def _on_again_up(self, device: str) -> None:
        self._spend("duplicates")
        self._on_up(device, keep=True)

    def _on_down(self, device: str, *, keep: bool = False) -> None:
        place = self.places[device]
        message, *rest = place.down
        if not keep:
            self.places[device] = replace(place, down=tuple(rest))
        self.give(device, Received(decode_down(message)))

    def _on_again_down(self, device: str) -> None:
        self._spend("duplicates")
        self._on_down(device, keep=True)

    def _on_cut(self, device: str) -> None:
        self._spend("cuts")
        self.cut(device)

    def cut(self, device: str) -> None:
        """The link breaks: what is on its way is lost, both sides learn of it, the service later."""
        self._unplug(device)
        self.give(device, LinkDown())

    def _unplug(self, device: str) -> None:
        place = self.places[device]
        endpoint = place.endpoint
        if place.greeted:
            self.notices += (Disconnect(endpoint.user, device, endpoint.epoch, endpoint.conn),)
        self.places[device] = replace(place, linked=False, greeted=False, up=(), down=())

    def _on_mend(self, device: str) -> None:
        self.places[device] = replace(self.places[device], linked=True)
        self.give(device, LinkUp(flows=self._setup.machine.hashes))

    def _on_notice(self, place: int) -> None:
        notice = self.notices[place]
        self.notices = (*self.notices[:place], *self.notices[place + 1 :])
        self.decide(notice)

    def _on_crash(self, device: str) -> None:
        self._spend("crashes")
        self._unplug(device)
        place = self.places[device]
        self.watch.gone(place.endpoint)
        name, number = place.endpoint.epoch.rsplit("-", 1)
        fresh = Endpoint(place.endpoint.user, device, f"{name}-{int(number) + 1}")
        self.places[device] = replace(place, endpoint=fresh, born=self.now - 5)

    def _on_restart(self) -> None:
        self._spend("restarts")
        for device, place in list(self.places.items()):
            if place.linked:
                self.cut(device)
        self.notices = ()
        for user in sorted({place.endpoint.user for place in self.places.values()}):
            self.decide(Restart(user))

    def _on_due(self, kind: str, name: str) -> None:
        self._spend("ticks")
        self.fire(("due", kind, name))

    def _on_tick(self, device: str) -> None:
        self._spend("ticks")
        self.fire(("tick", device))

    def fire(self, timer: Action) -> None:
        """Let a timer fire, at its time or now if that is past."""
        name, *args = timer
        if name == "due":
            key: Key = (args[0], args[1])
            self.now = max(self.now, next_due(self.store[key]))
            self.decide(Due(key))
        else:
            place = self.places[args[0]]
            self.now = max(self.now, self._setup.machine.next_due(place.endpoint) + place.born)
            self.give(args[0], Tick())

    def _on_say(self, device: str, trigger: str, session: str, data: dict[str, Any] | None = None) -> None:
        self.user(device, Do(session, trigger, token="fresh", data=data))  # noqa: S106 - a name, see `_resolved`

    def _on_up_media(self, device: str, session: str) -> None:
        self.give(device, Media(session, "up"))

    def _on_fail_media(self, device: str, session: str) -> None:
        self._spend("failures")
        self.give(device, Media(session, "failed"))

    # --- the device's side

    def give(self, device: str, given: Any) -> list[Effect]:
        """Give an endpoint an input, carry out what it wants sent, and let the oracle look on."""
        place = self.places[device]
        endpoint, effects = self._setup.machine.step(place.endpoint, given, self.now - place.born)
        self.watch.stepped(place.endpoint, endpoint, effects)
        sent = tuple(encode(effect.message) for effect in effects if isinstance(effect, Send))
        up = (*place.up, *sent) if place.linked else ()
        self.places[device] = replace(place, endpoint=endpoint, up=up)
        if place.linked and place.endpoint.online and not endpoint.online and not isinstance(given, LinkDown):
            self._unplug(device)  # it gave up a link that only seemed to stand, and its shell closes it
        return effects

    def signal(self, device: str, session: str, message: Any) -> None:
        """The media session of a device wants something said."""
        self.give(device, Signal(session, message))

    # --- the service's side

    def _serve(self, device: str, message: Any) -> None:
        place = self.places[device]
        endpoint = place.endpoint
        who = (endpoint.user, device, endpoint.epoch)
        if isinstance(message, Hello):
            self.places[device] = replace(place, greeted=True)
        elif isinstance(message, TokenRequest):
            token = Token(message.session, message.n, self.token(endpoint.user, message.session))
            self._post(Deliver(*who, token))
        elif isinstance(message, Beat):
            self._post(Deliver(*who, Beat()))
        session = self._guests.get(device)
        guest = claims(endpoint.user, session, NOON // 1000) if session is not None else None
        given = as_input(endpoint, message, self.given, guest)
        if given is not None:
            self.decide(given)

    def decide(self, given: Input) -> Done:
        """Let the switchboard decide, commit, and send what it says; the oracle looks on."""
        decision = self.board.step(self.store, given, self.now)
        assert isinstance(decision, Done), f"{given} needs {decision}"
        before = {key: self.store[key] for key in decision.writes}
        self.store.update(decision.writes)
        self.watch.decided(self.board, before, decision, self.now)
        for effect in decision.effects:
            self._post(effect)
        return decision

    def _post(self, effect: Deliver) -> None:
        place = self.places.get(effect.device)
        if place is None or not place.greeted or place.endpoint.epoch != effect.epoch:
            return
        message = effect.message
        if effect.wants_token and isinstance(message, View):
            message = replace(message, token=self.token(effect.user, message.session))
        self.places[effect.device] = replace(place, down=(*place.down, encode(message)))

    # --- the straight way

    def settle(self, *, media: bool = False) -> World:
        """Mend every link and deliver everything, in a fixed order; with `media`, let media connect, too."""
        while True:
            action = self._next(media)
            if action is None:
                return self
            self.act(action)

    def _next(self, media: bool) -> Action | None:
        if self.notices:
            return ("notice", 0)
        for device, place in self.places.items():
            if not place.linked:
                return ("mend", device)
            if place.down:
                return ("down", device)
            if place.up:
                return ("up", device)
        if media:
            for device, place in self.places.items():
                for leg in place.endpoint.legs.values():
                    if self._joins(leg):
                        return ("up_media", device, leg.session)
        return None

    def pass_time(self, seconds: float) -> World:
        """Let time pass: every timer fires when it is due, and everything is delivered at once."""
        until = self.now + round(seconds * 1000)
        while True:
            self.settle()
            due, at = self.timers(), self.copy()
            if due:
                at.fire(due[0])
            if not due or at.now > until:
                self.now = until
                return self
            self.fire(due[0])

    def end_all(self) -> World:
        """Every user ends everything, and it is delivered."""
        self.settle()
        for device, place in self.places.items():
            for leg in place.endpoint.legs.values():
                self.user(device, Do(leg.session, "end"))
        return self.settle()


__all__ = ["CALM", "NOON", "NO_FLAGS", "Action", "Place", "Plan", "World"]
