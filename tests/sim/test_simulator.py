"""The simulator: that it is hard enough, repeats itself, finds what is broken, and that what it found stays mended."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from statecore.flow import FLOWS, Flow
from statecore.testing import assert_invariants
from statecore.testing.sim import Core, Item, Script, Simulation, Violation, script_of, simulate
from statecore.testing.sim.shrinking import load, save, shrink, violation
from statecore.testing.sim.soaking import run_core, run_script, soak
from statecore.trace import read

REGRESSIONS = sorted(Path(__file__).with_name("regressions").glob("*.json"))
SEED = int(os.environ.get("STATECORE_SEED", "20"))
SAMPLE = range(SEED, SEED + 6)

_HASH = """
import hashlib, sys
from statecore.testing import assert_invariants
from statecore.testing.sim import Core, Item, Script, Simulation, Violation, script_of, simulate
digest, count = hashlib.sha256(), 0
def line(text):
    digest.update(text.encode() + b"\\n")
simulate(script_of(5, calls=60), trace=line)
print(digest.hexdigest())
"""


@pytest.mark.no_cover
def test_a_small_sample_keeps_what_must_hold_and_is_hard_enough(capsys: pytest.CaptureFixture[str]) -> None:
    """A thousand calls under faults, at least one a call, a tenth of them with glare, crash or resume: no violation."""
    with capsys.disabled():
        sys.stdout.write(f"\nsimulated with seeds {SAMPLE.start} to {SAMPLE.stop - 1}")
    total = soak("core", SAMPLE, run_core)
    assert total["violations"] == []
    assert total["calls"] > 600
    assert total["faults_per_call"] >= 1
    assert total["share_met"] >= 0.1
    assert total["agreements"] > total["calls"]
    assert {"hangup", "rejected", "cancelled", "unanswered", "busy", "lost", "failed_media", "merged"} <= set(
        total["reasons"]
    )
    assert all(count > 0 for count in total["met"].values())


def test_one_seed_is_one_trace_byte_for_byte_in_every_process() -> None:
    """Two processes whose hashes are salted differently write the same trace as this one."""
    digest = hashlib.sha256()
    simulate(script_of(5, calls=60), trace=lambda text: digest.update(text.encode() + b"\n"))
    for salt in ("1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": salt}
        done = subprocess.run(
            [sys.executable, "-c", _HASH], env=environment, capture_output=True, text=True, check=True, timeout=120
        )
        assert done.stdout.strip() == digest.hexdigest()


def test_another_seed_is_another_trace() -> None:
    """The seed matters: two seeds share neither script nor trace."""
    traces: list[list[str]] = [[], []]
    for seed, trace in enumerate(traces):
        simulate(script_of(seed, calls=5), trace=trace.append)
    assert traces[0] != traces[1]
    assert len(traces[0]) > 20


BROKEN = {
    "the siblings ring on after an accept": ("accept", "ringing", "siblings"),
    "the callee rings on after a cancel": ("cancel", "ringing", None),
    "the other stays in after an end": ("end", "active", None),
    "the caller rings on after a reject": ("reject", "ringing", "peers"),
    "one is active alone": ("up", "accepted", None),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_planted_fault_is_found(name: str, broken: Callable[..., Flow]) -> None:
    """A table with one effect gone does not come through a few hundred calls."""
    core = Core.of({**FLOWS, "ringing": broken(*BROKEN[name])})
    assert any(violation(script_of(seed, calls=100), run=partial(simulate, core=core)) for seed in range(1, 6))


def test_what_was_found_is_made_smaller_and_kept(tmp_path: Path, broken: Callable[..., Flow]) -> None:
    """A failing script of a hundred calls shrinks to a handful of events, which a file brings back and shows again."""
    core = Core.of({**FLOWS, "ringing": broken("end", "active")})

    def find(script: Script) -> Violation | None:
        return violation(script, run=partial(simulate, core=core))

    script = next(s for s in (script_of(seed, calls=100) for seed in range(1, 6)) if find(s) is not None)
    small = shrink(script, runs=400, find=find)
    assert len(small.items) <= 12 < len(script.items)
    assert len(small.devices) <= 4
    again = load(save(small, tmp_path))
    assert again == small
    found = find(again)
    assert found is not None
    assert str(found) == small.found


def test_shrinking_stops_after_so_many_runs(broken: Callable[..., Flow]) -> None:
    """What still shows the violation then is the answer, whatever else could be done without."""
    core, runs = Core.of({**FLOWS, "ringing": broken("end", "active")}), 0

    def find(script: Script) -> Violation | None:
        nonlocal runs
        runs += 1
        return violation(script, run=partial(simulate, core=core))

    script = next(s for s in (script_of(seed, calls=100) for seed in range(1, 6)) if find(s) is not None)
    runs = 0
    small = shrink(script, runs=3, find=find)
    assert runs == 1 + 3 + 1  # to see it, to make it smaller, and once more without the idle devices
    assert 12 < len(small.items) <= len(script.items)
    assert find(small) is not None


def test_a_script_without_a_violation_is_left_alone() -> None:
    """There is nothing to make smaller where nothing was found."""
    script = Script(1, {"a.0": "a", "b.0": "b"}, [Item(10, "cut", "a.0", how={"ms": 5})])
    assert shrink(script) is script


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"\xff", b"[" * 5000, b'{"seed": 1, "devices": {}, "items": [], "kind": "neither"}',
     b'{"seed": 1, "devices": {}, "items": [{"at": 1, "what": "flood"}]}'],
)  # fmt: skip
def test_a_file_that_is_no_script_is_refused(data: bytes, tmp_path: Path) -> None:
    """Whatever is in it: not read, of no kind, or with a fault that is none."""
    (tmp_path / "core-1.json").write_bytes(data)
    with pytest.raises(ValueError, match=r"no script|no fault"):
        load(tmp_path / "core-1.json")


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.stem)
def test_what_was_found_once_stays_mended(path: Path) -> None:
    """A script that once showed a violation shows none any more, run on what it showed it."""
    script = load(path)
    assert script.found
    assert path.stem == f"{script.kind}-{script.seed}"
    run_script(script)


def test_what_every_device_recorded_keeps_what_must_hold() -> None:
    """The traces of a simulation replay to the same, and a second statement of the invariants finds nothing in them."""
    simulation = Simulation(script_of(SEED, calls=60), trace=lambda _: None)
    simulation.run()
    traces = {epoch: read(lines) for epoch, lines in simulation.lines.items()}
    alive = {place.endpoint.epoch for place in simulation.places.values()}
    forgotten = simulation.watch.forgotten
    legs = assert_invariants(*[trace for epoch, trace in traces.items() if epoch in alive], forgotten=forgotten)
    legs += assert_invariants(*traces.values(), finished=False, forgotten=forgotten)
    assert legs > 60
