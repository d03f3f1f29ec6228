"""The whole system, as people use it, against a plain model of what a telephone does.

The model knows nothing of legs, views or commits: somebody is free or in one call, and a call rings, is answered, or is
over for a reason. Service, clients, links and media are the real ones, in virtual time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import attrs
from hypothesis import HealthCheck, event, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from statecore import CallClient, CallService, MemoryLink, MemoryStore, Session
from statecore.errors import AlreadyInCall, CallGone, CallingSelf, CallNotFound, StatecoreError, UserBusy
from statecore.testing import FakeMedia, VirtualClock
from statecore.testing.loop import VirtualLoop

USERS = ("alice", "bob", "carol")
RING, CONNECT = 30.0, 30.0
WHO = st.sampled_from(USERS)
WHICH = st.integers(0, 5)


@attrs.define
class Expected:
    """A call, as the model knows it."""

    id: str
    caller: str
    callee: str
    state: str = "ringing"
    reason: str = ""
    until: float = 0.0
    """When it is over if nothing happens: unanswered, or its media never connected."""

    def other(self, user: str) -> str:
        """The other one of the two."""
        return self.callee if user == self.caller else self.caller


class Telephone(RuleBasedStateMachine):
    """Three people who call each other, answer, decline, give up, hang up, lose their links and restart."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.clock = VirtualClock()
        self.number = 0
        self.now = 0.0
        self.calls: list[Expected] = []
        self.sessions: dict[str, Session] = {}
        self.clients: dict[str, CallClient] = {}
        self.links: dict[str, MemoryLink] = {}
        self.media = {user: FakeMedia() for user in USERS}
        self.store = MemoryStore()
        self.run(self._open())

    async def _open(self) -> None:
        self.service = CallService(clock=self.clock, store=self.store, key=b"k" * 32)
        await self.service.__aenter__()
        for user in USERS:
            await self._enter(user)

    async def _enter(self, user: str) -> None:
        self.links[user] = self.service.signaling(user, f"{user}-phone")
        client = CallClient(self.links[user], self.media[user], clock=self.clock, ids=self._id, jitter=lambda: 0.0)
        self.clients[user] = await client.__aenter__()

    def _id(self) -> str:
        self.number += 1
        return f"id-{self.number}"

    def run(self, main: Coroutine[Any, Any, Any]) -> Any:
        """Run something, and let everything come to rest."""

        async def whole() -> Any:
            try:
                return await main
            except StatecoreError as error:
                return error
            finally:
                await asyncio.sleep(0.001)

        result = self.runner.run(whole())
        self.now = self.runner.get_loop().time()
        return result

    # --- the model

    def call_of(self, user: str) -> Expected | None:
        """The call that somebody is in, if any: a line takes one."""
        live = (call for call in self.calls if call.state != "ended" and user in (call.caller, call.callee))
        return next(live, None)

    def over(self, call: Expected, reason: str) -> None:
        """A call ends."""
        event(f"{call.state}, then {reason}")
        call.state, call.reason = "ended", reason
        for user in (call.caller, call.callee):
            self.sessions.pop(user, None)

    def live(self, *states: str) -> list[Expected]:
        """The calls in one of these states, or in any but the last."""
        return [call for call in self.calls if call.state in (states or ("ringing", "accepted", "active"))]

    def pick(self, which: int, *states: str) -> Expected:
        """One of them."""
        found = self.live(*states)
        return found[which % len(found)]

    # --- what people do

    @rule(who=WHO, whom=WHO, kind=st.sampled_from(["audio", "video"]))
    def initiate(self, who: str, whom: str, kind: Any) -> None:
        """Somebody calls somebody."""
        mine, theirs = self.call_of(who), self.call_of(whom)
        result = self.run(self.clients[who].initiate_call(whom, type=kind, timeout=RING))
        note(f"{who} calls {whom}: {result!r}")
        if who == whom:
            assert isinstance(result, CallingSelf)
        elif mine is not None and mine.state == "ringing" and (mine.caller, mine.callee) == (whom, who):
            assert result.session_id == mine.id  # both called each other: it is the yes
            mine.state, mine.until = "accepted", self.now + CONNECT
        elif mine is not None:
            assert isinstance(result, AlreadyInCall)
        elif theirs is not None:
            assert isinstance(result, UserBusy)
            assert result.call is not None
            self.calls.append(Expected(result.call.session_id, who, whom, "ended", "busy"))
        else:
            assert result.state == "ringing"
            self.calls.append(Expected(result.session_id, who, whom, until=self.now + RING))

    @precondition(lambda self: self.live("ringing", "accepted"))
    @rule(which=WHICH, twice=st.booleans())
    def accept(self, which: int, twice: bool) -> None:
        """Somebody answers what rings, and now and then once more."""
        call = self.pick(which, "ringing", "accepted")
        for _ in range(1 + twice):
            assert self.run(self.clients[call.callee].accept_call(call.id)).session_id == call.id
        if call.state == "ringing":
            call.state, call.until = "accepted", self.now + CONNECT

    @precondition(lambda self: self.live("accepted"))
    @rule(which=WHICH)
    def join(self, which: int) -> None:
        """Both of an answered call start the session."""
        call = self.pick(which, "accepted")

        async def both() -> list[Session]:
            users = [self.clients[user] for user in (call.caller, call.callee)]
            tokens = [await user.generate_token(call.id) for user in users]
            pairs = zip(users, tokens, strict=True)
            return list(await asyncio.gather(*(user.start_session(token, type="audio") for user, token in pairs)))

        sessions = self.run(both())
        self.sessions.update(zip((call.caller, call.callee), sessions, strict=True))
        call.state = "active"

    @precondition(lambda self: self.live())
    @rule(which=WHICH, how=st.sampled_from(["rejected", "busy"]))
    def reject(self, which: int, how: str) -> None:
        """Somebody declines; of a call that is answered that is hanging up."""
        call = self.pick(which)
        assert self.run(self.clients[call.callee].reject_call(call.id, how)) is None
        self.over(call, how if call.state == "ringing" else "hangup")

    @precondition(lambda self: self.live())
    @rule(which=WHICH, caller=st.booleans(), cancel=st.booleans())
    def hang_up(self, which: int, caller: bool, cancel: bool) -> None:
        """Somebody gives up, declines by ending, or hangs up."""
        call = self.pick(which)
        client = self.clients[call.caller if caller else call.callee]
        end = client.cancel_call if cancel and caller else client.end_call
        assert self.run(end(call.id)) is None
        self.over(call, ("cancelled" if caller else "rejected") if call.state == "ringing" else "hangup")

    @precondition(lambda self: any(call.state == "ended" for call in self.calls))
    @rule(which=WHICH)
    def too_late(self, which: int) -> None:
        """Whatever somebody wants of a call that is over, it stays over, and the answer says so."""
        gone = [call for call in self.calls if call.state == "ended"]
        call = gone[which % len(gone)]
        assert isinstance(self.run(self.clients[call.callee].accept_call(call.id)), CallGone | CallNotFound)

    @precondition(lambda self: self.live("active"))
    @rule(which=WHICH, caller=st.booleans(), muted=st.booleans())
    def mute(self, which: int, caller: bool, muted: bool) -> None:
        """Somebody mutes, and the other one sees it."""
        call = self.pick(which, "active")
        who = call.caller if caller else call.callee
        session = self.sessions[who]
        self.run(session.mute_audio() if muted else session.unmute_audio())
        (peer,) = [p for p in self.sessions[call.other(who)].participants if p.uid == who]
        assert peer.audio_muted == muted

    # --- what happens to them

    @rule(who=WHO)
    def drop(self, who: str) -> None:
        """A connection breaks and comes back, the later the more often that was so: nothing else changes."""
        self.links[who].drop()
        self.run(self._until_connected(who))
        self._time_passes()

    async def _until_connected(self, who: str) -> None:
        async with asyncio.timeout(60):
            while not self.clients[who].connected:  # noqa: ASYNC110 - in virtual time
                await asyncio.sleep(0.1)

    @rule(seconds=st.sampled_from([1.0, 10.0, 31.0]))
    def wait(self, seconds: float) -> None:
        """Time passes; what has rung for too long is unanswered, and what nobody joined has failed."""
        self.run(asyncio.sleep(seconds))
        self._time_passes()

    def _time_passes(self) -> None:
        for call in self.calls:
            if call.state in ("ringing", "accepted") and self.now >= call.until:
                self.over(call, "unanswered" if call.state == "ringing" else "failed_media")

    @rule(who=WHO)
    def restart(self, who: str) -> None:
        """Somebody's program is closed and starts again: what it was in is over."""
        call = self.call_of(who)
        self.run(self.clients[who].close())
        if call is not None:
            rings = "cancelled" if who == call.caller else "rejected"
            self.over(call, rings if call.state == "ringing" else "hangup")
        self.run(self._enter(who))

    # --- what must hold

    @invariant()
    def everybody_knows(self) -> None:
        """Each client is in the call the model says, in that state, and in no other."""
        for user, client in self.clients.items():
            expected = self.call_of(user)
            found = [(call.session_id, call.state) for call in client.calls]
            assert found == ([(expected.id, expected.state)] if expected is not None else []), user

    @invariant()
    def cameras_are_as_they_should_be(self) -> None:
        """Media is open exactly where somebody is in a session."""
        assert {user: len(media.sessions) for user, media in self.media.items()} == {
            user: int(user in self.sessions) for user in USERS
        }

    @invariant()
    def the_log_agrees(self) -> None:
        """Every call that is over has one row in the log, with its reason."""
        rows = self.run(self.service.call_log())
        found = {(row.session_id, row.initiator, row.receiver, str(row.end_reason.what)) for row in rows}
        assert len(found) == len(rows)
        assert found == {(c.id, c.caller, c.callee, c.reason) for c in self.calls if c.state == "ended"}

    def teardown(self) -> None:
        """Close everything."""
        try:
            for client in self.clients.values():
                self.run(client.close())
            self.run(self.service.close())
        finally:
            self.runner.close()


TestTelephone = Telephone.TestCase
TestTelephone.settings = settings(
    max_examples=settings().max_examples // 4,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
