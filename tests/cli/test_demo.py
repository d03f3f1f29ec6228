"""The demo for real: calls over the loopback, what is broken is noticed, and people's own files are played."""

from __future__ import annotations

import asyncio
import html
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from statecore.cli import main
from statecore.cli.demo._made import RATE, Camera, speech, syllables, tune
from statecore.cli.demo._report import write
from statecore.cli.demo._scenario import Result, until
from statecore.cli.demo._show import Show
from statecore.cli.demo._watch import Ears, Eyes
from statecore.ports import VideoFrame
from statecore.testing.signals import draw_clock

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is wrapped, however long the folder's name is."""
    monkeypatch.setenv("COLUMNS", "300")


_ALONE = """
import fcntl, os, socket, struct, sys
with socket.socket() as any_socket:  # SIOCSIFFLAGS, IFF_UP
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 1))
assert [name for _, name in socket.if_nameindex()] == ["lo"]
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def alone() -> list[str]:
    """What runs a command where loopback is the only interface; a reason to skip where nobody may make namespaces."""
    words = ["unshare", "-rn", sys.executable, "-c", _ALONE]
    try:
        done = subprocess.run([*words, sys.executable, "-c", ""], check=False, capture_output=True, timeout=20)
        refused = done.stderr.decode().strip() if done.returncode else ""
    except FileNotFoundError as error:
        refused = str(error)
    if refused:
        pytest.skip(f"no network namespace can be made: {refused}")
    return words


def told(*arguments: str, before: Sequence[str] = ()) -> tuple[int, dict[str, Any]]:
    """The exit code and the one JSON object of the command, run as a user does."""
    command = [*before, sys.executable, "-m", "statecore.cli", "demo", "--json", *arguments]
    # Without a tracer: real-time media is measured as users have it.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=150, env=env)
    return done.returncode, json.loads(done.stdout)


def test_calls_need_no_interface_but_the_loopback(tmp_path: Path, alone: list[str]) -> None:
    """On a host whose only interface is loopback, sound and pictures arrive in both flows."""
    only = [word for name in ("video call", "call by tokens") for word in ("--only", name)]
    code, data = told("--out", str(tmp_path), *only, before=alone)
    assert (code, data["ok"], len(data["calls"])) == (0, True, 2)
    assert all(call["video"]["frames"] > 0 and call["audio"]["received_hz"] for call in data["calls"])


def test_every_call_is_as_it_should_be(tmp_path: Path) -> None:
    """Exact states and reasons, tone, speech, tune, moving pictures, nothing left; and a page that stands alone."""
    code, data = told("--out", str(tmp_path))
    assert code == 0, data
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
    assert calls["call by tokens"]["audio"]["tune"] >= 0.8
    assert video["audio"]["tune"] is None, "it is played in one call"
    assert calls["busy"]["audio"] is calls["busy"]["video"] is calls["busy"]["setup_ms"] is None
    page = (tmp_path / "index.html").read_text()
    assert "data:video/webm;base64," in page
    assert 'src="http' not in page
    assert "eyJ" not in re.sub(r"base64,[^\"]*", "", page), "no call token stands in the page"


BROKEN = {
    ("no-audio", "video call"): "the tone sent at 440 Hz arrived at",
    ("frozen-video", "video call"): "the sender's clock does not advance",
    ("no-tune", "call by tokens"): "the tune was not found in what arrived",
    ("swapped-reason", "rejected"): "ended as busy, not rejected",
}


@pytest.mark.parametrize("broken", BROKEN)
def test_what_is_broken_is_noticed(broken: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each break is named to people, turns `ok` to false and the exit code to 1."""
    what, call = broken
    assert main(["demo", "--out", str(tmp_path), "--break", what, "--only", call]) == 1
    told = " ".join(capsys.readouterr().out.split())
    assert BROKEN[broken] in told
    assert told.endswith("not ok")
    assert BROKEN[broken] in html.unescape((tmp_path / "index.html").read_text())


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


