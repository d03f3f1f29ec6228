"""One process at a time: a lock beside a file, which the system takes back from a process that dies."""

from __future__ import annotations

import os
import time
import weakref
from contextlib import suppress

try:
    import fcntl
except ImportError:  # a system that has no such locks
    fcntl = None  # type: ignore[assignment]

_AGAIN = 0.02
"""Seconds until it is tried again."""
_locks: weakref.WeakSet[Lock] = weakref.WeakSet()
"""Those of this process."""


class Lock:
    """The lock of a file, as long as the other file beside it is locked. `patience` is how long to wait for it, in
    seconds. Raises TimeoutError if another has it, OSError if none can be had there.

    It is not the file itself that is locked: SQLite's own locks may be the same to the system, and whoever only reads
    or saves a copy is not in the way. It is this process's alone: one that is forked off does not have it."""

    def __init__(self, path: str, patience: float) -> None:
        self._path = lock_of(path)
        until = time.monotonic() + patience
        while (held := self._take()) is None:
            if time.monotonic() >= until:
                raise TimeoutError
            time.sleep(_AGAIN)
        self._held: int | None = held
        _locks.add(self)

    def _take(self) -> int | None:
        held, taken = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600), False
        try:
            if fcntl is not None:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            taken = os.path.samestat(os.fstat(held), os.stat(self._path))
        except (BlockingIOError, FileNotFoundError):
            pass  # another has it, or had it until now and removed it
        finally:
            if not taken:
                os.close(held)
        return held if taken else None

    def free(self) -> None:
        """Let go of it. A process that does not have it does nothing."""
        if self._held is not None:
            with suppress(OSError):
                os.unlink(self._path)
            self.drop()

    def drop(self) -> None:
        """Close the file: the lock lasts until every process has that shares it."""
        held, self._held = self._held, None
        if held is not None:
            os.close(held)


def lock_of(path: str) -> str:
    """The file that is locked for another."""
    return os.path.realpath(path) + "-lock"


def _forked() -> None:
    for lock in list(_locks):
        lock.drop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


__all__ = ["Lock", "lock_of"]
