"""The commands that speak over the network: a service, a bot and a caller, each in a process, with real media."""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hmac
import json
import logging
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import wave
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from statecore import CallClient, CallService, MemoryStore, Timers
from statecore.cli import main
from statecore.cli.network import users
from statecore.cli.network._server import serve
from statecore.cli.network._who import Login
from statecore.errors import CallUnanswered, SignalingLost, SignalingRefused, UnknownUser
from statecore.ports import Notice
from statecore.testing import FakeMedia
from statecore.wire import Beat, Command, Hello, Refused, View, Welcome, decode_down, encode
from statecore_aiortc import AiortcMedia, Picture, Tone
from statecore_web import AuthTokens, Webhook, WebSocketSignaling, verify_webhook

STATECORE = [sys.executable, "-P", "-m", "statecore.cli"]


def _clean(**more: str) -> dict[str, str]:
    return {**{k: v for k, v in os.environ.items() if not k.startswith("STATECORE_")}, **more}


class Shell:
    """What one would type after another, against one service."""

    def __init__(self, url: str, key: str) -> None:
        self.env = _clean(STATECORE_URL=url, STATECORE_API_KEY=key)

    def __call__(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        done = subprocess.run(
            [*STATECORE, *words], env={**self.env, **env}, capture_output=True, text=True, timeout=60, check=False
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command."""
        return subprocess.Popen(
            [*STATECORE, *words], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )


def _serve(*words: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    process = subprocess.Popen(
        [*STATECORE, "serve", "--port", "0", "--store", "memory", "--json", *words],
        env=_clean(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    return process, json.loads(line)


@pytest.fixture(scope="module")
def shell() -> Iterator[Shell]:
    """A service, for all tests of this file."""
    process, told = _serve()
    yield Shell(told["url"], told["api_key"])
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20)[1] == ""
    assert process.returncode == 0


def test_who_comes_while_it_stops_is_sent_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that comes at the last moment, when the server has been told to stop and still listens, is refused
    as one that is worth another try; it was served until the patience was over, and then cut off."""
    service, stop, met = CallService(), uvicorn.Server.shutdown, []
    urls: list[str] = []

    async def late(server: uvicorn.Server, sockets: Any = None) -> None:
        token, _ = await AuthTokens(service.store).issue("late")
        try:
            await WebSocketSignaling(urls[0], token).connect()
        except SignalingLost as error:
            met.append(str(error))
        await stop(server, sockets)

    @contextlib.asynccontextmanager
    async def running(port: int) -> AsyncIterator[None]:
        urls.append(f"http://127.0.0.1:{port}")
        os.kill(os.getpid(), signal.SIGTERM)
        yield

    monkeypatch.setattr(uvicorn.Server, "shutdown", late)
    assert serve(service, running, api_key="key", dev=False, port=0) == 0
    assert met == ["the call service is not available now (HTTP status 503)"]


class _Gate(MemoryStore):
    """A store whose commits wait from the moment on in which they are told to."""

    def __init__(self) -> None:
        super().__init__()
        self.shut = asyncio.Event()
        self.open = asyncio.Event()
        self.waiting = asyncio.Event()

    async def commit(self, writes: Any) -> bool:
        """Later."""
        if self.shut.is_set():
            self.waiting.set()
            await self.open.wait()
        return await super().commit(writes)


@contextlib.asynccontextmanager
async def _phone(url: str, store: MemoryStore) -> AsyncIterator[tuple[ClientConnection, str]]:
    """A device of Alice's that says what the test says, and is welcome; with its token."""
    token, _ = await AuthTokens(store).issue("alice")
    headers, protocols = {"Authorization": f"Bearer {token}"}, [Subprotocol("statecore.v1")]
    async with connect(f"ws{url[4:]}/v1/signaling", additional_headers=headers, subprotocols=protocols) as socket:
        await socket.send(encode(Hello("phone", "e1", 1)), text=True)
        assert isinstance(decode_down(await socket.recv()), Welcome)
        yield socket, token


def _served(service: CallService, work: Callable[[str], Coroutine[Any, Any, None]], **more: Any) -> None:
    """Serve, and do some work beside it that has to be done when the server has stopped."""
    tasks: list[asyncio.Task[None]] = []

    @contextlib.asynccontextmanager
    async def running(port: int) -> AsyncIterator[None]:
        tasks.append(asyncio.create_task(work(f"http://127.0.0.1:{port}")))
        yield

    assert serve(service, running, api_key="key", dev=False, port=0, **more) == 0
    tasks[0].result()


def test_what_is_being_decided_while_it_stops_is_answered() -> None:
    """A command that is in flight when the service is told to stop is decided, its answer arrives over the connection
    that it came by, and then that is closed as one of a server that goes away."""
    store, views, codes = _Gate(), list[View](), list[int | None]()
    service = CallService(store=store)
    service.add_user("bob")

    async def call(url: str) -> None:
        async with _phone(url, store) as (phone, token):
            store.shut.set()
            await phone.send(encode(Command("S", 1, "initiate", flow="ringing", receiver="bob")), text=True)
            await store.waiting.wait()
            os.kill(os.getpid(), signal.SIGTERM)
            with contextlib.suppress(SignalingLost):
                while True:  # until it has heard that it is to stop
                    await (await WebSocketSignaling(url, token).connect()).close()
            store.open.set()
            with contextlib.suppress(ConnectionClosed):
                while isinstance(message := decode_down(await phone.recv()), View):
                    views.append(message)
            codes.append(phone.close_code)

    _served(service, call)
    assert [(view.session, view.state) for view in views] == [("S", "ringing")]
    assert codes == [1001]


def test_it_stops_within_its_grace_whatever_hangs() -> None:
    """Neither a webhook that never answers nor a store that never decides holds it up for longer than `--grace`: one
    deadline is over all, far less than the timer by which the service gives up what is under way."""
    store, told, stopped = _Gate(), asyncio.Event(), list[float]()
    hook = socket.create_server(("127.0.0.1", 0))
    webhook = Webhook(f"http://127.0.0.1:{hook.getsockname()[1]}/", "a secret of the two", timeout=100)
    service = CallService(store=store, notifier=webhook, timers=Timers(close=60))
    service.add_user("bob")

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        told.set()
        await reader.read()
        writer.close()

    async def call(url: str) -> None:
        async with await asyncio.start_server(hang, sock=hook), _phone(url, store) as (phone, _):
            await phone.send(encode(Command("S", 1, "initiate", flow="ringing", receiver="bob")), text=True)
            await told.wait()
            store.shut.set()
            await phone.send(encode(Command("S", 2, "end")), text=True)
            await store.waiting.wait()
            stopped.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGTERM)
            await phone.wait_closed()

    _served(service, call, grace=1)
    assert time.monotonic() - stopped[0] < 15


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
    assert abs(_heard(heard) - 600) < 6


def _tune(path: Path, hertz: float) -> Path:
    """Ten seconds of a tone in a WAV file: no picture."""
    sound = (8_000 * np.sin(2 * np.pi * hertz * np.arange(480_000) / 48_000)).astype(np.int16)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 48_000, 0, "NONE", ""))
        file.writeframes(sound.tobytes())
    return path


