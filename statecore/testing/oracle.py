"""What must hold, always: the statements every simulated world is held to, said independently of how the core works.

`Watch` looks on at every step of a world: listeners see a legal path and exactly one end, media opens under a standing
yes only and is closed once, every ticket is settled once, an ended leg or call never changes. The functions look at a
world as it stands: `assert_always` in every state, `assert_settled` when nothing is on its way, `assert_over` when all
has ended, and `assert_deaf` (what is foreign, stale or illegal changes nothing) wherever one likes.
"""

from __future__ import annotations

import functools
from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from statecore.endpoint import (
    CloseMedia,
    Do,
    Drive,
    Effect,
    Emit,
    Endpoint,
    LocalLeg,
    OpenMedia,
    Settle,
)
from statecore.flow import Flow, Invite
from statecore.flow import OpenMedia as Opening
from statecore.machine import FlowMachine
from statecore.model import COMPATIBLE, NO_FLAGS, Device, Leg, Line, Reason, Record
from statecore.ports import Key
from statecore.switchboard import Done, Switchboard, bound_to, next_due
from statecore.testing._probes import assert_deaf
from statecore.testing._world_parts import Service
from statecore.wire import View

if TYPE_CHECKING:
    from statecore.testing.world import World

Ends: TypeAlias = tuple[tuple[str, str, str], ...]
"""Ends that were told: the pid, role and reason of each."""
_OVER = frozenset({"outgoing_call_rejected", "incoming_call_cancelled", "call_ended_message_received"})


@functools.cache
def _reach(flow: Flow, state: str) -> frozenset[str]:
    return flow.reach(state)  # asked at every step, and always the same


@functools.cache
def _ends_here(flow: Flow, trigger: str) -> bool:
    return any(row.trigger == trigger and row.to == flow.final and row.decider == "endpoint" for row in flow.rows)


class Track(Struct, frozen=True):
    """What the listeners of one leg have seen."""

    state: str
    over: int = 0
    joined: int = 0
    left: int = 0
    opened: int = 0
    closed: int = 0
    sealed: bool = False
    """Whether it has ended: nothing may follow."""


