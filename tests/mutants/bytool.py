"""The mutants that a mutation tool makes: its operators, our way to run what they make.

The tool's own runner switches mutated *functions* on, one at a time, in modules that are imported already. Our tables
are data that is made once, on import, which would escape it; so only its operators are used.
"""

from __future__ import annotations

import argparse
import difflib
import fnmatch
import gc
import json
import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from math import sqrt
from pathlib import Path
from typing import Any, NamedTuple

from forked import OUT, ROOT, Mutant, elapsed, noticed, warm
from mutmut.mutation.file_mutation import create_mutations, deep_replace
from record import CORE, LONG, QUICK, READY, Record, recorded, split
from standing import FILES, Standing

LOG = OUT / "mutants-tool.jsonl"
"""What became of each, a line each as it comes, under a line that says of what the run is."""
CONTROL = 100
"""After so many mutants, the unchanged code is tried in their place."""
SUMMARY = ("tried", "killed", "equivalent", "undecided", "unexplained", "alarms")

WORDS = ("Trigger(", "raise AssertionError(", "(why=")
"""Calls whose last text is for people: no test should hold to its wording."""
NOTHING = re.compile(r'^"\w+",$|^__all__ = |\bgc=|^(Input|Effect|\w+: TypeAlias) = ')
"""Lines whose change no program can notice: names in `__all__`, garbage collection, aliases of types."""
_OTHER_ROLES = ('"XX', '"CALLEE', "None)")
EQUIVALENT = (
    ("switchboard/_plans.py", "_SOURCES = (", "only the places of the names count, and they stay"),
    ("switchboard/__init__.py", "value=value[:", "how much of a bad id an error quotes"),
    ("switchboard/_plans.py", "_at > 1,", "no call was answered in the first millisecond of 1970"),
    ("switchboard/_plans.py", 'issuer="", user=me.user', "nothing that decides reads these fields of a placeholder"),
    ("switchboard/_plans.py", 'initiator="0",', "nothing that decides reads these fields of a placeholder"),
    (
        "switchboard/_plans.py",
        "Command(_SESSION, _N, None",
        "a trial does not read the trigger of its command",
    ),
    ("switchboard/_plans.py", "self.hidden.get(", "a remembered list of names is the same as a new one, but faster"),
    ("switchboard/_plans.py", "strict=", "both are of one length"),
    ("switchboard/_plans.py", 'self.known[shape] = ""', "without a plan a decision is worked out anew"),
    ("switchboard/_filling.py", "if type(value) is int or (", "a literal and a name for it are one value"),
    *(
        ("switchboard/__init__.py", part, "a remembered decision is the same as a new one, but faster")
        for part in ("->  done = None", "(fill is not None) and False")
    ),
    ("switchboard/_work.py", "fresh=None", "None counts as false"),
    ("switchboard/_commands.py", "capacity: int = None", "None counts as 0, which leaves the capacity as it is"),
    *(
        ("switchboard/_commands.py", f"{name}: str = None", f"None counts as empty, which leaves the {name} as it is")
        for name in ("name", "avatar")
    ),
    ("switchboard/_views.py", "line 30: deliver(", "who hears without having moved has joined, and gets no token"),
    ("switchboard/__init__.py", "remember: int = ", "how much is remembered changes how fast an answer comes, only"),
    ("switchboard/__init__.py", "or Line(None)", "where there is no line, there is no device of it to be put down"),
    (
        "switchboard/__init__.py",
        'command.pid in ("XX',
        "who names no leg, or the newest, finds it by the longer way, too",
    ),
    ("switchboard/__init__.py", '->  name="metadata"', "an error goes over the wire without its own words"),
    ("switchboard/__init__.py", 'None, name="metadata"', "an error goes over the wire without its own words"),
    ("switchboard/__init__.py", "draft.machine, fresh=False)  ->  kept = ", "of a refusal only a note is written"),
    ("switchboard/__init__.py", "if 1 < empty_until", "no session was empty in the first millisecond of 1970"),
    *(
        ("switchboard/_filling.py", part, "who rings is given a state in the same decision")
        for part in (
            *("device.epoch, None, name=line.name", "self._constant(None) if self.plan.made"),
            *(f"Control({machine}.initial, {role}" for machine in ("machine", "self.machine") for role in _OTHER_ROLES),
        )
    ),
    *(
        ("switchboard/_filling.py", f"if {part} self.plan.", "both ways to end come to the same")
        for part in ("not self.plan.lines or not", "self.plan.lines and not", "not self.plan.lines and")
    ),
    *(("switchboard/_plans.py", f'refused="{text}', "any text says that it was refused") for text in ("XX", "REF")),
    *(("switchboard/_plans.py", f'grants=frozenset({{"{name}', "no token grants either") for name in ("XX", "SOME")),
    *(
        ("switchboard/__init__.py", f"record.{part}", "where every leg has ended nothing is remembered")
        for part in ("empty_until and record.merged_into", "end.at and record.empty_until")
    ),
    ("switchboard/_views.py", "if (len(legs) > _LATELY) or True", "of few all are named, in whatever order"),
    ("switchboard/_views.py", "if len(legs) >= _LATELY", "of few all are named, in whatever order"),
    ("switchboard/_plans.py", "fresh=None", "None counts as false"),
    ("switchboard/_plans.py", "fresh=shape.devices is None", "a trial asks nothing that a new call answers otherwise"),
    ("switchboard/__init__.py", "Line(user, known=None)", "None counts as false"),
    *(("switchboard/_plans.py", f"->  _STRIDE = {n}", "any large number will do") for n in ("11**15", "10**16")),
    ("switchboard/_plans.py", '->  _SESSION = "', "any name will do"),
    ("switchboard/_plans.py", "class Shape(Struct", "nothing changes one"),
    ("switchboard/__init__.py", "line.sessions and line.holds", "a guest's last device takes all its parts along"),
    ("switchboard/_plans.py", 'str(place), "XXXX", control', "a placeholder's epoch is compared with itself only"),
    (
        "switchboard/_plans.py",
        "super().holds(name, draft, leg, None)",
        "what a shape shows does not rest on the command",
    ),
    *(
        (
            "switchboard/_plans.py",
            f"->  _change(replace(base, {part}",
            "legs and invitations are read off by themselves",
        )
        for part in ("legs=None", "invitations", "legs=record.legs, ), ")
    ),
    ("switchboard/_plans.py", "leg.epoch, None, name=leg.name, ", "it only has to differ from what the leg is then"),
    ("switchboard/_work.py", "self.dirty = None", "a call that is made gets a leg, and that marks it"),
    ("switchboard/_work.py", "if line is None and not line.holds", "who calls has a line"),
    ("switchboard/_work.py", "found = _marks.get(None)", "it is found among all that there are"),
    ("switchboard/_work.py", 'flow.ring or "XXXX"', "a flow in which two call each other rings"),
    ("switchboard/_work.py", 'machine.ring or "XXXX"', "a flow that invites rings"),
    ("switchboard/_filling.py", "type(known) is type(None)", "one value under two names is one value"),
    ("switchboard/_plans.py", "initial = Control(None, leg", "it only has to differ from what the leg is then"),
    ("switchboard/__init__.py", "if merged is not None or there", "who called has a leg in the call that merged"),
    ("switchboard/_offers.py", "if one.joined < other.joined", "no two join at one place"),
    *(
        ("switchboard/_plans.py", f'str(user), {device}, "", control', "no leg of a trial is sought by its device")
        for device in ("str(None)", "None")
    ),
    ("switchboard/_plans.py", 'Device(None, "")', "the legs that a decision makes begin alike"),
    *(
        (
            "switchboard/_plans.py",
            f'Device(f"{{user}}/{{n}}", {epoch})',
            "a placeholder's epoch is compared with itself only",
        )
        for epoch in ("None", '"XXXX"')
    ),
    ("switchboard/_plans.py", "joined=_JOINS, grants=None,", "no token grants that either"),
    *(
        ("switchboard/_plans.py", f"->  initial = {part}", "it only has to differ from what the leg is then")
        for part in ('Control("XXXX"', "None")
    ),
    ("switchboard/_plans.py", "initial, avatar=leg.avatar)", "no name is read off"),
    ("switchboard/_plans.py", "initial, name=leg.name, )", "no picture is read off"),
    ("switchboard/_plans.py", "class Plan(Struct", "nothing changes one"),
    ("switchboard/_plans.py", "Command(None, _N", "a trial's command is not asked for its session"),
    ("endpoint/_step.py", "last = None", "the last stage is what the leg has become"),
    ("switchboard/_work.py", "self.lines.get(None) or", "the line is found by the longer way, too"),
    *(
        (
            "switchboard/_work.py",
            f"->  draft.dirty = {value}",
            "whoever gets a leg is given a state in the same decision",
        )
        for value in ("None", "False")
    ),
    ("switchboard/__init__.py", "fromkeys(live, -2)", "any number is below those of views"),
    ("switchboard/__init__.py", "if 0 <= empty_until", "a call in which nobody lives waits for somebody, or has ended"),
    ("switchboard/__init__.py", "and 0 <= leg.deadline", "in a state with a timer every leg has a deadline"),
    ("switchboard/_conditions.py", "_NOBODY = ", "no user has that id either"),
    ("switchboard/_filling.py", "or Line(None)", "who rings has a line"),
    ("switchboard/_filling.py", "->  initial = None", "who rings is given a state in the same decision"),
    ("switchboard/_filling.py", 'Control(None, "callee")', "who rings is given a state in the same decision"),
    ("switchboard/_plans.py", "Command(_SESSION, None,", "a trial's command is not asked for its number"),
    ("switchboard/_plans.py", "return Leg(None, leg.user", "a new leg of one place has one id in every call"),
    ("switchboard/_filling.py", "line.user if (line) or True", "no line is deleted by what goes as before"),
    (
        "switchboard/__init__.py",
        "fill(work, record, act, None)",
        "what makes no call makes no leg, as far as it is remembered",
    ),
    ("switchboard/__init__.py", "or Line(user, known=not guest)", "the name is taken from what was said, below"),
    ("switchboard/_work.py", "self.freed = None", "None counts as false"),
    (
        "switchboard/_work.py",
        "_others(draft, None) if draft.legs[i].user != user",
        "who fires is of the same user, and so no peer",
    ),
    ("switchboard/_plans.py", "joined=_JOINS, )", "who joins has no grants yet"),
    ("switchboard/_work.py", 'if line else "XXXX"', "who gets a leg has a line"),
    ("switchboard/_work.py", 'row.refuse or "XXXX"', "a row that comes as far refuses"),
    (
        "switchboard/_work.py",
        "any(i.user == user or i.state in before for i in draft.invitations):",
        "whose invitation it is has moved, and that is written anyway",
    ),
    ("switchboard/_work.py", "_marks.get(key)  ->  found = None", "it is found among all that there are"),
    *(
        ("endpoint/_facts.py", part, "the view that makes a leg says it again")
        for part in (
            *("metadata=view.metadata,  ->", "role, None, view.type", "pid, None, view.initiator"),
            *("type, None, view.receiver", "initiator, None,", "role, view.type,", "pid, view.initiator,"),
            "type, view.receiver,",
            "view.type, view.initiator, metadata=",
        )
    ),
    *(
        ("endpoint/_facts.py", f"({part}) or True", "of nothing nothing comes, but by a longer way")
        for part in ("leg.lanes", "wait.due", "owed or waits", "leg.offers", "leg.lost")
    ),
    *(
        ("endpoint/__init__.py", part, "who is not alone does not come as far")
        for part in (
            "->  if leg.alone_since >= 0 and alone",
            "leg.alone_since < 1 else 0",
            "leg.alone_since <= 0 else 0",
        )
    ),
    ("endpoint/_data.py", "return 4000001 //", "no rate divides the one and not the other"),
    ("endpoint/_step.py", "before <= seq", "of two equal numbers either may be taken"),
    ("endpoint/_step.py", 'rows[0].refuse or "XXXX"', "a row that comes as far refuses"),
    ("endpoint/_step.py", "state=stage.state, reason=None, media", "only the last stage is an end, and has a reason"),
    ("endpoint/_facts.py", "->  tell_peers(step, (), leg, None", "who begins was told of nobody: nobody can be gone"),
    (
        "endpoint/_facts.py",
        "switched=False)  ->  tell_peers(step, (), leg, gone, switched=None)",
        "None counts as false",
    ),
    ("endpoint/_tell.py", "own=None, switched=switched", "None counts as false"),
    (
        "endpoint/_facts.py",
        "line 25: leg = step.legs.get(view.session)  ->  leg = None",
        "where it would be made, it is looked up once more",
    ),
    (
        "endpoint/_facts.py",
        "line 25: leg = step.legs.get(view.session)  ->  leg = step.legs.get(None)",
        "where it would be made, it is looked up once more",
    ),
    *(
        ("endpoint/_facts.py", f"owed = () if {part} else", "what was heard is left out one by one as well")
        for part in ("owed[-1].n < heard", "(owed[-1].n <= heard) and False")
    ),
    ("endpoint/_facts.py", "if view.seq <= leg.seq or", "a view of the same number says the same"),
    ("endpoint/__init__.py", "beat_due > 1", "no heartbeat is due in the first millisecond of a device's time"),
    *(
        ("endpoint/__init__.py", f"step.legs.get(leg.session, {other})", "a leg whose time is up is still there")
        for other in ("None", "")
    ),
    ("endpoint/__init__.py", "->  self._link_down(step, None)", "that a link is down says nothing else"),
    ("endpoint/__init__.py", "Beat: lambda *_: 0", "nobody looks at what it answers"),
    ("endpoint/_facts.py", "(view.via) or True", "no call has an empty name"),
    *(
        ("endpoint/_walk.py", f"known.get(name, {other}) for name in row.unless", "None counts as false")
        for other in ("None", "")
    ),
    ("endpoint/__init__.py", "->  step.effects = [Send(command)", "nothing was done before in the same step"),
    ("endpoint/_step.py", "stages_of(machine, row, None, leg.media)", "an end leads to another state than it is in"),
    ("endpoint/_walk.py", "return False  ->  return True", "a row that refuses leads nowhere else"),
    ("endpoint/_step.py", 'trigger or "XXXX"', "no flow has a trigger of that name"),
    *(
        ("endpoint/_step.py", part, "the last stage is what the leg is in the end")
        for part in (
            "line 283: last = way[-1]  ->  last = None",
            "if stage is not last or stage.events",
            "(stage is not last and stage.events) or True",
        )
    ),
    *(
        ("endpoint/_step.py", f"({part}) or True", "of nothing nothing comes, but by a longer way")
        for part in ("changes", "self.changes", "self.names", "kinds", "may.agreed or may.revoked")
    ),
    ("endpoint/_intent.py", "if command.n >= n]", "what has failed is not owed any more"),
    ("endpoint/__init__.py", "(leg.lanes) or True", "of nothing nothing comes, but by a longer way"),
    ("endpoint/__init__.py", "if leg.alone_since <= 0", "a leg that is not alone does not come as far"),
    *(
        (
            "endpoint/_step.py",
            f"settle(ticket, ended, refusal(leg, {goal}))",
            "all goals but two, which are not these, give one error",
        )
        for goal in ('"XXheardXX"', '"HEARD"', "None")
    ),
    *(
        (f"endpoint/{module}.py", part, "nothing changes one")
        for module, part in (
            ("_data", "_Parcel(msgspec.Struct, frozen=False"),
            ("_data", "_Parcel(msgspec.Struct, frozen=None"),
            ("_data", "_Parcel(msgspec.Struct, omit_defaults"),
            ("_intent", "class Intent(Struct"),
            ("_moves", "class Stage(Struct"),
            ("_moves", "class Move(Struct"),
        )
    ),
    ("flow.py", 'unless="granted", )', "no row that refuses for want of a grant asks for more"),
    ("endpoint/_intent.py", "row.to in roles.ringing and row.to ==", "what was heard has led out of the first state"),
    ("switchboard/__init__.py", "and 1 < leg.deadline", "no deadline was in the first millisecond of 1970"),
    ("switchboard/__init__.py", "if (data) or True else error.code", "no data and nothing are told alike"),
    (
        "switchboard/_application.py",
        "is not None or draft.is_live",
        "who has ended has no row for it, and None no flow",
    ),
    *(
        ("switchboard/_commands.py", part, why)
        for part, why in (
            ('TokenError | None = ""', "an empty text counts as none"),
            ("wants_token: bool = None", "None counts as false"),
            ("wants_token: bool = True", "of a view it is always said, and nothing else is given a token"),
        )
    ),
    *(
        ("switchboard/_conditions.py", f'"{name}"', "what is not shown is asked for, at some cost")
        for name in ("XXreadyXX", "READY", "XXvideoXX", "VIDEO")
    ),
    *(
        ("switchboard/_filling.py", part, "a constant twice, or equal to another, says the same")
        for part in (
            "if known is value and (",
            "(type(None) is type(value) and",
            "(type(known) is not type(value) and",
        )
    ),
    *(
        ("switchboard/_filling.py", part, "nothing uses it where no leg is made")
        for part in ("if (self.plan.made) or True", 'if self.plan.made else "XXXX"')
    ),
    *(
        (f"switchboard/{module}.py", "if (control.flags) or True", "of nothing nothing comes, but by a longer way")
        for module in ("_filling", "_views")
    ),
    ("switchboard/_filling.py", "line.user if (line) and False", "the same id, held once more"),
    ("switchboard/_offers.py", "(offer.waiting == pid) or True", "of a pair nobody else waits than who does not hold"),
    ("switchboard/_offers.py", "replace(offer, holder=None", "whoever waits is given it at once"),
    ("switchboard/_plans.py", "->  _SESSION = None", "any name will do"),
    ("switchboard/_plans.py", "self.known.get(None) or", "it is found by the longer way, too"),
    ("switchboard/_plans.py", "len(self.known) > self.limit", "one more is remembered"),
    ("switchboard/_plans.py", "str(place), None, control", "a placeholder's epoch is compared with itself only"),
    ("switchboard/_plans.py", "refused=None, joined", "it only has to differ from what the leg is then"),
    ("switchboard/_plans.py", "class Change(Struct", "nothing changes one"),
    ("switchboard/_plans.py", '->  claims = ""', "a trial without a token asks for no claims"),
    *(
        ("switchboard/_plans.py", part, "what a trial reads of its command is the user, and what the shape shows")
        for part in ("me.user, None, me.epoch", "me.device, None, command", "command, claims, )")
    ),
    ("switchboard/_plans.py", 'Control("", None)', "it only has to differ from what the leg is then"),
    ("switchboard/_views.py", "(last.end.at == work.now) and False", "the same value, made anew"),
    ("switchboard/_views.py", "if (record.offers) or True", "of nothing nothing comes, but by a longer way"),
    ("switchboard/_views.py", "_LATELY = 33", "how many it is told of is a choice"),
    ("switchboard/_work.py", "if (line is not None) or True", "who is asked for has a line"),
    ("switchboard/_work.py", "for session in line.holds] if (line) or True", "who calls has a line"),
    ("switchboard/_work.py", "or Line(None), draft.find", "where there is no line, there is no name"),
    ("switchboard/_work.py", "self.shared = None", "None counts as false"),
    ("switchboard/_work.py", 'StatecoreError | None = ""', "an empty text counts as none"),
    (
        "switchboard/_work.py",
        "leg.user == caller or old.is_live(leg)",
        "who else is in it has the same end by the loss of a peer as by its own",
    ),
)
"""Changes that make no difference: module, a part of what was changed, and why."""