def _heard(path: Path) -> float:
    """The loudest tone in the last second of a recording."""
    with wave.open(str(path)) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, file.getnchannels())[:, 0]
        rate = file.getframerate()
    return float(np.argmax(np.abs(np.fft.rfft(sound[-rate:]))))


def _rest(shell: Shell, method: str, path: str) -> Any:
    """What a back end asks."""
    headers = {"Authorization": f"Bearer {shell.env['STATECORE_API_KEY']}"}
    request = urllib.request.Request(shell.env["STATECORE_URL"] + path, headers=headers, method=method)  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - the address is our own
        return json.loads(answer.read() or "null")


def _wait_for(shell: Shell, uid: str) -> None:
    """Until somebody is there."""
    end = time.monotonic() + 30
    while not any(user["uid"] == uid and user["online"] for user in _rest(shell, "GET", "/v1/users")):
        assert time.monotonic() < end
        time.sleep(0.05)


def _wait_active(shell: Shell, uid: str, since: str = "active_at") -> None:
    """Until somebody has a call, and it is active."""
    end = time.monotonic() + 30
    while not any(call[since] for call in _rest(shell, "GET", f"/v1/calls?live=true&user={uid}")["calls"]):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_whom_the_service_does_not_have_any_more_ends(shell: Shell) -> None:
    """A bot whose device another process took over, one whose tokens were revoked, and the call of one whose user was
    deleted: each ends with exit code 1 and one line that says why, and says it with --json, too."""
    bot = shell.start("answer", "--as", "revoked", "--device", "d", "--json")
    _wait_for(shell, "revoked")
    next_bot = shell.start("answer", "--as", "revoked", "--device", "d")
    assert bot.communicate(timeout=30) == (
        '{"session_id": null, "error": "signaling_refused"}\n',
        "statecore: the call service refused the connection: another process connected as this device\n",
    )
    assert next_bot.stdout is not None
    assert "revoked answers" in next_bot.stdout.readline()
    call = shell.start("call", "revoked", "--as", "deleted", "--json")
    _wait_active(shell, "deleted")
    _rest(shell, "DELETE", "/v1/users/deleted")
    out, err = call.communicate(timeout=30)
    told = json.loads(out)
    assert (told["status"], told["reason"], told["error"]) == ("ended", "lost", "call_ended")
    assert (call.returncode, err) == (1, f"statecore: the call {told['session_id']!r} ended (lost)\n")
    _rest(shell, "DELETE", "/v1/users/revoked/auth-tokens")
    assert next_bot.communicate(timeout=30)[1] == "statecore: the token was revoked\n"
    assert (bot.returncode, next_bot.returncode) == (1, 1)


