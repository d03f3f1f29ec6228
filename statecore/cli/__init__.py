"""The `statecore` command. Each sub-command is a module with `register(subparsers)`, imported when it is wanted."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from .. import __version__
from ..errors import StatecoreError, UsageError
from ._saying import complain, let_go

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

_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "its terminal was closed"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit code: 0 done, 1 it failed, 2 it was asked wrongly, 130 interrupted, 143 terminated,
    129 if its terminal was closed, 141 if nobody reads its output any more. Whatever else is not 0 has a line on
    standard error."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        args = _parser(arguments).parse_args(arguments)
        code = int(args.run(args))
        print(end="", flush=True)
        return code
    except BrokenPipeError:  # whoever read the output wants no more of it
        let_go()
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt as stopped:
        number = next(iter(stopped.args), signal.SIGINT)
        if number in _WORDS:
            complain(_WORDS[number])
        return 128 + int(number)
    except UsageError as error:
        return _failed(error, 2)
    except (StatecoreError, OSError) as error:
        return _failed(error, 1)


def _failed(error: Exception, code: int) -> int:
    try:
        print(end="", flush=True)
    except OSError:
        let_go()
    complain(f"{' '.join(str(error).split())}{_wait(error)}")
    return code


def _wait(error: Exception) -> str:
    """When it may succeed, where that is known."""
    seconds = error.data.get("seconds") if isinstance(error, StatecoreError) and error.retryable else None
    return f": wait {seconds:g} s" if isinstance(seconds, int | float) else ""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"statecore: {' '.join(message.split())} (see {self.prog} --help)\n")


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(prog="statecore", description="Call sessions as explicit state machines.")
    parser.add_argument("--version", action="version", version=f"statecore {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    wanted = next((word for word in arguments if not word.startswith("-")), None)
    for name, (module, summary) in _COMMANDS.items():
        if name == wanted:
            import_module(f".{module}", __name__).register(commands)
        else:
            commands.add_parser(name, help=summary)
    return parser
