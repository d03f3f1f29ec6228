"""`import statecore` in fresh processes, beside what it is built on."""

from __future__ import annotations

import sys
from statistics import median
from tempfile import TemporaryDirectory

from ._harness import Effort, Figure, at_most
from ._worker import Worker

LIMIT = 80.0
"""How long the import may take, in milliseconds of wall time."""
PROCESSES = 7
"""How many fresh processes on each side."""
_CORE = "statecore.switchboard, statecore.endpoint"
"""The whole of the pure core: most names of `statecore` are loaded when they are first asked for."""
_PARTS = "attrs, transitions, pyee.base, msgspec"
_SIDES = ("statecore", _CORE, _PARTS)
# Not a function of this package: to call it would import what is to be measured.
_SCRIPT = """
import sys, time
sys.dont_write_bytecode = False
before, start = set(sys.modules), time.perf_counter()
import {modules}
print(time.perf_counter() - start)
loaded = {{name.partition(".")[0] for name in set(sys.modules) - before}}
unwanted = {{"asyncio", "socket", "numpy", "av", "aiortc", "joserfc", "rich"}}
print(sum(name in unwanted or name.startswith("statecore_") for name in loaded))
"""


def _fresh(modules: str, cache: str) -> tuple[float, float]:
    # Byte code comes from a folder of ours, as it does from beside the modules once a package is installed: whether
    # this process may write any decides how long compiling takes, not how long importing does.
    command = [sys.executable, "-X", f"pycache_prefix={cache}", "-c", _SCRIPT.format(modules=modules)]
    with Worker(command) as process:
        return process.number() * 1e3, process.number()


def imports(effort: Effort) -> list[Figure]:
    """How long the import takes, how long that of the core behind it, and how much comes with it that should not."""
    with TemporaryDirectory() as cache:
        for modules in _SIDES:  # writes the byte code
            _fresh(modules, cache)
        turns = [[_fresh(modules, cache) for modules in _SIDES] for _ in range(1 if effort.quick else PROCESSES)]
    value, core, peer = (median(taken for taken, _ in side) for side in zip(*turns, strict=True))
    unwanted = max(count for turn in turns for _, count in turn[:2])
    return [
        Figure(
            name="import statecore", value=value, unit="ms", peer=_PARTS, peer_value=peer, ratio=value / peer,
            target=f"<= {LIMIT:g} ms", met=at_most(LIMIT, value),
        ),
        Figure(name=f"import {_CORE}", value=core, unit="ms", peer=_PARTS, peer_value=peer, ratio=core / peer),
        Figure(
            name="loops, sockets and adapters that they load", value=unwanted, unit="modules", target="0",
            met=unwanted == 0,
        ),
    ]  # fmt: skip
