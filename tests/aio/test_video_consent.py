"""Asking to switch to video: each request gets its own answer, and no camera opens under one that was declined."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from statecore import Session
from statecore.errors import CallEnded, ConsentDeclined, StatecoreError
from statecore.ports import VideoFrame
from statecore.testing import FakeMedia

Town, Run = Callable[..., Any], Callable[..., Any]


def test_the_answer_to_an_earlier_request_is_none_to_a_later_one(town: Town, run: Run) -> None:
    """Who asks again while a decline is on its way is not told that decline, but what becomes of the new request."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, his = await t.pair()
            first = asyncio.create_task(hers.switch_to_video())
            await t.until(lambda: "wants_video" in his.leg.peers[0].flags)
            declining = asyncio.create_task(his.decline_video())
            second = asyncio.create_task(hers.switch_to_video())
            with pytest.raises(ConsentDeclined):
                await first
            await declining
            await asyncio.sleep(1)
            assert not second.done()
            await his.accept_video()
            await second
            assert hers.leg.type == "video"
            await hers.end()

    run(main)


def test_who_listens_late_hears_what_waits_for_an_answer(town: Town, run: Run) -> None:
    """A handler that comes after the request can answer it: it asks for what there is already. One that comes after the
    answer hears of no request."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, his = await t.pair()
            asking = asyncio.create_task(hers.switch_to_video())
            await t.until(lambda: "wants_video" in his.leg.peers[0].flags)
            heard: list[tuple[str, ...]] = []

            async def agree(*told: str) -> None:
                heard.append(told)
                await his.accept_video()

            his.on("call_switch_to_video_requested", agree, snapshot=True)
            await asking
            assert heard == [(his.session_id, "alice", "bob")]
            his.on("call_switch_to_video_requested", lambda *told: heard.append(told), snapshot=True)
            assert len(heard) == 1
            await hers.end()

    run(main)


def test_a_request_given_up_before_it_was_heard(town: Town, run: Run) -> None:
    """A request that is cancelled while it is on its way to the service is withdrawn all the same."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, his = await t.pair(listener=t.log("both"))
            t.links["alice"].delay = 0.1
            asking = asyncio.create_task(hers.switch_to_video())
            await asyncio.sleep(0.05)
            asking.cancel()
            await t.until(lambda: "call_switch_to_video_requested" in t.names("both"))
            await asyncio.sleep(1)
            with pytest.raises(StatecoreError):
                await his.accept_video()
            assert hers.leg.type == "audio"
            await hers.end()

    run(main)


def test_the_answer_and_the_end_come_at_once(town: Town, run: Run) -> None:
    """Who was cut off when he was declined, and when the call was ended after that, is told that the call has ended."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, his = await t.pair()
            t.links["alice"].delay = 0.1
            asking = asyncio.create_task(hers.switch_to_video())
            await t.until(lambda: "wants_video" in his.leg.peers[0].flags)
            t.links["alice"].cut()
            await his.decline_video()
            await his.end()
            t.links["alice"].mend()
            with pytest.raises(CallEnded) as caught:
                await asking
            assert caught.value.call.session_id == hers.session_id
            assert "wants_video" not in hers.leg.flags

    run(main)


SWITCH = ("call_switch_to_video_requested", "call_switched_to_video", "call_switch_to_video_declined")


def _heard(t: Any, name: str) -> list[tuple[Any, ...]]:
    """What somebody was told of requests for video, without the session's id."""
    return [(event.removeprefix("call_"), *args[1:]) for event, args in t.told[name] if event in SWITCH]


