"""Listeners that raise, hang, go, come, or change places, in every event: the call and the others do not notice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from statecore import CallClient, CallListener, OngoingCallListener, Session
from statecore.errors import CallDeclined, ConsentDeclined
from statecore.listeners import events
from statecore.testing import FakeSession

Town, Run = Callable[..., Any], Callable[..., Any]

BUTTONS = [event for event in events(OngoingCallListener) if event.endswith("_button_pressed")]
NOT_TOLD = {  # by nothing in this version; the registry tells them like any other
    "connection_failed", "dominant_speaker_changed", "recording_started", "recording_stopped",
    "recording_failed", "media_device_list_updated", "audio_modes_updated", "camera_facing_changed",
    "network_quality_changed", "error", "flag_changed", "custom",  # the last two are for flows of one's own
}  # fmt: skip

LAST = ("session_left", "call_ended", "connection_closed", "error")
"""Nobody can be registered any more when these are told."""

# --- what brings every event about ------------------------------------------------------------------------------------


async def every_call_event(t: Any) -> None:
    """Calls that make every event of a CallListener, for Bob and Alice."""
    alice, bob = t.clients["alice"], t.clients["bob"]
    for caller, callee in ((alice, bob), (bob, alice)):
        call = await caller.initiate_call(callee.user.uid)
        await t.until(lambda callee=callee: callee.calls)
        await call.cancel()
        call = await caller.initiate_call(callee.user.uid)
        await t.until(lambda callee=callee: callee.calls)
        await callee.reject_call(call.session_id)
        with pytest.raises(CallDeclined):
            await call.answered()
        call = await caller.initiate_call(callee.user.uid)
        await t.until(lambda callee=callee: callee.calls)
        await callee.accept_call(call.session_id)
        await call.answered()
        await call.end()
        await t.until(lambda callee=callee: not callee.calls)


async def every_session_event(t: Any, still: Any, watch: Callable[[str, Session], None]) -> None:
    """Sessions in which nearly every event of an OngoingCallListener is told to Alice and to Bob."""
    hers, his = await t.pair()
    watch("alice", hers)
    watch("bob", his)
    for mine, other in ((hers, his), (his, hers)):
        for work in (
            mine.mute_audio, mine.unmute_audio, mine.raise_hand, mine.lower_hand,
            partial(mine.start_screen_share, still("video")), mine.stop_screen_share,
        ):  # fmt: skip
            await work()
        mine.set_layout("spotlight")
        for button in BUTTONS:
            mine.press(button.removesuffix("_button_pressed"))
        asking = asyncio.create_task(mine.switch_to_video())
        await t.until(lambda other=other: "wants_video" in other.participants[1].flags)
        await other.decline_video()
        with pytest.raises(ConsentDeclined):
            await asking
        await mine.send_message("hello")
    asking = asyncio.create_task(hers.switch_to_video())
    await t.until(lambda: "wants_video" in his.participants[1].flags)
    await his.accept_video()
    await asking
    for mine in (hers, his):
        await mine.pause_video()
        await mine.resume_video()
    for name in ("alice", "bob"):
        t.links[name].drop()
        await t.until(lambda name=name: not t.clients[name].connected)
        await t.until(lambda name=name: t.clients[name].connected)
    for loses in (FakeSession.lose, FakeSession.restore):
        for name, mine in (("alice", hers), ("bob", his)):
            loses(t.media[name].sessions[0], mine.participants[1].pid)
        await asyncio.sleep(3)
    await hers.end()
    await his.wait_ended()
    for name in ("alice", "bob"):
        client = t.clients[name]
        starting = asyncio.create_task(client.start_session(await client.generate_token(f"room-{name}")))
        await t.until(lambda client=client: client._driver.parts)  # to hear on_session_joined, too
        watch(name, next(iter(client._driver.parts.values())).session)
        alone = await starting
        (guest,) = await t.meet("carol", room=f"room-{name}")
        await guest.leave()
        await alone.wait_ended()  # alone for too long


# --- the faults -------------------------------------------------------------------------------------------------------


class Oops(Exception):
    """What a bad handler raises."""


def raises(*_: Any) -> None:
    """Raise."""
    raise Oops


def raises_cancelled(*_: Any) -> None:
    """Raise as a cancelled wait does."""
    raise asyncio.CancelledError


async def raises_later(*_: Any) -> None:
    """Raise, but not at once."""
    await asyncio.sleep(0)
    raise Oops


async def waits_for_what_was_cancelled(*_: Any) -> None:
    """Wait for something that another has cancelled."""
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def hangs(*_: Any) -> None:
    """Never end."""
    await asyncio.Event().wait()


async def hangs_stubbornly(*_: Any) -> None:
    """Take a while to end even when cancelled."""
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0.5)


async def cancels_itself(*_: Any) -> None:
    """Cancel the task it runs in."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


