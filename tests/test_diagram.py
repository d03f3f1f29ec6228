"""Drawings: they say what the table says, nothing overlaps, and the committed ones are up to date."""

from __future__ import annotations

import importlib.util
import itertools
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statecore.diagram import (
    Message,
    dot,
    effect_text,
    guard_text,
    mermaid,
    sequence_mermaid,
    sequence_svg,
    svg,
)
from statecore.errors import InvalidArgument
from statecore.flow import (
    FLOWS,
    RINGING,
    SESSION,
    Answer,
    Claim,
    CloseMedia,
    Custom,
    Deadline,
    Fire,
    Flow,
    Mark,
    OpenMedia,
    Release,
    Retype,
    Roles,
    Row,
    Tell,
    Trigger,
)
from statecore.model import Reason

ROOT = Path(__file__).resolve().parent.parent
each_flow = pytest.mark.parametrize("flow", FLOWS.values(), ids=lambda flow: flow.name)

# --- flows to draw ----------------------------------------------------------------------------------------------------

_MOVES = """
    idle: dial menu; menu: choose queue, nobody mailbox; queue: agent_free offered, give_up mailbox;
    offered: agent_silent queue, agent_takes accepted; accepted: works active; active: hold held, after_work wrap_up;
    held: resume active, consult consulting; consulting: consult_over held, transfer transferring;
    transferring: transfer_back active; wrap_up: call_back queue
"""


def _drawable(name: str, moves: list[tuple[str, str, str]], **more: Any) -> Flow:
    """A flow of these (state, trigger, to), from each state of which `stop` leads to its end; no media, to be short."""
    states = list(dict.fromkeys([name for source, _, to in moves for name in (source, to)]))
    rows = [Row(source, trigger, to) for source, trigger, to in moves]
    rows += [Row(state, "stop", "done", reason=Reason.HANGUP) for state in states]
    triggers = dict.fromkeys([*(trigger for _, trigger, _ in moves), "stop"])
    base: dict[str, Any] = {
        "name": name, "rows": rows, "triggers": [Trigger(t, "user") for t in triggers], "initial": states[0],
        "final": "done", "roles": Roles(joinable=(), media=()),
        "start": "stop", "up": "stop", "failed": "stop", "lost": "stop",
    }  # fmt: skip
    return Flow(**{**base, **more})


def _centre() -> Flow:
    moves = []
    for part in _MOVES.split(";"):
        source, steps = part.strip().split(": ")
        moves += [(source, *step.split()) for step in steps.split(", ")]
    return _drawable("contact centre", moves)  # type: ignore[arg-type]


CENTRE = _centre()
ODD = _drawable(
    "odd <names>",
    [("off hook", "a<b", "end"), ("end", 'say:;"x"', "s&t"), ("s&t", "back", "off hook"), ("s&t", "again", "s&t")],
    deadlines=[Deadline("end", "ring", "back")],
)


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    """Any flow of up to nine states, with edges on, back, far and around, and names of many lengths."""
    count = draw(st.integers(1, 8))
    names = [f"state_{i}" + "_that_takes_room" * draw(st.integers(0, 2)) for i in range(count + 1)]
    moves = [(names[draw(st.integers(0, i))], f"next_{i}", names[i + 1]) for i in range(count)]
    ends = st.sampled_from(names)
    for number, (source, to) in enumerate(draw(st.lists(st.tuples(ends, ends), max_size=10))):
        moves.append((source, f"t{number}" + "_and_more" * draw(st.integers(0, 4)), to))
    return _drawable("any", moves)


# --- reading a drawing ------------------------------------------------------------------------------------------------

Box = tuple[float, float, float, float]
_SVG = "{http://www.w3.org/2000/svg}"


