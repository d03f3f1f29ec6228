"""The demo for real: calls over the loopback, what is broken is noticed, and people's own files are played."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from statecore.cli.demo._made import RATE, syllables, tune
from statecore.testing.signals import draw_clock

pytestmark = pytest.mark.timeout(180)


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    command = [sys.executable, "-m", "statecore.cli", "demo", *arguments]
    # Without a tracer: real-time media is measured as users have it.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=150, env=env)


def told(*arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and the one JSON object."""
    done = demo("--json", *arguments)
    return done.returncode, json.loads(done.stdout)


def test_every_call_is_as_it_should_be(tmp_path: Path) -> None:
    """Exact states and reasons, the tone, the speech, moving pictures, nothing left; and a page that stands alone."""
    code, data = told("--out", str(tmp_path))
    assert code == 0
    assert data["ok"] is True
    assert data["leaks"] == {"tasks": 0, "threads": 0, "sockets": 0, "fds": 0}
    calls = {call["name"]: call for call in data["calls"]}
    assert list(calls) == [
        "video call", "call by tokens", "rejected", "cancelled", "busy", "unanswered", "wrong token",
    ]  # fmt: skip
    video = calls["video call"]
    assert video["states"]["alice"] == video["states"]["bob"] == ["idle", "ringing", "accepted", "active", "ended"]
    assert video["audio"]["received_hz"] == pytest.approx(440, rel=0.01)
    assert video["audio"]["correlation"] >= 0.8
    assert (video["video"]["width"], video["video"]["height"]) == (320, 240)
    assert calls["call by tokens"]["states"]["bob"] == ["idle", "accepted", "active", "ended"]
    assert calls["busy"]["audio"] is calls["busy"]["video"] is calls["busy"]["setup_ms"] is None
    page = (tmp_path / "index.html").read_text()
    assert "data:video/webm;base64," in page
    assert 'src="http' not in page
    assert "eyJ" not in re.sub(r"base64,[^\"]*", "", page), "no call token stands in the page"


@pytest.mark.parametrize("what", ["no-audio", "frozen-video", "swapped-reason"])
def test_what_is_broken_is_noticed(what: str, tmp_path: Path) -> None:
    """Each break turns `ok` to false and the exit code to 1."""
    code, data = told("--out", str(tmp_path), "--break", what)
    assert code == 1
    assert data["ok"] is False


def _written(path: Path, *, pictures: bool) -> str:
    """A file with sound, and pictures if wanted."""
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac" if pictures else "pcm_s16le", rate=RATE)
        sound.layout = "mono"
        sight = container.add_stream("libx264", rate=15) if pictures else None
        if sight is not None:
            sight.width, sight.height, sight.pix_fmt = 320, 240, "yuv420p"
            for number in range(60):
                frame = av.VideoFrame.from_ndarray(draw_clock(320, 240, number * 66), format="rgb24")
                container.mux(sight.encode(frame))
            container.mux(sight.encode(None))
        samples = tune(4.0) if pictures else syllables(4.0)
        for place in range(0, len(samples) - 1023, 1024):
            frame = av.AudioFrame.from_ndarray(samples[place : place + 1024].T, format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE, place
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return str(path)


@pytest.mark.parametrize(("name", "pictures"), [("voice.wav", False), ("film.mp4", True)])
def test_a_file_of_the_users_is_played(name: str, pictures: bool, tmp_path: Path) -> None:
    """What is in the file is found in what arrives."""
    code, data = told("--out", str(tmp_path / "out"), "--play", _written(tmp_path / name, pictures=pictures))
    assert code == 0, data
    assert data["calls"][0]["video"]["frames"] > 0


@pytest.mark.parametrize("name", ["missing.wav", "text.txt"])
def test_a_file_without_sound_is_one_line_of_error(name: str, tmp_path: Path) -> None:
    """No traceback, exit code 2, and the reason."""
    (tmp_path / "text.txt").write_text("no sound")
    done = demo("--out", str(tmp_path / "out"), "--play", str(tmp_path / name))
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert name in done.stderr


def test_people_see_a_timeline_and_a_table(tmp_path: Path) -> None:
    """Without --json: states as they change, figures, and where the report is."""
    done = demo("--out", str(tmp_path))
    assert done.returncode == 0, done.stdout
    assert "ringing" in done.stdout
    assert "440 Hz" in done.stdout
    assert str(tmp_path / "index.html") in done.stdout.replace("\n", "")
    assert "\x1b" not in done.stdout


def test_speech_of_our_own_is_like_speech() -> None:
    """Bursts and pauses, the same each time: what is used where there is no synthesiser."""
    one, other = syllables(2.0), syllables(2.0)
    assert np.array_equal(one, other)
    loud = np.abs(one[:, 0].reshape(-1, 480)).max(axis=1)
    assert (loud > 1000).any()
    assert (loud < 50).any()
