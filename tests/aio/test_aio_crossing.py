"""Two who call each other at the same time, while both serve whoever calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from statecore import Call, CallClient, Reason

Town, Run = Callable[..., Any], Callable[..., Any]


@pytest.mark.parametrize("share", [0.0, 0.4, 0.9])
@pytest.mark.parametrize("bob_takes", [0.0, 0.05, 0.1])
@pytest.mark.parametrize("alice_takes", [0.05, 0.1])
def test_both_call_and_both_serve(town: Town, run: Run, alice_takes: float, bob_takes: float, share: float) -> None:
    """Bob calls while Alice's ring is on its way to him, however far: nobody is shown a ring, and it is one call."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            rings: list[Call] = []
            inside: list[str] = []

            async def declines(call: Call) -> None:
                rings.append(call)
                await call.reject()

            async def calls(client: CallClient, other: str) -> None:
                async with client.call(other, type="audio") as session:
                    await anext(session.audio(other))
                    inside.append(session.session_id)
                    await t.until(lambda: len(inside) == 2)

            t.links["alice"].delay, t.links["bob"].delay = alice_takes, bob_takes
            alice, bob = t.clients["alice"], t.clients["bob"]
            serving = [asyncio.create_task(client.serve(declines)) for client in (alice, bob)]
            first = asyncio.create_task(calls(alice, "bob"))
            await asyncio.sleep(share * (alice_takes + bob_takes))
            await asyncio.gather(first, calls(bob, "alice"))
            assert not rings
            assert len(set(inside)) == 1
            [row] = await t.service.call_log()
            assert row.end_reason.what == Reason.HANGUP
            for task in serving:
                task.cancel()
            await asyncio.wait(serving)

    run(main)
