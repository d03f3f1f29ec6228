"""`import statecore` in fresh processes, beside what it is built on."""

from __future__ import annotations

import sys
from statistics import median

from ._harness import Effort, Figure, at_most
from ._worker import Worker

LIMIT = 80.0
"""How long the import may take, in milliseconds of wall time."""
PROCESSES = 7
"""How many fresh processes on each side."""
_PARTS = "attrs, transitions, pyee.base, msgspec"
# Not a function of this package: to call it would import what is to be measured.
_SCRIPT = """
import sys, time
before, start = set(sys.modules), time.perf_counter()
import {modules}
print(time.perf_counter() - start)
loaded = {{name.partition(".")[0] for name in set(sys.modules) - before}}
unwanted = {{"asyncio", "socket", "numpy", "av", "aiortc", "joserfc", "rich"}}
print(sum(name in unwanted or name.startswith("statecore_") for name in loaded))
"""


def _fresh(modules: str) -> tuple[float, float]:
    with Worker([sys.executable, "-c", _SCRIPT.format(modules=modules)]) as process:
        return process.number(), process.number()


def imports(_: Effort) -> list[Figure]:
    """How long the import takes, and how much comes with it that should not."""
    _fresh("statecore")  # writes the byte code, if nobody has yet
    turns = [(_fresh("statecore"), _fresh(_PARTS)) for _ in range(PROCESSES)]
    value = median(ours for (ours, _), _ in turns) * 1e3
    peer = median(parts for _, (parts, _) in turns) * 1e3
    unwanted = max(count for (_, count), _ in turns)
    return [
        Figure(
            name="import statecore", value=value, unit="ms", peer=_PARTS, peer_value=peer, ratio=value / peer,
            target=f"<= {LIMIT:g} ms", met=at_most(LIMIT, value),
        ),
        Figure(
            name="loops, sockets and adapters that it loads", value=unwanted, unit="modules", target="0",
            met=unwanted == 0,
        ),
    ]  # fmt: skip
