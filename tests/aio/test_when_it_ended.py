"""When a call ended, as the devices tell it: by the service's clock, also for who ended it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from statecore import Call, CallClient
from statecore.testing import VirtualClock

Town, Run = Callable[..., Any], Callable[..., Any]

DAY = 86_400_000


class Wrong(VirtualClock):
    """A device whose clock is a day late."""

    def wall(self) -> int:
        """A day ago."""
        return super().wall() - DAY


async def _cancel(alice: CallClient, _: CallClient, call: Call) -> None:
    await alice.cancel_call(call.session_id)


async def _reject(_: CallClient, bob: CallClient, call: Call) -> None:
    await bob.reject_call(call.session_id)


async def _end(alice: CallClient, bob: CallClient, call: Call) -> None:
    await bob.accept_call(call.session_id)
    await asyncio.sleep(3)
    await alice.end_call(call.session_id)


@pytest.mark.parametrize("act", [_cancel, _reject, _end])
def test_who_ends_a_call_knows_when(town: Town, run: Run, act: Any) -> None:
    """Whoever ends a call, both devices tell the time that the service's record has, however wrong their clocks are."""

    async def main() -> None:
        async with town(clock=VirtualClock()) as t:
            alice, bob = await t.add("alice", clock=Wrong()), await t.add("bob", clock=Wrong())
            call = await alice.initiate_call("bob")
            await t.until(lambda: bob.calls)
            await asyncio.sleep(2)
            await act(alice, bob, call)
            await t.until(lambda: len([call for _, _, call in t.seen if call.end_reason]) == 2)
            [row] = await t.service.call_log()
            for _, _, told in t.seen:
                if told.end_reason:
                    assert abs(told.end_reason.when - row.ended_at) < 0.1
                    assert told.ended_at == told.end_reason.when

    run(main)


def test_a_session_s_end_has_its_time(town: Town, run: Run) -> None:
    """The reason that a session and its listeners are given says when, for who left and for who stayed."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, his = await t.pair(listener=t.log("both"))
            await asyncio.sleep(5)
            await hers.end()
            await his.wait_ended()
            [row] = await t.service.call_log()
            told = [args[-1].when for name, args in t.told["both"] if name in ("session_left", "call_ended")]
            assert len(told) == 4
            assert all(abs(when - row.ended_at) < 0.1 for when in (*told, hers.end_reason.when, his.end_reason.when))

    run(main)


def test_a_call_that_the_service_has_not_answered_yet(town: Town, run: Run) -> None:
    """A call that is given up before anything was heard of the service's time ends by the device's own clock."""

    async def main() -> None:
        async with town("bob") as t:
            alice = await t.add("alice")
            t.links["alice"].delay = 1.0
            calling = asyncio.create_task(alice.initiate_call("bob", session_id="early"))
            await asyncio.sleep(0.5)
            calling.cancel()
            await t.until(lambda: t.seen)
            [(_, _, told)] = t.seen
            assert abs(told.ended_at * 1000 - VirtualClock().wall()) < 100
            await asyncio.sleep(5)

    run(main)
