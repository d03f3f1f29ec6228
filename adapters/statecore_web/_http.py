"""The HTTP client, which is loaded only by who asks for something."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

if TYPE_CHECKING:
    import httpx


async def http_client(
    context: ssl.SSLContext | None, *, secure: bool, seconds: float, **more: Any
) -> httpx.AsyncClient:
    """A client that verifies servers by a context (default: as the system does). It has to be closed."""

    def make() -> httpx.AsyncClient:
        import httpx  # noqa: PLC0415 - see above

        verify = context or (ssl.create_default_context() if secure else False)
        return httpx.AsyncClient(verify=verify, timeout=seconds, **more)

    # Loading it and the system's certificates takes a quarter of a second, in which calls are to go on.
    return await asyncio.to_thread(make)


def discreet(client: httpx.AsyncClient, url: str, **more: Any) -> httpx.Request:
    """A request whose query is not shown when it is logged: it may hold a secret."""
    import httpx  # noqa: PLC0415 - as above

    class Discreet(httpx.URL):
        def __str__(self) -> str:
            return str(self.copy_with(query=None))

        def __repr__(self) -> str:
            return repr(self.copy_with(query=None))

    request = client.build_request("POST", url, **more)
    request.url = Discreet(request.url)
    return request


def parts_of(url: str) -> SplitResult | None:
    """The parts of an address; None if its host or port cannot be one."""
    with suppress(ValueError):
        parts = urlsplit(url)
        if parts.hostname and parts.port != 0:
            return parts
    return None


def fits_a_header(secret: str) -> bool:
    """Whether a secret can be said in a header as it is. What cannot must not be tried: the libraries' errors show the
    header."""
    return secret.isascii() and secret.isprintable() and secret == secret.strip()


def why_not(error: Exception) -> str | None:
    """What kept a request from being answered, in words without addresses or headers; None if it is something else."""
    import httpx  # noqa: PLC0415 - as above

    if isinstance(error, httpx.ProtocolError | httpx.ProxyError):  # it may quote what was said by either side
        return type(error).__name__
    if isinstance(error, httpx.HTTPError | OSError):
        return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return None
