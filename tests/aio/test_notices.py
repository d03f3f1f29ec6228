"""What is told outside of connections: wake-ups for devices that are not there, and the life of calls."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any

import attrs
import pytest

from statecore import CallClient, CallService, MemoryStore, Newest
from statecore.aio import _outbox
from statecore.errors import CallUnanswered, StatecoreError, UserBusy
from statecore.ports import CHANGES, WAKE_UPS, Change, Key, Notice
from statecore.testing import VirtualClock, run_virtual

Town = Callable[..., Any]


class Noted:
    """A notifier that keeps what it is given, and can be slow, fail, or hang."""

    def __init__(self, wants: Collection[Change] = CHANGES) -> None:
        self.wants = wants
        self.got: list[Notice] = []
        self.closed = 0
        self.error: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()

    async def notify(self, notice: Notice) -> None:
        """Keep it."""
        self.got.append(notice)
        await self.open.wait()
        if self.error is not None:
            raise self.error

    async def close(self) -> None:
        """Count it."""
        self.closed += 1

    def said(self) -> list[tuple[str, str, str]]:
        """What changed, of whom, and why."""
        return [(notice.what, notice.user, notice.reason) for notice in self.got]


async def _drained(service: CallService) -> None:
    """Until nothing waits to be sent."""
    async with asyncio.timeout(600):
        while await service.store.scan("outbox"):  # noqa: ASYNC110 - in virtual time
            await asyncio.sleep(0.01)


def _client(service: CallService, user: str, device: str | None = None) -> CallClient:
    return CallClient(service.signaling(user, device), clock=VirtualClock(), jitter=lambda: 0.0)


def test_notices_that_cannot_be_read_stand_in_nobody_s_way(town: Town, caplog: pytest.LogCaptureFixture) -> None:
    """What somebody else has put in the store is given up, once and with an error; the calls are told as ever."""
    noted = Noted()

    async def main() -> None:
        async with town("alice", "bob", notifier=noted) as t:
            assert await t.service.store.commit({("outbox", "alice"): (0, b"\xc1")})
            hers, his = await t.pair()
            await his.end()
            await hers.wait_ended()
            await _drained(t.service)
        assert [what for what, _, _ in noted.said()][:: len(noted.got) - 1] == ["initiated", "ended"]

    run_virtual(main())
    assert caplog.text.count("notices of alice were given up, as they cannot be read: MessagePack data is") == 1


def test_the_life_of_a_call_is_told_once_and_in_order(town: Town) -> None:
    """Rung, answered, joined, active, left, ended: each with its key and a number that rises; nothing stays behind."""
    noted = Noted()

    async def main() -> None:
        async with town("alice", "bob", notifier=noted) as t:
            hers, his = await t.pair()
            await his.end()
            await hers.wait_ended()
            await t.until(lambda: noted.got and noted.got[-1].what == "ended")
            await _drained(t.service)
            session = hers.session_id
        assert noted.said() == [
            ("initiated", "bob", ""),
            ("ring", "bob", ""),
            ("stop", "bob", "answered_elsewhere"),
            ("accepted", "bob", ""),
            *[("participant_joined", user, "") for user in ("alice", "bob")],
            ("started", "bob", ""),
            *[("participant_left", user, "hangup") for user in ("alice", "bob")],
            ("ended", "bob", "hangup"),
        ]
        first = noted.got[0]
        assert (first.session_id, first.type, first.caller, first.receiver) == (session, "audio", "alice", "bob")
        assert len({notice.id for notice in noted.got}) == len(noted.got)
        assert [notice.sequence for notice in noted.got] == sorted({notice.sequence for notice in noted.got})
        assert [notice.at for notice in noted.got] == sorted(notice.at for notice in noted.got)
        assert noted.closed == 1

    run_virtual(main())


@pytest.mark.parametrize("how", ["unanswered", "cancelled", "rejected"])
def test_a_user_without_a_device_is_woken_and_let_sleep(how: str) -> None:
    """A ring with the time it lasts, and a stop with the reason, whoever ends it; and nothing else, if nothing else is
    wanted."""

    async def main() -> None:
        noted = Noted(WAKE_UPS)
        async with CallService(clock=VirtualClock(), notifier=noted) as service:
            service.add_user("bob", "Bob")
            async with CallClient(service.signaling("alice"), name="Al", clock=VirtualClock()) as alice:
                call = await alice.initiate_call("bob", type="audio", timeout=20)
                (ring,) = noted.got
                assert (ring.what, ring.receiver, ring.caller, ring.caller_name) == ("ring", "bob", "alice", "Al")
                assert ring.expires_in == ring.expires_at - ring.at == 20
                if how == "unanswered":
                    with pytest.raises(CallUnanswered):
                        await call.answered()
                elif how == "cancelled":
                    await call.cancel()
                else:
                    async with _client(service, "bob", "phone") as bob:
                        while not bob.calls:  # noqa: ASYNC110 - in virtual time
                            await asyncio.sleep(0.01)
                        await bob.reject_call(call.session_id)
                await _drained(service)
        reason = "rejected_elsewhere" if how == "rejected" else how
        assert noted.said() == [("ring", "bob", ""), ("stop", "bob", reason)]
        assert noted.got[1].sequence > noted.got[0].sequence
        assert noted.got[1].expires_in == 0

    run_virtual(main())


def test_a_busy_user_is_not_woken(town: Town) -> None:
    """A call that is busy is told as made and ended, and rings nowhere; one that becomes another's is not told."""
    noted = Noted()

    async def main() -> None:
        async with town("alice", "bob", "carol", notifier=noted) as t:
            await t.clients["alice"].initiate_call("bob")
            noted.got.clear()
            with pytest.raises(UserBusy):
                await t.clients["carol"].initiate_call("bob")
            assert noted.said() == [("initiated", "bob", ""), ("ended", "bob", "busy")]
            noted.got.clear()
            merged = await t.clients["bob"].initiate_call("alice")
            await _drained(t.service)
            assert {notice.session_id for notice in noted.got} == {merged.session_id}
            assert {notice.what for notice in noted.got} >= {"stop", "accepted"}

    run_virtual(main())


