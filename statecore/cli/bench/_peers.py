"""The same flow in the words of other libraries, each used as its own documentation has it."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import repeat
from typing import Any, Protocol

from ._harness import Loop


class Subject:
    """What a machine runs on: it has a state, and answers both conditions for every side."""

    __slots__ = ("state",)

    def __init__(self, state: str) -> None:
        self.state = state

    def allowed(self) -> bool:
        """The condition that is true."""
        return True

    def locked(self) -> bool:
        """The condition that is false."""
        return False


_EFFECTS = {"hold": ("quiet",), "resume": ("loud",)}


def bare_dict() -> Loop:
    """A dictionary of (state, trigger), without a guard other than the call of both conditions."""
    rows = {("active", "hold"): ("held", ("quiet",)), ("held", "resume"): ("active", ("loud",))}
    subject = Subject("active")

    def step(subject: Subject, trigger: str) -> tuple[str, ...]:
        to, effects = rows[subject.state, trigger]
        if not subject.allowed() or subject.locked():  # pragma: no cover - asked as by the others, and never so
            return ()
        subject.state = to
        return effects

    def loop(count: int) -> None:
        for _ in repeat(None, count):
            step(subject, "hold")
            step(subject, "resume")

    return loop


def with_transitions() -> Loop:
    """transitions: a machine bound to a model, conditions and a callback by name."""
    return _back_and_forth(transitions_machine().models[0])


class _Model:
    def allowed(self) -> bool:
        return True

    def locked(self) -> bool:
        return False

    def quiet(self) -> None:
        self.effects = _EFFECTS["hold"]

    def loud(self) -> None:
        self.effects = _EFFECTS["resume"]


def transitions_machine() -> Any:
    """A machine of transitions with a model of its own."""
    from transitions import Machine

    machine = Machine(_Model(), states=[*_LIVE, "ended"], initial="active", auto_transitions=False)
    for trigger, state, to in _PLAIN:
        machine.add_transition(trigger, state, to)
    machine.add_transition("hold", "active", "held", conditions="allowed", unless="locked", after="quiet")
    machine.add_transition("resume", "held", "active", conditions="allowed", unless="locked", after="loud")
    return machine


_LIVE = ("idle", "ringing", "accepted", "active", "held")
_PLAIN = (
    ("initiate", "idle", "ringing"),
    ("accept", "ringing", "accepted"),
    ("up", "accepted", "active"),
    *((trigger, state, "ended") for state in _LIVE for trigger in ("end", "lost", "failed")),
)


def with_python_statemachine() -> Loop:
    """python-statemachine: a class of states and events, `cond` and `unless`, an action by name."""
    from statemachine import State, StateMachine

    class Calls(StateMachine):
        idle = State(initial=True)
        ringing = State()
        accepted = State()
        active = State()
        held = State()
        ended = State(final=True)
        initiate = idle.to(ringing)
        accept = ringing.to(accepted)
        up = accepted.to(active)
        hold = active.to(held, cond="allowed", unless="locked", on="quiet")
        resume = held.to(active, cond="allowed", unless="locked", on="loud")
        end = idle.to(ended) | ringing.to(ended) | accepted.to(ended) | active.to(ended) | held.to(ended)
        lost = idle.to(ended) | ringing.to(ended) | accepted.to(ended) | active.to(ended) | held.to(ended)
        failed = idle.to(ended) | ringing.to(ended) | accepted.to(ended) | active.to(ended) | held.to(ended)

        def allowed(self) -> bool:
            return True

        def locked(self) -> bool:
            return False

        def quiet(self) -> tuple[str, ...]:
            return _EFFECTS["hold"]

        def loud(self) -> tuple[str, ...]:
            return _EFFECTS["resume"]

    phone: Any = Calls()
    phone.initiate()
    phone.accept()
    phone.up()
    return _back_and_forth(phone)


class Phone(Protocol):
    """The inputs, as Automat wants them declared."""

    def initiate(self) -> None:
        """Idle to ringing."""

    def accept(self) -> None:
        """Ringing to accepted."""

    def up(self) -> None:
        """Accepted to active."""

    def hold(self) -> tuple[str, ...]:
        """Active to held."""

    def resume(self) -> tuple[str, ...]:
        """Held to active."""

    def end(self) -> None:
        """To ended, like the following ones."""

    def lost(self) -> None:
        """To ended."""

    def failed(self) -> None:
        """To ended."""


def with_automat() -> Loop:
    """Automat: a typed builder. It has no guards, so the caller asks the conditions before the input."""
    from automat import TypeMachineBuilder

    builder = TypeMachineBuilder(Phone, Subject)
    states = {name: builder.state(name) for name in (*_LIVE, "ended")}
    for trigger, state, to in _PLAIN:
        states[state].upon(getattr(Phone, trigger)).to(states[to]).returns(None)
    states["active"].upon(Phone.hold).to(states["held"]).returns(_EFFECTS["hold"])
    states["held"].upon(Phone.resume).to(states["active"]).returns(_EFFECTS["resume"])
    subject = Subject("")
    phone = builder.build()(subject)
    phone.initiate()
    phone.accept()
    phone.up()

    def loop(count: int) -> None:
        for _ in repeat(None, count):
            if subject.allowed() and not subject.locked():  # pragma: no branch
                phone.hold()
            if subject.allowed() and not subject.locked():  # pragma: no branch
                phone.resume()

    return loop


_GUARDED = {"guard": "subject.allowed() and not subject.locked()"}


def with_sismic() -> Loop:
    """Sismic: a statechart with a guard in Python, its events queued and executed one by one."""
    from sismic.interpreter import Interpreter
    from sismic.io import import_from_yaml

    def transitions(state: str) -> list[dict[str, str]]:
        plain = [{"event": trigger, "target": to} for trigger, here, to in _PLAIN if here == state]
        if state == "active":
            plain.append({"event": "hold", "target": "held", "action": "tell('hold')", **_GUARDED})
        if state == "held":
            plain.append({"event": "resume", "target": "active", "action": "tell('resume')", **_GUARDED})
        return plain

    states: list[dict[str, Any]] = [{"name": name, "transitions": transitions(name)} for name in _LIVE]
    root = {"name": "root", "initial": "idle", "states": [*states, {"name": "ended"}]}
    chart = import_from_yaml(json.dumps({"statechart": {"name": "phone", "root state": root}}))  # JSON is YAML
    phone = Interpreter(chart, initial_context={"subject": Subject(""), "tell": _EFFECTS.__getitem__})
    phone.queue("initiate", "accept", "up").execute()

    def loop(count: int) -> None:
        for _ in repeat(None, count):
            phone.queue("hold").execute_once()
            phone.queue("resume").execute_once()

    return loop


def _back_and_forth(model: Any) -> Loop:
    def loop(count: int) -> None:
        for _ in repeat(None, count):
            model.hold()
            model.resume()

    return loop


PEERS: dict[str, Callable[[], Loop]] = {
    "transitions": with_transitions,
    "python-statemachine": with_python_statemachine,
    "Automat": with_automat,
    "Sismic": with_sismic,
    "bare dict": bare_dict,
}
"""Makes the loop of each peer."""