class Watch:
    """Looks on at every step of every endpoint and of the switchboard."""

    def __init__(self, machines: Mapping[str, FlowMachine]) -> None:
        self.machines = machines
        self.tracks: dict[tuple[str, str], Track] = {}
        self.agreed: dict[tuple[str, str], frozenset[str]] = {}
        """What each user's standing yes covers; "join" if it covers joining."""
        self.outcomes: dict[int, str] = {}
        """What became of each ticket: "ok", a code, "gone" with its process, or "" for not settled."""
        self.owners: dict[int, str] = {}
        self.ends: dict[tuple[str, str, str], Ends] = {}
        """By device, epoch and session: the pid, role and reason of every end that was told."""
        self.told: dict[tuple[str, str], int] = {}
        """How often each event was told on each device."""
        self.forgotten: frozenset[str] = frozenset()
        """The calls of a store that is lost: of them the service knows nothing, or their next life alone."""
        self._wanted: tuple[Endpoint, LocalLeg | None, Do] | None = None
        self._last: dict[str, LocalLeg] = {}

    def copy(self) -> Watch:
        """An independent copy."""
        other = object.__new__(Watch)
        vars(other).update({k: v.copy() if isinstance(v, dict) else v for k, v in vars(self).items()})
        return other

    def state(self) -> Any:
        """What distinguishes one history from another, as far as the oracle cares."""
        parts = (self.tracks, self.agreed, self.outcomes, self.ends, self.told)
        return [sorted(part.items()) for part in parts]

    # --- a user, a process

    def wanted(self, endpoint: Endpoint, leg: LocalLeg | None, given: Do) -> None:
        """A user wants something; the next step of his endpoint takes it."""
        assert given.ticket not in self.outcomes
        self.outcomes[given.ticket] = ""
        self.owners[given.ticket] = endpoint.device
        self._wanted = (endpoint, leg, given)

    def gone(self, endpoint: Endpoint) -> None:
        """A process died, and with it its media, waits and listeners."""
        device = endpoint.device
        self.tracks = {key: track for key, track in self.tracks.items() if key[0] != device}
        self.agreed = {key: kinds for key, kinds in self.agreed.items() if key[0] != device}
        for ticket, outcome in self.outcomes.items():
            if not outcome and self.owners[ticket] == device:
                self.outcomes[ticket] = "gone"

    def deaf(self, endpoint: Endpoint) -> frozenset[str]:
        """The forgotten calls that a device heard or said the end of: should one live again, it is no news there."""
        return frozenset(session for session in self.forgotten if endpoint.tomb(session))

    def _agree(self, names: Mapping[str, str]) -> None:
        assert self._wanted is not None
        endpoint, leg, given = self._wanted
        flow = self.machines[leg.flow if leg is not None else given.flow].flow
        trigger = flow.trigger(given.trigger)
        assert trigger is not None
        session = names.get(given.session, given.session)
        key = (endpoint.device, session)
        if _ends_here(flow, given.trigger):
            self.agreed.pop(key, None)
            return
        kinds = frozenset(trigger.consent) if given.consent is None else given.consent & frozenset(trigger.consent)
        if any(row.trigger == given.trigger and Opening() in row.effects for row in flow.rows):
            kinds |= {"join"}
        both = (self.agreed.get(key, NO_FLAGS) | kinds) - frozenset(trigger.revokes)
        if both:
            self.agreed[key] = both

    # --- an endpoint's step

    def stepped(self, before: Endpoint, after: Endpoint, effects: list[Effect]) -> None:
        """An endpoint has taken a step."""
        settled = {effect.ticket: effect for effect in effects if isinstance(effect, Settle)}
        wanted = self._wanted
        if wanted is not None:
            known = wanted[1] is not None or wanted[2].flow in self.machines
            outcome = settled.get(wanted[2].ticket)
            if known and (outcome is None or outcome.error is None):
                self._agree(before.names)
            self._wanted = None
        for session, into in after.names.items():
            if session not in before.names:
                self._rename(after.device, session, into, before)
        self._last = {}
        for effect in effects:
            self._effect(after, effect)
        for session in sorted(before.legs.keys() | after.legs.keys()):
            self._check(before, after, session)

    def _rename(self, device: str, session: str, into: str, before: Endpoint) -> None:
        own = before.legs[session]
        yes = self.agreed.pop((device, session), NO_FLAGS)
        track = self.tracks.pop((device, session), None)
        there = before.legs.get(into)
        if own.reason is not None:  # the yes was taken back: it covers the other call neither
            self.agreed.pop((device, into), None)
        elif there is None or there.reason is None:
            self.agreed[device, into] = self.agreed.get((device, into), NO_FLAGS) | yes
        if there is None and track is not None:
            self.tracks[device, into] = track

    def _effect(self, after: Endpoint, effect: Effect) -> None:
        device = after.device
        if isinstance(effect, Emit) and effect.leg is not None:
            self._emitted(after, effect, effect.leg)
        elif isinstance(effect, OpenMedia):
            yes = self.agreed.get((device, effect.session), NO_FLAGS)
            assert "join" in yes, f"media opened at {device} without a standing yes"
            assert effect.capture <= yes, f"{device} captures {set(effect.capture)} under a yes to {set(yes)}"
            self._track(device, effect.session, opened=1)
        elif isinstance(effect, CloseMedia):
            self._track(device, effect.session, closed=1)
        elif isinstance(effect, Drive):
            track = self.tracks[device, effect.session]
            assert track.opened > track.closed, f"{effect.what} after media was closed"
            if effect.what == "capture" and effect.args[1] and effect.args[0] != "screen":
                assert effect.args[0] in self.agreed.get((device, effect.session), NO_FLAGS), "capture without a yes"
        elif isinstance(effect, Settle) and effect.ticket in self.outcomes:
            assert self.outcomes[effect.ticket] == "", "a ticket was settled twice"
            self.outcomes[effect.ticket] = effect.error.code if effect.error is not None else "ok"

    def _track(self, device: str, session: str, **counts: int) -> None:
        track = self.tracks[device, session]
        assert not track.sealed, f"{counts} after the end at {device}"
        track = replace(track, **{name: getattr(track, name) + more for name, more in counts.items()})
        assert max(track.over, track.joined, track.left, track.opened, track.closed) <= 1, f"twice at {device}: {track}"
        assert track.closed <= track.opened
        assert track.left <= 1
        self.tracks[device, session] = track

    def _emitted(self, after: Endpoint, effect: Emit, leg: LocalLeg) -> None:
        device, event, session = after.device, effect.event, leg.session
        flow = self.machines[leg.flow].flow
        self.told[device, event] = self.told.get((device, event), 0) + 1
        track = self.tracks.get((device, session))
        if track is not None and track.over and leg.state != flow.final and not track.sealed:
            track = self._seal(after, session, track)  # one leg has ended, and another begun, in one step
        if track is None or (track.sealed and leg.state != flow.final):
            track = Track(flow.initial)
        assert not track.sealed, f"{event} after the end at {device}"
        assert leg.state in _reach(flow, track.state), f"{event}: {track.state} -> {leg.state} at {device}"
        if leg.state in flow.roles.ringing:
            before = self.ends.get((device, after.epoch, session), ())
            again = all(reason == Reason.LOST for _, _, reason in before) or _may_be_three(flow)
            assert again, f"{device} rings again"
            calling = [own for own in after.legs.values() if own.role == "caller" and not own.seq]
            crossing = leg.role != "caller" and any(own.receiver == leg.initiator for own in calling)
            assert not crossing, f"{device} rings with a call that its own may be"
        self.tracks[device, session] = replace(track, state=leg.state)
        self._last[session] = leg
        self._track(
            device, session, over=event in _OVER, joined=event == "session_joined", left=event == "session_left"
        )

    def _check(self, before: Endpoint, after: Endpoint, session: str) -> None:
        device = after.device
        was, now = before.legs.get(session), after.legs.get(session)
        if now is not None and now.reason is None:
            flow = self.machines[now.flow].flow
            track = self.tracks.get((device, session))
            if track is None or track.sealed:
                track = self.tracks[device, session] = Track(flow.initial)
            assert now.state in _reach(flow, track.state), f"{track.state} -> {now.state} at {device}"
            assert track.opened - track.closed == (now.media == "open")
            self.tracks[device, session] = replace(track, state=now.state)
            return
        self._ended(after, session, was, now)

    def _ended(self, after: Endpoint, session: str, was: LocalLeg | None, now: LocalLeg | None) -> None:
        track = self.tracks.get((after.device, session))
        if track is not None and not track.sealed:
            if now is None and track.over == 0:  # refused: it never was
                assert was is not None
                assert was.seq == 0, f"{after.device}: a leg vanished"
            else:
                assert track.over == 1, f"{track.over} ends told at {after.device}: {track}"
            self._seal(after, session, track)
        if now is None:
            self.tracks.pop((after.device, session), None)

    def _seal(self, after: Endpoint, session: str, track: Track) -> Track:
        assert track.opened == track.closed, f"media is left open at {after.device}"
        sealed = self.tracks[after.device, session] = replace(track, sealed=True)
        self.agreed.pop((after.device, session), None)
        if track.over:
            self._note_end(after, self._last[session])
        return sealed

    def _note_end(self, after: Endpoint, leg: LocalLeg) -> None:
        assert leg.reason is not None
        key = (after.device, after.epoch, leg.session)
        self.ends[key] = (*self.ends.get(key, ()), (leg.pid, leg.role, leg.reason))

    # --- a decision of the switchboard

    def decided(self, board: Switchboard, before: Mapping[Key, Any], decision: Done, now: int) -> None:
        """The switchboard has decided."""
        for key, value in decision.writes.items():
            assert value is not None or key[0] == "line", "a call is never deleted"
            assert key[0] != "bound" or before[key] in (None, value), "a token was bound twice"
            if isinstance(value, Record):
                _check_record(board, before[key], value, now)
        for effect in decision.effects:
            if isinstance(effect.message, View):
                record = decision.writes.get(("call", effect.message.session), None)
                if record is not None:
                    leg = next(leg for leg in record.legs if leg.pid == effect.message.pid)
                    assert (leg.control.state, leg.seq) == (effect.message.state, effect.message.seq)


