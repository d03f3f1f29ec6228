"""Whoever says what may not be said is told so, and nobody else notices: over real sockets, while good calls go on."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import string
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import settings
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from statecore import CallClient, CallListener, CallService, ServiceSettings, Session
from statecore.errors import CODES
from statecore.testing import FakeMedia
from statecore.tokens import JwtSigner, Keys, Role, issue
from statecore_web import CallApp, WebSocketSignaling

KEY = b"the key of this test's call tokens"
PAIRS = 3
"""How many pairs of people make good calls meanwhile."""
LIARS = 4
"""How many connections say what may not be said."""


class Liar:
    """One who has a user's account, and says whatever may not be said. Chance decides, by a seed."""

    def __init__(self, number: int, live: dict[str, str], ended: list[str], seed: int) -> None:
        self.user = f"liar-{number}"
        self.chance = random.Random(f"{seed} {number}")  # noqa: S311 - to be had again by its seed
        self.live, self.ended = live, ended
        """The good calls now, with a token of one who is in them; and those that were."""
        self.n = 0
        self.told: Counter[str] = Counter()
        """The codes that it was told, and `closed`."""
        self.said: Counter[str] = Counter()
        """How often it said what kind of thing."""
        self.silent: list[tuple[str, str]] = []
        """What it was not answered, though it should."""

    # --- what it says: the message, and whether an answer is due

    def malformed(self) -> tuple[Any, bool]:
        """No JSON, half of it, or none of ours."""
        junk = "".join(self.chance.choices(string.printable, k=self.chance.randrange(60)))
        whole = json.dumps(self._command("end"))
        half = whole[: self.chance.randrange(1, len(whole) - 1)]
        nest = "[" * self.chance.choice([2, 2_000, 20_000])
        return self.chance.choice([junk + "{", half, b"\xff\xfe" + junk.encode(), "[]", "7", "null", "{}", nest]), True

    def oversized(self) -> tuple[Any, bool]:
        """More than the service reads."""
        text = "x" * self.chance.choice([66_000, 90_000, 300_000])
        return json.dumps(self._command("end", metadata=text)), True

    def wrongly_typed(self) -> tuple[Any, bool]:
        """A message of ours, with a field that is something else."""
        message = self.chance.choice(
            [
                self._command("initiate", flow="ringing", receiver="liar-0"),
                {"m": "relay", "session": "S", "to": "1", "kind": "offer", "body": "b"},
                {"m": "ask", "session": "S", "pid": "1"},
                {"m": "token?", "session": "S", "n": 1},
            ]
        )
        name = self.chance.choice([name for name in message if name not in ("m", "body")])
        message[name] = self.chance.choice([None, [], {}, -1, 1.5, True, 2**70, "x" * 300, {"a": 1}, [1, 2]])
        return json.dumps(message), True

    def unknown(self) -> tuple[Any, bool]:
        """A kind of message that there is not, or one that only the service sends."""
        kind = self.chance.choice(["", "welcome", "view", "helo", "command ", "__class__", 7, None])
        return json.dumps({"m": kind, "session": "S"}), True

    def second_hello(self) -> tuple[Any, bool]:
        """Somebody else, in the middle of the connection."""
        return json.dumps({"m": "hello", "device": "phone", "epoch": "other", "conn": 1}), True

    def wrongly_authorised(self) -> tuple[Any, bool]:
        """A command for a call of others, also with a token of theirs."""
        session = self._theirs()
        trigger = self.chance.choice(["end", "accept", "reject", "cancel", "join", "leave", "lost", "end_for_all"])
        token = self.chance.choice(["", self.live.get(session, ""), self._own_token(session)])
        return json.dumps(self._command(trigger, session=session, token=token)), True

    def taken_id(self) -> tuple[Any, bool]:
        """A new call by the id of one that there is, or was."""
        receiver = self.chance.choice(["good-0-a", "liar-0", "nobody at all"])
        return json.dumps(self._command("initiate", session=self._theirs(), flow="ringing", receiver=receiver)), True

    def foreign_token(self) -> tuple[Any, bool]:
        """To be given a token for a ringing call of others."""
        self.n += 1
        if not self.live:
            return self.unknown()
        session = self.chance.choice(list(self.live))
        return json.dumps({"m": "token?", "session": session, "n": self.n}), True

    def foreign_media(self) -> tuple[Any, bool]:
        """Offers and candidates into a call of others: there is nobody to tell, and so no answer."""
        session, to = self._theirs(), str(self.chance.randrange(4))
        kind = self.chance.choice(["offer", "answer", "candidate", "data"])
        said = self.chance.choice(
            [
                {"m": "relay", "session": session, "to": to, "kind": kind, "body": "v=0"},
                {"m": "ask", "session": session, "pid": to},
                {"m": "free", "session": session, "pid": to},
            ]
        )
        return json.dumps(said), False

    def out_of_state(self) -> tuple[Any, bool]:
        """A command that makes no sense where there is no call, or of a flow that there is not."""
        return json.dumps(
            self.chance.choice(
                [
                    self._command(self.chance.choice(["accept", "mute_audio", "up", "joined", "x", "answered"])),
                    self._command("initiate", flow="ringing"),
                    self._command("initiate", flow="ringing", receiver=self.user),
                    self._command("initiate", flow="ringing", receiver="never was"),
                    self._command("initiate", flow="of another world", receiver="good-0-b"),
                    self._command("join", flow="session", token="a.b.c"),
                    self._command("join", flow="session", token=self._own_token("S", lifetime=-60)),
                ]
            )
        ), True

    KINDS = (
        malformed, oversized, wrongly_typed, unknown, second_hello, wrongly_authorised, taken_id, foreign_token,
        foreign_media, out_of_state,
    )  # fmt: skip

    def _command(self, trigger: str, *, session: str = "", **more: Any) -> dict[str, Any]:
        self.n += 1
        return {"m": "command", "session": session or f"{self.user}-{self.n}", "n": self.n, "trigger": trigger, **more}

    def _theirs(self) -> str:
        return self.chance.choice([*self.live, *self.ended[-5:]])

    def _own_token(self, session: str, lifetime: int = 60) -> str:
        """One that it signed itself, by a key that it thought of; or without."""
        now = 1_700_000_000_000 if lifetime < 0 else 4_000_000_000_000
        claims = issue(
            issuer="statecore", user=self.user, session=session, token_id="t", now=now, lifetime=60.0, role=Role.HOST
        )
        good = JwtSigner(Keys("1", b"a key that nobody has, of 32 byte"), "statecore").sign(claims)
        return self.chance.choice([good, "eyJhbGciOiJub25lIn0." + good.split(".")[1] + ".", good[:-3] + "AAA"])

    # --- saying it

    async def say(self, url: str, token: str, count: int) -> None:
        """Say so many things, and see to it that each is answered; connect again whenever it is thrown out."""
        left = count
        number = 0
        while left:
            number += 1
            headers = {"Authorization": f"Bearer {token}"}
            protocols = [Subprotocol("statecore.v1")]
            async with connect(url, additional_headers=headers, subprotocols=protocols, compression=None) as socket:
                hello = {"m": "hello", "device": f"{self.user}-phone", "epoch": "1", "conn": number}
                await socket.send(json.dumps(hello))
                assert json.loads(await socket.recv())["m"] == "welcome"
                try:
                    while left:
                        left -= 1
                        await self._once(socket)
                except ConnectionClosed:
                    self.told["closed"] += 1

    async def _once(self, socket: ClientConnection) -> None:
        kind = self.chance.choice(self.KINDS)
        message, answered = kind(self)
        self.said[kind.__name__] += 1
        await socket.send(message)
        await socket.send('{"m": "beat"}')  # by its echo, all before it has been dealt with
        before = self.told.total()
        try:
            async with asyncio.timeout(20):
                while (got := json.loads(await socket.recv()))["m"] != "beat":
                    assert got["m"] == "refused", got
                    self.told[got["code"]] += 1
        finally:
            if answered and self.told.total() == before:
                self.silent.append((kind.__name__, str(message)[:200]))


