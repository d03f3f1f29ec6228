"""The command's manners: help, version, errors in one line, exit codes, and drawings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import statecore
from statecore.cli import main
from statecore.diagram import mermaid, svg
from statecore.flow import RINGING, SESSION


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` tells the package's."""
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.split() == ["statecore", statecore.__version__]


def test_as_a_module() -> None:
    """`python -m statecore.cli` is the same command, and its exit code is the process's."""
    command = [sys.executable, "-P", "-m", "statecore.cli", "diagram", "nothing"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "nothing" in done.stderr


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["diagram", "--format", "png"]])
def test_wrong_use_is_exit_code_2(arguments: list[str]) -> None:
    """What the parser refuses ends with its usual code."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2


def test_diagram_draws_our_flows(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """To standard output or to a file, in any of the forms."""
    assert main(["diagram", "session"]) == 0
    assert capsys.readouterr().out == mermaid(SESSION, guards=False)
    path = tmp_path / "flow.svg"
    assert main(["diagram", "--format", "svg", "--highlight", "idle,ringing", "-o", str(path)]) == 0
    assert path.read_text() == svg(RINGING, guards=False, highlight=("idle", "ringing"))
    assert main(["diagram", "session", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(SESSION.export()))
    assert main(["diagram", "--format", "dot", "--effects", "--guards"]) == 0
    assert capsys.readouterr().out.startswith("digraph")


def test_diagram_draws_a_flow_of_ones_own(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """By module and name, or by file and name."""
    assert main(["diagram", "statecore.flow:SESSION"]) == 0
    assert "accepted" in capsys.readouterr().out
    path = tmp_path / "mine.py"
    path.write_text("from statecore.flow import RINGING\nMINE = RINGING.extend('mine')\n")
    assert main(["diagram", f"{path}:MINE"]) == 0
    assert "ringing" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["nothing", "statecore.flow:Flow", "no.such.module:X", "missing.py:X"])
def test_a_flow_that_is_none_is_one_line_of_error(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and the name in the line."""
    assert main(["diagram", name]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert name in error


def test_interrupting_is_clean(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C gives one line and 130."""

    def interrupted(*_: object, **__: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("statecore.cli._diagram.find", interrupted)
    assert main(["diagram"]) == 130
    assert capsys.readouterr().err == "statecore: interrupted\n"


def test_a_failure_of_the_machine_is_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that cannot be written is not the user's usage."""
    assert main(["diagram", "-o", str(tmp_path / "no" / "such" / "folder.svg")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
