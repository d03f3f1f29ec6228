"""`statecore bench`: its figures are well-formed. No time is asserted."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from statecore.cli.bench import register

FIELDS = {"name": str, "value": float, "unit": str, "peer": str, "target": str}


def bench(*words: str) -> int:
    """Run the command as the command line does."""
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers())
    args = parser.parse_args(["bench", *words])
    code: int = args.run(args)
    return code


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_transition_figures_have_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    """Every figure has every field, each Python peer is there with a value, and the file holds what was printed."""
    assert bench("--quick", "--only", "transition", "--json") == 0
    printed = capsys.readouterr().out
    assert Path("out/bench.json").read_text(encoding="utf-8") == printed
    figures = json.loads(printed)
    for figure in figures:
        assert set(figure) == {"name", "value", "unit", "peer", "peer_value", "ratio", "target", "met"}
        assert all(isinstance(figure[name], kind) for name, kind in FIELDS.items())
        assert (figure["ratio"] is None) == (figure["peer_value"] is None)
        assert figure["met"] in (True, False, None)
        assert figure["met"] is None or figure["target"]
    measured = {figure["peer"] for figure in figures if figure["peer_value"]}
    assert measured >= {"transitions", "python-statemachine", "Automat", "Sismic", "bare dict"}
    assert any(figure["peer"].startswith("XState") for figure in figures)


def test_only_takes_several_groups_and_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Groups may be combined, and without --json a table of one line for each figure is printed."""
    assert bench("--quick", "--only", "record", "--only", "calls", "--out", "figures.json") == 0
    lines = capsys.readouterr().out.splitlines()
    figures = json.loads(Path("figures.json").read_text(encoding="utf-8"))
    assert [figure["peer"] for figure in figures] == ["attrs.evolve alone", "the codec alone", "without tokens"]
    assert len(lines) == 1 + len(figures)
    assert all(line.startswith(figure["name"]) for line, figure in zip(lines[1:], figures, strict=True))


def test_an_unknown_group_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """`--only` names what there is when it is given something else."""
    with pytest.raises(SystemExit):
        bench("--only", "everything")
    assert "transition" in capsys.readouterr().err
