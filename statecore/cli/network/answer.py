"""`statecore answer`: a bot that answers every call, agrees to video, and plays, says back or records."""

from __future__ import annotations

import argparse
import asyncio
import math
from typing import Any

from ...aio import Call
from ._talk import Talker, add_talk_options, told


def register(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser("answer", help="answer calls, as a bot", description=__doc__)
    parser.add_argument("--echo", action="store_true", help="say back what is heard")
    parser.add_argument(
        "--limit",
        type=int,
        default=10,
        metavar="N",
        help="calls at once; above it is busy (default: 10); with --token also above what the user was registered with",
    )
    parser.add_argument(
        "--calls", type=int, default=math.inf, metavar="N", help="stop after so many calls, whatever came of them"
    )
    add_talk_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Answer until interrupted, or until so many calls were answered."""
    return asyncio.run(_answer(args))


async def _answer(args: argparse.Namespace) -> int:
    talker = Talker(args, capacity=args.limit)
    enough = asyncio.Event()
    left = args.calls

    async def handle(call: Call) -> None:
        nonlocal left
        talker.say(f"{call.initiator} calls")
        try:
            with told(as_json=args.json, call=call) as about:
                about["caller"] = call.initiator
                async with call.answer(type=call.type) as session:
                    talker.watch(session)
                    asked = "call_switch_to_video_requested"
                    session.on(asked, lambda *_: session.accept_video(), snapshot=True)
                    talker.say(f"{call.initiator}: connected")
                    if args.echo:
                        await session.play(session.audio(call.initiator))
                    await talker.lasted(session, about)
                    talker.say(f"{call.initiator}: over, {about['reason']}, {about['seconds']:.1f} s")
        finally:  # one that came to nothing counts, too
            left -= 1
            if left <= 0:
                enough.set()

    async with talker.client as client:
        talker.say(f"{client.user.uid} answers (Ctrl-C stops)")
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(client.serve(handle, limit=args.limit))
            await enough.wait()
            serving.cancel()
    return 0
