"""The page about what is proved and what is not, from the figures of the runs that `docs/proof.json` keeps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from statecore.testing.check import SCENARIOS, UNREACHED

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "docs" / "proof.json"

Table = Callable[[Iterable[str], Iterable[Iterable[str]]], Iterator[str]]

_BEGIN = """Three kinds of statements are made about calls here. What is *proved* was tried in every order there is, within
stated bounds, on the code that ships. What is *tested* was tried in very many orders, drawn by a seed that can be had
again. Everything else is neither, and is named at the end. Beside the figures stands the day on which they were
measured, and of which core: the sources of the table, the switchboard and the endpoint, by their digest."""

_ORACLE = """In every state, and at every step:

- every leg ends once, with a reason that fits the record's, and what listeners see is a way that the table allows;
- wherever nothing is on its way to or from a device, it stands as the service says, owes nothing and waits for nothing
  that has no bound, before any timer fires; of two people nobody is active alone;
- a microphone or camera opens only under a yes of its own user that stands, and what was opened is closed once;
- every live state carries exactly the deadline of the table, and every line is held by just the calls that say so;
- foreign, stale, illegal and repeated inputs change nothing: they are tried in every state that differs;
- when all is over nothing is left: no leg, no busy line, no open invitation, and one row in the log for each call;
- from every state, without a fault and before any timer, everything can end."""

_CHECKED = """`make check` explores these scenarios breadth first, each to its end, and finds nothing wrong: {states:,} states
and {steps:,} steps in all, in {minutes:.1f} minutes of work for each of two processes, {speed:,} states a second in each. What is
reduced, and why that is sound, stands in `statecore.testing.check`. States are told apart by 64 bits; the odds that one was taken
for another are below {odds:.0e} for the largest scenario{memory}. {when}.
[How to check a flow of your own](../howto/check.md)."""

_PLANTED = """Whether a scenario would show anything is tried by mistakes on purpose in the service, such as not to tell of what comes after many
changes of a call. The last column says how many steps away the check found it. {when}."""

_ROWS = (
    """Every row of both tables is taken in one of them, but for these, which are there for flows that extend ours:"""
)

_FOUND = """What the simulations met that nobody had thought of, and what was mended for it, as of {when}. Each is a test of
its own, or a script in `tests/sim/regressions` that is run again.

In the core:

- A ring that its own end had overtaken rang; an end that nobody heard of a leg before it now leaves a mark.
- Who left a session, came back and left again was not let go: that the first end was heard settled the second as well.
- A refusal that was lost with the link was taken for the end of what went before, and the end was told twice.
- A leg whose end was refused, because it had ended at the other side, too, was made anew by older facts that came late:
  one leg ended twice, or rang again.
- A service on an empty store numbers its facts from 1 again. A callee who was further along took them for old ones: the
  camera stayed on after the call had ended. One who had been told that the call is lost was deaf to its second ring.

In the shells:

- Of two services on one store one dies between a commit and the news of it: a caller who is connected to the other did
  not hear that he was answered, until his own link broke; and a timer that only the dead one knew of never fired.

By fuzzing: offers, answers and candidates that are nested too deep, notices and news of other services that are no text,
a notification on the database's channel that is none, a page's cursor beyond all numbers of a database, a damaged row of a user's
tokens. Each came out of its decoder as an error that nobody expected."""

_NOT = """- Larger bounds: more faults, more people or more calls at once than the table says. `make check-deep` goes further
  in four scenarios, to the end of each: 50,617,318 states.
- The lengths of timers: the check lets each fire at any moment, which is more than can happen, and holds each to its
  length where it is armed; that a shell fires it then is tested.
- Offers and answers of media, and whatever else devices relay to each other: in the check media connects, fails or drops by
  itself. The simulator, the races and the media adapter's tests have them.
- Fewer states by symmetry: none is used. Who calls and who is called are not alike; in a session people are, but their
  devices' names stand in every record and message, and to rename them costs more than the few times it would save.
- The asyncio shells are simulated and tested, not checked: their steps are not a pure function.
- Media is real in the tests of the WebRTC adapter, and a stand-in in the simulator.
- Several services on one store are simulated and tested, not checked.
- Over real sockets the simulator's scripts run against one service on a SQLite file. Several services on a server's database, and
  browsers, have tests of their own.
