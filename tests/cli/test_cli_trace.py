"""`statecore trace`: the timeline, the page, the replay, and what it says of files that are none."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from statecore import CallClient, CallService
from statecore.cli import main
from statecore.errors import UnknownUser
from statecore.testing import FakeMedia, VirtualClock, run_virtual


@pytest.fixture
def traces(tmp_path: Path) -> list[str]:
    """What Alice's and Bob's clients wrote down of one call."""
    files = [str(tmp_path / f"{name}.jsonl") for name in ("alice", "bob")]

    async def call() -> None:
        clock = VirtualClock()
        async with (
            CallService(clock=clock) as service,
            CallClient(service.signaling("alice"), FakeMedia(), clock=clock, trace=files[0]) as alice,
            CallClient(service.signaling("bob"), FakeMedia(), clock=clock, trace=files[1]) as bob,
        ):

            async def answer(call: Any) -> None:
                async with call.answer() as session:
                    await session.wait_ended()

            bob.on("incoming_call_received", answer)
            async with alice.call("bob", type="audio") as session:
                await session.mute_audio()
                await session.send_message("hello")

    run_virtual(call())
    return files


def test_the_timeline_tells_the_call(traces: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Each side's steps stand in the order in which they happened, with the states and what was done."""
    assert main(["trace", *traces]) == 0
    lines = capsys.readouterr().out.splitlines()
    for who, told in (
        ("alice", ("wants: initiate", "ringing -> accepted", "accepted -> active", "wants: mute_audio", "send leave")),
        ("bob", ("tell incoming_call_received", "accepted -> active", "tell message_received alice", "-> ended")),
    ):
        places = [next(n for n, line in enumerate(lines) if f" s  {who} " in line and what in line) for what in told]
        assert places == sorted(places)
    assert "\x1b" not in "".join(lines)


def test_json_for_programs(traces: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """--json gives devices, their paths, every step, and what the replay found."""
    assert main(["trace", *traces, "--json", "--replay"]) == 0
    data = json.loads(capsys.readouterr().out)
    paths = [path for device in data["devices"] for path in device["paths"].values()]
    assert [device["user"] for device in data["devices"]] == ["alice", "bob"]
    assert all(path[-3:] == ["accepted", "active", "ended"] for path in paths)
    assert data["differences"] == []
    assert {line["who"] for line in data["timeline"]} == {"alice", "bob"}


def test_one_session_only(traces: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """--session leaves out what concerns the device or another call, and an unknown one is refused with those known."""
    assert main(["trace", traces[0], "--json"]) == 0
    (session,) = json.loads(capsys.readouterr().out)["devices"][0]["paths"]
    assert main(["trace", traces[0], "--session", session]) == 0
    assert "link up" not in capsys.readouterr().out
    assert main(["trace", traces[0], "--session", "other"]) == 2
    assert session in capsys.readouterr().err


def test_the_page_needs_nothing_else(traces: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--html writes one page: the messages, each side's way lit on the drawing, the times; no link leads out."""
    page = tmp_path / "page.html"
    assert main(["trace", *traces, "--html", str(page)]) == 0
    text = page.read_text()
    assert str(page) in capsys.readouterr().out
    assert text.count("<svg") == 3
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert "<script" not in text
    for word in ("initiate", "offer", "ended (hangup)", "media open"):
        assert word in text


def test_a_replay_that_differs_fails(traces: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """--replay exits 1 and names the line where the core comes to something else."""
    file = Path(traces[0])
    file.write_text(file.read_text().replace('"active"]', '"held"]', 1))
    assert main(["trace", traces[0], "--replay"]) == 1
    told = capsys.readouterr().err
    assert "accepted -> held" in told
    assert "1 came out differently" in told
    assert main(["trace", traces[1], "--replay"]) == 0
    assert "the same transitions" in capsys.readouterr().out


def test_two_devices_of_a_user_are_told_apart(traces: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Traces of the same user carry the device's id in their names."""
    first = Path(traces[0])
    other = first.with_name("second.jsonl")
    other.write_text(first.read_text().replace('"device":"', '"device":"0ther-', 1))
    assert main(["trace", traces[0], str(other)]) == 0
    assert "alice 0ther-" in capsys.readouterr().out


def test_what_is_no_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is missing, or no trace, is one line on standard error and an exit code."""
    (tmp_path / "x").write_text("hello")
    assert main(["trace", str(tmp_path / "x")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["trace", str(tmp_path / "missing")]) == 1


def test_a_drawing_lights_what_was_recorded(traces: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """`statecore diagram --trace` lights the states a recorded device went through; a foreign session is refused."""
    assert main(["diagram", "ringing", "--format", "svg", "--trace", traces[1]]) == 0
    assert capsys.readouterr().out.count("lit") > 5
    assert main(["diagram", "ringing", "--trace", traces[1], "--session", "other"]) == 2


def test_a_call_that_was_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The refusal stands in the timeline and on a page of that session alone; one that never was lasted for no time."""
    file, page = str(tmp_path / "alice.jsonl"), tmp_path / "page.html"

    async def call() -> None:
        clock = VirtualClock()
        async with (
            CallService(clock=clock) as service,
            CallClient(service.signaling("alice"), clock=clock, trace=file) as alice,
        ):
            with pytest.raises(UnknownUser):
                await alice.initiate_call("nobody", session_id="S")
            assert await alice.generate_token("T")

    run_virtual(call())
    assert main(["trace", file, "--session", "S", "--html", str(page)]) == 0
    assert "is refused: unknown_user" in capsys.readouterr().out
    text = page.read_text()
    assert "refused: unknown_user" in text
    assert "Everything" not in text
    assert "<th>lasted</th>" in text
    assert main(["trace", file, "--session", "T", "--html", str(page)]) == 0
    assert "<th>lasted</th>" not in page.read_text()
