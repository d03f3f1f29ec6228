"""What comes over the wire and should not: a typed refusal, and nothing changes, at every point of a call."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from statecore import Call, CallClient, MemoryLink
from statecore.errors import CallDeclined, SignalingLost, SignalingRefused, UnsupportedVersion
from statecore.flow import FLOWS, RINGING, SESSION
from statecore.ports import Channel
from statecore.testing import FakeMedia, VirtualClock
from statecore.testing.loop import NOON
from statecore.tokens import JwtSigner, Keys, issue
from statecore.wire import (
    Ask,
    Beat,
    Bye,
    Command,
    Down,
    Free,
    Hello,
    Refused,
    Relay,
    Relayed,
    Token,
    TokenRequest,
    Unknown,
    View,
    Welcome,
    decode_down,
    encode,
)

Town, Run = Callable[..., Any], Callable[..., Any]

GARBAGE = {
    "nothing": b"",
    "no JSON": b"{",
    "no object": b"[]",
    "no message": b'{"m": "nonsense"}',
    "no kind": b'{"session": "S", "n": 1, "trigger": "end"}',
    "no bytes of a text": b'{"m": "ask", "session": "\xff", "pid": "1"}',
    "a number for a text": b'{"m": "command", "session": 1, "n": 1, "trigger": "end"}',
    "a negative number": b'{"m": "command", "session": "S", "n": -1, "trigger": "end"}',
    "a huge number": b'{"m": "command", "session": "S", "n": 1e400, "trigger": "end"}',
    "a blank id": b'{"m": "ask", "session": "", "pid": "1"}',
    "a long id": json.dumps({"m": "ask", "session": "x" * 129, "pid": "1"}).encode(),
    "an unknown relay": b'{"m": "relay", "session": "S", "to": "1", "kind": "virus", "body": ""}',
    "deep": b'{"m": "command", "session": "S", "n": 1, "trigger": "x", "data": ' + b'{"a":' * 9000 + b"1" + b"}" * 9001,
    "long": json.dumps({"m": "relay", "session": "S", "to": "1", "kind": "data", "body": "x" * 70_000}).encode(),
    "the service's": encode(Welcome("eve")),
}


class Raw:
    """A device that says what it likes."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    @classmethod
    async def of(cls, t: Any, user: str, device: str = "raw", *, hello: bool = True, **more: Any) -> Raw:
        """One that has a connection, and is welcome."""
        raw = cls(await t.service.signaling(user).connect())
        if hello:
            assert isinstance(
                await raw.say(Hello(device, more.pop("epoch", "e1"), more.pop("conn", 1), **more)), Welcome
            )
        return raw

    async def say(self, message: Any) -> Down:
        """Say something; gives the answer. Raises SignalingLost if that was the end."""
        self.channel.send(message if isinstance(message, bytes) else encode(message))
        async with asyncio.timeout(5):
            return decode_down(await self.channel.receive())

    async def silence(self, message: Any) -> None:
        """Say something that gets no answer: what comes after it does."""
        self.channel.send(encode(message))
        assert isinstance(await self.say(b"?"), Refused)

    async def lost(self) -> None:
        """The connection ends."""
        async with asyncio.timeout(5):
            while True:
                try:
                    await self.channel.receive()
                except SignalingLost:
                    return

    async def close(self) -> None:
        """Go without a word."""
        await self.channel.close()


async def contents(t: Any) -> Any:
    """Everything that the store holds of calls, and of who may be in them."""
    lines = [(key, line.holds, line.sessions) for key, line in await t.service.store.scan("line")]
    return lines, await t.service.store.scan("call"), [(name, client.calls) for name, client in t.clients.items()]


# --- a stranger, at every point of a call -----------------------------------------------------------------------------


def _forged(user: str, session: str, **more: Any) -> str:
    """A token that somebody else signed."""
    key = more.pop("key", b"f" * 32)
    issuer = more.get("issuer", "statecore")
    claims = issue(**{"user": user, "session": session, "token_id": "x", "now": NOON, "lifetime": 60.0, **more})
    return JwtSigner(Keys("1", key), issuer).sign(claims)


