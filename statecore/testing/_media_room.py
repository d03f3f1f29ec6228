"""A meeting room: what a switchboard does for media sessions, in one process and nothing else.

It gives out pids and the order of joining, tells every open session who else is there, carries offers, answers and
candidates in order, keeps the offer token of each pair, and can cut a participant's link. What a session reports is
kept and can be awaited. As with the real service, relays are lost while a link is cut; who is there, and whose turn it
is to offer, are facts and arrive once the link is mended.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Literal, Self

import attrs

from statecore.errors import MediaError
from statecore.ports import MediaAdapter, MediaPeer, MediaSession
from statecore.settings import CallSettings, IceServers


@attrs.define
class _Token:
    """Whose turn it is to offer in one pair, and who waits for it."""

    holder: str = ""
    waiting: str = ""
    expiry: asyncio.TimerHandle | None = None
    expired: str = ""
    """Who lost the token by its age: what comes late from this turn is nobody's fault."""


class MeetingRoom:
    """A session's worth of participants: `async with MeetingRoom() as room: ...`, which closes it.

    Used from one event loop; `violations` must be empty in the end. `token_seconds` is how long an offer token is held
    at most.
    """

    def __init__(self, session_id: str = "room", *, token_seconds: float = 10.0) -> None:
        self.session_id = session_id
        self._token_seconds = token_seconds
        self.hosts: list[RoomHost] = []
        """Everybody who was ever given a host, in the order of joining."""
        self.violations: list[str] = []
        """What a session did against the contract of MediaHost, one sentence each."""
        self._tokens: dict[frozenset[str], _Token] = {}
        self._held_back: list[tuple[str, str]] | None = None

    def host(self, uid: str, settings: CallSettings | None = None) -> RoomHost:
        """A new participant, next in the order of joining. The same user may come several times."""
        host = RoomHost(self, uid, len(self.hosts) + 1, settings or CallSettings())
        self.hosts.append(host)
        return host

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every session that is open and stop the timers. Idempotent."""
        for host in self.hosts:
            await host.close()

    def hold_tokens(self) -> None:
        """Grant no offer token to anybody who asks from now on."""
        self._held_back = []

    def release_tokens(self) -> None:
        """Answer who asked meanwhile, in the order of asking, and whoever asks from now on."""
        asked, self._held_back = self._held_back or [], None
        for me, pid in asked:
            self.ask(me, pid)

    # --- what the hosts call

    def told(self) -> None:
        """Tell every open session who is there now."""
        for host in self.hosts:
            host.deliver_peers()

    def find(self, pid: str) -> RoomHost | None:
        """The participant with this pid if it is here."""
        return next((host for host in self.hosts if host.pid == pid and host.present), None)

    def relay(self, sender: RoomHost, pid: str, kind: str, body: str) -> None:
        """Carry a piece of signaling, or note why it may not go."""
        receiver = self.find(pid)
        if receiver is None or not sender.present:
            return
        token = self._token(sender.pid, pid)
        turn = {"offer": sender.pid, "answer": pid}.get(kind)
        if turn is not None and token.holder != turn:
            if token.expired != turn:
                self.violations.append(f"{sender.pid} sent {pid} an {kind} while the offer token was not {turn}'s")
            return
        receiver.deliver_relay(sender.pid, kind, body)

    def ask(self, me: str, pid: str) -> None:
        """Grant the pair's token, or put me in the queue for it."""
        if self._held_back is not None:
            self._held_back.append((me, pid))
            return
        if self.find(me) is None or self.find(pid) is None:
            return
        token = self._token(me, pid)
        if token.holder in ("", me):
            self._grant(token, me, pid)
        else:
            token.waiting = me

    def free(self, me: str, pid: str) -> None:
        """Take the token back and pass it on."""
        token = self._token(me, pid)
        if token.holder != me:
            token.waiting = "" if token.waiting == me else token.waiting
            return
        self._stop(token)
        if token.waiting:
            self._grant(token, token.waiting, me)

    def held(self, me: str) -> list[str]:
        """The participants of the pairs whose token I hold."""
        return [next(iter(pair - {me})) for pair, token in self._tokens.items() if me in pair and token.holder == me]

    def grant_again(self, pid: str) -> None:
        """Give whoever holds a token of a pair with this participant a new turn."""
        for pair, token in self._tokens.items():
            if pid in pair and token.holder:
                self._grant(token, token.holder, next(iter(pair - {token.holder})))

    def forget(self, pid: str) -> None:
        """Somebody left: his tokens are void."""
        for pair in [pair for pair in self._tokens if pid in pair]:
            self._stop(self._tokens.pop(pair))

    def _token(self, one: str, other: str) -> _Token:
        return self._tokens.setdefault(frozenset((one, other)), _Token())

    def _grant(self, token: _Token, me: str, pid: str) -> None:
        self._stop(token)
        token.holder, token.waiting = me, "" if token.waiting == me else token.waiting
        token.expired = ""
        token.expiry = asyncio.get_running_loop().call_later(self._token_seconds, self._expire, token, me, pid)
        holder = self.find(me)
        assert holder is not None, "who leaves gives back what he holds and waits for"
        holder.deliver_grant(pid)

    def _expire(self, token: _Token, me: str, pid: str) -> None:
        self.free(me, pid)
        token.expired = me

    def _stop(self, token: _Token) -> None:
        token.holder = ""
        if token.expiry is not None:
            token.expiry.cancel()
            token.expiry = None