def test_a_file_of_the_users_is_played(tmp_path: Path) -> None:
    """The sound of a film is found in what arrives, and pictures come with it."""
    played = _written(tmp_path / "film.mp4", pictures=True)
    code, data = told("--out", str(tmp_path / "out"), "--play", played, "--only", "call by tokens")
    assert code == 0, data
    assert data["calls"][0]["video"]["frames"] > 0
    assert data["calls"][0]["audio"]["tune"] is None, "Alice plays the film in its place"


def test_a_break_is_noticed_under_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of sound alone is played, with the camera's pictures; what is wrong elsewhere is wrong all the same."""
    played = _written(tmp_path / "voice.wav", pictures=False)
    only = ["--only", "call by tokens", "--only", "rejected"]
    assert main(["demo", "--out", str(tmp_path), "--play", played, *only, "--break", "swapped-reason"]) == 1
    told = " ".join(capsys.readouterr().out.split())
    assert f"Alice plays {played}" in told
    assert "ended as busy, not rejected" in told


@pytest.mark.parametrize("name", ["missing.wav", "text.txt"])
def test_a_file_without_sound_is_one_line_of_error(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback, exit code 2, and the reason."""
    (tmp_path / "text.txt").write_text("no sound")
    assert main(["demo", "--out", str(tmp_path / "out"), "--play", str(tmp_path / name)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert len(told.err.splitlines()) == 1
    assert name in told.err


QUICK = [word for call in ("rejected", "cancelled", "busy", "unanswered", "wrong token") for word in ("--only", call)]


def test_people_see_a_timeline_and_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json: states as they change, how each call ended, and where the report is."""
    assert main(["demo", "--out", str(tmp_path), *QUICK]) == 0
    told = capsys.readouterr().out
    assert "ringing" in told
    assert "token_f" in told
    assert "video call" not in told
    assert "Left behind: nothing" in told
    assert str(tmp_path / "index.html") in told
    assert "\x1b" not in told


def test_the_object_holds_only_what_was_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json and --only there is one object with those calls, in the order of the demo."""
    assert main(["demo", "--json", "--out", str(tmp_path), "--only", "wrong token", "--only", "busy"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [call["name"] for call in data["calls"]] == ["busy", "wrong token"]


def test_without_media_the_demo_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line of error that names the extra."""
    monkeypatch.setitem(sys.modules, "aiortc", None)
    assert main(["demo", "--out", str(tmp_path)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "statecore[aiortc,cli,tokens]" in told.err


def test_what_stays_behind_is_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread and a socket that outlive the calls are counted, named, and the demo fails."""
    done, opened = threading.Event(), list[socket.socket]()

    def leaky() -> tuple[Any, str]:
        threading.Thread(target=done.wait).start()
        opened.append(socket.socket())
        return syllables(), "nobody"

    monkeypatch.setattr("statecore.cli.demo._made.speech", leaky)
    try:
        assert main(["demo", "--out", str(tmp_path), "--only", "wrong token"]) == 1
    finally:
        done.set()
        for one in opened:
            one.close()
    assert "Left behind: 1 threads, 1 sockets, 1 fds" in capsys.readouterr().out


def test_the_table_and_the_page_of_good_calls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Figures stand in both as they were measured; a call without media has dashes, and no player."""
    states = {"alice": ["idle", "ended"], "bob": []}
    good = Result("video call", "ringing", states, "hangup", reason="hangup", ring_ms=3.2, setup_ms=50.0)
    good.delay_ms = 71.4
    good.audio = {"sent_hz": 440.0, "received_hz": 440.04, "correlation": 0.987, "tune": 0.953}
    good.video = {"frames": 60, "fps": 14.8, "width": 320, "height": 240}
    good.recordings = [tmp_path / "heard-by-alice.webm", tmp_path / "missing.webm"]
    good.recordings[0].write_bytes(bytes(3_000))
    page = write(tmp_path, [good, Result("busy", "ringing", states, "busy")], {"tasks": 0}, ok=True)
    show = Show(quiet=False)
    show.say("video call", "both", "agreed to video")
    show.summary([good, Result("busy", "ringing", states, "busy")], {"tasks": 0}, page, ok=True)
    told = " ".join(capsys.readouterr().out.split())
    assert all(figure in told for figure in ("440.0 Hz", "0.99", "0.95", "60, 14.8/s", "50 ms", "71 ms", "both agreed"))
    text = page.read_text()
    assert all(
        figure in text
        for figure in ("440.04 of 440 Hz", "0.987", "0.953", "60 pictures, 14.8/s, 320 x 240", "50.0 ms", "71 ms")
    )
    assert text.count("<video") == 1


# --- what is played, and what is heard of it --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "source"),
    [(None, "synthetic syllables"), ("sys.exit(1)", "synthetic syllables"), ("speak()", "espeak-ng")],
)
def test_speech_is_the_system_s_if_there_is_any(
    program: str | None, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A synthesizer that is missing or fails is replaced by sound of our own; what one says comes at 48 kHz."""
    monkeypatch.setenv("PATH", str(tmp_path))
    if program is not None:
        file = tmp_path / "espeak-ng"
        file.write_text(f"#!{sys.executable}\n{_SPEAKER}{program}\n")
        file.chmod(0o755)
    spoken, name = speech()
    assert name == source
    assert spoken.dtype == np.int16
    assert len(spoken) == (48_000 if name == "espeak-ng" else 240_000)


_SPEAKER = """
import sys, wave

def speak():
    with wave.open(sys.argv[sys.argv.index("-w") + 1], "wb") as file:
        file.setparams((1, 2, 22050, 22050, "NONE", ""))
        file.writeframes(bytes(2 * 22050))

"""


def test_waiting_has_an_end() -> None:
    """What holds after a while is waited for, and what never does raises."""
    answers = iter([False, False, True])
    asyncio.run(until(lambda: next(answers)))
    with pytest.raises(TimeoutError):
        asyncio.run(until(lambda: False, 0.05))


def test_ears_that_heard_nothing() -> None:
    """Of no sound there is no frequency and no likeness, and its loudness is that of silence."""
    ears = Ears()
    assert ears.hz() is None
    assert ears.likeness(syllables(2.0)) is None
    assert ears.loudness(0, 1) == -np.inf


def test_eyes_that_saw_one_picture() -> None:
    """A single picture without a clock has no rate, and nothing advances."""

    class OnePicture:
        async def video(self, _: str) -> Any:
            yield VideoFrame(pixels=np.zeros((48, 64, 3), np.uint8), time=0.0)

    eyes = Eyes()
    asyncio.run(eyes.look(OnePicture(), "bob"))  # type: ignore[arg-type]
    assert (eyes.frames, eyes.fps, eyes.size, eyes.clocks) == (1, 0.0, (64, 48), [])


def test_the_delay_is_from_a_pictures_drawing_to_its_arrival() -> None:
    """The median over the pictures whose clock was read and whose camera it was; none, where there are none."""
    camera = Camera(7_000)
    sent = [camera(number / 10) for number in range(9)]

    class Pictures:
        async def video(self, _: str) -> Any:
            for pixels in sent:
                yield VideoFrame(pixels=pixels, time=0.0)

    eyes = Eyes()
    asyncio.run(eyes.look(Pictures(), "alice"))  # type: ignore[arg-type]
    assert eyes.clocks == [7_000, 7_300, 7_600]
    drawn = {clock: at - late for clock, at, late in zip(eyes.clocks, eyes.came, (0.05, 0.4, 0.02), strict=True)}
    assert eyes.delay_ms(drawn | {7_900: 0.0}) == pytest.approx(50.0)
    assert set(eyes.clocks) <= camera.when.keys()
    assert 0 <= (eyes.delay_ms(camera.when) or -1) < 60_000
    assert eyes.delay_ms({}) is None


def test_speech_of_our_own_is_like_speech() -> None:
    """Bursts and pauses, the same each time: what is used where there is no synthesiser."""
    one, other = syllables(2.0), syllables(2.0)
    assert np.array_equal(one, other)
    loud = np.abs(one[:, 0].reshape(-1, 480)).max(axis=1)
    assert (loud > 1000).any()
    assert (loud < 50).any()
