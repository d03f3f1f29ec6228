"""The page about what is proved says of which core its figures are, and hides nothing of them."""

from __future__ import annotations

import importlib.util
import json
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from statecore.testing import _core
from statecore.testing.check import STANDARD
from statecore.testing.races.__main__ import main as races

ROOT = Path(__file__).parents[2]
TOOL: dict[str, Any] = {
    "seed": 1, "of": 9000, "core": "0123456789ab", "measured": "2026-01-02", "words": 10, "tried": 200, "killed": 190,
    "at_first": 188, "interval": [0.8988, 0.9654], "undecided": 3, "unexplained": 0, "controls": 8, "alarms": 0,
    "equivalent": {"both are of one length": 7},
    "survivors": [{"name": "flow.py: line 1: a  ->  b", "why": "both are of one length"}],
}  # fmt: skip


@pytest.fixture
def proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The maker of the page, which keeps its figures elsewhere."""
    spec = importlib.util.spec_from_file_location("docs_proof", ROOT / "docs" / "_proof.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    figures = tmp_path / "proof.json"
    figures.write_text(module.FIGURES.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(module, "FIGURES", figures)
    return module


def page(proof: ModuleType) -> str:
    """The page, without its tables."""
    text: str = proof.proof_page("", lambda _heads, _rows: [])
    return " ".join(text.split())


def test_how_far_the_tools_mutants_were_tried_is_told(proof: ModuleType, tmp_path: Path) -> None:
    """How many of how many, what the tests noticed, between which shares that is of all, and each reason."""
    (tmp_path / "mutants-tool.json").write_text(json.dumps(TOOL), encoding="utf-8")
    proof.keep(tmp_path)
    text = page(proof)
    assert "9,000 changes that a mutation tool makes to the same sources, 200 were tried, drawn by seed 1." in text
    assert (
        "The tests notice 190 of them, 95.0%. Before there were tests for those drawn, they noticed 188, which is"
        in text
    )
    assert "between 89.9% and 96.5% of all, with 95 % confidence." in text
    assert "Measured on 2026-01-02, core `0123456789ab`." in text
    assert "- 3 outlived the quick tests, and have not met the longer ones yet; - 7: both are of one length." in text
    assert "survivors" not in json.loads(proof.FIGURES.read_text(encoding="utf-8"))["mutants-tool"]


def test_nothing_is_said_of_tests_that_nobody_wrote(proof: ModuleType, tmp_path: Path) -> None:
    """Where the tests noticed as many when the sample was drawn, it is told once, with what that says of all."""
    (tmp_path / "mutants-tool.json").write_text(json.dumps(TOOL | {"at_first": 190}), encoding="utf-8")
    proof.keep(tmp_path)
    assert "of them, 95.0%. That is between 89.9% and 96.5% of all, with 95 % confidence. Unchanged code" in page(proof)


WHEN: dict[str, Any] = {"core": "0123456789ab", "measured": "2026-01-02"}


def test_every_figure_is_of_a_run(proof: ModuleType, tmp_path: Path) -> None:
    """Kills, lies, planted mistakes and fuzzing are told as they were measured, each with its day and its core."""
    runs: dict[str, Any] = {
        "killed": {"kills": 7, "calls": 1234, "seeds": "1 to 4", **WHEN},
        "lied": {"messages": 4321, "kinds": 3, "calls": 99, **WHEN},
        "planted": [{"scenario": "ringing", "steps": 12, **WHEN}],
        "fuzz": [{"target": "wire_up", "runs": 5678, **WHEN}, {"target": "ice", "runs": 9, **WHEN}],
    }
    for name, told in runs.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(told), encoding="utf-8")
    proof.keep(tmp_path)
    text = page(proof)
    measured = "Measured on 2026-01-02, core `0123456789ab`."
    assert "7 times with -9 among 1,234 calls" in text
    assert "4,321 messages that may not be said, of 3 kinds" in text
    assert "none of the 99 calls" in text
    assert f"the last time: `ice` 9, `wire_up` 5,678. {measured}" in text
    assert text.count(measured) >= len(runs)
    rows = proof.proof_page("", lambda _, rows: ["|".join(row) for row in rows])
    assert next(row for row in rows.splitlines() if row.startswith("`ringing`")).endswith("|12")


def test_a_run_of_some_leaves_the_figures_of_the_others(proof: ModuleType, tmp_path: Path) -> None:
    """As long as they are of the same core; and the order is that in which scenarios are listed."""
    before = json.loads(proof.FIGURES.read_text(encoding="utf-8"))["check"]
    same = before[0]["core"]
    for core, names in ((same, [each["scenario"] for each in before]), ("0123456789ab", ["cuts"])):
        again = [{**each, "core": core, "states": 5, "megabytes": 70} for each in before if each["scenario"] == "cuts"]
        (tmp_path / "check.json").write_text(json.dumps(again), encoding="utf-8")
        proof.keep(tmp_path)
        after = json.loads(proof.FIGURES.read_text(encoding="utf-8"))["check"]
        assert [each["scenario"] for each in after] == names
        assert next(each for each in after if each["scenario"] == "cuts")["states"] == 5
        assert ("for the largest scenario, which takes 70 MB" in page(proof)) is (core != same)


def test_every_standard_scenario_has_been_checked(proof: ModuleType) -> None:
    """The figures on the page are of the scenarios there are."""
    checked = [each["scenario"] for each in json.loads(proof.FIGURES.read_text(encoding="utf-8"))["check"]]
    assert checked == [scenario.name for scenario in STANDARD]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [("unexplained", "1 mutants of the tool survive without a reason"), ("alarms", "1 tests failed on unchanged code")],
)
def test_figures_that_prove_nothing_are_no_page(proof: ModuleType, tmp_path: Path, wrong: str, told: str) -> None:
    """A survivor without a reason, or a test that fails on unchanged code, is to be mended first."""
    (tmp_path / "mutants-tool.json").write_text(json.dumps(TOOL | {wrong: 1}), encoding="utf-8")
    proof.keep(tmp_path)
    with pytest.raises(SystemExit, match=told):
        page(proof)


def test_figures_of_an_unknown_core_are_not_told_as_this_ones(proof: ModuleType) -> None:
    """What no core was noted for is of an earlier one; what was measured says when, and on which."""
    assert proof.when({"core": "", "measured": ""}) == "measured on an earlier core"
    assert proof.when({"core": "", "measured": "2026-01-02"}) == "measured on 2026-01-02 on an earlier core"
    assert proof.when(TOOL) == "measured on 2026-01-02, core `0123456789ab`"


def test_what_is_measured_names_its_core(tmp_path: Path) -> None:
    """The digest of the core's sources and the day stand beside what the races count."""
    assert races(["cancel is never busy", "--limit", "50", "--out", str(tmp_path / "races.json")]) == 0
    told = json.loads((tmp_path / "races.json").read_text(encoding="utf-8"))
    assert told["core"] == _core.digest()
    assert date.fromisoformat(told["measured"])
    assert len(told["races"]) == 1


def test_the_digest_is_of_what_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It changes with a module of the core, its text or its name, and with nothing else."""
    for name in ("flow.py", "switchboard/_work.py", "aio/client.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1", encoding="utf-8")
    monkeypatch.setattr(_core, "PACKAGE", tmp_path)
    told = [_core.digest()]
    (tmp_path / "aio" / "client.py").write_text("2", encoding="utf-8")
    told.append(_core.digest())
    (tmp_path / "switchboard" / "_work.py").write_text("2", encoding="utf-8")
    told.append(_core.digest())
    (tmp_path / "flow.py").rename(tmp_path / "model.py")
    told.append(_core.digest())
    assert told[0] == told[1]
    assert len(set(told)) == 3
