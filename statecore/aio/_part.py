"""One device's part in a session as its driver runs it: the leg as it is now, media, and what listeners are told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ..endpoint import LocalLeg
from ..errors import SessionInactive
from ..listeners import ListenerRegistry, Registration
from ..model import Participant
from ..settings import CallSettings
from ..wire import Peer
from ._asking import took_request, who_asked
from ._log import end_reason, own_participant, participant
from ._media import Frames, SessionMedia
from ._sinks import add_sink
from ._tasks import Mailboxes, Tasks
from .session import Session

if TYPE_CHECKING:
    from collections.abc import Collection

    from ._driver import Driver

T = TypeVar("T")

_log = logging.getLogger("statecore.session")


class Part:
    """What stands behind a `Session`, which is the face of it that applications see."""

    def __init__(self, driver: Driver, session_id: str, settings: CallSettings) -> None:
        self.driver = driver
        self.session_id = session_id
        self.settings = settings
        """What the session was started with."""
        self._tasks = Tasks(self._task_failed)
        self.listeners = ListenerRegistry(
            on_error=self._handler_failed, spawn=Mailboxes(self._tasks, self._handler_failed).post
        )
        self.media = SessionMedia(driver, self, self._tasks)
        self.ended = asyncio.Event()
        """Set when the leg has ended."""
        self.session = Session(self)
        """The face of it."""
        self._leg: LocalLeg | None = None
        self._before: LocalLeg | None = None
        """The leg by the view before its present one."""
        self._joined = False
        if settings.listener is not None:
            self.listeners.add("settings", settings.listener)

    # --- what it is

    @property
    def leg(self) -> LocalLeg:
        """The endpoint's leg, as it is now."""
        if self._leg is None:
            raise AssertionError("whoever has a session has seen its leg")
        return self._leg

    @property
    def state(self) -> str:
        """The state of the leg."""
        return self._leg.state if self._leg is not None else "idle"

    @property
    def over(self) -> bool:
        """Whether the leg has ended."""
        return self._leg is not None and self._leg.reason is not None

    @property
    def participants(self) -> tuple[Participant, ...]:
        """Everyone who has joined, oneself first."""
        return (self._own(self.leg), *(participant(peer) for peer in self.leg.peers if peer.joined))

    def _own(self, leg: LocalLeg) -> Participant:
        return own_participant(leg, self.driver.me, self.driver.device)

    @property
    def extra(self) -> dict[str, str]:
        """What every log record carries."""
        return {**self.driver.extra, "session": self.session_id}

    def inactive(self, trigger: str) -> SessionInactive:
        """The error of an action that the session's state does not allow."""
        return SessionInactive(session_id=self.session_id, state=self.state, trigger=trigger)

    def need_life(self, trigger: str) -> None:
        """Raises SessionInactive after the end."""
        if self.over:
            raise self.inactive(trigger)

    # --- driven by the driver

    def update(self, leg: LocalLeg | None) -> None:
        """The leg as it is now."""
        if leg is not None:
            self._before = self._leg if self._leg is not None and self._leg.seq != leg.seq else self._before
            self._leg = leg
        if self.over:
            self.ended.set()

    async def finish(self, but: Collection[asyncio.Task[Any]]) -> None:
        """Nothing of this session is left after this."""
        self.media.close()
        await self.media.closed()
        self.listeners.clear()
        await self._tasks.finish(self.driver.timers.close, but=but)

    # --- what listeners are told

    def tell(self, event: str, *args: object) -> None:
        """Tell this session's listeners what the endpoint knows nothing of."""
        self.driver.note(event, self.session_id)
        self.listeners.emit(event, *args)

    def emit(self, event: str, leg: LocalLeg, peer: Peer | None, value: Any) -> None:
        """Tell this session's listeners, with the arguments that the event's table names."""
        self.update(leg)
        self._joined |= event == "session_joined"
        if took_request(event, leg, peer):
            declined = "call_switch_to_video_declined"
            self.tell(declined, *self._arguments(declined, leg, peer, None))
        if self._joined or event not in ("session_left", "call_ended"):  # who starts it is told why it did not begin
            self.listeners.emit(event, *self._arguments(event, leg, peer, value))
        if event == "call_ended":
            self.listeners.clear()

    def snapshot(self, replay: Callable[..., None]) -> None:
        """What brings a newcomer among the listeners up to date."""
        replay("session_joined", self.session)
        for one in self.participants[1:]:
            replay("user_joined", one)
        for peer in self.leg.peers:
            if peer.joined and "wants_video" in peer.flags:
                event = "call_switch_to_video_requested"
                replay(event, *self._arguments(event, self.leg, peer, None))

    def _arguments(self, event: str, leg: LocalLeg, peer: Peer | None, value: Any) -> tuple[Any, ...]:
        if event.startswith("call_switch"):
            return (self.session_id, *who_asked(event, self._before, leg, peer, self.driver.user))
        if event in ("session_joined", "session_timeout"):
            return (self.session,)
        if event == "session_left":
            return (self.session, end_reason(leg))
        if event == "call_ended":
            return (end_reason(leg),)
        if event == "user_list_updated":
            return (self.participants,)
        return self._arguments_of_actions(event, participant(peer) if peer is not None else self._own(leg), value)

    def _arguments_of_actions(self, event: str, who: Participant, value: Any) -> tuple[Any, ...]:
        if event in ("user_muted", "user_unmuted", "user_video_paused", "user_video_resumed"):
            return (who, who.uid)
        if event in ("audio_muted", "audio_unmuted", "video_paused", "video_resumed"):
            return (self.driver.user,)
        if event in ("idle_prompt", "error"):
            return (value,)
        if event == "custom":
            return tuple(value)
        if event == "flag_changed":
            return (who, *value)
        if event in ("user_left", "message_received"):
            return (who, value)
        return (who,)

    # --- what went wrong

    def add_sink(self, frames: Callable[[], Frames[T]], sink: Callable[[T], object], name: str) -> Registration:
        """Hand each of these frames to a sink."""
        return add_sink(frames, sink, self._tasks, self.fault, f"statecore sink {name} {self.session_id}")

    def fault(self, error: BaseException) -> None:
        """Something went wrong that the session survives."""
        _log.warning("media fault: %s", error, extra=self.extra)
        self.tell("error", error)

    def _handler_failed(self, error: BaseException, event: str, listener: str) -> None:
        _log.error("listener %r failed in on_%s", listener, event, exc_info=error, extra=self.extra)
        if event != "error":  # of the session's last events its own listeners, gone by then, can hear no more
            self.driver.note("error", self.session_id)
            (self.listeners if len(self.listeners) else self.driver.listeners).emit("error", error)

    def _task_failed(self, error: BaseException, what: str) -> None:
        _log.error("%s failed", what, exc_info=error, extra=self.extra)


__all__ = ["Part"]
