"""Who waits for an outcome, each by a number of its own."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Waits:
    """Everybody who waits for something."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._open: dict[int, asyncio.Future[Any]] = {}

    @contextmanager
    def one(self) -> Iterator[tuple[int, asyncio.Future[Any]]]:
        """Somebody more, for as long as he waits: his number, and what he is to await."""
        n, future = next(self._numbers), asyncio.get_running_loop().create_future()
        self._open[n] = future
        try:
            yield n, future
        finally:
            del self._open[n]

    def settle(self, n: int, result: Any, error: Exception | None = None) -> None:
        """Give somebody an outcome, if he is still waiting for one."""
        future = self._open.get(n)
        if future is None or future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            refuse(future, error)

    def fail(self, error: Exception) -> None:
        """Nobody waits in vain."""
        for n in self._open:
            self.settle(n, None, error)


def refuse(future: asyncio.Future[Any], error: Exception) -> None:
    """Whoever awaits this is told, unless it is decided."""
    if not future.done():
        future.set_exception(error)
        future.exception()  # he may just have given up: nobody is to complain that it was not looked at


__all__ = ["Waits", "refuse"]
