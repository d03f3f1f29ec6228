"""Writes everything in the documentation that comes from the code; with `--check` it only compares.

What is written stands in `made()`. A test fails when a file differs from what the code says.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import runpy
import sys
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

import attrs
from msgspec import Struct

from statecore import wire
from statecore.aio._connection import _BACKOFF, _LONGEST
from statecore.diagram import effect_text, guard_text, mermaid, svg
from statecore.errors import StatecoreError
from statecore.flow import CONDITIONS, FLOWS, Flow, Row, Timers
from statecore.listeners import CallListener, OngoingCallListener
from statecore.model import CallType, Reason, Role
from statecore.settings import UNKEPT, CallSettings, IceServer, IceServers, ServiceSettings, reference
from statecore.testing.races import ELSEWHERE, RACES, WAITING

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs"))
from _browser import modules  # noqa: E402 - it stands beside this file, which is run by its path
from _conversation import INTRO, conversation  # noqa: E402 - likewise
from _proof import keep, proof_page, when  # noqa: E402 - likewise

_BLOCK = re.compile(r"(<!-- flow:(\w+) -->\n).*?(<!-- /flow -->)", re.DOTALL)


def made() -> dict[str, str]:
    """Every generated file: its path from the root of the repository, and its text."""
    files = {
        "docs/reference/errors.md": errors_page(),
        "docs/reference/events.md": events_page(),
        "docs/reference/settings.md": settings_page(),
        "docs/reference/flows.md": flows_page(),
        "docs/reference/timers.md": timers_page(),
        "docs/reference/messages.md": messages_page(),
        "docs/reference/races.md": races_page(),
        "docs/explanation/proof.md": proof_page(_MADE, _table),
    }
    for name, flow in FLOWS.items():
        files[f"docs/explanation/drawings/{name}.svg"] = svg(flow, guards=False)
        files[f"docs/explanation/drawings/{name}.mmd"] = mermaid(flow)
    for name, flow in example_flows().items():
        files[f"docs/howto/drawings/{name}.svg"] = svg(flow, guards=False)
        files[f"docs/howto/drawings/{name}.mmd"] = mermaid(flow)
    drawn = {
        "session-guards-effects": svg(FLOWS["session"], guards=True, effects=True),
        "ringing-highlight": svg(FLOWS["ringing"], guards=False, highlight=("idle", "ringing", "ended")),
    }
    files |= {f"docs/howto/drawings/{name}.svg": text for name, text in drawn.items()}
    files |= {f"adapters/statecore_web/page/{name}": text for name, text in modules().items()}
    readme = ROOT / "README.md"
    if readme.exists():
        files["README.md"] = with_drawings(readme.read_text(encoding="utf-8"))
    return files


def example_flows() -> dict[str, Flow]:
    """The flows that examples declare as `FLOW`, as far as these examples are here."""
    paths = [ROOT / "examples" / f"{name}.py" for name in ("contact_centre", "intercom")]
    return {path.stem: runpy.run_path(str(path))["FLOW"] for path in paths if path.exists()}


def with_drawings(text: str) -> str:
    """The text, with the drawing of its flow between each pair of marks `<!-- flow:NAME -->` and `<!-- /flow -->`."""

    def block(match: re.Match[str]) -> str:
        return f"{match[1]}```mermaid\n{mermaid(FLOWS[match[2]], guards=False)}```\n{match[3]}"

    return _BLOCK.sub(block, text)


def stale() -> list[str]:
    """The files that differ from what the code says, or are missing."""
    return [path for path, text in made().items() if not _same(ROOT / path, text)]


def _same(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


# --- pages ------------------------------------------------------------------------------------------------------------

_MADE = "<!-- Made by docs/_generate.py from the code: change it there. -->\n"
_ERRORS = """\
Everything statecore raises on purpose is a `StatecoreError`, and its first branch says who has to do something:
`UsageError` is yours, `PeerError` the other side's, `NetworkError` the network's or a device's. Catch the
branch or the class; over the wire and in logs go by `code`, which never changes its meaning. `retryable` says
whether the same thing may succeed later. What an error knows (ids, states, the legal triggers ...) is an
attribute of it and in `data`; `str(error)` is the sentence made from that."""
_TIMERS = """\
The timers of calls and links are fields of `Timers`, in seconds. Fractions are kept. None, 0 or less means the
default; a value outside the bounds raises `InvalidSettings`.

