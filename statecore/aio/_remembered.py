"""What a device remembers of what is over: the newest of it."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")

REMEMBERED = 256
"""How many ended calls a device can still say the outcome of."""


def keep(memory: dict[str, T], key: str, value: T) -> None:
    """Remember something as the newest, and forget the oldest if it is too much."""
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > REMEMBERED:
        del memory[next(iter(memory))]


__all__ = ["keep"]
