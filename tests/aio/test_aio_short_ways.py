"""The short ways: a call, an answer, a server, a session by token, each in one block that cannot leak."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from statecore import Call, CallSettings, Reason, join_session
from statecore.errors import (
    AlreadyJoined,
    CallNotFound,
    CallRejected,
    ClientClosed,
    NotAccepted,
    SignalingLost,
    TokenMalformed,
    UserBusy,
)
from statecore.testing import FakeMedia

Town, Run = Callable[..., Any], Callable[..., Any]


async def stay(call: Call) -> None:
    """Answer, and stay until the other side goes."""
    async with call.answer() as session:
        await session.wait_ended()


def test_call_and_answer(town: Town, run: Run) -> None:
    """Leaving the block hangs up; the answering side sees it, and both sessions are of the call's type."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            types = []

            async def answer(call: Call) -> None:
                async with call.answer() as session:
                    types.append(session.settings.type)
                    assert (await session.wait_ended()).by == "alice"

            serving = asyncio.create_task(t.clients["bob"].serve(answer))
            for type_ in ("audio", "video"):
                async with t.clients["alice"].call("bob", type=type_, layout="sidebar") as session:
                    assert (session.call.type, session.settings.type, session.layout) == (type_, type_, "sidebar")
                    await anext(session.audio("bob"))
            settings = CallSettings(title="x")
            async with t.clients["alice"].call("bob", type="audio", settings=settings, layout="sidebar") as session:
                assert (session.settings.title, session.settings.type, session.layout) == ("x", "audio", "sidebar")
            await t.until(lambda: len(types) == 3)
            serving.cancel()
            await asyncio.wait([serving])
            assert types == ["audio", "video", "audio"]

    run(main)


def test_an_exception_inside_hangs_up(town: Town, run: Run) -> None:
    """What the body raises comes out, on either side, and the call is over then, for the other side too."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            alice, bob = t.clients["alice"], t.clients["bob"]
            serving = asyncio.create_task(bob.serve(stay))
            with pytest.raises(KeyError):
                async with alice.call("bob"):
                    raise KeyError
            await t.until(lambda: not alice.calls + bob.calls)
            serving.cancel()
            await asyncio.wait([serving])

            async def fails(call: Call) -> None:
                async with call.answer():
                    raise KeyError("in the handler")

            failed: list[Any] = []
            bob.on("error", failed.append)
            serving = asyncio.create_task(bob.serve(fails))
            async with alice.call("bob") as session:
                assert (await session.wait_ended()).by == "bob"
            assert [type(error) for error in failed] == [KeyError]
            serving.cancel()
            await asyncio.wait([serving])

    run(main)


def test_serve_says_busy_above_its_limit(town: Town, run: Run) -> None:
    """With one handler running the second caller hears busy; when the first has gone, there is room again."""

    async def main() -> None:
        from statecore import ServiceSettings

        async with town("alice", "bob", "carol", settings=ServiceSettings(line_capacity=5)) as t:
            serving = asyncio.create_task(t.clients["bob"].serve(stay, limit=1))
            async with t.clients["alice"].call("bob"):
                with pytest.raises(UserBusy):
                    async with t.clients["carol"].call("bob"):
                        pass
            await asyncio.sleep(1)
            async with t.clients["carol"].call("bob"):
                pass
            serving.cancel()
            await asyncio.wait([serving])
            for limit in (0, True, "many"):
                with pytest.raises(ValueError, match="limit"):
                    await t.clients["bob"].serve(stay, limit)

    run(main)


def test_serve_takes_what_rings_already_and_rejects_what_is_not_answered(town: Town, run: Run) -> None:
    """A call that rang before is handled; a handler that returns has declined; the server ends with the client."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            call = await t.clients["alice"].initiate_call("bob")
            await t.until(lambda: t.clients["bob"].calls)
            handled = []

            async def ignore(call: Call) -> None:
                handled.append(call.session_id)

            serving = asyncio.create_task(t.clients["bob"].serve(ignore))
            with pytest.raises(CallRejected):
                await call.answered()
            assert handled == [call.session_id]
            await t.clients["bob"].close()
            await serving
            with pytest.raises(ClientClosed):
                await t.clients["bob"].serve(ignore)

    run(main)


def test_cancelling_a_server_ends_its_calls(town: Town, run: Run) -> None:
    """Cancelling `serve` cancels its handlers, which hang up; a caller who gave up meanwhile is no error."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            errors: list[Any] = []
            t.clients["bob"].on("error", errors.append)
            serving = asyncio.create_task(t.clients["bob"].serve(stay))
            async with t.clients["alice"].call("bob") as session:
                serving.cancel()
                await asyncio.wait([serving])
                assert (await session.wait_ended()).what == Reason.HANGUP

            async def late(call: Call) -> None:
                await asyncio.sleep(1)
                await stay(call)

            serving = asyncio.create_task(t.clients["bob"].serve(late))
            call = await t.clients["alice"].initiate_call("bob")
            await call.cancel()
            await asyncio.sleep(2)
            serving.cancel()
            await asyncio.wait([serving])
            assert not errors

    run(main)


def test_closing_the_client_in_a_handler(town: Town, run: Run) -> None:
    """A handler of `serve` may close the client: it is not cancelled by that, and the server ends."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            after = []

            async def close(call: Call) -> None:
                async with call.answer():
                    await call.client.close()
                    after.append(asyncio.get_running_loop().time())

            serving = asyncio.create_task(t.clients["bob"].serve(close))
            async with t.clients["alice"].call("bob") as session:
                await session.wait_ended()
            await serving
            await t.until(lambda: after)
            assert after[0] < 1

    run(main)