class RoomHost:
    """One participant: a MediaHost that keeps what its session reports. `open` and `close` drive the session."""

    def __init__(self, room: MeetingRoom, uid: str, joined: int, settings: CallSettings) -> None:
        self.room = room
        self.uid = uid
        self._joined = joined
        self._settings = settings
        self.ice = IceServers()
        """What a service would hand out to reach others by."""
        self._session: MediaSession | None = None
        self.ups = 0
        """How often the session reported that media is up."""
        self.connected: set[str] = set()
        """The pids with which media works, as reported."""
        self.losses: list[str] = []
        """The pids reported lost, in order."""
        self.failures: list[MediaError] = []
        """What ended the session, as reported."""
        self.faults: list[Exception] = []
        """What went wrong and was survived, as reported."""
        self.sent: list[tuple[str, str, str]] = []
        """Every relay the session sent: (to pid, kind, body)."""
        self.received: list[tuple[str, str, str]] = []
        """Every relay the session was given: (from pid, kind, body)."""
        self._inbox: deque[Callable[[MediaSession], None]] = deque()
        self._waiting: list[asyncio.Future[None]] = []
        self._scheduled = False
        self._cut = False
        self._over = False

    # --- MediaHost

    @property
    def session_id(self) -> str:
        """The room's id."""
        return self.room.session_id

    @property
    def pid(self) -> str:
        """This participant's id."""
        return f"{self.uid}-{self._joined}"

    @property
    def joined(self) -> int:
        """The place in the order of joining, from 1."""
        return self._joined

    @property
    def settings(self) -> CallSettings:
        """What the session was started with."""
        return self._settings

    def send(self, pid: str, kind: Literal["offer", "answer", "candidate"], body: str) -> None:
        """Carry to another participant; lost while one of the two links is cut."""
        if self._over:
            self.room.violations.append(f"{self.pid} sent an {kind} after close")
            return
        self.sent.append((pid, kind, body))
        self._moved()
        if not self._cut:
            self.room.relay(self, pid, kind, body)

    def ask(self, pid: str) -> None:
        """Ask for the pair's offer token; lost while the link is cut."""
        if self._session is not None and not self._cut:
            self.room.ask(self.pid, pid)

    def free(self, pid: str) -> None:
        """Give the pair's offer token back; lost while the link is cut."""
        if self._session is not None and not self._cut:
            self.room.free(self.pid, pid)

    def up(self) -> None:
        """Media is up."""
        self.ups += 1
        self._moved()

    def peer_connected(self, pid: str) -> None:
        """Media with one participant works."""
        self.connected.add(pid)
        self._moved()

    def peer_lost(self, pid: str) -> None:
        """Media with one participant stopped working."""
        self.connected.discard(pid)
        self.losses.append(pid)
        self._moved()

    def failed(self, error: MediaError) -> None:
        """The session cannot go on."""
        self.failures.append(error)
        self._moved()

    def fault(self, error: Exception) -> None:
        """Something went wrong and was survived."""
        self.faults.append(error)
        self._moved()

    # --- driving

    @property
    def present(self) -> bool:
        """Whether the session is open and this participant in the room."""
        return self._session is not None

    @property
    def session(self) -> MediaSession:
        """The open session; there is none before `open` and after `close`."""
        assert self._session is not None, f"{self.pid} is not in the room"
        return self._session

    async def open(self, adapter: MediaAdapter, *, audio: bool = True, video: bool = False) -> MediaSession:
        """Open the adapter's session and come into the room. Raises what the adapter raises; then nothing changed."""
        self._over = False
        self._session = session = await adapter.open(self, audio=audio, video=video)
        self.room.told()
        return session

    async def close(self) -> None:
        """Leave the room and close the session. Idempotent."""
        if session := self.leave():
            await session.close()
            self._over = True

    def abort(self) -> None:
        """Leave the room and close the session by force. Idempotent."""
        if session := self.leave():
            session.abort()
            self._over = True

    def leave(self) -> MediaSession | None:
        """Leave the room; the session, which is then for the caller to close, or None if there was none."""
        session, self._session = self._session, None
        self._inbox.clear()
        if session is not None:
            self.room.forget(self.pid)
            self.room.told()
        return session

    def cut(self) -> None:
        """Cut the link: from now on everything is lost in both directions, also what is on its way to the session."""
        self._cut = True
        self._inbox.clear()

    def mend(self) -> None:
        """Mend the link: who is here is told, and whoever made an offer to or from here has a new
        turn, as it may be lost; the session hears `resumed`, and no other one does."""
        self._cut = False
        self.deliver_peers()
        self.room.grant_again(self.pid)
        self.deliver(lambda session: session.resumed())

    # --- what the room calls

    def deliver(self, act: Callable[[MediaSession], None]) -> None:
        """Hand something to the session, in order, on a later turn of the loop; nothing arrives while cut."""
        if self._session is not None and not self._cut:
            self._inbox.append(act)
            if not self._scheduled:
                self._scheduled = True
                asyncio.get_running_loop().call_soon(self._drain)

    def deliver_peers(self) -> None:
        """Tell the session who else is in the room as of now."""
        peers = [
            MediaPeer(pid=h.pid, uid=h.uid, joined=h.joined) for h in self.room.hosts if h.present and h is not self
        ]
        self.deliver(lambda session: session.set_peers(peers))

    def deliver_relay(self, pid: str, kind: str, body: str) -> None:
        """Hand a relay to the session."""

        def act(session: MediaSession) -> None:
            self.received.append((pid, kind, body))
            session.receive(pid, kind, body)

        self.deliver(act)

    def deliver_grant(self, pid: str) -> None:
        """Tell the session that it holds the token of a pair."""
        self.deliver(lambda session: session.granted(pid))

    def _drain(self) -> None:
        self._scheduled = False
        if self._inbox and self._session is not None:
            act = self._inbox.popleft()
            # One at a time: what a session does in reply takes its place behind what others did before.
            if self._inbox:
                self._scheduled = True
                asyncio.get_running_loop().call_soon(self._drain)
            try:
                act(self._session)
            except Exception as error:  # noqa: BLE001 - whatever it is, a session must not raise it here
                self.room.violations.append(f"{self.pid} raised {error!r}")
            self._moved()

    # --- waiting

    async def wait(self, condition: Callable[[], object], what: str, timeout: float = 10.0) -> None:
        """Wait until something that this host keeps is so. Raises AssertionError that names `what` when it takes too
        long, or the error with which the session failed meanwhile."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    if self.failures:
                        raise self.failures[0]
                    self._waiting.append(future := loop.create_future())
                    await future
        except TimeoutError:
            raise AssertionError(f"{self.pid}: no {what} within {timeout} s; faults: {self.faults}") from None

    async def wait_up(self, timeout: float = 10.0) -> None:
        """Wait until the session reported that media is up."""
        await self.wait(lambda: self.ups, "media up", timeout)

    async def wait_connected(self, pid: str, timeout: float = 10.0) -> None:
        """Wait until media with a participant works."""
        await self.wait(lambda: pid in self.connected, f"media with {pid}", timeout)

    async def wait_lost(self, pid: str, timeout: float = 10.0) -> None:
        """Wait until media with a participant was reported lost."""
        await self.wait(lambda: pid in self.losses, f"loss of {pid}", timeout)

    async def wait_failed(self, timeout: float = 10.0) -> MediaError:
        """Wait until the session reported that it cannot go on; returns the error."""
        await self.wait(lambda: self.failures, "failure", timeout)
        return self.failures[0]

    async def wait_fault(self, timeout: float = 10.0) -> Exception:
        """Wait until something went wrong and was survived; returns the first."""
        await self.wait(lambda: self.faults, "fault", timeout)
        return self.faults[0]

    def _moved(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


__all__ = ["MeetingRoom", "RoomHost"]
