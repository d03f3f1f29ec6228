"""A session: one device's part in a call once it has joined, with its media, its actions and its listeners."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Literal, Self

from ..endpoint import Drive, LocalLeg, Media, Signal
from ..errors import (
    CallEnded,
    ConsentDeclined,
    InvalidArgument,
    MediaError,
    MediaTimeout,
    SessionInactive,
    StatecoreError,
)
from ..listeners import Handler, ListenerRegistry, OngoingCallListener, Registration
from ..model import EndReason, Participant
from ..ports import AudioFrame, Kind, MediaPeer, MediaSession, StreamStats, VideoFrame
from ..settings import CallSettings
from ..wire import Ask, Free, Relay
from ._log import end_reason, own_participant, participant
from ._tasks import Mailboxes, Tasks
from .call import Call

if TYPE_CHECKING:
    from .client import CallClient

_log = logging.getLogger("statecore.session")


class Session:
    """Made by `CallClient.start_session`. Every action is awaitable, resolves once the service has taken it, and raises a
    typed error, never nothing, where it is not legal. Also usable as a context manager that leaves on exit."""

    def __init__(self, client: CallClient, session_id: str, settings: CallSettings) -> None:
        self._client = client
        self._id = session_id
        self.settings = settings
        """What it was started with. Frozen."""
        self._leg: LocalLeg | None = None
        self._tasks = Tasks(self._task_failed)
        self._boxes = Mailboxes(self._tasks, self._handler_failed)
        self._listeners = ListenerRegistry(on_error=self._handler_failed, spawn=self._boxes.post)
        self._media: MediaSession | None = None
        self._opening: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._waiting: list[Callable[[MediaSession], object]] = []
        self._jobs: asyncio.Task[None] | None = None
        self._queue: list[Callable[[MediaSession], Coroutine[Any, Any, None]]] = []
        self._switch: asyncio.Future[bool] | None = None
        self._layout: str = settings.layout
        self._ended = asyncio.Event()
        self.error: StatecoreError | None = None
        """Why media failed, if it did."""
        if settings.listener is not None:
            self._listeners.add("settings", settings.listener)

    # --- what it is

    @property
    def session_id(self) -> str:
        """The session's id."""
        return self._id

    @property
    def call(self) -> Call:
        """The call as it is now."""
        return self._client.call_of(self.leg)

    @property
    def state(self) -> str:
        """The state of this device's leg."""
        return self.leg.state

    @property
    def participants(self) -> tuple[Participant, ...]:
        """Everyone who has joined, oneself first."""
        leg = self.leg
        me = own_participant(leg, self._client.user, self._client.device)
        return (me, *(participant(peer) for peer in leg.peers if peer.joined))

    @property
    def end_reason(self) -> EndReason | None:
        """Why it ended; None while it lives."""
        leg = self.leg
        return end_reason(leg) if leg.reason is not None else None

    @property
    def leg(self) -> LocalLeg:
        """The endpoint's leg, as it is now."""
        if self._leg is None:
            raise SessionInactive(session_id=self._id, state="idle", trigger="this")
        return self._leg

    def __repr__(self) -> str:
        return f"Session({self._id!r}, state={self._leg.state if self._leg else 'idle'!r})"

    # --- listeners

    @property
    def listeners(self) -> ListenerRegistry:
        """The session's registry."""
        return self._listeners

    def add_call_event_listener(self, id: str, listener: object, *, snapshot: bool = False) -> Registration:  # noqa: A002
        """Register an OngoingCallListener, or any object with `on_<event>` methods, under an id; replaces what stands
        under it. `snapshot` tells the newcomer of everyone who is here already. Removed when the session has ended."""
        return self._listeners.add(id, listener, snapshot=self._snapshot if snapshot else None)

    def remove_call_event_listener(self, id: str) -> bool:  # noqa: A002
        """Remove what stands under an id; tells whether anything did. Idempotent."""
        return self._listeners.remove(id)

    def on(self, event: str, handler: Handler) -> Registration:
        """Register one handler for one event, named without `on_`; the handle removes it."""
        return self._listeners.on(event, handler)

    def _snapshot(self, replay: Callable[..., None]) -> None:
        replay("session_joined", self)
        for one in self.participants[1:]:
            replay("user_joined", one)

    def _handler_failed(self, error: BaseException, event: str, listener: str) -> None:
        _log.error("listener %r failed in on_%s", listener, event, exc_info=error, extra=self._extra)
        if event != "error":
            self._listeners.emit("error", error)

    def _task_failed(self, error: BaseException, what: str) -> None:
        _log.error("%s failed", what, exc_info=error, extra=self._extra)

    @property
    def _extra(self) -> dict[str, str]:
        return {"session": self._id, "user": self._client.user, "device": self._client.device}

    # --- the end

    async def leave(self) -> None:
        """End my part: signaling, media and local state, once. Of two, that ends the call. Idempotent, safe to cancel."""
        await self._client.end_leg(self._id, "leave", self)

    async def end(self) -> None:
        """The same as `leave`, named for two people: either ends the call."""
        await self._client.end_leg(self._id, "end", self)

    async def end_for_all(self) -> None:
        """End the session for everyone. Raises TokenLacksGrant without the grant."""
        await self._act("end_for_all")
        await self.closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    async def wait_ended(self) -> EndReason:
        """Wait until it has ended and media is closed; gives the reason."""
        await self._ended.wait()
        await self.closed()
        reason = self.end_reason
        if reason is None:
            raise AssertionError("a session that is over has a reason")
        return reason

    # --- actions

    async def _act(self, trigger: str, **data: Any) -> None:
        await self._client.do(self._id, trigger, data=data or None)

    async def mute_audio(self) -> None:
        """Send no sound. Idempotent."""
        await self._act("mute_audio")

    async def unmute_audio(self) -> None:
        """Send sound again. Idempotent."""
        await self._act("unmute_audio")

    async def toggle_audio(self) -> None:
        """Mute if sound is on, else unmute."""
        await (self.unmute_audio() if "audio_muted" in self.leg.flags else self.mute_audio())

    async def pause_video(self) -> None:
        """Send no pictures. Idempotent."""
        await self._act("pause_video")

    async def resume_video(self) -> None:
        """Send pictures again; opens the camera if it never was open. Idempotent."""
        await self._act("resume_video")

    async def toggle_video(self) -> None:
        """Pause if video is on, else resume."""
        flags = self.leg.flags
        on = "camera" in flags and "video_paused" not in flags
        await (self.pause_video() if on else self.resume_video())

    async def play(self, source: Any, kind: Literal["audio", "video"] = "audio") -> None:
        """Replace what is sent, whatever the adapter takes as a source. Raises SourceError; what was sent goes on then."""
        await self._open_media("play").set_source(kind, source)

    async def start_screen_share(self, source: Any) -> None:
        """Share a screen, or any source, as a second video stream. Raises SourceError, TokenLacksGrant."""
        media = self._open_media("start_screen_share")
        await self._act("start_screen_share")  # nothing of the source is touched before the grant is known
        try:
            await media.set_source("screen", source)
        except BaseException:
            self._client.tell(self._id, "stop_screen_share")
            raise

    async def stop_screen_share(self) -> None:
        """Stop sharing. Idempotent."""
        await self._act("stop_screen_share")

    async def raise_hand(self) -> None:
        """Raise the hand. Idempotent."""
        await self._act("raise_hand")

    async def lower_hand(self) -> None:
        """Lower the hand. Idempotent."""
        await self._act("lower_hand")

    async def switch_to_video(self) -> None:
        """Ask the others to make this a video call; resolves when somebody agreed. If they ask too, that is agreement.

        Raises ConsentDeclined if they decline or do not answer in time. Cancelling it withdraws the request."""
        if self._switch is None or self._switch.done():
            self._switch = asyncio.get_running_loop().create_future()
        switch = self._switch
        try:
            await self._act("switch_to_video")
            agreed = self.leg.type == "video" or await asyncio.shield(switch)
        except asyncio.CancelledError:
            self._client.tell(self._id, "withdraw_video")
            raise
        if self.leg.reason is not None:
            raise CallEnded(session_id=self._id, reason=self.leg.reason)
        if not agreed:
            raise ConsentDeclined(what="video")

    async def accept_video(self) -> None:
        """Agree to video: this device's camera opens."""
        await self._act("accept_video")

    async def decline_video(self) -> None:
        """Do not agree."""
        await self._act("decline_video")

    async def withdraw_video(self) -> None:
        """Take the own request back."""
        await self._act("withdraw_video")

    async def send_message(self, data: Any, to: str | None = None) -> None:
        """Send anything that JSON can carry to a participant (by pid or user id) or to everyone who has joined; resolves
        when all of them have it. In order, once, also across a cut of the link; at most 32 KiB on the wire.

        Raises InvalidArgument, RateLimited if 256 are on the way to somebody, CommandTimeout, SessionInactive."""
        try:
            text = json.dumps(data, separators=(",", ":"))
        except (TypeError, ValueError) as error:
            raise InvalidArgument(f"data cannot be JSON: {error}", name="data") from None
        await self._client.say(self._id, text, self._pid(to) if to is not None else "")

    async def trigger(self, name: str, **data: Any) -> None:
        """A trigger of a flow of one's own; legal exactly where the flow has a row."""
        await self._act(name, **data)

    def set_layout(self, layout: Literal["tile", "sidebar", "spotlight"]) -> None:
        """How a page places participants: kept here, told as `on_layout_changed`."""
        if layout not in ("tile", "sidebar", "spotlight"):
            raise InvalidArgument(f"layout {layout!r} is none of tile, sidebar, spotlight", name="layout")
        self._layout = layout
        self._listeners.emit("layout_changed", layout)

    @property
    def layout(self) -> str:
        """How a page places participants."""
        return self._layout

    def press(self, button: str) -> None:
        """A button of the page was pressed: told as `on_<button>_button_pressed`, and does nothing by itself."""
        self._listeners.emit(f"{button}_button_pressed")

    # --- media

    def audio(self, uid: str) -> AsyncIterator[AudioFrame]:
        """The sound of a participant, by pid or by user id: int16 arrays (samples, channels). Bounded: drops the oldest."""
        return self._open_media("audio").audio(self._pid(uid))

    def video(self, uid: str, kind: Literal["video", "screen"] = "video") -> AsyncIterator[VideoFrame]:
        """The pictures of a participant, likewise: uint8 arrays (height, width, 3)."""
        return self._open_media("video").video(self._pid(uid), kind)

    async def stats(self) -> list[StreamStats]:
        """The counters of every stream, now."""
        return await self._open_media("stats").stats()

    def _pid(self, name: str) -> str:
        for peer in self.leg.peers:
            if name in (peer.pid, peer.user):
                return peer.pid
        raise InvalidArgument(f"nobody here is called {name!r}", name="participant")

    def _open_media(self, what: str) -> MediaSession:
        if self._media is None or self._closing is not None:
            state = self._leg.state if self._leg else "idle"
            raise SessionInactive(session_id=self._id, state=state, trigger=what)
        return self._media

    # --- driven by the client: what the endpoint decided about media

    def open_media(self, capture: frozenset[str]) -> None:
        """Open media now, with this to be captured."""
        self._opening = self._tasks.start(self._open(capture), f"statecore media open {self._id}")

    async def _open(self, capture: frozenset[str]) -> None:
        host = Host(self)
        seconds = self._client.timers.connect
        try:
            async with asyncio.timeout(seconds):
                media = await self._client.media.open(host, audio="audio" in capture, video="video" in capture)
        except TimeoutError:
            self.media_failed(MediaTimeout(step="open"))
            return
        except MediaError as error:
            self.media_failed(error)
            return
        except Exception as error:  # noqa: BLE001 - an adapter's fault ends this call and touches nothing else
            _log.exception("the media adapter failed to open", extra=self._extra)
            self.media_failed(MediaError(why=f"{type(error).__name__}: {error}"))
            return
        self._media = media
        waiting, self._waiting = self._waiting, []
        for drive in waiting:
            self._safely(drive)

    def media_failed(self, error: MediaError) -> None:
        self.error = self.error or error
        self._client.feed(Media(self._id, "failed"))

    def drive(self, effect: Drive) -> None:
        """Tell media what changed; kept until it is open."""
        what, args = effect.what, effect.args
        if what == "capture":
            self._later(lambda media: self._capture(media, *args))
        elif what == "peers":
            peers = [MediaPeer(pid=peer.pid, uid=peer.user, joined=peer.joined) for peer in args[0]]
            self._now(lambda media: media.set_peers(peers))
        elif what == "receive":
            self._now(lambda media: media.receive(*args))
        elif what == "granted":
            self._now(lambda media: media.granted(*args))
        else:
            self._now(lambda media: media.resumed())

    async def _capture(self, media: MediaSession, kind: Literal["audio", "video", "screen"], on: bool) -> None:
        if kind == "screen":
            if not on:
                await media.set_source("screen", None)
        else:
            await media.set_enabled(kind, on)

    def _now(self, drive: Callable[[MediaSession], object]) -> None:
        if self._closing is not None:
            return
        if self._media is None:
            self._waiting.append(drive)
        else:
            self._safely(drive)

    def _safely(self, drive: Callable[[MediaSession], object]) -> None:
        try:
            drive(self._media)  # type: ignore[arg-type]  # only called once it is open
        except Exception as error:  # noqa: BLE001 - see `fault`
            self.fault(error)

    def _later(self, job: Callable[[MediaSession], Coroutine[Any, Any, None]]) -> None:
        """Do an awaitable thing after those before it."""
        self._queue.append(job)
        self._now(lambda media: self._start_jobs())

    def _start_jobs(self) -> None:
        if self._queue and (self._jobs is None or self._jobs.done()):
            self._jobs = self._tasks.start(self._work(), f"statecore media {self._id}")

    async def _work(self) -> None:
        while self._queue and self._media is not None and self._closing is None:
            job = self._queue.pop(0)
            try:
                await job(self._media)
            except Exception as error:  # noqa: BLE001 - see `fault`
                self.fault(error)

    def feed(self, given: Media | Signal) -> None:
        """What media reports or wants said."""
        self._client.feed(given)

    def fault(self, error: Exception) -> None:
        """Something went wrong that the session survives."""
        _log.warning("media fault: %s", error, extra=self._extra)
        self._listeners.emit("error", error)

    def close_media(self) -> None:
        """Close media: one task, made once."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(
                self._close(), name=f"statecore media close {self._id}"
            )

    async def _close(self) -> None:
        for task in (self._opening, self._jobs):
            if task is not None and not task.done():
                task.cancel()
                await asyncio.wait((task,))
        media = self._media
        if media is None:
            return
        try:
            async with asyncio.timeout(self._client.timers.close):
                await media.close()
        except TimeoutError:
            self._force(media, MediaTimeout(step="close"))
        except Exception as error:  # noqa: BLE001 - what cannot be closed is forced, and told
            self._force(media, error)

    def _force(self, media: MediaSession, error: Exception) -> None:
        self.fault(error)
        try:
            media.abort()
        except Exception as worse:  # noqa: BLE001 - there is nothing more to try
            self.fault(worse)

    async def closed(self) -> None:
        """Wait until media is closed."""
        if self._closing is not None:
            await asyncio.shield(self._closing)

    async def finish(self, but: frozenset[asyncio.Task[Any]]) -> None:
        """Nothing of this session is left after this."""
        await self.closed()
        await self._tasks.finish(self._client.timers.close, but=but)

    @property
    def over(self) -> bool:
        """Whether this device's leg has ended."""
        return self._leg is not None and self._leg.reason is not None

    @property
    def opened(self) -> bool:
        """Whether media was ever asked for."""
        return self._opening is not None

    # --- driven by the client: events

    def update(self, leg: LocalLeg | None) -> None:
        """The leg as it is now."""
        self._leg = leg or self._leg
        if self.over:
            self._ended.set()

    def emit(self, event: str, leg: LocalLeg, peer: Any, value: Any) -> None:
        """Tell this session's listeners, with the arguments that the event's table names."""
        self.update(leg)
        if event in ("call_switched_to_video", "call_switch_to_video_declined"):
            self._switched(event == "call_switched_to_video")
        if event == "call_ended":
            self._switched(False)
        self._listeners.emit(event, *self._arguments(event, leg, peer, value))
        if event == "call_ended":
            self._listeners.clear()

    def _switched(self, agreed: bool) -> None:
        if self._switch is not None and not self._switch.done():
            self._switch.set_result(agreed)

    def _arguments(self, event: str, leg: LocalLeg, peer: Any, value: Any) -> tuple[Any, ...]:
        who = participant(peer) if peer is not None else own_participant(leg, self._client.user, self._client.device)
        if event in ("session_joined", "session_timeout"):
            return (self,)
        if event == "session_left":
            return (self, end_reason(leg))
        if event == "call_ended":
            return (end_reason(leg),)
        if event == "user_left":
            return (who, "left")
        if event == "user_list_updated":
            return (self.participants,)
        if event in ("user_muted", "user_unmuted", "user_video_paused", "user_video_resumed"):
            return (who, who.uid)
        if event in ("audio_muted", "audio_unmuted", "video_paused", "video_resumed"):
            return (self._client.user,)
        if event.startswith("call_switch"):
            other = next((p.user for p in leg.peers if p.joined), "")
            asker, answerer = (who.uid, self._client.user) if peer is not None else (self._client.user, other)
            return (self._id, asker, answerer)
        if event in ("idle_prompt", "error"):
            return (value,)
        if event == "custom":
            return tuple(value)
        if event == "message_received":
            return (who, value)
        return (who,)


