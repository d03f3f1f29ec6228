"""Who is on this machine: only they may log in by name."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from litestar.connection import ASGIConnection
from litestar.exceptions import HTTPException


def check_local(connection: ASGIConnection[Any, Any, Any, Any], origins: Collection[str]) -> None:
    """Whoever logs in by name is a program on this machine, or a page that it serves. A page from elsewhere says its
    origin, and can send JSON only where it is allowed to; one whose name was made to lead here says that name; and a
    program from elsewhere says what it likes, but comes from another address. Raises HTTPException."""
    headers, client = connection.headers, connection.client
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException("this takes JSON: say so in Content-Type", status_code=415)
    host, origin = headers.get("host", ""), headers.get("origin")
    here = {f"http://{host}", f"https://{host}"}
    far = client is not None and client.host != "" and not _is_loopback(client.host)  # a socket file has no address
    for names in (here, {origin} if origin is not None else here):
        if far or not (names & set(origins) or any(map(_leads_here, names))):
            raise HTTPException("whoever logs in by name does so on this machine", status_code=403)


def _leads_here(origin: str) -> bool:
    """Whether an origin is this machine, by its own name for itself."""
    host = ""
    with suppress(ValueError):
        parts = urlsplit(origin)
        host = (parts.hostname or "") if parts.username is None else ""  # with a user's name it is no origin
    return _is_loopback(host) or host == "localhost" or host.endswith(".localhost")


def _is_loopback(address: str) -> bool:
    with suppress(ValueError):
        found = ipaddress.ip_address(address)
        return (getattr(found, "ipv4_mapped", None) or found).is_loopback
    return False


__all__ = ["check_local"]
