"""`statecore serve` as on a machine of its own, for tests: its time passes faster, somebody sets its clock, and it dies
right behind a commit when it is told to. What the simulator's oracle says of its decisions stands in its complaints.

    python -P _hurried_serve.py SWITCHES SPEED BEGAN PLANTED

Only what the machine is like differs from the command that ships, and that the oracle looks on. Its arguments come as
a line of JSON to the standard input: since its time passes faster, it has loaded everything before it is to start."""

from __future__ import annotations

import json
import mmap
import os
import signal
import struct
import sys
import time
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

_LOADED = (
    "httpx",
    "joserfc.jwk",
    "joserfc.jws",
    "statecore.cli.network.serve",
    "statecore_web",
    "uvicorn.lifespan.on",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.websockets_sansio_impl",
)
"""What the command loads when it is run, and at the first token or webhook."""
PROBLEM = "what must hold does not: "
"""How a complaint of the oracle begins."""


class Switches:
    """What a test turns while the machine runs: a small file that both see."""

    _form = struct.Struct("<q?")

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(self._form.size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), self._form.size)

    @property
    def turned(self) -> int:
        """By how many milliseconds its clock was set."""
        return int(self._form.unpack_from(self._map)[0])

    @turned.setter
    def turned(self, milliseconds: int) -> None:
        self._form.pack_into(self._map, 0, milliseconds, self.doomed)

    @property
    def doomed(self) -> bool:
        """Whether it dies right behind its next commit."""
        return bool(self._form.unpack_from(self._map)[1])

    @doomed.setter
    def doomed(self, doomed: bool) -> None:
        self._form.pack_into(self._map, 0, self.turned, doomed)

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()


class Problems(list[str]):
    """Complains."""

    def append(self, problem: str) -> None:
        sys.stderr.write(f"{PROBLEM}{problem}\n")


def main(path: str, speed: str, began: str, planted: str) -> int:
    """Be such a machine, and run the command once it is told to."""
    switches, pace, origin = Switches(Path(path)), float(speed), float(began)

    import uvicorn

    import statecore
    import statecore_sql
    from statecore.aio import CallService
    from statecore.cli import main as run
    from statecore.machine import compiled
    from statecore.ports import Key
    from statecore.testing.loop import NOON, FastLoop
    from statecore.testing.oracle import Watch
    from statecore.testing.sim._services import Board
    from statecore_sql import SqliteStore

    def wall() -> int:
        return round((NOON + switches.turned) * 1e6 + (time.monotonic() - origin) * pace * 1e9)

    class Store(SqliteStore):
        async def commit(self, writes: Mapping[Key, tuple[int, Any]]) -> bool:
            done = await super().commit(writes)
            if done and switches.doomed:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

    class Service(CallService):
        def __init__(self, **more: Any) -> None:
            super().__init__(**more)
            watch = Watch({name: compiled(flow) for name, flow in self.flows.items()})
            self.switchboard = Board(watch, Problems(), self.flows)

        async def _watch_calls(self) -> None:
            if planted != "forgets its deadlines":
                await super()._watch_calls()

    time.time_ns, time.time = wall, lambda: wall() / 1e9
    uvicorn.Config.get_loop_factory = lambda _: partial(FastLoop, pace, origin)  # type: ignore[method-assign]
    statecore_sql.SqliteStore, statecore.CallService = Store, Service  # type: ignore[misc]
    for name in _LOADED:
        import_module(name)
    line = sys.stdin.readline()
    return run(json.loads(line)) if line else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
