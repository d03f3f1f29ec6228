"""What cannot be done as asked: a typed error, and nothing changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from statecore import CallClient, CallSettings, ServiceSettings
from statecore.errors import (
    AlreadyInCall,
    BlankId,
    CallEnded,
    CallGone,
    CallingSelf,
    CallNotFound,
    ClientClosed,
    IllegalTransition,
    InvalidArgument,
    NotAccepted,
    NotAParty,
    NotConnected,
    SessionFull,
    SessionInactive,
    SignalingRefused,
    SpacedId,
    StatecoreError,
    TokenError,
    TokenExpired,
    TokenForeign,
    TokenForged,
    TokenLacksGrant,
    TokenMalformed,
    TokenMissing,
    TokenNotYetValid,
    TokenRevoked,
    UnknownUser,
)
from statecore.testing import FakeMedia, VirtualClock
from statecore.testing.loop import NOON
from statecore.tokens import JwtSigner, Keys, Role, issue

Town, Run = Callable[..., Any], Callable[..., Any]


def _nested(depth: int) -> Any:
    value: Any = ()
    for _ in range(depth):
        value = (value,)
    return value


@pytest.mark.parametrize(
    ("receiver", "more", "error"),
    [
        ("", {}, BlankId),
        ("  ", {}, BlankId),
        ("b ob", {}, SpacedId),
        ("b" * 129, {}, SpacedId),
        (7, {}, InvalidArgument),
        (None, {}, InvalidArgument),
        ("alice", {}, CallingSelf),
        ("nobody", {}, UnknownUser),
        ("bob", {"type": "smell"}, InvalidArgument),
        ("bob", {"type": []}, InvalidArgument),
        ("bob", {"receiver_type": "group"}, InvalidArgument),
        ("bob", {"timeout": "long"}, InvalidArgument),
        ("bob", {"timeout": True}, InvalidArgument),
        ("bob", {"timeout": float("nan")}, InvalidArgument),
        ("bob", {"timeout": float("inf")}, InvalidArgument),
        ("bob", {"timeout": 3601}, InvalidArgument),
        ("bob", {"metadata": "text"}, InvalidArgument),
        ("bob", {"metadata": {"x": object()}}, InvalidArgument),
        ("bob", {"metadata": {"x": float("nan")}}, InvalidArgument),
        ("bob", {"metadata": {"x": _nested(64)}}, InvalidArgument),
        ("bob", {"metadata": {"x": _nested(5_000)}}, InvalidArgument),
        ("bob", {"metadata": {"x": "y" * 20_000}}, InvalidArgument),
        ("bob", {"metadata": {"x": "y" * 5_000}}, InvalidArgument),
        ("bob", {"session_id": ""}, BlankId),
        ("bob", {"session_id": "a b"}, SpacedId),
        ("bob", {"session_id": ".."}, InvalidArgument),
        ("bob", {"flow": "session"}, InvalidArgument),
        ("bob", {"flow": "unheard-of"}, InvalidArgument),
    ],
)
def test_no_call_comes_of_it(town: Town, run: Run, receiver: Any, more: Any, error: type[StatecoreError]) -> None:
    """A call that cannot be made raises its own error: nobody rings, nothing is logged, and the next call works."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            with pytest.raises(error):
                await t.clients["alice"].initiate_call(receiver, **more)
            assert not t.seen
            assert not t.clients["alice"].calls
            assert not await t.service.calls() + await t.service.call_log()
            await (await t.clients["alice"].initiate_call("bob", timeout=-float("inf"), metadata={})).cancel()

    run(main)


