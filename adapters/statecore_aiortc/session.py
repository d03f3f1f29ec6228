"""One participant's media in one session: the feeds that are sent, and a peer for everybody else."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Literal

import attrs
from aiortc import RTCConfiguration
from aiortc.mediastreams import MediaStreamTrack

from statecore.errors import InvalidArgument, SourceError
from statecore.ports import AudioFrame, Kind, MediaHost, MediaPeer, Played, StreamStats, VideoFrame

from ._feed import Feed
from ._incoming import FrameReader, Incoming, to_audio
from ._link import ORDER, Link
from ._peer import Peer
from ._record import Names
from ._sinks import Sinks
from ._speaker import Output
from .files import Device, File
from .sources import Source, Stream, Track


class AiortcSession:
    """A `statecore.ports.MediaSession`; made by `AiortcMedia.open`."""

    def __init__(
        self,
        host: MediaHost,
        configure: Callable[[], RTCConfiguration],
        names: Names | None,
        speaker: Output | None,
    ) -> None:
        self.host = host
        self._configure = configure
        self._configuration = configure()
        self._sinks = Sinks(host, names, speaker)
        self._began: dict[int, float] = {}
        """When each source of a feed began, by its id(): an application's source need not be hashable."""
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._feeds: dict[Kind, Feed] = {kind: Feed(kind, loop.time(), self._began, host.fault) for kind in ORDER}
        self._peers: dict[str, Peer] = {}
        self._open: set[Peer] = set()
        """Every peer that is not closed yet, also of those who are gone."""
        self._wanted: set[Kind] = {"audio"}
        self._tasks: set[asyncio.Task[None]] = set()
        self._close: asyncio.Task[None] | None = None
        self._closed = False

    async def begin(self, sources: dict[Kind, Any], enabled: set[Kind]) -> None:
        """Open what is sent first. Raises SourceError or MediaDeviceError; close the session then."""
        settings = self.host.settings
        if "video" in enabled or (settings.start_video_paused and settings.type == "video"):
            self._want("video")

        async def start(kind: Literal["audio", "video"]) -> None:
            if sources[kind] is not None:
                await self._feeds[kind].use(self._source(kind, sources[kind]))
            if kind in enabled:
                await self._feeds[kind].enable(True)

        await asyncio.gather(start("audio"), start("video"))

    def _source(self, kind: Kind, value: Any) -> Source:
        source = as_source(value)
        settings = self.host.settings
        chosen = {"audio": settings.audio_input, "video": settings.video_input}.get(kind)
        if isinstance(source, Device) and source.name is None and chosen is not None:
            return attrs.evolve(source, name=chosen)
        return source

    # --- what a peer asks

    @property
    def wanted(self) -> frozenset[Kind]:
        """The kinds that need an m-line."""
        return frozenset(self._wanted)

    @property
    def relay_only(self) -> bool:
        """Whether media may only go through a TURN server."""
        return self._configuration.iceTransportPolicy.value == "relay"

    @property
    def relay_expected(self) -> bool:
        """Whether a TURN server was given."""
        return any("turn" in str(server.urls) for server in self._configuration.iceServers or ())

    def link(self, streams: dict[Kind, Incoming], changed: Callable[[], None]) -> Link:
        """A new connection."""
        self._configuration = self._configure()
        audio_only = self.host.settings.audio_only
        return Link(self._configuration, self._feeds, streams, changed, audio_only=audio_only)

    def connection_changed(self) -> None:
        """Report that media is up once everybody is connected."""
        if not self._closed and all(peer.connected for peer in self._peers.values()):
            self.host.up()

    # --- who is there

    def set_peers(self, peers: Sequence[MediaPeer]) -> None:
        """Begin with who is new, stop with who is gone."""
        if self._closed:
            return
        here = {peer.pid for peer in peers}
        for pid in self._peers.keys() - here:
            self._spawn(self._part(pid, self._peers.pop(pid)))
        for peer in peers:
            if peer.pid not in self._peers:
                self._peers[peer.pid] = made = Peer(self, peer, self._sinks.of(peer))
                self._open.add(made)
        self.connection_changed()

    async def _part(self, pid: str, peer: Peer) -> None:
        try:
            await peer.close()
            self._open.discard(peer)
        finally:
            await self._sinks.finish(pid)

    def receive(self, pid: str, kind: str, body: str) -> None:
        """Hand signaling to its peer; what comes from nobody known is too late or too early, and dropped."""
        if peer := self._peers.get(pid):
            peer.receive(kind, body)

    def granted(self, pid: str) -> None:
        """Offer, or give the token back."""
        if peer := self._peers.get(pid):
            peer.granted()
        else:
            self.host.free(pid)

    def resumed(self) -> None:
        """Negotiate again where something may have been lost."""
        for peer in self._peers.values():
            peer.resumed()

    # --- what is sent

    async def set_enabled(self, kind: Literal["audio", "video"], enabled: bool) -> None:
        """Send or do not send. Raises SourceError, MediaDeviceError, and InvalidArgument for video in audio only."""
        if enabled and kind == "video" and self.host.settings.audio_only:
            raise InvalidArgument("this session is audio only", name="kind")
        await self._feeds[kind].enable(enabled)
        if enabled:
            self._want(kind)

    async def set_source(self, kind: Kind, source: Any) -> None:
        """Send another source: see `statecore_aiortc.sources` for what can be one. None sends nothing."""
        if source is not None and kind != "audio" and self.host.settings.audio_only:
            raise InvalidArgument("this session is audio only", name="kind")
        feed = self._feeds[kind]
        made = None if source is None else self._source(kind, source)
        if made is not None and not any(other.source is made for other in self._feeds.values() if other is not feed):
            self._began.pop(id(made), None)
        if kind == "screen" and made is None:
            await feed.enable(False)
        await feed.use(made)
        for old in self._began.keys() - {id(each.source) for each in self._feeds.values()}:
            del self._began[old]
        if kind == "screen" and made is not None:
            await feed.enable(True)
            self._want(kind)

    async def played(self, kind: Kind) -> Played:
        """Wait until what is sent has come to its end, and say how: see `statecore.ports.TellsPlayed`."""
        return await self._feeds[kind].played()

    def _want(self, kind: Kind) -> None:
        if kind not in self._wanted:
            self._wanted.add(kind)
            for peer in self._peers.values():
                peer.changed()

    # --- what arrives

    def audio(self, pid: str) -> AsyncIterator[AudioFrame]:
        """The sound of a participant; of one who is not here there is none."""
        return self._reader(pid, "audio")

    def video(self, pid: str, kind: Literal["video", "screen"] = "video") -> AsyncIterator[VideoFrame]:
        """The pictures of a participant, likewise."""
        return self._reader(pid, kind)

    def _reader(self, pid: str, kind: Kind) -> FrameReader[Any]:
        if pid in self._peers:
            return self._peers[pid].reader(kind)
        nothing: FrameReader[AudioFrame] = FrameReader(1, to_audio, lambda: None)
        nothing.end()
        return nothing

    async def stats(self) -> list[StreamStats]:
        """The counters of every stream with every participant."""
        return [each for peer in list(self._peers.values()) for each in await peer.stats()]

    # --- the end

    async def close(self) -> None:
        """Release everything. Idempotent; may be called by several tasks, and cancelled: it is done all the same."""
        if self._close is None:
            self._close = self._loop.create_task(self._end(), name="statecore media close")
        await asyncio.wait((self._close,))
        if not self._close.cancelled():
            self._close.result()

    async def _end(self) -> None:
        self._closed = True
        peers, self._peers = self._peers, {}
        ends = [self._part(pid, peer) for pid, peer in peers.items()]
        await asyncio.gather(*ends, *self._tasks, *(feed.close() for feed in self._feeds.values()))

    def abort(self) -> None:
        """Release at once what can be; sockets close now, and what waits for them ends by itself. Idempotent."""
        self._closed = True
        if self._close is not None:
            self._close.cancel()
        for peer in self._open:
            peer.abort()
        for feed in self._feeds.values():
            feed.abort()
        self._sinks.abort()
        self._peers.clear()

    def _spawn(self, job: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(job, name="statecore media part")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def as_source(value: Any) -> Source:
    """A source from what people pass: a source, the path of a file, an aiortc track, or an async iterable of frames.

    Raises SourceError for everything else."""
    if isinstance(value, str | os.PathLike):
        return File(value)
    if isinstance(value, MediaStreamTrack):
        return Track(value)
    if isinstance(value, Source):
        return value
    if isinstance(value, AsyncIterable):
        return Stream(value)
    raise SourceError(source=value, why="it is no source, path, track or async iterable of frames")


__all__ = ["AiortcSession", "as_source"]