async def _meddle(t: Any, eve: Raw, session: str) -> None:
    """Everything that a stranger may try on a call of others; nothing comes of it."""
    before = await contents(t)
    known = bool(before[1])
    gone = known and not await t.service.calls()
    stranger = "call_gone" if gone else "not_a_party" if known else "call_not_found"
    for n, trigger in enumerate(
        ("accept", "reject", "cancel", "end", "join", "up", "failed", "mute_audio", "end_for_all", "hangup", "nonsense")
    ):
        answer = await eve.say(Command(session, n + 1, trigger, token=_forged("eve", session)))
        assert isinstance(answer, Refused)
        assert (answer.session, answer.n, answer.code) == (session, n + 1, stranger), trigger
    answer = await eve.say(TokenRequest(session, 77))
    if known:
        assert isinstance(answer, Refused)
        assert (answer.n, answer.request, answer.code) == (77, True, stranger)
    if known and not gone:
        second = Command(session, 90, "initiate", flow="ringing", receiver="alice")
        again = await eve.say(second)
        assert isinstance(again, Refused)
        assert again.code == "not_a_party"
    for pid in ("1", "2", "3"):
        for kind in ("offer", "answer", "candidate", "data"):
            await eve.silence(Relay(session, pid, kind, "x"))  # type: ignore[arg-type]  # one of these
        await eve.silence(Ask(session, pid))
        await eve.silence(Free(session, pid))
    for data in GARBAGE.values():
        answer = await eve.say(data)
        assert isinstance(answer, Refused)
        assert (answer.n, answer.code) == (0, "malformed_message")
    assert await contents(t) == before


def test_a_stranger_at_every_point_of_a_call(town: Town, run: Run) -> None:
    """Before, while it rings, accepted, active and over: no command, token, relay or garbage of another user changes
    what the store holds, or what the devices show."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            eve = await Raw.of(t, "eve")
            alice, bob = t.clients["alice"], t.clients["bob"]
            await _meddle(t, eve, "the-call")
            call = await alice.initiate_call("bob", type="audio", session_id="the-call")
            await t.until(lambda: bob.calls)
            await _meddle(t, eve, "the-call")
            await asyncio.gather(bob.accept_call("the-call"), call.answered())
            await _meddle(t, eve, "the-call")
            tokens = [await client.generate_token("the-call") for client in (alice, bob)]
            sessions = await asyncio.gather(
                *(c.start_session(token, type="audio") for c, token in zip((alice, bob), tokens, strict=True))
            )
            await t.until(lambda: all(session.state == "active" for session in sessions))
            await asyncio.sleep(1)
            await _meddle(t, eve, "the-call")
            await sessions[0].end()
            await sessions[1].wait_ended()
            await asyncio.sleep(1)
            await _meddle(t, eve, "the-call")
            await eve.close()

    run(main)


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("", "token_missing"),
        ("x.y", "token_malformed"),
        (_forged("eve", "room"), "token_forged"),
        (_forged("eve", "room", key=b"k" * 32, issuer="other"), "token_foreign"),
        (_forged("alice", "room", key=b"k" * 32), "token_foreign"),
        (_forged("eve", "other", key=b"k" * 32), "token_foreign"),
        (_forged("eve", "room", key=b"k" * 32, device="another"), "token_foreign"),
        (_forged("eve", "room", key=b"k" * 32, lifetime=0.001, now=1_600_000_000_000), "token_expired"),
        (_forged("eve", "room", key=b"k" * 32, not_before=1_800_000_000_000), "token_not_yet_valid"),
    ],
)
def test_a_bad_token_at_the_edge(town: Town, run: Run, token: str, code: str) -> None:
    """Also a client that checks nothing joins no session with a token that is not good, one that lives or a new one."""

    async def main() -> None:
        async with town("alice") as t:
            eve = await Raw.of(t, "eve")
            before = await contents(t)
            answer = await eve.say(Command("room", 1, "join", flow="session", token=token))
            assert isinstance(answer, Refused)
            assert answer.code == code
            assert await contents(t) == before
            (session,) = await t.meet("alice")
            before = await contents(t)
            answer = await eve.say(Command("room", 2, "join", flow="session", token=token))
            assert isinstance(answer, Refused)
            assert answer.code == code
            assert await contents(t) == before
            await session.leave()
            await eve.close()

    run(main)


def test_a_device_that_repeats_and_lags(town: Town, run: Run) -> None:
    """A command said again gets the same answer; one of an older number, or too late, changes nothing."""

    async def main() -> None:
        async with town("alice") as t:
            old, bob = await Raw.of(t, "bob", epoch="e1"), await Raw.of(t, "bob", epoch="e2", device="new")
            call = await t.clients["alice"].initiate_call("bob", session_id="S")
            assert [isinstance(decode_down(await raw.channel.receive()), View) for raw in (old, bob)] == [True, True]
            refused = [await bob.say(Command("S", 1, "dance")) for _ in range(3)]
            assert [(r.code, r.n) for r in refused if isinstance(r, Refused)] == [("illegal_transition", 1)] * 3
            taken = await bob.say(Command("S", 2, "accept"))
            assert isinstance(taken, View)
            assert (taken.state, taken.heard) == ("accepted", 2)
            before = await contents(t)
            for n in (0, 1, 2):
                for trigger in ("accept", "end", "reject"):
                    again = await bob.say(Command("S", n, trigger))
                    assert isinstance(again, View)
                    assert (again.state, again.seq) == ("accepted", taken.seq)
            assert isinstance(decode_down(await old.channel.receive()), View)  # it was answered elsewhere
            late = await old.say(Command("S", 1, "accept"))
            assert isinstance(late, Refused)
            assert late.code == "call_gone"
            assert (await contents(t))[0] == before[0]
            assert len(await t.service.calls()) == 1
            await call.end()
            await old.close()
            await bob.close()

    run(main)


# --- the first message ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hello", "code"),
    [
        (Hello("phone", "e", 1, v=2), "unsupported_version"),
        (Hello("phone", "e", 1, flows={"ringing": "another hash"}), "unsupported_version"),
        (Hello("phone", "e", 1, flows={"session": RINGING.hash}), "unsupported_version"),
        (Hello("a phone", "e", 1), "signaling_refused"),
        (Hello("\t", "e", 1), "signaling_refused"),
    ],
)
def test_a_first_message_that_will_not_do(town: Town, run: Run, hello: Hello, code: str) -> None:
    """Another version, another flow under one of our names, an impossible id: it is said, and the connection is over.
    A flow that the service does not hold is the device's business."""

    async def main() -> None:
        async with town("alice") as t:
            before = await t.service.store.scan("line")
            raw = await Raw.of(t, "eve", hello=False)
            answer = await raw.say(hello)
            assert isinstance(answer, Refused)
            assert (answer.n, answer.code) == (0, code)
            await raw.lost()
            assert [key for key, _ in await t.service.store.scan("line")] == [key for key, _ in before]
            fine = await Raw.of(t, "eve", flows={"ringing": RINGING.hash, "session": SESSION.hash, "mine": "x"})
            await fine.close()

    run(main)


