"""Calls between pages in real Chromium, with fake devices and real media."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from statecore import CallClient, Session
from statecore.aio import Call
from statecore.testing.signals import dominant_hz, rms_dbfs
from statecore_aiortc import AiortcMedia, Picture, Tone


def test_a_page_calls_a_page(town: Any) -> None:
    """One page rings another, which accepts: both see moving pictures and hear sound, and an end shows at both."""

    async def main(all_: Any, alice: Any, bob: Any) -> None:
        await alice.call("bob")
        await bob.click("#accept")
        await asyncio.gather(alice.in_call(), bob.in_call())
        await asyncio.gather(alice.sees("bob"), bob.sees("alice"), alice.hears(), bob.hears())
        await alice.click("#end")
        await asyncio.gather(alice.at_home(), bob.at_home())

    town.run(main)


def test_a_call_is_declined_and_one_is_cancelled(town: Any) -> None:
    """A declined call and a cancelled one leave both pages as they were, and stand in the log as what they are."""

    async def main(all_: Any, alice: Any, bob: Any) -> None:
        await alice.call("bob")
        await bob.click("#reject")
        await asyncio.gather(alice.at_home(), bob.at_home())
        await alice.call("bob")
        await bob.until("document.querySelector('#ring').open")
        await alice.click("#cancel")
        await asyncio.gather(alice.at_home(), bob.at_home())
        assert [status for status, _ in await all_.calls()] == ["cancelled", "rejected"]

    town.run(main)


def test_it_rings_with_sound(town: Any) -> None:
    """In and out: each from the ring's beginning to its end, however it ends, and no longer; Escape silences one that
    comes in. One also hears it who has loaded the page anew, from the first key or click on."""

    async def main(all_: Any, alice: Any, bob: Any) -> None:
        async def ring() -> None:
            await asyncio.gather(alice.is_quiet(), bob.is_quiet())
            await alice.call("bob", "audio")
            await asyncio.gather(alice.plays(RING_OUT), bob.plays(RING_IN))

        for end in ((alice, "#cancel"), (bob, "#reject"), (bob, "#accept")):
            await ring()
            await end[0].click(end[1])
            await asyncio.gather(alice.is_quiet(), bob.is_quiet())
        await alice.click("#end")
        await asyncio.gather(alice.at_home(), bob.at_home())
        await ring()
        await bob.press("Escape")
        await bob.is_quiet()
        await alice.plays(RING_OUT)
        await bob.reload()
        await bob.rings()
        await bob.press("Tab")
        await bob.plays(RING_IN)

    town.run(main)


RING_OUT, RING_IN = 425, 988


def test_a_page_calls_a_python_bot(town: Any) -> None:
    """A bot on aiortc answers a page: each hears the other's tone and sees moving pictures."""

    async def main(all_: Any, alice: Any, bob: Any) -> None:
        all_.service.add_user("bot", "Bot")
        met = asyncio.Event()

        async def answer(call: Call) -> None:
            async with call.answer(type=call.type) as session:
                await asyncio.gather(_moves(session), _hears(session, 1000))
                met.set()
                await session.wait_ended()

        media = AiortcMedia(Tone(440.0), Picture())
        async with CallClient(all_.service.signaling("bot"), media) as bot, asyncio.TaskGroup() as group:
            serving = group.create_task(bot.serve(answer))
            await alice.call("bot")
            await alice.in_call()
            await asyncio.gather(alice.sees("bot"), alice.hears(), asyncio.wait_for(met.wait(), 15))
            await alice.hears_tone(440)
            await alice.click("#end")
            await alice.at_home()
            serving.cancel()

    town.run(main)


