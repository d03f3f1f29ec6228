"""The command's manners: help, version, errors in one line, exit codes, and drawings."""

from __future__ import annotations

import json
import os
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


@pytest.mark.parametrize(
    "name",
    [
        "nothing", "", ":", "x:", ":X", ".x:X", "exits.py:X", "breaks.py:X", "breaks.py:", "is/none.py:X",
        "statecore.flow:Flow", "no.such.module:X", "missing.py:X",
    ],
)  # fmt: skip
def test_a_flow_that_is_none_is_one_line_of_error(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2, and the name in the line: also of a file that breaks, or ends the program, as it is loaded."""
    monkeypatch.chdir(tmp_path)
    Path("exits.py").write_text("raise SystemExit")
    Path("breaks.py").write_text("def (")
    assert main(["diagram", name]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert name in error


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["diagram", "--session", "x"], "--session does nothing without --trace"),
        (["diagram", "--trace", ""], "--trace: it is empty"),
        (["diagram", "-o", ""], "-o/--output: it is empty"),
        (["diagram", "-o", "folder"], "Is a directory"),
        (["diagram", "--highlight", "asleep"], "no state 'asleep'"),
        (["trace", ""], "FILE: it is empty"),
        (["trace", "folder"], "Is a directory"),
        (["trace", "file"], "no trace"),
        (["check", "nothing"], "no scenario 'nothing'"),
        *((["check", "--limit", limit], f"--limit: '{limit}' is no whole number") for limit in ("0", "-1", "nan", "")),
        *((["check", "--jobs", jobs], f"--jobs: '{jobs}' is no whole number") for jobs in ("0", "-5", "many", "1e9")),
        (["check", "--out", "folder"], "--out 'folder' cannot be opened"),
        (["check", "--out", "/proc/x/y.json"], "--out: nothing can be written to '/proc/x'"),
        (["check", "breaks.py:X"], "cannot be loaded"),
        (["bench", "--out", "file/x.json"], "--out: nothing can be written to 'file'"),
        (["bench", "--page", "file"], "--page file has no"),
        (["bench", "--page", "binary"], "--page binary has no"),
        (["bench", "--page", "folder"], "--page 'folder' cannot be opened"),
        (["demo", "--play", ""], "--play: it is empty"),
        (["demo", "--play", "folder"], "no such file"),
        (["demo", "--play", "binary"], "no sound can be read"),
        (["demo", "--out", "file"], "--out: nothing can be written to 'file'"),
        *((["demo", "--web", "--port", port], f"--port: '{port}' is no whole number") for port in ("-1", "65536", "x")),
    ],
)
def test_what_is_asked_wrongly_of_this_machine_is_told_in_a_line(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback, an exit code that is not 0, and at once: before anything is measured, explored or called."""
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("file").touch()
    Path("binary").write_bytes(b"\xff\x00" * 100)
    Path("breaks.py").write_text("1 / 0")
    try:
        code = main(words)
    except SystemExit as stopped:  # by the parser
        code = int(stopped.code or 0)
    assert code in (1, 2)
    out, err = capsys.readouterr()
    assert told in err
    assert (out, err.count("\n")) == ("", 1)


def test_the_scenarios_are_an_object_each(capsys: pytest.CaptureFixture[str]) -> None:
    """`check --list --json` tells programs what it tells people."""
    assert main(["check", "--list", "--json"]) == 0
    (first, *_) = json.loads(capsys.readouterr().out)
    assert (first["name"], first["deep"]) == ("ringing", False)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_nobody_takes_is_let_go(unbuffered: str) -> None:
    """Whoever reads a part of it, as `head` does, hears nothing of it; a disk that is full is one line. Nothing is
    complained of once more as the process ends."""
    command, env = [sys.executable, "-P", "-m", "statecore.cli", "diagram", "--json"], {"PYTHONUNBUFFERED": unbuffered}
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as gone, open("/dev/full", "wb") as full:
        for where, told in ((gone, (141, "")), (full, (1, "statecore: [Errno 28] No space left on device\n"))):
            done = subprocess.run(
                command, env={**os.environ, **env}, stdout=where, stderr=subprocess.PIPE, text=True, timeout=60,
                check=False,
            )  # fmt: skip
            assert (done.returncode, done.stderr) == told


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
