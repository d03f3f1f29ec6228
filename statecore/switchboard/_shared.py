"""Small values that very many records carry alike. Equal ones are one object while they are being made, as all ids are
that come from a record: of a call that rings, what it holds by itself is what there is of it."""

from __future__ import annotations

import functools
import sys


def new_pid(place: int) -> str:
    """The id of the participant whose leg is the next one. One text for all calls: there are two in every call."""
    return sys.intern(str(place + 1))


@functools.lru_cache(maxsize=16)
def alone(session: str) -> tuple[str]:
    """What a line holds that one call takes. One tuple for the lines of both who are in a call."""
    return (session,)


@functools.lru_cache(maxsize=64)
def moment(milliseconds: int) -> int:
    """This time. One number for all that is said of the same millisecond: where very many calls ring, several of them
    begin in each, and more leases do."""
    return milliseconds


__all__ = ["alone", "moment", "new_pid"]