def test_a_session_without_ringing_is_told_too(town: Town) -> None:
    """Made, joined, active, left by each, ended; nobody is woken, and there is nobody who is called."""
    noted = Noted()

    async def main() -> None:
        async with town("alice", "bob", notifier=noted) as t:
            for session in await t.meet("alice", "bob"):
                await session.leave()
            await asyncio.sleep(61)  # an empty session waits a minute
            await _drained(t.service)
        assert [(notice.what, notice.user, notice.receiver) for notice in noted.got if notice.what != "started"] == [
            ("initiated", "", ""),
            ("participant_joined", "alice", ""),
            ("participant_joined", "bob", ""),
            ("participant_left", "alice", ""),
            ("participant_left", "bob", ""),
            ("ended", "", ""),
        ]
        assert [notice.what for notice in noted.got].count("started") == 1

    run_virtual(main())


@pytest.mark.parametrize("hangs", [False, True])
def test_a_notifier_that_cannot_be_closed_keeps_no_service_from_closing(
    caplog: pytest.LogCaptureFixture, *, hangs: bool
) -> None:
    """Its error is logged, or that it takes longer than it may."""

    class Stuck(Noted):
        async def close(self) -> None:
            """Fail."""
            if hangs:
                await asyncio.Event().wait()
            raise RuntimeError("stuck")

    async def main() -> None:
        async with asyncio.timeout(60), CallService(clock=VirtualClock(), notifier=Stuck()):
            pass

    run_virtual(main())
    assert "did not close" in caplog.text


def test_those_of_one_caller_wait_for_each_other_and_for_no_one_else(town: Town) -> None:
    """While the first of a call is on its way, the next ones of its caller wait; another caller's go out."""
    noted = Noted(WAKE_UPS)

    async def main() -> None:
        async with town("alice", "bob", "carol", notifier=noted) as t:
            t.service.add_user("dave")
            noted.open.clear()
            call = await t.clients["alice"].initiate_call("bob")
            await call.cancel()
            await t.clients["carol"].initiate_call("dave")
            assert noted.said() == [("ring", "bob", ""), ("ring", "dave", "")]
            noted.open.set()
            await t.until(lambda: len(noted.got) == 3)
            assert noted.said()[2] == ("stop", "bob", "cancelled")

    run_virtual(main())


