"""Loudspeakers and microphones of the system, on devices that ALSA makes of files; and the list of them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from statecore.errors import InvalidArgument, MediaDeviceError
from statecore.settings import CallSettings
from statecore.testing.leaks import assert_fully_reaped
from statecore.testing.media import MeetingRoom
from statecore.testing.signals import dominant_hz, tone
from statecore_aiortc import AiortcMedia, Device, Tone, devices
from statecore_aiortc._play import BLOCK, LEAD, Player
from statecore_aiortc._speaker import Loudspeaker, Output
from statecore_aiortc.sources import audio_frame

CONFIGURATION = """
pcm.hole {{ type null }}
pcm.room {{ type file; slave.pcm hole; file "{folder}/room.raw"; format raw }}
pcm.desk {{ type plug; slave.pcm {{ type file; slave.pcm hole; file "{folder}/desk.raw"; format raw }}
           hint {{ show on; description "The desk's loudspeaker" }} }}
pcm.!default {{ type plug; slave.pcm room }}
"""
SYSTEM = Path("/usr/share/alsa/alsa.conf")

linux = pytest.mark.skipif(sys.platform != "linux", reason="only ALSA makes devices of files")


@linux
def test_a_call_is_heard_on_the_system_s_devices(tmp_path: Path) -> None:
    """Each side's loudspeaker plays what the other sends, the default one or the one that the settings name; devices
    are listed by the names that settings take; a microphone is read. Nothing has to be set for ALSA to be found."""
    file = tmp_path / ".asoundrc"
    file.write_text(CONFIGURATION.format(folder=tmp_path))
    quiet = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "ALSA_"))}
    where = {"HOME": str(tmp_path)} if SYSTEM.exists() else {"ALSA_CONFIG_PATH": str(file)}
    program = str(Path(__file__).with_name("on_devices_of_files.py"))
    done = subprocess.run(
        [sys.executable, "-P", program], check=False, capture_output=True, text=True, env=quiet | where, timeout=60
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["faults"] == []
    assert told["read"] == 960
    desk = [each for each in told["devices"] if each["name"] == "desk"]
    assert {(each["use"], each["title"]) for each in desk} == {
        ("audio_input", "The desk's loudspeaker"),
        ("audio_output", "The desk's loudspeaker"),
    }
    for name, hz in (("room", 880), ("desk", 440)):
        played = np.frombuffer((tmp_path / f"{name}.raw").read_bytes(), np.int16).reshape(-1, 2)
        assert len(played) > 48_000
        assert dominant_hz(played[-36_000:], 48_000) == pytest.approx(hz, rel=0.01)


class Card:
    """What a loudspeaker was given, and when the clock stood where."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, way: str, path: Path) -> None:
        self.now, self.path = 100.0, path
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        self.player = Player(way, str(path), {})

    def play(self, value: int = 9_000, age: float = 0.0) -> None:
        """Give it a frame."""
        self.player.play(self.now - age, np.full((BLOCK, 2), value, np.int16).tobytes())

    def played(self) -> Any:
        """All of it, of one channel."""
        self.player.close()
        with av.open(str(self.path)) as file:
            return np.concatenate([frame.to_ndarray().reshape(-1, 2) for frame in file.decode(audio=0)])[:, 0]


def test_a_loudspeaker_is_kept_a_little_ahead(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It gets silence ahead of a sound, at first and again after a pause; what comes in bursts is left out beyond half
    a second, and so is what is older than that."""
    card = Card(monkeypatch, "wav", tmp_path / "card.wav")
    for _ in range(10):
        card.play()
        card.now += 0.02
    card.now += 5.0
    for _ in range(20):
        card.play(-1, age=0.6)
    for _ in range(100):
        card.play()
    sound = card.played()
    lead = round(LEAD * 48_000)
    assert not sound[:lead].any()
    assert (sound[lead : lead + 9_600] == 9_000).all()
    again = sound[lead + 9_600 :]
    assert not again[:lead].any()
    assert 24_000 <= len(again) <= 24_960
    assert (again[lead:] == 9_000).all()


def test_a_loudspeaker_that_stood_still(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What it had when it stopped is still to be played: sound goes on behind that, without more silence."""
    card = Card(monkeypatch, "wav", tmp_path / "card.wav")
    for _ in range(10):
        card.play()
    container, card.player._container = card.player._container, SlowFor4Seconds(card)
    card.play()
    card.player._container = container
    for _ in range(30):
        card.play()
    sound = card.played()[round(LEAD * 48_000) :]
    assert (sound == 9_000).all()
    assert len(sound) == pytest.approx(0.4 * 48_000, abs=BLOCK)


class SlowFor4Seconds:
    """In place of the container while a write takes that long."""

    def __init__(self, card: Card) -> None:
        self.card, self.container = card, card.player._container

    def mux(self, packets: Any) -> None:
        """Write, in the end."""
        self.card.now += 4.0
        self.container.mux(packets)


def test_a_loudspeaker_takes_any_sound(tmp_path: Path) -> None:
    """Telephone sound, 8,000 samples a second on one channel, is played at its pitch."""
    path = tmp_path / "card.raw"
    samples = tone(500, 8_000, 30.0)

    async def main() -> None:
        faults: list[Exception] = []
        speaker = Loudspeaker(Output("s16le", str(path), {}), faults.append)
        for place in range(0, len(samples), 160):
            frame = audio_frame(samples[place : place + 160].reshape(-1, 1))
            frame.sample_rate = 8_000
            speaker.add(frame)
            await asyncio.sleep(0.02)
            if path.exists() and path.stat().st_size > 65_536:
                break
        await speaker.close()
        assert faults == []

    asyncio.run(main())
    played = np.frombuffer(path.read_bytes(), np.int16).reshape(-1, 2)
    assert dominant_hz(played[-9_600:], 48_000) == pytest.approx(500, rel=0.01)


@linux
@pytest.mark.parametrize("opens", [False, True], ids=["does not open", "takes nothing"])
def test_a_loudspeaker_that_hangs_holds_up_nobody(tmp_path: Path, opens: bool) -> None:
    """The event loop goes on, and closing takes as long as its bound; nothing is left of it."""
    path = tmp_path / "card"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK) if opens else None

    async def main() -> None:
        faults: list[Exception] = []
        with assert_fully_reaped():
            speaker = Loudspeaker(Output("s16le", str(path), {}), faults.append)
            await played_on(speaker, 50)
            async with asyncio.timeout(5):
                await speaker.close()
            await speaker.close()
            speaker.abort()
            for thread in threading.enumerate():
                if thread.name.startswith("asyncio-waitpid"):
                    thread.join(5)  # the loop's own, which has told that the process is gone
        assert faults == []

    asyncio.run(main())
    if reading is not None:
        os.close(reading)


