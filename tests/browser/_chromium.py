"""A running Chromium, driven by its DevTools protocol: its pages, and what can be seen and heard in them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import time
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection

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
    "--use-fake-device-for-media-stream=device-count=3",  # the second takes pictures of depth
    "--use-fake-ui-for-media-stream",
    "--remote-debugging-port=0",
    "--window-size=1280,800",
)


# What a page opens is kept, to be seen closed afterwards; so is what it gives to the loudspeaker, and what it repeats.
_WATCH = """
globalThis.opened = [];
for (const name of ['getUserMedia', 'getDisplayMedia']) {
  const open = navigator.mediaDevices?.[name].bind(navigator.mediaDevices);
  if (open) navigator.mediaDevices[name] = async (...wanted) => {
    const stream = await open(...wanted);
    opened.push(...stream.getTracks());
    return stream;
  };
}
globalThis.played = null;
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (to, ...more) {
  if (to === this.context.destination) {
    played ??= new AnalyserNode(this.context, { fftSize: 4096, smoothingTimeConstant: 0 });
    connect.call(this, played);
  }
  return connect.call(this, to, ...more);
};
globalThis.repeated = new Map();
const [repeat, stop] = [setInterval, clearInterval];
globalThis.setInterval = (act, pause) => {
  const timer = repeat(act, pause);
  repeated.set(timer, pause);
  return timer;
};
globalThis.clearInterval = (timer) => {
  repeated.delete(timer);
  stop(timer);
};
"""


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
                if (value := await self.run(condition)) or value == {}:  # an element, or a function
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

    async def double_click(self, selector: str) -> None:
        """Click twice with the mouse, fast, at the middle of what a selector finds."""
        found = f"document.querySelector({json.dumps(selector)})"
        await self.until(f"{found}?.checkVisibility() && !document.body.matches('.settling')")
        box = await self.run(f"{found}.getBoundingClientRect().toJSON()")
        where = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2, "button": "left"}
        for count in (1, 2):
            for kind in ("mousePressed", "mouseReleased"):
                await self.send("Input.dispatchMouseEvent", type=kind, clickCount=count, **where)

    async def type(self, selector: str, text: str) -> None:
        """Write into a field."""
        await self.until(f"document.querySelector({json.dumps(selector)})?.checkVisibility()")
        await self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        await self.send("Input.insertText", text=text)

    async def press(self, key: str) -> None:
        """Press a key and let it go: a letter, or one by its name."""
        code, text = {"Enter": (13, "\r"), "Escape": (27, ""), "Tab": (9, "")}.get(key, (ord(key[0].upper()), key))
        about = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        await self.send("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **about)
        await self.send("Input.dispatchKeyEvent", type="keyUp", **about)

    async def focus(self, selector: str) -> None:
        """Go by the Tab key to what a selector finds; its focus has to be visible."""
        found = f"document.activeElement.matches({json.dumps(selector)})"
        for _ in range(40):
            if await self.run(found):
                assert await self.run("getComputedStyle(document.activeElement).outlineStyle !== 'none'"), selector
                return
            await self.press("Tab")
        raise AssertionError(f"the Tab key does not lead to {selector}")

    async def login(self, url: str, name: str) -> None:
        """Open the page and log in by name."""
        await self.send("Page.navigate", url=url)
        await self.type("#name", name)
        await self.press("Enter")
        await self.until("document.body.dataset.view === 'home' && statecore.connected")

    async def call(self, user: str, kind: str = "video") -> None:
        """Press the button that calls a user."""
        button = f'[data-user="{user}"][data-call="{kind}"]'
        for _ in range(20):  # look who is there now: what the service tells may be a second old
            await self.run("document.dispatchEvent(new Event('visibilitychange'))")
            with contextlib.suppress(AssertionError):
                await self.until(f"document.querySelector('{button}')", 0.5)
                break
        await self.click(button)

    async def in_call(self) -> None:
        """Wait for the call screen."""
        await self.until("document.body.dataset.view === 'call'")

    async def at_home(self) -> None:
        """Wait until no call is shown."""
        await self.until("document.body.dataset.view === 'home' && !document.querySelector('#ring').open")

    async def sees(self, user: str, kind: str = "video") -> None:
        """Wait until moving pictures of a user are shown: other pixels now than before."""
        await self.moves(f'.tile[data-user="{user}"][data-kind="{kind}"] video')

    async def moves(self, selector: str) -> None:
        """Wait until a video element shows moving pictures."""
        await self.until(_MOVES % json.dumps(selector))

    async def hears(self) -> None:
        """Wait until sound arrives: samples with energy, that grows."""
        await self.until(_SOUNDS)

    async def hears_nothing(self) -> None:
        """Wait until silence arrives: samples, of which none has energy."""
        await self.until(_SILENCE)

    async def rings(self) -> None:
        """Wait until it rings here."""
        await self.until("document.querySelector('#accept')?.checkVisibility()")

    async def hears_tone(self, hz: float) -> None:
        """Wait until a tone is the strongest in what is heard: where much is going on, a gap makes others for a
        moment."""
        await self.until(f"(async () => Math.abs(await {_HZ} - {hz}) < 15)()")

    async def plays(self, hz: float) -> None:
        """Wait until a tone goes to the loudspeaker that is the page's own, no participant's."""
        await self.until(_PLAYS % hz)

    async def is_quiet(self) -> None:
        """Wait until nothing goes there, and nothing will by itself."""
        await self.until(_QUIET)

    async def off(self) -> None:
        """Wait until no microphone, camera or screen is open: of whatever this page has ever opened."""
        await self.until("opened.every((track) => track.readyState === 'ended')")

    async def reload(self) -> None:
        """As by the browser's button. The page logs in again by itself."""
        await self.run("document.body.dataset.view = 'leaving'")
        await self.send("Page.reload")
        await self.until("!['leaving', 'loading'].includes(document.body.dataset.view) && statecore.connected")

    async def shot(self, path: Path) -> None:
        """A picture of the page."""
        answer = await self.send("Page.captureScreenshot", format="png")
        await asyncio.to_thread(path.write_bytes, base64.b64decode(answer["data"]))

    async def looks(self, *, width: int = 1280, height: int = 800, scheme: str = "light") -> None:
        """From now on the screen is of this size, and the system light or dark; nothing moves on its way there."""
        phone = width < 720
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        await self.send("Emulation.setDeviceMetricsOverride", **size)
        wishes = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in wishes.items()]
        await self.send("Emulation.setEmulatedMedia", features=features)

    async def heard_as(self) -> list[tuple[str, str]]:
        """What a screen reader is given: the role and name of everything, from top to bottom."""
        nodes = (await self.send("Accessibility.getFullAXTree"))["nodes"]
        told = [node for node in nodes if not node["ignored"]]
        return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in told]

    async def close(self) -> None:
        """Close it."""
        self._browser.tabs.remove(self)
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
_HZ = """(async () => {
  const context = new AudioContext();
  const analyser = Object.assign(context.createAnalyser(), { fftSize: 8192, smoothingTimeConstant: 0 });
  context.createMediaStreamSource(document.querySelector('#sound audio').srcObject).connect(analyser);
  const loud = new Float32Array(analyser.frequencyBinCount);
  let best = -1;
  for (let turn = 0; turn < 50 && best < 1; turn++) {
    await new Promise((done) => setTimeout(done, 100));
    analyser.getFloatFrequencyData(loud);
    const top = loud.indexOf(Math.max(...loud));
    best = loud[top] > -60 ? top * context.sampleRate / analyser.fftSize : -1;
  }
  await context.close();
  return best;
})()"""
_PLAYS = """(() => {
  const loud = new Float32Array(played?.frequencyBinCount ?? 0);
  played?.getFloatFrequencyData(loud);
  return loud.some((level, n) => level > -60 && Math.abs(n * played.context.sampleRate / played.fftSize - %f) < 12);
})()"""
_QUIET = """(() => {
  const samples = new Float32Array(played?.fftSize ?? 0);
  played?.getFloatTimeDomainData(samples);
  return samples.every((sample) => sample === 0) && ![...repeated.values()].some((pause) => pause > 1000);
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

_SILENCE = """(async () => {
  const [session] = [...statecore.sessions.values()];
  const heard = async () => (await session.stats()).filter((each) => each.kind === 'audio' && each.direction === 'in');
  const before = await heard();
  await new Promise((done) => setTimeout(done, 600));
  const after = await heard();
  const silent = ({ packets, energy }, n) => packets > before[n].packets + 10 && energy - before[n].energy < 1e-7;
  return after.length > 0 && after.every(silent);
})()"""


class Browser:
    """One running Chromium: pages of several people."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._contexts: dict[str, str] = {}
        self.tabs: list[Tab] = []
        """The pages that are open."""
        self._reader = asyncio.get_running_loop().create_task(self._read())
        self.logged: list[str] = []
        """What pages threw and did not catch, and every other error that stands in their consoles."""
        self.offline = False
        """Whether it may stand there that something could not be reached."""
        self.warned = 0
        """How often somebody who left a page was asked whether they meant to; they did."""
        self.refused = False
        """Whether it may stand there that the service refused a token."""

    async def _read(self) -> None:
        async for text in self._socket:
            message = json.loads(text)
            if message.get("method") == "Page.javascriptDialogOpening":
                self.warned += 1
                yes = self.send("Page.handleJavaScriptDialog", message["sessionId"], accept=True)
                self._leaving = asyncio.create_task(yes)
            self._note(message.get("method", ""), message.get("params", {}))
            future = self._answers.pop(message.get("id"), None)
            if future is None or future.done():
                continue
            if "error" in message:
                future.set_exception(AssertionError(message["error"]["message"]))
            else:
                future.set_result(message["result"])

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.logged.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.logged.append(str(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            entry = params["entry"]
            unreached = any(said in entry["text"] for said in ("ERR_", "before receiving a handshake"))
            refused = any(said in entry["text"] for said in ("401", "HTTP Authentication failed"))
            if not (self.offline and unreached) and not (self.refused and refused):
                self.logged.append(f"{entry['source']}: {entry['text']} {entry.get('url', '')}")

    async def send(self, method: str, session: str | None = None, **params: Any) -> Any:
        """One command of the DevTools protocol."""
        number = next(self._numbers)
        future = self._answers[number] = asyncio.get_running_loop().create_future()
        more = {"sessionId": session} if session else {}
        await self._socket.send(json.dumps({"id": number, "method": method, "params": params, **more}))
        return await asyncio.wait_for(future, 30)

    async def allow(self, person: str, *permissions: str) -> None:
        """Let a person's pages do what the browser would ask about."""
        context = self._contexts[person]
        await self.send("Browser.grantPermissions", permissions=permissions, browserContextId=context)

    async def tab(self, person: str) -> Tab:
        """A page of a person: their pages share what they store, and nobody else's do."""
        if person not in self._contexts:
            made = await self.send("Target.createBrowserContext", disposeOnDetach=True)
            self._contexts[person] = made["browserContextId"]
        target = await self.send("Target.createTarget", url="about:blank", browserContextId=self._contexts[person])
        attached = await self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        tab = Tab(self, target["targetId"], attached["sessionId"])
        for domain in ("Runtime", "Log", "Page"):
            await tab.send(f"{domain}.enable")
        await tab.send("Page.addScriptToEvaluateOnNewDocument", source=_WATCH)
        self.tabs.append(tab)
        return tab

    async def close(self) -> None:
        """Forget every page."""
        for context in self._contexts.values():
            await self.send("Target.disposeBrowserContext", browserContextId=context)
        self._reader.cancel()
        await asyncio.wait((self._reader,))


__all__ = ["FLAGS", "Browser", "Tab"]
