"""What a call does to a user's line: one of these four, each idempotent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from msgspec.structs import replace

from ..model import Line
from ._shared import alone

LineChange: TypeAlias = Callable[[Line, str], Line]


def enlist(line: Line, session: str) -> Line:
    """Let the line know of a session, unless the call takes the line itself."""
    if session in line.sessions or session in line.holds:
        return line
    return replace(line, sessions=(*line.sessions, session))


def seize(line: Line, session: str) -> Line:
    """Let the call take the line."""
    others = _without(line.holds, session)
    holds = (*others, session) if others else alone(session)
    return replace(line, holds=holds, sessions=_without(line.sessions, session))


def let_go(line: Line, session: str) -> Line:
    """Let the call go of the line."""
    return replace(line, holds=_without(line.holds, session)) if session in line.holds else line


def delist(line: Line, session: str) -> Line:
    """Let the line forget of a session that does not take it."""
    return replace(line, sessions=_without(line.sessions, session)) if session in line.sessions else line


def _without(sessions: tuple[str, ...], session: str) -> tuple[str, ...]:
    return tuple([each for each in sessions if each != session])


__all__ = ["LineChange", "delist", "enlist", "let_go", "seize"]
