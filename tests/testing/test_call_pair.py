"""CallPair and assert_invariants: a call in three lines, and a trace in which anything is wrong is seen to be wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import attrs
import pytest

from statecore import CallListener, OngoingCallListener
from statecore.errors import CallNotFound, CallRejected, IllegalTransition, StatecoreError
from statecore.listeners import events
from statecore.testing import CallPair, FaultyNetwork, VirtualClock, assert_fully_reaped, assert_invariants, run_virtual
from statecore.trace import Entry, Outcome, Trace


def test_a_call_in_three_lines() -> None:
    """Both are in, one hangs up, and what both recorded keeps what must hold."""

    async def main() -> list[Trace]:
        async with CallPair(clock=VirtualClock()) as pair:
            mine, theirs = await pair.talk()
            await mine.mute_audio()
            await theirs.end()
        return pair.traces

    with assert_fully_reaped():
        traces = run_virtual(main())
    assert [trace.user for trace in traces] == ["alice", "bob"]
    assert assert_invariants(*traces) == 2


def test_a_call_over_a_network_that_fails() -> None:
    """A cut in the middle of a call over a slow network costs nothing but time."""

    async def main() -> None:
        network = FaultyNetwork(5, latency=0.05, jitter=0.1)
        async with CallPair("ann", "ben", network=network, clock=VirtualClock()) as pair:
            mine, _ = await pair.talk("video")
            pair.caller_link.cut()
            await asyncio.sleep(3)
            pair.caller_link.mend()
            await asyncio.sleep(3)
            await mine.end()

    with assert_fully_reaped():
        run_virtual(main())


def test_a_call_that_is_declined() -> None:
    """`ring` gives the call as it rings, to do with it what one likes."""

    async def main() -> None:
        async with CallPair(clock=VirtualClock()) as pair:
            call = await pair.ring(type="audio")
            assert (call.state, call.initiator) == ("ringing", "alice")
            await pair.callee.reject_call(call.session_id)
            with pytest.raises(CallRejected):
                await pair.caller.answered(call.session_id)

    run_virtual(main())


def test_a_command_that_the_flow_does_not_know_breaks_nothing() -> None:
    """It is refused, it is recorded, and what was recorded keeps what must hold."""

    async def main() -> None:
        async with CallPair(clock=VirtualClock()) as pair:
            mine, _ = await pair.talk()
            with pytest.raises(IllegalTransition):
                await mine.trigger("sing")
            await mine.end()

    run_virtual(main())


def test_nothing_is_checked_over_a_failure() -> None:
    """What a test raises comes out as it is."""

    async def main() -> None:
        async with CallPair(clock=VirtualClock()) as pair:
            await pair.ring()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_virtual(main())


# --- a trace in which something is wrong


def _talked() -> list[Trace]:
    async def main() -> list[Trace]:
        async with CallPair(clock=VirtualClock(), check=False) as pair:
            mine, _ = await pair.talk("video")
            await mine.end()
        return pair.traces

    return run_virtual(main())


def _changed(trace: Trace, change: Callable[[Entry], Entry]) -> Trace:
    return attrs.evolve(trace, entries=[change(entry) for entry in trace.entries])


def _without(do: str, what: str) -> Callable[[Entry], Entry]:
    return lambda e: attrs.evolve(e, did=[did for did in e.did if (did.do, did.what.split(" ")[0]) != (do, what)])


def _twice(do: str, what: str) -> Callable[[Entry], Entry]:
    return lambda e: attrs.evolve(
        e, did=[d for did in e.did for d in [did] * (1 + (did.do == do and did.what == what))]
    )


def _after_the_end(entry: Entry) -> Entry:
    if entry.given != "LinkDown":
        return entry
    return attrs.evolve(entry, did=[*entry.did, Outcome("tell", "user_muted bob", "id-3")])


WRONG = {
    "an end nobody is told of": (_without("tell", "call_ended_message_received"), "told 0 times"),
    "an end told twice": (_twice("tell", "call_ended_message_received"), "told 2 times"),
    "media left open": (_without("media", "close"), "left open"),
    "media opened twice": (_twice("media", "open audio video"), "media"),
    "a session left without being told": (_without("tell", "session_left"), "session_left"),
    "a way that the table does not know": (
        lambda e: attrs.evolve(e, moves={s: (*path, "ringing") for s, path in e.moves.items()}), "->",
    ),
    "more settled than asked": (_twice("settle", "done"), "settled"),
    "a reason that does not fit": (
        lambda e: attrs.evolve(e, ended=dict.fromkeys(e.ended, "answered_elsewhere")), "record says",
    ),
    "media without a yes": (
        lambda e: attrs.evolve(e, input={**e.input, "trigger": "end"}) if e.given == "Do" else e, "under a yes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_in_a_trace_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each statement can fail: a trace that breaks it does not pass, and the error says what is wrong."""
    change, words = WRONG[name]
    # The replay would see most of them first; what is to be seen here is that the statement itself does.
    monkeypatch.setattr("statecore.testing.invariants.replay", lambda *_: [])
    with pytest.raises(AssertionError, match=words):
        assert_invariants(*[_changed(trace, change) for trace in _talked()])


def _rung_again() -> list[Trace]:
    """The service has heard nothing of the callee's device for as long as a lease, and that has heard of the service
    since: its leg has ended there, and as it comes back it rings anew."""

    async def main() -> list[Trace]:
        async with CallPair(clock=VirtualClock(), check=False) as pair:
            await asyncio.sleep(14)
            await pair.ring(timeout=60)
            pair.callee_link.cut()
            await asyncio.sleep(38)
            pair.callee_link.mend()
            await asyncio.sleep(30)
        return pair.traces

    return run_virtual(main())


