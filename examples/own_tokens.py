"""Tokens of one's own, as OpenID Connect gives them: signed by an identity provider, verified by the application.

The provider publishes its public keys (a JWK set). Whoever holds a token that one of them has signed, for this
application and not expired, is the user that it names. Nothing here is secret, and keys may be replaced at any time.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import uvicorn
from joserfc import errors as jose
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from statecore import CallClient, CallService
from statecore.errors import TokenError, TokenExpired, TokenForeign, TokenForged, TokenMalformed
from statecore.testing import FakeMedia
from statecore_web import CallApp, WebSocketSignaling

ISSUER, AUDIENCE = "https://id.example.org", "calls"


class OpenId:
    """Who a token of an identity provider speaks for: what `CallApp(authenticate=...)` takes.

    `keys` fetches the provider's JWK set: when it is first needed, and for a key that is not known, after a rotation.
    Only ES256 is taken, whatever a token asks for."""

    def __init__(self, keys: Callable[[], Awaitable[Any]], issuer: str, audience: str) -> None:
        self._fetch = keys
        self._keys = KeySet([])
        self._claims = {
            "iss": {"essential": True, "value": issuer},
            "aud": {"essential": True, "value": audience},
            "exp": {"essential": True},
            "sub": {"essential": True},
        }

    async def __call__(self, token: str) -> str:
        """The user's id. Raises TokenError."""
        claims = self._open(token)
        if claims is None:
            self._keys = KeySet.import_key_set(await self._fetch())
            claims = self._open(token)
        if claims is None:
            raise TokenForged
        try:
            jwt.JWTClaimsRegistry(now=int(time.time()), leeway=5, **self._claims).validate(claims)
        except jose.ExpiredTokenError:
            raise TokenExpired(seconds=round(time.time() - claims["exp"])) from None
        except jose.JoseError as error:
            raise TokenForeign(what=str(getattr(error, "claim", "application"))) from None
        return str(claims["sub"])

    def _open(self, token: str) -> dict[str, Any] | None:
        """What a genuine token says; None if its key is not known."""
        try:
            return jwt.decode(token, self._keys, algorithms=["ES256"]).claims
        except jose.InvalidKeyIdError:
            return None
        except (jose.BadSignatureError, jose.UnsupportedAlgorithmError):
            raise TokenForged from None
        except (jose.JoseError, ValueError) as error:
            raise TokenMalformed(why=type(error).__name__) from None


class Provider:
    """Stands for the identity provider, which is somebody else's."""

    def __init__(self) -> None:
        self.keys = [self._new_key("one")]

    @staticmethod
    def _new_key(kid: str) -> ECKey:
        return ECKey.generate_key("P-256", {"kid": kid, "alg": "ES256", "use": "sig"})

    def rotate(self) -> None:
        """Sign with another key from now on."""
        self.keys.append(self._new_key("two"))

    async def jwks(self) -> Any:
        """What stands at its `jwks_uri`: the public parts."""
        return {"keys": [key.as_dict(private=False) for key in self.keys]}

    def token(self, user: str, *, audience: str = AUDIENCE, seconds: int = 60) -> str:
        """A user has logged in there."""
        claims = {"iss": ISSUER, "aud": audience, "sub": user, "exp": int(time.time()) + seconds}
        return jwt.encode({"alg": "ES256", "kid": self.keys[-1].kid}, claims, self.keys[-1])


class Server(uvicorn.Server):
    """A server that leaves Ctrl-C to the program."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing."""
        yield


@contextlib.asynccontextmanager
async def served(app: CallApp) -> AsyncIterator[str]:
    """The call service, on a port of its own; gives its address."""
    server = Server(uvicorn.Config(app, host="127.0.0.1", port=0, ws="websockets-sansio", log_level="critical"))
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - it has no event to wait for
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await task


async def main() -> None:
    """Two who have logged in elsewhere call each other; four tokens that are not good let nobody in."""
    provider = Provider()
    app = CallApp(CallService(), authenticate=OpenId(provider.jwks, ISSUER, AUDIENCE))
    async with served(app) as url:
        alices = WebSocketSignaling(url, provider.token("alice"))
        provider.rotate()
        bobs = WebSocketSignaling(url, provider.token("bob"))
        async with CallClient(alices, FakeMedia()) as alice, CallClient(bobs, FakeMedia()) as bob:
            bob.on("incoming_call_received", lambda call: print(f"{bob.user.uid}: {call.initiator} calls"))
            await (await alice.initiate_call("bob")).cancel()

        good = provider.token("mallory")
        wrong = {
            "expired": provider.token("mallory", seconds=-60),
            "another application's": provider.token("mallory", audience="mail"),
            "changed": good[:-8] + "AAAAAAAA",
            "by another key": Provider().token("mallory"),
        }
        for name, token in wrong.items():
            try:
                await WebSocketSignaling(url, token).connect()
            except TokenError as error:
                print(f"{name}: {error.code}")


if __name__ == "__main__":
    asyncio.run(main())
