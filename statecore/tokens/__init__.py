"""Call tokens: what they claim, what a role grants, when they are good. Signing and checking signatures is a port.

A call token admits one user to one session. Its claims travel signed, so any node verifies it without looking anything
up: `TokenSigner.verify` vouches for signature, issuer and time, `check` for what the token is used for. Nothing here
knows a clock or chance: `now` is Unix time in integer milliseconds, and token ids come in from outside.

    claims = issue(user="bob", session="s1", now=now, lifetime=3600.0, token_id=new_id())
    token = signer.sign(claims)
    check(signer.verify(token, now), session="s1", user="bob", device="phone", now=now, grant="audio")

`JwtSigner` makes JSON Web Tokens (RFC 7519) with joserfc, which is imported when the first signer is made.
"""

from __future__ import annotations

from ._claims import (
    GRANTS,
    ROLE_GRANTS,
    Claims,
    Revocation,
    RevocationList,
    Role,
    TokenSigner,
    check,
    check_time,
    issue,
    refreshed,
)
from ._jwt import JwtSigner
from ._keys import Algorithm, Keys
from ._peek import session_of, user_of

__all__ = [
    "GRANTS",
    "ROLE_GRANTS",
    "Algorithm",
    "Claims",
    "JwtSigner",
    "Keys",
    "Revocation",
    "RevocationList",
    "Role",
    "TokenSigner",
    "check",
    "check_time",
    "issue",
    "refreshed",
    "session_of",
    "user_of",
]