class Good:
    """Two people who call each other for as long as the others lie."""

    def __init__(self, number: int, live: dict[str, str], ended: list[str]) -> None:
        self.names = (f"good-{number}-a", f"good-{number}-b")
        self.live, self.ended = live, ended
        self.calls: list[str] = []

    async def talk(self, service: CallService, clients: list[CallClient], over: asyncio.Event) -> None:
        """Call after call, each of which has to go as it should: rung, accepted, active at both, hung up."""
        while not over.is_set():
            caller, callee = clients if len(self.calls) % 2 else clients[::-1]
            rings: asyncio.Queue[Any] = asyncio.Queue()
            callee.add_call_listener("test", CallListener(on_incoming_call_received=rings.put_nowait))
            async with asyncio.timeout(30):
                call = await caller.initiate_call(callee.user.uid, type="audio")
                self.live[call.session_id] = await service.generate_token(caller.user.uid, call.session_id)
                ring = await rings.get()
                assert ring.session_id == call.session_id, "somebody else's ring"
                await callee.accept_call(call.session_id)
                await call.answered()
                sessions = await asyncio.gather(*(_joined(client, call.session_id) for client in (caller, callee)))
                await sessions[0].end()
                reasons = [await session.wait_ended() for session in sessions]
            del self.live[call.session_id]
            self.ended.append(call.session_id)
            assert [(reason.what, reason.by) for reason in reasons] == [("hangup", caller.user.uid)] * 2
            self.calls.append(call.session_id)


