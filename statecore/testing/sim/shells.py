"""The same scripts through the asyncio shells: real clients and real services, in virtual time, or where you have some.

One service carries the calls of most runs. In every third there are two on one store, and whoever connects again does
so at the other one. `carry_out` has a script run on another `Site`, as on a server behind real sockets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Container, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from statecore.aio import CallClient
from statecore.errors import CallNotFound, StatecoreError
from statecore.flow import FLOWS, Flow
from statecore.model import Leg, Line, Record
from statecore.switchboard import next_due
from statecore.testing.invariants import OVER, assert_invariants
from statecore.testing.leaks import assert_fully_reaped
from statecore.testing.loop import run_virtual
from statecore.trace import read

from ._home import VIDEO, Home, now
from ._parts import Mix
from ._run import Violation
from ._script import DOINGS, Item, Script
from ._services import TIMERS, Services
from ._shell_faults import Troubles
from ._site import Site

_PATIENCE = 300.0
"""Virtual seconds after which a command that has not settled never will."""
_POLL = 0.1
_LOOK = 0.5
"""Virtual seconds from one look at everybody to the next."""
_SETTLED = 10.0
"""Virtual seconds after which all are of one mind, once everything works again; less than any timer of a call."""


class _Town(Troubles):
    """Everybody, the services, and what happens."""

    def __init__(self, script: Script, site: Site, flows: Mapping[str, Flow]) -> None:
        self.script, self.site, self.flows = script, site, flows
        self.homes: dict[str, Home] = {}
        self.tasks: set[asyncio.Task[Any]] = set()
        self.stops: set[asyncio.Task[Any]] = set()
        self.turned = self.began = 0
        self._odd: dict[str, tuple[str, int]] = {}
        """What is known to a device and the service otherwise, how, and how often it was seen before."""

    # --- the whole run

    async def run(self) -> None:
        """Everything, from the first connection to the last check. What is wrong is raised as it is seen, and nobody
        waits for those who are still connected then."""
        for place in range(len(self.site.running)):
            await self.site.open(place)
        self.began = now()
        for device, user in self.script.devices.items():
            self.homes[device] = Home(self, user, device)
            await self.homes[device].start()
        looking = asyncio.get_running_loop().create_task(self._look_on())
        try:
            await self._go_on(looking)
            looking.cancel()
            await asyncio.wait([looking])
            assert looking.cancelled(), looking.exception()
            await self._finish()
            await self._check()
        finally:
            for task in (looking, *self.tasks, *self.stops):  # where something was found
                task.cancel()

    async def _go_on(self, looking: asyncio.Task[None]) -> None:
        """All that the script says, until everything works again and all are of one mind."""
        for item in self.script.items:
            await asyncio.sleep(max(0.0, (self.began + item.at - now()) / 1000))
            self._begin(item)
        await self._mended()
        await asyncio.sleep(2 * _LOOK)  # once more at least
        with suppress(TimeoutError):
            await self._until(lambda: looking.done() or not self._odd, _SETTLED + self.site.patience / 1000)
        assert looking.done() or not self._odd, f"never of one mind: {self._odd}"

    async def _mended(self) -> None:
        """Everything works again, and everybody is connected."""
        self.mend_all()
        await self._all(self.stops)
        self.mend_all()  # what came back meanwhile as it was
        for home in self.homes.values():
            home.link.mend()
        await self._until(lambda: all(client.connected for client in self._clients().values()))

    def _clients(self) -> dict[Home, CallClient]:
        clients = {home: home.client for home in self.homes.values() if home.client is not None}
        assert len(clients) == len(self.homes), "all that crashed have been started again"
        return clients

    async def _finish(self) -> None:
        """Everybody hangs up, all that was begun ends, and the service has nothing left."""
        clients = self._clients()
        for home, client in clients.items():
            for call in client.calls:
                self.spawn(self._settles(home, "end", client.end_call(call.session_id)), self.tasks)
        await self._all(self.tasks)
        await self._until(lambda: not any(client.calls for client in clients.values()))
        async with asyncio.timeout(_PATIENCE):
            while not await self.site.is_idle():  # noqa: ASYNC110 - in virtual time
                await asyncio.sleep(1)
        for client in clients.values():
            await client.close()

    async def _until(self, condition: Callable[[], bool], seconds: float = _PATIENCE) -> None:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - many things are waited for, in virtual time
                await asyncio.sleep(0.2)

    async def _all(self, tasks: set[asyncio.Task[Any]]) -> None:
        while tasks:
            # What failed may be what another waits for, and would never be told.
            done, _ = await asyncio.wait(list(tasks), return_when=asyncio.FIRST_EXCEPTION)
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
            self.site.mix.outcomes[error.code] += 1
        except TimeoutError:
            raise AssertionError(f"{trigger} of {home.device} never settled") from None
        else:
            self.site.mix.outcomes["ok"] += 1

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
        """Settled agreement: where nothing is on its way, service and devices are of one mind, or are soon after. And
        no timer is forgotten."""
        while True:
            await asyncio.sleep(_LOOK)
            records, lines = await self.site.records(), await self.site.lines()
            odd = self._overdue([*records, *lines]) | self._strays({record.session_id for record in records})
            for record in records:
                for leg in record.legs:
                    home = self.homes[leg.device]
                    if home.is_calm(leg.epoch) and leg is self._newest(record, leg):
                        self.site.mix.agreements += 1
                        state = "" if leg.end.at else leg.control.state
                        deaf = record.session_id in self.site.forgotten and not home.state(record.session_id)
                        if home.state(record.session_id) != state and not deaf:
                            seen = f"{leg.seq} {leg.control.state} {home.state(record.session_id)}"
                            odd[f"{record.session_id} {leg.device}"] = seen
            before, self._odd = self._odd, {}
            for who, seen in odd.items():
                times = before[who][1] + 1 if before.get(who, ("",))[0] == seen else 0
                self._odd[who] = seen, times
                if times * _LOOK * 1000 > self.site.patience:
                    self.site.problems.append(f"{who}: {seen}")

    def _overdue(self, found: Iterable[Record | Line]) -> dict[str, str]:
        """The timers that should have been served, while all services run."""
        if None in self.site.running:
            return {}
        latest = self.site.wall() - self.turned  # a clock that is set does not hurry an alarm that is set already
        return {
            f"{type(each).__name__} {each.session_id if isinstance(each, Record) else each.user}": f"was due at {due}"
            for each in found
            if 0 < (due := next_due(each)) < latest
        }

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
        records = await self.site.records()
        log = await self.site.log()
        assert sorted(log) == sorted(r.session_id for r in records if not r.merged_into), "the log has other rows"
        for record in records:
            assert record.end.at, f"{record.session_id} lives on"
            assert next_due(record) == 0
        self.site.mix.count(records)
        self.site.check_notices(records)
        for line in await self.site.lines():
            assert not line.holds, f"{line.user} is busy for ever"
            assert not line.sessions, f"{line.user} is in {line.sessions} for ever"
        await self.site.close()
        for home in self.homes.values():
            assert not home.media.sessions, f"media of {home.device} is open"
            self._check_heard(home)
        traces = [read([line + "\n" for line in lines]) for home in self.homes.values() for lines in home.traces]
        assert_invariants(*traces, flows=self.flows, forgotten=self.site.forgotten)
        assert not self.site.problems, self.site.problems[0]
        for home in self.homes.values():
            self.site.mix.faults["overtake"] += home.link.belated
            self.site.mix.faults["repeat"] += home.link.unanswered - home.link.belated
        self.site.mix.faults = +self.site.mix.faults
        self.site.mix.seconds = (now() - self.began) // 1000

    def _check_heard(self, home: Home) -> None:
        """Listeners heard of each end that the core told, once."""
        for lines, heard in zip(home.traces, home.heard, strict=True):
            told: dict[str, int] = {}
            for entry in read([line + "\n" for line in lines]).entries:
                for did in entry.did:
                    if did.do == "tell" and did.what in OVER:
                        told[did.session] = told.get(did.session, 0) + 1
            assert heard == told, f"{home.device} heard {heard}, and was to hear {told}"


async def carry_out(script: Script, site: Site, *, flows: Mapping[str, Flow] = FLOWS) -> Mix:
    """Carry a script out on a site, in the running loop, and close it; answers with what it met, or raises Violation.
    What goes wrong on purpose is not logged meanwhile."""
    script.check()
    with _finding(script), _quietly:
        await _Town(script, site, flows).run()
    return site.mix


def simulate_shells(script: Script, *, flows: Mapping[str, Flow] = FLOWS, debug: bool = False) -> Mix:
    """Run a script through real clients and a real service; answers with what it met, or raises Violation."""
    script.check()
    site = Services(script.seed, script.devices.values(), flows)
    with _finding(script), assert_fully_reaped():
        return run_virtual(carry_out(script, site, flows=flows), debug=debug)


@contextmanager
def _finding(script: Script) -> Iterator[None]:
    """Whatever goes wrong is a Violation."""
    try:
        yield
    except Violation:
        raise
    except Exception as error:
        raise Violation(f"shells, seed {script.seed}: {type(error).__name__}: {error}", script) from error


class _Quiet:
    """What goes wrong on purpose is logged as it should be, a hundred times a second: of that nothing is shown until
    the last of those who run at the same time is done."""

    def __init__(self) -> None:
        self._running = 0
        self._level = logging.NOTSET

    def __enter__(self) -> None:
        log = logging.getLogger("statecore")
        if not self._running:
            self._level = log.level
        self._running += 1
        log.setLevel(logging.CRITICAL + 1)

    def __exit__(self, *_: object) -> None:
        self._running -= 1
        if not self._running:
            logging.getLogger("statecore").setLevel(self._level)


_quietly = _Quiet()


def traces_of(script: Script) -> list[str]:
    """Every line that every device recorded in such a run, device by device."""
    town = _Town(script, Services(script.seed, script.devices.values(), FLOWS), FLOWS)
    with _quietly:
        run_virtual(town.run())
    return [line for home in town.homes.values() for lines in home.traces for line in lines]


__all__ = ["TIMERS", "carry_out", "simulate_shells", "traces_of"]
