"""The `statecore` command. Each sub-command is a module with `register(subparsers)`, imported when it is wanted."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from .. import __version__
from ..errors import StatecoreError, UsageError

_COMMANDS = {
    "demo": ("demo", "two people call each other, in both flows, with real media"),
    "serve": ("network.serve", "run the call service"),
    "call": ("network.call", "call a user through a service"),
    "answer": ("network.answer", "answer calls, as a bot"),
    "users": ("network.users", "who is known to a service"),
    "token": ("network.token", "have a token issued"),
    "diagram": ("_diagram", "draw a flow"),
    "trace": ("trace", "show and replay what devices recorded"),
    "check": ("check", "explore every interleaving of a call"),
    "bench": ("bench", "measure, each figure beside its peer"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit code: 0 done, 1 it failed, 2 it was asked wrongly, 130 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        args = _parser(arguments).parse_args(arguments)
        return int(args.run(args))
    except KeyboardInterrupt:
        print("statecore: interrupted", file=sys.stderr)
        return 130
    except UsageError as error:
        return _failed(error, 2)
    except (StatecoreError, OSError) as error:
        return _failed(error, 1)


def _failed(error: Exception, code: int) -> int:
    print(f"statecore: {' '.join(str(error).split())}", file=sys.stderr)
    return code


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="statecore", description="Call sessions as explicit state machines.")
    parser.add_argument("--version", action="version", version=f"statecore {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    wanted = next((word for word in arguments if not word.startswith("-")), None)
    for name, (module, summary) in _COMMANDS.items():
        if name == wanted:
            import_module(f".{module}", __name__).register(commands)
        else:
            commands.add_parser(name, help=summary)
    return parser
