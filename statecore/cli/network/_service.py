"""What the commands ask a running service over HTTP."""

from __future__ import annotations

import argparse
import json
import os
import ssl
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote, urlsplit

from ...errors import InvalidArgument, SignalingLost, SignalingRefused, StatecoreError, TokenMissing, from_code

URL = "http://127.0.0.1:8765"
"""Where `statecore serve` listens unless it is told otherwise."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Where the service is, and by which right."""
    parser.add_argument("--url", default=os.environ.get("STATECORE_URL", URL), help=f"the service (default: {URL})")
    parser.add_argument(
        "--api-key",
        default=os.environ.get("STATECORE_API_KEY"),
        metavar="KEY",
        help="the service's key; better in the variable STATECORE_API_KEY",
    )


def ask(args: argparse.Namespace, method: str, path: str, body: Any = None) -> Any:
    """One request; what the service answers. Raises the error that it tells."""
    if urlsplit(args.url).scheme not in ("http", "https"):
        raise InvalidArgument("--url must begin with http: or https:", name="url")
    headers = {"Content-Type": "application/json"}
    if args.api_key:
        headers["Authorization"] = f"Bearer {args.api_key}"
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(args.url.rstrip("/") + path, data, headers, method=method)  # noqa: S310 - as above
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
    return json.loads(text) if text else None


def _told(status: int, body: bytes) -> StatecoreError:
    try:
        told = json.loads(body)
        if told["code"] == "unauthorized":
            return SignalingRefused("the service wants its API key: set STATECORE_API_KEY or say --api-key")
        data = told.get("data", {})
        wrong = ", ".join(f"{problem['key']}: {problem['message']}" for problem in data.get("problems", []))
        return from_code(told["code"], wrong or told["message"], **data)
    except (ValueError, KeyError, TypeError):
        return SignalingRefused(why=f"HTTP status {status}")


def auth_token(args: argparse.Namespace, **user: Any) -> str:
    """The auth token to connect with: the one that was given, or one that the service issues for `--as`, who is made
    known with what `user` says."""
    given: str | None = args.token or os.environ.get("STATECORE_TOKEN")
    if given:
        return given
    if not args.user:
        raise TokenMissing("say who you are: --as USER (with the service's API key), or --token")
    if not args.api_key:
        return str(ask(args, "POST", "/v1/dev/login", {"uid": args.user, **user})["token"])
    ask(args, "POST", "/v1/users", {"uid": args.user, **user})
    path = f"/v1/users/{quote(args.user, safe='')}/auth-tokens"
    return str(ask(args, "POST", path, {"lifetime": 86_400})["token"])
