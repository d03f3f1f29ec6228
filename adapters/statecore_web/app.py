"""The call service on the network: one ASGI application, to run alone or under a path of another."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Collection, MutableMapping
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from statecore import CallService, CallSettings
from statecore.errors import InvalidArgument, RateLimited, SignalingLost, SignalingRefused, UnsupportedVersion

from ._address import address, escaped, origin, path_below
from ._door import Door, Visitor, without_token
from ._http import fits_a_header
from ._ice import IceDesk
from ._metrics import Metrics
from ._page import Page
from ._refusals import refusal
from ._socket import Receive, Scope, Send, Socket, deny
from .auth import Authenticate, AuthTokens
from .client import SUBPROTOCOL

if TYPE_CHECKING:
    from litestar import Litestar

_log = logging.getLogger("statecore.web")
_NOBODY = {"session": "", "user": "", "device": ""}
_PATIENCE = 2.0
"""How many seconds the store may take before this server counts as not ready."""
_FINISHING = 0.8
"""Which part of the time that is left what is under way may take to finish; the rest is to end it."""
_UNSENT = 1024 * 1024
"""How many bytes may wait for a slow reader before its device is let go, to resume later."""


class CallApp:
    """An ASGI application that lets devices speak with a call service.

    Mount it under a path of an application you have, or run it alone with any ASGI server; alone, it opens and closes
    the service; mounted, the application that has it does: `FastAPI(lifespan=app.lifespan)`. `api_key` opens the REST
    part to back ends; without one it is closed, but for health and its description. `authenticate` says which user an
    auth token is good for (default: the tokens that `tokens` issues: by default 30 days, 100 a user). `origins` are the
    web origins whose pages may connect (default: only the one it serves itself); clients that are no browsers send
    none. `dev` lets anybody log in by name who comes from this machine: behind a proxy on it, that is everybody whom
    the proxy lets through. `page` is what the page starts its sessions with: its title, layout, buttons and limits; for
    a setting that the page does not act on, InvalidSettings is raised; InvalidArgument for a key that is blank, since
    anybody would have it, or that no header can carry, as one with a line's end, and for an origin that no browser
    says. Without a `directory` the page tells nobody who else can be called."""

    def __init__(
        self,
        service: CallService,
        *,
        api_key: str | None = None,
        authenticate: Authenticate | None = None,
        tokens: AuthTokens | None = None,
        origins: Collection[str] = (),
        dev: bool = False,
        page: CallSettings | None = None,
        directory: bool = True,
    ) -> None:
        if api_key is not None and not api_key.strip():
            raise InvalidArgument("the API key is blank: give a secret, or None to leave REST closed", name="api_key")
        if api_key is not None and not fits_a_header(api_key):
            why = "the API key has a space or a line's end about it, or what is no visible ASCII within it"
            raise InvalidArgument(f"{why}: no request can bring that", name="api_key")
        self.service = service
        """The call service."""
        self.metrics = Metrics(service)
        """What it did, for Prometheus."""
        self.tokens = tokens if tokens is not None else AuthTokens(service.store)
        """The auth tokens it gives out, unless the application has others."""
        self._door = Door(service, self.tokens, authenticate)
        self._origins = frozenset(map(origin, origins))
        self._api_key = api_key
        self._dev = dev
        self._ice = IceDesk(self, self._door, self._origins)
        self._page = Page(self, authenticate or self.tokens.verify, dev=dev, settings=page, directory=directory)
        self._rest: Litestar | None = None
        self._making = asyncio.Lock()
        self._sockets: dict[tuple[str, str], set[Socket]] = {}
        """By user, and a guest's by its session, too. A device may have two: the older only seems to stand until the
        newer has said hello."""
        self._draining = False
        self._until: float | None = None
        """When all has to be over, in the time of the loop."""
        self._opened = False
        self._opening: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, request, or life."""
        if scope["type"] != "lifespan" and not self._opened and not self._draining:
            # Mounted, and nobody opens it: what the store holds is taken up now, while this is answered.
            self._opened = True
            self._opening = asyncio.get_running_loop().create_task(self._open_late(), name="statecore web opening")
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await self._http(scope, receive, send)

    # --- devices

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # its beginning
        try:
            self._check_open()
            await self.open()  # only from then on is it heard what others void
            before = self.service.disconnects
            visitor = await self._admit(scope)
            whose = (visitor.user, visitor.guest.session if visitor.guest is not None else "")
            self._check_open()
            self._find_room(whose)
            self.service.count_connection(visitor.user, visitor.guest)
        except Exception as error:  # noqa: BLE001 - also the application's own, and whatever it is
            await deny(scope, send, refusal(error))
            return
        socket = Socket(receive, send, _UNSENT)
        mine = self._sockets.setdefault(whose, set())
        mine.add(socket)
        try:
            await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
            await self._serve(socket, visitor, before)
            await socket.pump()
        finally:
            mine.discard(socket)
            if not mine:
                del self._sockets[whose]

    async def _serve(self, socket: Socket, visitor: Visitor, before: int) -> None:
        try:
            self.service.serve(socket, visitor.user, visitor.guest, credential=visitor.credential, since=before)
        except SignalingLost:  # it stops, or a token was revoked meanwhile: the device comes again, and is told then
            await socket.close()

    def _check_open(self) -> None:
        if self._draining:
            raise SignalingLost("this server is stopping: connect again, to another")

    def _find_room(self, whose: tuple[str, str]) -> None:
        """Raises RateLimited. The service counts devices, but only from their hello on."""
        if len(self._sockets.get(whose, ())) >= 2 * self.service.settings.devices_per_user:
            raise RateLimited(what="connections", seconds=math.ceil(self.service.switchboard.timers.command))

    async def _admit(self, scope: Scope) -> Visitor:
        """Whom a device speaks for."""
        headers = _headers(scope)
        if path_below(scope) != "/v1/signaling":
            raise SignalingRefused(why="no such address")
        page = headers.get("origin")
        if page is not None and page not in self._origins and not _is_own(page, headers.get("host", "")):
            raise SignalingRefused(why="this web origin may not connect")
        offered = list(scope.get("subprotocols", []))
        if SUBPROTOCOL not in offered:
            raise UnsupportedVersion(theirs=",".join(without_token(offered)), ours=SUBPROTOCOL)
        return await self._door.who(headers, offered)

    async def revoke(self, user: str, id: str | None = None) -> bool:  # noqa: A002
        """Void one of a user's auth tokens by its id, or all of them, and close the connections that were made by it,
        as `CallService.disconnect` does; tells whether there was one that was good. All closes also those of an
        application's own tokens. Idempotent. Raises StoreConflict."""
        there = await self.tokens.revoke(user, id)
        await self.service.disconnect(user, id)
        return there

    # --- life

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            event = (await receive())["type"]
            try:
                await (self.open() if event == "lifespan.startup" else self.close())
            except Exception as error:  # noqa: BLE001 - the server says it, and stops
                _log.exception("%s failed", event, extra=_NOBODY)
                await send({"type": f"{event}.failed", "message": str(error)})
                return
            await send({"type": f"{event}.complete"})
            if event == "lifespan.shutdown":
                return

    @contextlib.asynccontextmanager
    async def lifespan(self, _: object = None) -> AsyncIterator[None]:
        """Be open as long as one is in here: for the application that this one is mounted in, which no server tells of
        its life. `FastAPI(lifespan=app.lifespan)`, or Starlette; `Litestar(lifespan=[app.lifespan])`."""
        await self.open()
        try:
            yield
        finally:
            await self.close()

    async def _open_late(self) -> None:
        try:
            await self.open()
        except Exception:  # noqa: BLE001 - and whatever it is
            self._opened = False  # whoever comes next tries again
            _log.warning("the service could not be opened", exc_info=True, extra=_NOBODY)

    async def open(self) -> None:
        """Take up what the store holds. Idempotent."""
        self._opened = True
        await self.service.__aenter__()

    def drain(self, grace: float | None = None) -> None:
        """Take no new connection, and tell every device to connect elsewhere, once it has been answered what it has
        said: before the server stops, which otherwise may serve one that came at the last moment until its patience is
        over. `grace` is how many seconds it may take from now on until `close` is done, whatever hangs (default: as
        long as the service takes). Idempotent; there is no way back."""
        self._draining = True
        if grace is not None and self._until is None:
            self._until = asyncio.get_running_loop().time() + grace
        for socket in [socket for sockets in self._sockets.values() for socket in sockets]:
            socket.going_away()

    @property
    def sockets(self) -> int:
        """How many WebSockets stand."""
        return sum(map(len, self._sockets.values()))

    async def close(self) -> None:
        """Drain, and close the service. Idempotent."""
        self.drain()
        left = self._until - asyncio.get_running_loop().time() if self._until is not None else None
        try:
            async with asyncio.timeout(left):
                await self.service.close(within=left * _FINISHING if left is not None else None)
        except TimeoutError:
            _log.warning("the service was not closed in time", extra=_NOBODY)

    # --- requests

    async def ready(self) -> bool:
        """Whether new connections are taken, and the store answers."""
        if self._draining:
            return False
        try:
            async with asyncio.timeout(_PATIENCE):
                await self.service.store.load((("line", "?"),))
        except Exception:  # noqa: BLE001 - and whatever it is
            _log.warning("the store does not answer", exc_info=True, extra=_NOBODY)
            return False
        return True

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, headers = path_below(scope), _headers(scope)
        if scope["method"] == "HEAD":  # as GET is answered, but for the body
            send = partial(_without_body, send)
        if await self._ice.serve(scope, send, path, headers) or await self._page.serve(scope, send, path, headers):
            return
        rest = self._rest or await self._loaded()
        mount, parts = address(scope)
        root = unquote(mount)
        asked = {**scope, "root_path": root, "path": "/".join((root, *map(escaped, parts)))}
        if scope["method"] == "HEAD":
            asked["method"] = "GET"
        await rest(asked, receive, send)  # type: ignore[arg-type]  # the same protocol, by other names

    async def _loaded(self) -> Litestar:
        """What answers requests. It takes a third of a second to be made, in which calls go on."""
        async with self._making:
            if self._rest is None:
                self._rest = await asyncio.to_thread(self._made)
            return self._rest

    def _made(self) -> Litestar:
        from ._rest import rest  # noqa: PLC0415 - heavy, and not needed where only devices connect

        return rest(self, self._api_key, dev=self._dev, origins=self._origins)


async def _without_body(send: Send, message: MutableMapping[str, Any]) -> None:
    await send({**message, "body": b""} if message["type"] == "http.response.body" else message)


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _is_own(page: str, host: str) -> bool:
    return page.partition("://")[2].lower() == host.lower()
