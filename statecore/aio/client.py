"""One device's client: the endpoint with a link, media and listeners around it. Decides nothing."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal, Self

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
)
from ..errors import (
    CallDeclined,
    CallNotFound,
    ClientClosed,
    CommandTimeout,
    InvalidArgument,
    MalformedMessage,
    NotAccepted,
    NotConnected,
    SignalingError,
    SignalingLost,
    StatecoreError,
    TokenMissing,
    UnsupportedVersion,
    from_code,
)
from ..flow import FLOWS, Flow, Timers
from ..listeners import Handler, ListenerRegistry, Registration
from ..model import User
from ..ports import Channel, Clock, Ids, MediaAdapter, Signaling
from ..settings import CallSettings
from ..switchboard import check_id
from ..tokens import session_of
from ..wire import Bye, Refused, TokenRequest, decode_down, encode
from ._log import fields_of_leg
from ._tasks import Mailboxes, Tasks, cancel
from ._time import Alarm, LoopClock, new_id
from .call import Call
from .session import Session

_log = logging.getLogger("statecore.client")
_BACKOFF = (0.02, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds to wait before the next try, longer after each failure; shortened by chance, so that not all come at once."""
_STEADY = 5_000
_MOST_METADATA = 16_384
"""More than any sensible service takes, and little enough to be sent and refused with a reason."""
_CALL_EVENTS = frozenset(
    {
        "incoming_call_received",
        "outgoing_call_accepted",
        "outgoing_call_rejected",
        "incoming_call_cancelled",
        "call_ended_message_received",
    }
)