@pytest.mark.parametrize("dots", [".", ".."])
def test_ids_that_no_address_can_have_in_it(town: Town, run: Run, dots: str) -> None:
    """Nobody is made known by one, no token is for one, nothing is begun under one, and no user of an application's
    own, or of another's call token, connects by one."""

    async def main() -> None:
        signer = JwtSigner(Keys("1", b"k" * 32))
        async with town("alice", signer=signer) as t:
            with pytest.raises(InvalidArgument, match="address"):
                t.service.add_user(dots)
            for user, room in ((dots, "room"), ("alice", dots)):
                with pytest.raises(InvalidArgument, match="address"):
                    await t.service.generate_token(user, room)
            with pytest.raises(InvalidArgument):
                await t.clients["alice"].generate_token(dots)
            for user, room, error in (("alice", dots, InvalidArgument), (dots, "room", SignalingRefused)):
                claims = issue(issuer="statecore", user=user, session=room, token_id="x", now=NOON, lifetime=60.0)
                token = signer.sign(claims)
                with pytest.raises(error, match=r"address|session_id"):
                    async with CallClient(t.service.guest(token), FakeMedia()) as guest:
                        await guest.start_session(token)
            assert not await t.service.calls() + await t.service.call_log()
            assert [user.uid for user in await t.service.users()] == ["alice"]

    run(main)


def test_ids_of_no_call(town: Town, run: Run) -> None:
    """Every command for a session raises for a blank, spaced, foreign or unknown id, or one that is no text."""

    async def main() -> None:
        async with town("alice", "bob", "carol") as t:
            alice, carol = t.clients["alice"], t.clients["carol"]
            commands = [alice.accept_call, alice.reject_call, alice.cancel_call, alice.end_call, alice.answered]
            for command in commands:
                for wrong, error in (("", BlankId), ("a b", SpacedId), ([], InvalidArgument), ("x", CallNotFound)):
                    with pytest.raises(error):
                        await command(wrong)
            for wrong, error in (("", BlankId), ("a b", SpacedId), (b"x", InvalidArgument)):
                with pytest.raises(error):
                    await alice.generate_token(wrong)
                with pytest.raises(error):
                    await t.service.fetch(wrong)
                with pytest.raises(error):
                    await t.service.generate_token("alice", wrong)
                with pytest.raises(error):
                    await t.service.generate_token(wrong, "room")
                with pytest.raises(error):
                    t.service.add_user(wrong)
                with pytest.raises(error):
                    t.service.signaling("alice", wrong)
            with pytest.raises(CallNotFound):
                await t.service.fetch("x")
            call = await alice.initiate_call("bob")
            for command in (carol.accept_call, carol.end_call):
                with pytest.raises(CallNotFound):
                    await command(call.session_id)
            with pytest.raises(NotAParty):
                await carol.generate_token(call.session_id)
            with pytest.raises(InvalidArgument):
                await call.reject("bored")

    run(main)


def test_a_second_call_of_ones_own(town: Town, run: Run) -> None:
    """Who is in a call cannot make another; a closed client can do nothing."""

    async def main() -> None:
        async with town("alice", "bob", "carol") as t:
            await t.pair()
            alice = t.clients["alice"]
            with pytest.raises(AlreadyInCall):
                await alice.initiate_call("carol")
            assert len(alice.calls) == 1
            (call,) = alice.calls
            await alice.close()
            await call.end()  # has ended: nothing to do
            for work in (alice.initiate_call("bob"), alice.generate_token("x"), alice.accept_call("x")):
                with pytest.raises(ClientClosed):
                    await work
            with pytest.raises(ClientClosed):
                alice.add_call_listener("x", object())
            with pytest.raises(ClientClosed):
                alice.on("x", print)
            assert not alice.remove_call_listener("x")
            assert alice.active_call is None
            never = t.make("dave")
            with pytest.raises(ClientClosed):
                await never.initiate_call("bob")
            await never.close()

    run(main)


