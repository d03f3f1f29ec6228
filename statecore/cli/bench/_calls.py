"""Whole calls through the pure core: two endpoints, the switchboard and a dictionary, every message through the codec.

One call is: initiate, ring, accept, both join, both report their media, both active, end, and both sides told so.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from itertools import count, cycle
from typing import Any, TypeAlias

from msgspec.structs import replace

from statecore import wire
from statecore.endpoint import (
    CloseMedia,
    Do,
    Emit,
    Endpoint,
    EndpointMachine,
    LinkUp,
    Media,
    OpenMedia,
    Received,
    Send,
    Settle,
)
from statecore.endpoint import Input as Given
from statecore.ports import Key
from statecore.switchboard import Act, Connect, Done, Register, Switchboard
from statecore.switchboard import Input as Asked
from statecore.tokens import Claims, JwtSigner, Keys, issue

from ._harness import Effort, Figure, Loop, alternate, at_least, cpu

_NOW = 1_700_000_000_000
_KEY = b"a key for measuring, known to all"
_EPOCH = "epoch-1"
_DEVICES = {"alice": "alice-device", "bob": "bob-device"}
LEAST = 12_000
"""How many calls a second the core is to carry on one core, without tokens."""
_OF_ONE_CALL = {
    "session_joined": 2, "call_ended": 2, "media opened": 2, "media closed": 2, "command settled": 5,
}  # fmt: skip
"""What each call must have brought about, on both sides together, or something else was measured."""

Step: TypeAlias = Callable[..., Any]
"""The `step` of a switchboard or of an endpoint's machine."""


class _View(dict[Key, Any]):
    """The store: every record that was written; what was not is absent."""

    def __missing__(self, key: Key) -> None:
        return None


class Pair:
    """Alice and Bob, a device each, and the switchboard between them. Media is up as soon as it is opened."""

    def __init__(self, *, tokens: bool) -> None:
        self.decide: Step = Switchboard().step
        """What the switchboard decides."""
        self.move: Step = EndpointMachine().step
        """What a device does."""
        self.store = _View()
        self.devices = {user: Endpoint(user, device, _EPOCH) for user, device in _DEVICES.items()}
        self.signer = JwtSigner(Keys("1", _KEY)) if tokens else None
        self.token_ids = (f"{number:036d}" for number in count())
        self.verified = {user: self.issue(user, "session") for user in self.devices}
        """What stands for a verified token where there are none."""
        self.up: deque[tuple[str, bytes]] = deque()
        self.seen: Counter[str] = Counter()
        """How often each event was told, and what else came about, on both sides together."""
        for user in self.devices:
            self.ask(Register(user))
        for user in self.devices:
            self.do(user, LinkUp())

    def call(self, session: str) -> None:
        """One call, from idle to ended on both sides. Afterwards nothing of it is left in the store."""
        self.do("alice", Do(session, "initiate", 1, flow="ringing", receiver="bob"))
        self.do("bob", Do(session, "accept", 2))
        self.do("alice", Do(session, "join", 3, token=self.token("alice", session)))
        self.do("bob", Do(session, "join", 4, token=self.token("bob", session)))
        self.do("alice", Do(session, "end", 5))
        del self.store["call", session]

    def do(self, user: str, given: Given) -> None:
        """An input for a device, and all that follows from it on both sides."""
        self.give(user, given)
        up = self.up
        while up:
            self.take(*up.popleft())

    def token(self, user: str, session: str) -> str:
        """The token that the accepted view brought; without tokens, a text that stands for one."""
        return self.devices[user].legs[session].token or "token"

    def give(self, user: str, given: Given) -> None:
        """An input for a device. Its shell carries out what comes of it."""
        self.devices[user], effects = self.move(self.devices[user], given, _NOW)
        seen = self.seen
        for effect in effects:
            kind = type(effect)
            if kind is Emit:
                seen[effect.event] += 1
            elif kind is Send:
                self.up.append((user, wire.encode(effect.message)))
            elif kind is Settle:
                seen["command settled"] += effect.error is None
            elif kind is CloseMedia:
                seen["media closed"] += 1
            elif kind is OpenMedia:
                seen["media opened"] += 1
                self.give(user, Media(effect.session, "up"))

    def take(self, user: str, data: bytes) -> None:
        """What the service's shell does with a message."""
        message = wire.decode_up(data)
        if isinstance(message, wire.Command):
            self.ask(Act(user, _DEVICES[user], _EPOCH, message, self.claims(user, message) if message.token else None))
        elif isinstance(message, wire.Hello):  # pragma: no branch - these devices say nothing else
            self.ask(Connect(user, message))

    def claims(self, user: str, command: wire.Command) -> Claims:
        """The verified claims of a command's token; without tokens they are taken for verified."""
        if self.signer:
            return self.signer.verify(command.token, _NOW)
        return replace(self.verified[user], session=command.session)

    def issue(self, user: str, session: str) -> Claims:
        """Fresh claims."""
        return issue(user=user, session=session, now=_NOW, lifetime=3600.0, token_id=next(self.token_ids))

    def ask(self, asked: Asked) -> None:
        """Ask the switchboard, commit, and tell the devices what it says."""
        done = self.decide(self.store, asked, _NOW)
        if not isinstance(done, Done):  # pragma: no cover - it would measure nothing
            raise TypeError(f"the view has everything, yet {done} was answered")
        self.store.update(done.writes)
        for effect in done.effects:
            message = effect.message
            if effect.wants_token and self.signer and isinstance(message, wire.View):
                message = replace(message, token=self.signer.sign(self.issue(effect.user, message.session)))
            self.give(effect.user, Received(wire.decode_down(wire.encode(message))))


