"""The registry of listeners: order, replacement, exact removal, isolation, and the listeners that users make."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import attrs
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from statecore.errors import BlankId, InvalidArgument, UsageError
from statecore.listeners import CallListener, ListenerRegistry, OngoingCallListener, Registration, events
from statecore.model import Call, Status

CALL = Call(
    session_id="s", type="video", state="ringing", role="callee", status=Status.INITIATED, initiator="a", receiver="b"
)


class Heard(list[Any]):
    """What handlers were told, in order."""

    def by(self, name: str) -> Callable[..., None]:
        """A handler that notes its name with what it was told."""
        return lambda *args: self.append((name, *args))


class Errors(list[tuple[str, str, str]]):
    """A hook that notes each error by its type, with event and listener id."""

    def __call__(self, error: BaseException, event: str, listener_id: str) -> None:
        """Note one error."""
        self.append((type(error).__name__, event, listener_id))


@pytest.fixture
def heard() -> Heard:
    """An empty list of what was heard."""
    return Heard()


@pytest.fixture
def errors() -> Errors:
    """An empty list of what went wrong."""
    return Errors()


@pytest.fixture
def registry(errors: Errors) -> ListenerRegistry:
    """A registry that reports errors to the fixture `errors`."""
    return ListenerRegistry(on_error=errors)


def raiser(error: BaseException) -> Callable[..., None]:
    """A handler that raises."""

    def handler(*_: object) -> None:
        raise error

    return handler


# --- ids, order, handles ----------------------------------------------------------------------------------------------


def test_handlers_are_called_in_the_order_of_registration(registry: ListenerRegistry, heard: Heard) -> None:
    """Each handler is called once with the event's arguments, first registered first."""
    for name in "abc":
        registry.on("user_joined", heard.by(name), id=name)
    registry.emit("user_joined", 1, 2)
    assert heard == [("a", 1, 2), ("b", 1, 2), ("c", 1, 2)]


def test_an_event_that_nobody_hears_does_nothing(registry: ListenerRegistry, errors: Errors) -> None:
    """Emitting without listeners is quiet, also for the event named error."""
    registry.emit("user_joined", 1)
    registry.emit("error", ValueError())
    assert errors == []


def test_registering_an_id_again_replaces_and_keeps_the_place(registry: ListenerRegistry, heard: Heard) -> None:
    """A replacement is called where the replaced one stood, and the replaced one no more."""
    old = registry.on("user_joined", heard.by("old"), id="a")
    registry.on("user_joined", heard.by("b"), id="b")
    new = registry.on("user_joined", heard.by("new"), id="a")
    registry.emit("user_joined")
    assert heard == [("new",), ("b",)]
    assert (old.active, new.active, len(registry)) == (False, True, 2)


def test_a_replacement_keeps_its_place_in_events_that_are_new_to_it(registry: ListenerRegistry, heard: Heard) -> None:
    """The place belongs to the id: it holds also for an event that the replaced listener did not hear."""
    registry.on("user_left", heard.by("first"), id="a")
    registry.on("user_joined", heard.by("second"), id="b")
    registry.on("user_joined", heard.by("third"), id="c")
    registry.on("user_joined", heard.by("first"), id="a")
    registry.emit("user_left")
    registry.emit("user_joined")
    assert heard == [("first",), ("second",), ("third",)]


def test_an_order_to_be_mended_may_be_gone_before_it_is(registry: ListenerRegistry, heard: Heard) -> None:
    """Removing everybody after a replacement out of order leaves an event that nobody hears."""
    registry.on("user_left", heard.by("a"), id="a")
    registry.on("user_joined", heard.by("b"), id="b")
    registry.on("user_joined", heard.by("a"), id="a")
    registry.clear()
    registry.emit("user_joined")
    assert heard == []
    assert len(registry) == 0


def test_a_handle_removes_exactly_its_own_registration(registry: ListenerRegistry, heard: Heard) -> None:
    """The handle of a replaced registration leaves the replacement alone, and removing twice is one removal."""
    old = registry.on("user_joined", heard.by("old"), id="a")
    new = registry.on("user_joined", heard.by("new"), id="a")
    old.remove()
    registry.emit("user_joined")
    assert heard == [("new",)]
    new.remove()
    new.remove()
    registry.emit("user_joined")
    assert heard == [("new",)]
    assert "a" not in registry


