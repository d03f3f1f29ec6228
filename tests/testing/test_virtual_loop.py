"""The loop in virtual time."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from statecore.testing import Deadlock, FastLoop, VirtualClock, VirtualLoop, run_virtual


def test_an_hour_takes_no_time() -> None:
    """Sleeping for an hour is over at once, and the loop's time and the clock say that an hour has passed."""

    async def main() -> tuple[float, int, int]:
        clock = VirtualClock(1_000)
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time(), clock.wall(), clock.monotonic()

    began = time.monotonic()
    assert run_virtual(main()) == (3600.0, 3_601_000, 3_600_000)
    assert time.monotonic() - began < 60


def test_timers_fire_in_order_at_their_times() -> None:
    """Timers fire in the order of their times, and what is ready runs before time moves on."""

    async def main() -> list[tuple[str, float]]:
        loop, seen = asyncio.get_running_loop(), []

        def note(name: str) -> None:
            seen.append((name, loop.time()))

        loop.call_later(2, note, "two")
        loop.call_later(1, note, "one")
        loop.call_soon(note, "now")
        await asyncio.sleep(1)
        note("woke")
        await asyncio.sleep(5)
        return seen

    assert run_virtual(main()) == [("now", 0.0), ("one", 1.0), ("woke", 1.0), ("two", 2.0)]


def test_two_runs_are_the_same_run() -> None:
    """A program that races timers against each other does the same thing each time."""

    async def main() -> list[int]:
        order: list[int] = []

        async def one(n: int) -> None:
            for turn in range(5):
                await asyncio.sleep((n * 7 % 5 + 1) / 10 * (turn % 3 + 1))
                order.append(n)

        await asyncio.gather(*(one(n) for n in range(6)))
        return order

    assert run_virtual(main()) == run_virtual(main())


@pytest.mark.usefixtures("may_leave")
def test_waiting_for_ever_is_an_error() -> None:
    """If nobody can ever wake anybody, the run raises Deadlock instead of hanging."""

    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock):
        run_virtual(main(), loop=lambda: VirtualLoop(patience=0.01))


def test_a_thread_is_waited_for() -> None:
    """Work in a thread takes its real time, while virtual time stands still."""

    async def main() -> tuple[str, float]:
        name = await asyncio.to_thread(lambda: threading.current_thread().name)
        return name, asyncio.get_running_loop().time()

    name, now = run_virtual(main())
    assert name != threading.current_thread().name
    assert now == 0.0


def test_word_from_a_thread_wakes_whoever_has_nothing_else_to_wait_for() -> None:
    """While nothing is ready and no timer set, the loop waits in real time, and goes on with what comes."""

    async def main() -> float:
        loop, word = asyncio.get_running_loop(), asyncio.Event()
        thread = threading.Timer(0.05, loop.call_soon_threadsafe, (word.set,))
        thread.start()
        await word.wait()
        thread.join()
        return loop.time()

    assert run_virtual(main()) == 0.0


def test_another_loop_may_be_given() -> None:
    """The loop is made by who is asked to."""

    async def main() -> type[asyncio.AbstractEventLoop]:
        return type(asyncio.get_running_loop())

    assert run_virtual(main(), loop=asyncio.SelectorEventLoop, debug=True) is asyncio.SelectorEventLoop


def test_a_fast_loop_hurries() -> None:
    """A minute takes a second, a clock that others share says the same, and what comes from a thread is waited for."""

    async def main(loop: FastLoop) -> tuple[float, str]:
        await asyncio.sleep(60)
        waiting = loop.create_future()
        threading.Timer(0.01, loop.call_soon_threadsafe, (waiting.set_result, "came")).start()
        return loop.time(), await waiting

    began = time.monotonic()
    loop = FastLoop(60.0)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        passed, came = runner.run(main(loop))
        other = FastLoop(60.0, loop.began)
        assert loop.time() <= other.time() <= loop.time() + 60
        other.close()
    assert came == "came"
    assert passed >= 60
    assert 1 <= time.monotonic() - began < 30
