"""Listeners: who is told what happened, registered under an id and held by pyee.

A registration stands under an id. Registering the id again replaces it and keeps its place in the order; removing takes
away exactly that registration. Both take the same time however many there are. Emitting calls handlers in the order of
their places, one by one, and lets no handler harm another: what one raises goes to a hook, and so does the coroutine of
an async one, because the loop is the shell's business and not known here.

A handler that was removed or replaced by an earlier handler of the same emit is not called any more; one that was added
is called from the next emit on.
"""

# ruff: noqa: A002, RUF009 - an id is called `id` here, and `_event` makes an attrs field

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Self, TypeAlias, cast

import attrs
from pyee.base import EventEmitter

from .errors import BlankId, InvalidArgument, UsageError

Handler: TypeAlias = Callable[..., object]
"""A handler, sync or async; what a sync one returns does not matter."""
OnError: TypeAlias = Callable[[BaseException, str, str], object]
"""Takes (error, event, listener id). What it raises itself is logged."""
Spawn: TypeAlias = "Callable[[Coroutine[Any, Any, object], Registration, str], object]"
"""Takes (coroutine, registration, event) and sees to it that it runs: those of one registration in order, and none of
one that was `dropped` before its turn came."""
Snapshot: TypeAlias = Callable[[Callable[..., None]], object]
"""Takes `replay(event, *args)` and calls it for each event that brings a newcomer up to date."""

_log = logging.getLogger("statecore.listeners")

# pyee emits this name itself, whenever a handler is added.
_RESERVED = "new_listener"

# --- the listeners that applications make -----------------------------------------------------------------------------


def _event(text: str, *payload: str) -> Any:
    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value is not None and not callable(value):
            raise InvalidArgument(f"{attribute.name} must be callable", name=attribute.name)

    return attrs.field(default=None, validator=check, metadata={"help": text, "payload": payload})


@attrs.define(kw_only=True, eq=False, slots=False)
class _Listener:
    def __attrs_post_init__(self) -> None:
        # What was not given must leave no trace, or it would hide the method of a subclass.
        for name in [name for name, value in vars(self).items() if value is None]:
            delattr(self, name)


@attrs.define(kw_only=True, eq=False, slots=False)
class CallListener(_Listener):
    """What a client tells about its calls and its link. A handler of a call takes the Call as it stands then; each may
    be sync or async.

    Give handlers by keyword, or make a subclass with methods of these names. Each ended leg yields exactly one of
    `on_outgoing_call_rejected`, `on_incoming_call_cancelled` and `on_call_ended_message_received`.
    """

    on_incoming_call_received: Handler | None = _event("Somebody calls.", "call")
    on_outgoing_call_accepted: Handler | None = _event("The other side accepted.", "call")
    on_outgoing_call_rejected: Handler | None = _event(
        "The call came to nothing at the other side: rejected, busy or unanswered.", "call"
    )
    on_incoming_call_cancelled: Handler | None = _event(
        "It rings no more here: cancelled, unanswered, or answered or rejected elsewhere.", "call"
    )
    on_call_ended_message_received: Handler | None = _event("The call ended otherwise.", "call")
    on_connection_lost: Handler | None = _event("The link to the service broke.", "reason", "recoverable")
    on_connection_restored: Handler | None = _event("The link is back.", "reason", "recoverable")
    on_connection_closed: Handler | None = _event("The link was closed on purpose.", "reason", "recoverable")
    on_connection_failed: Handler | None = _event("The link could not be made or kept.", "reason", "recoverable")
    on_error: Handler | None = _event("Something failed that the client survives.", "error")


