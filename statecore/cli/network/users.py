"""`statecore users`: who is known to a service, and who is there."""

from __future__ import annotations

import argparse
import json
from typing import Any
from urllib.parse import quote

from ._service import Known, add_options, ask

_PAGE = 1000


def register(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser("users", help="who is known to a service", description=__doc__)
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="print a JSON list")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print them."""
    users, after = list[Known](), ""
    while len(page := _page(args, after)) == _PAGE:
        users, after = users + page, page[-1]["uid"]
    users += page
    if args.json:
        print(json.dumps(users))
        return 0
    for user in users:
        print(
            f"{'online ' if user['online'] else 'offline'}  {user['uid']}{'  ' + user['name'] if user['name'] else ''}"
        )
    return 0


def _page(args: argparse.Namespace, after: str) -> list[Known]:
    return ask(args, "GET", f"/v1/users?limit={_PAGE}&after={quote(after, safe='')}", kind=list[Known])