def _check_record(board: Switchboard, old: Record | None, new: Record, now: int) -> None:
    machine = board.machine(new.flow)
    for place, leg in enumerate(new.legs):
        before = old.legs[place] if old is not None and place < len(old.legs) else None
        if before is not None and before.end.at:
            assert (before.control, before.end) == (leg.control, leg.end), "an end changed"
        assert bool(leg.end.at) == (leg.control.state == machine.flow.final) == bool(leg.control.reason)
        due = machine.deadline(leg.control.state, leg.control.flags)
        if due is None:
            assert leg.deadline == 0, f"{leg} has a deadline"
        elif leg.control.state in machine.flow.roles.ringing:
            assert leg.deadline == new.ring_until
        else:
            assert leg.deadline > 0, f"{leg} has no deadline"
            assert leg.deadline <= now + due.length(board.milliseconds), f"{leg} waits too long"
    if old is not None:
        assert len(new.legs) >= len(old.legs)
        if old.end.at:
            assert (old.end, old.reason) == (new.end, new.reason), "the log changed"
    live = [leg for leg in new.legs if not leg.end.at]
    assert not (new.end.at and live), "a call ended with live legs"
    if machine.flow.ring is not None and not _may_be_three(machine.flow):
        _check_two(machine, new, live)


@functools.cache
def _may_be_three(flow: Flow) -> bool:
    return any(Invite() in row.effects for row in flow.rows)


