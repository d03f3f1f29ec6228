"""`statecore call`: call somebody from the shell."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from typing import Any, Literal

from ...errors import SessionInactive
from .._stopping import run as run_until_told
from .._types import DAY, number
from ._talk import Talker, add_talk_options, hung_up, told


def register(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser("call", help="call a user through a service", description=__doc__)
    parser.add_argument("callee", metavar="USER", help="whom to call")
    parser.add_argument("--video", action="store_true", help="with a picture")
    parser.add_argument(
        "--seconds",
        type=number(30 * DAY, "seconds"),
        metavar="N",
        help="hang up after so long (default: when the other does)",
    )
    parser.add_argument(
        "--timeout", type=number(3600, "seconds"), metavar="N", help="how long to ring, in seconds (default: 45)"
    )
    add_talk_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Call, talk, hang up: also when interrupted or terminated."""
    with told(as_json=args.json) as about:
        return run_until_told(_call(Talker(args), args, about))


async def _call(talker: Talker, args: argparse.Namespace, about: dict[str, Any]) -> int:
    kind: Literal["audio", "video"] = "video" if args.video else "audio"
    async with talker.connected() as client:
        began = time.monotonic()
        call = await client.initiate_call(args.callee, type=kind, timeout=args.timeout)
        about["session_id"] = call.session_id
        talker.say(f"{args.callee} is rung")
        try:
            await call.answered()
        except asyncio.CancelledError:
            await hung_up(call, about)
            raise
        about["answered_ms"] = round(1000 * (time.monotonic() - began), 1)
        talker.say(f"{args.callee} has answered")
        async with client.started(call.session_id, type=kind) as session:
            with contextlib.suppress(SessionInactive):  # it may be over by now
                talker.watch(session, about)
            about["connected_ms"] = round(1000 * (time.monotonic() - began), 1)
            talker.say("connected")
            await talker.lasted(session, about, "", args.seconds)
    return 0
