"""Every input that fuzzing kept, found new code with, or broke something with, once more."""

from __future__ import annotations

import sys
from importlib import util
from pathlib import Path

import pytest

HERE = Path(__file__).parent
_spec = util.spec_from_file_location("statecore_fuzz_targets", HERE / "targets.py")
assert _spec is not None
assert _spec.loader is not None
targets = util.module_from_spec(_spec)
sys.modules[_spec.name] = targets
_spec.loader.exec_module(targets)


@pytest.mark.parametrize("name", sorted(targets.TARGETS))
def test_the_corpus_holds(name: str) -> None:
    """What was kept for a target is taken or refused with an error of ours, and so is nothing at all."""
    kept = sorted((HERE / "corpus" / name).iterdir())
    assert kept, "a target without a corpus was never fuzzed"
    for file in kept:
        targets.TARGETS[name](file.read_bytes())
    targets.TARGETS[name](b"")


def test_every_corpus_has_its_target() -> None:
    """No corpus is left of a target that is gone."""
    assert {folder.name for folder in (HERE / "corpus").iterdir()} == set(targets.TARGETS)