FAULTS: dict[Any, type[BaseException] | None] = {
    raises: Oops, raises_cancelled: asyncio.CancelledError, raises_later: Oops,
    waits_for_what_was_cancelled: asyncio.CancelledError, hangs: None, hangs_stubbornly: None, cancels_itself: None,
}  # fmt: skip
"""Each, and what is reported of it."""


class Board:
    """Witnesses before and after a bad listener, for each device's client and sessions."""

    def __init__(self, bad: Callable[[Any, str], Any] | None = None) -> None:
        self.bad = bad
        """Makes the bad listener of an owner (client or session) for one kind of listener."""
        self.heard: dict[str, list[tuple[str, str]]] = {}
        """(witness, event) as told, for each device and kind."""
        self.errors: dict[str, list[BaseException]] = {}

    def put(self, name: str, owner: CallClient | Session) -> None:
        """Register a witness, the bad one, and another witness."""
        cls = _cls(owner)
        label = f"{name} {'calls' if cls is CallListener else 'session'}"
        heard, errors = self.heard.setdefault(label, []), self.errors.setdefault(label, [])

        def witness(which: str) -> Any:
            def note(event: str, *args: Any) -> None:
                if event != "error":
                    heard.append((which, event))
                elif which == "before":
                    errors.extend(args)

            return cls(**{f"on_{event}": partial(note, event) for event in events(cls)})

        add = owner.add_call_listener if isinstance(owner, CallClient) else owner.add_call_event_listener
        add("before", witness("before"))
        if self.bad is not None:
            add("bad", self.bad(owner, "bad"))
        add("after", witness("after"))

    def told(self, label: str) -> list[str]:
        """What the first witness was told; the other was told the same, each time after it."""
        heard = self.heard[label]
        assert heard[::2] == [("before", event) for _, event in heard[::2]]
        assert heard[1::2] == [("after", event) for _, event in heard[::2]]
        return [event for _, event in heard[::2]]


async def _run_all(town: Town, still: Any, board: Board) -> dict[str, list[str]]:
    """Every event; what witnesses were told, and what the log says."""
    async with town("alice", "bob", "carol") as t:
        for name in ("alice", "bob"):
            board.put(name, t.clients[name])
        await every_call_event(t)
        await every_session_event(t, still, board.put)
        await asyncio.sleep(61)  # empty sessions wait for a minute
        log = [f"{call.status} {call.end_reason.what}" for call in await t.service.call_log()]
        assert not await t.service.calls()
    return {"log": log, **{label: board.told(label) for label in board.heard}}


def _cls(owner: object) -> Any:
    return CallListener if isinstance(owner, CallClient) else OngoingCallListener


def _events(owner: object) -> list[str]:
    return [*events(_cls(owner))]


def _listener(owner: object, handler: Any) -> Any:
    return _cls(owner)(**{f"on_{event}": handler for event in _events(owner)})