async def _joined(client: CallClient, session: str) -> Session:
    """Active, and with the other one."""
    return await client.start_session(await client.generate_token(session), type="audio")


async def _main(served: Callable[..., Any], count: int, seed: int) -> tuple[Counter[str], Counter[str], int]:
    limits = ServiceSettings(messages_per_second=100_000, calls_per_minute=100_000)
    app = CallApp(CallService(settings=limits, key=KEY, authorize=lambda user, _: not user.startswith("liar")))
    live: dict[str, str] = {}
    ended: list[str] = []
    liars = [Liar(number, live, ended, seed) for number in range(LIARS)]
    good = [Good(number, live, ended) for number in range(PAIRS)]
    over = asyncio.Event()
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(served(app))
        talking = []
        for pair in good:
            clients = []
            for user in pair.names:
                app.service.add_user(user)
                link = WebSocketSignaling(url, (await app.tokens.issue(user))[0], device=f"{user}-phone")
                clients.append(await stack.enter_async_context(CallClient(link, FakeMedia())))
            talking.append(asyncio.create_task(pair.talk(app.service, clients, over)))
        try:
            while not all(pair.calls for pair in good):
                await asyncio.wait(talking, timeout=0.01)
                assert not [task for task in talking if task.done()]
            address = url.replace("http", "ws") + "/v1/signaling"
            tokens = [(await app.tokens.issue(liar.user))[0] for liar in liars]
            lying = [liar.say(address, token, count // LIARS) for liar, token in zip(liars, tokens, strict=True)]
            await asyncio.gather(*lying)
        finally:
            over.set()
            await asyncio.gather(*talking)
        assert not await app.service.calls()
        log = {call.session_id: call for call in await app.service.call_log()}
        assert set(log) == {session for pair in good for session in pair.calls}, "there are calls that nobody made"
        assert all(call.end_reason and call.end_reason.what == "hangup" for call in log.values())
        lines = [line for _, line in await app.service.store.scan("line")]
        assert not [line for line in lines if line.holds or line.sessions]
        assert {line.user for line in lines} <= {n for pair in good for n in pair.names} | {one.user for one in liars}
    assert [what for liar in liars for what in liar.silent] == []
    said, told = sum((one.said for one in liars), Counter()), sum((one.told for one in liars), Counter())
    return said, told, sum(len(pair.calls) for pair in good)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_what_may_not_be_said_harms_nobody(
    served: Callable[..., Any],
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
    figures: Callable[[str, Any], None],
) -> None:
    """A thousand messages of ten bad kinds, in `make soak` a hundred thousand: each is refused by a code or with the
    connection, no good call fails meanwhile, and no trace of them is left."""
    seed = int(request.config.getoption("--hypothesis-seed") or random.SystemRandom().randrange(1 << 31))
    caplog.set_level(logging.CRITICAL, "statecore")
    count = 100_000 if settings.default is settings.get_profile("soak") else 1_000
    said, told, calls = asyncio.run(_main(served, count, seed))
    print(f"{said.total()} bad messages by seed {seed}, {calls} good calls meanwhile")  # noqa: T201 - the figures
    assert said.total() == count
    assert set(said) == {kind.__name__ for kind in Liar.KINDS}
    assert set(told) - {"closed"} <= set(CODES)
    assert {"malformed_message", "signaling_refused", "call_not_found", "closed"} <= set(told)
    assert calls >= PAIRS
    figures("lied", {"messages": said.total(), "kinds": len(said), "calls": calls})
