"""What goes wrong in a simulation."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from statecore.endpoint import Endpoint, LocalLeg, Media

from ._office import Office
from ._parts import Wire
from ._script import Item


class Faults(Office):
    """Carries out the faults of a script; one that finds nothing to break does not count."""

    def fault(self, item: Item) -> None:
        """Let something go wrong."""
        done = getattr(self, "_" + item.what)(item.device, **item.how)
        if done is not False:
            self.mix.faults[item.what] += 1

    def drop(self, wire: Wire, *, notice: int = 0) -> None:
        """A connection breaks: the device knows, what is on the way to it is lost; the service learns of it later, and
        takes until then what still arrives."""
        place = self.places[wire.device]
        wire.here = False
        place.wire = None
        if not wire.silent:
            self.agenda.after(notice, self.hang_up, wire)
        self.left(wire.device)

    @abstractmethod
    def left(self, device: str) -> None:
        """A device knows that it has no connection."""

    @abstractmethod
    def connect(self, device: str) -> None:
        """A device makes a connection."""

    @abstractmethod
    def leg(self, device: str, session: str) -> LocalLeg | None:
        """A device's leg, as the device knows it."""

    @abstractmethod
    def give(self, device: str, given: Any) -> Any:
        """An input for a device's endpoint."""

    def mend_all(self) -> None:
        """Everything works again."""
        self._dies = None
        self._start()
        for device, place in self.places.items():
            place.cut_until = 0
            place.slow = (0, 0)
            place.clock.set(self.agenda.now, rate=1.0)
            place.tick_at = 0
            if place.wire is not None and place.wire.silent:
                place.wire.silent = False
                self.drop(place.wire)
            self.connect(device)

    # --- links

    def _cut(self, device: str, ms: int) -> bool:
        place = self.places[device]
        place.cut_until = max(place.cut_until, self.agenda.now + ms)
        if place.wire is None:
            return False
        # Every other time what is on its way up is lost, too, and the service knows at once.
        self.drop(place.wire, notice=0 if ms % 2 else 1 + ms % 3000)
        return True

    def _partition(self, _device: str, ms: int, devices: list[str]) -> bool:
        return sum(self._cut(device, ms) for device in devices) > 0

    def _half_open(self, device: str, ms: int) -> bool:
        """Messages vanish, and nobody knows; then the connection breaks for both."""
        wire = self.places[device].wire
        if wire is None:
            return False
        wire.silent = True
        self.agenda.after(ms, self._break, wire)
        return True

    def _break(self, wire: Wire) -> None:
        wire.silent = False
        if self.places[wire.device].wire is wire:
            self.drop(wire)
        else:
            self.hang_up(wire)

    def _slow(self, device: str, ms: int) -> None:
        self.places[device].slow = (min(ms, 3000), self.agenda.now + 4000)

    def _repeat(self, device: str, count: int) -> bool:
        wire = self.places[device].wire
        if wire is not None:
            wire.repeat += count
        return False  # counted where it happens

    def _overtake(self, device: str, count: int) -> bool:
        wire = self.places[device].wire
        if wire is not None:
            wire.overtake += count
        return False  # counted where it happens

    # --- devices

    def _crash(self, device: str, ms: int) -> bool:
        place = self.places[device]
        if not place.running:
            return False
        self.watch.gone(place.endpoint)
        self.note_crash(device)
        place.running, place.tick_at = False, 0
        place.number += 1
        wire, place.wire = place.wire, None
        if wire is not None:
            wire.here = False
            self.agenda.after(ms % 2000, self.hang_up, wire)
        self.agenda.after(ms, self._reboot, device)
        return True

    def _reboot(self, device: str) -> None:
        place = self.places[device]
        place.running = True
        place.endpoint = Endpoint(place.endpoint.user, device, f"{device}-{place.number}")
        self.connect(device)

    def _clock_rate(self, device: str, rate: float) -> None:
        place = self.places[device]
        place.clock.set(self.agenda.now, rate=rate)
        self._rearm(device)

    def _clock_jump(self, device: str, ms: int) -> None:
        self.places[device].clock.set(self.agenda.now, jump=ms)
        self._rearm(device)

    @abstractmethod
    def _rearm(self, device: str) -> None:
        """A device's clock was turned: its timer is set anew."""

    # --- media

    def _media_fail(self, device: str, **_: int) -> bool:
        self.places[device].fail_media = True
        return False  # counted where it happens

    def _media_drop(self, device: str, ms: int) -> bool:
        """The media of a call is lost between two participants, and comes back."""
        place = self.places[device]
        for leg in place.endpoint.legs.values():
            for peer in leg.peers:
                if leg.media == "open" and peer.joined and self.places[peer.device].running:
                    ends = ((device, leg.session, peer.pid), (peer.device, leg.session, leg.pid))
                    for end in ends:
                        self._media_is("peer_lost", *end)
                        self.agenda.after(ms, self._media_is, "peer_connected", *end)
                    return True
        return False

    def _media_is(self, what: Any, device: str, session: str, pid: str) -> None:
        if self.places[device].running and self.leg(device, session) is not None:
            self.give(device, Media(session, what, pid))

    # --- the service

    def _stop(self, _device: str, ms: int) -> bool:
        if self.down:
            return False
        self.stop(ms)
        return True

    _restart = _stop  # decisions take no time here, so none is in flight that an orderly end could wait for

    def _forget(self, _device: str, ms: int) -> bool:
        if not self._stop(_device, ms):
            return False
        self.forget()
        return True

    def _stop_after_commit(self, _device: str, ms: int) -> bool:
        self.stop_after_commit(ms)
        return False  # counted where it happens

    def _service_clock(self, _device: str, ms: int) -> None:
        self.turn_clock(ms)


__all__ = ["Faults"]
