"""Real Chromium with fake devices, and a call service that serves the page."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import subprocess
import time
import wave
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from _chromium import FLAGS, Browser, Tab
from hypothesis import settings
from websockets.asyncio.client import connect

from statecore import CallService, CallSettings
from statecore.testing.signals import tone
from statecore_web import CallApp

PAUSE = 5.0
"""How many seconds nobody may serve a page, before it is rather opened anew."""
DRAWN = 1
"""How many of the tests that `make soak` runs all of `make test` runs, drawn by the seed: each takes seconds."""


@pytest.hookimpl(trylast=True)  # after what was asked for by name
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what was not drawn."""
    if settings.default is settings.get_profile("soak"):
        return
    long = [item for item in items if item.path.parent == Path(__file__).parent and item.get_closest_marker("soak")]
    seed = str(config.getoption("--hypothesis-seed"))  # the same in every process that collects
    drawn = random.Random(seed).sample(long, min(DRAWN, len(long)))  # noqa: S311 - to be drawn again
    config.hook.pytest_deselected(items=[item for item in long if item not in drawn])
    items[:] = [item for item in items if item not in long or item in drawn]


@pytest.fixture(scope="session")
def node() -> str:
    """The program that runs the page's modules without a browser."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("Node is missing: apt-get install nodejs")
    return program


@pytest.fixture(scope="session")
def devtools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running Chromium; gives the address of its DevTools."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("Chromium is missing: apt-get install chromium")
    home = tmp_path_factory.mktemp("chromium")
    speech = home / "speech.wav"
    _speech(speech)
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, *FLAGS, f"--use-file-for-fake-audio-capture={speech}", f"--user-data-dir={home}", "about:blank"],
            stdout=log,
            stderr=log,
        )
    port = home / "DevToolsActivePort"
    end = time.monotonic() + 30
    while not port.exists() or not port.read_text().strip().count("\n"):
        assert process.poll() is None, (home / "log").read_text()
        assert time.monotonic() < end, "Chromium did not start"
        time.sleep(0.05)
    number, path = port.read_text().split()
    yield f"ws://127.0.0.1:{number}{path}"
    process.terminate()
    process.wait(20)


def _speech(path: Path) -> None:
    """What every microphone hears: a tone of 1 kHz, in bursts, as a steady one would be suppressed for noise."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 48_000, 0, "NONE", ""))
        for _ in range(10):
            file.writeframes(tone(1000.0, seconds=0.3).tobytes() + bytes(2 * 9600))


