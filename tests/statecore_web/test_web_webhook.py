"""Webhooks over real HTTP: signed, sent until they are taken, and sorted out where they arrive."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from statecore import CallClient, CallService, Newest, Timers
from statecore.errors import InvalidArgument, NoticeRefused
from statecore.ports import CHANGES, WAKE_UPS, Notice
from statecore_sql import SqliteStore
from statecore_web import Webhook, verify_webhook
from statecore_web.webhook import sign

SECRET = "a secret of the two"
NOTICE = Notice(
    id="s:1:0", sequence=1000, what="ring", session_id="s", type="audio", caller="alice", receiver="bob", user="bob",
    at=1.0, expires_at=31.0, expires_in=30.0,
)  # fmt: skip
Answer = Callable[[int, Notice], tuple[int, dict[str, str]] | None]


class Receiver:
    """Somebody's web application: verifies what comes, keeps it, and answers as it is told to."""

    def __init__(self, url: str, answer: Answer) -> None:
        self.url = url
        self.answer = answer
        self.got: list[Notice] = []
        self.keys: list[str] = []
        self.now: float | None = None
        """Unix time, if it is not the real one."""
        self.under_way = self.most = 0

    def forget(self, answer: Answer = lambda *_: (204, {})) -> None:
        """Begin anew, and answer so from now on."""
        self.got, self.keys, self.answer = [], [], answer

    async def take(self, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str]] | None:
        """One request; None answers nothing."""
        notice = verify_webhook(SECRET, headers.get("statecore-signature"), body, now=self.now)
        self.got.append(notice)
        self.keys.append(headers["idempotency-key"])
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        return self.answer(len(self.got), notice)


@asynccontextmanager
async def _receiving(served: Any, answer: Answer = lambda *_: (204, {})) -> AsyncIterator[Receiver]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})
            return
        body, more = b"", True
        while more:
            part = await receive()
            body, more = body + part.get("body", b""), part.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        answered = await receiver.take(headers, body)
        if answered is None:
            await receive()  # until the other side has enough
            return
        status, extra = answered
        lines = [(name.encode(), value.encode()) for name, value in extra.items()]
        await send({"type": "http.response.start", "status": status, "headers": lines})
        await send({"type": "http.response.body", "body": b""})

    receiver = Receiver("", answer)
    async with served(app) as url:
        receiver.url = f"{url}/hook"
        yield receiver


@asynccontextmanager
async def _hook(url: str, **more: Any) -> AsyncIterator[Webhook]:
    hook = Webhook(url, SECRET, **{"pause": 0.01, **more})
    try:
        yield hook
    finally:
        await hook.close()
        await hook.close()


def test_the_life_of_a_call_arrives_signed(served: Any) -> None:
    """Everything of a call that is made and given up, by one connection, each under its own key; the secret shows
    nowhere."""

    async def main() -> None:
        async with _receiving(served) as receiver:
            hook = Webhook(receiver.url, SECRET)
            async with CallService(notifier=hook) as service, CallClient(service.signaling("alice")) as alice:
                service.add_user("bob")
                call = await alice.initiate_call("bob", type="audio")
                await call.cancel()
                async with asyncio.timeout(10):
                    while len(receiver.got) < 4:  # noqa: ASYNC110 - what arrives is what is waited for
                        await asyncio.sleep(0.01)
            assert [notice.what for notice in receiver.got] == ["initiated", "ring", "stop", "ended"]
            assert [notice.id for notice in receiver.got] == receiver.keys
            assert {notice.session_id for notice in receiver.got} == {call.session_id}
            assert 40 < receiver.got[1].expires_in <= 45
            assert SECRET not in f"{hook!r} {vars(receiver)}"

    asyncio.run(main())


def test_what_passes_is_tried_again(served: Any) -> None:
    """After a failed server, a full or silent one, the same notice comes again under the same key; where nobody is, it
    is given up after so many attempts."""

    async def main() -> None:
        async with _receiving(served) as receiver:
            for first in ((500, {}), (503, {}), (408, {}), (429, {}), None):
                receiver.forget(lambda count, _, first=first: (204, {}) if count > 2 else first)
                # Only silence is to be waited for: who answers late on a busy machine is not to be asked again.
                async with _hook(receiver.url, timeout=0.5 if first is None else 10) as hook:
                    await hook.notify(NOTICE)
                assert receiver.keys == [NOTICE.id] * 3
                left = [notice.expires_in for notice in receiver.got]
                assert 30 >= left[0] > left[1] > left[2] > 20
                assert [notice.expires_at for notice in receiver.got] == [31] * 3
        async with _hook(_nowhere(), attempts=3) as hook:
            with pytest.raises(NoticeRefused, match="3 times"):
                await hook.notify(NOTICE)

    asyncio.run(main())


