"""Claims, roles and grants of call tokens, and the rules by which they are good."""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from statecore.errors import (
    BlankId,
    InvalidArgument,
    SpacedId,
    TokenExpired,
    TokenForeign,
    TokenLacksGrant,
    TokenNotYetValid,
)

_LONGEST = 1_000_000_000
"""Seconds, about 30 years: what a token can be good for at most."""


class Role(StrEnum):
    """What somebody is in a session. Nobody is more than a participant unless the host application says so."""

    HOST = "host"
    MODERATOR = "moderator"
    PRESENTER = "presenter"
    PARTICIPANT = "participant"
    VIEWER = "viewer"


GRANTS = frozenset({"audio", "video", "screen", "moderate", "record", "end_for_all"})
"""What the flows that come with statecore ask for: to send sound, a camera's picture or a screen, to act on others, to
record, to end the session for everyone. A custom flow may name more, and `issue` takes them."""

_SENDING = frozenset({"audio", "video", "screen"})

ROLE_GRANTS: dict[Role, frozenset[str]] = {
    Role.HOST: GRANTS,
    Role.MODERATOR: _SENDING | {"moderate", "record", "end_for_all"},
    Role.PRESENTER: _SENDING,
    Role.PARTICIPANT: _SENDING,
    Role.VIEWER: frozenset(),
}
"""What each role grants, unless a token names its grants itself."""


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What a call token says. Times are Unix time in whole seconds, as JSON Web Tokens have it."""

    issuer: str = msgspec.field(name="iss")
    """Who issued it."""
    user: str = msgspec.field(name="sub")
    """The user whom it admits, and nobody else."""
    session: str = msgspec.field(name="sid")
    """The session to which it admits."""
    token_id: str = msgspec.field(name="jti")
    """The token's own id, by which it is revoked."""
    issued_at: int = msgspec.field(name="iat")
    """When it was issued."""
    not_before: int = msgspec.field(name="nbf")
    """From when on it is good."""
    expires: int = msgspec.field(name="exp")
    """The second from which on it is not good any more."""
    role: Role = Role.PARTICIPANT
    """What the user is in the session."""
    grants: frozenset[str] = frozenset()
    """What the user may do there."""
    device: str | None = None
    """The only device that may use it; None for any of the user's."""

    @property
    def until(self) -> int:
        """When it expires, as Unix time in milliseconds: comparable with `now`."""
        return self.expires * 1000


class TokenSigner(Protocol):
    """Makes tokens of claims, and claims of tokens. One signer serves a whole service; safe to share."""

    def sign(self, claims: Claims) -> str:
        """The token that carries these claims."""

    def verify(self, token: str | None, now: int) -> Claims:
        """The claims of a token that is genuine and good at `now`.

        Raises TokenMissing for none, TokenMalformed for a text that is no token, TokenForged if the signature does not
        fit, TokenForeign for another issuer, TokenExpired, TokenNotYetValid, TokenRevoked. Never anything else, and
        never with the token in the error.
        """


class Revocation(Protocol):
    """Knows which tokens were revoked before their time."""

    def revoked(self, claims: Claims) -> bool:
        """Whether the token with these claims was revoked. Must not wait."""


# --- making -----------------------------------------------------------------------------------------------------------


def issue(
    *,
    user: str,
    session: str,
    now: int,
    lifetime: float,
    token_id: str,
    issuer: str = "statecore",
    role: Role | str = Role.PARTICIPANT,
    grants: Iterable[str] | None = None,
    device: str | None = None,
    not_before: int | None = None,
) -> Claims:
    """Claims for a user in a session, good for `lifetime` seconds from `not_before`, or from `now` if that is None.

    `now` and `not_before` are in milliseconds; the claims keep whole seconds and never last shorter than asked.
    `grants` replaces what the role grants. Raises BlankId or SpacedId, or InvalidArgument for a role, grants or a
    lifetime that cannot be one.
    """
    for name, value in {"user": user, "session": session, "token_id": token_id, "issuer": issuer}.items():
        _filled(name, value)
    if device is not None:
        _filled("device", device)
    start = now if not_before is None else not_before
    checked = _role(role)
    return Claims(
        issuer=issuer,
        user=user,
        session=session,
        token_id=token_id,
        issued_at=now // 1000,
        not_before=start // 1000,
        expires=_end(start, lifetime),
        role=checked,
        grants=ROLE_GRANTS[checked] if grants is None else _grants(grants),
        device=device,
    )


