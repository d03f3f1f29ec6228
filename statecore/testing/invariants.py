"""What must hold in what was recorded: in a trace of one device, and in those of all devices of a call together."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

import attrs

from statecore.flow import FLOWS, Flow, OpenMedia
from statecore.model import COMPATIBLE, Reason
from statecore.trace import Entry, Trace, replay

OVER = frozenset({"outgoing_call_rejected", "incoming_call_cancelled", "call_ended_message_received"})
"""The events of which each ended leg brings exactly one."""
_LAST = OVER | {"session_left", "call_ended", "close"}
"""What may be the last thing that is done for a leg."""
_ASKS = frozenset({"Await", "Do", "Say"})


def assert_invariants(
    *traces: Trace, flows: Mapping[str, Flow] = FLOWS, finished: bool = True, forgotten: Container[str] = ()
) -> int:
    """Hold traces to what must hold, always; answers with how many legs they told of.

    Of each device: its calls go a way that the flow's table allows, and what has ended rises again only as another leg;
    listeners hear of each end exactly once, and of nothing after it; media is opened only for what its user has agreed
    to and not taken back, and closed exactly once iff it was opened; no command is settled twice; what was told of an
    end is compatible with the record; and the core, given the same inputs, does the same again. Of several devices:
    they mean the same calls by the same names. With `finished`, as after the clients were closed, no call lives on.
    Calls that are `forgotten` were in a store that was lost: if one was begun anew, what was told of its two lives is
    not compared. Raises AssertionError, which names user, device, line and call, and InvalidTrace where the traces need
    other flows than these. Changes nothing."""
    legs = 0
    for trace in traces:
        for difference in replay(trace, flows):
            raise AssertionError(f"{_who(trace)}: replayed, it is not the same: {difference}")
        side = _Side(trace, flows, forgotten)
        side.walk(finished=finished)
        legs += side.count
    _assert_one_story(traces, forgotten)
    return legs


def _who(trace: Trace) -> str:
    return f"{trace.user} on {trace.device} ({trace.epoch})"


@functools.cache
def _reach(flow: Flow, state: str) -> frozenset[str]:
    return flow.reach(state)  # asked at every step, and always the same


@attrs.define
class _Leg:
    """A device's part in a call, as its trace tells it."""

    flow: Flow
    state: str
    role: str
    pid: str = ""
    told: Counter[str] = attrs.field(factory=Counter)
    media: Counter[str] = attrs.field(factory=Counter)
    reason: str = ""
    sealed: bool = False


