"""The call service, embedded in a process: the switchboard with a store, connections, timers and tokens around it."""

from __future__ import annotations

import asyncio
import heapq
import logging
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Self

from msgspec.structs import replace

from ..errors import (
    CallGone,
    CallNotFound,
    MalformedMessage,
    NotAParty,
    SignalingError,
    SignalingLost,
    SignalingRefused,
    StatecoreError,
    StoreConflict,
    TokenError,
    UnsupportedVersion,
)
from ..flow import FLOWS, Flow, Timers
from ..model import Call, Line, Record
from ..ports import Channel, Clock, Ids, Key, Store
from ..settings import ServiceSettings
from ..switchboard import (
    Act,
    Confirm,
    Connect,
    Deliver,
    Disconnect,
    Done,
    Due,
    Goodbye,
    Input,
    Need,
    Negotiate,
    Register,
    Restart,
    Route,
    Switchboard,
    check_id,
    next_due,
)
from ..tokens import Claims, JwtSigner, Keys, RevocationList, Role, TokenSigner, issue
from ..wire import Ask, Beat, Bye, Command, Free, Hello, Refused, Relay, Token, TokenRequest, Up, View, decode_up, encode
from ._log import call_of_record
from ._tasks import Tasks
from ._time import Alarm, LoopClock, new_id
from .link import MemoryChannel, MemoryLink
from .store import MemoryStore

_log = logging.getLogger("statecore.service")

_AGAIN = 250
"""After how many milliseconds a timer is tried again that a store could not serve."""

Authorize = Callable[[str, str], bool]
"""Takes (user, session id): whether the user may have a call token for a session that is not a ringing call."""


class _Connection:
    """One device's connection, once it has said hello."""

    def __init__(self, channel: Channel, user: str) -> None:
        self.channel = channel
        self.user = user
        self.hello: Hello | None = None

    def send(self, message: Any) -> None:
        try:
            self.channel.send(encode(message))
        except SignalingLost:
            pass  # the device hears it when it comes back


