"""One decision in the making: drafts of the calls it touches, the lines, and the interpreter of the flow's rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from msgspec.structs import replace

from .. import flow as f
from ..errors import IllegalTransition, SessionFull, StatecoreError, TokenMissing, from_code
from ..machine import FlowMachine
from ..model import FORGOTTEN, NO_FLAGS, Control, Ending, Invitation, Leg, Line, Record
from ..ports import Key
from ._conditions import called, holds, is_shown
from ._guests import bind
from ._lines import LineChange, delist, enlist, let_go, seize
from ._shared import moment, new_pid

if TYPE_CHECKING:
    from . import Switchboard
    from ._commands import Act

QUIET = frozenset({"connected"})
"""Flags that concern only the switchboard."""


class Missing(Exception):
    """A record that the decision needs was not given."""

    def __init__(self, *keys: Key) -> None:
        self.keys = keys


def find_leg(legs: Sequence[Leg], user: str, device: str, epoch: str) -> int | None:
    """The newest leg of a device, by its place."""
    place = len(legs)
    for leg in reversed(legs):
        place -= 1
        if leg.device == device and leg.epoch == epoch and leg.user == user:
            return place
    return None


class Draft:
    """A call as this decision changes it."""

    def __init__(self, base: Record, machine: FlowMachine, *, fresh: bool) -> None:
        self.base = base
        self.machine = machine
        self.session_id = base.session_id
        self.receiver = base.receiver
        self.type = base.type
        self.legs: list[Leg] = list(base.legs)
        self.invitations = base.invitations
        self.offers = base.offers
        self.changes: dict[str, Any] = {}
        """Plain fields of the record that change."""
        self.fresh = fresh
        """Whether this decision makes the call."""
        self.dirty = fresh
        self.moved: set[int] = set()
        """The legs whose own view changed."""
        self.shared = False
        """Whether something changed that every participant sees."""
        self.freed = False
        """Whether a leg or an invitation ended, so that lines may come free."""
        self.cause: Leg | None = None
        """The first leg that ended in this decision."""

    def get(self, name: str) -> Any:
        """A plain field as it stands now."""
        return self.changes.get(name, getattr(self.base, name))

    def is_live(self, leg: Leg) -> bool:
        """Whether a leg has not ended."""
        return leg.control.state != self.machine.flow.final

    def live(self) -> Iterator[Leg]:
        """The legs that have not ended."""
        final = self.machine.flow.final
        return (leg for leg in self.legs if leg.control.state != final)

    def find(self, user: str, device: str, epoch: str) -> int | None:
        """The newest leg of a device, by its place."""
        return find_leg(self.legs, user, device, epoch)

    def concerns(self, user: str) -> bool:
        """Whether a user has a live leg or an open invitation."""
        return any(leg.user == user for leg in self.live()) or any(
            invitation.user == user and invitation.state == "ringing" for invitation in self.invitations
        )


class Work:
    """The records one decision reads and writes."""

    def __init__(self, board: Switchboard, view: Mapping[Key, Any], now: int) -> None:
        self.board = board
        self.view = view
        self.now = moment(now)
        self.drafts: dict[str, Draft] = {}
        self.lines: dict[str, Line | None] = {}
        self.old_lines: dict[str, Line | None] = {}
        self.absent: set[str] = set()
        self.bindings: dict[Key, bytes | None] = {}
        """The devices that call tokens are bound to, as far as guests are concerned: see `_guests`."""
        self.old_bindings: dict[Key, bytes | None] = {}
        self.fires: deque[tuple[str, Draft, int]] = deque()
        self.end = Ending(self.now)
        """What ends now, ends so: by the act of a user, or of the application, a timer, a device or the network."""
        self.token_error: StatecoreError | None = None
        """Why the command's token was refused."""

    def after(self, milliseconds: int) -> int:
        """The time that comes so much later."""
        return moment(self.now + milliseconds)

    # --- records

    def draft(self, session_id: str) -> Draft | None:
        """A call that exists, live or ended."""
        draft = self.drafts.get(session_id)
        if draft is None and session_id not in self.absent:
            record = self.load(("call", session_id))
            if record is None or record is FORGOTTEN:
                self.absent.add(session_id)
                return None
            draft = self.drafts[session_id] = Draft(record, self.board.machine(record.flow), fresh=False)
        return draft

    def named(self, session_id: str) -> Draft | None:
        """A call by its id, or by a second name."""
        draft = self.draft(session_id)
        merged: str = draft.get("merged_into") if draft else ""
        return self.draft(merged) if merged else draft

    def create(self, record: Record) -> Draft:
        """A call that did not exist."""
        draft = self.drafts[record.session_id] = Draft(record, self.board.machine(record.flow), fresh=True)
        return draft

    def line(self, user: str) -> Line | None:
        """A user's line; None for a user who is not known."""
        if user not in self.lines:
            self.lines[user] = self.old_lines[user] = self.load(("line", user))
        return self.lines[user]

    def binding(self, key: Key) -> bytes | None:
        """What a call token is bound to; None if to nothing."""
        if key not in self.bindings:
            self.bindings[key] = self.old_bindings[key] = self.load(key)
        return self.bindings[key]

    def listed(self, user: str) -> list[Draft]:
        """The calls that a user's line names."""
        line = self.line(user)
        sessions = (*line.holds, *line.sessions) if line is not None else ()
        return [draft for session in sessions if (draft := self.draft(session)) is not None]

    def load(self, key: Key) -> Any:
        """A record as it is stored."""
        try:
            return self.view[key]
        except KeyError:
            raise Missing(key) from None

    # --- what the conditions ask

    def holds(self, name: str, draft: Draft, leg: Leg, act: Act | None) -> bool:
        """Whether a condition holds."""
        return holds(name, self, draft, leg, act)

    def stale_calls(self, caller: str, receiver: str) -> frozenset[str]:
        """The caller's calls with this receiver that only devices hold which are gone: what a recall replaces."""
        line = self.lines.get(caller) or self.line(caller)
        if line is None or not line.holds:
            return NO_FLAGS
        there = {(device.device, device.epoch) for device in line.devices if device.online}
        return frozenset(s for s in line.holds if self._is_stale(s, caller, receiver, there))

    def _is_stale(self, session: str, caller: str, receiver: str, there: set[tuple[str, str]]) -> bool:
        draft = self.draft(session)
        if draft is None or {draft.base.initiator, draft.receiver} != {caller, receiver}:
            return False
        mine = [leg for leg in draft.live() if leg.user == caller]
        return bool(mine) and all((leg.device, leg.epoch) not in there for leg in mine)

    def glaring(self, user: str, other: str) -> Draft | None:
        """The call in which `other` is ringing `user` just now."""
        line = self.line(user)
        held = [self.draft(session) for session in line.holds] if line else []
        return next((draft for draft in held if draft is not None and _rings(draft, other, user)), None)

    # --- legs

    def add_leg(self, draft: Draft, user: str, device: str, epoch: str, role: Any) -> int:
        """A new leg in the flow's initial state, by its place."""
        control = Control(draft.machine.flow.initial, role)
        known, before = self.line(user) or Line(user), draft.find(user, device, epoch)
        leg = Leg(new_pid(len(draft.legs)), user, device, epoch, control, name=known.name, avatar=known.avatar)
        if before is not None:  # views and commands are numbered per session and device, whatever the leg
            leg = replace(leg, seq=draft.legs[before].seq, heard=draft.legs[before].heard)
        draft.legs.append(leg)
        draft.dirty = True
        self.on_line(enlist, draft.session_id, user)
        return len(draft.legs) - 1

    def on_line(self, change: LineChange, session: str, user: str) -> None:
        """Do something to a user's line because of a session."""
        line = self.line(user)
        if line is not None:
            self.lines[user] = change(line, session)

    def heard(self, draft: Draft, place: int, n: int) -> None:
        """Note that a leg's command was taken."""
        draft.legs[place] = replace(draft.legs[place], heard=n, refused="")
        draft.moved.add(place)
        draft.dirty = True

    # --- the interpreter

    def apply(self, draft: Draft, place: int, trigger: str, act: Act | None = None) -> None:
        """Take the row for this trigger, and everything it fires. A command without a row, or with one that refuses,
        raises; a fired trigger without a row does nothing."""
        leg = draft.legs[place]
        cell = draft.machine.cells[leg.control.state].get(trigger)
        row = None
        if cell is not None:
            bits = draft.machine.bits
            row = cell.rows.get(sum([bits[name] for name in cell.needs if self.holds(name, draft, leg, act)]))
        if act is not None and row is not None and row.decider == "switchboard":
            row = row if draft.machine.triggers[trigger].by in ("user", "media") else None
        if row is None or row.refuse is not None:
            if act is not None:
                raise self._refusal(draft, leg, trigger, act, row)
            return
        if act is not None and draft.machine.triggers[trigger].by == "user":
            self.end = Ending(self.now, act.user, act.device)
        self._take(draft, place, row, act)
        while self.fires:
            fired, target, there = self.fires.popleft()
            self.apply(target, there, fired)

    def _refusal(self, draft: Draft, leg: Leg, trigger: str, act: Act, row: f.Row | None) -> StatecoreError:
        state = leg.control.state
        if row is None:
            return IllegalTransition(state=state, trigger=trigger, legal=self._legal(draft, leg, trigger))
        if row.refuse == "token":
            return self.token_error or act.token_error or TokenMissing()
        grant = draft.machine.triggers[trigger].grant
        named = draft.receiver if row.refuse == "unknown_user" else leg.user
        user = named if draft.fresh or not act.command.data else called(draft, act)
        return from_code(
            row.refuse or "", session_id=draft.session_id, user=user, reason=leg.control.reason, grant=grant
        )

    def _legal(self, draft: Draft, leg: Leg, refused: str) -> list[str]:
        """What a device may say instead, as far as it does not depend on what else it says with it."""
        machine = draft.machine

        def knows(name: str, trigger: str) -> bool | None:
            if name == "granted":
                return machine.grants(trigger, leg.grants)
            return self.holds(name, draft, leg, None) if is_shown(machine, name) else None

        return [name for name in machine.legal(leg.control.state, knows) if name != refused]

    def _take(self, draft: Draft, place: int, row: f.Row, act: Act | None) -> None:
        leg = draft.legs[place]
        old = leg.control
        flags = old.flags
        if row.sets or row.clears:
            flags = mark(flags, row.sets, row.clears)
        if row.to != old.state or flags != old.flags:
            self._move(draft, place, Control(row.to, old.role, flags, row.reason or ""))
        for effect in row.effects:
            do = self.EFFECTS.get(type(effect))
            if do is not None:
                do(self, draft, place, effect, act)

    def _move(self, draft: Draft, place: int, control: Control) -> None:
        """Put a leg where it belongs now, with the deadline of that state, and note who is to hear of it."""
        leg, machine = draft.legs[place], draft.machine
        old = leg.control
        changes: dict[str, Any] = {"control": control}
        armed = machine.deadline(control.state, control.flags)
        if armed is not machine.deadline(old.state, old.flags):
            changes["deadline"] = self._due(draft, control.state, armed)
        if control.state == machine.flow.final:
            changes["end"] = self.end
        leg = draft.legs[place] = replace(leg, **changes)
        if control.state == machine.flow.final:
            draft.freed, draft.cause = True, draft.cause or leg
        draft.moved.add(place)
        inside = control.state in machine.participating
        if inside != (old.state in machine.participating) or (inside and (old.flags ^ control.flags) - QUIET):
            draft.shared = True
        self._mark_times(draft, control)

    def _mark_times(self, draft: Draft, control: Control) -> None:
        state = control.state
        if state in draft.machine.flow.roles.ringing and control.role == "callee" and not draft.get("ringing_at"):
            draft.changes["ringing_at"] = self.now
        if state in draft.machine.answered and not draft.get("answered_at"):
            draft.changes["answered_at"] = self.now
        if state in draft.machine.active and not draft.get("active_at"):
            draft.changes["active_at"] = self.now
            draft.shared = True

    def _due(self, draft: Draft, state: str, deadline: f.Deadline | None) -> int:
        if deadline is None:
            return 0
        if state in draft.machine.flow.roles.ringing:  # one timer for all legs of a call, however late they were made
            return int(draft.get("ring_until"))
        return self.after(deadline.length(self.board.milliseconds))

    # --- effects

    def _open(self, draft: Draft, place: int, _effect: f.OpenMedia, act: Act | None) -> None:
        """Join: the token's grants count from now on, and the flags that settings may bring."""
        leg = draft.legs[place]
        asked = act.command.flags if act else NO_FLAGS
        claims = act.claims if act is not None else None
        grants = frozenset(claims.grants) if claims is not None else NO_FLAGS
        if act is not None and act.guest is not None and claims is not None:
            bind(self, claims, leg.device)
        joined = max(other.joined for other in draft.legs) + 1
        wanted = asked & self._joinable_flags(draft, grants)
        control = leg.control
        if wanted:
            control = replace(control, flags=control.flags | wanted)
        draft.legs[place] = replace(leg, control=control, joined=joined, joined_at=self.now, grants=grants)

    def _joinable_flags(self, draft: Draft, grants: frozenset[str]) -> frozenset[str]:
        allowed: set[str] = set()
        for capture in draft.machine.flow.captures:
            if capture.at_join:
                allowed |= set(capture.off)
                if capture.on and capture.kind in grants and capture.type in (None, draft.type):
                    allowed.add(capture.on)
        return frozenset(allowed)

    def _claim(self, draft: Draft, place: int, _effect: f.Claim, _act: Act | None) -> None:
        for user in (draft.legs[place].user, *(i.user for i in draft.invitations)):
            self.on_line(seize, draft.session_id, user)

    def _release(self, draft: Draft, place: int, _effect: f.Release, _act: Act | None) -> None:
        self.free(draft, draft.legs[place].user)

    def free(self, draft: Draft, user: str) -> None:
        """Let the call go of a user's line if nothing of the user is left in it. Idempotent."""
        if not draft.concerns(user):
            self.on_line(let_go, draft.session_id, user)

    def unlist(self, draft: Draft, user: str) -> None:
        """Forget a session that does not take the line, once nothing of the user is left in it. Idempotent."""
        if not draft.concerns(user):
            self.on_line(delist, draft.session_id, user)

    def _answer(self, draft: Draft, place: int, effect: f.Answer, _act: Act | None) -> None:
        self.settle(draft, draft.legs[place].user, effect.state)

    def settle(self, draft: Draft, user: str, state: Any) -> None:
        """Settle a user's invitation; one that was declined or missed stays so."""
        before = ("joined",) if state == "left" else ("ringing",)
        if any(i.user == user and i.state in before for i in draft.invitations):
            draft.invitations = tuple(
                Invitation(i.user, state) if i.user == user and i.state in before else i for i in draft.invitations
            )
            draft.dirty = draft.freed = True

    def _invite(self, draft: Draft, _place: int, _effect: f.Invite, act: Act | None) -> None:
        user = called(draft, act)
        line = self.line(user)
        if line is None or not line.known:
            return
        if len(draft.legs) + len(line.ringing) > self.board.settings.session_joins:
            raise SessionFull(session_id=draft.session_id)
        draft.invitations = (*(i for i in draft.invitations if i.user != user), Invitation(user))
        draft.changes["ring_until"] = self.after(self.board.milliseconds["ring"])
        self.on_line(seize, draft.session_id, user)
        self.fires += [(draft.machine.ring or "", draft, there) for there in self._legs_of(draft, user)]

    def _withdraw(self, draft: Draft, _place: int, _effect: f.Withdraw, _act: Act | None) -> None:
        self.withdraw(draft)

    def withdraw(self, draft: Draft) -> None:
        """Settle every open invitation as unanswered. Idempotent."""
        for invitation in draft.invitations:
            if invitation.state == "ringing":
                self.settle(draft, invitation.user, "unanswered")
                self.free(draft, invitation.user)
                self.unlist(draft, invitation.user)

    def _retype(self, draft: Draft, _place: int, effect: f.Retype, _act: Act | None) -> None:
        draft.type = draft.changes["type"] = effect.type
        draft.shared = True

    def _fire(self, draft: Draft, place: int, effect: f.Fire, _act: Act | None) -> None:
        for target, there in self.TARGETS[effect.at](self, draft, place):
            self.fires.append((effect.trigger, target, there))

    # --- whom a `Fire` reaches

    def _others(self, draft: Draft, place: int) -> list[tuple[Draft, int]]:
        return [(draft, i) for i, leg in enumerate(draft.legs) if i != place and draft.is_live(leg)]

    def _peers(self, draft: Draft, place: int) -> list[tuple[Draft, int]]:
        user = draft.legs[place].user
        return [(d, i) for d, i in self._others(draft, place) if draft.legs[i].user != user]

    def _siblings(self, draft: Draft, place: int) -> list[tuple[Draft, int]]:
        user = draft.legs[place].user
        return [(d, i) for d, i in self._others(draft, place) if draft.legs[i].user == user]

    def _invited(self, draft: Draft, _place: int) -> list[tuple[Draft, int]]:
        """A new leg for every connected device of everyone who is invited."""
        return [(draft, there) for invitation in draft.invitations for there in self._legs_of(draft, invitation.user)]

    def _legs_of(self, draft: Draft, user: str) -> list[int]:
        """A new leg for every connected device of a user who is invited."""
        self.on_line(enlist, draft.session_id, user)  # a device that connects later is to ring, too
        line = self.line(user)
        return [
            self.add_leg(draft, user, device.device, device.epoch, "callee")
            for device in (line.ringing if line is not None else ())
        ]

    def _merged(self, draft: Draft, place: int) -> list[tuple[Draft, int]]:
        """The leg, made if need be, of this device in the call that rings it, of which this id is a second name now."""
        leg = draft.legs[place]
        other = self.glaring(leg.user, draft.receiver)
        if other is None:
            raise AssertionError("the row with `glare` is taken where another call rings")
        there = other.find(leg.user, leg.device, leg.epoch)
        if there is None or not other.is_live(other.legs[there]):
            there = self.add_leg(other, leg.user, leg.device, leg.epoch, "callee")
            self.apply(other, there, other.machine.flow.ring or "")
        other.legs[there] = replace(other.legs[there], via=draft.session_id)
        if draft.type != other.type and other.type == "video":  # video only if both asked for it
            other.type = other.changes["type"] = draft.type
        draft.changes["merged_into"] = other.session_id
        draft.invitations = ()
        return [(other, there)]

    def _stale(self, draft: Draft, place: int) -> list[tuple[Draft, int]]:
        caller = draft.legs[place].user
        found = []
        for session in self.stale_calls(caller, draft.receiver):
            old = self.drafts[session]
            found += [(old, i) for i, leg in enumerate(old.legs) if leg.user == caller and old.is_live(leg)]
        return found

    TARGETS: ClassVar[dict[str, Any]] = {
        "others": _others,
        "peers": _peers,
        "siblings": _siblings,
        "invited": _invited,
        "merged": _merged,
        "stale": _stale,
    }
    """Whom a `Fire` reaches."""
    EFFECTS: ClassVar[dict[type, Any]] = {
        f.OpenMedia: _open,
        f.Claim: _claim,
        f.Release: _release,
        f.Answer: _answer,
        f.Retype: _retype,
        f.Invite: _invite,
        f.Withdraw: _withdraw,
        f.Fire: _fire,
    }
    """What the switchboard does about an effect. CloseMedia, Tell and Custom are the endpoint's; Mark is in the row."""


def _rings(draft: Draft, caller: str, receiver: str) -> bool:
    return (
        draft.base.initiator == caller
        and draft.receiver == receiver
        and any(i.user == receiver and i.state == "ringing" for i in draft.invitations)
    )


_marks: dict[tuple[frozenset[str], frozenset[str], frozenset[str]], frozenset[str]] = {}


def mark(flags: frozenset[str], sets: frozenset[str], clears: frozenset[str]) -> frozenset[str]:
    """The flags after a row; equal sets are one object, since every leg of every call carries one."""
    key = (flags, sets, clears)
    found = _marks.get(key)
    if found is None:
        result = (flags | sets) - clears
        if not result:
            result = NO_FLAGS
        found = _marks[key] = next((known for known in _marks.values() if known == result), result)
    return found
