"""The same scripts through the asyncio shells: real clients and real services, in virtual time.

One service carries the calls of most runs. In every third there are two on one store, and whoever connects again does
so at the other one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from statecore.aio import CallClient, CallService, MemoryBus, MemoryStore
from statecore.errors import CallNotFound, StatecoreError
from statecore.flow import FLOWS, Flow
from statecore.machine import compiled
from statecore.model import Leg, Line, Record
from statecore.switchboard import next_due
from statecore.testing.invariants import OVER, assert_invariants
from statecore.testing.leaks import assert_fully_reaped
from statecore.testing.loop import VirtualClock, run_virtual
from statecore.testing.network import FaultyNetwork
from statecore.testing.oracle import Watch
from statecore.testing.stores import RefusingStore
from statecore.trace import read

from ._home import TIMERS, VIDEO, Board, Home, now
from ._parts import Mix
from ._run import Violation
from ._script import Item, Script

_PATIENCE = 300.0
"""Virtual seconds after which a command that has not settled never will."""
_POLL = 0.1


class _Town:
    """Everybody, the services, and what happens."""

    def __init__(self, script: Script, flows: Mapping[str, Flow]) -> None:
        self.script, self.flows = script, flows
        self.mix = Mix()
        self.network = FaultyNetwork(script.seed, latency=0.005, jitter=0.06)
        self.store = RefusingStore(MemoryStore()) if script.seed % 3 == 0 else MemoryStore()
        self.clock = VirtualClock()
        self.bus = MemoryBus(delay=0.02)
        self.services: list[CallService | None] = [None] * (2 if script.seed % 3 == 1 else 1)
        self.homes: dict[str, Home] = {}
        self.tasks: set[asyncio.Task[Any]] = set()
        self.stops: set[asyncio.Task[Any]] = set()
        self.problems: list[str] = []
        """What the oracle saw where nothing can be raised."""
        self._odd: dict[str, str] = {}

    # --- the whole run

    async def run(self) -> None:
        """Everything, from the first connection to the last check. What is wrong is raised as it is seen, and nobody
        waits for those who are still connected then."""
        for place in range(len(self.services)):
            await self._open(place)
        for device, user in self.script.devices.items():
            self.homes[device] = Home(self, user, device)
            await self.homes[device].start()
        looking = asyncio.get_running_loop().create_task(self._look_on())
        for item in self.script.items:
            await asyncio.sleep(max(0.0, (item.at - now()) / 1000))
            self._begin(item)
        looking.cancel()
        await asyncio.wait([looking])
        await self._finish()
        await self._check()
        await self.network.close()

    async def _open(self, place: int) -> None:
        service = CallService(
            clock=self.clock, store=self.store, bus=self.bus, key=b"k" * 32, timers=TIMERS, flows=self.flows
        )
        watch = Watch({name: compiled(flow) for name, flow in self.flows.items()})
        service.switchboard = Board(watch, self.problems, self.flows)
        self.services[place] = await service.__aenter__()
        for user in dict.fromkeys(self.script.devices.values()):
            service.add_user(user)

    async def _finish(self) -> None:
        """All that was begun ends, everything works again, everybody hangs up, and the service has nothing left."""
        await self._all(self.stops)
        for home in self.homes.values():
            home.clock.shows.set(now(), rate=1.0)
            home.link.latency, home.link.jitter = 0.005, 0.06
        self.network.heal()
        clients = {home: home.client for home in self.homes.values() if home.client is not None}
        assert len(clients) == len(self.homes), "all that crashed have been started again"
        await self._until(lambda: all(client.connected for client in clients.values()))
        for home, client in clients.items():
            for call in client.calls:
                self._spawn(self._settles(home, "end", client.end_call(call.session_id)))
        await self._all(self.tasks)
        await self._until(lambda: not any(client.calls for client in clients.values()))
        await self._until_over()
        for client in clients.values():
            await client.close()

    async def _until(self, condition: Callable[[], bool], seconds: float = _PATIENCE) -> None:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - many things are waited for, in virtual time
                await asyncio.sleep(0.2)

    async def _until_over(self) -> None:
        service = self.services[-1]
        assert service is not None
        async with asyncio.timeout(_PATIENCE):
            while await service.calls():  # noqa: ASYNC110 - in virtual time
                await asyncio.sleep(1)

    async def _all(self, tasks: set[asyncio.Task[Any]]) -> None:
        while tasks:
            done, _ = await asyncio.wait(list(tasks))
            for task in done:
                task.result()

    def _spawn(self, work: Any, to: set[asyncio.Task[Any]] | None = None) -> None:
        tasks = self.tasks if to is None else to
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        task.add_done_callback(lambda done: tasks.discard(done) if done.cancelled() or not done.exception() else None)

    # --- what people do

    def _begin(self, item: Item) -> None:
        if item.what in ("do", "say", "negotiate"):
            self._spawn(self._act(item))
        else:
            self._fault(item)

    async def _act(self, item: Item) -> None:
        home = self.homes[item.device]
        when = item.how.get("when") or ()
        until = now() + item.how.get("wait", 0)
        while when and home.state(item.session) not in when:
            if now() >= until:
                return
            await asyncio.sleep(_POLL)
        if home.client is not None:
            trigger = item.how.get("trigger", item.what)
            await self._settles(home, trigger, self._done(home, home.client, trigger, item))

    async def _settles(self, home: Home, trigger: str, work: Awaitable[Any]) -> None:
        """Every command settles, with a result or a typed error."""
        try:
            await asyncio.wait_for(work, _PATIENCE)
        except StatecoreError as error:
            self.mix.outcomes[error.code] += 1
        except TimeoutError:
            raise AssertionError(f"{trigger} of {home.device} never settled") from None
        else:
            self.mix.outcomes["ok"] += 1

    async def _done(self, home: Home, client: CallClient, trigger: str, item: Item) -> None:
        session = item.session
        if trigger == "initiate":
            call = await client.initiate_call(
                item.how["receiver"], type=item.how.get("type", "video"), session_id=session,
                timeout=item.how.get("timeout", 0) / 1000,
            )  # fmt: skip
            await call.answered()
        elif trigger == "accept":
            await client.accept_call(session)
        elif trigger in ("reject", "reject_busy"):
            await client.reject_call(session, "rejected" if trigger == "reject" else "busy")
        elif trigger == "cancel":
            await client.cancel_call(session)
        elif trigger == "join":
            await self._join(home, client, item)
        else:
            await self._in_call(home, client, trigger, session)

    async def _join(self, home: Home, client: CallClient, item: Item) -> None:
        token = await client.generate_token(item.session) if item.how.get("token") != "wrong" else "a.b.c"
        session = await client.start_session(token, type="audio" if self.script.seed % 2 else "video")
        home.sessions[item.session] = session

    async def _in_call(self, home: Home, client: CallClient, trigger: str, name: str) -> None:
        session = home.sessions.get(name)
        if trigger in ("end", "leave"):
            await (session.leave() if session is not None and trigger == "leave" else client.end_call(name))
        elif session is None:
            raise CallNotFound(session_id=name)
        elif trigger == "say":
            await session.send_message({"text": "hello"})
        elif trigger == "start_screen_share":
            await session.start_screen_share(VIDEO)
        elif trigger != "negotiate":
            await getattr(session, trigger)()

    # --- what goes wrong

    def _fault(self, item: Item) -> None:
        do = getattr(self, "_" + item.what, None)
        if do is not None and do(self.homes.get(item.device), **item.how) is not False:
            self.mix.faults[item.what] += 1

    def _later(self, milliseconds: int, do: Callable[[], object]) -> None:
        async def later() -> None:
            await asyncio.sleep(milliseconds / 1000)
            do()

        self._spawn(later(), self.stops)

    def _meets(self, what: str, *homes: Home) -> None:
        for home in homes:
            if home.client is not None:
                self.mix.met[what].update(call.session_id for call in home.client.calls)

    def _cut(self, home: Home, ms: int) -> bool:
        if home.client is None or not home.client.connected:
            return False
        self._meets("resume", home)
        home.link.cut()
        self._later(ms, partial(self._mend, home, home.number))
        return True

    def _mend(self, home: Home, number: int) -> None:
        if home.number == number and home.client is not None:
            home.link.mend()

    def _partition(self, _: Home, ms: int, devices: list[str]) -> bool:
        return sum(self._cut(self.homes[device], ms) for device in devices if device in self.homes) > 0

    def _half_open(self, home: Home, ms: int) -> bool:
        if home.client is None or not home.client.connected:
            return False
        self._meets("resume", home)
        home.link.half_open()
        self._later(ms, partial(self._mend, home, home.number))
        return True

    def _slow(self, home: Home, ms: int) -> None:
        home.link.latency = min(ms, 3000) / 1000
        self._later(4000, partial(setattr, home.link, "latency", 0.005))

    def _repeat(self, home: Home, count: int) -> bool:
        """Here the link breaks, and what is owed is said again."""
        del count
        self._meets("resume", home)
        home.link.drop()
        return True

    def _crash(self, home: Home, ms: int) -> bool:
        if home.client is None:
            return False
        self._meets("crash", home)
        client = home.client
        home.crash()
        self._spawn(self._reboot(home, client, ms), self.stops)
        return True

    async def _reboot(self, home: Home, client: CallClient, ms: int) -> None:
        await client.close()
        await asyncio.sleep(ms / 1000)
        home.link.mend()
        await home.start()

    def _media_fail(self, home: Home, **_: Any) -> None:
        home.media.fail_at = "connect"
        self._later(3000, partial(setattr, home.media, "fail_at", None))

    def _media_drop(self, home: Home, ms: int) -> bool:
        for session in home.media.sessions:
            for pid in list(session._links):  # noqa: SLF001 - of the same kit
                session.lose(pid)
                self._later(ms, partial(self._restore, home, session, pid))
                return True
        return False

    def _restore(self, home: Home, session: Any, pid: str) -> None:
        if session in home.media.sessions and pid in session._links:  # noqa: SLF001 - of the same kit
            session.restore(pid)

    def _clock_rate(self, home: Home, rate: float) -> None:
        home.clock.shows.set(now(), rate=rate)

    def _clock_jump(self, home: Home, ms: int) -> None:
        home.clock.shows.set(now(), jump=ms)

    def _service_clock(self, _: None, ms: int) -> None:
        self.clock.start += ms

    def _stop(self, _: None, ms: int) -> bool:
        place = ms % len(self.services)
        service = self.services[place]
        if service is None:
            return False
        self.services[place] = None
        here = [home for home in self.homes.values() if home.way.place == place]
        self._meets("crash", *here)
        for home in here:
            home.link.drop()
        self._spawn(self._reopen(place, service, ms), self.stops)
        return True

    _stop_after_commit = _restart = _stop

    async def _reopen(self, place: int, service: CallService, ms: int) -> None:
        await service.close()
        await asyncio.sleep(ms / 1000)
        await self._open(place)

    # --- what must hold

    async def _look_on(self) -> None:
        """Settled agreement: where nothing is on its way, service and devices are of one mind, and have been for a
        second time if not for the first."""
        while True:
            await asyncio.sleep(0.5)
            records = [value for _, value in await self.store.scan("call") if isinstance(value, Record)]
            odd = {}
            for record in records:
                for leg in record.legs:
                    home = self.homes[leg.device]
                    if home.is_calm(leg.epoch) and leg is self._newest(record, leg):
                        self.mix.agreements += 1
                        state = "" if leg.ended_at else leg.control.state
                        if home.state(record.session_id) != state:
                            seen = f"{leg.seq} {leg.control.state} {home.state(record.session_id)}"
                            odd[f"{record.session_id} {leg.device}"] = seen
            self.problems += [f"{who}: {seen}" for who, seen in odd.items() if self._odd.get(who) == seen]
            self._odd = odd

    def _newest(self, record: Record, leg: Leg) -> Leg:
        return [each for each in record.legs if (each.device, each.epoch) == (leg.device, leg.epoch)][-1]

    async def _check(self) -> None:
        service = self.services[0]
        assert service is not None
        records = [value for _, value in await self.store.scan("call") if isinstance(value, Record)]
        log = [call.session_id for call in await service.call_log()]
        assert sorted(log) == sorted(r.session_id for r in records if not r.merged_into), "the log has other rows"
        for record in records:
            assert record.ended_at, f"{record.session_id} lives on"
            assert next_due(record) == 0
            self.mix.calls.add(record.session_id)
            self.mix.reasons[record.reason] += 1
            if record.merged_into:
                self.mix.met["glare"] |= {record.session_id, record.merged_into}
        for _, line in await self.store.scan("line"):
            assert isinstance(line, Line)
            assert not line.holds, f"{line.user} is busy for ever"
            assert not line.sessions, f"{line.user} is in {line.sessions} for ever"
        for each in self.services:
            assert each is not None
            await each.close()
        for home in self.homes.values():
            assert not home.media.sessions, f"media of {home.device} is open"
            self._check_heard(home)
        traces = [read([line + "\n" for line in lines]) for home in self.homes.values() for lines in home.traces]
        assert_invariants(*traces, flows=self.flows)
        assert not self.problems, self.problems[0]
        self.mix.seconds = now() // 1000

    def _check_heard(self, home: Home) -> None:
        """Listeners heard of each end that the core told, once."""
        for lines, heard in zip(home.traces, home.heard, strict=True):
            told: dict[str, int] = {}
            for entry in read([line + "\n" for line in lines]).entries:
                for did in entry.did:
                    if did.do == "tell" and did.what in OVER:
                        told[did.session] = told.get(did.session, 0) + 1
            assert heard == told, f"{home.device} heard {heard}, and was to hear {told}"


def simulate_shells(script: Script, *, flows: Mapping[str, Flow] = FLOWS, debug: bool = False) -> Mix:
    """Run a script through real clients and a real service; answers with what it met, or raises Violation."""
    town = _Town(script, flows)
    try:
        with assert_fully_reaped(), _quietly():
            run_virtual(town.run(), debug=debug)
    except Exception as error:
        raise Violation(f"shells, seed {script.seed}: {type(error).__name__}: {error}", script) from error
    return town.mix


@contextmanager
def _quietly() -> Iterator[None]:
    """What goes wrong on purpose is logged as it should be, a hundred times a second."""
    log = logging.getLogger("statecore")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(level)


def traces_of(script: Script) -> list[str]:
    """Every line that every device recorded in such a run, device by device."""
    town = _Town(script, FLOWS)
    with _quietly():
        run_virtual(town.run())
    return [line for home in town.homes.values() for lines in home.traces for line in lines]


__all__ = ["TIMERS", "simulate_shells", "traces_of"]
