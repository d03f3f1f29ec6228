"""One step of an endpoint in the making."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from ..errors import (
    AlreadyJoined,
    AlreadyLeft,
    CallGone,
    CallNotFound,
    CommandTimeout,
    IllegalTransition,
    NotAParty,
    NotConnected,
    SessionInactive,
    StatecoreError,
    TokenLacksGrant,
    from_code,
)
from ..flow import Row
from ..machine import FlowMachine
from ..model import NO_FLAGS, Role
from ..wire import Command, Peer, View
from ._intent import Intent, intent, reached
from ._outcome import refusal
from ._tell import capturing, differences, drive_peers
from ._types import (
    CloseMedia,
    Do,
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
        names: dict[str, str] = self.changes.get("names", self.endpoint.names)
        return names.get(name, name) if names else name

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
            # A Settle is none of the garbage collector's business. With its frames the error would hold this step, the
            # step its effects, and none of them would ever go.
            self.effects.append(Settle(ticket, leg, error.with_traceback(None) if error is not None else None))

    # --- what the user wants

    def do(self, want: Do) -> None:
        """A user's command: taken here at once if the table lets the endpoint decide, owed to the switchboard else."""
        leg = self.legs.get(self.session(want.session))
        try:
            if leg is None or (self.is_over(leg) and self._starts_anew(leg, want)):
                leg = self._begin(want)
            may = self._may(leg, want.trigger)
        except StatecoreError as error:
            self.settle(want.ticket, leg, error)
            return
        if may is None or not may.moves:  # what was wanted is so already
            self.settle(want.ticket, leg)
        elif may.own is not None:
            self._end_here(leg, may.own)
            self.settle(want.ticket, self.legs.get(leg.session))
        else:
            self._owe(leg, want, may)

    def _may(self, leg: LocalLeg, trigger: str) -> Intent | None:
        """What a command may come to. None: it is so already. Raises if the table does not allow it."""
        if self.is_over(leg):
            self._after_end(leg, trigger)
            return None
        may = intent(self.machines[leg.flow], leg, trigger)
        if not may.rows:
            raise self._illegal(leg, trigger, may.refusing)
        return may

    def _starts_anew(self, leg: LocalLeg, want: Do) -> bool:
        machine = self.machine(leg)
        return want.flow == leg.flow and machine.flow.start == want.trigger and machine.ring is None

    def _begin(self, want: Do) -> LocalLeg:
        """A leg that the switchboard does not know of yet."""
        machine = self.machines.get(want.flow)
        session = self.session(want.session)
        if machine is None or machine.flow.start != want.trigger:
            if session in self.get("tombs") or session in self.legs:
                raise CallGone(session_id=want.session, reason="ended")
            raise CallNotFound(session_id=want.session)
        if not self.get("online"):
            raise NotConnected
        role: Role = "caller" if machine.ring else "member"
        before = self.legs.get(session)
        leg = LocalLeg(
            session, want.flow, machine.initial, role, "", want.type, self.endpoint.user, want.receiver,
            metadata=want.metadata, owed=before.owed if before else (), first=self.get("n") + 1,
        )  # fmt: skip
        return self.put(leg)

    def _after_end(self, leg: LocalLeg, trigger: str) -> None:
        """After the end, ending again is done already; anything else is too late."""
        flow = self.machine(leg).flow
        if any(row.trigger == trigger and row.to == flow.final and row.decider == "endpoint" for row in flow.rows):
            return
        if any(row.trigger == trigger and row.state == flow.final for row in flow.rows):
            raise refusal(leg, "joinable")
        raise AlreadyLeft(session_id=leg.session)

    def _illegal(self, leg: LocalLeg, trigger: str, rows: tuple[Row, ...]) -> StatecoreError:
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

    def _owe(self, leg: LocalLeg, want: Do, may: Intent) -> None:
        """Tell the switchboard, and wait for a fact. A command that is owed already is not said twice."""
        changes: dict[str, Any] = {}
        last = leg.owed[-1] if leg.owed else None
        if last is not None and last.trigger == want.trigger and last.data == want.data:
            if may.goal == "media":
                self.settle(want.ticket, leg, AlreadyJoined(session_id=leg.session))
                return
        else:
            last = self._command(want, leg)
            changes = self._agree(leg, want, may)
            changes["owed"] = (*leg.owed, last)
            self._send(last)
        if want.ticket:
            due = self.now + self.timers["command"]
            changes["waits"] = (*leg.waits, Wait(want.ticket, may.goal, last.n, want.trigger, due))
        self.put(leg, **changes)

    def _agree(self, leg: LocalLeg, want: Do, may: Intent) -> dict[str, Any]:
        """What the user says yes to by this command."""
        changes: dict[str, Any] = {}
        if may.agreed or may.revoked:
            agreed = may.agreed if want.consent is None else want.consent & may.agreed
            changes["consent"] = (leg.consent | agreed) - may.revoked
        if may.goal == "media":
            changes.update(idle=want.idle, longest=want.longest, media="wanted")
        return changes

    def _command(self, want: Do, leg: LocalLeg) -> Command:
        n = self.changes["n"] = self.get("n") + 1
        makes = bool(want.flow) and leg.seq == 0
        return Command(
            want.session, n, want.trigger, leg.pid,
            flow=want.flow if makes else "", receiver=want.receiver, type=want.type if makes else "video",
            timeout=want.timeout, metadata=want.metadata, token=want.token, flags=want.flags, data=want.data,
        )  # fmt: skip

    # --- the safe local end

    def end_by(self, leg: LocalLeg, trigger: str | None) -> None:
        """End a live leg by a row that the endpoint may take itself, if there is one."""
        own = intent(self.machine(leg), leg, trigger or "").own
        if own is not None:
            self._end_here(leg, own)

    def _end_here(self, leg: LocalLeg, row: Row) -> None:
        """Media is released at once; the end is owed. What was owed before no longer matters, unless the switchboard
        has yet to hear of the call at all: then the end alone is enough, too."""
        leg = self._owe_end(leg, row.trigger)
        by = self.endpoint.user if self.machine(leg).triggers[row.trigger].by == "user" else ""
        self._apply(self.put(leg, consent=NO_FLAGS, by=by), (row,))

    def _owe_end(self, leg: LocalLeg, trigger: str) -> LocalLeg:
        command = self._command(Do(leg.session, trigger), leg)
        self._send(command)
        return self.put(leg, owed=(command,))

    def _send(self, command: Command) -> None:
        """Say it now, unless the link is still to be welcomed: what is owed goes first then, in its order."""
        if self.get("online"):
            self.effects.append(Send(command))

    def _apply(self, leg: LocalLeg, rows: tuple[Row, ...], *, own: bool = False) -> LocalLeg:
        """Walk rows: states change one by one, listeners are told, media closes. What the user called for himself
        (`own`) does not ring on its way."""
        for row in rows:
            if row.to != leg.state:
                leg = self.put(leg, state=row.to, reason=row.reason)
            if row.closes:
                leg = self._close(leg)
            for event in row.tells if not (own and row.to in self.machine(leg).flow.roles.ringing) else ():
                self.emit(event, leg)
            for custom in row.customs:
                self.emit("custom", leg, value=(custom.name, custom.data))
        if self.is_over(leg):
            leg = self._close(leg)
            self._finish_waits(leg)
        return self.legs[leg.session]

    def _close(self, leg: LocalLeg) -> LocalLeg:
        if leg.media != "open":
            return leg
        self.effects.append(CloseMedia(leg.session))
        return self.put(leg, media="closed", lost=())

    # --- facts

    def view(self, view: View) -> None:
        """The whole view of a leg, from the switchboard."""
        taken_back = self._meet(view) if view.via else ""
        leg = self.legs.get(view.session)
        if leg is None or leg.reason is not None:
            leg = self._leg_of(view)
            if leg is None:
                return
        machine = self.machines[leg.flow]
        if leg.state == machine.final or view.heard < leg.first or view.seq < leg.seq:
            owed, waits = _hear(leg, view.heard)
            self._settle_heard(self.put(leg, owed=owed, waits=waits), leg.waits, view.heard)
            self._settle_end(view)
            return
        to_joined = "joined" in view.flags
        rows = walk(machine, leg.state, "joined" in leg.flags, leg.role == "caller", view.state, to_joined, view.reason)
        if rows is None:
            self._disbelieve(leg)
            return
        old, opens = leg, to_joined and leg.media == "wanted" and view.state != machine.final
        owed, waits = _hear(leg, view.heard)
        # In two halves, since a call with more than 15 keywords goes a way that is four times as slow.
        leg = replace(
            leg, pid=view.pid, type=view.type, by=view.by, at=view.at, age=view.age, token=view.token or leg.token,
            receiver=view.receiver, initiator=view.initiator, metadata=view.metadata,
        )  # fmt: skip
        leg = self.legs[leg.session] = replace(
            leg, seq=view.seq, flags=view.flags, grants=view.grants, joined=view.joined, peers=view.peers,
            offers=view.offers, media="open" if opens else leg.media, owed=owed, waits=waits,
        )  # fmt: skip
        self._settle_heard(leg, old.waits, view.heard)
        if opens:  # the switchboard has verified the token, and this user has asked for media
            self.effects.append(OpenMedia(leg.session, capturing(machine, leg) - {"screen"}))
            drive_peers(self, leg)
        if rows:
            leg = self._apply(leg, rows, own=bool(view.via))
        if taken_back:
            self.end_by(leg, taken_back)
        elif leg.state != machine.final:
            differences(self, machine, old, leg)
            self._resolve(machine, self.legs[leg.session])
        if view.state == machine.final:
            self._settle_end(view)

    def _disbelieve(self, leg: LocalLeg) -> None:
        """Not a fact of this flow: what cannot be is not believed, and makes no leg."""
        if leg.session not in self.endpoint.legs and not leg.first:
            del self.legs[leg.session]

    def _leg_of(self, view: View) -> LocalLeg | None:
        """The leg a view is about: made if it is news."""
        leg = self.legs.get(view.session)
        if leg is not None and self._rings_anew(leg, view):
            self.bury(leg.session)
            leg = None
        if leg is None:
            machine = self.machines.get(view.flow)
            old = view.seq <= self.get("tombs").get(view.session, -1)
            if machine is None or old:
                return None
            if view.state == machine.flow.final:  # its ring may still be on the way, and is not to ring then
                self._entomb((view.session,), view.seq)
                return None
            leg = LocalLeg(
                view.session, view.flow, machine.flow.initial, view.role, view.pid, view.type, view.initiator,
                view.receiver, metadata=view.metadata,
            )  # fmt: skip
            self.put(leg)
        return leg

    def _rings_anew(self, leg: LocalLeg, view: View) -> bool:
        """Whether a leg that ended here without the user's doing has a successor."""
        if not self.is_over(leg) or view.seq <= leg.seq or view.pid == leg.pid or not leg.pid:
            return False
        return all(self.machine(leg).triggers[command.trigger].by != "user" for command in leg.owed)

    def _meet(self, view: View) -> str:
        """Both called each other: my own call is a second name of the other's. My waits, my yes, or my no, go over.

        Answers with what I ended my own call by, if the other's lives here: it is to end that way, too."""
        own, there = self.legs.get(view.via), self.legs.get(view.session)
        if own is None or view.via == view.session:
            return ""
        del self.legs[own.session]
        self.changes["names"] = {**self.get("names"), own.session: view.session}
        if there is None:
            self.put(replace(own, session=view.session, role=own.role if self.is_over(own) else view.role))
        elif self.is_over(there):
            for wait in own.waits:
                self.settle(wait.ticket, there, refusal(there, wait.goal))
        elif self.is_over(own):
            return own.owed[-1].trigger
        else:
            waits, owed = (*there.waits, *own.waits), (*there.owed, *own.owed)
            self.put(there, waits=waits, owed=owed, consent=there.consent | own.consent)
        return ""

    def _settle_heard(self, leg: LocalLeg, waits: tuple[Wait, ...], heard: int) -> None:
        """Settle those who waited only for their command to be taken."""
        for wait in waits:
            if wait.goal == "heard" and wait.n <= heard:
                self.settle(wait.ticket, leg)

    def _settle_end(self, view: View) -> None:
        """If the switchboard knows of the end too, nothing is owed any more, and the leg may be forgotten."""
        leg = self.legs[view.session]
        if view.heard < leg.first:
            return  # the end of a leg before this one
        if self.is_over(leg) and view.state == self.machine(leg).flow.final and view.seq > leg.seq - 1:
            self.bury(self.put(leg, seq=view.seq, at=view.at).session)

    def bury(self, session: str) -> None:
        """Forget an ended leg, but for its id and the names it had."""
        leg = self.legs.pop(session)
        names: dict[str, str] = self.get("names")
        old = [name for name, into in names.items() if into == session]
        self.changes["names"] = {name: into for name, into in names.items() if into != session}
        self._entomb((*old, session), max(leg.seq, self.get("tombs").get(session, 0)))

    def _entomb(self, sessions: tuple[str, ...], seq: int) -> None:
        tombs = {session: n for session, n in self.get("tombs").items() if session not in sessions}
        tombs.update(dict.fromkeys(sessions, seq))
        while len(tombs) > TOMBS:
            del tombs[next(iter(tombs))]
        self.changes["tombs"] = tombs

    # --- waits

    def _resolve(self, machine: FlowMachine, leg: LocalLeg) -> None:
        """Settle what has been reached."""
        if leg.waits:
            goals = reached(machine, leg.state)
            done = [wait for wait in leg.waits if wait.goal in goals]
            if done:
                leg = self.put(leg, waits=tuple([wait for wait in leg.waits if wait not in done]))
            for wait in done:
                self.settle(wait.ticket, leg)
        if leg.media == "open" and leg.state in machine.media:
            self.put(leg, **self._clocks(leg))

    def _clocks(self, leg: LocalLeg) -> dict[str, int]:
        """The session's own clocks: alone for too long, and as long as it may last."""
        clocks = {}
        if any(peer.joined for peer in leg.peers):
            if leg.alone_since:
                clocks["alone_since"] = 0
        elif leg.idle[0] and not leg.alone_since:
            clocks["alone_since"] = max(1, self.now)
        if leg.longest and not leg.until:
            clocks["until"] = self.now + leg.longest
        return clocks

    def _finish_waits(self, leg: LocalLeg) -> None:
        for wait in leg.waits:
            self.settle(wait.ticket, leg, refusal(leg, wait.goal))
        for ticket in sorted({mail.ticket for mail in leg.outbox}):
            self.settle(ticket, leg, refusal(leg, "heard"))
        if leg.waits or leg.outbox:
            self.put(leg, waits=(), outbox=())

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
        if not waits and not self.is_over(leg) and n >= leg.first:
            self.emit("error", leg, value=error)
        if self.is_over(leg):
            self._insist(leg, trigger, error)
        elif n == leg.first:
            self._never_was(leg)

    def _insist(self, leg: LocalLeg, trigger: str, error: StatecoreError) -> None:
        """An end was refused: either the switchboard has no such leg, or its table knows a surer word."""
        lost = self.machine(leg).flow.lost
        if trigger == lost or isinstance(error, CallGone | CallNotFound | NotAParty):
            self._never_was(leg)
        else:
            self._owe_end(leg, lost)

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
        # What has failed is not owed any more: a microphone must not open by itself when the link returns.
        failed = {wait.n for wait in late if wait.goal == "heard"}
        leg = self.put(
            leg,
            waits=tuple(wait for wait in leg.waits if wait not in late),
            owed=tuple(command for command in leg.owed if command.n not in failed),
        )
        for wait in late:
            self.settle(wait.ticket, leg, CommandTimeout(trigger=wait.trigger))
        if any(wait.goal != "heard" for wait in late) and not self.is_over(leg):
            self.end_by(leg, self.machine(leg).flow.lost)


def _hear(leg: LocalLeg, heard: int) -> tuple[tuple[Command, ...], tuple[Wait, ...]]:
    """What is owed and awaited once the switchboard has taken the commands up to this number."""
    if not leg.owed and not leg.waits:
        return (), ()
    waits = []
    for wait in leg.waits:
        if wait.n > heard:
            waits.append(wait)
        elif wait.goal != "heard":
            waits.append(replace(wait, due=0))
    return tuple([command for command in leg.owed if command.n > heard]), tuple(waits)
