"""Plans as functions: one that builds each leg, view and record of a decision at once, with no look at the plan.

A plan says which field of which leg takes which value. To walk through it for every call costs more than what it says
to do, so that it is written down once as the source of a Python function, as `dataclasses` and `attrs` do for theirs.
The source holds names of fields and whole numbers only; every other value is handed in. Plans that differ in nothing
but those values share one piece of code.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from ..machine import FlowMachine
from ..model import NO_FLAGS, Control, Device, Ending, Invitation, Leg, Line, Record
from ..ports import Key
from ..wire import Peer, View
from ._commands import Act, Deliver, Done
from ._shared import new_pid
from ._views import REASONS, gone
from ._work import QUIET, Work, mark

if TYPE_CHECKING:
    from ._plans import Change, Plan, Shape

Fill: TypeAlias = Callable[[Work, Record, Act, Sequence[tuple[str, Device]]], Done]
"""Carries a plan out for one call: the decision at work, the record, the command, and who is connected of the invited
(where the command makes the call)."""

_EXPRESSIONS = ("now", "joins", "act.command.n", "record.ring_until", "{leg}.seq", "by_act", "by_none")
"""What stands for each of the sources of a plan."""
_ENDINGS = {"by_act": "Ending(now, act.user, act.device)", "by_none": "Ending(now)"}
"""What those are that are made once for all legs, and the record."""


def done(work: Work, key: Key, record: Record, effects: tuple[Deliver, ...]) -> Done:
    """A decision that looked at lines."""
    writes: dict[Key, Any] = {key: record}
    for user, line in work.lines.items():
        if line is not work.old_lines[user]:
            writes["line", line.user if line else user] = line  # the id as it is held, not one more copy of it
    calls = dict.fromkeys((record.session_id, *work.drafts, *work.absent))
    return Done(writes, (*[("call", call) for call in calls], *[("line", user) for user in work.lines]), effects)


def made(work: Work, place: int, user: str, device: Device, control: Control) -> Leg:
    """A leg that is new."""
    line = work.line(user) or Line(user)
    return Leg(new_pid(place), user, device.device, device.epoch, control, name=line.name, avatar=line.avatar)


_NAMES = {
    "Deliver": Deliver, "Done": Done, "Ending": Ending, "Invitation": Invitation, "Leg": Leg, "Peer": Peer,
    "Record": Record, "View": View, "done": done, "made": made,
}  # fmt: skip


def fill(plan: Plan, shape: Shape, machine: FlowMachine) -> Fill:
    """The function that carries out a plan."""
    writer = _Writer(plan, shape, machine)
    source = writer.source()
    function: Fill = _function(source)(*writer.constants)
    return function


@functools.lru_cache(maxsize=4096)
def _function(source: str) -> Callable[..., Fill]:
    names: dict[str, Any] = dict(_NAMES)
    exec(source, names)  # noqa: S102 - field names and numbers of our own, see above
    function: Callable[..., Fill] = names["make"]
    return function


class _Writer:
    """Writes one plan down."""

    def __init__(self, plan: Plan, shape: Shape, machine: FlowMachine) -> None:
        self.plan, self.shape, self.machine = plan, shape, machine
        self.constants: list[Any] = []
        self.lines: list[str] = []
        self.changes = dict(plan.legs)
        self.count = len(shape.legs) + plan.made
        begun = [control for _, control in shape.legs] + [Control(machine.initial, "callee")] * plan.made
        self.controls: list[Control] = [
            self.changes[place].fixed.get("control", control) if place in self.changes else control
            for place, control in enumerate(begun)
        ]
        """Where each leg stands afterwards."""

    def source(self) -> str:
        """The source of a function of the constants that makes the function."""
        self._begin()
        for place, change in self.plan.legs:
            fields = self._fields(Leg, f"l{place}", change)
            self.lines.append(f"l{place} = Leg({', '.join(fields.values())})")
        self._record()
        self._effects()
        ending = "done(work, key, record, effects)"
        if not self.plan.lines and not self.plan.made:
            ending = f"{ending} if work.lines else Done({{key: record}}, (key,), effects)"
        self.lines.append(f"return {ending}")
        body = "".join(f"        {line}\n" for line in self.lines)
        names = ", ".join(f"k{place}" for place in range(len(self.constants)))
        return f"def make({names}):\n    def fill(work, record, act, devices):\n{body}    return fill\n"

    def _constant(self, value: Any) -> str:
        if type(value) is int or (not value and type(value) is str):
            return repr(value)
        for place, known in enumerate(self.constants):
            if known is value or (type(known) is type(value) and known == value):
                return f"k{place}"
        self.constants.append(value)
        return f"k{len(self.constants) - 1}"

    def _fields(self, kind: type[Leg | Record], name: str, change: Change) -> dict[str, str]:
        fields = {field: f"{name}.{field}" for field in kind.__struct_fields__}
        fields.update({field: self._constant(value) for field, value in change.fixed.items()})
        for field, source, more in change.moving:
            fields[field] = _EXPRESSIONS[source].format(leg=name) + (f" + {more}" if more else "")
        return fields

    def _begin(self) -> None:
        """The legs there are, those that are new, and what is done to lines."""
        write = self.lines.append
        write("now = work.now")
        write("session = record.session_id")
        legs = [f"l{place}" for place in range(len(self.shape.legs))]
        write(f"{''.join([f'{leg}, ' for leg in legs])}= record.legs")
        moving = [moved for change in (self.plan.record, *self.changes.values()) for moved in change.moving]
        used = {_EXPRESSIONS[source] for _, source, _ in moving}
        if "joins" in used:
            write(f"joins = max(({''.join([f'{leg}.joined, ' for leg in legs])}))")
        for name in sorted(used & _ENDINGS.keys()):
            write(f"{name} = {_ENDINGS[name]}")
        if self.shape.invitations:
            write(f"{''.join([f'i{place}, ' for place in range(len(self.shape.invitations))])}= record.invitations")
        initial = self._constant(Control(self.machine.initial, "callee")) if self.plan.made else ""
        for place in range(len(self.shape.legs), self.count):
            write(f"l{place} = made(work, {place}, *devices[{place - len(self.shape.legs)}], {initial})")
        users: dict[int, str] = {}
        for place, (number, _) in enumerate(self.shape.legs):
            users.setdefault(number, f"l{place}.user")
        for place, (number, _) in enumerate(self.shape.invitations):
            users.setdefault(number, f"i{place}.user")
        for change, number in self.plan.lines:
            write(f"work.on_line({self._constant(change)}, session, {users[number]})")

    def _record(self) -> None:
        fields = self._fields(Record, "record", self.plan.record)
        fields["session_id"] = "session"
        fields["legs"] = f"({''.join([f'l{place}, ' for place in range(self.count)])})"
        if self.plan.answers:
            answers = dict(self.plan.answers)
            invitations = [
                f"Invitation(i{place}.user, {self._constant(answers[place])}), " if place in answers else f"i{place}, "
                for place in range(len(self.shape.invitations))
            ]
            fields["invitations"] = f"({''.join(invitations)})"
        self.lines.append(f"record = Record({', '.join(fields.values())})")
        self.lines.append('key = ("call", session)')

    def _effects(self) -> None:
        """A view for each leg that is told, and before them what all of them share."""
        write, inside = self.lines.append, self.machine.participating
        write("age = now - record.initiated_at if now > record.initiated_at else 0")
        write("at = (record.initiated_at, record.ringing_at, record.answered_at, record.active_at, record.end.at)")
        if any(self.controls[place].state in inside for place, _ in self.plan.told):
            for place, control in enumerate(self.controls):
                if control.state in inside:
                    flags = mark(control.flags, NO_FLAGS, QUIET) if control.flags else NO_FLAGS
                    write(
                        f"p{place} = Peer(l{place}.pid, l{place}.user, l{place}.device, l{place}.name, "
                        f"l{place}.avatar, {self._constant(control.role)}, l{place}.joined, l{place}.joined_at, "
                        f"{self._constant(flags)})"
                    )
        delivered = "".join([f"{self._deliver(place, wants=wants)}, " for place, wants in self.plan.told])
        write(f"effects = ({delivered})")

    def _deliver(self, place: int, *, wants: bool) -> str:
        leg, control, inside = f"l{place}", self.controls[place], self.machine.participating
        peers = [
            f"p{other}, "
            for other in range(self.count)
            if control.state in inside and other != place and self.controls[other].state in inside
        ]
        why = gone([(str(n + 1), one) for n, one in enumerate(self.controls)]) if control.state in inside else None
        fields = {
            "session": "session", "seq": f"{leg}.seq", "pid": f"{leg}.pid",
            "state": self._constant(control.state), "initiator": "record.initiator",
            "flow": self._constant(self.machine.flow.name), "role": self._constant(control.role),
            "type": "record.type", "receiver": "record.receiver",
            "heard": f"{leg}.heard - 1 if {leg}.refused else {leg}.heard",
            "reason": self._constant(REASONS[control.reason] if control.reason else None),
            "by": f"{leg}.end.by", "by_device": f"{leg}.end.device", "via": f"{leg}.via",
            "joined": f"{leg}.joined", "joined_at": f"{leg}.joined_at",
            "flags": self._constant(control.flags), "grants": f"{leg}.grants",
            "peers": f"({''.join(peers)})", "offers": "{}",
            "left": f"{leg}.deadline - now if {leg}.deadline > now else 0", "age": "age", "at": "at",
            "metadata": "record.metadata", "gone": self._constant(why),
        }  # fmt: skip
        view = ", ".join([fields[field] for field in View.__struct_fields__ if field in fields])
        return f"Deliver({leg}.user, {leg}.device, {leg}.epoch, View({view}), {wants})"
