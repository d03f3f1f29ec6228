"""Ringing calls that a switchboard holds: what each costs in memory, and what a command costs among many.

Everything that a service keeps of a call is kept: the record, both lines with a device each, the versions and keys of
the store, the index of what is due when. Of views that are still to be heard nothing is kept but their numbers, which
are in the record. All ids have 36 characters, and reach the switchboard as a service gets them: decoded from the wire.
"""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Coroutine
from contextlib import ExitStack
from itertools import repeat
from pathlib import Path
from typing import Any, TypeVar

from statecore import wire
from statecore.aio import MemoryStore
from statecore.aio._time import Timetable
from statecore.ports import Key
from statecore.switchboard import Act, Connect, Input, Need, Switchboard, next_due

from ._harness import Effort, Figure, Loop, alternate, at_most, cpu
from ._worker import Worker, answer, python

_NOW = 1_700_000_000_000
_KIB = 1024.0
_LIMIT_KIB = 2.0
_LIMIT_RATIO = 1.5


class Held:
    """A switchboard with its store and the index of its timers, as the service has them; nobody listens."""

    def __init__(self) -> None:
        self.board = Switchboard()
        self.store = MemoryStore(log_limit=0)
        self.table = Timetable()
        self.calls = 0
        self.chance = random.Random(1)  # noqa: S311 - ids that differ, the same in every run

    def new_id(self) -> str:
        """An id of 36 characters."""
        return f"{self.chance.getrandbits(144):036x}"

    def ring(self) -> None:
        """Two new users, a device each, and a call between them that rings."""
        callee, _, _ = self.connect()
        self.initiate(*self.connect(), callee)
        self.calls += 1

    def connect(self) -> tuple[str, str, str]:
        """A new user with a device."""
        user = self.new_id()
        hello = wire.decode_up(wire.encode(wire.Hello(self.new_id(), self.new_id(), 1)))
        if not isinstance(hello, wire.Hello):  # pragma: no cover - it would measure something else
            raise TypeError(hello)
        self.decide(Connect(user, hello), (("line", user),))
        return user, hello.device, hello.epoch

    def initiate(self, caller: str, device: str, epoch: str, callee: str) -> str:
        """A new call between two users; its id."""
        session = self.new_id()
        self.act(caller, device, epoch, wire.Command(session, 1, "initiate", flow="ringing", receiver=callee))
        return session

    def act(self, user: str, device: str, epoch: str, command: wire.Command) -> None:
        """A command, as it comes over the wire."""
        decoded = wire.decode_up(wire.encode(command))
        if not isinstance(decoded, wire.Command):  # pragma: no cover - it would measure something else
            raise TypeError(decoded)
        self.decide(Act(user, device, epoch, decoded), (("call", decoded.session), ("line", user)))

    def decide(self, given: Input, keys: tuple[Key, ...]) -> None:
        """Load, decide, commit, and know when timers fire. What is to be sent is encoded, and goes nowhere."""
        loaded = self.load(keys)
        while isinstance(done := self.board.step(_values(loaded), given, self.now()), Need):
            loaded.update(self.load(done.keys))
        commit = self.store.commit({key: (loaded[key][0], value) for key, value in done.writes.items()})
        if not _now(commit):  # pragma: no cover - it would measure something else
            raise RuntimeError("nobody else writes, and yet there was a conflict")
        for key, value in done.writes.items():
            if (due := next_due(value)) != next_due(loaded[key][1]):
                self.table.note(key, due)
        for effect in done.effects:
            wire.encode(effect.message)

    def now(self) -> int:
        """Three calls come each millisecond: 100,000 in the time that a call may ring."""
        return _NOW + self.calls // 3

    def load(self, keys: tuple[Key, ...]) -> dict[Key, tuple[int, Any]]:
        """Records by key."""
        return _now(self.store.load(keys))

    def again(self) -> Loop:
        """Cancels a call somewhere among all and rings anew: two commands, and as many calls as before."""
        if len(_now(self.store.scan("call"))) != self.calls:  # pragma: no cover - it would measure something else
            raise RuntimeError("not every call rings")
        held = [(record.session_id, record.legs[0], record.receiver) for _, record in _now(self.store.scan("call"))]

        def loop(count: int) -> None:
            for _ in repeat(None, count):
                place = self.chance.randrange(len(held))
                session, leg, callee = held[place]
                self.act(leg.user, leg.device, leg.epoch, wire.Command(session, 2, "cancel"))
                held[place] = (self.initiate(leg.user, leg.device, leg.epoch, callee), leg, callee)

        return loop


