"""The names people are shown by: the same wherever a participant is told of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

Town, Run = Callable[..., Any], Callable[..., Any]


def test_a_participant_has_one_name_everywhere(town: Town, run: Run, still: Any) -> None:
    """Oneself, the others, the events, the live call at the service and its log show the name that the client has; who
    has none is shown by his id."""

    async def main() -> None:
        async with town("carol") as t:
            await t.add("alice", name="Alice A.")
            await t.add("bob", name="Bob B.")
            hers, his, _ = await t.meet("alice", "bob", "carol")
            await hers.mute_audio()
            await hers.start_screen_share(still("video"))
            await t.until(lambda: len(hers.participants) == len(his.participants) == 3)
            names = {"alice": "Alice A.", "bob": "Bob B.", "carol": "carol"}
            assert {p.uid: p.name for p in hers.participants} == names
            assert {p.uid: p.name for p in his.participants} == names
            assert {p.uid: p.name for p in hers.call.participants} == names
            [live] = await t.service.calls()
            assert {p.uid: p.name for p in live.participants} == names
            shared = [args[0] for event, args in t.told["alice"] if event == "screen_share_started"]
            assert [who.name for who in shared] == ["Alice A."]
            for client in t.clients.values():
                await client.close()
            await asyncio.sleep(61)  # the session waits for a while whether somebody comes back
            [past] = await t.service.call_log()
            assert {p.uid: p.name for p in past.participants} == names

    run(main)


def test_a_client_knows_its_user_s_name(town: Town, run: Run) -> None:
    """The name is known before the client is connected."""

    async def main() -> None:
        async with town() as t:
            assert t.make("alice", name="Alice A.").user.name == "Alice A."

    run(main)
