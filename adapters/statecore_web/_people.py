"""Who can be called, for pages that ask again and again: a bounded part of everybody, looked up once for them all."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterator
from itertools import accumulate, islice
from typing import TypeAlias

from statecore import User

Presence: TypeAlias = list[tuple[User, bool]]
_BEGINS = "\0"
"""What stands before each name: no page sends it by accident."""
_MOST = 200
"""How many a page is told of at a time."""
_AT_ONCE = 500
"""Of how many the names are prepared before others have their turn."""
_FRESH = 1.0
"""For how many seconds what was found is good enough; longer if finding it takes long, so that ..."""
_SHARE = 20
"""... no more than one part in so many of the time goes into it, however many pages ask."""


class People:
    """Everybody who is known, those first who are there. `look` finds them, in the order of their ids."""

    def __init__(self, look: Callable[[], Awaitable[Presence]]) -> None:
        self._look = look
        self._looking: asyncio.Task[_Directory] | None = None
        self._good_until = 0.0

    async def find(self, beginning: str, but: str) -> Presence:
        """At most so many but one, whose id, name or a word of it begins so, in whatever case. Raises what `look`
        raises."""
        found = (await self._everybody()).matching(beginning.casefold())
        return list(islice((one for one in found if one[0].uid != but), _MOST))

    async def _everybody(self) -> _Directory:
        now = asyncio.get_running_loop().time()
        if self._looking is None or (self._looking.done() and now >= self._good_until):
            self._looking = asyncio.get_running_loop().create_task(self._found(), name="statecore web people")
        return await asyncio.shield(self._looking)

    async def _found(self) -> _Directory:
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._good_until = began  # whoever comes after a failure asks anew
        people = sorted(await self._look(), key=lambda one: not one[1])
        names: list[str] = []
        for user, _ in people:
            names.append(_names(user))
            if len(names) % _AT_ONCE == 0:
                await asyncio.sleep(0)  # calls go on meanwhile
        self._good_until = loop.time() + max(_FRESH, _SHARE * (loop.time() - began))
        return _Directory(people, names)


class _Directory:
    """Everybody in the order in which they are told of, and all their names as one text: to look through that takes a
    small part of the time that it takes to look at each."""

    def __init__(self, people: Presence, names: list[str]) -> None:
        self._people = people
        self._text = "".join(names)
        self._begins = list(accumulate(map(len, names), initial=0))
        """Where in it the names of each begin, and where the last one's end."""

    def matching(self, beginning: str) -> Iterator[tuple[User, bool]]:
        """Those of whom a name begins so, which is casefolded."""
        at = 0
        while (at := self._text.find(_BEGINS + beginning, at)) >= 0:
            place = bisect_right(self._begins, at) - 1
            yield self._people[place]
            at = self._begins[place + 1]


def _names(user: User) -> str:
    """What somebody is found by."""
    return "".join(_BEGINS + name for name in (user.uid, user.name, *user.name.split())).casefold()


__all__ = ["People"]
