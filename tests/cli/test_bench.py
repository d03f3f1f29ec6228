"""`statecore bench`: its figures are well-formed, and what is missing is said. No time is asserted."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from statecore.cli.bench import register
from statecore.cli.bench._harness import Effort

FIELDS = {"name", "value", "unit", "peer", "peer_value", "ratio", "target", "met"}

# Stand for Node and npm, which need a network to fetch XState: it is there once `npm install` has run.
NODE = """#!{python}
import pathlib, sys
found = pathlib.Path("node_modules/xstate").exists()
if sys.argv[1] == "-p":
    sys.exit(not found)
for line in sys.stdin:
    print(int(line) * 1e-5, flush=True)
"""
NPM = """#!{python}
import pathlib, sys
assert sys.argv[1] == "install" and "--no-save" in sys.argv, sys.argv
pathlib.Path("node_modules/xstate").mkdir(parents=True)
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # Values do not matter, so neither does whose garbage it is: the heap of a process full of tests is large.
    monkeypatch.setattr("statecore.cli.bench.QUICK", Effort(rounds=1, seconds=0.001, quick=True))
    monkeypatch.setattr("gc.collect", int)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def put(folder: Path, name: str, text: str) -> None:
    """A program in that folder."""
    program = folder / name
    program.write_text(text.format(python=sys.executable), encoding="utf-8")
    program.chmod(0o755)


def bench(*words: str) -> int:
    """Run the command as the command line does."""
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers())
    args = parser.parse_args(["bench", *words])
    code: int = args.run(args)
    return code


def figures(*words: str) -> list[dict[str, Any]]:
    """What a quick run writes, each figure checked for its form."""
    assert bench("--quick", *words) == 0
    written: list[dict[str, Any]] = json.loads(Path("out/bench.json").read_text(encoding="utf-8"))
    for figure in written:
        assert set(figure) == FIELDS
        assert all(isinstance(figure[name], str) for name in ("name", "unit", "peer", "target"))
        assert all(figure[name] is None or isinstance(figure[name], float) for name in ("value", "peer_value", "ratio"))
        assert (figure["ratio"] is None) == (figure["peer_value"] is None)
        assert figure["met"] in (True, False, None)
        assert figure["met"] is None or figure["target"]
    return written


def xstate(written: list[dict[str, Any]]) -> dict[str, Any]:
    """The figure beside XState."""
    (figure,) = (figure for figure in written if figure["peer"].startswith("XState"))
    return figure


def test_transition_stands_beside_every_peer(capsys: pytest.CaptureFixture[str]) -> None:
    """Each Python peer is there with a value, and with --json the same is printed as is written."""
    written = figures("--only", "transition", "--json")
    assert json.loads(capsys.readouterr().out) == written
    measured = {figure["peer"] for figure in written if figure["peer_value"]}
    assert measured >= {"transitions", "python-statemachine", "Automat", "Sismic", "bare dict"}
    assert {figure["value"] for figure in written} == {written[0]["value"]}


def test_the_other_groups_are_well_formed() -> None:
    """Every group of the pure core gives figures with a value and a peer's value, in the order asked for."""
    only = [word for name in ("record", "calls", "listeners", "memory") for word in ("--only", name)]
    written = figures(*only)
    assert all(figure["value"] and figure["peer_value"] for figure in written)
    assert [figure["unit"] for figure in written] == ["us", "calls/s", "us", "calls/s", *["us"] * 7, *["KiB"] * 2, "us"]


def test_importing_loads_nothing_heavy() -> None:
    """`import statecore` brings no loop, no socket and no adapter, nor does the core behind its lazy names."""
    *times, loaded = figures("--only", "import")
    assert [time["unit"] for time in times] == ["ms", "ms"]
    assert all(time["value"] and time["peer_value"] for time in times)
    assert loaded["value"] == 0
    assert loaded["met"] is True


@pytest.mark.usefixtures("programs")  # and so no Janus
def test_calls_go_through_a_service_on_the_network() -> None:
    """A real `statecore serve` and a bare echo are measured from another process, and nothing of them is left."""
    pytest.importorskip("statecore_web")
    pytest.importorskip("psutil")
    written = figures("--only", "network")
    assert all(figure["value"] and figure["value"] > 0 for figure in written)
    rate, messages, kept, _, *beside, one, other = written[:8]
    units = ["calls/s", "messages/s", *["calls/s"] * 3, "ms", "ms", "ms", "KiB", "ms", "ms"]
    assert [figure["unit"] for figure in written] == units
    assert [(figure["peer"], figure["ratio"]) for figure in beside] == [("Janus (not installed)", None)] * 2
    assert rate["target"] == ">= 1,000/s"
    assert messages["peer_value"] > messages["value"]
    assert (kept["peer"], kept["peer_value"], kept["target"]) == ("in memory", rate["value"], ">= 0.5x")
    assert one["peer_value"]
    assert other["peer_value"]