class Host:
    """What the media adapter may ask of the session: the `MediaHost` port."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def session_id(self) -> str:
        """The session's id."""
        return self._session.session_id

    @property
    def pid(self) -> str:
        """This participant's id."""
        return self._session.leg.pid

    @property
    def joined(self) -> int:
        """This participant's place in the order of joining."""
        return self._session.leg.joined

    @property
    def settings(self) -> CallSettings:
        """What the session was started with."""
        return self._session.settings

    def send(self, pid: str, kind: Literal["offer", "answer", "candidate"], body: str) -> None:
        """Send media signaling to one participant."""
        self._signal(Relay(self.session_id, pid, kind, body))

    def ask(self, pid: str) -> None:
        """Ask for the pair's offer token."""
        self._signal(Ask(self.session_id, pid))

    def free(self, pid: str) -> None:
        """Give it back."""
        self._signal(Free(self.session_id, pid))

    def up(self) -> None:
        """Media works with everyone who has joined."""
        self._report("up")

    def peer_connected(self, pid: str) -> None:
        """Media with one participant works."""
        self._report("peer_connected", pid)

    def peer_lost(self, pid: str) -> None:
        """Media with one participant stopped."""
        self._report("peer_lost", pid)

    def failed(self, error: MediaError) -> None:
        """Media cannot go on."""
        self._session.media_failed(error)

    def fault(self, error: Exception) -> None:
        """Something went wrong that the session survives."""
        self._session.fault(error)

    def _signal(self, message: Relay | Ask | Free) -> None:
        self._session.feed(Signal(self.session_id, message))

    def _report(self, what: Literal["up", "peer_connected", "peer_lost"], pid: str = "") -> None:
        self._session.feed(Media(self.session_id, what, pid))


__all__ = ["Host", "Kind", "OngoingCallListener", "Session"]
