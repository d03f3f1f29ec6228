"""What the application does to calls and users: whatever goes on, both sides hear of it once, and nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from statecore import CallClient, CallService, MemoryStore, ServiceSettings, Status, join_session
from statecore.errors import (
    AlreadyInCall,
    BlankId,
    CallCancelled,
    CallNotFound,
    InvalidArgument,
    MediaConnectionFailed,
    StoreUnusable,
    UnknownUser,
    UserBusy,
)
from statecore.model import Reason
from statecore.testing import FakeMedia

Town, Run = Callable[..., Any], Callable[..., Any]


def test_the_application_ends_a_call_that_rings(town: Town, run: Run) -> None:
    """It is cancelled, by nobody, for both; the lines are free, and ending it again changes nothing."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            alice, bob = t.clients["alice"], t.clients["bob"]
            call = await alice.initiate_call("bob")
            ended = await t.service.end_call(call.session_id)
            assert (ended.status, ended.end_reason.what, ended.end_reason.by) == (
                Status.CANCELLED, Reason.CANCELLED, None,
            )  # fmt: skip
            with pytest.raises(CallCancelled):
                await call.answered()
            await t.until(lambda: not bob.calls)
            assert [(name, event) for name, event, _ in t.seen] == [
                ("bob", "incoming_call_received"), ("alice", "call_ended_message_received"),
                ("bob", "incoming_call_cancelled"),
            ]  # fmt: skip
            assert await t.service.end_call(call.session_id) == ended
            await (await bob.initiate_call("alice")).cancel()

    run(main)


def test_the_application_ends_a_call_that_is_active(town: Town, run: Run) -> None:
    """Both sides are told that it was ended for all, and media is closed."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            sessions = await t.pair()
            ended = await t.service.end_call(sessions[0].session_id)
            assert (ended.status, ended.end_reason.what) == (Status.ENDED, Reason.KICKED)
            for session in sessions:
                assert (await session.wait_ended()).what == Reason.KICKED

    run(main)


def test_the_application_ends_a_session_with_people_and_one_without(town: Town, run: Run) -> None:
    """It is over at once, and does not wait for anybody to come back."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            together = await t.meet("alice", "bob")
            ended = await t.service.end_call("room")
            assert ended.end_reason.what == Reason.KICKED
            for session in together:
                assert (await session.wait_ended()).what == Reason.KICKED
            (alone,) = await t.meet("alice", room="other")
            await alone.leave()
            assert [call.session_id for call in await t.service.calls()] == ["other"]
            assert (await t.service.end_call("other")).end_reason.what == Reason.HANGUP
            assert await t.service.calls() == []

    run(main)


