"""Call tokens as the service issues and checks them."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, TypeAlias

from msgspec.structs import replace

from ..errors import (
    CallGone,
    NotAParty,
    StoreConflict,
    TokenError,
    TokenForeign,
    TokenLacksGrant,
    TokenMissing,
    TokenRevoked,
)
from ..model import Record
from ..ports import Clock, Ids, Key, Store
from ..settings import ServiceSettings
from ..switchboard import bound_key, bound_to, check_id
from ..tokens import Claims, JwtSigner, Keys, RevocationList, Role, TokenSigner, issue, refreshed
from ._ids import addressable

Authorize: TypeAlias = Callable[[str, str], bool]
"""Takes (user, session id): whether the user may have a call token for a session that is not a ringing call. Only True
is a yes."""

_KEY: Key = "secret", "call tokens"
"""Where the key stands that signs, unless one is given."""
_REVOKED = "revoked"
"""The kind of a record that a token is void: its id, and as the value until when that matters, as decimal digits."""


def anybody(_user: str, _session: str) -> bool:
    """Everybody may have a token for any session, unless the application says otherwise."""
    return True


def not_for_guests(guest: Claims | None, session: str) -> None:
    """A guest asks for a token: whoever gave the one it has may give another. Raises TokenForeign, TokenLacksGrant."""
    if guest is not None:
        raise TokenForeign(what="session") if session != guest.session else TokenLacksGrant(grant="token")


class TokenDesk:
    """Issues, verifies and revokes."""

    def __init__(
        self,
        store: Store,
        settings: ServiceSettings,
        *,
        authorize: Authorize | None,
        signer: TokenSigner | None,
        key: bytes | None,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self.revocations = RevocationList()
        """Which call tokens are void before their time."""
        self._store = store
        self._settings = settings
        self._authorize = authorize or anybody
        self._made = signer
        if key is not None:
            Keys("1", key)  # what is wrong with it is said now, and not when a call needs the first token
        self._key = key
        self._clock = clock
        self._ids = ids

    async def recover(self) -> None:
        """Take up the key and the revocations that the store holds. Raises StoreConflict."""
        if self._made is None and self._key is None:
            self._key = await self._write_once(_KEY, secrets.token_bytes(32))
        for (_, token_id), until in await self._store.scan(_REVOKED):
            self.revocations.revoke(token_id, int(until))
        self.revocations.expire(self._clock.wall(), self.leeway)

    async def _write_once(self, key: Key, value: bytes) -> bytes:
        """What stands at a key, after writing it if nothing did."""
        for _ in range(self._settings.attempts):
            version, kept = (await self._store.load((key,)))[key]
            if kept is not None:
                return bytes(kept)
            if await self._store.commit({key: (version, value)}):
                return value
        raise StoreConflict(attempts=self._settings.attempts)

    @property
    def _signer(self) -> TokenSigner:
        """Made on first use: the library that signs is imported then."""
        if self._made is None:
            keys = Keys("1", self._key or secrets.token_bytes(32))
            self._made = JwtSigner(keys, self._settings.token_issuer)
        return self._made

    @property
    def leeway(self) -> float:
        """How many seconds clocks may differ: what the signer says that verified a token, if it says."""
        return float(getattr(self._made, "leeway", 0.0))

    def sign(self, user: str, session: str, role: Role | str = Role.PARTICIPANT, **more: Any) -> str:
        """A token, for whoever may have it. Raises AdapterMissing without a library that signs."""
        claims = issue(
            issuer=self._settings.token_issuer, user=user, session=session, token_id=self._ids(),
            now=self._clock.wall(), role=role, **{"lifetime": self._settings.token_lifetime, **more},
        )  # fmt: skip
        return self._signer.sign(claims)

    async def refresh(self, token: str, lifetime: float | None) -> str:
        """A new token that says the same; for the device that the old one is bound to, if a guest has joined by it."""
        claims = self._verified(token)
        device = bound_to(await self._look(bound_key(claims.token_id)))
        claims = replace(claims, device=claims.device or device)
        seconds = self._settings.token_lifetime if lifetime is None else lifetime
        return self._signer.sign(refreshed(claims, self._clock.wall(), seconds, self._ids()))

    def admit(self, token: str) -> Claims:
        """What a token says that is to admit a guest. Raises TokenError."""
        if not token:
            raise TokenMissing
        return self._verified(token)

    def verify(self, token: str) -> tuple[Claims | None, TokenError | None]:
        """The claims of a token that is good, or why it is not; neither if there is no token."""
        if not token:
            return None, None
        try:
            return self._verified(token), None
        except TokenError as error:
            return None, error

    def _verified(self, token: str) -> Claims:
        """The claims of a token that is good. What was revoked the signer need not know: it may be another's."""
        claims = self._signer.verify(token, self._clock.wall())
        if self.revocations.revoked(claims):
            raise TokenRevoked
        return claims

    async def revoke(self, token: str) -> Claims | None:
        """Void a token from now on, and for the next service on this store once this returns. Gives its claims, unless
        it was void before. Raises TokenError if it is not one of this service's, StoreConflict. Idempotent."""
        try:
            claims = self._verified(token)
        except TokenRevoked:
            return None
        await self._write_once((_REVOKED, claims.token_id), str(claims.until).encode())
        self.revocations.expire(self._clock.wall(), self.leeway)
        self.revocations.revoke(claims.token_id, claims.until)
        return claims

    async def issue(
        self, user: str, session: str, role: Role | str = Role.PARTICIPANT, *, ask: bool, **more: Any
    ) -> str:
        """A token: for a call that rings only for its parties, else as the application says if it is to be asked.

        Raises NotAParty, CallGone, BlankId, SpacedId, InvalidArgument for `.` and `..`."""
        addressable("user", check_id("user", user))
        addressable("session_id", check_id("session_id", session))
        return self.sign(user, await self._admitting(user, session, ask=ask), role, **more)

    async def _look(self, key: Key) -> Any:
        return (await self._store.load((key,)))[key][1]

    async def _admitting(self, user: str, session: str, *, ask: bool) -> str:
        """The session's own id, if the user may have a token for it."""
        record = await self._look(("call", session))
        if isinstance(record, Record):
            if record.merged_into:
                return await self._admitting(user, record.merged_into, ask=ask)
            if record.end.at:
                raise CallGone(session_id=session, reason=record.reason)
            if record.receiver:
                if user not in (record.initiator, record.receiver, *(each.user for each in record.invitations)):
                    raise NotAParty(user=user, session_id=session)
                return session
        if ask and self._authorize(user, session) is not True:
            raise NotAParty(user=user, session_id=session)
        return session