def test_before_and_after_the_first_message(town: Town, run: Run) -> None:
    """Nothing is taken before a hello, and a second one ends the connection."""

    async def main() -> None:
        async with town("alice") as t:
            raw = await Raw.of(t, "eve", hello=False)
            for early in (Command("S", 1, "end"), Beat(), Bye(), TokenRequest("S", 1), *GARBAGE.values()):
                answer = await raw.say(early)
                assert isinstance(answer, Refused)
                assert (answer.n, answer.code) == (0, "malformed_message")
            assert isinstance(await raw.say(Hello("phone", "e", 1)), Welcome)
            answer = await raw.say(Hello("phone", "e", 2))
            assert isinstance(answer, Refused)
            assert answer.code == "signaling_refused"
            await raw.lost()

    run(main)


def test_connections_of_one_device_replace_each_other(town: Town, run: Run) -> None:
    """The newer connection stays, the late one goes; another process of the same name drives the first one out."""

    async def main() -> None:
        async with town("alice") as t:
            first = await Raw.of(t, "bob", "phone", conn=2)
            late = await Raw.of(t, "bob", hello=False)
            late.channel.send(encode(Hello("phone", "e1", 1)))
            await late.lost()
            assert isinstance(await first.say(Beat()), Beat)
            newer = await Raw.of(t, "bob", "phone", conn=3)
            await first.lost()
            other = await Raw.of(t, "bob", "phone", epoch="e2")
            refused = decode_down(await newer.channel.receive())
            assert isinstance(refused, Refused)
            assert (refused.code, refused.n) == ("signaling_refused", 0)
            await newer.lost()
            call = await t.clients["alice"].initiate_call("bob", session_id="S")
            view = decode_down(await other.channel.receive())
            assert isinstance(view, View)
            await call.cancel()
            await other.close()

    run(main)


def test_a_connection_that_was_replaced_says_more(town: Town, run: Run) -> None:
    """What an old connection still says after a newer one stands is not taken."""

    async def main() -> None:
        async with town("alice") as t:
            first = await Raw.of(t, "bob", "phone", conn=1)
            second = await Raw.of(t, "bob", hello=False)
            second.channel.send(encode(Hello("phone", "e1", 2)))
            first.channel.send(encode(Bye()))  # is read after that hello was
            assert isinstance(decode_down(await second.channel.receive()), Welcome)
            await first.lost()
            assert isinstance(await second.say(Beat()), Beat)
            await second.close()

    run(main)