def test_a_call_is_ended_by_its_second_name(town: Town, run: Run) -> None:
    """Both have called each other: either id means the one call there is."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            alice, bob = t.clients["alice"], t.clients["bob"]
            await asyncio.gather(
                alice.initiate_call("bob", session_id="one"), bob.initiate_call("alice", session_id="two")
            )
            second = next(r.session_id for _, r in await t.service.store.scan("call") if r.merged_into)
            ended = await t.service.end_call(second)
            assert ended.session_id != second
            assert ended.ended_at
            await t.until(lambda: not alice.calls and not bob.calls)

    run(main)


def test_there_must_be_a_call_to_end(town: Town, run: Run) -> None:
    """An id that no call has, or that can be none, is an error."""

    async def main() -> None:
        async with town() as t:
            with pytest.raises(CallNotFound):
                await t.service.end_call("nothing")
            with pytest.raises(BlankId):
                await t.service.end_call(" ")

    run(main)


def test_a_user_is_deleted_in_the_middle_of_everything(town: Town, run: Run) -> None:
    """The call ends for both, of a session only that part, what rings stops, and the device does not come back."""

    async def main() -> None:
        async with town("alice", "bob", "carol") as t:
            alice, bob = t.clients["alice"], t.clients["bob"]
            one, other = await t.meet("alice", "bob")
            call = await bob.initiate_call("alice")
            await t.service.delete_user("alice")
            assert (await one.wait_ended()).what == Reason.KICKED
            assert other.state == "active"
            with pytest.raises(CallCancelled):
                await call.answered()
            await t.until(lambda: not alice.connected)
            await asyncio.sleep(600)
            assert not alice.connected
            assert {user.uid for user in await t.service.users()} == {"bob", "carol"}
            with pytest.raises(UnknownUser):
                await bob.initiate_call("alice")
            with pytest.raises(UnknownUser):
                await t.service.delete_user("alice")
            t.service.add_user("alice")  # somebody else, by the same name
            await (await bob.initiate_call("alice")).cancel()
            await other.leave()

    run(main)


def test_a_user_without_a_device_is_deleted(town: Town, run: Run) -> None:
    """Also one whom the store has not heard of yet."""

    async def main() -> None:
        async with town("alice") as t:
            t.service.add_user("bob")
            call = await t.clients["alice"].initiate_call("bob")
            t.service.add_user("carol")
            await t.service.delete_user("carol")
            await t.service.delete_user("bob")
            with pytest.raises(CallCancelled):
                await call.answered()
            assert [user.uid for user in await t.service.users()] == ["alice"]

    run(main)


def test_a_guest_is_no_user_to_delete(town: Town, run: Run) -> None:
    """Who is only a guest is nobody known: deleting that user is refused, and the guest stays."""

    async def main() -> None:
        async with town() as t:
            token = await t.service.generate_token("gast", "room")
            async with join_session(t.service.guest(token), token, FakeMedia(), type="audio") as session:
                with pytest.raises(UnknownUser):
                    await t.service.delete_user("gast")
                await asyncio.sleep(60)
                assert session.state == "active"

    run(main)


def test_a_user_may_be_in_more_calls_than_others(town: Town, run: Run) -> None:
    """As many as the user was registered with: the next caller hears busy, as a second one does at anybody else. What
    was registered stays until it is changed, also for the next service on the store, and whatever the user connects
    with."""

    async def main() -> None:
        async with town("alice", "bob", "carol", "dave", settings=ServiceSettings(line_capacity=1)) as t:
            alice, bob, carol, dave = (t.clients[user] for user in ("alice", "bob", "carol", "dave"))
            await t.service.register_user("bob", capacity=2)
            await t.service.register_user("bob", "Bob")
            calls = [await caller.initiate_call("bob") for caller in (alice, carol)]
            for busy in ("bob", "alice"):
                with pytest.raises(UserBusy):
                    await dave.initiate_call(busy)
            with pytest.raises(AlreadyInCall):
                await bob.initiate_call("dave")
            await calls[0].cancel()
            await t.service.register_user("bob", capacity=1)
            with pytest.raises(UserBusy):
                await dave.initiate_call("bob")
            await calls[1].cancel()

        store = MemoryStore()
        async with CallService(store=store) as first:
            await first.register_user("bob", capacity=2)
        async with CallService(store=store) as second, CallClient(second.signaling("bob", name="Bob")):
            line = (await store.load([("line", "bob")]))["line", "bob"][1]
            assert (line.name, line.capacity) == ("Bob", 2)
            assert await second.user("bob") == (await second.users())[0]

    run(main)


@pytest.mark.parametrize(
    "more",
    [*({"capacity": n} for n in (0, -1, 101, True, 1.5, "2")), {"avatar": "x" * 2049}, {"avatar": None}],
    ids=lambda m: str(m)[:20],
)
def test_what_cannot_be_a_capacity_or_a_picture_is_refused(run: Run, more: Any) -> None:
    """At once, and the user is not made known."""

    async def main() -> None:
        service = CallService()
        with pytest.raises(InvalidArgument):
            await service.register_user("bob", **more)
        assert await service.users() == []

    run(main)


class _Away(MemoryStore):
    """A store that takes nothing as long as it is away."""

    away = True

    async def commit(self, writes: Any) -> bool:
        """Commit, or fail."""
        if self.away:
            raise StoreUnusable(store="it", why="it is away")
        return await super().commit(writes)


def test_what_the_store_has_not_taken_is_not_forgotten(run: Run) -> None:
    """A name and a capacity that were given while the store was away are both there once it is back."""

    async def main() -> None:
        store = _Away()
        service = CallService(store=store)
        with pytest.raises(StoreUnusable):
            await service.register_user("bob", "Bob", capacity=2)
        service.add_user("bob")
        assert (await service.user("bob")).name == "Bob"
        store.away = False
        await service.register_user("carol")
        line = (await store.load([("line", "bob")]))["line", "bob"][1]
        assert (line.name, line.capacity) == ("Bob", 2)
        await service.close()

    run(main)


def test_others_hear_why_somebody_is_gone(town: Town, run: Run) -> None:
    """Who left, whose media failed and who was deleted are told apart, also by a device that was away meanwhile."""

    async def main() -> None:
        names = ("alice", "bob", "carol", "dora")
        async with town(*names) as t:
            sessions = dict(zip(names, await t.meet(*names), strict=True))
            told: list[tuple[str, str]] = []
            sessions["alice"].on("user_left", lambda who, reason: told.append((who.uid, reason)))
            await sessions["bob"].leave()
            await t.until(lambda: told)
            t.media["carol"].sessions[0].fail(MediaConnectionFailed(why="cut"))
            await t.service.delete_user("dora")
            await t.until(lambda: len(told) == 3)
            assert sorted(told) == [("bob", "left"), ("carol", "lost"), ("dora", "kicked")]

    run(main)


@pytest.mark.no_cover
def test_others_hear_why_the_last_one_is_gone_whenever_he_came(town: Town, run: Run) -> None:
    """Of many who are gone it is told why of those who went last, not of those who joined last."""

    async def main() -> None:
        names = [f"user{n}" for n in range(35)]
        async with town(*names) as t:
            first, *_ = await t.meet(*names)
            told: list[tuple[str, str]] = []
            first.on("user_left", lambda who, reason: told.append((who.uid, reason)))
            for name in names[2:]:
                await t.service.delete_user(name)
            await asyncio.sleep(1)
            await t.service.delete_user(names[1])
            await t.until(lambda: len(told) == 34)
            assert told[-1] == (names[1], "kicked")

    run(main)
