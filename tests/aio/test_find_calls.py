"""Calls are found by what they are, in pages that stay put while calls come and end."""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from statecore import CallQuery, CallService, MemoryStore, Status
from statecore.errors import InvalidArgument, StoreUnusable
from statecore.model import Ending, Record, people
from statecore.ports import Key, Place


def _record(number: int, made: int, **more: Any) -> Record:
    return Record(f"s{number}", "ringing", "audio", "alice", "bob", initiated_at=made, **more)


class _Indexed(MemoryStore):
    """A store that finds calls by itself; notes how many it gave at most."""

    most = 0

    async def find_calls(
        self, *, user: str | None, live: bool | None, above: Place, below: Place, newest: bool, limit: int | None
    ) -> list[Record]:
        """As `CallIndex` says."""
        records = [r for _, r in await super().scan("call") if not r.merged_into and live in (None, not r.end.at)]
        places = sorted(((r.initiated_at, r.session_id), r) for r in records if user is None or user in people(r))
        found = [r for place, r in (reversed(places) if newest else places) if above < place < below][:limit]
        self.most = max(self.most, len(found))
        return found

    async def count_live(self) -> int:
        """As `CallIndex` says."""
        return len([r for _, r in await super().scan("call") if not r.merged_into and not r.end.at])


class _Only(_Indexed):
    """One that refuses to give everything."""

    async def scan(self, kind: str) -> list[tuple[Key, Any]]:
        """Nothing of calls."""
        assert kind != "call", "all calls were read"
        return await super().scan(kind)


_stores = pytest.mark.parametrize("kind", [MemoryStore, _Only])


async def _service(records: list[Record], kind: type[MemoryStore] = MemoryStore) -> CallService:
    store = kind()
    service = CallService(store=store)
    for record in records:
        await store.commit({("call", record.session_id): (0, record)})
    return service


@_stores
@given(
    made=st.lists(st.integers(1, 5), max_size=12),
    limit=st.integers(1, 5),
    later=st.lists(st.integers(1, 8), max_size=4),
)
def test_pages_neither_skip_nor_repeat(kind: type[MemoryStore], made: list[int], limit: int, later: list[int]) -> None:
    """From the newest to the oldest and back, with ties in time, and while newer and older ones come: whoever was there
    is seen once."""

    async def main() -> None:
        records = [_record(number, when) for number, when in enumerate(made)]
        service = await _service(records, kind)
        expected = [r.session_id for r in sorted(records, key=lambda r: (r.initiated_at, r.session_id), reverse=True)]
        seen, cursor = list[str](), ""
        page = await service.find_calls(CallQuery(limit=limit))
        seen += [call.session_id for call in page.calls]
        for number, when in enumerate(later):
            await service.store.commit({("call", f"t{number}"): (0, _record(100 + number, when))})
        while cursor := page.older:
            page = await service.find_calls(CallQuery(limit=limit, cursor=cursor))
            seen += [call.session_id for call in page.calls]
        old = [session for session in seen if session in expected]
        assert old == expected
        back: list[str] = []
        while page.newer and page.calls:
            page = await service.find_calls(CallQuery(limit=limit, cursor=page.newer))
            back = [call.session_id for call in page.calls] + back
        assert len(back) == len(set(back))
        assert not set(expected[: -limit or None]) - set(back) - set(seen[-limit:])

    asyncio.run(main())


@_stores
def test_a_page_names_another_only_if_there_is_one(kind: type[MemoryStore]) -> None:
    """However it was come by: the newest has no newer one, until there is one, and the oldest no older one."""

    async def main() -> None:
        service = await _service([_record(1, 1), _record(2, 2), _record(3, 2)], kind)

        async def page(cursor: str = "") -> tuple[list[str], str, str]:
            found = await service.find_calls(CallQuery(limit=1, cursor=cursor))
            return [call.session_id for call in found.calls], found.older, found.newer

        newest, older, newer = await page()
        assert (newest, newer) == (["s3"], "")
        middle, oldest, back = await page(older)
        assert middle == ["s2"]
        last, older, _ = await page(oldest)
        assert (last, older) == (["s1"], "")
        newest, _, newer = await page(back)
        assert (newest, newer) == (["s3"], "")
        await service.store.commit({("call", "s4"): (0, _record(4, 2))})
        newest, _, newer = await page(back)
        assert newest == ["s3"]
        assert (await page(newer))[::2] == (["s4"], "")

    asyncio.run(main())


@_stores
def test_an_empty_page_leads_back(kind: type[MemoryStore]) -> None:
    """Where a page led to calls that are gone by now, the one that comes is empty, and leads back to what was there."""

    async def main() -> None:
        service = await _service([_record(number, number) for number in (1, 2, 3)], kind)
        newest = await service.find_calls(CallQuery(limit=1))
        middle = await service.find_calls(CallQuery(limit=1, cursor=newest.older))
        for name in ("s1", "s3"):
            await service.store.commit({("call", name): (1, None)})
        for cursor in (middle.older, middle.newer):
            nothing = await service.find_calls(CallQuery(limit=1, cursor=cursor))
            assert nothing.calls == ()
            (back,) = {nothing.older, nothing.newer} - {""}
            again = await service.find_calls(CallQuery(limit=1, cursor=back))
            assert [call.session_id for call in again.calls] == ["s2"]
            assert again.older == again.newer == ""
        assert (await service.find_calls(CallQuery(user="nobody"))).newer == ""

    asyncio.run(main())


@pytest.mark.parametrize("name", ["since", "until"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), "1", True])
def test_a_time_is_a_number(name: str, value: Any) -> None:
    """What is none is refused by its name; the greatest that there are, are none too great."""
    with pytest.raises(InvalidArgument, match=name):
        CallQuery(**{name: value})
    for most in (1e300, 10**400):
        CallQuery(**{name: most})


