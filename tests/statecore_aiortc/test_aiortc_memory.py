"""Many calls in one process of their own: memory, threads and file descriptors stay flat.

30 calls in `make test`, and 200 in `make soak`. What the first have warmed up, the others may add 1 MB to, of what is
allocated; a connection that is kept takes some hundred kilobytes. How much of what was freed an allocator keeps for
later depends on what else the machine does, so resident memory is judged in the long run alone: after 200 calls at most
5 MB more than after 50. The figures are printed (`pytest -s`).
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import resource
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path

import pytest
from hypothesis import settings

from statecore.settings import CallSettings
from statecore.testing.media import MeetingRoom
from statecore_aiortc import AiortcMedia, Picture, Tone

ALLOWED = 1.0
"""Megabytes of what is allocated."""

ALLOWED_RESIDENT = 5.0
"""Megabytes."""

LIBC = ctypes.CDLL(None)


class Mallinfo2(ctypes.Structure):
    """What glibc's allocator says of all its arenas together."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",  # bytes in blocks so large that each was mapped by itself
            "usmblks",
            "fsmblks",
            "uordblks",  # bytes in use in the arenas
            "fordblks",
            "keepcost",
        )
    )


def allocated() -> float | None:
    """MB that Python and all libraries together hold by `malloc`; None without glibc 2.33 or later."""
    if not hasattr(LIBC, "mallinfo2"):
        return None
    LIBC.mallinfo2.restype = Mallinfo2
    told = LIBC.mallinfo2()
    return float(told.uordblks + told.hblkhd) / 1e6


def resident() -> float:
    """Resident memory in MB, when what is free has been given back to the system."""
    if hasattr(LIBC, "malloc_trim"):
        LIBC.malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


async def one_call(video: bool) -> None:
    """Two meet, exchange sound (and pictures), and part."""
    of_the_call = CallSettings(type="video" if video else "audio")
    media = AiortcMedia(audio=Tone(), video=Picture(320, 240))
    async with MeetingRoom() as room:
        alice, bob = room.host("alice", of_the_call), room.host("bob", of_the_call)
        for host in (alice, bob):
            await host.open(media, audio=True, video=video)
        for host, other in ((alice, bob), (bob, alice)):
            await host.wait_connected(other.pid)
            await anext(host.session.audio(other.pid))
            if video:
                await anext(host.session.video(other.pid))


def state() -> tuple[int, int]:
    """Threads that are not the loop's own pool, and open file descriptors."""
    threads = [thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")]
    return len(threads), len(os.listdir("/proc/self/fd"))


async def measure(video: bool, moments: tuple[int, ...]) -> None:
    """Make calls, and say after each of these how things stand: memory, threads and files, objects.

    Of the memory after the last five: on a busy machine a codec's thread may still be at work when its call has ended,
    and hold a few pictures. What is kept is there after all of them.
    """
    lately: deque[tuple[float | None, float]] = deque(maxlen=5)
    for count in range(1, moments[-1] + 1):
        await one_call(video)
        gc.collect()
        lately.append((allocated(), resident()))
        if count in moments:
            used, held = map(list, zip(*lately, strict=True))
            least = None if None in used else min(used), min(held)
            print(json.dumps([*least, state(), len(gc.get_objects())]), flush=True)  # noqa: T201 - the test reads it


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.parametrize("video", [False, True], ids=["audio", "video"])
def test_many_calls_leave_nothing(video: bool) -> None:
    """After the first calls neither memory nor objects, threads or file descriptors grow with more of them."""
    whole = settings.default is settings.get_profile("soak")
    warm, calls = (50, 200) if whole else (10, 30)
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("COV")}  # a tracer remembers, too
    command = [sys.executable, "-P", __file__, "video" if video else "audio", str(warm), str(calls)]
    told = subprocess.run(command, check=True, capture_output=True, text=True, env=quiet)
    assert not told.stderr
    (used, before, held, objects), (used_now, after, left, objects_left) = map(json.loads, told.stdout.splitlines())
    print(f"\n{command[3]}, from call {warm} to call {calls}:", end=" ")  # noqa: T201 - the figures are asked for
    print(f"allocated {used} to {used_now} MB, resident {before} to {after} MB")  # noqa: T201 - as above
    assert left == held
    # A leaked call is thousands of objects; caches of the interpreter are some hundreds in all.
    assert objects_left - objects < 1000
    if used is not None:
        assert used_now - used <= ALLOWED
    if whole or used is None:
        assert after - before <= ALLOWED_RESIDENT


@pytest.mark.skipif(allocated() is None, reason="needs mallinfo2 of glibc")
def test_what_any_thread_keeps_is_counted() -> None:
    """What a thread has allocated and nobody freed counts, whether it is in the thread's own arena or mapped."""
    kept: list[bytearray] = []
    gc.collect()
    before = allocated()
    for size in (10_000, 10_000_000):
        thread = threading.Thread(
            target=lambda size=size: kept.extend(bytearray(size) for _ in range(20_000_000 // size))
        )
        thread.start()
        thread.join()
    held = allocated()
    assert before is not None
    assert held is not None
    assert 39 <= held - before <= 42
    kept.clear()
    assert (allocated() or 0) - before <= 1


if __name__ == "__main__":
    asyncio.run(measure(sys.argv[1] == "video", (int(sys.argv[2]), int(sys.argv[3]))))
