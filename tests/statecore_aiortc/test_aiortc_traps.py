"""The traps of aiortc, each with what the adapter makes of it."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from aioice import stun
from aiortc.mediastreams import AudioStreamTrack

from statecore import CallClient, CallService
from statecore.errors import (
    InvalidArgument,
    InvalidSettings,
    MediaConnectionFailed,
    MediaDeviceError,
    SourceError,
)
from statecore.settings import CallSettings, IceServer
from statecore.testing._media_probe import chunk, hears, sees
from statecore.testing.media import MeetingRoom, RoomHost
from statecore.testing.signals import draw_clock, tone
from statecore_aiortc import AiortcMedia, Device, Frames, Samples, Source, Tone, _webrtc

Media = Callable[..., AiortcMedia]
AUDIO = CallSettings(type="audio")


def run(main: Callable[[], Any]) -> None:
    """Run a test, with a bound."""

    async def bounded() -> None:
        async with asyncio.timeout(30):
            await main()

    asyncio.run(bounded())


def sdps(host: RoomHost, kind: str) -> list[str]:
    """The descriptions that a participant sent."""
    return [json.loads(body).get("sdp", "") for _, sent, body in host.sent if sent == kind]


def clock() -> Frames:
    """Pictures that show the loop's time, whatever source they come from."""
    loop = asyncio.get_running_loop()
    return Frames(lambda _: draw_clock(160, 120, round(loop.time() * 1000)), fps=12)


# --- reaching each other


def test_no_public_server_is_asked() -> None:
    """Without servers the list is empty, not missing: aiortc would ask a public one."""
    assert _webrtc.configuration((), "all").iceServers == []


def test_malformed_server() -> None:
    """An address that aiortc cannot read is told when the session opens, without the credential."""

    async def main() -> None:
        server = IceServer(urls="turn:host:port:x", username="me", credential="secret")
        async with MeetingRoom() as room:
            with pytest.raises(MediaConnectionFailed, match="turn:host:port:x") as caught:
                await room.host("alice").open(AiortcMedia(ice_servers=(server,)))
            assert "secret" not in str(caught.value)

    run(main)


@contextmanager
def stun_server(reply: bool) -> Iterator[int]:
    """A TURN server that refuses every credential, or never says anything; its port."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))

    def serve() -> None:
        while data := server.recvfrom(2048):
            if not data[0]:
                return
            request = stun.parse_message(data[0])
            answer = stun.Message(request.message_method, stun.Class.ERROR, request.transaction_id)
            answer.attributes |= {"ERROR-CODE": (401, "Unauthorized"), "REALM": "here", "NONCE": b"once"}
            server.sendto(bytes(answer), data[1])

    thread = threading.Thread(target=serve)
    if reply:
        thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        if reply:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stop:
                stop.sendto(b"", server.getsockname())
            thread.join()
        server.close()


@pytest.mark.parametrize("policy", ["all", "relay"])
def test_refused_by_turn(meet: Any, policy: Any) -> None:
    """Wrong credentials are told: as the end if only a relay would do, else as a fault, and the two still connect."""

    async def main() -> None:
        with stun_server(reply=True) as port:
            server = IceServer(urls=f"turn:127.0.0.1:{port}", username="me", credential="wrong")
            settings = CallSettings(type="audio", ice_servers=(server,), ice_policy=policy)
            async with meet(settings=settings, connect=policy == "all") as (alice, bob):
                if policy == "relay":
                    assert isinstance(await alice.wait_failed(), MediaConnectionFailed)
                    assert "secret" not in str(alice.failures[0])
                else:
                    assert isinstance(await bob.wait_fault(), MediaConnectionFailed)

    run(main)


def test_relay_policy_of_the_adapter(meet: Any, media: Media) -> None:
    """The adapter's own policy and servers hold where the settings name none."""

    async def main() -> None:
        with stun_server(reply=True) as port:
            server = IceServer(urls=f"turn:127.0.0.1:{port}", username="me", credential="wrong")
            strict = media(ice_servers=(server,), ice_policy="relay")
            async with meet(strict, connect=False) as (alice, _):
                await alice.wait_failed()

    run(main)
    with pytest.raises(InvalidArgument, match="some"):
        AiortcMedia(ice_policy="some")  # type: ignore[arg-type]


