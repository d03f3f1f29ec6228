"""What tells of things left behind."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from pathlib import Path

import pytest

from statecore.listeners import ListenerRegistry
from statecore.testing import assert_fully_reaped, run_virtual
from statecore.testing import leaks as leaks_module


class Owner:
    """Something with listeners."""

    def __init__(self) -> None:
        self.listeners = ListenerRegistry()


def test_clean_code_passes() -> None:
    """A task, a timer, a thread, a file and a listener that are gone in the end are none left behind."""
    owner = Owner()

    async def main() -> None:
        early = asyncio.get_running_loop().call_later(1000, print)
        with assert_fully_reaped(owner):
            asyncio.get_running_loop().call_later(500, print).cancel()
            await asyncio.create_task(asyncio.sleep(1))
            owner.listeners.on("x", print).remove()
        early.cancel()

    run_virtual(main())
    with assert_fully_reaped():
        Path(__file__).read_text()
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()


def test_a_task_and_a_timer_are_named() -> None:
    """A task and a timer of the loop that are left are named."""

    async def main() -> None:
        with pytest.raises(AssertionError, match="straggler"), assert_fully_reaped():
            task = asyncio.create_task(asyncio.sleep(50), name="straggler")
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        with pytest.raises(AssertionError, match="timer"), assert_fully_reaped():
            timer = asyncio.get_running_loop().call_later(50, print)
        timer.cancel()

    run_virtual(main())


def test_a_thread_is_named() -> None:
    """A thread that still runs is named."""
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="straggler")
    with pytest.raises(AssertionError, match="thread straggler"), assert_fully_reaped():
        thread.start()
    stop.set()
    thread.join()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="this system does not tell of open files")
def test_a_file_is_named() -> None:
    """An open file is named by where it leads."""
    with pytest.raises(AssertionError, match="test_leaks"), assert_fully_reaped():
        file = Path(__file__).open()  # noqa: SIM115 - left open on purpose
    file.close()


def test_a_system_that_does_not_tell_of_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where open files cannot be listed, nothing is said of them."""
    monkeypatch.setattr(leaks_module, "_FDS", Path("/nowhere/at/all"))
    assert leaks_module.open_files() == set()


def test_a_listener_is_named() -> None:
    """An owner with a listener left is named."""
    owner = Owner()
    with pytest.raises(AssertionError, match=r"1 listeners of .*Owner"), assert_fully_reaped(owner):
        owner.listeners.on("x", print)


def test_the_body_s_own_error_comes_through() -> None:
    """What the body raises is not hidden by what it left behind."""
    owner = Owner()

    def body() -> None:
        owner.listeners.on("x", print)
        raise KeyError

    with pytest.raises(KeyError), assert_fully_reaped(owner):
        body()
