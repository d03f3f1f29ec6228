"""One side's link is cut at any message of a call, for a moment or for a while: the call is the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from statecore import Call, MemoryLink

Town, Run = Callable[..., Any], Callable[..., Any]


async def answered(t: Any) -> list[tuple[str, list[str]]]:
    """A whole call, step by step; gives what the sessions' listeners heard."""
    alice, bob = t.clients["alice"], t.clients["bob"]
    call = await alice.initiate_call("bob", type="audio")
    await t.until(lambda: bob.calls)
    await asyncio.gather(bob.accept_call(call.session_id), call.answered())
    tokens = [await client.generate_token(call.session_id) for client in (alice, bob)]
    hers, his = await asyncio.gather(
        alice.start_session(tokens[0], type="audio", listener=t.log("alice")),
        bob.start_session(tokens[1], type="audio", listener=t.log("bob")),
    )
    await hers.mute_audio()
    await his.send_message("hello")
    await t.until(lambda: "message_received" in t.names("alice"))
    await hers.end()
    await his.wait_ended()
    return [(name, t.names(name)) for name in ("alice", "bob")]


async def declined(t: Any) -> list[tuple[str, list[str]]]:
    """Bob declines."""
    call = await t.clients["alice"].initiate_call("bob")
    await t.until(lambda: t.clients["bob"].calls)
    await t.clients["bob"].reject_call(call.session_id)
    await t.until(lambda: not t.clients["alice"].calls)
    return []


async def cancelled(t: Any) -> list[tuple[str, list[str]]]:
    """Alice gives up."""
    call = await t.clients["alice"].initiate_call("bob")
    await t.until(lambda: t.clients["bob"].calls)
    await t.clients["alice"].cancel_call(call.session_id)
    await t.until(lambda: not t.clients["bob"].calls)
    return []


async def _mended(link: MemoryLink, seconds: float) -> None:
    """Stands again so long after it was cut."""
    while link.cut_after is not None:  # noqa: ASYNC110 - in virtual time
        await asyncio.sleep(0.05)
    await asyncio.sleep(seconds)
    link.mend()


_VARIES = (
    "connection_lost",
    "connection_restored",
    "remote_connection_lost",
    "remote_connection_restored",
    "user_list_updated",
)
"""What tells of the link, or of several changes at once."""


def _why(call: Call) -> tuple[str, str]:
    """How a call ended, but for when."""
    return (str(call.end_reason.what), call.end_reason.by) if call.end_reason else ("", "")


async def _play(town: Town, scenario: Any, side: str, cut_after: int | None, seconds: float) -> tuple[Any, int]:
    """A scenario in which the link is cut after so many messages: what came of it, and how many messages there are."""
    async with town("alice", "bob") as t:
        link = t.links[side]
        begin = link.passed
        mending = None
        if cut_after is not None:
            link.cut_after = begin + cut_after
            mending = asyncio.create_task(_mended(link, seconds))
        told = await scenario(t)
        await t.until(lambda: not any(client.calls for client in t.clients.values()))
        messages = link.passed - begin
        assert not await t.service.calls()
        if mending is not None:
            link.cut_after = None
            await mending
        log = [(call.session_id, _why(call), call.type) for call in await t.service.call_log()]
        seen = sorted((name, event, call.session_id, _why(call)) for name, event, call in t.seen)
        plain = [(name, [event for event in events if event not in _VARIES]) for name, events in told]
    return (log, seen, plain), messages


@pytest.mark.no_cover
@pytest.mark.timeout(300)  # some hundred whole calls
@pytest.mark.parametrize("seconds", [0.0, 4.0], ids=["for a moment", "for a while"])
@pytest.mark.parametrize("side", ["alice", "bob"])
@pytest.mark.parametrize("scenario", [answered, declined, cancelled], ids=lambda scenario: scenario.__name__)
def test_one_link_is_cut_at_any_message(town: Town, run: Run, scenario: Any, side: str, seconds: float) -> None:
    """Whatever message is lost with the link, and whoever's it is: every device sees the same call, and so does the
    log."""

    async def main() -> None:
        undisturbed, messages = await _play(town, scenario, side, None, 0)
        assert messages >= 2
        for place in range(messages + 1):
            found, _ = await _play(town, scenario, side, place, seconds)
            assert found == undisturbed, f"cut after {place} of {messages}"

    run(main, debug=False)
