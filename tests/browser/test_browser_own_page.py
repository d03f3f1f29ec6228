"""A page of one's own: the example in the documentation, from another origin than the service's."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from statecore.cli.demo._web import BOT, answering, media

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_page.html"


class Own:
    """An application that has the page and gives its user a token."""

    def __init__(self) -> None:
        self.page = ""
        self.token = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        wants_token = b"/token" in await reader.readline()
        while (await reader.readline()).strip():
            pass
        kind, body = (
            ("application/json", json.dumps({"token": self.token})) if wants_token else ("text/html", self.page)
        )
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()


@pytest.mark.soak
def test_the_example_in_the_documentation_calls_the_bot(world: Any) -> None:
    """With the client from the service and a token from its back end, a page of few lines sees and hears the bot."""

    async def main() -> None:
        own = Own()
        async with await asyncio.start_server(own.serve, "127.0.0.1", 0) as server:
            origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with world(origins=[origin]) as all_, answering(all_.service, media(None)):
                all_.service.add_user(BOT)
                all_.service.add_user("alice")
                own.page = EXAMPLE.read_text().replace("http://127.0.0.1:8765/", all_.url)
                own.token = (await all_.app.tokens.issue("alice"))[0]
                page = await all_.browser.tab("alice")
                await page.send("Page.navigate", url=origin)
                await page.until("Boolean(document.getElementById('call')?.onclick)")
                await page.click("#call")
                await page.moves("#picture")
                await page.until("picture.srcObject.getAudioTracks().length === 1 && !picture.muted")

    asyncio.run(main())


def test_a_page_that_may_not_connect_is_told_why(world: Any) -> None:
    """One of an origin that was not named, and one that speaks another version of the protocol: each hears that, once,
    and does not try again; a good one is in."""

    async def main() -> None:
        own = Own()
        async with await asyncio.start_server(own.serve, "127.0.0.1", 0) as server, world() as all_:
            await all_.app.service.register_user("alice")
            own.token = (await all_.app.tokens.issue("alice"))[0]
            page = await all_.browser.tab("alice")
            await page.send("Page.navigate", url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            told = await page.run(_CONNECT % (all_.url, own.token, "v1"))
            assert told == ["signaling_refused", "this web origin may not connect", [["signaling_refused", False]], 1]
            await page.send("Page.navigate", url=all_.url)
            await page.until("document.body.dataset.view === 'login'")
            told = await page.run(_CONNECT % (all_.url, own.token, "v9"))
            assert told == ["unsupported_version", "statecore.v9", [["unsupported_version", False]], 1]
            assert await page.run(_CONNECT % (all_.url, own.token, "v1")) == ["connected", "", [], 1]

    asyncio.run(main())


# Connect from here by a version of the protocol: what comes of it, what is told, and how often it was tried.
_CONNECT = """(async (url, token, version) => {
  const { CallClient } = await import(`${url}page/statecore.js`);
  const Plain = globalThis.WebSocket;
  let dials = 0;
  globalThis.WebSocket = class extends Plain {
    constructor(address, protocols) {
      super(address, protocols.map((each) => each.replace('.v1', `.${version}`)));
      dials += 1;
    }
  };
  const device = new CallClient(url, { user: 'alice', token });
  const told = [];
  device.on('connection_failed', (...more) => told.push(more));
  const why = ({ code, data }) => [code, data.why ?? data.theirs ?? ''];
  const found = await device.connect().then(() => ['connected', ''], why);
  globalThis.WebSocket = Plain;
  device.close();
  return [...found, told, dials];
})(%r, %r, %r)"""