def test_join_session_needs_only_the_token(town: Town, run: Run) -> None:
    """With a link, a token and media one is in; leaving the block leaves nothing."""

    async def main() -> None:
        async with town("alice", check=False) as t:
            token = await t.service.generate_token("guest", "room")
            (alice,) = await t.meet("alice")
            async with join_session(t.service.signaling("guest"), token, FakeMedia(), type="audio") as session:
                assert [p.uid for p in session.participants] == ["guest", "alice"]
            await t.until(lambda: len(alice.participants) == 1)
            with pytest.raises(TokenMalformed):
                async with join_session(t.service.signaling("guest"), "nonsense", FakeMedia()):
                    pass

    run(main)


def test_started_needs_an_accepted_call(town: Town, run: Run) -> None:
    """Starting what is unknown, or rings, raises; what was started already ends with the block of the second try."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            alice = t.clients["alice"]
            with pytest.raises(CallNotFound):
                async with alice.started("nothing"):
                    pass
            call = await alice.initiate_call("bob")
            with pytest.raises(NotAccepted):
                async with alice.started(call.session_id):
                    pass
            assert not alice.calls
            hers, _ = await t.pair()
            token = await alice.generate_token(hers.session_id)
            with pytest.raises(AlreadyJoined):
                await alice.start_session(token)
            assert hers.state == "active"

    run(main)


async def _caller(t: Any) -> None:
    async with t.clients["alice"].call("bob", type="audio") as session:
        await session.mute_audio()


async def _answerer(t: Any) -> None:
    bob = t.clients["bob"]
    rang = asyncio.Event()
    bob.on("incoming_call_received", lambda _: rang.set())
    calling = asyncio.create_task(_call_quietly(t))
    try:
        await rang.wait()
        async with bob.calls[0].answer() as session:
            await session.raise_hand()
    finally:
        await asyncio.wait([calling])


async def _call_quietly(t: Any) -> None:
    try:
        async with t.clients["alice"].call("bob", type="audio", timeout=5) as session:
            await session.wait_ended()
    except Exception:  # noqa: BLE001, S110 - whatever became of it
        pass


async def _joiner(t: Any) -> None:
    token = await t.service.generate_token("guest", "room")
    async with join_session(t.service.signaling("guest", "guest-phone"), token, t.media["alice"]) as session:
        await session.raise_hand()


async def _long_way(t: Any) -> None:
    alice = t.clients["alice"]
    call = await alice.initiate_call("bob")
    await call.answered()
    session = await alice.start_session(await alice.generate_token(call.session_id))
    await session.send_message("x")
    await session.switch_to_video()
    await session.end()


@pytest.mark.parametrize("way", [_caller, _answerer, _joiner, _long_way])
def test_cancelled_at_every_turn_of_the_loop(town: Town, run: Run, way: Any) -> None:
    """Cancelled after any number of turns: nothing is left open anywhere, and the other side is told."""

    async def main(turns: int) -> bool:
        async with town("alice", "bob") as t:
            serving = [asyncio.create_task(t.clients["bob"].serve(stay))] if way is not _answerer else []
            task = asyncio.create_task(way(t))
            for _ in range(turns):
                await asyncio.sleep(0)
            early = not task.done()
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled() or not early or task.exception() is None
            if way is not _long_way:
                assert not t.clients["alice"].calls
                media = (t.media["alice"], t.media["bob"])
                await t.until(lambda: not t.clients["bob"].calls and not any(m.sessions for m in media), 5)
            else:
                await t.clients["alice"].close()
                await t.until(lambda: not t.clients["bob"].calls, 5)
            for one in serving:
                one.cancel()
                await asyncio.wait([one])
        return early

    turns = 0
    while run(main, turns, debug=False):
        turns += 1
        assert turns < 300, "it never comes to its end"
    assert turns > 20


def test_connecting_can_be_cancelled_and_tried_again(town: Town, run: Run) -> None:
    """A connect that is cancelled, or finds no service in time, leaves nothing and may be repeated."""

    async def main() -> None:
        async with town() as t:
            alice = t.make("alice")
            t.links["alice"].cut()
            connecting = asyncio.create_task(alice.connect())
            await asyncio.sleep(1)
            connecting.cancel()
            await asyncio.wait([connecting])
            assert connecting.cancelled()
            assert not alice.closed
            with pytest.raises(SignalingLost):
                await alice.connect()
            with pytest.raises(ClientClosed):
                await alice.initiate_call("bob")
            t.links["alice"].mend()
            await alice.connect()
            await alice.connect()
            assert alice.connected
            await alice.close()
            with pytest.raises(ClientClosed):
                await alice.connect()
            never = t.make("bob")
            t.links["bob"].cut()
            connecting = asyncio.create_task(never.connect())
            await asyncio.sleep(1)
            await never.close()
            with pytest.raises(ClientClosed):
                await connecting

    run(main)
