"""`statecore serve` on a file, killed at any moment of running calls and started again: calls go on or end, once."""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import urllib.request
from collections import Counter
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from statecore import Call, CallClient
from statecore.errors import StatecoreError
from statecore.testing import MemoryMedia
from statecore_web import WebSocketSignaling

KEY = "an api key"
SEED = int(os.environ.get("STATECORE_SEED", "20"))
KILLS = int(os.environ.get("STATECORE_KILLS", "5"))
ENDS = ("outgoing_call_rejected", "incoming_call_cancelled", "call_ended_message_received")


class Serve:
    """The command in a process of its own, which can be killed and started again at the same place."""

    def __init__(self, path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.words = [
            sys.executable, "-P", "-m", "statecore.cli", "serve", "--json",
            "--port", str(self.port), "--store", f"sqlite:{path}",
        ]  # fmt: skip
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Start, and wait until it listens."""
        environment = {**os.environ, "STATECORE_API_KEY": KEY, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.process = subprocess.Popen(
            self.words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline(), self.process.communicate()[1]

    def kill(self) -> None:
        """As if the power went."""
        self.process.kill()
        self.process.communicate()

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """A request of a back end."""
        data = json.dumps(body).encode() if body is not None else None
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)  # noqa: S310 - http, as above
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - as above
            return json.loads(response.read() or b"null")

    def token(self, user: str) -> str:
        """A known user's auth token."""
        self.ask("POST", "/v1/users", {"uid": user})
        return str(self.ask("POST", f"/v1/users/{user}/auth-tokens", {})["token"])


class Person:
    """A client, and what it was told."""

    def __init__(self, serve: Serve, user: str) -> None:
        self.media = MemoryMedia()
        self.client = CallClient(WebSocketSignaling(serve.url, serve.token(user), device=f"{user}-phone"), self.media)
        self.ended: Counter[str] = Counter()
        self.reasons: dict[str, str] = {}
        for event in ENDS:
            self.client.on(event, self._over)

    def _over(self, call: Call) -> None:
        self.ended[call.session_id] += 1
        assert call.end_reason is not None
        self.reasons[call.session_id] = call.end_reason.what


async def _talk(alice: Person, bob: Person, chance: random.Random) -> None:
    """One call, in which anything may fail; at the end nobody is in a call."""
    with suppress(StatecoreError, TimeoutError):
        async with asyncio.timeout(20):
            call = await alice.client.initiate_call("bob", type="audio")
            while call.session_id not in {other.session_id for other in bob.client.calls}:
                await asyncio.sleep(0.005)
                if not alice.client.calls:
                    return
            if chance.random() < 0.2:
                await bob.client.reject_call(call.session_id)
                return
            theirs, _ = await asyncio.gather(bob.client.accept_call(call.session_id), call.answered())
            tokens = [await person.client.generate_token(theirs.session_id) for person in (alice, bob)]
            hers, _ = await asyncio.gather(
                *(p.client.start_session(t, type="audio") for p, t in zip((alice, bob), tokens, strict=True))
            )
            await hers.end()
    for person in (alice, bob):
        for call in list(person.client.calls):
            with suppress(StatecoreError):
                await person.client.end_call(call.session_id)


async def _settled(*people: Person) -> None:
    async with asyncio.timeout(60):
        while any(person.client.calls or person.media.sessions for person in people):  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.02)


@pytest.mark.timeout(120)
def test_serve_is_killed_at_any_moment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """SIGKILL in the middle of calls, and a new process on the same file: each side is told of each end once, nobody is
    left in a call or with open media, and the call log has every call once, as both sides saw it."""
    with capsys.disabled():
        sys.stdout.write(f"\nkilled {KILLS} times, with seed {SEED}.")
    chance = random.Random(SEED)  # noqa: S311 - to be had again by its seed
    serve = Serve(tmp_path / "calls.db")

    async def main() -> None:
        alice, bob = Person(serve, "alice"), Person(serve, "bob")
        async with AsyncExitStack() as stack:
            for person in (alice, bob):
                await stack.enter_async_context(person.client)
            for _ in range(KILLS):
                calling = asyncio.create_task(_talk(alice, bob, chance))
                await asyncio.sleep(chance.random() * 0.12)
                serve.kill()
                await asyncio.to_thread(serve.start)
                await calling
                await _settled(alice, bob)
            await _talk(alice, bob, random.Random(1))  # noqa: S311 - and now one that nothing disturbs
            await _settled(alice, bob)
            log = await _log(serve, alice)
        assert len({call["session_id"] for call in log}) == len(log) > 0
        for person in (alice, bob):
            assert max(person.ended.values()) == 1, person.ended
        for call in log:
            told = {person.reasons.get(call["session_id"]) for person in (alice, bob)} - {None}
            assert told, f"nobody was told of {call}"
        assert log[0]["reason"] == alice.reasons[log[0]["session_id"]] == "hangup"

    try:
        asyncio.run(main())
    finally:
        serve.kill()


async def _log(serve: Serve, person: Person) -> list[dict[str, Any]]:
    """The call log, once nothing lives any more."""
    async with asyncio.timeout(60):
        while (await asyncio.to_thread(serve.ask, "GET", "/v1/calls?live=true"))["calls"]:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.05)
    page = await asyncio.to_thread(serve.ask, "GET", "/v1/calls?limit=500")
    return list(page["calls"])
