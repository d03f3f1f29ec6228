"""`statecore bench`: measures statecore beside its peers, in the same run and in alternating rounds.

A benchmark measures; no test holds a time. What is measured, and how, stands in docs/reference/benchmarks.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .._types import output, path
from ._harness import FULL, QUICK, Effort, Figure


def _transition(effort: Effort, args: argparse.Namespace) -> list[Figure]:
    from ._transition import transition

    return transition(effort, xstate_install=args.xstate)


def _record(effort: Effort, _: argparse.Namespace) -> list[Figure]:
    from ._transition import record

    return record(effort)


def _calls(effort: Effort, _: argparse.Namespace) -> list[Figure]:
    from ._calls import calls

    return calls(effort)


def _listeners(effort: Effort, _: argparse.Namespace) -> list[Figure]:
    from ._listeners import listeners

    return listeners(effort)


def _memory(effort: Effort, _: argparse.Namespace) -> list[Figure]:
    from ._held import memory

    return memory(effort)


def _import(effort: Effort, _: argparse.Namespace) -> list[Figure]:
    from ._imports import imports

    return imports(effort)


def _connecting(effort: Effort, _: argparse.Namespace) -> list[Figure]:
    from ._connecting import connecting

    return connecting(effort)


def _network(effort: Effort, _: argparse.Namespace) -> list[Figure]:
    from ._network import network

    return network(effort)


GROUPS: dict[str, Callable[[Effort, argparse.Namespace], list[Figure]]] = {
    "transition": _transition,
    "record": _record,
    "calls": _calls,
    "listeners": _listeners,
    "memory": _memory,
    "connecting": _connecting,
    "network": _network,
    "import": _import,
}
"""What can be measured, by the name that `--only` takes."""


def register(subparsers: Any) -> None:
    """Add the command `bench` to a command line. The parsed arguments carry `run(args) -> exit code`."""
    parser = subparsers.add_parser("bench", help="measure statecore beside its peers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a rough answer, in a fraction of the time")
    parser.add_argument(
        "--only", action="append", choices=sorted(GROUPS), metavar="NAME",
        help=f"measure only this; may be given several times. One of: {', '.join(GROUPS)}",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the figures as JSON instead of a table")
    parser.add_argument("--out", type=path, default=Path("out/bench.json"), help="where to write them (%(default)s)")
    parser.add_argument("--page", type=path, help="a Markdown page whose block of figures is to be written anew")
    parser.add_argument("--xstate", action="store_true", help="let npm install XState into out/bench if it is missing")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, print, write. Returns 0 whatever the figures are."""
    from ._report import as_json, check_page, rewrite, show, write

    output(args.out, "out")
    if args.page:
        check_page(args.page)
    effort = QUICK if args.quick else FULL
    figures: list[Figure] = []
    for name in args.only or GROUPS:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        try:
            figures += GROUPS[name](effort, args)
        except ImportError as error:
            figures.append(Figure(name=name, value=None, unit="", peer=f"not measured: {error}"))
    write(figures, args.out)
    if args.page:
        rewrite(figures, args.page)
    if args.json:
        print(as_json(figures))
    else:
        show(figures)
    return 0


__all__ = ["register"]
