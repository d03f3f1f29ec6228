"""What `call` and `answer` have in common: who speaks, what is sent, what is told."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from ...aio import Call, CallClient, Session
from ...errors import (
    AdapterMissing,
    CallEnded,
    MediaDeviceError,
    SignalingRefused,
    StatecoreError,
    TokenError,
    UnsupportedVersion,
)
from ...model import EndReason, Reason
from ...settings import IceServer
from .._files import has_video
from .._saying import only_news, say
from .._types import check_given, number, output, secret, writable
from ._service import add_options
from ._who import EXTRA, link

_FAILED = (Reason.LOST, Reason.FAILED_MEDIA)
"""The reasons of a call that nobody ended, nor any rule that holds for it."""


def add_talk_options(parser: argparse.ArgumentParser) -> None:
    """Who one is, and what is sent and kept."""
    add_options(parser)
    parser.add_argument("--as", dest="user", metavar="USER", help="who one is; with the service's API key")
    parser.add_argument("--token", type=secret, help="an auth token; better in the variable STATECORE_TOKEN")
    parser.add_argument("--device", help="the device's id (default: a new one)")
    sound = parser.add_mutually_exclusive_group()
    sound.add_argument("--play", metavar="FILE", help="send an audio or video file")
    sound.add_argument("--tone", type=number(24_000, "hertz"), metavar="HZ", help="send a tone (default: 440)")
    parser.add_argument("--record", metavar="FILE", help="write what arrives to a file, or to files in a directory")
    parser.add_argument("--stun", action="append", default=[], metavar="URL", help="a STUN server (repeat)")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each call")


@contextmanager
def told(*, as_json: bool, call: Call | None = None, **more: Any) -> Iterator[dict[str, Any]]:
    """Collect what there is to say of a call, and say it at the end, with the error if it came to one, also to one that
    kept it from beginning."""
    about: dict[str, Any] = {"session_id": call.session_id if call is not None else None, **more}
    error: str | None = None
    try:
        yield about
    except StatecoreError as caught:
        error = caught.code
        _tell_of(about, caught)
        raise
    except BaseException as caught:
        # Somebody ended the command; or the call was over by itself, just then.
        lost = about.get("reason") in _FAILED
        error = StatecoreError.code if isinstance(caught, Exception) else CallEnded.code if lost else "interrupted"
        raise
    finally:
        about["error"] = error
        if as_json:
            say(json.dumps(about, default=str))


def _tell_of(about: dict[str, Any], error: StatecoreError) -> None:
    """What an error says of the call that it ended, and of when to come again."""
    call = error.data.get("call")
    if call is not None:
        about.update(session_id=call.session_id, status=call.status, **_over(call.end_reason))
    if error.retryable and "seconds" in error.data:
        about["wait"] = error.data["seconds"]


def _over(reason: EndReason) -> dict[str, Any]:
    return {"reason": reason.what, "by": reason.by}


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a log has something that the command does not end with, and say itself."""
    return not (
        record.msg in ("the link is given up: %s", "the service refused: %s")
        and isinstance(record.args, tuple)
        and isinstance(record.args[0], SignalingRefused | TokenError | UnsupportedVersion)
    )


class Talker:
    """One shell's part in calls: connected, with something to send, telling what happens."""

    def __init__(self, args: argparse.Namespace, **user: Any) -> None:
        try:
            from statecore_aiortc import AiortcMedia, File, Picture, Tone
        except ImportError as missing:
            raise AdapterMissing(what=str(missing.name), extra=EXTRA) from missing
        check_given(args, "api_key", user="--as", callee="USER")
        self._json = args.json
        self._began = time.monotonic()
        sound: Any = File(args.play) if args.play else Tone(args.tone or 440.0)
        media = AiortcMedia(
            sound,
            sound if args.play and has_video(args.play) else Picture(),
            record=args.record,
            ice_servers=[IceServer(urls=url) for url in args.stun],
        )
        if args.record is not None:
            _check_record(args.record)
        self._client = CallClient(link(args, **user), media)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[CallClient]:
        """Its client, for as long as it is connected. Raises as `CallClient.connect` does."""
        with only_news("statecore.client", _is_news):
            async with self._client as client:
                yield client

    def say(self, text: str) -> None:
        """A line of the timeline."""
        if not self._json:
            say(f"{time.monotonic() - self._began:8.3f}  {text}")

    def watch(self, session: Session, about: dict[str, Any]) -> None:
        """Tell who comes, goes, and what they do; what media met with goes to `about`. Raises SessionInactive if it is
        over by now."""
        about["faults"] = []
        for event in ("user_joined", "user_left", "user_muted", "user_unmuted", "screen_share_started"):
            session.on(event, lambda who, event=event: self.say(f"{event.replace('_', ' ')}: {who.uid}"))
        for event in ("connection_lost", "connection_restored", "call_switched_to_video"):
            session.on(event, lambda *_, event=event: self.say(event.replace("_", " ")))
        session.on("error", about["faults"].append)

    async def lasted(self, session: Session, about: dict[str, Any], who: str, seconds: float | None = None) -> None:
        """Stay until the session ends, or end it after so long, or when one is told to stop; what there is to say of it
        goes to `about`. Raises CallEnded for one that was lost, and MediaDeviceError if what was to be played or
        recorded was not."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(seconds):
                await session.wait_ended()
        except TimeoutError:
            pass
        finally:
            await session.end()
            reason, lasted = await session.wait_ended(), round(time.monotonic() - began, 3)
            about.update(status=session.call.status, **_over(reason), seconds=lasted)
            self.say(f"{who}over, {reason.what}, {lasted:.1f} s")
        if reason.what in _FAILED:
            raise CallEnded(session_id=session.session_id, reason=reason.what)
        missed = [fault for fault in about["faults"] if isinstance(fault, MediaDeviceError)]
        if missed:
            raise missed[0]


def _check_record(record: str) -> None:
    """Raises InvalidArgument for what could not be written once the call is under way. Of directories that are named
    after the call nothing is known yet."""
    path = Path(record)
    if "{" not in record and path.suffix and not path.is_dir():
        output(path, "record")
        return
    folder = path.parent if path.suffix and not path.is_dir() else path
    while "{" in str(folder):
        folder = folder.parent
    writable(folder, "record")


async def hung_up(call: Call, about: dict[str, Any]) -> None:
    """Give up a call that is not answered yet; what became of it goes to `about`."""
    await call.cancel()
    try:
        await call.answered()
    except StatecoreError as error:
        _tell_of(about, error)
