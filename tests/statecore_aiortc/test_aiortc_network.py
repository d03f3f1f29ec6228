"""Calls in a network of their own: a host whose only interface is loopback, one that goes down, one that changes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("alone_on_loopback.py")


def _unshare(*command: str) -> list[str]:
    return ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]


def _can_unshare() -> bool:
    if not (shutil.which("unshare") and shutil.which("ip")):
        return False
    return subprocess.run(_unshare("true"), capture_output=True, check=False).returncode == 0


needs_namespace = pytest.mark.skipif(not _can_unshare(), reason="needs the right to make a network namespace")


def call(mode: str) -> Any:
    """Run a call in a process of its own, in a network of its own; what it reports."""
    done = subprocess.run(
        _unshare(sys.executable, "-W", "error", str(SCRIPT), mode),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_namespace
def test_only_loopback() -> None:
    """On a host whose only interface is loopback two connect by 127.0.0.1 and hear each other."""
    assert call("call") == {"addresses": ["127.0.0.1"], "heard": True, "losses": []}


@needs_namespace
@pytest.mark.parametrize("how", ["short", "long"])
def test_network_goes_down(how: str) -> None:
    """A network that goes down is reported as a loss within seconds; when it is back, media goes on: over the same
    connection after a short time, over a new one after a long time."""
    report = call(how)
    assert report["lost_after"] < 4
    assert report["heard"]
    assert report["losses"] == ["bob-2"]


@needs_namespace
def test_network_changes() -> None:
    """A host that has another address all at once is reported as a loss within seconds; media goes on over a new
    connection, by the new address."""
    report = call("change")
    assert report["addresses"] == ["10.9.9.1", "10.9.9.2"]
    assert report["lost_after"] < 4
    assert report["heard"]
    assert report["losses"] == ["bob-2"]
