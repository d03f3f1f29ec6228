"""What a session of the browser's client captures and sends: by itself under Node, with devices that can fail."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

import statecore_web

PAGE = Path(statecore_web.__file__).parent / "page"
TESTS = Path(__file__).with_name("capture.mjs")
NAMES = TESTS.read_text(encoding="utf-8").rsplit("await report({", 1)[1].split("}", 1)[0].replace(",", " ").split()


@pytest.fixture(scope="module")
def wrong() -> dict[str, str]:
    """What was wrong with each, under Node."""
    node = shutil.which("node")
    if node is None:
        assert os.environ.get("CI") != "true", "Node is missing"
        pytest.skip("Node is missing: apt-get install nodejs")
    program = [node, str(TESTS), str(PAGE)]
    found: dict[str, str] = json.loads(subprocess.run(program, capture_output=True, check=True, timeout=60).stdout)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_what_is_captured_and_sent(wrong: dict[str, str], name: str) -> None:
    """Nothing is sent from the moment in which a user closes it, whatever becomes of link and devices, and nobody is
    told to be on who sends nothing."""
    assert wrong[name] == ""
