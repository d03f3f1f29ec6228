"""Data messages between participants: numbered for each pair, delivered in order and once, said again after a cut.

They travel as relays, which the service does not keep: the sender keeps each message until its receiver has
acknowledged it, and at most `KEPT` of them for each receiver. Only the first `WINDOW` of those are on the way at a
time, and a device sends no faster than its service takes what it says, with room to spare for everything else; what
must wait goes out as acknowledgements come and time passes. Whoever resumes a link says what it has got so far and
sends again what is not acknowledged, and so does a sender whom nobody answers for long.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from ..errors import CommandTimeout, InvalidArgument, RateLimited, SessionInactive, StatecoreError
from ..wire import Peer, Relay
from ._types import Endpoint, Lane, LocalLeg, Mail, Say, Send

if TYPE_CHECKING:
    from ._step import Step

KEPT = 256
"""How many unacknowledged messages a device keeps for one participant."""
WINDOW = 16
"""How many of them are on the way at a time."""
LONGEST = 32_768
"""The longest data message, in bytes as it goes over the wire."""
BURST = 10_000_000
"""How much may be said at once, in microseconds of what may be said in the long run: what services allow."""
_NONE = Lane()


class _Parcel(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the body of a relay of the kind `data` is."""

    n: int = 0
    """The message's number, from 1; 0 for an acknowledgement alone."""
    got: int = 0
    """The number up to which the sender of this parcel has got the other's messages."""
    text: str = ""
    """The message."""
    again: bool = False
    """Whether what comes after `got` is to be sent again: something was lost."""


_read = msgspec.json.Decoder(_Parcel).decode


def say(step: Step, given: Say) -> None:
    """Send a message to one participant or to all who have joined; settles when all of them have it."""
    leg = step.legs.get(step.session(given.session))
    try:
        to = _receivers(step, leg, given)
    except StatecoreError as error:
        step.settle(given.ticket, leg, error)
        return
    if leg is None or not to:
        step.settle(given.ticket, leg)
        return
    due = step.now + step.timers["command"]
    lanes = dict(leg.lanes)
    for pid in to:
        lane = lanes.get(pid, _NONE)
        mail = Mail(lane.said + 1, given.text, given.ticket, due)
        lanes[pid] = replace(lane, said=mail.n, mails=(*lane.mails, mail))
    _post(step, step.put(leg, lanes=lanes))


def _receivers(step: Step, leg: LocalLeg | None, given: Say) -> list[str]:
    if leg is None or leg.state not in step.machine(leg).flow.roles.media:
        state = leg.state if leg is not None else "unknown"
        raise SessionInactive(session_id=given.session, state=state, trigger="send_message")
    # Text within JSON within JSON: what counts is what goes over the wire.
    if len(msgspec.json.encode(msgspec.json.encode(_Parcel(2**53, 2**53, given.text)).decode())) > LONGEST:
        raise InvalidArgument(f"a data message is longer than {LONGEST} bytes on the wire", name="data")
    joined = [peer.pid for peer in leg.peers if peer.joined]
    if given.to and given.to not in joined:
        raise InvalidArgument(f"no participant {given.to!r} is here", name="to")
    to = [given.to] if given.to else joined
    if any(len(leg.lanes.get(pid, _NONE).mails) >= KEPT for pid in to):
        raise RateLimited(what="data messages", seconds=1)
    return to