def refreshed(claims: Claims, now: int, lifetime: float, token_id: str) -> Claims:
    """The same claims under a new id, good for `lifetime` seconds from `now`. The old token stays good for its time.

    Raises TokenExpired or TokenNotYetValid: only a token that is good can be refreshed.
    """
    check_time(claims, now)
    return issue(
        user=claims.user,
        session=claims.session,
        now=now,
        lifetime=lifetime,
        token_id=token_id,
        issuer=claims.issuer,
        role=claims.role,
        grants=claims.grants,
        device=claims.device,
    )


def _filled(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise InvalidArgument(f"{name} must be a text", name=name)
    if not value.strip():
        raise BlankId(name=name)
    if len(value) > 128 or " " in value or not value.isprintable():  # other white space is not printable
        raise SpacedId(name=name, value=value[:128])


def _role(role: str) -> Role:
    try:
        return Role(role)
    except ValueError:
        raise InvalidArgument(f"a role is one of {', '.join(Role)}", name="role") from None


def _grants(grants: Iterable[str]) -> frozenset[str]:
    # A lone text is an easy slip, and would fall apart into characters.
    names: list[Any] = [None] if isinstance(grants, str) else list(grants)
    if not all(isinstance(name, str) and name for name in names):
        raise InvalidArgument("grants must be a series of names", name="grants")
    return frozenset(names)


def _end(start: int, lifetime: Any) -> int:
    if not isinstance(lifetime, int | float) or not 0 < lifetime <= _LONGEST:
        raise InvalidArgument(f"a lifetime is more than 0 and at most {_LONGEST} seconds", name="lifetime")
    return -((start + math.ceil(lifetime * 1000)) // -1000)


# --- checking ---------------------------------------------------------------------------------------------------------


def check(
    claims: Claims,
    *,
    session: str,
    user: str,
    device: str | None,
    now: int,
    grant: str | None = None,
    leeway: float = 0.0,
) -> None:
    """Check verified claims against what their token is used for. Returns if all is well.

    Raises TokenForeign (`what` is session, user or device), TokenExpired, TokenNotYetValid, or TokenLacksGrant if
    `grant` is named and not held. A device counts only if the token is bound to one. `leeway` is as in `check_time`.
    """
    if claims.session != session:
        raise TokenForeign(what="session")
    if claims.user != user:
        raise TokenForeign(what="user")
    if claims.device is not None and claims.device != device:
        raise TokenForeign(what="device")
    check_time(claims, now, leeway)
    if grant is not None and grant not in claims.grants:
        raise TokenLacksGrant(grant=grant)


def check_time(claims: Claims, now: int, leeway: float = 0.0) -> None:
    """Check that claims are good at `now`: from the first millisecond of `not_before` to the last before `expires`.

    `leeway` is how many seconds clocks may differ. Raises TokenExpired or TokenNotYetValid, with whole seconds.
    """
    slack = round(leeway * 1000)
    if now >= claims.until + slack:
        raise TokenExpired(seconds=(now - claims.until) // 1000)
    early = claims.not_before * 1000 - now
    if early > slack:
        raise TokenNotYetValid(seconds=-(-early // 1000))


# --- revoking ---------------------------------------------------------------------------------------------------------


class RevocationList:
    """Revoked token ids in memory, each kept until its token is refused anyway."""

    def __init__(self) -> None:
        self._until: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._until)

    def revoke(self, token_id: str, until: int) -> None:
        """Revoke a token. `until` is when it expires, in Unix milliseconds (`claims.until`). Idempotent."""
        self._until[token_id] = max(until, self._until.get(token_id, until))

    def revoked(self, claims: Claims) -> bool:
        """Whether the token with these claims was revoked."""
        return claims.token_id in self._until

    def expire(self, now: int, leeway: float = 0.0) -> int:
        """Forget the tokens that have expired by `now`, which are refused without this list; tells how many. `leeway`
        is that of the signer, in seconds: so much longer it takes a token."""
        before, slack = len(self._until), round(leeway * 1000)
        self._until = {token_id: until for token_id, until in self._until.items() if until + slack > now}
        return before - len(self._until)