def _check_two(machine: FlowMachine, record: Record, live: list[Leg]) -> None:
    """Of two people: nobody is active alone, nobody is accepted alone, and a live call has a live caller."""
    if any(leg.control.state in machine.active for leg in live):
        assert all(leg.control.state in machine.active for leg in live), "active alone"
    users = {leg.user for leg in live if leg.control.state in machine.answered}
    assert len(users) in (0, 2), f"accepted alone: {users}"
    assert bool(live) != bool(record.end.at), "a call without legs, or legs without a call"
    rung = {invitation.user for invitation in record.invitations if invitation.state == "ringing"}
    assert not (users and rung), "somebody is rung though it was accepted"
    here = machine.answered | machine.flow.roles.ringing  # a leg that lives on aside needs nobody
    for user in (record.initiator, record.receiver) if any(leg.control.state in here for leg in live) else ():
        assert user in rung or any(leg.user == user for leg in live), f"{user} has no part in a live call"


# --- a world as it stands ---------------------------------------------------------------------------------------------


def assert_always(service: Service) -> None:
    """What holds in every state: the lines agree with the calls. A user who was deleted is in none."""
    for (kind, name), value in service.store.items():
        if kind == "line":
            _check_line(service, value or Line(name))


def _check_line(service: Service, line: Line) -> None:
    concerned = {
        record.session_id: service.board.machine(record.flow).flow.ring is not None
        for record in service.records()
        if any(leg.user == line.user and not leg.end.at for leg in record.legs)
        or any(invitation.user == line.user and invitation.state == "ringing" for invitation in record.invitations)
    }
    assert set(line.holds) == {s for s, holds in concerned.items() if holds}, f"{line} against {concerned}"
    assert set(line.sessions) == {s for s, holds in concerned.items() if not holds}, f"{line} against {concerned}"
    assert len(line.holds) <= (line.capacity or service.board.settings.line_capacity)
    assert line.known or line.devices or service.store["line", line.user] is None, "who was never known is kept"
    for device in line.devices:
        if device.guest:
            _check_guest(service, line.user, device)


def _check_guest(service: Service, user: str, device: Device) -> None:
    """A guest's device is in its session only, by a token that is bound to it (see `_world_parts.claims`)."""
    who = (user, device.device, device.epoch)
    for record in service.records():
        if any((leg.user, leg.device, leg.epoch) == who for leg in record.legs):
            assert record.session_id == device.guest, f"a guest is in {record.session_id}"
            bound = bound_to(service.store["bound", f"{user}/{device.guest}"])
            assert bound == device.device, f"{device.device} is in by a token that is bound to {bound}"


def assert_settled(world: World) -> None:
    """If links are up and nothing is on its way: every endpoint's legs are the switchboard's, and nothing is owed."""
    if not world.quiet:
        return
    for place in world.places.values():
        assert_agrees(world, place.endpoint, but=world.watch.deaf(place.endpoint))
    for record in world.records():
        assert all(leg.device in world.places for leg in record.legs if not leg.end.at)


