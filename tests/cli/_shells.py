"""Commands that are run in processes of their own, as from a shell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
import wave
from pathlib import Path
from typing import Any

import numpy as np

STATECORE = [sys.executable, "-P", "-m", "statecore.cli"]


class Shell:
    """What one would type after another, against one service."""

    def __init__(self, url: str, key: str) -> None:
        self.env = {**os.environ, "STATECORE_URL": url, "STATECORE_API_KEY": key}

    def __call__(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        done = subprocess.run(
            [*STATECORE, *words], env={**self.env, **env}, capture_output=True, text=True, timeout=60, check=False
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command."""
        return subprocess.Popen(
            [*STATECORE, *words], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )


def started(*words: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    """A service that listens, and what it told."""
    process = subprocess.Popen(
        [*STATECORE, "serve", "--port", "0", "--store", "memory", "--json", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    return process, json.loads(line)


def rest(shell: Shell, method: str, path: str) -> Any:
    """What a back end asks."""
    headers = {"Authorization": f"Bearer {shell.env['STATECORE_API_KEY']}"}
    request = urllib.request.Request(shell.env["STATECORE_URL"] + path, headers=headers, method=method)  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - the address is our own
        return json.loads(answer.read() or "null")


def wait_for(shell: Shell, uid: str) -> None:
    """Until somebody is there."""
    end = time.monotonic() + 30
    while not any(user["uid"] == uid and user["online"] for user in rest(shell, "GET", "/v1/users")):
        assert time.monotonic() < end
        time.sleep(0.05)


def wait_active(shell: Shell, uid: str, since: str = "active_at") -> None:
    """Until somebody has a call, and it is active."""
    end = time.monotonic() + 30
    while not any(call[since] for call in rest(shell, "GET", f"/v1/calls?live=true&user={uid}")["calls"]):
        assert time.monotonic() < end
        time.sleep(0.05)


def tune(path: Path, hertz: float) -> Path:
    """Ten seconds of a tone in a WAV file: no picture."""
    sound = (8_000 * np.sin(2 * np.pi * hertz * np.arange(480_000) / 48_000)).astype(np.int16)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 48_000, 0, "NONE", ""))
        file.writeframes(sound.tobytes())
    return path


def loudest(path: Path) -> float:
    """The loudest tone in the last second of a recording."""
    with wave.open(str(path)) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, file.getnchannels())[:, 0]
        rate = file.getframerate()
    return float(np.argmax(np.abs(np.fft.rfft(sound[-rate:]))))
