"""Servers that are measured from outside: each a process that says where it listens in one line of JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Self

import psutil


class Process:
    """A process that runs until it is left. Use it as a context manager."""

    def __init__(self, command: Sequence[str], **more: Any) -> None:
        self._process = subprocess.Popen(command, encoding="utf-8", **more)  # noqa: S603 - our words
        self._seen = psutil.Process(self._process.pid)

    def runs(self) -> bool:  # pragma: no cover - asked only where Janus is installed
        """Whether it has not ended."""
        return self._process.poll() is None

    def cpu(self) -> float:
        """The seconds of processor time it has taken."""
        times = self._seen.cpu_times()
        return float(times.user + times.system)

    def memory(self) -> float:
        """The KiB that are resident."""
        return float(self._seen.memory_info().rss) / 1024

    def kill(self) -> None:
        """End it at once, as a crash does."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate()


class Server(Process):
    """A process of Python that says where it listens."""

    def __init__(self, *words: str) -> None:
        super().__init__([sys.executable, *words], stdout=subprocess.PIPE)
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            self._process.communicate()
            raise ChildProcessError(f"{self._process.args!r} ended before it listened")
        self.url: str = json.loads(line)["url"]
        """Where it listens."""


def service(*words: str) -> Server:
    """`statecore serve`, on a port of its own and in memory unless they say which."""
    port = () if "--port" in words else ("--port", "0")
    store = () if "--store" in words else ("--store", "memory")
    return Server("-P", "-m", "statecore.cli", "serve", *port, *store, "--json", *words)


def echo() -> Server:
    """The server library of `statecore serve`, bare: it gives every message back."""
    return Server("-P", "-c", f"from {__package__} import _echo; _echo.main()")
