"""The connections of devices, as the service has them: one of each device."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any

from ..errors import SignalingLost, SignalingRefused, StatecoreError
from ..model import Line
from ..ports import Channel
from ..tokens import Claims
from ..wire import Hello, Refused, Unknown, View, encode

_log = logging.getLogger("statecore.service")


def whose(user: str, guest: Claims | None) -> tuple[str, str]:
    """By what connections are counted: the guests of a session are somebody else than who has logged in."""
    return user, guest.session if guest is not None else ""


class Served:
    """A connection, and what is known of the device."""

    def __init__(self, channel: Channel, user: str, guest: Claims | None = None, credential: str | None = None) -> None:
        self.channel = channel
        self.credential = credential
        """What it was authenticated by; None within the process, and for guests."""
        self.guest = guest
        """What the call token says that admitted it, if the user has not logged in."""
        self.user = user
        self.whose = whose(user, guest)
        self.void = False
        """Whether that credential is void."""
        self.hello: Hello | None = None
        """What it said first, once it has."""
        self.seen: dict[str, int] = {}
        """The number of the last view of each session that it was sent, or came with; of those that have not ended."""
        self.unlogged = 0
        """How often what it said was wrong since a line of the log told of it."""

    def send(self, message: Any) -> None:
        """Say something, if the connection stands."""
        if isinstance(message, View) and message.reason is None:
            self.seen[message.session] = message.seq
        elif isinstance(message, View | Unknown):  # nothing can change for it there any more
            self.seen.pop(message.session, None)
        with suppress(SignalingLost):  # the device hears it when it comes back
            self.channel.send(encode(message))

    def is_in(self, line: Line) -> None:
        """All that can still change for it is what its user is in: nothing else need be remembered."""
        self.seen = {session: n for session, n in self.seen.items() if session in (*line.holds, *line.sessions)}

    def refuse(self, error: StatecoreError) -> None:
        """Say that something could not be taken, or that nothing will be."""
        self.send(Refused("", 0, error.code, error.data))

    @property
    def device(self) -> str:
        """What it calls itself, once it has."""
        return self.hello.device if self.hello is not None else ""

    @property
    def extra(self) -> dict[str, str]:
        """What every log record carries."""
        return {"session": "", "user": self.user, "device": self.device}


class Connections:
    """Every connection of a service. `patience` is how many seconds a channel has to close."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._open: set[Served] = set()
        self._devices: dict[str, dict[str, Served]] = {}
        """By user and device, from when the line was told of it."""

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection: Served) -> None:
        """One that has not yet said who it is."""
        self._open.add(connection)

    def holds(self, connection: Served, hello: Hello) -> bool:
        """Whether no newer connection took this one's place."""
        return self._devices.get(connection.user, {}).get(hello.device) is connection

    def find(self, user: str, device: str, epoch: str) -> Served | None:
        """The connection of a device, of this incarnation."""
        found = self._devices.get(user, {}).get(device)
        return found if found is not None and found.hello is not None and found.hello.epoch == epoch else None

    def settle(self, connection: Served, hello: Hello) -> Served | None:
        """It is the device's from now on, as its hello was committed. Gives the one that is to be shut: that whose
        place it took, or itself if a newer one was faster."""
        mine = self._devices.setdefault(connection.user, {})
        other = mine.get(hello.device)
        if other is not None and other.hello is not None:
            if other.hello.epoch != hello.epoch:
                other.refuse(_another_process())
            elif other.hello.conn > hello.conn:
                return connection
        mine[hello.device] = connection
        return other

    async def remove(self, connection: Served) -> None:
        """It is over. Idempotent."""
        self._open.discard(connection)
        await self.shut(connection)
        hello = connection.hello
        if hello is not None and self.holds(connection, hello):
            mine = self._devices[connection.user]
            del mine[hello.device]
            if not mine:
                del self._devices[connection.user]

    async def shut(self, *connections: Served) -> None:
        """Close channels; what reads from them ends. Idempotent."""
        await asyncio.gather(*(self._shut(connection) for connection in connections))

    async def _shut(self, connection: Served) -> None:
        try:
            async with asyncio.timeout(self._patience):
                await connection.channel.close()
        except Exception as error:  # noqa: BLE001 - it is given up in any case
            _log.warning("a channel did not close: %r", error, extra=connection.extra)

    def made_by(self, user: str, credential: str | None) -> list[Served]:
        """Those of a user that were authenticated by a credential, or by any."""
        mine = [each for each in self._open if each.user == user and each.credential is not None]
        return [each for each in mine if credential is None or each.credential == credential]

    async def shut_all(self) -> None:
        """Close every one there is now."""
        await self.shut(*self._open)

    def settled(self, user: str) -> list[Served]:
        """Those of a user that the line has been told of."""
        return list(self._devices.get(user, {}).values())

    async def keep_listed(self, stood: list[Served], line: Line | None) -> None:
        """Of the connections that were settled before the line was read, close those that it does not have: another
        one took their place at another service, the lease ran out, the user was deleted."""
        listed = {device.device: device for device in line.devices} if line is not None else {}
        for connection in stood:
            hello = connection.hello
            device = listed.get(hello.device) if hello is not None else None
            if hello is None or (device and device.epoch == hello.epoch and device.conn <= hello.conn):
                continue
            if line is None and connection.guest is None:
                connection.refuse(SignalingRefused(why="this user was deleted"))
            elif device is not None and device.epoch != hello.epoch:
                connection.refuse(_another_process())
            await self.shut(connection)


def _another_process() -> SignalingRefused:
    """Two processes with one name would drive each other out for ever."""
    return SignalingRefused(why="another process connected as this device")


__all__ = ["Connections", "Served", "whose"]
