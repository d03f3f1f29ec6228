"""What happened between several parties, in time: a sequence diagram as SVG or as Mermaid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import pairwise
from typing import Literal, TypeAlias

import attrs

from statecore.errors import InvalidArgument

from ._svg import LINE, SMALL, arrow, box, document, stroke, wide, wrap, written

Kind: TypeAlias = Literal["command", "fact", "media", "note"]


@attrs.frozen
class Message:
    """Something that went from one participant to another, or was noted at one."""

    at: float
    """When, in seconds from the beginning."""
    source: str
    """Who sent it, or where a note begins."""
    target: str
    """Who got it, or where a note ends; equal to `source` for what one does to oneself."""
    label: str
    """What it says."""
    kind: Kind = "command"
    """A command, a fact, media, or a note (a plate on the lifelines, such as a state reached)."""


_MARGIN = 28.0
_TIME = 64.0  # room for the times
_HEAD = 36.0  # the height of a participant's box
_ROW = 26.0  # from one line to the next, beside the room of its label
_MOST = 34  # characters in a line of a label
_LINES = ("command", "fact", "media")

_CSS = """
.card{fill:$card}
.box{fill:$box;stroke:$edge;stroke-width:1.4}
.name{fill:$ink}
.t{fill:$ink}
.small{fill:$soft}
.life{stroke:$edge;stroke-width:1.4;stroke-dasharray:2 5;stroke-linecap:round}
.command .line{stroke:$lit;stroke-width:1.8}
.command .head{fill:$lit}
.fact .line{stroke:$live;stroke-width:1.8;stroke-dasharray:6 4}
.fact .head{fill:$live}
.media .line{stroke:$join;stroke-width:4}
.media .head{fill:$join}
.note .plate{fill:$plate;stroke:$edge;stroke-width:1}
"""


def sequence_svg(participants: Sequence[str], messages: Sequence[Message], *, notes: Sequence[str] = ()) -> str:
    """A sequence diagram as one self-contained SVG element, for light and dark pages.

    Participants stand from left to right as given. Messages are drawn in the order of their times, one below the other
    and not to scale, each with its time where that is new. `notes` are sentences under the drawing. Raises
    InvalidArgument for a participant that is named twice, a message of somebody who is none, or no participants at all.
    """
    ordered = _checked(participants, messages)
    return _Sequence(participants, ordered, _places(participants, ordered)).drawn(notes)


def sequence_mermaid(participants: Sequence[str], messages: Sequence[Message]) -> str:
    """The same as a Mermaid `sequenceDiagram`, ending with a newline; errors as for `sequence_svg`."""
    ordered = _checked(participants, messages)
    ids = {name: f"p{number}" for number, name in enumerate(participants)}
    lines = ["sequenceDiagram", *(f"    participant {ids[name]} as {_plain(name)}" for name in participants)]
    arrows = {"command": "->>", "fact": "-->>", "media": "-)"}
    for message in ordered:
        source, target, text = ids[message.source], ids[message.target], _plain(message.label)
        if message.kind == "note":
            over = source if source == target else f"{source},{target}"
            lines.append(f"    Note over {over}: {text}")
        else:
            lines.append(f"    {source}{arrows[message.kind]}{target}: {text}")
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Mermaid takes a semicolon for the end of a line, and a number sign for the beginning of an entity."""
    return text.translate({ord("#"): "#35;", ord(";"): "#59;"})


def _checked(participants: Sequence[str], messages: Iterable[Message]) -> list[Message]:
    if not participants or len(set(participants)) != len(participants):
        raise InvalidArgument("participants: name each once, and at least one", name="participants")
    ordered = sorted(messages, key=lambda message: message.at)
    for name in (end for message in ordered for end in (message.source, message.target)):
        if name not in participants:
            raise InvalidArgument(f"messages: {name!r} is not a participant", name="messages")
    return ordered


# --- where the lifelines stand ----------------------------------------------------------------------------------------


def _rows(message: Message) -> list[str]:
    return wrap(message.label, _MOST) or [""]


def _extent(message: Message) -> float:
    return max(len(line) for line in _rows(message)) * SMALL


def _places(participants: Sequence[str], messages: Iterable[Message]) -> dict[str, float]:
    """The x of each lifeline: far enough apart for every label between two of them."""
    number = {name: place for place, name in enumerate(participants)}
    gaps = [max(130.0, (wide(a) + wide(b)) / 2 + 60.0) for a, b in pairwise(participants)]
    gaps.append(60.0)  # behind the last
    first = max(55.0, wide(participants[0]) / 2 + 18.0)
    for message in sorted(messages, key=lambda m: abs(number[m.source] - number[m.target])):
        left, right = sorted((number[message.source], number[message.target]))
        need = _extent(message)
        if message.kind == "note" and left == right:
            for side in {left, left - 1} & set(range(len(gaps))):
                gaps[side] = max(gaps[side], need / 2 + 30.0)
            first = max(first, need / 2 + 14.0) if left == 0 else first
        elif left == right:
            gaps[left] = max(gaps[left], need + 60.0)
        else:
            missing = need + 36.0 - sum(gaps[left:right])
            gaps[left:right] = [gap + max(0.0, missing) / (right - left) for gap in gaps[left:right]]
    gaps[-1] = max(gaps[-1], wide(participants[-1]) / 2 + 18.0)
    places = [first + sum(gaps[:place]) for place in range(len(participants) + 1)]
    return dict(zip([*participants, ""], places, strict=True))  # the nameless one is the right edge


