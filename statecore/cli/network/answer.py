"""`statecore answer`: a bot that answers every call, agrees to video, and plays, says back or records."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
from typing import Any

from ...aio import Call
from ...errors import CallEnded, CallGone, MediaDeviceError, SessionInactive, StatecoreError
from .._saying import complain
from .._stopping import run as run_until_told
from .._types import whole
from ._talk import Talker, add_talk_options, told


def register(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser("answer", help="answer calls, as a bot", description=__doc__)
    parser.add_argument("--echo", action="store_true", help="say back what is heard")
    parser.add_argument(
        "--limit",
        type=whole(1, 100),
        default=10,
        metavar="N",
        help="calls at once; above it is busy (default: 10); with --token also above what the user was registered with",
    )
    parser.add_argument(
        "--calls",
        type=whole(1, 1_000_000_000),
        default=math.inf,
        metavar="N",
        help="stop after so many calls, whatever came of them",
    )
    add_talk_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Answer until interrupted or terminated, until so many calls were answered, or until the service will not have
    this device any more; 1 then, and if something was not played or recorded."""
    talker = Talker(args, capacity=args.limit)
    return run_until_told(_answer(talker, args))


async def _answer(talker: Talker, args: argparse.Namespace) -> int:
    over = asyncio.Event()
    left, code = args.calls, 0

    async def handle(call: Call) -> None:
        nonlocal left, code
        talker.say(f"{call.initiator} calls")
        try:
            with told(as_json=args.json, call=call, caller=call.initiator) as about:
                async with call.answer(type=call.type) as session:
                    talker.say(f"{call.initiator}: connected")
                    with contextlib.suppress(SessionInactive):  # it may be over by now
                        talker.watch(session, about)
                        asked = "call_switch_to_video_requested"
                        session.on(asked, lambda *_: session.accept_video(), snapshot=True)
                        if args.echo:
                            await session.play(session.audio(call.initiator))
                    await talker.lasted(session, about, f"{call.initiator}: ")
        except (CallGone, CallEnded) as error:
            talker.say(f"{call.initiator}: {error}")
        except StatecoreError as error:  # others go on
            complain(error)
            code = code or int(isinstance(error, MediaDeviceError))
        finally:  # one that came to nothing counts, too
            left -= 1
            if left <= 0:
                over.set()

    async with talker.connected() as client:
        client.on("connection_failed", lambda *_: over.set())
        talker.say(f"{client.user.uid} answers (Ctrl-C stops)")
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(client.serve(handle, limit=args.limit))
            await over.wait()
            serving.cancel()
    failure = client.failure if left > 0 else None
    if failure is None:
        return code
    with contextlib.suppress(type(failure)), told(as_json=args.json):
        raise failure
    complain(failure)
    return 1
