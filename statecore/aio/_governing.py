"""What the application asks of a service: who is known, and that a call ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import InvalidArgument, TokenRevoked, UnknownUser
from ..model import Call
from ..switchboard import Done, End, Forget, Input, Register, check_id
from ._deciding import Decisions
from ._ids import addressable
from ._looking import Looking
from ._nodes import CutOff, Nodes
from ._served import Connections, Served


class Governing(Looking):
    """Governs the users and calls of a service."""

    _users: dict[str, Register]
    """As what users have been made known."""
    _decisions: Decisions
    _connections: Connections
    _nodes: Nodes
    disconnects: int
    """How often connections were cut off, here or elsewhere: who authenticates notes it before, for `serve`."""

    def add_user(self, user: str, name: str = "", *, avatar: str = "", capacity: int | None = None) -> None:
        """Make a user known, who can then be rung whether a device is connected or not. The store hears of it with the
        next decision; `register_user` waits for that. `avatar` is the address of a picture, which others see with the
        name. `capacity` is how many calls the user may be in at once before being busy, from 1 to 100 (default: the
        settings' `line_capacity`). What is not given stays as the user has it. Idempotent. Raises InvalidArgument, also
        for the ids `.` and `..`, which no address can have in it."""
        if capacity is not None and (isinstance(capacity, bool) or capacity not in range(1, 101)):
            raise InvalidArgument("a line's capacity is a whole number from 1 to 100", name="capacity")
        if not isinstance(avatar, str) or len(avatar) > 2048:  # type: ignore[redundant-expr]  # not all callers are typed
            raise InvalidArgument("the address of a picture is a text of at most 2048 characters", name="avatar")
        coming = self._pending.get(addressable("user", check_id("user", user)), Register(user))
        known = Register(user, name or coming.name, capacity or coming.capacity, avatar or coming.avatar)
        if self._users.get(user) != known:
            self._users[user] = self._pending[user] = known

    async def register_user(self, user: str, name: str = "", *, avatar: str = "", capacity: int | None = None) -> None:
        """Make a user known, as `add_user` does: once this returns, the store has it. Raises StoreConflict,
        InvalidArgument. Idempotent."""
        self.add_user(user, name, avatar=avatar, capacity=capacity)
        await self._save_users()

    async def delete_user(self, user: str) -> None:
        """A user is no more: calls that the user has a part in end, of a session only that part, and the connections
        of the user's devices are closed for good. What has ended stays in the call log. Raises UnknownUser,
        StoreConflict. Whoever connects as this user later makes the user known again, and so does who has connected and
        not yet said hello: void the auth tokens first, and `disconnect` the user."""
        await self._save_users()
        if not (await self._decide(Forget(check_id("user", user)))).writes:
            raise UnknownUser(user=user)
        await self._dismiss(user)

    async def disconnect(self, user: str, credential: str | None = None) -> None:
        """A credential of a user is void, or each that there is: close the connections that were authenticated by it,
        at every service on the bus. Their devices are told `token_revoked`, do not come again, and their parts in calls
        are lost at once. Guests, and links within the process, go on. Raises StoreConflict; those here are closed even
        so, and parts in calls end with their leases. Idempotent."""
        self._nodes.tell(CutOff(check_id("user", user), credential))
        await self._cut_off(user, credential)

    async def _cut_off(self, user: str, credential: str | None) -> None:
        self.disconnects += 1
        void = self._connections.made_by(user, credential)
        for connection in void:
            connection.void = True
            connection.refuse(TokenRevoked())
        await self._connections.shut(*void)
        for connection in void:
            await self._gone(connection)

    async def end_call(self, session_id: str) -> Call:
        """End a call or session for everyone in it, as the application, and return it: `cancelled` if it still rang,
        `kicked` if not, by nobody. One that has ended stays so. Raises CallNotFound, StoreConflict. Idempotent."""
        await self._decide(End(check_id("session_id", session_id)))
        return await self.fetch(session_id)

    async def _save_users(self) -> None:
        for user, known in list(self._pending.items()):
            # It stays pending until it is done: whoever comes meanwhile must not take the user for unknown.
            await self._decisions.take(known)
            if self._pending.get(user) is known:
                del self._pending[user]

    if TYPE_CHECKING:  # the service has them

        async def _decide(self, given: Input) -> Done: ...
        async def _dismiss(self, user: str) -> None: ...
        async def _gone(self, connection: Served) -> None: ...


__all__ = ["Governing"]