def _parsed(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314 - our own drawing


def _boxes(root: ET.Element, *kinds: str) -> list[Box]:
    found = [rect for rect in root.iter(f"{_SVG}rect") if rect.get("class") in kinds]
    return [tuple(float(rect.get(key, 0)) for key in ("x", "y", "width", "height")) for rect in found]  # type: ignore[misc]


def _apart(one: Box, other: Box) -> bool:
    (x, y, w, h), (u, v, s, t) = one, other
    return x + w <= u or u + s <= x or y + h <= v or v + t <= y


def _points(path: str) -> list[tuple[float, float]]:
    """Points along a path of absolute moves, lines and curves, close enough together to hit any box."""
    found: list[tuple[float, float]] = []
    here = (0.0, 0.0)
    for command, numbers in re.findall(r"([MLC])([^MLC]*)", path):
        values = [float(value) for value in re.findall(r"-?[\d.]+", numbers)]
        points = list(zip(values[::2], values[1::2], strict=True))
        if command != "M":
            a, d = here, points[-1]
            b, c = points[:2] if command == "C" else (a, d)
            for step in range(41):
                t = step / 40
                weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
                found.append(tuple(sum(w * p[i] for w, p in zip(weights, (a, b, c, d), strict=True)) for i in (0, 1)))  # type: ignore[arg-type]
        here = points[-1]
    return found


def _inside(point: tuple[float, float], box: Box) -> bool:
    (px, py), (x, y, w, h) = point, box
    return x + 0.5 < px < x + w - 0.5 and y + 0.5 < py < y + h - 0.5


def _check_tidy(text: str) -> None:
    root = _parsed(text)
    boxes = _boxes(root, "box", "plate")
    for one, other in itertools.combinations(boxes, 2):
        assert _apart(one, other), (one, other)
    for line in root.iter(f"{_SVG}path"):
        if line.get("class") == "line":
            for point in _points(line.get("d", "")):
                assert not any(_inside(point, box) for box in boxes), (line.get("d"), point)
    shift = re.search(r"translate\(([\d.]+),([\d.]+)\)", text)
    assert shift
    for x, y, w, h in boxes:
        assert x + float(shift[1]) >= 0
        assert y + float(shift[2]) >= 0
        assert x + float(shift[1]) + w <= float(root.get("width", 0))
        assert y + float(shift[2]) + h <= float(root.get("height", 0))


# --- flows as SVG -----------------------------------------------------------------------------------------------------

OPTIONS = [
    {"guards": guards, "effects": effects, "actions": actions, "direction": direction}
    for guards, effects, actions in itertools.product((False, True), repeat=3)
    for direction in ("down", "right")
]


@pytest.mark.no_cover
@pytest.mark.parametrize("flow", [RINGING, SESSION, CENTRE, ODD], ids=lambda flow: flow.name)
def test_nothing_overlaps_in_any_manner_of_drawing(flow: Flow) -> None:
    """With and without guards, effects and actions, down and to the right: boxes, labels and lines keep apart."""
    for options in OPTIONS:
        _check_tidy(svg(flow, **options))  # type: ignore[arg-type]


@pytest.mark.no_cover
@settings(max_examples=settings.default.max_examples * 3 // 10, deadline=None)
@given(flows(), st.sampled_from(OPTIONS))
def test_nothing_overlaps_in_any_flow(flow: Flow, options: dict[str, Any]) -> None:
    """Flows of any shape, with edges back and far and around, are drawn without overlaps, inside the page."""
    _check_tidy(svg(flow, **options))


@each_flow
def test_a_drawing_shows_the_rows_and_no_refusals(flow: Flow) -> None:
    """Each pair of states with a row between them is one edge, which names exactly the triggers of its rows."""
    root = _parsed(svg(flow, guards=False))
    drawn = {
        (edge.get("data-from"), edge.get("data-to")): {
            span.text for span in edge.iter(f"{_SVG}tspan") if span.get("class") == "t"
        }
        for edge in root.iter(f"{_SVG}g")
        if edge.get("data-from")
    }
    said: dict[tuple[str, str], set[str]] = {}
    for row in flow.rows:
        if row.refuse is None and row.state != row.to:
            said.setdefault((row.state, row.to), set()).add(row.trigger)
    assert drawn == said


@each_flow
def test_a_page_can_find_and_light_each_state(flow: Flow) -> None:
    """Each state is a group with its id, name and role; a prefix keeps the ids of several drawings apart."""
    root = _parsed(svg(flow, prefix="alice-"))
    states = {group.get("data-state"): group for group in root.iter(f"{_SVG}g") if group.get("data-state")}
    assert list(states) == list(flow.states)
    for name, group in states.items():
        assert group.get("id") == f"alice-{name}"
        assert (group.get("class") or "").startswith("state role-")
    assert states[flow.final].get("class") == "state role-final"
    assert 'id="state-idle"' in svg(flow)


def _lit(text: str) -> tuple[set[str | None], set[tuple[str | None, str | None]], list[str | None]]:
    groups = [group for group in _parsed(text).iter(f"{_SVG}g") if "lit" in (group.get("class") or "").split()]
    words = [span.text for span in _parsed(text).iter(f"{_SVG}tspan") if span.get("class") == "here"]
    states = {group.get("data-state") for group in groups if group.get("data-state")}
    return states, {(g.get("data-from"), g.get("data-to")) for g in groups if g.get("data-from")}, words


def test_a_path_of_states_is_lit() -> None:
    """The states of a path and the edges between neighbours are lit, and no word is, as no trigger was named."""
    states, edges, words = _lit(svg(RINGING, highlight=["idle", "ringing", "ended"]))
    assert states == {"idle", "ringing", "ended"}
    assert edges == {("idle", "ringing"), ("ringing", "ended")}
    assert words == []


def test_a_path_of_steps_is_lit_with_its_triggers() -> None:
    """Steps light their states, edges and words; a step that stays lights its word where it is named."""
    steps = [("idle", "ring", "ringing"), ("ringing", "accept", "accepted"), ("accepted", "join", "accepted"), "active"]
    states, edges, words = _lit(svg(RINGING, highlight=steps))  # type: ignore[arg-type]
    assert states == {"idle", "ringing", "accepted", "active"}
    assert edges == {("idle", "ringing"), ("ringing", "accepted"), ("accepted", "active")}
    assert sorted(map(str, words)) == ["accept", "join", "ring"]


@pytest.mark.parametrize("draw", [svg, mermaid, dot])
@pytest.mark.parametrize("path", [["idle", "heaven"], [("idle", "ring", "heaven")]])
def test_a_path_through_no_state_is_refused(draw: Any, path: list[Any]) -> None:
    """A highlight that names a state the flow does not have raises, and says which."""
    with pytest.raises(InvalidArgument, match="heaven"):
        draw(RINGING, highlight=path)


def test_what_stays_is_named_or_counted() -> None:
    """A few triggers that stay are named in the state, many are counted, and `actions` names them all."""
    assert "stays on 17 triggers" in svg(RINGING)
    assert "raise_hand" not in svg(RINGING)
    assert "raise_hand" in svg(RINGING, actions=True)
    assert 'class="t">join<' in svg(RINGING)


def test_a_drawing_fits_light_and_dark_pages_and_needs_nothing_else() -> None:
    """One file, with colors for both kinds of page, that loads no font, script or picture."""
    text = svg(RINGING)
    assert "prefers-color-scheme:dark" in text
    assert not re.search(r"(href|src|@import|url\()", text)
    assert text.count("http") == 1  # the name of the format


def test_drawings_are_the_same_in_every_process() -> None:
    """Processes with different hash seeds draw the same bytes."""
    code = "from statecore.flow import RINGING as R; from statecore.diagram import *; print(svg(R), mermaid(R), dot(R))"
    found = set()
    for seed in ("0", "5"):
        env = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PYTHONIOENCODING": "utf-8",
        }
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True, timeout=60)
        found.add(done.stdout)
    assert len(found) == 1


