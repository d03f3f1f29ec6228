"""`statecore check`: the command around the model checker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from statecore.cli import main


def test_it_names_its_scenarios(capsys: pytest.CaptureFixture[str]) -> None:
    """Each in a line, with what it is about."""
    assert main(["check", "--list"]) == 0
    out = capsys.readouterr().out
    assert "glare        both call each other, and a link breaks\n" in out
    assert "(deep)" in out


def test_it_reports_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for people; every figure in the file and on demand."""
    assert main(["check", "full", "--out", str(tmp_path / "out" / "check.json")]) == 0
    assert "holds  full" in capsys.readouterr().out
    (told,) = json.loads((tmp_path / "out" / "check.json").read_text())
    assert told.keys() >= {
        "scenario", "states", "transitions", "depth", "seconds", "rows_taken", "rows_total", "violations", "bounds",
    }  # fmt: skip
    assert (told["scenario"], told["violations"]) == ("full", [])
    assert 0 < told["rows_taken"] < told["rows_total"]


def test_what_was_not_exhausted_has_failed(capsys: pytest.CaptureFixture[str]) -> None:
    """A limit that is reached: exit 1, and said so."""
    assert main(["check", "full", "--limit", "50", "--json"]) == 1
    (told,) = json.loads(capsys.readouterr().out)
    assert "not exhausted" in told["violations"][0]["why"]


def test_a_scenario_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, and which there are."""
    assert main(["check", "nothing"]) == 2
    assert "glare" in capsys.readouterr().err
