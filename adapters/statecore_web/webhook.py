"""Notices over HTTP: posted as signed JSON, again until they are taken; and what verifies them where they arrive."""

from __future__ import annotations

import asyncio
import hmac
import random
import ssl
import time
from asyncio import sleep
from collections.abc import Callable, Collection
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote

import attrs
import msgspec

from statecore.errors import InvalidArgument, NoticeRefused
from statecore.ports import CHANGES, Change, Notice

from ._http import discreet, http_client, parts_of, why_not

if TYPE_CHECKING:
    import httpx

SIGNATURE = "Statecore-Signature"
"""The header that proves where a request comes from: `t=<Unix seconds>,v1=<hex>`, the latter the HMAC-SHA256, by the
secret, of the seconds as they stand there, a full stop, and the body."""
_LONGEST = 3600.0
"""How many seconds a receiver may have us wait."""
_DOUBLED = 60
"""How often a pause is doubled at the most: by then it is as long as it gets."""
_PLAIN = "".join(sorted({chr(code) for code in range(0x21, 0x7F)} - {"%"}))
"""What stands in a header as it is."""
_AGAIN = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
"""Refusals that pass, besides those of a server that failed."""


class Webhook:
    """Posts notices to an address: a `Notifier`, for `CallService(notifier=Webhook(url, secret))`.

    A request has the notice as JSON, its key as `Idempotency-Key` (percent-encoded where a session's id is not plain
    ASCII), and the `Statecore-Signature`. A status of 2xx takes it. After 408, 429, 5xx, no answer within `timeout`
    seconds or no connection it is sent again, `attempts` times in all, after pauses of `pause` seconds that double each
    time, up to `longest`, shortened by chance, and never shorter than a `Retry-After` (an hour at the most). Any other
    answer is final, redirects too. `at_once` requests are under way at a time. `secret` has 16 bytes or more, and shows
    nowhere. Raises InvalidArgument."""

    def __init__(
        self,
        url: str,
        secret: str | bytes,
        *,
        wants: Collection[Change] = CHANGES,
        attempts: int = 10,
        timeout: float = 10.0,
        pause: float = 1.0,
        longest: float = 300.0,
        at_once: int = 16,
        ssl: ssl.SSLContext | None = None,
        now: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        parts = parts_of(url)
        if parts is None or parts.scheme not in ("http", "https") or parts.username or parts.password:
            raise InvalidArgument("a webhook's address begins with http: or https:, and has no password", name="url")
        for name, value, least in (
            ("attempts", attempts, 1), ("at_once", at_once, 1), ("timeout", timeout, 0.001), ("pause", pause, 0.0),
            ("longest", longest, 0.0),
        ):  # fmt: skip
            if not least <= value < float("inf"):
                raise InvalidArgument(f"{name} must be a number from {least:g}", name=name)
        self.wants = frozenset(wants)
        """What it is told."""
        self._url, self._secret = url, _octets(secret)
        self._shown = f"{parts.scheme}://{parts.netloc}{parts.path}"
        self._attempts, self._pause, self._longest = attempts, pause, longest
        self._timeout, self._ssl = timeout, ssl
        self._now, self._jitter = now, jitter
        self._turns = asyncio.Semaphore(at_once)
        self._opening = asyncio.Lock()
        self._client: httpx.AsyncClient | None = None

    def __repr__(self) -> str:
        return f"Webhook({self._shown!r})"

    async def notify(self, notice: Notice) -> None:
        """Post it until it is taken. Raises NoticeRefused if the receiver does not want it, or it was tried often
        enough. Safe to cancel."""
        began, why = asyncio.get_running_loop().time(), None
        for attempt in range(1, self._attempts + 1):
            gone = asyncio.get_running_loop().time() - began
            why, wait = await self._post(attrs.evolve(notice, expires_in=max(0.0, notice.expires_in - gone)))
            if why is None:
                return
            if attempt < self._attempts:
                pause = min(self._longest, self._pause * 2 ** min(attempt - 1, _DOUBLED)) * (0.5 + self._jitter() / 2)
                await sleep(max(pause, wait))
        raise NoticeRefused(why=f"{self._shown} was asked {self._attempts} times, and says {why}")

    async def _post(self, notice: Notice) -> tuple[str | None, float]:
        """One attempt: why it was not taken, if so, and how many seconds the receiver wants to be left alone."""
        body = msgspec.json.encode(notice)
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": quote(notice.id, _PLAIN),
            SIGNATURE: sign(self._secret, body, round(self._now())),
        }
        try:
            async with self._turns:
                client = await self._opened()
                answer = await client.send(discreet(client, self._url, content=body, headers=headers))
        except Exception as error:
            if (why := why_not(error)) is None:
                raise
            return why, 0.0
        if answer.is_success:
            return None, 0.0
        if answer.status_code < HTTPStatus.INTERNAL_SERVER_ERROR and answer.status_code not in _AGAIN:
            raise NoticeRefused(why=f"{self._shown} answers with HTTP status {answer.status_code}")
        return f"HTTP status {answer.status_code}", self._wait(answer.headers.get("retry-after", ""))

    def _wait(self, after: str) -> float:
        """What `Retry-After` asks for: seconds, or a date. What is neither asks for nothing."""
        try:
            seconds = float(after) if after.isdigit() else parsedate_to_datetime(after).timestamp() - self._now()
        except (ValueError, OverflowError):
            return 0.0
        return min(max(0.0, seconds), _LONGEST)

    async def _opened(self) -> httpx.AsyncClient:
        async with self._opening:
            if self._client is None:
                secure = self._url.startswith("https:")
                self._client = await http_client(self._ssl, secure=secure, seconds=self._timeout)
        return self._client

    async def close(self) -> None:
        """Close its connections. Idempotent."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def sign(secret: str | bytes, body: bytes, when: int) -> str:
    """The value of the `Statecore-Signature` header for a body sent at a Unix time in whole seconds."""
    digest = hmac.digest(_octets(secret), b"%d.%s" % (when, body), "sha256")
    return f"t={when},v1={digest.hex()}"


def verify_webhook(
    secret: str | bytes, signature: str | None, body: bytes, *, tolerance: float = 300.0, now: float | None = None
) -> Notice:
    """The notice of a request, if it is genuine: `signature` is its `Statecore-Signature` header, `body` its body as it
    came. `now` is Unix time in seconds (default: by this machine's clock).

    Raises NoticeRefused for a signature that is missing or malformed, of another secret or body, or made more than
    `tolerance` seconds ago (or ahead): an old request that is played again. What is played again within that time has
    the key of one that came before: ask `Newest`."""
    fields = dict(part.split("=", 1) for part in (signature or "").split(",") if "=" in part)
    when, given = fields.get("t", ""), fields.get("v1", "")
    if not (when.isascii() and when.isdigit() and len(when) <= 12 and given):
        raise NoticeRefused(why=f"the header {SIGNATURE} is missing or malformed")
    expected = sign(secret, body, int(when))
    if not hmac.compare_digest(f"t={when},v1={given}".encode(errors="replace"), expected.encode()):
        raise NoticeRefused(why="the signature is not that of this body and secret")
    if not abs((time.time() if now is None else now) - int(when)) <= tolerance:  # nor if either is no number
        raise NoticeRefused(why="it was signed too long ago, or the clocks differ")
    try:
        return msgspec.json.decode(body, type=Notice)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NoticeRefused(why=f"its body is malformed: {error}") from None


def _octets(secret: str | bytes) -> bytes:
    octets = secret.encode() if isinstance(secret, str) else secret
    if len(octets) < 16 or not octets.strip():
        raise InvalidArgument("a webhook's secret has 16 bytes or more, and is not blank", name="secret")
    return octets
