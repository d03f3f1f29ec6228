"""Async listeners: each registration has a queue of its own, and what was removed or replaced hears no more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from statecore import OngoingCallListener, Session

Town, Run = Callable[..., Any], Callable[..., Any]


def _notes(heard: list[str], name: str, pause: float = 0, then: Callable[[], object] = lambda: None) -> Any:
    """A listener that notes what it is told, takes its time over the first of it, and then does something."""

    async def muted(*_: Any) -> None:
        heard.append(f"{name} muted")
        await asyncio.sleep(pause)
        then()

    async def unmuted(*_: Any) -> None:
        heard.append(f"{name} unmuted")

    return OngoingCallListener(on_user_muted=muted, on_user_unmuted=unmuted)


def _in_a_call(town: Town, run: Run, main: Any) -> None:
    async def inside() -> None:
        async with town("alice", "bob") as t:
            hers, his = await t.pair()
            await main(t, hers, his)
            await hers.end()

    run(inside)


async def _mute(his: Session, times: int = 1) -> None:
    for _ in range(times):
        await his.mute_audio()
        await his.unmute_audio()
    await asyncio.sleep(1)


def test_a_hung_listener_does_not_hold_up_its_successor(town: Town, run: Run) -> None:
    """What replaces a listener whose handler never returns is told everything from then on, and the old one nothing."""
    heard: list[str] = []

    async def main(_: Any, hers: Session, his: Session) -> None:
        hers.add_call_event_listener("ui", _notes(heard, "old", 1e6))
        await _mute(his)
        hers.add_call_event_listener("ui", _notes(heard, "new"))
        await _mute(his)

    _in_a_call(town, run, main)
    assert heard == ["old muted", "new muted", "new unmuted"]


@pytest.mark.parametrize("how", ["by id", "by handle", "replaced"])
def test_what_waits_for_a_listener_that_is_removed_is_dropped(town: Town, run: Run, how: str) -> None:
    """A listener that removes or replaces itself in an async handler does not hear what happened meanwhile."""
    heard: list[str] = []

    async def main(_: Any, hers: Session, his: Session) -> None:
        def leave() -> None:
            if how == "by id":
                assert hers.remove_call_event_listener("ui")
            elif how == "by handle":
                handle.remove()
            else:
                hers.add_call_event_listener("ui", _notes(heard, "new"))

        handle = hers.add_call_event_listener("ui", _notes(heard, "old", 5, leave))
        await _mute(his, 2)
        assert handle.active
        await asyncio.sleep(10)
        await his.mute_audio()

    _in_a_call(town, run, main)
    assert heard == ["old muted", *(["new muted"] if how == "replaced" else [])]


def test_an_id_that_looks_like_a_label(town: Town, run: Run) -> None:
    """The label of a handler without an id may be the id of another: neither waits for the other."""
    heard: list[str] = []

    async def main(_: Any, hers: Session, his: Session) -> None:
        async def hangs(*_: Any) -> None:
            await asyncio.sleep(1e6)

        label = hers.on("user_muted", hangs).id
        hers.add_call_event_listener(label, _notes(heard, "other"))
        await _mute(his)

    _in_a_call(town, run, main)
    assert heard == ["other muted", "other unmuted"]


def test_the_last_events_reach_async_listeners(town: Town, run: Run) -> None:
    """A session's listeners are removed with its end, and the async ones among them are still told of it, in order."""
    heard: list[str] = []

    async def main() -> None:
        async def slow(*_: Any) -> None:
            await asyncio.sleep(1)
            heard.append("left")

        async def last(*_: Any) -> None:
            heard.append("ended")

        async with town("alice", "bob") as t:
            hers, _ = await t.pair()
            handle = hers.add_call_event_listener("ui", OngoingCallListener(on_session_left=slow, on_call_ended=last))
            await hers.end()
            assert not handle.active
            assert not hers.remove_call_event_listener("ui")
            await asyncio.sleep(2)
            assert heard == ["left", "ended"]

    run(main)


def test_whoever_gives_up_in_the_last_events_hears_no_more(town: Town, run: Run) -> None:
    """A listener that removes itself by its handle while the session ends is not told the rest."""
    heard: list[str] = []

    async def main() -> None:
        async def slow(*_: Any) -> None:
            heard.append("left")
            handle.remove()

        async def last(*_: Any) -> None:
            heard.append("ended")

        async with town("alice", "bob") as t:
            hers, _ = await t.pair()
            handle = hers.add_call_event_listener("ui", OngoingCallListener(on_session_left=slow, on_call_ended=last))
            await hers.end()
            await asyncio.sleep(1)
            assert heard == ["left"]

    run(main)