def assert_agrees(service: Service, endpoint: Endpoint, *, but: Container[str] = ()) -> None:
    """The legs of a device to which nothing is on its way, nor from it, are the switchboard's; nothing is owed. But for
    these sessions, which it need not take part in."""
    who = (endpoint.user, endpoint.device, endpoint.epoch)
    for session, leg in endpoint.legs.items():
        record = service.store["call", session]
        mine = [g for g in record.legs if (g.user, g.device, g.epoch) == who] if record is not None else []
        assert mine, f"{endpoint.device} has a leg the switchboard does not know"
        there = mine[-1]
        here = (leg.pid, leg.state, leg.flags, leg.seq, leg.joined, leg.owed)
        control = there.control
        assert here == (there.pid, control.state, control.flags, there.seq, there.joined, ()), f"{leg} is {there}"
        assert (leg.media == "open") == ("joined" in leg.flags)
        assert not leg.reason, f"{endpoint.device} remembers an ended leg"
    for record in service.records():
        for there in record.legs:
            if not there.end.at and (there.user, there.device) == who[:2]:
                assert there.epoch == endpoint.epoch, "an old incarnation lives on"
                known = record.session_id in endpoint.legs or record.session_id in but
                assert known, f"{there.device} does not know of its leg"


def assert_over(world: World) -> None:
    """When all has ended: nothing live is left anywhere, and the log agrees with what the legs saw."""
    assert world.quiet
    for place in world.places.values():
        assert_left(place.endpoint)
    for ticket, outcome in world.watch.outcomes.items():
        assert outcome, f"ticket {ticket} was never settled"
    assert_closed(world)
    for (device, epoch, session), ends in world.watch.ends.items():
        if session not in world.watch.forgotten:
            assert_told(world, device, epoch, session, ends)


def assert_left(endpoint: Endpoint) -> None:
    """Nothing of any call is left on a device."""
    assert not endpoint.legs, f"{endpoint.device} still has {list(endpoint.legs)}"
    assert not endpoint.names
    assert not endpoint.held


def assert_closed(service: Service) -> None:
    """Every call of the service is a row of the log, and no line is busy."""
    for (kind, name), value in service.store.items():
        if kind == "line":
            assert value is None or not (value.holds or value.sessions), f"{name} is busy for ever"
        elif kind == "call":
            assert value.end.at, f"call {name} lives on"
            assert value.reason in set(Reason)
            assert next_due(value) == 0
            assert not value.offers
            assert all(invitation.state != "ringing" for invitation in value.invitations)


def assert_told(
    service: Service, device: str, epoch: str, session: str, ends: tuple[tuple[str, str, str], ...]
) -> None:
    """The ends (pid, role, reason) that a device told of one session: each leg's once, and fitting the record's."""
    pids = [pid for pid, _, _ in ends if pid]
    assert len(set(pids)) == len(pids), f"{device} saw one leg end twice"
    for pid, role, reason in ends:
        _check_end(service, device, epoch, session, (pid, role, reason))


def _check_end(service: Service, device: str, epoch: str, session: str, end: tuple[str, str, str]) -> None:
    pid, role, reason = end
    record = service.store["call", session]
    if record is not None and record.merged_into:
        record = service.store["call", record.merged_into]
    mine = [leg for leg in record.legs if (leg.device, leg.epoch) == (device, epoch)] if record is not None else []
    # One that ended before it was told its pid is any of those that have ended.
    fitting = [leg for leg in mine if (leg.pid == pid if pid else leg.end.at)]
    said = [leg.control.reason for leg in fitting]
    if fitting:
        pairs = [(role, Reason(reason), Reason(each)) for each in said if each]
        assert any(pair in COMPATIBLE for pair in pairs), f"{device} was told {reason}, the record says {said}"


__all__ = [
    "Service",
    "Watch",
    "assert_agrees",
    "assert_always",
    "assert_closed",
    "assert_deaf",
    "assert_left",
    "assert_over",
    "assert_settled",
    "assert_told",
]