def take(step: Step, leg: LocalLeg, source: str, body: str) -> None:
    """Something came from a participant: a message, or word of what it has got."""
    peer = next((peer for peer in leg.peers if peer.pid == source), None)
    try:
        parcel = _read(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return  # the sender's fault, and nobody else's concern
    if peer is None:
        return
    leg = _acknowledged(step, leg, source, parcel.got)
    lane = leg.lanes.get(source, _NONE)
    if parcel.again:
        leg = _put(step, leg, source, posted=0)
    if parcel.n == lane.got + 1:
        leg = _put(step, leg, source, got=parcel.n, owes=True, asks="no")
        _tell(step, leg, peer, parcel.text)
    elif parcel.n > lane.got and lane.asks == "no":  # it tells that some were lost: they are asked for once
        leg = _put(step, leg, source, owes=True, asks="due")
    elif parcel.n:
        leg = _put(step, leg, source, owes=True)
    _post(step, leg)


def _put(step: Step, leg: LocalLeg, pid: str, **changes: Any) -> LocalLeg:
    return step.put(leg, lanes={**leg.lanes, pid: replace(leg.lanes.get(pid, _NONE), **changes)})


def _tell(step: Step, leg: LocalLeg, peer: Peer, text: str) -> None:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return  # taken, so that what comes after it arrives, but not worth telling
    step.emit("message_received", leg, peer, value)


def _acknowledged(step: Step, leg: LocalLeg, pid: str, got: int) -> LocalLeg:
    mails = leg.lanes.get(pid, _NONE).mails
    kept = tuple(mail for mail in mails if mail.n > got)
    if len(kept) == len(mails):
        return leg
    leg = _put(step, leg, pid, mails=kept, due=step.now + _retry(step.timers) if kept else 0)
    _settle(step, leg, {mail.ticket for mail in mails})
    return leg


def _settle(step: Step, leg: LocalLeg, tickets: set[int]) -> None:
    """Settle those of these waits that wait for nobody any more."""
    for ticket in sorted(tickets - tickets_of(leg)):
        step.settle(ticket, leg)


def tickets_of(leg: LocalLeg) -> set[int]:
    """Who waits for a message to arrive."""
    return {mail.ticket for lane in leg.lanes.values() for mail in lane.mails}


def resume(step: Step, leg: LocalLeg) -> None:
    """The link was cut and is back: say again what was not acknowledged, and ask for what was missed."""
    lanes = dict(leg.lanes)
    for peer in leg.peers:
        if peer.joined:
            lanes[peer.pid] = replace(lanes.get(peer.pid, _NONE), posted=0, owes=True, asks="due")
    _post(step, step.put(leg, lanes=lanes))


def forget(step: Step, leg: LocalLeg) -> LocalLeg:
    """Nobody waits for who has left."""
    here = {peer.pid for peer in leg.peers}
    if here.issuperset(leg.lanes):
        return leg
    before = tickets_of(leg)
    leg = step.put(leg, lanes={pid: lane for pid, lane in leg.lanes.items() if pid in here})
    _settle(step, leg, before)
    return leg


# --- time


def clock(step: Step, leg: LocalLeg) -> LocalLeg:
    """Time has passed: what was not acknowledged in time has failed, though it may still arrive; who does not answer is
    sent it again; and more may go out."""
    lanes = {}
    overdue: set[int] = set()
    for pid, lane in leg.lanes.items():
        late = {mail.ticket for mail in lane.mails if mail.ticket and mail.due <= step.now}
        if late:
            overdue |= late
            lane = replace(lane, mails=tuple(replace(m, ticket=0) if m.ticket in late else m for m in lane.mails))
        if step.online and 0 < lane.due <= step.now:
            lane = replace(lane, posted=0, due=0)
        lanes[pid] = lane
    leg = step.put(leg, lanes=lanes)
    for ticket in sorted(overdue):
        step.settle(ticket, leg, CommandTimeout(trigger="send_message"))
    return _post(step, leg)


def times(endpoint: Endpoint, leg: LocalLeg) -> Iterator[int]:
    """When the clock is wanted."""
    for lane in leg.lanes.values():
        yield from (mail.due for mail in lane.mails if mail.ticket)
    if endpoint.online:
        yield from (lane.due for lane in leg.lanes.values() if lane.due)
        if _owing(leg) or _next(leg):
            yield max(1, -((BURST - endpoint.paced - _cost(endpoint.rate)) // 1000))


def _retry(timers: dict[str, int]) -> int:
    """How long to wait for an answer: what was lost is made good before the wait for it fails."""
    return timers["command"] // 2


# --- what goes out


def _post(step: Step, leg: LocalLeg) -> LocalLeg:
    """Send what is to go now, as far as it may: what was got first, which lets others go on; then messages."""
    if not step.online:
        return leg
    lanes = dict(leg.lanes)
    for pid in _owing(leg):
        if _may(step):
            lane = lanes[pid]
            asks = lane.asks == "due"
            _relay(step, leg, pid, _Parcel(got=lane.got, again=asks))
            lanes[pid] = replace(lane, owes=False, asks="said" if asks else lane.asks)
    for pid, mail in _next(leg):
        if _may(step):
            lane = lanes[pid]
            _relay(step, leg, pid, _Parcel(mail.n, lane.got, mail.text))
            lanes[pid] = replace(lane, posted=mail.n, due=lane.due or step.now + _retry(step.timers))
    return step.put(leg, lanes=lanes)


def _here(leg: LocalLeg) -> Iterator[tuple[str, Lane]]:
    return ((peer.pid, leg.lanes[peer.pid]) for peer in leg.peers if peer.joined and peer.pid in leg.lanes)


def _owing(leg: LocalLeg) -> list[str]:
    """Who is to hear what was got."""
    return [pid for pid, lane in _here(leg) if lane.owes]


def _next(leg: LocalLeg) -> list[tuple[str, Mail]]:
    """What may go out, and to whom: of what is not acknowledged the first few, the oldest in front."""
    mails = [(pid, mail) for pid, lane in _here(leg) for mail in lane.mails[:WINDOW] if mail.n > lane.posted]
    return sorted(mails, key=_age)


def _age(item: tuple[str, Mail]) -> tuple[int, int]:
    return item[1].due, item[1].n


def _cost(rate: int) -> int:
    """The microseconds between two messages in the long run: a quarter of what the service takes is for all else."""
    return 4_000_000 // (3 * rate)


def _may(step: Step) -> bool:
    """Whether one more may go now; it counts then."""
    now, cost = step.now * 1000, _cost(step.get("rate"))
    at = max(now, step.get("paced")) + cost
    if at > now + BURST:
        return False
    step.changes["paced"] = at
    return True


def _relay(step: Step, leg: LocalLeg, pid: str, parcel: _Parcel) -> None:
    step.effects.append(Send(Relay(leg.session, pid, "data", msgspec.json.encode(parcel).decode())))
