"""After every test of the shells: nothing is left of it. And a TURN server for those who need one."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from asyncio import runners
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import attrs
import pytest
from hypothesis import settings

from statecore import TurnCredentials
from statecore.flow import RINGING, Flow
from statecore.testing._core import stamp
from statecore.testing.leaks import timers

# `make test` draws a sample, and prints the seed that it draws by; `make soak` goes on for longer. Tests that need many
# examples, or can afford few, take a multiple or a part of what the profile says. None is held to a time.
settings.register_profile("default", settings.get_profile("default"), deadline=None)
settings.register_profile("soak", max_examples=2_000, deadline=None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """What tests start is measured from its beginning. The processes that test are not: they measure themselves."""
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """They do so twice, as pytest-cov begins in each of them as if it were alone, and then as one of several. Only the
    latter counts, and lets go for what is marked `no_cover`."""
    plugin = session.config.pluginmanager.getplugin("_cov")
    if hasattr(session.config, "workerinput") and plugin is not None and plugin.cov_controller is not None:
        plugin.cov_controller.cov.stop()


@pytest.hookimpl(trylast=True)  # after what was asked for by name
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave what only `make soak` runs to it."""
    if settings.default is settings.get_profile("soak"):
        return
    left = [item for item in items if (mark := item.get_closest_marker("soak")) and mark.kwargs.get("only")]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in left]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI nothing is left out but what a suite for others calls optional: what is missing there is a failure."""
    report = yield
    why = report.longrepr[2] if report.skipped and isinstance(report.longrepr, tuple) else ""
    if why and os.environ.get("CI") == "true" and not why.startswith("Skipped: optional: "):
        report.outcome, report.longrepr = "failed", f"left out, where nothing may be: {why}"
    return report


# A service that whoever tests may have is none of the tests'.
for variable in [name for name in os.environ if name.startswith("STATECORE_")]:
    del os.environ[variable]

# Whatever runs in the background of a shell ignores an interrupt, and so does what it starts. Tests interrupt programs.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="module")
def only_what_comes() -> None:
    """Whether anything is left of a test is asked by a full collection of garbage, thousands of times in all: it looks
    only at what came after the module began, and not at other tests, the libraries they import, and what those keep."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """What was put aside so and has died since is collected in the end, and may complain then."""
    gc.unfreeze()


@pytest.fixture(scope="session")
def without() -> Callable[..., Flow]:
    """Give the ringing flow, with one kind of effect gone from the rows of a trigger in a state."""

    def made(trigger: str, state: str, kind: type, only: Mapping[str, Any]) -> Flow:
        def stays(effect: Any) -> bool:
            return not isinstance(effect, kind) or any(getattr(effect, name) != only[name] for name in only)

        old = [row for row in RINGING.rows if (row.trigger, row.state) == (trigger, state) and row.refuse is None]
        new = [attrs.evolve(row, effects=tuple(filter(stays, row.effects))) for row in old]
        return RINGING.extend("ringing", rows=new, without=old)

    return made


@pytest.fixture(autouse=True, scope="session")
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where a program of this session keeps what is to outlive it: nothing is written to anybody's home."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def figures() -> Callable[[str, Any], None]:
    """Keep what was measured, for the page about what is proved: in `out`, where `make soak` is at work."""

    def keep(name: str, told: Any) -> None:
        if settings.default is settings.get_profile("soak"):
            path = Path(__file__).parents[1] / "out" / f"{name}.json"
            path.parent.mkdir(exist_ok=True)
            stamped = [{**each, **stamp()} for each in told] if isinstance(told, list) else {**told, **stamp()}
            path.write_text(json.dumps(stamped, indent=1) + "\n", encoding="utf-8")

    return keep


@pytest.fixture
def may_leave() -> None:
    """Ask for it in a test whose subject is something that leaves things behind."""


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test leaves a task or a timer for `asyncio.run` to sweep up, nor a thread."""
    if "aio" not in request.node.path.parts:  # conformance suites and adapters look after themselves, in their own way
        yield
        return
    left: list[str] = []
    sweep = runners._cancel_all_tasks  # type: ignore[attr-defined]

    def look(loop: asyncio.AbstractEventLoop) -> None:
        left.extend(f"task {task!r}" for task in asyncio.all_tasks(loop))
        left.extend(f"timer {timer!r}" for timer in timers(loop))
        sweep(loop)

    monkeypatch.setattr(runners, "_cancel_all_tasks", look)
    before = set(threading.enumerate())
    yield
    gc.collect(0)  # what was dropped without being closed complains now, in the test that dropped it
    left.extend(f"thread {thread.name}" for thread in threading.enumerate() if thread not in before)
    assert not left or "may_leave" in request.fixturenames, "left behind: " + "; ".join(left)


# --- a TURN server ---------------------------------------------------------------------------------------------------


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Coturn:
    """A TURN server at an address; `log` is what it has said so far. `inside` begins a command in its network."""

    secret = "a secret that both servers share"

    def __init__(self, folder: Path, ip: str, inside: Sequence[str] = ()) -> None:
        self.port = _free_port()
        self.url = f"turn:{ip}:{self.port}"
        self._log = folder / "coturn.log"
        # The options of a file: a secret in a command line is everybody's to read.
        (folder / "turnserver.conf").write_text(
            f"listening-ip={ip}\nrelay-ip={ip}\nlistening-port={self.port}\nmin-port=20000\nmax-port=29999\n"
            f"use-auth-secret\nstatic-auth-secret={self.secret}\nrealm=statecore.test\nallow-loopback-peers\n"
            f"no-cli\nno-tls\nno-dtls\nverbose\nsimple-log\nlog-file={self._log}\n"
            f"userdb={folder / 'turndb'}\npidfile={folder / 'pid'}\n"
        )
        self.process = subprocess.Popen(
            [*inside, "turnserver", "-c", str(folder / "turnserver.conf")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def wait(self) -> Self:
        """Until it answers a binding request on the loopback."""
        request = bytes.fromhex("000100002112a442") + b"0" * 12
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.settimeout(0.2)
            for _ in range(50):
                assert self.process.poll() is None, "turnserver has ended"
                probe.sendto(request, ("127.0.0.1", self.port))
                try:
                    probe.recv(1024)
                except OSError:
                    continue
                return self
        raise AssertionError("turnserver does not answer")

    @property
    def log(self) -> str:
        """What it has said so far."""
        return self._log.read_text() if self._log.exists() else ""

    def credentials(self, **more: Any) -> TurnCredentials:
        """What a service hands out to have its relay used, and nothing else."""
        given: dict[str, Any] = {"turn": self.url, "secret": self.secret, "policy": "relay"}
        return TurnCredentials(**given | more)

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture(scope="session")
def turn_server() -> type[Coturn]:
    """Makes a TURN server; there is a reason for a skip where coturn is missing."""
    if shutil.which("turnserver") is None:
        pytest.skip("coturn is missing: apt-get install coturn")
    return Coturn


@pytest.fixture(scope="session")
def coturn(turn_server: type[Coturn], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coturn]:
    """A TURN server on the loopback, for all tests."""
    server = turn_server(tmp_path_factory.mktemp("coturn"), "127.0.0.1")
    yield server.wait()
    server.stop()
