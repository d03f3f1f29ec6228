"""XState under Node, in a process of its own that stays for all turns."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from ._worker import Worker

SCRIPT = Path(__file__).with_name("xstate.mjs")
HOME = Path("out/bench")
"""Where the package is looked for first, and installed if asked; relative to the current folder."""


def xstate(*, install: bool) -> Worker | str:
    """XState, ready to run; or why it is not here."""
    node = shutil.which("node")
    if node is None:
        return "no node"
    HOME.mkdir(parents=True, exist_ok=True)
    if install and not _found(node):
        _install()
    return Worker([node, str(SCRIPT)], cwd=HOME) if _found(node) else "not installed; --xstate does"


def _found(node: str) -> bool:
    command = [node, "-p", "require.resolve('xstate')"]
    return subprocess.run(command, cwd=HOME, capture_output=True, check=False).returncode == 0  # noqa: S603 - our words


def _install() -> None:
    npm = shutil.which("npm")
    if npm is not None:
        # A manifest of its own keeps npm from climbing to one of the user's.
        (HOME / "package.json").write_text("{}\n", encoding="utf-8")
        command = [npm, "install", "--no-save", "--no-audit", "--no-fund", "--silent", "xstate@5"]
        subprocess.run(command, cwd=HOME, check=False, stdout=subprocess.DEVNULL)  # noqa: S603 - our words