def test_a_server_that_does_not_begin_is_an_error() -> None:
    """A process that ends instead of listening is reported, not waited for."""
    processes = pytest.importorskip("statecore.cli.bench._processes")
    with pytest.raises(ChildProcessError, match="ended before it listened"):
        processes.Server("-c", "")


def test_connecting_stands_beside_bare_aiortc() -> None:
    """Real calls become active, and the difference from bare aiortc has an interval."""
    pytest.importorskip("statecore_aiortc")
    both, *differences = figures("--only", "connecting")
    if "does not connect" in both["peer"]:
        pytest.skip("bare aiortc needs an interface besides loopback")
    (difference,) = differences
    assert both["value"]
    assert "95 % within" in difference["name"]


def test_where_bare_aiortc_cannot_connect_ours_is_measured_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a host with no interface but loopback the calls still connect, and the missing peer is named."""
    ice = pytest.importorskip("aioice.ice")
    monkeypatch.setattr(ice, "get_host_addresses", lambda **_: [])
    (both,) = figures("--only", "connecting")
    assert both["value"]
    assert "does not connect" in both["peer"]


@pytest.mark.parametrize("arguments", [(), ("--xstate",)])
def test_without_node_xstate_is_named_as_missing(programs: Path, arguments: tuple[str, ...]) -> None:
    """A machine without Node has a figure that says so, and has no value for XState."""
    assert not list(programs.iterdir())
    figure = xstate(figures("--only", "transition", *arguments))
    assert figure["peer"] == "XState (no node)"
    assert figure["peer_value"] is None


def test_xstate_is_installed_only_when_asked_for(programs: Path) -> None:
    """Without the package the figure says what would install it; `--xstate` does, into out/bench, and measures."""
    put(programs, "node", NODE)
    assert "--xstate" in xstate(figures("--only", "transition", "--xstate"))["peer"]  # there is no npm
    put(programs, "npm", NPM)
    assert "--xstate" in xstate(figures("--only", "transition"))["peer"]
    measured = xstate(figures("--only", "transition", "--xstate"))
    assert measured["peer"] == "XState"
    assert measured["peer_value"] == pytest.approx(5.0)  # ten microseconds a pair, says the stand-in
    assert Path("out/bench/node_modules/xstate").is_dir()


def test_a_peer_that_ends_early_is_an_error(programs: Path) -> None:
    """A process that dies instead of answering is reported, not waited for."""
    put(programs, "node", NODE.replace("for line in sys.stdin:", "for line in []:"))
    Path("out/bench/node_modules/xstate").mkdir(parents=True)
    with pytest.raises(ChildProcessError, match="ended before it answered"):
        bench("--quick", "--only", "transition")


def test_peers_that_are_not_installed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra `bench` the others are measured, and the missing one says what mends it."""
    monkeypatch.setitem(sys.modules, "automat", None)
    written = figures("--only", "transition")
    (automat,) = (figure for figure in written if figure["peer"].startswith("Automat"))
    assert "statecore[bench]" in automat["peer"]
    assert automat["peer_value"] is None


def test_a_group_whose_library_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library that signs tokens the calls are not measured, and the rest is."""
    monkeypatch.setitem(sys.modules, "joserfc", None)
    calls, record = figures("--only", "calls", "--only", "record")
    assert calls["value"] is None
    assert "joserfc" in calls["peer"]
    assert record["value"]


def test_the_table_has_a_line_for_each_figure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Off a terminal the table is plain; on one it is drawn, unless the library that draws is missing."""
    (figure,) = figures("--only", "record")
    plain = capsys.readouterr().out
    assert len(plain.splitlines()) == 2
    assert plain.splitlines()[1].startswith(figure["name"])
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    figures("--only", "record")
    assert "┃" in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "rich.console", None)
    figures("--only", "record")
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_page_gets_the_figures_between_its_marks() -> None:
    """`--page` replaces what stands between the marks and nothing else, as often as it is asked to."""
    page = Path("page.md")
    page.write_text("# Before\n\n<!-- figures -->\nold\n<!-- /figures -->\n\nAfter\n", encoding="utf-8")
    for _ in range(2):
        figures("--only", "record", "--page", str(page))
        text = page.read_text(encoding="utf-8")
        assert text.startswith("# Before\n\n<!-- figures -->\n")
        assert text.endswith("<!-- /figures -->\n\nAfter\n")
        assert text.count("attrs.evolve alone") == 1
        assert "old" not in text


def test_a_page_without_marks_is_refused() -> None:
    """A page that has no place for figures is left as it is."""
    page = Path("page.md")
    page.write_text("# Nothing\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"page\.md has no <!-- figures -->"):
        bench("--quick", "--only", "record", "--page", str(page))
    assert page.read_text(encoding="utf-8") == "# Nothing\n"


def test_an_unknown_group_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """`--only` names what there is when it is given something else."""
    with pytest.raises(SystemExit):
        bench("--only", "everything")
    assert "transition" in capsys.readouterr().err
