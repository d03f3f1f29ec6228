"""`statecore check`: every interleaving of what may happen to a call, by the code that ships."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from ...errors import AdapterMissing, InvalidArgument
from ...flow import FLOWS, Flow, Row
from .._diagram import find, load
from .._types import output, path, whole

if TYPE_CHECKING:
    from ...testing.check import Result, Scenario

_told: Any = {}
"""Where a worker says how far it is."""


def register(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser("check", help="explore every interleaving of a call", description=__doc__)
    parser.add_argument("what", nargs="*", metavar="SCENARIO", help="a scenario, or FILE.py:FLOW for one's own flow")
    parser.add_argument("--list", action="store_true", help="name the scenarios")
    parser.add_argument("--deep", action="store_true", help="those that are too large for every day")
    parser.add_argument("--limit", type=whole(1, 1 << 62), metavar="N", help="fail above so many states")
    parser.add_argument(
        "--jobs", type=whole(1, 1024), default=os.cpu_count() or 1, metavar="N", help="at once (default: one a core)"
    )
    parser.add_argument("--out", type=path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check; 1 if something is wrong, or a row of a flow's table was never taken."""
    try:
        from ...testing import check
        from ...testing._core import stamp
    except ImportError as error:
        raise AdapterMissing(what="numpy", extra="'statecore[testing]'") from error
    if args.list and args.json:
        print(json.dumps([{"name": s.name, "help": s.help, "deep": s.deep} for s in check.SCENARIOS.values()]))
        return 0
    if args.list:
        for scenario in check.SCENARIOS.values():
            print(f"{scenario.name:12} {scenario.help}{' (deep)' if scenario.deep else ''}")
        return 0
    names = args.what or [s.name for s in check.SCENARIOS.values() if s.deep == args.deep]
    chosen = {name: _scenarios(name) for name in names}
    if args.out is not None:
        output(args.out, "out")
    begun = stamp()
    results = _explore(chosen, args)
    complete = FLOWS.values() if not args.what and not args.deep else ()
    wholes = [*(_Whole(flow, check.UNREACHED) for flow in complete), *(_whole(name) for name in names if ":" in name)]
    found = [result for result, *_ in results]
    missing = {one.flow.name: check.never_taken(one.flow, found, one.unreached) for one in wholes}
    reports = [{**_report(result, missing), **begun} for result in found]
    if args.out is not None:
        args.out.write_text(json.dumps(reports, indent=2) + "\n", encoding="utf-8")
    if args.json:
        print(json.dumps(reports))
    else:
        _tell(results)
    wrong = [f"never taken: {flow}: {check.row_name(row)}" for flow, rows in missing.items() for row in rows]
    for one in wholes:
        wrong += [
            f"taken, though named as unreached: {', '.join(key)}" for key in check.stale(one.flow, found, one.unreached)
        ]
    for line in wrong:
        print(line, file=sys.stderr if args.json else sys.stdout)
    return 1 if wrong or any(result.violation for result in found) else 0


class _Whole(NamedTuple):
    """A flow whose scenarios are all explored: each of its rows is to be taken, or named with the reason."""

    flow: Flow
    unreached: Any


def _whole(name: str) -> _Whole:
    return _Whole(find(name), getattr(load(name.rpartition(":")[0]), "UNREACHED", {}))


def _report(result: Result, missing: dict[str, list[Row]]) -> dict[str, Any]:
    from ...testing import check

    flows = {flow: rows for flow, rows in missing.items() if flow in result.rows}
    return result.report() | {
        "never_taken": {flow: [check.row_name(row) for row in rows] for flow, rows in flows.items()}
    }


def _scenarios(name: str) -> list[tuple[str, int]]:
    """The scenarios that a word stands for: where each comes from, and which one it is there."""
    from ...testing import check

    if ":" in name:
        return [(name, number) for number in range(len(_of_own(name)))]
    if name not in check.SCENARIOS:
        raise InvalidArgument(f"no scenario {name!r}; there are {', '.join(check.SCENARIOS)}", name="scenario")
    return [(name, 0)]


