"""A media adapter: raw sound and pictures in UDP datagrams on this host. It passes the suite MediaConformance.

Left out: compression, encryption, other hosts, pictures above 21,000 pixels, and noticing that a peer is gone.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import Any, Literal

import attrs
import msgspec
import numpy as np

from statecore import Call, CallClient, CallService
from statecore.errors import MediaError, NegotiationFailed, SourceError
from statecore.ports import AudioFrame, Kind, MediaHost, MediaPeer, StreamStats, VideoFrame
from statecore.testing import Tone

LONGEST = 65_000
"""Bytes that fit into a datagram."""
DEPTH = 50
"""Frames that wait for a reader; then the oldest is dropped."""


class Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of an offer, and of its answer: where I take datagrams, and what must stand in those of this peer."""

    number: int  # of the offer; its answer has the same
    port: int
    key: str


class Packet(msgspec.Struct, frozen=True, array_like=True):
    """A datagram: one frame."""

    key: str
    kind: Kind
    time: float
    rate: int
    shape: tuple[int, ...]
    data: bytes


@attrs.define(eq=False)
class Peer:
    """What a session knows of another participant."""

    pid: str
    key: str = attrs.field(factory=lambda: secrets.token_hex(8))
    offers: int = 0  # how often I have offered
    port: int = 0  # where the other takes datagrams; 0 while not known
    theirs: str = ""  # the key that the other wants to see
    readers: set[tuple[str, asyncio.Queue[Any]]] = attrs.field(factory=set)
    counts: Counter[tuple[str, str, str]] = attrs.field(factory=Counter)

    def count(self, kind: str, direction: str, size: int) -> None:
        """One more packet."""
        self.counts[kind, direction, "packets"] += 1
        self.counts[kind, direction, "bytes"] += size

    def put(self, kind: str, queue: asyncio.Queue[Any], frame: Any) -> None:
        """Hand a frame, or None for the end, to a reader."""
        if queue.full():
            queue.get_nowait()
            self.counts[kind, "in", "dropped"] += 1
        queue.put_nowait(frame)

    def end(self) -> None:
        """No more frames come."""
        for kind, queue in list(self.readers):
            self.put(kind, queue, None)


