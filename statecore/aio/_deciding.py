"""How a decision is taken: what it rests on is loaded, the switchboard decides, and the store takes it or refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias

from msgspec import Struct

from ..errors import StoreConflict
from ..model import FORGOTTEN, Line, Record, people
from ..ports import Key, Store
from ..switchboard import (
    Act,
    Confirm,
    Connect,
    Disconnect,
    Done,
    Due,
    End,
    Goodbye,
    Input,
    Need,
    Negotiate,
    Route,
    bound_key,
)
from ._outbox import Outbox

Loaded: TypeAlias = dict[Key, tuple[int, Any]]
"""Records with their versions, as a store gives and takes them."""
Records: TypeAlias = dict[Key, Any]

_TURN = 1.0
"""How many seconds one decision about a call waits for the one before it."""


class Leave(Struct, frozen=True):
    """A device goes for good, as its connection was cut off. Stale if a newer one took its place."""

    user: str
    device: str
    epoch: str
    conn: int

    def said(self, line: Line | None) -> Goodbye | Disconnect:
        """What that is to the switchboard, which takes a `Goodbye` from whichever connection."""
        here = (self.device, self.epoch, self.conn)
        if line is not None and any((each.device, each.epoch, each.conn) == here for each in line.devices):
            return Goodbye(self.user, self.device, self.epoch)
        return Disconnect(self.user, *here)


class Decisions:
    """Asks what is to be done, and asks again until the store takes it, at most `attempts` times.

    What the devices in a call want is decided one after another, in the order in which it came: of two decisions about
    one record, which a store takes its time to write, the later is for nothing. That only saves work, so nobody waits
    long for a store that hangs, and no timer, relay or application at all: it is the versions that decide.

    `decide` answers from the records it is given, or says which it needs. `committed` hears at once of each decision
    that was taken: what was asked, what it rests on, and the notices."""

    def __init__(
        self,
        decide: Callable[[Records, Input], Need | Done],
        store: Store,
        outbox: Outbox,
        attempts: int,
        committed: Callable[[Input, Done, Records, Loaded], None],
    ) -> None:
        self._decide = decide
        self._store = store
        self._outbox = outbox
        self._attempts = attempts
        self._committed = committed
        self._newest: dict[Key, asyncio.Future[None]] = {}
        """Of which calls something is being decided: when the newest of it is."""

    async def take(self, given: Input | Leave) -> Done:
        """One decision. Raises StoreConflict, and whatever the store raises: it alone knows whether it has it then."""
        keys = _likely(given)
        if not isinstance(given, Act | Negotiate):
            return await self._take(given, keys)
        key, done = keys[0], asyncio.get_running_loop().create_future()
        ahead, self._newest[key] = self._newest.get(key), done
        try:
            if ahead is not None:
                await asyncio.wait([ahead], timeout=_TURN)
            return await self._take(given, keys)
        finally:
            done.set_result(None)
            if self._newest.get(key) is done:
                del self._newest[key]

    async def _take(self, given: Input | Leave, keys: tuple[Key, ...]) -> Done:
        for _ in range(self._attempts):
            loaded = await self._store.load(keys)
            view = _view(loaded)
            said = given.said(view["line", given.user]) if isinstance(given, Leave) else given
            decision, again = self._decide(view, said), False
            while isinstance(decision, Need):
                more = await self._store.load(_and_the_like(decision.keys, loaded) if again else decision.keys)
                loaded.update(more)
                view.update(_view(more))
                decision, again = self._decide(view, said), True
            told = await self._outbox.enclose(decision, loaded)
            if await self._commit(decision, loaded, told):
                self._committed(said, decision, view, told)
                return decision
            keys = tuple(loaded)
        raise StoreConflict(attempts=self._attempts)

    async def _commit(self, decision: Done, loaded: Loaded, told: Loaded) -> bool:
        if not decision.writes:
            return True
        # What was only read must not have changed either; only what exists can be checked without writing it.
        commit = {key: loaded[key] for key in decision.reads if loaded[key][1] is not None}
        for key, value in decision.writes.items():
            commit[key] = (loaded[key][0], value)
        commit.update(told)
        return await self._store.commit(commit)


def _view(loaded: Loaded) -> Records:
    """The values; of a call that was let go of, that it was."""
    return {
        key: FORGOTTEN if value is None and version and key[0] == "call" else value
        for key, (version, value) in loaded.items()
    }


def _likely(given: Input | Leave) -> tuple[Key, ...]:
    """What a decision is going to read, so that one load usually does."""
    if isinstance(given, Act):
        command = given.command
        likely = (("call", command.session), ("line", given.user))
        return (*likely, ("line", command.receiver)) if command.receiver else likely
    if isinstance(given, Route):
        return (("call", given.relay.session),)
    if isinstance(given, Negotiate):
        return (("call", given.wish.session),)
    if isinstance(given, End):
        return (("call", given.session),)
    if isinstance(given, Connect):
        bound = (bound_key(given.guest.token_id),) if given.guest is not None else ()
        return (("line", given.user), *bound, *(("call", session) for session in given.hello.sessions))
    if isinstance(given, Confirm):
        return (("line", given.user), *(("call", session) for session in given.sessions or ()))
    return (given.key,) if isinstance(given, Due) else (("line", given.user),)


def _and_the_like(keys: tuple[Key, ...], loaded: Loaded) -> tuple[Key, ...]:
    """What is needed, and what is going to be after that: it is asked for one by one, and each time the decision begins
    anew, so that of many it would take the square. Next to a call are those that lines have or calls were merged into,
    next to a line those of everybody who has a part in a call."""
    values = [value for _, value in loaded.values()]
    calls = [value for value in values if isinstance(value, Record)]
    if keys[0][0] == "line":
        like = {("line", user) for call in calls for user in people(call)}
    else:
        like = {("call", call.merged_into) for call in calls if call.merged_into}
        lines = [value for value in values if isinstance(value, Line)]
        like |= {("call", session) for line in lines for session in (*line.holds, *line.sessions)}
    return *keys, *sorted(like - loaded.keys() - {*keys})


__all__ = ["Decisions", "Leave"]
