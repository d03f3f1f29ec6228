"""What a service tells of its decisions to who watches it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from msgspec import Struct

from ..model import Record
from ..ports import Key
from ..switchboard import Act, Done, Input
from ..wire import Refused


class Decision(Struct, frozen=True):
    """One decision that was committed."""

    command: str = ""
    """The trigger of the command that it is about; empty if it is about a connection, a timer or media."""
    refused: str = ""
    """The code of the error with which the command was refused; empty if it was taken."""
    ended: tuple[Record, ...] = ()
    """The calls and sessions that it ended."""


Observer: TypeAlias = Callable[[Decision], None]
"""See `CallService.observe`."""


def decision(given: Input, done: Done, before: Mapping[Key, Any]) -> Decision:
    """What was decided, and about what; `before` has the records as they were."""
    ended = tuple([r for key, r in done.writes.items() if _has_ended(r) and not _has_ended(before[key])])
    if not isinstance(given, Act):
        return Decision(ended=ended)
    for effect in done.effects:
        if isinstance(effect.message, Refused):
            return Decision(given.command.trigger, effect.message.code, ended)
    return Decision(given.command.trigger, "", ended)


def _has_ended(record: Any) -> bool:
    return isinstance(record, Record) and bool(record.end.at) and not record.merged_into


__all__ = ["Decision", "Observer", "decision"]
