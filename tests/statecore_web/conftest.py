"""A server over real sockets on the loopback, and a way to it that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import uvicorn


class _Server(uvicorn.Server):
    """Leaves the signals to the tests."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def _served(app: Any, **more: Any) -> AsyncIterator[str]:
    options = {"ws": "websockets-sansio", "log_level": "warning", "lifespan": "on", "timeout_graceful_shutdown": 5}
    server = _Server(uvicorn.Config(app, host="127.0.0.1", port=0, **{**options, **more}))
    task = asyncio.create_task(server.serve())
    while not server.started:
        assert not task.done(), "the server did not start"
        await asyncio.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


@pytest.fixture
def served() -> Callable[..., AbstractAsyncContextManager[str]]:
    """Serve an ASGI application on a port of its own; gives its address."""
    return _served


class Way:
    """A way between a device and a server that a test can cut: it forwards bytes."""

    def __init__(self, url: str) -> None:
        self.lead(url)
        self._whole = True
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    async def open(self) -> None:
        """Listen. Idempotent, also when it was given up the first time."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, sock=self._socket)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self._whole:
                there, back = await asyncio.open_connection("127.0.0.1", self._there)
                self._writers.add(back)
                await asyncio.gather(self._copy(reader, back), self._copy(there, writer))
        except OSError:
            pass
        finally:
            writer.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while self._whole and (data := await reader.read(65536)):
                writer.write(data)
                await writer.drain()
        writer.close()

    def lead(self, url: str) -> None:
        """From now on, to this server."""
        self._there = int(url.rpartition(":")[2])

    def cut(self) -> None:
        """Break it, and refuse what comes."""
        self._whole = False
        self.drop()

    def drop(self) -> None:
        """Break what stands; a new connection may be made at once."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def mend(self) -> None:
        """Forward again."""
        self._whole = True

    async def close(self) -> None:
        """Stop."""
        self.cut()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        self._socket.close()


@pytest.fixture
def way() -> type[Way]:
    """Make a way to an address."""
    return Way


def _ask(url: str, method: str, path: str, body: Any = None, key: str | None = "key") -> tuple[int, Any]:
    headers = {"Content-Type": "application/json"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, headers, method=method)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
            status, text = response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            status, text = error.code, error.read()
    with contextlib.suppress(ValueError):
        return status, json.loads(text)
    return status, text.decode()


@pytest.fixture
def ask() -> Callable[..., Any]:
    """One HTTP request: (url, method, path, body, key) -> (status, what came), awaited."""

    async def asked(*args: Any, **more: Any) -> tuple[int, Any]:
        return await asyncio.to_thread(_ask, *args, **more)

    return asked