def test_an_audio_call_becomes_video_by_consent(town: Any) -> None:
    """No camera is shown before the other side agrees; after it both see each other. Two clicks ask once, and who takes
    the request back is not told that it was declined. An answer that the service did not hear can be given again."""

    async def main(all_: Any, alice: Any, bob: Any) -> None:
        await alice.call("bob", "audio")
        await bob.click("#accept")
        await asyncio.gather(alice.in_call(), bob.in_call())
        assert await alice.run("[...document.querySelectorAll('.tile video')].every((each) => each.hidden)")
        for _ in range(2):
            await alice.click("#to-video")
        await bob.until("!document.querySelector('#asked').hidden")
        asked = await alice.run("performance.now()")
        await alice.until(f"performance.now() > {asked} + 500 && {_TO_VIDEO} === 'Withdraw'")
        await alice.click("#to-video")
        await asyncio.gather(
            bob.until("document.querySelector('#asked').hidden"), alice.until(f"{_TO_VIDEO} === 'Switch to video'")
        )
        assert await alice.run("document.querySelector('#notice').hidden")
        await alice.click("#to-video")
        await bob.until("!document.querySelector('#asked').hidden")
        all_.browser.offline = True
        all_.wire.cut()
        await bob.run(_HURRIED)
        await bob.click("#asked-yes")
        await bob.until("document.querySelector('#notice').innerText === 'The service did not answer.'")
        all_.wire.mend()
        await bob.run("statecore.core.timers = patient")
        await bob.click("#asked-yes")  # which is asked again
        await asyncio.gather(alice.sees("bob"), bob.sees("alice"))

    town.run(main)


# From now on a command that is not heard within a moment has failed.
_HURRIED = """(() => {
  globalThis.patient = statecore.core.timers;
  statecore.core.timers = { ...patient, command: 300 };
})()"""
_TO_VIDEO = "document.querySelector('#to-video').innerText"


def test_a_page_shares_its_screen(town: Any) -> None:
    """The other page sees the screen beside the camera, and says so; once it is no longer shared, nothing of it stays
    open. Who closes what the browser asks is not told that it was not allowed."""

    async def main(all_: Any, alice: Any, bob: Any) -> None:
        await alice.call("bob")
        await bob.click("#accept")
        await asyncio.gather(alice.in_call(), bob.in_call())
        await alice.click("#share")
        await asyncio.gather(bob.sees("alice", "screen"), bob.sees("alice"))
        assert await bob.run("document.querySelector('#say').textContent") == "alice shares a screen."
        await alice.click("#share")
        await bob.until("!document.querySelector('[data-kind=screen]')")
        await alice.until("opened.filter((track) => track.readyState === 'live').length === 2")
        await alice.run(_CLOSED)
        await alice.click("#share")
        await alice.until("document.querySelector('#notice').innerText === 'No screen was chosen.'")
        await alice.run("navigator.mediaDevices.getDisplayMedia = asks")
        await bob.click("#end")
        await asyncio.gather(alice.at_home(), bob.at_home(), alice.off(), bob.off())

    town.run(main)


# Whatever the browser asks is closed from now on.
_CLOSED = """(() => {
  globalThis.asks = navigator.mediaDevices.getDisplayMedia;
  const closed = () => Promise.reject(new DOMException('Permission denied', 'NotAllowedError'));
  navigator.mediaDevices.getDisplayMedia = closed;
})()"""


def test_a_page_changes_its_devices(town: Any) -> None:
    """The menu shows the devices that are used, also after a change that failed; a microphone that goes by itself is
    told, and the other sees its user muted."""

    async def main(all_: Any, alice: Any, bob: Any) -> None:
        await alice.call("bob")
        await bob.click("#accept")
        await asyncio.gather(alice.in_call(), bob.in_call(), bob.sees("alice"))
        await alice.press("d")
        await alice.until(f"{_CAMERA}?.options.length > 2")
        cameras = await alice.run(f"[...{_CAMERA}.options].map((each) => each.value)")
        assert await alice.run(f"{_CAMERA}.value") == await alice.run(_USED) == cameras[0]
        await alice.run(_CHOOSE % cameras[2])
        await alice.until(f"{_CAMERA}.value === '{cameras[2]}' && {_USED} === {_CAMERA}.value")
        await alice.run(_BREAK % cameras[1])
        await alice.run(_CHOOSE % cameras[1])
        await alice.until("document.querySelector('#notice').innerText === 'The camera could not be opened.'")
        await alice.until(f"{_CAMERA}.value === '{cameras[2]}' && {_USED} === {_CAMERA}.value")
        await asyncio.gather(alice.sees("alice"), bob.sees("alice"))
        await alice.click("#camera")
        await alice.until("[...statecore.sessions.values()][0].localTrack('video') === null")
        assert await alice.run(f"{_CAMERA}.value") == cameras[2]
        await alice.run(_PULL)
        await alice.until("document.querySelector('#panel select').selectedOptions[0].text === \"System's choice\"")
        await alice.until("document.querySelector('#notice').innerText === 'The microphone is gone.'")
        await bob.until("document.querySelector('.tile[data-user=alice] .label').innerText.includes('muted')")
        await alice.press("Tab")
        await alice.run("document.activeElement.blur()")
        await alice.press("m")
        await bob.hears()
        await alice.run("navigator.mediaDevices.getUserMedia = unbroken")

    town.run(main)


