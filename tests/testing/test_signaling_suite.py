"""The link within a process passes the conformance suite for signaling, and the suite finds links that do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from statecore import CallService, MemoryLink
from statecore.errors import SignalingLost
from statecore.testing import SignalingConformance
from statecore.testing.signaling import Reach


class TestMemoryLink(SignalingConformance):
    """The link of the embedded service."""

    link: Callable[[MemoryLink], Any] = staticmethod(lambda link: link)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Reach]:
        """An embedded service."""
        async with CallService() as service:
            made: dict[tuple[str, str | None], Any] = {}

            def reach(user: str, device: str | None) -> Any:
                link = made.setdefault((user, device), service.signaling(user, device=device))
                return self.link(link)

            yield reach

    async def cut(self, link: Any) -> None:
        """As tests cut it."""
        link.cut()

    async def mend(self, link: Any) -> None:
        """As tests mend it."""
        link.mend()


class _Bent:
    """A link that stands in front of another and does one thing wrong."""

    def __init__(self, inner: MemoryLink, fault: str) -> None:
        self._inner, self._fault = inner, fault
        self.user = "eve" if fault == "user" else inner.user
        self.device = inner.device
        self.cut, self.mend = inner.cut, inner.mend

    async def connect(self) -> Any:
        return _BentChannel(await self._inner.connect(), self._fault)


class _BentChannel:
    def __init__(self, inner: Any, fault: str) -> None:
        self._inner, self._fault = inner, fault
        self._held: list[bytes] = []
        self._count = 0

    def send(self, message: bytes) -> None:
        self._count += 1
        if self._fault == "swaps" and self._count > 1:
            self._held.append(message)
            if len(self._held) == 2:
                for each in reversed(self._held):
                    self._inner.send(each)
                self._held.clear()
            return
        if self._fault == "deaf" and self._inner.closed:
            return
        self._inner.send(message)
        if self._fault == "doubles" and self._count > 1:
            self._inner.send(message)

    async def receive(self) -> bytes:
        data: bytes = await self._inner.receive()
        return data[:-1] if self._fault == "cuts off" and len(data) > 100 else data

    async def close(self) -> None:
        if self._fault != "stays open":
            await self._inner.close()


@pytest.mark.parametrize(
    ("fault", "test"),
    [
        ("user", "test_it_says_whose_device_it_is"),
        ("swaps", "test_messages_arrive_whole_once_and_in_order"),
        ("doubles", "test_messages_arrive_whole_once_and_in_order"),
        ("cuts off", "test_messages_arrive_whole_once_and_in_order"),
        ("deaf", "test_a_closed_channel_is_lost"),
        ("stays open", "test_a_closed_channel_is_lost"),
    ],
)
def test_the_suite_finds_a_link_that_is_wrong(fault: str, test: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each fault of a link makes a test of the suite fail."""
    monkeypatch.setattr("statecore.testing.signaling._SECONDS", 0.5)
    suite = TestMemoryLink()
    suite.link = lambda link: _Bent(link, fault)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever the fault leads to
        getattr(suite, test)()
    assert not isinstance(caught.value, AttributeError)


class _Lagging:
    """A link whose way notices late: a channel made while it is cut is lost at once, and the first after it fails."""

    def __init__(self, inner: MemoryLink) -> None:
        self._inner = inner
        self._cut = self._late = False
        self.user, self.device = inner.user, inner.device

    async def connect(self) -> Any:
        if self._cut:
            nowhere = MemoryLink(self.user, self.device, lambda *_: None)
            channel = await nowhere.connect()
            nowhere.cut()
            return channel
        if self._late:
            self._late = False
            raise SignalingLost
        return await self._inner.connect()

    def cut(self) -> None:
        self._cut = True
        self._inner.cut()

    def mend(self) -> None:
        self._cut, self._late = False, True
        self._inner.mend()


def test_the_suite_is_patient_with_a_network_that_lags() -> None:
    """A cut that is noticed only by the channel, and a mended way that needs a moment, are not faults."""
    suite = TestMemoryLink()
    suite.link = _Lagging
    suite.test_a_cut_is_seen()


def test_an_adapter_has_to_say_how_it_is_reached() -> None:
    """Of the suite's parts that only an adapter can know, none has a default."""
    suite: Any = SignalingConformance()
    with pytest.raises(NotImplementedError):
        suite.opened()
    for part in (suite.cut, suite.mend):
        with pytest.raises(NotImplementedError):
            asyncio.run(part(None))