def _nowhere() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        return f"http://127.0.0.1:{nobody.getsockname()[1]}/"


def test_what_does_not_pass_is_not_tried_again(served: Any) -> None:
    """A refusal of the receiver's is final, and says which; so is an address that has moved."""

    async def main() -> None:
        async with _receiving(served) as receiver, _hook(receiver.url) as hook:
            for status in (301, 400, 401, 404, 410):
                receiver.forget(lambda *_, status=status: (status, {"location": "/other"}))
                with pytest.raises(NoticeRefused, match=str(status)):
                    await hook.notify(NOTICE)
                assert len(receiver.got) == 1

    asyncio.run(main())


def test_a_session_s_id_need_not_be_ascii(served: Any) -> None:
    """A notice of a session whose id a header cannot carry arrives, under a key of its own."""

    async def main() -> None:
        async with _receiving(served) as receiver, _hook(receiver.url) as hook:
            for name in ("Räume:会议", "R%C3%A4ume", "plain/~!"):
                await hook.notify(evolve(NOTICE, id=f"{name}:1:0", session_id=name))
            assert [notice.session_id for notice in receiver.got] == ["Räume:会议", "R%C3%A4ume", "plain/~!"]
            assert receiver.keys == ["R%C3%A4ume:%E4%BC%9A%E8%AE%AE:1:0", "R%25C3%25A4ume:1:0", "plain/~!:1:0"]

    asyncio.run(main())


