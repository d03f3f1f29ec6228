"""`statecore trace`: what devices recorded, as a timeline, as a page, and replayed through the core."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from ...errors import InvalidArgument
from ...flow import FLOWS, Flow
from ...trace import Trace, read, replay
from .._diagram import find
from .._types import path
from ._timeline import Line, timeline


def register(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("trace", help="show and replay what devices recorded")
    parser.add_argument("files", nargs="+", type=path, metavar="FILE", help="a trace of a device; several are merged")
    parser.add_argument("--session", help="only this session")
    parser.add_argument("--html", type=path, metavar="PAGE", help="write a self-contained page")
    parser.add_argument("--replay", action="store_true", help="give the core the same again; exit 1 where it differs")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--flow",
        action="append",
        default=[],
        metavar="FLOW",
        help="one of your own: module:NAME or file.py:NAME",
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    traces = [read(path) for path in args.files]
    flows = {**FLOWS, **{flow.name: flow for flow in map(find, args.flow)}}
    if args.session is not None and not any(args.session in trace.sessions for trace in traces):
        known = ", ".join(dict.fromkeys(name for trace in traces for name in trace.sessions)) or "none"
        raise InvalidArgument(f"no session {args.session!r} in these traces; there are: {known}", name="session")
    lines = timeline(traces, args.session)
    differences = _differences(args.files, traces, flows) if args.replay else None
    if args.html is not None:
        from ._page import page

        args.html.write_text(page(traces, lines, flows, args.session), encoding="utf-8")
    if args.json:
        print(json.dumps(_data(traces, lines, args.session, differences)))
    else:
        _print(traces, lines, differences, args.html)
    return 1 if differences else 0


def _differences(files: Sequence[Path], traces: Sequence[Trace], flows: dict[str, Flow]) -> list[str]:
    return [f"{path}, {found}" for path, trace in zip(files, traces, strict=True) for found in replay(trace, flows)]


def _data(
    traces: Sequence[Trace], lines: Sequence[Line], session: str | None, differences: list[str] | None
) -> dict[str, Any]:
    wanted = [[name for name in trace.sessions if session in (None, name)] for trace in traces]
    devices = [
        {"user": t.user, "device": t.device, "paths": {name: t.path(name) for name in names}}
        for t, names in zip(traces, wanted, strict=True)
    ]
    data: dict[str, Any] = {"devices": devices, "timeline": [attrs.asdict(line) for line in lines]}
    return data if differences is None else {**data, "differences": differences}


def _print(traces: Sequence[Trace], lines: Sequence[Line], differences: list[str] | None, html: Path | None) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    who = max((len(line.who) for line in lines), default=0)
    what = min(36, max((len(line.what) for line in lines), default=0))
    for line in lines:
        text = Text(f"{line.at:9.3f} s  ", style="dim")
        text.append(f"{line.who:{who}}  ", style="bold")
        text.append(f"{line.what:{what}}")
        if line.path:
            text.append("  " + " -> ".join(line.path), style="green")
        if line.did:
            text.append("  " + ", ".join(line.did), style="dim")
        console.print(text)
    steps = sum(len(trace.inputs) for trace in traces)
    if differences:
        for found in differences:
            print(found, file=sys.stderr)
        print(f"replayed {steps} steps: {len(differences)} came out differently", file=sys.stderr)
    elif differences is not None:
        console.print(f"replayed {steps} steps: the same transitions and effects")
    if html is not None:
        console.print(f"page: {html}")