# --- labels -----------------------------------------------------------------------------------------------------------


def test_conditions_that_do_not_matter_are_left_out() -> None:
    """Two rows to the same state that differ in whether one condition holds are shown without it."""
    label = next(line for line in mermaid(RINGING).splitlines() if line.startswith("    idle --> ringing"))
    assert "initiate [" in label
    assert "stale" not in label
    assert "not busy" in label
    assert "[" not in mermaid(RINGING, guards=False).replace("[*]", "")


def test_rows_that_differ_in_two_conditions_are_both_shown() -> None:
    """Rows are merged only where that loses nothing."""
    rows = [Row("a", "go", "b", when=("full", "video")), Row("a", "go", "b", unless=("full", "video"))]
    flow = _drawable("two", [("a", "back", "a"), ("b", "back", "a")], rows=[
        *rows, Row("b", "back", "a"), *(Row(s, "stop", "done", reason=Reason.HANGUP) for s in "ab"),
    ], triggers=[Trigger(t, "user") for t in ("go", "back", "stop")])  # fmt: skip
    assert "a --> b: go [full, video]<br/>go [not full, not video]" in mermaid(flow)


def test_a_guard_is_spelled_out() -> None:
    """Conditions wanted true stand first, those wanted false behind a not; a row without any says nothing."""
    assert guard_text(Row("a", "b", "c", when=("known", "stale"), unless="busy")) == "known, stale, not busy"
    assert guard_text(Row("a", "b", "c")) == ""


