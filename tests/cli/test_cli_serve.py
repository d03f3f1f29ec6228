"""`statecore serve`: how it stops, what it is told, and what it keeps."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Coroutine
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import uvicorn
from _shells import STATECORE, Shell, started
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from statecore import CallService, MemoryStore, Timers
from statecore.cli.network._server import serve
from statecore.errors import SignalingLost
from statecore.ports import Notice
from statecore.wire import Beat, Command, Hello, Refused, View, Welcome, decode_down, encode
from statecore_web import AuthTokens, Webhook, WebSocketSignaling, verify_webhook


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


def test_limits_and_timers_are_set_by_name() -> None:
    """`serve --set` as often as wanted: the second call within a minute is one too many."""
    process, told = started(
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
    process, told = started("--api-key", "key")
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


@pytest.mark.usefixtures("hears_its_terminal")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_in_development_a_name_is_enough(number: int) -> None:
    """`serve --dev` lets anybody in by name, without a key; an interruption stops it cleanly, as does a terminal that
    is closed."""
    process, told = started("--dev", "--host", "localhost")
    done = Shell(told["url"], "")("call", "nobody", "--as", "alice")
    assert "does not know the user" in done.stderr
    assert "white space" in Shell(told["url"], "")("call", "nobody", "--as", "a b").stderr
    process.send_signal(number)
    assert process.communicate(timeout=20)[1] == ""
    assert process.returncode == 0


def test_what_a_service_on_a_file_knew_outlives_kill_9(tmp_path: Path) -> None:
    """Users, names, auth tokens, revoked ones and call tokens are the same for the next process on the file."""
    store = f"sqlite:{tmp_path / 'calls.db'}"
    process, told = started("--store", store, "--api-key", "key")
    shell = Shell(told["url"], "key")
    kept, void = (json.loads(shell("token", user, "--json").stdout)["token"] for user in ("dora", "erik"))
    assert shell("users").stdout.count("offline") == 2
    request = urllib.request.Request(  # noqa: S310 - the address is our own
        f"{told['url']}/v1/users/erik/auth-tokens", headers={"Authorization": "Bearer key"}, method="DELETE"
    )
    urllib.request.urlopen(request, timeout=10).close()  # noqa: S310 - as above
    process.kill()
    process.communicate()

    process, told = started("--store", store, "--api-key", "key")
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
        env = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
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
    process, told = started("--stun", "stun:127.0.0.1:9", "--api-key", "key", *turn)
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
        process, told = started(*words)
        shell = Shell(told["url"], told["api_key"])
        shell("token", "erik")
        assert shell("call", "erik", "--timeout", "0.2", "--as", "alice").returncode == 1
        process.kill()
        process.communicate()
        process, told = started(*words)
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