def test_bad_tokens(town: Town, run: Run) -> None:
    """A token that is missing, garbage, forged, expired, not yet valid, revoked, or another's is refused by its own
    error; afterwards a good one works."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            alice, service, clock = t.clients["alice"], t.service, VirtualClock()
            now = clock.wall()

            def signed(key: bytes = b"k" * 32, **more: Any) -> str:
                claims = issue(
                    **{"user": "alice", "session": "room", "token_id": "i", "now": now, "lifetime": 60.0, **more}
                )
                return JwtSigner(Keys("1", key), "statecore").sign(claims)

            revoked = await service.generate_token("alice", "room")
            await service.revoke_token(revoked)
            await service.revoke_token(revoked)
            assert service.revocations
            short = await service.generate_token("alice", "room", lifetime=1)
            good = await service.generate_token("alice", "room")
            await asyncio.sleep(5)
            bad: list[tuple[Any, type[TokenError]]] = [
                ("", TokenMissing),
                (None, TokenMissing),
                ("x", TokenMalformed),
                ("a.b.c", TokenMalformed),
                (7, TokenMalformed),
                (good[:-4] + "AAAA", TokenForged),
                (signed(b"f" * 32), TokenForged),
                (short, TokenExpired),
                (await service.generate_token("alice", "room", not_before=clock.wall() + 60_000), TokenNotYetValid),
                (await service.generate_token("bob", "room"), TokenForeign),
                (revoked, TokenRevoked),
            ]
            for token, error in bad:
                with pytest.raises(error):
                    await alice.start_session(token)
                assert not alice.calls
            with pytest.raises(TokenError):
                await service.revoke_token("x")
            assert not t.media["alice"].sessions
            session = await alice.start_session(good)
            await session.end()

    run(main)


def test_a_bad_token_does_not_end_the_call(town: Town, run: Run) -> None:
    """In an accepted call a refused token changes nothing: with a good one the session starts."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            alice, bob = t.clients["alice"], t.clients["bob"]
            call = await alice.initiate_call("bob")
            with pytest.raises(NotAccepted):
                await alice.start_session(await alice.generate_token(call.session_id))
            await t.until(lambda: bob.calls)
            await bob.accept_call(call.session_id)
            await call.answered()
            token = await alice.generate_token(call.session_id)
            with pytest.raises(TokenForged):
                await alice.start_session(token[:-4] + "AAAA")
            theirs = asyncio.create_task(bob.start_session(await bob.generate_token(call.session_id)))
            session = await alice.start_session(token)
            assert session.state == "active"
            await theirs

    run(main)


def test_the_application_decides_on_sessions(town: Town, run: Run) -> None:
    """`authorize` is asked for sessions by id; only True is a yes, and a hook that raises is a no at once."""

    async def main() -> None:
        def authorize(user: str, session: str) -> Any:
            if session == "broken":
                raise KeyError
            return {"mine": user == "alice", "odd": "yes"}[session]

        async with town("alice", "bob", authorize=authorize) as t:
            assert await t.clients["alice"].generate_token("mine")
            for client, session in (("bob", "mine"), ("alice", "odd")):
                with pytest.raises(NotAParty):
                    await t.clients[client].generate_token(session)
            began = asyncio.get_running_loop().time()
            with pytest.raises(StatecoreError):
                await t.clients["alice"].generate_token("broken")
            assert asyncio.get_running_loop().time() - began < 1

    run(main)


def test_a_full_session(town: Town, run: Run) -> None:
    """Who comes when the session is full is told so, and gets in when there is room."""

    async def main() -> None:
        async with town("alice", "bob", settings=ServiceSettings(session_capacity=1)) as t:
            (alice,) = await t.meet("alice")
            with pytest.raises(SessionFull):
                await t.meet("bob")
            await alice.leave()
            (bob,) = await t.meet("bob")
            assert bob.state == "active"

    run(main)