@pytest.mark.parametrize(
    ("effect", "words"),
    [
        (OpenMedia(), "open media"), (CloseMedia(), "close media"), (Claim(), "claim the lines"),
        (Release(), "release the line"), (Tell("x"), "tell x"), (Fire("x", "peers"), "fire x at peers"),
        (Mark("x"), "set x"), (Mark("x", False), "clear x"), (Retype("video"), "make it video"),
        (Answer("left"), "invitation left"), (Custom("x", "y"), "custom x"),
    ],
)  # fmt: skip
def test_every_effect_has_words(effect: Any, words: str) -> None:
    """Each effect of the closed set is said in a few words, which stand in drawings that show effects."""
    assert effect_text(effect) == words


def test_effects_are_shown_on_demand() -> None:
    """With `effects`, triggers that do different things are apart, each with what it does."""
    for draw in (mermaid, dot, svg):
        assert "open media" not in draw(SESSION)
        assert "open media" in draw(SESSION, effects=True)


# --- flows as text ----------------------------------------------------------------------------------------------------


@each_flow
def test_mermaid_has_each_edge_once(flow: Flow) -> None:
    """The Mermaid text begins and ends where the flow does, and has one line for each pair of states with a row."""
    lines = mermaid(flow).splitlines()
    assert lines[0] == "stateDiagram-v2"
    assert f"    [*] --> {flow.initial}" in lines
    assert lines[-1] == f"    {flow.final} --> [*]"
    pairs = {(row.state, row.to) for row in flow.rows if row.refuse is None}
    found = [match for match in (re.match(r"    (\w+) --> (\w+): ", line) for line in lines) if match]
    assert sorted(match.groups() for match in found) == sorted(pairs)


def test_mermaid_lights_a_path() -> None:
    """The states of a path get a class of their own, in the order of the flow."""
    text = mermaid(RINGING, highlight=["ringing", ("idle", "ring", "ringing")])
    assert "    class idle,ringing lit\n" in text
    assert "lit" not in mermaid(RINGING)


def test_awkward_names_are_written_so_that_every_format_reads_them() -> None:
    """Spaces, reserved words, quotes and markup in names come through as text and break nothing."""
    text = mermaid(ODD)
    assert '    state "off hook" as s0\n' in text
    assert '    state "end" as s1\n' in text
    assert "    s0 --> s1: a<b\n" in text
    assert "say  'x'" in text
    root = _parsed(svg(ODD))
    assert {"off hook", "end", "s&t"} <= {group.get("data-state") for group in root.iter(f"{_SVG}g")}
    assert '"off hook" -> "end" [label="a<b"];' in dot(ODD)
    assert r"say:;\"x\"" in dot(ODD)


def test_dot_has_every_state_and_edge_and_lights_a_path() -> None:
    """The Graphviz text names each state and edge once, rings the final state, and draws a path bold."""
    text = dot(RINGING, guards=False, highlight=["idle", "ringing"])
    for state in RINGING.states:
        assert len(re.findall(rf'^  "{state}" \[(?!label)', text, re.MULTILINE)) == 1
    assert '"ended" [peripheries=2];' in text
    bold = [line for line in text.splitlines() if "penwidth" in line]
    assert [line.split(" [")[0].strip() for line in bold] == ['"idle"', '"ringing"', '"idle" -> "ringing"']
    assert text.count("->") == len({(row.state, row.to) for row in RINGING.rows if row.refuse is None}) + 1


