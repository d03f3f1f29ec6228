"""Whole calls through the public interface, in both flows, with real frames."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from statecore import CallClient, CallService, Reason, Session, Status
from statecore.errors import (
    AnsweredElsewhere,
    CallCancelled,
    CallEnded,
    CallGone,
    CallRejected,
    CallUnanswered,
    ConsentDeclined,
    SessionInactive,
    UserBusy,
)
from statecore.testing import ClockPicture, FakeMedia, Tone, VirtualClock
from statecore.testing.signals import dominant_hz, read_clock

Town, Run = Callable[..., Any], Callable[..., Any]


async def hears(session: Session, who: str) -> float:
    """The pitch of what comes from somebody."""
    frames = session.audio(who)
    for _ in range(3):
        frame = await anext(frames)
    await frames.aclose()  # type: ignore[attr-defined]
    return dominant_hz(frame.samples, frame.rate)


async def dries_up(frames: AsyncIterator[Any]) -> bool:
    """Whether nothing comes for a while, once what waited was read."""
    try:
        for _ in range(100):
            await asyncio.wait_for(anext(frames), 5)
    except TimeoutError:
        return True
    return False


def test_a_ringing_call_from_idle_to_ended(town: Town, run: Run) -> None:
    """Alice calls Bob with video: it rings, he accepts, both hear and see each other, he hangs up; one row is logged."""  # noqa: E501

    async def main() -> None:
        async with town() as t:
            alice = await t.add("alice", media=FakeMedia(Tone(440), ClockPicture()))
            bob = await t.add("bob", media=FakeMedia(Tone(880), ClockPicture()))
            call = await alice.initiate_call("bob", type="video", metadata={"about": "lunch"})
            assert (call.state, call.role, call.peer, call.status) == ("ringing", "caller", "bob", Status.INITIATED)
            await t.until(lambda: bob.calls)
            (ring,) = bob.calls
            assert (ring.peer, ring.metadata, ring.type) == ("alice", {"about": "lunch"}, "video")
            assert alice.active_call == call
            assert bob.active_call is None
            accepted, answered = await asyncio.gather(ring.accept(), call.answered())
            assert accepted.state == answered.state == "accepted"
            tokens = [await client.generate_token(call.session_id) for client in (alice, bob)]
            hers, his = await asyncio.gather(alice.start_session(tokens[0]), bob.start_session(tokens[1]))
            his.add_call_event_listener("log", t.log("bob"))
            assert hers.state == his.state == "active"
            assert [p.uid for p in hers.participants] == ["alice", "bob"]
            assert abs(await hears(hers, "bob") - 880) < 9
            assert abs(await hears(his, "alice") - 440) < 9
            picture = await anext(hers.video("bob"))
            assert picture.pixels.shape == (120, 160, 3)
            assert read_clock(picture.pixels) is not None
            assert {(s.kind, s.direction) for s in await his.stats()} == {
                (kind, way) for kind in ("audio", "video") for way in ("in", "out")
            }
            await his.end()
            reason = await hers.wait_ended()
            assert (reason.what, reason.by, reason.device) == (Reason.HANGUP, "bob", bob.device)
            assert t.names("bob")[-2:] == ["session_left", "call_ended"]
            (row,) = await t.service.call_log()
            assert row.end_reason is not None
            assert (row.end_reason, row.status) == (reason, Status.ENDED)
            assert row.initiated_at <= row.ringing_at <= row.answered_at <= row.active_at <= row.ended_at
            assert all(row.answered_at <= p.joined_at <= row.active_at for p in row.participants)
            assert [p.uid for p in row.participants] == ["alice", "bob"]
            assert [(name, event) for name, event, _ in t.seen] == [
                ("bob", "incoming_call_received"),
                ("alice", "outgoing_call_accepted"),
                ("bob", "call_ended_message_received"),
                ("alice", "call_ended_message_received"),
            ]

    run(main)


def test_a_session_by_tokens_alone(town: Town, run: Run) -> None:
    """Three meet by tokens: each is active by himself, sees the others come and go, and may come back."""

    async def main() -> None:
        async with town("alice", "bob", "carol") as t:
            alice, bob, carol = await t.meet("alice", "bob", "carol")
            assert [p.uid for p in carol.participants] == ["carol", "alice", "bob"]
            assert (await anext(carol.audio("alice"))).samples[0, 0] == 1
            await bob.leave()
            await bob.leave()
            await t.until(lambda: len(alice.participants) == 2)
            assert t.names("alice") == [
                "session_joined", "user_joined", "user_list_updated", "user_joined", "user_list_updated",
                "user_left", "user_list_updated",
            ]  # fmt: skip
            (again,) = await t.meet("bob")
            assert again is not bob
            assert again.state == "active"
            assert bob.end_reason.what == Reason.HANGUP
            assert bob.state == "ended"
            live = await t.service.calls()
            assert [(c.session_id, c.type) for c in live] == [("room", "video")]
            for session in (alice, again, carol):
                await session.leave()
            await asyncio.sleep(61)
            assert [call.session_id for call in await t.service.call_log()] == ["room"]
            assert (await t.service.fetch("room")).end_reason.what == Reason.HANGUP

    run(main)


@pytest.mark.parametrize(
    ("act", "error", "reason"),
    [
        (lambda bob, s: bob.reject_call(s), CallRejected, Reason.REJECTED),
        (lambda bob, s: bob.reject_call(s, "busy"), UserBusy, Reason.BUSY),
        (lambda bob, s: bob.end_call(s), CallRejected, Reason.REJECTED),
        (lambda _, __: asyncio.sleep(46), CallUnanswered, Reason.UNANSWERED),
    ],
)
def test_a_call_that_comes_to_nothing(town: Town, run: Run, act: Any, error: type[Exception], reason: Reason) -> None:
    """Whoever waits for the answer hears why there is none, with the ended call; also who asks afterwards."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            call = await t.clients["alice"].initiate_call("bob")
            waiting = asyncio.create_task(call.answered())
            await t.until(lambda: t.clients["bob"].calls)
            await act(t.clients["bob"], call.session_id)
            with pytest.raises(error) as raised:
                await waiting
            assert raised.value.call.end_reason.what == reason  # type: ignore[attr-defined]
            await asyncio.sleep(1)
            with pytest.raises(error) as raised:
                await call.answered()
            assert raised.value.call.end_reason.what == reason  # type: ignore[attr-defined]
            (row,) = await t.service.call_log()
            assert row.end_reason.what == reason

    run(main)


