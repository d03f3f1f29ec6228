"""`statecore demo`: two people call each other, in both flows, with real media, and what arrives is measured.

With `--web`: a page to call a bot from, in a browser."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from ...errors import AdapterMissing, InvalidArgument, SourceError
from .._types import check_needed, path, port, writable

BREAKS = ("no-audio", "no-tune", "frozen-video", "swapped-reason")
CALLS = ("video call", "call by tokens", "rejected", "cancelled", "busy", "unanswered", "wrong token")
_OUT = Path("out/demo")
_PORT = 8765


def register(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("demo", help="two people call each other, in both flows, with real media")
    parser.add_argument("--play", type=path, metavar="FILE", help="an audio or video file for Alice to play")
    parser.add_argument("--out", type=path, metavar="DIR", help=f"where the report goes (default: {_OUT})")
    parser.add_argument("--only", action="append", choices=CALLS, metavar="CALL", help="only this call, by its name")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--break", dest="broken", choices=BREAKS, help="break something, to see that it is noticed")
    parser.add_argument("--web", action="store_true", help="a page to call a bot from, in place of the two people")
    parser.add_argument("--port", type=port, help=f"the page's port; 0 takes a free one (default: {_PORT})")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make the calls; 0 if everything was as it should be, else 1. Of the page: 0 once it is told to stop."""
    if args.web and (args.only or args.broken or args.out):
        raise InvalidArgument("--only, --break and --out are for the two people, not for --web", name="web")
    check_needed(args, port="web")
    try:
        import aiortc  # noqa: F401 - imported now, so that it does not count as something left behind
        import numpy as np  # noqa: F401
    except ImportError as error:
        raise AdapterMissing(what=str(error.name), extra="'statecore[aiortc,cli,tokens]'") from None
    _playable(args.play)
    if args.web:
        from ._web import serve_page

        return serve_page(_PORT if args.port is None else args.port, play=args.play, as_json=args.json)
    from ._scenario import Demo
    from ._show import Show

    out = args.out or _OUT
    writable(out, "out")
    show = Show(quiet=args.json)
    before = _held()
    demo = Demo(out, only=args.only or CALLS, broken=args.broken, play=args.play, say=show.say)
    show.title(demo.voice, args.play)
    tasks = asyncio.run(_measured(demo))
    leaks = {"tasks": tasks, **_left(before)}
    for result in demo.results:
        _judge(result)
    ok = not any(result.problems for result in demo.results) and not any(leaks.values())
    from ._report import write

    page = write(out, demo.results, leaks, ok=ok)
    if args.json:
        calls = [result.as_json() for result in demo.results]
        print(json.dumps({"calls": calls, "leaks": leaks, "ok": ok}))
    else:
        show.summary(demo.results, leaks, page, ok=ok)
    return 0 if ok else 1


async def _measured(demo: Any) -> int:
    await demo.run()
    return len(asyncio.all_tasks()) - 1


def _judge(result: Any) -> None:
    """The states and the reason must be exactly those."""
    for name, states in (("alice", result.alice), ("bob", result.bob)):
        want = result.expected[name]
        result.check(states.path == want, f"{name}'s states were {states.path}, not {want}")
    result.check(result.reason == result.expected_reason, f"ended as {result.reason}, not {result.expected_reason}")


def _playable(path: Path | None) -> None:
    if path is None:
        return
    if not path.is_file():
        raise SourceError(source=str(path), why="there is no such file")
    from .._files import sound_of

    try:
        sound_of(path, 0.1)
    except Exception as error:  # noqa: BLE001 - whatever a decoder makes of it, it is no sound
        raise SourceError(source=str(path), why=f"no sound can be read from it ({error})") from None


def _held() -> dict[str, set[Any]]:
    """The threads and descriptors of this process."""
    folder = Path("/proc/self/fd")
    links: dict[str, str] = {}
    for entry in os.listdir(folder) if folder.exists() else ():
        try:
            links[entry] = os.readlink(folder / entry)
        except OSError:
            continue  # the descriptor of the listing itself
    sockets = {fd for fd, target in links.items() if target.startswith("socket:")}
    return {"threads": set(threading.enumerate()), "sockets": sockets, "fds": set(links)}


def _left(before: dict[str, set[Any]]) -> dict[str, int]:
    """How much more there is now; what is on its way out may take a moment."""
    deadline = time.monotonic() + 3
    while True:
        gc.collect()
        now = _held()
        left = {name: max(0, len(now[name]) - len(before[name])) for name in now}
        if not any(left.values()) or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


__all__ = ["BREAKS", "CALLS", "register", "run"]
