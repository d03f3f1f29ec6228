"""The authority: decides what happens to every call, by interpreting the call's flow. Pure: records in, records out.

`Switchboard.step(view, input, now)` answers with `Need(keys)` if a record it must see is not in the view, else with
`Done(writes, reads, effects)`: commit the writes if nothing that was read has changed, then carry out the effects. On a
conflict, load again and ask again. The same function runs over a dictionary or any store; it names no state and no
trigger of a flow, only the roles a flow declares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import msgspec
from msgspec.structs import replace

from ..errors import (
    BlankId,
    CallGone,
    CallNotFound,
    InvalidArgument,
    NotAParty,
    NotConnected,
    SessionFull,
    SpacedId,
    StatecoreError,
    TooManyDevices,
    TooManySessions,
    UnsupportedVersion,
)
from ..flow import FLOWS, Flow, Timers
from ..machine import FlowMachine, compiled
from ..model import Device, Invitation, Leg, Line, Record
from ..ports import Key
from ..settings import ServiceSettings
from ..wire import Hello, Refused, Unknown, Welcome
from ._application import end, forget, register
from ._commands import (
    Act,
    Confirm,
    Connect,
    Deliver,
    Disconnect,
    Done,
    Due,
    End,
    Forget,
    Goodbye,
    Input,
    Need,
    Negotiate,
    Register,
    Restart,
    Route,
)
from ._guests import bound_key, bound_to, confine, refusal
from ._offers import ask, free, negotiate, route
from ._plans import Plans
from ._views import close_empty, deliver, finish
from ._work import Draft, Missing, Work, find_leg


def check_id(name: str, value: Any) -> str:
    """An id that is fit to be one. Raises BlankId, SpacedId, or InvalidArgument for what is not text."""
    if not isinstance(value, str):
        raise InvalidArgument(name=name)
    if not value.strip():
        raise BlankId(name=name)
    if len(value) > 128 or " " in value or not value.isprintable():  # other white space is not printable
        raise SpacedId(name=name, value=value[:128])
    return value


def next_due(value: Any) -> int:
    """When a timer of this record fires next, in the switchboard's milliseconds; 0 for never."""
    if isinstance(value, Line):
        times = [device.lease for device in value.devices]
    elif not isinstance(value, Record):
        return 0
    else:
        times = [leg.deadline for leg in value.legs if leg.deadline and not leg.end.at]
        times += [offer.until for offer in value.offers if offer.until]
        times += [value.empty_until] if value.empty_until else []
    return min(times, default=0)