def _of_own(name: str) -> list[tuple[Scenario, list[str]]]:
    """The scenarios of a flow of one's own: those that are made of it, and those that its module offers for it. With
    each, the expression that gives it, and the statements that this one needs."""
    from ...testing import check

    place, _, attribute = name.rpartition(":")
    flow = find(name)

    def told(what: str, expression: str) -> list[str]:
        if place.endswith(".py"):
            return [expression.format(f"runpy.run_path({place!r})[{what!r}]"), "import runpy\n"]
        return [expression.format(what), f"from {place} import {what}"]

    made = [(s, told(attribute, f"check.of_flow({{}})[{n}]")) for n, s in enumerate(check.of_flow(flow))]
    offered = enumerate(getattr(load(place), "SCENARIOS", ()))
    return [*made, *((s, told("SCENARIOS", f"{{}}[{n}]")) for n, s in offered if flow.name in s.flows_run)]


def _scenario(name: str, number: int) -> tuple[Scenario, list[str]]:
    """A scenario, the expression that gives it, and the statements that this one needs."""
    from ...testing import check

    if ":" in name:
        return _of_own(name)[number]
    return check.SCENARIOS[name], [f"check.SCENARIOS[{name!r}]"]


Told = tuple["Result", str, str, str]
"""A result, and its violation as text, as a diagram and as a test."""


def _work(name: str, number: int, limit: int | None) -> Told:
    """In a worker: explore one."""
    from ...testing import check

    scenario, where = _scenario(name, number)

    def progress(states: int, depth: int) -> None:
        _told[scenario.name] = states, depth

    result = check.check(scenario, limit=limit or check.LIMIT, progress=progress)
    found = result.violation
    if found is None:
        return result, "", "", ""
    return (
        result,
        check.as_text(scenario, found),
        check.as_mermaid(scenario, found),
        check.as_test(found, *where),
    )


def _listen(told: Any) -> None:
    global _told  # noqa: PLW0603 - the worker's one way to the one who waits
    _told = told


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM, too, takes the workers along: they would finish what they are at, which may be minutes away."""
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _leave(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _explore(chosen: dict[str, list[tuple[str, int]]], args: argparse.Namespace) -> list[Told]:
    todo = [each for every in chosen.values() for each in every]
    context = get_context("spawn")
    with (
        context.Manager() as manager,
        _terminable(),
        ProcessPoolExecutor(
            max(1, min(args.jobs, len(todo))), context, _listen, (told := manager.dict(),), max_tasks_per_child=1
        ) as pool,
    ):
        futures: list[Future[Told]] = []
        try:
            futures += [pool.submit(_work, name, number, args.limit) for name, number in todo]
            _show(futures, told, quiet=args.json)
        except BaseException:
            # Not by `shutdown(wait=False)`: the pool would forget its processes before its thread has done with them.
            for future in futures:
                future.cancel()
            for process in list(pool._processes.values()):  # noqa: SLF001 - nothing else ends them at once
                process.terminate()
            raise
        return [future.result() for future in futures]


def _show(futures: Iterable[Future[Told]], told: Any, *, quiet: bool) -> None:
    waiting, began = set(futures), time.monotonic()
    bar = sys.stderr.isatty() and not quiet
    while waiting:
        done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
        for future in done:
            result = future.result()[0]
            told.pop(result.scenario, None)
            if not quiet:
                print(("\r\x1b[K" if bar else "") + _line(result), flush=True)
        if bar:
            now = ", ".join(f"{name} {states:,}" for name, (states, _) in dict(told).items())
            print(f"\r\x1b[K{time.monotonic() - began:6.0f} s  {now}"[:120], end="", file=sys.stderr, flush=True)
    if bar:
        print("\r\x1b[K", end="", file=sys.stderr)


def _line(result: Result) -> str:
    verdict = "WRONG" if result.violation else "holds"
    rows = ", ".join(f"{len(rows)}/{result.rows_total[flow]} rows of {flow}" for flow, rows in result.rows.items())
    return (
        f"{verdict}  {result.scenario:12} {result.states:>12,} states  {result.transitions:>13,} steps  "
        f"depth {result.depth:>3}  {result.seconds:6.1f} s  {rows}"
    )


def _tell(results: list[Told]) -> None:
    for result, text, diagram, test in results:
        if result.violation is not None:
            print("\n" + "\n\n".join(part for part in (text, diagram, test) if part))
    states = sum(result.states for result, *_ in results)
    odds = max((result.collision for result, *_ in results), default=0.0)
    print(f"{states:,} states in all; odds that one was missed by a collision of hashes: at most {odds:.1e} a scenario")
