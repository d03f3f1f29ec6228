"""STUN and TURN servers that a service hands out: made with short-lived credentials, and kept fresh by a device."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Literal

from ..errors import InvalidSettings, SignalingError
from ..ports import ProvidesIce, Signaling
from ..settings import IceServer, IceServers, is_address
from ._tasks import Tasks, cancel

_log = logging.getLogger("statecore.client")
_PATIENCE = 3.0
"""How many seconds media waits for the first answer. Without one it opens all the same, and tries without servers."""
_AGAIN = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Seconds until the service is asked again that could not answer, longer after each time."""
_LONGEST = 365 * 86_400
"""For how many seconds credentials are good at the most."""


class TurnCredentials:
    """STUN servers as they are, and TURN servers with a name and a password that hold for `ttl` seconds.

    An `IceSource`, for `CallService(ice=...)`. The scheme is that of coturn's `use-auth-secret`: the name is
    `<Unix time of expiry>:<user>`, the password the HMAC-SHA1 of the name by the `secret` that is shared with the TURN
    server (`static-auth-secret`), in Base64. So no user ever holds a lasting credential, and the secret shows nowhere.
    `policy` relay has every client use nothing else. Raises InvalidSettings."""

    def __init__(
        self,
        *,
        turn: str | Iterable[str] = (),
        stun: str | Iterable[str] = (),
        secret: str | bytes = b"",
        ttl: float = 3600.0,
        policy: Literal["all", "relay"] = "all",
        now: Callable[[], float] = time.time,
    ) -> None:
        self._turn, self._stun = _urls("turn", turn), _urls("stun", stun)
        self._secret = secret.encode() if isinstance(secret, str) else secret
        self._ttl, self._policy, self._now = _lifetime(ttl), policy, now
        if self._turn and not self._secret.strip():
            raise InvalidSettings(name="secret", value="<secret>", why="a TURN server needs one")
        if policy == "relay" and not self._turn:
            raise InvalidSettings(name="policy", value=policy, why="needs a TURN server")
        self("?")

    def __repr__(self) -> str:
        return f"TurnCredentials(turn={self._turn}, stun={self._stun}, ttl={self._ttl:g}, policy={self._policy!r})"

    def __call__(self, user: str) -> IceServers:
        """The servers for one user, from now on for `ttl` seconds."""
        servers = [IceServer(urls=self._stun)] if self._stun else []
        if self._turn:
            name = f"{int(self._now() + self._ttl)}:{user}"
            password = b64encode(hmac.digest(self._secret, name.encode(), "sha1")).decode()
            servers.append(IceServer(urls=self._turn, username=name, credential=password))
        return IceServers(servers=servers, policy=self._policy, lifetime=self._ttl if self._turn else None)


def _urls(kind: Literal["turn", "stun"], given: str | Iterable[str]) -> tuple[str, ...]:
    urls = (given,) if isinstance(given, str) else tuple(given)
    if not all(is_address(url, kind) for url in urls):
        why = f"must be addresses that begin with {kind}: or {kind}s:, and name a server"
        raise InvalidSettings(name=kind, value=urls, why=why)
    return urls


def _lifetime(ttl: object) -> float:
    if isinstance(ttl, bool) or not isinstance(ttl, int | float) or not 1 <= ttl <= _LONGEST:
        raise InvalidSettings(name="ttl", value=ttl, why=f"must be from 1 to {_LONGEST} seconds")
    return float(ttl)


class FreshIce:
    """What the service hands out to this device: asked for when it connects, and again when half of its time is over.

    `current` is empty until then, and stays what it was while the service cannot be asked."""

    def __init__(self, signaling: Signaling, tasks: Tasks, extra: Mapping[str, str]) -> None:
        self.current = IceServers()
        """As of now."""
        self._signaling = signaling if isinstance(signaling, ProvidesIce) else None
        self._tasks = tasks
        self._extra = extra
        self._task: asyncio.Task[None] | None = None
        self._failures = 0
        self._answered = asyncio.Event()

    def start(self) -> None:
        """The service can be asked, now that it is connected: at once, unless what it gave is being kept fresh."""
        if self._task is not None and self._failures:
            self._task.cancel()
        elif self._task is not None and not self._task.done():
            return
        if self._signaling is not None:
            self._task = self._tasks.start(self._keep(self._signaling), "statecore client ice")

    async def ready(self) -> None:
        """Wait for the first answer, for a while; at once if none is to be expected."""
        if self._task is not None and not self._answered.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await self._answered.wait()

    def rest(self) -> None:
        """Ask no more until it is started again: the service will not have this device. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def stop(self) -> None:
        """Ask no more. Idempotent."""
        if self._task is not None:
            await cancel(self._task)

    async def _keep(self, signaling: ProvidesIce) -> None:
        while True:
            try:
                self.current = await signaling.ice_servers()
            except SignalingError as error:
                _log.warning("no STUN and TURN servers could be had: %s", error, extra=self._extra)
                pause = _AGAIN[min(self._failures, len(_AGAIN) - 1)]
                self._failures += 1
            else:
                self._failures = 0
                self._answered.set()
                if self.current.lifetime is None:
                    return
                pause = self.current.lifetime / 2
            await asyncio.sleep(pause)


__all__ = ["FreshIce", "TurnCredentials"]
