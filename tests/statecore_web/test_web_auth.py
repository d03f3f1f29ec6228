"""Auth tokens: issued, verified, listed, revoked; and that nothing of them is kept that could be used."""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64encode
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statecore import CallService, MemoryStore
from statecore.errors import (
    InvalidArgument,
    StoreUnusable,
    TokenError,
    TokenExpired,
    TokenMalformed,
    TokenMissing,
    TokenRevoked,
)
from statecore.testing.stores import RefusingStore
from statecore_web import AuthTokens, CallApp, WebSocketSignaling


class Clock:
    """A clock that is set."""

    now = 1_800_000_000_000

    def __call__(self) -> int:
        """Unix milliseconds."""
        return self.now


def test_a_token_is_good_until_it_expires_or_is_revoked() -> None:
    """For its user and nobody else, to the millisecond."""

    async def main() -> None:
        clock = Clock()
        tokens = AuthTokens(MemoryStore(), lifetime=60, now=clock)
        text, made = await tokens.issue("alice")
        assert await tokens.verify(text) == "alice"
        assert (made.user, made.expires_at - made.issued_at) == ("alice", 60_000)
        clock.now += 59_999
        assert await tokens.verify(text) == "alice"
        clock.now += 1
        with pytest.raises(TokenExpired, match="expired 0 s ago"):
            await tokens.verify(text)
        other, _ = await tokens.issue("alice", lifetime=10**9)
        assert await tokens.revoke("alice")
        assert not await tokens.revoke("alice")
        with pytest.raises(TokenRevoked):
            await tokens.verify(other)

    asyncio.run(main())


def test_one_of_several_is_revoked() -> None:
    """By its id; the others stay good, and the list shows them without what could verify one."""

    async def main() -> None:
        tokens = AuthTokens(MemoryStore())
        pairs = [await tokens.issue("alice") for _ in range(3)]
        assert await tokens.revoke("alice", pairs[1][1].id)
        listed = await tokens.list("alice")
        assert [each.id for each in listed] == [pairs[0][1].id, pairs[2][1].id]
        assert all(not each.digest for each in listed)
        assert await tokens.verify(pairs[2][0]) == "alice"
        with pytest.raises(TokenRevoked):
            await tokens.verify(pairs[1][0])
        assert await tokens.list("bob") == []

    asyncio.run(main())


def test_a_user_has_so_many_at_most() -> None:
    """The oldest goes; those that have expired do not count."""

    async def main() -> None:
        clock = Clock()
        tokens = AuthTokens(MemoryStore(), most=2, now=clock)
        texts = [(await tokens.issue("alice", lifetime=seconds))[0] for seconds in (1, 60, 60)]
        with pytest.raises(TokenRevoked):
            await tokens.verify(texts[0])
        clock.now += 30_000
        assert [await tokens.verify(text) for text in texts[1:]] == ["alice", "alice"]

    asyncio.run(main())


@pytest.mark.parametrize("lifetime", [0, -1, float("nan"), float("inf"), 1e300])
def test_a_lifetime_that_is_none(lifetime: float) -> None:
    """A token cannot be issued for it either, and the error names it."""

    async def main() -> None:
        tokens = AuthTokens(MemoryStore())
        with pytest.raises(InvalidArgument, match="lifetime"):
            await tokens.issue("alice", lifetime=lifetime)
        assert await tokens.list("alice") == []

    asyncio.run(main())


@pytest.mark.parametrize(
    "wrong", [{"lifetime": 0}, {"lifetime": float("nan")}, {"lifetime": float("inf")}, {"most": 0}]
)
def test_what_no_token_can_be_is_refused(wrong: dict[str, Any]) -> None:
    """Tokens that are good for no time, and users who may have none: none would mean as many as they like."""
    with pytest.raises(InvalidArgument, match=next(iter(wrong))):
        AuthTokens(MemoryStore(), **wrong)


def test_an_application_says_what_its_tokens_are_like(served: Any, ask: Any) -> None:
    """For how long those are good that REST issues, unless it is told, and how many one user has; a device is let in by
    the last."""

    async def main() -> None:
        service = CallService()
        await service.register_user("alice")
        app = CallApp(service, api_key="key", tokens=AuthTokens(service.store, lifetime=60, most=1))
        async with served(app) as url:
            made = [(await ask(url, "POST", "/v1/users/alice/auth-tokens", {}))[1] for _ in range(2)]
            assert [each["expires_at"] - each["issued_at"] for each in made] == [60_000, 60_000]
            listed = (await ask(url, "GET", "/v1/users/alice/auth-tokens"))[1]
            assert [each["id"] for each in listed] == [made[1]["id"]]
            await (await WebSocketSignaling(url, made[1]["token"]).connect()).close()

    asyncio.run(main())


def test_nothing_that_is_kept_or_shown_is_a_token() -> None:
    """Store and repr hold a digest at the most."""

    async def main() -> None:
        store = MemoryStore()
        text, made = await AuthTokens(store).issue("alice")
        secret = text.partition(".")[2]
        kept = msgspec.json.encode([value for _, value in await store.scan("auth")]).decode()
        assert secret not in kept
        assert secret not in repr(made)
        assert repr(made.digest) not in repr(made)

    asyncio.run(main())


def test_tokens_survive_a_store_that_refuses() -> None:
    """A commit that another node overtook is decided again."""

    async def main() -> None:
        tokens = AuthTokens(RefusingStore(MemoryStore()))
        texts = [(await tokens.issue("alice"))[0] for _ in range(5)]
        assert [await tokens.verify(text) for text in texts] == ["alice"] * 5

    asyncio.run(main())


@given(st.one_of(st.text(), st.from_regex(r"\A[A-Za-z0-9_=-]*\.[A-Za-z0-9_-]*\Z")))
def test_anything_else_is_refused(text: str) -> None:
    """Whatever is shown, it is a TokenError."""

    async def main() -> None:
        tokens = AuthTokens(MemoryStore())
        await tokens.issue("alice")
        with pytest.raises(TokenError):
            await tokens.verify(text)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", TokenMissing),
        ("x", TokenMalformed),
        ("YWxpY2U=.x", TokenMalformed),
        ("YWxpY2U." + "x" * 2000, TokenMalformed),
        (urlsafe_b64encode(b"\xff\xff").decode().strip("=") + ".x", TokenMalformed),
        ("YWxpY2U.x", TokenRevoked),
    ],
)
def test_each_fault_has_its_error(text: str, error: type[Exception]) -> None:
    """Missing, malformed, or not known any more."""
    with pytest.raises(error):
        asyncio.run(AuthTokens(MemoryStore()).verify(text))


@pytest.mark.parametrize("row", [b"", b"\x93", b"\x91\x80", b"\x91" * 5000])
def test_tokens_that_cannot_be_read_are_told(row: bytes) -> None:
    """A user's row that somebody has damaged is the store's fault, which is told with the user; it lets nobody in."""

    async def main() -> None:
        store = MemoryStore()
        tokens = AuthTokens(store)
        text, _ = await tokens.issue("alice")
        assert await store.commit({("auth", "alice"): (1, row)})
        for work in (tokens.list("alice"), tokens.verify(text), tokens.revoke("alice"), tokens.issue("alice")):
            with pytest.raises(StoreUnusable, match="the auth tokens of 'alice' in it cannot be read"):
                await work

    asyncio.run(main())