class CallService:
    """The authority over calls, in this process. Use it as an async context manager, or call `close()`.

    `store` keeps the records (default: in memory), `authorize` decides who may have tokens for sessions by id, `key` is the
    secret that signs call tokens (default: a new one for each service). `clock` and `ids` make a run repeatable. It runs
    on whatever loop is running when the first device connects, and on that one only.
    """

    def __init__(
        self,
        *,
        store: Store | None = None,
        settings: ServiceSettings | None = None,
        timers: Timers | None = None,
        flows: Mapping[str, Flow] = FLOWS,
        authorize: Authorize | None = None,
        signer: TokenSigner | None = None,
        key: bytes | None = None,
        clock: Clock | None = None,
        ids: Ids = new_id,
    ) -> None:
        self.settings = settings or ServiceSettings()
        self.switchboard = Switchboard(flows=flows, timers=timers, settings=self.settings)
        self.store: Store = store if store is not None else MemoryStore(self.settings.log_limit)
        self.revocations = RevocationList()
        """Which call tokens are void before their time."""
        self._clock = clock or LoopClock()
        self._ids = ids
        self._hashes = {name: flow.hash for name, flow in flows.items()}
        self._authorize = authorize or (lambda user, session: True)
        self._signer = signer
        self._key = key
        self._connections: dict[tuple[str, str], _Connection] = {}
        self._open: set[_Connection] = set()
        self._due: dict[Key, int] = {}
        self._heap: list[tuple[int, Key]] = []
        self._alarm = Alarm(self._clock.wall, self._ring)
        self._tasks = Tasks(self._failed)
        self._users: dict[str, str] = {}
        self._pending: set[str] = set()
        self._recovery: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    # --- life

    async def __aenter__(self) -> Self:
        await self._recover()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Drop every connection and stop every timer. Calls stay in the store. Idempotent, safe to cancel."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(), name="statecore service close")
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._alarm.clear()
        for connection in list(self._open):
            await connection.channel.close()
        await self._tasks.finish(self.switchboard.timers.close)
        self._alarm.clear()

    async def _recover(self) -> None:
        """Take up what a store that outlived its process holds: timers, and leases that did not run meanwhile."""
        if self._recovery is None:
            self._recovery = self._tasks.start(self._take_up(), "statecore service recovery")
        await asyncio.shield(self._recovery)

    async def _take_up(self) -> None:
        for key, line in await self.store.scan("line"):
            if isinstance(line, Line) and line.devices:
                await self._decide(Restart(key[1]))
        for key, record in await self.store.scan("call"):
            self._watch(key, record)

    # --- users and links

    def add_user(self, user: str, name: str = "") -> None:
        """Make a user known, who can then be rung whether a device is connected or not. Idempotent."""
        if self._users.get(check_id("user", user)) != name:
            self._users[user] = name
            self._pending.add(user)

    def signaling(self, user: str, device: str | None = None, *, name: str = "") -> MemoryLink:
        """A link for one device of a user, in this process. The user is known from now on."""
        self.add_user(user, name)
        if device is not None:
            check_id("device", device)
        return MemoryLink(user, device, self._accept)

    def _accept(self, channel: MemoryChannel, user: str) -> None:
        self.serve(channel, user)

    def serve(self, channel: Channel, user: str) -> None:
        """Speak with a device over a channel that another transport has made and authenticated."""
        if self._closing is not None:
            raise SignalingLost("the service is closed")
        self._tasks.start(self._converse(_Connection(channel, user)), f"statecore service {user}")

    async def _converse(self, connection: _Connection) -> None:
        self._open.add(connection)
        try:
            await self._recover()
            while True:
                data = await connection.channel.receive()
                try:
                    await self._take(connection, decode_up(data, self.settings.max_message_size))
                except (MalformedMessage, StoreConflict) as error:
                    self._complain(connection, error)
                except SignalingError:
                    raise
                except Exception:
                    # A fault of this service, or of a store or hook that it was given: other messages go on.
                    _log.exception("a message of user %s could not be handled", connection.user)
        except SignalingError:
            pass  # it broke, or it is one this service will not speak with
        finally:
            self._open.discard(connection)
            await connection.channel.close()
            await self._gone(connection)

    def _complain(self, connection: _Connection, error: StatecoreError) -> None:
        """Say what was wrong; the device's other calls go on."""
        _log.warning("user %s: %s", connection.user, error)
        connection.send(Refused("", 0, error.code, {"why": error.data.get("why", "")}))

    async def _gone(self, connection: _Connection) -> None:
        hello = connection.hello
        if hello is None:
            return
        place = (connection.user, hello.device)
        if self._connections.get(place) is connection:
            del self._connections[place]
        if self._closing is None:
            await self._decide(Disconnect(connection.user, hello.device, hello.epoch, hello.conn))

    # --- messages

    async def _take(self, connection: _Connection, message: Up) -> None:
        hello = connection.hello
        if isinstance(message, Hello):
            if hello is not None:
                raise SignalingRefused(why="a second hello on one connection")
            await self._hello(connection, message)
            return
        if hello is None:
            raise MalformedMessage(why="the first message must be a hello")
        user, device, epoch = connection.user, hello.device, hello.epoch
        if self._connections.get((user, device)) is not connection:
            raise SignalingLost()  # a newer connection took this one's place
        if isinstance(message, Command):
            claims, error = self._verify(message.token)
            await self._decide(Act(user, device, epoch, message, claims, error), connection, message)
        elif isinstance(message, Relay):
            await self._decide(Route(user, device, epoch, message))
        elif isinstance(message, Ask | Free):
            await self._decide(Negotiate(user, device, epoch, message))
        elif isinstance(message, TokenRequest):
            await self._token_request(connection, message)
        elif isinstance(message, Beat):
            await self._decide(Confirm(user, device, epoch))
            await self._drop_unlisted(user)
            connection.send(Beat())
        elif isinstance(message, Bye):
            await self._decide(Goodbye(user, device, epoch))
            raise SignalingLost()

    async def _hello(self, connection: _Connection, hello: Hello) -> None:
        for name, digest in hello.flows.items():
            if self._hashes.get(name, digest) != digest:
                connection.send(Refused("", 0, UnsupportedVersion.code, {"theirs": name, "ours": name}))
                raise UnsupportedVersion(theirs=name, ours=name)
        check_id("device", hello.device)
        place = (connection.user, hello.device)
        older = self._connections.get(place)
        if older is not None and older.hello is not None:
            if older.hello.epoch == hello.epoch and older.hello.conn > hello.conn:
                raise SignalingLost()  # this is the late one
        connection.hello = hello
        self._connections[place] = connection
        if older is not None and older is not connection:
            await older.channel.close()
        await self._decide(Connect(connection.user, hello))

    # --- deciding

    async def _decide(self, given: Input, connection: _Connection | None = None, command: Command | None = None) -> None:
        """Ask the switchboard until the store takes the decision, then carry it out."""
        await self._register_new()
        keys = self._likely(given)
        for _ in range(self.settings.attempts):
            loaded = await self.store.load(keys)
            view = {key: value for key, (_, value) in loaded.items()}
            decision = self.switchboard.step(view, given, self._clock.wall())
            while isinstance(decision, Need):
                more = await self.store.load(decision.keys)
                loaded.update(more)
                view.update({key: value for key, (_, value) in more.items()})
                decision = self.switchboard.step(view, given, self._clock.wall())
            if await self._commit(decision, loaded, view):
                self._carry_out(decision)
                return
            keys = tuple(loaded)
        error = StoreConflict(attempts=self.settings.attempts)
        if connection is None or command is None:
            raise error
        connection.send(Refused(command.session, command.n, error.code, error.data))

    def _likely(self, given: Input) -> tuple[Key, ...]:
        """What a decision is going to read, so that one load usually does."""
        if isinstance(given, Act):
            return (("call", given.command.session), ("line", given.user))
        if isinstance(given, Route):
            return (("call", given.relay.session),)
        if isinstance(given, Negotiate):
            return (("call", given.wish.session),)
        return (given.key,) if isinstance(given, Due) else (("line", given.user),)

    async def _commit(self, decision: Done, loaded: dict[Key, tuple[int, Any]], view: dict[Key, Any]) -> bool:
        if not decision.writes:
            return True
        checks = {key: (loaded[key][0], view[key]) for key in decision.reads if key not in decision.writes}
        writes = {key: (loaded[key][0], value) for key, value in decision.writes.items()}
        # What was only read must not have changed either; only what exists can be checked without writing it.
        return await self.store.commit({**{k: c for k, c in checks.items() if c[1] is not None}, **writes})

    def _carry_out(self, decision: Done) -> None:
        for key, value in decision.writes.items():
            self._watch(key, value)
        for effect in decision.effects:
            self._deliver(effect)

    def _deliver(self, effect: Deliver) -> None:
        connection = self._connections.get((effect.user, effect.device))
        if connection is None or connection.hello is None or connection.hello.epoch != effect.epoch:
            return
        message = effect.message
        if effect.wants_token and isinstance(message, View):
            message = replace(message, token=self._sign(effect.user, message.session, Role.PARTICIPANT))
        connection.send(message)

    async def _register_new(self) -> None:
        while self._pending:
            user = self._pending.pop()
            await self._decide(Register(user, self._users[user]))

    async def _drop_unlisted(self, user: str) -> None:
        """A device whose lease ran out is to connect anew: its connection only seems to stand."""
        line = (await self.store.load((("line", user),)))["line", user][1]
        listed = {(d.device, d.epoch) for d in line.devices} if isinstance(line, Line) else set()
        for (owner, device), connection in list(self._connections.items()):
            if owner == user and connection.hello and (device, connection.hello.epoch) not in listed:
                await connection.channel.close()

    def _failed(self, error: BaseException, what: str) -> None:
        _log.error("%s failed", what, exc_info=error)

    # --- time

    def _watch(self, key: Key, value: Any) -> None:
        """Know when a record's next timer fires."""
        due = next_due(value)
        if due != self._due.get(key, 0):
            if due:
                self._due[key] = due
                heapq.heappush(self._heap, (due, key))
            else:
                self._due.pop(key, None)
        self._arm()

    def _arm(self) -> None:
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        if self._closing is None:
            self._alarm.set(self._heap[0][0] if self._heap else 0)

    def _ring(self) -> None:
        self._tasks.start(self._fire(), "statecore service timers")

    async def _fire(self) -> None:
        now = self._clock.wall()
        due = []
        while self._heap and self._heap[0][0] <= now:
            when, key = heapq.heappop(self._heap)
            if self._due.get(key) == when:
                del self._due[key]
                due.append(key)
        try:
            for key in due:
                await self._fire_one(key)
        finally:
            self._arm()

    async def _fire_one(self, key: Key) -> None:
        """One record's timers. A store that fails now is asked again soon; other records do not notice."""
        try:
            await self._decide(Due(key))
            if key not in self._due:
                self._watch(key, (await self.store.load((key,)))[key][1])
            if key[0] == "line":
                await self._drop_unlisted(key[1])
        except Exception:
            _log.exception("the timers of %s could not be served", key)
            self._due[key] = due = self._clock.wall() + _AGAIN
            heapq.heappush(self._heap, (due, key))

    # --- tokens

    @property
    def _signing(self) -> TokenSigner:
        """Made on first use: the library that signs is imported then."""
        if self._signer is None:
            keys = Keys("1", self._key or secrets.token_bytes(32))
            self._signer = JwtSigner(keys, self.settings.token_issuer, revocation=self.revocations)
        return self._signer

    def _sign(self, user: str, session: str, role: Role, **more: Any) -> str:
        claims = issue(
            issuer=self.settings.token_issuer, user=user, session=session, token_id=self._ids(),
            now=self._clock.wall(), role=role, **{"lifetime": self.settings.token_lifetime, **more},
        )  # fmt: skip
        return self._signing.sign(claims)

    def _verify(self, token: str) -> tuple[Claims | None, TokenError | None]:
        if not token:
            return None, None
        try:
            return self._signing.verify(token, self._clock.wall()), None
        except TokenError as error:
            return None, error

    async def generate_token(self, user: str, session_id: str, *, role: Role = Role.PARTICIPANT, **more: Any) -> str:
        """A call token, as the host application gives it: any role, for any session that may be.

        `lifetime`, `not_before` and `grants` may be given as for `tokens.issue`."""
        session = await self._may_have(check_id("user", user), check_id("session_id", session_id), ask=False)
        return self._sign(user, session, role, **more)

    def revoke_token(self, token: str) -> None:
        """Void a call token from now on. Raises TokenError if it is not one of this service's. Idempotent."""
        claims = self._signing.verify(token, self._clock.wall())
        self.revocations.expire(self._clock.wall())
        self.revocations.revoke(claims.token_id, claims.until)

    async def _may_have(self, user: str, session: str, *, ask: bool) -> str:
        """For a ringing call only its parties; for another id, as the application says. Gives the session's own id."""
        record = (await self.store.load((("call", session),)))["call", session][1]
        if isinstance(record, Record):
            if record.merged_into:
                return await self._may_have(user, record.merged_into, ask=ask)
            if record.ended_at:
                raise CallGone(session_id=session, reason=record.reason)
            if record.receiver:
                if user not in (record.initiator, record.receiver):
                    raise NotAParty(user=user, session_id=session)
                return session
        if ask and not self._authorize(user, session):
            raise NotAParty(user=user, session_id=session)
        return session

    async def _token_request(self, connection: _Connection, request: TokenRequest) -> None:
        try:
            session = await self._may_have(connection.user, check_id("session_id", request.session), ask=True)
            token = self._sign(connection.user, session, Role.PARTICIPANT)
        except StatecoreError as error:
            connection.send(Refused(request.session, request.n, error.code, error.data, request=True))
        else:
            connection.send(Token(request.session, request.n, token))

    # --- looking

    async def call_log(self) -> list[Call]:
        """Every call that has ended and is kept, oldest first. Each stands there exactly once."""
        records = [record for _, record in await self.store.scan("call") if isinstance(record, Record)]
        return [call_of_record(r) for r in records if r.ended_at and not r.merged_into]

    async def calls(self) -> list[Call]:
        """Every live call and session."""
        records = [record for _, record in await self.store.scan("call") if isinstance(record, Record)]
        return [call_of_record(r) for r in records if not r.ended_at and not r.merged_into]

    async def fetch(self, session_id: str) -> Call:
        """One call, live or ended, by its id or a second name. Raises CallNotFound."""
        record = (await self.store.load((("call", session_id),)))["call", session_id][1]
        if not isinstance(record, Record):
            raise CallNotFound(session_id=session_id)
        return await self.fetch(record.merged_into) if record.merged_into else call_of_record(record)