class UdpSession(asyncio.DatagramProtocol):
    """One participant's media: a `statecore.ports.MediaSession`."""

    def __init__(self, host: MediaHost, sources: dict[str, AsyncIterable[Any]]) -> None:
        self._host = host
        self._sources = sources
        self._peers: dict[str, Peer] = {}
        self._pumps: dict[str, asyncio.Task[None]] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self._began: dict[str, float] = {}
        self._loop = asyncio.get_running_loop()
        self._lost = self._loop.create_future()
        self._closed = False

    # --- who is there, and how to reach them

    def set_peers(self, peers: Sequence[MediaPeer]) -> None:
        """Of two, the one who joined first asks for the pair's offer token."""
        here = {peer.pid: peer for peer in peers}
        for pid in self._peers.keys() - here.keys():
            self._peers.pop(pid).end()
        for pid in here.keys() - self._peers.keys():
            self._peers[pid] = Peer(pid)
            if self._host.joined < here[pid].joined:
                self._host.ask(pid)
        self._check_up()

    def granted(self, pid: str) -> None:
        """Offer, unless there is nothing to say any more."""
        peer = self._peers.get(pid)
        if peer is None or peer.port:
            self._host.free(pid)
        else:
            peer.offers += 1
            self._describe(peer, "offer", peer.offers)

    def resumed(self) -> None:
        """What was said meanwhile is lost: ask again wherever no reply has come."""
        for peer in self._peers.values():
            if not peer.port:
                self._host.ask(peer.pid)

    def receive(self, pid: str, kind: str, body: str) -> None:
        """Whatever arrives, this must not raise: what is wrong is reported as a fault."""
        peer = self._peers.get(pid)
        if peer is None or kind not in ("offer", "answer"):
            self._host.fault(NegotiationFailed(why=f"unexpected {kind} from {pid}"))
            return
        try:
            there = msgspec.json.decode(body, type=Description)
        except (msgspec.DecodeError, ValueError) as error:
            self._host.fault(NegotiationFailed(why=f"malformed {kind} from {pid}: {error}"))
            return
        first = not peer.port
        peer.port, peer.theirs = there.port, there.key
        if kind == "offer":
            self._describe(peer, "answer", there.number)
        elif there.number == peer.offers:  # the answer to an offer that I have said again is still to come
            self._host.free(pid)
        if first:
            self._host.peer_connected(pid)
            self._check_up()

    def _describe(self, peer: Peer, kind: Literal["offer", "answer"], number: int) -> None:
        port = self._transport.get_extra_info("sockname")[1]
        self._host.send(peer.pid, kind, msgspec.json.encode(Description(number, port, peer.key)).decode())

    def _check_up(self) -> None:
        if all(peer.port for peer in self._peers.values()):
            self._host.up()

    # --- sending

    async def set_enabled(self, kind: Literal["audio", "video"], enabled: bool) -> None:
        """Read the source and send, or do neither."""
        if not enabled:
            self._stop(kind)
        elif kind not in self._pumps and kind in self._sources:
            self._start(kind, self._sources[kind])

    async def set_source(self, kind: Kind, source: Any) -> None:
        """Refuse what cannot be sent before anything changes."""
        if kind == "screen" and source is None:
            self._stop(kind)
            return
        if not hasattr(source, "__aiter__"):
            raise SourceError(source=source, why="it is not an async iterable of frames")
        self._sources[kind] = source
        if kind == "screen" or kind in self._pumps:
            self._stop(kind)
            self._start(kind, source)

    def _start(self, kind: str, source: AsyncIterable[Any]) -> None:
        if not self._closed:
            self._pumps[kind] = self._loop.create_task(self._pump(kind, source), name=f"udp media {kind}")

    def _stop(self, kind: str) -> None:
        if task := self._pumps.pop(kind, None):
            task.cancel()
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)

    async def _pump(self, kind: str, source: AsyncIterable[Any]) -> None:
        # The times of a stream go on when another source, or the same one after a pause, takes over.
        now = self._loop.time()
        start = now - self._began.setdefault(kind, now)
        frames = aiter(source)
        try:
            async for frame in frames:
                self._spread(kind, frame, start + frame.time)
        except Exception as error:  # noqa: BLE001 - a source is the application's code; the session survives it
            self._host.fault(error)
        finally:
            if hasattr(frames, "aclose"):
                await frames.aclose()

    def _spread(self, kind: Any, frame: AudioFrame | VideoFrame, time: float) -> None:
        array, rate = (frame.samples, frame.rate) if isinstance(frame, AudioFrame) else (frame.pixels, 0)
        for peer in self._peers.values():
            if peer.port:
                data = msgspec.msgpack.encode(Packet(peer.theirs, kind, time, rate, array.shape, array.tobytes()))
                if len(data) > LONGEST:
                    raise SourceError(source=kind, why=f"a frame of {len(data)} bytes fits into no datagram")
                self._transport.sendto(data, ("127.0.0.1", peer.port))
                peer.count(kind, "out", array.nbytes)

    # --- receiving

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Take a frame from whoever has the key that I gave to one of my peers."""
        try:
            packet = msgspec.msgpack.decode(data, type=Packet)
        except msgspec.DecodeError:
            return  # anybody can send datagrams to a port
        for peer in self._peers.values():
            if secrets.compare_digest(peer.key, packet.key):
                self._arrived(peer, packet)

    def _arrived(self, peer: Peer, packet: Packet) -> None:
        frame: AudioFrame | VideoFrame
        if packet.kind == "audio":
            samples = np.frombuffer(packet.data, np.int16).reshape(packet.shape)
            frame = AudioFrame(samples=samples, rate=packet.rate, time=packet.time)
        elif self._host.settings.audio_only:
            return
        else:
            frame = VideoFrame(pixels=np.frombuffer(packet.data, np.uint8).reshape(packet.shape), time=packet.time)
        peer.count(packet.kind, "in", len(packet.data))
        for kind, queue in list(peer.readers):
            if kind == packet.kind:
                peer.put(kind, queue, frame)

    def audio(self, pid: str) -> AsyncIterator[AudioFrame]:
        """The sound of a participant."""
        return self._read(pid, "audio")

    def video(self, pid: str, kind: Literal["video", "screen"] = "video") -> AsyncIterator[VideoFrame]:
        """The pictures of a participant."""
        return self._read(pid, kind)

    async def _read(self, pid: str, kind: str) -> AsyncIterator[Any]:
        peer = self._peers.get(pid)
        if peer is None:
            return
        reader = (kind, asyncio.Queue[Any](DEPTH))
        peer.readers.add(reader)
        try:
            while (frame := await reader[1].get()) is not None:
                yield frame
        finally:
            peer.readers.discard(reader)

    async def stats(self) -> list[StreamStats]:
        """The counters; what is not counted here stays None."""
        return [
            StreamStats(
                pid=peer.pid,
                kind=kind,  # type: ignore[arg-type]
                direction=direction,  # type: ignore[arg-type]
                packets=packets,
                bytes=peer.counts[kind, direction, "bytes"],
                dropped_frames=peer.counts[kind, direction, "dropped"] if direction == "in" else None,
            )
            for peer in self._peers.values()
            for (kind, direction, what), packets in list(peer.counts.items())
            if what == "packets"
        ]

    # --- the end

    def connection_made(self, transport: Any) -> None:
        """The socket is open."""
        self._transport: asyncio.DatagramTransport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self._lost.set_result(None)

    async def close(self) -> None:
        """Begin to release everything, then wait until it is gone. Idempotent; safe to cancel."""
        self.abort()
        await asyncio.wait([self._lost, *self._stopping])

    def abort(self) -> None:
        """Release everything; it is gone in the loop's next turns. Idempotent."""
        self._closed = True
        for kind in list(self._pumps):
            self._stop(kind)
        for peer in self._peers.values():
            peer.end()
        self._peers.clear()
        self._transport.abort()


