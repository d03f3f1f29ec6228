"""A client and its link: transports that misbehave, a service that contradicts itself, and silence."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any

import pytest

from statecore import CallClient, CallListener, CallSettings, MemoryLink, Reason
from statecore.errors import (
    CallNotFound,
    CommandTimeout,
    NotConnected,
    StoreConflict,
    TokenForeign,
)
from statecore.flow import Timers
from statecore.ports import Channel
from statecore.testing import FakeMedia, VirtualClock
from statecore.wire import Command, Hello, Refused, View, Welcome, decode_up, encode

Town, Run = Callable[..., Any], Callable[..., Any]

# --- a transport ------------------------------------------------------------------------------------------------------


class Wire:
    """A transport over a link of the process; each connection does what is planned for it first."""

    def __init__(self, link: MemoryLink) -> None:
        self.link = link
        self.user, self.device = link.user, link.device
        self.plans: list[Callable[[], Any]] = []
        self.channels: list[Any] = []

    async def connect(self) -> Channel:
        """What is planned, then a connection."""
        if self.plans:
            await self.plans.pop(0)()
        channel = await self.link.connect()
        self.channels.append(channel)
        return channel


async def _broken() -> None:
    raise ValueError("a fault of the transport")


async def _stuck() -> None:
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("plan", [_broken, _stuck])
def test_a_transport_that_fails_is_tried_again(town: Town, run: Run, plan: Any, caplog: Any) -> None:
    """A transport that raises anything, or hangs while it connects, costs a try: the client is back, and so is its
    call."""

    async def main() -> None:
        async with town("bob") as t:
            wire = Wire(t.service.signaling("alice", "alice-phone"))
            alice = await t.add("alice", link=wire)
            hers, his = await t.pair()
            wire.plans = [plan, plan]
            wire.link.drop()
            await t.until(lambda: not alice.connected)
            await t.until(lambda: alice.connected and not wire.plans)
            assert len(wire.channels) == 2
            assert hers.state == his.state == "active"

    run(main)
    assert ("a fault of the transport" in caplog.text) == (plan is _broken)


def test_a_service_that_takes_the_device_for_another_s(town: Town, run: Run) -> None:
    """A client that was told another user than the service welcomes gives the link up, with an error that names both,
    and nothing is done in anybody's name."""

    async def main() -> None:
        async with town("bob") as t:
            wire = Wire(t.service.signaling("alice", "alice-phone"))
            wire.user = "carol"
            with pytest.raises(TokenForeign, match=r"that of 'alice', .* that of 'carol'") as raised:
                async with t.make("carol", link=wire):
                    pass
            assert (raised.value.what, raised.value.theirs, raised.value.ours) == ("user", "alice", "carol")
            assert len(wire.channels) == 1, "it was tried once"
            assert not await t.service.online("alice")

    run(main)


def test_a_channel_that_cannot_be_closed(town: Town, run: Run, caplog: Any, monkeypatch: Any) -> None:
    """A channel that raises or hangs in `close` is given up with a warning, at the client and at the service."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            wire = Wire(t.service.signaling("alice", "alice-tablet"))
            await t.add("alice/tablet", link=wire)
            (channel,) = wire.channels
            monkeypatch.setattr(channel, "close", _broken)
            monkeypatch.setattr(channel._peer, "close", _stuck)
            await t.clients["alice/tablet"].close()
            wire.link.drop()

    run(main)
    told = [record.getMessage() for record in caplog.records]
    assert any("the link did not close: ValueError" in message for message in told)
    assert any("a channel did not close: TimeoutError" in message for message in told)


def test_a_channel_that_raises_anything_on_sending(town: Town, run: Run, caplog: Any, monkeypatch: Any) -> None:
    """What one effect meets with does not keep the others from being carried out: the call ends here all the same."""

    async def main() -> None:
        async with town("bob") as t:
            wire = Wire(t.service.signaling("alice", "alice-phone"))
            alice = await t.add("alice", link=wire)
            hers, his = await t.pair()

            def send(_: bytes) -> None:
                raise OSError("no buffers")

            monkeypatch.setattr(wire.channels[0], "send", send)
            ending = asyncio.create_task(hers.end())
            await hers.wait_ended()
            assert ("alice", "call_ended_message_received") in [(name, event) for name, event, _ in t.seen]
            wire.link.drop()
            await ending
            assert (await his.wait_ended()).what == Reason.HANGUP
            await t.until(lambda: alice.connected)

    run(main)
    assert "Send could not be carried out" in caplog.text


def test_what_is_said_without_a_channel_is_not_said(town: Town, run: Run) -> None:
    """While the link is down, a message waits and arrives after the resume; nothing else is tried."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, _ = await t.pair(listener=t.log("his"))
            t.links["alice"].cut()
            await t.until(lambda: not t.clients["alice"].connected)
            with pytest.raises(NotConnected):
                await t.clients["alice"].generate_token("room")
            sending = asyncio.create_task(hers.send_message("after all"))
            await asyncio.sleep(3)
            assert not sending.done()
            t.links["alice"].mend()
            await sending
            assert "message_received" in t.names("his")

    run(main)


