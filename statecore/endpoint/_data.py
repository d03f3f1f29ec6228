"""Data messages between participants: numbered for each pair, delivered in order and once, said again after a cut.

They travel as relays, which the service does not keep: the sender keeps each message until its receiver has
acknowledged it, and at most `KEPT` of them for each receiver. Whoever resumes a link says what it has got so far and
sends again what is not acknowledged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from ..errors import CommandTimeout, InvalidArgument, RateLimited, SessionInactive, StatecoreError
from ..wire import Peer, Relay
from ._types import LocalLeg, Mail, Say, Send

if TYPE_CHECKING:
    from ._step import Step

KEPT = 256
"""How many unacknowledged messages a device keeps for one participant."""
LONGEST = 32_768
"""The longest data message, in bytes as it goes over the wire."""


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
    mails = []
    for pid in to:
        n = 1 + max((mail.n for mail in leg.outbox if mail.pid == pid), default=_count(leg.said, pid))
        mails.append(Mail(pid, n, given.text, given.ticket, due))
        _post(step, leg, mails[-1])
    said = {**dict(leg.said), **{mail.pid: mail.n for mail in mails}}
    step.put(leg, outbox=(*leg.outbox, *mails), said=tuple(said.items()))


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
    if any(sum(mail.pid == pid for mail in leg.outbox) >= KEPT for pid in to):
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
    if parcel.n == 0:
        if parcel.again:
            _send_again(step, leg, source)
        return
    got = _count(leg.got, source)
    if parcel.n == got + 1:
        got += 1
        leg = step.put(leg, got=tuple({**dict(leg.got), source: got}.items()), asked=leg.asked - {source})
        _tell(step, leg, peer, parcel.text)
    # A later one than expected tells that some were lost: they are asked for once.
    again = parcel.n > got and source not in leg.asked
    if again:
        leg = step.put(leg, asked=leg.asked | {source})
    _relay(step, leg, source, _Parcel(got=got, again=again))


def _tell(step: Step, leg: LocalLeg, peer: Peer, text: str) -> None:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return  # taken, so that what comes after it arrives, but not worth telling
    step.emit("message_received", leg, peer, value)


def _acknowledged(step: Step, leg: LocalLeg, source: str, got: int) -> LocalLeg:
    kept = tuple(mail for mail in leg.outbox if mail.pid != source or mail.n > got)
    if len(kept) == len(leg.outbox):
        return leg
    done = {mail.ticket for mail in leg.outbox} - {mail.ticket for mail in kept}
    leg = step.put(leg, outbox=kept)
    for ticket in sorted(done):
        step.settle(ticket, leg)
    return leg


def resume(step: Step, leg: LocalLeg) -> None:
    """The link was cut and is back: say again what was not acknowledged, and ask for what was missed."""
    leg = step.put(leg, asked=frozenset())
    for peer in leg.peers:
        if peer.joined:
            _send_again(step, leg, peer.pid)
            _relay(step, leg, peer.pid, _Parcel(got=_count(leg.got, peer.pid), again=True))


def _send_again(step: Step, leg: LocalLeg, pid: str) -> None:
    for mail in leg.outbox:
        if mail.pid == pid:
            _post(step, leg, mail)


def forget(step: Step, leg: LocalLeg) -> LocalLeg:
    """Nobody waits for who has left."""
    here = {peer.pid for peer in leg.peers if peer.joined}
    for pid in sorted({mail.pid for mail in leg.outbox} - here):
        leg = _acknowledged(step, leg, pid, max(mail.n for mail in leg.outbox))
    return leg


def late(step: Step, leg: LocalLeg) -> LocalLeg:
    """What was not acknowledged in time has failed, though it may still arrive."""
    overdue = {mail.ticket for mail in leg.outbox if mail.ticket and mail.due <= step.now}
    if not overdue:
        return leg
    leg = step.put(leg, outbox=tuple(replace(m, ticket=0) if m.ticket in overdue else m for m in leg.outbox))
    for ticket in sorted(overdue):
        step.settle(ticket, leg, CommandTimeout(trigger="send_message"))
    return leg


def _post(step: Step, leg: LocalLeg, mail: Mail) -> None:
    _relay(step, leg, mail.pid, _Parcel(mail.n, _count(leg.got, mail.pid), mail.text))


def _relay(step: Step, leg: LocalLeg, pid: str, parcel: _Parcel) -> None:
    if step.online:
        step.effects.append(Send(Relay(leg.session, pid, "data", msgspec.json.encode(parcel).decode())))


def _count(counts: tuple[tuple[str, int], ...], pid: str) -> int:
    return dict(counts).get(pid, 0)