def test_a_client_of_another_flow_or_version(town: Town, run: Run) -> None:
    """A client whose flow differs from the service's flow of that name cannot connect, and does not try again."""

    async def main() -> None:
        async with town() as t:
            mine = SESSION.extend("session", rows=[], flags=["odd"])
            client = t.make("alice", flows={**FLOWS, "session": mine})
            with pytest.raises(UnsupportedVersion, match="session"):
                await client.connect()
            assert not client.connected
            await client.close()
            unknown = SESSION.extend("mine", rows=[])
            bob = await t.add("bob", flows={**FLOWS, "mine": unknown})
            with pytest.raises(CallDeclined):
                await (await bob.initiate_call("alice", timeout=1)).answered()

    run(main)


# --- between honest devices -------------------------------------------------------------------------------------------


class Noisy:
    """A channel on which garbage, repeats and old messages travel beside every honest one, both ways."""

    def __init__(self, inner: Channel) -> None:
        self.inner = inner
        self.sent: list[bytes] = []
        self.got: list[bytes] = []
        self.noise: list[bytes] = []

    def send(self, message: bytes) -> None:
        """The message, and after the first (a hello) noise."""
        if self.sent:
            for data in GARBAGE.values():
                self.inner.send(data)
            for stale in (
                *self.sent[1:][-6:], encode(Command("none", 1, "end")), encode(TokenRequest("none", 2**40)),
                encode(Relay("none", "1", "offer", "x")), encode(Ask("none", "1")), encode(Free("none", "1")),
            ):  # fmt: skip
                self.inner.send(stale)
        if not self.sent or b'"command"' in message:  # what has no number would be asked for once more
            self.sent.append(message)
        self.inner.send(message)

    async def receive(self) -> bytes:
        """Noise before every message but the first (a welcome)."""
        if self.noise:
            return self.noise.pop()
        data = await self.inner.receive()
        if not self.got or b'"refused"' in data:  # what noise brings makes no more noise
            self.got.append(data)
            return data
        self.noise = [
            data, *self.got[1:][-6:], *(data for data in GARBAGE.values() if b'"welcome"' not in data), encode(Bye()),
            encode(Refused("none", 2**40, "call_gone")), encode(Refused("none", 2**40, "not_a_party", request=True)),
            encode(Unknown("none", 3)), encode(Relayed("none", "1", "offer", "x")), encode(Token("none", 2**40, "t")),
            encode(View("none", 1, "1", "nowhere", "eve", flow="no flow")), encode(Beat()),
            encode(Refused("", 0, "malformed_message", {"why": "noise"})),
        ]  # fmt: skip
        self.got.append(data)
        return self.noise.pop(0)

    async def close(self) -> None:
        """Close the inner one."""
        await self.inner.close()


class NoisyLink:
    """A link whose channels are noisy."""

    def __init__(self, inner: MemoryLink) -> None:
        self.inner = inner
        self.user, self.device = inner.user, inner.device

    async def connect(self) -> Noisy:
        """A noisy channel."""
        return Noisy(await self.inner.connect())


async def _whole_call(t: Any, noisy: bool) -> Any:
    for name in ("alice", "bob"):
        link = t.service.signaling(name, f"{name}-phone")
        await t.add(name, link=NoisyLink(link) if noisy else link)
    hers, his = await t.pair(listener=t.log("both"))
    await hers.mute_audio()
    await his.raise_hand()
    await hers.send_message("hello")
    await t.until(lambda: "message_received" in t.names("both"))
    await his.end()
    await hers.wait_ended()
    calls = [(name, event, call.state) for name, event, call in t.seen]
    (row,) = await t.service.call_log()
    return sorted(calls), sorted(t.names("both")), row.end_reason.what


def test_noise_beside_every_message(town: Town, run: Run, caplog: Any) -> None:
    """Malformed, foreign, repeated and old messages beside every honest one, both ways: the call is the same as
    without."""

    async def main() -> None:
        outcomes = []
        for noisy in (False, True):
            async with town() as t:
                outcomes.append(await _whole_call(t, noisy))
        assert outcomes[0] == outcomes[1]

    caplog.set_level("CRITICAL", logger="statecore")
    run(main, debug=False)