# --- sequences --------------------------------------------------------------------------------------------------------

PEOPLE = ["Alice", "service", "Bob"]
TALK = [
    Message(0.0, "Alice", "service", "initiate(bob)"),
    Message(0.0004, "service", "Bob", "ring", "fact"),
    Message(0.002, "Bob", "Bob", "ringing", "note"),
    Message(0.35, "Alice", "Alice", "open microphone and camera, as the user wants"),
    Message(0.4, "Bob", "Alice", "audio; video #1", "media"),
    Message(0.5, "Alice", "Bob", "both active", "note"),
    Message(2.5, "Alice", "Alice", "a note that is much longer than the boxes of the participants", "note"),
    Message(3.0, "Bob", "service", "", "command"),
]


def _texts(root: ET.Element) -> list[str]:
    return ["".join(text.itertext()) for text in root.iter(f"{_SVG}text")]


def test_a_sequence_shows_everybody_and_every_message_in_order() -> None:
    """Participants stand from left to right, messages from top to bottom by time, each as what it is."""
    root = _parsed(sequence_svg(PEOPLE, reversed(TALK), notes=["Not to scale.", "Times from the first command."]))  # type: ignore[arg-type]
    groups = [g for g in root.iter(f"{_SVG}g") if (g.get("class") or "").startswith("message")]
    assert [g.get("class") for g in groups] == [f"message {m.kind}" for m in TALK]
    assert [float(g.get("data-at", -1)) for g in groups] == [round(m.at, 3) for m in TALK]
    assert [" ".join(_texts(g)) for g in groups] == [m.label for m in TALK]
    heights = [max(float(text.get("y", 0)) for text in g.iter(f"{_SVG}text")) for g in groups]
    assert heights == sorted(heights)
    names = [text for text in root.iter(f"{_SVG}text") if text.get("class") == "name"]
    assert [name.text for name in names] == PEOPLE
    places = [float(name.get("x", 0)) for name in names]
    assert places == sorted(places)
    assert _texts(root)[-2:] == ["Not to scale.", "Times from the first command."]


def test_a_sequence_tells_each_time_once() -> None:
    """Times are in milliseconds below a second, in seconds above, and shown where they are new."""
    texts = _texts(_parsed(sequence_svg(PEOPLE, TALK)))
    times = [text for text in texts if re.fullmatch(r"[\d.]+ m?s", text)]
    assert times == ["0 ms", "2 ms", "350 ms", "400 ms", "500 ms", "2.50 s", "3.00 s"]


def test_a_sequence_explains_the_lines_it_uses() -> None:
    """The key under the drawing has the kinds of lines that occur, and no others."""
    kinds = ["command", "fact", "media"]
    assert [text for text in _texts(_parsed(sequence_svg(PEOPLE, TALK))) if text in kinds] == kinds
    some = _texts(_parsed(sequence_svg(PEOPLE, [Message(0, "Alice", "Bob", "hello", "fact")])))
    assert [text for text in some if text in kinds] == ["fact"]
    note = _texts(_parsed(sequence_svg(PEOPLE, [Message(0, "Alice", "Bob", "hello", "note")])))
    assert not set(note) & set(kinds)


