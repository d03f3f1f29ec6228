"""Who a device speaks for: the port, and the auth tokens that the service gives out itself."""

from __future__ import annotations

import hmac
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable
from contextlib import suppress
from hashlib import sha256
from typing import TypeAlias

from msgspec import DecodeError, Struct, msgpack
from msgspec.structs import replace

from statecore.errors import (
    InvalidArgument,
    StoreConflict,
    StoreUnusable,
    TokenExpired,
    TokenMalformed,
    TokenMissing,
    TokenRevoked,
)
from statecore.ports import Key, Store

Authenticate: TypeAlias = Callable[[str], Awaitable[str]]
"""The port: takes an auth token, gives the id of the user it is good for. Raises TokenError for any other token, and
SignalingRefused for a user who may not connect."""

_ATTEMPTS = 32
_LONGEST = 100 * 366 * 86_400
"""The most seconds that an auth token is good for, unless it is for ever."""
_SECRET = 32
"""Bytes of chance in a token."""


class AuthToken(Struct, frozen=True, kw_only=True):
    """What is known of an auth token; never the token itself."""

    id: str
    """Names it, to revoke it by. Not secret."""
    user: str
    """Whose it is."""
    issued_at: int
    """When it was issued, in Unix milliseconds."""
    expires_at: int
    """Until when it is good, in Unix milliseconds; 0 for ever."""
    digest: bytes = b""
    """The SHA-256 of the token: it cannot be had back from what is stored."""

    def __repr__(self) -> str:
        return f"AuthToken(id={self.id!r}, user={self.user!r}, expires_at={self.expires_at})"


class AuthTokens:
    """Auth tokens that are kept in a store: issued, verified, listed, revoked.

    A token is the user's id and 32 random bytes, both in URL-safe Base64, with a full stop between them. `lifetime` is
    in seconds (None: for ever); `most` bounds how many one user may have, the oldest going first. Safe to share. Raises
    InvalidArgument."""

    def __init__(
        self,
        store: Store,
        *,
        lifetime: float | None = 30 * 86_400.0,
        most: int = 100,
        now: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        _check_lifetime(lifetime)
        if most < 1:
            raise InvalidArgument("most is a whole number from 1: how many auth tokens one user may have", name="most")
        self._store = store
        self._lifetime = lifetime
        self._most = most
        self._now = now

    async def issue(self, user: str, *, lifetime: float | None = None) -> tuple[str, AuthToken]:
        """A new token, and what is kept of it. The token cannot be had again. Raises InvalidArgument, StoreConflict."""
        _check_lifetime(lifetime)
        head = urlsafe_b64encode(user.encode()).rstrip(b"=")
        text = f"{head.decode()}.{secrets.token_urlsafe(_SECRET)}"
        now, seconds = self._now(), lifetime if lifetime is not None else self._lifetime
        until = now + round(seconds * 1000) if seconds is not None else 0
        made = AuthToken(
            id=secrets.token_hex(8), user=user, issued_at=now, expires_at=until, digest=sha256(text.encode()).digest()
        )
        await self._change(user, lambda kept: (*kept, made)[-self._most :])
        return text, made

    async def verify(self, token: str) -> str:
        """The user that a token is good for. Raises TokenMissing, TokenMalformed, TokenExpired, TokenRevoked."""
        return (await self.identify(token))[0]

    async def identify(self, token: str) -> tuple[str, str]:
        """The user that a token is good for, and the token's id. Raises what `verify` raises."""
        if not token:
            raise TokenMissing
        user = _user_of(token)
        digest = sha256(token.encode()).digest()
        _, kept = await self._load(user)
        found = [each for each in kept if hmac.compare_digest(each.digest, digest)]
        if not found:
            raise TokenRevoked
        late = self._now() - found[0].expires_at if found[0].expires_at else -1
        if late >= 0:
            raise TokenExpired(seconds=late // 1000)
        return user, found[0].id

    async def list(self, user: str) -> list[AuthToken]:
        """A user's tokens that are good, oldest first, without what could verify one."""
        _, kept = await self._load(user)
        return [replace(each, digest=b"") for each in self._good(kept)]

    async def revoke(self, user: str, id: str | None = None) -> bool:  # noqa: A002
        """Void one of a user's tokens by its id, or all of them; tells whether there was one. Idempotent.

        A connection that stands is not touched: `CallApp.revoke` closes it as well."""
        return await self._change(user, lambda kept: tuple(each for each in kept if id is not None and each.id != id))

    async def _load(self, user: str) -> tuple[int, tuple[AuthToken, ...]]:
        key = _key(user)
        version, value = (await self._store.load((key,)))[key]
        return version, _read(user, value) if value is not None else ()

    async def _change(self, user: str, change: Callable[[tuple[AuthToken, ...]], tuple[AuthToken, ...]]) -> bool:
        for _ in range(_ATTEMPTS):
            version, kept = await self._load(user)
            good = self._good(kept)
            after = change(good)
            if after == kept:
                return False
            if await self._store.commit({_key(user): (version, msgpack.encode(after) if after else None)}):
                return after != good
        raise StoreConflict(attempts=_ATTEMPTS)

    def _good(self, kept: tuple[AuthToken, ...]) -> tuple[AuthToken, ...]:
        now = self._now()
        return tuple(each for each in kept if not each.expires_at or each.expires_at > now)


def _check_lifetime(lifetime: float | None) -> None:
    if lifetime is not None and not 0 < lifetime <= _LONGEST:
        why = f"the lifetime of auth tokens is more than 0 and at most {_LONGEST} seconds, or None for ever"
        raise InvalidArgument(why, name="lifetime")


def _key(user: str) -> Key:
    return "auth", user


def _read(user: str, value: bytes) -> tuple[AuthToken, ...]:
    try:
        return msgpack.decode(value, type=tuple[AuthToken, ...])
    except (DecodeError, UnicodeDecodeError, RecursionError) as error:
        why = f"the auth tokens of {user!r} in it cannot be read: {error}"
        raise StoreUnusable(store="the store", why=why) from None


def _user_of(token: str) -> str:
    head, dot, tail = token.partition(".")
    if "." in tail:
        raise TokenMalformed(why="it is no auth token of this service; a guest shows a call token in another way")
    if dot and tail and len(token) <= 1024:
        with suppress(ValueError):  # of Base64 and UTF-8
            user = urlsafe_b64decode(head + "=" * (-len(head) % 4)).decode()
            if user and urlsafe_b64encode(user.encode()).rstrip(b"=").decode() == head:
                return user
    raise TokenMalformed(why="it is no auth token of this service")
