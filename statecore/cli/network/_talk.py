"""What `call` and `answer` have in common: who speaks, what is sent, what is told."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...aio import Call, CallClient, Session
from ...errors import AdapterMissing, StatecoreError
from ...settings import IceServer
from .._files import has_video
from ._service import add_options, auth_token


def add_talk_options(parser: argparse.ArgumentParser) -> None:
    """Who one is, and what is sent and kept."""
    add_options(parser)
    parser.add_argument("--as", dest="user", metavar="USER", help="who one is; with the service's API key")
    parser.add_argument("--token", help="an auth token; better in the variable STATECORE_TOKEN")
    parser.add_argument("--device", help="the device's id (default: a new one)")
    sound = parser.add_mutually_exclusive_group()
    sound.add_argument("--play", metavar="FILE", help="send an audio or video file")
    sound.add_argument("--tone", type=float, metavar="HZ", help="send a tone (default: 440)")
    parser.add_argument("--record", metavar="FILE", help="write what arrives to a file, or to files in a directory")
    parser.add_argument("--stun", action="append", default=[], metavar="URL", help="a STUN server (repeat)")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each call")


@contextmanager
def told(*, as_json: bool, call: Call | None = None) -> Iterator[dict[str, Any]]:
    """Collect what there is to say of a call, and say it at the end, with the error if it came to one, also to one that
    kept it from beginning."""
    about: dict[str, Any] = {"session_id": call.session_id if call is not None else None}
    error: StatecoreError | None = None
    try:
        yield about
    except StatecoreError as caught:
        error = caught
        about["session_id"] = about["session_id"] or getattr(caught.data.get("call"), "session_id", None)
        raise
    finally:
        about["error"] = error.code if error is not None else None
        if as_json:
            print(json.dumps(about), flush=True)


class Talker:
    """One shell's part in calls: connected, with something to send, telling what happens."""

    def __init__(self, args: argparse.Namespace, **user: Any) -> None:
        try:
            from statecore_aiortc import AiortcMedia, File, Picture, Tone
            from statecore_web import WebSocketSignaling
        except ImportError as missing:
            raise AdapterMissing(
                what="statecore_web and statecore_aiortc", extra="'statecore[web,aiortc]'"
            ) from missing
        self._json = args.json
        self._began = time.monotonic()
        sound: Any = File(args.play) if args.play else Tone(args.tone or 440.0)
        media = AiortcMedia(
            sound,
            sound if args.play and has_video(args.play) else Picture(),
            record=args.record,
            ice_servers=[IceServer(urls=url) for url in args.stun],
        )
        link = WebSocketSignaling(args.url, auth_token(args, **user), user=args.user, device=args.device)
        self.client = CallClient(link, media)

    def say(self, text: str) -> None:
        """A line of the timeline."""
        if not self._json:
            print(f"{time.monotonic() - self._began:8.3f}  {text}", flush=True)

    def watch(self, session: Session) -> None:
        """Tell who comes, goes, and what they do."""
        for event in ("user_joined", "user_left", "user_muted", "user_unmuted", "screen_share_started"):
            session.on(event, lambda who, event=event: self.say(f"{event.replace('_', ' ')}: {who.uid}"))
        for event in ("connection_lost", "connection_restored", "call_switched_to_video"):
            session.on(event, lambda *_, event=event: self.say(event.replace("_", " ")))

    @staticmethod
    async def lasted(session: Session, about: dict[str, Any], seconds: float | None = None) -> None:
        """Stay until the session ends, or end it after so long; what there is to say of it goes to `about`."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(seconds):
                await session.wait_ended()
        except TimeoutError:
            await session.end()
        reason = await session.wait_ended()
        lasted = round(time.monotonic() - began, 3)
        about.update(status=session.call.status, reason=reason.what, by=reason.by, seconds=lasted)
