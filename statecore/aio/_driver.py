"""What runs one device's endpoint: it gives inputs, carries out effects, and keeps waits, sessions, link and timer."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from ..endpoint import (
    Await,
    CloseMedia,
    Do,
    Drive,
    Effect,
    Emit,
    Endpoint,
    EndpointMachine,
    Input,
    LinkDown,
    LinkUp,
    LocalLeg,
    OpenMedia,
    Received,
    Reply,
    Say,
    Send,
    Settle,
    Tick,
    refusal,
)
from ..errors import (
    CallDeclined,
    CallEnded,
    ClientClosed,
    CommandTimeout,
    NotConnected,
    SignalingLost,
    StatecoreError,
    TokenExpired,
)
from ..flow import Flow, Timers
from ..listeners import CallListener, ListenerRegistry, events
from ..model import User
from ..ports import Clock, MediaAdapter, Signaling
from ..trace import Recorder, told_when_closed
from ..wire import Bye, Down, TokenRequest
from ._connection import Connection
from ._log import fields_of_leg
from ._part import Part
from ._remembered import keep
from ._tasks import Mailboxes, Tasks, cancel
from ._time import Alarm
from ._tracing import TraceSink
from ._waits import Waits, refuse
from .call import Call
from .ice import FreshIce

_log = logging.getLogger("statecore.client")
_CALL_EVENTS = frozenset(events(CallListener)) - {"error"}
_PAUSE = 1000
"""Milliseconds until a timer that had no effect is looked at again."""


class Driver:
    """One device. The shell around the endpoint: it decides nothing."""

    def __init__(
        self,
        endpoint: Endpoint,
        signaling: Signaling,
        adapter: MediaAdapter | None,
        *,
        name: str,
        flows: Mapping[str, Flow],
        timers: Timers,
        clock: Clock,
        jitter: Callable[[], float],
        give_up_after: float | None,
        make_call: Callable[..., Call],
        trace: TraceSink | None = None,
    ) -> None:
        self.user, self.device = endpoint.user, endpoint.device
        self.timers, self.adapter, self._name = timers, adapter, name
        self.core = EndpointMachine(flows=flows, timers=timers)
        self.tasks = Tasks(self._task_failed)
        self.listeners = ListenerRegistry(
            on_error=self.handler_failed, spawn=Mailboxes(self.tasks, self.handler_failed).post
        )
        self.parts: dict[str, Part] = {}
        """What stands behind the sessions that have begun and are not over."""
        self.closing = asyncio.Event()
        """Set when `close` begins."""
        self.callers: set[asyncio.Task[Any]] = set()
        """Who awaits `close`: nobody waits for them."""
        self.ice = FreshIce(signaling, self.tasks, self.extra)
        """What the service hands out to reach others by."""
        self._endpoint = endpoint
        self._clock = clock
        self._trace = trace
        self._recorder = Recorder(trace, self.core, timers, clock.wall()) if trace is not None else None
        self._make_call = make_call
        self.connection = Connection(signaling, timers, jitter, give_up_after, self)
        """The link to the service."""
        self._alarm = Alarm(clock.monotonic, self._tick)
        self._effects: deque[Effect] = deque()
        self._draining = False
        self._link: asyncio.Task[None] | None = None
        self._linked: asyncio.Future[None] | None = None
        self._awaited: list[asyncio.Task[None]] = []
        """The link that somebody awaits, once for each: the last of them ends it, should he give up."""
        self._wanted: asyncio.Task[None] | None = None
        """The link that somebody has got."""
        self._closing: asyncio.Task[None] | None = None
        self._waits = Waits()
        self._requests: dict[int, TokenRequest] = {}
        self._burials: dict[str, list[asyncio.Future[None]]] = {}
        self._ended: dict[str, LocalLeg] = {}
        self._merged: dict[str, str] = {}
        self._retiring: dict[Part, asyncio.Task[None]] = {}

    # --- what it is

    @property
    def online(self) -> bool:
        """Whether the link to the service stands."""
        return self._endpoint.online

    @property
    def extra(self) -> dict[str, str]:
        """What every log record carries."""
        return {"session": "", "user": self.user, "device": self.device}

    @property
    def media(self) -> MediaAdapter:
        """The media adapter: there is one wherever a session was started."""
        if self.adapter is None:
            raise AssertionError("checked before a session is started")
        return self.adapter

    def usable(self, *, connected: bool = True) -> None:
        """Raises ClientClosed, or NotConnected."""
        if self._closing is not None or (connected and self._link is None):
            raise ClientClosed
        if connected and not self.online:
            raise NotConnected

    def call_of(self, leg: LocalLeg) -> Call:
        """The call that a leg is a part of, as it stands."""
        return self._make_call(**fields_of_leg(leg, self.me, self.device))

    def leg(self, session: str) -> LocalLeg | None:
        """The leg of a session, by its id or a second name; an ended one until the service is known to know."""
        return self._endpoint.legs.get(self.named(session))

    def legs(self) -> list[LocalLeg]:
        """Every leg, live and ended."""
        return list(self._endpoint.legs.values())

    @property
    def me(self) -> User:
        """The user, with the picture that the service knows."""
        return User(uid=self._endpoint.user, name=self._name, avatar=self._endpoint.avatar)

    def named(self, session: str) -> str:
        """The session's own id."""
        return self._endpoint.names.get(session, session)

    def is_live(self, session: str) -> bool:
        """Whether this device has a live part in a session."""
        leg = self.leg(session)
        return leg is not None and leg.reason is None

    def was(self, session: str) -> bool:
        """Whether this device had a part in a session that has ended, as far as it remembers."""
        return self._endpoint.tomb(self.named(session)) is not None

    # --- life

    async def connect(self) -> None:
        """See `CallClient.connect`."""
        self.usable(connected=False)
        link, linked = self._link, self._linked
        if link is None or linked is None or link.done():
            self._endpoint = replace(self._endpoint, confirmed=self._clock.monotonic())
            linked = self._linked = asyncio.get_running_loop().create_future()
            link = self._link = self.tasks.start(self._stay_connected(linked), f"statecore client {self.user} link")
        self._awaited.append(link)
        try:
            async with asyncio.timeout(self.timers.command):
                await asyncio.shield(linked)
            self._wanted = link
        except BaseException as error:
            if self._link is link is not self._wanted and self._awaited.count(link) == 1 and self._closing is None:
                self._link = None
                await cancel(link, seconds=self.timers.close + 1)
                if self._trace is not None:
                    self._trace.rest()
            if isinstance(error, TimeoutError):
                raise self.connection.failure or SignalingLost() from None
            raise
        finally:
            self._awaited.remove(link)

    async def _stay_connected(self, linked: asyncio.Future[None]) -> None:
        try:
            await self.connection.run()
        except StatecoreError as error:  # the service will not have this device: there is no use in trying again
            _log.warning("the link is given up: %s", error, extra=self.extra)
            refuse(linked, error)
            self.note("connection_failed")
            self._tell_of_link("connection_failed", error.code, recoverable=False)
            self._let_go(expired=isinstance(error, TokenExpired))
            self.ice.rest()
        finally:
            refuse(linked, SignalingLost())

    def _let_go(self, *, expired: bool) -> None:
        """There is no link any more: what lives is over, at once; by the token that ran out, where that may be."""
        for leg in self.legs():
            flow = self.core.machines[leg.flow].flow
            if expired and flow.expire is not None:
                self.tell(leg.session, flow.expire)
            self.tell(leg.session, flow.lost)

    def _tell_of_link(self, event: str, reason: str, *, recoverable: bool) -> None:
        """Client and sessions hear of the link alike."""
        for registry in (self.listeners, *[part.listeners for part in self.parts.values()]):
            registry.emit(event, reason, recoverable)

    async def close(self) -> None:
        """See `CallClient.close`."""
        caller = asyncio.current_task()
        if caller is None:
            raise AssertionError("a coroutine runs in a task")
        self.callers.add(caller)
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(), name="statecore client close")
        try:
            await asyncio.shield(self._closing)
        finally:
            self.callers.discard(caller)

    async def _close(self) -> None:
        self.closing.set()
        if self._link is not None and not self._link.done():
            self.note("connection_closed")
            self._tell_of_link("connection_closed", ClientClosed.code, recoverable=False)
        legs = [leg.session for leg in self.legs()]
        for session in legs:
            self.tell(session, "end")
        parts = [*self.parts.values(), *self._retiring]
        for part in parts:
            part.media.close()
        if self.online:
            await asyncio.gather(*(self._buried(session, self.timers.close) for session in legs))
            self.connection.send(Bye())
        self._waits.fail(ClientClosed())
        if self._linked is not None:
            refuse(self._linked, ClientClosed())
        if self._link is not None:
            await cancel(self._link, seconds=self.timers.close + 1)
        await cancel(*self._retiring.values())
        await self.ice.stop()
        await asyncio.gather(*(part.finish(self.callers) for part in parts))
        self.listeners.clear()
        await self.tasks.finish(self.timers.close, but=self.callers)
        self.listeners.clear()  # of what a handler has added meanwhile
        self._alarm.clear()
        if self._trace is not None:
            self._trace.close()

    # --- the link

    def link_up(self) -> None:
        """A channel stands: say hello."""
        self.feed(LinkUp(self._name, self.core.hashes, self._clock.wall()))

    def link_took(self, message: Down) -> None:
        """A message came; after the welcome, what was asked before is asked again."""
        before = self.online
        self.feed(Received(message))
        if self.online and not before:
            if self.adapter is not None:
                self.ice.start()
            if self._linked is not None and not self._linked.done():
                self._linked.set_result(None)
            for request in self._requests.values():
                self.connection.send(request)

    def link_down(self) -> None:
        """The channel is gone."""
        self.feed(LinkDown())

    # --- feed, then drain

    def feed(self, given: Input) -> None:
        """Give the endpoint an input and carry out what it wants. Handlers may call back: the state is committed by
        then, and effects are carried out in order."""
        before, now = self._endpoint, self._clock.monotonic()
        self._endpoint, effects = self.core.step(before, given, now)
        if self.closing.is_set():
            effects = told_when_closed(effects)
        if self._recorder is not None:
            self._recorder.took(before, given, now, self._endpoint, effects)
        self._effects.extend(effects)
        if self._draining:
            return
        self._draining = True
        try:
            while self._effects:
                self._carry_out(self._effects.popleft())
        finally:
            self._draining = False
        self._look_around()
        if self._closing is None:
            self._alarm.set(self.core.next_due(self._endpoint))

    def _carry_out(self, effect: Effect) -> None:
        try:
            if isinstance(effect, Send):
                self.connection.send(effect.message)
            elif isinstance(effect, Emit):
                self._emit(effect)
            elif isinstance(effect, Settle):
                self._settle(effect)
            elif isinstance(effect, Reply):
                self._reply(effect)
            else:
                self._drive(effect)
        except Exception:  # noqa: BLE001 - and whatever it is
            # What one effect meets with must not keep the others from being carried out.
            _log.exception("%s could not be carried out", type(effect).__name__, extra=self.extra)

    def _drive(self, effect: OpenMedia | CloseMedia | Drive) -> None:
        part = self.parts.get(effect.session)
        if part is None:
            return  # over before it was made known: nothing was opened
        if isinstance(effect, OpenMedia):
            part.update(self._endpoint.legs.get(effect.session))
            part.media.open(effect.capture)
        elif isinstance(effect, CloseMedia):
            part.media.close()
        else:
            part.media.drive(effect)

    def _emit(self, effect: Emit) -> None:
        leg = effect.leg
        if leg is None:
            _log.debug("%s", effect.event, extra=self.extra)
            self._tell_of_link(effect.event, SignalingLost.code, recoverable=True)
            return
        _log.debug("%s in %s", effect.event, leg.state, extra={**self.extra, "session": leg.session})
        if effect.event in _CALL_EVENTS:
            if leg.reason is not None:
                keep(self._ended, leg.session, leg)
            self.listeners.emit(effect.event, self.call_of(leg))
            return
        if (part := self.parts.get(leg.session)) is not None:
            part.emit(effect.event, leg, effect.peer, effect.value)
        elif effect.event == "error":
            _log.warning("%s", effect.value, extra={**self.extra, "session": leg.session})
            self.listeners.emit("error", effect.value)

    def note(self, event: str, session: str = "") -> None:
        """The trace has it that listeners are told what the endpoint knows nothing of."""
        if self._recorder is not None:
            self._recorder.told(self._endpoint, self._clock.monotonic(), event, session)

    def _settle(self, effect: Settle) -> None:
        error = self._with_call(effect.error, effect.leg) if effect.error is not None else None
        self._waits.settle(effect.ticket, effect.leg, error)

    def _with_call(self, error: StatecoreError, leg: LocalLeg | None) -> StatecoreError:
        if isinstance(error, CallDeclined | CallEnded) and leg is not None:
            error.data["call"] = self.call_of(leg)
        return error

    def _reply(self, effect: Reply) -> None:
        self._waits.settle(effect.n, effect.token, effect.error)

    def _tick(self) -> None:
        stood = self.online
        self.feed(Tick())
        endpoint, now = self._endpoint, self._clock.monotonic()
        silent = now - endpoint.confirmed > endpoint.heartbeat + self.timers.command * 1000
        if stood and (silent or not endpoint.online):  # or not even a lease was left
            self.connection.drop()
        due = self.core.next_due(endpoint)
        if self._closing is None and 0 < due <= now:
            self._alarm.set(now + _PAUSE)  # a flow without a row for this; it would ring all the time

    def _look_around(self) -> None:
        """Tell who waits for the burial of a leg, and let go of sessions that are over."""
        for session in [s for s in self._burials if self.leg(s) is None or not self.online]:
            for future in self._burials.pop(session):
                future.set_result(None)
        for name, part in list(self.parts.items()):
            part.update(self._endpoint.legs.get(name))
            if part.over and self._closing is None:
                self.retire(part)

    def retire(self, part: Part) -> None:
        """One of the sessions is over, or never came to be: let it finish by itself, and forget it then."""
        del self.parts[part.session_id]
        task = self.tasks.start(part.finish(self.callers), f"statecore session {part.session_id}")
        self._retiring[part] = task
        task.add_done_callback(lambda _: self._retiring.pop(part, None))

    # --- waiting

    async def do(self, session: str, trigger: str, **more: Any) -> LocalLeg:
        """Give a command, at once, and wait for its outcome."""
        self.usable(connected=False)
        leg = await self._wait(lambda ticket: Do(session, trigger, ticket, **more))
        if leg.session != session:
            keep(self._merged, session, leg.session)
        return leg

    async def say(self, session: str, text: str, to: str) -> None:
        """Send a data message and wait until it has arrived."""
        self.usable(connected=False)
        await self._wait(lambda ticket: Say(session, text, to, ticket))

    async def answered(self, session: str) -> LocalLeg:
        """Wait for the acceptance; of a call that has ended by now, say how."""
        self.usable(connected=False)
        leg = self._ended.get(self._merged.get(session, session))
        if leg is not None and self.leg(session) is None:
            raise self._with_call(refusal(leg, "joinable"), leg)
        return await self._wait(lambda ticket: Await(session, ticket))

    async def _wait(self, make: Callable[[int], Input]) -> LocalLeg:
        with self._waits.one() as (ticket, future):
            self.feed(make(ticket))
            leg: LocalLeg | None = await future
        if leg is None:
            raise AssertionError("what is settled without an error has a leg")
        return leg

    def tell(self, session: str, trigger: str) -> None:
        """Give a command and do not wait."""
        self.feed(Do(session, trigger))

    async def end(self, session: str, trigger: str) -> None:
        """End a leg here, at once; then wait until its media is closed and, while the link stands, the service knows.

        Safe to cancel: the leg has ended, and the service hears of it."""
        name = self.named(session)
        held = [part for part in (*self.parts.values(), *self._retiring) if part.session_id == name]
        if self.is_live(session) or not (held or self.leg(session) or self.was(session)):
            await self.do(session, trigger)
        for part in held:
            await part.media.closed()
        await self._buried(session, self.timers.command)

    async def quit(self, session: str) -> None:
        """End a leg if it is live, whatever else holds; otherwise like `end`."""
        if self.is_live(session) and self._closing is None:
            await self.end(session, "end")

    async def _buried(self, session: str, seconds: float) -> None:
        """Wait until the service knows of an end too, as long as the link stands, and for so long at the most."""
        if self.leg(session) is not None and self.online:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._burials.setdefault(session, []).append(future)
            await asyncio.wait((future,), timeout=seconds)

    async def request_token(self, session: str) -> str:
        """Ask the service for a call token; asked again after a cut of the link."""
        self.usable()
        with self._waits.one() as (n, future):
            self._requests[n] = request = TokenRequest(self.named(session), n)
            self.connection.send(request)
            try:
                async with asyncio.timeout(self.timers.command):
                    token: str = await future
                    return token
            except TimeoutError:
                raise CommandTimeout(trigger="generate_token") from None
            finally:
                del self._requests[n]

    # --- what went wrong

    def handler_failed(self, error: BaseException, event: str, listener: str) -> None:
        """A handler raised: it is logged, and told to whoever listens for errors."""
        _log.error("listener %r failed in on_%s", listener, event, exc_info=error, extra=self.extra)
        if event != "error":
            self.note("error")
            self.listeners.emit("error", error)

    def _task_failed(self, error: BaseException, what: str) -> None:
        _log.error("%s failed", what, exc_info=error, extra=self.extra)


__all__ = ["Driver"]
