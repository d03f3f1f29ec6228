"""One process at a time: a lock beside a file, which the system takes back from a process that dies."""

from __future__ import annotations

import os
import time
from contextlib import suppress

try:
    import fcntl
except ImportError:  # a system that has no such locks
    fcntl = None  # type: ignore[assignment]

_AGAIN = 0.02
"""Seconds until it is tried again."""


class Lock:
    """The lock of a file, as long as the other file beside it is locked. `patience` is how long to wait for it, in
    seconds. Raises TimeoutError if another has it, OSError if none can be had there.

    It is not the file itself that is locked: SQLite's own locks may be the same to the system, and whoever only reads
    or saves a copy is not in the way."""

    def __init__(self, path: str, patience: float) -> None:
        self._path = os.path.realpath(path) + "-lock"
        until = time.monotonic() + patience
        while (held := self._take()) is None:
            if time.monotonic() >= until:
                raise TimeoutError
            time.sleep(_AGAIN)
        self._held = held

    def _take(self) -> int | None:
        held = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            if fcntl is not None:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(held), os.stat(self._path)):
                return held
        except (BlockingIOError, FileNotFoundError):
            pass  # another has it, or had it until now and removed it
        os.close(held)
        return None

    def free(self) -> None:
        """Let go of it."""
        with suppress(OSError):
            os.unlink(self._path)
        os.close(self._held)


__all__ = ["Lock"]
