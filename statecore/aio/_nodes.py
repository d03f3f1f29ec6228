"""What services on one store tell each other, and what each does about it.

The truth stands in the store: what goes over the bus only says what a device is to hear, or that it is time to look."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeAlias

import msgspec
from msgspec import Struct

from ..ports import Bus, BusMember, Key
from ..switchboard import Deliver

_log = logging.getLogger("statecore.service")
_NOBODY = {"session": "", "user": "", "device": ""}


class Decided(Struct, frozen=True, tag="decided", array_like=True):
    """A decision was committed. Every service sends what it says to the devices that are connected to it: a device may
    be connected to two of them, and only the newer connection is alive."""

    effects: tuple[Deliver, ...]
    """What devices are to hear."""
    due: tuple[tuple[Key, int], ...]
    """When which record is due, should whoever decided this be gone by then."""


class Look(Struct, frozen=True, tag="look", array_like=True):
    """Which of a user's devices are connected has changed: the line says how."""

    user: str
    """The user's id."""


class Revoked(Struct, frozen=True, tag="revoked", array_like=True):
    """A call token is void."""

    token_id: str
    """Its id."""
    until: int
    """Until when that matters, in milliseconds of Unix time."""


class CutOff(Struct, frozen=True, tag="cut_off", array_like=True):
    """Connections are to be closed that were authenticated by a credential, which is void."""

    user: str
    """Whose they are."""
    credential: str | None
    """Its name; None for whatever they were authenticated by."""


News: TypeAlias = Decided | Look | Revoked | CutOff
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(News).decode


class Nodes:
    """The other services on a store; without a bus there are none. `heard` is called with what they tell, and `lost`
    when some of that may have been missed."""

    def __init__(self, bus: Bus | None, heard: Callable[[News], None], lost: Callable[[], None]) -> None:
        self._bus = bus
        self._heard = heard
        self._lost = lost
        self._member: BusMember | None = None

    async def join(self) -> None:
        """Hear them from now on. Idempotent. Raises OSError if the bus cannot be reached."""
        if self._bus is not None and self._member is None:
            self._member = await self._bus.join(self._take, self._lost)

    async def leave(self) -> None:
        """Neither hear nor tell any more. Idempotent."""
        if self._member is not None:
            await self._member.leave()

    def tell(self, news: News) -> None:
        """Tell them, if there are any."""
        if self._member is not None:
            self._member.tell(_encode(news))

    def _take(self, message: bytes) -> None:
        try:
            news: News = _decode(message)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # of another version of this library
            _log.warning("another service was not understood: %s", error, extra=_NOBODY)
        else:
            self._heard(news)


__all__ = ["CutOff", "Decided", "Look", "News", "Nodes", "Revoked"]
