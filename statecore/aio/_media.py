"""A session's media: opened once, driven in the order of events, closed exactly once, whatever the adapter does."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, Self, TypeAlias, TypeVar, runtime_checkable

from ..endpoint import Drive, LocalLeg, Media, Signal
from ..errors import InvalidArgument, MediaError, MediaTimeout, StatecoreError
from ..ports import Kind, MediaPeer, MediaSession, Played, TellsPlayed
from ..settings import CallSettings, IceServers
from ..wire import Ask, Free, Relay
from ._tasks import Tasks, bounded, cancel

if TYPE_CHECKING:
    from ._driver import Driver
    from ._part import Part

T = TypeVar("T")
Job: TypeAlias = Callable[[MediaSession], Coroutine[Any, Any, T]]

_log = logging.getLogger("statecore.session")


class SessionMedia:
    """The only part that touches the media adapter. Faults end or degrade this call, and touch nothing else."""

    def __init__(self, driver: Driver, part: Part, tasks: Tasks) -> None:
        self.driver = driver
        self.part = part
        self.error: StatecoreError | None = None
        """Why media failed, if it did."""
        self._tasks = tasks
        self._opening: asyncio.Task[MediaSession] | None = None
        self._open: MediaSession | None = None
        self._closing: asyncio.Task[None] | None = None
        self._waiting: list[Callable[[MediaSession], object]] = []
        self._jobs: deque[tuple[str, Job[Any], asyncio.Future[Any] | None]] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._wanted: set[str] = set()
        """What is to be captured, as the service has confirmed it."""
        self._hushed: set[str] = set()
        """What is not to be captured all the same: the user said so, and the service may not know yet."""
        self._playing: set[asyncio.Task[Played]] = set()
        """What waits for the end of a source."""

    @property
    def closing(self) -> bool:
        """Whether closing has begun."""
        return self._closing is not None

    def ready(self, what: str) -> MediaSession:
        """The open media session. Raises SessionInactive before it is open, and after the end."""
        if self._open is None or self.closing:
            raise self.part.inactive(what)
        return self._open

    # --- opening

    def open(self, capture: frozenset[str]) -> None:
        """Open now, with this to be captured: asked for once, while the leg lives."""
        self._wanted = set(capture)
        work = self._begun(capture)
        self._opening = asyncio.get_running_loop().create_task(work, name=f"statecore media {self.part.session_id}")
        self._tasks.start(self._opened(self._opening), f"statecore media opening {self.part.session_id}")

    async def _begun(self, capture: frozenset[str]) -> MediaSession:
        if not self.part.settings.ice_servers:
            await self.driver.ice.ready()
        return await self.driver.media.open(Host(self), audio="audio" in capture, video="video" in capture)

    async def _opened(self, opening: asyncio.Task[MediaSession]) -> None:
        await asyncio.wait((opening,), timeout=self.driver.timers.connect)
        if self.closing:
            return  # which also closes what was opened
        if not opening.done():
            self.failed(MediaTimeout(step="open"))
        elif opening.cancelled():
            self.failed(MediaError(why="opening was cancelled from within"))
        elif (error := opening.exception()) is not None:
            self.failed(_as_media_error(error))
        else:
            self._open = opening.result()
            waiting, self._waiting = self._waiting, []
            for drive in waiting:
                self._safely(drive)

    def failed(self, error: StatecoreError) -> None:
        """Media cannot go on: the first report counts."""
        if self.error is None:
            self.error = error
            _log.info("media failed: %s", error, extra=self.part.extra)
        self.driver.feed(Media(self.part.session_id, "failed"))

    # --- driving

    def drive(self, effect: Drive) -> None:
        """Tell media what changed; kept until it is open."""
        what, args = effect.what, effect.args
        if what == "capture":
            kind, on = args
            (self._wanted.add if on else self._wanted.discard)(kind)
            self._capture(kind)
        elif what == "peers":
            peers = [MediaPeer(pid=peer.pid, uid=peer.user, joined=peer.joined) for peer in args[0]]
            self._now(lambda media: media.set_peers(peers))
        elif what == "receive":
            self._now(lambda media: media.receive(*args))
        elif what == "granted":
            self._now(lambda media: media.granted(*args))
        else:
            self._now(lambda media: media.resumed())

    def hush(self, kind: str, on: bool) -> None:
        """Capture nothing of a kind, whatever is wanted; or what is wanted again. Idempotent."""
        hushed = kind in self._hushed
        (self._hushed.add if on else self._hushed.discard)(kind)
        if hushed != on and kind in self._wanted and not self.closing:
            self._capture(kind)

    def _capture(self, kind: Any) -> None:
        on = kind in self._wanted and kind not in self._hushed
        self._enqueue(f"capture {kind}", lambda media: _capture(media, kind, on), None)

    def _now(self, drive: Callable[[MediaSession], object]) -> None:
        if self._open is None:
            self._waiting.append(drive)
        else:
            self._safely(drive)

    def _safely(self, drive: Callable[[MediaSession], object]) -> None:
        if self._open is not None and not self.closing:
            try:
                drive(self._open)
            except Exception as error:  # noqa: BLE001 - an adapter's fault, which the session survives
                self.part.fault(error)

    # --- what is received

    def frames(self, what: str, read: Callable[[MediaSession], AsyncIterator[T]]) -> Frames[T]:
        """What comes from a participant. What the adapter raises is a typed error, and told."""
        media = self.ready(what)
        try:
            return Frames(read(media), self)
        except Exception as error:
            raise self.broken(error) from error

    def broken(self, error: Exception) -> StatecoreError:
        """What receiving broke by, as whoever receives is told it; the session survives it."""
        typed = _as_media_error(error, step="read")
        if isinstance(typed, MediaError):
            self.part.fault(typed)
        return typed

    # --- what takes its time: one thing after the other

    async def do(self, what: str, job: Job[T]) -> T:
        """Do an awaitable thing after those before it, for at most as long as a command may take.

        Raises what the adapter raises as a typed error, MediaTimeout, or SessionInactive once the session ends."""
        self.ready(what)
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._enqueue(what, job, done)
        return await done

    async def play(self, kind: Kind, source: Any, *, wait: bool) -> Played | None:
        """Send another source, and wait for its end if that is wanted."""
        if wait and not isinstance(self.ready("play"), TellsPlayed):
            raise InvalidArgument("this media adapter cannot tell when a source has ended", name="wait")

        playing: list[asyncio.Task[Played]] = []
        waiting = wait

        async def job(media: MediaSession) -> None:
            await media.set_source(kind, source)
            if waiting and isinstance(media, TellsPlayed):
                # Begun here, where no other source can have taken its place yet.
                playing.append(self._wait_played(media, kind))

        try:
            await self.do("play", job)
            return await self._end_of(playing[0]) if playing else None
        finally:
            waiting = False  # a job that is given up may set the source all the same
            for each in playing:
                each.cancel()

    def _wait_played(self, media: TellsPlayed, kind: Kind) -> asyncio.Task[Played]:
        playing = self._tasks.start(media.played(kind), f"statecore media {kind} played {self.part.session_id}")
        self._playing.add(playing)
        playing.add_done_callback(self._playing.discard)
        return playing

    async def _end_of(self, playing: asyncio.Task[Played]) -> Played:
        await asyncio.wait((playing,))
        if playing.cancelled():
            return "closed"
        if (error := playing.exception()) is not None:
            raise _as_media_error(error, step="play")
        return playing.result()

    async def ask(self, what: str, question: Callable[[MediaSession], Coroutine[Any, Any, T]]) -> T:
        """Ask media something, whatever else it is doing; otherwise like `do`."""
        return await self._bounded(what, question(self.ready(what)))

    def _enqueue(self, what: str, job: Job[Any], done: asyncio.Future[Any] | None) -> None:
        self._jobs.append((what, job, done))
        self._now(self._begin)

    def _begin(self, media: MediaSession) -> None:
        if self._worker is None or self._worker.done():
            self._worker = self._tasks.start(self._work(media), f"statecore media work {self.part.session_id}")

    async def _work(self, media: MediaSession) -> None:
        while self._jobs:
            what, job, done = self._jobs.popleft()
            if done is None:
                try:
                    await self._bounded(what, job(media))
                except StatecoreError as error:
                    self.part.fault(error)
            elif not done.done():
                await self._answer(self._bounded(what, job(media)), done)

    async def _answer(self, work: Coroutine[Any, Any, T], done: asyncio.Future[T]) -> None:
        """Somebody awaits it: tell how it went, and stop it if nobody does any more."""
        task = asyncio.get_running_loop().create_task(work, name=f"statecore media job {self.part.session_id}")
        done.add_done_callback(lambda _: task.cancel())
        try:
            await asyncio.wait((task,))
        finally:
            if not task.done():
                await cancel(task)
            if not done.done():
                error = self.part.inactive("this") if task.cancelled() else task.exception()
                done.set_result(task.result()) if error is None else done.set_exception(error)

    async def _bounded(self, what: str, work: Coroutine[Any, Any, T]) -> T:
        try:
            return await bounded(work, self.driver.timers.command, f"statecore media {what}")
        except TimeoutError:
            raise MediaTimeout(step=what) from None
        except Exception as error:
            raise _as_media_error(error) from error

    # --- closing

    def close(self) -> None:
        """Close: one task, made once."""
        if self._closing is None:
            name = f"statecore media close {self.part.session_id}"
            self._closing = asyncio.get_running_loop().create_task(self._close(), name=name)

    async def closed(self) -> None:
        """Wait until media is closed, if it is being closed. Safe to cancel: closing goes on."""
        if self._closing is not None:
            await asyncio.shield(self._closing)

    async def _close(self) -> None:
        if self._worker is not None:
            await cancel(self._worker)
        for playing in self._playing:
            playing.cancel()
        for _, _, done in self._jobs:
            if done is not None and not done.done():
                done.set_exception(self.part.inactive("this"))
        self._jobs.clear()
        self._waiting.clear()
        media = await _given_up(self._opening) if self._opening is not None else None
        if media is None:
            return
        seconds = self.driver.timers.close
        try:
            await bounded(media.close(), seconds, f"statecore media closing {self.part.session_id}")
        except TimeoutError:
            self._force(media, MediaTimeout(step="close"))
        except Exception as error:  # noqa: BLE001 - what cannot be closed is forced, and told
            self._force(media, error)

    def _force(self, media: MediaSession, error: Exception) -> None:
        self.part.fault(error)
        try:
            media.abort()
        except Exception as worse:  # noqa: BLE001 - there is nothing more to try
            self.part.fault(worse)


async def _given_up(opening: asyncio.Task[MediaSession]) -> MediaSession | None:
    """What was opened, or would have been: an adapter may finish opening although it was told to stop."""
    if not opening.done() and not await cancel(opening):
        opening.add_done_callback(_abort)
        return None
    return None if opening.cancelled() or opening.exception() is not None else opening.result()


def _abort(opening: asyncio.Task[MediaSession]) -> None:
    """It opened long after the call was over."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().abort()


