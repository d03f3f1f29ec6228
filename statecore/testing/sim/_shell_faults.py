"""What goes wrong in a simulation of the shells."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from statecore.aio import CallClient

from ._home import Home, now
from ._script import Item
from ._site import Site


class Troubles(ABC):
    """Carries out the faults of a script; one that finds nothing to break does not count."""

    homes: dict[str, Home]
    site: Site
    stops: set[asyncio.Task[Any]]
    """What is to come of faults."""
    turned: int
    """By how many milliseconds the services' clock was set."""

    @abstractmethod
    def spawn(self, work: Coroutine[Any, Any, object], to: set[asyncio.Task[Any]]) -> None:
        """Start something, and keep it there until it is done."""

    def fault(self, item: Item) -> None:
        """Let something go wrong."""
        do = getattr(self, "_" + item.what)
        if do(self.homes.get(item.device), **item.how) is not False:
            self.site.mix.faults[item.what] += 1

    def mend_all(self) -> None:
        """From now on nothing goes wrong any more."""
        for place in range(len(self.site.running)):
            self.site.at_next_commit(place, None)
        for home in self.homes.values():
            home.clock.shows.set(now(), rate=1.0)
            home.link.latency, home.link.jitter = 0.005, 0.06
            home.link.lose_answers(0)

    def _later(self, milliseconds: int, do: Callable[[], object]) -> None:
        async def later() -> None:
            await asyncio.sleep(milliseconds / 1000)
            do()

        self.spawn(later(), self.stops)

    def _meets(self, what: str, *homes: Home) -> None:
        for home in homes:
            if home.client is not None:
                self.site.mix.met[what].update(call.session_id for call in home.client.calls)

    # --- links

    def _cut(self, home: Home, ms: int) -> bool:
        if home.client is None or not home.client.connected:
            return False
        self._meets("resume", home)
        home.link.cut()
        self._later(ms, partial(self._mend, home, home.number))
        return True

    def _mend(self, home: Home, number: int) -> None:
        if home.number == number and home.client is not None:
            home.link.mend()

    def _partition(self, _: None, ms: int, devices: list[str]) -> bool:
        return sum(self._cut(self.homes[device], ms) for device in devices if device in self.homes) > 0

    def _half_open(self, home: Home, ms: int) -> bool:
        if home.client is None or not home.client.connected:
            return False
        self._meets("resume", home)
        home.link.half_open()
        self._later(ms, partial(self._mend, home, home.number))
        return True

    def _slow(self, home: Home, ms: int) -> None:
        home.link.latency = min(ms, 3000) / 1000
        self._later(4000, partial(setattr, home.link, "latency", 0.005))

    def _repeat(self, home: Home, count: int) -> bool:
        """What is said next is heard and not answered, so it is said again."""
        self._meets("resume", home)
        home.link.lose_answers(count)
        return False  # counted where it happens

    def _overtake(self, home: Home, count: int) -> bool:
        """The same, and it is heard so late that what is said over the next connection overtakes it."""
        self._meets("resume", home)
        home.link.lose_answers(count, late=count / 2)
        return False  # counted where it happens

    # --- devices

    def _crash(self, home: Home, ms: int) -> bool:
        if home.client is None:
            return False
        self._meets("crash", home)
        client = home.client
        home.crash()
        self.spawn(self._reboot(home, client, ms), self.stops)
        return True

    async def _reboot(self, home: Home, client: CallClient, ms: int) -> None:
        await client.close()
        await asyncio.sleep(ms / 1000)
        home.link.mend()
        await home.start()

    def _clock_rate(self, home: Home, rate: float) -> None:
        home.clock.shows.set(now(), rate=rate)

    def _clock_jump(self, home: Home, ms: int) -> None:
        home.clock.shows.set(now(), jump=ms)

    # --- media

    def _media_fail(self, home: Home, **_: Any) -> None:
        home.media.fail_at = "connect"
        self._later(3000, partial(setattr, home.media, "fail_at", None))

    def _media_drop(self, home: Home, ms: int) -> bool:
        for session in home.media.sessions:
            for pid in list(session._links):  # noqa: SLF001 - of the same kit
                session.lose(pid)
                self._later(ms, partial(self._restore, home, session, pid))
                return True
        return False

    def _restore(self, home: Home, session: Any, pid: str) -> None:
        if session in home.media.sessions and pid in session._links:  # noqa: SLF001 - of the same kit
            session.restore(pid)

    # --- the services

    def _service_clock(self, _: None, ms: int) -> None:
        self.turned += ms
        self.site.turn_clock(ms)

    def _restart(self, _: None, ms: int) -> bool:
        """A service is closed, lets what it is about come to an end, and is opened again."""
        return self._down(ms % len(self.site.running), ms, dead=False)

    def _stop(self, _: None, ms: int) -> bool:
        """A service dies where it stands."""
        return self._down(ms % len(self.site.running), ms)

    def _stop_after_commit(self, _: None, ms: int) -> bool:
        """A service dies as soon as it has committed something, before anybody hears of it."""
        place = ms % len(self.site.running)
        self.site.at_next_commit(place, partial(self._dies, place, ms))
        return False  # counted where it happens

    def _dies(self, place: int, ms: int) -> None:
        self._down(place, ms)
        self.site.mix.faults["stop_after_commit"] += 1

    def _forget(self, _: None, ms: int) -> bool:
        """All services die, and their store with them."""
        if None in self.site.running:
            return False  # one that comes back meanwhile would be on another store than the rest
        for place in range(len(self.site.running)):
            self._down(place, ms)
        self.spawn(self.site.forget(), self.stops)  # in the next turn: long before one is back
        return True

    def _down(self, place: int, ms: int, *, dead: bool = True) -> bool:
        gone = self.site.take(place, dead=dead)
        if gone is None:
            return False
        self._meets("crash", *(home for home in self.homes.values() if self.site.place(home.device) == place))
        self.spawn(self._back(place, gone, ms, dead=dead), self.stops)
        return True

    async def _back(self, place: int, gone: Coroutine[Any, Any, object], ms: int, *, dead: bool) -> None:
        going = asyncio.get_running_loop().create_task(gone)
        if not dead:
            await going
        await asyncio.sleep(ms / 1000)
        await self.site.open(place)
        await going