def test_attempts_are_bounded_and_back_off(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses double up to the longest, are shortened by chance by a half at most, and end."""
    slept: list[float] = []

    async def short(seconds: float) -> None:
        slept.append(seconds)

    async def main() -> None:
        async with _receiving(served, lambda *_: (500, {})) as receiver:
            async with _hook(receiver.url, attempts=6, pause=1.0, longest=5.0, jitter=lambda: 0.0) as hook:
                with monkeypatch.context() as patch:
                    patch.setattr("statecore_web.webhook.sleep", short)
                    with pytest.raises(NoticeRefused, match=r"6 times.*500"):
                        await hook.notify(NOTICE)
            assert slept == [0.5, 1.0, 2.0, 2.5, 2.5]
            assert len(receiver.got) == 6

    asyncio.run(main())


def test_a_receiver_says_when_to_come_again(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`Retry-After` in seconds or as a date is kept, up to an hour; nonsense is not."""
    asked = {"7": 7, "99999999": 3600, formatdate(1_020, usegmt=True): 20, formatdate(900): 0, "soon": 0, "": 0}
    slept: list[float] = []

    async def short(seconds: float) -> None:
        slept.append(seconds)

    async def main() -> None:
        clocks: Any = {"now": lambda: 1_000.0, "jitter": lambda: 1.0}
        async with _receiving(served) as receiver, _hook(receiver.url, pause=0.25, **clocks) as hook:
            receiver.now = 1_000.0
            for after, seconds in asked.items():
                receiver.forget(lambda n, _, after=after: (429, {"retry-after": after}) if n == 1 else (200, {}))
                slept.clear()
                with monkeypatch.context() as patch:
                    patch.setattr("statecore_web.webhook.sleep", short)
                    await hook.notify(NOTICE)
                assert slept == [max(seconds, 0.25)]

    asyncio.run(main())


def test_so_many_at_once_and_not_more(served: Any) -> None:
    """Of fifty notices only so many are under way at a time, and all arrive."""

    async def main() -> None:
        async with _receiving(served) as receiver, _hook(receiver.url, at_once=4) as hook:
            await asyncio.gather(*(hook.notify(NOTICE) for _ in range(50)))
            assert (len(receiver.got), receiver.most <= 4) == (50, True)

    asyncio.run(main())


def test_what_waits_is_drained_on_close(served: Any) -> None:
    """A service that closes sends what it has yet to send before it is closed, and then closes the webhook."""

    async def main() -> None:
        async with _receiving(served, lambda count, _: (500 if count == 1 else 204, {})) as receiver:
            hook = Webhook(receiver.url, SECRET, wants=WAKE_UPS, pause=0.2)
            async with CallService(notifier=hook) as service, CallClient(service.signaling("alice")) as alice:
                service.add_user("bob")
                await (await alice.initiate_call("bob")).cancel()
            assert [notice.what for notice in receiver.got] == ["ring", "ring", "stop"]

    asyncio.run(main())


def test_what_was_not_taken_outlives_the_process(served: Any, tmp_path: Path) -> None:
    """The receiver is down, and the service stops: the next one on the file sends what waits, under the same keys."""

    async def main() -> None:
        with closing(SqliteStore(tmp_path / "calls.db")) as store:
            hook = Webhook(_nowhere(), SECRET, wants=WAKE_UPS, pause=60)
            service = CallService(store=store, notifier=hook, timers=Timers(close=0.2))
            async with service, CallClient(service.signaling("alice")) as alice:
                service.add_user("bob")
                await (await alice.initiate_call("bob")).cancel()
        async with _receiving(served) as receiver:
            with closing(SqliteStore(tmp_path / "calls.db")) as store:
                async with CallService(store=store, notifier=Webhook(receiver.url, SECRET)):
                    async with asyncio.timeout(10):
                        while await store.scan("outbox"):  # noqa: ASYNC110 - the records are what is waited for
                            await asyncio.sleep(0.01)
            assert [notice.what for notice in receiver.got] == ["ring", "stop"]

    asyncio.run(main())


def test_webhooks_arrive_twice_and_out_of_order(served: Any) -> None:
    """Every request of a call is played again, in any order: what the receiver makes of the news alone is the same. The
    phone that was to ring is silent in the end, and never rang after its stop; each change of the call's life counts
    once."""
    chance = random.Random(1)  # noqa: S311 - repeatable

    async def main() -> None:
        async with _receiving(served) as receiver, _hook(receiver.url) as way:
            async with CallService(notifier=Webhook(receiver.url, SECRET)) as service:
                service.add_user("bob")
                async with CallClient(service.signaling("alice")) as alice:
                    await (await alice.initiate_call("bob")).cancel()
            sent = list(receiver.got)
            assert len(sent) == 4
            for order in set(itertools.permutations([*range(len(sent)), *range(len(sent))])):
                _check_what_is_made_of([sent[place] for place in order])
            for order in itertools.permutations(sent):  # and over HTTP, each twice
                doubled = [*order, *chance.sample(order, len(order))]
                receiver.forget()
                for notice in doubled:
                    await way.notify(notice)
                _check_what_is_made_of(receiver.got)

    asyncio.run(main())


def _check_what_is_made_of(got: list[Notice]) -> None:
    newest, rings, stopped, life = Newest(), False, False, []
    for notice in filter(newest.take, got):
        if notice.what in WAKE_UPS:
            assert not stopped
            rings, stopped = notice.what == "ring", notice.what == "stop"
        else:
            life.append(notice.what)
    assert (rings, sorted(life), len(got)) == (False, ["ended", "initiated"], 8)


# --- where it arrives -------------------------------------------------------------------------------------------------

BODY = b'{"id":"1","sequence":1,"what":"ring","session_id":"s","type":"audio","caller":"alice","later":1}'
DEEP = BODY.replace(b"1}", b"[" * 100_000 + b"]" * 100_000 + b"}")


def test_a_genuine_request_is_its_notice() -> None:
    """By the documented scheme, whether the secret is text or bytes; fields of a later version are tolerated."""
    signature = sign(SECRET, BODY, 1_000)
    assert signature.startswith("t=1000,v1=")
    for secret in (SECRET, SECRET.encode()):
        notice = verify_webhook(secret, signature, BODY, now=1_299.0)
        assert (notice.id, notice.what, notice.caller) == ("1", "ring", "alice")
    assert verify_webhook(SECRET, sign(SECRET, BODY, round(time.time())), BODY).sequence == 1


@pytest.mark.parametrize(
    ("signature", "body", "now", "why"),
    [
        (None, BODY, 1_000, "missing"),
        ("", BODY, 1_000, "missing"),
        ("t=1000", BODY, 1_000, "missing"),
        ("v1=00", BODY, 1_000, "missing"),
        ("t=x,v1=00", BODY, 1_000, "missing"),
        ("t=²,v1=00", BODY, 1_000, "missing"),
        ("t=1000,v1=00", BODY, 1_000, "secret"),
        ("t=1000,v1=é", BODY, 1_000, "secret"),
        (sign("another secret of two", BODY, 1_000), BODY, 1_000, "secret"),
        (sign(SECRET, BODY, 1_000), BODY + b" ", 1_000, "secret"),
        (sign(SECRET, BODY, 1_000).replace("1000", "1001"), BODY, 1_000, "secret"),
        (sign(SECRET, BODY, 1_000), BODY, 1_301, "too long ago"),
        (sign(SECRET, BODY, 1_000), BODY, 699, "clocks"),
        (sign(SECRET, BODY, 1_000), BODY, float("nan"), "clocks"),
        (sign(SECRET, b"{}", 1_000), b"{}", 1_000, "malformed"),
        ("t=1000,v1=\ud800", BODY, 1_000, "secret"),
        (sign(SECRET, b"\xff", 1_000), b"\xff", 1_000, "malformed"),
        (sign(SECRET, b'{"id":"\xff"}', 1_000), b'{"id":"\xff"}', 1_000, "malformed"),
        (sign(SECRET, DEEP, 1_000), DEEP, 1_000, "malformed"),
    ],
)
def test_what_is_not_genuine_is_refused(signature: str | None, body: bytes, now: float, why: str) -> None:
    """No signature, one of another secret, body or time, an old request that is played again, a body that is none."""
    with pytest.raises(NoticeRefused, match=why) as caught:
        verify_webhook(SECRET, signature, body, now=now)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("ftp://a.example.org", SECRET),
        ("https://", SECRET),
        ("https://a.example.org:99999", SECRET),
        ("https://[::1", SECRET),
        ("https://me:pass@a.example.org", SECRET),
        ("https://a.example.org", ""),
        ("https://a.example.org", b"short"),
        ("https://a.example.org", " " * 20),
    ],
)
def test_a_webhook_that_cannot_be_safe_is_refused(url: str, secret: Any) -> None:
    """An address of another kind or with a password, a secret that could be guessed: an error that shows neither."""
    with pytest.raises(InvalidArgument) as caught:
        Webhook(url, secret)
    assert "pass@" not in str(caught.value)


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["attempts", "at_once", "timeout"])
def test_a_webhook_that_would_never_send_is_refused(name: str, wrong: float) -> None:
    """By the name of what is wrong with it."""
    with pytest.raises(InvalidArgument, match=name):
        Webhook("https://a.example.org", SECRET, **{name: wrong})


