"""What is fuzzed: everything that decodes. A target takes any bytes, and raises only where statecore is at fault."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Coroutine, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from statecore import CallQuery, CallSettings, MemoryStore, ServiceSettings
from statecore.aio._find import FIRST, LAST, find, find_in
from statecore.aio._nodes import Nodes
from statecore.aio._outbox import unpacked
from statecore.endpoint import Do, Emit, Endpoint, EndpointMachine, Received, Say
from statecore.errors import (
    InvalidArgument,
    InvalidFlow,
    InvalidSettings,
    InvalidTrace,
    MalformedMessage,
    NegotiationFailed,
    NoticeRefused,
    StatecoreError,
    StoreUnusable,
    TokenError,
    TokenMalformed,
    UnsupportedVersion,
)
from statecore.flow import Flow, Timers
from statecore.machine import compiled
from statecore.model import Record
from statecore.ports import Notice, Place
from statecore.settings import IceServer
from statecore.testing import strategies as made
from statecore.testing.sim.shrinking import parsed, written
from statecore.testing.world import World
from statecore.tokens import JwtSigner, Keys, session_of
from statecore.trace import read, replay
from statecore.wire import Relayed, decode_down, decode_up, encode
from statecore_aiortc import _body
from statecore_sql._bus import PostgresBus
from statecore_sql._bus import _Member as PostgresMember
from statecore_sql._records import decoded
from statecore_web._ice import from_body, to_body
from statecore_web.auth import AuthTokens
from statecore_web.auth import _user_of as service_user
from statecore_web.client import _refusal as refusal
from statecore_web.client import _user_of as client_user
from statecore_web.webhook import sign, verify_webhook

SIGNER = JwtSigner(Keys("k1", b"a secret of at least thirty-two bytes"), issuer="statecore")
NOW = 1_780_000_000_000
SECRET = "a secret of a webhook"
MACHINE = EndpointMachine()
CALLS = [Record(f"s{n}", "ringing", "audio", "alice", "bob", initiated_at=n // 2) for n in range(7)]
"""The oldest first."""
SAID: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "said.json").read_text(encoding="utf-8"))
"""What two of aiortc have said to each other."""
_QUIET = settings(database=None, deadline=None, max_examples=30, suppress_health_check=list(HealthCheck))


def wire_up(data: bytes) -> None:
    """A device's message: taken, and said again the same; or refused."""
    with contextlib.suppress(MalformedMessage, UnsupportedVersion):
        message = decode_up(data)
        assert decode_up(encode(message)) == message


def wire_down(data: bytes) -> None:
    """A service's message, likewise."""
    with contextlib.suppress(MalformedMessage, UnsupportedVersion):
        message = decode_down(data)
        assert decode_down(encode(message)) == message


def token(data: bytes) -> None:
    """A call token: claims, or a TokenError; and the same of a look at its session."""
    text = data.decode("latin-1")
    with contextlib.suppress(TokenError):
        SIGNER.verify(text, NOW)
    with contextlib.suppress(TokenError):
        session_of(text)


def session_settings(data: bytes) -> None:
    """Settings from JSON: built, or InvalidSettings; a name that is none is Python's own error."""
    for kind in (CallSettings, ServiceSettings, IceServer, Timers):
        values = _object(data, kind)
        with contextlib.suppress(InvalidSettings):
            assert kind(**values) == kind(**values)


def _object(data: bytes, kind: Any) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {"urls": ()} if kind is IceServer else {}
    names = {field.name for field in kind.__attrs_attrs__}
    chosen = {name: each for name, each in value.items() if name in names} if isinstance(value, dict) else {}
    return {"urls": (), **chosen} if kind is IceServer else chosen


def trace(data: bytes) -> None:
    """A trace: read and replayed, or InvalidTrace."""
    with contextlib.suppress(InvalidTrace):
        replay(read(data.decode("latin-1").splitlines(keepends=True)))


