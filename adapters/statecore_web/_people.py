"""Who can be called, for pages that ask again and again: a bounded part of everybody, looked up once for them all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from typing import TypeAlias

from statecore import User

Presence: TypeAlias = list[tuple[User, bool]]
_MOST = 200
"""How many a page is told of at a time."""
_FRESH = 1.0
"""For how many seconds what was found is good enough; longer if finding it takes long, so that ..."""
_SHARE = 20
"""... no more than one part in so many of the time goes into it, however many pages ask."""


class People:
    """Everybody who is known, those first who are there. `look` finds them, in the order of their ids."""

    def __init__(self, look: Callable[[], Awaitable[Presence]]) -> None:
        self._look = look
        self._looking: asyncio.Task[Presence] | None = None
        self._good_until = 0.0

    async def find(self, beginning: str, but: str) -> Presence:
        """At most so many but one, whose id, name or a word of it begins so, in whatever case. Raises what `look`
        raises."""
        everybody = await self._everybody()
        return list(islice(_matching(everybody, beginning.casefold(), but), _MOST))

    async def _everybody(self) -> Presence:
        now = asyncio.get_running_loop().time()
        if self._looking is None or (self._looking.done() and now >= self._good_until):
            self._looking = asyncio.get_running_loop().create_task(self._found(), name="statecore web people")
        return await asyncio.shield(self._looking)

    async def _found(self) -> Presence:
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._good_until = began  # whoever comes after a failure asks anew
        found = sorted(await self._look(), key=lambda one: not one[1])
        self._good_until = loop.time() + max(_FRESH, _SHARE * (loop.time() - began))
        return found


def _matching(everybody: Presence, beginning: str, but: str) -> Iterator[tuple[User, bool]]:
    for user, there in everybody:
        names = (user.uid, user.name, *user.name.split())
        if user.uid != but and any(name.casefold().startswith(beginning) for name in names):
            yield user, there


__all__ = ["People"]
