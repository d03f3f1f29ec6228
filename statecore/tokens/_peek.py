"""What the bearer of a call token may read from it without the key."""

from __future__ import annotations

from binascii import Error, a2b_base64

import msgspec

from ..errors import TokenMalformed


class _Names(msgspec.Struct):
    session: str = msgspec.field(name="sid")
    user: str = msgspec.field(name="sub", default="")


_read = msgspec.json.Decoder(_Names).decode


def session_of(token: str) -> str:
    """The session a call token says it is for. Nothing is verified: that is the service's. Raises TokenMalformed."""
    return _peek(token).session


def user_of(token: str) -> str:
    """The user whom a call token says it admits; likewise."""
    if user := _peek(token).user:
        return user
    raise TokenMalformed(why="it names no user")


def _peek(token: str) -> _Names:
    try:
        payload = token.split(".")[1].replace("-", "+").replace("_", "/")
        return _read(a2b_base64(payload + "=" * (-len(payload) % 4)))
    except (AttributeError, IndexError, Error, ValueError, RecursionError, msgspec.MsgspecError):
        raise TokenMalformed(why="it names no session") from None