def notice(data: bytes) -> None:
    """What a webhook's receiver gets: a notice, or NoticeRefused, whatever is in its body and in its header."""
    with contextlib.suppress(NoticeRefused):
        taken = verify_webhook(SECRET, sign(SECRET, data, 1), data, now=1)
        assert msgspec.json.decode(msgspec.json.encode(taken), type=Notice) == taken
    with contextlib.suppress(NoticeRefused):
        verify_webhook(SECRET, data.decode("latin-1"), data, now=1)


def news(data: bytes) -> None:
    """What another service says over the bus: heard, or passed over with a warning."""
    heard: list[Any] = []
    with _quiet("statecore.service"):
        Nodes(None, heard.append, lambda: None)._take(data)
    assert len(heard) <= 1


def pieces(data: bytes) -> None:
    """What comes over PostgreSQL's channel, where anybody may say something: heard, or passed over."""
    heard: list[bytes] = []
    member = PostgresMember(PostgresBus("postgresql://localhost/none"), heard.append, lambda: None)
    with _quiet("statecore.bus"):
        for line in data.decode("latin-1").split("\n"):
            member._take(line)


def records(data: bytes) -> None:
    """A row of a store that somebody has written to: read, or StoreUnusable."""
    for kind in ("call", "line"):
        with contextlib.suppress(StoreUnusable):
            value = decoded(kind, data)
            assert decoded(kind, msgspec.msgpack.encode(value)) == value


def outbox(data: bytes) -> None:
    """Notices that wait in a store: read, or given up with an error in the log."""
    with _quiet("statecore.service"):
        assert all(isinstance(each, Notice) for each in unpacked(data, "alice"))


def ice(data: bytes) -> None:
    """What a service has answered that was asked for its STUN and TURN servers: read, or as `from_body` says."""
    with contextlib.suppress(ValueError, RecursionError):
        servers = from_body(data)
        assert from_body(to_body(servers)) == servers


def auth_token(data: bytes) -> None:
    """A user's token, at the client, which wants to know whose it is, and at the service; and what refuses it."""
    text = data.decode("latin-1")
    with contextlib.suppress(InvalidArgument):
        assert client_user(text)
    with contextlib.suppress(TokenMalformed):
        assert service_user(text)
    for status in (401, 404, 429, 503):
        assert isinstance(refusal(status, data, text[:3]), StatecoreError)


def auth_records(data: bytes) -> None:
    """A user's tokens in a store that somebody has written to: read, or StoreUnusable."""
    store = MemoryStore()
    assert _done(store.commit({("auth", "alice"): (0, data)}))
    tokens = AuthTokens(store, now=lambda: NOW)
    with contextlib.suppress(StoreUnusable):
        assert all(not each.digest for each in _done(tokens.list("alice")))
        with contextlib.suppress(TokenError):
            _done(tokens.verify("YWxpY2U.secret"))


def cursors(data: bytes) -> None:
    """Where a page of calls begins, as anybody may say: the same page of either kind of store, or InvalidArgument."""
    with contextlib.suppress(InvalidArgument):
        query = CallQuery(cursor=data.decode("latin-1"), limit=2)
        assert _done(find_in(_Calls(), query)) == find(CALLS, query)


class _Calls:
    """A store that finds calls by itself, as far as its numbers go."""

    async def find_calls(
        self, *, above: Place, below: Place, newest: bool, limit: int | None, **_: Any
    ) -> list[Record]:
        assert FIRST <= above <= LAST
        assert FIRST <= below <= LAST
        found = [call for call in CALLS if above < (call.initiated_at, call.session_id) < below]
        return (found[::-1] if newest else found)[:limit]

    async def count_live(self) -> int:
        raise NotImplementedError