@settings(max_examples=settings.default.max_examples * 3 // 10, deadline=None)
@given(
    st.lists(
        st.builds(
            Message, st.floats(0, 100), st.sampled_from(PEOPLE), st.sampled_from(PEOPLE),
            st.text("abc <&> d", max_size=60), st.sampled_from(["command", "fact", "media", "note"]),
        ),
        max_size=12,
    )
)  # fmt: skip
def test_what_is_written_in_a_sequence_never_overlaps(messages: list[Message]) -> None:
    """Labels and plates of any messages keep apart from each other and from the participants, inside the page."""
    text = sequence_svg(PEOPLE, messages)
    root = _parsed(text)
    boxes = [box for box in _boxes(root, "box", "plate", "card")[1:] if box[2] > 10 + 1e-6]
    for one, other in itertools.combinations(boxes, 2):
        assert _apart(one, other), (one, other)
    for group in root.iter(f"{_SVG}g"):
        for x, _, width, _ in _boxes(group, "card")[: (group.get("class") or "").startswith("message")]:
            line = next(path.get("d", "") for path in group.iter(f"{_SVG}path"))
            start, stop = sorted(float(value) for value in re.findall(r"[MH]([\d.]+)", line))
            assert start <= x <= x + width <= stop
    shift = re.search(r"translate\(([\d.]+),([\d.]+)\)", text)
    assert shift
    for x, y, w, h in boxes:
        assert x + float(shift[1]) >= 0
        assert x + float(shift[1]) + w <= float(root.get("width", 0))
        assert y + float(shift[2]) + h <= float(root.get("height", 0))


def test_a_sequence_as_mermaid() -> None:
    """Every participant and message is a line of the kind it is, with what Mermaid would misread written otherwise."""
    assert sequence_mermaid(PEOPLE, TALK).splitlines() == [
        "sequenceDiagram",
        "    participant p0 as Alice",
        "    participant p1 as service",
        "    participant p2 as Bob",
        "    p0->>p1: initiate(bob)",
        "    p1-->>p2: ring",
        "    Note over p2: ringing",
        "    p0->>p0: open microphone and camera, as the user wants",
        "    p2-)p0: audio#59; video #35;1",
        "    Note over p0,p2: both active",
        "    Note over p0: a note that is much longer than the boxes of the participants",
        "    p2->>p1: ",
    ]


@pytest.mark.parametrize("draw", [sequence_svg, sequence_mermaid])
@pytest.mark.parametrize(
    ("people", "messages"),
    [
        ([], []),
        (["Alice", "Alice"], []),
        (["Alice"], [Message(0, "Alice", "Bob", "hello")]),
        (["Alice"], [Message(0, "Bob", "Alice", "hello")]),
    ],
    ids=["nobody", "twice", "unknown target", "unknown source"],
)
def test_a_sequence_of_strangers_is_refused(draw: Any, people: list[str], messages: list[Message]) -> None:
    """No participants, one named twice, or a message of somebody who is none, raise InvalidArgument."""
    with pytest.raises(InvalidArgument):
        draw(people, messages)


# --- what is committed ------------------------------------------------------------------------------------------------


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "_generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_documentation_is_up_to_date() -> None:
    """Drawings, tables and the README's drawing, if there is one, agree with the code; else run docs/_generate.py."""
    assert _generator().stale() == []


def test_a_readme_gets_its_drawing_between_the_marks() -> None:
    """Only what stands between a pair of marks is replaced, doing it twice changes nothing, and a drift is seen."""
    write = _generator().with_drawings
    text = "before\n<!-- flow:ringing -->\nold\n<!-- /flow -->\nbetween\n<!-- flow:session -->\n<!-- /flow -->\nafter\n"
    new = write(text)
    assert new.startswith(
        f"before\n<!-- flow:ringing -->\n```mermaid\n{mermaid(RINGING, guards=False)}```\n<!-- /flow -->\nbetween"
    )
    assert mermaid(SESSION, guards=False) in new
    assert new.endswith("<!-- /flow -->\nafter\n")
    assert write(new) == new
    assert write("no marks") == "no marks"


def test_the_generator_checks_and_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `--check` it fails and names what is stale without writing; without, it writes; then nothing is stale."""
    generator = _generator()
    (tmp_path / "README.md").write_text("<!-- flow:ringing -->\n<!-- /flow -->\n", encoding="utf-8")
    monkeypatch.setattr(generator, "ROOT", tmp_path)
    for arguments, code, left in ((["--check"], 1, True), ([], 0, False), (["--check"], 0, False)):
        monkeypatch.setattr(sys, "argv", ["_generate.py", *arguments])
        assert generator.main() == code
        assert bool(generator.stale()) == left


def test_reference_pages_say_everything() -> None:
    """The pages name every error code, every timer, and every row of every flow with its guard."""
    files: dict[str, str] = _generator().made()
    from statecore.errors import CODES

    assert all(f"`{code}`" in files["docs/reference/errors.md"] for code in CODES)
    page = files["docs/reference/flows.md"]
    for flow in FLOWS.values():
        for row in flow.rows:
            assert f"| `{row.trigger}` | {guard_text(row)} | " in page