class Place(NamedTuple):
    """Where something can be changed, and into what."""

    key: str
    path: str
    before: str
    module: Any
    mutation: Any


def places(package: Path, seed: int) -> list[Place]:
    """All there are, in an order by chance: whatever part of it has been run is a fair sample of the whole."""
    found = [place for pattern in CORE for file in sorted(package.glob(pattern)) for place in _of(package, file)]
    random.Random(seed).shuffle(found)  # noqa: S311 - to be had again by its seed
    return found


def run(package: Path, args: argparse.Namespace) -> int:
    """Run them, and write down what came of them; exit 1 if one survives without a reason."""
    record = recorded(package, anew=args.record)
    every = places(package, args.seed)
    about = {"seed": args.seed, "of": len(every), **record.stamp}
    part, parts = (int(number) for number in args.shard.split("/"))
    chosen = every[: args.sample][part - 1 :: parts]
    if args.names:
        chosen = [place for place in chosen if any(fnmatch.fnmatch(place.path, name) for name in args.names)]
    if args.list:
        print(*(f"{made.path}: {made.name}" for place in chosen if (made := _made(place))), sep="\n")
        return 0
    done = _begun(about, resume=args.resume)
    left = [place for place in chosen if _is_left(done.get(place.key), args)]
    print(f"{len(left)} to do, of {len(every)}; seed {args.seed}, core {record.stamp['core']}", flush=True)
    warm(record.modules)
    gc.collect()
    gc.freeze()  # what a child does not touch is not copied
    workers = []
    for number in range(args.jobs):
        pid = os.fork()
        if pid == 0:
            _work(package, left[number :: args.jobs], record, args)
        workers.append(pid)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while workers:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            workers = [worker for worker in workers if worker != pid]
            time.sleep(0 if pid else 2)
            if not pid:
                written()
    except KeyboardInterrupt:
        print("Interrupted: --resume goes on from here.")
        for worker in workers:
            os.kill(worker, signal.SIGINT)
            os.waitpid(worker, 0)
    told = written()
    told |= {"equivalent": sum(told["equivalent"].values())}
    print(", ".join(f"{told[what]} {what}" for what in SUMMARY))
    return 1 if told["unexplained"] or told["alarms"] else 0


