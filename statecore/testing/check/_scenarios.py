"""The scenarios: who is there, what they may do in any order, and what may go wrong meanwhile."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from statecore.endpoint import Do
from statecore.flow import FLOWS, Flow, OpenMedia
from statecore.testing._world_parts import Plan
from statecore.testing.check._scenario import Scenario

TWO = {"a1": "alice", "b1": "bob"}
THREE = {**TWO, "c1": "carol"}
DEVICES = {**TWO, "b2": "bob"}
LIVE = ("idle", "ringing", "accepted", "active")


def calls(device: str = "a1", receiver: str = "bob", session: str = "S", **more: Any) -> Plan:
    """Somebody calls."""
    states = more.pop("when", ())
    return Plan(device, Do(session, "initiate", flow="ringing", receiver=receiver, **more), when=states)


def does(device: str, trigger: str, *when: str, session: str = "S", again: bool = False, **more: Any) -> Plan:
    """Somebody does something, while the leg is in one of these states."""
    return Plan(device, Do(session, trigger, **more), when=when, again=again)


def joins(device: str, session: str = "S", token: str = "given") -> Plan:  # noqa: S107 - the name of one
    """Somebody joins the session of a call that was accepted."""
    return Plan(device, Do(session, "join", token=token), when=("accepted",))


def enters(device: str, token: str = "fresh", *when: str) -> Plan:  # noqa: S107 - the name of one
    """Somebody joins a session by a token alone."""
    return Plan(device, Do("S", "join", flow="session", token=token), when=when or ("", "ended"))


def ends(device: str, session: str = "S") -> Plan:
    """Somebody hangs up, whenever, as often as there is something to end."""
    return does(device, "end", *LIVE, session=session, again=True)


_BASIC = (calls(), does("b1", "accept", "ringing"), joins("a1"), joins("b1"))
_BOTH_END = (ends("a1"), ends("b1"))
_WAYS_OUT = (does("a1", "cancel", "idle", "ringing"), does("b1", "reject", "ringing"))
_UP = (*_BASIC, *_BOTH_END)

STANDARD: tuple[Scenario, ...] = (
    Scenario(
        name="ringing", help="a call, and everything its two people may do", devices=TWO,
        plans=(*_BASIC, *_WAYS_OUT, *_BOTH_END), faults={"cuts": 1, "duplicates": 1},
    ),
    Scenario(
        name="cuts", help="a call whose links break three times", devices=TWO, plans=_UP, faults={"cuts": 3},
    ),
    Scenario(
        name="overtaking", help="a call whose messages overtake one another and come twice", devices=TWO,
        plans=(*_BASIC, *_WAYS_OUT, *_BOTH_END), faults={"duplicates": 2, "overtakings": 1},
    ),
    Scenario(
        name="crash", help="a call while a device's process dies and starts anew", devices=TWO,
        plans=(*_BASIC, *_BOTH_END), faults={"crashes": 1, "cuts": 1},
    ),
    Scenario(
        name="death", help="a call while the service dies right after a commit", devices=TWO,
        plans=(*_BASIC, *_WAYS_OUT, *_BOTH_END), faults={"deaths": 2},
    ),
    Scenario(
        name="media", help="a call whose media fails, or drops and comes back", devices=TWO,
        plans=(*_BASIC, *_BOTH_END), faults={"failures": 1, "drops": 1, "cuts": 1},
    ),
    Scenario(
        name="session", help="a session without ringing, of three people who come and go", devices=THREE,
        plans=(
            *(enters(device) for device in THREE), *(does(d, "leave", *LIVE, again=True) for d in THREE),
        ),
    ),
    Scenario(
        name="host", help="a session that one of two may end for all, with tokens good and bad", devices=TWO,
        plans=(
            enters("a1", "host"), enters("b1"), enters("b1", "foreign"), does("b1", "end_for_all", "active"),
            does("a1", "end_for_all", "active"), does("a1", "leave", *LIVE, again=True),
            does("b1", "end", *LIVE, again=True), enters("b1", "fresh", "accepted", "active"),
        ),
    ),
    Scenario(
        name="glare", help="both call each other", devices=TWO,
        plans=(
            calls(), calls("b1", "alice", "T"), joins("a1"), joins("b1"), joins("a1", "T"), joins("b1", "T"),
            ends("a1"), ends("b1", "T"),
        ),
    ),
    Scenario(
        name="devices", help="two devices of the callee", devices=DEVICES,
        plans=(
            calls(), *(does(d, "accept", "ringing") for d in ("b1", "b2")),
            *(does(d, "reject", "ringing") for d in ("b1", "b2")),
            *(joins(d) for d in DEVICES), ends("a1"), does("b1", "end", *LIVE),
        ),
        faults={"cuts": 1},
    ),
    Scenario(
        name="video", help="from audio to video, with consent", devices=TWO, begun=4,
        plans=(
            calls(type="audio"), does("b1", "accept", "ringing"), joins("a1"), joins("b1"),
            *(does(d, "switch_to_video", "active") for d in TWO),
            does("b1", "accept_video", "active"), does("b1", "decline_video", "active"),
            does("a1", "withdraw_video", "active"), does("a1", "end", "active"),
        ),
        faults={"cuts": 1},
    ),
    Scenario(
        name="reconnect", help="a call in which links break again and again", devices=TWO, begun=4,
        plans=(*_BASIC, *_BOTH_END), faults={"cuts": 3, "duplicates": 1},
    ),
    Scenario(
        name="recall", help="a caller's process dies, and calls again", devices=TWO, begun=1,
        plans=(
            calls(), calls(session="T"), does("b1", "accept", "ringing"), does("b1", "accept", "ringing", session="T"),
            joins("a1"), joins("b1"), joins("a1", "T"), joins("b1", "T"), does("b1", "end", *LIVE, session="T"),
        ),
        faults={"crashes": 1},
    ),
)  # fmt: skip

DEEP: tuple[Scenario, ...] = (
    Scenario(
        name="ringing-deep", help="a call, everything its two people may do, and two broken links", devices=TWO,
        plans=(*_BASIC, *_WAYS_OUT, *_BOTH_END), faults={"cuts": 2}, deep=True,
    ),
    Scenario(
        name="glare-deep", help="both call each other, and a link breaks", devices=TWO,
        plans=(
            calls(), calls("b1", "alice", "T"), joins("a1"), joins("b1"), joins("a1", "T"), joins("b1", "T"),
            ends("a1"), ends("b1", "T"),
        ),
        faults={"cuts": 1}, deep=True,
    ),
)  # fmt: skip


# --- flows of one's own -----------------------------------------------------------------------------------------------


def of_flow(flow: Flow) -> list[Scenario]:
    """What is explored of any flow: its start, then every trigger that users have, by each of two devices, once, in
    any order; then again with a broken link, and with the application's own conditions turned round."""
    rings = flow.ring is not None
    start = Do("S", flow.start, flow=flow.name, receiver="bob" if rings else "", token="" if rings else "fresh")
    plans = [Plan("a1", start)]
    if not rings:
        plans.append(Plan("b1", start))
    for trigger in flow.triggers:
        rows = [row for row in flow.rows if row.trigger == trigger.name and row.refuse is None]
        if trigger.by == "user" and trigger.name != flow.start and rows:
            token = "given" if any(OpenMedia() in row.effects for row in rows) else ""
            states = tuple(dict.fromkeys(row.state for row in rows))
            given = Do("S", trigger.name, token=token)
            plans += [Plan(device, given, when=states) for device in TWO]
    whole = Scenario(
        name=flow.name, help="everything that its users may do", devices=TWO, plans=tuple(plans),
        flows={**FLOWS, flow.name: flow},
    )  # fmt: skip
    return [whole, replace(whole, name=f"{flow.name}, cut", help="and a broken link", faults={"cuts": 1})]