def test_silent_server_delays_little(meet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A STUN server that never answers delays the connection by a bounded time; closing meanwhile leaves nothing."""
    monkeypatch.setattr(_webrtc, "GATHER_SECONDS", 1)

    async def main() -> None:
        with stun_server(reply=False) as port:
            settings = CallSettings(type="audio", ice_servers=(IceServer(urls=f"stun:127.0.0.1:{port}"),))
            async with meet(settings=settings):
                pass
            async with meet(settings=settings, connect=False):
                pass

    run(main)


def test_one_transport_for_everything(meet: Any) -> None:
    """All m-lines share one transport, and a call that turns to video is never reported lost or connected again."""

    async def main() -> None:
        async with meet() as (alice, bob):
            reported: list[str] = []
            alice.peer_connected = reported.append
            await bob.session.set_enabled("video", True)
            await sees(alice.session, bob.pid, 5)
            (sdp,) = sdps(bob, "offer")
            assert "a=group:BUNDLE 0 1" in sdp
            assert len({line for line in sdp.splitlines() if line.startswith("a=candidate")}) == len(
                {line for line in sdp.split("m=")[1].splitlines() if line.startswith("a=candidate")}
            )
            assert alice.losses == bob.losses == reported == []

    run(main)


def test_candidates_before_the_description(meet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Candidates that come before the description they belong to are kept until then, as far as there is room, and the
    two connect by them alone."""
    taken: list[str] = []
    add = _webrtc.RTCPeerConnection.addIceCandidate

    async def counted(pc: Any, candidate: Any) -> None:
        taken.append(candidate.ip)
        await add(pc, candidate)

    monkeypatch.setattr(_webrtc.RTCPeerConnection, "addIceCandidate", counted)

    def trickles(host: RoomHost) -> None:
        send = host.send

        def trickling(pid: str, kind: Any, body: str) -> None:
            message = json.loads(body)
            lines = message["sdp"].split("\r\n")
            candidates = [line for line in lines if line.startswith("a=candidate")]
            message["sdp"] = "\r\n".join(
                line for line in lines if not line.startswith(("a=candidate", "a=end-of-candidates"))
            )
            many = [f"candidate:{n} 1 udp 1 192.0.2.{n} 9 typ host" for n in range(1, 200)]
            trickle = [json.dumps({"gen": message["gen"], "candidate": c, "sdpMid": "0"}) for c in [*candidates, *many]]
            if kind == "offer":
                send(pid, kind, json.dumps(message))
            else:
                for each in trickle:
                    send(pid, "candidate", each)
                send(pid, kind, json.dumps(message))

        host.send = trickling  # type: ignore[method-assign]

    async def main() -> None:
        def before(alice: RoomHost, bob: RoomHost) -> None:
            trickles(alice)
            trickles(bob)

        async with meet(before=before) as (alice, bob):
            await hears(alice.session, bob.pid, 880, 5)
            assert 50 < sum(address.startswith("192.0.2.") for address in taken) < 100  # of 199 that came early

    run(main)


def test_dead_peer_is_noticed(meet: Any) -> None:
    """A peer that vanishes without a word is reported lost in seconds, where aiortc needs half a minute."""

    async def main() -> None:
        async with meet() as (alice, bob):
            await hears(alice.session, bob.pid, 880, 5)
            bob.session.abort()
            await alice.wait_lost(bob.pid, 4)
            assert alice.losses == [bob.pid]

    run(main)


def test_muted_peer_is_not_lost(meet: Any) -> None:
    """Two who both send nothing are not taken for dead, for as long as their reports go on."""

    async def main() -> None:
        async with meet() as (alice, bob):
            for host in (alice, bob):
                await host.session.set_enabled("audio", False)
            for _ in range(4):  # one a second, about: longer than a loss takes to be noticed
                await asyncio.gather(_report(alice, bob.pid), _report(bob, alice.pid))
            assert alice.losses == bob.losses == []

    run(main)


async def _report(host: RoomHost, pid: str) -> None:
    """Wait until something arrives from a participant who sends neither sound nor pictures."""
    link = host.session._peers[pid]._link
    before = link.packets
    async with asyncio.timeout(10):
        while link.packets == before:  # noqa: ASYNC110 - a counter tells nobody that it moves
            await asyncio.sleep(0.01)


def test_clean_close_is_noticed_at_once(meet: Any) -> None:
    """A peer that closes in order is reported lost without any poll."""

    async def main() -> None:
        async with meet() as (alice, bob):
            await bob.session.close()
            await alice.wait_lost(bob.pid, 0.4)

    run(main)


# --- m-lines


def test_answer_with_a_camera_that_was_not_offered(meet: Any) -> None:
    """Who answers an audio offer with a camera of his own asks for the token and offers it then."""

    async def main() -> None:
        async with meet(video=(False, True)) as (alice, bob):
            await sees(alice.session, bob.pid, 5)
            assert len(sdps(alice, "offer")) == len(sdps(bob, "offer")) == 1
            assert bob.faults == []

    run(main)


def test_line_of_the_screen_is_used_again(meet: Any) -> None:
    """Shares by either side use one m-line: the first one negotiates it, the others need no offer."""

    async def main() -> None:
        async with meet() as (alice, bob):
            for sharer, viewer in ((alice, bob), (bob, alice), (alice, bob)):
                await sharer.session.set_source("screen", clock())
                await sees(viewer.session, sharer.pid, 5, "screen")
                await sharer.session.set_source("screen", None)
            offers = sdps(alice, "offer") + sdps(bob, "offer")
            assert [offer.count("m=") for offer in offers] == [1, 2]

    run(main)


def test_audio_only_refuses_pictures(meet: Any) -> None:
    """In a session that is audio only nothing is offered, and what the other side offers is answered inactive."""

    async def main() -> None:
        async with MeetingRoom() as room:
            alice, bob = room.host("alice"), room.host("bob", CallSettings(audio_only=True))
            await alice.open(AiortcMedia(Tone(440), clock()), audio=True, video=True)
            await bob.open(AiortcMedia(Tone(880), clock()), audio=True, video=True)
            await bob.wait_connected(alice.pid)
            await hears(bob.session, alice.pid, 440, 5)
            await hears(alice.session, bob.pid, 880, 5)
            (answer,) = sdps(bob, "answer")
            assert "a=inactive" in answer.split("m=video")[1]
            for wanted in (bob.session.set_enabled("video", True), bob.session.set_source("screen", clock())):
                with pytest.raises(InvalidArgument, match="audio only"):
                    await wanted

    run(main)


# --- sending


def test_sources_of_one_and_of_two_channels_follow_each_other(meet: Any) -> None:
    """aiortc's encoder ends for good when the number of channels changes: the other side hears every source."""

    async def main() -> None:
        async with meet() as (alice, bob):
            await hears(bob.session, alice.pid, 440, 5)
            for hz, channels in ((660, 2), (880, 1), (1100, 2)):
                wave = np.repeat(tone(hz, seconds=5.0), channels, axis=1)
                await alice.session.set_source("audio", Samples(wave))
                await hears(bob.session, alice.pid, hz, 5)

    run(main)


def test_mute_sends_nothing(meet: Any) -> None:
    """While muted not one packet of sound is sent."""

    async def main() -> None:
        async with meet() as (alice, bob):
            await hears(bob.session, alice.pid, 440, 5)
            await alice.session.set_enabled("audio", False)
            other = alice.session.audio(bob.pid)
            before = -1
            while before != (
                before := await _packets(alice)
            ):  # what was on its way to the encoder when it was turned off
                await chunk(other, 0.1)
            await chunk(other, 0.5)
            assert await _packets(alice) == before

    run(main)


async def _packets(host: RoomHost) -> int:
    return sum(s.packets for s in await host.session.stats() if (s.kind, s.direction) == ("audio", "out"))


def test_time_goes_on_through_mutes_and_sources(meet: Any) -> None:
    """The times of a stream go on where it is muted, its source replaced, or its connection made anew; aiortc's own
    would jump by a day."""

    async def main() -> None:
        async with meet() as (alice, bob):
            frames = bob.session.audio(alice.pid)
            await chunk(frames, 0.2)
            last = (await anext(frames)).time
            await alice.session.set_source("audio", Tone(990))
            await hears(bob.session, alice.pid, 990, 5)
            await alice.session.set_enabled("audio", False)
            await chunk(alice.session.audio(bob.pid), 0.5)
            await alice.session.set_enabled("audio", True)
            await hears(bob.session, alice.pid, 990, 5)
            while frames._frames:
                time = (await anext(frames)).time
                assert 0 < time - last < 1.5
                last = time

    run(main)


def test_sources_survive_a_peer(meet: Any, media: Media) -> None:
    """An application's own track is not stopped with a connection, nor with the session."""

    async def main() -> None:
        track = AudioStreamTrack()
        async with meet(media(audio=track)) as (alice, bob):
            await chunk(bob.session.audio(alice.pid), 0.2)
        assert track.readyState == "live"
        track.stop()

    run(main)


def test_file_stays_together(meet: Any, mp4: Any) -> None:
    """The sound and the pictures of one file arrive together, also if the camera is turned on in the middle."""

    async def main() -> None:
        from statecore_aiortc import File

        file = File(mp4)
        async with meet(AiortcMedia(file, file), video=(False, False)) as (alice, bob):
            await hears(bob.session, alice.pid, 700, 5)
            await chunk(bob.session.audio(alice.pid), 0.3)
            began = alice.session._began[id(file)]
            await alice.session.set_enabled("video", True)
            frames = bob.session.video(alice.pid)
            frame = await anext(frames)
            from statecore.testing.signals import read_clock

            shown = read_clock(frame.pixels)
            assert shown is not None
            assert asyncio.get_running_loop().time() - began - shown / 1000 < 0.4

    run(main)


# --- sources that cannot be opened


def test_missing_file_leaves_nothing_open() -> None:
    """A file that is missing makes open raise, and set_source too: then what was sent goes on."""

    async def main() -> None:
        async with MeetingRoom() as room:
            with pytest.raises(SourceError):
                await room.host("alice").open(AiortcMedia(audio=Tone(), video="/nowhere.mp4"), audio=True, video=True)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main)


