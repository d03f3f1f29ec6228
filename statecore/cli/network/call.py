"""`statecore call`: call somebody from the shell."""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Any, Literal

from ._talk import Talker, add_talk_options, told


def register(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser("call", help="call a user through a service", description=__doc__)
    parser.add_argument("callee", metavar="USER", help="whom to call")
    parser.add_argument("--video", action="store_true", help="with a picture")
    parser.add_argument(
        "--seconds", type=float, metavar="N", help="hang up after so long (default: when the other does)"
    )
    parser.add_argument("--timeout", type=float, metavar="N", help="how long to ring, in seconds")
    add_talk_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Call, talk, hang up. An interruption hangs up."""
    return asyncio.run(_call(args))


async def _call(args: argparse.Namespace) -> int:
    kind: Literal["audio", "video"] = "video" if args.video else "audio"
    with told(as_json=args.json) as about:
        talker = Talker(args)
        async with talker.client as client:
            began = time.monotonic()
            call = await client.initiate_call(args.callee, type=kind, timeout=args.timeout)
            about["session_id"] = call.session_id
            talker.say(f"{args.callee} is rung")
            await call.answered()
            about["answered_ms"] = round(1000 * (time.monotonic() - began), 1)
            talker.say(f"{args.callee} has answered")
            async with client.started(call.session_id, type=kind) as session:
                talker.watch(session)
                about["connected_ms"] = round(1000 * (time.monotonic() - began), 1)
                talker.say("connected")
                await talker.lasted(session, about, args.seconds)
                talker.say(f"over: {about['reason']}, {about['seconds']:.1f} s")
    return 0
