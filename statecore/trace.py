"""What a device did and why, as JSON lines with nothing secret in them: recorded, read again, and replayed.

A trace is what the endpoint was given, in order, with what came of each: the states that calls went through, what was
sent, told to listeners and asked of media; and what listeners were told besides, of which the endpoint knows nothing: a
fault, a button, a link that was closed or given up. The endpoint is a pure function, so the inputs are the whole truth:
`replay` runs them through the core again and says where the outcome differs, which is nowhere unless the core changed.

The first line says who recorded, with which flows and timers; every other line is one step. Call tokens, session
descriptions, candidates, data messages and metadata are left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs
import msgspec
from msgspec.structs import replace

from .endpoint import (
    Await,
    CloseMedia,
    Do,
    Drive,
    Effect,
    Emit,
    Endpoint,
    EndpointMachine,
    Input,
    LinkDown,
    LinkUp,
    Media,
    OpenMedia,
    Received,
    Reply,
    Say,
    Send,
    Settle,
    Signal,
    Tick,
)
from .errors import InvalidTrace, MalformedMessage
from .flow import FLOWS, Flow, Timers

VERSION = 1
"""The version of the format."""

_INPUTS: dict[str, type[Input]] = {
    kind.__name__: kind for kind in (Await, Do, LinkDown, LinkUp, Media, Received, Say, Signal, Tick)
}
_T = TypeVar("_T")
_CONFIRMED, _TOLD, _CLOSED = "confirmed", "told", "connection_closed"
"""What an entry is given that no input of the endpoint is: when the service was last heard of, before the first entry
and where the shell has set it; and what listeners were told by the shell alone, at last that the link is closed."""
_HIDDEN = "redacted"
_SECRET = frozenset({"token", "text", "metadata"})


# --- values -----------------------------------------------------------------------------------------------------------


@attrs.frozen
class Outcome:
    """Something that a step did."""

    do: str
    """send, tell, media, settle or reply."""
    what: str
    """The message, event, instruction or outcome."""
    session: str = ""
    """The session it belongs to; empty for what concerns the device."""


@attrs.frozen
class Entry:
    """One step of a device's endpoint."""

    at: int
    """When, in milliseconds of the device's monotonic clock."""
    given: str
    """The kind of the input: Do, Received, Media ... Of what the shell did by itself, "told" if listeners were told
    something, "confirmed" if the service counts as heard of."""
    input: Mapping[str, Any]
    """The input's fields, less what is secret."""
    moves: Mapping[str, Sequence[str]]
    """For each session whose state changed, the states it went through, from the old one to the new one."""
    did: Sequence[Outcome]
    """What was done, in order."""
    ended: Mapping[str, str] = {}
    """For each session that ended here, why."""

    @property
    def session(self) -> str:
        """The session the input is about; empty for what concerns the device."""
        inner = self.input.get("message")
        return str(self.input.get("session") or (inner or {}).get("session") or "")


@attrs.frozen
class Trace:
    """What one device recorded."""

    user: str
    device: str
    epoch: str
    flows: Mapping[str, str]
    """The flows the device held: name to hash."""
    timers: Mapping[str, float]
    """The device's timers, in seconds."""
    began: int
    """When recording began, in Unix milliseconds by the device's wall clock."""
    began_at: int
    """The same moment in milliseconds of its monotonic clock."""
    entries: Sequence[Entry]
    """Every step, in order."""

    @property
    def inputs(self) -> list[Entry]:
        """The entries that are inputs of the endpoint: those that `replay` gives to the core again."""
        return [entry for entry in self.entries if entry.given not in (_CONFIRMED, _TOLD)]

    @property
    def sessions(self) -> list[str]:
        """Every session that is mentioned, in order."""
        found = (name for entry in self.entries for name in (entry.session, *entry.moves))
        return [name for name in dict.fromkeys(found) if name]

    def path(self, session: str) -> list[str]:
        """The states that this device's part in a session went through."""
        states: list[str] = []
        for entry in self.entries:
            for state in entry.moves.get(session, ()):
                if not states or states[-1] != state:
                    states.append(state)
        return states


