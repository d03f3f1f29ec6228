"""Several devices' traces as one timeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from ...trace import Entry, Trace


@attrs.frozen
class Line:
    """Something that happened at a device."""

    at: float
    """Seconds since the first trace began."""
    who: str
    """The user, with the device where a user has several."""
    session: str
    """The session it is about, empty for what concerns the device."""
    what: str
    """What the device was given, in words."""
    path: Sequence[str]
    """The states its part went through, if any changed."""
    did: Sequence[str]
    """What it did."""


def timeline(traces: Sequence[Trace], session: str | None = None) -> list[Line]:
    """All steps in the order of the devices' wall clocks, those apart in which nothing happened."""
    first = min(trace.began for trace in traces)
    named = names(traces)
    lines = [
        line
        for trace, who in zip(traces, named, strict=True)
        for entry in trace.entries
        for line in _lines(trace, entry, who, first)
        if session in (None, line.session)
    ]
    return sorted(lines, key=lambda line: line.at)


def names(traces: Sequence[Trace]) -> list[str]:
    """A name for each trace: the user, and where that is not enough the beginning of the device's id."""
    users = [trace.user for trace in traces]
    return [trace.user if users.count(trace.user) == 1 else f"{trace.user} {trace.device[:8]}" for trace in traces]


def _lines(trace: Trace, entry: Entry, who: str, first: int) -> list[Line]:
    at = (trace.began - first + entry.at - trace.began_at) / 1000
    told = [entry.session, *entry.moves, *(did.session for did in entry.did)]
    found = []
    for session in dict.fromkeys(told):
        mine = [f"{did.do} {did.what}" for did in entry.did if did.session == session and did.do != "settle"]
        path = list(entry.moves.get(session, ()))
        about = words(entry) if session == entry.session else ""
        if path or mine or about:
            found.append(Line(at, who, session, about, path, mine))
    return found


def words(entry: Entry) -> str:
    """An input, for people; empty for one that says nothing."""
    told = _WORDS.get(entry.given)
    return told(entry.input) if told is not None else ""


def _received(given: Any) -> str:
    message = given["message"]
    kind = message.get("m", "")
    if kind == "view":
        reason = f" ({message['reason']})" if message.get("reason") else ""
        return f"is told: {message.get('state', '')}{reason}"
    if kind == "refused":
        return f"is refused: {message.get('code', '')}"
    return f"gets {message.get('kind') or kind}" if kind != "beat" else ""


_WORDS: dict[str, Any] = {
    "Do": lambda given: f"wants: {given['trigger']}",
    "Say": lambda _: "says something",
    "LinkUp": lambda _: "link up",
    "LinkDown": lambda _: "link down",
    "Received": _received,
    "Media": lambda given: f"media: {given['what']}",
    "Signal": lambda given: f"media sends {given['message'].get('kind') or given['message'].get('m', '')}",
}
