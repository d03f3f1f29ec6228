"""The live timeline and the table at the end, for people."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

_COLORS = {
    "idle": "dim", "ringing": "yellow", "accepted": "magenta", "active": "green", "ended": "blue",
}  # fmt: skip
_ORDER = ("idle", "ringing", "accepted", "active", "ended")


class Show:
    """Prints as it goes."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._console = Console(highlight=False)
        self._begun = time.monotonic()
        self._call = ""
        self._now = {"alice": "", "bob": ""}

    def title(self, voice: str, play: Path | None) -> None:
        """What is going to happen."""
        if not self._quiet:
            sound = f"plays {play}" if play else "sends a tone of 440 Hz, a tune and a picture with a clock"
            self._console.print(f"[bold]statecore demo[/]: Alice {sound}, Bob speaks ({voice})")

    def say(self, call: str, who: str, what: str) -> None:
        """Something happened at one side, or at both."""
        if self._quiet:
            return
        if call != self._call:
            self._call, self._now = call, {"alice": "", "bob": ""}
            self._console.print(f"\n[bold]{call}[/]")
        if what in _ORDER and who in self._now:
            self._now[who] = what
            note = ""
        else:
            note = f"{who} {what}"
        line = Text(f"  {time.monotonic() - self._begun:6.2f} s   ")
        for name in ("alice", "bob"):
            line.append(f"{name.capitalize()} ")
            for state in _ORDER:
                lit = state == self._now[name]
                line.append("● " if lit else "· ", style=_COLORS[state] if lit else "dim")
            line.append(f"{self._now[name]:9}  ", style=_COLORS.get(self._now[name], ""))
        line.append(note, style="italic")
        self._console.print(line)

    def summary(self, results: Sequence[Any], leaks: dict[str, int], page: Path, *, ok: bool) -> None:
        """The table, what went wrong, and where to look."""
        table = Table(title="\nWhat was seen and heard", title_justify="left", box=SIMPLE, show_edge=False, padding=0)
        for column in ("call", "ended as", "ring", "set-up", "tone", "speech", "tune", "pictures", "delay", ""):
            table.add_column(column)
        for result in results:
            audio, video = result.audio or {}, result.video or {}
            table.add_row(
                result.name,
                result.reason or "-",
                _milliseconds(result.ring_ms),
                _milliseconds(result.setup_ms),
                f"{audio['received_hz']:.1f} Hz" if audio.get("received_hz") else "-",
                *(f"{audio[each]:.2f}" if audio.get(each) is not None else "-" for each in ("correlation", "tune")),
                f"{video['frames']}, {video['fps']:g}/s" if video else "-",
                _milliseconds(result.delay_ms),
                "[red]wrong[/]" if result.problems else "[green]good[/]",
            )
        self._console.print(table)
        for result in results:
            for problem in result.problems:
                self._console.print(f"[red]{result.name}[/]: {problem}")
        left = ", ".join(f"{count} {name}" for name, count in leaks.items() if count)
        self._console.print(f"Left behind: {left or 'nothing'}")
        self._console.print(f"Report: {page}")
        self._console.print("[bold green]ok[/]" if ok else "[bold red]not ok[/]")


def _milliseconds(value: float | None) -> str:
    return f"{value:.0f} ms" if value is not None else "-"
