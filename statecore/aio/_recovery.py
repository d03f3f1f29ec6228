"""What a service does with a store that outlived its process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from ..errors import StoreConflict
from ..model import Line
from ..ports import Key, Store
from ..switchboard import Done, Restart, Switchboard

_AT_ONCE = 500
"""How many lines one commit takes up: a commit for each would make everybody wait for the disk as often."""


async def take_up_lines(
    store: Store, board: Switchboard, wall: Callable[[], int], written: Callable[[dict[Key, Any]], None]
) -> None:
    """Give every device that was connected a whole lease again, as the time without a service does not count.

    `written` hears of each commit. Raises StoreConflict; may be done again from the beginning."""
    found = [key for key, line in await store.scan("line") if isinstance(line, Line) and line.devices]
    for first in range(0, len(found), _AT_ONCE):
        written(await _restarted(store, board, wall, found[first : first + _AT_ONCE]))


async def _restarted(store: Store, board: Switchboard, wall: Callable[[], int], lines: list[Key]) -> dict[Key, Any]:
    for _ in range(board.settings.attempts):
        loaded = await store.load(lines)
        writes: dict[Key, Any] = {}
        for key, (_, line) in loaded.items():
            # It rests on this line alone, so it needs nothing else, and there is nobody to tell.
            writes |= cast("Done", board.step({key: line}, Restart(key[1]), wall())).writes
        if await store.commit({key: (loaded[key][0], value) for key, value in writes.items()}):
            return writes
    raise StoreConflict(attempts=board.settings.attempts)


__all__ = ["take_up_lines"]
