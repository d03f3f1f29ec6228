"""Many simulations one after the other, on every core: what they met, added up, and what they found, made smaller."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from ._parts import Mix
from ._run import Violation, simulate
from ._script import Script, script_of
from .shrinking import save, shrink, violation

CALLS_A_SEED = 200
"""How many calls a seed's script plans; some never come to be, since a user is busy or without a link."""
CALLS_A_SHELL_SEED = 60
"""The same for a seed of the shells."""


def run_core(seed: int, *, calls: int = CALLS_A_SEED, folder: Path | None = None) -> dict[str, Any]:
    """One simulation of the pure core: what it met, and what it found. With a folder, what was found is made smaller
    and kept there."""
    return _run(script_of(seed, calls=calls), folder)


def run_shells(seed: int, *, calls: int = CALLS_A_SHELL_SEED, folder: Path | None = None) -> dict[str, Any]:
    """The same through real clients and a real service."""
    return _run(script_of(seed, calls=calls, users=8, kind="shells"), folder)


def run_script(script: Script) -> Mix:
    """Run a script on what it is for, the core or the shells: also one that was kept."""
    if script.kind == "core":
        return simulate(script)
    from . import shells  # noqa: PLC0415 - brings asyncio and NumPy, which the core does without

    return shells.simulate_shells(script)


def _run(script: Script, folder: Path | None) -> dict[str, Any]:
    began = time.process_time()
    report: dict[str, Any]
    try:
        report = run_script(script).report()
    except Violation as found:
        kept = None
        if folder is not None:
            kept = str(save(shrink(script, runs=300, find=partial(violation, run=run_script)), folder))
        report = {"violations": [{"seed": script.seed, "what": str(found), "kept": kept}]}
    return {"seed": script.seed, "cpu_seconds": time.process_time() - began, **report}


def over(seeds: Iterable[int], run: Callable[[int], dict[str, Any]], *, jobs: int = 1) -> Iterator[dict[str, Any]]:
    """The reports of all seeds, in their order; with several jobs, from as many processes."""
    if jobs == 1:
        yield from map(run, seeds)
        return
    todo = iter(seeds)
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        under_way = deque(pool.apply_async(run, (seed,)) for seed in islice(todo, 2 * jobs))
        while under_way:
            yield under_way.popleft().get()
            under_way.extend(pool.apply_async(run, (seed,)) for seed in islice(todo, 1))


def soak(
    kind: str,
    seeds: Iterable[int],
    run: Callable[[int], dict[str, Any]],
    *,
    enough: int | None = None,
    jobs: int = 1,
    progress: Callable[[dict[str, Any]], object] = lambda _: None,
) -> dict[str, Any]:
    """Run seeds until there are enough calls, or no more seeds; answers with what all met together."""
    total: dict[str, Any] = {"kind": kind, "seeds": 0, "first_seed": None, "last_seed": None, "violations": []}
    for report in over(seeds, run, jobs=jobs):
        if total["first_seed"] is None:
            total["first_seed"] = report["seed"]
        total["last_seed"] = report.pop("seed")
        total["seeds"] += 1
        _add(total, report)
        progress(summary(total))
        if enough is not None and total.get("calls", 0) >= enough:
            break
    return summary(total)


def _add(total: dict[str, Any], report: dict[str, Any]) -> None:
    for name, value in report.items():
        if isinstance(value, dict):
            total[name] = dict(sorted((Counter(total.get(name, {})) + Counter(value)).items()))
        else:
            total[name] = total.get(name, type(value)()) + value


def summary(total: dict[str, Any]) -> dict[str, Any]:
    """With the shares that say whether it was hard enough."""
    calls = max(1, total.get("calls", 0))
    faults = sum(total.get("faults", {}).values())
    cpu = max(total.get("cpu_seconds", 0.0), 1e-9)
    return {
        **total,
        "faults_per_call": round(faults / calls, 3),
        "share_met": round(total.get("met_any", 0) / calls, 3),
        "calls_per_cpu_second": round(total.get("calls", 0) / cpu, 1),
    }
