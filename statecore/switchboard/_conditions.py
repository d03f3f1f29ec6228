"""What the named conditions of the flows' tables mean: one function each, over the records at hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from ..errors import TokenError
from ..model import Leg
from ..tokens import check
from ._guests import check_bound

if TYPE_CHECKING:
    from ..machine import FlowMachine
    from ._commands import Act
    from ._work import Draft, Work

_NOBODY = "\0"
"""No user's id."""


def called(draft: Draft, act: Act | None) -> str:
    """Who is called: the receiver of a new call; in one that exists, whom the command names, if it names anybody."""
    data = act.command.data if act is not None and not draft.fresh else None
    if data is None or "user" not in data:
        return draft.receiver
    return data["user"] if isinstance(data["user"], str) else _NOBODY


Condition: TypeAlias = "Callable[[Work, Draft, Leg, Act | None], bool]"


def _caller(_work: Work, _draft: Draft, leg: Leg, _act: Act | None) -> bool:
    return leg.control.role == "caller"


def _ready(_work: Work, draft: Draft, leg: Leg, _act: Act | None) -> bool:
    participating = draft.machine.participating
    others = [other for other in draft.legs if other is not leg and other.control.state in participating]
    return bool(others) and all("connected" in other.control.flags for other in others)


def _authorized(work: Work, draft: Draft, leg: Leg, act: Act | None) -> bool:
    if act is None or act.claims is None:
        return False
    try:
        check(act.claims, session=draft.session_id, user=leg.user, device=leg.device, now=work.now, leeway=act.leeway)
        if act.guest is not None:
            check_bound(work, act.claims, leg.device)
    except TokenError as error:
        work.token_error = error
        return False
    return True


def _granted(_work: Work, draft: Draft, leg: Leg, act: Act | None) -> bool:
    return act is None or draft.machine.grants(act.command.trigger, leg.grants)


def _engaged(work: Work, draft: Draft, leg: Leg, _act: Act | None) -> bool:
    return _full_line(work, draft, leg.user, leg.user)


def _busy(work: Work, draft: Draft, leg: Leg, act: Act | None) -> bool:
    return _full_line(work, draft, called(draft, act), leg.user)


def _full_line(work: Work, draft: Draft, user: str, caller: str) -> bool:
    line = work.line(user)
    if line is None:
        return False
    capacity = line.capacity or work.board.settings.line_capacity
    if len(line.holds) < capacity:
        return False
    replaced = work.stale_calls(caller, draft.receiver)
    return sum(1 for session in line.holds if session not in replaced) >= capacity


def _known(work: Work, draft: Draft, _leg: Leg, act: Act | None) -> bool:
    line = work.line(called(draft, act))
    return line is not None and line.known


def _to_self(_work: Work, draft: Draft, leg: Leg, act: Act | None) -> bool:
    return called(draft, act) == leg.user


def _present(_work: Work, draft: Draft, _leg: Leg, act: Act | None) -> bool:
    return draft.concerns(called(draft, act))


def _glare(work: Work, draft: Draft, leg: Leg, _act: Act | None) -> bool:
    return work.glaring(leg.user, draft.receiver) is not None


def _stale(work: Work, draft: Draft, leg: Leg, _act: Act | None) -> bool:
    return bool(work.stale_calls(leg.user, draft.receiver))


def _full(work: Work, draft: Draft, leg: Leg, _act: Act | None) -> bool:
    inside = sum(1 for other in draft.live() if "joined" in other.control.flags and other is not leg)
    return inside >= work.board.settings.session_capacity


def _video(_work: Work, draft: Draft, _leg: Leg, _act: Act | None) -> bool:
    return draft.type == "video"


KNOWN: dict[str, Condition] = {
    "caller": _caller,
    "ready": _ready,
    "authorized": _authorized,
    "granted": _granted,
    "engaged": _engaged,
    "busy": _busy,
    "known": _known,
    "to_self": _to_self,
    "present": _present,
    "glare": _glare,
    "stale": _stale,
    "full": _full,
    "video": _video,
}
"""The conditions that are more than a flag. `joined`, `connected` and the flow's flags are read off the leg."""

_SHOWN = frozenset({"caller", "ready", "full", "video"})


def is_shown(machine: FlowMachine, name: str) -> bool:
    """Whether a condition rests on nothing but the control states of the call itself."""
    return name in _SHOWN or name.removeprefix("other_") in machine.flags


def holds(name: str, work: Work, draft: Draft, leg: Leg, act: Act | None) -> bool:
    """Whether a condition holds: one of ours, the leg's own flag, another participant's, or the application's."""
    known = KNOWN.get(name)
    if known is not None:
        return known(work, draft, leg, act)
    if name in leg.control.flags:
        return True
    if name.startswith("other_"):
        flag = name[6:]
        return any(flag in other.control.flags for other in draft.live() if other is not leg)
    return act is not None and name in act.given