class UdpMedia:
    """A `statecore.ports.MediaAdapter`. `audio` and `video` are async iterables of frames, or None."""

    def __init__(self, audio: AsyncIterable[AudioFrame] | None = None, video: Any = None) -> None:
        self._sources = {kind: source for kind, source in (("audio", audio), ("video", video)) if source is not None}

    async def open(self, host: MediaHost, *, audio: bool, video: bool) -> UdpSession:
        """Open a socket, and the sources that are wanted. Raises MediaError; nothing is open then."""
        try:
            _, session = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: UdpSession(host, dict(self._sources)), local_addr=("127.0.0.1", 0)
            )
        except OSError as error:
            raise MediaError(why=f"no socket: {error}") from error
        for kind, wanted in (("audio", audio), ("video", video)):
            if wanted:
                await session.set_enabled(kind, True)  # type: ignore[arg-type]
        return session


async def answer(call: Call) -> None:
    """Bob listens for a moment, then hangs up."""
    async with call.answer() as session:
        count = 0
        async for frame in session.audio(call.initiator):
            count += len(frame.samples)
            if count >= frame.rate / 2:
                break
        print(f"bob heard {count / frame.rate:.2f} s of sound")


async def main() -> None:
    """A call over it, like over any other adapter."""
    async with (
        CallService() as service,
        CallClient(service.signaling("alice"), UdpMedia(audio=Tone(440))) as alice,
        CallClient(service.signaling("bob"), UdpMedia()) as bob,
    ):
        bob.on("incoming_call_received", answer)
        async with alice.call("bob", type="audio") as session:
            print(f"alice: ended by {(await session.wait_ended()).by}")


if __name__ == "__main__":
    asyncio.run(main())