- What no test can reach yet, and what each waits for, stands at the end of [the races](../reference/races.md)."""


def proof_page(head: str, table: Table) -> str:
    """The whole page."""
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    parts = [head, "# What is proved, what is tested, and what is not", "", _BEGIN, ""]
    parts += ["## Proved, within bounds", "", *_checked(figures, table), "", _ORACLE, "", _ROWS, ""]
    unreached = ([f"{flow}: {state}, {trigger}", why] for (flow, state, trigger, _), why in UNREACHED.items())
    parts += [*table(["row", "why"], unreached), "## Tested", "", *_tested(figures), ""]
    parts += ["## Found, and mended", "", _FOUND.format(when=when(figures["found"]).removeprefix("measured on ")), ""]
    parts += ["## Neither", "", _NOT, ""]
    return "\n".join(parts)


def _checked(figures: dict[str, Any], table: Table) -> list[str]:
    reports, planted = figures["check"], figures.get("planted", [])
    wrong = [report["scenario"] for report in reports if report["violations"]]
    if wrong:
        raise SystemExit(f"these figures are of a check that found something in {wrong}: mend it, and run it again")
    states, seconds = (sum(report[name] for report in reports) for name in ("states", "seconds"))
    text = _CHECKED.format(
        states=states,
        steps=sum(report["transitions"] for report in reports),
        minutes=seconds / 120,
        speed=int(round(states / seconds, -2)),
        memory=_memory(reports),
        when=_first_up(when(reports[0])),
        odds=10 * max(report["collision_odds"] for report in reports),
    )
    steps = {each["scenario"]: each["steps"] for each in planted}
    rows = (
        [
            f"`{report['scenario']}`",
            SCENARIOS[report["scenario"]].help,
            f"{report['states']:,}",
            str(report["depth"]),
            ", ".join(
                _bound(name, bound) for name, bound in report["bounds"].items() if (name, bound) != ("timers", True)
            ),
            str(steps.get(report["scenario"], "")),
        ]
        for report in reports
    )
    heads = ["scenario", "what it is about", "states", "depth", "within", "a mistake found"]
    told = [_PLANTED.format(when=_first_up(when(planted[0]))), ""] if planted else []
    return [text, "", *told, *table(heads, rows)]


def _bound(name: str, bound: int) -> str:
    return "no timers" if name == "timers" else f"{name} {bound}"


def _memory(reports: list[dict[str, Any]]) -> str:
    known = [report["megabytes"] for report in reports if "megabytes" in report]
    return f", which takes {max(known):,} MB" if len(known) == len(reports) else ""


def _first_up(text: str) -> str:
    return text[0].upper() + text[1:]


def _tested(figures: dict[str, Any]) -> Iterator[str]:
    for run in figures["soak"]:
        what = (
            "the pure core"
            if run["kind"] == "core"
            else "real clients and a service, each third time two on one store, in virtual time"
        )
        yield (
            f"- *Simulated*: {run['calls']:,} calls among tens of users through {what}, with\n"
            f"  {run['faults_per_call']:.2f} faults a call; {run['share_met']:.0%} of the calls met both calling each other, "
            f"a crash or a resume. {len(run['violations'])} violations.\n"
            f"  Seeds {run['first_seed']} to {run['last_seed']}; {when(run)}. `make soak` runs it."
        )
    mutants = figures["mutants"]
    yield (
        f"- *Mistakes on purpose*: of {mutants['total']} changes to the table, the switchboard and the endpoint, written by "
        f"hand, the tests notice {mutants['killed']}; the others behave no differently, and each says why;\n  {when(mutants)}. "
        "`make mutants`."
    )
    if "mutants-tool" in figures:
        yield _by_a_tool(figures["mutants-tool"])
    yield (
        "- *Races*: [the catalogue](../reference/races.md) generates the interleavings of each, and says of which it drew "
        "only a part."
    )
    killed = figures["killed"]
    yield (
        f"- *Killed*: `statecore serve` on a SQLite file, as a process, {killed['kills']:,} times with -9 among {killed['calls']:,} calls of three pairs\n"
        f"  over real sockets, by seeds {killed['seeds']}: every call went on or ended, once for each side, as the log\n"
        "  says. A call that no service heard of in its command's time is lost to its caller, and has no row.\n"
        f"  {_first_up(when(killed))}. `make soak` runs 200, `make test` a sample."
    )
    yield (
        "- *The simulator's scripts on the real thing*: `statecore serve` on a SQLite file, as a process that is killed, also\n"
        "  behind a commit and before a word about it, and started again; real clients over WebSockets, through proxies that\n"
        "  cut, reset, silence and delay; a webhook that does not always answer; time that passes eight times as fast. The\n"
        "  oracle looks on at every device, the store and each decision while it goes on, and at traces, log and webhook in\n"
        "  the end. It finds a service that forgets its deadlines, and a client that does not say again what it owes.\n"
        "  `make soak` runs 200 scripts, `make test` a sample."
    )
    lied = figures["lied"]
    yield (
        f"- *Lied to*: {lied['messages']:,} messages that may not be said, of {lied['kinds']} kinds, over real sockets: each was refused by a\n"
        f"  code or with the connection, and none of the {lied['calls']:,} calls that others made meanwhile failed.\n"
        f"  {_first_up(when(lied))}. `make soak`; `make test` a sample. Either side's socket broke at each message of a call,\n"
        "  and what was said last was said again."
    )
    yield _fuzzed(figures.get("fuzz", []))
    yield (
        "- *The whole system* is held to a plain model of a telephone, the table to `transitions` in every cell, and what "
        "is remembered of decisions to decisions made anew, by property tests."
    )


def _fuzzed(runs: list[dict[str, Any]]) -> str:
    text = "- *Every decoder* is fuzzed, by chance and guided by coverage: `make fuzz`; what was found is kept and tried again."
    if not runs:
        return text
    each = ", ".join(f"`{run['target']}` {run['runs']:,}" for run in sorted(runs, key=lambda run: str(run["target"])))
    return f"{text}\n  Runs guided by coverage, of each target the last time: {each}. {_first_up(when(runs[0]))}."


def _by_a_tool(told: dict[str, Any]) -> str:
    """How far the tool's mutants have been tried, and what came of it."""
    if told["unexplained"]:
        raise SystemExit(f"{told['unexplained']} mutants of the tool survive without a reason: a test, or the reason")
    if told["alarms"]:
        raise SystemExit(
            f"{told['alarms']} tests failed on unchanged code: the other figures of the tool count for nothing"
        )
    tried, share = told["tried"], told["killed"] / told["tried"]
    some = tried + told["words"] < told["of"]
    text = [
        f"- *Mistakes by a tool*: of the {told['of']:,} changes that a mutation tool makes to the same sources, {tried:,} were\n  tried"
        + (f", drawn by seed {told['seed']}" if some else f"; the other {told['words']:,} change words for people")
        + f". The tests notice {told['killed']:,} of them, {share:.1%}."
        + (_of_all(told) if some else "")
        + f"\n  Unchanged code, tried {told['controls']:,} times between them, fails none. {_first_up(when(told))}.\n  `make mutants ARGS=--tool`. Of those not noticed"
    ]
    if told["undecided"]:
        text.append(f"  - {told['undecided']:,} outlived the quick tests, and have not met the longer ones yet;")
    text += [f"  - {count:,}: {why};" for why, count in told["equivalent"].items()]
    return "\n".join(text).removesuffix(";") + "."


