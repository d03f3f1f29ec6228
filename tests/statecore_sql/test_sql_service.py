"""A call service on a database: what it knew is known to the one that is started on it next."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import Any

import pytest

from statecore import Call, CallClient, CallService, Reason, User
from statecore.errors import TokenRevoked
from statecore.testing import FakeMedia, assert_fully_reaped


def test_calls_of_a_service_before_this_one_are_in_the_log_and_lines_are_free(place: Any) -> None:
    """Two services, one after the other on one database: each carries a call, and the second lists both."""

    async def answer(call: Call) -> None:
        async with call.answer() as session:
            await session.wait_ended()

    async def main() -> list[str]:
        with closing(place.open()) as store, assert_fully_reaped():
            async with (
                CallService(store=store) as service,
                CallClient(service.signaling("alice"), FakeMedia()) as alice,
                CallClient(service.signaling("bob"), FakeMedia()) as bob,
            ):
                serving = asyncio.create_task(bob.serve(answer))
                async with alice.call("bob", type="audio") as session:
                    await anext(session.audio("bob"))
                serving.cancel()
                await asyncio.wait([serving])
                log = await service.call_log()
        assert {call.end_reason.what for call in log} == {Reason.HANGUP}
        return [call.session_id for call in log]

    first, second = asyncio.run(main()), asyncio.run(main())
    assert len(first) == 1
    assert len(second) == 2
    assert set(first) < set(second)


def test_users_tokens_and_revocations_are_known_to_the_next_service(place: Any) -> None:
    """Nothing is said to the second service: it knows the user, takes a token of the first, refuses a void one."""

    async def main() -> None:
        with closing(place.open()) as store:
            async with CallService(store=store) as first:
                await first.register_user("alice", "Alice")
                good, void = [await first.generate_token("alice", "room") for _ in range(2)]
                await first.revoke_token(void)
        with closing(place.open()) as store, assert_fully_reaped():
            async with (
                CallService(store=store) as second,
                CallClient(second.signaling("alice", name="Alice"), FakeMedia()) as alice,
            ):
                assert await second.users() == [User(uid="alice", name="Alice")]
                with pytest.raises(TokenRevoked):
                    await alice.start_session(void)
                session = await alice.start_session(good)
                assert session.state == "active"
                await session.end()

    asyncio.run(main())