def test_the_caller_gives_up(town: Town, run: Run) -> None:
    """Cancelling ends it on both sides, once, however often it is said; accepting comes too late."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            alice, bob = t.clients["alice"], t.clients["bob"]
            call = await alice.initiate_call("bob", timeout=5)
            waiting = asyncio.create_task(call.answered())
            await t.until(lambda: bob.calls)
            await call.cancel()
            await call.cancel()
            await alice.end_call(call.session_id)
            with pytest.raises(CallCancelled):
                await waiting
            await t.until(lambda: not bob.calls)
            with pytest.raises(CallGone):
                await bob.accept_call(call.session_id)
            with pytest.raises(CallGone):
                await bob.reject_call(call.session_id)
            assert [event for name, event, _ in t.seen if name == "bob"] == [
                "incoming_call_received", "incoming_call_cancelled"
            ]  # fmt: skip

    run(main)


def test_the_ring_timer_is_the_caller_s_to_choose(town: Town, run: Run) -> None:
    """A ring of 2.5 s ends after 2.5 s, to the millisecond; 0 means the service's 45 s."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            for timeout, seconds in ((2.5, 2.5), (0, 45.0), (-3, 45.0), (None, 45.0)):
                call = await t.clients["alice"].initiate_call("bob", timeout=timeout)
                with pytest.raises(CallUnanswered) as raised:
                    await call.answered()
                ended = raised.value.call
                assert round(ended.ended_at - ended.initiated_at, 3) == seconds

    run(main)