@linux
def test_a_loudspeaker_that_hangs_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that takes no sound for longer than it may is a fault, once; nothing is played on it any more."""
    monkeypatch.setattr("statecore_aiortc._speaker.PATIENCE", 1)
    os.mkfifo(tmp_path / "card")

    async def main() -> None:
        told: asyncio.Queue[Exception] = asyncio.Queue()
        speaker = Loudspeaker(Output("s16le", str(tmp_path / "card"), {}), told.put_nowait)
        playing = asyncio.create_task(played_on(speaker, 1_000))
        error = await asyncio.wait_for(told.get(), 20)
        assert "the device took no sound for 1 seconds" in str(error)
        playing.cancel()
        await played_on(speaker, 2)
        await speaker.close()
        assert told.empty()

    asyncio.run(main())


@linux
def test_a_loudspeaker_ends_with_its_program(tmp_path: Path) -> None:
    """A program that is killed leaves no process that goes on playing."""
    path = tmp_path / "card"
    os.mkfifo(path)
    program = str(Path(__file__).with_name("on_devices_of_files.py"))
    with subprocess.Popen([sys.executable, "-P", program, str(path)]) as running, path.open("rb") as card:
        assert len(card.read(40_000)) == 40_000
        running.kill()
        while card.read(4_096):
            """What it had, until its end."""


def test_a_loudspeaker_that_cannot_be_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that is no Python has none to play by, and does not run itself; any other fault is told, too."""

    async def main() -> None:
        told: list[str] = []
        for name, value in (("frozen", True), ("executable", "/nowhere/python")):
            with monkeypatch.context() as patch:
                patch.setattr(sys, name, value, raising=False)
                speaker = Loudspeaker(Output("alsa", "default", {}), lambda error: told.append(str(error)))
                await played_on(speaker, 1)
                await speaker.close()
        assert ["frozen" in told[0], "/nowhere/python" in told[1], len(told)] == [True, True, 2]

    asyncio.run(main())


async def played_on(speaker: Loudspeaker, frames: int) -> None:
    """Frames at their pace."""
    for _ in range(frames):
        speaker.add(audio_frame(np.full((960, 2), 9_000, np.int16)))
        await asyncio.sleep(0.02)


def test_a_loudspeaker_that_fails_is_told() -> None:
    """One that is not there is named as a fault, once, and the call goes on; closing leaves nothing of it."""

    async def main() -> None:
        async with MeetingRoom() as room:
            settings = CallSettings(type="audio")
            alice, bob = room.host("alice", settings), room.host("bob", settings)
            await alice.open(AiortcMedia(Tone()), audio=True)
            await bob.open(AiortcMedia(speaker=Device("nowhere", "oss")), audio=True)
            fault = await bob.wait_fault()
            assert isinstance(fault, MediaDeviceError)
            assert "playing on 'nowhere' by oss" in str(fault)
            for _ in range(20):
                await anext(bob.session.audio(alice.pid))
            assert len(bob.faults) == 1
            bob.abort()

    asyncio.run(main())


def test_what_a_speaker_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anything but a device is refused; without a name it heeds the setting; where the platform's way is unknown, the
    session does not open, and says what to give."""
    with pytest.raises(InvalidArgument, match="speaker 'loud' is no Device"):
        AiortcMedia(speaker="loud")  # type: ignore[arg-type]
    assert "audio_output" in AiortcMedia(speaker=Device()).heeds
    assert "audio_output" not in AiortcMedia(speaker=Device("desk")).heeds
    assert "audio_output" not in AiortcMedia().heeds
    monkeypatch.setattr("sys.platform", "elsewhere")
    assert devices() == []

    async def main() -> None:
        async with MeetingRoom() as room:
            with pytest.raises(MediaDeviceError, match="which device and format to use for audio_output"):
                await room.host("alice").open(AiortcMedia(speaker=Device()), audio=True)

    asyncio.run(main())


def test_an_old_library_cannot_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which version can; a platform whose devices cannot be listed has none to show."""
    monkeypatch.setattr(av, "enumerate_input_devices", lambda _: _refuse())
    monkeypatch.setattr(av, "enumerate_output_devices", lambda _: _refuse())
    assert devices() == []
    monkeypatch.delattr(av, "enumerate_input_devices")
    with pytest.raises(MediaDeviceError, match="PyAV 17"):
        devices()


def _refuse() -> None:
    raise ValueError("no such format")