@attrs.define(kw_only=True, eq=False, slots=False)
class OngoingCallListener(_Listener):
    """What a session tells. Handlers may be sync or async, and see the session's events in order.

    Give handlers by keyword, or make a subclass with methods of these names. `payload` in an event's metadata names the
    positional arguments; `by` is the user who did it, or None. A button's event never ends the call by itself.

    Of video the `initiator` is the user who asked, and the `responder` the one who agreed; of a request it is who may
    agree, of one that came to nothing who might have. If both of two ask at once, the wish that the service heard first
    is the request and the other the agreement, for both. A name is empty where a device cannot know it: which of
    several people declined; and both are in a switch that happened while this device was cut off.
    """

    on_session_joined: Handler | None = _event("This device is in the session.", "session")
    on_session_left: Handler | None = _event("This device left; told once.", "session", "reason")
    on_session_timeout: Handler | None = _event("The session ends because one was alone for too long.", "session")
    on_connection_lost: Handler | None = _event("The link to the service broke.", "reason", "recoverable")
    on_connection_restored: Handler | None = _event("The link is back.", "reason", "recoverable")
    on_connection_closed: Handler | None = _event("The link was closed on purpose.", "reason", "recoverable")
    on_connection_failed: Handler | None = _event("The link could not be made or kept.", "reason", "recoverable")
    on_remote_connection_lost: Handler | None = _event("Media with a participant stopped.", "participant")
    on_remote_connection_restored: Handler | None = _event("Media with a participant is back.", "participant")
    on_user_joined: Handler | None = _event("Somebody joined.", "participant")
    on_user_left: Handler | None = _event("Somebody is gone: `left`, or another reason.", "participant", "reason")
    on_user_list_updated: Handler | None = _event("Who takes part changed.", "participants")
    on_user_muted: Handler | None = _event("A participant was muted.", "participant", "by")
    on_user_unmuted: Handler | None = _event("A participant sends sound again.", "participant", "by")
    on_user_video_paused: Handler | None = _event("A participant's video was paused.", "participant", "by")
    on_user_video_resumed: Handler | None = _event("A participant sends video again.", "participant", "by")
    on_audio_muted: Handler | None = _event("The own microphone was muted.", "by")
    on_audio_unmuted: Handler | None = _event("The own microphone is on again.", "by")
    on_video_paused: Handler | None = _event("The own video was paused.", "by")
    on_video_resumed: Handler | None = _event("The own video is sent again.", "by")
    on_screen_share_started: Handler | None = _event("A screen is shared, the own one too.", "participant")
    on_screen_share_stopped: Handler | None = _event("A screen is shared no more.", "participant")
    on_hand_raised: Handler | None = _event("A hand went up.", "participant")
    on_hand_lowered: Handler | None = _event("A hand went down.", "participant")
    on_dominant_speaker_changed: Handler | None = _event("Somebody else speaks most.", "participant")
    on_recording_started: Handler | None = _event("Recording began.", "recording_id", "by")
    on_recording_stopped: Handler | None = _event("Recording ended.", "recording_id", "by")
    on_recording_failed: Handler | None = _event("Recording broke or could not begin.", "recording_id", "by")
    on_call_switch_to_video_requested: Handler | None = _event(
        "Somebody asks for video.", "session_id", "initiator", "responder"
    )
    on_call_switched_to_video: Handler | None = _event(
        "The call is a video call now.", "session_id", "initiator", "responder"
    )
    on_call_switch_to_video_declined: Handler | None = _event(
        "Video was declined, withdrawn or not answered.", "session_id", "initiator", "responder"
    )
    on_media_device_list_updated: Handler | None = _event("Devices came or went.", "devices")
    on_audio_modes_updated: Handler | None = _event("Other ways to hear are to choose from.", "modes")
    on_camera_facing_changed: Handler | None = _event("The other camera is used.", "facing")
    on_layout_changed: Handler | None = _event("Participants are placed otherwise.", "layout")
    on_call_end_button_pressed: Handler | None = _event("The end button was pressed.")
    on_mute_button_pressed: Handler | None = _event("The mute button was pressed.")
    on_pause_button_pressed: Handler | None = _event("The button that pauses video was pressed.")
    on_share_button_pressed: Handler | None = _event("The button that shares the screen was pressed.")
    on_mode_button_pressed: Handler | None = _event("The layout button was pressed.")
    on_switch_to_video_button_pressed: Handler | None = _event("The button that asks for video was pressed.")
    on_raise_hand_button_pressed: Handler | None = _event("The button that raises the hand was pressed.")
    on_participants_button_pressed: Handler | None = _event("The participants button was pressed.")
    on_recording_button_pressed: Handler | None = _event("The recording button was pressed.")
    on_invite_button_pressed: Handler | None = _event("The invite button was pressed.")
    on_chat_button_pressed: Handler | None = _event("The chat button was pressed.")
    on_network_button_pressed: Handler | None = _event("The network button was pressed.")
    on_network_quality_changed: Handler | None = _event(
        "The network of a participant changed.", "participant", "loss", "jitter", "round_trip", "bitrate"
    )
    on_message_received: Handler | None = _event("A participant sent a data message.", "participant", "data")
    on_flag_changed: Handler | None = _event(
        "A flag that a flow of one's own declares went on or off, the own one too.", "participant", "flag", "on"
    )
    on_custom: Handler | None = _event("A row of a flow of one's own was taken: its `Custom`.", "name", "data")
    on_idle_prompt: Handler | None = _event("One is alone; the session ends in so many seconds.", "seconds")
    on_call_ended: Handler | None = _event("The call is over; told once, and last.", "reason")
    on_error: Handler | None = _event("Something failed that the session survives.", "error")