class CallClient:
    """A device of one user. Use it as an async context manager: entering connects, leaving ends every call and closes.

    `signaling` reaches the call service; `media` exchanges sound and pictures (not needed to only ring). `clock` and `ids`
    make a run repeatable. Every method is to be called from the loop it was entered on.
    """

    def __init__(
        self,
        signaling: Signaling,
        media: MediaAdapter | None = None,
        *,
        name: str = "",
        flows: Mapping[str, Flow] = FLOWS,
        timers: Timers | None = None,
        clock: Clock | None = None,
        ids: Ids = new_id,
    ) -> None:
        self.user = check_id("user", signaling.user)
        """The user's id."""
        self.device = signaling.device or ids()
        """This device's id."""
        self.timers = timers or Timers()
        """How long things may take."""
        self._name = name
        self._signaling = signaling
        self._media = media
        self._clock = clock or LoopClock()
        self._ids = ids
        self._flows = dict(flows)
        self._core = EndpointMachine(flows=flows, timers=self.timers)
        self._endpoint = Endpoint(self.user, self.device, ids())
        self._tasks = Tasks(self._task_failed)
        self._boxes = Mailboxes(self._tasks, self._handler_failed)
        self._listeners = ListenerRegistry(on_error=self._handler_failed, spawn=self._boxes.post)
        self._alarm = Alarm(self._clock.monotonic, self._tick)
        self._effects: deque[Effect] = deque()
        self._draining = False
        self._channel: Channel | None = None
        self._link: asyncio.Task[None] | None = None
        self._linked: asyncio.Future[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)
        self._waits: dict[int, asyncio.Future[LocalLeg | None]] = {}
        self._replies: dict[int, asyncio.Future[str]] = {}
        self._over: dict[str, list[asyncio.Future[None]]] = {}
        self._sessions: dict[str, Session] = {}
        self._callers: set[asyncio.Task[Any]] = set()
        self._refused: StatecoreError | None = None

    # --- life

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def connect(self) -> None:
        """Connect, and stay connected until `close`. Raises SignalingRefused, or SignalingLost if no connection stood
        within the command timer; nothing is left open then. Idempotent."""
        self._usable(connected=False)
        if self._link is None:
            self._endpoint = replace(self._endpoint, confirmed=self._clock.monotonic())
            self._linked = asyncio.get_running_loop().create_future()
            self._link = self._tasks.start(self._stay_connected(), f"statecore client {self.user} link")
        try:
            async with asyncio.timeout(self.timers.command):
                await asyncio.shield(self._linked)  # type: ignore[arg-type]  # made above
        except BaseException as error:
            await self.close()
            if isinstance(error, TimeoutError):
                raise SignalingLost() from None
            raise

    async def close(self) -> None:
        """End every call, close media, say good-bye, and leave nothing: no task, timer or socket. Idempotent; safe to
        cancel (it goes on by itself), and to call from a handler."""
        caller = asyncio.current_task()
        if caller is not None:
            self._callers.add(caller)
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(), name="statecore client close")
        try:
            await asyncio.shield(self._closing)
        finally:
            self._callers.discard(caller)  # type: ignore[arg-type]  # None was never added

    async def _close(self) -> None:
        legs = list(self._endpoint.legs)
        for session in legs:
            self.feed(Do(session, "end"))
        if self._endpoint.online:
            await asyncio.gather(*(self._buried(session, self.timers.close) for session in legs))
            self._send(Bye())
        self._alarm.clear()
        if self._link is not None:
            await cancel(self._link)
        await self._disconnected()
        self._alarm.clear()
        for session in list(self._sessions.values()):
            await session.finish(frozenset(self._callers))
        self._fail_waits(ClientClosed())
        await self._tasks.finish(self.timers.close, but=frozenset(self._callers))
        self._listeners.clear()

    def _fail_waits(self, error: StatecoreError) -> None:
        for future in (*self._waits.values(), *self._replies.values()):
            if not future.done():
                future.set_exception(error)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closing is not None

    @property
    def connected(self) -> bool:
        """Whether the link to the service stands."""
        return self._endpoint.online

    def _usable(self, *, connected: bool = True) -> None:
        if self._closing is not None or (connected and self._link is None):
            raise ClientClosed()
        if connected and not self._endpoint.online:
            raise NotConnected()

    # --- the link: one connection at a time, again and again

    async def _stay_connected(self) -> None:
        failures = 0
        while True:
            since = self._clock.monotonic()
            try:
                self._channel = await self._signaling.connect()
                await self._converse(self._channel)
            except SignalingError as error:
                await self._disconnected()
                if not error.retryable or type(error).code == "signaling_refused":
                    self._give_up(error)
                    return
            except Exception:
                # A fault of the transport or of this client: it costs the connection, never the client.
                _log.exception("the link failed", extra=self._extra)
                await self._disconnected()
            # Only a connection that lasted shows that the next one may be tried at once.
            failures = 0 if self._clock.monotonic() - since > _STEADY else failures + 1
            await asyncio.sleep(_BACKOFF[min(failures, len(_BACKOFF) - 1)] * random.uniform(0.5, 1.0))  # noqa: S311

    async def _converse(self, channel: Channel) -> None:
        self.feed(LinkUp(self._name, self._core.hashes))
        while True:
            data = await self._receive(channel)
            try:
                message = decode_down(data)
            except MalformedMessage as error:
                _log.warning("the service sent: %s", error, extra=self._extra)
                continue
            if isinstance(message, Refused) and not message.n:
                self._complained(from_code(message.code, **message.data))
                continue
            self.feed(Received(message))
            if self._endpoint.online and self._linked is not None and not self._linked.done():
                self._linked.set_result(None)

    async def _receive(self, channel: Channel) -> bytes:
        """The next message; the first one, the welcome, must come in time."""
        if self._endpoint.online:
            return await channel.receive()
        try:
            async with asyncio.timeout(self.timers.command):
                return await channel.receive()
        except TimeoutError:
            raise SignalingLost() from None

    def _complained(self, error: StatecoreError) -> None:
        """The service could not take something this device said; some of it means that it will not take anything."""
        _log.warning("the service refused: %s", error, extra=self._extra)
        if isinstance(error, UnsupportedVersion):
            raise error

    async def _disconnected(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()
        self.feed(LinkDown())

    def _give_up(self, error: StatecoreError) -> None:
        """The service will not have this device: there is no use in trying again."""
        if self._linked is not None and not self._linked.done():
            self._linked.set_exception(error)
            self._linked.exception()  # whoever waits is told; nobody may be waiting
        for session in list(self._sessions.values()):
            session.listeners.emit("connection_failed", error.code, False)

    def _send(self, message: Any) -> None:
        if self._channel is not None:
            with suppress(SignalingLost):  # what was lost is said again after the resume
                self._channel.send(encode(message))

    # --- feed, then drain

    def feed(self, given: Input) -> None:
        """Give the endpoint an input and carry out what it wants. Handlers may call back: the state is committed by
        then, and effects are carried out in order."""
        self._endpoint, effects = self._core.step(self._endpoint, given, self._clock.monotonic())
        self._effects.extend(effects)
        if self._draining:
            return
        self._draining = True
        try:
            while self._effects:
                effect = self._effects.popleft()
                try:
                    self._carry_out(effect)
                except Exception:
                    # What one effect meets with must not keep the others from being carried out.
                    _log.exception("%s could not be carried out", type(effect).__name__, extra=self._extra)
        finally:
            self._draining = False
        self._notice_over()
        if self._closing is None or self._endpoint.legs:
            self._alarm.set(self._core.next_due(self._endpoint))

    def _carry_out(self, effect: Effect) -> None:
        if isinstance(effect, Send):
            self._send(effect.message)
        elif isinstance(effect, Emit):
            self._emit(effect)
        elif isinstance(effect, Settle):
            self._settle(effect)
        elif isinstance(effect, Reply):
            self._reply(effect)
        else:
            self._drive(effect)

    def _drive(self, effect: OpenMedia | CloseMedia | Drive) -> None:
        session = self._sessions.get(effect.session)
        if session is None:
            return  # closed before it was made known: nothing was opened
        if isinstance(effect, OpenMedia):
            session.update(self._endpoint.legs.get(effect.session))
            session.open_media(effect.capture)
        elif isinstance(effect, CloseMedia):
            session.close_media()
        else:
            session.drive(effect)

    def _emit(self, effect: Emit) -> None:
        leg = effect.leg
        if leg is None:
            for session in list(self._sessions.values()):
                session.listeners.emit(effect.event, "link", True)
            return
        if effect.event in _CALL_EVENTS:
            self._listeners.emit(effect.event, self.call_of(leg))
            return
        found = self._sessions.get(leg.session)
        if found is not None:
            found.emit(effect.event, leg, effect.peer, effect.value)
        elif effect.event == "error":
            _log.warning("session %s: %s", leg.session, effect.value, extra=self._extra)

    def _settle(self, effect: Settle) -> None:
        future = self._waits.pop(effect.ticket, None)
        if future is None or future.done():
            return
        if effect.error is None:
            future.set_result(effect.leg)
            return
        if isinstance(effect.error, CallDeclined) and effect.leg is not None:
            effect.error.data["call"] = self.call_of(effect.leg)
        future.set_exception(effect.error)

    def _reply(self, effect: Reply) -> None:
        future = self._replies.pop(effect.n, None)
        if future is not None and not future.done():
            if effect.error is None:
                future.set_result(effect.token)
            else:
                future.set_exception(effect.error)

    def _tick(self) -> None:
        stood = self._endpoint.online
        self.feed(Tick())
        channel = self._channel
        if stood and not self._endpoint.online and channel is not None:
            # The endpoint has given the link up: closing it makes another.
            self._channel = None
            self._tasks.start(channel.close(), f"statecore client {self.user} silent link")

    def _notice_over(self) -> None:
        """Tell who waits for the end of a session, and let go of sessions that are over."""
        for session in [s for s in self._over if self._find(s) is None]:
            for future in self._over.pop(session):
                if not future.done():
                    future.set_result(None)
        for name, held in list(self._sessions.items()):
            leg = self._endpoint.legs.get(name)
            if leg is not None:
                held.update(leg)
            elif held.over and self._closing is None:
                del self._sessions[name]
                self._tasks.start(held.finish(frozenset()), f"statecore session {name}")

    # --- waiting

    async def do(self, session: str, trigger: str, **more: Any) -> LocalLeg | None:
        """Give a command and wait for its outcome."""
        self._usable(connected=False)
        try:
            encode(more.get("data"))
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise InvalidArgument(f"data cannot be JSON: {error}", name="data") from None
        return await self._wait(lambda ticket: Do(session, trigger, ticket, **more))

    async def _wait(self, make: Callable[[int], Input]) -> LocalLeg | None:
        ticket = next(self._numbers)
        future = self._waits[ticket] = asyncio.get_running_loop().create_future()
        try:
            self.feed(make(ticket))
            return await future
        finally:
            self._waits.pop(ticket, None)

    async def say(self, session: str, text: str, to: str) -> None:
        """Send a data message and wait until it has arrived."""
        self._usable(connected=False)
        await self._wait(lambda ticket: Say(session, text, to, ticket))

    def tell(self, session: str, trigger: str) -> None:
        """Give a command and do not wait."""
        self.feed(Do(session, trigger))

    def _find(self, session: str) -> LocalLeg | None:
        endpoint = self._endpoint
        return endpoint.legs.get(endpoint.names.get(session, session))

    async def _buried(self, session: str, seconds: float) -> None:
        """Wait until the service knows of an end too, for so long at the most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.until_over(session)

    async def until_over(self, session: str) -> None:
        """Wait until a session is over here and at the service."""
        if self._find(session) is not None:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._over.setdefault(session, []).append(future)
            await future

    # --- who I am, and my calls

    @property
    def profile(self) -> User:
        """The logged-in user."""
        return User(uid=self.user, name=self._name)

    def call_of(self, leg: LocalLeg) -> Call:
        """The call that a leg is a part of, as it stands."""
        return Call(client=self, **fields_of_leg(leg, self.user, self.device))

    @property
    def calls(self) -> list[Call]:
        """Every call this device has a live part in."""
        return [self.call_of(leg) for leg in self._endpoint.legs.values() if leg.reason is None]

    @property
    def active_call(self) -> Call | None:
        """The newest call this device has a live part in, if any."""
        return next(iter(reversed(self.calls)), None)

    async def clear_active_call(self) -> None:
        """Leave the active call; does nothing if there is none."""
        call = self.active_call
        if call is not None:
            await self.end_call(call.session_id)

    def add_call_listener(self, id: str, listener: object, *, snapshot: bool = False) -> Registration:  # noqa: A002
        """Register a CallListener, or any object with its methods, under an id; replaces what stands under it.
        `snapshot` tells the newcomer of every call that is ringing here already."""
        return self._listeners.add(id, listener, snapshot=self._snapshot if snapshot else None)

    def _snapshot(self, replay: Callable[..., None]) -> None:
        for leg in list(self._endpoint.legs.values()):
            if leg.role == "callee" and leg.state in self._core.machines[leg.flow].flow.roles.ringing:
                replay("incoming_call_received", self.call_of(leg))

    def remove_call_listener(self, id: str) -> bool:  # noqa: A002
        """Remove what stands under an id; tells whether anything did. Idempotent."""
        return self._listeners.remove(id)

    def on(self, event: str, handler: Handler) -> Registration:
        """Register one handler for one event, named without `on_`; the handle removes it."""
        return self._listeners.on(event, handler)

    # --- ringing

    async def initiate_call(
        self,
        receiver: str,
        *,
        type: Literal["audio", "video"] = "video",  # noqa: A002
        timeout: float | None = None,
        metadata: dict[str, Any] | None = None,
        session_id: str | None = None,
        flow: str = "ringing",
    ) -> Call:
        """Ring a user; resolves when it rings. `timeout` is the ring timer's, in seconds (None, 0 or less: the service's).
        `flow` names the flow that the call runs, one of those given to client and service.

        If the receiver is calling this user just now, that call is accepted and returned. Raises BlankId, SpacedId,
        CallingSelf, UnknownUser, AlreadyInCall, NotConnected (no call comes of these), UserBusy with the ended `call`,
        CommandTimeout. Cancelling it cancels the call."""
        self._usable()
        check_id("receiver", receiver)
        if type not in ("audio", "video"):
            raise InvalidArgument(f"type {type!r} is neither audio nor video", name="type")
        session = check_id("session_id", session_id) if session_id is not None else self._ids()
        consent = frozenset({"audio", "video"} if type == "video" else {"audio"})
        ring = _ring_time(timeout)
        try:
            leg = await self.do(
                session, self._flow_start(flow), flow=flow, receiver=receiver, type=type, timeout=ring,
                metadata=_metadata(metadata), consent=consent,
            )  # fmt: skip
        except asyncio.CancelledError:
            self.tell(session, "end")
            raise
        return self.call_of(_some(leg, session))

    def _flow_start(self, flow: str) -> str:
        found = self._flows.get(flow)
        if found is None or found.ring is None:
            raise InvalidArgument(f"this client has no flow {flow!r} that rings", name="flow")
        return found.start

    async def answered(self, session_id: str) -> Call:
        """Wait until a call is accepted; see `Call.answered`."""
        self._usable(connected=False)
        leg = await self._wait(lambda ticket: Await(session_id, ticket))
        return self.call_of(_some(leg, session_id))

    async def accept_call(self, session_id: str) -> Call:
        """Answer a call; resolves once the service has decided. Idempotent, also from several tasks.

        Raises CallGone (cancelled, unanswered, ended), AnsweredElsewhere, CallNotFound, CommandTimeout. Cancelling it ends
        the leg."""
        try:
            leg = await self.do(session_id, "accept")
        except asyncio.CancelledError:
            self.tell(session_id, "end")
            raise
        return self.call_of(_some(leg, session_id))

    async def reject_call(self, session_id: str, reason: str = "rejected") -> None:
        """Decline a call, as "rejected" or as "busy". Raises CallGone, CallNotFound."""
        if reason not in ("rejected", "busy"):
            raise InvalidArgument(f"reason {reason!r} is neither rejected nor busy", name="reason")
        await self.do(session_id, "reject" if reason == "rejected" else "reject_busy")

    async def cancel_call(self, session_id: str) -> None:
        """Give up a call, also before the service has replied; one that was accepted already ends. Idempotent."""
        await self._end(session_id, "cancel", None)

    async def end_call(self, session_id: str) -> None:
        """End a call for both: signaling, media and local state, once. Idempotent. Raises CallNotFound."""
        await self._end(session_id, "end", self._sessions.get(session_id))

    async def end_leg(self, session_id: str, trigger: str, session: Session) -> None:
        """What `Session.leave` and `Session.end` do."""
        if self._find(session_id) is not None:
            await self._end(session_id, trigger, session)
        await session.closed()

    async def _end(self, session_id: str, trigger: str, session: Session | None) -> None:
        if self._find(session_id) is None and session_id in self._endpoint.tombs:
            return
        await self.do(session_id, trigger)
        if session is not None:
            await session.closed()
        if self._endpoint.online:
            await self._buried(session_id, self.timers.command)

    # --- tokens and sessions

    async def generate_token(self, session_id: str) -> str:
        """A call token for this user and a session: for a ringing call only to its parties, for another id as the
        application allows. Raises NotAParty, CallGone, BlankId, SpacedId, NotConnected, CommandTimeout."""
        self._usable()
        check_id("session_id", session_id)
        n = next(self._numbers)
        future = self._replies[n] = asyncio.get_running_loop().create_future()
        self._send(TokenRequest(self._endpoint.names.get(session_id, session_id), n))
        try:
            async with asyncio.timeout(self.timers.command):
                return await future
        except TimeoutError:
            raise CommandTimeout(trigger="generate_token") from None
        finally:
            self._replies.pop(n, None)

    async def start_session(self, token: str, settings: CallSettings | None = None, **more: Any) -> Session:
        """Join the session a call token is for; resolves when active. `more` is for `CallSettings`.

        Raises a TokenError for a token that is missing, malformed, expired, foreign or revoked, NotAccepted before the
        acceptance, AlreadyJoined, SessionFull, CallGone, and a MediaError if media does not open or connect. Cancelling it
        leaves the session."""
        self._usable()
        settings = _settings(settings, more)
        if not token:
            raise TokenMissing()
        session_id = session_of(token)
        session_id = self._endpoint.names.get(session_id, session_id)
        if self._media is None:
            raise InvalidArgument("this client has no media adapter", name="media")
        leg = self._endpoint.legs.get(session_id)
        held = self._sessions.get(session_id)
        session = held if held is not None and not held.over else Session(self, session_id, settings)
        if held is not session:
            self._sessions[session_id] = session
        try:
            await self.do(session_id, "join", **_joining(settings, token, leg.flow if leg else "session"))
        except asyncio.CancelledError:
            await asyncio.shield(self.end_leg(session_id, "leave", session))
            raise
        except StatecoreError as error:
            if session is not held:
                self._drop(session_id, session)
            await session.closed()
            if session.error is not None and session is not held:
                raise session.error from error
            raise
        return session

    def _drop(self, session_id: str, session: Session) -> None:
        """A session that never came to be."""
        if self._sessions.get(session_id) is session and not session.opened:
            del self._sessions[session_id]

    @property
    def media(self) -> MediaAdapter:
        """The media adapter."""
        if self._media is None:
            raise AssertionError("checked in start_session")
        return self._media

    # --- the short ways

    @asynccontextmanager
    async def started(
        self, session_id: str, settings: CallSettings | None = None, **more: Any
    ) -> AsyncIterator[Session]:
        """The session of an accepted call, by the token that came with the acceptance; ends the call on leaving."""
        try:
            leg = self._find(session_id)
            if leg is None:
                raise CallNotFound(session_id=session_id)
            if not leg.token:
                raise NotAccepted(session_id=session_id)
            async with await self.start_session(leg.token, settings, **more) as session:
                yield session
        finally:
            if self._find(session_id) is not None:
                await asyncio.shield(self.end_call(session_id))

    @asynccontextmanager
    async def call(
        self,
        receiver: str,
        *,
        type: Literal["audio", "video"] = "video",  # noqa: A002
        timeout: float | None = None,
        metadata: dict[str, Any] | None = None,
        flow: str = "ringing",
        settings: CallSettings | None = None,
        **more: Any,
    ) -> AsyncIterator[Session]:
        """Call, wait for the answer, start the session; ends it on leaving, however one leaves."""
        settings = _settings(settings, {"type": type, **more})
        call = await self.initiate_call(receiver, type=type, timeout=timeout, metadata=metadata, flow=flow)
        try:
            await call.answered()
        except BaseException:
            if self._find(call.session_id) is not None:
                self.tell(call.session_id, "end")
            raise
        async with self.started(call.session_id, settings) as session:
            yield session

    async def serve(self, handler: Callable[[Call], Awaitable[object]], limit: int = 50) -> None:
        """Handle every incoming call in a task of its own, until cancelled. Above the limit callers hear busy.

        A handler that returns without answering has rejected the call; one that raises ends its call and is reported."""
        running: set[asyncio.Task[Any]] = set()

        def ring(call: Call) -> None:
            if len(running) >= limit:
                self.tell(call.session_id, "reject_busy")
                return
            task = self._tasks.start(self._handle(handler, call), f"statecore serve {call.session_id}")
            running.add(task)
            task.add_done_callback(running.discard)

        with self._listeners.on("incoming_call_received", ring, snapshot=self._snapshot):
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                await cancel(*running)

    async def _handle(self, handler: Callable[[Call], Awaitable[object]], call: Call) -> None:
        try:
            await handler(call)
        except CallDeclined:
            raise
        except Exception as error:  # noqa: BLE001 - one call's handler harms no other call
            self._handler_failed(error, "incoming_call_received", "serve")
        finally:
            if self._find(call.session_id) is not None:
                self.tell(call.session_id, "end")

    # --- what went wrong

    def _handler_failed(self, error: BaseException, event: str, listener: str) -> None:
        _log.error("listener %r failed in on_%s", listener, event, exc_info=error, extra=self._extra)
        if event != "error":
            self._listeners.emit("error", error)

    def _task_failed(self, error: BaseException, what: str) -> None:
        _log.error("%s failed", what, exc_info=error, extra=self._extra)

    @property
    def _extra(self) -> dict[str, str]:
        return {"session": "", "user": self.user, "device": self.device}


@asynccontextmanager
async def join_session(
    link: Signaling, token: str, media: MediaAdapter, settings: CallSettings | None = None, **more: Any
) -> AsyncIterator[Session]:
    """A session without a client of one's own: the token is enough. Leaves and closes everything on leaving."""
    async with CallClient(link, media) as client, await client.start_session(token, settings, **more) as session:
        yield session


