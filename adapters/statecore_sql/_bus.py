"""A bus by the notifications of a PostgreSQL database, on psycopg."""

from __future__ import annotations

import asyncio
import logging
import secrets
from base64 import b64decode, b64encode
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import psycopg

from ._postgres import _bounded, _read, _shown, _why

_log = logging.getLogger("statecore.bus")
_NOBODY = {"session": "", "user": "", "device": ""}
_CHANNEL = "statecore"
_CHUNK = 5_700
"""Bytes of a message that one notification carries: PostgreSQL takes less than 8,000, and they are sent as Base64."""
_AT_ONCE = 100
"""How many notifications one statement sends."""
_AGAIN = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds until the server is asked again, longer after each failure."""
_LEAVING = 5.0
"""How long what was told has to go out when a member leaves."""


class PostgresBus:
    """Joins services that share a PostgreSQL database, by LISTEN and NOTIFY. Implements the `Bus` port.

    `url` and `patience` are as for PostgresStore: whoever may connect to that database can listen. A member takes two
    connections. When the server was restarted it connects again by itself, and its service is told that something may
    have been missed; what it tells meanwhile goes out then."""

    def __init__(self, url: str, *, patience: float = 5.0) -> None:
        given = _read(url)
        self._name = _shown(given)
        self._parameters = _bounded(given, patience)

    def __repr__(self) -> str:
        return f"PostgresBus({self._name!r})"

    async def join(self, heard: Callable[[bytes], None], lost: Callable[[], None]) -> _Member:
        """Take part. Raises OSError if the server cannot be reached, or refuses."""
        member = _Member(self, heard, lost)
        try:
            await member.open()
        except psycopg.Error as error:
            why = _why(error)
        else:
            return member
        raise OSError(f"the bus at {self._name} cannot be used: {why}")  # not within: those errors hold the password

    async def connect(self) -> psycopg.AsyncConnection[Any]:
        """A new connection."""
        return await psycopg.AsyncConnection.connect(**self._parameters, autocommit=True)


class _Member:
    """Numbers what it tells, and says a batch again whose answer was lost: whoever has heard it passes it over."""

    def __init__(self, bus: PostgresBus, heard: Callable[[bytes], None], lost: Callable[[], None]) -> None:
        self._bus = bus
        self._heard = heard
        self._lost = lost
        self._me = secrets.token_hex(8)
        self._number = 0
        self._told: list[str] = []
        self._more = asyncio.Event()
        self._gone = False
        self._pieces: dict[str, tuple[int, list[bytes]]] = {}
        """By sender: the number of the last piece, and the pieces of a message that is not complete."""
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Hear from now on. Raises psycopg.Error, and leaves nothing open then."""
        listening = await self._listening()
        try:
            telling = await self._bus.connect()
        except BaseException:
            await listening.close()
            raise
        for work in (self._listen(listening), self._tell(telling)):
            self._tasks.append(asyncio.get_running_loop().create_task(work, name="statecore bus"))

    async def _listening(self) -> psycopg.AsyncConnection[Any]:
        db = await self._bus.connect()
        try:
            await db.execute(f"LISTEN {_CHANNEL}".encode())
        except BaseException:
            await db.close()
            raise
        return db

    # --- hearing

    async def _listen(self, db: psycopg.AsyncConnection[Any]) -> None:
        while True:
            with suppress(psycopg.Error):
                try:
                    async for note in db.notifies():
                        self._take(note.payload)
                finally:
                    await db.close()
            db = await _until(self._listening)
            self._pieces.clear()
            self._lost()

    def _take(self, payload: str) -> None:
        try:
            sender, number, more, text = payload.split(":", 3)
            place, piece = int(number), b64decode(text)
        except ValueError as error:  # whoever may connect to the database may say anything
            _log.warning("a notification was not understood: %s", error, extra=_NOBODY)
            return
        if sender == self._me:
            return
        last, pieces = self._pieces.get(sender, (0, []))
        if place <= last:
            return
        pieces = [*pieces, piece]
        self._pieces[sender] = place, pieces if more == "1" else []
        if more == "0":
            self._heard(b"".join(pieces))

    # --- telling

    def tell(self, message: bytes) -> None:
        """Send to every other member."""
        if self._gone:
            return
        for start in range(0, max(1, len(message)), _CHUNK):
            self._number += 1
            text = b64encode(message[start : start + _CHUNK]).decode()
            more = int(start + _CHUNK < len(message))
            self._told.append(f"{self._me}:{self._number}:{more}:{text}")
        self._more.set()

    async def _tell(self, db: psycopg.AsyncConnection[Any]) -> None:
        try:
            while self._told or not self._gone:
                while self._told:
                    batch = self._told[:_AT_ONCE]
                    try:
                        await db.execute(
                            "SELECT pg_notify(%s, told) FROM unnest(%s::text[]) AS told", (_CHANNEL, batch)
                        )
                    except psycopg.Error:
                        await db.close()
                        db = await _until(self._bus.connect)
                    else:
                        del self._told[: len(batch)]
                self._more.clear()
                if not self._gone:
                    await self._more.wait()
        finally:
            await db.close()

    async def leave(self) -> None:
        """Hear nothing more, and tell nothing more; what was told goes out first."""
        if self._gone:
            return
        self._gone = True
        self._more.set()
        listening, telling = self._tasks
        listening.cancel()
        await asyncio.wait([telling], timeout=_LEAVING)
        telling.cancel()
        await asyncio.wait([listening, telling])


async def _until(connect: Callable[[], Coroutine[Any, Any, psycopg.AsyncConnection[Any]]]) -> Any:
    """A connection, as soon as there is one."""
    failures = 0
    while True:
        try:
            return await connect()
        except psycopg.Error:
            await asyncio.sleep(_AGAIN[min(failures, len(_AGAIN) - 1)])
            failures += 1


__all__ = ["PostgresBus"]
