"""One peer connection: its m-lines, what is sent and taken on them, and its end.

Every m-line goes both ways for as long as the connection lives; what is muted, paused or no longer shared is simply not
sent, and the next share uses the same line. So a connection is renegotiated only when a kind is needed for the first
time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpTransceiver, RTCSessionDescription
from aiortc.mediastreams import MediaStreamTrack
from aiortc.stats import RTCInboundRtpStreamStats, RTCOutboundRtpStreamStats, RTCRemoteInboundRtpStreamStats

from statecore.errors import NegotiationFailed
from statecore.ports import Kind, StreamStats

from . import _body, _webrtc
from ._feed import Feed, Outlet
from ._incoming import Incoming

ORDER: tuple[Kind, ...] = ("audio", "video", "screen")
_PARKED = 64
"""Candidates kept while the description they belong to is on its way."""
_CLOCK = {"audio": 48_000, "video": 90_000, "screen": 90_000}

_closing: set[asyncio.Task[None]] = set()
"""Connections that were aborted and close by themselves: kept, so that they are not collected before."""


class Link:
    """A connection that is new, then up, then down; never up again.

    `changed` is called when it comes up or goes down. `audio_only` refuses every other kind."""

    def __init__(
        self,
        configuration: RTCConfiguration,
        feeds: Mapping[Kind, Feed],
        streams: Mapping[Kind, Incoming],
        changed: Callable[[], None],
        *,
        audio_only: bool,
    ) -> None:
        self._pc = RTCPeerConnection(configuration)
        self._feeds = feeds
        self._streams = streams
        self._audio_only = audio_only
        self._lines: dict[Kind, RTCRtpTransceiver] = {}
        self._consumers: dict[Kind, asyncio.Task[None]] = {}
        self._parked: list[_body.Trickle] = []
        self._close: asyncio.Task[None] | None = None
        self._gathering: asyncio.Task[None] | None = None
        self._described = False
        self.fresh = True
        """Whether nothing was offered or answered on it yet."""

        # A handler that raises would leave aiortc in the middle of a change, and its close() hanging.
        def on_change() -> None:
            if self._close is None:
                changed()

        self._pc.on("connectionstatechange", on_change)

    # --- how it is

    @property
    def up(self) -> bool:
        """Whether media can go both ways."""
        return self._pc.connectionState == "connected"

    @property
    def down(self) -> bool:
        """Whether it is over."""
        return self._close is not None or self._pc.connectionState in ("failed", "closed")

    @property
    def stable(self) -> bool:
        """Whether no offer of ours waits for its answer. aiortc cannot take an offer back."""
        return self._pc.signalingState == "stable"

    @property
    def kinds(self) -> frozenset[Kind]:
        """What it has m-lines for."""
        return frozenset(self._lines)

    @property
    def candidates(self) -> frozenset[str]:
        """The types of the addresses it offers."""
        return _webrtc.candidate_types(self._pc)

    @property
    def packets(self) -> int:
        """Packets received so far."""
        return _webrtc.packets_received(self._pc)

    async def answers(self) -> bool:
        """Whether the other side answers now. Takes half a second at most."""
        return await _webrtc.answers(self._pc)

    # --- negotiation

    async def prepare(self) -> None:
        """Do ahead what takes time: the certificate was made with the connection, addresses are gathered now."""
        if not self._lines and not self._pc.getTransceivers():
            self._pc.addTransceiver("audio")
        if self._gathering is None:
            self._gathering = asyncio.get_running_loop().create_task(_webrtc.gather(self._pc), name="statecore gather")
        await asyncio.shield(self._gathering)

    async def offer(self, kinds: Iterable[Kind]) -> tuple[str, dict[str, Kind]]:
        """A complete offer with an m-line for each of these kinds, and what each line is for."""
        await self.prepare()
        for kind in sorted(kinds, key=ORDER.index):
            if kind not in self._lines:
                first = not self._lines
                self._attach(kind, self._pc.getTransceivers()[0] if first else self._pc.addTransceiver(_media(kind)))
        self.fresh = False
        await self._pc.setLocalDescription(await self._pc.createOffer())
        return self._pc.localDescription.sdp, {line.mid or "": kind for kind, line in self._lines.items()}

    async def accept(self, sdp: str) -> None:
        """Apply the answer to our offer. Raises NegotiationFailed if it does not fit; then nothing was applied."""
        offered = [line.mid for line in self._lines.values()]
        if [line.rtp.muxId for line in _body.check(sdp)] != offered:
            raise NegotiationFailed(why="the answer does not have the m-lines of the offer")
        await self._describe(sdp, "answer")
        await self._take()

    async def answer(self, offer: _body.Offer) -> str:
        """Apply an offer; gives the complete answer. Raises NegotiationFailed if it is for another one."""
        known = {line.mid: kind for kind, line in self._lines.items()}
        if any(offer.kinds.get(mid or "") != kind for mid, kind in known.items()):
            raise NegotiationFailed(why="the offer does not have the m-lines of this connection")
        await self.prepare()
        self.fresh = False
        await self._describe(offer.sdp, "offer")
        for transceiver in self._pc.getTransceivers():
            kind = offer.kinds.get(transceiver.mid or "")
            if kind is not None and kind not in self._lines:
                self._attach(kind, transceiver)
        await self._pc.setLocalDescription(await self._pc.createAnswer())
        await self._take()
        return self._pc.localDescription.sdp

    async def _describe(self, sdp: str, kind: Literal["offer", "answer"]) -> None:
        await self._pc.setRemoteDescription(RTCSessionDescription(sdp, kind))
        # Of m-lines that share a transport, aiortc takes the addresses of the last; browsers name them in the first.
        for candidate in _body.candidates(sdp):
            await self._pc.addIceCandidate(candidate)
        self._described = True

    async def trickle(self, body: _body.Trickle) -> None:
        """Take another candidate; one that comes before its description is kept until then."""
        if not self._described:
            if len(self._parked) < _PARKED:
                self._parked.append(body)
        elif not self.down:
            await self._pc.addIceCandidate(body.parse())

    def _attach(self, kind: Kind, transceiver: RTCRtpTransceiver) -> None:
        self._lines[kind] = transceiver
        if self._audio_only and kind != "audio":
            transceiver.direction = "inactive"
            return
        transceiver.direction = "sendrecv"
        transceiver.sender.replaceTrack(self._feeds[kind].outlet())
        _webrtc.count(transceiver.receiver)

    async def _take(self) -> None:
        """Begin to consume what the description promised, and use the candidates that waited for it."""
        for kind, line in self._lines.items():
            track: MediaStreamTrack | None = line.receiver.track
            if track is not None and kind not in self._consumers:
                consume = self._streams[kind].consume(track)
                self._consumers[kind] = asyncio.get_running_loop().create_task(consume, name=f"statecore take {kind}")
        parked, self._parked = self._parked, []
        for body in parked:
            await self.trickle(body)

    # --- counters

    async def stats(self, pid: str) -> list[StreamStats]:
        """The counters of each stream, in and out."""
        found: list[StreamStats] = []
        for kind, line in list(self._lines.items()):
            sent, received = await line.sender.getStats(), await line.receiver.getStats()
            found += [_out(pid, kind, sent), _in(pid, kind, line, received, self._streams[kind].dropped)]
        return found

    # --- the end

    async def close(self) -> None:
        """Close it. Idempotent; safe to cancel: it is closed all the same, by one task that everybody awaits."""
        if self._close is None:
            self._close = asyncio.get_running_loop().create_task(self._end(), name="statecore link close")
        await asyncio.shield(self._close)

    async def _end(self) -> None:
        self._stop()
        # Consumers must be gone before: aiortc never wakes recv() of a track whose media did not begin.
        before = [*self._consumers.values(), *([self._gathering] if self._gathering is not None else [])]
        if before:
            await asyncio.wait(before)
        await self._pc.close()
        _webrtc.scrap(self._pc)
        self._consumers.clear()
        self._lines.clear()

    def _stop(self) -> None:
        for consumer in self._consumers.values():
            consumer.cancel()
        for line in self._lines.values():
            if isinstance(line.sender.track, Outlet):
                line.sender.track.stop()

    def abort(self) -> None:
        """Close the sockets at once; the rest follows by itself. Idempotent."""
        self._stop()
        _webrtc.drop_sockets(self._pc)
        if self._close is None:
            self._close = asyncio.get_running_loop().create_task(self._end(), name="statecore link close")
        _closing.add(self._close)
        self._close.add_done_callback(_closing.discard)


def _media(kind: Kind) -> str:
    return "audio" if kind == "audio" else "video"


def _out(pid: str, kind: Kind, report: Mapping[str, Any]) -> StreamStats:
    sent = next(each for each in report.values() if isinstance(each, RTCOutboundRtpStreamStats))
    heard = next((each for each in report.values() if isinstance(each, RTCRemoteInboundRtpStreamStats)), None)
    return StreamStats(
        pid=pid,
        kind=kind,
        direction="out",
        packets=sent.packetsSent,
        bytes=sent.bytesSent,
        lost=heard.packetsLost if heard else None,
        jitter=heard.jitter / _CLOCK[kind] if heard else None,
        round_trip=heard.roundTripTime if heard else None,
    )


def _in(pid: str, kind: Kind, line: RTCRtpTransceiver, report: Mapping[str, Any], dropped: int) -> StreamStats:
    packets, octets = _webrtc.counted(line.receiver)
    received = next((each for each in report.values() if isinstance(each, RTCInboundRtpStreamStats)), None)
    return StreamStats(
        pid=pid,
        kind=kind,
        direction="in",
        packets=packets,
        bytes=octets,
        lost=received.packetsLost if received else None,
        jitter=received.jitter / _CLOCK[kind] if received else None,
        dropped_frames=dropped,
    )


__all__ = ["ORDER", "Link"]