def test_device_opens_with_the_first_yes(meet: Any, media: Media) -> None:
    """A device is not touched before it is on; then a missing one raises, and the name comes from the settings."""

    async def main() -> None:
        settings = CallSettings(type="audio", audio_input="/dev/no-such-microphone")
        async with MeetingRoom() as room:
            host = room.host("alice", settings)
            await host.open(media(audio=Device(format="alsa")), audio=False)
            with pytest.raises(MediaDeviceError, match="no-such-microphone"):
                await host.session.set_enabled("audio", True)

    run(main)


@pytest.mark.parametrize("source", [Tone(), Device("/dev/another", format="alsa")])
def test_a_device_by_which_nothing_is_opened_is_refused(source: Source) -> None:
    """Whoever names a microphone and has his adapter send something else is told so before anything begins; where the
    adapter is to choose one, it is that one which is opened."""

    async def main() -> None:
        async with CallService() as service:
            async with CallClient(service.signaling("alice"), AiortcMedia(audio=source)) as alice:
                with pytest.raises(InvalidSettings, match=r"audio_input='/dev/none'.*opens no device"):
                    await alice.start_session(await alice.generate_token("room"), audio_input="/dev/none")
            async with CallClient(service.signaling("bob"), AiortcMedia(audio=Device(format="alsa"))) as bob:
                with pytest.raises(MediaDeviceError, match="/dev/none"):
                    await bob.start_session(await bob.generate_token("room"), type="audio", audio_input="/dev/none")

    run(main)