def test_a_silent_link_is_replaced(town: Town, run: Run) -> None:
    """A connection over which nothing comes any more is dropped when a beat has no answer, and the call outlives it."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, his = await t.pair(listener=t.log("either"))
            t.links["alice"].silent = True
            await t.until(lambda: not t.clients["alice"].connected, 40)
            t.links["alice"].mend()
            await t.until(lambda: t.clients["alice"].connected)
            assert hers.state == his.state == "active"
            assert {"connection_lost", "connection_restored"} <= set(t.names("either"))

    run(main)


def test_a_silent_link_is_replaced_even_if_the_lease_is_shorter(town: Town, run: Run) -> None:
    """A connection that is silent for a whole lease, which is less than a beat has to be answered, is dropped as well:
    the calls are lost, and the device is back as soon as it can be."""

    async def main() -> None:
        async with town("alice", "bob", timers=Timers(heartbeat=3, lease=5)) as t:
            hers, _ = await t.pair()
            t.links["alice"].silent = True
            assert (await hers.wait_ended()).what == Reason.LOST
            t.links["alice"].mend()
            await t.until(lambda: t.clients["alice"].connected, 20)
            await (await t.clients["alice"].initiate_call("bob")).cancel()

    run(main)


def test_a_token_that_never_comes(town: Town, run: Run) -> None:
    """Asking for a token over a silent link ends after what a command may take."""

    async def main() -> None:
        async with town("alice") as t:
            t.links["alice"].silent = True
            with pytest.raises(CommandTimeout, match="generate_token"):
                await t.clients["alice"].generate_token("room")
            t.links["alice"].mend()

    run(main)


def test_another_process_takes_the_device(town: Town, run: Run) -> None:
    """A client that is refused for good says so to its sessions, and does not try again."""

    async def main() -> None:
        async with town("alice", "bob", check=False) as t:
            hers, _ = await t.pair()
            told: list[Any] = []
            hers.on("connection_failed", lambda *args: told.append(args))
            link = t.service.signaling("alice", "alice-phone")
            twin = await t.stack.enter_async_context(CallClient(link, clock=VirtualClock(), jitter=lambda: 1.0))
            await t.until(lambda: told)
            assert told == [("signaling_refused", False)]
            await asyncio.sleep(30)
            assert not t.clients["alice"].connected
            assert twin.connected

    run(main)


def test_the_link_breaks_under_the_good_bye(town: Town, run: Run) -> None:
    """A link that breaks while `close` waits for the service does not hold it up: the service finds out by itself."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            hers, his = await t.pair()
            t.links["alice"].silent = True
            closing = asyncio.create_task(t.clients["alice"].close())
            await asyncio.sleep(0.5)
            assert not closing.done()
            t.links["alice"].cut()
            await closing
            assert hers.state == "ended"
            assert (await his.wait_ended()).what == Reason.LOST

    run(main)


def test_a_source_of_chance_that_raises(town: Town, run: Run, caplog: Any) -> None:
    """What an application gives the client and raises costs the link, is logged, and `close` still ends all."""

    async def main() -> None:
        async with town() as t:
            alice = await t.add("alice", jitter=[].pop)
            t.links["alice"].drop()
            await t.until(lambda: "link failed" in caplog.text)
            assert not alice.connected

    run(main)
    assert "pop from empty list" in caplog.text


# --- a service of the test's own --------------------------------------------------------------------------------------


