"""Of which core a figure is, so that whoever reads it later can tell whether that core is still the one."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
CORE = (
    "_effects.py",
    "_rows.py",
    "_timers.py",
    "flow.py",
    "machine.py",
    "model.py",
    "wire.py",
    "endpoint/*.py",
    "switchboard/*.py",
)
"""What decides calls: the sources that the figures of checks, simulations and mutants are about."""


def digest() -> str:
    """The first twelve digits of the SHA-256 of the core's sources, names included."""
    told = hashlib.sha256()
    for pattern in CORE:
        for file in sorted(PACKAGE.glob(pattern)):
            told.update(f"{file.relative_to(PACKAGE).as_posix()}\0".encode() + file.read_bytes() + b"\0")
    return told.hexdigest()[:12]


def stamp() -> dict[str, str]:
    """What stands beside figures that are measured now: the `core`, and the day."""
    return {"core": digest(), "measured": datetime.now(UTC).date().isoformat()}
