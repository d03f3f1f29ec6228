"""The suite for media adapters finds what is wrong with an adapter."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import attrs
import numpy as np
import pytest

from statecore.ports import AudioFrame, VideoFrame
from statecore.testing.loop import VirtualLoop
from statecore.testing.media import ClockPicture, FakeMedia, MediaConformance, Tone
from statecore.testing.signals import draw_clock


def test_hooks_must_be_given() -> None:
    """The suite does not run without its hooks."""
    suite = MediaConformance()
    for hook in (
        lambda: suite.adapter(audio=None, video=None),
        lambda: suite.tone(440),
        suite.picture,
        lambda: suite.ending(440, 1.0),
    ):
        with pytest.raises(NotImplementedError):
            hook()


@attrs.frozen
class FirstOf:
    """The first frames of a source."""

    source: Tone
    count: int

    async def __aiter__(self) -> AsyncIterator[AudioFrame]:
        left = self.count
        async for frame in self.source:
            yield frame
            if not (left := left - 1):
                return


def spoiled(spoil: Callable[[Any], object], **hooks: Any) -> MediaConformance:
    """The suite, in a hurry, over an adapter whose every session was spoiled."""

    class Spoiled(FakeMedia):
        async def open(self, host: Any, *, audio: bool, video: bool) -> Any:
            session = await super().open(host, audio=audio, video=video)
            spoil(session)
            return session

    class Suite(MediaConformance):
        timeout = 1.2
        settle = 0.2

        def adapter(self, *, audio: Any, video: Any) -> FakeMedia:
            return Spoiled(audio, video)

        def tone(self, hz: float) -> Any:
            return Tone(hz)

        def ending(self, hz: float, seconds: float) -> Any:
            return FirstOf(Tone(hz), round(seconds / 0.02))

        def picture(self) -> Any:
            return ClockPicture(fps=25)

        def new_loop(self) -> VirtualLoop:
            return VirtualLoop(patience=1.2)

    suite = Suite()
    for name, hook in hooks.items():
        setattr(suite, name, hook)
    return suite


async def at_once(_: str) -> str:
    """Tell an end whatever is sent."""
    return "ended"


async def no_work(*_: Any, **__: Any) -> None:
    """An awaitable step that does nothing."""


def keep_task(session: Any) -> None:
    """Leave a task behind."""
    session.left = asyncio.create_task(asyncio.Event().wait())


def keep_file(session: Any) -> None:
    """Leave a file open."""
    kept.append(os.open(os.devnull, os.O_RDONLY))


def keep_thread(session: Any) -> None:
    """Leave a thread running."""
    thread = threading.Thread(target=end_thread.wait)
    thread.start()


def lose_error(session: Any) -> None:
    """Let a task fail and never look at it."""

    async def fail() -> None:
        raise ValueError("nobody looks")

    asyncio.create_task(fail())  # noqa: RUF006 - dropped on purpose


def offer_at_once(session: Any) -> None:
    """Offer to whoever comes, without asking."""
    session._host.ask = session.granted


def stay_in_readers(session: Any) -> None:
    """Give readers that never end."""
    session.audio = lambda _: endless()


async def endless() -> AsyncIterator[AudioFrame]:
    """A second of tone at a time, for ever, without regard to anybody."""
    async for frame in Tone():
        yield frame


def keep_sending(session: Any) -> None:
    """Send once more when closed."""
    close = session.close

    async def close_and_send() -> None:
        await close()
        asyncio.get_running_loop().call_soon(session._host.send, "bob-2", "offer", "late")

    session.close = close_and_send


def read_all(session: Any) -> None:
    """Keep everything that nobody reads."""
    read = session.audio

    def audio(pid: str) -> Any:
        reader = read(pid)
        reader._frames = deque(reader._frames)
        return reader

    session.audio = audio


def break_frames(session: Any) -> None:
    """Give sound in another shape than the port's."""
    arrive = session.arrive
    session.arrive = lambda pid, kind, frame: arrive(pid, kind, attrs.evolve(frame, samples=frame.samples[:, 0]))


def count_wrongly(session: Any) -> None:
    """Never advance a counter."""
    session.stats = no_stats


async def no_stats() -> list[Any]:
    """No counters."""
    return []


def still(session: Any) -> None:
    """Never send anything of what is turned on later, nor stop what was on."""
    session.set_enabled = no_work


def offers_once(session: Any) -> None:
    """Takes every turn after the first for a mistake."""
    granted, had = session.granted, set()

    def once(pid: str) -> None:
        if pid not in had:
            had.add(pid)
            granted(pid)

    session.granted, session.resumed = once, lambda: None


def stuck(session: Any) -> None:
    """Never end a share."""
    change = session.set_source

    async def set_source(kind: Any, source: Any) -> None:
        if source is not None:
            await change(kind, source)

    session.set_source = set_source


kept: list[int] = []
end_thread = threading.Event()


@pytest.fixture(autouse=True)
def _tidy() -> Iterator[None]:
    before = set(threading.enumerate())  # whatever runs the tests may have threads of its own
    yield
    end_thread.set()
    while kept:
        os.close(kept.pop())
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
    end_thread.clear()