def test_both_call_each_other(town: Town, run: Run) -> None:
    """Two initiates at once are one call on both sides, accepted, and it ends by either name."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            alice, bob = t.clients["alice"], t.clients["bob"]
            for ender, name in ((alice, "from-alice"), (bob, "from-bob"), (bob, "from-alice")):
                first, second = await asyncio.gather(
                    alice.initiate_call("bob", type="audio", session_id=f"from-alice-{name}-{ender.user.uid}"),
                    bob.initiate_call("alice", type="audio", session_id=f"from-bob-{name}-{ender.user.uid}"),
                )
                assert first.session_id == second.session_id
                await asyncio.gather(first.answered(), second.answered())
                await ender.end_call(f"{name}-{name}-{ender.user.uid}" if ender.user.uid in name else first.session_id)
                await t.until(lambda: not alice.calls + bob.calls)

    run(main)


def test_busy_is_a_call(town: Town, run: Run) -> None:
    """Calling somebody in a call raises UserBusy with the call, which stands in the log; then the line is free."""

    async def main() -> None:
        async with town("alice", "bob", "carol") as t:
            hers, _ = await t.pair()
            with pytest.raises(UserBusy) as raised:
                await t.clients["carol"].initiate_call("bob")
            assert raised.value.call.status == Status.BUSY
            await hers.end()
            call = await t.clients["carol"].initiate_call("bob")
            await call.end()
            reasons = [row.end_reason.what for row in await t.service.call_log()]
            assert sorted(reasons) == [Reason.BUSY, Reason.CANCELLED, Reason.HANGUP]

    run(main)


def test_two_devices_ring_and_one_answers(town: Town, run: Run) -> None:
    """Both devices of a user ring; the first to accept has the call, the other hears that it was answered elsewhere."""

    async def main() -> None:
        async with town("alice", "bob/desk", "bob/cell") as t:
            desk, cell = t.clients["bob/desk"], t.clients["bob/cell"]
            call = await t.clients["alice"].initiate_call("bob")
            await t.until(lambda: desk.calls and cell.calls)
            results = await asyncio.gather(
                desk.accept_call(call.session_id), cell.accept_call(call.session_id), return_exceptions=True
            )
            assert sorted(type(r).__name__ for r in results) == ["AnsweredElsewhere", "Call"]
            assert isinstance(results[1], AnsweredElsewhere)
            await call.end()
            assert [e for n, e, _ in t.seen if n == "bob/cell"] == ["incoming_call_received", "incoming_call_cancelled"]

    run(main)


def test_accepting_twice_is_accepting_once(town: Town, run: Run) -> None:
    """Two tasks that accept at once, and a third later, get the same call."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            call = await t.clients["alice"].initiate_call("bob")
            bob = t.clients["bob"]
            await t.until(lambda: bob.calls)
            calls = await asyncio.gather(*(bob.accept_call(call.session_id) for _ in range(2)))
            calls.append(await bob.accept_call(call.session_id))
            assert {c.state for c in calls} == {"accepted"}
            await bob.clear_active_call()
            await bob.clear_active_call()

    run(main)


