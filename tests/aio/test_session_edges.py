"""A session and a call at their edges: before it begins, after it has ended, and two wishes at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from statecore import Session
from statecore.errors import (
    CallEnded,
    CallGone,
    CallNotFound,
    ClientClosed,
    IllegalTransition,
    StatecoreError,
    TokenLacksGrant,
)
from statecore.tokens import Role

Town, Run = Callable[..., Any], Callable[..., Any]


def test_a_session_offers_what_is_for_applications() -> None:
    """What its client does with a session is not among its public names."""
    driven = {"emit", "tell", "update", "finish", "drive", "open_media", "close_media", "closed", "fault", "need_life"}
    assert not driven & {*dir(Session)}


@pytest.mark.parametrize(
    "action",
    ["unmute_audio", "resume_video", "switch_to_video", "accept_video", "start_screen_share", "end_for_all"],
)
def test_an_action_without_its_grant(town: Town, run: Run, action: str) -> None:
    """Whoever may only look on is refused everything that a grant is for, by the error that the action names."""

    async def main() -> None:
        async with town("alice") as t:
            token = await t.service.generate_token("alice", "room", role=Role.VIEWER)
            session = await t.clients["alice"].start_session(token, type="audio")
            with pytest.raises(TokenLacksGrant):
                await getattr(session, action)(*(["screen"] if action == "start_screen_share" else []))
            await session.leave()

    run(main)
    assert "TokenLacksGrant" in getattr(Session, action).__doc__


@pytest.mark.parametrize("action", ["resume_video", "accept_video", "decline_video", "withdraw_video", "toggle_video"])
def test_an_action_without_its_occasion(town: Town, run: Run, action: str) -> None:
    """What an audio call has no occasion for is refused, by the error that the action names."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, _ = await t.pair()
            with pytest.raises(IllegalTransition):
                await getattr(hers, action)()
            await hers.end()

    run(main)
    says = "what these raise" if action == "toggle_video" else "IllegalTransition"
    assert says in getattr(Session, action).__doc__


@pytest.mark.parametrize("times", [1, 2, 3])
def test_toggling_at_once_is_toggling_in_turn(town: Town, run: Run, times: int) -> None:
    """Whoever toggles twice at once is where he was, by sound and by video."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, _ = await t.pair("video")
            await asyncio.gather(*(toggle() for toggle in (hers.toggle_audio, hers.toggle_video) * times))
            assert ("audio_muted" in hers.leg.flags) == ("video_paused" in hers.leg.flags) == (times % 2 == 1)
            await hers.end()

    run(main)


@pytest.mark.parametrize("steps", range(6))
def test_a_session_that_never_began_has_no_end(town: Town, run: Run, steps: int) -> None:
    """If the call ends while a session is being started, who starts it is told by the error; listeners, who were not
    told that it began, are not told that it ended. If it did begin, they are told both."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            alice, bob = t.clients["alice"], t.clients["bob"]
            call = await alice.initiate_call("bob", type="audio")
            await t.until(lambda: bob.calls)
            await asyncio.gather(bob.accept_call(call.session_id), call.answered())
            tokens = {client: await client.generate_token(call.session_id) for client in (alice, bob)}
            starting = [
                asyncio.create_task(client.start_session(token, type="audio", listener=t.log(client.user.uid)))
                for client, token in tokens.items()
            ]
            for _ in range(steps):
                await asyncio.sleep(0.005)
            await bob.end_call(call.session_id)
            results = await asyncio.gather(*starting, return_exceptions=True)
            await t.until(lambda: not alice.calls)
            for name, result in zip(("alice", "bob"), results, strict=True):
                told = [event for event in t.names(name) if event in ("session_joined", "session_left", "call_ended")]
                began = bool(told)
                assert told == ["session_joined", "session_left", "call_ended"] * began
                assert began or isinstance(result, StatecoreError)

    run(main)


def test_a_merged_call_is_remembered_by_both_names(town: Town, run: Run) -> None:
    """After its end a call that two have made is known to each under its own id, too, and the outcome is the same."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            alice, bob = t.clients["alice"], t.clients["bob"]
            calls = await asyncio.gather(
                alice.initiate_call("bob", session_id="A"), bob.initiate_call("alice", session_id="B")
            )
            assert [call.session_id for call in calls] == ["A", "A"]
            await bob.end_call("B")
            await t.until(lambda: not alice.calls + bob.calls)
            with pytest.raises(CallEnded):
                await alice.answered("A")
            for name in ("A", "B"):
                with pytest.raises(CallGone):
                    await bob.answered(name)
            with pytest.raises(CallNotFound):
                await alice.answered("B")

    run(main)


def test_whoever_waits_is_told_that_the_client_is_closed(town: Town, run: Run) -> None:
    """A request that is under way when the client is closed raises that; one that was given up bothers nobody."""

    async def main() -> None:
        async with town("alice") as t:
            alice = t.clients["alice"]
            t.links["alice"].silent = True
            asking = [asyncio.create_task(alice.generate_token(room)) for room in ("one", "two")]
            await asyncio.sleep(1)
            asking[1].cancel()
            await alice.close()
            with pytest.raises(ClientClosed):
                await asking[0]
            assert asking[1].cancelled()

    run(main)