def test_a_handle_is_a_context_manager(registry: ListenerRegistry, heard: Heard) -> None:
    """A registration made in a with-statement lasts as long as its block."""
    with registry.on("user_joined", heard.by("a"), id="a") as handle:
        assert "a" in registry
        registry.emit("user_joined")
    registry.emit("user_joined")
    assert heard == [("a",)]
    assert not handle.active
    assert handle.id == "a"


def test_removing_by_id_tells_whether_anything_was_there(registry: ListenerRegistry, heard: Heard) -> None:
    """Removing an id takes its registration away; a second time, or an unknown id, does nothing."""
    handle = registry.add("a", CallListener(on_incoming_call_received=heard.by("a")))
    assert registry.remove("a")
    assert not registry.remove("a")
    registry.emit("incoming_call_received", CALL)
    assert heard == []
    assert not handle.active


def test_handlers_without_an_id_stand_alone(registry: ListenerRegistry, heard: Heard) -> None:
    """The same handler registered twice without an id is two registrations, each removed by its own handle only."""
    handler = heard.by("x")
    first = registry.on("user_joined", handler)
    second = registry.on("user_joined", handler)
    assert first.id != second.id
    registry.remove(second.id)
    registry.emit("user_joined")
    first.remove()
    registry.emit("user_joined")
    assert heard == [("x",)] * 3
    assert second.active


def test_a_custom_event_works_by_name_and_by_method(registry: ListenerRegistry, heard: Heard) -> None:
    """An event that no class declares reaches single handlers and methods of that name."""

    class Queue:
        def on_position_changed(self, place: int) -> None:
            heard.append(("method", place))

    registry.add("queue", Queue())
    registry.on("position_changed", heard.by("name"))
    registry.emit("position_changed", 3)
    assert heard == [("method", 3), ("name", 3)]


@pytest.mark.parametrize("event", ["", " ", "on_user_joined", "new_listener", None, 3])
def test_what_cannot_be_an_event_is_refused(registry: ListenerRegistry, event: Any) -> None:
    """Blank and reserved names, and names with on_ in front, are refused and register nothing."""
    with pytest.raises(InvalidArgument):
        registry.on(event, print)
    assert len(registry) == 0


def test_what_cannot_be_an_id_is_refused(registry: ListenerRegistry) -> None:
    """A blank id, or one that is no text, is refused by both ways of registering."""
    with pytest.raises(BlankId):
        registry.on("user_joined", print, id=" ")
    with pytest.raises(BlankId):
        registry.add("", CallListener())
    with pytest.raises(InvalidArgument):
        registry.add(7, CallListener())  # type: ignore[arg-type]
    assert len(registry) == 0


@pytest.mark.parametrize("listener", [print, object(), CallListener, None, {"on_user_joined": print}])
def test_what_cannot_be_a_listener_is_refused(registry: ListenerRegistry, listener: Any) -> None:
    """An object without any on_ method, or a class in place of an object, is refused."""
    with pytest.raises(InvalidArgument):
        registry.add("a", listener)
    assert "a" not in registry


def test_a_handler_must_be_callable(registry: ListenerRegistry) -> None:
    """A handler that cannot be called is refused when it is given, in either form."""
    with pytest.raises(InvalidArgument):
        registry.on("user_joined", "print")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument):
        OngoingCallListener(on_user_joined="print")  # type: ignore[arg-type]


# --- inside an emit ---------------------------------------------------------------------------------------------------


def test_a_listener_removed_by_a_handler_is_not_called_any_more(registry: ListenerRegistry, heard: Heard) -> None:
    """What an earlier handler removes or clears away is silent in the same emit."""
    registry.on("user_joined", lambda: registry.remove("doomed"))
    registry.on("user_joined", heard.by("removed"), id="doomed")
    registry.on("user_joined", heard.by("kept"))
    registry.on("user_joined", registry.clear)
    registry.on("user_joined", heard.by("cleared"))
    registry.emit("user_joined")
    assert heard == [("kept",)]


def test_a_listener_may_remove_itself(registry: ListenerRegistry, heard: Heard) -> None:
    """A handler that removes its own registration is called once, and the next ones still are."""

    class Once:
        def on_user_joined(self) -> None:
            heard.append("once")
            registry.remove("once")

    registry.add("once", Once())
    registry.on("user_joined", heard.by("next"))
    registry.emit("user_joined")
    registry.emit("user_joined")
    assert heard == ["once", ("next",), ("next",)]