def test_a_leg_that_another_succeeds_is_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one step one ends and the other begins, each with what is told of it. One leg does not rise again."""
    hers, his = _rung_again()
    (one,) = [entry for entry in his.entries if entry.moves.get("id-3") == ["ringing", "ended", "ringing"]]
    assert [did.what for did in one.did] == ["call_ended_message_received", "incoming_call_received"]
    assert assert_invariants(hers, his) == 3
    monkeypatch.setattr("statecore.testing.invariants.replay", lambda *_: [])
    for change, words in (
        (lambda e: attrs.evolve(e, input=_as_pid(e.input, "2")), "ended -> ringing"),
        (_twice("tell", "call_ended_message_received"), "told 2 times"),
        (_without("tell", "call_ended_message_received"), "told 0 times"),
        (lambda e: attrs.evolve(e, moves={s: [*path, "ringing"] for s, path in e.moves.items()}), "ended -> ringing"),
    ):
        with pytest.raises(AssertionError, match=words):
            assert_invariants(hers, _changed(his, change))


def _as_pid(given: Any, pid: str) -> Any:
    message = given.get("message", {})
    return {**given, "message": {**message, "pid": pid}} if message.get("m") == "view" else given


def test_a_trace_that_the_core_does_not_repeat_is_refused() -> None:
    """An input that was not there changes what comes of it."""
    mine, theirs = _talked()
    with pytest.raises(AssertionError, match="not the same"):
        assert_invariants(_changed(mine, _without("tell", "session_left")), theirs)


def test_a_call_that_lives_on_is_only_fine_where_it_may() -> None:
    """The first half of a trace is one, but not that of a device that was closed."""
    mine, _ = _talked()
    middle = (
        next(place for place, entry in enumerate(mine.entries) if "active" in entry.moves.get("id-3", mine.path("")))
        + 1
    )
    half = attrs.evolve(mine, entries=mine.entries[:middle])
    assert assert_invariants(half, finished=False) == 1
    with pytest.raises(AssertionError, match="for ever"):
        assert_invariants(half)


def test_two_stories_of_one_call_do_not_go_together() -> None:
    """Two devices that take one participant's id for theirs are not of one call."""
    mine, _ = _talked()
    with pytest.raises(AssertionError, match="is bob"):
        assert_invariants(mine, attrs.evolve(mine, user="bob"))


async def _whole(pair: CallPair, who: str, handler: Callable[[str], Callable[..., Any]]) -> None:
    """A call with all that one hears in it; one side handles each event of its client and of its session."""
    client = getattr(pair, who)
    for event in events(CallListener):
        client.on(event, handler(event))
    call = await pair.ring()
    await asyncio.gather(pair.callee.accept_call(call.session_id), call.answered())
    tokens = [await each.generate_token(call.session_id) for each in (pair.caller, pair.callee)]
    listener: Any = OngoingCallListener(**{f"on_{event}": handler(event) for event in events(OngoingCallListener)})
    hers, his = (listener if each is client else None for each in (pair.caller, pair.callee))
    mine, theirs = await asyncio.gather(
        pair.caller.start_session(tokens[0], listener=hers), pair.callee.start_session(tokens[1], listener=his)
    )
    await mine.mute_audio()
    await theirs.raise_hand()
    await theirs.end()
    await mine.wait_ended()


def _heard(who: str) -> list[str]:
    async def main() -> list[str]:
        heard: list[str] = []
        async with CallPair(clock=VirtualClock()) as pair:
            await _whole(pair, who, lambda event: lambda *_: heard.append(event))
            await asyncio.sleep(1)
            return list(dict.fromkeys(heard))  # before it is closed

    return run_virtual(main())


@pytest.mark.parametrize("later", [False, True], ids=["waiting", "on its own"])
@pytest.mark.parametrize("who", ["caller", "callee"])
def test_ending_a_call_inside_a_handler(who: str, later: bool) -> None:
    """In each event that is told in a call, of its ringing, of its session and of its end, a handler may end it, twice
    even, and wait for that or not: no deadlock, no recursion, one end on each side."""
    heard = _heard(who)
    assert {"session_joined", "call_ended"} < set(heard)
    assert len(heard) >= 6

    async def main(chosen: str) -> None:
        async with CallPair(clock=VirtualClock()) as pair:
            client, over, tasks = getattr(pair, who), asyncio.Event(), list[asyncio.Task[None]]()

            async def end() -> None:
                for call in client.calls:
                    await client.end_call(call.session_id)
                    with suppress(CallNotFound):
                        await client.end_call(call.session_id)
                over.set()

            async def now(*_: object) -> None:
                await end()

            def soon(*_: object) -> None:
                tasks.append(asyncio.get_running_loop().create_task(end()))

            how = soon if later else now
            with suppress(StatecoreError):
                await _whole(pair, who, lambda event: how if event == chosen else lambda *_: None)
            try:
                async with asyncio.timeout(30):
                    await over.wait()
            except TimeoutError:
                raise AssertionError(f"{chosen} was not told, or its handler hangs") from None
            await asyncio.gather(*tasks)
            await asyncio.sleep(1)
            assert pair.caller.calls == pair.callee.calls == []

    for event in heard:
        with assert_fully_reaped():
            run_virtual(main(event))
