"""A device's way to a call service over the network."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import ssl
from base64 import urlsafe_b64decode
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Self, TypeAlias

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from statecore.errors import (
    CODES,
    InvalidArgument,
    NetworkError,
    RateLimited,
    SignalingError,
    SignalingLost,
    SignalingRefused,
    StatecoreError,
    TokenError,
    TokenMalformed,
    UnsupportedVersion,
    from_code,
)
from statecore.settings import IceServers

from ._http import fits_a_header, http_client, parts_of, why_not
from ._ice import from_body
from ._outbox import Outbox

SUBPROTOCOL = "statecore.v1"
"""The name and version of the protocol, as a WebSocket's subprotocol."""
TokenSource: TypeAlias = Callable[[], str | Awaitable[str]]
"""Gives a token: called for every connection that needs one, so that an expired one is replaced."""

_UNSENT = 4 * 1024 * 1024
"""How many bytes may wait to be written before the link counts as lost."""
_ICE_SECONDS = 10.0
"""How long the service may take to hand out its STUN and TURN servers."""


class _Discreet(logging.LoggerAdapter[logging.Logger]):
    """The log of the WebSocket library without its details: headers and messages, which have tokens in them."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - its name in `logging`
        return level > logging.DEBUG and super().isEnabledFor(level)


class WebSocketSignaling:
    """How one user's device reaches a call service: `CallClient(WebSocketSignaling("wss://calls.example.org", token))`.
    Without a login, by a call token alone, it is `WebSocketSignaling.guest`.

    `token` is an auth token or something that gives one. With the latter, `user` has to be said; otherwise it is whom
    the token names, as the service's own tokens do, and the claim `sub` of others. A client whose service welcomes
    somebody else gives up with TokenForeign. `ssl` verifies the server (default: as the system does); `max_size` is the
    longest message taken, in bytes. Nothing secret is ever part of the address. Raises InvalidArgument for an address
    that is not ws:, wss:, http: or https:, or has a query; TokenMalformed for a token that no header can carry, as one
    with a line's end."""

    def __init__(
        self,
        url: str,
        token: str | TokenSource,
        *,
        user: str | None = None,
        device: str | None = None,
        ssl: ssl.SSLContext | None = None,
        max_size: int = 1 << 20,
    ) -> None:
        self.url = _socket_url(url)
        """Where the service listens for devices."""
        self.device = device
        """The device's id, or None for one of the client's making."""
        self._token = _sayable(token) if isinstance(token, str) else token
        self._scheme = "Bearer"
        self._user = user if user is not None else _user_of(token)
        self._ssl = ssl
        self._max_size = max_size

    @classmethod
    def guest(cls, url: str, token: str | TokenSource, **more: Any) -> Self:
        """A link for a device that no user has logged in on: the call token is enough to be in its session, and good
        for nothing else. `join_session(WebSocketSignaling.guest(url, token), token, media)`.

        The same as above goes for a source of tokens, which is asked again once the token has expired, and for
        `more`."""
        link = cls(url, token, **more)
        link._scheme = "Guest"
        return link

    def __repr__(self) -> str:
        return f"WebSocketSignaling({self.url!r}, user={self._user!r}, device={self.device!r})"

    @property
    def user(self) -> str:
        """The user's id."""
        return self._user

    async def connect(self) -> WebSocketChannel:
        """A new channel. Raises SignalingLost (worth another try), SignalingRefused, or the TokenError that tells what
        is wrong with the token (neither is): TokenMalformed also if a source gives what no header can carry. Safe to
        cancel.

        A token that the service refuses is asked for once more, if it comes from a source."""
        try:
            return await self._connect()
        except TokenError:
            if isinstance(self._token, str):
                raise
        return await self._connect()

    async def ice_servers(self) -> IceServers:
        """What the service hands out to reach others by, with credentials that are good from now on; nothing if it
        knows nothing of that. Raises SignalingLost or SignalingRefused. Safe to cancel."""
        try:
            headers = {"Authorization": f"{self._scheme} {await self._current()}"}
        except SignalingError:
            raise
        except StatecoreError as error:
            raise SignalingRefused(why=str(error)) from None
        try:
            context = await self._trusted()
            async with await http_client(context, secure=context is not None, seconds=_ICE_SECONDS) as client:
                answer = await client.get(_ice_url(self.url), headers=headers)
        except Exception as error:
            if (why := why_not(error)) is None:
                raise
            raise SignalingLost(f"the call service cannot be asked for its servers: {why}") from None
        if answer.status_code == 404:
            return IceServers()
        if answer.status_code != 200:
            told = _refusal(answer.status_code, answer.content, answer.headers.get("Retry-After", ""))
            raise told if isinstance(told, SignalingError) else SignalingRefused(why=str(told))
        try:
            return from_body(answer.content)
        except (ValueError, RecursionError):  # without what it says: there may be a credential in it
            raise SignalingLost("the call service answered with something that is no list of servers") from None

    async def _connect(self) -> WebSocketChannel:
        token = await self._current()
        try:
            socket = await connect(
                self.url,
                subprotocols=[Subprotocol(SUBPROTOCOL)],
                additional_headers={"Authorization": f"{self._scheme} {token}"},
                compression=None,
                max_size=self._max_size,
                open_timeout=None,  # who connects has a bound of their own
                ping_interval=None,  # the protocol has its own beat
                ssl=await self._trusted(),
                logger=_Discreet(logging.getLogger("websockets.client")),
            )
        except InvalidStatus as error:
            answer = error.response
            after = answer.headers.get("Retry-After", "")
            raise _refusal(answer.status_code, bytes(answer.body or b""), after) from None
        except ssl.SSLCertVerificationError as error:  # worth another try all the same: it may be on its way
            raise SignalingLost(f"the call service's certificate is not good: {error.verify_message}") from error
        except OSError as error:
            raise SignalingLost(f"the call service cannot be reached: {error}") from error
        except WebSocketException as error:  # without what it says: it quotes headers, and may name a proxy's password
            raise SignalingLost(f"the call service cannot be reached: {type(error).__name__}") from None
        return WebSocketChannel(socket)

    async def _trusted(self) -> ssl.SSLContext | None:
        """What verifies the server, made once: to load the system's certificates takes a while."""
        if not self.url.startswith("wss:"):
            return None
        if self._ssl is None:
            self._ssl = await asyncio.to_thread(ssl.create_default_context)
        return self._ssl

    async def _current(self) -> str:
        if isinstance(self._token, str):
            return self._token
        try:
            given = self._token()
            token = await given if inspect.isawaitable(given) else given
        except StatecoreError:
            raise
        except Exception as error:
            raise SignalingLost("no token could be had") from error
        if not isinstance(token, str):
            raise InvalidArgument("the source of tokens gave something that is not text", name="token")
        return _sayable(token)


