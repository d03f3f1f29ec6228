"""A session: one device's part in a call once it has joined, with its media, its actions and its listeners."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import attrs

from ..endpoint import LocalLeg
from ..errors import CallEnded, CommandTimeout, ConsentDeclined, InvalidArgument, StatecoreError
from ..listeners import Handler, ListenerRegistry, OngoingCallListener, Registration, events
from ..model import EndReason, Participant
from ..ports import AudioFrame, Played, StreamStats, VideoFrame
from ..settings import CallSettings
from ..wire import encode
from ._log import end_reason
from .call import Call

if TYPE_CHECKING:
    from ._media import Frames
    from ._part import Part

_BUTTONS = tuple(
    event.removesuffix("_button_pressed") for event in events(OngoingCallListener) if event.endswith("_button_pressed")
)

_Captured: TypeAlias = Literal["audio", "video", "screen"]
_OFF: dict[_Captured, str] = {"audio": "mute_audio", "video": "pause_video", "screen": "stop_screen_share"}
"""What closes each kind of capture."""


@attrs.define(eq=False)
class _Wish:
    """That a kind of capture is to be on, or off."""

    on: bool


class Session:
    """Made by `CallClient.start_session`. Also usable as a context manager that leaves on exit.

    An action that the service or media has a part in is awaitable and resolves once it was taken. `set_layout` and
    `press` concern this device's page alone and are done at once. None of them does nothing where it is not legal:
    each raises SessionInactive when the session is not active any more. The awaitable ones raise besides CallEnded if
    it ends meanwhile, CommandTimeout if the service did not confirm it in time, and ClientClosed; what else an action
    raises is said with it. Only ending is always legal: it raises nothing, and nothing is left of the session after it.
    """

    def __init__(self, part: Part) -> None:
        self._part = part
        self._asking = 0
        self._wishes: dict[_Captured, list[_Wish]] = {kind: [] for kind in _OFF}
        """What is under way, the newest last."""
        self._layout: str = part.settings.layout

    # --- what it is

    @property
    def session_id(self) -> str:
        """The session's id."""
        return self._part.session_id

    @property
    def settings(self) -> CallSettings:
        """What it was started with. Frozen."""
        return self._part.settings

    @property
    def call(self) -> Call:
        """The call as it is now."""
        return self._part.driver.call_of(self.leg)

    @property
    def state(self) -> str:
        """The state of this device's leg."""
        return self._part.state

    @property
    def leg(self) -> LocalLeg:
        """The endpoint's leg, as it is now."""
        return self._part.leg

    @property
    def over(self) -> bool:
        """Whether this device's leg has ended."""
        return self._part.over

    @property
    def participants(self) -> tuple[Participant, ...]:
        """Everyone who has joined, oneself first."""
        return self._part.participants

    @property
    def end_reason(self) -> EndReason | None:
        """Why it ended; None while it lives."""
        return end_reason(self.leg) if self.over else None

    @property
    def error(self) -> StatecoreError | None:
        """Why media failed, if it did."""
        return self._part.media.error

    def __repr__(self) -> str:
        return f"Session({self.session_id!r}, state={self.state!r})"

    # --- listeners

    @property
    def listeners(self) -> ListenerRegistry:
        """The session's registry."""
        return self._part.listeners

    def add_call_event_listener(self, id: str, listener: object, *, snapshot: bool = False) -> Registration:  # noqa: A002
        """Register an OngoingCallListener, or any object with `on_<event>` methods, under an id; replaces what stands
        under it. `snapshot` tells the newcomer of everyone who is here already, and who of them asks for video. Removed
        when the session has ended; raises SessionInactive after that."""
        self._part.need_life("add_call_event_listener")
        return self._part.listeners.add(id, listener, snapshot=self._part.snapshot if snapshot else None)

    def remove_call_event_listener(self, id: str) -> bool:  # noqa: A002
        """Remove what stands under an id; tells whether anything did. Idempotent."""
        return self._part.listeners.remove(id)

    def on(self, event: str, handler: Handler, *, snapshot: bool = False) -> Registration:
        """Register one handler for one event, named without `on_`; the handle removes it. Otherwise as above."""
        self._part.need_life("on")
        return self._part.listeners.on(event, handler, snapshot=self._part.snapshot if snapshot else None)

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
            await self._part.media.closed()
        else:
            await self._part.driver.end(self.session_id, trigger)

    async def end_for_all(self) -> None:
        """End the session for everyone. Raises TokenLacksGrant without the grant. Idempotent, also if somebody else, or
        another task by leaving, ends it at the same time."""
        if not self.over:
            try:
                await self._act("end_for_all")
            except CallEnded:
                # It is said all the same: wait until the service knows.
                await self._part.driver.end(self.session_id, "end")
        await self._part.media.closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    async def wait_ended(self) -> EndReason:
        """Wait until it has ended and media is closed; gives the reason."""
        await self._part.ended.wait()
        await self._part.media.closed()
        return end_reason(self.leg)

    # --- actions

    async def _act(self, trigger: str, **more: Any) -> LocalLeg:
        self._part.need_life(trigger)
        return await self._part.driver.do(self.session_id, trigger, **more)

    async def _close(self, kind: _Captured) -> None:
        """Capture nothing of a kind from now on, and tell the service until it knows: that the link is down, or that
        nobody answers, must open nothing again. Cancelled, or refused, it is as the service last said."""
        with self._wishing(kind, on=False):
            while True:
                try:
                    await self._act(_OFF[kind])
                except CommandTimeout:
                    if self._wishes[kind][-1].on:
                        raise
                else:
                    return

    async def _open(self, kind: _Captured, trigger: str) -> None:
        """Capture a kind once the service has confirmed it."""
        with self._wishing(kind, on=True):
            await self._act(trigger)

    @contextmanager
    def _wishing(self, kind: _Captured, *, on: bool) -> Iterator[None]:
        wishes, wish = self._wishes[kind], _Wish(on)
        wishes.append(wish)
        self._part.media.hush(kind, not on)
        try:
            yield
        finally:
            wishes.remove(wish)
            self._part.media.hush(kind, not self._wished(kind, confirmed=True))

    def _wished(self, kind: _Captured, confirmed: bool) -> bool:
        """Whether a kind is to be on: as was wished last, whatever has come of it yet."""
        return self._wishes[kind][-1].on if self._wishes[kind] else confirmed

    async def mute_audio(self) -> None:
        """Send no sound, from now on; if it is cancelled before the service knows, sound again. Idempotent."""
        await self._close("audio")

    async def unmute_audio(self) -> None:
        """Send sound again. Idempotent. Raises TokenLacksGrant."""
        await self._open("audio", "unmute_audio")

    async def toggle_audio(self) -> None:
        """Mute if sound is on or about to be, else unmute. Raises what these raise."""
        on = self._wished("audio", "audio_muted" not in self.leg.flags)
        await (self.mute_audio() if on else self.unmute_audio())

    async def pause_video(self) -> None:
        """Send no pictures, from now on; if it is cancelled before the service knows, pictures again. Idempotent."""
        await self._close("video")

    async def resume_video(self) -> None:
        """Send pictures again; opens the camera if it never was open. Idempotent. Raises TokenLacksGrant, and
        IllegalTransition in an audio call: `switch_to_video` asks the others first."""
        await self._open("video", "resume_video")

    async def toggle_video(self) -> None:
        """Pause if video is on or about to be, else resume. Raises what these raise."""
        flags = self.leg.flags
        on = self._wished("video", "camera" in flags and "video_paused" not in flags)
        await (self.pause_video() if on else self.resume_video())

    async def play(
        self, source: Any, kind: Literal["audio", "video"] = "audio", *, wait: bool = False
    ) -> Played | None:
        """Replace what is sent by whatever the adapter takes as a source. Raises SourceError, MediaError, MediaTimeout:
        what was sent goes on then.

        With `wait`, resolves when the source has come to its end, and says how: `ended` (the others were sent the last
        of it: now one may hang up), `replaced` by another, `failed` (`on_error` was told), `closed` with the session.
        While one is muted, or alone, a source may wait, or go on unheard: then it has `ended` only once something may
        be sent again. Raises InvalidArgument, and plays nothing, if the adapter cannot tell. Safe to cancel: what plays
        goes on."""
        if kind not in ("audio", "video"):
            raise InvalidArgument(f"kind {kind!r} is neither audio nor video", name="kind")
        return await self._part.media.play(kind, source, wait=wait)

    async def start_screen_share(self, source: Any) -> None:
        """Share a screen, or any source, as a second video stream. Raises SourceError, TokenLacksGrant."""
        self._part.media.ready("start_screen_share")
        try:
            await self._open(
                "screen", "start_screen_share"
            )  # nothing of the source is touched before the grant is known
            if self._presents():
                await self._part.media.do("start_screen_share", lambda media: media.set_source("screen", source))
            if not self._presents():  # stopped meanwhile
                await self._part.media.do("stop_screen_share", lambda media: media.set_source("screen", None))
        except BaseException:
            self._part.driver.tell(self.session_id, "stop_screen_share")
            raise

    def _presents(self) -> bool:
        return self._wished("screen", "presenting" in self.leg.flags)

    async def stop_screen_share(self) -> None:
        """Stop sharing, from now on. Idempotent."""
        await self._close("screen")

    async def raise_hand(self) -> None:
        """Raise the hand. Idempotent."""
        await self._act("raise_hand")

    async def lower_hand(self) -> None:
        """Lower the hand. Idempotent."""
        await self._act("lower_hand")

    async def switch_to_video(self) -> None:
        """Ask the others to make this a video call; resolves when somebody agreed. If they ask too, that is agreement.

        Raises ConsentDeclined if they decline or do not answer in time, CallEnded if the call ends first, and
        TokenLacksGrant. Does nothing in a video call. Cancelling it withdraws the request, unless another task is
        asking too."""
        self._asking += 1
        try:
            leg = await self._act("switch_to_video", until="wants_video")
        except asyncio.CancelledError:
            if self._asking == 1:
                self._part.driver.tell(self.session_id, "withdraw_video")
            raise
        finally:
            self._asking -= 1
        if leg.reason is not None:
            raise CallEnded(session_id=self.session_id, reason=leg.reason, call=self._part.driver.call_of(leg))
        if leg.type != "video":
            raise ConsentDeclined(what="video")

    async def accept_video(self) -> None:
        """Agree to video: this device's camera opens. Raises TokenLacksGrant, and IllegalTransition if nobody asks."""
        await self._act("accept_video")

    async def decline_video(self) -> None:
        """Do not agree: whoever asks is told so, and may ask again. Raises IllegalTransition if nobody asks."""
        await self._act("decline_video")

    async def withdraw_video(self) -> None:
        """Take the own request back; after the agreement to it, it keeps the own camera off. Raises IllegalTransition
        if there is neither a request nor a camera that is on."""
        await self._act("withdraw_video")

    async def send_message(self, data: Any, to: str | None = None) -> None:
        """Send anything that JSON can carry to a participant (by user id or pid) or to everyone who has joined;
        resolves when all of them have it. What is one's user id and another's pid means the user. In order, once, also
        across a cut of the link; at most 32 KiB on the wire.
        What the service would not take as fast is held back, and may still arrive after a CommandTimeout.

        Raises InvalidArgument, RateLimited if 256 are on the way to somebody, CommandTimeout, SessionInactive."""
        self._part.need_life("send_message")
        try:
            text = json.dumps(data, separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidArgument(f"data cannot be JSON: {error}", name="data") from None
        await self._part.driver.say(self.session_id, text, self._pid(to) if to is not None else "")

    async def trigger(self, name: str, **data: Any) -> None:
        """A trigger of a flow of one's own; legal exactly where the flow has a row.

        Raises IllegalTransition where it has none, the error that a row of it names, TokenLacksGrant for a trigger that
        needs a grant, and InvalidArgument for data that JSON cannot carry; StatecoreError itself if a condition of the
        application's failed in the service."""
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
        self._part.need_life("set_layout")
        self._layout = layout
        self._part.tell("layout_changed", layout)

    @property
    def layout(self) -> str:
        """How a page places participants."""
        return self._layout

    def press(self, button: str) -> None:
        """A button of the page was pressed: told as `on_<button>_button_pressed`, and does nothing by itself.

        Raises InvalidArgument for a button that there is not, SessionInactive after the end."""
        if button not in _BUTTONS:
            raise InvalidArgument(f"there is no button {button!r}, but {', '.join(_BUTTONS)}", name="button")
        self._part.need_life("press")
        self._part.tell(f"{button}_button_pressed")

    # --- media

    def audio(self, uid: str) -> AsyncIterator[AudioFrame]:
        """The sound of a participant, by user id or pid: int16 arrays (samples, channels). Bounded: drops the oldest.
        Raises SessionInactive, InvalidArgument for who is not here, and a MediaError, at once or while it is read, if
        media breaks; `on_error` is told of that, too."""
        return self._audio(uid)

    def _audio(self, uid: str) -> Frames[AudioFrame]:
        return self._part.media.frames("audio", lambda media: media.audio(self._pid(uid)))

    def video(self, uid: str, kind: Literal["video", "screen"] = "video") -> AsyncIterator[VideoFrame]:
        """The pictures of a participant, likewise: uint8 arrays (height, width, 3)."""
        return self._video(uid, kind)

    def _video(self, uid: str, kind: Literal["video", "screen"]) -> Frames[VideoFrame]:
        return self._part.media.frames("video", lambda media: media.video(self._pid(uid), kind))

    def add_audio_sink(self, uid: str, sink: Callable[[AudioFrame], object]) -> Registration:
        """Call a function with each frame of a participant's sound, in order, until he or the session is gone or the
        handle removes it. A synchronous one must be quick; for one that gives an awaitable the next frame waits, and
        what is not taken in time is dropped and counted, as by `audio`. What it raises is told by `on_error`, once
        until it works again, and harms neither the call nor other sinks. Raises as `audio` does, and InvalidArgument
        for what cannot be called."""
        return self._part.add_sink(lambda: self._audio(uid), sink, f"audio {uid}")

    def add_video_sink(
        self, uid: str, sink: Callable[[VideoFrame], object], kind: Literal["video", "screen"] = "video"
    ) -> Registration:
        """The same with each of a participant's pictures."""
        return self._part.add_sink(lambda: self._video(uid, kind), sink, f"{kind} {uid}")

    async def stats(self) -> list[StreamStats]:
        """The counters of every stream, now. Raises SessionInactive, MediaTimeout, or the MediaError that the adapter
        raises."""
        return await self._part.media.ask("stats", lambda media: media.stats())

    def _pid(self, name: str) -> str:
        peers = self.leg.peers
        for peer in (*(peer for peer in peers if peer.user == name), *(peer for peer in peers if peer.pid == name)):
            return peer.pid
        raise InvalidArgument(f"nobody here is called {name!r}", name="participant")


__all__ = ["Session"]
