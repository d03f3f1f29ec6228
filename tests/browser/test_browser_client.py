"""The browser's client by itself, under Node: with a service, devices and a clock that do what a test wants of them."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path

import pytest

import statecore_web

PAGE = Path(statecore_web.__file__).parent / "page"
HERE = Path(__file__).parent


def _named(file: str) -> list[str]:
    """The tests that a file reports."""
    text = (HERE / file).read_text(encoding="utf-8")
    return text.rsplit("await report({", 1)[1].split("}", 1)[0].replace(",", " ").split()


@cache
def _wrong(node: str, file: str) -> dict[str, str]:
    """What was wrong with each test of a file."""
    done = subprocess.run([node, str(HERE / file), str(PAGE)], capture_output=True, check=True, timeout=60)
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", _named("capture.mjs"))
def test_what_is_captured_and_sent(node: str, name: str) -> None:
    """Nothing is sent from the moment in which a user closes it, whatever becomes of link and devices, and nobody is
    told to be on who sends nothing."""
    assert _wrong(node, "capture.mjs")[name] == ""


@pytest.mark.parametrize("name", _named("client.mjs"))
def test_what_a_client_tells_and_takes(node: str, name: str) -> None:
    """What is asked of a client is refused at once where it makes no sense, and settles whatever happens; what it tells
    is true."""
    assert _wrong(node, "client.mjs")[name] == ""
