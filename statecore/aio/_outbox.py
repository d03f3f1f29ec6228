"""Notices, written in the same commit as what they tell, sent after it, and deleted when they were taken."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any

import attrs
import msgspec

from ..errors import StoreConflict
from ..model import Record
from ..ports import Key, Notice, Notifier, Store
from ..switchboard import Done
from ._notices import notices
from ._tasks import Tasks, bounded

_log = logging.getLogger("statecore.service")
_KIND = "outbox"
_PAUSE = (0.25, 0.5, 1.0, 2.0, 5.0, 15.0)
"""Seconds until the store is asked again that could not serve, longer after each time."""
_MOST = 1_000
"""How many notices of one caller may wait; the oldest are given up first."""

Writes = dict[Key, tuple[int, Any]]


class Outbox:
    """What waits to be sent: a list for each caller, so that what concerns a session goes out in order.

    At least once: what was sent but not yet deleted when a service died is sent again by the next."""

    def __init__(
        self, store: Store, notifier: Notifier | None, tasks: Tasks, wall: Callable[[], int], attempts: int
    ) -> None:
        self._store = store
        self._notifier = notifier
        self._tasks = tasks
        self._wall = wall
        self._attempts = attempts
        self._sending: set[Key] = set()
        self._more: set[Key] = set()
        """Those of them that may hold more than was seen."""

    async def enclose(self, decision: Done, loaded: Mapping[Key, tuple[int, Any]]) -> Writes:
        """What is to be written with a decision."""
        if self._notifier is None:
            return {}
        found: dict[Key, list[Notice]] = {}
        now = self._wall()
        for key, value in decision.writes.items():
            if isinstance(value, Record):
                version, old = loaded[key]
                new = notices(old, value, version + 1, self._notifier.wants, now)
                if new:
                    found.setdefault((_KIND, value.initiator), []).extend(new)
        if not found:
            return {}
        kept = await self._store.load(found)
        return {key: (kept[key][0], _packed([*unpacked(kept[key][1], key[1]), *new])) for key, new in found.items()}

    def send(self, keys: Collection[Key]) -> None:
        """Something was written: see to it that it goes out."""
        for key in keys:
            if key in self._sending:
                self._more.add(key)
            else:
                self._sending.add(key)
                self._tasks.start(self._empty(key), f"statecore notices {key[1]}")

    async def recover(self) -> None:
        """Send what the service before this one did not."""
        if self._notifier is not None:
            self.send([key for key, _ in await self._store.scan(_KIND)])

    async def close(self, seconds: float) -> None:
        """Nothing is sent any more. The notifier has so long to close."""
        try:
            if self._notifier is not None:
                await bounded(self._notifier.close(), seconds, "statecore notifier close")
        except Exception:  # noqa: BLE001 - the notifier's own, and whatever it is
            _log.exception("the notifier did not close", extra=_extra(""))

    async def _empty(self, key: Key) -> None:
        failures = 0
        try:
            while True:
                self._more.discard(key)
                try:
                    waiting = unpacked((await self._store.load((key,)))[key][1], key[1])
                    for notice in waiting:
                        await self._notify(notice)
                        await self._delete(key, notice)
                    failures = 0
                except Exception:  # noqa: BLE001 - and whatever it is
                    # A store that fails now is asked again; what was sent meanwhile may be sent twice.
                    _log.exception("notices of %s could not be served", key[1], extra=_extra(key[1]))
                    await asyncio.sleep(_PAUSE[min(failures, len(_PAUSE) - 1)])
                    failures += 1
                    continue
                if not waiting and key not in self._more:
                    return
        finally:
            self._sending.discard(key)

    async def _notify(self, notice: Notice) -> None:
        if self._notifier is None:
            raise AssertionError("without one, nothing was written and nothing taken up")
        left = max(0.0, notice.expires_at - self._wall() / 1000) if notice.expires_at else 0.0
        try:
            await self._notifier.notify(attrs.evolve(notice, expires_in=left))
        except Exception as error:  # noqa: BLE001 - the notifier's own, and whatever it is
            _log.error("notice %s was given up: %s", notice.id, error, extra=_extra(notice.caller, notice.session_id))

    async def _delete(self, key: Key, notice: Notice) -> None:
        for _ in range(self._attempts):
            version, data = (await self._store.load((key,)))[key]
            left = [other for other in unpacked(data, key[1]) if other.id != notice.id]
            if await self._store.commit({key: (version, _packed(left) if left else None)}):
                return
        raise StoreConflict(attempts=self._attempts)


def _packed(waiting: list[Notice]) -> bytes:
    if len(waiting) > _MOST:
        _log.error("%d notices of %s were given up: too many wait", len(waiting) - _MOST, waiting[0].caller)
    return msgspec.msgpack.encode(waiting[-_MOST:])


def unpacked(data: bytes | None, user: str) -> list[Notice]:
    """What waits. What cannot be read, as a store may hold that others write to, is given up: nobody's calls hang on
    it."""
    try:
        return msgspec.msgpack.decode(data, type=list[Notice]) if data else []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _log.error("notices of %s were given up, as they cannot be read: %s", user, error, extra=_extra(user))
        return []


def _extra(user: str, session: str = "") -> dict[str, str]:
    return {"session": session, "user": user, "device": ""}


__all__ = ["Outbox", "unpacked"]
