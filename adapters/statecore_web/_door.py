"""Who comes to the service: a device whose user shows an auth token, or a guest's, which shows a call token.

    Authorization: Bearer AUTH-TOKEN            Sec-WebSocket-Protocol: statecore.v1, statecore.token.AUTH-TOKEN
    Authorization: Guest CALL-TOKEN             Sec-WebSocket-Protocol: statecore.v1, statecore.guest.CALL-TOKEN

The right column is for browsers, which can set no header on a WebSocket. No token has a place in an address."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from statecore import CallService
from statecore.errors import TokenMissing

from .auth import Authenticate, AuthTokens

_GUEST = "guest"
_PROTOCOLS = {"statecore.token.": "bearer", "statecore.guest.": _GUEST}
"""How a subprotocol begins that carries a token, and the scheme that says the same in a header."""


class Visitor(NamedTuple):
    """Who comes."""

    user: str
    guest: Any = None
    """What `CallService.admit` gave, if it is a guest."""
    credential: str | None = None
    """The id of an auth token that this service issued, an empty one if the application has others; None for guests."""


class Door:
    """Lets in who has a token that is good."""

    def __init__(self, service: CallService, tokens: AuthTokens, authenticate: Authenticate | None) -> None:
        self._service = service
        self._tokens = tokens
        self._authenticate = authenticate

    async def who(self, headers: dict[str, str], offered: Iterable[str] = ()) -> Visitor:
        """Who shows a token in these headers, or in one of the subprotocols that were offered. Raises TokenError, and
        what the application's own check raises."""
        scheme, token = _shown(headers, offered)
        if scheme == _GUEST:
            claims = await self._service.admit(token)
            return Visitor(claims.user, claims)
        if self._authenticate is not None:
            return Visitor(await self._authenticate(token), credential="")
        user, token_id = await self._tokens.identify(token)
        return Visitor(user, credential=token_id)


def _shown(headers: dict[str, str], offered: Iterable[str]) -> tuple[str, str]:
    """The scheme and the token."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() in _PROTOCOLS.values() and token:
        return scheme.lower(), token.strip()
    for protocol in offered:
        for start, named in _PROTOCOLS.items():
            if protocol.startswith(start):
                return named, protocol.removeprefix(start)
    raise TokenMissing


def without_token(offered: Iterable[str]) -> list[str]:
    """The subprotocols that carry none."""
    return [protocol for protocol in offered if not protocol.startswith(tuple(_PROTOCOLS))]


__all__ = ["Door", "Visitor", "without_token"]