@pytest.mark.parametrize("asker", ["alice", "bob"])
def test_both_hear_who_asked_and_who_agreed(town: Town, run: Run, asker: str) -> None:
    """Of two, whichever asks: both hear the same initiator and the same responder, of a refusal and of a switch."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            sessions = dict(zip(("alice", "bob"), await t.pair(), strict=True))
            for name, session in sessions.items():
                session.add_call_event_listener("log", t.log(name))
            other = "bob" if asker == "alice" else "alice"
            for answer in ("decline_video", "accept_video"):
                asking = asyncio.create_task(sessions[asker].switch_to_video())
                await t.until(lambda: "wants_video" in sessions[other].leg.peers[0].flags)
                await getattr(sessions[other], answer)()
                await asyncio.wait((asking,))
                assert (asking.exception() is None) == (answer == "accept_video")
            declined, switched = ("switch_to_video_declined", asker, other), ("switched_to_video", asker, other)
            assert _heard(t, asker) == [declined, switched]
            asked = ("switch_to_video_requested", asker, other)
            assert _heard(t, other) == [asked, declined, asked, switched]
            await sessions["alice"].end()

    run(main)


def test_both_asking_at_once_is_one_switch(town: Town, run: Run) -> None:
    """The wish that the service heard first is the request, the other one the agreement, for both of them."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, his = await t.pair()
            hers.add_call_event_listener("log", t.log("alice"))
            his.add_call_event_listener("log", t.log("bob"))
            t.links["alice"].delay, t.links["bob"].delay = 0.1, 0.05
            await asyncio.gather(hers.switch_to_video(), his.switch_to_video())
            await asyncio.sleep(1)
            switched = ("switched_to_video", "bob", "alice")
            assert [told for told in _heard(t, "alice") if "switched" in told[0]] == [switched]
            assert [told for told in _heard(t, "bob") if "switched" in told[0]] == [switched]
            await hers.end()

    run(main)


def test_of_three_everybody_hears_who_asked_and_who_agreed(town: Town, run: Run) -> None:
    """Whoever asks and whoever agrees, all hear of the two. Who of several declined is not known: nobody is named."""

    async def main() -> None:
        async with town("alice", "bob", "carol") as t:
            alice, bob, carol = await t.meet("alice", "bob", "carol", type="audio")
            for answer in ("decline_video", "accept_video"):
                asking = asyncio.create_task(bob.switch_to_video())
                await t.until(lambda: any("wants_video" in peer.flags for peer in carol.leg.peers))
                await getattr(carol, answer)()
                await asyncio.wait((asking,))
            await t.until(lambda: all(session.leg.type == "video" for session in (alice, bob, carol)))
            declined, switched = ("switch_to_video_declined", "bob", ""), ("switched_to_video", "bob", "carol")
            assert _heard(t, "bob") == [declined, switched]
            for name in ("alice", "carol"):
                asked = ("switch_to_video_requested", "bob", name)
                assert _heard(t, name) == [asked, declined, asked, switched]

    run(main)


@pytest.mark.parametrize(("asked", "responder"), [(["bob"], "bob"), (["bob", "carol"], "")])
def test_with_whoever_asked_the_request_is_over(town: Town, run: Run, asked: list[str], responder: str) -> None:
    """Who asks and leaves has withdrawn it: whoever was asked hears that, and is not left with the question. Nothing is
    over by the leaving of who did not ask."""

    async def main() -> None:
        async with town("alice", *asked) as t:
            sessions = dict(zip(("alice", *asked), await t.meet("alice", *asked, type="audio"), strict=True))
            asking = asyncio.create_task(sessions["alice"].switch_to_video())
            await t.until(lambda: all(len(_heard(t, name)) == 1 for name in asked))
            await sessions["alice"].leave()
            with pytest.raises(CallEnded):
                await asking
            declined = ("switch_to_video_declined", "alice", responder)
            await t.until(lambda: all("user_left" in t.names(name) for name in asked))
            for name in asked:
                assert _heard(t, name) == [("switch_to_video_requested", "alice", name), declined]
                assert t.names(name).index("call_switch_to_video_declined") < t.names(name).index("user_left")
            await sessions["bob"].leave()
            if asked[1:]:
                await t.until(lambda: t.names("carol").count("user_left") == 2)
                assert len(_heard(t, "carol")) == 2

    run(main)