def test_a_listener_added_by_a_handler_is_called_from_the_next_event(registry: ListenerRegistry, heard: Heard) -> None:
    """Neither a new listener nor a replacement hears the event in which it was registered."""

    def register() -> None:
        registry.on("user_joined", heard.by("added"), id="added")
        registry.on("user_joined", heard.by("new"), id="later")

    registry.on("user_joined", register, id="adder")
    registry.on("user_joined", heard.by("old"), id="later")
    registry.emit("user_joined")
    assert heard == []
    registry.remove("adder")
    registry.emit("user_joined")
    assert heard == [("new",), ("added",)]


def test_an_event_emitted_by_a_handler_is_told_at_once(registry: ListenerRegistry, heard: Heard) -> None:
    """An inner event is told to everybody before the outer one goes on."""
    registry.on("outer", lambda: registry.emit("inner"))
    registry.on("outer", heard.by("outer"))
    registry.on("inner", heard.by("inner"))
    registry.emit("outer")
    assert heard == [("inner",), ("outer",)]


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError("no"), asyncio.CancelledError(), GeneratorExit(), RecursionError()])
def test_a_handler_that_raises_harms_nobody(
    registry: ListenerRegistry, heard: Heard, errors: Errors, error: BaseException
) -> None:
    """What a handler raises, a cancellation too, goes to the hook with event and id; the others are called."""
    registry.on("user_joined", raiser(error), id="bad")
    registry.on("user_joined", heard.by("good"), id="good")
    registry.emit("user_joined")
    assert errors == [(type(error).__name__, "user_joined", "bad")]
    assert heard == [("good",)]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit()])
def test_a_request_to_stop_the_program_passes(registry: ListenerRegistry, errors: Errors, error: BaseException) -> None:
    """An interrupt from the keyboard, or an exit, is not taken for an error of the handler."""
    registry.on("user_joined", raiser(error))
    with pytest.raises(type(error)):
        registry.emit("user_joined")
    assert errors == []


def test_errors_are_logged_by_default(heard: Heard, caplog: pytest.LogCaptureFixture) -> None:
    """Without a hook an error stands in the log with its traceback, and nothing is raised."""
    registry = ListenerRegistry()
    registry.on("user_joined", raiser(ValueError("no")), id="bad")
    registry.on("user_joined", heard.by("good"))
    with caplog.at_level(logging.ERROR, "statecore.listeners"):
        registry.emit("user_joined")
    (record,) = caplog.records
    assert "'bad' failed in on_user_joined" in record.message
    assert record.exc_info
    assert heard == [("good",)]


def test_a_hook_that_fails_is_logged(heard: Heard, caplog: pytest.LogCaptureFixture) -> None:
    """Even a failing hook for errors does not stop the emit."""
    registry = ListenerRegistry(on_error=raiser(OSError("disk full")))
    registry.on("user_joined", raiser(ValueError("no")), id="bad")
    registry.on("user_joined", heard.by("good"))
    with caplog.at_level(logging.ERROR, "statecore.listeners"):
        registry.emit("user_joined")
    assert "disk full" in caplog.text
    assert heard == [("good",)]


# --- async handlers ---------------------------------------------------------------------------------------------------


def test_coroutines_are_handed_over_in_order(heard: Heard, errors: Errors) -> None:
    """What an async handler returns goes to the hook, with registration and event, in the order of the events."""
    spawned: list[tuple[Coroutine[Any, Any, object], Registration, str]] = []
    registry = ListenerRegistry(on_error=errors, spawn=lambda *given: spawned.append(given))

    async def handler(number: int) -> None:
        heard.append(number)

    owner = registry.on("user_joined", handler, id="a")
    registry.on("user_joined", lambda _: "a result that does not matter", id="b")
    registry.emit("user_joined", 1)
    registry.emit("user_joined", 2)
    assert [given[1:] for given in spawned] == [(owner, "user_joined")] * 2
    assert heard == []

    async def main() -> None:
        for coroutine, _, _ in spawned:
            await coroutine

    asyncio.run(main())
    assert heard == [1, 2]
    assert errors == []


async def _never() -> None:
    raise AssertionError("must not run")


def test_an_async_handler_without_a_way_to_run_it_is_an_error() -> None:
    """Without the hook a coroutine is closed, without a warning, and reported as an error of usage."""
    caught: list[BaseException] = []
    registry = ListenerRegistry(on_error=lambda error, *_: caught.append(error))
    registry.on("user_joined", _never, id="a")
    registry.emit("user_joined")
    (error,) = caught
    assert isinstance(error, UsageError)
    assert "'a'" in str(error)


