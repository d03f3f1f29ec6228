"""What the tests of the media suite have in common: the hooks, how people meet, and that nothing is left."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from statecore.ports import MediaAdapter
from statecore.settings import CallSettings

from ._media_probe import hears, sees
from ._media_room import MeetingRoom, RoomHost

Main: TypeAlias = Callable[[MeetingRoom], Awaitable[None]]

TONES = (440.0, 660.0, 990.0)
"""What the first, second and third participant send."""


class MediaSuiteBase:
    """Hooks of the suite. `adapter`, `tone` and `picture` must be given; the rest has defaults."""

    timeout: float = 10.0
    """Seconds that any one wait may take."""
    settle: float = 5.0
    """Seconds after which tasks, threads and file descriptors of a session must be gone."""
    bad_source: Any = "/nowhere/nothing.wav"
    """A source that cannot be opened."""
    malformed: tuple[str, ...] = ("", "v=0", "{}", "[]", "nonsense\r\n", "\x00\ufffd" * 10, "x" * 100_000)
    """Bodies that are no offer of this adapter."""

    def adapter(self, *, audio: Any, video: Any) -> MediaAdapter:
        """An adapter that sends these sources: what `tone` and `picture` return."""
        raise NotImplementedError

    def tone(self, hz: float) -> Any:
        """A source of a sine at about half of full scale, in the adapter's own terms; used once."""
        raise NotImplementedError

    def ending(self, hz: float, seconds: float) -> Any:
        """The same for so many seconds, after which it ends by itself: only of an adapter whose sessions tell when that
        is (`statecore.ports.TellsPlayed`)."""
        raise NotImplementedError

    def picture(self) -> Any:
        """A source of pictures by `signals.draw_clock`, at least 10 a second, in the adapter's own terms; used once."""
        raise NotImplementedError

    def new_loop(self) -> asyncio.AbstractEventLoop:
        """A new event loop for a test to run in. The suite of an adapter that knows no time but its loop's takes
        seconds in a `statecore.testing.loop.VirtualLoop`, and is the same each time."""
        return asyncio.new_event_loop()

    # --- running

    def run(self, main: Main) -> None:
        """Run a test in a room, then check that nothing of it is left and that no rule of the room was broken."""
        before = _threads(), _descriptors()
        with asyncio.Runner(loop_factory=self.new_loop) as runner:
            runner.run(self._within(main))
        end = time.monotonic() + self.settle
        while (left := (_threads() - before[0], _descriptors() - before[1])) != (set(), set()):
            gc.collect()
            assert time.monotonic() < end, f"left open: threads {left[0]}, file descriptors {left[1]}"
            time.sleep(0.02)  # pragma: no cover - only where closing takes a while

    async def _within(self, main: Main) -> None:
        complaints: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        async with MeetingRoom() as room:
            try:
                await main(room)
            except Exception as error:
                error.add_note(f"against the rules: {room.violations}; complaints of the loop: {complaints}")
                raise
        assert not room.violations, f"against the rules: {room.violations}"
        await self._nothing_left()
        assert not complaints, f"the loop complains: {complaints}"

    async def _nothing_left(self) -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            _, left = await asyncio.wait(left, timeout=self.settle)
        assert not left, f"tasks left: {left}"
        # What failed and was never looked at complains when it is collected.
        gc.collect()

    # --- meeting

    async def join(
        self,
        room: MeetingRoom,
        uid: str,
        *,
        hz: float = TONES[0],
        audio: bool = True,
        video: bool = False,
        settings: CallSettings | None = None,
    ) -> RoomHost:
        """Somebody comes into the room with an adapter of his own."""
        host = room.host(uid, settings or CallSettings(type="video" if video else "audio"))
        await host.open(self.adapter(audio=self.tone(hz), video=self.picture()), audio=audio, video=video)
        return host

    async def meet(self, room: MeetingRoom, count: int = 2, *, video: bool = False) -> list[RoomHost]:
        """So many people come into the room and are connected with each other. Each sends a tone of his own."""
        names = ("alice", "bob", "carol")[:count]
        hosts = [await self.join(room, uid, hz=hz, video=video) for uid, hz in zip(names, TONES, strict=False)]
        await self.connected(*hosts)
        return hosts

    async def connected(self, *hosts: RoomHost) -> None:
        """Wait until each of them has reported up, and media with each of the others."""
        for host in hosts:
            await host.wait_up(self.timeout)
            for other in hosts:
                if other is not host:
                    await host.wait_connected(other.pid, self.timeout)

    async def hears(self, host: RoomHost, other: RoomHost, hz: float) -> None:
        """Wait until a participant hears this tone from another."""
        await hears(host.session, other.pid, hz, self.timeout)

    async def sees(self, host: RoomHost, other: RoomHost) -> None:
        """Wait until a participant sees another's pictures move."""
        await sees(host.session, other.pid, self.timeout)

    async def talk(self, one: RoomHost, other: RoomHost) -> None:
        """Wait until two hear each other's own tone."""
        await together(
            self.hears(one, other, TONES[other.joined - 1]),
            self.hears(other, one, TONES[one.joined - 1]),
        )

    async def watch(self, one: RoomHost, other: RoomHost) -> None:
        """Wait until two see each other's pictures move."""
        await together(self.sees(one, other), self.sees(other, one))


async def together(*waits: Awaitable[None]) -> None:
    """Await all at once; when one fails, the others are cancelled."""
    try:
        async with asyncio.TaskGroup() as group:
            for wait in waits:
                group.create_task(wait)  # type: ignore[arg-type]
    except* AssertionError as failed:
        raise failed.exceptions[0] from None


def _threads() -> set[threading.Thread]:
    return set(threading.enumerate())


def _descriptors() -> set[tuple[str, str]]:
    """The open file descriptors and what they stand for, where the system tells."""
    found: set[tuple[str, str]] = set()
    try:
        names = os.listdir("/proc/self/fd")
    except FileNotFoundError:
        return found
    for name in names:
        try:
            found.add((name, os.readlink(f"/proc/self/fd/{name}")))
        except FileNotFoundError:  # it was the listing's own
            continue
    return found


__all__ = ["TONES", "Main", "MediaSuiteBase", "together"]