async def _capture(media: MediaSession, kind: Literal["audio", "video", "screen"], on: bool) -> None:
    if kind != "screen":
        await media.set_enabled(kind, on)
    elif not on:
        await media.set_source("screen", None)


def _as_media_error(error: BaseException, step: str = "open") -> StatecoreError:
    if isinstance(error, TimeoutError) and not isinstance(error, StatecoreError):
        return MediaTimeout(step=step)
    return error if isinstance(error, StatecoreError) else MediaError(why=f"{type(error).__name__}: {error}")


class Frames(Generic[T]):
    """Frames as an adapter gives them; what it raises meanwhile is a typed error."""

    def __init__(self, frames: AsyncIterator[T], media: SessionMedia) -> None:
        self._frames = frames
        self._media = media

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        try:
            return await anext(self._frames)
        except StopAsyncIteration:
            raise
        except Exception as error:
            raise self._media.broken(error) from error

    async def aclose(self) -> None:
        """Read no more."""
        if isinstance(self._frames, _Closable):
            await self._frames.aclose()


@runtime_checkable
class _Closable(Protocol):
    """An iterator that holds something until it is closed, such as a generator."""

    async def aclose(self) -> None:
        """Let go of it."""


class Host:
    """What the media adapter may ask of the session: the `MediaHost` port. Deaf once closing has begun."""

    def __init__(self, media: SessionMedia) -> None:
        self._media = media

    @property
    def _leg(self) -> LocalLeg:
        return self._media.part.leg

    @property
    def session_id(self) -> str:
        """The session's id."""
        return self._media.part.session_id

    @property
    def pid(self) -> str:
        """This participant's id."""
        return self._leg.pid

    @property
    def joined(self) -> int:
        """This participant's place in the order of joining."""
        return self._leg.joined

    @property
    def settings(self) -> CallSettings:
        """What the session was started with."""
        return self._media.part.settings

    @property
    def ice(self) -> IceServers:
        """What the service hands out to reach others by."""
        return self._media.driver.ice.current

    def send(self, pid: str, kind: Literal["offer", "answer", "candidate"], body: str) -> None:
        """Send media signaling to one participant."""
        self._feed(Signal(self.session_id, Relay(self.session_id, pid, kind, body)))

    def ask(self, pid: str) -> None:
        """Ask for the pair's offer token."""
        self._feed(Signal(self.session_id, Ask(self.session_id, pid)))

    def free(self, pid: str) -> None:
        """Give it back."""
        self._feed(Signal(self.session_id, Free(self.session_id, pid)))

    def up(self) -> None:
        """Media works with everyone who has joined."""
        self._feed(Media(self.session_id, "up"))

    def peer_connected(self, pid: str) -> None:
        """Media with one participant works."""
        self._feed(Media(self.session_id, "peer_connected", pid))

    def peer_lost(self, pid: str) -> None:
        """Media with one participant stopped."""
        self._feed(Media(self.session_id, "peer_lost", pid))

    def failed(self, error: MediaError) -> None:
        """Media cannot go on."""
        if not self._media.closing:
            self._media.failed(error)

    def fault(self, error: Exception) -> None:
        """Something went wrong that the session survives."""
        if not self._media.closing:
            self._media.part.fault(error)

    def _feed(self, given: Media | Signal) -> None:
        if not self._media.closing:
            self._media.driver.feed(given)


__all__ = ["Frames", "Host", "SessionMedia"]