class Desk:
    """The service's end of one device's link: it says what the test says."""

    def __init__(self) -> None:
        self.link = MemoryLink("alice", "phone", self._accept)
        self.channel: Any = None

    def _accept(self, channel: Any, _: str) -> None:
        self.channel = channel
        self.say(Welcome("alice"))

    def say(self, message: Any) -> None:
        """Say anything."""
        self.channel.send(encode(message))

    async def hear(self, kind: type[Any] = Command) -> Any:
        """The next message of a kind."""
        async with asyncio.timeout(60):
            while not isinstance(message := decode_up(await self.channel.receive()), kind):
                pass
        return message


@pytest.fixture
def desk() -> Desk:
    """A service that only the test speaks for."""
    return Desk()


def client_of(desk: Desk, media: Any = None) -> CallClient:
    """A client at that desk."""
    return CallClient(desk.link, media or FakeMedia(), clock=VirtualClock(), jitter=lambda: 1.0)


def test_a_refusal_that_comes_late(run: Run, desk: Desk) -> None:
    """A command that is refused when its purpose was reached otherwise, and nobody awaits it, is told as an error."""

    async def main() -> None:
        async with client_of(desk) as client:
            await desk.hear(Hello)
            told: list[Any] = []
            client.add_call_listener("app", CallListener(on_error=told.append))
            desk.say(View("S", 1, "2", "ringing", "bob", receiver="alice"))
            await soon(lambda: client.calls)
            accepting = asyncio.create_task(client.accept_call("S"))
            n = (await desk.hear()).n
            desk.say(View("S", 2, "2", "accepted", "bob", receiver="alice"))
            assert (await accepting).state == "accepted"
            desk.say(Refused("S", n, StoreConflict.code, {"attempts": 3}))
            await soon(lambda: told)
            assert isinstance(told[0], StoreConflict)
            assert [call.state for call in client.calls] == ["accepted"]
            await over(desk, client, "bob", "2")

    run(main)


async def soon(condition: Callable[[], object]) -> None:
    """Wait until something holds, in virtual time."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - many things are waited for, in virtual time
            await asyncio.sleep(0.1)


async def over(desk: Desk, client: CallClient, initiator: str, pid: str, **more: Any) -> None:
    """The client ends the call, and the service takes it."""
    ending = asyncio.create_task(client.end_call("S"))
    n = (await desk.hear()).n
    desk.say(View("S", 9, pid, "ended", initiator, heard=n, reason=Reason.HANGUP, **more))
    await ending


def _token(session: str) -> str:
    """Looks like one; only the service looks at more than the session."""
    parts = ({"alg": "HS256"}, {"sid": session})
    return ".".join(urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + ".c2ln"


def test_a_service_that_contradicts_itself(run: Run, desk: Desk) -> None:
    """A join that was refused, and then is said to have succeeded, opens no media: nobody wants it any more."""

    async def main() -> None:
        media = FakeMedia()
        async with client_of(desk, media) as client:
            await desk.hear(Hello)
            calling = asyncio.create_task(client.initiate_call("bob", session_id="S", type="audio"))
            said: dict[str, Any] = {"initiator": "alice", "role": "caller", "receiver": "bob", "type": "audio"}
            n = (await desk.hear()).n
            desk.say(View("S", 1, "1", "ringing", heard=n, **said))
            await calling
            desk.say(View("S", 2, "1", "accepted", heard=n, **said))
            starting = asyncio.create_task(client.start_session(_token("S"), CallSettings(type="audio")))
            join = await desk.hear()
            desk.say(Refused("S", join.n, TokenForeign.code, {}))
            with pytest.raises(TokenForeign):
                await starting
            joined = {"joined": 1, "flags": frozenset({"joined"}), "grants": frozenset({"audio"})}
            desk.say(View("S", 3, "1", "accepted", heard=join.n, **joined, **said))
            await asyncio.sleep(1)
            assert not media.sessions
            await over(desk, client, pid="1", **said)

    run(main)


def test_a_service_that_never_answers(run: Run, desk: Desk) -> None:
    """A call that nobody takes up fails in time, and is gone."""

    async def main() -> None:
        async with client_of(desk) as client:
            with pytest.raises(CommandTimeout):
                await client.initiate_call("bob", session_id="S")
            assert not client.calls
            with pytest.raises(CallNotFound):
                await client.answered("T")

    run(main)
