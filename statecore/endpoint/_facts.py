"""What the switchboard says of a leg: views, refusals, and that it knows none."""

from __future__ import annotations

from collections.abc import Container

from msgspec.structs import replace

from ..errors import CallGone, CallNotFound, IllegalTransition, NotAParty, StatecoreError
from ..machine import FlowMachine
from ..model import NO_FLAGS, Reason
from ..wire import Command, Unknown, View
from ._data import forget
from ._intent import intent
from ._moves import Move, move
from ._outcome import refusal
from ._step import Step
from ._tell import drive_peers, tell_peers
from ._types import Drive, LocalLeg, OpenMedia, Wait


def view(step: Step, view: View) -> None:
    """The whole view of a leg."""
    taken_back = _meet(step, view) if view.via else ""
    leg = step.legs.get(view.session)
    if leg is None or leg.reason is not None:
        if _crosses(step, view):
            _hold(step, view)
            return
        leg = _leg_of(step, view)
        if leg is None:
            return
    machine = step.machines[leg.flow]
    if view.seq < leg.seq or view.heard < leg.first or leg.state == machine.final:
        _only_heard(step, machine, leg, view)
        return
    if not view.via and view.state != machine.final and _succeed(step, machine, leg, view):
        return
    way = move(
        machine, leg.state, leg.role == "caller", leg.type, leg.flags, leg.grants, leg.consent, leg.media,
        view.state, view.type, view.flags, view.grants, view.reason, view.via != "",
    )  # fmt: skip
    if way is None:  # of this leg it is not believed
        _succeed(step, machine, leg, view)
        return
    _follow(step, leg, view, way, taken_back)


def _succeed(step: Step, machine: FlowMachine, leg: LocalLeg, told: View) -> bool:
    """Whether another leg is told of than this one: then this one has ended there as lost, with what it had opened and
    whatever was said of it, and is succeeded. A ring that comes after a ring is told as one that is new."""
    own = intent(machine, leg, machine.flow.lost).own
    if own is None or leg.pid in ("", told.pid):
        return False
    step.ended(leg, own)
    view(step, told)
    return True


def _crosses(step: Step, view: View) -> bool:
    """Whether a ring is from whom the user is calling himself, and nobody has said yet whether the two are one call."""
    machine, leg = step.machines.get(view.flow), step.legs.get(view.session)
    if machine is None or view.via or view.role == "caller" or view.state not in machine.flow.roles.ringing:
        return False
    if _is_past(step, view) if leg is None else not _rings_anew(step, leg, view):
        return False
    return any(own.role == "caller" and not own.seq and own.receiver == view.initiator for own in step.legs.values())


def _hold(step: Step, view: View) -> None:
    held: dict[str, View] = step.get("held")
    last = held.get(view.session)
    if last is None or last.seq < view.seq:
        step.changes["held"] = {**held, view.session: view}


def let_go(step: Step) -> None:
    """Follow the rings that were held, once the user's own call is decided; forget those that have ended."""
    for session, ring in step.get("held").items():
        if not _crosses(step, ring):
            step.changes["held"] = {other: held for other, held in step.get("held").items() if other != session}
            view(step, ring)


def _follow(step: Step, old: LocalLeg, view: View, way: Move, taken_back: str) -> None:
    """Make the leg what the view says, and tell of the way there."""
    if view.at[0]:
        step.changes["ahead"] = view.at[0] + view.age - step.now
    session, owed, waits = old.session, old.owed, old.waits
    heard: list[Wait] = []
    done: list[Wait] = []
    if owed or waits:
        owed, waits, heard, done = _hear(old, view.heard, NO_FLAGS if taken_back else way.reached, way.flags)
    leg = _made(step, old, view, way, owed, waits)
    step.legs[session] = leg
    for wait in heard:
        step.settle(wait.ticket, leg)
    if way.opens is not None:  # the switchboard has verified the token, and this user has asked for media
        step.effects.append(OpenMedia(session, way.opens))
        drive_peers(step, leg)
    if way.stages:
        step.walk(leg, way.stages)
    if way.ends:
        step.over(leg)
        step.bury(session, view.seq)
    elif taken_back:
        step.end_by(leg, taken_back)
    else:
        _differences(step, old, leg, way, view.gone)
        for wait in done:
            step.settle(wait.ticket, step.legs[session])


