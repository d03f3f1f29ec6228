"""The same scripts through the asyncio shells: real clients and real services, in virtual time.

One service carries the calls of most runs. In every third there are two on one store, and whoever connects again does
so at the other one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Container, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from statecore.aio import CallClient
from statecore.errors import CallNotFound, StatecoreError
from statecore.flow import FLOWS, Flow
from statecore.model import Leg, Line, Record
from statecore.switchboard import next_due
from statecore.testing.invariants import OVER, assert_invariants
from statecore.testing.leaks import assert_fully_reaped
from statecore.testing.loop import run_virtual
from statecore.testing.network import FaultyNetwork
from statecore.trace import read

from ._home import VIDEO, Home, now
from ._parts import Mix
from ._run import Violation
from ._script import DOINGS, Item, Script
from ._services import TIMERS, Services
from ._shell_faults import Troubles

_PATIENCE = 300.0
"""Virtual seconds after which a command that has not settled never will."""
_POLL = 0.1


class _Town(Troubles):
    """Everybody, the services, and what happens."""

    def __init__(self, script: Script, flows: Mapping[str, Flow]) -> None:
        script.check()
        self.script, self.flows = script, flows
        self.mix = Mix()
        self.network = FaultyNetwork(script.seed, latency=0.005, jitter=0.06)
        self.services = Services(script.seed, script.devices.values(), flows, self.mix)
        self.homes: dict[str, Home] = {}
        self.tasks: set[asyncio.Task[Any]] = set()
        self.stops: set[asyncio.Task[Any]] = set()
        self._odd: dict[str, tuple[str, int]] = {}
        """What is known to a device and the service otherwise, how, and since when."""
        self._patience = 25_000 if len(self.services.running) > 1 else 0
        """For how many milliseconds that may be. What a service has decided, and died before it said so, those who are
        connected to another hear at their next heartbeat, by slow clocks."""

    # --- the whole run

    async def run(self) -> None:
        """Everything, from the first connection to the last check. What is wrong is raised as it is seen, and nobody
        waits for those who are still connected then."""
        for place in range(len(self.services.running)):
            await self.services.open(place)
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

    async def _finish(self) -> None:
        """All that was begun ends, everything works again, everybody hangs up, and the service has nothing left."""
        self.mend_all()
        await self._all(self.stops)
        self.mend_all()  # what came back meanwhile as it was
        self.network.heal()
        clients = {home: home.client for home in self.homes.values() if home.client is not None}
        assert len(clients) == len(self.homes), "all that crashed have been started again"
        await self._until(lambda: all(client.connected for client in clients.values()))
        for home, client in clients.items():
            for call in client.calls:
                self.spawn(self._settles(home, "end", client.end_call(call.session_id)), self.tasks)
        await self._all(self.tasks)
        await self._until(lambda: not any(client.calls for client in clients.values()))
        async with asyncio.timeout(_PATIENCE):
            while not await self.services.is_idle():  # noqa: ASYNC110 - in virtual time
                await asyncio.sleep(1)
        for client in clients.values():
            await client.close()

    async def _until(self, condition: Callable[[], bool], seconds: float = _PATIENCE) -> None:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - many things are waited for, in virtual time
                await asyncio.sleep(0.2)

    async def _all(self, tasks: set[asyncio.Task[Any]]) -> None:
        while tasks:
            done, _ = await asyncio.wait(list(tasks))
            for task in done:
                task.result()

    def spawn(self, work: Coroutine[Any, Any, object], to: set[asyncio.Task[Any]]) -> None:
        """Start something, and keep it there until it is done; for ever, if it raises."""
        task = asyncio.get_running_loop().create_task(work)
        to.add(task)
        task.add_done_callback(lambda done: to.discard(done) if done.cancelled() or not done.exception() else None)

    # --- what people do

    def _begin(self, item: Item) -> None:
        if item.what in DOINGS:
            self.spawn(self._act(item), self.tasks)
        else:
            self.fault(item)

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
        elif trigger == "negotiate":
            for media in home.media.sessions:
                media.resumed()
        else:
            await getattr(session, trigger)()

    # --- what must hold

    async def _look_on(self) -> None:
        """Settled agreement: where nothing is on its way, service and devices are of one mind, or are soon after."""
        while True:
            await asyncio.sleep(0.5)
            records = await self.services.records()
            odd = self._strays({record.session_id for record in records})
            for record in records:
                for leg in record.legs:
                    home = self.homes[leg.device]
                    if home.is_calm(leg.epoch) and leg is self._newest(record, leg):
                        self.mix.agreements += 1
                        state = "" if leg.end.at else leg.control.state
                        deaf = record.session_id in self.services.forgotten and not home.state(record.session_id)
                        if home.state(record.session_id) != state and not deaf:
                            seen = f"{leg.seq} {leg.control.state} {home.state(record.session_id)}"
                            odd[f"{record.session_id} {leg.device}"] = seen
            self._odd = {who: self._odd.get(who, ("", now())) for who in odd}
            for who, seen in odd.items():
                before, since = self._odd[who]
                if seen != before:
                    self._odd[who] = (seen, now())
                elif now() - since > self._patience:
                    self.services.problems.append(f"{who}: {seen}")

    def _strays(self, known: Container[str]) -> dict[str, str]:
        """The calls that stand at a device alone."""
        return {
            f"{call.session_id} {home.device}": f"{call.state}, unknown to the service"
            for home in self.homes.values()
            if home.is_calm(home.epoch) and home.client is not None
            for call in home.client.calls
            if call.session_id not in known
        }

    def _newest(self, record: Record, leg: Leg) -> Leg:
        return [each for each in record.legs if (each.device, each.epoch) == (leg.device, leg.epoch)][-1]

    async def _check(self) -> None:
        service = self.services.running[0]
        assert service is not None
        records = await self.services.records()
        log = [call.session_id for call in await service.call_log()]
        assert sorted(log) == sorted(r.session_id for r in records if not r.merged_into), "the log has other rows"
        for record in records:
            assert record.end.at, f"{record.session_id} lives on"
            assert next_due(record) == 0
        self.mix.count(records)
        self.services.check_notices(records)
        for _, line in await self.services.store.scan("line"):
            assert isinstance(line, Line)
            assert not line.holds, f"{line.user} is busy for ever"
            assert not line.sessions, f"{line.user} is in {line.sessions} for ever"
        await self.services.close()
        for home in self.homes.values():
            assert not home.media.sessions, f"media of {home.device} is open"
            self._check_heard(home)
        traces = [read([line + "\n" for line in lines]) for home in self.homes.values() for lines in home.traces]
        assert_invariants(*traces, flows=self.flows, forgotten=self.services.forgotten)
        assert not self.services.problems, self.services.problems[0]
        for home in self.homes.values():
            self.mix.faults["overtake"] += home.link.belated
            self.mix.faults["repeat"] += home.link.unanswered - home.link.belated
        self.mix.faults = +self.mix.faults
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
