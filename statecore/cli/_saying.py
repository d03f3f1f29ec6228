"""What a command says: to who reads its output, to who looks at its errors, and what of a log it says itself."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator

from ._stopping import stop


def say(text: str) -> None:
    """Print a line of work that is run. It ends, as it would by a signal, if nobody reads that any more."""
    try:
        print(text, flush=True)
    except OSError as error:
        if not stop(signal.SIGPIPE):
            raise
        let_go()
        if not isinstance(error, BrokenPipeError):
            complain(error)


def complain(what: object) -> None:
    """Say in a line on standard error what is wrong; to nobody where that is gone, as a terminal that was closed."""
    with contextlib.suppress(OSError):
        print(f"statecore: {what}", file=sys.stderr, flush=True)


def let_go() -> None:
    """What waits to be printed could not be, and would be complained of once more, at last as the process ends."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def only_news(logger: str, is_news: Callable[[logging.LogRecord], bool]) -> Iterator[None]:
    """Of a log only what is news is shown meanwhile: the rest a command says itself."""
    log = logging.getLogger(logger)
    log.addFilter(is_news)
    try:
        yield
    finally:
        log.removeFilter(is_news)
