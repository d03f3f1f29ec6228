"""`statecore demo --web`: the call service with its page, and a bot that answers with sound and a moving picture."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from ... import CallClient, CallService
from ...aio import Call
from ...errors import NetworkError
from .._files import has_video
from ..network._server import serve
from . import _made

BOT = "bot"
"""Who answers."""
AT_ONCE = 10
"""How many calls it is in at a time: each takes a part of a processor, for its sound and its picture."""


def serve_page(port: int, *, play: Path | None, as_json: bool) -> int:
    """Serve, and answer, until interrupted or terminated; both are a clean end. Anybody logs in by name, and so it
    listens on the loopback address only."""
    service = CallService()

    @contextlib.asynccontextmanager
    async def running(taken: int) -> AsyncIterator[None]:
        async with answering(service, media(play)):
            announce(f"http://127.0.0.1:{taken}/", as_json=as_json)
            yield

    return serve(service, running, api_key=secrets.token_urlsafe(24), dev=True, host="127.0.0.1", port=port)


def media(play: Path | None) -> Any:
    """What the bot sends: a file if there is one, else a tune; with a picture in which a clock runs."""
    from statecore_aiortc import AiortcMedia, File, Picture, Samples

    if play is None:
        return AiortcMedia(Samples(_made.tune(), _made.RATE, loop=True), Picture())
    file = File(play, loop=True)
    return AiortcMedia(file, file if has_video(play) else Picture())


@contextlib.asynccontextmanager
async def answering(service: CallService, media: Any) -> AsyncIterator[None]:
    """Have the bot answer every call, and agree to video, for as long as one is in here. A line tells of a call that
    comes to nothing, such as one whose media does not connect."""

    async def answer(call: Call) -> None:
        try:
            async with call.answer(type=call.type) as session:
                asked = "call_switch_to_video_requested"
                session.on(asked, lambda *_: session.accept_video(), snapshot=True)
                await session.wait_ended()
        except NetworkError as error:
            print(f"The call of {call.initiator} came to nothing: {error}.", file=sys.stderr, flush=True)

    service.add_user(BOT, "Bot", capacity=AT_ONCE)
    async with CallClient(service.signaling(BOT, name="Bot"), media) as bot:
        serving = asyncio.create_task(bot.serve(answer, limit=AT_ONCE))
        try:
            yield
        finally:
            serving.cancel()
            await asyncio.wait((serving,))


def announce(url: str, *, as_json: bool) -> None:
    """Say where it is, for people or for programs."""
    if as_json:
        print(json.dumps({"url": url}), flush=True)
    else:
        print(f"Open {url} in a browser, type a name, and call the bot. Ctrl-C stops it.", flush=True)
