"""The mutants that a mutation tool makes: its operators, our way to run what they make.

The tool's own runner switches mutated *functions* on, one at a time, in modules that are imported already. Our tables
are data that is made once, on import, which would escape it; so only its operators are used.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from mutmut.mutation.file_mutation import create_mutations, deep_replace
from run import CORE, Mutant

WORDS = ("Trigger(", "raise AssertionError(")
"""Calls whose last text is for people: no test should hold to its wording."""


def mutants(package: Path) -> list[Mutant]:
    """Every one there is."""
    made = []
    for pattern in CORE:
        for file in sorted(package.glob(pattern)):
            made += _of(file, str(file.relative_to(package)))
    return made


def _of(file: Path, path: str) -> list[Mutant]:
    before = file.read_text()
    module, mutations, _, _ = create_mutations(path, before)
    made = []
    for n, mutation in enumerate(mutations):
        after: Any = deep_replace(module, mutation.original_node, mutation.mutated_node)
        told = _changed(before, after.code)
        if told is not None:
            made.append(Mutant(f"{n}: {told}", path, after.code))
    return made


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
    if any(word in old for word in WORDS) and _text(old, new):
        return None
    return f"line {number}: {' '.join(old.split())}  ->  {' '.join(new.split())}"


def _text(old: str, new: str) -> bool:
    """Whether the change lies in a text with several words."""
    parts = difflib.SequenceMatcher(None, old, new).get_opcodes()
    first = next(start for tag, start, *_ in parts if tag != "equal")
    quoted = old.rfind('"', 0, first + 1)
    return quoted >= 0 and " " in old[quoted : old.find('"', quoted + 1) + 1]