def test_a_notifier_that_fails_loses_that_notice_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Its error is logged with the notice's key; the next ones go on, and calls do not notice."""

    async def main() -> None:
        noted = Noted(WAKE_UPS)
        noted.error = RuntimeError("no such push service")
        async with CallService(clock=VirtualClock(), notifier=noted) as service:
            service.add_user("bob")
            async with _client(service, "alice") as alice:
                call = await alice.initiate_call("bob")
                await call.cancel()
                await _drained(service)
        assert [notice.what for notice in noted.got] == ["ring", "stop"]
        assert f"{noted.got[0].id} was given up: no such push service" in caplog.text

    run_virtual(main())


def test_what_was_not_sent_is_sent_by_the_next_service() -> None:
    """A service closes while a notice is on its way and another waits: the next on the store sends both, in order, the
    first under the same key; one without a notifier leaves them alone."""

    async def main() -> None:
        store, hangs, noted = MemoryStore(), Noted(WAKE_UPS), Noted(WAKE_UPS)
        hangs.open.clear()
        async with CallService(store=store, clock=VirtualClock(), notifier=hangs) as service:
            service.add_user("bob")
            async with _client(service, "alice") as alice:
                await (await alice.initiate_call("bob")).cancel()
        assert [notice.what for notice in hangs.got] == ["ring"]
        async with CallService(store=store, clock=VirtualClock()):
            pass
        async with CallService(store=store, clock=VirtualClock(), notifier=noted) as service:
            await _drained(service)
        assert [notice.what for notice in noted.got] == ["ring", "stop"]
        assert noted.got[0].id == hangs.got[0].id

    run_virtual(main())


class Broken(MemoryStore):
    """A store that fails so many times where a record of a kind is read, or refuses its commits."""

    def __init__(self, *, reads: int = 0, refusals: int = 0) -> None:
        super().__init__()
        self.reads, self.refusals = reads, refusals

    async def load(self, keys: Iterable[Key]) -> dict[Key, tuple[int, Any]]:
        """Fail, or load."""
        keys = tuple(keys)
        if self.reads and len(keys) == 1 and keys[0][0] == "outbox" and await self.scan("outbox"):
            self.reads -= 1
            raise OSError("the disk")
        return await super().load(keys)

    async def commit(self, writes: Mapping[Key, tuple[int, Any]]) -> bool:
        """Refuse, or commit."""
        if self.refusals and all(kind == "outbox" for kind, _ in writes):
            self.refusals -= 1
            return False
        return await super().commit(writes)


@pytest.mark.parametrize(
    ("store", "times"), [({"reads": 8}, 1), ({"refusals": 3}, 1), ({"refusals": 33}, 2)], ids=["reads", "some", "many"]
)
def test_a_store_that_fails_delays_a_notice(
    store: dict[str, int], times: int, caplog: pytest.LogCaptureFixture
) -> None:
    """It is asked again, more and more slowly; a notice that could not be deleted is sent again under the same key."""

    async def main() -> None:
        noted = Noted({"ring"})
        async with CallService(store=Broken(**store), clock=VirtualClock(), notifier=noted) as service:
            service.add_user("bob")
            async with _client(service, "alice") as alice:
                await alice.initiate_call("bob")
                await _drained(service)
        assert [notice.id for notice in noted.got] == [noted.got[0].id] * times

    with caplog.at_level(logging.CRITICAL):
        run_virtual(main())


def test_what_is_written_while_the_list_is_read_is_sent() -> None:
    """The store says, after a while, that nothing waited any more; what was written meanwhile goes out all the same."""

    class Late(MemoryStore):
        reading, may_go = asyncio.Event(), asyncio.Event()

        async def load(self, keys: Iterable[Key]) -> dict[Key, tuple[int, Any]]:
            """What was there when it was asked; of an empty list, later."""
            found = await super().load(keys)
            empty = [value for (kind, _), (version, value) in found.items() if kind == "outbox" and version] == [None]
            if empty and not self.reading.is_set():
                self.reading.set()
                await self.may_go.wait()
            return found

    async def main() -> None:
        noted, store = Noted({"ring", "ended"}), Late()
        async with CallService(store=store, clock=VirtualClock(), notifier=noted) as service:
            service.add_user("bob")
            async with _client(service, "alice") as alice:
                call = await alice.initiate_call("bob")
                await store.reading.wait()
                await call.cancel()
                store.may_go.set()
                await _drained(service)
        assert [notice.what for notice in noted.got] == ["ring", "ended"]

    run_virtual(main())


