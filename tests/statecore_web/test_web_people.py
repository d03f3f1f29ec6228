"""Whom the page is told of: a bounded part of everybody, found once for all who ask, and nobody if so decided."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import pytest

from statecore import CallService, MemoryStore
from statecore.errors import StoreUnusable
from statecore_web import CallApp


class _Counting(MemoryStore):
    """A store that counts how often it is searched for lines, and cannot be at times."""

    scans = 0
    away = False

    async def scan(self, kind: str) -> Any:
        """As a store does."""
        if kind == "line":
            self.scans += 1
            if self.away:
                raise StoreUnusable(store="it", why="it is away")
        return await super().scan(kind)


async def _asked(ask: Any, url: str, app: CallApp, sought: str = "") -> list[str]:
    token, _ = await app.tokens.issue("me")
    status, people = await ask(url, "GET", f"/page/people{sought}", None, token)
    assert status == 200
    return [one["uid"] for one in people]


def test_the_page_is_told_of_so_many_and_finds_the_others(served: Any, ask: Any) -> None:
    """Of a thousand users it is told of two hundred, those first who are there, and never of oneself; the others are
    found by how their id or a word of their name begins."""

    async def main() -> None:
        app = CallApp(CallService())
        for number in range(1000):
            app.service.add_user(f"u{number:03}", f"Person N{number}")
        app.service.add_user("me", "Person Me")
        async with served(app) as url:
            channel = await app.service.signaling("u999").connect()
            channel.send(b'{"m": "hello", "device": "phone", "epoch": "1", "conn": 1}')
            await channel.receive()
            told = await _asked(ask, url, app)
            assert told == ["u999", *(f"u{number:03}" for number in range(199))]
            assert await _asked(ask, url, app, "?q=n77") == ["u077", *(f"u{n}" for n in range(770, 780))]
            assert await _asked(ask, url, app, "?q=" + quote("person n12")) == [
                "u012",
                *(f"u{n}" for n in range(120, 130)),
            ]
            assert await _asked(ask, url, app, "?q=U500") == ["u500"]
            assert await _asked(ask, url, app, "?q=me") == []

    asyncio.run(main())


def test_many_pages_that_ask_cost_one_look(served: Any, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is searched once for all that ask within a while; after a fault it is searched anew."""
    monkeypatch.setattr("statecore_web._people._FRESH", 60.0)

    async def main() -> None:
        store = _Counting()
        app = CallApp(CallService(store=store))
        await app.service.register_user("alice")
        async with served(app) as url:
            token, _ = await app.tokens.issue("me")
            store.scans, store.away = 0, True
            assert (await ask(url, "GET", "/page/people", None, token))[0] == 503
            store.away = False
            told = await asyncio.gather(*(_asked(ask, url, app) for _ in range(10)))
            assert told == [["alice"]] * 10
            assert store.scans == 2

    asyncio.run(main())


def test_the_directory_can_be_closed(served: Any, ask: Any) -> None:
    """Then nobody is told who else there is, and what the page asks is answered all the same."""

    async def main() -> None:
        store = _Counting()
        app = CallApp(CallService(store=store), directory=False)
        await app.service.register_user("alice")
        async with served(app) as url:
            store.scans = 0
            assert await _asked(ask, url, app) == []
            assert await _asked(ask, url, app, "?q=alice") == []
            assert store.scans == 0

    asyncio.run(main())