@attrs.frozen
class Difference:
    """Where a replay came to something else."""

    line: int
    """The line of the trace, from 1."""
    recorded: Entry
    replayed: Entry

    def __str__(self) -> str:
        return f"line {self.line}: recorded {_outcome(self.recorded)}, replayed {_outcome(self.replayed)}"


def _outcome(entry: Entry) -> str:
    moves = [f"{session}: {' -> '.join(path)}" for session, path in entry.moves.items()]
    moves += [f"{session} ended as {reason}" for session, reason in entry.ended.items()]
    return "; ".join([*moves, *(f"{did.do} {did.what}" for did in entry.did)]) or "nothing"


# --- recording --------------------------------------------------------------------------------------------------------


class Recorder:
    """Writes one device's trace, a line at a time, each without its line feed. Not the shells' to decide anything."""

    def __init__(self, write: Callable[[str], object], core: EndpointMachine, timers: Timers, wall: int) -> None:
        self._write = write
        self._core, self._timers, self._wall = core, timers, wall
        self._begun = False
        self._last: Endpoint | None = None

    def took(self, before: Endpoint, given: Input, now: int, after: Endpoint, effects: Sequence[Effect]) -> None:
        """The endpoint has taken an input."""
        self._begin(before, now)
        if self._last is None or self._last.confirmed != before.confirmed:
            self._write(_line({"at": now, "in": _CONFIRMED, "given": {"at": before.confirmed}}))
        self._last = after
        self._write(_line(_written(entry(before, given, now, after, effects))))

    def told(self, endpoint: Endpoint, now: int, event: str, session: str) -> None:
        """Listeners are told what the endpoint knows nothing of: a fault, a button, the end of the link."""
        self._begin(endpoint, now)
        self._write(_line(_written(Entry(now, _TOLD, {}, {}, [Outcome("tell", event, session)]))))

    def _begin(self, endpoint: Endpoint, now: int) -> None:
        if not self._begun:
            self._begun = True
            self._write(_line(_head(endpoint, self._core, self._timers, self._wall, now)))


def _head(endpoint: Endpoint, core: EndpointMachine, timers: Timers, wall: int, now: int) -> dict[str, Any]:
    who = {"user": endpoint.user, "device": endpoint.device, "epoch": endpoint.epoch}
    return {"trace": VERSION, **who, "flows": core.hashes, "timers": attrs.asdict(timers), "began": wall, "at": now}


