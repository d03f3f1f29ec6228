"""Negotiation that goes wrong, and comes right."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from statecore.errors import NegotiationFailed
from statecore.testing._media_probe import chunk, hears, sees
from statecore.testing.media import RoomHost
from statecore_aiortc import _peer


def run(main: Callable[[], Any]) -> None:
    """Run a test, with a bound."""

    async def bounded() -> None:
        async with asyncio.timeout(30):
            await main()

    asyncio.run(bounded())


def tamper(host: RoomHost, kind: str, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
    """Change the first message of a kind that a participant sends; None loses it."""
    send, done = host.send, False

    def tampered(pid: str, sent: Any, body: str) -> None:
        nonlocal done
        if sent == kind and not done:
            done = True
            changed = change(json.loads(body))
            if changed is None:
                return
            body = json.dumps(changed)
        send(pid, sent, body)

    host.send = tampered  # type: ignore[method-assign, assignment]


@pytest.mark.parametrize("kind", ["offer", "answer"])
@pytest.mark.parametrize("what", ["lost", "malformed", "stale", "without lines"])
def test_first_message_goes_wrong(meet: Any, monkeypatch: pytest.MonkeyPatch, kind: str, what: str) -> None:
    """An offer or answer that is lost or useless keeps nobody apart: after a time another connection is tried."""
    monkeypatch.setattr(_peer, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(_peer, "PAUSE", 0.05)

    def change(message: dict[str, Any]) -> dict[str, Any] | None:
        if what == "lost":
            return None
        if what == "malformed":
            return message | {"sdp": "v=0"}
        if what == "stale":
            return message | {"gen": 77}
        return message | {"sdp": message["sdp"].replace("a=mid:0", "a=mid:9"), "kinds": {"9": "audio"}}

    def before(alice: RoomHost, bob: RoomHost) -> None:
        tamper(alice if kind == "offer" else bob, kind, change)

    async def main() -> None:
        async with meet(before=before) as (alice, bob):
            hearing = [hears(alice.session, bob.pid, 880, 5), hears(bob.session, alice.pid, 440, 5)]
            await asyncio.gather(*hearing)
            if what == "malformed":
                sufferer = bob if kind == "offer" else alice
                assert isinstance(await sufferer.wait_fault(), NegotiationFailed)

    run(main)


def test_answer_to_a_change_is_lost(meet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the answer to a change is lost the two make a new connection, and readers go on reading."""
    monkeypatch.setattr(_peer, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(_peer, "PAUSE", 0.05)

    async def main() -> None:
        async with meet() as (alice, bob):
            frames = alice.session.audio(bob.pid)
            await chunk(frames, 0.2)
            tamper(bob, "answer", lambda _: None)
            await alice.session.set_enabled("video", True)
            await sees(bob.session, alice.pid, 8)
            await hears(alice.session, bob.pid, 880, 5)
            await chunk(frames, 0.2)
            assert [json.loads(body)["gen"] for _, kind, body in alice.sent if kind == "offer"] == [1, 1, 2]
            assert not alice.failures

    run(main)


def test_offer_for_another_connection(meet: Any) -> None:
    """An offer that changes a connection which is gone is answered with `again`, and changes nothing."""

    async def main() -> None:
        async with meet() as (alice, bob):
            offer = json.loads(next(body for _, kind, body in alice.sent if kind == "offer"))
            before = len(bob.sent)
            bob.session.receive(alice.pid, "offer", json.dumps(offer | {"gen": 9, "round": 2}))
            await bob.wait(lambda: len(bob.sent) > before, "answer")
            assert json.loads(bob.sent[-1][2]) == {"gen": 9, "round": 2, "again": 9}
            await hears(bob.session, alice.pid, 440, 5)
            # The offer above was the test's, out of turn, and so was the reply.
            bob.room.violations.clear()

    run(main)