def events(cls: type[CallListener | OngoingCallListener]) -> dict[str, tuple[str, ...]]:
    """The events of a listener class, without `on_`, each with the names of its positional arguments, in order."""
    return {field.name.removeprefix("on_"): field.metadata["payload"] for field in attrs.fields(cls)}


for _cls in (CallListener, OngoingCallListener):
    for _each in attrs.fields(_cls):
        setattr(_cls, _each.name, None)  # what is read where nothing was given; a subclass's method stands before it


# --- what stands in the registry --------------------------------------------------------------------------------------


@attrs.define(eq=False)
class Registration:
    """The handle of one registration. As a context manager it removes itself on leaving."""

    id: str
    """The id it stands under; a made-up label if none was given."""
    _forget: Callable[[], object] = attrs.field(repr=False)
    active: bool = attrs.field(default=True, init=False)
    """Whether it is still registered: neither removed nor replaced. For reading only."""
    dropped: bool = attrs.field(default=False, init=False)
    """Whether it was removed by itself, or replaced: then it is to hear nothing more, also of what was told before. Not
    so if all were removed at once, because there is nothing more to tell. For reading only."""

    def remove(self) -> None:
        """Remove exactly this registration, never a later one under the same id. Idempotent."""
        self.dropped = True
        if self.active:
            self._forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


@attrs.define(eq=False)
class _Handler:
    """One handler of one registration for one event: what pyee holds, under the registration's key."""

    call: Handler
    event: str
    place: int
    owner: Registration


@attrs.define(eq=False)
class _Entry:
    """What the registry holds under a key: the registration, its place in the order, and its handlers."""

    registration: Registration
    place: int
    handlers: tuple[_Handler, ...]


def _place(item: tuple[object, Any]) -> int:
    place: int = item[1].place
    return place


