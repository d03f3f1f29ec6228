"""What a device or page is told that could not be served: an HTTP status, and why."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import msgspec

from statecore import StatecoreError
from statecore.errors import (
    RateLimited,
    SignalingLost,
    SignalingRefused,
    TokenError,
    UnsupportedVersion,
    UsageError,
)

_log = logging.getLogger("statecore.web")
_NOBODY = {"session": "", "user": "", "device": ""}
_STATUS: dict[type[Exception], int] = {
    TokenError: 401,
    RateLimited: 429,
    UnsupportedVersion: 400,
    SignalingRefused: 403,
    UsageError: 403,
    SignalingLost: 503,
}
"""The first entry that fits."""


class Refusal(NamedTuple):
    """An answer."""

    status: int
    body: bytes
    headers: list[tuple[bytes, bytes]]
    code: str
    message: bytes
    """The same, as a message of the wire says it."""


def refusal(error: Exception) -> Refusal:
    """The answer to who met an error. What is not the asker's fault passes, and is not theirs to know: it is said as a
    service that cannot answer now, to be asked again, and stands in the log."""
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), None)
    if status is None or not isinstance(error, StatecoreError):
        unknown = not isinstance(error, StatecoreError)
        _log.warning("somebody could not be served: %s", error, exc_info=error if unknown else None, extra=_NOBODY)
        status, error = 503, SignalingLost("the service cannot answer now: try again")
    data: dict[str, Any] = {k: v for k, v in error.data.items() if isinstance(v, str | int | float) or v is None}
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    if "seconds" in data and status == 429:
        headers.append((b"retry-after", str(data["seconds"]).encode()))
    body = msgspec.json.encode({"code": error.code, "message": str(error), "data": data})
    message = msgspec.json.encode({"m": "refused", "session": "", "n": 0, "code": error.code, "data": data})
    return Refusal(status, body, headers, error.code, message)


__all__ = ["Refusal", "refusal"]