What else takes its time is set where it belongs. In the [settings](settings.md) of a session stand `idle_timeout` and
`idle_prompt` (alone for 120 s, then asked for 60 s, then the session ends) and `max_duration`; in those of a service
`lease_grace`, the 5 s for which it waits longer than a device's lease. `initiate_call(timeout=...)` is the ring timer
of one call, and a flow of one's own may give its states deadlines of their own. A device whose link broke tries again
after a pause of {first:g} s at first and of {last:g} s at last, shortened by chance; after a longer one if the
service says so, but of at most {longest:g} s. How long it tries in all is `CallClient(give_up_after=...)`."""
_FLOWS = """\
The tables that the switchboard, the endpoint and the drawings read. A trigger that has no row in a state is
not legal there: it raises `IllegalTransition` and changes nothing. Where a row refuses, it raises the named
error instead. *Endpoint* marks what a device may do by itself, connected or not."""
_CONDITIONS = """\
What the switchboard can know when it looks up a row, besides the flags of the leg, and of any other leg
(`other_` and the flag)."""

_EVENTS = """\
Listeners are registered under an id, with `CallClient.add_call_listener` and `Session.add_call_event_listener`.
Registering an id again replaces what stood there and keeps its place; both return a handle that removes, too. A
listener is a `CallListener` or an `OngoingCallListener` with handlers given by keyword, a subclass of it with methods,
or any object with methods of these names. Handlers take the arguments by position, in the order given here, and may be
sync or async. `client.on(event, handler)` and `session.on(event, handler)` register one handler by the event's name
without `on_`. `by` is a user id, or None."""
_CLIENT_ERROR = """\
`on_error` of a client is also told what a listener of the client raises."""
_CUSTOM = """\
A flow of one's own tells its effects `Custom(name, data)` as the event `custom`:
`session.on("custom", lambda name, data: ...)`."""
NOT_TOLD = (
    "dominant_speaker_changed",
    "recording_started",
    "recording_stopped",
    "recording_failed",
    "media_device_list_updated",
    "audio_modes_updated",
    "camera_facing_changed",
    "network_quality_changed",
)
"""Events that can be listened for, but that nothing tells yet."""
_SETTINGS = """\
Times are seconds. A value of a wrong type or outside its bounds raises `InvalidSettings` when the settings are built;
nothing can be changed afterwards, `attrs.evolve` makes a changed copy."""
_CALL_SETTINGS = """\
Given to `start_session`, `join_session`, `call` and `answer`, as `CallSettings(...)` or directly by keyword.
`CallSettingsBuilder` has a `set_<name>(value)` for each, and `build()`. *Live* is the one at which an action of the
session begins (`set_layout`), so that the session may come to differ from it."""
_MESSAGES = """\
What a device and the service say to each other: one JSON object a message, in UTF-8, whose `m` says what it is. Up go
wishes and reports; down come facts, above all the *view*, which is the whole of what the service knows of the device's
leg: the last one is the truth, one that was missed does no harm, and there is nothing to replay. A client in any
language that keeps to this page can take part; `statecore.wire` is the codec.

- A field that has its default may be left out. Fields that a peer does not know are ignored, so that a later one may
  add some; anything else that does not fit is refused with `malformed_message` and changes nothing.