class Liar:
    """A service that answers a hello with one thing."""

    device: str | None = "phone"
    user = "alice"

    def __init__(self, *answers: bytes) -> None:
        self.answers = [*answers]
        self.connects = 0

    async def connect(self) -> Liar:
        """Itself."""
        self.connects += 1
        return self

    def send(self, _: bytes) -> None:
        """Ignore it."""

    async def receive(self) -> bytes:
        """The next answer, or nothing."""
        if self.answers:
            return self.answers.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    async def close(self) -> None:
        """Nothing to do."""


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (encode(Welcome("alice", v=2)), UnsupportedVersion),
        (encode(Refused("", 0, "unsupported_version", {"theirs": 1, "ours": 2})), UnsupportedVersion),
        (encode(Refused("", 0, "signaling_refused", {"why": "who are you"})), SignalingRefused),
        (b"nonsense", SignalingLost),
        (encode(Refused("", 0, "what_is_this")), SignalingLost),
    ],
)
def test_a_service_that_will_not_do(run: Run, answer: bytes, error: type[Exception]) -> None:
    """A client says why it cannot speak with a service, and does not hang on one that never says welcome."""

    async def main() -> None:
        liar = Liar(answer)
        client = CallClient(liar, FakeMedia(), clock=VirtualClock())
        with pytest.raises(error):
            await client.connect()
        assert liar.connects == 1 or error is SignalingLost
        await client.close()

    run(main)


def test_what_a_call_says_of_itself_is_data(town: Town, run: Run) -> None:
    """Metadata that is no JSON object, or one that is nested without end, from a client that checks nothing, is None
    and not an error: neither to whom it rings nor where the call is listed."""
    deepest: Any = 1
    for _ in range(63):
        deepest = {"a": deepest}
    said = ("{", "[1]", '{"a":' * 64 + "[1]" + "}" * 64, '{"a":' * 680 + "1" + "}" * 680, "[" * 2048 + "]" * 2048)
    good = ({"a": 1}, {"a": [[]] * 200}, deepest)

    async def main() -> None:
        async with town("alice") as t:
            eve, calls = await Raw.of(t, "eve"), list[Call]()
            t.clients["alice"].on("incoming_call_received", calls.append)
            for n, metadata in enumerate((*said, *map(json.dumps, good))):
                command = Command(f"S{n}", 1, "initiate", flow="ringing", receiver="alice", metadata=metadata)
                assert isinstance(await eve.say(command), View)
                await t.until(lambda n=n: len(calls) == n + 1)
                assert isinstance(await eve.say(Command(f"S{n}", 2, "cancel")), View)
            for listed in (calls, await t.service.call_log()):
                assert [call.metadata for call in listed] == [*[None] * 5, *good]
            await eve.close()

    run(main)


def test_garbage_does_not_fill_the_log(town: Town, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Each message that is none is refused; of a user's together the log has one line, which says whose it was, and
    one a minute after that, with how many there would have been, however often the device connects."""

    async def main() -> None:
        async with town() as t:
            for conn in (1, 2):
                raw = await Raw.of(t, "eve", conn=conn)
                for _ in range(100):
                    answer = await raw.say(b"{")
                    assert isinstance(answer, Refused)
                    assert answer.code == "malformed_message"
            for _ in range(3):
                await asyncio.sleep(20)
                assert await raw.say(Beat()) == Beat()
            await raw.say(b"{")
            await raw.close()
            lines = [record.getMessage() for record in caplog.records]
            line = "user 'eve', device 'raw': malformed message: Input data was truncated"
            assert lines == [line, f"{line} (100 more before it)"]

    run(main)


@pytest.mark.parametrize("said", ["a\nWARNING it's forged", "x" * 60_000, "'"])
@pytest.mark.parametrize("field", ["m", "kind"])
def test_what_was_said_does_not_stand_in_the_log(
    town: Town, run: Run, caplog: pytest.LogCaptureFixture, said: str, field: str
) -> None:
    """Of a message that is none the log has where and what is wrong with it, and not the value that is."""

    async def main() -> None:
        async with town() as t:
            raw = await Raw.of(t, "eve")
            relay = {"m": "relay", "session": "S", "to": "1", "kind": "offer", "body": "", field: said}
            assert isinstance(await raw.say(json.dumps(relay).encode()), Refused)
            await raw.close()
        (line,) = [record.getMessage() for record in caplog.records]
        assert re.fullmatch(
            rf"user 'eve', device 'raw': malformed message: Invalid [a-z ]+ \.\.\. - at `\$\.{field}`", line
        )

    run(main)
