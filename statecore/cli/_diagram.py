"""`statecore diagram`: draws a flow."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

from ..diagram import dot, mermaid, svg
from ..errors import InvalidArgument
from ..flow import FLOWS, Flow
from ..trace import read
from ._types import check_needed, path

_DRAW: dict[str, Any] = {"mermaid": mermaid, "svg": svg, "dot": dot}


def register(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("diagram", help="draw a flow")
    parser.add_argument(
        "flow", nargs="?", default="ringing", help="ringing, session, module:NAME or file.py:NAME (default: ringing)"
    )
    parser.add_argument("--format", choices=sorted(_DRAW), default="mermaid", help="what to draw (default: mermaid)")
    parser.add_argument("--guards", action="store_true", help="with the conditions of each trigger")
    parser.add_argument("--effects", action="store_true", help="with what each trigger does")
    parser.add_argument("--highlight", default="", metavar="STATES", help="a path to light up, as idle,ringing,ended")
    parser.add_argument("--trace", type=path, metavar="FILE", help="light up the way that a recorded device took")
    parser.add_argument("--session", help="the session in that trace (default: its first)")
    parser.add_argument(
        "--json", action="store_true", help="print the table itself, as one JSON object, and draw nothing"
    )
    parser.add_argument("-o", "--output", type=path, help="a file to write (default: standard output)")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    check_needed(args, session="trace")
    way = tuple(filter(None, args.highlight.split(",")))
    if args.trace is not None:
        way = _recorded(args.trace, args.session)
    flow = find(args.flow)
    if args.json:
        text = json.dumps(flow.export())
    else:
        text = _DRAW[args.format](flow, guards=args.guards, effects=args.effects, highlight=way)
    if args.output is None:
        print(text.removesuffix("\n"))
    else:
        args.output.write_text(text, encoding="utf-8")
    return 0


def _recorded(file: Path, session: str | None) -> tuple[str, ...]:
    trace = read(file)
    wanted = session if session is not None else next(iter(trace.sessions), "")
    found = tuple(trace.path(wanted))
    if not found:
        raise InvalidArgument(f"{file} tells nothing of a session {wanted!r}", name="session")
    return found


def find(name: str) -> Flow:
    """A flow of ours by its name, or one of the application's by module:NAME or file.py:NAME."""
    if name in FLOWS:
        return FLOWS[name]
    place, _, attribute = name.rpartition(":")
    found, why = None, ""
    if place and attribute:
        try:
            found = getattr(load(place), attribute, None)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a module of the user's does
            why = f" ({place} cannot be loaded: {type(error).__name__}: {error})"
    if not isinstance(found, Flow):
        known = f"give {', '.join(FLOWS)}, module:NAME or file.py:NAME"
        raise InvalidArgument(f"no flow {name!r}{why}: {known}", name="flow")
    return found


def load(place: str) -> Any:
    """A module, by its name or its file. Raises whatever that does."""
    if not place.endswith(".py"):
        return importlib.import_module(place)
    spec = importlib.util.spec_from_file_location("statecore_diagram_of", place)
    if spec is None or spec.loader is None:
        raise AssertionError("there is a loader for what ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
