"""A client at its edges: handlers that will not end, outcomes long past, flows with gaps, functions that raise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from statecore import RINGING, Call, CallListener, OngoingCallListener, Reason, Session
from statecore.errors import (
    CallCancelled,
    CallNotFound,
    MediaError,
    NotReady,
)
from statecore.flow import FLOWS, Custom, Roles, Row, Trigger
from statecore.testing import FakeMedia

Town, Run = Callable[..., Any], Callable[..., Any]


class Stop(BaseException):
    """What no `except Exception` stops."""


# --- handlers ---------------------------------------------------------------------------------------------------------


def test_a_handler_that_will_not_end(town: Town, run: Run, caplog: Any) -> None:
    """A handler that swallows its cancellation holds up `close` for its bound and no longer; the log names it."""

    async def main() -> None:
        go = asyncio.Event()

        async def stubborn(_: Any) -> None:
            while not go.is_set():
                try:
                    await go.wait()
                except asyncio.CancelledError:
                    continue

        async with town("alice", "bob") as t:
            bob = t.clients["bob"]
            bob.add_call_listener("stubborn", CallListener(on_incoming_call_received=stubborn))
            call = await t.clients["alice"].initiate_call("bob")
            await t.until(lambda: bob.calls)
            loop = asyncio.get_running_loop()
            begun = loop.time()
            await bob.close()
            assert loop.time() - begun <= 3 * bob.timers.close
            go.set()
            await call.cancel()

    run(main)
    assert "statecore listener stubborn was cancelled and does not end" in caplog.text


def test_a_handler_that_raises_what_nobody_catches(town: Town, run: Run, caplog: Any) -> None:
    """Even what is no Exception ends only the handler's own task, of a client and of a session, and is logged."""

    async def raises(*_: Any) -> None:
        raise Stop

    async def main() -> None:
        async with town("alice", "bob") as t:
            t.clients["bob"].add_call_listener("bad", CallListener(on_incoming_call_received=raises))
            hers, his = await t.pair(listener=OngoingCallListener(on_hand_raised=raises))
            await hers.raise_hand()
            await his.mute_audio()
            await his.end()
            assert (await hers.wait_ended()).what == Reason.HANGUP

    run(main)
    failed = {(record.name, record.getMessage()) for record in caplog.records if record.exc_info}
    assert failed == {
        ("statecore.client", "statecore listener bad failed"),
        ("statecore.session", "statecore listener settings failed"),
    }


def test_a_newcomer_hears_only_of_what_rings(town: Town, run: Run) -> None:
    """A snapshot tells of the calls that ring here, and not of those one has made or taken."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            await t.pair()
            heard: list[Any] = []
            for client in t.clients.values():
                client.add_call_listener("late", CallListener(on_incoming_call_received=heard.append), snapshot=True)
            assert not heard
            await t.clients["alice"].clear_active_call()

    run(main)


# --- outcomes ---------------------------------------------------------------------------------------------------------


def test_outcomes_are_remembered_for_a_while(town: Town, run: Run) -> None:
    """The outcomes of the last 256 calls can still be asked for; older ones are not known any more."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            alice, ids = t.clients["alice"], []
            for _ in range(257):
                call = await alice.initiate_call("bob", type="audio")
                await call.cancel()
                ids.append(call.session_id)
            with pytest.raises(CallNotFound):
                await alice.answered(ids[0])
            for session_id in (ids[1], ids[-1]):
                with pytest.raises(CallCancelled):
                    await alice.answered(session_id)

    run(main, debug=False)


def test_a_call_without_a_client(town: Town, run: Run) -> None:
    """A call that was made from data is a record: acting on it says so."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            call = await t.clients["alice"].initiate_call("bob")
            copy = attrs.evolve(call, client=None)
            assert copy == call
            assert isinstance(copy, Call)
            with pytest.raises(NotReady, match="a record"):
                await copy.cancel()
            await call.cancel()

    run(main)


def test_given_up_in_the_moment_of_the_end(town: Town, run: Run) -> None:
    """Who asks for video and is cancelled by a handler of the end itself is just that: cancelled."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, his = await t.pair()
            asking = asyncio.create_task(hers.switch_to_video())
            await t.until(lambda: his.call.participants[1].flags >= {"wants_video"})
            hers.on("session_left", lambda *_: asking.cancel())
            await his.end()
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert (await hers.wait_ended()).what == Reason.HANGUP

    run(main)


