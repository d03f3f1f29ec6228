"""A media adapter that fails, hangs or lies: it costs its own call at the most, and nothing of it is left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from statecore import CallListener, Reason, Session
from statecore.errors import (
    MediaConnectionFailed,
    MediaDeviceError,
    MediaError,
    MediaTimeout,
    SessionInactive,
    StatecoreError,
)
from statecore.testing import FakeMedia

Town, Run = Callable[..., Any], Callable[..., Any]


class Odd(FakeMedia):
    """Media whose sessions have some methods replaced; each gets the session first."""

    def __init__(self, still: Any, **methods: Callable[..., Any]) -> None:
        super().__init__(still("audio"), still("video"))
        self.methods = methods

    async def open(self, host: Any, *, audio: bool, video: bool) -> Any:
        """A session that is odd."""
        session = await super().open(host, audio=audio, video=video)
        for name, method in self.methods.items():
            setattr(session, name, lambda *args, m=method, **more: m(session, *args, **more))
        session.host = host  # type: ignore[attr-defined]
        return session


async def never(*_: Any) -> None:
    """Hang until cancelled."""
    await asyncio.get_running_loop().create_future()


async def call(t: Any) -> tuple[Any, Any]:
    """Alice's and Bob's calls, accepted."""
    ring = await t.clients["alice"].initiate_call("bob", type="audio")
    await t.until(lambda: t.clients["bob"].calls)
    return await asyncio.gather(ring.answered(), t.clients["bob"].accept_call(ring.session_id))


async def start(t: Any, name: str, session_id: str) -> Session:
    """Join as one of them."""
    client = t.clients[name]
    session: Session = await client.start_session(await client.generate_token(session_id), type="audio")
    return session


# --- receiving


class Broken:
    """Frames that break off after the first."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error
        self.closed = False

    def __aiter__(self) -> Broken:
        return self

    async def __anext__(self) -> str:
        if self.error is None:
            raise StopAsyncIteration
        if self.closed:
            error, self.error = self.error, None
            raise error
        self.closed = True
        return "a frame"


RAISED = [
    (OSError("no such device"), MediaError, "OSError: no such device"),
    (TimeoutError(), MediaTimeout, "read"),
    (MediaDeviceError(why="unplugged"), MediaDeviceError, "unplugged"),
    (SessionInactive(session_id="x", state="ended", trigger="audio"), SessionInactive, "ended"),
]


@pytest.mark.parametrize(("error", "kind", "says"), RAISED)
@pytest.mark.parametrize("what", ["audio", "video"])
def test_receiving_that_breaks(
    town: Town, run: Run, still: Any, what: str, error: Any, kind: type[Exception], says: str
) -> None:
    """What an adapter raises when frames are asked for, or while they are read, is a typed error, and told; the session
    goes on, and frames that end just end."""

    def raises(*_: Any) -> Any:
        raise error

    async def main() -> None:
        async with town("bob") as t:
            refused: list[Any] = []
            for broken in (raises, lambda *_: Broken(error)):
                await t.add("alice", media=Odd(still, **{what: broken}))
                accepted, _ = await call(t)
                hers, his = await asyncio.gather(*(start(t, name, accepted.session_id) for name in ("alice", "bob")))
                hers.on("error", refused.append)
                receive = partial(getattr(hers, what), "bob")
                if broken is raises:
                    with pytest.raises(kind, match=says):
                        receive()
                else:
                    frames = receive()
                    assert await anext(frames) == "a frame"
                    with pytest.raises(kind, match=says):
                        await anext(frames)
                    assert [frame async for frame in frames] == []
                assert hers.state == his.state == "active"
                await hers.end()
                await t.clients["alice"].close()
            told = [type(one) for one in refused]
            assert told == ([] if kind is SessionInactive else [kind, kind])

    run(main)


@pytest.mark.parametrize("closable", [True, False])
def test_whoever_stops_receiving_lets_go(town: Town, run: Run, still: Any, closable: bool) -> None:
    """Closing frames closes what the adapter gave, where that can be closed."""
    closed: list[bool] = []

    async def frames() -> Any:
        try:
            yield "a frame"
        finally:
            closed.append(True)

    async def main() -> None:
        async with town("bob") as t:
            await t.add("alice", media=Odd(still, audio=lambda *_: frames() if closable else Broken(OSError())))
            accepted, _ = await call(t)
            hers, _ = await asyncio.gather(*(start(t, name, accepted.session_id) for name in ("alice", "bob")))
            sound: Any = hers.audio("bob")
            assert await anext(sound) == "a frame"
            await sound.aclose()
            assert closed == [True] * closable
            await hers.end()

    run(main)


# --- opening


async def _raises(*_: Any, **__: Any) -> Any:
    raise OSError("no such device")


async def _times_out(*_: Any, **__: Any) -> Any:
    raise TimeoutError


async def _cancels_itself(*_: Any, **__: Any) -> Any:
    raise asyncio.CancelledError


async def _hangs(*_: Any, **__: Any) -> Any:
    await never()


