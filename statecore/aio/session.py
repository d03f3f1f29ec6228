"""A session: one device's part in a call once it has joined, with its media, its actions and its listeners."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Literal, Self

from ..endpoint import Drive, LocalLeg
from ..errors import CallEnded, ConsentDeclined, InvalidArgument, SessionInactive, StatecoreError
from ..listeners import Handler, ListenerRegistry, OngoingCallListener, Registration, events
from ..model import EndReason, Participant
from ..ports import AudioFrame, StreamStats, VideoFrame
from ..settings import CallSettings
from ..wire import Peer, encode
from ._asking import who_asked
from ._log import end_reason, own_participant, participant
from ._media import SessionMedia
from ._tasks import Mailboxes, Tasks
from .call import Call

if TYPE_CHECKING:
    from collections.abc import Collection

    from ._driver import Driver

_log = logging.getLogger("statecore.session")
_BUTTONS = tuple(
    event.removesuffix("_button_pressed") for event in events(OngoingCallListener) if event.endswith("_button_pressed")
)


class Session:
    """Made by `CallClient.start_session`. Every action is awaitable, resolves once the service has taken it, and raises
    a typed error, never nothing, where it is not legal. Also usable as a context manager that leaves on exit."""

    def __init__(self, driver: Driver, session_id: str, settings: CallSettings) -> None:
        self._driver = driver
        self._id = session_id
        self.settings = settings
        """What it was started with. Frozen."""
        self._leg: LocalLeg | None = None
        self._before: LocalLeg | None = None
        """The leg by the view before its present one."""
        self._tasks = Tasks(self._task_failed)
        self._listeners = ListenerRegistry(
            on_error=self._handler_failed, spawn=Mailboxes(self._tasks, self._handler_failed).post
        )
        self._media = SessionMedia(driver, self, self._tasks)
        self._asking = 0
        self._toggling = asyncio.Lock()
        self._joined = False
        self._layout: str = settings.layout
        self._ended = asyncio.Event()
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
        return self._driver.call_of(self.leg)

    @property
    def state(self) -> str:
        """The state of this device's leg."""
        return self._leg.state if self._leg is not None else "idle"

    @property
    def participants(self) -> tuple[Participant, ...]:
        """Everyone who has joined, oneself first."""
        leg = self.leg
        me = own_participant(leg, self._driver.me, self._driver.device)
        return (me, *(participant(peer) for peer in leg.peers if peer.joined))

    @property
    def end_reason(self) -> EndReason | None:
        """Why it ended; None while it lives."""
        return end_reason(self.leg) if self.over else None

    @property
    def error(self) -> StatecoreError | None:
        """Why media failed, if it did."""
        return self._media.error

    @property
    def leg(self) -> LocalLeg:
        """The endpoint's leg, as it is now."""
        if self._leg is None:
            raise AssertionError("whoever has a session has seen its leg")
        return self._leg

    @property
    def extra(self) -> dict[str, str]:
        """What every log record carries."""
        return {**self._driver.extra, "session": self._id}

    def inactive(self, trigger: str) -> SessionInactive:
        """The error of an action that the session's state does not allow."""
        return SessionInactive(session_id=self._id, state=self.state, trigger=trigger)

    def __repr__(self) -> str:
        return f"Session({self._id!r}, state={self.state!r})"

    # --- listeners

    @property
    def listeners(self) -> ListenerRegistry:
        """The session's registry."""
        return self._listeners

    def add_call_event_listener(self, id: str, listener: object, *, snapshot: bool = False) -> Registration:  # noqa: A002
        """Register an OngoingCallListener, or any object with `on_<event>` methods, under an id; replaces what stands
        under it. `snapshot` tells the newcomer of everyone who is here already, and who of them asks for video. Removed
        when the session has ended; raises SessionInactive after that."""
        self._need_life("add_call_event_listener")
        return self._listeners.add(id, listener, snapshot=self._snapshot if snapshot else None)

    def remove_call_event_listener(self, id: str) -> bool:  # noqa: A002
        """Remove what stands under an id; tells whether anything did. Idempotent."""
        return self._listeners.remove(id)

    def on(self, event: str, handler: Handler, *, snapshot: bool = False) -> Registration:
        """Register one handler for one event, named without `on_`; the handle removes it. Otherwise as above."""
        self._need_life("on")
        return self._listeners.on(event, handler, snapshot=self._snapshot if snapshot else None)

    def _need_life(self, what: str) -> None:
        if self.over:
            raise self.inactive(what)

    def _snapshot(self, replay: Callable[..., None]) -> None:
        replay("session_joined", self)
        for one in self.participants[1:]:
            replay("user_joined", one)
        for peer in self.leg.peers:
            if peer.joined and "wants_video" in peer.flags:
                event = "call_switch_to_video_requested"
                replay(event, *self._arguments(event, self.leg, peer, None))

    def _handler_failed(self, error: BaseException, event: str, listener: str) -> None:
        _log.error("listener %r failed in on_%s", listener, event, exc_info=error, extra=self.extra)
        if event != "error":  # of the session's last events its own listeners, gone by then, can hear no more
            (self._listeners if len(self._listeners) else self._driver.listeners).emit("error", error)

    def _task_failed(self, error: BaseException, what: str) -> None:
        _log.error("%s failed", what, exc_info=error, extra=self.extra)

    # --- the end

    async def leave(self) -> None:
        """End my part: signaling, media and local state, once. Of two, that ends the call. Idempotent; safe to cancel.
        It has ended here at once, connected or not."""
        await self._end("leave")

    async def end(self) -> None:
        """The same as `leave`, named for two people: either ends the call."""
        await self._end("end")

    async def _end(self, trigger: str) -> None:
        if self.over:
            await self._media.closed()
        else:
            await self._driver.end(self._id, trigger)

    async def end_for_all(self) -> None:
        """End the session for everyone. Raises TokenLacksGrant without the grant. Idempotent, also if somebody else, or
        another task by leaving, ends it at the same time."""
        if not self.over:
            try:
                await self._act("end_for_all")
            except CallEnded:
                await self._driver.end(self._id, "end")  # it is said all the same: wait until the service knows
        await self._media.closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    async def wait_ended(self) -> EndReason:
        """Wait until it has ended and media is closed; gives the reason."""
        await self._ended.wait()
        await self._media.closed()
        return end_reason(self.leg)

    # --- actions

    async def _act(self, trigger: str, **more: Any) -> LocalLeg:
        self._need_life(trigger)
        return await self._driver.do(self._id, trigger, **more)

    async def mute_audio(self) -> None:
        """Send no sound. Idempotent."""
        await self._act("mute_audio")

    async def unmute_audio(self) -> None:
        """Send sound again. Idempotent."""
        await self._act("unmute_audio")

    async def toggle_audio(self) -> None:
        """Mute if sound is on, else unmute; one after the other if it is called twice."""
        async with self._toggling:
            await (self.unmute_audio() if "audio_muted" in self.leg.flags else self.mute_audio())

    async def pause_video(self) -> None:
        """Send no pictures. Idempotent."""
        await self._act("pause_video")

    async def resume_video(self) -> None:
        """Send pictures again; opens the camera if it never was open. Idempotent."""
        await self._act("resume_video")

    async def toggle_video(self) -> None:
        """Pause if video is on, else resume; one after the other if it is called twice."""
        async with self._toggling:
            flags = self.leg.flags
            on = "camera" in flags and "video_paused" not in flags
            await (self.pause_video() if on else self.resume_video())

    async def play(self, source: Any, kind: Literal["audio", "video"] = "audio") -> None:
        """Replace what is sent by whatever the adapter takes as a source. Raises SourceError, MediaError, MediaTimeout:
        what was sent goes on then."""
        if kind not in ("audio", "video"):
            raise InvalidArgument(f"kind {kind!r} is neither audio nor video", name="kind")
        await self._media.do("play", lambda media: media.set_source(kind, source))

    async def start_screen_share(self, source: Any) -> None:
        """Share a screen, or any source, as a second video stream. Raises SourceError, TokenLacksGrant."""
        self._media.ready("start_screen_share")
        try:
            await self._act("start_screen_share")  # nothing of the source is touched before the grant is known
            await self._media.do("start_screen_share", lambda media: media.set_source("screen", source))
            if "presenting" not in self.leg.flags:  # stopped meanwhile
                await self._media.do("stop_screen_share", lambda media: media.set_source("screen", None))
        except BaseException:
            self._driver.tell(self._id, "stop_screen_share")
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

        Raises ConsentDeclined if they decline or do not answer in time, CallEnded if the call ends first. Cancelling it
        withdraws the request, unless another task is asking too."""
        self._asking += 1
        try:
            leg = await self._act("switch_to_video", until="wants_video")
        except asyncio.CancelledError:
            if self._asking == 1:
                self._driver.tell(self._id, "withdraw_video")
            raise
        finally:
            self._asking -= 1
        if leg.reason is not None:
            raise CallEnded(session_id=self._id, reason=leg.reason, call=self._driver.call_of(leg))
        if leg.type != "video":
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
        """Send anything that JSON can carry to a participant (by user id or pid) or to everyone who has joined;
        resolves when all of them have it. What is one's user id and another's pid means the user. In order, once, also
        across a cut of the link; at most 32 KiB on the wire.
        What the service would not take as fast is held back, and may still arrive after a CommandTimeout.

        Raises InvalidArgument, RateLimited if 256 are on the way to somebody, CommandTimeout, SessionInactive."""
        self._need_life("send_message")
        try:
            text = json.dumps(data, separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidArgument(f"data cannot be JSON: {error}", name="data") from None
        await self._driver.say(self._id, text, self._pid(to) if to is not None else "")

    async def trigger(self, name: str, **data: Any) -> None:
        """A trigger of a flow of one's own; legal exactly where the flow has a row."""
        try:
            encode(data)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise InvalidArgument(f"data cannot be JSON: {error}", name="data") from None
        await self._act(name, data=data or None)

    def set_layout(self, layout: Literal["tile", "sidebar", "spotlight"]) -> None:
        """How a page places participants: kept here, told as `on_layout_changed`. Raises InvalidArgument, and
        SessionInactive after the end."""
        if layout not in ("tile", "sidebar", "spotlight"):
            raise InvalidArgument(f"layout {layout!r} is none of tile, sidebar, spotlight", name="layout")
        self._need_life("set_layout")
        self._layout = layout
        self._listeners.emit("layout_changed", layout)

    @property
    def layout(self) -> str:
        """How a page places participants."""
        return self._layout

    def press(self, button: str) -> None:
        """A button of the page was pressed: told as `on_<button>_button_pressed`, and does nothing by itself.

        Raises InvalidArgument for a button that there is not, SessionInactive after the end."""
        if button not in _BUTTONS:
            raise InvalidArgument(f"there is no button {button!r}, but {', '.join(_BUTTONS)}", name="button")
        self._need_life("press")
        self._listeners.emit(f"{button}_button_pressed")

    # --- media

    def audio(self, uid: str) -> AsyncIterator[AudioFrame]:
        """The sound of a participant, by user id or pid: int16 arrays (samples, channels). Bounded: drops the oldest.
        Raises SessionInactive, InvalidArgument for who is not here, and a MediaError, at once or while it is read, if
        media breaks; `on_error` is told of that, too."""
        return self._media.frames("audio", lambda media: media.audio(self._pid(uid)))

    def video(self, uid: str, kind: Literal["video", "screen"] = "video") -> AsyncIterator[VideoFrame]:
        """The pictures of a participant, likewise: uint8 arrays (height, width, 3)."""
        return self._media.frames("video", lambda media: media.video(self._pid(uid), kind))

    async def stats(self) -> list[StreamStats]:
        """The counters of every stream, now."""
        return await self._media.ask("stats", lambda media: media.stats())

    def _pid(self, name: str) -> str:
        peers = self.leg.peers
        for peer in (*(peer for peer in peers if peer.user == name), *(peer for peer in peers if peer.pid == name)):
            return peer.pid
        raise InvalidArgument(f"nobody here is called {name!r}", name="participant")

    # --- driven by the client

    @property
    def over(self) -> bool:
        """Whether this device's leg has ended."""
        return self._leg is not None and self._leg.reason is not None

    def open_media(self, capture: frozenset[str]) -> None:
        """Open media now, with this to be captured."""
        self._media.open(capture)

    def drive(self, effect: Drive) -> None:
        """Tell media what changed."""
        self._media.drive(effect)

    def close_media(self) -> None:
        """Close media: once, however often it is asked for."""
        self._media.close()

    async def closed(self) -> None:
        """Wait until media is closed, if it is being closed."""
        await self._media.closed()

    async def finish(self, but: Collection[asyncio.Task[Any]]) -> None:
        """Nothing of this session is left after this."""
        self._media.close()
        await self._media.closed()
        self._listeners.clear()
        await self._tasks.finish(self._driver.timers.close, but=but)

    def fault(self, error: Exception) -> None:
        """Something went wrong that the session survives."""
        _log.warning("media fault: %s", error, extra=self.extra)
        self._listeners.emit("error", error)

    def update(self, leg: LocalLeg | None) -> None:
        """The leg as it is now."""
        if leg is not None:
            self._before = self._leg if self._leg is not None and self._leg.seq != leg.seq else self._before
            self._leg = leg
        if self.over:
            self._ended.set()

    def emit(self, event: str, leg: LocalLeg, peer: Peer | None, value: Any) -> None:
        """Tell this session's listeners, with the arguments that the event's table names."""
        self.update(leg)
        self._joined |= event == "session_joined"
        if self._joined or event not in ("session_left", "call_ended"):  # who starts it is told why it did not begin
            self._listeners.emit(event, *self._arguments(event, leg, peer, value))
        if event == "call_ended":
            self._listeners.clear()

    def _arguments(self, event: str, leg: LocalLeg, peer: Peer | None, value: Any) -> tuple[Any, ...]:
        if event.startswith("call_switch"):
            return (self._id, *who_asked(event, self._before, leg, peer, self._driver.user))
        who = participant(peer) if peer is not None else own_participant(leg, self._driver.me, self._driver.device)
        if event in ("session_joined", "session_timeout"):
            return (self,)
        if event == "session_left":
            return (self, end_reason(leg))
        if event == "call_ended":
            return (end_reason(leg),)
        if event == "user_left":
            return (who, value)
        if event == "user_list_updated":
            return (self.participants,)
        return self._arguments_of_actions(event, who, value)

    def _arguments_of_actions(self, event: str, who: Participant, value: Any) -> tuple[Any, ...]:
        if event in ("user_muted", "user_unmuted", "user_video_paused", "user_video_resumed"):
            return (who, who.uid)
        if event in ("audio_muted", "audio_unmuted", "video_paused", "video_resumed"):
            return (self._driver.user,)
        if event in ("idle_prompt", "error"):
            return (value,)
        if event == "custom":
            return tuple(value)
        if event == "flag_changed":
            return (who, *value)
        if event == "message_received":
            return (who, value)
        return (who,)


__all__ = ["Session"]