def _settings(settings: CallSettings | None, more: dict[str, Any]) -> CallSettings:
    if settings is None:
        return CallSettings(**more)
    if not isinstance(settings, CallSettings):
        raise InvalidArgument("settings must be CallSettings", name="settings")
    return settings


def _joining(settings: CallSettings, token: str, flow: str) -> dict[str, Any]:
    """What a join command says of the settings."""
    flags = {"camera"} if settings.type == "video" and not settings.audio_only else set()
    flags |= {"audio_muted"} if settings.start_audio_muted else set()
    flags |= {"video_paused"} if settings.start_video_paused else set()
    idle = settings.idle_timeout
    return {
        "flow": flow,
        "type": settings.type,
        "token": token,
        "flags": frozenset(flags),
        "consent": frozenset({"audio"} if settings.audio_only or settings.type == "audio" else {"audio", "video"}),
        "idle": (round(idle * 1000), round(settings.idle_prompt * 1000)) if idle else (0, 0),
        "longest": round(settings.max_duration * 1000) if settings.max_duration else 0,
    }


def _ring_time(timeout: float | None) -> int:
    if timeout is None:
        return 0
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout <= 3600:
        raise InvalidArgument("timeout must be seconds, at most 3600, or None for the service's", name="timeout")
    return max(0, round(timeout * 1000))


def _metadata(metadata: dict[str, Any] | None) -> str:
    if metadata is None:
        return ""
    try:
        text = json.dumps(metadata, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"metadata cannot be JSON: {error}", name="metadata") from None
    if not isinstance(metadata, dict) or len(text) > _MOST_METADATA:
        raise InvalidArgument(f"metadata must be a dictionary of at most {_MOST_METADATA} characters", name="metadata")
    return text


def _some(leg: LocalLeg | None, session: str) -> LocalLeg:
    if leg is None:
        raise CallNotFound(session_id=session)
    return leg