_CAMERA = "document.querySelectorAll('#panel select')[1]"
_USED = "[...statecore.sessions.values()][0].localTrack('video').getSettings().deviceId"
_CHOOSE = f"(() => {{ {_CAMERA}.value = '%s'; {_CAMERA}.dispatchEvent(new Event('change')); }})()"
# This camera cannot be opened any more.
_BREAK = """(() => {
  globalThis.unbroken = navigator.mediaDevices.getUserMedia;
  navigator.mediaDevices.getUserMedia = async (wanted) => {
    if (wanted.video?.deviceId?.exact === '%s') throw new DOMException('in use', 'NotReadableError');
    return unbroken(wanted);
  };
})()"""
# As the browser does once the microphone's cable is out.
_PULL = """(() => {
  const track = [...statecore.sessions.values()][0].localTrack('audio');
  track.stop();
  track.dispatchEvent(new Event('ended'));
})()"""


def test_python_calls_a_page(town: Any) -> None:
    """A program rings a page, whose user accepts: each hears the other's tone and sees moving pictures."""

    async def main(all_: Any, alice: Any, bob: Any) -> None:
        all_.service.add_user("python")
        media = AiortcMedia(Tone(600.0), Picture())
        async with CallClient(all_.service.signaling("python"), media) as python:
            call = await python.initiate_call("alice", type="video")
            await alice.click("#accept")
            await call.answered()
            async with python.started(call.session_id, type="video") as session:
                looking = asyncio.create_task(_moves(session))
                listening = asyncio.create_task(_hears(session, 1000))
                await asyncio.gather(alice.sees("python"), alice.hears())
                await alice.hears_tone(600)
                await asyncio.wait_for(asyncio.gather(looking, listening), 15)
                await session.end()
        await asyncio.gather(alice.at_home(), alice.off())

    town.run(main)