# --- what an application gives ----------------------------------------------------------------------------------------


def test_a_trace_that_cannot_be_written(town: Town, run: Run, caplog: Any) -> None:
    """A trace function that raises is asked once, with a warning, and never again; the call goes on."""
    lines: list[str] = []

    def trace(line: str) -> None:
        lines.append(line)
        raise OSError("disk full")

    async def main() -> None:
        async with town("bob") as t:
            await t.add("alice", trace=trace)
            hers, _ = await t.pair()
            await hers.end()

    run(main)
    assert len(lines) == 1
    assert [r.getMessage() for r in caplog.records if r.name == "statecore.trace"] == [
        "no trace is written any more: disk full"
    ]


def test_media_that_cancels_itself(town: Town, run: Run, still: Any, monkeypatch: Any) -> None:
    """An adapter that raises CancelledError does not cancel who asked it: it is an error like any other."""

    async def cancels(*_: Any) -> None:
        raise asyncio.CancelledError

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, _ = await t.pair()
            (media,) = t.media["alice"].sessions
            monkeypatch.setattr(media, "set_source", cancels)
            with pytest.raises(MediaError, match="cancelled from within"):
                await hers.play(still("audio"))
            await hers.end()

    run(main)


# --- flows of one's own -----------------------------------------------------------------------------------------------

# Who is parked cannot end the call, and its duration does not run out: those rows are missing.
PARKED = RINGING.extend(
    "parked",
    triggers=[Trigger("park", "user", "wait without a limit"), Trigger("unpark", "user", "go on")],
    roles=Roles(ringing="ringing", joinable="accepted", media=["active", "parked"]),
    rows=[
        Row("active", "park", "parked", [Custom("parked", "since now")]),
        Row("parked", "unpark", "active"),
        Row("parked", "up", "parked"),
        *(
            attrs.evolve(row, state="parked")
            for row in RINGING.rows
            if (row.state, row.to) == ("active", "ended") and row.trigger not in ("expire", "end", "leave")
        ),
    ],
)
FLOWS_HERE = {**FLOWS, "parked": PARKED}


async def parked(t: Any, **hers: Any) -> tuple[Session, Session]:
    """Alice and Bob are in a call, and Alice is parked; `hers` is for her settings."""
    for name in ("alice", "bob"):
        await t.add(name, flows=FLOWS_HERE, media=FakeMedia())
    alice, bob = t.clients["alice"], t.clients["bob"]
    call = await alice.initiate_call("bob", flow="parked", type="audio")
    await t.until(lambda: bob.calls)
    await asyncio.gather(bob.accept_call(call.session_id), call.answered())
    tokens = [await client.generate_token(call.session_id) for client in (alice, bob)]
    sessions = await asyncio.gather(
        alice.start_session(tokens[0], type="audio", **hers), bob.start_session(tokens[1], type="audio")
    )
    await sessions[0].trigger("park")
    return sessions[0], sessions[1]


def test_a_timer_that_a_state_has_no_row_for(town: Town, run: Run) -> None:
    """A duration that runs out in a state without a row for it does nothing there, without spinning, and ends the call
    within a second of another state."""

    async def main() -> None:
        async with town(flows=FLOWS_HERE) as t:
            hers, his = await parked(t, max_duration=10)
            await asyncio.sleep(30)
            assert (hers.state, his.state) == ("parked", "active")
            await hers.trigger("unpark")
            await asyncio.wait_for(hers.wait_ended(), 1.1)
            assert hers.end_reason.what == Reason.EXPIRED

    run(main, debug=False)


def test_a_client_that_closes_where_it_cannot_end(town: Town, run: Run, monkeypatch: Any) -> None:
    """In a state that has no row for an end, `close` closes media all the same, tells it nothing any more, and the
    service ends the call as lost."""

    async def main() -> None:
        async with town(flows=FLOWS_HERE) as t:
            told: list[Any] = []
            hers, his = await parked(t)
            hers.on("custom", lambda *args: told.append(args))
            await hers.trigger("unpark")
            await hers.trigger("park")
            assert told == [("parked", "since now")]
            told.clear()
            (media,) = t.media["alice"].sessions
            monkeypatch.setattr(media, "set_peers", told.append)
            closing = asyncio.create_task(t.clients["alice"].close())
            await t.until(lambda: not t.media["alice"].sessions)
            await his.raise_hand()
            await closing
            assert (await his.wait_ended()).what == Reason.LOST
            assert not told

    run(main)
