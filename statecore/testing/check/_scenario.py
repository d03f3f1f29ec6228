"""What is explored: who is there, what they may do, and how much may go wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct, field

from statecore.endpoint import EndpointMachine
from statecore.flow import FLOWS, Flow, Timers
from statecore.settings import ServiceSettings
from statecore.switchboard import Input, Switchboard
from statecore.testing._world_parts import CALM, Plan, Service

FAULTS = ("cuts", "duplicates", "overtakings", "crashes", "deaths", "failures", "drops", "asks")
"""What a scenario bounds, each for all devices together: links cut, messages delivered twice, messages of the service
that overtake one another, processes of devices that die and start anew, deaths of the service right after a commit,
media that fails, media with one participant that drops and may come back; and what the application asks of the service,
which is no fault, but comes out of the blue as well."""


class Scenario(Struct, frozen=True, kw_only=True):
    """Devices, what their users may do, and what may go wrong, each within bounds; within them everything is tried."""

    name: str
    """Its name, for the command line."""
    help: str
    """What it is about, in one line."""
    devices: dict[str, str]
    """The user of each device."""
    guests: dict[str, str] = {}
    """Those of them that a call token admits, and the session it is for: their users have not logged in."""
    plans: tuple[Plan, ...]
    """What users may do, in every order; `after` names plans of the same device."""
    begun: int = 0
    """How many of the plans have been carried out, with all that follows, before the exploration begins."""
    faults: dict[str, int] = {}
    """How often each of `FAULTS` may happen; those not named never do."""
    timers: bool = True
    """Whether every armed timer may fire at any time, the leases of devices that are away among them."""
    asks: tuple[Input, ...] = ()
    """What the application may ask of the service, each as often as the bound `asks` allows."""
    conditions: Mapping[str, Callable[[str, str, Mapping[str, Any]], bool]] = {}
    """What the application answers to its own conditions, as for `CallService`: by the user, the session and the
    command's data. Those that are not named are answered both ways, whenever they are asked."""
    always: Callable[[Service], object] | None = None
    """What must hold besides, at the service, as soon as there is a call: raises AssertionError where it does not. The
    same function may look on at a `World`."""
    flows: Mapping[str, Flow] = field(default_factory=lambda: FLOWS)
    """The flows that service and devices hold."""
    durations: Timers = CALM
    """The timers' lengths, which play no part but for their order."""
    settings: ServiceSettings | None = None
    """The service's settings."""
    deep: bool = False
    """Whether it is too large for every day."""

    @property
    def flows_run(self) -> list[str]:
        """The flows that its plans begin."""
        return sorted({plan.given.flow for plan in self.plans if plan.given.flow})

    @property
    def bounds(self) -> dict[str, Any]:
        """What bounds the exploration, for the report."""
        faults = {name: self.faults[name] for name in FAULTS if self.faults.get(name)}
        return {"devices": len(self.devices), "plans": len(self.plans), "timers": self.timers, **faults}


class Core(Struct, frozen=True):
    """The code under test: the two that decide."""

    board: Switchboard
    """The service's side."""
    machine: EndpointMachine
    """The devices' side."""


def shipped(scenario: Scenario) -> Core:
    """The code that ships, for a scenario's flows and timers."""
    return Core(
        Switchboard(flows=scenario.flows, timers=scenario.durations, settings=scenario.settings),
        EndpointMachine(flows=scenario.flows, timers=scenario.durations),
    )
