"""What a server says of itself to who looks after it: metrics and readiness, over real sockets."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from statecore import CallClient, CallService, MemoryStore
from statecore.errors import UserBusy
from statecore.testing import SlowStore
from statecore.wire import Command, Hello, encode
from statecore_web import CallApp, WebSocketSignaling, _rest


def _read(text: str) -> dict[tuple[str, ...], float]:
    """Every sample by its name and its labels' values, in the order of the labels' names."""
    families = text_string_to_metric_families(text)
    samples = [sample for family in families for sample in family.samples if not sample.name.endswith("_created")]
    return {
        (sample.name, *[sample.labels[label] for label in sorted(sample.labels)]): sample.value for sample in samples
    }


def test_what_happened_is_counted(served: Any, ask: Any) -> None:
    """Commands by trigger and result, what ended and why, what lives, who is connected: each end once, and no label
    that a stranger makes up."""

    async def main() -> None:
        app = CallApp(CallService(), api_key="key")
        async with (
            served(app) as url,
            CallClient(app.service.signaling("alice")) as alice,
            CallClient(app.service.signaling("bob")),
            CallClient(app.service.signaling("carol")) as carol,
        ):
            call = await alice.initiate_call("bob", session_id="c1")
            await call.cancel()
            with suppress(Exception):
                await call.answered()
            await alice.initiate_call("bob", session_id="c2")
            with pytest.raises(UserBusy):
                await carol.initiate_call("bob")
            channel = await app.service.signaling("eve").connect()
            for message in (Hello("phone", "e1", 1), Command("c2", 1, "made-up")):
                channel.send(encode(message))
                await channel.receive()
            status, text = await ask(url, "GET", "/metrics")
            assert status == 200
            found = _read(text)
            assert found["statecore_commands_total", "ok", "initiate"] == 3
            assert found["statecore_commands_total", "ok", "cancel"] == 1
            assert found["statecore_ended_calls_total", "ringing", "cancelled"] == 1
            assert found["statecore_ended_calls_total", "ringing", "busy"] == 1
            assert found["statecore_live_calls",] == 1
            assert found["statecore_connections",] == 4
            assert found["statecore_commands_total", "not_a_party", "unknown"] == 1
            assert "made-up" not in text
            assert (await ask(url, "GET", "/metrics", None, None))[0] == 401

    asyncio.run(main())


class _Stuck(SlowStore):
    """Answers as long as it is well."""

    well = True

    async def load(self, keys: Any) -> Any:
        """As the inner store says, or never."""
        if not self.well:
            await asyncio.Event().wait()
        return await super().load(keys)


def test_a_server_whose_store_does_not_answer_is_not_ready(
    served: Any, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is again when it does; the process lives all the while."""
    monkeypatch.setattr("statecore_web.app._PATIENCE", 0.05)

    async def main() -> None:
        store = _Stuck(MemoryStore())
        async with served(CallApp(CallService(store=store), api_key="key")) as url:
            for well, status in ((True, 200), (False, 503), (True, 200)):
                store.well = well
                assert (await ask(url, "GET", "/readyz", None, None))[0] == status
                assert (await ask(url, "GET", "/healthz", None, None))[0] == 200

    asyncio.run(main())


def test_the_first_request_holds_up_no_call(served: Any, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What answers requests is loaded at the first one, and made once: devices are served meanwhile."""
    rest, begun, served_meanwhile, made = _rest.rest, threading.Event(), threading.Event(), list[Any]()

    def slowly(*args: Any, **more: Any) -> Any:
        made.append(args)
        begun.set()
        assert served_meanwhile.wait(10)
        return rest(*args, **more)

    async def main() -> list[int]:
        app = CallApp(CallService(), api_key="key")
        async with served(app) as url:
            asking = [asyncio.create_task(ask(url, "GET", "/healthz")) for _ in range(2)]
            await asyncio.to_thread(begun.wait, 10)
            async with CallClient(WebSocketSignaling(url, (await app.tokens.issue("alice"))[0])):
                served_meanwhile.set()
            return [status for status, _ in await asyncio.gather(*asking)]

    monkeypatch.setattr(_rest, "rest", slowly)
    assert asyncio.run(main()) == [200, 200]
    assert len(made) == 1