def test_however_often_a_notice_is_sent_again(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause stays the longest that it may be."""
    slept: list[float] = []

    async def short(seconds: float) -> None:
        slept.append(seconds)

    async def main() -> None:
        monkeypatch.setattr("statecore_web.webhook.sleep", short)
        async with _hook(_nowhere(), attempts=1_100, longest=5.0, jitter=lambda: 1.0) as hook:
            monkeypatch.setattr(hook, "_post", refuse)
            with pytest.raises(NoticeRefused):
                await hook.notify(NOTICE)

    async def refuse(_: Notice) -> tuple[str, float]:
        return "no", 0.0

    asyncio.run(main())
    assert len(slept) == 1_099
    assert slept[-1] == 5.0


def test_an_address_shows_no_query() -> None:
    """What is behind the question mark may be somebody's key: it is used, and shown nowhere."""
    hook = Webhook("https://a.example.org/hook?key=hunter2", SECRET)
    assert repr(hook) == "Webhook('https://a.example.org/hook')"
    assert hook.wants == CHANGES


def test_the_body_is_plain_json(served: Any) -> None:
    """Every field stands there by its name, for receivers in any language."""

    async def main() -> None:
        bodies: list[bytes] = []

        async def take(headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str]]:
            assert headers["content-type"] == "application/json"
            bodies.append(body)
            return 200, {}

        async with _receiving(served) as receiver:
            receiver.take = take  # type: ignore[method-assign]
            async with _hook(receiver.url) as hook:
                await hook.notify(NOTICE)
        told = json.loads(bodies[0])
        assert 29 < told.pop("expires_in") <= 30
        assert told == {
            "id": "s:1:0", "sequence": 1000, "what": "ring", "session_id": "s", "type": "audio", "caller": "alice",
            "caller_name": "", "receiver": "bob", "user": "bob", "reason": "", "at": 1.0, "expires_at": 31.0,
        }  # fmt: skip

    asyncio.run(main())