def test_who_was_away_is_not_told_a_guess(town: Town, run: Run) -> None:
    """Who was cut off between the request and the switch hears of the switch, without names that might be wrong."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, his = await t.pair()
            his.add_call_event_listener("log", t.log("bob"))
            hers.add_call_event_listener("log", t.log("alice"))
            t.links["alice"].cut()
            asking = asyncio.create_task(hers.switch_to_video())
            await his.mute_audio()
            t.links["alice"].mend()
            await t.until(lambda: "wants_video" in his.leg.peers[0].flags)
            t.links["alice"].cut()
            await his.mute_audio()
            await his.accept_video()
            await his.unmute_audio()
            t.links["alice"].mend()
            await asking
            assert _heard(t, "bob")[-1] == ("switched_to_video", "alice", "bob")
            assert _heard(t, "alice") == [("switched_to_video", "", "")]
            await hers.end()

    run(main)


class Asker:
    """Somebody who asks, again and at once, and gives up some of it; what was said to each request."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.asked: list[asyncio.Task[Any]] = []

    def ask(self, session: Session) -> None:
        """One request more."""
        self.asked.append(asyncio.create_task(session.switch_to_video()))

    def give_up(self) -> None:
        """No longer interested in one of them."""
        if self.asked:
            self.draw.choice(self.asked).cancel()

    @property
    def wants(self) -> bool:
        """Whether a camera may be open: somebody was told yes, or waits still."""
        return any(not task.done() or (not task.cancelled() and task.exception() is None) for task in self.asked)


class Camera:
    """A camera that notes of each picture whether the user wants to be seen."""

    def __init__(self, asker: Asker) -> None:
        self.asker = asker
        self.wanted: list[bool] = []

    async def __aiter__(self) -> AsyncIterator[VideoFrame]:
        while True:
            self.wanted.append(self.asker.wants)
            yield VideoFrame(pixels=np.zeros((2, 2, 3), np.uint8), time=0.0)
            await asyncio.sleep(1)


async def _quietly(action: Any) -> None:
    with suppress(StatecoreError):  # nobody asks at present: it came too early or too late
        await action


@pytest.mark.no_cover
@pytest.mark.parametrize("seed", range(60))
def test_no_camera_opens_under_a_request_that_was_declined(town: Town, run: Run, still: Any, seed: int) -> None:
    """However requests, withdrawals, declines and agreements cross on slow and fast links: the camera is open only
    while somebody who asked was told yes, or waits for the answer; and every request has an answer."""

    async def main() -> None:
        draw = random.Random(seed)  # noqa: S311 - a sample, no secret
        asker = Asker(draw)
        camera = Camera(asker)
        async with town("bob") as t:
            await t.add("alice", media=FakeMedia(still("audio"), camera))
            hers, his = await t.pair()
            answers: list[asyncio.Task[None]] = []
            acts: list[Callable[[], Any]] = [
                lambda: asker.ask(hers),
                asker.give_up,
                lambda: answers.append(asyncio.create_task(_quietly(his.decline_video()))),
                lambda: answers.append(asyncio.create_task(_quietly(his.accept_video()))),
            ]
            for act in draw.choices(acts, weights=(4, 2, 4, 1), k=14):
                for link in t.links.values():
                    link.delay = draw.choice((0.0, 0.01, 0.05))
                act()
                for _ in range(draw.randrange(4)):
                    await asyncio.sleep(0)
                await asyncio.sleep(draw.choice((0.0, 0.0, 0.02, 0.1)))
            await asyncio.gather(*answers)
            await asyncio.sleep(60)  # the consent timer, and whatever was under way
            assert all(camera.wanted), "the camera was open when everybody was told no, or had given up"
            for task in asker.asked:
                assert task.cancelled() or isinstance(task.exception(), ConsentDeclined | type(None))
            await hers.end()

    run(main)
