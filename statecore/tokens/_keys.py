"""The key ring: which key signs, and which ones still verify."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias, get_args

import attrs

from statecore.errors import BlankId, InvalidArgument

Algorithm: TypeAlias = Literal["HS256", "ES256", "RS256", "Ed25519"]
"""How a key signs: with a shared secret (HS256), or with a private key that others verify by the public one."""


def _kid(_: object, __: object, kid: Any) -> None:
    if not isinstance(kid, str) or len(kid) > 128:
        raise InvalidArgument("a key id is a text of at most 128 characters", name="kid")
    if not kid.strip():
        raise BlankId(name="kid")


def _algorithm(_: object, __: object, algorithm: Any) -> None:
    if algorithm not in get_args(Algorithm):
        raise InvalidArgument(f"an algorithm is one of {', '.join(get_args(Algorithm))}", name="algorithm")


def _secret(key: Key, _: object, secret: Any) -> None:
    if not isinstance(secret, bytes):
        raise InvalidArgument("a key's secret is bytes", name="secret")
    pem = secret.lstrip().startswith(b"-----BEGIN")
    # A public key is no secret. Taken for one, it would let anybody sign.
    if key.algorithm == "HS256" and (pem or len(secret) < 32):
        raise InvalidArgument("HS256 needs a shared secret of at least 32 bytes, and no PEM", name="secret")
    if key.algorithm != "HS256" and not pem:
        raise InvalidArgument(f"{key.algorithm} needs a private or public key as PEM", name="secret")


@attrs.frozen
class Key:
    """One key. Its secret never shows."""

    kid: str = attrs.field(validator=_kid)
    algorithm: Algorithm = attrs.field(validator=_algorithm)
    secret: bytes = attrs.field(validator=_secret, repr=False)


class Keys:
    """A key ring: the current key signs, every key on the ring verifies. Immutable; secrets never show in a repr.

    `secret` is at least 32 bytes for HS256, else a private key as PEM, or a public one for a ring that only verifies.
    Raises BlankId or InvalidArgument.
    """

    __slots__ = ("_ring",)

    def __init__(self, kid: str, secret: bytes, *, algorithm: Algorithm = "HS256") -> None:
        self._ring: tuple[Key, ...] = (Key(kid, algorithm, secret),)

    @property
    def current(self) -> str:
        """The id of the key that signs."""
        return self._ring[-1].kid

    @property
    def kids(self) -> tuple[str, ...]:
        """The ids of all keys, the oldest first, the current one last."""
        return tuple(key.kid for key in self._ring)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._ring)

    def __repr__(self) -> str:
        return f"<Keys {', '.join(self.kids)}>"

    def rotate(self, kid: str, secret: bytes, *, algorithm: Algorithm = "HS256") -> Keys:
        """A ring that signs with a new key and still verifies with all of this one's. The id must be new to it."""
        if kid in self.kids:
            raise InvalidArgument(f"the ring has a key {kid!r} already", name="kid")
        return self._with((*self._ring, Key(kid, algorithm, secret)))

    def retire(self, kid: str) -> Keys:
        """A ring without a key: what it signed is refused from then on. Not for the current key; else idempotent."""
        if kid == self.current:
            raise InvalidArgument(f"{kid!r} is the current key: rotate first", name="kid")
        return self._with(tuple(key for key in self._ring if key.kid != kid))

    def _with(self, ring: tuple[Key, ...]) -> Keys:
        last = ring[-1]
        keys = Keys(last.kid, last.secret, algorithm=last.algorithm)
        keys._ring = ring
        return keys
