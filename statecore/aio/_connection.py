"""A device's connection to the service: one at a time, again and again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from ..errors import (
    MalformedMessage,
    RateLimited,
    SignalingError,
    SignalingLost,
    SignalingRefused,
    StatecoreError,
    TokenError,
    TokenForeign,
    TooManyDevices,
    UnsupportedVersion,
    from_code,
)
from ..flow import Timers
from ..ports import Channel, Signaling
from ..wire import Down, Refused, Welcome, decode_down, encode

_log = logging.getLogger("statecore.client")
_BACKOFF = (0.02, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds to wait before the next try, longer after each failure; shortened by chance, so that not all come at once."""
_LONGEST = 60.0
"""How many seconds the service may have a device wait."""
_STEADY = 5.0
"""Only a connection that lasted for so many seconds shows that the next one may be tried at once."""


class Device(Protocol):
    """Whose connection it is."""

    @property
    def online(self) -> bool:
        """Whether the service has welcomed this connection."""

    @property
    def extra(self) -> dict[str, str]:
        """What every log record carries."""

    def link_up(self) -> None:
        """A channel stands: say hello."""

    def link_took(self, message: Down) -> None:
        """A message came."""

    def link_down(self) -> None:
        """The channel is gone."""


class Connection:
    """Keeps a device connected until the service refuses it, or the task that runs this is cancelled."""

    def __init__(
        self,
        signaling: Signaling,
        timers: Timers,
        jitter: Callable[[], float],
        give_up_after: float | None,
        device: Device,
    ) -> None:
        self._signaling = signaling
        self._timers = timers
        self._jitter = jitter
        self._give_up_after = give_up_after
        self._device = device
        self.failure: StatecoreError | None = None
        """What the last try came to, unless it was welcomed; or why there is none any more."""
        self._channel: Channel | None = None
        self._scope: asyncio.Timeout | None = None

    async def run(self) -> None:
        """Connect, speak, connect again. Raises the error with which the service refused for good, or the last one if
        there was no link for so long that it is given up."""
        try:
            async with asyncio.timeout(self._give_up_after) as patience:
                await self._again_and_again(patience)
        except TimeoutError:
            raise self.failure or SignalingLost() from None
        except StatecoreError as error:
            self.failure = error
            raise

    async def _again_and_again(self, patience: asyncio.Timeout) -> None:
        loop, failures = asyncio.get_running_loop(), 0
        self.failure = None
        while True:
            began, told = loop.time(), 0.0
            try:
                await self._once(patience)
            except TokenError:
                raise
            except SignalingError as error:
                if not error.retryable or isinstance(error, SignalingRefused):
                    raise
                self.failure, told = error, _told_to_wait(error)
                _log.info("the link broke: %s", error, extra=self._device.extra)
            except Exception:  # noqa: BLE001 - and whatever it is
                # A fault of the transport or of this client: it costs the connection, never the client.
                self.failure = SignalingLost()
                _log.exception("the link failed", extra=self._device.extra)
            failures = 0 if loop.time() - began > _STEADY else failures + 1
            delay = _BACKOFF[min(failures, len(_BACKOFF) - 1)]
            await asyncio.sleep(told + delay * (0.5 + self._jitter() / 2))

    async def _once(self, patience: asyncio.Timeout) -> None:
        """One connection. It has to be welcomed in time; after that it lasts until it breaks or is dropped."""
        try:
            async with asyncio.timeout(self._timers.command) as self._scope:
                await self._converse(await self._signaling.connect(), self._scope, patience)
        except TimeoutError:
            raise SignalingLost from None

    async def _converse(self, channel: Channel, scope: asyncio.Timeout, patience: asyncio.Timeout) -> None:
        self._channel, welcomed = channel, False
        try:
            self._device.link_up()
            while True:
                self._take(await channel.receive())
                if self._device.online and not welcomed:
                    welcomed, self.failure = True, None
                    scope.reschedule(None)
                    patience.reschedule(None)
        finally:
            self._channel = None
            self._device.link_down()
            await self._shut(channel)
            if welcomed and self._give_up_after is not None:
                patience.reschedule(asyncio.get_running_loop().time() + self._give_up_after)

    def _take(self, data: bytes) -> None:
        try:
            message = decode_down(data)
        except MalformedMessage as error:
            _log.warning("the service sent: %s", error, extra=self._device.extra)
            return
        if isinstance(message, Refused) and not message.n:
            self._complained(message)
            return
        if isinstance(message, Welcome) and message.user != self._signaling.user:
            raise _another_user(message.user, self._signaling.user)
        self._device.link_took(message)

    def _complained(self, message: Refused) -> None:
        """The service could not take something this device said; some of it means that it will not take anything."""
        error = from_code(message.code, **message.data)
        _log.warning("the service refused: %s", error, extra=self._device.extra)
        if isinstance(error, UnsupportedVersion | SignalingRefused | TokenError | TooManyDevices | RateLimited):
            raise error

    async def _shut(self, channel: Channel) -> None:
        try:
            async with asyncio.timeout(self._timers.close):
                await channel.close()
        except Exception as error:  # noqa: BLE001 - it is given up in any case
            _log.warning("the link did not close: %r", error, extra=self._device.extra)

    def send(self, message: Any) -> None:
        """Say something, if there is a channel; lost otherwise: what matters is said again after the resume."""
        if self._channel is not None:
            with suppress(SignalingLost):
                self._channel.send(encode(message))

    def drop(self) -> None:
        """The channel only seems to stand: make another."""
        if self._scope is None:
            raise AssertionError("only a connection that was welcomed is dropped")
        self._scope.reschedule(asyncio.get_running_loop().time())


def _another_user(theirs: str, ours: str) -> TokenForeign:
    """Whatever this device did, it would do in the name of somebody whom its program takes for another."""
    why = (
        f"by its token the call service takes this device for that of {theirs!r}, and its program for that of {ours!r}"
    )
    return TokenForeign(why, what="user", theirs=theirs, ours=ours)


def _told_to_wait(error: SignalingError) -> float:
    """How many seconds the service wants to be left alone, if it says so."""
    seconds = error.data.get("seconds")
    return min(max(0.0, seconds), _LONGEST) if isinstance(seconds, int | float) else 0.0