- The version of the protocol is {version}. A greeting of another one is refused with `unsupported_version`.
- A message to the service is at most {size:,} bytes, unless the service's settings say otherwise.
- Durations and ages are milliseconds. Wall times are Unix time in milliseconds by the service's clock: to be shown,
  never to be compared with a device's clock.
- `Id` is a text of 1 to 128 characters, `Name` one of at most 256. `Count` is a whole number from 0 to 2^53.
  `CallType` is {types}, `Role` is {roles}. A `frozenset` is an array without order or repetition, a `tuple` an array,
  a `dict` an object, and None is null.
- Why a leg ended is one of {reasons}."""
CARRIED = ("title", "peer_call")
"""Settings that are only handed on, beside those of the page's buttons."""
_MARKS = """\
\\* A hint for the page that shows the session: nothing else acts on it. The page of the service is given them by
`CallApp(..., page=CallSettings(...))`, and one of your own by the settings of its session.

† Nothing in this version keeps it, and a session that is started with it is refused. What is the media adapter's to do
is taken if the adapter names it in its `heeds`: `AiortcMedia` does so with `audio_input` and `video_input`, where it
is to send a `Device` without a name, or nothing so far, and with `audio_output` where its `speaker` has no name."""


def messages_page() -> str:
    """Every message of the wire, field by field."""
    shared = set(get_args(wire.Up)) & set(get_args(wire.Down))
    words = {"types": _code(get_args(CallType)), "roles": _code(get_args(Role)), "reasons": _code(Reason)}
    intro = _MESSAGES.format(version=wire.VERSION, size=wire.MAX_SIZE, **words)
    groups = (
        ("Up: from a device", (each for each in get_args(wire.Up) if each not in shared)),
        ("Down: from the service", (*(each for each in get_args(wire.Down) if each not in shared), wire.Peer)),
        ("Both ways", shared),
    )
    return "\n".join(
        [
            _MADE,
            "# Messages",
            "",
            intro,
            "",
            *(line for title, each in groups for line in (f"## {title}", "", *_messages(each))),
            "## A call, message by message",
            "",
            INTRO,
            "",
            *(line for text, said in conversation() for line in (text, "", "```text", *said, "```", "")),
        ]
    )


def _messages(classes: Iterable[type[Struct]]) -> Iterator[str]:
    for cls in classes:
        tag = cls.__struct_config__.tag
        yield f"### `{tag}`" if tag else f"### {cls.__name__}, in a view"
        yield ""
        yield " ".join(inspect.getdoc(cls).split())
        yield ""
        if cls.__struct_fields__:
            yield from _table(["field", "type", "default", "meaning"], _fields(cls))


def _fields(cls: type[Struct]) -> Iterator[list[str]]:
    """Each field of a message, with the text that stands below it in the code."""
    (body,) = ast.parse(inspect.getsource(cls)).body
    for field, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign):
            default = f"`{ast.unparse(field.value)}`" if field.value else "required"
            kind = _SIZED.sub(r"\1, at most \2", ast.unparse(field.annotation))
            default = default.replace("NO_FLAGS", "[]").replace("()", "[]").replace("VERSION", str(wire.VERSION))
            yield [f"`{field.target.id}`", f"`{kind}`", default, " ".join(text.value.value.split())]


_SIZED = re.compile(r"Annotated\[(\w+), Meta\(max_length=(\d+)\)\]")


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    heads = list(heads)
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
    yield ""


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def errors_page() -> str:
    """The tree of errors as a table, in the order of the tree."""

    def below(cls: type[StatecoreError], depth: int) -> Iterator[list[str]]:
        first = (cls.__doc__ or "").split("\n\n")[0].replace("\n    ", " ").strip()
        indent = "&nbsp;" * 3 * depth
        yield [f"{indent}`{cls.__name__}`", f"`{cls.code}`", "yes" if cls.retryable else "no", first, cls.advice]
        for sub in cls.__subclasses__():
            if sub.__module__ == StatecoreError.__module__:  # not what a test or a program has added
                yield from below(sub, depth + 1)

    return "\n".join(
        [
            _MADE,
            "# Errors",
            "",
            _ERRORS,
            "",
            *_table(["class", "code", "retryable", "meaning", "what to do"], below(StatecoreError, 0)),
        ]
    )


