"""Devices' ways to a server over real sockets, each through a proxy that breaks it when it is told to."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress

from statecore.ports import Channel
from statecore_web import WebSocketSignaling


class Frames:
    """Cuts what a WebSocket's client says into its greeting and its frames."""

    def __init__(self) -> None:
        self._rest = b""
        self._greeted = False

    def cut(self, data: bytes) -> Iterator[tuple[bytes, bool]]:
        """What is whole now, each with whether it is a message."""
        self._rest += data
        while size := self._size():
            whole, self._rest = self._rest[:size], self._rest[size:]
            yield whole, self._greeted and whole[0] & 15 in (1, 2)
            self._greeted = True

    def _size(self) -> int:
        rest = self._rest
        if not self._greeted:
            return rest.find(b"\r\n\r\n") + 4 if b"\r\n\r\n" in rest else 0
        if len(rest) < 14 and len(rest) < 2 + 8 * (len(rest) > 1 and rest[1] & 127 == 127):
            return 0
        more = {126: "!H", 127: "!Q"}.get(rest[1] & 127)
        head = 2 + (struct.calcsize(more) if more else 0)
        if len(rest) < head:
            return 0
        length = struct.unpack(more, rest[2:head])[0] if more else rest[1] & 127
        size = head + 4 * (rest[1] >> 7) + length
        return size if len(rest) >= size else 0


class _Direction:
    """One direction of a connection: what is carried arrives in its order, after its time."""

    def __init__(self, link: SocketLink, to: asyncio.StreamWriter) -> None:
        self._link, self._to = link, to
        self._coming: deque[tuple[float, bytes]] = deque()
        self._news = asyncio.Event()
        self._due = 0.0
        self._over = False
        self.late = 0.0
        """How many seconds after its time it arrives."""

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way."""
        return not self._coming

    def carry(self, data: bytes) -> None:
        """Send something on its way."""
        if not self._over:
            self._due = self._link.when(self._due)
            self._coming.append((self._due, data))
            self._news.set()

    def end(self, *, lost: bool = False) -> None:
        """Nothing more comes; `lost`, and nothing of what is on its way arrives."""
        self._over = True
        if lost:
            self._coming.clear()
        self._news.set()

    async def deliver(self) -> None:
        """Until all has arrived; then the other end is closed."""
        with suppress(OSError):
            while self._coming or not self._over:
                self._news.clear()
                if not self._coming:
                    await self._news.wait()
                    continue
                due, data = self._coming[0]
                await asyncio.sleep(max(0.0, due + self.late - asyncio.get_running_loop().time()))
                if self._coming:
                    if not self._link.silent:
                        self._to.write(data)
                    self._coming.popleft()
                    await self._to.drain()
        self._to.close()


class _Pipe:
    """One connection of a device, and the one behind it to the server."""

    def __init__(self, link: SocketLink, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._link, self._reader = link, reader
        self._writers = [writer]
        self._ways: list[_Direction] = []
        self._dropped = asyncio.Event()

    async def run(self, port: int) -> None:
        """Forward, until both ends are closed."""
        if self._link.silent:  # into nowhere, until it is known to be that
            await self._dropped.wait()
            return
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            self.drop()  # nobody listens there
            return
        self._writers.append(writer)
        up, down = self._ways = [_Direction(self._link, writer), _Direction(self._link, self._writers[0])]
        if self._dropped.is_set():
            self.drop()
        await asyncio.gather(self._up(up), self._down(reader, down), up.deliver(), down.deliver())

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way."""
        return all(way.idle for way in self._ways)

    async def _up(self, way: _Direction) -> None:
        frames = Frames()
        with suppress(OSError):
            while data := await self._reader.read(65536):
                for whole, is_message in frames.cut(data):
                    way.carry(whole)
                    if is_message and not self._dropped.is_set() and self._link.answerless():
                        self._lose_answer(way)
        await self._end(way)

    async def _down(self, reader: asyncio.StreamReader, way: _Direction) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                way.carry(data)
        await self._end(way)

    async def _end(self, way: _Direction) -> None:
        if self._link.silent:  # nobody on the other side learns of it
            await self._dropped.wait()
        way.end()

    def _lose_answer(self, up: _Direction) -> None:
        """The device's end breaks; what is on its way up arrives, and what comes down for it does not."""
        up.late = self._link.late
        up.end()
        self._ways[1].end(lost=True)
        _abort(self._writers[0])

    def drop(self) -> None:
        """Break it, at both ends, and lose what is on its way."""
        self._dropped.set()
        for way in self._ways:
            way.end(lost=True)
        for writer in self._writers:
            _abort(writer)


def _abort(writer: asyncio.StreamWriter) -> None:
    """Close a socket as one does that is in no state to say good-bye: by a reset."""
    with suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class SocketLink:
    """One device's way to a server, over sockets. Implements the simulator's `Link`: its messages are WebSocket's."""

    def __init__(
        self, user: str, device: str, port: Callable[[], int], token: Callable[[], str], chance: random.Random
    ) -> None:
        self.user, self.device = user, device
        self.latency, self.jitter = 0.005, 0.06
        self.silent = False
        self.unanswered = self.belated = self.connections = self.late = 0
        self._port = port
        self._chance = chance
        self._answers = 0
        self._down = False
        self._pipes: dict[asyncio.Task[None], _Pipe] = {}
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._server: asyncio.Server | None = None
        url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._signaling = WebSocketSignaling(url, token, user=user, device=device)

    async def connect(self) -> Channel:
        """A connection through the proxy."""
        if self._server is None:
            self._server = await asyncio.start_server(self._take, sock=self._socket)
        return await self._signaling.connect()

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._down:
            _abort(writer)
            return
        self.connections += 1
        pipe = _Pipe(self, reader, writer)
        task = asyncio.get_running_loop().create_task(pipe.run(self._port()))
        self._pipes[task] = pipe
        task.add_done_callback(self._pipes.pop)

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way through the proxy. What is in a socket's buffers cannot be known."""
        return all(pipe.idle for pipe in self._pipes.values())

    def cut(self) -> None:
        """See `Link`, for this and what follows."""
        self._down = True
        self._drop()

    def half_open(self) -> None:
        self.silent = True

    def lose_answers(self, count: int = 1, *, late: float = 0.0) -> None:
        self._answers, self.late = count, late

    def mend(self) -> None:
        self._down = False
        if self.silent:
            self._drop()
            self.silent = False

    def _drop(self) -> None:
        for pipe in list(self._pipes.values()):
            pipe.drop()

    def when(self, after: float) -> float:
        """When what is sent now arrives, not before what was sent before it."""
        now = asyncio.get_running_loop().time()
        return max(now + self.latency + self._chance.random() * self.jitter, after)

    def answerless(self) -> bool:
        """Whether this message breaks the connection behind it."""
        if self._answers == 0 or self.silent:
            return False
        self._answers -= 1
        self.unanswered += 1
        self.belated += self.late > 0
        return True

    async def close(self) -> None:
        """Break what stands, and leave nothing."""
        self.cut()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        self._socket.close()
        while self._pipes:
            await asyncio.wait(list(self._pipes))