def test_a_hook_that_cannot_run_a_coroutine_is_reported(heard: Heard, errors: Errors) -> None:
    """A hook that raises gets its coroutine closed and reported, and the next handler is called."""
    registry = ListenerRegistry(on_error=errors, spawn=raiser(RuntimeError("closing")))
    registry.on("user_joined", _never, id="a")
    registry.on("user_joined", heard.by("good"))
    registry.emit("user_joined")
    assert errors == [("RuntimeError", "user_joined", "a")]
    assert heard == [("good",)]


# --- snapshots --------------------------------------------------------------------------------------------------------


def test_a_late_listener_can_ask_for_what_went_before(registry: ListenerRegistry, heard: Heard) -> None:
    """A snapshot is told to the newcomer alone, as far as it has handlers, before add returns."""
    registry.on("user_joined", heard.by("early"), id="early")

    def snapshot(replay: Callable[..., None]) -> None:
        replay("user_joined", "bob")
        replay("user_left", "eve")
        replay("user_joined", "cat")

    registry.add("late", OngoingCallListener(on_user_joined=heard.by("late")), snapshot=snapshot)
    assert heard == [("late", "bob"), ("late", "cat")]
    registry.on("user_left", heard.by("single"), snapshot=snapshot)
    assert heard[2:] == [("single", "eve")]


def test_a_replay_is_isolated_and_ends_with_the_registration(
    registry: ListenerRegistry, heard: Heard, errors: Errors
) -> None:
    """An error in a replayed event goes to the hook, and one that removed itself hears no more of the replay."""

    class Leaving:
        def on_user_joined(self, who: str) -> None:
            heard.append(who)
            registry.remove("late")
            raise ValueError(who)

    def snapshot(replay: Callable[..., None]) -> None:
        replay("user_joined", "bob")
        replay("user_joined", "cat")

    registry.add("late", Leaving(), snapshot=snapshot)
    assert heard == ["bob"]
    assert errors == [("ValueError", "user_joined", "late")]


def test_a_snapshot_that_fails_leaves_the_listener_registered(
    registry: ListenerRegistry, heard: Heard, errors: Errors
) -> None:
    """A snapshot that raises is reported, and the listener hears what comes."""
    registry.on("user_joined", heard.by("a"), id="a", snapshot=raiser(ValueError()))
    registry.emit("user_joined")
    assert errors == [("ValueError", "snapshot", "a")]
    assert heard == [("a",)]


# --- the listeners users make -----------------------------------------------------------------------------------------


def test_only_what_was_given_is_registered(registry: ListenerRegistry) -> None:
    """A listener without handlers registers nothing to be called, and reads None for each of them."""
    listener = OngoingCallListener()
    registry.add("a", listener)
    assert listener.on_user_joined is None
    assert registry._emitter.event_names() == set()


def test_subclasses_register_the_methods_they_write(registry: ListenerRegistry, heard: Heard) -> None:
    """A subclass's methods are called, keywords may be given besides, and the rest is not registered."""

    class Mine(OngoingCallListener):
        def on_user_joined(self, participant: object) -> None:
            heard.append(("method", participant))

        def on_waved(self) -> None:
            heard.append("waved")

    registry.add("a", Mine(on_user_left=heard.by("keyword")))
    registry.emit("user_joined", "bob")
    registry.emit("user_left", "bob")
    registry.emit("waved")
    assert heard == [("method", "bob"), ("keyword", "bob"), "waved"]
    assert registry._emitter.event_names() == {"user_joined", "user_left", "waved"}


def test_a_keyword_wins_over_the_method_of_that_name(registry: ListenerRegistry, heard: Heard) -> None:
    """A name is called once: a handler given by keyword stands in for the method."""

    class Mine(CallListener):
        def on_incoming_call_received(self, call: Call) -> None:
            heard.append(("method", call))

    registry.add("a", Mine(on_incoming_call_received=heard.by("keyword")))
    registry.emit("incoming_call_received", CALL)
    assert heard == [("keyword", CALL)]


def test_handlers_are_found_at_registration(registry: ListenerRegistry, heard: Heard) -> None:
    """A handler set on a listener later is not seen until the listener is registered again."""
    listener = CallListener()
    registry.add("a", listener)
    listener.on_incoming_call_received = heard.by("late")
    registry.emit("incoming_call_received", CALL)
    assert heard == []
    registry.add("a", listener)
    registry.emit("incoming_call_received", CALL)
    assert heard == [("late", CALL)]


