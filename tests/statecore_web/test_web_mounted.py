"""The service under a path of another application, whichever framework it is of."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote, unquote

import pytest

from statecore import CallClient, CallService, MemoryStore
from statecore.errors import SignalingLost
from statecore_web import CallApp, WebSocketSignaling, _address
from statecore_web._address import address

_EXAMPLES = Path(__file__).parents[2] / "examples"


def _example(name: str) -> ModuleType:
    """An example, as a module."""
    spec = importlib.util.spec_from_file_location(name, _EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_every = pytest.mark.parametrize("example", ["mount_fastapi", "mount_starlette", "mount_litestar"])


@_every
def test_the_example_runs(served: Any, ask: Any, example: str) -> None:
    """As it stands: whoever is on this machine logs in, and connects; the page is there."""

    async def main() -> None:
        async with served(_example(example).api) as url:
            login = await ask(f"{url}/calls", "POST", "/v1/dev/login", {"uid": "alice"}, None)
            async with CallClient(WebSocketSignaling(f"{url}/calls", login[1]["token"])) as client:
                assert client.connected
            assert "<!doctype html>" in (await ask(f"{url}/calls", "GET", "/"))[1].lower()

    asyncio.run(main())


@_every
@pytest.mark.parametrize("opened", [True, False])
def test_it_stands_under_a_path_of_another_application(served: Any, ask: Any, example: str, *, opened: bool) -> None:
    """Devices and back ends reach it there; it is closed with that application, if it is in its lifespan."""

    async def main() -> None:
        app = CallApp(CallService(), api_key="key")
        async with served(_example(example).mount(app), lifespan="on" if opened else "off") as url:
            app.service.add_user("alice")
            token, _ = await app.tokens.issue("alice")
            async with CallClient(WebSocketSignaling(f"{url}/calls", token)) as client:
                assert client.connected
                assert (await ask(f"{url}/calls", "GET", "/v1/users/alice"))[1]["online"]
            assert (await ask(f"{url}/calls", "GET", "/healthz", None, None))[0] == 200
            described = (await ask(f"{url}/calls", "GET", "/openapi.json"))[1]
            assert described["servers"] == [{"url": "/calls"}]
            spoken = (await ask(f"{url}/calls", "GET", "/asyncapi.json"))[1]["channels"]["signaling"]
            assert spoken["address"] == "/calls/v1/signaling"
            for uid in ("corp/eve", "a//b/", "/", "50%", "%2F", "é?#", "calls/v1/users"):
                assert (await ask(f"{url}/calls", "POST", "/v1/users", {"uid": uid}))[0] == 201
                named = f"/v1/users/{quote(uid, safe='')}"
                assert (await ask(f"{url}/calls", "GET", named))[1].get("uid") == uid
                assert (await ask(f"{url}/calls", "POST", f"{named}/auth-tokens", {}))[1]["user"] == uid
                assert (await ask(f"{url}/calls", "DELETE", named))[0] == 204
        if opened:
            with pytest.raises(SignalingLost, match="closed"):
                app.service.signaling("alice")._accept(None, "alice")  # type: ignore[arg-type]
        await app.service.close()

    asyncio.run(main())


async def _left_behind() -> MemoryStore:
    """What a service that was killed leaves while somebody is rung, and for how long is over soon."""
    store, left = MemoryStore(), MemoryStore()
    async with CallService(store=store) as service, CallClient(service.signaling("alice")) as alice:
        service.add_user("bob")
        await alice.initiate_call("bob", timeout=0.3)
        for kind in ("call", "line"):
            assert await left.commit({key: (0, record) for key, record in await store.scan(kind)})
    return left


async def _unanswered(app: CallApp) -> None:
    async with asyncio.timeout(10):
        while [call.status for call in await app.service.call_log()] != ["unanswered"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@_every
def test_what_a_killed_service_left_goes_on_with_the_application(served: Any, example: str) -> None:
    """A call that rang then ends when its time is over, although nobody has connected, or asked for anything."""

    async def main() -> None:
        app = CallApp(CallService(store=await _left_behind()))
        async with served(_example(example).mount(app)):
            await _unanswered(app)

    asyncio.run(main())


@_every
def test_what_a_killed_service_left_goes_on_with_the_first_who_comes(served: Any, ask: Any, example: str) -> None:
    """Under an application that does not open it, a question after its health is enough."""

    async def main() -> None:
        app = CallApp(CallService(store=await _left_behind()))
        async with served(_example(example).mount(app), lifespan="off") as url:
            assert (await ask(f"{url}/calls", "GET", "/healthz", None, None))[0] == 200
            await _unanswered(app)
        await app.close()

    asyncio.run(main())


def test_one_that_cannot_be_opened_is_tried_again(served: Any, ask: Any, caplog: pytest.LogCaptureFixture) -> None:
    """While its store is away it answers what needs no store; who comes after that opens it."""

    async def main() -> None:
        store = await _left_behind()
        scan, tried = store.scan, asyncio.Event()

        async def away(kind: str) -> Any:
            tried.set()
            raise OSError(kind)

        store.scan = away  # type: ignore[method-assign]
        app = CallApp(CallService(store=store))
        async with served(_example("mount_starlette").mount(app), lifespan="off") as url:
            for _ in range(2):
                tried.clear()
                assert (await ask(f"{url}/calls", "GET", "/healthz", None, None))[0] == 200
                await asyncio.wait_for(tried.wait(), 5)
            store.scan = scan  # type: ignore[method-assign]
            while app._opened:  # noqa: ASYNC110 - until the second try has failed
                await asyncio.sleep(0)
            assert (await ask(f"{url}/calls", "GET", "/healthz", None, None))[0] == 200
            await _unanswered(app)
        await app.close()

    with caplog.at_level(logging.WARNING, "statecore.web"):
        asyncio.run(main())
    assert "the service could not be opened" in caplog.text


@pytest.mark.parametrize(
    ("path", "root", "written", "mount", "parts"),
    [
        ("/v1/users/a/b", "", b"/v1/users/a%2Fb", "", ("v1", "users", "a/b")),
        ("/api/v1/users/a/b", "/api", b"/api/v1/users/a%2Fb", "/api", ("v1", "users", "a/b")),
        ("/v1/users/a/b", "/api", b"/v1/users/a%2Fb", "/api", ("v1", "users", "a/b")),  # a proxy has taken it away
        ("/v1/users/a/b/", "", b"/\xc3\xa4/%C3%A4/v1/users/a%2Fb", "/\xc3\xa4/%C3%A4", ("v1", "users", "a/b")),
        ("/v1/users/a/b", "/ä", None, "/%C3%A4", ("v1", "users", "a", "b")),
        ("/v1/users/a/b", "", b"/elsewhere", "", ("v1", "users", "a", "b")),
        ("/calls", "/calls", b"/calls", "/calls", ()),
    ],
)
def test_where_a_request_goes(path: str, root: str, written: bytes | None, mount: str, parts: tuple[str, ...]) -> None:
    """Whatever a server or framework tells of the path as it was written, and wherever it takes away what it is
    mounted below."""
    scope = {"path": path, "root_path": root, "raw_path": written}
    assert address(scope) == (mount, parts)


@pytest.mark.parametrize("written", ["/a" * 32_768, "/a" + "%2Fa" * 16_384], ids=["as it is", "in code"])
def test_where_a_request_goes_is_found_in_proportion(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    """Of the longest path that a server takes, of as many names as it holds, every letter is read a few times, and not
    as often as there are others."""
    letters = 0

    def counting(read: Callable[[str], Any]) -> Callable[[str], Any]:
        def counted(text: str) -> Any:
            nonlocal letters
            letters += len(text)
            return read(text)

        return counted

    for name in ("_names", "unquote"):
        monkeypatch.setattr(_address, name, counting(getattr(_address, name)))
    address({"path": unquote(written), "raw_path": written.encode()})
    assert 0 < letters < 10 * len(written)
