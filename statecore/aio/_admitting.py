"""Call tokens of a service, and the guests whom they admit."""

from __future__ import annotations

import math
from collections.abc import Awaitable
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import InvalidArgument, RateLimited, SignalingRefused
from ..ports import Channel, Clock
from ..switchboard import check_id
from ..tokens import Claims, RevocationList, Role, user_of
from ._governing import Governing
from ._ids import addressable
from ._issuing import TokenDesk
from ._limits import Allowances
from ._nodes import Revoked
from ._served import whose
from .link import MemoryChannel, MemoryLink


class Admitting(Governing):
    """Gives call tokens out, renews and revokes them, and lets guests in by them."""

    _tokens: TokenDesk
    _said: Allowances
    _clock: Clock

    @property
    def revocations(self) -> RevocationList:
        """Which call tokens are void before their time."""
        return self._tokens.revocations

    async def generate_token(
        self, user: str, session_id: str, *, role: Role | str = Role.PARTICIPANT, **more: Any
    ) -> str:
        """A call token, as the host application gives it: any role, for any session that may be.

        `lifetime`, `not_before`, `grants` and `device` may be given as for `tokens.issue`."""
        await self._recover()
        return await self._tokens.issue(user, session_id, role, ask=False, **more)

    async def refresh_token(self, token: str, *, lifetime: float | None = None) -> str:
        """A new call token that says the same, good for `lifetime` seconds from now (default: as the settings say).
        If a guest's device has joined by the old one, it is for that device. The old one stays good for its time.

        Raises TokenError if the old one is not good any more."""
        await self._recover()
        return await self._tokens.refresh(token, lifetime)

    async def revoke_token(self, token: str) -> None:
        """Void a call token: from now on, and once this returns, also for the next service on this store. Who has
        joined by it stays, and so does a guest's connection until it breaks.

        Raises TokenError if it is not one of this service's, StoreConflict. Idempotent."""
        await self._recover()
        claims = await self._tokens.revoke(token)
        if claims is not None:
            self._nodes.tell(Revoked(claims.token_id, claims.until))

    # --- guests

    async def admit(self, token: str) -> Claims:
        """What a call token says by which a device comes without a login: for transports, which give it to `serve`.

        Raises TokenError for one that is not good now."""
        await self._recover()
        return self._tokens.admit(token)

    def guest(self, token: str, device: str | None = None) -> MemoryLink:
        """A link for a device, in this process, that no user has logged in on: the call token is enough. It may take
        part in the token's session, and in nothing else; nobody becomes known by it. The first device that joins is the
        only one that the token is good for. Raises TokenMalformed; whether the token is good is found out whenever the
        link connects."""
        user = check_id("user", user_of(token))
        return self._link(user, device, partial(self._accept_guest, token))

    def count_connection(self, user: str, guest: Claims | None = None) -> None:
        """One more connection is to be opened: it counts as a message. For transports, which ask before they open one
        for `serve`. Raises RateLimited, and SignalingRefused for what is no user's id."""
        try:
            addressable("user", check_id("user", user))
        except InvalidArgument as error:
            raise SignalingRefused(why=str(error)) from None
        if wait := self._said.take(whose(user, guest), "", self._clock.monotonic()):
            raise RateLimited(what="connections", seconds=math.ceil(wait))

    async def _accept_guest(self, token: str, channel: MemoryChannel, user: str) -> None:
        self._accept(channel, user, await self.admit(token))

    def _accept(self, channel: MemoryChannel, user: str, guest: Claims | None = None) -> None:
        self.count_connection(user, guest)
        self.serve(channel, user, guest)

    def _link(self, user: str, device: str | None, accept: Any) -> MemoryLink:
        if device is not None:
            check_id("device", device)
        ice = partial(self.ice_servers, user) if self.ice is not None else None
        return MemoryLink(user, device, accept, ice)

    if TYPE_CHECKING:  # the service has them

        def _recover(self) -> Awaitable[None]: ...
        def serve(self, channel: Channel, user: str, guest: Claims | None = None) -> None: ...


__all__ = ["Admitting"]
