"""A simulator: calls among people whose devices, links, clocks, media and service fail, in virtual time, by a seed."""

from __future__ import annotations

from ._parts import Mix
from ._run import Core, Simulation, Violation, simulate
from ._script import FAULTS, Item, Script, script_of
from ._site import Link, Site

__all__ = [
    "FAULTS",
    "Core",
    "Item",
    "Link",
    "Mix",
    "Script",
    "Simulation",
    "Site",
    "Violation",
    "script_of",
    "simulate",
]