def _of_all(told: dict[str, Any]) -> str:
    """What a sample says of all: by the tests there were before it was drawn."""
    low, high = told["interval"]
    between = f"between {low:.1%}\n  and {high:.1%} of all, with 95 % confidence."
    if told["at_first"] == told["killed"]:
        return f" That is {between}"
    return f"\n  Before there were tests for those drawn, they noticed {told['at_first']:,}, which is {between}"


def when(figures: dict[str, Any]) -> str:
    """The day and the core of figures. `conf.py` adds whether that is the core that the page is built with."""
    day = f" on {figures['measured']}" if figures.get("measured") else ""
    return f"measured{day}, core `{figures['core']}`" if figures.get("core") else f"measured{day} on an earlier core"


KEPT: dict[str, tuple[str, ...]] = {
    "check": (
        "scenario", "states", "transitions", "depth", "seconds", "megabytes", "violations", "bounds", "collision_odds",
    ),
    "planted": ("scenario", "steps"),
    "soak": ("kind", "calls", "faults_per_call", "share_met", "violations", "first_seed", "last_seed"),
    "fuzz": ("target", "runs"),
    "mutants": ("total", "killed"),
    "mutants-tool": (
        "seed", "of", "words", "tried", "killed", "at_first", "interval", "undecided", "controls", "alarms",
        "unexplained", "equivalent",
    ),
    "killed": ("kills", "calls", "seeds"),
    "lied": ("messages", "kinds", "calls"),
}  # fmt: skip
"""What the page shows of which run, each with its day and its core. Where a run is a list, the first names its parts."""


def keep(out: Path) -> None:
    """Take the figures of the last runs, where there are any. What was run in part takes the place of those parts, and
    leaves the others, unless they are of another core."""
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    for name, wanted in KEPT.items():
        if (out / f"{name}.json").exists():
            told = json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
            figures[name] = (
                _merged(name, figures.get(name, []), [_short(each, wanted) for each in told])
                if isinstance(told, list)
                else _short(told, wanted)
            )
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _short(told: dict[str, Any], wanted: tuple[str, ...]) -> dict[str, Any]:
    return {name: told[name] for name in ("core", "measured", *wanted)}


def _merged(name: str, before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[dict[str, Any]]:
    part = KEPT[name][0]
    cores = {each["core"] for each in after}
    parts = {each[part]: each for each in (*(each for each in before if each["core"] in cores), *after)}
    order = list(SCENARIOS)
    return sorted(parts.values(), key=lambda each: order.index(each[part]) if each[part] in order else len(order))
