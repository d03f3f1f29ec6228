"""One device's client: the public face of the endpoint with a link, media and listeners around it."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import attrs

from ..endpoint import Endpoint, LocalLeg
from ..errors import CallEnded, CallGone, CallNotFound, InvalidArgument, NotAccepted, StatecoreError, TokenMissing
from ..flow import FLOWS, Flow, Timers
from ..listeners import Handler, ListenerRegistry, Registration
from ..model import User
from ..ports import Clock, Ids, MediaAdapter, Signaling
from ..settings import CallSettings, check_kept
from ..switchboard import check_id
from ..tokens import session_of
from ._driver import Driver
from ._log import DEEPEST, is_deep
from ._part import Part
from ._tasks import cancel
from ._time import LoopClock, new_id
from ._tracing import TraceSink
from .call import Call
from .session import Session

_log = logging.getLogger("statecore.client")
_MOST_METADATA = 16_384
"""More than any sensible service takes, and little enough to be sent and refused with a reason."""


class CallClient:
    """A device of one user. Use it as an async context manager: entering connects, leaving ends every call and closes.

    `signaling` reaches the call service; `media` exchanges sound and pictures (not needed to only ring). `clock`, `ids`
    and `jitter` (a number from 0 to 1 for each pause before a reconnect) make a run repeatable. `give_up_after` is for
    how many seconds a service that is away is tried; None is for ever. After them, and when the service refuses this
    device for good, `connection_failed` is told and what lives here ends at once; `connect` may be called again.
    `trace` is a file to write (an existing one is replaced), or a function to call, with a line for everything that
    happens, nothing secret in it; see `statecore.trace`. Every method is to be called from the loop it was entered on.
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
        jitter: Callable[[], float] = random.random,
        give_up_after: float | None = None,
        trace: Path | str | Callable[[str], object] | None = None,
    ) -> None:
        user = check_id("user", signaling.user)
        self.device = check_id("device", signaling.device) if signaling.device is not None else ids()
        """This device's id."""
        self.timers = timers or Timers()
        """How long things may take."""
        self._ids = ids
        self._flows = dict(flows)
        self._driver = Driver(
            Endpoint(user, self.device, ids()), signaling, media,
            name=name, flows=flows, timers=self.timers, clock=clock or LoopClock(), jitter=jitter,
            give_up_after=_bound(give_up_after),
            make_call=partial(Call, client=self), trace=TraceSink(trace) if trace is not None else None,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"CallClient({self._driver.user!r}, device={self.device!r})"

    # --- life

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def connect(self) -> None:
        """Connect, and stay connected until `close`. Raises SignalingRefused, UnsupportedVersion, the TokenError that
        says what is wrong with the token (TokenForeign if it is another user's), or SignalingLost if no connection
        stood within the command timer; nothing is left open then, and it may be tried again. Idempotent."""
        await self._driver.connect()

    async def close(self) -> None:
        """End every call, close media, say good-bye, and leave nothing: no task, timer or socket. Idempotent; safe to
        cancel (it goes on by itself), and to call from a handler."""
        await self._driver.close()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._driver.closing.is_set()

    @property
    def connected(self) -> bool:
        """Whether the link to the service stands."""
        return self._driver.online

    @property
    def failure(self) -> StatecoreError | None:
        """Why there is no link: what the last try to connect met with, what broke the link, or, once
        `connection_failed` was told, why it was given up. None while it stands, and before the first try."""
        return self._driver.connection.failure

    # --- who I am, and my calls

    @property
    def user(self) -> User:
        """The user whose device this is, known before it is connected and after it is closed; the picture that the
        service has, from the first connection on."""
        return self._driver.me

    @property
    def calls(self) -> list[Call]:
        """Every call this device has a live part in, oldest first."""
        return [self._driver.call_of(leg) for leg in self._driver.legs() if leg.reason is None]

    @property
    def active_call(self) -> Call | None:
        """The newest call this device is in, if any; one that rings here and is not answered is not counted."""
        legs = [leg for leg in self._driver.legs() if leg.reason is None and not self._rings_here(leg)]
        return self._driver.call_of(legs[-1]) if legs else None

    def _rings_here(self, leg: LocalLeg) -> bool:
        return leg.role == "callee" and leg.state in self._flows[leg.flow].roles.ringing

    async def clear_active_call(self) -> None:
        """Leave the active call; does nothing if there is none."""
        call = self.active_call
        if call is not None:
            await self.end_call(call.session_id)

    # --- listeners

    @property
    def listeners(self) -> ListenerRegistry:
        """The client's registry."""
        return self._driver.listeners

    def add_call_listener(self, id: str, listener: object, *, snapshot: bool = False) -> Registration:  # noqa: A002
        """Register a CallListener, or any object with its methods, under an id; replaces what stands under it.
        `snapshot` tells the newcomer of every call that is ringing here already."""
        self._driver.usable(connected=False)
        return self._driver.listeners.add(id, listener, snapshot=self._snapshot if snapshot else None)

    def _snapshot(self, replay: Callable[..., None]) -> None:
        for leg in self._driver.legs():
            if self._rings_here(leg):
                replay("incoming_call_received", self._driver.call_of(leg))

    def remove_call_listener(self, id: str) -> bool:  # noqa: A002
        """Remove what stands under an id; tells whether anything did. Idempotent."""
        return self._driver.listeners.remove(id)

    def on(self, event: str, handler: Handler) -> Registration:
        """Register one handler for one event, named without `on_`; the handle removes it."""
        self._driver.usable(connected=False)
        return self._driver.listeners.on(event, handler)

    # --- ringing

    async def initiate_call(
        self,
        receiver: str,
        *,
        type: Literal["audio", "video"] = "video",  # noqa: A002
        receiver_type: Literal["user"] = "user",
        timeout: float | None = None,
        metadata: dict[str, Any] | None = None,
        session_id: str | None = None,
        flow: str = "ringing",
    ) -> Call:
        """Ring a user; resolves when it rings. `timeout` is the ring timer's, in seconds (None, 0 or less: the
        service's). `flow` names the flow that the call runs, one of those given to client and service. What is rung is
        a user: a group, of which `receiver_type` would tell, cannot be rung in this version.

        If the receiver is calling this user just now, that call is accepted and returned. Cancelling it cancels the
        call.

        Raises BlankId, SpacedId or InvalidArgument for an argument, CallingSelf, UnknownUser, AlreadyInCall, CallGone
        for a `session_id` that was used before, TooManySessions, RateLimited, ClientClosed, NotConnected: no call comes
        of these. UserBusy, CallRejected, CallCancelled or CallEnded, each with the ended `call`, if it ended before it
        rang. CommandTimeout if the service did not confirm it in time, and StoreConflict if it could not decide."""
        self._driver.usable()
        check_id("receiver", receiver)
        _check_type(type)
        if receiver_type != "user":
            raise InvalidArgument(
                f"receiver_type {receiver_type!r} cannot be rung: only a user can", name="receiver_type"
            )
        session = check_id("session_id", session_id) if session_id is not None else self._ids()
        command: dict[str, Any] = {
            "flow": flow,
            "receiver": receiver,
            "type": type,
            "timeout": _ring_time(timeout),
            "metadata": _metadata(metadata),
            "consent": frozenset({"audio", "video"} if type == "video" else {"audio"}),
        }
        return await self._or_end(session, self._flow_start(flow), **command)

    def _flow_start(self, flow: str) -> str:
        found = self._flows.get(flow)
        if found is None or found.ring is None:
            raise InvalidArgument(f"this client has no flow {flow!r} that rings", name="flow")
        return found.start

    async def _or_end(self, session: str, trigger: str, **more: Any) -> Call:
        """A command that is taken back, with the whole call, if nobody wants its outcome any more."""
        try:
            leg = await self._driver.do(session, trigger, **more)
        except asyncio.CancelledError:
            self._driver.tell(session, "end")
            raise
        return self._driver.call_of(leg)

    async def answered(self, session_id: str) -> Call:
        """Wait until a call is accepted; see `Call.answered`."""
        return self._driver.call_of(await self._driver.answered(check_id("session_id", session_id)))

    async def accept_call(self, session_id: str) -> Call:
        """Answer a call; resolves once the service has decided. Idempotent, also from several tasks.

        Raises CallGone (cancelled, unanswered, ended), AnsweredElsewhere, CallNotFound, CommandTimeout. Cancelling
        it ends the leg."""
        return await self._or_end(check_id("session_id", session_id), "accept")

    async def reject_call(self, session_id: str, reason: str = "rejected") -> None:
        """Decline a call, as "rejected" or as "busy". Raises CallGone, CallNotFound."""
        if reason not in ("rejected", "busy"):
            raise InvalidArgument(f"reason {reason!r} is neither rejected nor busy", name="reason")
        trigger = "reject" if reason == "rejected" else "reject_busy"
        await self._driver.do(check_id("session_id", session_id), trigger)

    async def cancel_call(self, session_id: str) -> None:
        """Give up a call, also before the service has replied; one that was accepted already ends. Idempotent."""
        await self._driver.end(check_id("session_id", session_id), "cancel")

    async def end_call(self, session_id: str) -> None:
        """End a call for both: signaling, media and local state, once. Idempotent. Raises CallNotFound."""
        await self._driver.end(check_id("session_id", session_id), "end")

    # --- tokens and sessions

    async def generate_token(self, session_id: str) -> str:
        """A call token for this user and a session: for a ringing call only to its parties, for another id as the
        application allows. Raises NotAParty, CallGone, BlankId, SpacedId, NotConnected, CommandTimeout. If the link is
        cut meanwhile, it is asked for again."""
        return await self._driver.request_token(check_id("session_id", session_id))

    async def start_session(
        self, token: str, settings: CallSettings | None = None, *, trigger: str = "join", **more: Any
    ) -> Session:
        """Join the session a call token is for; resolves when active. `more` is for `CallSettings`, on top of
        `settings`. `trigger` names another command that opens media, in a flow that has one (to look before answering).

        Raises a TokenError for a token that is missing, malformed, expired, foreign or revoked, NotAccepted before the
        acceptance, AlreadyJoined, SessionFull, CallGone, a MediaError if media does not open or connect, and
        InvalidSettings also for a setting that nothing here keeps (`settings.UNKEPT`). Cancelling it leaves the
        session."""
        driver = self._driver
        driver.usable()
        settings = self._settings(settings, more)
        if not token:
            raise TokenMissing
        session_id = driver.named(session_of(token))
        if driver.adapter is None:
            raise InvalidArgument("this client has no media adapter", name="media")
        leg = driver.leg(session_id)
        part = None if session_id in driver.parts else Part(driver, session_id, settings)
        if part is not None:
            driver.parts[session_id] = part
        try:
            await driver.do(session_id, trigger, **_joining(settings, token, leg.flow if leg else "session"))
        except BaseException as error:
            if part is not None:
                await self._abandon(part, error)
            raise
        if part is None:
            raise AssertionError("whoever joins a session twice is refused")
        return part.session

    def _settings(self, settings: CallSettings | None, more: dict[str, Any]) -> CallSettings:
        if settings is not None and not isinstance(settings, CallSettings):
            raise InvalidArgument("settings must be CallSettings", name="settings")
        settings = attrs.evolve(settings or CallSettings(), **more)
        check_kept(settings, getattr(self._driver.adapter, "heeds", ()))
        return settings

    async def _abandon(self, part: Part, error: BaseException) -> None:
        """A session that did not come to be: leave it if nobody wants it any more, and close what was opened."""
        if not isinstance(error, StatecoreError):
            self._driver.tell(part.session_id, "leave")
        if self._driver.parts.get(part.session_id) is part:
            self._driver.retire(part)
        await part.media.closed()
        if part.media.error is not None and isinstance(error, StatecoreError):
            raise part.media.error from error

    # --- the short ways

    @asynccontextmanager
    async def started(
        self, session_id: str, settings: CallSettings | None = None, **more: Any
    ) -> AsyncIterator[Session]:
        """The session of an accepted call, by the token that came with the acceptance; ends the call on leaving. Its
        type is the call's, unless `settings` or `more` say otherwise."""
        try:
            leg = self._driver.leg(session_id)
            if leg is None:
                raise CallNotFound(session_id=session_id)
            if not leg.token:
                raise NotAccepted(session_id=session_id)
            if settings is None:
                more = {"type": leg.type, **more}
            async with await self.start_session(leg.token, settings, **more) as session:
                yield session
        finally:
            await self._driver.quit(session_id)

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
        """Call, wait for the answer, start the session; ends it on leaving, however one leaves. `more` is for
        `CallSettings`, on top of `settings`. Raises what `initiate_call`, `Call.answered` and `start_session` raise."""
        _check_type(type)
        settings = self._settings(settings, {**more, "type": type})
        call = await self.initiate_call(receiver, type=type, timeout=timeout, metadata=metadata, flow=flow)
        try:
            await call.answered()
            async with self.started(call.session_id, settings) as session:
                yield session
        finally:
            await self._driver.quit(call.session_id)

    async def serve(self, handler: Callable[[Call], Awaitable[object]], limit: int = 50) -> None:
        """Handle every incoming call, those that ring here already too, in a task of its own, until cancelled or until
        the client is closed. Above the limit callers hear busy.

        A handler that returns without answering has rejected the call; one that raises ends its call and is reported.
        """
        self._driver.usable(connected=False)
        _check_limit(limit)
        running: set[asyncio.Task[None]] = set()

        def ring(call: Call) -> None:
            if len(running) >= limit:
                self._driver.tell(call.session_id, "reject_busy")
                return
            task = self._driver.tasks.start(self._handle(handler, call), f"statecore serve {call.session_id}")
            running.add(task)
            task.add_done_callback(running.discard)

        with self._driver.listeners.on("incoming_call_received", ring, snapshot=self._snapshot):
            try:
                await self._driver.closing.wait()
            except asyncio.CancelledError:
                # What handlers end now, they may wait for.
                await cancel(*(running - self._driver.callers), seconds=self.timers.close + self.timers.command)
                raise

    async def _handle(self, handler: Callable[[Call], Awaitable[object]], call: Call) -> None:
        try:
            await handler(call)
        except (CallGone, CallEnded) as error:  # it ended while the handler was about to answer, or to start
            _log.info("%s", error, extra={**self._driver.extra, "session": call.session_id})
        except Exception as error:  # noqa: BLE001 - one call's handler harms no other call
            self._driver.handler_failed(error, "incoming_call_received", "serve")
        finally:
            self._driver.tell(call.session_id, "end")


@asynccontextmanager
async def join_session(
    link: Signaling,
    token: str,
    media: MediaAdapter,
    settings: CallSettings | None = None,
    *,
    trace: Path | str | Callable[[str], object] | None = None,
    **more: Any,
) -> AsyncIterator[Session]:
    """A session without a client of one's own: the token is enough. Leaves and closes everything on leaving.

    `more` is for `CallSettings`, on top of `settings`; `trace` is as for `CallClient`. Raises what `CallClient.connect`
    and `start_session` raise."""
    async with (
        CallClient(link, media, trace=trace) as client,
        await client.start_session(token, settings, **more) as session,
    ):
        yield session


# --- what arguments become --------------------------------------------------------------------------------------------


def _check_type(type: object) -> None:  # noqa: A002
    if type not in ("audio", "video"):
        raise InvalidArgument(f"type {type!r} is neither audio nor video", name="type")


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


def _bound(seconds: Any) -> float | None:
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        raise InvalidArgument("give_up_after must be seconds, more than 0, or None for never", name="give_up_after")
    return float(seconds)


def _check_limit(limit: Any) -> None:
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise InvalidArgument("limit must be a whole number from 1", name="limit")


def _ring_time(timeout: Any) -> int:
    if timeout is None:
        return 0
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout <= 3600:
        raise InvalidArgument("timeout must be seconds, at most 3600, or None for the service's", name="timeout")
    return max(0, round(timeout * 1000)) if timeout > -1 else 0


def _metadata(metadata: Any) -> str:
    if metadata is None:
        return ""
    try:
        text = json.dumps(metadata, allow_nan=False, separators=(",", ":"))
        deep = is_deep(json.loads(text))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"metadata cannot be JSON: {error}", name="metadata") from None
    if deep:
        raise InvalidArgument(f"metadata has more than {DEEPEST} values within one another", name="metadata")
    if not isinstance(metadata, dict) or len(text) > _MOST_METADATA:
        raise InvalidArgument(f"metadata must be a dictionary of at most {_MOST_METADATA} characters", name="metadata")
    return text


__all__ = ["CallClient", "join_session"]