def _begun(about: dict[str, Any], *, resume: bool) -> dict[str, dict[str, Any]]:
    """What was done before, by key; and the log, open for more."""
    if resume and LOG.exists():
        before, _, done = _log()
        changed = {name for name in ("core", "seed", "of") if before[name] != about[name]}
        if changed:
            raise SystemExit(f"The run that was begun is of another {' and '.join(sorted(changed))}: begin a new one.")
        return done
    LOG.parent.mkdir(exist_ok=True)
    LOG.write_text(json.dumps(about) + "\n", encoding="utf-8")
    return {}


def _log() -> tuple[dict[str, Any], dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Of what the run is, and the first and the last word on each mutant."""
    about, *lines = (json.loads(line) for line in LOG.read_text(encoding="utf-8").splitlines())
    return about, {line["key"]: line for line in reversed(lines)}, {line["key"]: line for line in lines}


def _is_left(done: dict[str, Any] | None, args: argparse.Namespace) -> bool:
    if done is None:
        return True
    return (done["what"] == "undecided" and (args.full or args.again)) or (done["what"] == "survived" and args.again)


def _work(package: Path, chosen: Sequence[Place], record: Record, args: argparse.Namespace) -> None:
    """One of the processes at work: each mutant in turn, as long as nobody interrupts."""
    since = time.time()
    standing = Standing(package, record.times)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a shell it would be ignored
    try:
        for number, place in enumerate(chosen):
            began = time.monotonic()
            if _newest(package) > since:
                print("The code or the tests have been changed under the run: copy the tree, and run it there.")
                os._exit(2)
            line = {"key": place.key, **_tried(package, place, record, standing, args), "seconds": elapsed(began)}
            _note(line)
            if number % CONTROL == 0 and line["what"] != "words":
                control = _control(package, place, record, standing)
                _note({"key": f"{place.key} unchanged", **control, "seconds": elapsed(began)})
    except KeyboardInterrupt:
        os._exit(1)
    os._exit(0)


def _note(line: dict[str, Any]) -> None:
    with LOG.open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")
    print(f"{line['what']:10}{line['seconds']:7.1f} s  {line.get('name', '')[:150]}", flush=True)


def _control(package: Path, place: Place, record: Record, standing: Standing) -> dict[str, str]:
    """What the quick tests say of the same module unchanged, in the very same ways: an `alarm` is a false one."""
    mutant = _made(place)
    assert mutant is not None
    ready, rest = _ready(record.watchers(place.path, place.before, mutant.source))
    unchanged = mutant._replace(source=place.before)
    tests, _ = split(rest, QUICK)
    by = standing.noticed(unchanged, place.before, ready) or noticed(package, unchanged, tests, record.times)
    return {"what": "alarm" if by else "control", "name": by}


def _newest(package: Path) -> float:
    """When something that a mutant's process reads was changed last."""
    return max(file.stat().st_mtime for folder in (package, ROOT / "tests") for file in folder.rglob("*.py"))


def _tried(package: Path, place: Place, record: Record, standing: Standing, args: argparse.Namespace) -> dict[str, str]:
    """What becomes of it. An `undecided` one outlived many tests, and the longest have not run."""
    mutant = _made(place)
    if mutant is None:
        return {"what": "words"}
    name = f"{mutant.path}: {mutant.name}"
    rest = record.watchers(mutant.path, place.before, mutant.source)
    by = None
    if not record.runs_on_import(mutant.path, place.before, mutant.source):
        ready, others = _ready(rest)
        by = standing.noticed(mutant, place.before, ready)
        rest = rest if by is None else others
        if by == "" and args.quick:
            return {"what": "undecided", "name": name, "by": ""}
    for seconds in (QUICK,) if mutant.equivalent or args.quick else (QUICK, LONG):
        tests, rest = ({}, rest) if by else split(rest, seconds)
        by = by or noticed(package, mutant, tests, record.times)
    if mutant.equivalent:
        rest = {}
    if args.full and not by:
        by = noticed(package, mutant, rest, record.times)
    what = "killed" if by else "undecided" if rest and not args.full else "survived"
    return {"what": what, "name": name, "by": by or ""}


def _ready(tests: dict[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """Those that stand ready, as many as are quick, and the rest."""
    ready, _ = split({name: takes for name, takes in tests.items() if name.partition("::")[0] in FILES}, READY)
    return ready, {name: takes for name, takes in tests.items() if name not in ready}


def written() -> dict[str, Any]:
    """Write what is known so far to out/mutants-tool.json."""
    about, drawn, done = _log()
    at_first = sum(line["what"] == "killed" for line in drawn.values())
    count = Counter(line["what"] for line in done.values())
    controls, alarms = count.pop("control", 0), count.pop("alarm", 0)
    names = sorted(line["name"] for line in done.values() if line["what"] in ("survived", "undecided"))
    survivors = [{"name": name, "why": reason(name)} for name in names]
    tried, reasons = count.total() - count["words"], Counter(each["why"] for each in survivors)
    undecided = sum(line["what"] == "undecided" and not reason(line["name"]) for line in done.values())
    told = {
        **about,
        "words": count["words"],
        "tried": tried,
        "killed": count["killed"],
        "at_first": at_first,  # before tests were written for those that were drawn: this is fair to the others
        "interval": wilson(at_first, tried),
        "undecided": undecided,
        "controls": controls + alarms,
        "alarms": alarms,
        "unexplained": reasons.pop("", 0) - undecided,
        "equivalent": dict(reasons.most_common()),
        "survivors": survivors,
    }
    (OUT / "mutants-tool.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return told


def wilson(hits: int, tries: int) -> tuple[float, float]:
    """Between which shares the true one lies, 19 times of 20."""
    if not tries:
        return 0.0, 1.0
    z, share = 1.96, hits / tries
    middle, spread = share + z * z / (2 * tries), z * sqrt((share * (1 - share) + z * z / (4 * tries)) / tries)
    return round((middle - spread) / (1 + z * z / tries), 4), round((middle + spread) / (1 + z * z / tries), 4)


def reason(name: str) -> str:
    """Why this change makes no difference; empty if none is known."""
    path, _, told = name.partition(": ")
    return next((why for where, part, why in EQUIVALENT if where == path and part in told), "")


def _of(package: Path, file: Path) -> Iterator[Place]:
    """Each change of a module."""
    before = file.read_text(encoding="utf-8")
    path = str(file.relative_to(package))
    module, mutations, _, _ = create_mutations(path, before)
    for number, mutation in enumerate(mutations):
        yield Place(f"{path} {number}", path, before, module, mutation)


def _made(place: Place) -> Mutant | None:
    """The mutant; None for what only people read."""
    after: Any = deep_replace(place.module, place.mutation.original_node, place.mutation.mutated_node)
    told = _changed(place.before, after.code)
    return None if told is None else Mutant(told, place.path, after.code, reason(f"{place.path}: {told}"))


def _changed(before: str, after: str) -> str | None:
    """What was changed, in a line; None for what only people read."""
    changes = [
        (number, old, new)
        for number, (old, new) in enumerate(zip(before.splitlines(), after.splitlines(), strict=False), 1)
        if old != new
    ]
    if not changes:
        return None if before == after else "lines removed"
    number, old, new = changes[0]
    if NOTHING.search(old.strip()) or (any(word in old for word in WORDS) and _text(old, new)):
        return None
    return f"line {number}: {' '.join(old.split())}  ->  {' '.join(new.split())}"


def _text(old: str, new: str) -> bool:
    """Whether the change lies in a text with several words."""
    parts = difflib.SequenceMatcher(None, old, new).get_opcodes()
    first = next(start for tag, start, *_ in parts if tag != "equal")
    quoted = old.rfind('"', 0, first + 1)
    return quoted >= 0 and " " in old[quoted : old.find('"', quoted + 1) + 1]
