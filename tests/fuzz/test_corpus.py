"""Every input that fuzzing kept, found new code with, or broke something with, once more."""

from __future__ import annotations

import sys
from importlib import util
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


BYTES = sorted(set(targets.TARGETS) - {"made_messages", "made_tokens", "made_flows", "made_media"})
"""What takes bytes as they come; of the others each draws examples of its own."""


@pytest.mark.no_cover
@pytest.mark.parametrize("name", BYTES)
@settings(max_examples=max(40, settings.default.max_examples // 2), deadline=None)
@given(data=st.data())
def test_what_was_kept_is_damaged_by_chance(name: str, data: st.DataObject) -> None:
    """What was taken or refused still is, one way or the other, with pieces cut out, put in and taken from others."""
    files = sorted((HERE / "corpus" / name).iterdir())
    whole = data.draw(st.sampled_from(files)).read_bytes()
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(whole)))
        other = data.draw(st.binary(max_size=8) | st.sampled_from(files).map(Path.read_bytes))
        begin = data.draw(st.integers(0, len(other)))
        whole = whole[:start] + other[begin : begin + 40] + whole[start + data.draw(st.integers(0, 40)) :]
    targets.TARGETS[name](whole)


def test_what_peers_say_is_damaged_by_chance() -> None:
    """Offers, answers and candidates of aiortc with lines cut, swapped and made up."""
    targets._media()


def test_every_corpus_has_its_target() -> None:
    """No corpus is left of a target that is gone."""
    assert {folder.name for folder in (HERE / "corpus").iterdir()} == set(targets.TARGETS)