def test_device_is_closed_while_off(meet: Any, media: Media) -> None:
    """A camera is open while it is on and closed while it is paused."""

    def open_devices() -> int:
        return sum("video device" in thread.name for thread in threading.enumerate())

    async def main() -> None:
        camera = Device("testsrc=size=160x120:rate=30,realtime", format="lavfi")
        async with meet(media(video=camera)) as (alice, bob):
            assert open_devices() == 0
            for _ in range(2):
                await alice.session.set_enabled("video", True)
                await anext(bob.session.video(alice.pid))
                assert open_devices() == 1
                await alice.session.set_enabled("video", False)
                assert open_devices() == 0

    run(main)


def test_broken_source_is_a_fault(meet: Any, media: Media) -> None:
    """A source that raises while it is sent is told once, and the call goes on."""

    def broken(first: int, count: int) -> Any:
        raise ZeroDivisionError(first, count)

    async def main() -> None:
        async with meet(media(audio=Samples(broken))) as (alice, bob):
            assert "ZeroDivisionError" in str(await alice.wait_fault())
            await hears(alice.session, bob.pid, 880, 5)
            await alice.session.set_source("audio", Tone(440))
            await hears(bob.session, alice.pid, 440, 5)
            assert len(alice.faults) == 1

    run(main)


# --- receiving


def test_nothing_piles_up_unread(meet: Any) -> None:
    """What nobody reads is taken all the same."""

    async def main() -> None:
        async with meet(video=True) as (alice, bob):
            await hears(alice.session, bob.pid, 880, 5)
            await sees(alice.session, bob.pid, 5)
            link = bob.session._peers[alice.pid]._link
            assert {kind: line.receiver.track._queue.qsize() < 5 for kind, line in link._lines.items()} == {
                "audio": True,
                "video": True,
            }

    run(main)


# --- the end


def test_reports_that_raise_do_not_hang_the_close(meet: Any) -> None:
    """Whatever the application's side does when it is told, the connection can be closed."""

    def rude(pid: str) -> None:
        raise RuntimeError(pid)

    def before(alice: RoomHost, bob: RoomHost) -> None:
        alice.peer_connected = rude  # type: ignore[method-assign]

    async def main() -> None:
        async with meet(connect=False, before=before) as (alice, bob):
            await bob.wait_connected(alice.pid)
            await alice.wait_fault()
            async with asyncio.timeout(3):
                await alice.close()

    run(main)
