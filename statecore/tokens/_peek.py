"""What the bearer of a call token may read from it without the key."""

from __future__ import annotations

from binascii import Error, a2b_base64

import msgspec

from ..errors import TokenMalformed


class _Session(msgspec.Struct):
    session: str = msgspec.field(name="sid")


_read = msgspec.json.Decoder(_Session).decode


def session_of(token: str) -> str:
    """The session a call token says it is for. Nothing is verified: that is the service's. Raises TokenMalformed."""
    try:
        payload = token.split(".")[1].replace("-", "+").replace("_", "/")
        return _read(a2b_base64(payload + "=" * (-len(payload) % 4))).session
    except (AttributeError, IndexError, Error, ValueError, msgspec.MsgspecError):
        raise TokenMalformed(why="it names no session") from None
