"""Whose device a shell is: by a token that it was given, or by those that the service issues."""

from __future__ import annotations

import argparse
import asyncio
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ...errors import (
    AdapterMissing,
    InvalidArgument,
    SignalingError,
    SignalingRefused,
    StatecoreError,
    TokenMissing,
)
from .._types import secret
from ._service import Issued, Known, ask

if TYPE_CHECKING:
    from statecore_web import WebSocketSignaling

EXTRA = "'statecore[web,aiortc]'"
"""What has to be installed to call and to answer."""
_OURS = "the token in the variable STATECORE_TOKEN"
_LIFETIME = 60
"""For how many seconds a token is good that is shown at once."""


def link(args: argparse.Namespace, **user: Any) -> WebSocketSignaling:
    """The way to the service. Whoever is named by `--as` is made known with what `user` says. Without the right to that
    the token in the environment will do, if it is theirs. Raises InvalidArgument for the token of somebody else."""
    try:
        from statecore_web import WebSocketSignaling
    except ImportError as missing:
        raise AdapterMissing(what="statecore_web", extra=EXTRA) from missing

    def by(token: str, what: str) -> WebSocketSignaling:
        made = WebSocketSignaling(args.url, token, user=args.user, device=args.device)
        try:
            named = WebSocketSignaling(args.url, token).user
        except InvalidArgument:  # it does not say whose it is: the service knows
            return made
        if made.user != named:
            raise InvalidArgument(f"{what} is one of {named!r}, and --as says {args.user!r}", name="as")
        return made

    if args.token:
        return by(args.token, "--token")
    ours = _own_token()
    if not args.user:
        if not ours:
            raise TokenMissing("say who you are: --as USER (with the service's API key), or --token")
        return by(ours, _OURS)
    try:
        tokens = Login(args, **user)
    except SignalingRefused:
        if not ours or args.api_key:
            raise
        return by(ours, _OURS)
    return WebSocketSignaling(args.url, tokens, user=args.user, device=args.device)


def _own_token() -> str:
    try:
        return secret(os.environ.get("STATECORE_TOKEN", ""))
    except argparse.ArgumentTypeError as error:
        raise InvalidArgument(f"{_OURS}: {error}", name="token") from None


class Login:
    """A source of auth tokens for `--as`. Each is good for as long as it takes to be shown, so that a good one is never
    lacking, however long it has been, and none takes one of the places that a user's tokens have."""

    def __init__(self, args: argparse.Namespace, **user: Any) -> None:
        self._args, self._user = args, {"uid": args.user, **user}
        if args.api_key:
            ask(args, "POST", "/v1/users", self._user, kind=Known)
        self._first: str | None = self._issue()

    async def __call__(self) -> str:
        """A token. Raises SignalingLost or SignalingRefused."""
        first, self._first = self._first, None
        if first is not None:
            return first
        try:
            return await asyncio.to_thread(self._issue)
        except SignalingError:
            raise
        except StatecoreError as error:  # such as of a user who was deleted meanwhile
            raise SignalingRefused(why=str(error)) from None

    def _issue(self) -> str:
        if not self._args.api_key:
            return self._by_name()
        path = f"/v1/users/{quote(self._args.user, safe='')}/auth-tokens"
        return ask(self._args, "POST", path, {"lifetime": _LIFETIME}, kind=Issued)["token"]

    def _by_name(self) -> str:
        try:
            return ask(self._args, "POST", "/v1/dev/login", self._user, kind=Issued)["token"]
        except StatecoreError as error:
            if type(error) is not StatecoreError:
                raise
            # It knows no such address, as it is not there for development.
            need = "set STATECORE_API_KEY or say --api-key, or say --token"
            raise SignalingRefused(f"this service lets nobody in by name alone: {need}") from None
