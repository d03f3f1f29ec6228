"""A process that is killed while it writes."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from contextlib import closing
from typing import Any

import pytest

from statecore.model import Line

_WRITER = """
import asyncio, sys, statecore_sql
from statecore.model import Line

async def main():
    store = getattr(statecore_sql, sys.argv[1])(sys.argv[2])
    for n in range(1_000_000):
        assert await store.commit({("line", user): (n, Line(str(n + 1))) for user in "ab"})
        print(n + 1, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_writer_loses_nothing_it_was_told_is_written(seed: int, place: Any) -> None:
    """After SIGKILL every acknowledged commit is there, and the two keys of each commit agree."""
    acknowledged = 0
    command = [sys.executable, "-c", _WRITER, place.kind.__name__, place.where]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": ":".join(sys.path)}) as writer:
        assert writer.stdout is not None
        for _ in range(random.Random(seed).randrange(1, 200)):  # noqa: S311 - to be had again by its seed
            acknowledged = int(writer.stdout.readline())
        writer.kill()
        acknowledged = max([acknowledged, *(int(line) for line in writer.stdout if line.endswith("\n"))])
    with closing(place.open()) as store:
        (one, first), (two, second) = asyncio.run(store.load([("line", "a"), ("line", "b")])).values()
    assert one == two
    assert acknowledged <= one <= acknowledged + 1
    assert first == second == Line(str(one))