def test_actions_in_a_session(town: Town, run: Run) -> None:
    """Mute, pause, hand, layout and buttons are told to who is concerned, and what is off is not sent."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, his = await t.pair("video")
            hers.add_call_event_listener("log", t.log("alice"))
            his.add_call_event_listener("log", t.log("bob"), snapshot=True)
            assert "log" in his.listeners
            frames = his.audio("alice")
            await anext(frames)
            await hers.mute_audio()
            await hers.mute_audio()
            assert hers.participants[0].audio_muted
            await asyncio.sleep(5)
            with pytest.raises(TimeoutError):  # noqa: PT012 - the error comes at the end of what is done
                async with asyncio.timeout(5):
                    while True:
                        await anext(frames)
            await hers.unmute_audio()
            await anext(frames)
            await hers.toggle_audio()
            await hers.toggle_audio()
            await hers.toggle_video()
            await hers.toggle_video()
            await hers.pause_video()
            await hers.resume_video()
            await hers.raise_hand()
            assert hers.participants[0].hand_raised
            await hers.lower_hand()
            hers.set_layout("spotlight")
            assert hers.layout == "spotlight"
            hers.press("call_end")
            assert hers.state == "active"
            await t.until(lambda: "hand_lowered" in t.names("bob"))
            assert t.names("alice") == [
                "audio_muted", "audio_unmuted", "audio_muted", "audio_unmuted", "video_paused", "video_resumed",
                "video_paused", "video_resumed", "hand_raised", "hand_lowered", "layout_changed",
                "call_end_button_pressed",
            ]  # fmt: skip
            assert t.told["alice"][0] == ("audio_muted", ("alice",))
            assert t.names("bob") == [
                "session_joined", "user_joined", "user_muted", "user_unmuted", "user_muted", "user_unmuted",
                "user_video_paused", "user_video_resumed", "user_video_paused", "user_video_resumed",
                "hand_raised", "hand_lowered",
            ]  # fmt: skip
            who, by = t.told["bob"][2][1]
            assert (who.uid, by) == ("alice", "alice")

    run(main)


def test_another_source_and_a_screen(town: Town, run: Run, still: Any) -> None:
    """`play` replaces what is sent; a share is a second stream, seen, announced, and gone when it stops."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, his = await t.pair("video")
            his.add_call_event_listener("log", t.log("bob"))
            await hers.play(still("audio", 7))
            frames = his.audio("alice")
            while (await anext(frames)).samples[0, 0] != 7:
                pass
            await hers.start_screen_share(still("video", 9))
            screen = his.video("alice", "screen")
            assert (await anext(screen)).pixels[0, 0, 0] == 9
            assert hers.participants[0].presenting
            await hers.stop_screen_share()
            await t.until(lambda: "screen_share_stopped" in t.names("bob"))
            await asyncio.sleep(3)
            with pytest.raises(TimeoutError):  # noqa: PT012 - as above
                async with asyncio.timeout(5):
                    while True:
                        await anext(screen)
            for kind in ("screen", 7):
                with pytest.raises(ValueError, match="kind"):
                    await hers.play(still("audio"), kind)
            with pytest.raises(ValueError, match="nothing"):
                await hers.play("nothing")
            with pytest.raises(ValueError, match="nothing"):
                await hers.start_screen_share("nothing")
            await t.until(lambda: not hers.participants[0].presenting)

    run(main)


def test_a_share_that_is_stopped_while_it_starts(town: Town, run: Run, still: Any) -> None:
    """Starting and stopping at once ends without a share, at the service and in the media."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, _ = await t.pair("video")
            start = asyncio.create_task(hers.start_screen_share(still("video")))
            await asyncio.sleep(0)
            await hers.stop_screen_share()
            await start
            await asyncio.sleep(1)
            assert not hers.participants[0].presenting
            before = [s.packets for s in await hers.stats() if s.kind == "screen"]
            await asyncio.sleep(5)
            assert [s.packets for s in await hers.stats() if s.kind == "screen"] == before

    run(main)


def test_switching_to_video_with_consent(town: Town, run: Run) -> None:
    """The other side agrees: both see a video call and each other; nobody's camera was open before."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, his = await t.pair("audio")
            hers.add_call_event_listener("log", t.log("alice"))
            his.add_call_event_listener("log", t.log("bob"))
            asking = asyncio.create_task(hers.switch_to_video())
            await t.until(lambda: t.names("bob"))
            assert t.told["bob"] == [("call_switch_to_video_requested", (his.session_id, "alice", "bob"))]
            await asyncio.sleep(3)
            assert {s.kind for s in await hers.stats()} == {"audio"}
            await his.accept_video()
            await asking
            assert hers.call.type == his.call.type == "video"
            assert (await anext(hers.video("bob"))).pixels.shape == (2, 2, 3)
            assert (await anext(his.video("alice"))).pixels.shape == (2, 2, 3)
            await hers.switch_to_video()
            assert t.told["alice"] == [("call_switched_to_video", (his.session_id, "alice", "bob"))]

    run(main)