async def _hears(session: Session, hz: float) -> None:
    """Until the tone of the page's microphone was heard."""
    heard = np.zeros((0, 1), np.int16)
    async for frame in session.audio("alice"):
        heard = np.concatenate((heard, frame.samples[:, :1]))[-frame.rate // 4 :]
        if rms_dbfs(heard) > -40 and abs(dominant_hz(heard, frame.rate) - hz) < 15:
            return


async def _moves(session: Session) -> None:
    """Until a picture came that is not uniform, and then another that differs from it."""
    first: Any = None
    async for frame in session.video("alice"):
        if first is None and frame.pixels.std() > 8:
            first = frame.pixels.astype(int)
        elif first is not None and first.shape == frame.pixels.shape and np.abs(first - frame.pixels).max() > 32:
            return


def test_a_busy_user_is_not_disturbed(town: Any) -> None:
    """Who calls somebody in a call is told so, and it rings nowhere; the call goes on, and the log has the other."""

    async def main(all_: Any, alice: Any, bob: Any) -> None:
        carol = await all_.person("carol")
        await alice.call("bob", "audio")
        await bob.click("#accept")
        await asyncio.gather(alice.in_call(), bob.in_call())
        await carol.call("bob", "audio")
        await carol.until("document.querySelector('#notice').textContent === 'bob is busy.'")
        await asyncio.gather(carol.at_home(), carol.off())
        assert not await bob.run("document.querySelector('#ring').open")
        assert await bob.run("document.body.dataset.view") == "call"
        assert await all_.calls() == [("busy", "busy"), ("ongoing", "")]

    town.run(main)


def test_nobody_answers_a_page(town: Any) -> None:
    """When the service's ring timer fires, both pages stop ringing; one says so, the other shows a missed call."""

    async def main(all_: Any, alice: Any, bob: Any) -> None:
        await alice.run(_IMPATIENT)
        opened, missed = await bob.run("opened.length"), await bob.run(_MISSED)
        await alice.call("bob")
        await bob.rings()
        await asyncio.gather(alice.at_home(), bob.at_home())
        await alice.until("document.querySelector('#notice').textContent === 'No answer'")
        await bob.until("document.querySelector('#notice').textContent === 'Missed call from alice'")
        await bob.until(f"{_MISSED} === {missed + 1}")
        assert await all_.calls() == [("unanswered", "unanswered")]
        assert await bob.run("opened.length") == opened

    town.run(main)


_MISSED = """[...document.querySelectorAll('#log .missed')].filter((each) => each.innerText.includes('alice')).length"""
# The next call is to ring for a second only.
_IMPATIENT = """(() => {
  statecore.initiateCall = (user, more) => {
    delete statecore.initiateCall;
    return statecore.initiateCall(user, { ...more, timeout: 1 });
  };
})()"""


@pytest.mark.soak
def test_two_pages_call_each_other(town: Any) -> None:
    """Both press call at the same moment, again and again: each time it becomes one call, and rings nowhere."""

    async def main(all_: Any, alice: Any, bob: Any) -> None:
        for _ in range(3):
            await asyncio.gather(alice.call("bob", "audio"), bob.call("alice", "audio"))
            await asyncio.gather(alice.in_call(), bob.in_call())
            await asyncio.gather(alice.hears(), bob.hears())
            for tab in (alice, bob):
                assert not await tab.run("document.querySelector('#ring').open")
            await bob.click("#end")
            await asyncio.gather(alice.at_home(), bob.at_home(), alice.off(), bob.off())
        assert await all_.calls() == [("ended", "hangup")] * 3

    town.run(main)


@pytest.mark.soak
def test_the_page_is_used_without_a_mouse(world: Any) -> None:
    """By Tab, Enter and single letters everything is reached, with the focus in sight; Escape gives up a call of one's
    own, and only silences one that comes in, however often it is pressed."""

    async def main() -> None:
        async with world() as all_:
            alice, bob = await all_.person("alice"), await all_.person("bob")
            await alice.send("Page.bringToFront")
            await alice.until("document.querySelector('[data-user=bob][data-call=audio]')")
            await alice.focus("[data-user=bob][data-call=audio]")
            await alice.press("Enter")
            await bob.rings()
            await alice.press("Escape")
            await asyncio.gather(alice.at_home(), bob.at_home())
            await alice.focus("[data-user=bob][data-call=audio]")
            await alice.press("Enter")
            await bob.rings()
            await bob.send("Page.bringToFront")
            assert "alice" in await bob.run("document.querySelector('#say').textContent")
            for _ in range(3):
                await bob.press("Escape")
            await bob.focus("#accept")
            await bob.press("Enter")
            await asyncio.gather(alice.in_call(), bob.in_call())
            await bob.press("m")
            await alice.until("""document.querySelector('.tile[data-user="bob"] .label').innerText.includes('muted')""")
            await bob.press("p")
            await bob.until("!document.querySelector('#panel').hidden")
            await bob.press("Escape")
            await bob.until("document.querySelector('#panel').hidden")
            await bob.focus("[role=radio][aria-checked=true]")
            await bob.focus("#end")
            await bob.press("Enter")
            await asyncio.gather(alice.at_home(), bob.at_home(), alice.off(), bob.off())
            assert await all_.calls() == [("ended", "hangup"), ("cancelled", "cancelled")]

    asyncio.run(main())


def test_a_page_and_a_bot_by_the_relay_that_the_service_hands_out(world: Any, coturn: Any) -> None:
    """Where the service wants everything to go through its TURN server, it does: each logs in there by itself."""

    async def main() -> None:
        async with world(ice=coturn.credentials()) as all_:
            all_.service.add_user("bot", "Bot")

            async def answer(call: Call) -> None:
                async with call.answer(type=call.type) as session:
                    await session.wait_ended()

            media = AiortcMedia(Tone(440.0), Picture())
            async with CallClient(all_.service.signaling("bot"), media) as bot, asyncio.TaskGroup() as group:
                serving = group.create_task(bot.serve(answer))
                carol = await all_.person("carol")
                await carol.call("bot")
                await carol.in_call()
                await asyncio.gather(carol.sees("bot"), carol.hears())
                assert await carol.run(_SELECTED) == ["relay", "relay"]
                await carol.click("#end")
                await carol.at_home()
                serving.cancel()
        assert ":carol>" in coturn.log

    asyncio.run(main())


_SELECTED = """(async () => {
  const [session] = [...statecore.sessions.values()];
  const [peer] = [...session.media.peers.values()];
  const report = await peer.link.pc.getStats();
  const pair = [...report.values()].find((each) => each.type === 'candidate-pair' && each.nominated);
  return [pair.localCandidateId, pair.remoteCandidateId].map((id) => report.get(id).candidateType);
})()"""
