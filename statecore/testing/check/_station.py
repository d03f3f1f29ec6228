"""A device with its link: what is on the way to it and from it, and everything that can happen there next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import product
from typing import Any, NamedTuple

from msgspec.structs import replace

from statecore.endpoint import Endpoint, LinkDown, LinkUp, Media, Received
from statecore.flow import Flow
from statecore.switchboard import Disconnect
from statecore.testing._world_parts import NOON, Plan, as_input, claims
from statecore.testing.check._coverage import Coverage
from statecore.testing.check._office import Ask
from statecore.testing.check._scenario import Core, Scenario
from statecore.testing.check._side import Side, SideRules, key_of
from statecore.testing.check._tables import Numbers
from statecore.wire import Beat, Command, Hello, TokenRequest, Up, decode_down, decode_up


class Station(NamedTuple):
    """A device and its link, in numbers."""

    side: int
    done: int = 0
    """The plans carried out, as bits."""
    linked: bool = False
    """Whether there is a connection."""
    greeted: bool = False
    """Whether the service has taken its hello."""
    up: tuple[int, ...] = ()
    """On the way to the service."""
    down: tuple[int, ...] = ()
    """On the way to the device."""
    notices: tuple[tuple[str, int], ...] = ()
    """The connections, by epoch and number, that broke and of which the service has not heard yet."""


class Move(NamedTuple):
    """Something that can happen."""

    name: str
    """What, as `World.act` would call it."""
    what: tuple[Any, ...]
    """More about it."""
    go: Callable[[], Station]
    """Makes it happen: the device after it."""
    costs: str = ""
    """Which of the bounded faults it is."""
    ask: Ask | None = None
    """What the service has to decide about it."""


NEWEST = 99
"""The number of every device's newest connection."""
SILENCE: tuple[tuple[str, int], ...] = (("", 0),)
"""In the place of messages: the service has died, and every link with it."""


