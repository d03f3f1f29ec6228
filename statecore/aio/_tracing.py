"""Where a client's trace goes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TextIO

_log = logging.getLogger("statecore.trace")


class TraceSink:
    """A file, opened at the first line, or a function. One that fails is given up, with a warning: a trace that cannot
    be written must not end a call."""

    def __init__(self, to: Path | str | Callable[[str], object]) -> None:
        self._path = None if callable(to) else Path(to)
        self._take = to if callable(to) else None
        self._file: TextIO | None = None
        self._mode: Literal["w", "a"] = "w"
        self._failed = False

    def __call__(self, line: str) -> None:
        """Write a line."""
        if self._failed:
            return
        try:
            self._write(line)
        except Exception as error:  # noqa: BLE001 - a function of the application's may raise anything
            self._failed = True
            _log.warning("no trace is written any more: %s", error)

    def _write(self, line: str) -> None:
        if self._take is not None:
            self._take(line)
            return
        if self._file is None:
            if self._path is None:
                raise AssertionError("a file, or a function")
            # Line by line, so that what was written before a crash is there to be read after it.
            self._file = self._path.open(self._mode, encoding="utf-8", buffering=1)
            self._mode = "a"
        self._file.write(line + "\n")

    def close(self) -> None:
        """Close the file. Idempotent; what is told afterwards is not written."""
        self._failed = True
        self.rest()

    def rest(self) -> None:
        """Close the file until there is more to write. Idempotent."""
        if self._file is not None:
            self._file.close()
            self._file = None
