"""Media without a network: frames move from session to session within one process, bit for bit as they were sent.

Only the way of the frames is short. Who may send them is negotiated like any media: an offer, sent while holding the
pair's token, carries the address of the sender's session and the kinds it sends; so does the answer. An address names a
session in a register of this process, and is forgotten when that session is closed. All sessions that meet must run
in one event loop; all pacing is by that loop's time.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from functools import partial
from typing import Any, Generic, Literal, TypeAlias, TypeVar
from weakref import WeakSet

import attrs
import msgspec

from statecore.errors import (
    MediaConnectionFailed,
    MediaDeviceError,
    MediaError,
    NegotiationFailed,
)
from statecore.ports import AudioFrame, Kind, MediaHost, MediaPeer, Played, StreamStats, VideoFrame

from ._media_sources import Capture, ClockPicture, Tone, checked

Step: TypeAlias = Literal["open", "set_peers", "negotiate", "connect", "set_enabled", "set_source", "close"]
"""The steps of a session at which FakeMedia can be made to fail or to hang."""

_Frame = TypeVar("_Frame", AudioFrame, VideoFrame)

_addresses = itertools.count(1)
_sessions: dict[str, FakeSession] = {}
_DEPTH: dict[str, int] = {"audio": 50, "video": 30, "screen": 30}

# --- the parts of a session -------------------------------------------------------------------------------------------


class _Reader(Generic[_Frame]):
    """One reader of one stream: an async iterator over a bounded queue that drops the oldest."""

    def __init__(self, depth: int, dropped: Callable[[], None]) -> None:
        self._frames: deque[_Frame] = deque(maxlen=depth)
        self._dropped = dropped
        self._news = asyncio.Event()
        self._ended = False

    def put(self, frame: _Frame) -> None:
        if not self._ended:
            if len(self._frames) == self._frames.maxlen:
                self._dropped()
            self._frames.append(frame)
            self._news.set()

    def end(self) -> None:
        self._ended = True
        self._news.set()

    def __aiter__(self) -> _Reader[_Frame]:
        return self

    async def __anext__(self) -> _Frame:
        while not self._frames:
            if self._ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._frames.popleft()

    async def aclose(self) -> None:
        """Stop reading; what waits unread is dropped."""
        self._frames.clear()
        self.end()


class _Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of an offer and of an answer."""

    address: str
    """Where the sender's session takes frames."""
    number: int
    """The offer's number, and the same in its answer."""
    sends: list[Kind]
    """The kinds that the sender sends."""


@attrs.define(eq=False)
class _Link:
    """What one session knows of another participant."""

    peer: MediaPeer
    remote: FakeSession | None = None
    """The other's session, once connected."""
    told: frozenset[str] = frozenset()
    """What I last said that I send."""
    agreed: frozenset[str] = frozenset()
    """What of it the other has heard."""
    settled: bool = False
    """Whether my last offer was answered, or his came last."""
    number: int = 0
    lost: bool = False
    readers: dict[str, WeakSet[_Reader[Any]]] = attrs.field(factory=dict)
    counts: Counter[tuple[str, str, str]] = attrs.field(factory=Counter)

    def count(self, kind: str, direction: str, frame: AudioFrame | VideoFrame) -> None:
        data = frame.samples if isinstance(frame, AudioFrame) else frame.pixels
        self.counts[kind, direction, "packets"] += 1
        self.counts[kind, direction, "bytes"] += data.nbytes

    def end(self) -> None:
        for readers in self.readers.values():
            for reader in list(readers):
                reader.end()


# --- the session and the adapter --------------------------------------------------------------------------------------


