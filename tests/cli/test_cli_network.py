"""Commands in shells of their own call each other over the network, with real media."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
from pathlib import Path

import pytest
from _shells import Shell, loudest, tune, wait_for

from statecore import CallClient
from statecore.cli.network import users
from statecore.errors import CallUnanswered, UnknownUser
from statecore.testing import FakeMedia
from statecore_aiortc import AiortcMedia, Picture, Tone
from statecore_web import WebSocketSignaling


def test_two_shells_call_each_other(shell: Shell, tmp_path: Path) -> None:
    """A bot says back what it hears: the caller's own tone comes back through the service and two real connections."""
    bot = shell.start("answer", "--as", "bot", "--echo", "--calls", "1", "--tone", "1")
    assert bot.stdout is not None
    assert "bot answers" in bot.stdout.readline()
    heard = tmp_path / "echo.wav"
    heard.touch()
    called = shell("call", "bot", "--as", "alice", "--tone", "600", "--seconds", "3", "--record", str(heard), "--json")
    assert called.returncode == 0, called.stderr
    told = json.loads(called.stdout)
    assert (told["status"], told["reason"], told["error"]) == ("ended", "hangup", None)
    assert 2.5 < told["seconds"] < 6
    assert 0 < told["answered_ms"] < told["connected_ms"]
    out, err = bot.communicate(timeout=20)
    assert (bot.returncode, err) == (0, "")
    assert "alice calls" in out
    assert "over, hangup" in out
    assert abs(loudest(heard) - 600) < 6


def test_a_recording_that_was_lost_is_told(shell: Shell, tmp_path: Path) -> None:
    """The call goes on without it, and does not look as if it had been recorded."""
    where = str(tmp_path / "{uid}" / "heard.wav")
    bot = shell.start("answer", "--as", "bot", "--calls", "1", "--json", "--record", where)
    wait_for(shell, "bot")
    for uid in ("alice", "bot"):
        (tmp_path / uid).write_text("in the way")
    called = shell("call", "bot", "--as", "alice", "--seconds", "0.5", "--json", "--record", where)
    told = json.loads(called.stdout)
    assert (told["status"], told["reason"], told["error"]) == ("ended", "hangup", "media_device")
    (fault,) = told["faults"]
    assert "recording to" in fault
    assert called.returncode == 1
    assert called.stderr.splitlines()[-1] == f"statecore: {fault}"
    out, err = bot.communicate(timeout=20)
    assert (bot.returncode, err.splitlines()[-1]) == (1, f"statecore: {json.loads(out)['faults'][0]}")
    assert {path.name for path in tmp_path.iterdir()} == {"alice", "bot"}


@pytest.mark.parametrize("video", [[], ["--video"]])
def test_both_play_a_file_that_has_no_picture(shell: Shell, tmp_path: Path, video: list[str]) -> None:
    """Each hears the other's tune, in calls with and without pictures: where the file has none, a drawn one is sent."""
    played = [str(tune(tmp_path / f"{hertz}.wav", hertz)) for hertz in (500, 700)]
    heard = [tmp_path / "bot" / "heard.wav", tmp_path / "heard.wav"]
    heard[0].parent.mkdir()
    bot = shell.start("answer", "--as", "bot", "--calls", "1", "--play", played[0], "--record", str(heard[0]))
    assert bot.stdout is not None
    assert "bot answers" in bot.stdout.readline()
    words = ["--as", "alice", "--play", played[1], "--seconds", "3", "--record", str(heard[1])]
    called = shell("call", "bot", *words, *video)
    assert called.returncode == 0, called.stderr
    out, err = bot.communicate(timeout=20)
    assert (bot.returncode, err) == (0, "")
    assert "over, hangup" in out
    assert [abs(loudest(path) - hertz) < 6 for path, hertz in zip(heard, (700, 500), strict=True)] == [True, True]


def test_a_bot_answers_two_at_once(shell: Shell) -> None:
    """As many as its limit, whatever line others have: the third caller hears busy."""
    bot = shell.start("answer", "--as", "bot", "--limit", "2", "--json")
    while {"uid": "bot", "name": "", "avatar": "", "online": True} not in json.loads(shell("users", "--json").stdout):
        assert bot.poll() is None
    calls = [shell.start("call", "bot", "--as", user) for user in ("fay", "gus")]
    for call in calls:
        assert call.stdout is not None
        while "connected" not in (line := call.stdout.readline()):
            assert line, call.communicate()
    assert shell("call", "bot", "--as", "hal").stderr == "statecore: user 'bot' is busy\n"
    for each in (*calls, bot):
        each.send_signal(signal.SIGINT)
        assert each.communicate(timeout=20)[1] == "statecore: interrupted\n"


