"""The simulator around the asyncio shells: real clients, a real service, and the same faults."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from statecore.flow import FLOWS, Flow
from statecore.testing.sim import script_of
from statecore.testing.sim.shells import simulate_shells, traces_of
from statecore.testing.sim.shrinking import violation
from statecore.testing.sim.soaking import run_shells, soak

SEED = int(os.environ.get("STATECORE_SEED", "40"))
SAMPLE = range(SEED, SEED + 3)

_HASH = """
import hashlib
from statecore.testing.sim import script_of
from statecore.testing.sim.shells import traces_of
print(hashlib.sha256("\\n".join(traces_of(script_of(7, calls=12, users=4))).encode()).hexdigest())
"""


def test_a_small_sample_keeps_what_must_hold(capsys: pytest.CaptureFixture[str]) -> None:
    """A hundred calls between clients that fail in every way: no violation, nothing left, every command settled."""
    with capsys.disabled():
        sys.stdout.write(f"\nshells simulated with seeds {SAMPLE.start} to {SAMPLE.stop - 1}")
    total = soak("shells", SAMPLE, run_shells)
    assert total["violations"] == []
    assert total["calls"] > 100
    assert total["faults_per_call"] >= 1
    assert total["share_met"] >= 0.1
    assert {"hangup", "rejected", "cancelled", "busy", "merged"} <= set(total["reasons"])


def test_one_seed_is_one_trace_byte_for_byte_in_every_process() -> None:
    """The loop in virtual time leaves nothing to chance: differently salted processes record the same lines."""
    mine = hashlib.sha256("\n".join(traces_of(script_of(7, calls=12, users=4))).encode()).hexdigest()
    for salt in ("1", "4242"):
        done = subprocess.run(
            [sys.executable, "-c", _HASH],
            env={**os.environ, "PYTHONHASHSEED": salt}, capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
        assert done.stdout.strip() == mine


@pytest.mark.parametrize("trigger", ["end", "cancel"])
def test_a_planted_fault_is_found_through_the_shells_too(trigger: str, broken: Callable[..., Flow]) -> None:
    """With a table whose end or cancel reaches nobody else, calls live on, and that is seen."""
    flows = {**FLOWS, "ringing": broken(trigger, "active" if trigger == "end" else "ringing")}
    found = violation(script_of(1, calls=40, users=8), run=lambda script: simulate_shells(script, flows=flows))
    assert found is not None
