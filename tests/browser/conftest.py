"""Real Chromium with fake devices, driven by its DevTools protocol; and a call service that serves the page."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect

from statecore import CallService
from statecore_web import CallApp

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
    "--disable-features=WebRtcHideLocalIpsWithMdns,Translate",
    "--allow-loopback-in-peer-connection",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-port=0",
    "--window-size=1280,800",
)


class Tab:
    """A page. `run` gives what an expression comes to; `until` waits for one that holds."""

    def __init__(self, browser: Browser, target: str, session: str) -> None:
        self._browser = browser
        self.target = target
        self._session = session

    async def send(self, method: str, **params: Any) -> Any:
        """One command of the DevTools protocol."""
        return await self._browser.send(method, self._session, **params)

    async def run(self, expression: str) -> Any:
        """The value of an expression in the page, awaited there; as if the user had just clicked."""
        answer = await self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise AssertionError(details.get("exception", {}).get("description") or details["text"])
        return answer["result"].get("value")

    async def until(self, condition: str, seconds: float = 15) -> Any:
        """Wait until an expression holds in the page; gives what it is then."""
        end = time.monotonic() + seconds
        while True:
            with contextlib.suppress(AssertionError):  # the page may be on its way to another
                if value := await self.run(condition):
                    return value
            if time.monotonic() > end:
                seen = await self.run("document.body.innerText")
                raise AssertionError(f"not in {seconds} s: {condition}; the page says: {seen}")
            await asyncio.sleep(0.03)

    async def click(self, selector: str) -> None:
        """Click what a selector finds, once it is there, shown and not disabled."""
        found = f"document.querySelector({json.dumps(selector)})"
        await self.until(f"{found}?.checkVisibility() && !{found}.disabled")
        await self.run(f"{found}.click()")

    async def type(self, selector: str, text: str) -> None:
        """Write into a field."""
        await self.until(f"document.querySelector({json.dumps(selector)})?.checkVisibility()")
        await self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        await self.send("Input.insertText", text=text)

    async def login(self, url: str, name: str) -> None:
        """Open the page and log in by name."""
        await self.send("Page.navigate", url=url)
        await self.type("#name", name)
        await self.click("#login button")
        await self.until("document.body.dataset.view === 'home' && statecore.connected")

    async def call(self, user: str, kind: str = "video") -> None:
        """Press the button that calls a user."""
        await self.run("document.dispatchEvent(new Event('visibilitychange'))")  # look who is there now
        await self.click(f'[data-user="{user}"][data-call="{kind}"]')

    async def in_call(self) -> None:
        """Wait for the call screen."""
        await self.until("document.body.dataset.view === 'call'")

    async def at_home(self) -> None:
        """Wait until no call is shown."""
        await self.until("document.body.dataset.view === 'home' && !document.querySelector('#ring').open")

    async def sees(self, user: str, kind: str = "video") -> None:
        """Wait until moving pictures of a user are shown: other pixels now than before."""
        await self.until(_MOVES % json.dumps(f'.tile[data-user="{user}"][data-kind="{kind}"] video'))

    async def hears(self) -> None:
        """Wait until sound arrives: samples with energy, that grows."""
        await self.until(_SOUNDS)

    async def shot(self, path: Path) -> None:
        """A picture of the page."""
        answer = await self.send("Page.captureScreenshot", format="png")
        await asyncio.to_thread(path.write_bytes, base64.b64decode(answer["data"]))

    async def close(self) -> None:
        """Close it."""
        await self._browser.send("Target.closeTarget", None, targetId=self.target)


_MOVES = """(async () => {
  const video = document.querySelector(%s);
  if (!video?.videoWidth) return false;
  const canvas = Object.assign(document.createElement('canvas'), { width: 64, height: 48 });
  const look = () => {
    const context = canvas.getContext('2d', { willReadFrequently: true });
    context.drawImage(video, 0, 0, 64, 48);
    return [...context.getImageData(0, 0, 64, 48).data];
  };
  const before = look();
  await new Promise((done) => setTimeout(done, 300));
  const after = look();
  return before.some((value, n) => Math.abs(value - after[n]) > 8) && new Set(after).size > 8;
})()"""
_SOUNDS = """(async () => {
  const energy = async () => {
    const [session] = [...statecore.sessions.values()];
    const streams = session?.media ? await session.stats() : [];
    const heard = streams.filter((each) => each.kind === 'audio' && each.direction === 'in');
    return heard.reduce((sum, each) => sum + each.energy, 0);
  };
  const before = await energy();
  await new Promise((done) => setTimeout(done, 300));
  return (await energy()) > before + 1e-5;
})()"""


class Browser:
    """One running Chromium: pages of several people."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._contexts: dict[str, str] = {}
        self._reader = asyncio.get_running_loop().create_task(self._read())
        self.logged: list[str] = []
        """What pages threw and did not catch."""

    async def _read(self) -> None:
        async for text in self._socket:
            message = json.loads(text)
            if message.get("method") == "Runtime.exceptionThrown":
                details = message["params"]["exceptionDetails"]
                self.logged.append(details.get("exception", {}).get("description") or details["text"])
            future = self._answers.pop(message.get("id"), None)
            if future is None or future.done():
                continue
            if "error" in message:
                future.set_exception(AssertionError(message["error"]["message"]))
            else:
                future.set_result(message["result"])

    async def send(self, method: str, session: str | None = None, **params: Any) -> Any:
        """One command of the DevTools protocol."""
        number = next(self._numbers)
        future = self._answers[number] = asyncio.get_running_loop().create_future()
        more = {"sessionId": session} if session else {}
        await self._socket.send(json.dumps({"id": number, "method": method, "params": params, **more}))
        return await asyncio.wait_for(future, 30)

    async def tab(self, person: str) -> Tab:
        """A page of a person: their pages share what they store, and nobody else's do."""
        if person not in self._contexts:
            made = await self.send("Target.createBrowserContext", disposeOnDetach=True)
            self._contexts[person] = made["browserContextId"]
        target = await self.send("Target.createTarget", url="about:blank", browserContextId=self._contexts[person])
        attached = await self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        tab = Tab(self, target["targetId"], attached["sessionId"])
        await tab.send("Runtime.enable")
        await tab.send("Page.enable")
        return tab

    async def close(self) -> None:
        """Forget every page."""
        for context in self._contexts.values():
            await self.send("Target.disposeBrowserContext", browserContextId=context)
        self._reader.cancel()
        await asyncio.wait((self._reader,))