# --- drawing ----------------------------------------------------------------------------------------------------------


@attrs.frozen
class _Sequence:
    participants: Sequence[str]
    messages: Sequence[Message]
    places: dict[str, float]

    def drawn(self, notes: Sequence[str]) -> str:
        body: list[str] = []
        y, shown = _HEAD + 14.0, ""
        for message in self.messages:
            rows = _rows(message)
            y += _ROW + (len(rows) - 1) * LINE if message.kind == "note" else _ROW / 2 + len(rows) * LINE
            if (time := _clock(message.at)) != shown:
                shown = time
                body.append(written(-18, y, [(time, "small")], "end"))
            body += [
                f'<g class="message {message.kind}" data-at="{message.at:.3f}">',
                *self._message(message, rows, y),
                "</g>",
            ]
            y += len(rows) * LINE / 2 if message.kind == "note" else 0.0
        foot = y + 26.0
        below = foot + 16 + (26 if self._kinds() else 0)
        under = [*self._legend(foot + 16), *_text(notes, 0, below, "start", "small")]
        height = below - 12 + len(notes) * LINE
        width = max(self.places[""], *(len(note) * SMALL for note in notes), 0.0)
        inner = [*self._lives(foot), *body, *under]
        shift = f"translate({_MARGIN + _TIME:g},{_MARGIN:g})"
        size = (width + 2 * _MARGIN + _TIME, height + 2 * _MARGIN)
        whole = [f'<g transform="{shift}">', *inner, "</g>"]
        return document("statecore-sequence", "Sequence of " + ", ".join(self.participants), size, _CSS, whole)

    def _lives(self, foot: float) -> Iterator[str]:
        for name in self.participants:
            x, width = self.places[name], wide(name) + 32.0
            yield stroke(f"M{x:.1f},{_HEAD:.1f}V{foot:.1f}", "life")
            yield box("box", x - width / 2, 0.0, (width, _HEAD), 9)
            yield f'<text class="name" x="{x:.1f}" y="{_HEAD / 2 + 5:.1f}" text-anchor="middle">{escape(name)}</text>'

    def _message(self, message: Message, rows: Sequence[str], y: float) -> Iterator[str]:
        start, stop = self.places[message.source], self.places[message.target]
        if message.kind == "note":
            yield from self._note(message, rows, y)
        elif start == stop:
            yield stroke(f"M{start:.1f},{y - 10:.1f}h22a5,5 0 0 1 5,5a5,5 0 0 1 -5,5h-16")
            yield arrow(start + 2, y, "left")
            yield from _text(rows, start + 36, y - 5 - (len(rows) - 1) * LINE / 2, "start")
        else:
            way = 1 if stop > start else -1
            half, top = _extent(message) / 2 + 5, y - 4 - len(rows) * LINE
            middle = (start + stop) / 2
            yield box("card", middle - half, top, (2 * half, len(rows) * LINE))
            yield from _text(rows, middle, top + LINE / 2, "middle")
            yield stroke(f"M{start:.1f},{y:.1f}H{stop - 9 * way:.1f}")
            yield arrow(stop - way, y, "right" if way > 0 else "left")

    def _note(self, message: Message, rows: Sequence[str], y: float) -> Iterator[str]:
        left, right = sorted((self.places[message.source], self.places[message.target]))
        half = max(_extent(message) / 2 + 12, (right - left) / 2 + 20 if right > left else 0)
        middle, height = (left + right) / 2, len(rows) * LINE + 6
        yield box("plate", middle - half, y - height / 2, (2 * half, height), min(11.0, height / 2))
        yield from _text(rows, middle, y - (len(rows) - 1) * LINE / 2, "middle")

    def _kinds(self) -> list[str]:
        found = {message.kind for message in self.messages}
        return [kind for kind in _LINES if kind in found]

    def _legend(self, y: float) -> Iterator[str]:
        x = 0.0
        for kind in self._kinds():
            yield f'<g class="{kind}">' + stroke(f"M{x:.1f},{y:.1f}h24") + arrow(x + 32, y, "right")
            yield written(x + 40, y, [(kind, "small")], "start") + "</g>"
            x += 40 + len(kind) * SMALL + 26


def _text(rows: Sequence[str], x: float, top: float, anchor: str, kind: str = "t") -> Iterator[str]:
    for number, row in enumerate(rows):
        yield written(x, top + number * LINE, [(row, kind)], anchor)


def _clock(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
