"""`statecore token`: an auth token for a user, or a call token for a user in a session."""

from __future__ import annotations

import argparse
import json
from typing import Any
from urllib.parse import quote

from .._types import check_given, check_needed, number
from ._service import Issued, Known, add_options, ask


def register(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser("token", help="have a token issued", description=__doc__)
    parser.add_argument("user", metavar="USER", help="whose token; an auth token makes them known")
    parser.add_argument("--session", metavar="ID", help="a call token for this session, not an auth token")
    parser.add_argument("--role", help="the role of a call token (default: participant)")
    parser.add_argument(
        "--lifetime", type=number(315_360_000, "seconds"), metavar="SECONDS", help="how long it is good for"
    )
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print it, and nothing else."""
    check_given(args, "api_key", user="USER")
    check_needed(args, role="session")
    more = {"lifetime": args.lifetime} if args.lifetime is not None else {}
    if args.session is not None:
        path = f"/v1/calls/{quote(args.session, safe='')}/tokens"
        made = ask(args, "POST", path, {"user": args.user, "role": args.role or "participant", **more}, kind=Issued)
    else:
        ask(args, "POST", "/v1/users", {"uid": args.user}, kind=Known)
        made = ask(args, "POST", f"/v1/users/{quote(args.user, safe='')}/auth-tokens", more, kind=Issued)
    print(json.dumps(made) if args.json else made["token"])
    return 0
