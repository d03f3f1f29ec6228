"""The mutants that a mutation tool makes: its operators, our way to run what they make.

The tool's own runner switches mutated *functions* on, one at a time, in modules that are imported already. Our tables
are data that is made once, on import, which would escape it; so only its operators are used.
"""

from __future__ import annotations

import difflib
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mutmut.mutation.file_mutation import create_mutations, deep_replace
from run import CORE, Mutant

WORDS = ("Trigger(", "raise AssertionError(", "(why=")
"""Calls whose last text is for people: no test should hold to its wording."""
NOTHING = re.compile(r'^"\w+",$|\bgc=|^(Input|Effect|\w+: TypeAlias) = ')
"""Lines whose change no program can notice: names in `__all__`, garbage collection, aliases of types."""
EQUIVALENT = (
    ("switchboard/_plans.py", "_SOURCES = (", "only the places of the names count, and they stay"),
    (
        "endpoint/__init__.py",
        'Wait(given.ticket, "joinable", 0, ',
        "a wait without a time is never told what it waited for",
    ),
    ("switchboard/__init__.py", "value=value[:", "how much of a bad id an error quotes"),
    ("switchboard/_plans.py", "_at > 1,", "no call was answered in the first millisecond of 1970"),
    ("switchboard/_plans.py", '->  issuer="XXXX"', "nothing that decides reads these fields of a placeholder"),
    ("switchboard/_plans.py", "strict=", "both are of one length"),
    (
        "switchboard/__init__.py",
        "->  done = None",
        "a remembered decision is the same as a new one, but faster",
    ),
    ("switchboard/_work.py", "fresh=None", "None counts as false"),
    ("endpoint/__init__.py", "if leg.alone_since <= 0", "a leg that is not alone does not come as far"),
    ("endpoint/_step.py", 'refusal(leg, "', "of an ended leg all goals but two, which are not these, give one error"),
)
"""Changes that make no difference: module, a part of what was changed, and why."""


def mutants(package: Path, sample: int | None, seed: int) -> tuple[list[Mutant], int]:
    """Every one there is, or `sample` of them by chance; and how many changes there are in all.

    The chance comes first: writing out each of some thousands takes longer than testing a sample.
    """
    places = [place for pattern in CORE for file in sorted(package.glob(pattern)) for place in _of(package, file)]
    if sample is not None:
        random.Random(seed).shuffle(places)  # noqa: S311 - to be had again by its seed
    made = []
    for place in places:
        mutant = _made(*place)
        made += [mutant] if mutant else []
        if len(made) == sample:
            break
    return made, len(places)


def _of(package: Path, file: Path) -> Iterator[tuple[int, str, str, Any, Any]]:
    """Each change of a module: its number, the module's path and text, its tree, and what to do."""
    before = file.read_text()
    path = str(file.relative_to(package))
    module, mutations, _, _ = create_mutations(path, before)
    for number, mutation in enumerate(mutations):
        yield number, path, before, module, mutation


def _made(number: int, path: str, before: str, module: Any, mutation: Any) -> Mutant | None:
    after: Any = deep_replace(module, mutation.original_node, mutation.mutated_node)
    told = _changed(before, after.code)
    if told is None:
        return None
    why = next((why for where, part, why in EQUIVALENT if where == path and part in told), "")
    return Mutant(f"{number}: {told}", path, after.code, why)


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