def timers_page() -> str:
    """The table of the timers."""
    rows = (
        [f"`{t['name']}`", f"{t['default']:g} s", f"{t['at_least']:g} to {t['at_most']:g} s", t["belongs"], t["fires"]]
        for t in Timers.table()
    )
    return "\n".join(
        [
            _MADE,
            "# Timers",
            "",
            _TIMERS.format(first=_BACKOFF[0], last=_BACKOFF[-1], longest=_LONGEST),
            "",
            *_table(["timer", "default", "bounds", "belongs to", "when it fires"], rows),
        ]
    )


def events_page() -> str:
    """Every event of both kinds of listeners."""

    def rows(cls: type[CallListener | OngoingCallListener]) -> Iterator[list[str]]:
        for field in attrs.fields(cls):
            later = " *" if field.name.removeprefix("on_") in NOT_TOLD else ""
            yield [f"`{field.name}`{later}", _code(field.metadata["payload"]), field.metadata["help"]]

    heads = ["event", "arguments", "when"]
    return "\n".join(
        [
            _MADE,
            "# Events",
            "",
            _EVENTS,
            "",
            "## Of a client: `CallListener`",
            "",
            *_table(heads, rows(CallListener)),
            _CLIENT_ERROR,
            "",
            "## Of a session: `OngoingCallListener`",
            "",
            *_table(heads, rows(OngoingCallListener)),
            "\\* Not told by anything in this version.",
            "",
            (inspect.getdoc(OngoingCallListener) or "").rpartition("\n\n")[2],
            "",
            _CUSTOM,
            "",
        ]
    )


def settings_page() -> str:
    """The settings of sessions, ICE servers and services."""
    return "\n".join(
        [
            _MADE,
            "# Settings",
            "",
            _SETTINGS,
            "",
            "## Of a session: `CallSettings`",
            "",
            _CALL_SETTINGS,
            "",
            *_table(["setting", "type", "default", "meaning", "live"], _settings(CallSettings)),
            _MARKS,
            "",
            "## Of a STUN or TURN server: `IceServer`",
            "",
            *_table(["setting", "type", "default", "meaning", "live"], _settings(IceServer)),
            "## Handed out by a service: `IceServers`",
            "",
            *_table(["setting", "type", "default", "meaning", "live"], _settings(IceServers)),
            "## Of a service: `ServiceSettings`",
            "",
            *_table(["setting", "type", "default", "meaning", "live"], _settings(ServiceSettings)),
        ]
    )


def _settings(cls: type[IceServer | IceServers | CallSettings | ServiceSettings]) -> Iterator[list[str]]:
    for each in reference(cls):
        hint = each["name"] in CARRIED or each["name"].startswith("show_")
        mark = " *" if hint else " †" if cls is CallSettings and each["name"] in UNKEPT else ""
        kind = each["type"] if isinstance(each["type"], str | types.UnionType) else each["type"].__name__
        default = "required" if each["required"] else f"`{each['default']!r}`"
        live = "live" if each["live"] else ""
        yield [f"`{each['name']}`{mark}", f"`{kind}`", default, each["help"], live]


def flows_page() -> str:
    """Every flow as tables."""
    return "\n".join(
        [
            _MADE,
            "# Flows",
            "",
            _FLOWS,
            "",
            "## Conditions",
            "",
            _CONDITIONS,
            "",
            *_table(["condition", "true when"], ([f"`{name}`", text] for name, text in CONDITIONS.items())),
            *(line for flow in FLOWS.values() for line in _flow(flow)),
        ]
    )