def _done(work: Coroutine[Any, Any, Any]) -> Any:
    """What becomes of work that has to wait for nothing."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


def parcels(data: bytes) -> None:
    """What a participant sends beside the call: told once, or passed over, and the call goes on."""
    given = Received(Relayed("S", "1", "data", data.decode("latin-1")))
    told = []
    endpoint = _in_call()
    for _ in range(2):
        endpoint, effects = MACHINE.step(endpoint, given, NOW)
        told += [effect for effect in effects if isinstance(effect, Emit)]
    assert endpoint.legs["S"].state == "active"
    assert len(told) <= 1


@cache
def _in_call() -> Endpoint:
    """Of somebody in a call, who waits for word that what he said has arrived."""
    world = World({"a1": "alice", "b1": "bob"}).settle()
    world.user("a1", Do("S", "initiate", flow="ringing", receiver="bob"))
    world.settle().user("b1", Do("S", "accept"))
    world.settle()
    for device, user in (("a1", "alice"), ("b1", "bob")):
        world.user(device, Do("S", "join", token=world.token(user, "S")))
    endpoint = world.settle(media=True).places["b1"].endpoint
    for text in ("1", "2"):
        endpoint, _ = MACHINE.step(endpoint, Say("S", text), NOW)
    return endpoint


def scripts(data: bytes) -> None:
    """A script of the simulator in a file that somebody has changed: read, and written the same; or ValueError."""
    with contextlib.suppress(ValueError):
        script = parsed(data)
        assert parsed(written(script)) == script


def media(data: bytes) -> None:
    """What a peer says to set media up, the kind first: taken, with all that is in it, or NegotiationFailed."""
    kind, _, body = data.decode("latin-1").partition(" ")
    _says(kind, body)


def _says(kind: str, body: str) -> None:
    with contextlib.suppress(NegotiationFailed):
        said = _body.decode(kind, body)
        if isinstance(said, _body.Trickle):
            said.parse()
        elif said.sdp:
            _body.candidates(said.sdp)


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """What goes wrong here is logged as it should be, very often."""
    log = logging.getLogger(name)
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(level)


# Where noise would be refused at the door, Hypothesis makes the input out of the bytes: nearly whole, and so let in.


@_QUIET
@given(made.damaged_messages())
def _messages(data: bytes) -> None:
    wire_up(data)
    wire_down(data)


@_QUIET
@given(made.damaged_tokens(SIGNER))
def _tokens(text: str) -> None:
    token(text.encode("latin-1", "replace"))


@_QUIET
@given(made.damaged_flows())
def _flows(values: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidFlow):
        compiled(Flow(**values))


@_QUIET
@given(st.data())  # the lines of what was really said, some cut, swapped or made up
def _media(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(SAID)))
    said = dict(SAID[kind])
    place = "candidate" if kind == "candidate" else "sdp"
    lines = said[place].splitlines()
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        line = lines[at]
        cut = data.draw(st.integers(0, len(line)))
        other = data.draw(st.sampled_from(lines) | st.text(max_size=12) | st.just(line[:cut]))
        lines[at : at + data.draw(st.integers(0, 1))] = [other, line][: data.draw(st.integers(0, 2))]
        lines = lines or [""]
    said[place] = "\r\n".join([*lines, ""])
    _says(kind, json.dumps(said))


def made_messages(data: bytes) -> None:
    """Messages that are nearly right."""
    _messages.hypothesis.fuzz_one_input(data)  # type: ignore[attr-defined]


def made_tokens(data: bytes) -> None:
    """Tokens that are nearly genuine."""
    _tokens.hypothesis.fuzz_one_input(data)  # type: ignore[attr-defined]


def made_flows(data: bytes) -> None:
    """Tables that nearly keep the rules: built, or InvalidFlow."""
    _flows.hypothesis.fuzz_one_input(data)  # type: ignore[attr-defined]


def made_media(data: bytes) -> None:
    """Offers, answers and candidates that are nearly right."""
    _media.hypothesis.fuzz_one_input(data)  # type: ignore[attr-defined]


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        wire_up,
        wire_down,
        token,
        session_settings,
        trace,
        notice,
        news,
        pieces,
        records,
        outbox,
        ice,
        auth_token,
        auth_records,
        cursors,
        parcels,
        scripts,
        media,
        made_messages,
        made_tokens,
        made_flows,
        made_media,
    )
}
