"""Two clients and the service between them, for a test of three lines."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from importlib import import_module
from typing import Any, Literal, Self

from statecore.aio import Call, CallClient, CallService, Session
from statecore.flow import FLOWS, Flow, Timers
from statecore.ports import Clock, MediaAdapter
from statecore.trace import Trace, read

from .invariants import assert_invariants
from .network import FaultyLink, FaultyNetwork


class CallPair:
    """Two people who can call each other: a service, two connected clients, media in memory, a network that can fail.

    Use it as an async context manager, in `run_virtual` or in any loop. Leaving it closes everything, and holds what
    both devices recorded to `assert_invariants`, unless an exception is on its way out or `check` is false. With a
    `VirtualClock` in `clock` the wall time is virtual, too; `media` makes an adapter for each of the two; `flows` are
    those that everybody holds; `service` and `client` are passed on."""

    def __init__(
        self,
        caller: str = "alice",
        callee: str = "bob",
        *,
        network: FaultyNetwork | None = None,
        media: Callable[[], MediaAdapter] | None = None,
        clock: Clock | None = None,
        timers: Timers | None = None,
        flows: Mapping[str, Flow] = FLOWS,
        check: bool = True,
        service: dict[str, Any] | None = None,
        client: dict[str, Any] | None = None,
    ) -> None:
        self.network = network or FaultyNetwork()
        """The network between the two and the service."""
        self.service: CallService
        """The service, once entered; so are the others."""
        self.caller: CallClient
        self.callee: CallClient
        self.caller_link: FaultyLink
        self.callee_link: FaultyLink
        self._names = (caller, callee)
        self._make_media = media or _media
        self._check = check
        self._common: dict[str, Any] = {"clock": clock, "timers": timers, "flows": flows}
        self._service, self._client = service or {}, client or {}
        self._lines: tuple[list[str], list[str]] = ([], [])
        self._numbers = itertools.count(1)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.network)
            self.service = await stack.enter_async_context(CallService(**{**self._common, **self._service}))
            links = [self.network.link(self.service.signaling(name, f"{name}-phone")) for name in self._names]
            self.caller_link, self.callee_link = links
            clients = [self._make(link, lines) for link, lines in zip(links, self._lines, strict=True)]
            self.caller, self.callee = [await stack.enter_async_context(client) for client in clients]
            self._stack = stack.pop_all()
        return self

    def _make(self, link: FaultyLink, lines: list[str]) -> CallClient:
        more = {"ids": self._id, "jitter": lambda: 0.5, "trace": lines.append, **self._common, **self._client}
        return CallClient(link, self._make_media(), **more)

    def _id(self) -> str:
        return f"id-{next(self._numbers)}"

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self._stack.aclose()
        if self._check and kind is None:
            assert_invariants(*self.traces, flows=self._common["flows"])

    @property
    def traces(self) -> list[Trace]:
        """What each of the two recorded so far: the caller's first."""
        return [read([line + "\n" for line in lines]) for lines in self._lines if lines]

    async def ring(self, **more: Any) -> Call:
        """The caller calls; answers with the call as it rings at the callee's. `more` is for `initiate_call`."""
        rings: asyncio.Queue[Call] = asyncio.Queue()
        with self.callee.on("incoming_call_received", rings.put_nowait):
            await self.caller.initiate_call(self._names[1], **more)
            return await rings.get()

    async def talk(
        self,
        type: Literal["audio", "video"] = "audio",  # noqa: A002
        *,
        flow: str = "ringing",
        **more: Any,
    ) -> tuple[Session, Session]:
        """The caller calls, the callee answers, both join: the caller's active session, and the callee's. `more` is for
        `CallSettings`."""
        call = await self.ring(type=type, flow=flow)
        await self.callee.accept_call(call.session_id)
        await self.caller.answered(call.session_id)
        joining = [self._join(client, call.session_id, {"type": type, **more}) for client in (self.caller, self.callee)]
        mine, theirs = await asyncio.gather(*joining)
        return mine, theirs

    async def _join(self, client: CallClient, session_id: str, settings: dict[str, Any]) -> Session:
        return await client.start_session(await client.generate_token(session_id), **settings)


def _media() -> MediaAdapter:
    adapter: MediaAdapter = import_module(".media", __package__).FakeMedia()  # NumPy, which not everybody needs
    return adapter


__all__ = ["CallPair"]