class FakeSession:
    """One participant's media in memory: a MediaSession, and `lose`, `restore` and `fail` for tests."""

    def __init__(self, adapter: FakeMedia, host: MediaHost, kinds: Iterable[str]) -> None:
        self._adapter = adapter
        self._host = host
        self._address = f"{host.session_id}/{host.pid}/{next(_addresses)}"
        self._sources: dict[str, AsyncIterable[Any]] = {"audio": adapter.audio, "video": adapter.video}
        self._captures: dict[str, Capture] = {}
        self._played: dict[str, asyncio.Future[Played]] = {kind: _future() for kind in _DEPTH}
        """How the source of each kind came to its end."""
        self._over("screen", "ended")
        self._began: dict[str, float] = {}
        self._ends: dict[str, float] = {}
        self._links: dict[str, _Link] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self._released = asyncio.Event()
        _sessions[self._address] = self
        adapter.sessions.append(self)
        for kind in kinds:
            self._capture(kind, self._sources[kind])

    # --- who is there

    def set_peers(self, peers: Sequence[MediaPeer]) -> None:
        """Begin with who is new, stop with who is gone, and report up if everyone is connected."""
        if self._trips("set_peers", NegotiationFailed):
            return
        here = {peer.pid: peer for peer in peers}
        for pid in self._links.keys() - here.keys():
            self._links.pop(pid).end()
        for pid, peer in here.items():
            if pid not in self._links:
                self._links[pid] = _Link(peer)
                if self._host.joined < peer.joined:
                    self._host.ask(pid)
        self._check_up()

    def resumed(self) -> None:
        """Negotiate with everyone again: who knows what was lost."""
        for pid, link in self._links.items():
            link.settled = False
            self._host.ask(pid)

    # --- negotiation

    def granted(self, pid: str) -> None:
        """Offer if anything is not settled, else free the token."""
        if self._trips("negotiate", NegotiationFailed):
            return
        link = self._links.get(pid)
        if link is None or (link.settled and link.told == self._kinds()):
            self._host.free(pid)
            return
        link.number, link.settled = link.number + 1, False
        self._describe(link, "offer", link.number)

    def receive(self, pid: str, kind: str, body: str) -> None:
        """Take an offer or an answer. What is malformed, or from a stranger, is reported as a fault."""
        if self._trips("negotiate", NegotiationFailed):
            return
        link = self._links.get(pid)
        if link is None or kind not in ("offer", "answer"):
            self._host.fault(NegotiationFailed(why=f"unexpected {kind} from {pid}"))
            return
        try:
            description = msgspec.json.decode(body, type=_Description)
        except (msgspec.DecodeError, UnicodeEncodeError) as error:
            self._host.fault(NegotiationFailed(why=f"malformed {kind} from {pid}: {error}"))
            return
        # One that is closed already will not be among the peers much longer; nothing more is to be done with it.
        stale = kind == "answer" and (description.number != link.number or link.settled)
        if stale or description.address not in _sessions:
            return
        if kind == "offer":
            self._describe(link, "answer", description.number)
        self._settle(link, description, offered=kind == "answer")

    def _describe(self, link: _Link, kind: Literal["offer", "answer"], number: int) -> None:
        link.told = self._kinds()
        description = _Description(self._address, number, sorted(link.told))  # type: ignore[arg-type]
        self._host.send(link.peer.pid, kind, msgspec.json.encode(description).decode())

    def _settle(self, link: _Link, description: _Description, *, offered: bool) -> None:
        pid, first = link.peer.pid, link.remote is None
        link.settled, link.agreed = True, link.told
        if offered:
            self._host.free(pid)
            self._negotiate(link)
        if self._trips("connect", MediaConnectionFailed):
            return
        link.remote = _sessions[description.address]
        if first:
            self._host.peer_connected(pid)
            self._check_up()

    def _negotiate(self, *links: _Link) -> None:
        """Ask for the token wherever the other side has not been told what is sent now."""
        for link in links:
            if link.settled and link.told != self._kinds():
                self._host.ask(link.peer.pid)

    def _kinds(self) -> frozenset[str]:
        return frozenset(self._captures)

    def _check_up(self) -> None:
        if all(link.remote for link in self._links.values()) and not self._trips("connect", MediaConnectionFailed):
            self._host.up()

    # --- sending

    async def set_enabled(self, kind: Literal["audio", "video"], enabled: bool) -> None:
        """Send or stop sending; the first time of a kind opens its source and negotiates."""
        await self._pass("set_enabled", MediaDeviceError)
        if kind in self._captures:
            on = self._captures[kind].on
            (on.set if enabled else on.clear)()
        elif enabled:
            self._capture(kind, self._sources[kind])

    async def set_source(self, kind: Kind, source: Any) -> None:
        """Replace what is sent at once. Raises SourceError if it is not an async iterable of frames."""
        await self._pass("set_source", MediaDeviceError)
        if kind == "screen" and source is None:
            self._over("screen", "replaced")
            self._stop("screen")
            self._negotiate(*self._links.values())
            return
        source = checked(source)
        old = self._captures.get(kind)
        self._sources[kind] = source
        self._over(kind, "replaced")
        self._played[kind] = _future()
        if old is not None or kind == "screen":
            self._stop(kind)
            self._capture(kind, source, on=old is None or old.on.is_set())

    def _capture(self, kind: str, source: AsyncIterable[Any], *, on: bool = True) -> None:
        if self._released.is_set():
            return
        offset: float | None = None

        def spread(frame: Any) -> None:
            nonlocal offset
            if offset is None:
                # The times of a stream go on where another source takes over.
                now = asyncio.get_running_loop().time()
                offset = max(now - self._began.setdefault(kind, now), self._ends.get(kind, 0.0))
            frame = attrs.evolve(frame, time=frame.time + offset) if offset else frame
            self._ends[kind] = frame.time + (len(frame.samples) / frame.rate if kind == "audio" else 0)
            self._spread(kind, frame)

        self._captures[kind] = Capture(source, on, spread, self._host.fault, partial(self._over, kind))
        self._negotiate(*self._links.values())

    async def played(self, kind: Kind) -> Played:
        """How what is sent now comes to its end, once it has. Safe to cancel."""
        return await asyncio.shield(self._played[kind])

    def _over(self, kind: str, how: Played) -> None:
        if not self._played[kind].done():
            self._played[kind].set_result(how)

    def _stop(self, kind: str) -> None:
        if capture := self._captures.pop(kind, None):
            capture.task.cancel()
            self._stopping.add(capture.task)
            capture.task.add_done_callback(self._stopping.discard)

    def _spread(self, kind: str, frame: AudioFrame | VideoFrame) -> None:
        for link in self._links.values():
            if link.remote is not None and not link.lost and kind in link.agreed:
                link.count(kind, "out", frame)
                link.remote.arrive(self._host.pid, kind, frame)

    # --- receiving

    def audio(self, pid: str) -> AsyncIterator[AudioFrame]:
        """The sound of a participant; of one who is not here (any more) there is none."""
        return self._read(pid, "audio")

    def video(self, pid: str, kind: Literal["video", "screen"] = "video") -> AsyncIterator[VideoFrame]:
        """The pictures of a participant."""
        return self._read(pid, kind)

    def _read(self, pid: str, kind: str) -> _Reader[Any]:
        link = self._links.get(pid)
        if link is None:
            reader: _Reader[Any] = _Reader(1, _nothing)
            reader.end()
            return reader

        def dropped() -> None:
            link.counts[kind, "in", "dropped"] += 1

        reader = _Reader(_DEPTH[kind], dropped)
        link.readers.setdefault(kind, WeakSet()).add(reader)
        return reader

    def arrive(self, pid: str, kind: str, frame: AudioFrame | VideoFrame) -> None:
        """Take a frame from another session."""
        link = self._links.get(pid)
        if link is None or link.lost or (self._host.settings.audio_only and kind != "audio"):
            return
        link.count(kind, "in", frame)
        for reader in list(link.readers.get(kind, ())):
            reader.put(frame)

    async def stats(self) -> list[StreamStats]:
        """The counters; a packet is a frame here, and its bytes are those of the samples or pixels."""
        return [
            StreamStats(
                pid=pid,
                kind=kind,  # type: ignore[arg-type]
                direction=direction,  # type: ignore[arg-type]
                packets=packets,
                bytes=link.counts[kind, direction, "bytes"],
                lost=0,
                dropped_frames=link.counts[kind, direction, "dropped"] if direction == "in" else None,
            )
            for pid, link in self._links.items()
            for (kind, direction, what), packets in list(link.counts.items())
            if what == "packets"
        ]

    # --- the end

    async def close(self) -> None:
        """Release everything and wait until it is gone. Idempotent; safe to cancel: it is released all the same."""
        await self._pass("close", MediaError)
        self.abort()
        if self._stopping:
            await asyncio.wait(self._stopping)

    def abort(self) -> None:
        """Release everything; the tasks end in the loop's next turns. Idempotent."""
        if self._released.is_set():
            return
        self._released.set()
        del _sessions[self._address]
        self._adapter.sessions.remove(self)
        for kind in self._played:
            self._stop(kind)
            self._over(kind, "closed")
        for link in self._links.values():
            link.end()
            if link.remote is not None:
                link.remote.notice(self._host.pid, lost=True)
        self._links.clear()

    # --- for tests

    def lose(self, pid: str) -> None:
        """Lose the link with a participant: frames stop both ways, and both sides report it. Idempotent."""
        self._set_lost(pid, True)

    def restore(self, pid: str) -> None:
        """Bring back a link that was lost; both sides report it. Idempotent."""
        self._set_lost(pid, False)

    def fail(self, error: MediaError | None = None) -> None:
        """Lose every link, and report that the session cannot go on."""
        for pid in self._links:
            self.lose(pid)
        self._host.failed(error or MediaConnectionFailed(why="it was made to fail"))

    def _set_lost(self, pid: str, lost: bool) -> None:
        remote = self._links[pid].remote
        self.notice(pid, lost=lost)
        if remote is not None:
            remote.notice(self._host.pid, lost=lost)

    def notice(self, pid: str, *, lost: bool) -> None:
        """Hear that the link with a participant was lost, or came back."""
        link = self._links.get(pid)
        if link is not None and link.remote is not None and link.lost != lost:
            link.lost = lost
            (self._host.peer_lost if lost else self._host.peer_connected)(pid)

    def _trips(self, step: Step, error: type[MediaError]) -> bool:
        """Whether a synchronous step goes wrong here: it then does nothing, and reports so if it is to fail."""
        if self._adapter.fail_at == step:
            self._host.failed(error(why=f"{step} was made to fail"))
        return step in (self._adapter.fail_at, self._adapter.hang_at)

    async def _pass(self, step: Step, error: type[MediaError]) -> None:
        """Raise in a step that is to fail, and wait for the end in one that is to hang."""
        if self._adapter.fail_at == step:
            raise error(why=f"{step} was made to fail")
        if self._adapter.hang_at == step:
            await self._released.wait()