def _made(
    step: Step, leg: LocalLeg, view: View, way: Move, owed: tuple[Command, ...], waits: tuple[Wait, ...]
) -> LocalLeg:
    """The leg as the view has it. In pieces: a call with more than 15 keywords is four times as slow, and what the
    second piece is about seldom changes."""
    new = replace(
        leg, state=way.state, reason=way.reason, media=way.media, seq=view.seq, flags=way.flags, grants=view.grants,
        peers=view.peers, offers=view.offers, at=view.at, age=view.age, owed=owed, waits=waits,
    )  # fmt: skip
    if view.token:
        new = replace(new, token=view.token)
    if (
        view.pid != leg.pid or view.type != leg.type or view.receiver != leg.receiver or view.metadata != leg.metadata
        or view.initiator != leg.initiator or view.joined != leg.joined or view.joined_at != leg.joined_at
        or view.by != leg.by or view.by_device != leg.by_device
    ):  # fmt: skip
        new = replace(
            new, pid=view.pid, type=view.type, receiver=view.receiver, initiator=view.initiator, metadata=view.metadata,
            joined=view.joined, joined_at=view.joined_at, by=view.by, by_device=view.by_device,
        )  # fmt: skip
    if way.clocks and (leg.longest or leg.idle[0] or leg.alone_since):
        new = _with_clocks(step, new)
    return new


def _with_clocks(step: Step, leg: LocalLeg) -> LocalLeg:
    """The session's own clocks: alone for too long, and as long as it may last."""
    alone, until = leg.alone_since, leg.until
    if any(peer.joined for peer in leg.peers):
        alone = 0
    elif leg.idle[0] and not alone:
        alone = max(1, step.now)
    if leg.longest and not until:
        until = step.now + leg.longest
    return replace(leg, alone_since=alone, until=until)


def _differences(step: Step, old: LocalLeg, leg: LocalLeg, way: Move, gone: dict[str, Reason] | None) -> None:
    """Tell what is different between a live leg as it was and as it is. A session's events begin when it was joined,
    and with who is there."""
    session, effects = leg.session, step.effects
    for event, value in way.events:
        step.emit(event, leg, value=value)
    if way.begins:
        tell_peers(step, (), leg, gone, switched=False)
    elif way.tells and leg.peers != old.peers:
        tell_peers(step, old.peers, leg, gone, switched=old.type != leg.type)
    if way.media != "open":
        return
    for capture in way.captures:
        effects.append(Drive(session, "capture", capture))
    if leg.peers != old.peers:
        leg = _forget_lost(step, leg)
        drive_peers(step, leg)
    if leg.offers:
        for pid, turn in leg.offers.items():
            if old.offers.get(pid) != turn:
                effects.append(Drive(session, "granted", (pid,)))


def _forget_lost(step: Step, leg: LocalLeg) -> LocalLeg:
    """Let go of what concerns those who have left."""
    if leg.lost:
        joined = {peer.pid for peer in leg.peers if peer.joined}
        leg = step.put(leg, lost=tuple(entry for entry in leg.lost if entry[0] in joined))
    return forget(step, leg) if leg.lanes else leg


def _hear(
    leg: LocalLeg, heard: int, reached: Container[str], flags: frozenset[str]
) -> tuple[tuple[Command, ...], tuple[Wait, ...], list[Wait], list[Wait]]:
    """What is owed and awaited once the switchboard has taken the commands up to this number and a leg has reached
    these goals and has these flags; and whom to settle for the one, and for the other."""
    owed, waits = leg.owed, []
    if owed:
        owed = () if owed[-1].n <= heard else tuple([command for command in owed if command.n > heard])
    taken, done = [], []
    for wait in leg.waits:
        if wait.goal in reached:
            done.append(wait)
        elif wait.n > heard:
            waits.append(wait)
        elif wait.goal == "heard" and wait.until not in flags:
            taken.append(wait)
        else:
            waits.append(replace(wait, due=0) if wait.due else wait)
    return owed, tuple(waits), taken, done


def _only_heard(step: Step, machine: FlowMachine, leg: LocalLeg, view: View) -> None:
    """A view of what has ended here already, or is older than what is known: it tells only what was heard. Somebody may
    wait for that: what a call of one's own awaited has just come over, if this says that the two are one."""
    owed, waits, heard, _ = _hear(leg, view.heard, NO_FLAGS, leg.flags)
    leg = step.put(leg, owed=owed, waits=waits)
    for wait in heard:
        step.settle(wait.ticket, leg)
    if view.heard < leg.first:
        return  # the end of a leg before this one
    if leg.state == machine.final == view.state and view.seq >= leg.seq:
        step.bury(leg.session, view.seq)