def _values(loaded: dict[Key, tuple[int, Any]]) -> dict[Key, Any]:
    return {key: value for key, (_, value) in loaded.items()}


_Result = TypeVar("_Result")


def _now(coroutine: Coroutine[Any, Any, _Result]) -> _Result:
    """The result of a coroutine that never waits, as those of the store in memory."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: _Result = done.value
        return result
    raise RuntimeError("the store in memory waits for something")  # pragma: no cover - it does not


def _resident() -> int:
    """Resident memory of this process in bytes; 0 where that cannot be known."""
    gc.collect()
    statm = Path("/proc/self/statm")
    return int(statm.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


# --- what runs in processes of its own --------------------------------------------------------------------------------


def hold(calls: int) -> None:
    """Say how many bytes each of so many ringing calls takes, then take turns at commands among them."""
    Held().ring()  # what is made once does not count
    held = Held()
    before = _resident()
    for _ in range(calls):
        held.ring()
    print((_resident() - before) / calls, flush=True)
    answer(cpu(held.again()))


def hold_machines(calls: int) -> None:
    """Say how many bytes so many machines of `transitions` take, one for each call, and nothing else of the call."""
    from ._peers import transitions_machine

    kept = [transitions_machine()]
    before = _resident()
    kept += [transitions_machine() for _ in range(calls)]
    print((_resident() - before) / calls, flush=True)


# --- figures ----------------------------------------------------------------------------------------------------------


def memory(effort: Effort) -> list[Figure]:
    """Figures of held calls: memory of each, and a command among them."""
    sizes = (500, 1_000) if effort.quick else (1_000, 10_000, 100_000)
    with Worker(python("_held", f"hold_machines({sizes[0]})")) as machines:
        peer = machines.number() / _KIB
    with ExitStack() as stack:
        workers = {size: stack.enter_context(Worker(python("_held", f"hold({size})"))) for size in sizes}
        bytes_ = {size: worker.number() for size, worker in workers.items()}
        taken = alternate({str(size): worker for size, worker in workers.items()}, effort)
    us = {size: taken[str(size)] * 1e6 / 2 for size in sizes}  # two commands a turn
    return [
        *(_kept(size, bytes_[size] / _KIB, peer) for size in sizes),
        *(_command(size, us[size], sizes[0], us[sizes[0]]) for size in sizes[1:]),
    ]


def _kept(size: int, value: float, peer: float) -> Figure:
    most = size == 100_000
    known = value > 0
    return Figure(
        name=f"memory of each of {size:,} ringing calls", value=value if known else None, unit="KiB",
        peer="a machine of transitions for each", peer_value=peer if known else None,
        ratio=peer / value if known else None, target=f"<= {_LIMIT_KIB:g} KiB" if most else "",
        met=at_most(_LIMIT_KIB, value) if most and known else None,
    )  # fmt: skip


def _command(size: int, value: float, few: int, peer: float) -> Figure:
    most = size == 100_000
    return Figure(
        name=f"a command among {size:,} ringing calls", value=value, unit="us", peer=f"among {few:,}",
        peer_value=peer, ratio=value / peer, target=f"<= {_LIMIT_RATIO}x" if most else "",
        met=at_most(_LIMIT_RATIO, value / peer) if most else None,
    )  # fmt: skip
