"""Loudspeakers and microphones of the system, on devices that ALSA makes of files; and the list of them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from statecore.errors import InvalidArgument, MediaDeviceError
from statecore.settings import CallSettings
from statecore.testing.media import MeetingRoom
from statecore.testing.signals import dominant_hz, tone
from statecore_aiortc import AiortcMedia, Device, Tone, devices
from statecore_aiortc._speaker import LEAD, Loudspeaker
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

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
        self.now, self.path = 100.0, path
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        self.speaker = Loudspeaker("wav", str(path), {})

    def play(self, samples: Any, rate: int = 48_000) -> None:
        """Give it a frame."""
        frame = audio_frame(samples)
        frame.sample_rate = rate
        self.speaker.add("audio", frame, 0.0)

    def played(self) -> Any:
        """All of it."""
        self.speaker.close()
        with av.open(str(self.path)) as file:
            return np.concatenate([frame.to_ndarray().reshape(-1, 2) for frame in file.decode(audio=0)])


def test_a_loudspeaker_is_kept_a_little_ahead(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It gets silence ahead of a sound, at first and again after a pause; what comes in bursts is left out beyond half
    a second."""
    card = Card(monkeypatch, tmp_path / "card.wav")
    loud = np.full((960, 2), 9_000, np.int16)
    for _ in range(10):
        card.play(loud)
        card.now += 0.02
    card.now += 5.0
    for _ in range(100):
        card.play(loud)
    sound = card.played()[:, 0]
    lead = round(LEAD * 48_000)
    assert not sound[:lead].any()
    assert (sound[lead : lead + 9_600] == 9_000).all()
    again = sound[lead + 9_600 :]
    assert not again[:lead].any()
    assert 24_000 <= len(again) <= 24_960
    assert (again[lead:] == 9_000).all()


def test_a_loudspeaker_takes_any_sound(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Telephone sound, 8,000 samples a second on one channel, is played at its pitch."""
    card = Card(monkeypatch, tmp_path / "card.wav")
    samples = tone(500, 8_000, 1.0)
    for place in range(0, len(samples), 160):
        card.play(samples[place : place + 160], 8_000)
        card.now += 0.02
    assert dominant_hz(card.played()[9_600:], 48_000) == pytest.approx(500, rel=0.01)


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
