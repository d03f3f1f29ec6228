"""Ids that come from outside, and are to be known from now on."""

from __future__ import annotations

from ..errors import InvalidArgument

_RELATIVE = frozenset({".", ".."})


def addressable(name: str, value: str) -> str:
    """An id that can be part of an address. These two cannot, however they are written: clients and proxies take them
    for another place, so that nothing could be asked of what is called so. Raises InvalidArgument."""
    if value in _RELATIVE:
        raise InvalidArgument(f"an id is not {value!r}: in an address that is another place", name=name)
    return value


__all__ = ["addressable"]
