"""Ending a session for everyone, while something else ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from statecore import Reason, Session
from statecore.tokens import Role

Town, Run = Callable[..., Any], Callable[..., Any]


async def _hosts(town: Any) -> list[Session]:
    """Two hosts of a session."""
    tokens = {user: await town.service.generate_token(user, "room", role=Role.HOST) for user in ("alice", "bob")}
    return [await town.clients[user].start_session(token, type="audio") for user, token in tokens.items()]


def test_two_hosts_end_it_at_once(town: Town, run: Run) -> None:
    """Both end the session for everyone: both succeed, and nobody is in it any more."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, his = await _hosts(t)
            await asyncio.gather(hers.end_for_all(), his.end_for_all())
            assert (hers.state, his.state) == ("ended", "ended")
            [row] = await t.service.call_log()
            assert row.end_reason.what == Reason.KICKED

    run(main)


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.15])
@pytest.mark.parametrize("late", ["alice", "bob"])
def test_one_ends_it_while_the_other_does(town: Town, run: Run, late: str, seconds: float) -> None:
    """However far the two are from the service, and whoever of them is heard first: both succeed."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, his = await _hosts(t)
            t.links[late].delay = 0.1
            first = asyncio.create_task(hers.end_for_all())
            await asyncio.sleep(seconds)
            await asyncio.gather(first, his.end_for_all())
            assert (hers.state, his.state) == ("ended", "ended")

    run(main)


@pytest.mark.parametrize("cut", [False, True], ids=["on a link", "without a link"])
def test_who_leaves_while_he_ends_it_for_all(town: Town, run: Run, cut: bool) -> None:
    """A host who ends the session for everyone and leaves at the same time has done both: nobody stays in it, also if
    the link was cut and comes back."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, his = await _hosts(t)
            if cut:
                t.links["alice"].drop()
                await t.until(lambda: not t.clients["alice"].connected)
            await asyncio.gather(hers.end_for_all(), hers.leave())
            assert hers.end_reason.what == Reason.HANGUP
            assert (await his.wait_ended()).what == Reason.KICKED

    run(main)