class _Emitter(EventEmitter):
    """pyee's emitter, with keys of our choice, a settled order, and handlers that cannot harm each other."""

    def __init__(self, failed: OnError, returned: Callable[[object, _Handler], None]) -> None:
        super().__init__()
        self.unsorted: set[str] = set()
        self._failed = failed
        self._returned = returned

    def put(self, key: Any, handler: _Handler) -> None:
        """Hold a handler under a key: in the place of what is there, else at the end."""
        held = cast("dict[Any, Any]", self._events.get(handler.event))
        if held and key not in held and handler.place < held[next(reversed(held))].place:
            self.unsorted.add(handler.event)
        # pyee calls what it holds only through `_emit_run`, which knows a _Handler.
        self._add_event_handler(handler.event, key, cast("Any", handler))

    def drop(self, key: Any, handlers: Iterable[_Handler]) -> None:
        """Take away what is held under a key for the events of these handlers."""
        for handler in handlers:
            self.remove_listener(handler.event, key)

    def sort(self, event: str) -> None:
        """Bring an event's handlers into the order of their places: put off to the next emit, which visits them all."""
        self.unsorted.discard(event)
        if event in self._events:
            held: list[Any] = sorted(self._events[event].items(), key=_place)
            self._events[event] = OrderedDict(held)

    def replay(self, handlers: Iterable[_Handler], event: str, args: tuple[Any, ...]) -> None:
        """Emit an event to these handlers alone."""
        for handler in handlers:
            if handler.event == event:
                self._emit_run(handler, args, {})

    def _emit_run(self, f: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:  # noqa: ARG002 - pyee's shape
        if f.owner.active:
            try:
                result = f.call(*args)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # noqa: BLE001 - also the cancellation of a future that it looked into
                self._failed(error, f.event, f.owner.id)
            else:
                if result is not None:
                    self._returned(result, f)

    def _emit_handle_potential_error(self, event: str, error: Any) -> None:
        """Do nothing: here an event named "error" that nobody hears is like any other."""


# --- the registry -----------------------------------------------------------------------------------------------------


def _log_error(error: BaseException, event: str, listener_id: str) -> None:
    _log.error("listener %r failed in on_%s", listener_id, event, exc_info=error)


def _refuse(_: Coroutine[Any, Any, object], owner: Registration, event: str) -> None:
    raise UsageError(f"on_{event} of listener {owner.id!r} is async, and the registry was given no `spawn`")


def _handlers_of(listener: object) -> dict[str, Handler]:
    """The `on_<event>` methods of a listener by event, found once: later changes of the listener are not seen."""
    if isinstance(listener, type):
        raise InvalidArgument("a listener is an object, not a class: make an instance", name="listener")
    found = {name.removeprefix("on_"): getattr(listener, name) for name in dir(listener) if name.startswith("on_")}
    handlers = {event: call for event, call in found.items() if callable(call)}
    if not handlers and not isinstance(listener, CallListener | OngoingCallListener):
        raise InvalidArgument("the listener has no method named on_<event>", name="listener")
    return handlers


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidArgument(f"{name} must be a text", name=name)
    if not value.strip():
        raise BlankId(name=name)
    return value


def _event_name(value: object) -> str:
    name = _text("event", value)
    if name == _RESERVED or name.startswith("on_"):
        raise InvalidArgument(f"{name!r} cannot be an event: it is reserved, or begins with on_", name="event")
    return name


class ListenerRegistry:
    """Listeners by id. Used from one thread; nothing here waits, and no handler makes `emit` raise.

    `on_error(error, event, listener_id)` is told what a handler raised; by default it is logged. `spawn(coroutine,
    registration, event)` is given what an async handler returns; without it the coroutine is closed and reported.
    """

    def __init__(self, *, on_error: OnError = _log_error, spawn: Spawn | None = None) -> None:
        self._on_error = on_error
        self._spawn = spawn or _refuse
        self._entries: dict[object, _Entry] = {}
        self._places = 0
        self._emitter = _Emitter(self._failed, self._returned)

    def add(self, id: str, listener: object, *, snapshot: Snapshot | None = None) -> Registration:
        """Register an object's `on_<event>` methods, or a CallListener or OngoingCallListener, under an id.

        What stood under the id is replaced, whatever it was, and its place kept. Events begin with the next emit;
        `snapshot`, called at once with `replay(event, *args)`, may tell this listener alone what went before.
        Raises BlankId, or InvalidArgument for an id that is no text or an object that has no such method.
        """
        return self._register(_text("id", id), id, _handlers_of(listener), snapshot)

    def on(
        self, event: str, handler: Handler, id: str | None = None, *, snapshot: Snapshot | None = None
    ) -> Registration:
        """Register one handler for one event, declared by a listener class or not. The name is without `on_`.

        With an id it replaces what stands under it, as `add` does; without, it stands alone and only its handle
        removes it. Raises BlankId, or InvalidArgument for an event or a handler that cannot be one.
        """
        if not callable(handler):
            raise InvalidArgument("a handler must be callable", name="handler")
        if id is None:
            return self._register(object(), f"{event}#{self._places + 1}", {event: handler}, snapshot)
        return self._register(_text("id", id), id, {event: handler}, snapshot)

    def remove(self, id: str) -> bool:
        """Remove what stands under an id; tells whether anything did. Idempotent."""
        entry = self._entries.get(id)
        if entry:
            entry.registration.remove()
        return entry is not None

    def clear(self) -> None:
        """Remove every registration, at once: an emit under way calls none of them any more. What async handlers have
        yet to do of what was told before is still done."""
        for key in list(self._entries):
            self._forget(key)

    def emit(self, event: str, /, *args: object) -> None:
        """Call every handler of an event in the order of their places; async ones are only handed to `spawn`.

        May be called by a handler; then the inner event is told to all before the outer one goes on.
        """
        emitter = self._emitter
        if emitter.unsorted and event in emitter.unsorted:
            emitter.sort(event)
        emitter.emit(event, *args)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, id: str) -> bool:
        return id in self._entries

    def _register(self, key: object, label: str, calls: dict[str, Handler], snapshot: Snapshot | None) -> Registration:
        calls = {_event_name(event): call for event, call in calls.items()}
        old = self._entries.get(key)
        self._places += 1
        place = old.place if old else self._places
        registration = Registration(label, partial(self._forget, key))
        handlers = tuple(_Handler(call, event, place, registration) for event, call in calls.items())
        entry = self._entries[key] = _Entry(registration, place, handlers)
        for handler in handlers:
            self._emitter.put(key, handler)
        if old:
            old.registration.active, old.registration.dropped = False, True
            self._emitter.drop(key, (handler for handler in old.handlers if handler.event not in calls))
        if snapshot:
            self._bring_up(entry, snapshot)
        return registration

    def _bring_up(self, entry: _Entry, snapshot: Snapshot) -> None:
        def replay(event: str, /, *args: object) -> None:
            self._emitter.replay(entry.handlers, event, args)

        try:
            snapshot(replay)
        except Exception as error:  # noqa: BLE001 - the newcomer stands, whatever the snapshot made of it
            self._failed(error, "snapshot", entry.registration.id)

    def _forget(self, key: object) -> None:
        entry = self._entries.pop(key)
        entry.registration.active = False
        self._emitter.drop(key, entry.handlers)

    def _failed(self, error: BaseException, event: str, listener_id: str) -> None:
        try:
            self._on_error(error, event, listener_id)
        except Exception:  # noqa: BLE001 - a hook that fails is worth a line in the log, not a broken emit
            _log.exception("the hook for errors failed over listener %r in on_%s", listener_id, event)

    def _returned(self, result: object, handler: _Handler) -> None:
        if not isinstance(result, Coroutine):
            return
        try:
            self._spawn(result, handler.owner, handler.event)
        except Exception as error:  # noqa: BLE001 - a shell that cannot run it must not keep the event from the others
            result.close()  # else Python warns of a coroutine that nobody awaited
            self._failed(error, handler.event, handler.owner.id)


__all__ = [
    "CallListener",
    "Handler",
    "ListenerRegistry",
    "OnError",
    "OngoingCallListener",
    "Registration",
    "Snapshot",
    "Spawn",
    "events",
]