class _Server(uvicorn.Server):
    """Leaves the signals to the tests."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Wire:
    """What stands between the pages and the service: it can be cut, fall silent, and be mended."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._whole = True
        self._open: set[asyncio.StreamWriter] = set()
        self._silent: set[asyncio.StreamWriter] = set()
        self.tries = 0
        """How many connections were begun."""

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what comes on one connection, both ways."""
        self.tries += 1
        try:
            if not self._whole:
                return
            there, back = await asyncio.open_connection("127.0.0.1", self._port)
            ends = {writer, back}
            self._open |= ends
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pump(reader, back))
                    group.create_task(self._pump(there, writer))
            finally:
                self._open -= ends
                self._silent -= ends
                back.transport.abort()
        finally:
            writer.transport.abort()

    def cut(self) -> None:
        """Cut every connection, and let none begin."""
        self._whole = False
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()

    def silence(self) -> None:
        """Lose whatever comes on the connections there are, their ends too, without breaking one."""
        self._silent |= self._open

    def mend(self) -> None:
        """Let connections begin again."""
        self._whole = True

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if writer not in self._silent:
                    writer.write(data)
                    await writer.drain()
        if writer not in self._silent:
            writer.transport.abort()


class World:
    """A service with its page, and people who have it open."""

    def __init__(self, app: CallApp, url: str, browser: Browser, wire: Wire) -> None:
        self.app = app
        self.service = app.service
        self.url = url
        self.browser = browser
        self.wire = wire
        self.past = 0
        """How many calls are over that do not count."""

    async def calls(self) -> list[tuple[str, str]]:
        """Every call in the log, newest first: its status, and the reason of its end."""
        found = (await self.service.find_calls()).calls
        told = [(str(call.status), call.end_reason.what if call.end_reason else "") for call in found]
        return told[: len(told) - self.past]

    async def person(self, name: str) -> Tab:
        """Somebody logs in, in a page of their own."""
        tab = await self.browser.tab(name)
        await tab.login(self.url, name)
        return tab


@asynccontextmanager
async def _browser(devtools: str) -> AsyncIterator[Browser]:
    async with connect(devtools, max_size=None, ping_interval=None) as socket:
        browser = Browser(socket)
        try:
            yield browser
            assert browser.logged == []
        finally:
            await browser.close()


@asynccontextmanager
async def _world(
    devtools: str,
    origins: Sequence[str] = (),
    *,
    dev: bool = True,
    page: CallSettings | None = None,
    directory: bool = True,
    **more: Any,
) -> AsyncIterator[World]:
    service = CallService(**more)
    app = CallApp(service, api_key="key", dev=dev, origins=origins, page=page, directory=directory)
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, ws="websockets-sansio", log_level="warning", lifespan="on",
        timeout_graceful_shutdown=5,
    )  # fmt: skip
    server = _Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        assert not task.done(), "the server did not start"
        await asyncio.sleep(0.005)
    wire = Wire(server.servers[0].sockets[0].getsockname()[1])
    try:
        async with await asyncio.start_server(wire.take, "127.0.0.1", 0) as front:
            try:
                async with _browser(devtools) as browser:
                    yield World(app, f"http://127.0.0.1:{front.sockets[0].getsockname()[1]}/", browser, wire)
            finally:
                wire.cut()
    finally:
        server.should_exit = True
        await task


class Town:
    """A service and two people who have its page open, for the tests of one file: to begin anew costs more than most of
    them take. It does begin anew after one that failed, and after a pause, in which nobody serves the pages."""

    def __init__(self, devtools: str) -> None:
        self._devtools = devtools
        self._runner = asyncio.Runner()
        self._stack = contextlib.AsyncExitStack()
        self._people: tuple[World, Tab, Tab] | None = None
        self._left = 0.0

    def run(self, main: Callable[[World, Tab, Tab], Awaitable[None]]) -> None:
        """Run a test with the world, alice and bob. They are at home before it and after it, in no call, nothing of
        theirs is open, nothing is left in a console, and whoever else came has gone."""
        if time.monotonic() - self._left > PAUSE:
            self._runner.run(self._leave())
        try:
            self._runner.run(self._visit(main))
            self._left = time.monotonic()
        except BaseException:
            with contextlib.suppress(Exception):  # it has failed already
                self._runner.run(self._leave())
            raise

    async def _visit(self, main: Callable[[World, Tab, Tab], Awaitable[None]]) -> None:
        if self._people is None:
            world = await self._stack.enter_async_context(_world(self._devtools))
            self._people = (world, await world.person("alice"), await world.person("bob"))
        world, *people = self._people
        world.past += len(await world.calls())
        await main(*self._people)
        for tab in [tab for tab in world.browser.tabs if tab not in people]:
            await tab.close()
        for tab in people:
            await tab.looks()
            await tab.run("statecore.clearActiveCall()")
        for tab in people:
            await tab.at_home()
            await tab.off()
        world.browser.offline = False
        assert world.browser.logged == []

    async def _leave(self) -> None:
        self._people = None
        await self._stack.aclose()

    def close(self) -> None:
        """Leave nothing."""
        with self._runner:
            self._runner.run(self._leave())


@pytest.fixture(scope="module")
def town(devtools: str) -> Iterator[Town]:
    """A service, alice and bob, shared by the tests of a file: `town.run(main)`."""
    town = Town(devtools)
    yield town
    town.close()


@pytest.fixture
def world(devtools: str) -> Callable[..., AbstractAsyncContextManager[World]]:
    """A service on a port of its own and a browser: `async with world() as all:`. Takes the origins whose pages may
    connect, whether anybody may log in by name, the settings of the page, whether it lists anybody, and whatever a
    service does."""
    return lambda origins=(), **more: _world(devtools, origins, **more)


@pytest.fixture
def browser(devtools: str) -> Callable[[], AbstractAsyncContextManager[Browser]]:
    """A browser alone: `async with browser() as pages:`. Nothing may be left in the consoles of its pages."""
    return lambda: _browser(devtools)