class FakeMedia:
    """A MediaAdapter that moves frames in memory, and fails on purpose.

    `audio` and `video` are what sessions send unless told otherwise: any async iterable of AudioFrame or VideoFrame.
    One that begins anew for each iteration, like Tone and ClockPicture, serves any number of sessions; an iterator
    serves one. What arrives shares its arrays with what was sent: read them, do not write them.

    `fail_at` and `hang_at` name a step (see Step) at which sessions fail or hang; they may be set at any time and hold
    for all sessions. Awaited steps raise a MediaError, or wait until the session is aborted (`open`: until it is
    cancelled); `close`, then, releases nothing. Steps that are not awaited report `failed`, or do nothing.
    """

    def __init__(
        self,
        audio: AsyncIterable[AudioFrame] | None = None,
        video: AsyncIterable[VideoFrame] | None = None,
        *,
        fail_at: Step | None = None,
        hang_at: Step | None = None,
    ) -> None:
        self.audio = Tone() if audio is None else checked(audio)
        self.video = ClockPicture() if video is None else checked(video)
        self.fail_at = fail_at
        self.hang_at = hang_at
        self.sessions: list[FakeSession] = []
        """The sessions that are open, oldest first."""

    async def open(self, host: MediaHost, *, audio: bool, video: bool) -> FakeSession:
        """Open a session that captures what is asked for."""
        if self.fail_at == "open":
            raise MediaDeviceError(why="open was made to fail")
        if self.hang_at == "open":
            await asyncio.get_running_loop().create_future()
        wanted = {"audio": audio, "video": video}
        return FakeSession(self, host, [kind for kind in wanted if wanted[kind]])


def _future() -> asyncio.Future[Played]:
    return asyncio.get_running_loop().create_future()


def _nothing() -> None:
    """Called when a reader of nobody drops a frame, which it never does."""


__all__ = ["ClockPicture", "FakeMedia", "FakeSession", "Step", "Tone"]
