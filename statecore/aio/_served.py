"""One device's connection, as the service has it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ..errors import SignalingLost, StatecoreError
from ..ports import Channel
from ..wire import Hello, Refused, encode
from ._limits import Bucket


class Served:
    """A connection, and what is known of the device."""

    def __init__(self, channel: Channel, user: str, allowance: Bucket) -> None:
        self.channel = channel
        self.allowance = allowance
        """How much it may still say."""
        self.user = user
        self.hello: Hello | None = None
        """What it said first, once it has."""
        self.welcomed = False
        """Whether that was decided upon."""

    def send(self, message: Any) -> None:
        with suppress(SignalingLost):  # the device hears it when it comes back
            self.channel.send(encode(message))

    def refuse(self, error: StatecoreError) -> None:
        """Say that something could not be taken, or that nothing will be."""
        self.send(Refused("", 0, error.code, error.data))

    @property
    def extra(self) -> dict[str, str]:
        """What every log record carries."""
        return {"session": "", "user": self.user, "device": self.hello.device if self.hello is not None else ""}


__all__ = ["Served"]