def _flow(flow: Flow) -> Iterator[str]:
    yield f"## The flow `{flow.name}`"
    yield ""
    yield f"States: {_code(flow.states)}. Flags: {_code(flow.flags)}. Hash: `{flow.hash}`."
    yield ""
    for state in flow.states:
        yield f"### `{flow.name}`: {state}"
        yield ""
        for deadline in flow.deadlines:
            if deadline.state == state:
                only = f", only while `{deadline.flag}` is on" if deadline.flag else ""
                timer = f"`{deadline.timer}`" if isinstance(deadline.timer, str) else f"of {deadline.timer:g} s"
                yield f"Carries the timer {timer}, which fires `{deadline.trigger}`{only}."
                yield ""
        rows = (_cells(row) for row in flow.rows if row.state == state)
        yield from _table(["trigger", "if", "to", "what is done", "reason", "by"], rows)
    yield f"### `{flow.name}`: triggers"
    yield ""
    triggers = (
        [f"`{t.name}`", t.by, t.help, f"`{t.grant}`" if t.grant else "", _code(t.consent)] for t in flow.triggers
    )
    yield from _table(["trigger", "who", "meaning", "needs the grant", "consents to"], triggers)


def _cells(row: Row) -> list[str]:
    done = "; ".join(effect_text(effect) for effect in row.effects)
    return [
        f"`{row.trigger}`",
        guard_text(row),
        "stays" if row.to == row.state else row.to,
        f"raises `{row.refuse}`" if row.refuse else done,
        f"`{row.reason}`" if row.reason else "",
        "" if row.refuse else row.decider,
    ]


_RACES = """Each of these is a family that the tests walk through: every order of the messages involved, with links that
break, messages that come twice, timers that fire early or late, devices and services that die, in every gap. After
every step the oracle of `statecore.testing.oracle` looks on; what is promised beside it stands in the second column.
The figures are of one run of `python -m statecore.testing.races --out docs/races.json`: *all* means that nothing was
left out, *sampled* that in one part or more there were too many, and so many different orders were drawn by a seed.
With a part of a name it runs those. [](../howto/simulate.md) tells of everything going wrong at once."""


def races_page() -> str:
    """The catalogue of races: what is generated, what is held elsewhere, what waits for what."""
    told = json.loads((Path(__file__).parent / "races.json").read_text(encoding="utf-8"))
    counts = told["races"]
    parts = [_MADE, "# Races", "", _RACES, "", f"The figures were {when(told)}.", ""]
    for heading, races in RACES.items():
        parts += [f"## {heading}", ""]
        parts += _table(
            ["race", "what holds", "interleavings", "worlds", ""],
            ([race.name, race.promise, *_counted(counts.get(race.name))] for race in races),
        )
    parts += ["## Held by other tests", ""]
    parts += _table(["race", "where"], ([name, f"`{path}`"] for name, path in ELSEWHERE.items()))
    parts += ["## Not checked yet", ""]
    parts += _table(["race", "waits for"], ([name, text] for name, text in WAITING.items()))
    return "\n".join(parts)


def _counted(count: dict[str, Any] | None) -> list[str]:
    if count is None:
        return ["", "", "not counted"]
    how = "all" if count["exhaustive"] else "sampled"
    return [f"{count['interleavings']:,}", f"{count['states']:,}", how]


def main() -> int:
    """Writes the files, or with `--check` says which would change and fails if there are any. `--figures` first takes
    the figures of the last runs of the model check, the simulator and the mutants from `out`."""
    if "--figures" in sys.argv[1:]:
        keep(ROOT / "out")
    found = stale()
    if "--check" not in sys.argv[1:]:
        for path, text in made().items():
            (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / path).write_text(text, encoding="utf-8")
    for path in found:
        sys.stdout.write(f"{'stale' if '--check' in sys.argv[1:] else 'written'}: {path}\n")
    return int(bool(found) and "--check" in sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
