"""Call tokens that were voided, where the application brings its own signer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from statecore import MemoryStore
from statecore.errors import TokenExpired, TokenRevoked
from statecore.tokens import Claims, JwtSigner, Keys


class Signer:
    """A signer that knows nothing of revocations."""

    def __init__(self) -> None:
        self._jwt = JwtSigner(Keys("k1", b"k" * 32))

    def sign(self, claims: Claims) -> str:
        """The token that carries these claims."""
        return self._jwt.sign(claims)

    def verify(self, token: str | None, now: int) -> Claims:
        """The claims of a token that is genuine and good."""
        return self._jwt.verify(token, now)


def test_a_revoked_token_joins_nothing_whoever_signed_it(town: Any, run: Any) -> None:
    """A revocation holds with a signer of the application's own, at the service that was asked, at another that hears
    of it over the bus, and at one that starts on the same store later; another token of the same user is good."""

    async def main() -> None:
        store, mine = MemoryStore(), {"key": None, "signer": Signer()}
        async with town("alice", "bob", services=2, store=store, **mine) as t:
            void, good = [await t.service.generate_token("bob", room) for room in ("room", "other")]
            hers = await t.service.generate_token("alice", "room")
            await t.service.revoke_token(void)
            await t.service.revoke_token(void)
            await t.service.revoke_token(hers)
            await asyncio.sleep(0.1)
            for name, token in (("alice", hers), ("bob", void)):
                with pytest.raises(TokenRevoked):
                    await t.clients[name].start_session(token)
            await (await t.clients["bob"].start_session(good, type="audio")).leave()
        async with town("bob", store=store, **mine) as t:
            with pytest.raises(TokenRevoked):
                await t.clients["bob"].start_session(void)

    run(main)


def test_a_revocation_holds_for_as_long_as_the_signer_takes_the_token(town: Any, run: Any) -> None:
    """A signer with a leeway takes a token for longer than it says: a revoked one is refused all that time, also once
    another was revoked, and after a restart; then it is expired, and the revocation is forgotten."""

    async def main() -> None:
        store = MemoryStore()
        mine = {"key": None, "signer": JwtSigner(Keys("k1", b"k" * 32), leeway=30)}
        async with town(store=store, **mine) as t:
            void = await t.service.generate_token("bob", "room", lifetime=1)
            await t.service.revoke_token(void)
            await asyncio.sleep(2.5)
            await t.service.revoke_token(await t.service.generate_token("carol", "room"))
            with pytest.raises(TokenRevoked):
                await t.service.admit(void)
            with pytest.raises(TokenRevoked):
                await t.service.refresh_token(void)
        async with town(store=store, **mine) as t:
            with pytest.raises(TokenRevoked):
                await t.service.admit(void)
            await asyncio.sleep(40)
            with pytest.raises(TokenExpired):
                await t.service.admit(void)
            await t.service.revoke_token(await t.service.generate_token("carol", "other"))
            assert len(t.service.revocations) == 2

    run(main)
