"""The call service on a server of its own, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from ...errors import AdapterMissing
from .._saying import only_news
from .._stopping import signals

if TYPE_CHECKING:
    from ... import CallService

GRACE = 10.0
"""Seconds that what is under way has to finish when the service is told to stop."""

_FINISHING = 0.8
"""Which part of it connections and requests have; the rest is the service's, to close in."""
_OURS = "without completing handshake"
"""What Uvicorn says of a connection that is refused with a reason."""


def serve(
    service: CallService,
    running: Callable[[int], AbstractAsyncContextManager[Any]],
    *,
    api_key: str,
    dev: bool,
    directory: bool = True,
    origins: Collection[str] = (),
    grace: float = GRACE,
    **options: Any,
) -> int:
    """Serve until interrupted or terminated; gives the exit code: both are a clean end, of one that began.

    `running` is entered with the port once it listens, and left when it is to stop, before the service does; `grace` is
    how many seconds what is under way has then. `options`
    are Uvicorn's: where to listen, and with which certificate. Raises AdapterMissing, and OSError where it cannot
    listen."""
    try:
        import uvicorn

        from statecore_web import CallApp
    except ImportError as missing:
        raise AdapterMissing(what="statecore_web", extra="'statecore[web]'") from missing

    app = CallApp(service, api_key=api_key, origins=origins, dev=dev, directory=directory)
    config = uvicorn.Config(
        app,
        ws="websockets-sansio",
        ws_max_size=2
        * service.settings.max_message_size,  # what is a little too long the service refuses with a reason
        ws_per_message_deflate=False,
        log_level="warning",
        lifespan="on",
        **options,
    )

    class Server(uvicorn.Server):
        """Stops on a signal, and then is done: the signal is not raised again."""

        broken: OSError | None = None
        """What it was ended by in place of a signal: nobody takes what it has to say."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            loop = asyncio.get_running_loop()
            for number in signals():
                loop.add_signal_handler(number, self.handle_exit, number, None)
            yield

        async def main_loop(self) -> None:  # of one that has started
            loop = asyncio.get_running_loop()
            try:
                async with running(self.servers[0].sockets[0].getsockname()[1]):
                    await super().main_loop()
                    began = loop.time()
            except OSError as error:
                self.broken = error
                return
            # Uvicorn tells those it knows, not one that it has accepted but not begun to serve; and it breaks off what
            # is being answered.
            app.drain(grace - (loop.time() - began))
            until = began + _FINISHING * grace
            while app.sockets and not self.force_exit and loop.time() < until:  # noqa: ASYNC110 - as Uvicorn itself does
                await asyncio.sleep(0.02)
            self.config.timeout_graceful_shutdown = max(0.0, until - loop.time())  # type: ignore[assignment]

    words = _Words()
    server = Server(config)
    with (
        only_news("uvicorn.error", words),
        contextlib.suppress(SystemExit),
    ):  # by which Uvicorn ends where it cannot listen
        server.run()
    if words.refused is not None:
        raise _cannot_listen(words.refused, config.host, config.port)
    if server.broken is not None:
        raise server.broken
    return 0 if server.started else 1


class _Words:
    """What Uvicorn says that is better said otherwise, or not at all."""

    refused: OSError | None = None
    """Why it cannot listen."""

    def __call__(self, record: logging.LogRecord) -> bool:
        """Whether it is said; not so a refusal with a reason, which Uvicorn takes for a mistake each time."""
        self.refused = record.msg if isinstance(record.msg, OSError) else self.refused
        return self.refused is None and _OURS not in record.getMessage()


def _cannot_listen(why: OSError, host: str, port: int) -> OSError:
    """The same for people, and what they can do."""
    taken = "somebody else listens there; --port N takes another, and --port 0 a free one"
    what = taken if why.errno == errno.EADDRINUSE else why.strerror
    return OSError(f"cannot listen on {host}, port {port}: {what}")