def _leg_of(step: Step, view: View) -> LocalLeg | None:
    """The leg a view is about: made if it is news."""
    leg = step.legs.get(view.session)
    if leg is not None and _rings_anew(step, leg, view):
        step.bury(leg.session, leg.seq)
        leg = None
    if leg is None:
        machine = step.machines.get(view.flow)
        if machine is None or _is_past(step, view):
            return None
        if view.state == machine.final:  # its ring may still be on the way, and is not to ring then
            step.entomb((view.session,), view.seq)
            return None
        leg = LocalLeg(
            view.session, view.flow, machine.initial, view.role, view.pid, view.type, view.initiator, view.receiver,
            metadata=view.metadata,
        )  # fmt: skip
    return leg


def _is_past(step: Step, view: View) -> bool:
    """Whether a view is older than the end of what it is about."""
    last = step.tomb(view.session)
    return last is not None and view.seq <= last


def _rings_anew(step: Step, leg: LocalLeg, view: View) -> bool:
    """Whether a leg that ended here without the user's doing has a successor."""
    if not step.is_over(leg) or view.seq <= leg.seq or view.pid == leg.pid or not leg.pid:
        return False
    return all(step.machine(leg).triggers[command.trigger].by != "user" for command in leg.owed)


def _meet(step: Step, view: View) -> str:
    """Both called each other: my own call is a second name of the other's. My waits, my yes, or my no, go over.

    Answers with what I ended my own call by, if the other's lives here: it is to end that way, too."""
    own, there = step.legs.get(view.via), step.legs.get(view.session)
    if own is None or view.via == view.session:
        return ""
    del step.legs[own.session]
    step.names = {**step.names, own.session: view.session}
    if there is None:
        step.put(replace(own, session=view.session, role=own.role if step.is_over(own) else view.role))
    elif step.is_over(there):
        for wait in own.waits:
            step.settle(wait.ticket, there, refusal(there, wait.goal))
    elif step.is_over(own):
        return own.owed[-1].trigger
    else:
        owed = tuple(sorted((*there.owed, *own.owed), key=lambda command: command.n))
        step.put(there, waits=(*there.waits, *own.waits), owed=owed, consent=there.consent | own.consent)
    return ""


def refused(step: Step, session: str, n: int, error: StatecoreError) -> None:
    """A command was refused."""
    leg = step.legs.get(step.session(session))
    if leg is None or not any(command.n == n for command in leg.owed):
        return
    waits = [wait for wait in leg.waits if wait.n == n]
    trigger = next(command.trigger for command in leg.owed if command.n == n)
    leg = step.put(
        leg,
        owed=tuple(command for command in leg.owed if command.n > n),
        waits=tuple(wait for wait in leg.waits if wait.n != n),
    )
    for wait in waits:
        step.settle(wait.ticket, leg, error)
    if not waits and not step.is_over(leg) and n >= leg.first:
        step.emit("error", leg, value=error)
    if step.is_over(leg):
        if not leg.owed:  # else the end itself is still to be heard
            _insist(step, leg, trigger, error)
    elif n == leg.first:
        _never_was(step, leg)


def _insist(step: Step, leg: LocalLeg, trigger: str, error: StatecoreError) -> None:
    """An end was refused: the switchboard has no such leg, or its table knows a surer word; or the leg has ended there,
    too, and the view that says so has been overtaken. Until it comes the leg is not forgotten: older views that come
    late would make it anew."""
    lost = step.machine(leg).flow.lost
    if isinstance(error, CallGone | CallNotFound | NotAParty):
        _never_was(step, leg)
    elif trigger != lost:
        step.put(leg, owed=(step.owed_end(leg, lost),))
    elif not leg.seq or not isinstance(error, IllegalTransition):
        _never_was(step, leg)


def _never_was(step: Step, leg: LocalLeg) -> None:
    """The switchboard made no call of it, or knows it no more: no trace but the id."""
    for wait in leg.waits:
        step.settle(wait.ticket, leg, CallNotFound(session_id=leg.session))
    step.bury(leg.session, leg.seq)


def unknown(step: Step, message: Unknown) -> None:
    """The switchboard knows no part of this device in a session that it named."""
    if message.session in step.get("held"):
        step.entomb((message.session,), message.seq)
    leg = step.legs.get(step.session(message.session))
    if leg is None or leg.seq > message.seq:
        return
    if step.is_over(leg):
        step.bury(leg.session, leg.seq)
    elif leg.seq:
        step.end_by(leg, step.machine(leg).flow.lost)
        step.bury(leg.session, leg.seq)
        step.entomb((leg.session,), 0)  # its numbers begin anew, should whoever began the call say so once more
    # A leg it was never told of is told now: what is owed is said again.