def test_a_login_lasts_as_long_as_it_is_wanted(shell: Shell) -> None:
    """Whoever is named by --as has a new token for each connection, good for a minute only: the places that a user's
    tokens have are not taken. A user who was deleted meanwhile is not made known again."""
    args = argparse.Namespace(url=shell.env["STATECORE_URL"], api_key=shell.env["STATECORE_API_KEY"], user="stays")
    login = Login(args)
    assert len({asyncio.run(login()), asyncio.run(login()), asyncio.run(login())}) == 3
    kept = _rest(shell, "GET", "/v1/users/stays/auth-tokens")
    assert [token["expires_at"] - token["issued_at"] for token in kept] == [60_000] * 3
    _rest(shell, "DELETE", "/v1/users/stays")
    with pytest.raises(SignalingRefused, match="does not know the user 'stays'"):
        asyncio.run(login())
    args.url = "http://127.0.0.1:9"
    with pytest.raises(SignalingLost, match="no service answers"):
        asyncio.run(login())


def test_who_is_told_to_end_hangs_up(shell: Shell) -> None:
    """A call that is terminated, in it or as it rings, and a bot that is interrupted although a shell had it ignore
    that, as it does in the background: the other side hears of it at once, and what there is to say is said."""
    ignoring = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *STATECORE, "answer", "--as", "ends", "--json"]
    bot = subprocess.Popen(ignoring, env=shell.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    _wait_for(shell, "ends")
    first = shell.start("call", "ends", "--as", "first")
    assert first.stdout is not None
    while "connected" not in (line := first.stdout.readline()):
        assert line
    first.send_signal(signal.SIGTERM)
    out, err = first.communicate(timeout=20)
    assert (first.returncode, err) == (143, "statecore: terminated\n")
    assert "over, hangup" in out
    assert bot.stdout is not None
    told = json.loads(bot.stdout.readline())
    assert (told["caller"], told["status"], told["reason"], told["by"], told["error"]) == (
        "first", "ended", "hangup", "first", None,
    )  # fmt: skip
    second = shell.start("call", "ends", "--as", "second", "--json")
    _wait_active(shell, "second")
    bot.send_signal(signal.SIGINT)
    assert json.loads(second.communicate(timeout=20)[0])["by"] == "ends"
    told, err = json.loads(bot.communicate(timeout=20)[0]), bot.communicate()[1]
    assert (told["reason"], told["by"], told["error"]) == ("hangup", "ends", "interrupted")
    third = shell.start("call", "ends", "--as", "third", "--json")  # who is not there, and is rung
    _wait_active(shell, "third", "initiated_at")
    third.send_signal(signal.SIGTERM)
    told = json.loads(third.communicate(timeout=20)[0])
    assert (told["status"], told["reason"], told["by"], told["error"]) == (
        "cancelled",
        "cancelled",
        "third",
        "interrupted",
    )
    assert (second.returncode, bot.returncode, third.returncode) == (0, 130, 143)


def test_who_loses_its_terminal_hangs_up(shell: Shell) -> None:
    """The other side hears of it at once; what was started with `nohup` goes on."""
    words = ["nohup", *STATECORE, "answer", "--as", "outlives", "--json"]
    bot = subprocess.Popen(words, env=shell.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    _wait_for(shell, "outlives")
    bot.send_signal(signal.SIGHUP)
    ours, its = pty.openpty()
    # What a session's first process opens is its terminal.
    words = ["sh", "-c", 'exec "$@" < "$0" > "$0" 2>&1', os.ttyname(its), *STATECORE, "call", "outlives"]
    caller = subprocess.Popen([*words, "--as", "closes"], env=shell.env, start_new_session=True)
    _wait_active(shell, "closes")
    os.close(its)
    os.close(ours)
    assert caller.wait(timeout=20) == 129
    assert bot.stdout is not None
    told = json.loads(bot.stdout.readline())
    assert (told["caller"], told["reason"], told["by"], told["error"]) == ("closes", "hangup", "closes", None)
    bot.send_signal(signal.SIGTERM)
    bot.communicate(timeout=20)
    assert bot.returncode == 143


def test_who_is_not_read_any_more_ends(shell: Shell) -> None:
    """What a bot, a call and a service say goes into a pipe that nobody reads: each ends quietly, as what writes to one
    does. A disk that is full is told."""
    reader, writer = os.pipe()
    os.close(reader)
    words = (
        ["answer", "--as", "unread"],
        ["call", "nobody", "--as", "unread", "--json"],
        ["serve", "--port", "0", "--dev"],
    )
    with open(writer, "wb") as gone, open("/dev/full", "wb") as full:
        started = [(gone, "", each) for each in words] + [
            (full, "statecore: [Errno 28] No space left on device\n", words[0])
        ]
        commands = [
            subprocess.Popen([*STATECORE, *each], env=shell.env, stdout=where, stderr=subprocess.PIPE, text=True)
            for where, _, each in started
        ]
    for command, (_, told, each) in zip(commands, started, strict=True):
        err = command.communicate(timeout=30)[1]
        assert (each, command.returncode, err) == (each, 141, told)


def test_a_recording_that_was_lost_is_told(shell: Shell, tmp_path: Path) -> None:
    """The call goes on without it, and does not look as if it had been recorded."""
    where = str(tmp_path / "{uid}" / "heard.wav")
    bot = shell.start("answer", "--as", "bot", "--calls", "1", "--json", "--record", where)
    _wait_for(shell, "bot")
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
    played = [str(_tune(tmp_path / f"{hertz}.wav", hertz)) for hertz in (500, 700)]
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
    assert [abs(_heard(path) - hertz) < 6 for path, hertz in zip(heard, (700, 500), strict=True)] == [True, True]


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


def test_a_bot_that_is_interrupted_ends_cleanly(shell: Shell) -> None:
    """It answers call after call, and does not echo unless it is told to; Ctrl-C: exit 130, one line, and it is
    offline. A token from the environment is enough to call it."""
    bot = shell.start("answer", "--as", "carol", "--json")
    while {"uid": "carol", "name": "", "avatar": "", "online": True} not in json.loads(shell("users", "--json").stdout):
        assert bot.poll() is None
    token = json.loads(shell("token", "alice", "--json").stdout)["token"]
    called = shell("call", "carol", "--seconds", "0.2", STATECORE_API_KEY="", STATECORE_TOKEN=token)
    assert called.returncode == 0, called.stderr
    assert bot.stdout is not None
    assert json.loads(bot.stdout.readline())["caller"] == "alice"
    bot.send_signal(signal.SIGINT)
    assert bot.communicate(timeout=20)[1] == "statecore: interrupted\n"
    assert bot.returncode == 130
    assert {"uid": "carol", "name": "", "avatar": "", "online": False} in json.loads(shell("users", "--json").stdout)


WRONG_URLS = [
    "ftp://x", "http://", "http://127.0.0.1:abc", "http://127.0.0.1:65536", "http://127.0.0.1 :80", "http://[::1",
    "http://127.0.0.1/?x=1", "http://ann:s3cret@127.0.0.1/",
]  # fmt: skip
NUMBERS = [
    ("serve", [], "--port", ["99999", "65536", "-1", "abc", ""]),
    ("serve", [], "--grace", ["0", "nan", "inf", "1e12", "-1"]),
    ("serve", ["--store", "sqlite:x"], "--keep", ["0", "nan", "inf", "1e300"]),
    ("serve", ["--turn", "turn:x"], "--turn-ttl", ["0", "nan", "inf"]),
    ("call", ["x"], "--seconds", ["0", "-1", "nan", "inf", "x"]),
    ("call", ["x"], "--timeout", ["nan", "3601", "-1"]),
    ("call", ["x"], "--tone", ["nan", "-5", "1e9"]),
    ("answer", [], "--calls", ["0", "-1", "1.5"]),
    ("answer", [], "--limit", ["0", "1000"]),
    ("token", ["x"], "--lifetime", ["nan", "inf", "-1", "1e300"]),
]


@pytest.mark.parametrize(
    ("words", "env", "told"),
    [
        (["users"], {"STATECORE_API_KEY": "wrong"}, "API key"),
        (["users", "--url", "http://127.0.0.1:9"], {}, "no service answers"),
        *((["users", "--url", url], {}, "address") for url in WRONG_URLS),
        (["call", "bot"], {}, "--as"),
        (["call", "bot", "--as", "a b"], {}, "white space"),
        (["answer", "--as", "bot", "--play", "/nowhere.wav"], {}, "No such file"),
        (["answer", "--as", "bot", "--play", __file__], {}, "Invalid data"),
        (["token", "x", "--session", "s", "--role", "king"], {}, "role"),
        (["serve", "--host", "0.0.0.0", "--dev"], {}, "loopback"),  # noqa: S104 - it is refused
        (["serve", "--tls-cert", "x"], {}, "belong together"),
        (["serve", "--tls-cert", "", "--tls-key", ""], {}, "--tls-cert is empty"),
        (["serve", "--api-key", " "], {}, "--api-key, or the variable"),
        (["serve"], {"STATECORE_API_KEY": ""}, "STATECORE_API_KEY"),
        (["serve", "--host", ""], {}, "--host is empty"),
        (["serve", "--origin", "https://a.example.org", "--origin", ""], {}, "--origin is empty"),
        (["serve", "--store", "sqlite:/nowhere/calls.db"], {}, "its directory is there"),
        (["serve", "--store", "mongo:x"], {}, "memory, sqlite:PATH or postgresql:"),
        (["serve", "--store", "sqlite"], {}, "where"),
        (["serve", "--store", "postgresql://ann:1/s3cret@127.0.0.1/x"], {}, "the URL of the store cannot be read"),
        (["serve", "--store", "postgres://ann:s3cret@127.0.0.1:9/x"], {}, "postgresql://127.0.0.1:9/x cannot be used"),
        (["serve", "--store", "postgre://ann:s3cret@127.0.0.1/x"], {}, "and not 'postgre'"),
        (["serve", "--keep", "9", "--store", "memory"], {}, "for a database"),
        (["serve"], {"XDG_STATE_HOME": __file__}, "say --store"),
        (["serve", "--set", "calls_per_hour=1"], {}, "calls_per_minute"),
        (["serve", "--set", "ring"], {}, "NAME=VALUE"),
        (["serve", "--set", "session_capacity=many"], {}, "a whole number"),
        (["serve", "--set", "lease=3"], {}, "longer than the heartbeat"),
        (["serve", "--set", "ring=abc"], {}, "--set ring: 'abc' is no number of seconds"),
        (["serve", "--set", "lease=nan"], {}, "--set lease: 'nan' is no number of seconds"),
        (["serve", "--stun", "stun:"], {}, "name a server"),
        (["serve", "--turn-secret-file", __file__], {}, "--turn-secret-file does nothing without --turn"),
        (["serve", "--turn-ttl", "60"], {}, "--turn-ttl does nothing without --turn"),
        (["serve", "--webhook-secret-file", __file__], {}, "--webhook-secret-file does nothing without --webhook"),
        (["serve", "--tls-cert", "/nowhere.pem", "--tls-key", __file__], {}, "--tls-cert '/nowhere.pem' cannot be"),
        (["serve", "--tls-cert", __file__, "--tls-key", __file__], {}, "are no certificate and its key"),
        *(
            ([command, *words, option, value], {}, f"argument {option}: '{value}' is no ")
            for command, words, option, values in NUMBERS
            for value in values
        ),
        *(
            (["token", "x", "--api-key", key], {}, "characters that no token")
            for key in ("s3cret\nx", "s3crét", "s3 cret")
        ),
        (["users"], {"STATECORE_API_KEY": "s3cret\x07"}, "--api-key: it has characters"),
        (["serve"], {"STATECORE_API_KEY": "s3\ncret"}, "--api-key: it has characters"),
        (["call", "x", "--token", "s3cret é"], {}, "--token: it has characters"),
        (["call", "x"], {"STATECORE_TOKEN": "s3 cret"}, "STATECORE_TOKEN: it has characters"),
        (["call", "x", "--as", ""], {}, "--as is empty"),
        (["call", "", "--as", "x"], {}, "USER is empty"),
        (["token", ""], {}, "USER is empty"),
        (["token", "x", "--session", ""], {}, "--session is empty"),
        (["token", "x", "--role", "host"], {}, "--role does nothing without --session"),
        (["call", "x", "--as", "carol", "--token", "YWxpY2U.s3cret"], {}, "is one of 'alice', and --as says 'carol'"),
        (
            ["call", "x", "--as", "carol"],
            {"STATECORE_API_KEY": "", "STATECORE_TOKEN": "YWxpY2U.s3cret"},
            "is one of 'alice', and --as says 'carol'",
        ),
        (["call", "x", "--as", "carol", "--token", "s3cret"], {}, "token is malformed"),
        (["call", "x", "--as", "carol"], {"STATECORE_API_KEY": ""}, "lets nobody in by name alone"),
        (["call", "x", "--as", "a", "--stun", "stun:"], {}, "name a server"),
        (["call", "x", "--as", "a", "--record", "/proc/x.wav"], {}, "--record: nothing can be written to '/proc'"),
        (["call", "x", "--as", "a", "--record", f"{__file__}/x.wav"], {}, "--record: nothing can be written to"),
        (["answer", "--as", "a", "--record", "x.nonsense"], {}, "nothing can be recorded as '.nonsense'"),
        (["answer", "--as", "a", "--record", "{nobody}.wav"], {}, "is no placeholder"),
    ],
)
def test_what_is_asked_wrongly_is_told_in_a_line(
    shell: Shell,
    words: list[str],
    env: dict[str, str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No traceback, and an exit code that is not 0; what the library logs afterwards is not held back."""
    for name in [name for name in os.environ if name.startswith("STATECORE_")]:
        monkeypatch.delenv(name)
    for name, value in {**shell.env, **env}.items():
        monkeypatch.setenv(name, value)
    try:
        code = main(words)
    except SystemExit as stopped:  # by the parser
        code = int(stopped.code or 0)
    assert code in (1, 2)
    err = capsys.readouterr().err
    assert told in err
    assert "s3" not in err
    assert err.count("\n") == 1
    assert not logging.getLogger("statecore.client").filters


def test_limits_and_timers_are_set_by_name() -> None:
    """`serve --set` as often as wanted: the second call within a minute is one too many."""
    process, told = _serve(
        "--dev", "--set", "calls_per_minute=1", "--set", "ring=2.5", "--set", "token_issuer=acme", "--api-key", "key"
    )
    shell = Shell(told["url"], "key")
    assert "does not know the user" in shell("call", "nobody", "--as", "alice").stderr
    late = shell("call", "nobody", "--as", "alice", "--json")
    about = json.loads(late.stdout)
    assert 0 < about["wait"] <= 60
    assert about == {"session_id": None, "error": "rate_limited", "wait": about["wait"]}
    assert late.stderr == f"statecore: too many calls at once: wait {about['wait']:g} s\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20)[1] == ""


def test_a_message_that_is_too_long_is_refused_with_a_reason() -> None:
    """A little longer than may be: the service says so, and the connection stands; it is not the server that closes."""
    process, told = _serve("--api-key", "key")
    shell = Shell(told["url"], "key")

    async def main() -> None:
        token = json.loads(shell("token", "dora", "--json").stdout)["token"]
        link = WebSocketSignaling(shell.env["STATECORE_URL"], token)
        channel = await link.connect()
        channel.send(encode(Hello("phone", "epoch", 1)))
        assert isinstance(decode_down(await channel.receive()), Welcome)
        channel.send(b" " * 65_537)
        told = decode_down(await channel.receive())
        assert isinstance(told, Refused)
        assert told.code == "malformed_message"
        assert "65536" in told.data["why"]
        channel.send(encode(Beat()))
        assert isinstance(decode_down(await channel.receive()), Beat)
        await channel.close()

    asyncio.run(main())
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20)[1].endswith("malformed message: 65537 bytes, more than 65536\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_in_development_a_name_is_enough(number: int) -> None:
    """`serve --dev` lets anybody in by name, without a key; an interruption stops it cleanly, as does a terminal that
    is closed."""
    process, told = _serve("--dev", "--host", "localhost")
    done = Shell(told["url"], "")("call", "nobody", "--as", "alice")
    assert "does not know the user" in done.stderr
    assert "white space" in Shell(told["url"], "")("call", "nobody", "--as", "a b").stderr
    process.send_signal(number)
    assert process.communicate(timeout=20)[1] == ""
    assert process.returncode == 0


def test_what_a_service_on_a_file_knew_outlives_kill_9(tmp_path: Path) -> None:
    """Users, names, auth tokens, revoked ones and call tokens are the same for the next process on the file."""
    store = f"sqlite:{tmp_path / 'calls.db'}"
    process, told = _serve("--store", store, "--api-key", "key")
    shell = Shell(told["url"], "key")
    kept, void = (json.loads(shell("token", user, "--json").stdout)["token"] for user in ("dora", "erik"))
    assert shell("users").stdout.count("offline") == 2
    request = urllib.request.Request(  # noqa: S310 - the address is our own
        f"{told['url']}/v1/users/erik/auth-tokens", headers={"Authorization": "Bearer key"}, method="DELETE"
    )
    urllib.request.urlopen(request, timeout=10).close()  # noqa: S310 - as above
    process.kill()
    process.communicate()

    process, told = _serve("--store", store, "--api-key", "key")
    again = Shell(told["url"], "key")
    assert {user["uid"] for user in json.loads(again("users", "--json").stdout)} == {"dora", "erik"}
    assert "does not know the user" in again("call", "nobody", "--token", kept).stderr
    assert "revoked" in again("call", "dora", "--token", void).stderr
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20)[1] == ""
    assert process.returncode == 0
    assert (tmp_path / "calls.db").stat().st_mode & 0o077 == 0
    assert {path.name for path in tmp_path.iterdir()} == {"calls.db"}
    assert kept.encode() not in (tmp_path / "calls.db").read_bytes()


def test_a_service_that_is_not_told_where_keeps_a_file_of_this_user_s(tmp_path: Path) -> None:
    """In the directory for such things, which only they can read; said at the start, and known to the next process. A
    second one on the file is told so, and what else it could do."""

    def start(*words: str) -> subprocess.Popen[str]:
        env = _clean(XDG_STATE_HOME=str(tmp_path / "state"))
        return subprocess.Popen(
            [*STATECORE, "serve", "--port", "0", *words], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    file = tmp_path / "state" / "statecore" / "calls.db"
    process = start("--json")
    assert process.stdout is not None
    told = json.loads(process.stdout.readline())
    assert told["store"] == f"sqlite:{file}"
    Shell(told["url"], told["api_key"])("token", "dora")
    assert (file.parent.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
    second = start()
    out, err = second.communicate(timeout=60)
    assert (second.returncode, out, err.count("\n")) == (1, "", 1)
    assert "another process has it" in err
    process.kill()
    process.communicate()

    process = start("--api-key", "key")
    assert process.stdout is not None
    url = process.stdout.readline().split()[5]
    assert process.stdout.readline() == f"Calls, users and tokens are kept in {file}.\n"
    assert Shell(url, "key")("users").stdout == "offline  dora\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20) == ("", "")


def test_servers_for_media_are_handed_out(tmp_path: Path) -> None:
    """The TURN and STUN servers that were named go to a user who asks, with a login by the secret of the file."""
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    turn = ["--turn", "turn:127.0.0.1:9", "--turn-ttl", "60", "--turn-secret-file", str(secret), "--relay-only"]
    process, told = _serve("--stun", "stun:127.0.0.1:9", "--api-key", "key", *turn)
    token = json.loads(Shell(told["url"], "key")("token", "dora", "--json").stdout)["token"]
    request = urllib.request.Request(f"{told['url']}/v1/ice", headers={"Authorization": f"Bearer {token}"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - the address is our own
        ice = json.load(answer)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20) == ("", "")
    assert (ice["ice_policy"], ice["lifetime"]) == ("relay", 60)
    assert ice["ice_servers"][0] == {"urls": ["stun:127.0.0.1:9"]}
    name = ice["ice_servers"][1]["username"]
    digest = hmac.digest(b"hunter2", name.encode(), "sha1")
    assert base64.b64decode(ice["ice_servers"][1]["credential"]) == digest


class Hook(BaseHTTPRequestHandler):
    """Somebody's web application: keeps what is posted to it."""

    got: ClassVar[list[Notice]] = []

    def do_POST(self) -> None:
        """Take a notice that is genuine."""
        body = self.rfile.read(int(self.headers["content-length"]))
        self.got.append(verify_webhook("a webhook's secret", self.headers["statecore-signature"], body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_changes_are_posted_to_an_address_and_outlive_kill_9(tmp_path: Path) -> None:
    """`serve --webhook` has the whole life of a call that nobody answers posted, signed by the secret of the file,
    although nobody takes it at first, and the service is killed then: the next one on the store does it."""
    secret = tmp_path / "secret"
    secret.write_text("a webhook's secret\n")
    with HTTPServer(("127.0.0.1", 0), Hook) as receiver:  # it listens, and does not answer yet
        hook = f"http://127.0.0.1:{receiver.server_port}/"
        store = f"sqlite:{tmp_path / 'calls.db'}"
        words = ["--dev", "--webhook", hook, "--webhook-secret-file", str(secret), "--store", store]
        process, told = _serve(*words)
        shell = Shell(told["url"], told["api_key"])
        shell("token", "erik")
        assert shell("call", "erik", "--timeout", "0.2", "--as", "alice").returncode == 1
        process.kill()
        process.communicate()
        process, told = _serve(*words)
        serving = threading.Thread(target=receiver.serve_forever, args=(0.01,))
        serving.start()
        end = time.monotonic() + 20
        while {notice.what for notice in Hook.got} != {"initiated", "ring", "stop", "ended"}:
            assert time.monotonic() < end, Hook.got
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=20) == ("", "")
        receiver.shutdown()
        serving.join()
    newest = {notice.sequence: notice for notice in Hook.got}
    assert [newest[number].what for number in sorted(newest)] == ["initiated", "ring", "stop", "ended"]
    assert {notice.reason for notice in Hook.got} == {"", "unanswered"}