@pytest.mark.parametrize(
    ("opening", "error", "says"),
    [
        (_raises, MediaError, "no such device"),
        (_times_out, MediaTimeout, "open"),
        (_cancels_itself, MediaError, "cancelled from within"),
    ],
)
def test_media_that_does_not_open(
    town: Town, run: Run, monkeypatch: Any, opening: Any, error: type[StatecoreError], says: str
) -> None:
    """Whoever starts the session is told why, and the call ends for both as failed by media."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            _, theirs = await call(t)
            monkeypatch.setattr(t.media["bob"], "open", opening)
            with pytest.raises(error, match=says):
                await start(t, "bob", theirs.session_id)
            await t.until(lambda: not t.clients["alice"].calls)
            (row,) = await t.service.call_log()
            assert row.end_reason.what == Reason.FAILED_MEDIA

    run(main)


def test_media_that_never_opens(town: Town, run: Run, monkeypatch: Any) -> None:
    """An adapter that hangs is given up with a time-out, and told to stop."""

    async def main() -> None:
        stopped = []

        async def opening(*_: Any, **__: Any) -> None:
            try:
                await never()
            finally:
                stopped.append(asyncio.get_running_loop().time())

        async with town("alice", "bob") as t:
            monkeypatch.setattr(t.media["bob"], "open", opening)
            session = t.clients["bob"].start_session(await t.clients["bob"].generate_token("room"))
            with pytest.raises(MediaTimeout, match="open"):
                await session
            assert stopped

    run(main)


def test_the_call_ends_while_media_opens(town: Town, run: Run, monkeypatch: Any) -> None:
    """Opening is stopped, and whoever waited for the session hears of the end."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, theirs = await call(t)
            monkeypatch.setattr(t.media["bob"], "open", _hangs)
            waiting = asyncio.create_task(start(t, "bob", theirs.session_id))
            await t.until(lambda: any(task.get_name().startswith("statecore media") for task in asyncio.all_tasks()))
            await hers.end()
            with pytest.raises(StatecoreError) as told:
                await waiting
            assert not isinstance(told.value, MediaError)

    run(main)


@pytest.mark.parametrize("opens", [True, False])
def test_media_that_opens_although_it_was_told_to_stop(
    town: Town, run: Run, caplog: Any, monkeypatch: Any, opens: bool
) -> None:
    """An adapter that swallows its cancellation and opens long after the end: what it opened is aborted at once."""

    async def main() -> None:
        go = asyncio.Event()
        aborted = []

        class Late:
            def abort(self) -> None:
                aborted.append(self)

        async def opening(*_: Any, **__: Any) -> Any:
            while not go.is_set():
                try:
                    await go.wait()
                except asyncio.CancelledError:
                    continue
            if not opens:
                raise OSError
            return Late()

        async with town("alice", "bob") as t:
            hers, theirs = await call(t)
            monkeypatch.setattr(t.media["bob"], "open", opening)
            waiting = asyncio.create_task(start(t, "bob", theirs.session_id))
            await t.until(lambda: any(task.get_name().startswith("statecore media") for task in asyncio.all_tasks()))
            await hers.end()
            with pytest.raises(StatecoreError):
                await waiting
            assert not aborted
            go.set()
            await t.until(lambda: len(aborted) == opens and not _opening())

    def _opening() -> list[Any]:
        return [task for task in asyncio.all_tasks() if task.get_name().startswith("statecore media")]

    run(main)
    assert "was cancelled and does not end" in caplog.text


# --- driving


def test_an_adapter_that_raises_when_it_is_driven(town: Town, run: Run, still: Any) -> None:
    """What a synchronous step raises is told as an error of the session, and the session goes on."""

    async def main() -> None:
        def broken(*_: Any) -> None:
            raise ValueError("not today")

        async with town("alice") as t:
            await t.add("bob", media=Odd(still, resumed=broken))
            hers, his = await t.pair()
            told: list[Any] = []
            his.on("error", told.append)
            t.links["bob"].drop()
            await t.until(lambda: told)
            assert isinstance(told[0], ValueError)
            await his.send_message("still here")
            assert hers.state == his.state == "active"

    run(main)


def test_a_share_that_is_stopped_leaves_a_broken_screen(town: Town, run: Run, still: Any) -> None:
    """What fails in the background, with nobody waiting for it, is told as an error of the session."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, _ = await t.pair()
            told: list[Any] = []
            hers.on("error", told.append)
            await hers.start_screen_share(still("video"))
            t.media["alice"].fail_at = "set_source"
            await hers.stop_screen_share()
            await t.until(lambda: told)
            assert isinstance(told[0], MediaError)
            assert hers.state == "active"

    run(main)


def test_a_source_that_takes_too_long(town: Town, run: Run, still: Any) -> None:
    """`play` gives up after what a command may take, and names the step; the next one waits its turn and works."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, _ = await t.pair()
            t.media["alice"].hang_at = "set_source"
            first = asyncio.create_task(hers.play(still("audio", 2)))
            second = asyncio.create_task(hers.play(still("audio", 3)))
            await asyncio.sleep(5)
            assert not first.done()
            t.media["alice"].hang_at = None
            with pytest.raises(MediaTimeout, match="play"):
                await first
            await second

    run(main)


