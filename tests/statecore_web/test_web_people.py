"""Whom the page is told of: a bounded part of everybody, found once for all who ask, and nobody if so decided."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import pytest

from statecore import CallClient, CallService, MemoryStore
from statecore.errors import CallRejected, StoreUnusable
from statecore.testing import FakeMedia
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


@pytest.mark.parametrize("directory", [True, False])
def test_a_call_tells_who_is_in_it(served: Any, ask: Any, *, directory: bool) -> None:
    """Whoever is called is told who calls, from the ring on, and the caller who answered. Nobody else is told anything
    by it, and where nobody is listed, no caller is told the name of who did not answer."""

    async def main() -> None:
        app = CallApp(CallService(), directory=directory)
        for uid in ("ann", "ben", "me"):
            await app.service.register_user(uid, f"{uid} the great")
        tokens = {uid: (await app.tokens.issue(uid))[0] for uid in ("ann", "ben", "me")}
        async with (
            served(app) as url,
            CallClient(app.service.signaling("ann"), FakeMedia()) as ann,
            CallClient(app.service.signaling("ben"), FakeMedia()) as ben,
        ):

            async def told(uid: str, *sessions: str) -> list[tuple[str, str]]:
                asked = "&".join(f"call={session}" for session in sessions)
                status, people = await ask(url, "GET", f"/page/people?{asked}", None, tokens[uid])
                assert status == 200
                return sorted((one["uid"], one["name"]) for one in people)

            config = await ask(url, "GET", "/page/config", None, None)
            assert config == (200, {"dev": False, "directory": directory, "settings": {}})
            first = await ann.initiate_call("ben", type="audio")
            of_ann, of_ben = [("ann", "ann the great")], [("ben", "ben the great")]
            assert await told("ben", first.session_id) == of_ann
            assert await told("ann", first.session_id) == (of_ben if directory else [])
            assert await told("me", first.session_id, "none", quote("no id")) == []
            await ben.reject_call(first.session_id)
            with pytest.raises(CallRejected):
                await first.answered()
            assert await told("ann", first.session_id) == (of_ben if directory else [])
            second = await ann.initiate_call("ben", type="audio")
            await ben.accept_call(second.session_id)
            await second.answered()
            joined = [
                client.start_session(await client.generate_token(second.session_id), type="audio")
                for client in (ann, ben)
            ]
            await (await asyncio.gather(*joined))[0].end()
            assert await told("ann", second.session_id) == [*of_ann, *of_ben]
            await app.service.delete_user("ann")
            assert await told("ben", first.session_id) == []

    asyncio.run(main())


def test_the_log_is_told_a_part_at_a_time(served: Any, ask: Any) -> None:
    """Thirty of the newest calls, and by the cursor that stands there those before them, to the first."""

    async def main() -> None:
        app = CallApp(CallService())
        for uid in ("ann", "ben"):
            app.service.add_user(uid)
        token, _ = await app.tokens.issue("ann")
        async with served(app) as url, CallClient(app.service.signaling("ann"), FakeMedia()) as ann:
            made = []
            for _ in range(32):
                made.append((await ann.initiate_call("ben", type="audio")).session_id)
                await ann.cancel_call(made[-1])
            parts, cursor = [], ""
            while not parts or cursor:
                status, told = await ask(url, "GET", f"/page/calls?from={cursor}", None, token)
                assert status == 200
                parts.append([call["session_id"] for call in told["calls"]])
                cursor = told["older"]
            assert [len(part) for part in parts] == [30, 2]
            assert {session for part in parts for session in part} == set(made)
            assert (await ask(url, "GET", "/page/calls?from=nonsense", None, token))[1]["code"] == "invalid_argument"

    asyncio.run(main())