class WebSocketChannel:
    """One live connection."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._outbox = Outbox(_UNSENT)
        self._writer = asyncio.get_running_loop().create_task(self._write(), name="statecore signaling writer")

    def send(self, message: bytes) -> None:
        """Queue a message; returns at once. Raises SignalingLost when the channel is closed."""
        self._outbox.put(message)

    async def receive(self) -> bytes:
        """The next message. Raises SignalingLost when the channel broke or was closed. Safe to cancel."""
        try:
            data = await self._socket.recv()
        except ConnectionClosed:
            self._outbox.close()
            raise SignalingLost from None
        return data.encode() if isinstance(data, str) else data

    async def close(self) -> None:
        """Close; what was sent before is written first. Idempotent."""
        self._outbox.close()
        try:
            await self._writer
        finally:
            self._writer.cancel()
            await self._socket.close()

    async def _write(self) -> None:
        with suppress(ConnectionClosed):
            while (message := await self._outbox.get()) is not None:
                await self._socket.send(message, text=True)  # JSON, as it is
        self._outbox.close()


def _sayable(token: str) -> str:
    """A token that a header can carry. Raises TokenMalformed, which does not say what it is."""
    if not fits_a_header(token):
        raise TokenMalformed(why="it has a space or a line's end about it, or what is no visible ASCII within it")
    return token


def _socket_url(url: str) -> str:
    parts = parts_of(url)
    scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}.get(parts.scheme) if parts is not None else None
    if parts is None or scheme is None:
        why = "the service's address must begin with ws:, wss:, http: or https:, and a host, and a port if need be"
        raise InvalidArgument(why, name="url")
    if parts.query or parts.fragment or parts.username or parts.password:
        raise InvalidArgument("the service's address must have no query, fragment or password", name="url")
    path = parts.path.rstrip("/")
    return f"{scheme}://{parts.netloc}{path if path.endswith('/signaling') else path + '/v1/signaling'}"


def _ice_url(url: str) -> str:
    """Beside where devices connect."""
    return "http" + url.removeprefix("ws").removesuffix("/signaling") + "/ice"


def _user_of(token: str | TokenSource) -> str:
    """The user that an auth token names. Nothing is verified: that is the service's."""
    if isinstance(token, str):
        parts = token.split(".")
        # Of Base64, UTF-8, JSON, and of what is not there.
        with suppress(ValueError, KeyError, TypeError, IndexError, RecursionError):
            first = _decoded(parts[0] if len(parts) == 2 else parts[1])
            user = first if len(parts) == 2 else json.loads(first)["sub"]
            if isinstance(user, str) and user:
                return user
    raise InvalidArgument("say whose device it is: this token does not name its user", name="user")


def _decoded(part: str) -> str:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode()


def _refusal(status: int, body: bytes, after: str) -> StatecoreError:
    """What the service answered instead of opening the connection, and after how many seconds to come again."""
    try:
        told = json.loads(body)
        code, data = str(told["code"]), dict(told.get("data") or {})
    except (ValueError, KeyError, TypeError, RecursionError):
        code, data = "", {}
    if status == 429 or status >= 500:
        more = {"seconds": int(after)} if after.isascii() and after.isdigit() and len(after) < 10 else {}
        if code == RateLimited.code:
            return RateLimited(**{**data, **more})
        return SignalingLost(f"the call service is not available now (HTTP status {status})", **more)
    if code in CODES:
        error = from_code(code, **data)
        if isinstance(error, SignalingRefused | UnsupportedVersion | TokenError):
            return error
        if isinstance(error, NetworkError):  # as old services say it: it passes
            return SignalingLost(str(error))
        return SignalingRefused(why=str(error))
    return SignalingRefused(why=f"HTTP status {status}")