def test_nobody_waits_for_a_source_any_more(town: Town, run: Run, still: Any) -> None:
    """A cancelled `play` is stopped, one that still waits for its turn never begins, and a third one works."""

    async def main() -> None:
        begun = []
        async with town("bob") as t:
            media = FakeMedia(still("audio"), still("video"))
            await t.add("alice", media=media)
            hers, _ = await t.pair()
            (session,) = media.sessions
            set_source = session.set_source

            async def watched(kind: Any, source: Any) -> None:
                begun.append(source.mark)
                await set_source(kind, source)

            session.set_source = watched  # type: ignore[method-assign]
            media.hang_at = "set_source"
            plays = [asyncio.create_task(hers.play(still("audio", mark))) for mark in (2, 3, 4)]
            await t.until(lambda: begun == [2])
            plays[1].cancel()
            plays[0].cancel()
            media.hang_at = None
            await asyncio.gather(*plays, return_exceptions=True)
            assert [play.cancelled() for play in plays] == [True, True, False]
            assert begun == [2, 4]

    run(main)


def test_the_session_ends_under_a_source(town: Town, run: Run, still: Any) -> None:
    """Whoever waits for a source, or for its turn, hears that the session is over."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, his = await t.pair()
            t.media["alice"].hang_at = "set_source"
            plays = [asyncio.create_task(hers.play(still("audio", mark))) for mark in (2, 3, 4)]
            await asyncio.sleep(1)
            plays.pop().cancel()
            await his.end()
            for play in plays:
                with pytest.raises(SessionInactive):
                    await play

    run(main)


# --- what an adapter reports


def test_an_adapter_that_gives_up_twice(town: Town, run: Run) -> None:
    """Of several reports that media cannot go on, the first one is the session's error; both sides end."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, his = await t.pair()
            (session,) = t.media["alice"].sessions
            session.fail(MediaConnectionFailed(why="first"))
            session.fail(MediaConnectionFailed(why="second"))
            for one in (hers, his):
                assert (await one.wait_ended()).what == Reason.LOST
            assert "first" in str(hers.error)
            assert his.error is None

    run(main)


def test_an_adapter_that_speaks_after_the_end(town: Town, run: Run, still: Any) -> None:
    """Once closing has begun the host is deaf: nothing is told, sent or changed by what comes late."""

    async def main() -> None:
        media: list[Any] = []
        said: list[str] = []

        async def close(session: Any) -> None:
            media.append(session)
            host = session.host
            host.fault(ValueError("late"))
            host.failed(MediaError(why="late"))
            host.up()
            host.peer_lost("1")
            host.send("1", "offer", "late")
            said.append("all of it")
            session.abort()

        async with town("alice") as t:
            bob = await t.add("bob", media=Odd(still, close=close))
            told: list[Any] = []
            bob.add_call_listener("app", CallListener(on_error=told.append))
            _, his = await t.pair()
            his.on("error", told.append)
            await his.end()
            assert said
            assert his.error is None
            assert (await his.wait_ended()).what == Reason.HANGUP
            assert not told

    run(main)


def test_a_fault_is_told(town: Town, run: Run, still: Any) -> None:
    """What an adapter survives reaches the session's listeners."""

    async def main() -> None:
        media: list[Any] = []
        async with town("alice") as t:
            await t.add("bob", media=Odd(still, resumed=media.append))
            session = await t.clients["bob"].start_session(await t.clients["bob"].generate_token("room"))
            told: list[Any] = []
            session.on("error", told.append)
            t.links["bob"].drop()
            await t.until(lambda: media)
            media[0].host.fault(ValueError("a glitch"))
            assert [str(error) for error in told] == ["a glitch"]
            await session.leave()

    run(main)


# --- closing


async def _close_raises(_: Any) -> None:
    raise OSError("stuck")


async def _close_hangs(_: Any) -> None:
    await never()


@pytest.mark.parametrize(("close", "says"), [(_close_raises, "stuck"), (_close_hangs, "close")])
@pytest.mark.parametrize("abort_works", [True, False])
def test_media_that_does_not_close(
    town: Town, run: Run, caplog: Any, still: Any, close: Any, says: str, abort_works: bool
) -> None:
    """Media that raises or hangs when it is closed is forced; the end takes no longer than its bound, and is told."""

    async def main() -> None:
        def abort(session: Any) -> None:
            type(session).abort(session)
            if not abort_works:
                raise RuntimeError("not even that")

        async with town("alice") as t:
            await t.add("bob", media=Odd(still, close=close, abort=abort))
            hers, his = await t.pair()
            await asyncio.wait_for(his.end(), t.service.switchboard.timers.close + 1)
            assert (await hers.wait_ended()).what == Reason.HANGUP
            assert not t.media["bob"].sessions

    run(main)
    faults = [record.getMessage() for record in caplog.records if "media fault" in record.getMessage()]
    assert says in faults[0]
    assert len(faults) == 2 - abort_works
