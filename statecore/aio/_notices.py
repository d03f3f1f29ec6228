"""What is told outside of connections when a decision changes a call: worked out from the records before and after."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from ..model import Leg, Reason, Record
from ..ports import WAKE_UPS, Change, Notice

_PER_COMMIT = 1000
"""More notices than a commit brings about: what is told of one version of a record is numbered within it."""
_SETTLED = {"joined": Reason.ANSWERED_ELSEWHERE, "declined": Reason.REJECTED_ELSEWHERE}
"""Why the other devices of a user stop ringing who has answered by one."""


def notices(before: Record | None, after: Record, version: int, wants: Collection[Change], now: int) -> list[Notice]:
    """What changed, in order; `version` is the one that the record is written as."""
    if after.merged_into:
        return []  # a second name of a call
    found = list(_changes(before, after))
    name = next((leg.name for leg in after.legs if leg.user == after.initiator), "")
    return [
        Notice(
            id=f"{after.session_id}:{version}:{place}",
            sequence=version * _PER_COMMIT + place,
            what=what,
            session_id=after.session_id,
            type=after.type,
            caller=after.initiator,
            caller_name=name,
            receiver=user if what in WAKE_UPS else after.receiver,
            user=user,
            reason=reason,
            at=now / 1000,
            expires_at=after.ring_until / 1000 if what == "ring" else 0.0,
        )
        for place, (what, user, reason) in enumerate(found)
        if what in wants
    ]


def _changes(before: Record | None, after: Record) -> Iterator[tuple[Change, str, str]]:
    """What changed, of which user, and why."""
    other = after.receiver
    if before is None:
        yield "initiated", other, ""
    yield from _rings(before, after)
    if other and after.answered_at and not (before and before.answered_at):
        yield "accepted", other, ""
    yield from _people(before, after)
    if after.active_at and not (before and before.active_at):
        yield "started", other, ""
    if after.end.at and not (before and before.end.at):
        yield "ended", other, after.reason


def _rings(before: Record | None, after: Record) -> Iterator[tuple[Change, str, str]]:
    were = {one.user for one in before.invitations if one.state == "ringing"} if before else set()
    for one in after.invitations:
        if one.state == "ringing" and one.user not in were:
            yield "ring", one.user, ""
        elif one.state != "ringing" and one.user in were:
            yield "stop", one.user, str(_SETTLED.get(one.state, after.reason or Reason.CANCELLED))


def _people(before: Record | None, after: Record) -> Iterator[tuple[Change, str, str]]:
    old: dict[str, Leg] = {leg.pid: leg for leg in before.legs} if before else {}
    for leg in after.legs:
        was: Any = old.get(leg.pid)
        if leg.joined and not (was and was.joined):
            yield "participant_joined", leg.user, ""
        if leg.joined and leg.end.at and not (was and was.end.at):
            yield "participant_left", leg.user, leg.control.reason


class Newest:
    """For who receives notices: tells which of them are news, however often and in whatever order they come.

    A `ring` or `stop` is news if nothing newer came of that session and user: a ring that arrives after its end does
    not ring. Anything else is news the first time. Remembers the last `remember` of either."""

    def __init__(self, remember: int = 10_000) -> None:
        self._heard: dict[tuple[str, str], int] = {}
        self._most = remember

    def take(self, notice: Notice) -> bool:
        """Whether this is news; it no longer is, the next time."""
        key = (notice.session_id, notice.user) if notice.what in WAKE_UPS else (notice.id, "")
        last = self._heard.pop(key, -1)
        self._heard[key] = max(last, notice.sequence)
        if len(self._heard) > self._most:
            del self._heard[next(iter(self._heard))]
        return notice.sequence > last


__all__ = ["Newest", "notices"]
