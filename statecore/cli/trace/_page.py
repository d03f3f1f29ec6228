"""A trace as a page: who said what, the way through the flow, how long each state lasted. It needs no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import zip_longest

from ... import __version__
from ...diagram import Message, sequence_svg, svg
from ...flow import Flow
from ...trace import Trace
from .._style import CSS
from ._timeline import Line, names

_SERVICE = "service"
_MORE = "td:first-child { white-space: nowrap }"
_MOST = 400
"""How many arrows a drawing holds before it says nothing any more."""


def page(traces: Sequence[Trace], lines: Sequence[Line], flows: Mapping[str, Flow], session: str | None) -> str:
    """The page as HTML."""
    sessions = [name for name in dict.fromkeys(line.session for line in lines) if name]
    who = ", ".join(names(traces))
    body = [
        f'<div class="top"><h1>statecore <span>trace</span></h1></div><p class="lead">Recorded by {escape(who)}.</p>',
        *(_session(traces, lines, flows, name, number) for number, name in enumerate(sessions)),
    ]
    if session is None:
        body.append(f"<section><h2>Everything</h2>{_table(lines, sessions=True)}</section>")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width, initial-scale=1"><title>statecore trace</title>'
        f"<style>{CSS}{_MORE}</style></head>"
        f"<body><main>{''.join(body)}<footer>statecore {__version__}</footer></main></body></html>"
    )


def _session(
    traces: Sequence[Trace], lines: Sequence[Line], flows: Mapping[str, Flow], session: str, number: int
) -> str:
    mine = [line for line in lines if line.session == session]
    drawings = "".join(
        f"<details open><summary>{escape(who)}: the way through the flow</summary>"
        f'<div class="drawn">{_way(trace, flows, session, f"s{number}-{place}-")}</div></details>'
        for place, (trace, who) in enumerate(zip(traces, names(traces), strict=True))
        if trace.path(session)
    )
    return (
        f"<section><h2>Session {escape(session)}</h2>{_durations(traces, mine)}"
        f"<details open><summary>Messages</summary>"
        f'<div class="drawn">{_sequence(traces, mine)}</div></details>'
        f'<div class="drawings">{drawings}</div>'
        f"<details><summary>Every step</summary>{_table(mine, sessions=False)}</details></section>"
    )


def _way(trace: Trace, flows: Mapping[str, Flow], session: str, prefix: str) -> str:
    name = next((flow for flow in (_flow_of(entry.input) for entry in trace.entries
                                   if entry.session == session) if flow), "ringing")  # fmt: skip
    return svg(flows[name], guards=False, highlight=trace.path(session), prefix=prefix)


def _flow_of(given: Mapping[str, object]) -> str:
    message = given.get("message")
    return str((message.get("flow") if isinstance(message, dict) else given.get("flow")) or "")


def _sequence(traces: Sequence[Trace], lines: Sequence[Line]) -> str:
    start = lines[0].at if lines else 0.0
    messages: list[Message] = []
    for line in lines:
        at = line.at - start
        if line.what.startswith("is told: "):
            messages.append(Message(at, _SERVICE, line.who, line.what[len("is told: ") :], "fact"))
        elif line.what.startswith("is refused: "):
            messages.append(Message(at, _SERVICE, line.who, line.what[len("is ") :], "fact"))
        elif line.what.startswith("gets "):
            messages.append(Message(at, _SERVICE, line.who, line.what[len("gets ") :], "media"))
        for did in line.did:
            if did.startswith("send "):
                what = did[len("send ") :]
                kind = "media" if what in ("offer", "answer", "candidate", "data", "ask", "free") else "command"
                messages.append(Message(at, line.who, _SERVICE, what, kind))  # type: ignore[arg-type]  # one of two
            elif did.startswith("media open") or did == "media close":
                messages.append(Message(at, line.who, line.who, did, "note"))
    left = len(messages) - _MOST
    notes = [f"... and {left} more"] if left > 0 else []
    between = names(traces)
    return sequence_svg([*between[:1], _SERVICE, *between[1:]], messages[:_MOST], notes=notes)


def _durations(traces: Sequence[Trace], lines: Sequence[Line]) -> str:
    """How long each state lasted at each device."""
    rows = []
    for who in names(traces):
        moves = [(line.at, state) for line in lines if line.who == who for state in line.path[-1:]]
        for (at, state), after in zip_longest(moves, moves[1:]):
            lasted = f"{(after[0] - at) * 1000:.0f} ms" if after is not None else ""
            kept = f'<span class="{escape(state)}">{escape(state)}</span>'
            rows.append(f"<tr><td>{escape(who)}</td><td>{kept}</td><td>{at:.3f} s</td><td>{lasted}</td></tr>")
    if not rows:
        return ""
    head = "<tr><th>device</th><th>state</th><th>since</th><th>lasted</th></tr>"
    return f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"


def _table(lines: Sequence[Line], *, sessions: bool) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("at", "device", "what", *(["session"] if sessions else []), "states",
                                                   "did"))  # fmt: skip
    rows = []
    for line in lines:
        cells = [f"{line.at:.3f} s", line.who, line.what, *([line.session[:8]] if sessions else [])]
        cells += [" → ".join(line.path), ", ".join(line.did)]
        rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
