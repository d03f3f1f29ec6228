"""A service that commands speak with."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from _shells import Shell, started


@pytest.fixture
def hears_its_terminal() -> Iterator[None]:
    """What is started hears when its terminal is closed, also where the tests were started with `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="module")
def shell() -> Iterator[Shell]:
    """A service, for all tests of this file."""
    process, told = started()
    yield Shell(told["url"], told["api_key"])
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20)[1] == ""
    assert process.returncode == 0
