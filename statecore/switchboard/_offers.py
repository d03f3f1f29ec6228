"""What two participants say to each other about media, and the offer token of a pair: who holds it may make an offer.

So no two offers cross (what RFC 3264, section 4, calls glare)."""

from __future__ import annotations

from msgspec.structs import replace

from ..model import Leg, Offer
from ..wire import Ask, Relayed
from ._commands import Deliver, Negotiate, Route
from ._work import Draft, Work


def route(work: Work, command: Route) -> list[Deliver]:
    """Carry a message to another participant; what has no right to go is dropped, as it is lost with a link."""
    relay = command.relay
    found = _pair(work, command.user, command.device, command.epoch, relay.session, relay.to)
    if found is None:
        return []
    draft, me, other = found
    if relay.kind in ("offer", "answer"):
        turn = next((o for o in draft.offers if o.pair == _name(me, other)), None)
        if turn is None or turn.holder != (me if relay.kind == "offer" else other).pid:
            return []
    message = Relayed(draft.session_id, me.pid, relay.kind, relay.body)
    return [Deliver(other.user, other.device, other.epoch, message)]


def negotiate(work: Work, command: Negotiate) -> list[Deliver]:
    """Grant, queue or pass on the offer token of a pair."""
    wish = command.wish
    found = _pair(work, command.user, command.device, command.epoch, wish.session, wish.pid)
    if found is not None:
        draft, me, other = found
        pair = _name(me, other)
        offer = next((o for o in draft.offers if o.pair == pair), Offer(pair))
        (ask if isinstance(wish, Ask) else free)(work, draft, offer, me.pid)
    return []


def ask(work: Work, draft: Draft, offer: Offer, pid: str) -> None:
    """Give the token to a participant, for a time, or let the participant wait for it."""
    _put(draft, _asked(work, offer, pid))


def free(work: Work, draft: Draft, offer: Offer, pid: str) -> None:
    """Take the token from a participant, or the wish for it, and give it to whoever waits."""
    if offer.holder != pid:
        _put(draft, replace(offer, waiting="") if offer.waiting == pid else offer)
    elif offer.waiting:
        _put(draft, _asked(work, replace(offer, holder="", waiting=""), offer.waiting))
    else:
        _put(draft, replace(offer, holder="", until=0))


def _asked(work: Work, offer: Offer, pid: str) -> Offer:
    if offer.holder and offer.holder != pid:
        return replace(offer, waiting=pid)
    until = work.after(work.board.milliseconds["offer"])
    return replace(offer, holder=pid, until=until, turn=offer.turn + 1)


def _put(draft: Draft, offer: Offer) -> None:
    """Both legs of the pair see it if its holder changed."""
    before = next((o for o in draft.offers if o.pair == offer.pair), Offer(offer.pair))
    if offer == before:
        return
    draft.offers = (*(o for o in draft.offers if o.pair != offer.pair), offer)
    draft.dirty = True
    if offer.turn != before.turn or offer.holder != before.holder:
        draft.moved |= {i for i, leg in enumerate(draft.legs) if leg.pid in (before.holder, offer.holder)}


def _name(one: Leg, other: Leg) -> tuple[str, str]:
    """The name of a pair of legs: who joined first stands in front."""
    return (one.pid, other.pid) if one.joined <= other.joined else (other.pid, one.pid)


def _pair(work: Work, user: str, device: str, epoch: str, session: str, pid: str) -> tuple[Draft, Leg, Leg] | None:
    """Two participants who have joined: the device's own leg, and another."""
    draft = work.named(session)
    place = draft.find(user, device, epoch) if draft else None
    if draft is None or place is None:
        return None
    me, other = draft.legs[place], next((leg for leg in draft.legs if leg.pid == pid), None)
    participating = draft.machine.participating
    if (
        other is None
        or other is me
        or any("joined" not in leg.control.flags or leg.control.state not in participating for leg in (me, other))
    ):
        return None
    return draft, me, other


__all__ = ["ask", "free", "negotiate", "route"]
