"""The call service, embedded in a process: the switchboard with a store, connections, timers and tokens around it."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Self

from msgspec.structs import replace

from ..errors import (
    AdapterMissing,
    InvalidArgument,
    MalformedMessage,
    RateLimited,
    SignalingError,
    SignalingLost,
    SignalingRefused,
    StatecoreError,
    StoreConflict,
    StoreUnusable,
    UnsupportedVersion,
)
from ..flow import FLOWS, Flow, Timers
from ..ports import Bus, Channel, Clock, IceSource, Ids, Key, Notifier, Store
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
    Route,
    Switchboard,
    next_due,
)
from ..tokens import Claims, TokenSigner
from ..wire import (
    Ask,
    Beat,
    Bye,
    Command,
    Free,
    Hello,
    Refused,
    Relay,
    Token,
    TokenRequest,
    Up,
    View,
    decode_up,
)
from ._admitting import Admitting
from ._complaints import Complaints
from ._conditions import Condition, ConditionFailed, Conditions
from ._deciding import Decisions, Leave
from ._greeting import check_hello
from ._ids import addressable
from ._issuing import Authorize, TokenDesk, not_for_guests
from ._limits import Allowances, Buckets
from ._nodes import CutOff, Decided, Look, News, Nodes
from ._observing import Observer
from ._observing import decision as observed
from ._outbox import Outbox
from ._recovery import take_up_lines
from ._served import Connections, Served
from ._tasks import Tasks
from ._time import Deadlines, LoopClock, new_id
from .link import MemoryLink
from .store import MemoryStore

_log = logging.getLogger("statecore.service")
_NOBODY = {"session": "", "user": "", "device": ""}
_UNKNOWN: Mapping[Key, Any] = MappingProxyType({})

_AGAIN = 250
"""After how many milliseconds a timer is tried again that a store could not serve."""
_GRACE = 1_000
"""How many milliseconds later than the service that decided it the others serve a timer: while that one lives they find
nothing to do, and how far clocks may differ is made up for."""


class CallService(Admitting):
    """The authority over calls, in this process. Use it as an async context manager, or call `close()`.

    `store` keeps the records (default: in memory), `authorize` decides who may have tokens for sessions by id, `key` is
    the secret that signs call tokens (default: a new one for each store, kept there). Services that share a store share
    a `bus` as well. `conditions` answers for what flows of one's own declare: a name, and a function of (user, session
    id, the command's data). `ice` hands out STUN and TURN servers: `TurnCredentials`, or any function of a user's id.
    `notifier` tells devices that are not connected to ring, and others of the life of calls; it is closed with the
    service. `clock` and `ids` make a run repeatable. It runs on whatever loop is running when the first device
    connects, and on that one only. Raises InvalidArgument for a key of less than 32 bytes.
    """

    def __init__(
        self,
        *,
        store: Store | None = None,
        bus: Bus | None = None,
        settings: ServiceSettings | None = None,
        timers: Timers | None = None,
        flows: Mapping[str, Flow] = FLOWS,
        conditions: Mapping[str, Condition] | None = None,
        authorize: Authorize | None = None,
        signer: TokenSigner | None = None,
        key: bytes | None = None,
        ice: IceSource | None = None,
        notifier: Notifier | None = None,
        clock: Clock | None = None,
        ids: Ids = new_id,
    ) -> None:
        self.settings = settings or ServiceSettings()
        self.switchboard = Switchboard(flows=flows, timers=timers, settings=self.settings)
        self._clock = clock or LoopClock()
        self.store: Store = store if store is not None else MemoryStore(self.settings.log_limit, now=self._clock.wall)
        self.ice = ice
        self.flows = dict(flows)
        """The flows it carries, by name."""
        self._observers: list[Observer] = []
        self._hashes = {name: flow.hash for name, flow in flows.items()}
        self._said = Allowances(self.settings.messages_per_second, self.settings.devices_per_user)
        self._complaints = Complaints(self._clock.monotonic)
        self._calls = Buckets(self.settings.calls_per_minute / 60, self.settings.calls_per_minute)
        self._tokens = TokenDesk(
            self.store, self.settings, authorize=authorize, signer=signer, key=key, clock=self._clock, ids=ids
        )
        self._conditions = Conditions(conditions or {}, flows.values())
        self._connections = Connections(self.switchboard.timers.close)
        self._nodes = Nodes(bus, self._heard, self._missed)
        self._deadlines = Deadlines(self._clock.wall, self._ring)
        self._tasks = Tasks(self._failed)
        self._outbox = Outbox(self.store, notifier, self._tasks, self._clock.wall, self.settings.attempts)
        self._decisions = Decisions(self._step, self.store, self._outbox, self.settings.attempts, self._committed)
        self._users: dict[str, Register] = {}
        self._pending: dict[str, Register] = {}
        self._recovery: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self.disconnects = 0

    # --- life

    async def __aenter__(self) -> Self:
        await self._recover()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self, *, within: float | None = None) -> None:
        """Drop every connection and stop every timer; what is under way has `within` seconds to finish (default, and at
        the most: the timer `close`). Calls stay in the store. Idempotent, safe to cancel."""
        if self._closing is None:
            longest = self.switchboard.timers.close
            closing = self._close(longest if within is None else min(within, longest))
            self._closing = asyncio.get_running_loop().create_task(closing, name="statecore service close")
        await asyncio.shield(self._closing)

    async def _close(self, seconds: float) -> None:
        until = asyncio.get_running_loop().time() + seconds
        self._deadlines.stop()
        await self._connections.shut_all()
        await self._tasks.finish(until - asyncio.get_running_loop().time())
        await self._nodes.leave()
        await self._outbox.close(self.switchboard.timers.close)

    async def _recover(self) -> None:
        """Take up what a store that outlived its process holds: timers, and leases that did not run meanwhile."""
        if self._recovery is None or _has_failed(self._recovery):
            self._recovery = self._tasks.start(self._take_up(), "statecore service recovery")
        await asyncio.shield(self._recovery)

    async def _take_up(self) -> None:
        await self._nodes.join()
        await self._tokens.recover()
        await take_up_lines(self.store, self.switchboard, self._clock.wall, self._wrote)
        await self._watch_calls()
        await self._outbox.recover()

    async def _watch_calls(self) -> None:
        for record in await self._live():
            self._deadlines.watch(("call", record.session_id), next_due(record))

    # --- links

    def signaling(self, user: str, device: str | None = None, *, name: str = "") -> MemoryLink:
        """A link for one device of a user, in this process. The user is known from now on."""
        self.add_user(user, name)
        return self._link(user, device, self._accept)

    def serve(
        self,
        channel: Channel,
        user: str,
        guest: Claims | None = None,
        *,
        credential: str | None = None,
        since: int | None = None,
    ) -> None:
        """Speak with a device over a channel that another transport has made, authenticated and counted; or that a call
        token has admitted, with what `admit` gave. `credential` names what it was authenticated by, so that
        `disconnect` finds it, and `since` is what `disconnects` was before: it may be void by now. Raises SignalingLost
        then, and when the service is closed: the device is to connect again."""
        if self._closing is not None or since not in (None, self.disconnects):
            raise SignalingLost("the service is closed, or something was revoked meanwhile: connect again")
        connection = Served(channel, user, guest, credential)
        self._connections.add(connection)
        self._tasks.start(self._converse(connection), f"statecore service {user}")

    async def _converse(self, connection: Served) -> None:
        try:
            await self._recover()
            async with asyncio.timeout(self.switchboard.timers.command) as patience:
                while not connection.void:
                    await self._hear(connection, await connection.channel.receive())
                    if patience.when() is not None and connection.hello is not None:
                        patience.reschedule(None)
        except (SignalingError, TimeoutError):
            pass  # it broke, or it is one this service will not speak with
        finally:
            await self._connections.remove(connection)
            await self._gone(connection)

    async def _hear(self, connection: Served, data: bytes) -> None:
        """One message. What is wrong with it costs this message; what could not be decided costs the connection: the
        device comes again, and says again what it has not been answered."""
        if wait := self._said.take(connection.whose, connection.device, self._clock.monotonic()):
            connection.refuse(RateLimited(what="messages", seconds=math.ceil(wait)))
            raise SignalingLost
        try:
            await self._take(connection, decode_up(data, self.settings.max_message_size))
        except MalformedMessage as error:
            self._complaints.note(connection, error)
            connection.refuse(error)
        except (SignalingRefused, UnsupportedVersion) as error:
            connection.refuse(error)
            raise
        except StoreConflict as error:
            _log.warning("%s", error, extra=connection.extra)
            connection.refuse(error)
            raise SignalingLost from None
        except SignalingError:
            raise
        except Exception:  # noqa: BLE001 - and whatever it is
            # A fault of what it was given, of the store above all: others go on.
            _log.exception("a message could not be handled", extra=connection.extra)
            raise SignalingLost from None

    async def _gone(self, connection: Served) -> None:
        hello = connection.hello
        if hello is not None and self._closing is None:
            kind = Leave if connection.void else Disconnect
            await self._decide(kind(connection.user, hello.device, hello.epoch, hello.conn))

    # --- messages

    async def _take(self, connection: Served, message: Up) -> None:
        hello = connection.hello
        if isinstance(message, Hello):
            if hello is not None:
                raise SignalingRefused(why="a second hello on one connection")
            await self._hello(connection, message)
            return
        if hello is None:
            raise MalformedMessage(why="the first message must be a hello")
        if not self._connections.holds(connection, hello):
            raise SignalingLost  # a newer connection took this one's place
        who = (connection.user, hello.device, hello.epoch)
        if isinstance(message, Command):
            await self._command(connection, who, message)
        elif isinstance(message, TokenRequest):
            await self._token_request(connection, message)
        elif isinstance(message, Relay):
            await self._decide(Route(*who, message))
        elif isinstance(message, Ask | Free):
            await self._decide(Negotiate(*who, message))
        else:
            await self._presence(connection, who, message)

    async def _command(self, connection: Served, who: tuple[str, str, str], command: Command) -> None:
        try:
            if command.flow:  # it may make a call
                addressable("session_id", command.session)
            self._not_too_soon(connection, command)
            claims, error = self._tokens.verify(command.token)
            given = self._conditions.hold(who[0], command, connection.extra)
            await self._decide(Act(*who, command, claims, error, given, self._tokens.leeway, connection.guest))
        except (InvalidArgument, StoreConflict, AdapterMissing, RateLimited, ConditionFailed) as refusal:
            connection.send(Refused(command.session, command.n, refusal.code, refusal.data))

    def _not_too_soon(self, connection: Served, command: Command) -> None:
        """Count a call that a user begins, or a guest tries to. Raises RateLimited."""
        flow = self.flows.get(command.flow)
        if flow is None or flow.ring is None or command.trigger != flow.start:
            return
        if wait := self._calls.take(connection.whose, self._clock.monotonic()):
            raise RateLimited(what="calls", seconds=math.ceil(wait))

    async def _presence(self, connection: Served, who: tuple[str, str, str], message: Beat | Bye) -> None:
        if isinstance(message, Bye):
            await self._decide(Goodbye(*who))
            raise SignalingLost
        # What a service decided that died before it told anybody is told now.
        writes = (await self._decide(Confirm(*who, connection.seen.copy()))).writes
        if not writes:
            raise SignalingLost  # its lease ran out: it is to connect anew
        connection.is_in(writes["line", connection.user])
        connection.send(Beat())

    async def _hello(self, connection: Served, hello: Hello) -> None:
        check_hello(hello, self._hashes, self.settings)
        connection.seen = dict(hello.sessions)
        connection.hello = hello
        decision = await self._decide(Connect(connection.user, hello, connection.guest))
        if not decision.writes:  # it is late, one too many, or not let in: whoever has the place keeps it
            connection.hello = None
            for effect in decision.effects:
                connection.send(effect.message)
            raise SignalingLost
        older = self._connections.settle(connection, hello)
        self._deliver(*decision.effects)
        if older is not None:
            await self._connections.shut(older)
        self._nodes.tell(Look(connection.user))

    # --- deciding

    async def _decide(self, given: Input | Leave) -> Done:
        """Take a decision once every user is known whom the store may lack, and carry it out. Raises StoreConflict."""
        if self._pending:
            await self._save_users()
        return await self._decisions.take(given)

    def _step(self, view: dict[Key, Any], given: Input) -> Need | Done:
        return self.switchboard.step(view, given, self._clock.wall())

    def _committed(self, given: Input, decision: Done, view: dict[Key, Any], told: dict[Key, tuple[int, Any]]) -> None:
        turned_away = isinstance(given, Connect) and not decision.writes  # nobody but that connection is to hear it
        self._wrote(decision.writes, () if turned_away else decision.effects, view)
        if isinstance(given, Connect | Confirm):  # whoever decided these calls may be gone
            for key, value in view.items():
                self._deadlines.watch(key, next_due(value))
        if not isinstance(given, Connect):  # `_hello` does it, once the connection has its place
            self._deliver(*decision.effects)
        self._outbox.send(told)
        for observer in self._observers:
            observer(observed(given, decision, view))

    def _wrote(
        self, writes: Mapping[Key, Any], effects: tuple[Deliver, ...] = (), before: Mapping[Key, Any] = _UNKNOWN
    ) -> None:
        """Note when what was written is due, unless it was already due just then."""
        dues: list[tuple[Key, int]] = []
        for key, value in writes.items():
            if (due := next_due(value)) and due != next_due(before.get(key)):
                self._deadlines.watch(key, due)
                dues.append((key, due))
        if effects or dues:
            self._nodes.tell(Decided(effects, tuple(dues)))

    def _deliver(self, *effects: Deliver) -> None:
        for effect in effects:
            connection = self._connections.find(effect.user, effect.device, effect.epoch)
            if connection is not None:
                self._send(connection, effect)

    def _send(self, connection: Served, effect: Deliver) -> None:
        message = effect.message
        if effect.wants_token and isinstance(message, View) and connection.guest is None:
            try:
                message = replace(message, token=self._tokens.sign(effect.user, message.session))
            except Exception:  # noqa: BLE001 - and whatever it is
                # The fact goes out all the same: a token can be asked for.
                _log.exception("no token could be signed", extra={**connection.extra, "session": message.session})
        connection.send(message)

    def _failed(self, error: BaseException, what: str) -> None:
        _log.error("%s failed", what, exc_info=error, extra=_NOBODY)

    # --- other services on this store

    def _heard(self, news: News) -> None:
        if isinstance(news, Decided):
            for key, due in news.due:
                self._deadlines.watch(key, due + _GRACE)
            self._deliver(*news.effects)
        elif isinstance(news, Look):
            self._tasks.start(self._keep_listed(news.user), f"statecore service {news.user}")
        elif isinstance(news, CutOff):
            self._tasks.start(self._cut_off(news.user, news.credential), f"statecore service {news.user}")
        else:
            self._tokens.revocations.revoke(news.token_id, news.until)

    def _missed(self) -> None:
        self.disconnects += 1  # that may have been among it
        self._tasks.start(self._make_up(), "statecore service bus")

    async def _make_up(self) -> None:
        """Devices connect again, and so hear what they lack; the rest stands in the store."""
        await self._connections.shut_all()
        while True:
            try:
                await self._tokens.recover()
                for key, line in await self.store.scan("line"):
                    self._deadlines.watch(key, next_due(line))
                await self._watch_calls()
            except Exception:  # noqa: BLE001 - and whatever it is
                _log.exception("what the bus lost could not be looked up", extra=_NOBODY)
                await asyncio.sleep(_AGAIN / 1000)
            else:
                return

    # --- time

    def _ring(self) -> None:
        self._tasks.start(self._fire(), "statecore service timers")

    async def _fire(self) -> None:
        for key in self._deadlines.take():
            try:
                await self._serve_timers(key)
            except Exception:  # noqa: BLE001 - and whatever it is
                # A store that fails now is asked again soon; other records do not notice.
                _log.exception("the timers of %s could not be served", key, extra=_NOBODY)
                self._deadlines.put_off(key, _AGAIN)

    async def _serve_timers(self, key: Key) -> None:
        """Unless they were put off, or it is over, or another service was faster."""
        due = next_due(await self._read(key))
        if 0 < due <= self._clock.wall():
            await self._decide(Due(key))
        else:
            self._deadlines.watch(key, due)  # by a service that may have died before it said so
        if key[0] == "line":
            await self._keep_listed(key[1])

    async def _keep_listed(self, user: str) -> None:
        """A device whose lease ran out is to connect anew: its connection only seems to stand. And so on."""
        stood = self._connections.settled(user)
        if not stood and user not in self._users:
            return
        line = await self._read(("line", user))
        if line is None:
            self._users.pop(user, None)
        await self._connections.keep_listed(stood, line)

    async def _dismiss(self, user: str) -> None:
        """A user is no more."""
        self._nodes.tell(Look(user))
        await self._keep_listed(user)

    async def _read(self, key: Key) -> Any:
        return (await self.store.load((key,)))[key][1]

    # --- tokens

    async def _token_request(self, connection: Served, request: TokenRequest) -> None:
        try:
            not_for_guests(connection.guest, request.session)
            token = await self._tokens.issue(connection.user, request.session, ask=True)
        except StoreUnusable:
            raise  # not this device's to know why; it comes again, and asks again
        except StatecoreError as error:
            connection.send(Refused(request.session, request.n, error.code, error.data, request=True))
        except Exception:  # noqa: BLE001 - and whatever it is
            # The application's hook failed: nothing is allowed, and nobody is to wait.
            extra = {**connection.extra, "session": request.session}
            _log.exception("a token request could not be decided", extra=extra)
            connection.send(Refused(request.session, request.n, StatecoreError.code, request=True))
        else:
            connection.send(Token(request.session, request.n, token))

    # --- watching

    @property
    def connections(self) -> int:
        """How many devices are connected, or about to say who they are."""
        return len(self._connections)

    def observe(self, observer: Observer) -> None:
        """Call this with every decision that was committed. It must neither wait nor raise."""
        self._observers.append(observer)


def _has_failed(task: asyncio.Task[None]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


__all__ = ["Authorize", "CallService"]