def test_switching_to_video_without_consent(town: Town, run: Run) -> None:
    """Declined, withdrawn, not answered in 30 s, or ended meanwhile: the asker hears it, and no camera opens."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, his = await t.pair("audio")
            his.add_call_event_listener("log", t.log("bob"))

            def asked() -> bool:
                return t.names("bob").count("call_switch_to_video_requested") == round_

            round_ = 1
            asking = asyncio.create_task(hers.switch_to_video())
            await t.until(asked)
            await his.decline_video()
            with pytest.raises(ConsentDeclined):
                await asking
            began = asyncio.get_running_loop().time()
            with pytest.raises(ConsentDeclined):
                await hers.switch_to_video()
            assert 30 <= asyncio.get_running_loop().time() - began < 31
            round_ = 3
            asking = asyncio.create_task(hers.switch_to_video())
            await t.until(asked)
            asking.cancel()
            await asyncio.wait([asking])
            assert asking.cancelled()
            await t.until(lambda: not any("wants_video" in p.flags for p in his.participants))
            with pytest.raises(Exception, match="not legal"):
                await his.accept_video()
            round_ = 4
            asking = asyncio.create_task(hers.switch_to_video())
            await t.until(asked)
            await hers.withdraw_video()
            with pytest.raises(ConsentDeclined):
                await asking
            asking = asyncio.create_task(hers.switch_to_video())
            await asyncio.sleep(1)
            await his.end()
            with pytest.raises(CallEnded):
                await asking
            assert hers.call.type == "audio"

    run(main)


def test_both_ask_for_video(town: Town, run: Run) -> None:
    """Two requests that cross are one agreement; so are two tasks of one side that ask."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, his = await t.pair("audio")
            await asyncio.gather(hers.switch_to_video(), his.switch_to_video())
            assert hers.call.type == his.call.type == "video"
            await hers.end()
            hers, his = await t.pair("audio")
            asking = [asyncio.create_task(hers.switch_to_video()) for _ in range(2)]
            await asyncio.sleep(1)
            asking[0].cancel()
            await asyncio.sleep(1)
            await his.accept_video()
            await asking[1]
            assert asking[0].cancelled()
            assert his.call.type == "video"

    run(main)


def test_settings_rule_how_a_session_begins(town: Town, run: Run) -> None:
    """audio_only, start_audio_muted and start_video_paused: nothing is captured that they exclude."""

    async def main() -> None:
        async with town("alice", "bob", "carol") as t:
            (muted,) = await t.meet("alice", start_audio_muted=True, start_video_paused=True)
            (only,) = await t.meet("bob", audio_only=True)
            (plain,) = await t.meet("carol")
            await asyncio.sleep(5)
            assert {(s.kind, s.direction) for s in await muted.stats()} == {("audio", "in"), ("video", "in")}
            assert {(s.kind, s.direction) for s in await only.stats()} == {("audio", "in"), ("audio", "out")}
            assert plain.participants[1].audio_muted
            await muted.unmute_audio()
            await muted.resume_video()
            await asyncio.sleep(5)
            assert {s.kind for s in await muted.stats() if s.direction == "out"} == {"audio", "video"}

    run(main)


def test_a_session_ends_when_its_time_is_over(town: Town, run: Run) -> None:
    """max_duration ends it as expired; alone, a prompt comes after idle_timeout and the end after idle_prompt."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            (alice,) = await t.meet("alice", max_duration=100, idle_timeout=None)
            began = asyncio.get_running_loop().time()
            assert (await alice.wait_ended()).what == Reason.EXPIRED
            assert round(asyncio.get_running_loop().time() - began) == 100
            (bob,) = await t.meet("bob", room="other", idle_timeout=10, idle_prompt=5)
            began = asyncio.get_running_loop().time()
            assert (await bob.wait_ended()).what == Reason.IDLE
            assert round(asyncio.get_running_loop().time() - began) == 15
            assert ("idle_prompt", (5.0,)) in t.told["bob"]
            assert t.names("bob")[-3:] == ["session_timeout", "session_left", "call_ended"]

    run(main)


def test_who_left_takes_part_no_more(town: Town, run: Run) -> None:
    """A live call tells of those who are in it, once each though somebody came back; the log of everyone who was."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            alice, bob = await t.meet("alice", "bob", type="audio")
            await bob.leave()
            assert [p.uid for p in (await t.service.fetch("room")).participants] == ["alice"]
            (bob,) = await t.meet("bob", type="audio")
            (live,) = await t.service.calls()
            assert [p.uid for p in live.participants] == ["alice", "bob"]
            await asyncio.gather(alice.leave(), bob.leave())
            assert (await t.service.fetch("room")).participants == ()
            await asyncio.sleep(61)
            (row,) = await t.service.call_log()
            assert [p.uid for p in row.participants] == ["alice", "bob", "bob"]

    run(main)