def test_who_takes_nothing_does_not_fill_the_store(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one caller so many wait at the most; the oldest are given up, and that is logged."""
    monkeypatch.setattr(_outbox, "_MOST", 10)

    async def main() -> None:
        noted = Noted(WAKE_UPS)
        noted.open.clear()
        async with CallService(clock=VirtualClock(), notifier=noted) as service:
            service.add_user("bob")
            async with _client(service, "alice") as alice:
                for _ in range(7):
                    await (await alice.initiate_call("bob")).cancel()
                noted.open.set()
                await _drained(service)
        # The first was on its way, and three more were given up.
        assert len(noted.got) == 11
        assert sum("too many wait" in record.message for record in caplog.records) >= 1

    run_virtual(main())


class Dying:
    """A store behind which the service dies with its nth commit, just before or just after it is done."""

    def __init__(self, inner: MemoryStore, commits: int, *, done: bool) -> None:
        self.inner, self.left, self.done = inner, commits, done

    async def load(self, keys: Iterable[Key]) -> dict[Key, tuple[int, Any]]:
        """As the inner store, while it lives."""
        self._alive()
        return await self.inner.load(keys)

    async def commit(self, writes: Mapping[Key, tuple[int, Any]]) -> bool:
        """As the inner store, until it dies."""
        self._alive()
        self.left -= 1
        written = (self.left > 0 or self.done) and await self.inner.commit(writes)
        self._alive()
        return written

    async def scan(self, kind: str) -> list[tuple[Key, Any]]:
        """As the inner store, while it lives."""
        self._alive()
        return await self.inner.scan(kind)

    def _alive(self) -> None:
        if self.left <= 0:
            raise OSError("it is dead")


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_a_service_that_dies_with_any_commit_tells_what_has_happened_and_nothing_else(
    done: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """What is in the store was told, by the service that died or by the next; what is not, was not. In order, and under
    keys that are the same."""

    async def main(commits: int) -> int:
        store, noted = MemoryStore(), Noted()
        dying = Dying(store, commits, done=done)
        with suppress(StatecoreError, OSError):
            async with CallService(store=dying, clock=VirtualClock(), notifier=noted) as service:
                service.add_user("bob")
                async with _client(service, "alice") as alice:
                    await (await alice.initiate_call("bob")).cancel()
                    await _drained(service)
        async with CallService(store=store, clock=VirtualClock(), notifier=noted) as service:
            await _drained(service)
            expected = []
            for call in (await service.find_calls()).calls:
                expected = [("initiated", "bob", ""), ("ring", "bob", "")]
                if call.ended_at:
                    expected += [("stop", "bob", "cancelled"), ("ended", "bob", "cancelled")]
        first = {notice.id: notice for notice in reversed(noted.got)}
        told = sorted(first.values(), key=lambda notice: notice.sequence)
        assert [(notice.what, notice.user, notice.reason) for notice in told] == expected
        assert [notice.id for notice in noted.got if first.pop(notice.id, None)] == [notice.id for notice in told]
        return dying.left

    with caplog.at_level(logging.CRITICAL):
        commits = 1
        while run_virtual(main(commits)) <= 0:
            commits += 1
    assert commits > 8


# --- the receiver's side ----------------------------------------------------------------------------------------------


def _notice(what: Change, sequence: int, **more: Any) -> Notice:
    given: dict[str, Any] = {"session_id": "s", "type": "audio", "caller": "alice", "receiver": "bob", "user": "bob"}
    return Notice(id=f"s:{sequence}", sequence=sequence, what=what, **given | more)


def test_notices_that_come_twice_and_out_of_order_are_sorted_out() -> None:
    """In whatever order and however often a ring and its stop come, the device ends silent, and rings once at most; a
    second ring of the same call rings again."""
    changes: list[tuple[Change, int]] = [("ring", 1), ("stop", 2), ("ring", 3), ("stop", 4)]
    for order in itertools.permutations([*changes, *changes], 5):
        newest, rings, last = Newest(), 0, 0
        for what, sequence in order:
            notice = _notice(what, sequence)
            news = newest.take(notice)
            assert news == (sequence > last)
            rings += news and what == "ring"
            last = max(last, sequence)
        assert rings <= len({sequence for what, sequence in order if what == "ring"})
    newest = Newest()
    assert newest.take(_notice("stop", 2))
    assert not newest.take(_notice("ring", 1))
    assert newest.take(_notice("ring", 1, user="carol"))
    assert newest.take(_notice("ring", 1, session_id="t"))


def test_the_life_of_a_call_is_news_once_whatever_came_before() -> None:
    """What is told of a call's life is news in any order, each once."""
    newest = Newest(remember=2)
    ended, made = _notice("ended", 9), _notice("initiated", 1)
    assert [newest.take(each) for each in (ended, made, ended, made)] == [True, True, False, False]
    assert newest.take(_notice("started", 5))
    assert newest.take(made) is False
    assert newest.take(ended)  # it was forgotten for the two that came later


def test_what_was_heard_of_last_is_remembered() -> None:
    """Who is told again of a call that rings for long does not forget it for the ones that came in between."""
    newest = Newest(remember=2)
    first, second, third = (_notice("ring", 1, session_id=name) for name in "abc")
    assert [newest.take(each) for each in (first, second, first, third, first)] == [True, True, False, True, False]


@pytest.mark.parametrize("order", list(itertools.permutations(["push", "push", "socket"])))
def test_push_and_socket_both_deliver_the_ring(order: tuple[str, ...]) -> None:
    """A push wakes a device, twice, before or after its connection has brought the same call: it is one call, and one
    ring. So is the stop: one end, and a push of the ring that comes after it is no news."""

    async def main() -> None:
        noted, newest = Noted(WAKE_UPS), Newest()
        rung: list[str] = []
        async with CallService(clock=VirtualClock(), notifier=noted) as service:
            service.add_user("bob")
            alice, bob = _client(service, "alice"), _client(service, "bob", "phone")
            ended: list[str] = []
            bob.on("incoming_call_received", lambda call: rung.append(call.session_id))
            bob.on("incoming_call_cancelled", lambda call: ended.append(call.session_id))

            async def push(notice: Notice) -> None:
                """What an application does with a push: connect, which is enough; the ring comes by the connection."""
                if newest.take(notice) and notice.what == "ring" and notice.expires_in > 0:
                    await bob.connect()

            async with alice, bob if order[0] == "socket" else _nothing():
                call = await alice.initiate_call("bob")
                (ring,) = noted.got
                for way in order:
                    await (push(ring) if way == "push" else bob.connect())
                async with asyncio.timeout(5):
                    while not rung:  # noqa: ASYNC110 - in virtual time
                        await asyncio.sleep(0.01)
                await call.cancel()
                await _drained(service)
                for notice in (noted.got[1], ring, noted.got[1]):
                    await push(notice)
                await asyncio.sleep(1)
                assert (rung, ended) == ([call.session_id], [call.session_id])
                assert not bob.calls
            await bob.close()

    run_virtual(main())


class _nothing:  # noqa: N801 - stands where a context manager does
    async def __aenter__(self) -> None:
        """Nothing."""

    async def __aexit__(self, *_: object) -> None:
        """Nothing."""


def test_a_late_push_does_not_ring() -> None:
    """A ring that is given after its time says that no time is left."""

    async def main() -> None:
        store, hangs, noted = MemoryStore(), Noted(WAKE_UPS), Noted(WAKE_UPS)
        hangs.open.clear()
        async with CallService(store=store, clock=VirtualClock(), notifier=hangs) as service:
            service.add_user("bob")
            async with _client(service, "alice") as alice:
                await alice.initiate_call("bob", timeout=10)
                await asyncio.sleep(30)
        async with CallService(store=store, clock=VirtualClock(), notifier=noted) as service:
            await _drained(service)
        assert [(notice.what, notice.expires_in) for notice in noted.got] == [("ring", 0), ("stop", 0)]
        assert attrs.evolve(noted.got[0], expires_in=10) == hangs.got[0]

    run_virtual(main())
