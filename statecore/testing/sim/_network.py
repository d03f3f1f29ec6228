"""The simulated network: each link is reliable and in order until it is cut, and has latency."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ._parts import Agenda, Mix, Wire, latency

UP, DOWN = 0, 1


class Network(ABC):
    """Carries messages, each way of each connection by itself."""

    def __init__(self) -> None:
        self.agenda = Agenda()
        self.mix = Mix()

    def carry(self, wire: Wire, way: int, data: bytes) -> None:
        """Send a message up or down; it arrives after what was sent before it, unless it may overtake."""
        if wire.silent:
            return
        due = self.agenda.now + latency(wire.chance) + self.slowness(wire)
        if way == DOWN and wire.overtake:
            wire.overtake -= 1
            self.mix.faults["overtake"] += 1
        else:
            due = max(due, wire.due[way])
            wire.due[way] = due
        self._launch(wire, way, data, due)
        if wire.repeat:
            wire.repeat -= 1
            self.mix.faults["repeat"] += 1
            self._launch(wire, way, data, max(due, wire.due[way]) + 1)

    def _launch(self, wire: Wire, way: int, data: bytes, due: int) -> None:
        wire.pending[way] += 1
        self.agenda.at(due, self._arrive, wire, way, data)

    def _arrive(self, wire: Wire, way: int, data: bytes) -> None:
        wire.pending[way] -= 1
        if wire.silent:
            return
        if way == UP and wire.there:
            self.serve(wire, data)
        elif way == DOWN and wire.here:
            self.hear(wire, data)
        self.arrived(wire)

    def tell_cut(self, wire: Wire) -> None:
        """The service's end is closed: the device learns of it, after what was sent before."""
        if wire.here and not wire.silent:
            self.agenda.at(max(self.agenda.now + latency(wire.chance), wire.due[DOWN]), self.lost, wire)

    # --- what the ends do about it

    @abstractmethod
    def serve(self, wire: Wire, data: bytes) -> None:
        """The service takes a message."""

    @abstractmethod
    def hear(self, wire: Wire, data: bytes) -> None:
        """A device takes a message."""

    @abstractmethod
    def lost(self, wire: Wire) -> None:
        """A device learns that its connection is gone."""

    @abstractmethod
    def arrived(self, wire: Wire) -> None:
        """A message was taken, or lost."""

    @abstractmethod
    def slowness(self, wire: Wire) -> int:
        """What this link's latency is more than usual, in milliseconds."""