def test_actions_outside_an_active_session(town: Town, run: Run, still: Any) -> None:
    """After the end every action raises SessionInactive, which names the state; leaving again is nothing."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, his = await t.pair("video")
            for wrong in ("sideways", None):
                with pytest.raises(InvalidArgument):
                    hers.set_layout(wrong)
                with pytest.raises(InvalidArgument):
                    hers.press(wrong)
            with pytest.raises(InvalidArgument):
                hers.audio("carol")
            with pytest.raises(InvalidArgument):
                await hers.trigger("mute_audio", what=object())
            with pytest.raises(IllegalTransition) as raised:
                await hers.accept_video()
            assert "active" in str(raised.value)
            with pytest.raises(IllegalTransition):
                await hers.trigger("dance")
            await his.end()
            await hers.wait_ended()
            for action in (
                hers.mute_audio, hers.unmute_audio, hers.pause_video, hers.resume_video, hers.toggle_audio,
                hers.toggle_video, hers.raise_hand, hers.lower_hand, hers.switch_to_video, hers.accept_video,
                hers.decline_video, hers.withdraw_video, hers.stop_screen_share, hers.stats,
                lambda: hers.play(still("audio")), lambda: hers.start_screen_share(still("video")),
                lambda: hers.send_message(1), lambda: hers.trigger("dance"),
            ):  # fmt: skip
                with pytest.raises(SessionInactive) as inactive:
                    await action()
                assert inactive.value.state == "ended"
            for quick in (
                lambda: hers.set_layout("tile"), lambda: hers.press("mute"), lambda: hers.audio("bob"),
                lambda: hers.video("bob"), lambda: hers.on("call_ended", print),
                lambda: hers.add_call_event_listener("x", t.log("x")),
            ):  # fmt: skip
                with pytest.raises(SessionInactive):
                    quick()
            assert not hers.remove_call_event_listener("x")
            await hers.end_for_all()
            await hers.end()
            await hers.leave()

    run(main)


def test_an_accepted_call_is_not_yet_active(town: Town, run: Run) -> None:
    """Before media is up, actions are refused with the state; without media one cannot start at all."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            t.media["alice"].hang_at = "connect"
            call = await t.clients["alice"].initiate_call("bob")
            bob = t.clients["bob"]
            await t.until(lambda: bob.calls)
            await bob.accept_call(call.session_id)
            await call.answered()
            settings = CallSettings(listener=t.log("alice"))
            starting = asyncio.create_task(
                t.clients["alice"].start_session(await t.clients["alice"].generate_token(call.session_id), settings)
            )
            await asyncio.sleep(1)
            sessions = [part.session for part in t.clients["alice"]._driver.parts.values()]
            (session,) = sessions
            with pytest.raises(SessionInactive) as raised:
                await session.mute_audio()
            assert raised.value.state == "accepted"
            starting.cancel()
            await asyncio.wait([starting])
            link = t.service.signaling("dave")
            async with CallClient(link, clock=VirtualClock()) as dave:
                with pytest.raises(InvalidArgument, match="media"):
                    await dave.start_session(await dave.generate_token("room"))
            with pytest.raises(InvalidArgument, match="settings"):
                await bob.start_session("x", {})  # type: ignore[arg-type]

    run(main)


def test_a_viewer_may_not_share(town: Town, run: Run, still: Any) -> None:
    """Without the grant nothing is captured: unmuting and sharing raise, and the source was not touched."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            bob = t.clients["bob"]
            viewer = await bob.start_session(await t.service.generate_token("bob", "room", role=Role.VIEWER))
            with pytest.raises(TokenLacksGrant):
                await viewer.start_screen_share(still("video"))
            with pytest.raises(TokenLacksGrant):
                await viewer.unmute_audio()
            (alice,) = await t.meet("alice")
            await asyncio.sleep(5)
            assert not [s for s in await viewer.stats() if s.direction == "out"]
            await alice.leave()

    run(main)


def test_while_the_link_is_cut(town: Town, run: Run) -> None:
    """Without a link nothing new begins, and the error says that it may be tried again."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            t.links["alice"].cut()
            await asyncio.sleep(1)
            alice = t.clients["alice"]
            assert not alice.connected
            for work in (alice.initiate_call("bob"), alice.generate_token("room"), alice.start_session("x")):
                with pytest.raises(NotConnected) as raised:
                    await work
                assert raised.value.retryable
            t.links["alice"].mend()
            await t.until(lambda: alice.connected)
            assert isinstance(await alice.generate_token("room"), str)

    run(main)


def test_a_call_that_ends_while_it_starts(town: Town, run: Run) -> None:
    """Bob hangs up after accepting: Alice's start says that the call ended, and why."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            alice, bob = t.clients["alice"], t.clients["bob"]
            call = await alice.initiate_call("bob")
            await t.until(lambda: bob.calls)
            await bob.accept_call(call.session_id)
            token = await alice.generate_token(call.session_id)
            starting = asyncio.create_task(alice.start_session(token))
            await asyncio.sleep(1)
            await bob.end_call(call.session_id)
            with pytest.raises(CallEnded) as raised:
                await starting
            assert raised.value.call.end_reason.by == "bob"
            with pytest.raises(CallGone):
                await alice.start_session(token)
            with pytest.raises(CallGone):
                await alice.generate_token(call.session_id)

    run(main)
