"""One step of an endpoint in the making."""

from __future__ import annotations

import functools
from typing import Any

from msgspec.structs import replace

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
from ..flow import Row
from ..machine import FlowMachine
from ..model import NO_FLAGS, Role
from ..wire import Command, Peer
from ._data import tickets_of
from ._intent import Intent, intent, undone
from ._moves import Stage, stages_of
from ._outcome import refusal
from ._types import CloseMedia, Do, Effect, Emit, Endpoint, LocalLeg, Send, Settle, Wait

TOMBS = 128
"""How many ended sessions a device remembers at least; at most twice as many."""


class Step:
    """A draft of the endpoint, and the effects so far."""

    __slots__ = (
        "changes", "confirmed", "effects", "endpoint", "legs", "machines", "n", "names", "now", "online", "timers",
        "tombs",
    )  # fmt: skip

    def __init__(self, endpoint: Endpoint, machines: dict[str, FlowMachine], timers: dict[str, int], now: int) -> None:
        self.endpoint = endpoint
        self.machines = machines
        self.timers = timers
        self.now = now
        self.effects: list[Effect] = []
        self.legs = endpoint.legs.copy()
        self.names = endpoint.names
        self.tombs = endpoint.tombs
        self.n = endpoint.n
        self.online = endpoint.online
        self.confirmed = endpoint.confirmed
        self.changes: dict[str, Any] = {}
        """Fields that change seldom."""

    def done(self) -> tuple[Endpoint, list[Effect]]:
        """The endpoint after the step."""
        endpoint = replace(
            self.endpoint, legs=self.legs, names=self.names, tombs=self.tombs, n=self.n, online=self.online,
            confirmed=self.confirmed,
        )  # fmt: skip
        return replace(endpoint, **self.changes) if self.changes else endpoint, self.effects

    def get(self, name: str) -> Any:
        """A field that changes seldom, as it stands now."""
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
        return self.names.get(name, name) if self.names else name

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

    def tomb(self, session: str) -> int | None:
        """The number of the last view of a session that has ended, if it is remembered."""
        seq = self.tombs.get(session)
        return self.endpoint.tomb(session) if seq is None else seq

    def bury(self, session: str, seq: int) -> None:
        """Forget an ended leg, but for its id and the names it had. `seq` is the number of the last view."""
        del self.legs[session]
        old: list[str] = []
        if self.names:
            old = [name for name, into in self.names.items() if into == session]
            self.names = {name: into for name, into in self.names.items() if into != session}
        before = self.tomb(session)
        self.entomb((*old, session), seq if before is None or before < seq else before)

    def entomb(self, sessions: tuple[str, ...], seq: int) -> None:
        """Remember that sessions have ended, and the number of the last view."""
        if len(self.tombs) >= TOMBS:
            self.changes["older"], self.tombs = self.tombs, {}
        self.tombs = {**self.tombs, **dict.fromkeys(sessions, seq)}

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
            raise self._illegal(leg, trigger, may)
        return may

    def _starts_anew(self, leg: LocalLeg, want: Do) -> bool:
        machine = self.machine(leg)
        return want.flow == leg.flow and machine.flow.start == want.trigger and machine.ring is None

    def _begin(self, want: Do) -> LocalLeg:
        """A leg that the switchboard does not know of yet."""
        machine = self.machines.get(want.flow)
        session = self.session(want.session)
        if machine is None or machine.flow.start != want.trigger:
            if self.tomb(session) is not None or session in self.legs:
                raise CallGone(session_id=want.session, reason="ended")
            raise CallNotFound(session_id=want.session)
        if not self.online:
            raise NotConnected
        role: Role = "caller" if machine.ring else "member"
        before = self.legs.get(session)
        leg = LocalLeg(
            session, want.flow, machine.initial, role, "", want.type, self.endpoint.user, want.receiver,
            metadata=want.metadata, owed=before.owed if before else (), first=self.n + 1,
        )  # fmt: skip
        return self.put(leg)

    def _after_end(self, leg: LocalLeg, trigger: str) -> None:
        """After the end, ending again is done already; anything else is too late."""
        flow = self.machine(leg).flow
        if any(row.trigger == trigger and row.to == flow.final and row.decider == "endpoint" for row in flow.rows):
            return
        if trigger == flow.start:  # whatever it came to, its id is used up
            raise CallGone(session_id=leg.session, reason=leg.reason)
        if any(row.trigger == trigger and row.state == flow.final for row in flow.rows):
            raise refusal(leg, "joinable")
        raise AlreadyLeft(session_id=leg.session)

    def _illegal(self, leg: LocalLeg, trigger: str, may: Intent) -> StatecoreError:
        machine, rows = self.machine(leg), may.refusing
        if rows and rows[0].refuse == "token_lacks_grant":
            return TokenLacksGrant(grant=machine.triggers[trigger].grant)
        if rows:
            return from_code(rows[0].refuse or "", session_id=leg.session, reason=leg.state, user=self.endpoint.user)
        roles = machine.flow.roles
        states = {row.state for row in machine.flow.rows if row.trigger == trigger}
        if states and states <= roles.media and leg.state not in roles.media:
            return SessionInactive(session_id=leg.session, state=leg.state, trigger=trigger)
        return IllegalTransition(state=leg.state, trigger=trigger, legal=list(may.legal))

    def _owe(self, leg: LocalLeg, want: Do, may: Intent) -> None:
        """Tell the switchboard, and wait for a fact. A command that is owed already is not said twice."""
        last = leg.owed[-1] if leg.owed else None
        if last is not None and last.trigger == want.trigger and last.data == want.data:
            if may.goal == "media":
                self.settle(want.ticket, leg, AlreadyJoined(session_id=leg.session))
            else:
                self.put(leg, waits=self._waits(leg, want, may, last.n))
            return
        command = self._command(want, leg)
        consent = leg.consent
        if may.agreed or may.revoked:
            agreed = may.agreed if want.consent is None else want.consent & may.agreed
            consent = (consent | agreed) - may.revoked
        owed, waits = (*leg.owed, command), self._waits(leg, want, may, command.n)
        if may.goal == "media":
            leg = replace(
                leg, owed=owed, waits=waits, consent=consent, idle=want.idle, longest=want.longest, media="wanted"
            )
        else:
            leg = replace(leg, owed=owed, waits=waits, consent=consent)
        self.legs[leg.session] = leg
        self._send(command)

    def _waits(self, leg: LocalLeg, want: Do, may: Intent, n: int) -> tuple[Wait, ...]:
        if not want.ticket:
            return leg.waits
        return (*leg.waits, Wait(want.ticket, may.goal, n, want.trigger, self.now + self.timers["command"], want.until))

    def _command(self, want: Do, leg: LocalLeg) -> Command:
        self.n += 1
        makes = want.flow != "" and leg.seq == 0
        return Command(
            want.session, self.n, want.trigger, leg.pid, want.flow if makes else "", want.receiver,
            want.type if makes else "video", want.timeout, want.metadata, want.token, want.flags, want.data,
        )  # fmt: skip

    # --- the safe local end

    def end_by(self, leg: LocalLeg, trigger: str | None) -> None:
        """End a live leg by a row that the endpoint may take itself, if there is one."""
        own = intent(self.machine(leg), leg, trigger or "").own
        if own is not None:
            self._end_here(leg, own)

    def _end_here(self, leg: LocalLeg, row: Row) -> None:
        """Media is released at once; the end is owed. What was owed before no longer matters, unless it is an end for
        more than this leg; and if the switchboard has yet to hear of the call at all, the end alone is enough, too."""
        machine = self.machines[leg.flow]
        wider = tuple(before for before in leg.owed if _ends_more(machine, leg.state, before.trigger))
        self.ended(leg, row, (*wider, self.owed_end(leg, row.trigger)))

    def ended(self, leg: LocalLeg, row: Row, owed: tuple[Command, ...] = ()) -> None:
        """A leg has ended by this row: everybody hears of it. By itself it owes nothing."""
        machine = self.machines[leg.flow]
        way = stages_of(machine, row, leg.state, leg.media)
        last = way[-1]
        mine = machine.triggers[row.trigger].by == "user"
        leg = replace(
            leg, state=last.state, reason=last.reason, media=last.media, owed=owed, consent=NO_FLAGS,
            by=self.endpoint.user if mine else "", by_device=self.endpoint.device if mine else "",
            at=(*leg.at[:-1], self._about_now(leg)),
        )  # fmt: skip
        self.walk(leg, way)
        self.legs[leg.session] = leg
        self.over(leg)

    def _about_now(self, leg: LocalLeg) -> int:
        """The service's time, as far as this device can tell; 0 if it cannot."""
        ahead = self.get("ahead")
        return max(*leg.at, self.now + ahead) if ahead else 0

    def owed_end(self, leg: LocalLeg, trigger: str) -> Command:
        """Say that a leg has ended."""
        command = self._command(Do(leg.session, trigger), leg)
        self._send(command)
        return command

    def _send(self, command: Command) -> None:
        """Say it now, unless the link is still to be welcomed: what is owed goes first then, in its order."""
        if self.online:
            self.effects.append(Send(command))

    # --- on the way

    def walk(self, leg: LocalLeg, way: tuple[Stage, ...]) -> None:
        """Tell of every stage of a way that has led to this leg; media closes where it says so."""
        last = way[-1]
        for stage in way:
            here = leg
            if stage is not last and stage.events:
                here = replace(leg, state=stage.state, reason=stage.reason, media=stage.media)
            if stage.closes:
                self.effects.append(CloseMedia(leg.session))
            for event, value in stage.events:
                self.effects.append(Emit(event, here, None, value))

    def over(self, leg: LocalLeg) -> LocalLeg:
        """A leg has ended: nobody waits for anything else of it."""
        if not leg.waits and not leg.lanes and not leg.lost:
            return leg
        ended = self.put(leg, waits=(), lanes={}, lost=())
        for wait in leg.waits:
            self.settle(wait.ticket, ended, refusal(leg, wait.goal))
        for ticket in sorted(tickets_of(leg)):
            self.settle(ticket, ended, refusal(leg, "heard"))
        return ended

    # --- time

    def timeouts(self, leg: LocalLeg) -> None:
        """Commands that were not heard in time fail; what they were to begin is ended."""
        late = [wait for wait in leg.waits if wait.due and wait.due <= self.now]
        if not late:
            return
        # What nobody awaits any more is not owed any more: a microphone must not open by itself when the link returns.
        waits = tuple(wait for wait in leg.waits if wait not in late)
        failed = {wait.n: wait.trigger for wait in late if wait.goal == "heard"}
        for wait in waits:
            failed.pop(wait.n, None)
        leg = self.put(leg, waits=waits, owed=tuple(command for command in leg.owed if command.n not in failed))
        for wait in late:
            self.settle(wait.ticket, leg, CommandTimeout(trigger=wait.trigger))
        if any(wait.goal != "heard" for wait in late) and not self.is_over(leg):
            self.end_by(leg, self.machine(leg).flow.lost)
        else:
            for n, trigger in failed.items():
                leg = self._take_back(leg, trigger, n)

    def _take_back(self, leg: LocalLeg, trigger: str, n: int) -> LocalLeg:
        """A command has failed, but may have been heard: it opens no capture any more, and its opposite is owed, whose
        outcome nobody waits for: it may well have nothing to take back."""
        kinds, back = undone(self.machine(leg), leg, trigger, n)
        leg = self.put(leg, consent=leg.consent - kinds) if kinds else leg
        if not back:
            return leg
        command = self._command(Do(leg.session, back), leg)
        self._send(command)
        return self.put(leg, owed=(*leg.owed, command), waits=(*leg.waits, Wait(0, "heard", command.n, back)))


@functools.cache
def _ends_more(machine: FlowMachine, state: str, trigger: str) -> bool:
    """Whether a command that needs a grant ends the leg: then it is no end of this leg alone."""
    cell = machine.cells[state].get(trigger)
    granted = machine.triggers[trigger].grant is not None
    return granted and cell is not None and any(row.to == machine.final for row in cell.distinct)