class Switchboard:
    """Decides. Holds nothing but what it was configured with; safe to share."""

    def __init__(
        self,
        *,
        flows: Mapping[str, Flow] = FLOWS,
        timers: Timers | None = None,
        settings: ServiceSettings | None = None,
        remember: int = 16_384,
    ) -> None:
        """`remember` is how many shapes of decisions are remembered at most; 0 works out every decision anew. It
        changes how fast an answer comes, and never the answer."""
        self.timers = timers or Timers()
        self.settings = settings or ServiceSettings()
        seconds: dict[str, float] = attrs.asdict(self.timers)
        self.milliseconds = {name: round(value * 1000) for name, value in seconds.items()}
        self._machines = {name: compiled(flow) for name, flow in flows.items()}
        self._plans = Plans(self, remember)
        self._steps: dict[type, Any] = {
            Act: self._act,
            Confirm: self._confirm,
            Connect: self._connect,
            Disconnect: self._disconnect,
            Due: self._fire_due,
            End: end,
            Forget: forget,
            Goodbye: self._goodbye,
            Negotiate: negotiate,
            Register: register,
            Restart: self._restart,
            Route: route,
        }

    def machine(self, flow: str) -> FlowMachine:
        """The machine of a flow that this switchboard holds."""
        return self._machines[flow]

    @property
    def lease(self) -> int:
        """How long the switchboard waits for a silent device, in milliseconds: longer than the device itself does."""
        return self.milliseconds["lease"] + round(self.settings.lease_grace * 1000)

    def step(self, view: Mapping[Key, Any], command: Input, now: int) -> Need | Done:
        """Decide about one input. `now` is Unix time in milliseconds. `view` maps keys to values, None for absent,
        FORGOTTEN for a call that has ended and is not kept any more."""
        work = Work(self, view, now)
        try:
            if type(command) is Act and command.guest is None:
                done = self._planned(work, command)
                if done is not None:
                    return done
            effects = self._steps[type(command)](work, command)
            return _done(work, effects)
        except Missing as missing:
            return Need(missing.keys)

    # --- devices

    def _connect(self, work: Work, command: Connect) -> list[Deliver]:
        """A device is here: its older incarnation is lost, it hears what it lacks, and what rings, rings there too."""
        user, hello = command.user, command.hello
        guest = command.guest.session if command.guest is not None else ""
        line = work.line(user) or Line(user, known=not guest)
        before = next((d for d in line.devices if d.device == hello.device), None)
        if before is not None and before.epoch == hello.epoch and hello.conn < before.conn:
            return []  # an older connection of the same incarnation, late
        if error := refusal(work, before, command) or self._no_room(line, before, guest, work.now):
            return [Deliver(user, hello.device, hello.epoch, Refused("", 0, error.code, error.data))]
        device = Device(hello.device, hello.epoch, hello.conn, True, work.after(self.lease), guest)
        devices = (*(d for d in line.devices if d.device != hello.device), device)
        kept = line.name if guest or line.known else ""  # what a guest was called is not the user's name
        name = kept if guest and line.known else hello.name or kept
        work.lines[user] = replace(line, devices=devices, name=name, known=line.known or not guest)
        beat, lease = self.milliseconds["heartbeat"], self.milliseconds["lease"]
        rate = self.settings.messages_per_second
        welcome = Welcome(user, avatar="" if guest else line.avatar, heartbeat=beat, lease=lease, rate=rate)
        effects = [Deliver(user, hello.device, hello.epoch, welcome)]
        for draft in work.listed(user):
            self._meet(work, draft, user, hello, rings=not guest)
            if before is not None and before.epoch == hello.epoch and hello.conn > before.conn:
                self._offer_again(work, draft, user, hello)
        return [*effects, *self._catch_up(work, user, hello.device, hello.epoch, hello.sessions)]

    def _no_room(self, line: Line, before: Device | None, guest: str, now: int) -> TooManyDevices | None:
        """Until the first lease of a device that is not there is over; if all are there, nobody can know. The guests of
        a session are counted by themselves: they take no room from those who have logged in."""
        there = [device for device in line.devices if device.guest == guest]
        if before is not None or len(there) < self.settings.devices_per_user:
            return None
        gone = [device.lease - now for device in there if not device.online]
        wait = min(gone, default=self.milliseconds["heartbeat"])
        return TooManyDevices(user=line.user, limit=self.settings.devices_per_user, seconds=max(1, -(-wait // 1000)))

    def _meet(self, work: Work, draft: Draft, user: str, hello: Hello, *, rings: bool) -> None:
        """One of the user's calls, as a device connects: older incarnations go, an open invitation rings."""
        for place, leg in enumerate(draft.legs):
            if leg.user == user and leg.device == hello.device and leg.epoch != hello.epoch and draft.is_live(leg):
                work.apply(draft, place, draft.machine.flow.lost)
        invited = rings and any(i.user == user and i.state == "ringing" for i in draft.invitations)
        place_here, ring = draft.find(user, hello.device, hello.epoch), draft.machine.ring
        room = len(draft.legs) < self.settings.session_joins
        if invited and ring and room and (place_here is None or not draft.is_live(draft.legs[place_here])):
            work.apply(draft, work.add_leg(draft, user, hello.device, hello.epoch, "callee"), ring)

    def _offer_again(self, work: Work, draft: Draft, user: str, hello: Hello) -> None:
        """An offer, or its answer, may have been lost with the link: whoever made it gets a new turn to make it."""
        place = draft.find(user, hello.device, hello.epoch)
        if place is not None:
            for offer in draft.offers:
                if offer.holder and draft.legs[place].pid in offer.pair:
                    ask(work, draft, offer, offer.holder)

    def _catch_up(self, work: Work, user: str, device: str, epoch: str, sessions: Mapping[str, int]) -> list[Deliver]:
        """A view for every session in which the device is behind, and `Unknown` for those in which it has no part, or
        another than it knows."""
        live = [draft.session_id for draft in work.listed(user)]
        effects = []
        for session, seen in {**dict.fromkeys(live, -1), **sessions}.items():
            draft = work.named(session)
            place = draft.find(user, device, epoch) if draft else None
            if draft is None or place is None:
                if session in sessions:
                    effects.append(Deliver(user, device, epoch, Unknown(session, seen)))
                continue
            if draft.legs[place].seq < seen:  # told by a service whose store is lost: what it knows is not this part
                effects.append(Deliver(user, device, epoch, Unknown(session, seen)))
            if place not in draft.moved and draft.legs[place].seq != seen:
                effects.append(deliver(draft.machine, work.now, draft.base, draft.legs[place]))
        return effects

    def _disconnect(self, work: Work, command: Disconnect) -> list[Deliver]:
        line = work.line(command.user) or Line(command.user)
        for device in line.devices:
            if (device.device, device.epoch, device.conn) == (command.device, command.epoch, command.conn):
                self._put_device(work, line, replace(device, online=False))
        return []

    def _confirm(self, work: Work, command: Confirm) -> list[Deliver]:
        line = work.line(command.user) or Line(command.user)
        for device in line.devices:
            if device.device == command.device and device.epoch == command.epoch:
                self._put_device(work, line, replace(device, lease=work.after(self.lease)))
                if command.sessions is not None:
                    return self._catch_up(work, command.user, command.device, command.epoch, command.sessions)
        return []

    def _put_device(self, work: Work, line: Line, device: Device) -> None:
        devices = tuple(device if d.device == device.device else d for d in line.devices)
        work.lines[line.user] = replace(line, devices=devices)

    def _goodbye(self, work: Work, command: Goodbye) -> list[Deliver]:
        self._lose(work, command.user, command.device, command.epoch)
        return []

    def _lose(self, work: Work, user: str, device: str, epoch: str) -> None:
        """A device is gone: so are its legs."""
        line = work.line(user)
        if line is None or not any(d.device == device and d.epoch == epoch for d in line.devices):
            return
        work.lines[user] = replace(line, devices=tuple(d for d in line.devices if d.device != device))
        for draft in work.listed(user):
            for place, leg in enumerate(draft.legs):
                if leg.device == device and leg.user == user and leg.epoch == epoch:
                    work.apply(draft, place, draft.machine.flow.lost)

    def _restart(self, work: Work, command: Restart) -> list[Deliver]:
        line = work.line(command.user)
        if line is not None and line.devices:
            devices = tuple(replace(d, online=False, lease=work.after(self.lease)) for d in line.devices)
            work.lines[command.user] = replace(line, devices=devices)
        return []

    # --- commands

    def _planned(self, work: Work, act: Act) -> Done | None:
        """The decision about a command for a leg of a plain live call, if it goes as one before it."""
        record = work.load(("call", act.command.session))
        if record is None or record.end.at or record.empty_until or record.merged_into or record.offers:
            return None
        place = self._addressed(self._machines[record.flow], record.legs, act)
        if place is None or act.command.n <= record.legs[place].heard:
            return None
        fill = self._plans.of(work, record, place, act)
        return fill(work, record, act, ()) if fill is not None else None

    def _act(self, work: Work, act: Act) -> list[Deliver] | Done:
        draft = work.named(act.command.session)
        place = self._addressed(draft.machine, draft.legs, act) if draft else None
        if draft is not None and place is not None and act.command.n <= draft.legs[place].heard:
            return self._repeat(work, draft, place, act)
        try:
            draft, place = self._place(work, draft, place, act)
            done = self._planned_start(work, draft, place, act) if draft.fresh and act.guest is None else None
            if done is not None:
                return done
            work.apply(draft, place, act.command.trigger, act)
        except StatecoreError as error:
            # It may be the token's, which the act carries, and an Act is none of the garbage collector's business: with
            # its frames, that one would hold the act for ever.
            return [self._refuse(work, draft, place, act, error.with_traceback(None))]
        work.heard(draft, place, act.command.n)
        merged = work.drafts.get(draft.get("merged_into"))
        there = self._addressed(merged.machine, merged.legs, act) if merged else None
        if merged is not None and there is not None:
            work.heard(merged, there, act.command.n)
        return []

    def _planned_start(self, work: Work, draft: Draft, place: int, act: Act) -> Done | None:
        """The same for a command that makes a call: its shape is also who is connected of those it invites."""
        record = replace(draft.base, legs=tuple(draft.legs))
        lines = [(i.user, work.line(i.user)) for i in record.invitations]
        devices = [(user, device) for user, line in lines if line for device in line.ringing]
        counts = tuple([(n + 1, len(line.ringing)) for n, (_, line) in enumerate(lines) if line])
        fill = self._plans.of(work, record, place, act, counts)
        return fill(work, record, act, devices) if fill is not None else None

    def _addressed(self, machine: FlowMachine, legs: Sequence[Leg], act: Act) -> int | None:
        """The leg that a command is for. Whoever begins or ends a call means the call, so the newest leg. All else is
        for the leg it names: what was said yes to there is no yes to the ring that came after it, and the end of a lost
        one must not touch that either."""
        command = act.command
        newest = find_leg(legs, act.user, act.device, act.epoch)
        whole = command.trigger in machine.ends or command.trigger == machine.flow.start
        if newest is None or whole or command.pid in ("", legs[newest].pid):
            return newest
        mine = (leg.pid == command.pid and leg.user == act.user and leg.device == act.device for leg in legs)
        return next((place for place, is_it in enumerate(mine) if is_it), newest)

    def _repeat(self, work: Work, draft: Draft, place: int, act: Act) -> list[Deliver]:
        """A command that was taken before: the same answer, nothing else."""
        leg = draft.legs[place]
        if leg.refused and act.command.n == leg.heard:
            code, _, data = leg.refused.partition(" ")
            refused = Refused(act.command.session, act.command.n, code, msgspec.json.decode(data) if data else {})
            return [Deliver(act.user, act.device, act.epoch, refused)]
        return [deliver(draft.machine, work.now, draft.base, leg)]

    def _place(self, work: Work, draft: Draft | None, place: int | None, act: Act) -> tuple[Draft, int]:
        """The leg that a command is for, made where the command is one that makes it."""
        command = act.command
        confine(act, self._machines.get(command.flow) if draft is None else None)
        if draft is None:
            return self._start(work, act)
        if draft.get("end").at and place is None:
            raise CallGone(session_id=command.session, reason=draft.get("reason"))
        starts = draft.machine.flow.start == command.trigger and not draft.base.receiver
        if starts and not draft.get("end").at and (place is None or not draft.is_live(draft.legs[place])):
            self._here(work, act)
            if len(draft.legs) >= self.settings.session_joins:
                raise SessionFull(session_id=command.session)
            return draft, work.add_leg(draft, act.user, act.device, act.epoch, "member")
        if place is None:
            raise NotAParty(user=act.user, session_id=command.session)
        return draft, place

    def _start(self, work: Work, act: Act) -> tuple[Draft, int]:
        """A new call, with its first leg in the initial state."""
        command = act.command
        machine = self._machines.get(command.flow)
        if machine is None and command.flow:
            raise UnsupportedVersion(theirs=command.flow, ours=sorted(self._machines))
        if machine is None or machine.flow.start != command.trigger:
            raise CallNotFound(session_id=command.session)
        check_id("session_id", command.session)
        if work.load(("call", command.session)) is not None:
            raise CallGone(session_id=command.session, reason="ended")
        self._here(work, act)
        rings = machine.ring is not None
        receiver = check_id("receiver", command.receiver) if rings else ""
        if line := work.line(receiver) if rings else None:
            receiver = line.user  # the same id, held once
        record = Record(
            session_id=command.session,
            flow=machine.flow.name,
            type=command.type,
            initiator=act.user,
            receiver=receiver,
            invitations=(Invitation(receiver),) if rings else (),
            metadata=self._metadata(command.metadata),
            initiated_at=work.now,
            ring_until=work.after(min(command.timeout, 3_600_000) or self.milliseconds["ring"]) if rings else 0,
        )
        draft = work.create(record)
        return draft, work.add_leg(draft, act.user, act.device, act.epoch, "caller" if rings else "member")

    def _metadata(self, metadata: str) -> str:
        if len(metadata) > self.settings.max_metadata_size:
            raise InvalidArgument(
                f"metadata is longer than {self.settings.max_metadata_size} characters", name="metadata"
            )
        return metadata

    def _here(self, work: Work, act: Act) -> None:
        """Only the newest incarnation of a device may take part in something new, and only in so much at once."""
        line = work.line(act.user)
        if line is None or not any(d.device == act.device and d.epoch == act.epoch for d in line.devices):
            raise NotConnected
        mine = (*line.holds, *line.sessions)
        if len(mine) >= self.settings.sessions_per_user and act.command.session not in mine:
            raise TooManySessions(user=act.user, limit=self.settings.sessions_per_user)

    def _refuse(self, work: Work, draft: Draft | None, place: int | None, act: Act, error: StatecoreError) -> Deliver:
        """Nothing changes but the number of the last command, so that a repeat gets the same answer."""
        work.drafts.clear()
        work.lines = dict(work.old_lines)
        work.bindings = dict(work.old_bindings)
        data = {k: v for k, v in error.data.items() if isinstance(v, str | int | float | list) or v is None}
        if draft is not None and place is not None and place < len(draft.base.legs):
            note = f"{error.code} {msgspec.json.encode(data).decode()}" if data else error.code
            kept = work.drafts[draft.session_id] = Draft(draft.base, draft.machine, fresh=False)
            kept.legs[place] = replace(kept.legs[place], heard=act.command.n, refused=note)
            kept.dirty = True
        refused = Refused(act.command.session, act.command.n, error.code, data)
        return Deliver(act.user, act.device, act.epoch, refused)

    # --- time

    def _fire_due(self, work: Work, command: Due) -> list[Deliver]:
        kind, name = command.key
        if kind == "line":
            line = work.line(name)
            for device in line.devices if line else ():
                if device.lease <= work.now:
                    self._lose(work, name, device.device, device.epoch)
            return []
        draft = work.draft(name)
        if draft is not None and not draft.get("end").at:
            self._fire_call(work, draft)
        return []

    def _fire_call(self, work: Work, draft: Draft) -> None:
        for place in range(len(draft.legs)):
            leg = draft.legs[place]
            due = draft.machine.deadline(leg.control.state, leg.control.flags)
            if due is not None and draft.is_live(leg) and 0 < leg.deadline <= work.now:
                work.apply(draft, place, due.trigger)
        for offer in draft.offers:
            if offer.holder and offer.until <= work.now:
                free(work, draft, offer, offer.holder)
        empty_until = draft.get("empty_until")
        if 0 < empty_until <= work.now and not any(draft.live()):
            close_empty(work, draft)


def _done(work: Work, effects: list[Deliver] | Done) -> Done:
    if isinstance(effects, Done):
        return effects
    writes: dict[Key, Any] = {}
    views: list[Deliver] = []
    for draft in list(work.drafts.values()):
        if draft.dirty or draft.moved or draft.shared:
            writes["call", draft.session_id], told = finish(work, draft)
            views += told
    for user, line in work.lines.items():
        if line is not None and not (line.known or line.devices or line.sessions or line.holds):
            line = None  # the last guest by that name is gone
        if line is not work.old_lines[user]:
            writes["line", line.user if line else user] = line  # the id as it is held, not one more copy of it
    writes.update({key: bound for key, bound in work.bindings.items() if bound is not work.old_bindings[key]})
    reads = (
        *(("call", session) for session in dict.fromkeys((*work.drafts, *work.absent))),
        *(("line", user) for user in work.old_lines),
        *work.old_bindings,
    )
    # A welcome, and what a device is mistaken in, come before what is new; refusals and relays come with nothing else.
    return Done(writes, reads, (*effects, *views))


__all__ = [
    "Act",
    "Confirm",
    "Connect",
    "Deliver",
    "Disconnect",
    "Done",
    "Due",
    "End",
    "Forget",
    "Goodbye",
    "Input",
    "Need",
    "Negotiate",
    "Register",
    "Restart",
    "Route",
    "Switchboard",
    "bound_key",
    "bound_to",
    "check_id",
    "next_due",
]
