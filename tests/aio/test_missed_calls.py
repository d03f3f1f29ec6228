"""The log of whom a call was meant for: what did not reach him is missed, what he answered anywhere is not."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from statecore import CallQuery, Status
from statecore.errors import UserBusy
from statecore.flow import Timers

Town, Run = Callable[..., Any], Callable[..., Any]


async def _cancelled(t: Any, session: str) -> None:
    await t.clients["alice"].cancel_call(session)


async def _unanswered(t: Any, session: str) -> None:
    del t, session  # the ring timer ends it


async def _rejected(t: Any, session: str) -> None:
    await t.clients["bob/phone"].reject_call(session)


async def _called_busy(t: Any, session: str) -> None:
    await t.clients["bob/phone"].reject_call(session, "busy")


async def _answered(t: Any, session: str) -> None:
    await t.clients["bob/phone"].accept_call(session)
    await t.clients["alice"].end_call(session)


async def _lost(t: Any, session: str) -> None:
    del session
    t.links["alice"].cut()


@pytest.mark.parametrize(
    ("end", "hers", "his"),
    [
        (_cancelled, Status.CANCELLED, Status.MISSED),
        (_unanswered, Status.UNANSWERED, Status.MISSED),
        (_rejected, Status.REJECTED, Status.REJECTED),
        (_called_busy, Status.BUSY, Status.BUSY),
        (_answered, Status.ENDED, Status.ENDED),
        (_lost, Status.ENDED, Status.MISSED),
    ],
)
def test_how_a_call_stands_in_the_log_of_either(
    town: Town, run: Run, end: Callable[[Any, str], Awaitable[None]], hers: Status, his: Status
) -> None:
    """Bob has two devices, of which one may answer: the other makes it no missed call. Alice never misses her own."""

    async def main() -> None:
        async with town(timers=Timers(heartbeat=5, lease=15)) as t:
            for name in ("alice", "bob/phone", "bob/desk"):
                await t.add(name)
            call = await t.clients["alice"].initiate_call("bob", type="audio")
            await t.until(lambda: t.clients["bob/phone"].calls and t.clients["bob/desk"].calls)
            await end(t, call.session_id)
            while await t.service.calls():  # noqa: ASYNC110 - whatever ends it, in virtual time
                await asyncio.sleep(1)
            for user, status, role in (("alice", hers, "caller"), ("bob", his, "callee")):
                (seen,) = (await t.service.find_calls(CallQuery(user=user))).calls
                assert (seen.status, seen.role) == (status, role)
                for wanted in Status:
                    found = await t.service.find_calls(CallQuery(user=user, status=wanted))
                    assert len(found.calls) == (wanted is status)
            (seen,) = (await t.service.find_calls()).calls
            assert seen.status is hers

    run(main)


def test_a_call_to_a_busy_line_is_missed(town: Town, run: Run) -> None:
    """Nobody was rung, and the log of whom it was meant for says so; to a third it is nothing."""

    async def main() -> None:
        async with town() as t:
            for name in ("alice", "bob", "carol"):
                await t.add(name)
            await t.pair()
            with pytest.raises(UserBusy):
                await t.clients["carol"].initiate_call("bob", type="audio")
            for user, status in (("carol", Status.BUSY), ("bob", Status.MISSED)):
                (seen,) = (await t.service.find_calls(CallQuery(user=user, live=False))).calls
                assert seen.status is status
                assert seen.peer == {"carol": "bob", "bob": "carol"}[user]
            for client in t.clients.values():
                await client.clear_active_call()

    run(main)


def test_a_call_lasts_from_when_it_was_active(town: Town, run: Run) -> None:
    """Neither the time that it rang nor the time that media took counts: the log of both tells when each was over."""

    async def main() -> None:
        async with town() as t:
            for name in ("alice", "bob"):
                await t.add(name)
            call = await t.clients["alice"].initiate_call("bob", type="audio")
            await asyncio.sleep(20)
            await t.clients["bob"].accept_call(call.session_id)
            hers, his = [await t.clients[name].generate_token(call.session_id) for name in ("alice", "bob")]
            joining = asyncio.create_task(t.clients["alice"].start_session(hers))
            await asyncio.sleep(7)
            await t.clients["bob"].start_session(his)
            await asyncio.sleep(60)
            await (await joining).end()
            for user in ("alice", "bob"):
                (seen,) = (await t.service.find_calls(CallQuery(user=user))).calls
                times = [seen.initiated_at, seen.ringing_at, seen.answered_at, seen.active_at, seen.ended_at]
                lasted = [after - before for before, after in itertools.pairwise(times)]
                assert lasted == pytest.approx([0, 20, 7, 60], abs=0.05)

    run(main)
