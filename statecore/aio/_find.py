"""Looking calls up: filters, and pages that stay put while new calls come."""

from __future__ import annotations

import math
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from typing import Any, Literal

import attrs

from ..errors import InvalidArgument
from ..model import Call, CallType, Record, Status, people
from ..ports import CallIndex, Place
from ._log import call_of_record

FIRST: Place = (-1, "")
LAST: Place = (1 << 52, "")
"""Places before and after all others, in milliseconds: numbers that a float holds, too."""
_SOME = 32
"""How many records are read at least at a time."""


def _page_size(_: object, __: object, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 500:
        raise InvalidArgument("limit must be a whole number from 1 to 500", name="limit")


def _moment(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value)):
        raise InvalidArgument(f"{attribute.name} must be Unix seconds, a finite number", name=attribute.name)


def _is_finite(value: float) -> bool:
    return abs(value) < float("inf")  # of whole numbers, too, that no float can be


@attrs.frozen(kw_only=True)
class CallQuery:
    """Which calls, newest first, and which page of them. What is None does not matter. Raises InvalidArgument.

    A page is named by the cursor of another: pages neither skip nor repeat a call while calls come and end."""

    user: str | None = None
    """Calls that this user made, was called in, or joined."""
    type: CallType | None = None
    """Audio or video."""
    status: Status | None = None
    """The classic status; with `user`, as that user sees it: what was cancelled there was `missed` here."""
    category: Literal["call", "direct"] | None = None
    """`call` for those that ring somebody, `direct` for sessions without ringing."""
    direction: Literal["incoming", "outgoing"] | None = None
    """From `user`'s point of view, which has to be given then."""
    live: bool | None = None
    """Only those that live, or only those that have ended."""
    since: float | None = attrs.field(default=None, validator=_moment)
    """Made at this Unix time in seconds, or later."""
    until: float | None = attrs.field(default=None, validator=_moment)
    """Made before this Unix time in seconds."""
    limit: int = attrs.field(default=50, validator=_page_size)
    """How many calls a page has at most, from 1 to 500."""
    cursor: str = ""
    """`CallPage.older` or `CallPage.newer` of a page that was had before; empty for the newest."""

    def __attrs_post_init__(self) -> None:
        if self.direction is not None and self.user is None:
            raise InvalidArgument("a direction is somebody's: say whose, by user", name="direction")
        _read(self.cursor)

    def fits(self, record: Record) -> bool:
        """Whether a call is one of those, whatever the page."""
        made = record.initiated_at / 1000
        wanted = (
            (self.type, record.type),
            (self.category, "call" if record.receiver else "direct"),
            (self.live, not record.end.at),
            (self.direction, "outgoing" if record.initiator == self.user else "incoming"),
        )
        return (
            not record.merged_into
            and all(want is None or want == has for want, has in wanted)
            and (self.user is None or self.user in people(record))
            and (self.since is None or made >= self.since)
            and (self.until is None or made < self.until)
            and (self.status is None or self.status == call_of_record(record, self.user).status)
        )


@attrs.frozen(kw_only=True)
class CallPage:
    """Some calls, newest first, and how to go on from them."""

    calls: tuple[Call, ...]
    """The calls."""
    older: str = ""
    """The cursor of the calls before these; empty if there are none."""
    newer: str = ""
    """The cursor of the calls after these; empty if there are none."""


def find(records: Iterable[Record], query: CallQuery) -> CallPage:
    """The page that a query asks for, of all records there are."""
    fitting = sorted((r for r in records if query.fits(r)), key=_place, reverse=True)
    way, place = _read(query.cursor)
    if way == "newer":
        there = [r for r in fitting if _place(r) > place][-query.limit :]
    else:
        there = [r for r in fitting if not way or _place(r) < place][: query.limit]
    newest, oldest = _ends(there, way, place)
    older = bool(fitting) and _place(fitting[-1]) < oldest
    return _page(query, there, older=older, newer=bool(fitting) and _place(fitting[0]) > newest)


async def find_in(index: CallIndex, query: CallQuery) -> CallPage:
    """The page that a query asks for, of a store that finds calls without reading all of them."""
    way, place = _read(query.cursor)
    first, last = _bound(query.since, FIRST), _bound(query.until, LAST)
    limit, one_more = query.limit, query.limit + 1
    if way == "newer":
        found = await _fitting(index, query, max(first, place), last, newest=False, most=one_more)
        there, more = found[:limit][::-1], len(found) > limit
        oldest = _ends(there, way, place)[1]
        older = bool(await _fitting(index, query, first, min(last, oldest), newest=True, most=1))
        return _page(query, there, older=older, newer=more)
    found = await _fitting(index, query, first, min(last, place) if way else last, newest=True, most=one_more)
    there, more = found[:limit], len(found) > limit
    newest = _ends(there, way, place)[0]
    newer = way == "older" and bool(await _fitting(index, query, max(first, newest), last, newest=False, most=1))
    return _page(query, there, older=more, newer=newer)


async def _fitting(
    index: CallIndex, query: CallQuery, above: Place, below: Place, *, newest: bool, most: int
) -> list[Record]:
    """The first that fit between two places. Some are read at a time: a query may fit few."""
    found: list[Record] = []
    some = max(most, _SOME)
    while True:
        read = await index.find_calls(
            user=query.user, live=query.live, above=above, below=below, newest=newest, limit=some
        )
        found += [record for record in read if query.fits(record)]
        if len(read) < some or len(found) >= most:
            return found[:most]
        if newest:
            below = _place(read[-1])
        else:
            above = _place(read[-1])


def _page(query: CallQuery, there: list[Record], *, older: bool, newer: bool) -> CallPage:
    newest, oldest = _ends(there, *_read(query.cursor))
    return CallPage(
        calls=tuple(call_of_record(record, query.user) for record in there),
        older=_write("older", oldest) if older else "",
        newer=_write("newer", newest) if newer else "",
    )


def _ends(there: list[Record], way: str, place: Place) -> tuple[Place, Place]:
    """After and before which places the calls are that a page does not have. One that is empty stands beyond the one
    that led to it, which had what is at the place, and leads back to that."""
    if there:
        return _place(there[0]), _place(there[-1])
    return (place[0], "") if way == "older" else place, (place[0] + 1, "") if way == "newer" else place


def _bound(seconds: float | None, otherwise: Place) -> Place:
    """The place before whatever was made then. What fits is looked at again, to the fraction."""
    if seconds is None or not abs(seconds) < LAST[0]:
        return otherwise
    return math.floor(seconds * 1000), ""


def _place(record: Record) -> Place:
    return record.initiated_at, record.session_id


def _write(way: str, place: Place) -> str:
    return urlsafe_b64encode(f"{way} {place[0]} {place[1]}".encode()).decode()


def _read(cursor: str) -> tuple[str, Place]:
    """Which way to go from where; ("", ...) from the newest."""
    if not cursor:
        return "", (0, "")
    try:
        way, made, session = urlsafe_b64decode(cursor).decode().split(" ", 2)
        place = int(made), session
    except ValueError:
        way, place = "", (0, "")
    if way not in ("older", "newer") or not FIRST <= place <= LAST:
        raise InvalidArgument("this is not the cursor of a page", name="cursor")
    return way, place
