"""The commands: `python -m statecore.testing.sim` and `python -m statecore.testing.races`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from statecore.flow import FLOWS, Flow
from statecore.testing import races
from statecore.testing.races.__main__ import main as walk
from statecore.testing.sim import Core, Violation, simulate
from statecore.testing.sim.__main__ import PARTS, main
from statecore.testing.sim.shells import simulate_shells
from statecore.testing.sim.shrinking import load
from statecore.testing.sim.soaking import run_core, run_script, run_shells, soak


def _without_effort(result: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if "cpu" not in name}


def test_a_soak_writes_what_it_met(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both parts are run, printed and written alike, with the shares that say whether it was hard enough."""
    out = tmp_path / "out" / "soak.json"
    assert main(["--seeds", "3", "--jobs", "1", "--out", str(out), "--keep", str(tmp_path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(out.read_text(encoding="utf-8"))
    assert [part["kind"] for part in printed] == ["core", "shells"]
    assert all(part.keys() >= {"core", "measured"} for part in printed)
    assert all(part["faults_per_call"] >= 1 and part["share_met"] >= 0.1 and not part["violations"] for part in printed)


def test_a_soak_ends_when_there_are_enough_calls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without seeds it goes on from the first until it has as many calls as were asked for."""
    arguments = ["--part", "core", "--first", "9", "--core-calls", "200", "--jobs", "1"]
    assert main([*arguments, "--out", str(tmp_path / "soak.json"), "--keep", str(tmp_path)]) == 0
    (part,) = json.loads((tmp_path / "soak.json").read_text(encoding="utf-8"))
    assert (part["first_seed"], part["last_seed"]) == (9, 10)
    assert part["calls"] >= 200
    assert "core: seed 10" in capsys.readouterr().out


def test_it_makes_no_difference_how_many_processes_there_are() -> None:
    """Two processes come to the very same counts as one."""
    run = partial(run_core, calls=20)
    one, two = (soak("core", range(4), run, jobs=jobs) for jobs in (1, 2))
    assert _without_effort(one) == _without_effort(two)


def test_what_a_soak_finds_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], broken: Callable[..., Flow]
) -> None:
    """A violation makes the soak fail, and its script stands in the folder, made smaller."""
    core = Core.of({**FLOWS, "ringing": broken("cancel", "ringing")})
    monkeypatch.setattr("statecore.testing.sim.soaking.simulate", partial(simulate, core=core))
    arguments = ["--part", "core", "--seeds", "1:2", "--jobs", "1", "--out", str(tmp_path / "soak.json")]
    assert main([*arguments, "--keep", str(tmp_path)]) == 1
    script = load(tmp_path / "core-1.json")
    assert script.found
    assert len(script.items) < 20
    assert "1 violations" in capsys.readouterr().out


@pytest.mark.no_cover
def test_what_core_and_shells_find_by_one_seed_is_kept_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: Callable[..., Flow]
) -> None:
    """Neither script takes the other's place, and each is run again on what it was found in."""
    flows = {**FLOWS, "ringing": broken("end", "active")}
    with monkeypatch.context() as planted:
        planted.setattr("statecore.testing.sim.soaking.simulate", partial(simulate, core=Core.of(flows)))
        planted.setattr("statecore.testing.sim.shells.simulate_shells", partial(simulate_shells, flows=flows))
        kept = [Path(run(1, calls=8, folder=tmp_path)["violations"][0]["kept"]) for run in (run_core, run_shells)]
        for path in kept:
            with pytest.raises(Violation, match=re.escape(load(path).found[:20])):
                run_script(load(path))
    assert [path.name for path in kept] == ["core-1.json", "shells-1.json"]
    assert [load(path).kind for path in kept] == ["core", "shells"]
    assert load(kept[1]).found.startswith("shells, seed 1: ")
    for path in kept:
        run_script(load(path))


def test_what_is_found_need_not_be_kept(monkeypatch: pytest.MonkeyPatch, broken: Callable[..., Flow]) -> None:
    """Without a folder the report says what was found, and that it stands nowhere."""
    core = Core.of({**FLOWS, "ringing": broken("cancel", "ringing")})
    monkeypatch.setattr("statecore.testing.sim.soaking.simulate", partial(simulate, core=core))
    (found,) = run_core(1)["violations"]
    assert (found["seed"], found["kept"]) == (1, None)
    assert found["what"].startswith("seed 1, at ")


def test_a_soak_tells_now_and_then_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not oftener than every five seconds, and where progress does not mix with the result."""
    seconds = iter((0.0, 4.0, 6.0, 6.0, 10.0))
    monkeypatch.setitem(PARTS, "core", partial(run_core, calls=5))
    monkeypatch.setattr("statecore.testing.sim.__main__.time", SimpleNamespace(monotonic=lambda: next(seconds)))
    arguments = ["--part", "core", "--seeds", "5:8", "--jobs", "1", "--out", str(tmp_path / "soak.json")]
    assert main([*arguments, "--keep", str(tmp_path)]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("core: seed 6, ")


@pytest.mark.parametrize(
    ("module", "words"),
    [("sim", ["--part", "core", "--seeds", "5:5", "--out", "soak.json"]), ("races", ["no ring is shown"])],
)
def test_each_is_a_program(module: str, words: list[str], tmp_path: Path) -> None:
    """Run as `python -m`, each ends with the code that says that nothing was found."""
    command = [sys.executable, "-P", "-m", f"statecore.testing.{module}", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, bool(done.stdout)) == (0, True), done.stderr


def test_races_are_walked_without_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The counts are printed, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    assert walk(["both end at once", "--limit", "10"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_the_races_can_be_walked_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A part of a name chooses; the counts are printed and written."""
    assert walk(["both end at once", "--limit", "300", "--out", str(tmp_path / "counts.json")]) == 0
    written = json.loads((tmp_path / "counts.json").read_text(encoding="utf-8"))
    assert {*written} == {"core", "measured", "races"}
    counts = written["races"]
    assert list(counts) == ["both end at once"]
    assert counts["both end at once"]["interleavings"] > 50
    assert "both end at once: " in capsys.readouterr().out
    with pytest.raises(KeyError):
        races.named("nothing of the kind")