def test_every_event_is_told(town: Town, run: Run, still: Any) -> None:
    """What these tests do brings every event about that this version tells, to both kinds of listeners."""

    async def main() -> None:
        told = await _run_all(town, still, Board())
        for name in ("alice", "bob"):
            assert set(told[f"{name} calls"]) == {*events(CallListener)} - NOT_TOLD
            silent = {*events(OngoingCallListener)} - set(told[f"{name} session"])
            assert silent == {*NOT_TOLD, "connection_closed"}  # which is told while a session lives

    run(main)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_bad_handler_in_every_event(town: Town, run: Run, still: Any, fault: Any, caplog: Any) -> None:
    """Handlers that raise, hang or cancel stand in every event, `on_error` too: others are told the same, in the same
    order, the calls go the same way, and what was raised is reported, once each, to `on_error`."""

    async def main() -> None:
        undisturbed = await _run_all(town, still, Board())
        board = Board(lambda owner, _: _listener(owner, fault))
        assert await _run_all(town, still, board) == undisturbed
        for name in ("alice", "bob"):
            errors = board.errors[f"{name} calls"] + board.errors[f"{name} session"]
            told = undisturbed[f"{name} calls"] + undisturbed[f"{name} session"]
            reported = FAULTS[fault]
            assert len(errors) == (len(told) if reported is not None else 0)
            assert not errors or {type(error) for error in errors} == {reported}

    caplog.set_level("CRITICAL", logger="statecore")
    run(main, debug=False)


def _once(owner: Any, event: str, then: Callable[[str], object]) -> None:
    """A handler of an event that is told once, because it removes itself."""

    def handler(*_: Any) -> None:
        handle.remove()
        then(event)

    handle = owner.on(event, handler)


def test_handlers_that_remove_themselves_in_every_event(town: Town, run: Run, still: Any) -> None:
    """A handler of each event that removes itself when it is told hears it once, and nobody else misses it."""

    async def main() -> None:
        undisturbed = await _run_all(town, still, Board())
        owners: list[Any] = []
        gone: list[tuple[int, str]] = []

        def leaving(owner: Any, _: str) -> Any:
            owners.append(owner)
            place = len(owners)
            for event in _events(owner):
                _once(owner, event, lambda event: gone.append((place, event)))
            return _listener(owner, None)

        assert await _run_all(town, still, Board(leaving)) == undisturbed
        assert len(gone) == len(set(gone))
        assert {event for _, event in gone} == {*events(CallListener), *events(OngoingCallListener)} - NOT_TOLD

    run(main)


@pytest.mark.no_cover
@pytest.mark.parametrize("id", ["bad", "new"])
def test_handlers_that_register_another_in_every_event(town: Town, run: Run, still: Any, id: str) -> None:  # noqa: A002
    """A handler of each event that replaces itself, or adds another one: the newcomer hears the next event, the one
    that was replaced none, and witnesses do not notice."""

    async def main() -> None:
        undisturbed = await _run_all(town, still, Board())
        told: dict[Any, list[tuple[int, str]]] = {}

        def busy(owner: Any, _: str) -> Any:
            """A listener that registers its successor whenever it is told of anything."""
            heard = told.setdefault(owner, [])
            add = owner.add_call_listener if isinstance(owner, CallClient) else owner.add_call_event_listener

            def generation(number: int) -> Any:
                def handler(event: str, *_: Any) -> None:
                    heard.append((number, event))
                    if [each for each, _ in heard].count(number) == 1:
                        add(id if id == "bad" else f"new-{number}", generation(number + 1))

                return _cls(owner)(**{f"on_{event}": partial(handler, event) for event in _events(owner)})

            return generation(0)

        assert await _run_all(town, still, Board(busy)) == undisturbed
        for heard in told.values():
            oldest = [event for number, event in heard if number == 0]
            if id == "bad":
                assert len(oldest) == 1
                live = [number for number, event in heard if event not in LAST]
                assert live == [*range(len(live))]
            else:
                assert [event for number, event in heard if number == 1] == oldest[1:]

    run(main)


def test_the_error_of_a_listener_reaches_on_error_of_its_owner(town: Town, run: Run) -> None:
    """What a client's listener raises is told to the client's `on_error`, what a session's raises to the session's;
    what is raised in `on_error` is logged, and ends there."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            client_errors: list[BaseException] = []
            session_errors: list[BaseException] = []
            alice = t.clients["alice"]
            alice.add_call_listener("x", CallListener(on_outgoing_call_accepted=raises, on_error=client_errors.append))
            alice.add_call_listener("y", CallListener(on_error=raises))
            hers, his = await t.pair()
            hers.add_call_event_listener(
                "x", OngoingCallListener(on_hand_raised=raises_later, on_error=session_errors.append)
            )
            await his.raise_hand()
            await t.until(lambda: session_errors)
            assert [type(error) for error in (*client_errors, *session_errors)] == [Oops, Oops]
            await hers.end()

    run(main)
