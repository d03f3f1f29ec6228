"""The videocall plugin of Janus, a WebRTC server in C, as a peer for whole calls over WebSockets.

Where it is not installed nothing of this runs, and the figures stand without it."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from ._processes import Process

_MODULES = {"plugins": "libjanus_videocall.so", "transports": "libjanus_websockets.so"}
"""What it is to load; the rest of a distribution's modules would only take part in its memory and threads."""
_CONFIGURATION = """\
general: {{
    configs_folder = "{folder}"
    plugins_folder = "{folder}/plugins"
    transports_folder = "{folder}/transports"
    events_folder = "{folder}/events"
    loggers_folder = "{folder}/loggers"
    log_to_stdout = false
    debug_level = 0
}}
"""
_TRANSPORT = """\
general: {{
    json = "compact"
    ws = true
    ws_port = {port}
    ws_ip = "127.0.0.1"
}}
"""
_SDP = "\r\n".join(
    [
        "v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=group:BUNDLE 0", "m=audio 9 UDP/TLS/RTP/SAVPF 111",
        "c=IN IP4 0.0.0.0", "a=rtcp-mux", "a=mid:0", "a=sendrecv", "a=rtpmap:111 opus/48000/2", "a=ice-ufrag:abcd",
        "a=ice-pwd:abcdefghijklmnopqrstuvwx", f"a=fingerprint:sha-256 {':'.join(['AB'] * 32)}", "a=setup:{setup}", "",
    ]
)  # fmt: skip
"""Audio both ways. No media comes to flow: a call ends as soon as it is accepted, on both sides of the comparison."""


class Janus(Process):  # pragma: no cover
    """A Janus that listens at an address."""

    url = ""


@contextmanager
def janus() -> Iterator[Janus | None]:
    """One of its own on the loopback; None where it is not installed."""
    command, modules = shutil.which("janus"), next(Path("/usr/lib").glob("*/janus"), None)
    if command is None or modules is None:
        yield None
        return
    with TemporaryDirectory() as folder:  # pragma: no cover - from here on only where it is installed
        port = _configured(Path(folder), modules)
        silent: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with Janus([command, "--configs-folder", folder], cwd=folder, **silent) as process:
            process.url = f"ws://127.0.0.1:{port}"
            _listening(process, port)
            yield process


def _configured(folder: Path, modules: Path) -> int:  # pragma: no cover
    """Write what it reads, and choose a port."""
    for kind in ("plugins", "transports", "events", "loggers"):
        (folder / kind).mkdir()
    for kind, module in _MODULES.items():
        (folder / kind / module).symlink_to(modules / kind / module)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    (folder / "janus.jcfg").write_text(_CONFIGURATION.format(folder=folder), encoding="utf-8")
    (folder / "janus.transport.websockets.jcfg").write_text(_TRANSPORT.format(port=port), encoding="utf-8")
    return port


def _listening(process: Process, port: int) -> None:  # pragma: no cover
    while process.runs():
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        time.sleep(0.02)
    raise ChildProcessError("janus ended before it listened")


class Phone:  # pragma: no cover
    """A user's session with Janus, over a WebSocket of its own."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._numbers = map(str, count(1))
        self._answers: dict[str, asyncio.Future[Any]] = {}
        self._events: asyncio.Queue[str] = asyncio.Queue()
        self._session: dict[str, Any] = {}
        self._handle: dict[str, Any] = {}
        self._socket: ClientConnection
        self._task: asyncio.Task[None]

    async def connect(self, url: str) -> None:
        """Begin a session."""
        self._socket = await connect(
            url, subprotocols=[Subprotocol("janus-protocol")], compression=None, proxy=None, ping_interval=None
        )
        self._task = asyncio.create_task(self._listen())
        self._session = {"session_id": (await self._ask(janus="create"))["data"]["id"]}

    async def close(self) -> None:
        """Go."""
        await self._socket.close()
        await asyncio.wait([self._task])

    async def call(self, other: Phone) -> float:
        """Attach and register both, call, accept, hang up, and detach both; after how many seconds it rang there.

        Raises ChildProcessError if Janus stops answering."""
        try:
            async with asyncio.timeout(3):
                return await self._call(other)
        except (TimeoutError, ConnectionClosed):
            raise ChildProcessError("janus ended") from None

    async def _call(self, other: Phone) -> float:
        await asyncio.gather(self._attach(), other._attach())
        start = time.perf_counter()
        await self._request({"request": "call", "username": other._name}, jsep=_jsep("offer", "actpass"))
        await other._until("incomingcall")
        rang = time.perf_counter()
        await other._request({"request": "accept"}, jsep=_jsep("answer", "active"))
        await self._until("accepted")
        await self._request({"request": "hangup"})
        await asyncio.gather(self._detach(), other._detach())
        return rang - start

    async def _attach(self) -> None:
        told = await self._ask(janus="attach", plugin="janus.plugin.videocall")
        self._handle = {"handle_id": told["data"]["id"]}
        await self._request({"request": "register", "username": self._name})
        await self._until("registered")

    async def _detach(self) -> None:
        await self._until("hangup")
        await self._ask(janus="detach", **self._handle)

    async def _request(self, body: dict[str, str], **more: Any) -> None:
        await self._say(next(self._numbers), janus="message", body=body, **self._handle, **more)

    async def _ask(self, **message: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._answers[number] = answer = asyncio.get_running_loop().create_future()
        await self._say(number, **message)
        told: dict[str, Any] = await answer
        return told

    async def _say(self, number: str, **message: Any) -> None:
        await self._socket.send(json.dumps({**message, **self._session, "transaction": number}))

    async def _until(self, event: str) -> None:
        while await self._events.get() != event:
            pass

    async def _listen(self) -> None:
        with suppress(ConnectionClosed):
            async for text in self._socket:
                self._heard(json.loads(text))

    def _heard(self, message: dict[str, Any]) -> None:
        if message["janus"] == "success":
            self._answers.pop(message["transaction"]).set_result(message)
        elif message["janus"] == "event":
            self._events.put_nowait(message["plugindata"]["data"].get("result", {}).get("event", ""))


@asynccontextmanager
async def phones(peer: Janus, count: int) -> AsyncIterator[list[tuple[Phone, Phone]]]:  # pragma: no cover
    """So many pairs of users with a session each."""
    found = [Phone(f"user-{number}") for number in range(2 * count)]
    for phone in found:
        await phone.connect(peer.url)
    try:
        yield list(zip(found[::2], found[1::2], strict=True))
    finally:
        for phone in found:
            await phone.close()


def _jsep(kind: str, setup: str) -> dict[str, str]:  # pragma: no cover
    return {"type": kind, "sdp": _SDP.format(setup=setup)}


__all__ = ["Janus", "Phone", "janus", "phones"]
