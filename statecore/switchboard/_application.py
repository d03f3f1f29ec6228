"""What the application itself asks: that a user is known, or is no more, and that a call ends."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from ..model import Line
from ._commands import Deliver, End, Forget, Register
from ._views import close_empty
from ._work import Draft, Work


def register(work: Work, command: Register) -> list[Deliver]:
    """Make a user known, or change the name, the picture, or how many calls the line takes."""
    line = work.line(command.user)
    known = line or Line(command.user)
    kept = known.name if known.known else ""  # not what a guest was called
    told = replace(
        known, name=command.name or kept, avatar=command.avatar or known.avatar,
        capacity=command.capacity or known.capacity, known=True,
    )  # fmt: skip
    if told != line:
        work.lines[command.user] = told
    return []


def end(work: Work, command: End) -> list[Deliver]:
    """End every leg of a call."""
    draft = work.named(command.session)
    if draft is not None and not draft.get("end").at:
        _dismiss(work, draft, range(len(draft.legs)))
        if draft.get("empty_until"):
            close_empty(work, draft)
    return []


def forget(work: Work, command: Forget) -> list[Deliver]:
    """End what a user has a part in: a call that takes the line as a whole, of a session the user's legs."""
    line = work.line(command.user)
    if line is not None and line.known:  # not if only guests have the name
        for draft in work.listed(command.user):
            mine = [place for place, leg in enumerate(draft.legs) if leg.user == command.user]
            _dismiss(work, draft, range(len(draft.legs)) if draft.session_id in line.holds else mine)
        work.lines[command.user] = None
    return []


def _dismiss(work: Work, draft: Draft, places: Sequence[int]) -> None:
    flow = draft.machine.flow
    for trigger in (flow.dismissed, flow.lost):
        for place in places:
            if trigger is not None and draft.is_live(draft.legs[place]):
                work.apply(draft, place, trigger)


__all__ = ["end", "forget", "register"]