def _line(data: Mapping[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"), sort_keys=False, ensure_ascii=False)


def _written(step: Entry) -> dict[str, Any]:
    """An entry as it is written."""
    line: dict[str, Any] = {"at": step.at, "in": step.given, "given": step.input}
    if step.moves:
        line["moves"] = step.moves
    if step.ended:
        line["ended"] = step.ended
    if step.did:
        line["did"] = [[did.do, did.what, did.session] for did in step.did]
    return line


def told_when_closed(effects: Sequence[Effect]) -> list[Effect]:
    """What is left of what a step does after listeners were told that the link is closed: they hear no more of it."""
    return [effect for effect in effects if not isinstance(effect, Emit) or effect.leg is not None]


def entry(before: Endpoint, given: Input, now: int, after: Endpoint, effects: Sequence[Effect]) -> Entry:
    """A step, as a trace tells it."""
    data = _without_secrets(msgspec.to_builtins(given, order="sorted"))
    moves, done = _moves(before, after, effects), [_did(effect) for effect in effects]
    return Entry(now, type(given).__name__, data, moves, done, _ended(before, after, effects))


def _moves(before: Endpoint, after: Endpoint, effects: Sequence[Effect]) -> dict[str, list[str]]:
    told: dict[str, list[str]] = {}
    for effect in effects:
        if isinstance(effect, Emit) and effect.leg is not None:
            told.setdefault(effect.leg.session, []).append(effect.leg.state)
    moves = {}
    for session in dict.fromkeys([*before.legs, *after.legs, *told]):
        ends = [[legs[session].state] if session in legs else [] for legs in (before.legs, after.legs)]
        states: list[str] = []
        for state in (*ends[0], *told.get(session, ()), *ends[1]):
            if not states or states[-1] != state:
                states.append(state)
        if len(states) > 1 or not ends[0]:
            moves[session] = states
    return moves


def _ended(before: Endpoint, after: Endpoint, effects: Sequence[Effect]) -> dict[str, str]:
    told = [effect.leg for effect in effects if isinstance(effect, Emit) and effect.leg is not None]
    over = {leg.session: str(leg.reason) for leg in (*after.legs.values(), *told) if leg.reason is not None}
    known = {leg.session for leg in before.legs.values() if leg.reason is not None}
    return {session: reason for session, reason in over.items() if session not in known}


def _did(effect: Effect) -> Outcome:
    if isinstance(effect, Send):
        message = effect.message
        what = getattr(message, "trigger", None) or getattr(message, "kind", None) or type(message).__name__.lower()
        return Outcome("send", str(what), getattr(message, "session", ""))
    if isinstance(effect, Emit):
        about = f" {effect.peer.user}" if effect.peer is not None else ""
        return Outcome("tell", effect.event + about, effect.leg.session if effect.leg is not None else "")
    if isinstance(effect, OpenMedia):
        return Outcome("media", " ".join(["open", *sorted(effect.capture)]), effect.session)
    if isinstance(effect, CloseMedia):
        return Outcome("media", "close", effect.session)
    if isinstance(effect, Drive):
        return Outcome("media", effect.what, effect.session)
    if isinstance(effect, Settle):
        return Outcome("settle", _result(effect), effect.leg.session if effect.leg is not None else "")
    return Outcome("reply", _result(effect), "")


def _result(effect: Settle | Reply) -> str:
    return effect.error.code if effect.error is not None else "done"


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get("kind") in ("offer", "answer", "candidate", "data") and "body" in value:
            value = {**value, "body": _body(value["kind"], value["body"])}
        return {key: _hidden(key, each) for key, each in value.items()}
    return [_without_secrets(each) for each in value] if isinstance(value, list | tuple) else value


def _hidden(key: str, value: Any) -> Any:
    if key in _SECRET and isinstance(value, str):
        return _HIDDEN if value else ""
    if key == "data" and isinstance(value, dict):
        return dict.fromkeys(value, _HIDDEN)
    return _without_secrets(value)


def _body(kind: str, body: str) -> str:
    """A data message keeps its numbers, which the core acts on; a session description says nothing to the core."""
    if kind != "data":
        return _HIDDEN
    try:
        parcel = json.loads(body)
    except (ValueError, RecursionError):
        return _HIDDEN
    if not isinstance(parcel, dict):
        return _HIDDEN
    hidden = json.dumps(_HIDDEN)  # what a participant sends is JSON itself
    kept = {key: value if isinstance(value, int) else hidden for key, value in parcel.items()}
    return json.dumps(kept, separators=(",", ":"))


# --- reading ----------------------------------------------------------------------------------------------------------


def read(source: Path | str | Iterable[str]) -> Trace:
    """A trace from a file's path, or from its lines. Raises InvalidTrace, which names the line, and OSError.

    A last line that was cut off in the middle, as a crash leaves it, is not an error.
    """
    if isinstance(source, Path | str):
        try:
            lines = Path(source).read_text(encoding="utf-8").splitlines(keepends=True)
        except UnicodeDecodeError:
            raise InvalidTrace(line=1, why="not text") from None
    else:
        lines = list(source)
    found = [(number, _parsed(number, line, last=number == len(lines))) for number, line in enumerate(lines, 1)]
    records = [(number, data) for number, data in found if data is not None]
    if not records:
        raise InvalidTrace(line=1, why="no trace: it is empty")
    number, head = records[0]
    if head.get("trace") != VERSION:
        raise InvalidTrace(line=number, why=f"no trace of version {VERSION} begins here")
    entries = [_read_entry(number, data) for number, data in records[1:]]
    return _checked(1, lambda: Trace(
        _text(head["user"]), _text(head["device"]), _text(head["epoch"]),
        {_text(name): _text(digest) for name, digest in head["flows"].items()},
        {_text(name): float(value) for name, value in head["timers"].items()},
        _whole(head["began"]), _whole(head["at"]), entries,
    ))  # fmt: skip


def _parsed(number: int, line: str, *, last: bool) -> dict[str, Any] | None:
    if not line.strip():
        return None
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        if last and number > 1 and not line.endswith("\n"):
            return None
        raise InvalidTrace(line=number, why="no JSON") from None
    if not isinstance(data, dict):
        raise InvalidTrace(line=number, why="no JSON object")
    return data


def _read_entry(number: int, data: dict[str, Any]) -> Entry:
    return _checked(number, lambda: Entry(
        _whole(data["at"]), _text(data["in"]), dict(data["given"]),
        {_text(session): [_text(state) for state in path] for session, path in data.get("moves", {}).items()},
        [Outcome(*map(_text, did)) for did in data.get("did", ())],
        {_text(session): _text(reason) for session, reason in data.get("ended", {}).items()},
    ))  # fmt: skip


def _checked(number: int, make: Callable[[], _T]) -> _T:
    try:
        return make()
    except KeyError as error:
        raise InvalidTrace(line=number, why=f"lacks {error}") from None
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise InvalidTrace(line=number, why=str(error)) from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is no whole number")
    return value


# --- replaying --------------------------------------------------------------------------------------------------------


def replay(trace: Trace, flows: Mapping[str, Flow] = FLOWS) -> list[Difference]:
    """Give the core the recorded inputs again; where it came to other transitions or effects. Raises InvalidTrace where
    the trace needs a flow that is not given, or holds an input that is none."""
    for name, digest in trace.flows.items():
        if name not in flows or flows[name].hash != digest:
            raise InvalidTrace(line=1, why=f"recorded with a flow {name!r} that is not the one given")
    core = EndpointMachine(
        flows={name: flows[name] for name in trace.flows}, timers=_checked(1, lambda: Timers(**trace.timers))
    )
    endpoint = Endpoint(trace.user, trace.device, trace.epoch)
    differences, closed = [], False
    for line, recorded in enumerate(trace.entries, 2):
        if recorded.given == _TOLD:
            closed |= any(did.what == _CLOSED for did in recorded.did)
            continue
        if recorded.given == _CONFIRMED:
            endpoint = replace(endpoint, confirmed=_checked(line, lambda r=recorded: _whole(r.input["at"])))  # type: ignore[misc]
            continue
        given = _input(line, recorded)
        before = endpoint
        endpoint, effects = core.step(before, given, recorded.at)
        effects = told_when_closed(effects) if closed else effects
        replayed = entry(before, given, recorded.at, endpoint, effects)
        if attrs.evolve(replayed, input=recorded.input) != recorded:
            differences.append(Difference(line, recorded, replayed))
    return differences


def _input(line: int, recorded: Entry) -> Input:
    kind = _INPUTS.get(recorded.given)
    if kind is None:
        raise InvalidTrace(line=line, why=f"{recorded.given!r} is no input")
    try:
        return msgspec.convert(recorded.input, kind)
    except (msgspec.ValidationError, MalformedMessage, RecursionError) as error:
        raise InvalidTrace(line=line, why=str(error)) from None


__all__ = ["VERSION", "Difference", "Entry", "Outcome", "Recorder", "Trace", "read", "replay"]
