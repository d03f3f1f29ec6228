"""One step of an endpoint in the making."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from .. import flow as f
from ..errors import (
    AlreadyJoined,
    AlreadyLeft,
    CallGone,
    CallNotFound,
    CommandTimeout,
    IllegalTransition,
    NotConnected,
    SessionInactive,
    StatecoreError,
    TokenLacksGrant,
    from_code,
)
from ..machine import FlowMachine
from ..model import NO_FLAGS
from ..wire import Command, Peer, View
from ._outcome import refusal
from ._types import (
    CloseMedia,
    Do,
    Drive,
    Effect,
    Emit,
    Endpoint,
    LocalLeg,
    OpenMedia,
    Send,
    Settle,
    Wait,
)
from ._walk import walk

TOMBS = 256
"""How many ended sessions a device remembers."""
_NO_JOIN = frozenset({"joined", "connected"})


class Step:
    """A draft of the endpoint, and the effects so far."""

    def __init__(self, endpoint: Endpoint, machines: dict[str, FlowMachine], timers: dict[str, int], now: int) -> None:
        self.endpoint = endpoint
        self.machines = machines
        self.timers = timers
        self.now = now
        self.legs = dict(endpoint.legs)
        self.changes: dict[str, Any] = {}
        self.effects: list[Effect] = []

    def done(self) -> tuple[Endpoint, list[Effect]]:
        """The endpoint after the step."""
        return replace(self.endpoint, legs=self.legs, **self.changes), self.effects

    def get(self, name: str) -> Any:
        """A field of the endpoint as it stands now."""
        changes = self.changes
        return changes[name] if name in changes else getattr(self.endpoint, name)

    def machine(self, leg: LocalLeg) -> FlowMachine:
        """The machine that a leg runs."""
        return self.machines[leg.flow]

    def is_over(self, leg: LocalLeg) -> bool:
        """Whether a leg has ended."""
        return leg.state == self.machines[leg.flow].final

    def session(self, name: str) -> str:
        """A session by its id or by a second name."""
        names: dict[str, str] = self.get("names")
        return names.get(name, name)

    def put(self, leg: LocalLeg, **changes: Any) -> LocalLeg:
        """Change a leg."""
        leg = self.legs[leg.session] = replace(leg, **changes) if changes else leg
        return leg

    def emit(self, event: str, leg: LocalLeg | None = None, peer: Peer | None = None, value: Any = None) -> None:
        """Tell the listeners."""
        self.effects.append(Emit(event, leg, peer, value))

    def settle(self, ticket: int, leg: LocalLeg | None, error: StatecoreError | None = None) -> None:
        """Settle a wait."""
        if ticket:
            self.effects.append(Settle(ticket, leg, error))

    # --- what the user wants

    def do(self, want: Do) -> None:
        """A user's command: taken here at once if the table lets the endpoint decide, owed to the switchboard else."""
        leg = self.legs.get(self.session(want.session))
        try:
            if leg is None or (self.is_over(leg) and self._starts_anew(leg, want)):
                leg = self._begin(want)
            rows = self._rows(leg, want)
        except StatecoreError as error:
            self.settle(want.ticket, leg, error)
            return
        if rows is None:  # what was wanted is so already
            self.settle(want.ticket, leg)
            return
        own = next((row for row in rows if row.decider == "endpoint"), None)
        if own is not None:
            self._end_here(leg, own)
            self.settle(want.ticket, self.legs.get(leg.session))
        else:
            self._owe(leg, want, rows)

    def _starts_anew(self, leg: LocalLeg, want: Do) -> bool:
        flow = self.machine(leg).flow
        return want.flow == leg.flow and flow.start == want.trigger and flow.ring is None

    def _begin(self, want: Do) -> LocalLeg:
        """A leg that the switchboard does not know of yet."""
        machine = self.machines.get(want.flow)
        session = self.session(want.session)
        if machine is None or machine.flow.start != want.trigger:
            if session in self.get("tombs") or session in self.legs:
                raise CallGone(session_id=want.session, reason="ended")
            raise CallNotFound(session_id=want.session)
        if not self.get("online"):
            raise NotConnected()
        flow = machine.flow
        role = "caller" if flow.ring else "member"
        before = self.legs.get(session)
        leg = LocalLeg(
            session, want.flow, flow.initial, role, "", want.type, self.endpoint.user, want.receiver,
            metadata=want.metadata, owed=before.owed if before else (),
            after=_number(before.pid) if before else self.get("tombs").get(session, 0),
        )  # fmt: skip
        return self.put(leg)

    def _rows(self, leg: LocalLeg, want: Do) -> list[f.Row] | None:
        """The rows that may be taken, as far as the device can tell. None: nothing to do. Raises if there is none."""
        machine, trigger = self.machine(leg), want.trigger
        if self.is_over(leg):
            return self._after_end(leg, trigger)
        rows = [row for row in self._cell(machine, leg.state, trigger) if self._possible(leg, row, trigger)]
        if all(row.refuse is not None for row in rows):
            raise self._illegal(leg, trigger, rows)
        return [row for row in rows if row.refuse is None]

    def _cell(self, machine: FlowMachine, state: str, trigger: str) -> tuple[f.Row, ...]:
        cell = machine.cells[state].get(trigger)
        return cell.distinct if cell else ()

    def _after_end(self, leg: LocalLeg, trigger: str) -> None:
        """After the end, ending again is done already; anything else is too late."""
        flow = self.machine(leg).flow
        if any(row.trigger == trigger and row.to == flow.final and row.decider == "endpoint" for row in flow.rows):
            return None
        if any(row.trigger == trigger and row.state == flow.final for row in flow.rows):
            raise refusal(leg, "joinable")
        raise AlreadyLeft(session_id=leg.session)

    def _possible(self, leg: LocalLeg, row: f.Row, trigger: str) -> bool:
        """Whether a row's conditions hold as far as the device knows them."""
        return all([self._knows(leg, name, trigger) is not False for name in row.when]) and not any(
            [self._knows(leg, name, trigger) for name in row.unless]
        )

    def _knows(self, leg: LocalLeg, name: str, trigger: str) -> bool | None:
        """Whether a condition holds; None if only the switchboard knows."""
        if name == "caller":
            return leg.role == "caller"
        machine = self.machines[leg.flow]
        if name in machine.flags:
            return name in leg.flags
        if name == "video":
            return leg.type == "video"
        if name == "granted":
            grant = machine.triggers[trigger].grant
            return grant is None or grant in leg.grants
        if name.startswith("other_"):
            return any(name[6:] in peer.flags for peer in leg.peers)
        return None

    def _illegal(self, leg: LocalLeg, trigger: str, rows: list[f.Row]) -> StatecoreError:
        machine = self.machine(leg)
        if rows and rows[0].refuse == "token_lacks_grant":
            return TokenLacksGrant(grant=machine.triggers[trigger].grant)
        if rows:
            return from_code(rows[0].refuse or "", session_id=leg.session, reason=leg.state, user=self.endpoint.user)
        roles = machine.flow.roles
        states = {row.state for row in machine.flow.rows if row.trigger == trigger}
        if states and states <= roles.media and leg.state not in roles.media:
            return SessionInactive(session_id=leg.session, state=leg.state, trigger=trigger)
        return IllegalTransition(state=leg.state, trigger=trigger, legal=machine.legal(leg.state))

    def _owe(self, leg: LocalLeg, want: Do, rows: list[f.Row]) -> None:
        """Tell the switchboard, and wait for a fact. A command that is owed already is not said twice."""
        goal = self._goal(leg, rows)
        last = leg.owed[-1] if leg.owed else None
        if last is not None and last.trigger == want.trigger:
            if goal == "media":
                self.settle(want.ticket, leg, AlreadyJoined(session_id=leg.session))
                return
        else:
            last = self._command(want, leg)
            leg = self._agree(leg, want, goal)
            leg = self.put(leg, owed=(*leg.owed, last))
            self.effects.append(Send(last))
        if want.ticket:
            due = self.now + self.timers["command"]
            self.put(leg, waits=(*leg.waits, Wait(want.ticket, goal, last.n, want.trigger, due)))

    def _agree(self, leg: LocalLeg, want: Do, goal: str) -> LocalLeg:
        """What the user says yes to by this command."""
        consents = self.machine(leg).triggers[want.trigger].consent
        consent = leg.consent | (frozenset(consents) if want.consent is None else want.consent & frozenset(consents))
        if goal == "media":
            return self.put(leg, consent=consent, idle=want.idle, longest=want.longest, media="none", reported=False)
        return self.put(leg, consent=consent) if consents else leg

    def _goal(self, leg: LocalLeg, rows: list[f.Row]) -> Any:
        roles = self.machine(leg).flow.roles
        if any(f.OpenMedia() in row.effects for row in rows):
            return "media"
        if any(row.to in roles.ringing and row.to != leg.state for row in rows):
            return "ringing"
        if any(row.to in roles.joinable and row.to != leg.state for row in rows):
            return "joinable"
        return "heard"

    def _command(self, want: Do, leg: LocalLeg) -> Command:
        n = self.changes["n"] = self.get("n") + 1
        makes = bool(want.flow) and leg.seq == 0
        return Command(
            want.session, n, want.trigger,
            flow=want.flow if makes else "", receiver=want.receiver, type=want.type if makes else "video",
            timeout=want.timeout, metadata=want.metadata, token=want.token, flags=want.flags, data=want.data,
        )  # fmt: skip

    # --- the safe local end

    def end_by(self, leg: LocalLeg, trigger: str | None) -> None:
        """End a live leg by a row that the endpoint may take itself, if there is one."""
        for row in self._cell(self.machine(leg), leg.state, trigger or ""):
            if row.decider == "endpoint" and self._possible(leg, row, row.trigger):
                self._end_here(leg, row)
                return

    def _end_here(self, leg: LocalLeg, row: f.Row) -> None:
        """Media is released at once; the end is owed. What was owed before no longer matters, unless the switchboard
        has yet to hear of the call at all: then the end alone is enough, too."""
        command = self._command(Do(leg.session, row.trigger), leg)
        self.effects.append(Send(command))
        leg = self.put(leg, owed=(command,), consent=NO_FLAGS, by=self.endpoint.user)
        self._apply(leg, (row,))

    def _apply(self, leg: LocalLeg, rows: tuple[f.Row, ...]) -> LocalLeg:
        """Walk rows: states change one by one, listeners are told, media opens and closes."""
        effects = self.effects
        for row in rows:
            if row.to != leg.state:
                leg = self.put(leg, state=row.to, reason=row.reason)
            if row.closes:
                leg = self._close(leg)
            for event in row.tells:
                effects.append(Emit(event, leg))
            for custom in row.customs:
                effects.append(Emit("custom", leg, None, (custom.name, custom.data)))
        if leg.reason is not None and leg.waits:
            leg = self._finish_waits(leg)
        return leg

    def _close(self, leg: LocalLeg) -> LocalLeg:
        if leg.media != "open":
            return leg
        self.effects.append(CloseMedia(leg.session))
        return self.put(leg, media="closed", lost=(), alone_since=0, until=0)

    # --- facts

    def view(self, view: View) -> None:
        """The whole view of a leg, from the switchboard."""
        leg = self._leg_of(view)
        if leg is None:
            return
        leg = self._hear(leg, view.heard)
        if view.seq < leg.seq or _number(view.pid) <= leg.after:
            return
        if self.is_over(leg):
            self._settle_end(leg, view)
            return
        machine = self.machine(leg)
        joined, to_joined = "joined" in leg.flags, "joined" in view.flags
        rows = walk(machine, leg.state, joined, leg.role == "caller", view.state, to_joined, view.reason)
        if rows is None:
            return  # not a fact of this flow: what cannot be is not believed
        old = leg
        leg = self.put(
            leg, seq=view.seq, pid=view.pid, type=view.type, flags=view.flags, grants=view.grants, joined=view.joined,
            peers=view.peers, offers=view.offers, by=view.by, at=view.at, age=view.age,
            token=view.token or leg.token, receiver=view.receiver, initiator=view.initiator, metadata=view.metadata,
        )  # fmt: skip
        leg = self._open(leg, to_joined)
        leg = self._apply(leg, rows)
        if self.is_over(leg):
            self._settle_end(leg, view)
            return
        self._differences(old, leg)
        self._resolve(self.legs[leg.session])

    def _leg_of(self, view: View) -> LocalLeg | None:
        """The leg a view is about: made if it is news, renamed if it is what became of an own initiate."""
        if view.via and view.via in self.legs and view.via != view.session:
            self._rename(self.legs[view.via], view)
        leg = self.legs.get(view.session)
        if leg is None:
            machine = self.machines.get(view.flow)
            old = _number(view.pid) <= self.get("tombs").get(view.session, 0)
            if machine is None or view.state == machine.flow.final or old:
                return None
            leg = LocalLeg(
                view.session, view.flow, machine.flow.initial, view.role, view.pid, view.type, view.initiator,
                view.receiver, metadata=view.metadata,
            )  # fmt: skip
            self.put(leg)
        return leg

    def _rename(self, own: LocalLeg, view: View) -> None:
        """Both called each other: my own call is a second name of the other's. My waits, my yes, or my no, go over."""
        del self.legs[own.session]
        self.changes["names"] = {**self.get("names"), own.session: view.session}
        there = self.legs.get(view.session)
        if there is None:
            self.put(replace(own, session=view.session, role=view.role))
        elif self.is_over(own) and not self.is_over(there):
            self.end_by(there, own.owed[-1].trigger if own.owed else self.machine(own).flow.lost)
        else:
            waits = (*there.waits, *own.waits)
            self.put(there, waits=waits, consent=there.consent | own.consent, owed=(*there.owed, *own.owed))

    def _hear(self, leg: LocalLeg, heard: int) -> LocalLeg:
        """The switchboard has taken the commands up to this number."""
        if not leg.owed and not leg.waits:
            return leg
        owed = tuple(command for command in leg.owed if command.n > heard)
        waits = []
        for wait in leg.waits:
            if wait.n <= heard and wait.goal == "heard":
                self.settle(wait.ticket, leg)
            else:
                waits.append(replace(wait, due=0) if wait.n <= heard else wait)
        return self.put(leg, owed=owed, waits=tuple(waits))

    def _settle_end(self, leg: LocalLeg, view: View) -> None:
        """The switchboard knows of the end: nothing is owed any more, and the leg may be forgotten."""
        if view.state == self.machine(leg).flow.final:
            self.put(leg, at=view.at)
            self.bury(leg.session)

    def bury(self, session: str) -> None:
        """Forget an ended leg, but for its id."""
        leg = self.legs.pop(session)
        tombs = {**self.get("tombs"), session: _number(leg.pid)}
        if len(tombs) > TOMBS:
            del tombs[next(iter(tombs))]
        self.changes["tombs"] = tombs
        names = self.get("names")
        if names:
            self.changes["names"] = {name: into for name, into in names.items() if into in self.legs}

    def _open(self, leg: LocalLeg, joined: bool) -> LocalLeg:
        """Media opens once the switchboard has verified the token, and only under this user's own yes."""
        if not joined or leg.media != "none":
            return leg
        if not leg.consent:
            self.end_by(leg, self.machine(leg).flow.lost)
            return self.legs[leg.session]
        leg = self.put(leg, media="open")
        self.effects.append(OpenMedia(leg.session, self.capturing(leg) - {"screen"}))
        self._drive_peers(leg)
        return leg

    # --- what changed, told as events

    def _differences(self, old: LocalLeg, leg: LocalLeg) -> None:
        if leg.type != old.type and old.seq:
            self.emit("call_switched_to_video", leg)
        elif "wants_video" in old.flags and "wants_video" not in leg.flags and leg.type == old.type:
            self.emit("call_switch_to_video_declined", leg)
        if leg.media == "open":
            self._captures(old, leg)
        if leg.flags != old.flags:
            for event in _flag_events(old.flags, leg.flags, own=True):
                self.emit(event, leg)
        if leg.peers != old.peers:
            self._peers(old, leg)
        if leg.media == "open":
            for pid, turn in leg.offers.items():
                if old.offers.get(pid) != turn:
                    self.effects.append(Drive(leg.session, "granted", (pid,)))

    def _captures(self, old: LocalLeg, leg: LocalLeg) -> None:
        """Turn capture on and off as the flags say."""
        before = self.capturing(old) if "joined" in old.flags else self.capturing(leg)
        after = self.capturing(leg)
        for kind in sorted(before ^ after):
            self.effects.append(Drive(leg.session, "capture", (kind, kind in after)))

    def capturing(self, leg: LocalLeg) -> frozenset[str]:
        """What this device is to capture: granted, agreed to, and on."""
        return frozenset(
            capture.kind
            for capture in self.machine(leg).flow.captures
            if capture.kind in leg.grants
            and (capture.kind in leg.consent or not capture.at_join)
            and (capture.on is None or capture.on in leg.flags)
            and (capture.off is None or capture.off not in leg.flags)
        )

    def _peers(self, old: LocalLeg, leg: LocalLeg) -> None:
        before = {peer.pid: peer for peer in old.peers if peer.joined}
        after = {peer.pid: peer for peer in leg.peers if peer.joined}
        for pid in before.keys() - after.keys():
            self.emit("user_left", leg, before[pid])
        for pid in sorted(after.keys() - before.keys(), key=lambda pid: after[pid].joined):
            self.emit("user_joined", leg, after[pid])
        for pid in after.keys() & before.keys():
            for event in _flag_events(before[pid].flags, after[pid].flags, own=False):
                self.emit(event, leg, after[pid])
        if before.keys() != after.keys():
            self.emit("user_list_updated", leg)
            self.put(leg, lost=tuple(entry for entry in leg.lost if entry[0] in after))
        if leg.media == "open":
            self._drive_peers(leg)

    def _drive_peers(self, leg: LocalLeg) -> None:
        joined = tuple(peer for peer in leg.peers if peer.joined)
        self.effects.append(Drive(leg.session, "peers", (joined,)))

    # --- waits

    def _resolve(self, leg: LocalLeg) -> None:
        """Settle what has been reached."""
        roles = self.machine(leg).flow.roles
        reached = {
            "ringing": leg.state != self.machine(leg).flow.initial,
            "joinable": leg.state in roles.joinable | roles.media,
            "media": leg.state in roles.media,
        }
        if leg.waits and any(reached.get(wait.goal) for wait in leg.waits):
            for wait in leg.waits:
                if reached.get(wait.goal):
                    self.settle(wait.ticket, leg)
            leg = self.put(leg, waits=tuple(wait for wait in leg.waits if not reached.get(wait.goal)))
        if leg.state in roles.media and leg.media == "open":
            self.put(leg, **self._clocks(leg))

    def _clocks(self, leg: LocalLeg) -> dict[str, int]:
        """The session's own clocks: alone for too long, and as long as it may last."""
        alone = not any(peer.joined for peer in leg.peers)
        clocks = {}
        if not alone:
            clocks["alone_since"] = 0
        elif leg.idle[0] and not leg.alone_since:
            clocks["alone_since"] = max(1, self.now)
        if leg.longest and not leg.until:
            clocks["until"] = self.now + leg.longest
        return clocks

    def _finish_waits(self, leg: LocalLeg) -> LocalLeg:
        for wait in leg.waits:
            self.settle(wait.ticket, leg, refusal(leg, wait.goal))
        return self.put(leg, waits=())

    def refused(self, session: str, n: int, error: StatecoreError) -> None:
        """The switchboard refused a command."""
        leg = self.legs.get(self.session(session))
        if leg is None or not any(command.n == n for command in leg.owed):
            return
        waits = [wait for wait in leg.waits if wait.n == n]
        trigger = next(command.trigger for command in leg.owed if command.n == n)
        leg = self.put(
            leg,
            owed=tuple(command for command in leg.owed if command.n > n),
            waits=tuple(wait for wait in leg.waits if wait.n != n),
        )
        for wait in waits:
            self.settle(wait.ticket, leg, error)
        if not waits and not self.is_over(leg):
            self.emit("error", leg, value=error)
        if self.is_over(leg) or (leg.seq == 0 and trigger == self.machine(leg).flow.start):
            self._never_was(leg)

    def _never_was(self, leg: LocalLeg) -> None:
        """The switchboard made no call of it, or knows it no more: no trace but the id."""
        for wait in leg.waits:
            self.settle(wait.ticket, leg, CallNotFound(session_id=leg.session))
        self.bury(leg.session)

    def unknown(self, session: str, seq: int) -> None:
        """The switchboard knows no part of this device in a session that it named."""
        leg = self.legs.get(self.session(session))
        if leg is None or leg.seq > seq:
            return
        if self.is_over(leg):
            self.bury(leg.session)
        elif leg.seq:
            self.end_by(leg, self.machine(leg).flow.lost)
            self.bury(leg.session)
        # A leg it was never told of is told now: what is owed is said again.

    # --- time

    def timeouts(self, leg: LocalLeg) -> None:
        """Commands that were not heard in time fail; what they were to begin is ended."""
        late = [wait for wait in leg.waits if wait.due and wait.due <= self.now]
        if not late:
            return
        leg = self.put(leg, waits=tuple(wait for wait in leg.waits if wait not in late))
        for wait in late:
            self.settle(wait.ticket, leg, CommandTimeout(trigger=wait.trigger))
        if any(wait.goal != "heard" for wait in late) and not self.is_over(leg):
            self.end_by(leg, self.machine(leg).flow.lost)


def _number(pid: str) -> int:
    """Legs are numbered in the order of making."""
    return int(pid) if pid.isdecimal() else 0


_FLAG_EVENTS: dict[str, tuple[str, str, str, str]] = {
    "audio_muted": ("audio_muted", "audio_unmuted", "user_muted", "user_unmuted"),
    "video_paused": ("video_paused", "video_resumed", "user_video_paused", "user_video_resumed"),
    "presenting": ("screen_share_started", "screen_share_stopped", "screen_share_started", "screen_share_stopped"),
    "hand_raised": ("hand_raised", "hand_lowered", "hand_raised", "hand_lowered"),
    "wants_video": ("", "", "call_switch_to_video_requested", ""),
}
"""What listeners hear when a flag goes on or off: of oneself, and of another."""


def _flag_events(old: frozenset[str], new: frozenset[str], *, own: bool) -> list[str]:
    place = 0 if own else 2
    events = [_FLAG_EVENTS[f][place + (f not in new)] for f in sorted((old ^ new) - _NO_JOIN) if f in _FLAG_EVENTS]
    return [event for event in events if event]
