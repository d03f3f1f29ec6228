"""The demo for browsers without one: what it says, and a bot that answers whoever calls through its service."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import wave
from pathlib import Path

import numpy as np
import pytest
from _shells import STATECORE

from statecore import CallClient, CallService, Timers
from statecore.cli import main
from statecore.cli.demo._web import BOT, announce, answering, media
from statecore.testing.signals import dominant_hz, rms_dbfs, tone
from statecore_aiortc import AiortcMedia

TOLD = r"Open (http://127\.0\.0\.1:\d+/) in a browser, type a name, and call the bot\. Ctrl-C stops it\.\n"


def test_people_are_told_what_to_open_and_programs_can_call_too(tmp_path: Path) -> None:
    """One line with one address; a caller in another process hears the file that the bot is to play; being terminated
    is a clean end."""
    played, heard = tmp_path / "played.wav", tmp_path / "heard.wav"
    with wave.open(str(played), "wb") as file:
        file.setparams((1, 2, 48_000, 0, "NONE", ""))
        file.writeframes(tone(700.0).tobytes())
    with subprocess.Popen(
        [*STATECORE, "demo", "--web", "--port", "0", "--play", str(played)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(TOLD, line)
        assert found, (line, process.stderr)
        words = ["call", BOT, "--as", "alice", "--url", found[1], "--video", "--seconds", "0.6", "--json"]
        called = subprocess.run(
            [*STATECORE, *words, "--record", str(heard)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=20) == ("", "")
    assert (called.returncode, called.stderr) == (0, "")
    assert process.returncode == 0
    told = json.loads(called.stdout)
    assert (told["status"], told["reason"], told["error"]) == ("ended", "hangup", None)
    with wave.open(str(heard)) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, file.getnchannels())
        assert abs(dominant_hz(sound[-file.getframerate() // 4 :], file.getframerate()) - 700) < 6


def test_programs_are_told_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    """One object with the address."""
    announce("http://127.0.0.1:1/", as_json=True)
    assert json.loads(capsys.readouterr().out) == {"url": "http://127.0.0.1:1/"}


def test_the_bot_plays_a_tune_and_agrees_to_video() -> None:
    """Whoever calls with sound only hears it, asks for video, and sees a picture, also while another call goes on."""

    async def main() -> None:
        async with (
            CallService() as service,
            answering(service, media(None)),
            CallClient(service.signaling("alice"), AiortcMedia()) as alice,
            CallClient(service.signaling("carol"), AiortcMedia()) as carol,
            carol.call(BOT, type="audio"),
            alice.call(BOT, type="audio") as session,
            asyncio.timeout(20),
        ):
            async for frame in session.audio(BOT):
                if rms_dbfs(frame.samples) > -30:
                    break
            await session.switch_to_video()
            async for picture in session.video(BOT):
                assert picture.pixels.std() > 8
                break

    asyncio.run(main())


def test_a_caller_who_does_not_connect_is_told_of_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing else is said of it, and the bot answers the next."""

    async def main() -> None:
        async with (
            CallService(timers=Timers(connect=0.3)) as service,
            answering(service, media(None)),
            CallClient(service.signaling("alice"), AiortcMedia()) as alice,
        ):
            ended = asyncio.Event()
            alice.on("call_ended_message_received", lambda _: ended.set())
            call = await alice.initiate_call(BOT, type="audio")
            await call.answered()
            await asyncio.wait_for(ended.wait(), 10)  # without joining
            async with alice.call(BOT, type="audio"):
                pass

    asyncio.run(main())
    assert re.fullmatch(
        r"The call of alice came to nothing: media could not reach the other side.*\n", capsys.readouterr().err
    )


@pytest.mark.parametrize("words", [["--only", "busy"], ["--break", "no-audio"], ["--out", "there"]])
def test_what_is_for_the_two_people_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Choosing or breaking the calls of the demo makes no sense of a page, nor does a report; nor a port of them."""
    assert main(["demo", "--web", *words]) == 2
    assert "not for --web" in capsys.readouterr().err
    assert main(["demo", "--port", "0"]) == 2
    assert "--port does nothing without --web" in capsys.readouterr().err
