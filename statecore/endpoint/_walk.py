"""Which way a leg goes from what the device knew to what the switchboard says: the table's shortest path."""

from __future__ import annotations

import functools
from collections import deque

from ..flow import Row
from ..machine import FlowMachine
from ..model import Reason


@functools.lru_cache(maxsize=4096)
def walk(
    machine: FlowMachine, state: str, joined: bool, caller: bool, to: str, to_joined: bool, reason: Reason | None
) -> tuple[Row, ...] | None:
    """The rows from (state, joined) to (to, to_joined), the last one with this reason if it ends the leg; None if the
    table knows no way. Only the conditions that the device can know count: who called, and whether it has joined."""
    start, goal = (state, joined), (to, to_joined)
    final = machine.flow.final
    paths: dict[tuple[str, bool], tuple[Row, ...]] = {start: ()}
    todo = deque([start])
    while todo:
        here = todo.popleft()
        if here == goal or (here[0] == to == final):
            return paths[here]
        for row in machine.flow.rows:
            if row.state == here[0] and _may(row, here[1], caller) and (row.to != final or row.reason == reason):
                there = (row.to, ("joined" in row.sets or here[1]) and "joined" not in row.clears)
                if there not in paths:
                    paths[there] = (*paths[here], row)
                    todo.append(there)
    return None


def _may(row: Row, joined: bool, caller: bool) -> bool:
    if row.refuse is not None:
        return False
    known = {"caller": caller, "joined": joined}
    return all(known.get(name, True) for name in row.when) and not any(known.get(name, False) for name in row.unless)
