"""The Python in the documentation runs, and prints what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^(?P<mark><!-- [a-z ]+ -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: Path, language: str, mark: str) -> list[str]:
    """The code blocks of a page that are in a language and stand under a mark; "" for no mark."""
    found = _FENCE.finditer(page.read_text(encoding="utf-8"))
    return [each["text"] for each in found if (each["language"], (each["mark"] or "").strip()) == (language, mark)]


PAGES = [page for page in sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")]) if blocks(page, "python", "")]


def test_pages_are_found() -> None:
    """The README, the tutorial and the how-tos are among what is run."""
    assert {"README.md", "first-call.md", "embed.md", "errors.md", "testing.md"} <= {page.name for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    """The blocks of a page are one program; it ends well, warns of nothing, and prints the lines that the page shows.

    A block under `<!-- not run -->` is left out; text under `<!-- output -->` is what the program prints. Lines of two
    sides may be interleaved differently, so their order does not count.
    """
    program = tmp_path / "page.py"
    program.write_text("\n".join(blocks(page, "python", "")), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    shown = "".join(blocks(page, "text", "<!-- output -->"))
    if shown:
        assert sorted(done.stdout.splitlines()) == sorted(shown.splitlines())


def test_what_the_page_on_traces_shows(tmp_path: Path) -> None:
    """Its program makes every file that its commands name, and a replay says what the page says."""
    page = ROOT / "docs" / "howto" / "traces.md"
    (tmp_path / "page.py").write_text(blocks(page, "python", "")[0], encoding="utf-8")
    subprocess.run([sys.executable, "page.py"], check=True, timeout=60, cwd=tmp_path)
    shown = "".join(blocks(page, "console", ""))
    assert {path.name for path in tmp_path.glob("*.jsonl")} == set(re.findall(r"\w+\.jsonl", shown))
    replay = [sys.executable, "-P", "-m", "statecore.cli", "trace", "alice.jsonl", "--replay"]
    done = subprocess.run(replay, check=True, timeout=60, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] in shown.splitlines()


def test_readme_records_a_call(tmp_path: Path) -> None:
    """The call in the README is a real one: Bob's recording holds Alice's tone."""
    from statecore.testing.signals import dominant_hz

    (code,) = blocks(ROOT / "README.md", "python", "")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, timeout=60, cwd=tmp_path, env=environment
    )
    assert 435 < dominant_hz(*_sound(tmp_path / "bob.wav")) < 445


def _sound(path: Path) -> tuple[object, int]:
    """The samples of a WAV file of 16 bits, and how many there are a second."""
    import wave

    import numpy as np

    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        return samples.reshape(-1, file.getnchannels()), file.getframerate()