def test_attributes_that_cannot_be_called_are_no_handlers(registry: ListenerRegistry, heard: Heard) -> None:
    """An attribute that happens to begin with on_ does not disturb."""

    class Mine:
        on_hold = True

        def on_user_joined(self) -> None:
            heard.append("joined")

    registry.add("a", Mine())
    registry.emit("hold")
    registry.emit("user_joined")
    assert heard == ["joined"]


@pytest.mark.parametrize("cls", [CallListener, OngoingCallListener])
def test_every_declared_event_reaches_its_handler(
    registry: ListenerRegistry, heard: Heard, cls: type[CallListener | OngoingCallListener]
) -> None:
    """Each event of the vocabulary can be given by keyword and is told with its payload, exactly once."""
    registry.add("a", cls(**{f"on_{event}": heard.by(event) for event in events(cls)}))
    for event, payload in events(cls).items():
        registry.emit(event, *payload)
    assert heard == [(event, *payload) for event, payload in events(cls).items()]


def test_each_declared_event_has_its_line_of_reference() -> None:
    """Every handler's metadata says in a sentence what happened; unknown keywords are refused."""
    for cls in (CallListener, OngoingCallListener):
        assert all(field.metadata["help"].endswith(".") for field in attrs.fields(cls))
    with pytest.raises(TypeError):
        CallListener(on_incomming_call=print)  # type: ignore[call-arg]


def test_the_call_listener_declares_five_events_of_one_call_each() -> None:
    """The client's events are the five of the vocabulary, those of the link as a session has them, and errors."""
    others = {event: payload for event, payload in events(CallListener).items() if payload != ("call",)}
    link = {e: p for e, p in events(OngoingCallListener).items() if e.startswith("connection_")}
    assert others == {"error": ("error",), **link}
    calls = {event: payload for event, payload in events(CallListener).items() if event not in others}
    assert calls == dict.fromkeys(
        (
            "incoming_call_received",
            "outgoing_call_accepted",
            "outgoing_call_rejected",
            "incoming_call_cancelled",
            "call_ended_message_received",
        ),
        ("call",),
    )


# --- against a plain model --------------------------------------------------------------------------------------------

IDS = st.sampled_from("abcde")
EVENTS = st.sets(st.sampled_from(["x", "y", "z"]), min_size=1)


class Model(RuleBasedStateMachine):
    """The registry beside a plain dictionary of ids: whatever is done, both tell the same, in the same order."""

    def __init__(self) -> None:
        super().__init__()
        self.registry = ListenerRegistry()
        self.plain: dict[str, tuple[int, set[str]]] = {}
        self.handles: list[tuple[str, int, Registration]] = []
        self.heard: list[tuple[str, int]] = []
        self.version = 0

    @rule(id=IDS, names=EVENTS)
    def add(self, id: str, names: set[str]) -> None:  # noqa: A002
        """Register or replace an id."""
        self.version += 1
        note = (id, self.version)
        listener = type("L", (), {f"on_{name}": lambda _, n=note: self.heard.append(n) for name in names})()
        self.handles.append((id, self.version, self.registry.add(id, listener)))
        self.plain[id] = (self.version, names)

    @rule(id=IDS)
    def remove(self, id: str) -> None:  # noqa: A002
        """Remove by id."""
        assert self.registry.remove(id) == (self.plain.pop(id, None) is not None)

    @rule(number=st.integers(0, 99))
    def remove_by_handle(self, number: int) -> None:
        """Remove by one of the handles, old or new."""
        if self.handles:
            key, version, handle = self.handles[number % len(self.handles)]
            handle.remove()
            if self.plain.get(key, (0,))[0] == version:
                del self.plain[key]

    @invariant()
    def tells_the_same(self) -> None:
        """Every event reaches exactly those who hear it, in the order of the ids' places."""
        for event in "xyz":
            self.heard.clear()
            self.registry.emit(event)
            assert self.heard == [(key, version) for key, (version, names) in self.plain.items() if event in names]
        assert all(handle.active == (self.plain.get(key, (0,))[0] == v) for key, v, handle in self.handles)


Model.TestCase.settings = hypothesis_settings(
    max_examples=hypothesis_settings().max_examples // 2, stateful_step_count=25, deadline=None
)
TestModel = Model.TestCase
