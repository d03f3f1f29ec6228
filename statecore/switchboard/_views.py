"""The end of a decision: what is over, who hears of it, and what each device is told."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from ..machine import FlowMachine
from ..model import NO_FLAGS, Control, Leg, Offer, Reason, Record
from ..wire import Peer, View
from ._commands import Deliver
from ._work import QUIET, Draft, Work, mark


def finish(work: Work, draft: Draft) -> tuple[Record, list[Deliver]]:
    """Close what is over, number the views, and make the record to commit."""
    if draft.freed:
        _tidy(work, draft)
    if draft.get("empty_until") and any(draft.live()):
        draft.changes["empty_until"] = 0
    told = [] if draft.get("merged_into") else _audience(draft)
    for place in told:
        leg = draft.legs[place]
        draft.legs[place] = replace(leg, seq=leg.seq + 1)
    record = replace(
        draft.base, legs=tuple(draft.legs), invitations=draft.invitations, offers=draft.offers, **draft.changes
    )
    return record, [
        deliver(draft.machine, work.now, record, record.legs[place], moved=place in draft.moved) for place in told
    ]


def _audience(draft: Draft) -> list[int]:
    """Whose view changed: the legs that moved, and every participant if what they share did. Who has not joined yet
    need not hear who comes and goes: the view that says `joined` has everybody in it."""
    if not draft.shared:
        return sorted(draft.moved)
    participating = draft.machine.participating
    return [i for i, leg in enumerate(draft.legs) if i in draft.moved or _hears(participating, leg)]


def _hears(participating: frozenset[str], leg: Leg) -> bool:
    return leg.control.state in participating and "joined" in leg.control.flags


def _tidy(work: Work, draft: Draft) -> None:
    """After a leg or an invitation ended: offers, lines, and the call itself if nobody is left."""
    gone = {leg.pid for leg in draft.legs if not draft.is_live(leg)}
    draft.offers = tuple(offer for offer in draft.offers if not gone & set(offer.pair))
    if not any(draft.live()):
        if draft.machine.flow.lingers and draft.cause is not None and draft.cause.control.reason != Reason.KICKED:
            draft.changes["empty_until"] = work.after(work.board.milliseconds["empty"])
        else:
            _close(work, draft)
    for user in dict.fromkeys(leg.user for leg in draft.legs):
        work.unlist(draft, user)


def _close(work: Work, draft: Draft) -> None:
    """Nobody is left: the record becomes the row of the call log, and nothing holds a line any more."""
    work.withdraw(draft)
    last = draft.cause or max(reversed(draft.legs), key=_ended_at)
    end = last.end if last.end.at == work.now else replace(last.end, at=work.now)
    draft.changes.update(end=end, empty_until=0, reason=last.control.reason)


def close_empty(work: Work, draft: Draft) -> None:
    """An empty session has waited long enough."""
    draft.dirty = True
    _close(work, draft)


# --- views ------------------------------------------------------------------------------------------------------------


def deliver(machine: FlowMachine, now: int, record: Record, leg: Leg, *, moved: bool = True) -> Deliver:
    """The whole view of a leg, for its device. A leg that may join and has just heard of it gets a call token."""
    wants = moved and leg.control.state in machine.flow.roles.joinable and "joined" not in leg.control.flags
    return Deliver(leg.user, leg.device, leg.epoch, make_view(machine, now, record, leg), wants)


def make_view(machine: FlowMachine, now: int, record: Record, leg: Leg) -> View:
    """The whole view of a leg."""
    control, pid = leg.control, leg.pid
    return View(
        record.session_id,
        leg.seq,
        pid,
        control.state,
        record.initiator,
        machine.flow.name,  # not the record's: defaults are left out of a message by identity, whoever decided
        control.role,
        record.type,
        record.receiver,
        leg.heard - 1 if leg.refused else leg.heard,  # the refusal tells of itself, should it have been lost
        REASONS[control.reason] if control.reason else None,
        leg.end.by,
        leg.end.device,
        leg.via,
        leg.joined,
        leg.joined_at,
        control.flags,
        leg.grants,
        _peers(machine.participating, record, pid) if control.state in machine.participating else (),
        {_other(o, pid): o.turn for o in record.offers if o.holder == pid} if record.offers else {},
        max(0, leg.deadline - now),
        max(0, now - record.initiated_at),
        (record.initiated_at, record.ringing_at, record.answered_at, record.active_at, record.end.at),
        record.metadata,
        gone([(one.pid, one.control) for one in _by_end(record.legs)])
        if control.state in machine.participating
        else None,
    )


REASONS = {str(reason): reason for reason in Reason}
"""Reasons by name."""


_LATELY = 32
"""Of how many who are gone it is said why: of those who went last. Of anybody before them a device that has missed
their going is told that they left."""


def gone(legs: Sequence[tuple[str, Control]]) -> dict[str, Reason] | None:
    """Why participants are gone, of those who did not just leave; in the order of their going, if they are many."""
    found = [
        (pid, REASONS[control.reason])
        for pid, control in legs
        if control.reason and control.reason != Reason.HANGUP and "joined" in control.flags
    ]
    return dict(found[-_LATELY:]) or None


def _by_end(legs: tuple[Leg, ...]) -> Sequence[Leg]:
    return sorted(legs, key=_ended_at) if len(legs) > _LATELY else legs


def _ended_at(leg: Leg) -> int:
    return leg.end.at


def _other(offer: Offer, pid: str) -> str:
    return offer.pair[1] if offer.pair[0] == pid else offer.pair[0]


def _peers(participating: frozenset[str], record: Record, me: str) -> tuple[Peer, ...]:
    return tuple([_peer(leg) for leg in record.legs if leg.control.state in participating and leg.pid != me])


def _peer(leg: Leg) -> Peer:
    control = leg.control
    flags = mark(control.flags, NO_FLAGS, QUIET) if control.flags else NO_FLAGS
    return Peer(
        leg.pid, leg.user, leg.device, leg.name, leg.avatar, control.role, leg.joined, leg.joined_at, flags
    )  # fmt: skip
