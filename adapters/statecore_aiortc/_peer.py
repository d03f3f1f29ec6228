"""Media with one other participant: the connection of the moment, and the negotiation that makes and changes it.

Everything that happens to a pair goes through one queue and is done by one task, so two changes never meet inside
aiortc. aiortc has neither rollback nor ICE restart: a negotiation that got stuck, or a connection that was lost for
long, ends in a new connection (see `_body` for how both sides agree on which one is current).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Protocol

from statecore.errors import MediaConnectionFailed, NegotiationFailed, StatecoreError
from statecore.ports import Kind, MediaHost, MediaPeer, StreamStats

from . import _body
from ._incoming import FrameReader, Incoming
from ._link import ORDER, Link

ANSWER_SECONDS = 9.0
"""How long to wait for an answer: less than the 10 s after which the offer token is taken back."""
POLL = 0.5
"""Seconds between two looks at whether packets arrive."""
MISSED = 2
"""Unanswered checks in a row after which a peer is lost. Each takes up to half a second."""
REBUILD = 3.0
"""Seconds for which a peer is lost before a new connection is tried."""
STUCK = 12.0
"""Seconds without a connection, though negotiated, before another is tried."""
PAUSE = 0.5
"""Seconds between a failed negotiation and the next."""
_ATTEMPTS = 3
"""New connections offered within one turn of the offer token."""


class Around(Protocol):
    """What a peer needs of its session."""

    @property
    def host(self) -> MediaHost:
        """Who drives the session."""

    @property
    def wanted(self) -> frozenset[Kind]:
        """The kinds that need an m-line."""

    @property
    def relay_only(self) -> bool:
        """Whether media may only go through a TURN server."""

    @property
    def relay_expected(self) -> bool:
        """Whether a TURN server was given."""

    def link(self, streams: dict[Kind, Incoming], changed: Callable[[], None]) -> Link:
        """A new connection."""

    def connection_changed(self) -> None:
        """Media with a peer works, or does not any more."""


class Peer:
    """The other participant, until `close`. `record` takes what arrives."""

    def __init__(self, around: Around, peer: MediaPeer, record: Callable[[Kind, Any, float], None] | None) -> None:
        self.pid = peer.pid
        self.connected = False
        """Whether media works, as last reported."""
        self._around = around
        self._host = around.host
        self._streams = {kind: Incoming(kind, record) for kind in ORDER}
        self._link: Link | None = None
        self._gen = 0
        self._round = 0
        self._waiting: tuple[int, int] | None = None
        """Generation and round of our offer that has no answer yet."""
        self._said = ""
        """That offer."""
        self._answer: tuple[tuple[int, int], str] | None = None
        """Generation and round of the offer that the connection answered last, and the answer."""
        self._timer: asyncio.TimerHandle | None = None
        self._jobs: asyncio.Queue[Callable[[], Coroutine[Any, Any, None]]] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._work(), name=f"statecore peer {self.pid}"),
            loop.create_task(self._watch(), name=f"statecore watch {self.pid}"),
        ]
        if self._host.joined < peer.joined:
            self._host.ask(self.pid)
        # While the token is on its way, or the other side's offer: the connection is made.
        self._post(self._prepare)

    # --- from the session

    def granted(self) -> None:
        """The pair's offer token is ours."""
        self._post(self._granted)

    def receive(self, kind: str, body: str) -> None:
        """Signaling from the other side; what is malformed is reported and changes nothing."""
        try:
            message = _body.decode(kind, body)
        except NegotiationFailed as error:
            self._host.fault(error)
            return
        if isinstance(message, _body.Offer):
            self._post(partial(self._offered, message))
        elif isinstance(message, _body.Answer):
            self._post(partial(self._answered, message))
        else:
            self._post(partial(self._trickled, message))

    def resumed(self) -> None:
        """Signaling may have been lost."""
        self._post(self._resume)

    def changed(self) -> None:
        """The session wants other kinds."""
        self._post(self._ask_if_needed)

    def reader(self, kind: Kind) -> FrameReader[Any]:
        """A reader of what arrives."""
        return self._streams[kind].reader()

    async def stats(self) -> list[StreamStats]:
        """The counters of each stream."""
        return await self._link.stats(self.pid) if self._link is not None else []

    # --- the queue

    def _post(self, job: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._jobs.put_nowait(job)

    async def _work(self) -> None:
        while True:
            job = await self._jobs.get()
            try:
                await job()
            except StatecoreError as error:
                self._host.fault(error)
            except Exception as error:  # noqa: BLE001 - whatever aiortc met, only this connection is in doubt
                self._host.fault(NegotiationFailed(why=f"with {self.pid}: {error!r}"))
                await self._start_over()

    # --- making connections

    async def _prepare(self) -> None:
        link = self._link or self._new()
        await link.prepare()
        self._check_candidates(link)

    def _new(self) -> Link:
        link = self._link = self._around.link(self._streams, lambda: self._post(partial(self._link_changed, link)))
        return link

    async def _drop(self) -> None:
        """Give up the connection, and the offer that may be under way on it."""
        self._settle()
        link, self._link, self._answer = self._link, None, None
        if link is not None:
            await link.close()
            self._report(False)

    async def _start_over(self) -> None:
        """The connection is in doubt: ask to make a new one, a little later, as what went wrong may do so again."""
        await self._drop()
        self._host.free(self.pid)
        self._timer = asyncio.get_running_loop().call_later(PAUSE, self._host.ask, self.pid)

    def _check_candidates(self, link: Link) -> None:
        """aiortc says nothing about a TURN server that gave no relay, nor of a host without any address."""
        candidates = link.candidates
        why = f"{len(candidates)} kinds of addresses: {', '.join(sorted(candidates)) or 'none'}"
        if not candidates or (self._around.relay_only and "relay" not in candidates):
            need = "no TURN server gave a relay" if self._around.relay_only else "this host has no address to offer"
            self._host.failed(MediaConnectionFailed(why=f"{need} ({why})"))
        elif self._around.relay_expected and "relay" not in candidates:
            self._host.fault(MediaConnectionFailed(why=f"no TURN server gave a relay ({why})"))

    # --- offering

    async def _granted(self) -> None:
        if self._waiting is not None:  # a new turn: the offer, or its answer, may have been lost with a link
            self._send_offer()
        elif self._needs_offer():
            await self._offer()
        else:
            self._host.free(self.pid)

    def _needs_offer(self) -> bool:
        link = self._link
        return link is None or link.down or link.fresh or not link.stable or not self._around.wanted <= link.kinds

    async def _ask_if_needed(self) -> None:
        # Without a connection, whoever joined first is about to make one, with all that is wanted by then.
        if self._waiting is None and self._link is not None and not self._link.fresh and self._needs_offer():
            self._host.ask(self.pid)

    async def _offer(self, attempt: int = 1) -> None:
        link = self._link
        if link is not None and (link.down or not link.stable):
            await self._drop()
            link = None
        if link is None or link.fresh:
            self._gen, self._round = self._gen + 1, 0
        link = link or self._new()
        sdp, kinds = await link.offer(self._around.wanted)
        self._round += 1
        self._waiting = (self._gen, self._round)
        self._attempt = attempt
        self._said = _body.encode(_body.Offer(self._gen, self._round, sdp, kinds))
        self._send_offer()

    def _send_offer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(ANSWER_SECONDS, self._post, self._unanswered)
        self._host.send(self.pid, "offer", self._said)

    def _settle(self) -> None:
        self._waiting = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _answered(self, answer: _body.Answer) -> None:
        if (answer.gen, answer.round) != self._waiting or self._link is None:
            return  # it answers an offer that was given up
        if answer.again:
            self._gen = max(self._gen, answer.again)
            await self._drop()
            if self._attempt < _ATTEMPTS:
                await self._offer(self._attempt + 1)
            else:
                await self._start_over()
            return
        await self._link.accept(answer.sdp)
        self._settle()
        self._host.free(self.pid)
        await self._ask_if_needed()

    async def _unanswered(self) -> None:
        if self._waiting is not None:
            await self._start_over()

    # --- answering

    async def _offered(self, offer: _body.Offer) -> None:
        link = self._link
        if link is not None and self._answer is not None and self._answer[0] == (offer.gen, offer.round):
            self._host.send(self.pid, "answer", self._answer[1])  # the same offer again: the answer may have been lost
            return
        if offer.round == 1 and offer.gen >= self._gen:
            if link is None or not link.fresh:
                await self._drop()
                link = self._new()
        elif offer.gen != self._gen or link is None or link.down or not link.stable or link.fresh:
            self._refuse(offer)
            return
        self._gen, self._round = offer.gen, offer.round
        try:
            sdp = await link.answer(offer)
        except NegotiationFailed:
            self._refuse(offer)
            raise
        except Exception:
            await self._drop()
            self._refuse(offer)
            raise
        self._answer = ((offer.gen, offer.round), _body.encode(_body.Answer(offer.gen, offer.round, sdp)))
        self._host.send(self.pid, "answer", self._answer[1])
        await self._ask_if_needed()

    def _refuse(self, offer: _body.Offer) -> None:
        again = max(self._gen, offer.gen)
        self._host.send(self.pid, "answer", _body.encode(_body.Answer(offer.gen, offer.round, again=again)))

    async def _trickled(self, body: _body.Trickle) -> None:
        # A candidate may only overtake the answer; the offer that it belongs to came before it.
        if self._link is not None and body.gen == self._gen:
            await self._link.trickle(body)

    # --- how the connection fares

    async def _resume(self) -> None:
        # Who waits for an answer has the token, and gets a new turn.
        if self._waiting is None and (self._link is None or not self._link.up or self._needs_offer()):
            self._host.ask(self.pid)

    async def _link_changed(self, link: Link) -> None:
        if link is not self._link:
            return
        if link.up:
            self._report(True)
        elif link.down:
            await self._drop()
            self._host.ask(self.pid)

    async def _watch(self) -> None:
        """Notice a silent peer in about two seconds; aiortc by itself takes thirty."""
        link, packets, missed, bad = None, 0, 0, 0.0
        while True:
            await asyncio.sleep(POLL)
            if self._link is not link or link is None:
                link, packets, missed, bad = self._link, 0, 0, 0.0
            if link is None or link.fresh:
                continue
            if not link.up:
                bad += POLL if self._waiting is None else 0.0
                if bad >= STUCK:
                    bad = 0.0
                    self._post(partial(self._rebuild, link))
                continue
            if link.packets != packets:
                # Reports come about once a second, muted or not; in between the peer is asked.
                packets, alive = link.packets, True
            else:
                alive = await link.answers()
            missed = 0 if alive else missed + 1
            if alive and link is self._link and link.up:
                self._report(True)
                bad = 0.0
            elif missed >= MISSED:
                self._report(False)
                bad += POLL
                if bad >= REBUILD:
                    bad = 0.0
                    self._post(partial(self._rebuild, link))

    async def _rebuild(self, link: Link) -> None:
        if link is self._link and not self.connected and self._waiting is None:
            await self._drop()
            self._host.ask(self.pid)

    def _report(self, connected: bool) -> None:
        if connected == self.connected:
            return
        self.connected = connected
        (self._host.peer_connected if connected else self._host.peer_lost)(self.pid)
        self._around.connection_changed()

    # --- the end

    async def close(self) -> None:
        """End media with this participant; nothing is left of it. Idempotent."""
        self._stop()
        if self._tasks:
            await asyncio.wait(self._tasks)
        # Nothing may tie this to itself: it would stay, with all its buffers, until a collection that comes late.
        self._tasks.clear()
        self._jobs = asyncio.Queue()
        if self._link is not None:
            await self._link.close()
            self._link = None

    def _stop(self) -> None:
        self._settle()
        for task in self._tasks:
            task.cancel()
        for stream in self._streams.values():
            stream.end()

    def abort(self) -> None:
        """End it at once. Idempotent."""
        self._stop()
        if self._link is not None:
            self._link.abort()


__all__ = ["Peer"]
