"""`statecore check`: the command around the model checker."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import statecore.testing
from statecore.cli import main
from statecore.testing import check

ELSEWHERE = """import multiprocessing

if multiprocessing.parent_process() is not None:
    raise RuntimeError("not in a worker")
from statecore import RINGING as MINE
"""


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
        "core", "measured",
    }  # fmt: skip
    assert (told["scenario"], told["violations"], told["never_taken"]) == ("full", [], {})
    assert 0 < told["rows_taken"] < told["rows_total"]
    assert len(told["rows"]["session"]) == told["rows_taken"]
    assert "accepted up joined -> active" in told["rows"]["session"]


def test_rows_that_no_scenario_took_have_failed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever checks everything is told each row that was never taken, with its conditions; in a terminal, also how far
    it is, in a line that goes away."""
    monkeypatch.setattr(check, "SCENARIOS", {"full": check.SCENARIOS["full"]})
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["check"]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("\r\x1b[Kholds  full")
    assert err.endswith("\r\x1b[K")
    assert " s  " in err
    never = [line for line in out.splitlines() if line.startswith("never taken: ")]
    assert "never taken: session: idle leave -> ended" in never
    assert "never taken: session: active end_for_all !granted -> token_lacks_grant" in never
    assert not [line for line in never if line.startswith("never taken: session: idle join authorized")]


def test_figures_tell_which_rows_were_not_taken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As JSON, too, they are named: in the figures of each scenario of their flow, and beside them; so is what was
    taken though it is named as unreached."""
    monkeypatch.setattr(check, "SCENARIOS", {"full": check.SCENARIOS["full"]})
    key = ("session", "accepted", "up", "active")
    monkeypatch.setattr(check, "UNREACHED", check.UNREACHED | {key: "no longer"})
    assert main(["check", "--json"]) == 1
    out, err = capsys.readouterr()
    (told,) = json.loads(out)
    assert "idle leave -> ended" in told["never_taken"]["session"]
    assert not {*told["never_taken"]["session"]} & {*told["rows"]["session"]}
    assert "never taken: session: idle leave -> ended\n" in err
    assert "taken, though named as unreached: session, accepted, up, active\n" in err


OFFERS = """from statecore.flow import RINGING, Row, Trigger
from statecore.testing.check import Scenario, does

ROW = Row("active", "nod", "active", unless="joined")
MINE = RINGING.extend("mine", triggers=[Trigger("nod", "user")], rows=[ROW])
PLANS = (does("a1", "initiate", flow="mine", receiver="bob"), does("a1", "cancel", "idle", "ringing"))


def none(_service):
    raise AssertionError("there is a call")


SCENARIOS = (
    Scenario(name="another's", help="", devices={"a1": "alice"}, plans=()),
    Scenario(
        name="offered", help="", devices={"a1": "alice", "b1": "bob"}, plans=PLANS, always=none, flows={"mine": MINE}
    ),
)
UNREACHED = {("mine", "active", "nod", "active"): "who is active has joined"}
"""


@pytest.mark.parametrize("known", [True, False])
def test_what_a_module_offers_beside_its_flow_is_taken_along(
    known: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its own scenarios of this flow are explored with those that are made of it, and what they find is replayed from
    there; rows that are its own and that it does not explain are named as never taken, those of ours are not."""
    source = OFFERS if known else OFFERS.replace("UNREACHED", "IGNORED")
    (tmp_path / "mine.py").write_text(source)
    assert main(["check", f"{tmp_path}/mine.py:MINE", "--limit", "100"]) == 1
    out = capsys.readouterr().out
    assert "WRONG  offered " in out
    assert "another's" not in out
    assert f"runpy.run_path('{tmp_path}/mine.py')['SCENARIOS'][1]," in out
    never = [line for line in out.splitlines() if line.startswith("never taken: ")]
    assert never == ([] if known else ["never taken: mine: active nod !joined -> active"])


def test_what_was_not_exhausted_has_failed(capsys: pytest.CaptureFixture[str]) -> None:
    """A limit that is reached: exit 1, and said so."""
    assert main(["check", "full", "--limit", "50", "--json"]) == 1
    (told,) = json.loads(capsys.readouterr().out)
    assert "not exhausted" in told["violations"][0]["why"]


def test_a_scenario_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, and which there are."""
    assert main(["check", "nothing"]) == 2
    assert "glare" in capsys.readouterr().err


def test_a_worker_that_fails_takes_the_others_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its error is told in a line, at once, and nothing that would have taken minutes runs on."""
    (tmp_path / "mine.py").write_text(ELSEWHERE)
    assert main(["check", "reconnect", f"{tmp_path}/mine.py:MINE", "--jobs", "2", "--json"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), "RuntimeError: not in a worker" in err) == ("", 1, True)
    assert not multiprocessing.active_children()


def test_who_ends_it_ends_its_workers() -> None:
    """SIGTERM to the command alone: it exits as one that was terminated, and no worker goes on with its minutes, as the
    end of what all of them write to shows."""
    words = [sys.executable, "-P", "-m", "statecore.cli", "check", "full", "cuts", "--jobs", "2"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("holds  full")
            process.send_signal(signal.SIGTERM)
            assert process.communicate(timeout=60)[0] == ""
            assert process.returncode == 128 + signal.SIGTERM
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_without_numpy_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, with the command that mends it."""
    monkeypatch.delattr(statecore.testing, "check")
    monkeypatch.setitem(sys.modules, "statecore.testing.check", None)
    assert main(["check", "--list"]) == 2
    assert "pip install 'statecore[testing]'" in capsys.readouterr().err