class _Recording(Pair):
    """Keeps what goes over the wire, and what the machines answer."""

    def __init__(self) -> None:
        self.went_up: list[bytes] = []
        self.went_down: list[bytes] = []
        self.decided: list[Any] = []
        self.moved: list[Any] = []
        super().__init__(tokens=False)
        self.went_up.clear()
        self.went_down.clear()
        self.decide, self.move = _kept(self.decide, self.decided), _kept(self.move, self.moved)

    def take(self, user: str, data: bytes) -> None:
        self.went_up.append(data)
        super().take(user, data)

    def give(self, user: str, given: Given) -> None:
        if isinstance(given, Received):
            self.went_down.append(wire.encode(given.message))
        super().give(user, given)


def _kept(step: Step, answers: list[Any]) -> Step:
    def keeping(*given: Any) -> Any:
        answers.append(step(*given))
        return answers[-1]

    return keeping


_SESSION = f"{0:036d}"


def _recorded() -> _Recording:
    pair = _Recording()
    pair.call(_SESSION)
    return pair


def _whole_calls(*, tokens: bool) -> Loop:
    pair = Pair(tokens=tokens)
    ids = (f"{number:036d}" for number in count())

    def loop(calls: int) -> None:
        before = pair.seen.copy()
        for _ in range(calls):
            pair.call(next(ids))
        for what, often in _OF_ONE_CALL.items():
            seen = pair.seen[what] - before[what]
            if seen != often * calls:  # pragma: no cover - it would measure something else
                raise RuntimeError(f"{what}: {seen} times in {calls} calls of two")

    return loop


def _codec_alone() -> Loop:
    """The messages of one such call, decoded and encoded again; nothing is decided."""
    pair = _recorded()
    up, down = pair.went_up, pair.went_down

    def loop(calls: int) -> None:
        for _ in range(calls):
            for data in up:
                wire.encode(wire.decode_up(data))
            for data in down:
                wire.encode(wire.decode_down(data))

    return loop


def _nothing_decided() -> Loop:
    """Such a call with the codec and all that is done around the machines, whose answers are known beforehand."""
    recorded, pair = _recorded(), Pair(tokens=False)
    decided, moved = cycle(recorded.decided), cycle(recorded.moved)
    pair.decide = lambda *_: next(decided)
    pair.move = lambda *_: next(moved)

    def loop(calls: int) -> None:
        for _ in range(calls):
            pair.call(_SESSION)

    return loop


def calls(effort: Effort) -> list[Figure]:
    """Figures of calls a second, on one core."""
    sides = {
        "without": cpu(_whole_calls(tokens=False)),
        "codec": cpu(_codec_alone()),
        "harness": cpu(_nothing_decided()),
        "with": cpu(_whole_calls(tokens=True)),
    }
    taken = alternate(sides, effort)
    rate = {name: 1 / seconds for name, seconds in taken.items()}
    value, harness = rate["without"], taken["harness"] - taken["codec"]
    return [
        Figure(
            name="calls through the pure core", value=value, unit="calls/s", peer="the codec alone",
            peer_value=rate["codec"], ratio=rate["codec"] / value, target=f">= {LEAST:,}/s", met=at_least(LEAST, value),
        ),
        Figure(
            name="what of such a call is the benchmark's own", value=harness * 1e6, unit="us", peer="the call",
            peer_value=taken["without"] * 1e6, ratio=harness / taken["without"],
        ),
        Figure(
            name="calls through the pure core, tokens issued and verified", value=rate["with"], unit="calls/s",
            peer="without tokens", peer_value=value, ratio=value / rate["with"],
        ),
    ]  # fmt: skip
