"""What the commands ask a running service over HTTP."""

from __future__ import annotations

import argparse
import json
import os
import ssl
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any, TypedDict, TypeVar

import msgspec

from ...errors import SignalingLost, SignalingRefused, StatecoreError, from_code
from .._types import address, secret

T = TypeVar("T")

URL = "http://127.0.0.1:8765"
"""Where `statecore serve` listens unless it is told otherwise."""


class Known(TypedDict):
    """A user, as far as it matters here."""

    uid: str
    name: str
    online: bool


class Issued(TypedDict):
    """A token."""

    token: str


def add_options(parser: argparse.ArgumentParser) -> None:
    """Where the service is, and by which right."""
    parser.add_argument(
        "--url", type=address, default=os.environ.get("STATECORE_URL", URL), help=f"the service (default: {URL})"
    )
    add_key(parser, "the service's key; better in the variable STATECORE_API_KEY")


def add_key(parser: argparse.ArgumentParser, text: str) -> None:
    """The key of those who may do anything."""
    default = os.environ.get("STATECORE_API_KEY")
    parser.add_argument("--api-key", type=secret, default=default, metavar="KEY", help=text)


def ask(args: argparse.Namespace, method: str, path: str, body: Any = None, *, kind: type[T]) -> T:
    """One request; what the service answers, which is of this kind. Raises the error that it tells."""
    headers = {"Content-Type": "application/json"}
    if args.api_key:
        headers["Authorization"] = f"Bearer {args.api_key}"
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(args.url + path, data, headers, method=method)  # noqa: S310 - http: or https:
    try:
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - as above
            text = response.read()
    except urllib.error.HTTPError as error:
        with error:
            raise _told(error.code, error.read()) from None
    except OSError as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise SignalingLost(f"the certificate of {args.url} is not good: {reason.verify_message}") from None
        raise SignalingLost(f"no service answers at {args.url}: {reason}") from None
    except (HTTPException, ValueError) as error:  # of what speaks something else, and of a name that is none
        why = str(error) or type(error).__name__
        raise SignalingLost(f"no service answers at {args.url}: that is no HTTP ({why})") from None
    try:
        answer = json.loads(text)
        msgspec.convert(answer, kind)
    except (ValueError, RecursionError):
        raise SignalingRefused(f"what answers at {args.url} is no call service of this version") from None
    found: T = answer
    return found


def _told(status: int, body: bytes) -> StatecoreError:
    try:
        told = json.loads(body)
        if told["code"] == "unauthorized":
            return SignalingRefused("the service wants its API key: set STATECORE_API_KEY or say --api-key")
        data = told.get("data", {})
        wrong = ", ".join(f"{problem['key']}: {problem['message']}" for problem in data.get("problems", []))
        return from_code(told["code"], wrong or told["message"], **data)
    except (ValueError, KeyError, TypeError, RecursionError):
        return SignalingRefused(why=f"HTTP status {status}")