@pytest.fixture(scope="session")
def devtools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running Chromium; gives the address of its DevTools."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        assert os.environ.get("CI") != "true", "Chromium is missing"
        pytest.skip("Chromium is missing: apt-get install chromium")
    home = tmp_path_factory.mktemp("chromium")
    with (home / "log").open("wb") as log:
        process = subprocess.Popen([program, *FLAGS, f"--user-data-dir={home}", "about:blank"], stdout=log, stderr=log)
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


class _Server(uvicorn.Server):
    """Leaves the signals to the tests."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class World:
    """A service with its page, and people who have it open."""

    def __init__(self, service: CallService, url: str, browser: Browser) -> None:
        self.service = service
        self.url = url
        self.browser = browser

    async def person(self, name: str) -> Tab:
        """Somebody logs in, in a page of their own."""
        tab = await self.browser.tab(name)
        await tab.login(self.url, name)
        return tab


@asynccontextmanager
async def _world(devtools: str, **settings: Any) -> AsyncIterator[World]:
    service = CallService(**settings)
    app = CallApp(service, api_key="key", dev=True)
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, ws="websockets-sansio", log_level="warning", lifespan="on",
        timeout_graceful_shutdown=5,
    )  # fmt: skip
    server = _Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        assert not task.done(), "the server did not start"
        await asyncio.sleep(0.005)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    async with connect(devtools, max_size=None, ping_interval=None) as socket:
        browser = Browser(socket)
        try:
            yield World(service, url, browser)
            assert browser.logged == []
        finally:
            await browser.close()
            server.should_exit = True
            await task


@pytest.fixture
def world(devtools: str) -> Callable[..., AbstractAsyncContextManager[World]]:
    """A service on a port of its own and a browser: `async with world() as all:`."""
    return lambda **settings: _world(devtools, **settings)