FAULTS: list[tuple[Callable[[Any], object], str, str]] = [
    (keep_task, "test_alone_is_up_at_once", "tasks left"),
    (keep_file, "test_alone_is_up_at_once", "file descriptors"),
    (keep_thread, "test_alone_is_up_at_once", "threads"),
    (lose_error, "test_alone_is_up_at_once", "nobody looks"),
    (offer_at_once, "test_offers_wait_for_the_token", "while the offer token was not"),
    (stay_in_readers, "test_readers_end_with_the_participant", "readers did not end"),
    (keep_sending, "test_nothing_is_sent_after_close", "after close"),
    (read_all, "test_slow_reader_drops_the_oldest", "nothing is dropped"),
    (break_frames, "test_audio_is_exchanged", "not int16 of"),
    (count_wrongly, "test_statistics_advance", "no progress"),
    (still, "test_mute_and_unmute", "does not fall silent"),
    (still, "test_pause_and_resume_video", "still moves"),
    (still, "test_switch_to_video", "does not move"),
    (stuck, "test_screen_share_twice", "still moves"),
    (offers_once, "test_offer_lost_with_the_link", "no media with"),
    (lambda s: setattr(s, "resumed", lambda: None), "test_change_while_the_link_is_cut", "does not move"),
    (lambda s: setattr(s, "set_source", no_work), "test_bad_source_is_refused", "DID NOT RAISE"),
    (lambda s: setattr(s, "played", at_once), "test_source_that_ends", "before all of it arrived"),
    (lambda s: setattr(s, "played", at_once), "test_source_that_does_not_end", "of what goes on"),
    (lambda s: setattr(s, "close", no_work), "test_alone_is_up_at_once", "tasks left"),
    (lambda s: setattr(s, "receive", lambda *_: None), "test_malformed_messages_are_survived", "no media with"),
    (lambda s: setattr(s._host, "fault", lambda _: None), "test_malformed_messages_are_survived", "fault for each"),
    (lambda s: setattr(s._host, "up", lambda: None), "test_alone_is_up_at_once", "no media up"),
]


@pytest.mark.usefixtures("may_leave")
@pytest.mark.parametrize(("spoil", "test", "message"), FAULTS)
def test_suite_finds_the_fault(spoil: Callable[[Any], object], test: str, message: str) -> None:
    """The suite fails over an adapter with this fault, and says what it is."""
    suite = spoiled(spoil)
    argument: dict[str, list[Any]] = {"test_switch_to_video": [0], "test_malformed_messages_are_survived": ["offer"]}
    with pytest.raises((AssertionError, pytest.fail.Exception), match=message):
        getattr(suite, test)(*argument.get(test, []))


def test_suite_finds_a_wrong_tone() -> None:
    """A tone that is 2 % off is not what was sent."""
    suite = spoiled(lambda _: None, tone=lambda hz: Tone(hz * 1.02))
    with pytest.raises(AssertionError, match="no tone of"):
        suite.test_audio_is_exchanged()


def test_suite_finds_a_frozen_picture() -> None:
    """A picture that stands still, though frames arrive, is not a moving one."""

    async def frozen() -> AsyncIterator[VideoFrame]:
        async for frame in ClockPicture(fps=25):
            yield attrs.evolve(frame, pixels=draw_clock(160, 120, 1234))

    suite = spoiled(lambda _: None, picture=frozen)
    with pytest.raises(AssertionError, match="does not move"):
        suite.test_video_is_exchanged()


def test_suite_finds_a_clock_that_runs_back() -> None:
    """Pictures in the wrong order are not what was sent."""

    async def backwards() -> AsyncIterator[VideoFrame]:
        count = 10_000
        async for frame in ClockPicture(fps=25):
            yield attrs.evolve(frame, pixels=draw_clock(160, 120, count := count - 40))

    suite = spoiled(lambda _: None, picture=backwards)
    with pytest.raises(AssertionError, match="runs back"):
        suite.test_video_is_exchanged()


def test_suite_accepts_silence_and_a_still() -> None:
    """Muted may be digital silence as well as nothing, and paused the same picture again and again."""

    async def still() -> AsyncIterator[VideoFrame]:
        async for frame in ClockPicture(fps=50):
            yield attrs.evolve(frame, pixels=np.zeros((48, 64, 3), np.uint8))

    def spoil(session: Any) -> None:
        own = dict(session._sources)

        async def set_enabled(kind: Any, enabled: bool) -> None:
            off = Tone(amplitude=0) if kind == "audio" else still()
            await session.set_source(kind, own[kind] if enabled else off)

        session.set_enabled = set_enabled

    suite = spoiled(spoil, timeout=10)
    suite.test_mute_and_unmute()
    suite.test_pause_and_resume_video()


def test_suite_accepts_plain_readers() -> None:
    """A reader need not have `aclose`."""

    class Plain:
        def __init__(self, reader: Any) -> None:
            self.reader = reader

        def __aiter__(self) -> Plain:
            return self

        def __anext__(self) -> Any:
            return anext(self.reader)

    def spoil(session: Any) -> None:
        read = session.audio
        session.audio = lambda pid: Plain(read(pid))

    spoiled(spoil, timeout=10).test_audio_is_exchanged()


def test_suite_finds_a_gap() -> None:
    """Silence for more than a second while a source is replaced is a gap."""

    def spoil(session: Any) -> None:
        change = session.set_source

        async def set_source(kind: Any, source: Any) -> None:
            await change(kind, late(source))

        session.set_source = set_source

    async def late(source: Any) -> AsyncIterator[AudioFrame]:
        async for frame in Tone(amplitude=0):
            if frame.time > 1.2:
                break
            yield frame
        async for frame in source:
            yield frame

    with pytest.raises(AssertionError, match="gap"):
        spoiled(spoil, timeout=10).test_source_is_replaced()


@pytest.mark.usefixtures("may_leave")
def test_suite_runs_where_descriptors_are_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a system without /proc the suite looks at tasks and threads alone."""

    def nothing(path: str) -> list[str]:
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "listdir", nothing)
    spoiled(lambda _: None).test_alone_is_up_at_once()
    with pytest.raises(AssertionError, match="tasks left"):
        spoiled(keep_task).test_alone_is_up_at_once()
