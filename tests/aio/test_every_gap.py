"""In every gap of a call: somebody's program ends in good order, or the store raises. And clocks that show anything."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import pytest

from statecore import CallClient, CallService, MemoryLink, MemoryStore
from statecore.errors import StatecoreError
from statecore.model import Line
from statecore.ports import Key
from statecore.testing import FakeMedia, VirtualClock, assert_fully_reaped, run_virtual


class Gaps:
    """Counts what passes, and says when so much has."""

    def __init__(self, at: int | None) -> None:
        self.at, self.count = at, 0
        self.reached = asyncio.Event()

    def passed(self) -> bool:
        """One more; tells whether it is the one."""
        self.count += 1
        if self.count == self.at:
            self.reached.set()
        return self.count == self.at


class Counted(MemoryLink):
    """A link whose messages are counted."""

    def __init__(self, service: CallService, user: str, gaps: Gaps) -> None:
        service.add_user(user)
        super().__init__(user, f"{user}-phone", lambda channel, _: service.serve(channel, user))
        self.gaps = gaps

    def passes(self, message: bytes) -> bool:
        """Counted."""
        self.gaps.passed()
        return super().passes(message)


async def _talk(alice: CallClient, bob: CallClient) -> None:
    """Alice calls, Bob answers, both join, one of them mutes himself, and she hangs up."""
    call = await alice.initiate_call("bob", type="audio", timeout=20)
    await _until(lambda: bool(bob.calls))
    await asyncio.gather(bob.accept_call(call.session_id), call.answered())
    tokens = [await client.generate_token(call.session_id) for client in (alice, bob)]
    hers, his = await asyncio.gather(alice.start_session(tokens[0]), bob.start_session(tokens[1]))
    await his.mute_audio()
    await hers.end()


async def _until(condition: Any, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - in virtual time
            await asyncio.sleep(0.05)


async def _are_free(service: CallService) -> None:
    assert not await service.calls()
    lines = [line for _, line in await service.store.scan("line") if isinstance(line, Line)]
    assert [line.user for line in lines if line.holds or line.sessions] == []


async def _goes(who: str, at: int | None) -> int:
    gaps = Gaps(at)
    async with CallService(clock=VirtualClock()) as service:
        clients = {
            user: CallClient(Counted(service, user, gaps), FakeMedia(), clock=VirtualClock())
            for user in ("alice", "bob")
        }
        other = clients["bob" if who == "alice" else "alice"]
        for client in clients.values():
            await client.connect()
        talking = asyncio.create_task(_talk(*clients.values()))
        reached = asyncio.create_task(gaps.reached.wait())
        await asyncio.wait((talking, reached), return_when=asyncio.FIRST_COMPLETED)
        await clients[who].close()
        # Told at once; but whom nobody answers any more rings for as long as he had said.
        await _until(lambda: not other.calls, 21)
        reached.cancel()
        talking.cancel()
        with suppress(StatecoreError, asyncio.CancelledError, TimeoutError):
            await talking
        await _are_free(service)
        await other.close()
    return gaps.count


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_a_program_ends_in_good_order_at_any_message(who: str) -> None:
    """As one does that is told to: its calls end, the other side hears of it, nothing is left, and no line is busy."""
    with assert_fully_reaped():
        count = run_virtual(_goes(who, None))
        assert count > 25
        for at in range(1, count):
            run_virtual(_goes(who, at))


class Raising(MemoryStore):
    """Raises once, at its so-manieth commit, before it or after."""

    def __init__(self, gaps: Gaps, *, after: bool) -> None:
        super().__init__()
        self.gaps, self.after = gaps, after

    async def commit(self, writes: Mapping[Key, tuple[int, Any]]) -> bool:
        """As ever, or not."""
        raises = self.gaps.passed()
        if raises and not self.after:
            raise OSError("the disk")
        done = await super().commit(writes)
        if raises:
            raise OSError("the disk")
        return done


async def _raises(at: int | None, *, after: bool) -> int:
    gaps = Gaps(at)
    async with CallService(clock=VirtualClock(), store=Raising(gaps, after=after)) as service:
        devices: Iterable[str] = ("alice", "bob")
        alice, bob = (CallClient(service.signaling(u), FakeMedia(), clock=VirtualClock()) for u in devices)
        async with alice, bob:
            with suppress(StatecoreError):
                async with asyncio.timeout(60):
                    await _talk(alice, bob)
            count = gaps.count
            for client in (alice, bob):
                await client.clear_active_call()
            await _until(lambda: not (alice.calls or bob.calls))
            await asyncio.sleep(1)
            await _are_free(service)
            await _until(lambda: alice.connected and bob.connected)
            call = await bob.initiate_call("alice")
            await _until(lambda: alice.calls)
            await call.cancel()
    return count


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_store_that_raises_at_any_commit_keeps_no_line_busy(after: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever came of that one commit, the call comes to its end, and each of the two can call the other."""
    caplog.set_level("CRITICAL", logger="statecore")
    with assert_fully_reaped():
        count = run_virtual(_raises(None, after=after))
        assert count > 10
        for at in range(3, count + 1):  # from the first device's connection on
            run_virtual(_raises(at, after=after))


class Shows(VirtualClock):
    """A clock that shows a time of its own, and runs as any other."""

    def __init__(self, off: int) -> None:
        super().__init__()
        self.start += off


_MINUTES, _DAY = 5 * 60_000, 86_400_000


@pytest.mark.no_cover
@pytest.mark.parametrize(("hers", "his"), [*itertools.product((-_DAY, -_MINUTES, 0, _MINUTES, _DAY), repeat=2)])
def test_clocks_that_are_wrong_by_minutes_or_a_day(hers: int, his: int) -> None:
    """However far a device's clock is off, and to which side: it rings, it is answered, both tell the service's times,
    and a ring that nobody answers ends when it should."""

    async def main() -> None:
        async with CallService(clock=VirtualClock()) as service:
            alice = CallClient(service.signaling("alice"), FakeMedia(), clock=Shows(hers))
            bob = CallClient(service.signaling("bob"), FakeMedia(), clock=Shows(his))
            async with alice, bob:
                call = await alice.initiate_call("bob", timeout=20)
                await _until(lambda: bob.calls)
                (ring,) = bob.calls
                assert ring.initiated_at == call.initiated_at
                began = asyncio.get_running_loop().time()
                await _until(lambda: not (alice.calls or bob.calls))
                assert 19 < asyncio.get_running_loop().time() - began < 21
                await _talk(alice, bob)
                await _until(lambda: not bob.calls)
                log = await service.call_log()
                assert sorted(str(row.end_reason.what) for row in log if row.end_reason) == ["hangup", "unanswered"]

    with assert_fully_reaped():
        run_virtual(main())
