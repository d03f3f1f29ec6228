"""JSON Web Tokens by joserfc, which is imported when the first signer is made and nowhere else."""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import attrs
import msgspec

from statecore.errors import (
    AdapterMissing,
    InvalidArgument,
    TokenForeign,
    TokenForged,
    TokenMalformed,
    TokenMissing,
    TokenRevoked,
)

from ._claims import Claims, Revocation, check_time
from ._keys import Algorithm, Key, Keys

if TYPE_CHECKING:
    from joserfc.jwk import Key as JoseKey

_LONGEST = 8_192
_KNOWN = 4_096
"""How many genuine tokens are remembered."""
_MOST_LEEWAY = 3_600
"""As many seconds as stores keep what expires for longer."""

_KEY_TYPES: dict[Algorithm, Literal["oct", "RSA", "EC", "OKP"]] = {
    "HS256": "oct",
    "RS256": "RSA",
    "ES256": "EC",
    "Ed25519": "OKP",
}


class _Header(msgspec.Struct, forbid_unknown_fields=True):
    """All that the header of a call token may say. RFC 7515, 4.1.11: what is not understood and critical is refused."""

    alg: str
    kid: str
    typ: Literal["JWT"] = "JWT"


_read_header = msgspec.json.Decoder(_Header).decode
_read_claims = msgspec.json.Decoder(Claims).decode
# Sets have no order of their own: sorted, equal claims make equal tokens.
_write_claims = msgspec.json.Encoder(order="deterministic").encode


@attrs.frozen
class _Ready:
    """A key as joserfc wants it, under the only algorithm that it may be used with."""

    kid: str
    algorithm: Algorithm
    jose: JoseKey = attrs.field(repr=False)
    model: Any
    """What joserfc makes and checks the algorithm's signatures by."""
    head: bytes
    """How every token begins that it signs: the header, which is the same for all, and a dot."""


class JwtSigner:
    """The TokenSigner that makes JSON Web Tokens. Safe to share.

    Signs with the current key of the ring and names it in the token; verifies with the key named there, and with that
    key's own algorithm only, whatever the token asks for. `leeway` is how many seconds clocks may differ, an hour at
    most: so much longer than they say stores keep what concerns a token. `revocation` is asked last. Raises
    AdapterMissing without joserfc, and InvalidArgument for a leeway or a key that is not what it should be.
    """

    def __init__(
        self, keys: Keys, issuer: str = "statecore", *, leeway: float = 0.0, revocation: Revocation | None = None
    ) -> None:
        try:
            from joserfc import errors, jwk, jws  # noqa: PLC0415 - heavy, and optional
        except ImportError:
            raise AdapterMissing(what="joserfc", extra="'statecore[tokens]'") from None
        if not 0 <= leeway <= _MOST_LEEWAY:
            raise InvalidArgument(f"leeway must be from 0 to {_MOST_LEEWAY} seconds", name="leeway")
        self._jws = jws
        self._jose_error = errors.JoseError

        def ready(key: Key) -> _Ready:
            model = jws.JWSRegistry.algorithms[key.algorithm]
            try:
                jose = jwk.import_key(key.secret, _KEY_TYPES[key.algorithm])
                model.check_key(jose)
            # The cause may hold the key.
            except (errors.JoseError, ValueError, TypeError, KeyError):
                raise InvalidArgument(f"the key {key.kid!r} is not one for {key.algorithm}", name="keys") from None
            header = {"alg": key.algorithm, "kid": key.kid, "typ": "JWT"}
            return _Ready(key.kid, key.algorithm, jose, model, _base64(msgspec.json.encode(header)) + b".")

        self._keys = {key.kid: ready(key) for key in keys}
        self._current = self._keys[keys.current]
        self._issuer = issuer
        self.leeway = leeway
        """How many seconds clocks may differ."""
        self._revocation = revocation
        self._genuine: dict[str, Claims] = {}
        """Tokens whose signature fits, with what they say. A signature is for ever; everything else is checked anew."""

    def __repr__(self) -> str:
        return f"<JwtSigner {self._issuer!r} {', '.join(self._keys)}>"

    def sign(self, claims: Claims) -> str:
        """The token that carries these claims. Raises TokenForeign if they name another issuer than this one, and
        InvalidArgument if the current key can only verify."""
        if claims.issuer != self._issuer:
            raise TokenForeign(what="issuer")
        key = self._current
        if not key.jose.is_private:
            raise InvalidArgument(f"the key {key.kid!r} is public: it can only verify", name="keys")
        payload = _write_claims(claims)
        # RFC 7515, 7.1. joserfc would write and check the header anew each time, which takes longer than to sign.
        signed = key.head + _base64(payload)
        token = (signed + b"." + _base64(key.model.sign(signed, key.jose))).decode()
        with suppress(msgspec.MsgspecError):  # of claims that a verifier will not take
            self._remember(token, _read_claims(payload))
        return token

    def verify(self, token: str | None, now: int) -> Claims:
        """The claims of a token that is genuine and good at `now`, in Unix milliseconds; raises as TokenSigner says."""
        if token is None or token == "":
            raise TokenMissing
        claims = self._known(token)
        if claims is None:
            claims = self._open(token)
            self._remember(token, claims)
        if claims.issuer != self._issuer:
            raise TokenForeign(what="issuer")
        check_time(claims, now, self.leeway)
        if self._revocation is not None and self._revocation.revoked(claims):
            raise TokenRevoked
        return claims

    def _known(self, token: object) -> Claims | None:
        return self._genuine.get(token) if isinstance(token, str) else None

    def _remember(self, token: str, claims: Claims) -> None:
        """Keep what a genuine token says, so that its signature need not be worked out again."""
        if len(self._genuine) >= _KNOWN:
            self._genuine.clear()
        self._genuine[token] = claims

    def _open(self, token: str) -> Claims:
        """The claims of a token whose signature fits: they are not even read before that is known."""
        header = _header(token)
        key = self._keys.get(header.kid)
        if key is None or key.algorithm != header.alg:
            raise TokenForged
        try:
            return _read_claims(self._payload(token, key))
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise TokenMalformed(why=str(error)) from None

    def _payload(self, token: str, key: _Ready) -> bytes:
        try:
            signed = self._jws.deserialize_compact(token, key.jose, [key.algorithm])
        except (self._jose_error, ValueError, TypeError):
            raise TokenForged from None  # without the cause, which may hold the token
        return signed.payload


def _base64(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def _header(token: object) -> _Header:
    if not isinstance(token, str) or len(token) > _LONGEST or token.count(".") != 2:
        raise TokenMalformed(why=f"not three parts of at most {_LONGEST} characters")
    part = token.partition(".")[0]
    try:
        return _read_header(b64decode(part + "=" * (-len(part) % 4), b"-_", validate=True))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise TokenMalformed(why="its header is not a call token's") from None