class Stations:
    """How one device and its link move."""

    def __init__(self, core: Core, scenario: Scenario, device: str, coverage: Coverage) -> None:
        self.rules = SideRules(core, coverage)
        self.hello = LinkUp(flows=core.machine.hashes)
        self.device = device
        self.user = scenario.devices[device]
        session = scenario.guests.get(device)
        self._guest = claims(self.user, session, NOON // 1000) if session is not None else None
        self.faults = {name for name, count in scenario.faults.items() if count}
        self.has_timers = scenario.timers
        self.conditions = scenario.conditions
        self.asked = _asked(scenario.flows.values())
        self.plans: list[tuple[int, Plan]] = [(n, p) for n, p in enumerate(scenario.plans) if p.device == device]
        nothing = Side(Endpoint(self.user, device, f"{device}-1"))
        self.sides = Numbers(nothing, key_of)
        self.messages: Numbers[bytes] = Numbers(b"")
        self._steps: dict[tuple[int, Any], tuple[int, tuple[int, ...]]] = {}
        self._deaf: set[int] = set()

    def begin(self) -> Station:
        """A device that has just been started, without a link."""
        fresh = Endpoint(self.user, self.device, f"{self.device}-1", confirmed=0)
        return Station(self.sides.of(Side(fresh)))

    def side(self, station: Station) -> Side:
        """What is in a station."""
        return self.sides.values[station.side]

    def is_quiet(self, station: Station) -> bool:
        """Whether the link is up and nothing is on its way."""
        return (
            station.linked
            and not (station.up or station.down or station.notices)
            and self.side(station).endpoint.online
        )

    # --- the steps

    def _step(self, station: Station, key: Any, given: Any) -> Station:
        """Give the device an input; what it says goes on its way."""
        number = (station.side, key)
        known = self._steps.get(number)
        if known is None:
            side = self.side(station)
            fires = isinstance(given, tuple)
            after, sent = self.rules.fire(side, given) if fires else self.rules.step(side, given)
            place = self.sides.of(after)
            if place not in self._deaf:
                self.rules.assert_deaf(after.endpoint)
                self._deaf.add(place)
            known = self._steps[number] = place, tuple(self.messages.of(one) for one in sent)
        was = self.side(station).endpoint
        up = (*station.up, *known[1]) if station.linked else ()
        station = station._replace(side=known[0], up=up)
        if station.linked and was.online and not self.side(station).endpoint.online and key != "down":
            return self._unplugged(station)  # it gave up a link that only seemed to stand, and its shell closes it
        return station

    def _unplugged(self, station: Station) -> Station:
        endpoint = self.side(station).endpoint
        notices = (*station.notices, (endpoint.epoch, endpoint.conn)) if station.greeted else station.notices
        return station._replace(linked=False, greeted=False, up=(), down=(), notices=notices)

    def _cut(self, station: Station) -> Station:
        return self._step(self._unplugged(station), "down", LinkDown())

    def posted(self, station: Station, post: tuple[tuple[str, int], ...]) -> Station:
        """The service has sent something."""
        if post == SILENCE:
            station = self._cut(station) if station.linked else station
            return station._replace(notices=())
        epoch = self.side(station).endpoint.epoch
        if not station.greeted:
            return station
        return station._replace(down=(*station.down, *(message for to, message in post if to == epoch)))

    # --- what can happen

    def moves(self, station: Station) -> Iterator[Move]:
        """Everything that can happen next at this device."""
        yield from self._plans(station)
        yield from self._link(station)
        yield from self._media(station)
        if self.has_timers:
            endpoint = self.side(station).endpoint
            for timer in self.rules.timers(endpoint):
                # A link that stands brings word in time. If it only seems to stand, that is one of the cuts.
                costs = "cuts" if timer[0] == "patience" and endpoint.online else ""
                if not costs or costs in self.faults:
                    yield Move("tick", timer, partial(self._step, station, timer, timer), costs)
            # A device whose link stands keeps its lease: it beats.
            if not station.linked:
                yield Move("lease", (), station._replace, ask=Ask("lease", (self.user, self.device)))

    def _plans(self, station: Station) -> Iterator[Move]:
        endpoint = self.side(station).endpoint
        for number, plan in self.plans:
            done = bool(station.done >> number & 1)
            after = all(station.done >> before & 1 for before in plan.after)
            if (plan.again or not done) and after and self.rules.is_ready(endpoint, plan):
                want = self.rules.want(endpoint, plan, number + 1)
                key = ("plan", number)
                taken = station if plan.again else station._replace(done=station.done | 1 << number)
                yield Move("plan", (number,), partial(self._step, taken, key, want))

    def _link(self, station: Station) -> Iterator[Move]:
        for notice in station.notices:
            rest = tuple(other for other in station.notices if other != notice)
            given = Disconnect(self.user, self.device, *notice)
            yield Move("notice", notice, partial(station._replace, notices=rest), ask=Ask("take", given))
        if not station.linked:
            older = Ask("older", (self.user, self.device))
            yield Move("mend", (), partial(self._mended, station), ask=older)
        else:
            yield from self._up(station)
            yield from self._down(station)
            if "cuts" in self.faults:
                yield Move("cut", (), partial(self._cut, station), "cuts")
        if "crashes" in self.faults:
            yield Move("crash", (), partial(self._crashed, station), "crashes")

    def _mended(self, station: Station) -> Station:
        """A new connection, which always has the same number: it is the older ones whose numbers sink."""
        side = self.side(station)
        aged = self.sides.of(replace(side, endpoint=replace(side.endpoint, conn=NEWEST - 1)))
        notices = tuple((epoch, conn - 1) for epoch, conn in station.notices)
        return self._step(station._replace(side=aged, linked=True, notices=notices), "up", self.hello)

    def _crashed(self, station: Station) -> Station:
        gone = self._unplugged(station) if station.linked else station
        return gone._replace(side=self.sides.of(self.rules.crashed(self.side(gone))))

    def _up(self, station: Station) -> Iterator[Move]:
        if not station.up:
            return
        number, *rest = station.up
        message = decode_up(self.messages.values[number])
        greeted = station.greeted or isinstance(message, Hello)
        kept = partial(station._replace, greeted=greeted)
        taken = partial(station._replace, greeted=greeted, up=tuple(rest))
        endpoint = self.side(station).endpoint
        assert not isinstance(message, Beat | TokenRequest), "time stands still, and tokens come with views"
        for holds in self._answers(message):
            given = as_input(endpoint, message, frozenset(holds), self._guest)
            ask = Ask("take", given)
            yield Move("up", holds, taken, ask=ask)
            if "duplicates" in self.faults:
                yield Move("again_up", holds, kept, "duplicates", ask)
            if "deaths" in self.faults:
                yield Move("die", holds, taken, "deaths", Ask("die", given))

    def _answers(self, message: Up) -> Iterator[tuple[str, ...]]:
        """Which of the application's conditions hold for a message: every answer that there may be."""
        asked = self.asked.get(message.trigger, ()) if isinstance(message, Command) else ()
        for said in product(*(self._answer(name, message) for name in asked)):
            yield tuple(name for name, holds in zip(asked, said, strict=True) if holds)

    def _answer(self, name: str, message: Up) -> tuple[bool, ...]:
        answers = self.conditions.get(name)
        if answers is None:
            return False, True
        assert isinstance(message, Command), "nothing else asks for conditions"
        return (answers(self.user, message.session, message.data or {}) is True,)

    def _down(self, station: Station) -> Iterator[Move]:
        if not station.down:
            return
        number, *rest = station.down
        yield Move("down", (), partial(self._take, station._replace(down=tuple(rest)), number))
        if "duplicates" in self.faults:
            yield Move("again_down", (), partial(self._take, station, number), "duplicates")
        if "overtakings" in self.faults and len(rest) > 0:
            kept = station._replace(down=(number, *rest[1:]))
            yield Move("overtake", (), partial(self._take, kept, rest[0]), "overtakings")

    def _take(self, station: Station, number: int) -> Station:
        return self._step(station, ("take", number), Received(decode_down(self.messages.values[number])))

    def _media(self, station: Station) -> Iterator[Move]:
        for session, leg in self.side(station).endpoint.legs.items():
            if leg.media != "open":
                continue
            joined = [peer.pid for peer in leg.peers if peer.joined]
            if not leg.reported and (joined or leg.role == "member"):
                yield Move("up_media", (session,), self._reports(station, session, "up"))
            if "failures" in self.faults:
                yield Move("fail_media", (session,), self._reports(station, session, "failed"), "failures")
            if "drops" in self.faults and leg.reported:
                lost = {pid for pid, _, _ in leg.lost}
                for pid in joined:
                    what, costs = ("peer_connected", "") if pid in lost else ("peer_lost", "drops")
                    yield Move(what, (session, pid), self._reports(station, session, what, pid), costs)

    def _reports(self, station: Station, *what: Any) -> Callable[[], Station]:
        return partial(self._step, station, ("media", *what), Media(*what))


def _asked(flows: Iterable[Flow]) -> dict[str, tuple[str, ...]]:
    """The application's own conditions that the rows of each trigger name."""
    found: dict[str, set[str]] = {}
    for flow in flows:
        for row in flow.rows:
            found.setdefault(row.trigger, set()).update({*row.when, *row.unless} & {*flow.conditions})
    return {trigger: tuple(sorted(names)) for trigger, names in found.items()}


__all__ = ["SILENCE", "Move", "Station", "Stations"]