@_stores
def test_each_filter_counts(kind: type[MemoryStore]) -> None:
    """Every filter lets through what fits, and a second name of a call never stands in a list."""

    async def main() -> None:
        gone = _record(1, 1000, reason="cancelled", end=Ending(2000))
        live = replace(_record(2, 2000), type="video", initiator="carol")
        direct = replace(_record(3, 3000), receiver="", flow="session")
        name = _record(4, 4000, merged_into="s2", end=Ending(1), reason="merged")
        service = await _service([gone, live, direct, name], kind)
        assert [call.session_id for call in await service.calls()] == ["s2", "s3"]
        assert await service.count_calls() == 2
        cases: dict[str, list[dict[str, Any]]] = {
            "s3 s2 s1": [{}, {"since": 1.0, "until": 3.001}],
            "s1": [{"live": False}, {"status": Status.CANCELLED}, {"until": 2.0}, {"user": "bob", "type": "audio"}],
            "s2": [{"type": "video"}, {"user": "carol", "direction": "outgoing"}, {"since": 2.0, "category": "call"}],
            "s3 s2": [{"live": True}],
            "s2 s1": [{"category": "call"}, {"user": "bob", "direction": "incoming"}],
            "s3": [{"category": "direct"}],
            "": [
                {"since": 1e300},
                {"until": -1e300},
                {"since": 10**400},
                {"user": "dora"},
                {"user": "bob", "direction": "outgoing"},
            ],
        }
        for ids, queries in cases.items():
            for query in queries:
                page = await service.find_calls(CallQuery(**query))
                assert " ".join(call.session_id for call in page.calls) == ids, query

    asyncio.run(main())


@given(st.data())
def test_a_store_that_finds_calls_by_itself_makes_no_difference(data: st.DataObject) -> None:
    """Whatever is asked, page by page in either direction, as if all had been read; little is read for a page."""

    async def main() -> None:
        ended: list[dict[str, Any]] = [
            {},
            *({"end": Ending(9), "reason": reason} for reason in ("hangup", "cancelled")),
        ]
        made = data.draw(st.lists(st.tuples(st.integers(1, 40), st.sampled_from(ended)), max_size=60))
        records = [_record(number, when, **dict(more)) for number, (when, more) in enumerate(made)]
        plain, indexed = await _service(records), await _service(records, _Only)
        query = CallQuery(
            limit=data.draw(st.integers(1, 5)),
            user=data.draw(st.sampled_from([None, "alice"])),
            type=data.draw(st.sampled_from([None, "audio"])),
            status=data.draw(st.sampled_from([None, Status.CANCELLED])),
            since=data.draw(st.sampled_from([None, 0.0105])),
            until=data.draw(st.sampled_from([None, 0.03])),
        )
        for _ in range(12):
            page = await indexed.find_calls(query)
            assert page == await plain.find_calls(query)
            cursor = data.draw(st.sampled_from([page.older or page.newer, page.newer or page.older]))
            query = evolve(query, cursor=cursor)
        assert isinstance(indexed.store, _Indexed)
        assert indexed.store.most <= 32

    asyncio.run(main())


@pytest.mark.parametrize(
    "query",
    [{"limit": 0}, {"limit": 501}, {"limit": True}, {"limit": "5"}, {"direction": "incoming"}, {"cursor": "x"},
     {"cursor": "bm93aGVyZSAxIHM="}, *({"cursor": urlsafe_b64encode(f"{way} {place} s".encode()).decode()}
     for way in ("older", "newer") for place in (-2, -(1 << 63) - 1, (1 << 52) + 1, 1 << 63))],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(query: dict[str, Any]) -> None:
    """At once, before anything is looked up."""
    with pytest.raises(InvalidArgument):
        CallQuery(**query)


def test_who_is_known_and_who_is_there() -> None:
    """Users stand in the list from when they are made known; online is who has a device connected."""

    async def main() -> None:
        async with CallService() as service:
            service.add_user("bob", "Bob")
            service.add_user("alice")
            assert [(user.uid, user.name) for user in await service.users()] == [("alice", ""), ("bob", "Bob")]
            assert not await service.online("alice")
            assert not await service.online("nobody")

    asyncio.run(main())


def test_what_is_rare_is_found_however_far_away_it_is() -> None:
    """In either direction, some at a time: of 100 calls the first and the last are of the kind that is asked for."""

    async def main() -> None:
        rare = {"end": Ending(9), "reason": "cancelled"}
        service = await _service([_record(n, n + 1, **(rare if n in (0, 99) else {})) for n in range(100)], _Only)
        query = CallQuery(status=Status.CANCELLED, limit=1)
        last = await service.find_calls(query)
        first = await service.find_calls(evolve(query, cursor=last.older))
        again = await service.find_calls(evolve(query, cursor=first.newer))
        found = [call.session_id for page in (last, first, again) for call in page.calls]
        assert (found, first.older, bool(again.older)) == (["s99", "s0", "s99"], "", True)

    asyncio.run(main())


def test_a_call_that_ended_for_no_reason_there_is(run: Any) -> None:
    """A record that no service has written is the store's fault, and is told by the call's id."""

    async def main() -> None:
        async with CallService() as service:
            bad = Record("S7", "ringing", "audio", "alice", "bob", initiated_at=5, end=Ending(9))
            assert await service.store.commit({("call", "S7"): (0, bad)})
            with pytest.raises(StoreUnusable, match="the call S7 in it ended for a reason that is none: ''"):
                await service.find_calls()

    run(main)
