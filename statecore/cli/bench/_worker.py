"""A side that runs in a process of its own and stays for all its turns."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from ._harness import Side


class Worker:
    """A process that reads a count per line and answers with the seconds that it took. Use it as a context manager."""

    def __init__(self, command: Sequence[str], cwd: Path | None = None) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(  # noqa: S603 - our words
            command, cwd=cwd, stdin=pipe, stdout=pipe, encoding="utf-8"
        )

    def __call__(self, count: int) -> float:
        """Seconds for doing it `count` times."""
        with suppress(BrokenPipeError):  # it has ended, as the answer will show
            print(count, file=self._process.stdin, flush=True)
        return self.number()

    def number(self) -> float:
        """The next number that the process says. Raises ChildProcessError if it has ended instead."""
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise ChildProcessError(f"{self._process.args!r} ended before it answered")
        return float(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def python(module: str, call: str) -> list[str]:
    """The command that runs a call of a module of this package in a fresh interpreter."""
    return [sys.executable, "-c", f"from {__package__} import {module}; {module}.{call}"]


def answer(side: Side) -> None:
    """Be a worker: take turns until the input ends."""
    for line in sys.stdin:
        print(side(int(line)), flush=True)
