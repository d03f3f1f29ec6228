"""What can be asked of a service: users and calls, as the store has them."""

from __future__ import annotations

import inspect

from ..errors import CallNotFound, UnknownUser
from ..model import Call, Line, Record, User
from ..ports import CallIndex, IceSource, Store
from ..settings import IceServers
from ..switchboard import Register, check_id
from ._find import FIRST, LAST, CallPage, CallQuery, find, find_in
from ._log import call_of_record


class Looking:
    """Looks into the store of a service, and what it was given. Nothing here changes anything."""

    store: Store
    """Where the records are."""
    ice: IceSource | None
    """Where STUN and TURN servers come from; None for none."""
    _pending: dict[str, Register]
    """Users as the store does not know them yet."""

    async def ice_servers(self, user: str) -> IceServers:
        """What a user may use to reach others now. Raises what the source raises."""
        check_id("user", user)
        given = self.ice(user) if self.ice is not None else IceServers()
        return await given if inspect.isawaitable(given) else given

    async def call_log(self) -> list[Call]:
        """Every call that has ended and is kept, oldest first. Each stands there exactly once, with everyone who had
        joined it as its participants: each time, if somebody left and came back."""
        records = [record for _, record in await self.store.scan("call") if isinstance(record, Record)]
        return [call_of_record(r) for r in records if r.end.at and not r.merged_into]

    async def calls(self) -> list[Call]:
        """Every live call and session, with those who are in it as its participants."""
        return [call_of_record(record) for record in await self._live()]

    async def count_calls(self) -> int:
        """How many calls and sessions live."""
        return await self.store.count_live() if isinstance(self.store, CallIndex) else len(await self._live())

    async def _live(self) -> list[Record]:
        if isinstance(self.store, CallIndex):
            return await self.store.find_calls(user=None, live=True, above=FIRST, below=LAST, newest=False, limit=None)
        records = [record for _, record in await self.store.scan("call") if isinstance(record, Record)]
        return [record for record in records if not record.end.at and not record.merged_into]

    async def find_calls(self, query: CallQuery | None = None) -> CallPage:
        """The calls that a query asks for, live and ended, newest first, a page at a time; participants as in `calls`
        and `call_log`."""
        if isinstance(self.store, CallIndex):
            return await find_in(self.store, query or CallQuery())
        records = [record for _, record in await self.store.scan("call") if isinstance(record, Record)]
        return find(records, query or CallQuery())

    async def users(self) -> list[User]:
        """Everybody who is known, and so can be rung."""
        return [user for user, _ in await self.presence()]

    async def presence(self, *, after: str = "", limit: int | None = None) -> list[tuple[User, bool]]:
        """Who is known, in the order of their ids, and whether each is `online`: those after an id, at most so many."""
        lines = [line for _, line in await self.store.scan("line") if isinstance(line, Line) and line.known]
        known = {line.user: line for line in lines}
        there = {line.user for line in lines if line.ringing}
        wanted = sorted(uid for uid in {*known, *self._pending} if uid > after)[:limit]
        return [(_user(uid, known.get(uid), self._pending.get(uid)), uid in there) for uid in wanted]

    async def user(self, uid: str) -> User:
        """One who is known, by one look into the store. Raises UnknownUser."""
        line = (await self.store.load((("line", uid),)))["line", uid][1]
        coming, known = self._pending.get(uid), isinstance(line, Line) and line.known
        if coming is None and not known:
            raise UnknownUser(user=uid)
        return _user(uid, line if known else None, coming)

    async def online(self, user: str) -> bool:
        """Whether a device of this user is connected that could ring. False for who is not known, and for guests."""
        line = (await self.store.load((("line", user),)))["line", user][1]
        return isinstance(line, Line) and bool(line.ringing)

    async def fetch(self, session_id: str) -> Call:
        """One call, live or ended, by its id or a second name; participants as in `calls` and `call_log`. Raises
        CallNotFound."""
        check_id("session_id", session_id)
        record = (await self.store.load((("call", session_id),)))["call", session_id][1]
        if not isinstance(record, Record):
            raise CallNotFound(session_id=session_id)
        return await self.fetch(record.merged_into) if record.merged_into else call_of_record(record)


def _user(uid: str, line: Line | None, coming: Register | None) -> User:
    """A user as the store has it, and as it is to become."""
    kept, new = line or Line(uid), coming or Register(uid)
    return User(uid=uid, name=new.name or kept.name, avatar=new.avatar or kept.avatar)


__all__ = ["Looking"]