def test_who_is_there(shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Everybody who was made known, for people and for programs, however many pages they are."""
    made = json.loads(shell("token", "dora", "--json").stdout)
    assert (made["user"], made["token"].count(".")) == ("dora", 1)
    assert "offline  dora" in shell("users").stdout
    assert {"uid": "dora", "name": "", "avatar": "", "online": False} in json.loads(shell("users", "--json").stdout)
    monkeypatch.setattr(users, "_PAGE", 1)
    shell("token", "dorb")
    assert (
        users.run(argparse.Namespace(url=shell.env["STATECORE_URL"], api_key=shell.env["STATECORE_API_KEY"], json=True))
        == 0
    )
    told = [user["uid"] for user in json.loads(capsys.readouterr().out)]
    assert told == sorted(told)
    assert {"dora", "dorb"} <= set(told)
    assert shell("token", "dora", "--session", "room", "--role", "host").stdout.count(".") == 2


def test_nobody_answers(shell: Shell) -> None:
    """A user who is not there is rung until the time is over; the reason comes as one line and in the exit code."""
    shell("token", "erik")
    for words, code in ((["erik", "--timeout", "0.2"], 1), (["nobody"], 2), (["alice"], 2)):
        done = shell("call", *words, "--as", "alice")
        assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
        assert done.stderr.startswith("statecore: ")


def test_a_call_that_cannot_be_begun_is_an_object_too(shell: Shell) -> None:
    """With --json a program reads one object from each call, whatever kept it from beginning, and why."""
    for words, code, env in (
        (["nobody"], "unknown_user", {}),
        (["erik"], "signaling_lost", {"STATECORE_URL": "http://127.0.0.1:9"}),
        (["erik", "--token", "YWxpY2U.no"], "token_revoked", {}),
        (["nobody"], "unknown_user", {"STATECORE_TOKEN": "ZXJpaw.no"}),  # whom one names goes before what lies about
    ):
        done = shell("call", *words, "--as", "alice", "--json", **env)
        assert done.returncode in (1, 2)
        assert json.loads(done.stdout) == {"session_id": None, "error": code}
        assert done.stderr.splitlines()[-1].startswith("statecore: ")


def test_a_call_that_comes_to_nothing_counts(shell: Shell) -> None:
    """A caller who hangs up before the bot is in: it stops after so many calls, whatever came of them."""
    bot = shell.start("answer", "--as", "bot", "--calls", "1", "--json")

    async def main() -> None:
        async with CallClient(_link(shell, "alice"), FakeMedia()) as alice:
            while not (await _called(alice, "bot")):  # noqa: ASYNC110 - until it is known, and there
                await asyncio.sleep(0.1)

    asyncio.run(main())
    out, _ = bot.communicate(timeout=20)
    assert bot.returncode == 0
    told = json.loads(out)
    assert told["caller"] == "alice"
    assert told["error"]


def _link(shell: Shell, user: str) -> WebSocketSignaling:
    token = json.loads(shell("token", user, "--json").stdout)["token"]
    return WebSocketSignaling(shell.env["STATECORE_URL"], token)


async def _called(client: CallClient, user: str) -> bool:
    """Whether somebody who is there has answered; it is hung up then, before anybody is in."""
    with contextlib.suppress(UnknownUser):
        call = await client.initiate_call(user, type="audio", timeout=1)
        with contextlib.suppress(CallUnanswered):
            await call.answered()
            await call.end()
            return True
    return False


def test_a_bot_agrees_to_video(shell: Shell) -> None:
    """Who asks for it in the middle of a call is not left without an answer."""
    bot = shell.start("answer", "--as", "bot", "--calls", "1")
    assert bot.stdout is not None
    assert "bot answers" in bot.stdout.readline()

    async def main() -> None:
        media = AiortcMedia(Tone(440.0), Picture())
        async with CallClient(_link(shell, "alice"), media) as alice, alice.call("bot", type="audio") as session:
            await session.switch_to_video()
            assert session.call.type == "video"

    asyncio.run(main())
    assert bot.communicate(timeout=20)[1] == ""