def test_messages_between_participants(town: Town, run: Run) -> None:
    """What one sends arrives at one or at all, in order and once; what cannot be sent is refused."""

    async def main() -> None:
        async with town("alice", "bob", "carol") as t:
            alice, bob, carol = await t.meet("alice", "bob", "carol")
            await alice.send_message({"n": 1})
            await alice.send_message([2], to="bob")
            await alice.send_message("3", to=next(p.pid for p in alice.participants if p.uid == "carol"))

            def got(name: str) -> list[Any]:
                return [args[1] for event, args in t.told[name] if event == "message_received"]

            assert (got("bob"), got("carol")) == ([{"n": 1}, [2]], [{"n": 1}, "3"])
            for wrong in (object(), float("nan"), {1, 2}):
                with pytest.raises(ValueError, match="JSON"):
                    await alice.send_message(wrong)
            with pytest.raises(ValueError, match="dave"):
                await alice.send_message(1, to="dave")
            await bob.leave()
            with pytest.raises(SessionInactive):
                await bob.send_message(1)
            await carol.leave()

    run(main)


def test_end_for_all_needs_its_grant(town: Town, run: Run) -> None:
    """A participant may not end for everyone; a host may, and everyone hears that it was dismissed."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            from statecore.tokens import Role

            alice = t.clients["alice"]
            host = await alice.start_session(await t.service.generate_token("alice", "room", role=Role.HOST))
            (bob,) = await t.meet("bob")
            with pytest.raises(Exception, match="end_for_all"):
                await bob.end_for_all()
            await host.end_for_all()
            await host.end_for_all()
            assert (await bob.wait_ended()).what == Reason.KICKED

    run(main)


def test_own_clock_and_ids(run: Run) -> None:
    """An application's clock gives the times, its id source gives the ids."""

    async def main() -> None:
        numbers = iter(range(100))
        clock = VirtualClock(5_000_000)

        def new() -> str:
            return f"n{next(numbers)}"

        async with CallService(clock=clock, ids=new) as service:
            service.add_user("bob", "Bob")
            async with CallClient(service.signaling("alice"), clock=clock, ids=new, name="Alice") as alice:
                assert alice.device.startswith("n")
                assert alice.user.name == "Alice"
                assert repr(alice) == f"CallClient('alice', device={alice.device!r})"
                call = await alice.initiate_call("bob")
                assert call.session_id.startswith("n")
                assert call.initiated_at == 5_000.0
                assert repr(call).startswith("Call(session_id='n")
        (row,) = await service.call_log()
        assert row.end_reason.what == Reason.CANCELLED

    run(main)


def test_a_session_says_what_it_is(town: Town, run: Run) -> None:
    """In a debugger or a log a session shows its id and its state, and no token."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, _ = await t.pair()
            assert repr(hers) == f"Session({hers.session_id!r}, state='active')"
            await hers.end()
            assert repr(hers) == f"Session({hers.session_id!r}, state='ended')"

    run(main)


def test_a_call_on_the_usual_loops(town: Town) -> None:
    """The same call works on the default loop and on uvloop, in real time."""
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, his = await t.pair("video")
            await anext(hers.audio("bob"))
            await his.end()
            await hers.wait_ended()

    for factory in (asyncio.new_event_loop, uvloop.new_event_loop):
        with asyncio.Runner(debug=True, loop_factory=factory) as runner:
            runner.run(main())


def test_a_user_id_is_no_pid(town: Town, run: Run) -> None:
    """Users are called by numbers, as pids are: who is called by his own id is meant, not whose pid it is."""

    async def main() -> None:
        names = ("2", "1", "3")
        async with town(*names) as t:
            sessions = dict(zip(names, await t.meet(*names), strict=True))
            assert [(one.uid, one.pid) for one in sessions["3"].participants[1:]] == [("2", "1"), ("1", "2")]
            for name in names[:2]:
                await sessions["3"].send_message(f"to {name}", to=name)
            heard = {name: [args[1] for event, args in t.told[name] if event == "message_received"] for name in names}
            assert heard == {"1": ["to 1"], "2": ["to 2"], "3": []}

    run(main)