class _Side:
    """Walks one trace."""

    def __init__(self, trace: Trace, flows: Mapping[str, Flow], forgotten: Container[str]) -> None:
        self.trace = trace
        self.flows = flows
        self.forgotten = forgotten
        self.legs: dict[str, _Leg] = {}
        self.flow_of: dict[str, str] = {}
        self.role_of: dict[str, str] = {}
        self.pid_of: dict[str, str] = {}
        self.agreed: dict[str, frozenset[str]] = {}
        self.asked = self.settled = self.count = 0

    def walk(self, *, finished: bool) -> None:
        """Every line, and then the whole."""
        for line, entry in enumerate(self.trace.entries, 2):
            try:
                self._take(entry)
            except AssertionError as error:
                raise AssertionError(f"{_who(self.trace)}, line {line}, {entry.given}: {error}") from None
        for session, leg in self.legs.items() if finished else ():
            over = leg.state in (leg.flow.final, leg.flow.initial)  # one in its initial state was refused
            assert over, f"{_who(self.trace)}: {session} is {leg.state} for ever"

    def _take(self, entry: Entry) -> None:
        view = _view(entry)
        if entry.given == "Do":
            self._wants(entry.input)
        if view is not None:
            self._sees(view)
        for part in self._parts(entry):
            self._follow(part)
        if view is not None and (leg := self.legs.get(view["session"])) is not None:
            leg.pid = leg.pid or view["pid"]
        self.asked += entry.given in _ASKS and bool(entry.input.get("ticket"))
        assert self.settled <= self.asked, "more was settled than was asked for"
        if view is not None and view.get("reason"):
            self._compare(view)

    def _parts(self, entry: Entry) -> Iterator[Entry]:
        """What is to be followed, one after the other: a leg may end and be succeeded in one step, by another that has
        another id."""
        for session, path in entry.moves.items():
            final, leg = self._flow(session).final, self.legs.get(session)
            if final in path[1:-1] and leg is not None and leg.pid != self.pid_of.get(session):
                end = path.index(final, 1) + 1
                its = [n for n, did in enumerate(entry.did, 1) if did.session == session and did.what in _LAST]
                done = max(its, default=0)
                moves, ended = dict(entry.moves), dict(entry.ended)
                why = ended.pop(session, "")
                moves[session] = path[end:]
                yield attrs.evolve(entry, moves={session: path[:end]}, did=entry.did[:done], ended={session: why})
                yield attrs.evolve(entry, moves=moves, did=entry.did[done:], ended=ended)
                return
        yield entry

    def _follow(self, part: Entry) -> None:
        for session, path in part.moves.items():
            self._moves(session, path)
        for session, reason in part.ended.items():
            self.legs[session].reason = reason
        for did in part.did:
            self._did(did.do, did.what, did.session)
        for session in part.moves:
            self._seal(session)

    # --- what its user agrees to

    def _wants(self, given: Mapping[str, Any]) -> None:
        session = given["session"]
        if given.get("flow"):
            self.flow_of[session] = given["flow"]
            self.role_of[session] = "caller" if self._flow(session).ring else "member"
        flow = self._flow(session)
        trigger = flow.trigger(given["trigger"])
        if trigger is None:
            return
        ends = any(r.trigger == trigger.name and r.to == flow.final and r.decider == "endpoint" for r in flow.rows)
        if ends:
            self.agreed[session] = frozenset()
            return
        kinds = frozenset(trigger.consent)
        if given.get("consent") is not None:
            kinds &= frozenset(given["consent"])
        if any(row.trigger == trigger.name and OpenMedia() in row.effects for row in flow.rows):
            kinds |= {"join"}
        self.agreed[session] = (self.agreed.get(session, frozenset()) | kinds) - frozenset(trigger.revokes)

    def _flow(self, session: str) -> Flow:
        return self.flows.get(self.flow_of.get(session, ""), next(iter(self.flows.values())))

    # --- what it is told

    def _sees(self, view: Mapping[str, Any]) -> None:
        session, via = view["session"], view.get("via", "")
        self.pid_of[session] = view["pid"]
        self.flow_of[session] = view.get("flow", "ringing")
        self.role_of[session] = view.get("role", "callee")
        if via and via != session:  # the user's own call is this one now, and his word for it holds for this one
            self.agreed[session] = self.agreed.get(session, frozenset()) | self.agreed.pop(via, frozenset())
            own, there = self.legs.pop(via, None), self.legs.get(session)
            if own is not None and (there is None or there.sealed):
                self.legs[session] = own
        leg = self.legs.get(session)
        if leg is not None and not leg.sealed:
            leg.role = self.role_of[session]

    def _moves(self, session: str, path: Sequence[str]) -> None:
        flow = self._flow(session)
        leg = self.legs.get(session)
        if leg is None or (leg.sealed and list(path) != [flow.final]):
            leg = self.legs[session] = _Leg(flow, flow.initial, self.role_of.get(session, "callee"))
            self.count += 1
            path = path[1:] if path[0] == flow.final else path  # that is where the leg before it was
        for state in path:
            assert state in _reach(flow, leg.state), f"{session}: {leg.state} -> {state}"
            leg.state = state

    def _did(self, do: str, what: str, session: str) -> None:
        if do == "settle":
            self.settled += 1
        elif do == "media":
            self._media(session, what)
        elif do == "tell" and session:
            leg = self.legs[session]
            assert not leg.sealed, f"{session}: {what} after the end"
            leg.told[what.split(" ", maxsplit=1)[0]] += 1

    def _media(self, session: str, what: str) -> None:
        leg, (do, *kinds) = self.legs[session], what.split(" ")
        assert not leg.sealed, f"{session}: media {do} after the end"
        if do == "open":
            agreed = self.agreed.get(session, frozenset())
            assert {"join", *kinds} <= agreed, f"{session}: media {what} under a yes to {sorted(agreed)}"
        leg.media[do] += 1
        assert leg.media["close"] <= leg.media["open"] <= 1, f"{session}: media {dict(leg.media)}"

    # --- its end

    def _seal(self, session: str) -> None:
        """A leg that has ended in this line: the listeners know, media is closed, and nothing may follow."""
        leg = self.legs[session]
        if leg.state != leg.flow.final or leg.sealed:
            return
        leg.sealed = True
        over = sum(leg.told[event] for event in OVER)
        assert over == 1, f"{session}: its end was told {over} times"
        assert leg.media["open"] == leg.media["close"], f"{session}: media is left open"
        assert leg.told["session_joined"] <= leg.media["open"], f"{session}: joined, but media was never opened"
        # Also told of a leg that was accepted and never joined, whose session nobody listens to.
        for event in ("session_left", "call_ended"):
            least = int(leg.media["open"] or leg.told["session_joined"] > 0)
            assert least <= leg.told[event] <= 1, f"{session}: {event} {leg.told[event]} times"

    def _compare(self, view: Mapping[str, Any]) -> None:
        """What was told of the end here, and what the record says of it."""
        leg = self.legs.get(view["session"])
        if leg is None or not leg.reason or view["session"] in self.forgotten:
            return
        triple = (leg.role, Reason(leg.reason), Reason(view["reason"]))
        assert triple in COMPATIBLE, f"{view['session']}: told {triple[1]}, but the record says {triple[2]}"


def _view(entry: Entry) -> Mapping[str, Any] | None:
    message = entry.input.get("message") if entry.given == "Received" else None
    return message if message is not None and message.get("m") == "view" else None


def _assert_one_story(traces: tuple[Trace, ...], forgotten: Container[str]) -> None:
    """By one name all mean one call, and by one participant's id one participant."""
    calls: dict[str, tuple[Any, ...]] = {}
    people: dict[tuple[str, str], str] = {}
    for trace in traces:
        for view in filter(None, map(_view, trace.entries)):
            session = view["session"]
            if session in forgotten:
                continue  # a service that knows nothing of them lets anybody begin them, and gives the same ids anew
            call = (view["initiator"], view.get("receiver", ""), view.get("flow", "ringing"))
            assert calls.setdefault(session, call) == call, f"{session} is {call} and {calls[session]}"
            pid = (session, view["pid"])
            assert people.setdefault(pid, _who(trace)) == _who(trace), f"{pid} is {_who(trace)} and {people[pid]}"


__all__ = ["OVER", "assert_invariants"]
