"""Whole calls through the pure core: two endpoints, the switchboard and a dictionary, every message through the codec.

One call is: initiate, ring, accept, both join, both report their media, both active, end, and both sides told so.
"""

from __future__ import annotations

from collections import deque
from itertools import count
from typing import Any

from msgspec.structs import replace

from statecore import wire
from statecore.endpoint import Do, Effect, Emit, Endpoint, EndpointMachine, LinkUp, Media, OpenMedia, Received, Send
from statecore.endpoint import Input as Given
from statecore.ports import Key
from statecore.switchboard import Act, Connect, Done, Register, Switchboard
from statecore.switchboard import Input as Asked
from statecore.tokens import Claims, JwtSigner, Keys, issue

from ._harness import Effort, Figure, Loop, alternate, at_least, cpu

_NOW = 1_700_000_000_000
_KEY = b"a key for measuring, known to all"
LEAST = 12_000
"""How many calls a second the core is to carry on one core, without tokens."""


class _View(dict[Key, Any]):
    """The store: every record that was written; what was not is absent."""

    def __missing__(self, key: Key) -> None:
        return None


class Pair:
    """Alice and Bob, a device each, and the switchboard between them. Media is up as soon as it is opened."""

    def __init__(self, *, tokens: bool) -> None:
        self.board = Switchboard()
        self.store = _View()
        self.machine = EndpointMachine()
        self.devices = {user: Endpoint(user, f"{user}-device", "epoch-1") for user in ("alice", "bob")}
        self.signer = JwtSigner(Keys("1", _KEY)) if tokens else None
        self.token_ids = (f"{number:036d}" for number in count())
        self.verified = {user: self.issue(user, "session") for user in self.devices}
        """What stands for a verified token where there are none."""
        self.up: deque[tuple[str, bytes]] = deque()
        self.down: deque[tuple[str, bytes]] = deque()
        self.told: dict[str, int] = {}
        """How often each event was told, on both sides together."""
        self.messages: tuple[list[bytes], list[bytes]] | None = None
        """Those that went up and those that went down, while they are kept."""
        for user in self.devices:
            self.decide(Register(user))
        for user in self.devices:
            self.give(user, LinkUp())
        self.run()

    def call(self, session: str) -> None:
        """One call, from idle to ended on both sides. Afterwards nothing of it is left in the store."""
        self.do("alice", Do(session, "initiate", 1, flow="ringing", receiver="bob"))
        self.do("bob", Do(session, "accept", 2))
        self.do("alice", Do(session, "join", 3, token=self.token("alice", session)))
        self.do("bob", Do(session, "join", 4, token=self.token("bob", session)))
        self.do("alice", Do(session, "end", 5))
        del self.store["call", session]

    def do(self, user: str, what: Do) -> None:
        """A command, and all that follows from it."""
        self.give(user, what)
        self.run()

    def token(self, user: str, session: str) -> str:
        """The token that the accepted view brought; without tokens, a text that stands for one."""
        return self.devices[user].legs[session].token or "token"

    def run(self) -> None:
        """Carry messages until there are none."""
        up, down = self.up, self.down
        while up or down:
            if down:
                user, data = down.popleft()
                self.give(user, Received(wire.decode_down(data)))
            else:
                self.take(*up.popleft())

    def give(self, user: str, given: Given) -> None:
        """An input for a device, and what comes of it."""
        self.devices[user], effects = self.machine.step(self.devices[user], given, _NOW)
        for effect in effects:
            self.carry_out(user, effect)

    def carry_out(self, user: str, effect: Effect) -> None:
        """What a device's shell would do."""
        if isinstance(effect, Send):
            self.up.append((user, wire.encode(effect.message)))
        elif isinstance(effect, Emit):
            self.told[effect.event] = self.told.get(effect.event, 0) + 1
        elif isinstance(effect, OpenMedia):
            self.give(user, Media(effect.session, "up"))

    def take(self, user: str, data: bytes) -> None:
        """What the service's shell would do with a message."""
        if self.messages:
            self.messages[0].append(data)
        message = wire.decode_up(data)
        if isinstance(message, wire.Command):
            self.decide(Act(user, f"{user}-device", "epoch-1", message, self.claims(user, message)))
        elif isinstance(message, wire.Hello):  # pragma: no branch - these devices say nothing else
            self.decide(Connect(user, message))

    def claims(self, user: str, command: wire.Command) -> Claims | None:
        """The verified claims of a command's token; without tokens they are taken for verified."""
        if not command.token:
            return None
        if self.signer:
            return self.signer.verify(command.token, _NOW)
        return replace(self.verified[user], session=command.session)

    def issue(self, user: str, session: str) -> Claims:
        """Fresh claims."""
        return issue(user=user, session=session, now=_NOW, lifetime=3600.0, token_id=next(self.token_ids))

    def decide(self, asked: Asked) -> None:
        """Ask the switchboard, commit, and put what it says on its way."""
        done = self.board.step(self.store, asked, _NOW)
        if not isinstance(done, Done):  # pragma: no cover - it would measure nothing
            raise TypeError(f"the view has everything, yet {done} was answered")
        self.store.update(done.writes)
        for effect in done.effects:
            message = effect.message
            if effect.wants_token and self.signer and isinstance(message, wire.View):
                message = replace(message, token=self.signer.sign(self.issue(effect.user, message.session)))
            data = wire.encode(message)
            if self.messages:
                self.messages[1].append(data)
            self.down.append((effect.user, data))


def _whole_calls(*, tokens: bool) -> Loop:
    pair = Pair(tokens=tokens)
    ids = (f"{number:036d}" for number in count())

    def loop(calls: int) -> None:
        before = dict(pair.told)
        for _ in range(calls):
            pair.call(next(ids))
        for event in ("session_joined", "call_ended"):
            told = pair.told[event] - before.get(event, 0)
            if told != 2 * calls:  # pragma: no cover - it would measure something else
                raise RuntimeError(f"{event} was told {told} times in {calls} calls of two")

    return loop


def _codec_alone() -> Loop:
    """The messages of one such call, decoded and encoded again; nothing is decided."""
    pair = Pair(tokens=False)
    up: list[bytes] = []
    down: list[bytes] = []
    pair.messages = (up, down)
    pair.call(f"{0:036d}")

    def loop(calls: int) -> None:
        for _ in range(calls):
            for data in up:
                wire.encode(wire.decode_up(data))
            for data in down:
                wire.encode(wire.decode_down(data))

    return loop


def calls(effort: Effort) -> list[Figure]:
    """Figures of calls a second, on one core."""
    sides = {
        "without": cpu(_whole_calls(tokens=False)),
        "codec": cpu(_codec_alone()),
        "with": cpu(_whole_calls(tokens=True)),
    }
    rate = {name: 1 / seconds for name, seconds in alternate(sides, effort).items()}
    value = rate["without"]
    return [
        Figure(
            name="calls through the pure core", value=value, unit="calls/s", peer="the codec alone",
            peer_value=rate["codec"], ratio=rate["codec"] / value, target=f">= {LEAST:,}/s", met=at_least(LEAST, value),
        ),
        Figure(
            name="calls through the pure core, tokens issued and verified", value=rate["with"], unit="calls/s",
            peer="without tokens", peer_value=value, ratio=value / rate["with"],
        ),
    ]  # fmt: skip
