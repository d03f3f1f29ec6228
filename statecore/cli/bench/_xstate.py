"""XState under Node, in a process of its own that stays for all turns."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Self

SCRIPT = Path(__file__).with_name("xstate.mjs")
HOME = Path("out/bench")
"""Where the package is looked for first, and installed if asked; relative to the current folder."""


class Node:
    """A side that runs under Node. Use it as a context manager."""

    def __init__(self, node: str) -> None:
        HOME.mkdir(parents=True, exist_ok=True)
        command = [node, str(SCRIPT)]
        self._process = subprocess.Popen(command, cwd=HOME, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our words

    def __call__(self, count: int) -> float:
        """Seconds for this many pairs of transitions."""
        pipes = self._process
        if not pipes.stdin or not pipes.stdout:
            raise BrokenPipeError("Node was started with pipes and has none")
        print(count, file=pipes.stdin, flush=True)
        return float(pipes.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def xstate(*, install: bool) -> Node | str:
    """XState, ready to run; or why it is not here."""
    node = shutil.which("node")
    if node is None:
        return "no node"
    if install and not _found(node):
        _install()
    return Node(node) if _found(node) else "not installed; --xstate does"


def _found(node: str) -> bool:
    HOME.mkdir(parents=True, exist_ok=True)
    command = [node, "-p", "require.resolve('xstate')"]
    asked = subprocess.run(command, cwd=HOME, capture_output=True, check=False)  # noqa: S603 - the words are ours
    return asked.returncode == 0


def _install() -> None:
    npm = shutil.which("npm")
    if npm is not None:
        # A manifest of its own keeps npm from climbing to one of the user's.
        (HOME / "package.json").write_text("{}\n", encoding="utf-8")
        command = [npm, "install", "--no-save", "--no-audit", "--no-fund", "--silent", "xstate@5"]
        subprocess.run(command, cwd=HOME, check=False, stdout=subprocess.DEVNULL)  # noqa: S603 - the words are ours
