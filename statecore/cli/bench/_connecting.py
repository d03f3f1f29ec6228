"""From the second `start_session` to both active with aiortc at both ends, beside bare aiortc with the same tracks.

Both ends are in this process, with the sockets of this machine between them. Each pair is one call of ours and one of
bare aiortc, in turn, each with new tracks: silence, and a picture of 640x480 at 30 a second. Wall time, since it is
mostly waiting for each other.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from math import ceil, sqrt
from statistics import median
from typing import TYPE_CHECKING

import attrs

from statecore import CallClient, CallService, Session
from statecore.ports import MediaAdapter, MediaHost, MediaSession

from ._harness import Effort, Figure, at_most

if TYPE_CHECKING:
    from aiortc import MediaStreamTrack, RTCPeerConnection
    from aiortc.contrib.media import MediaBlackhole

_PAIRS = 30
_BOUND = 30.0
"""Seconds after which a side counts as not able to connect here."""
_SETTLE = 0.05
"""Seconds between a step that must be over and the next that is measured."""
_NAME = "second start_session to both active"


@attrs.frozen
class _Ours:
    seconds: float
    """From the second `start_session` to both active."""
    round_trip: float
    """From an action to the view that confirms it."""


def connecting(effort: Effort) -> list[Figure]:
    """Figures of connecting media."""
    logging.getLogger("aiortc").setLevel(logging.ERROR)
    return asyncio.run(_measure(3 if effort.quick else _PAIRS))


async def _measure(pairs: int) -> list[Figure]:
    ours, bare = [], []
    await _call()  # codecs and certificates warm up
    try:
        await _bare()
    except ConnectionError:
        value = median([(await _call()).seconds for _ in range(pairs)]) * 1e3
        return [Figure(name=_NAME, value=value, unit="ms", peer="bare aiortc (does not connect on this host)")]
    for _ in range(pairs):
        gc.collect()
        ours.append(await _call())
        gc.collect()
        bare.append(await _bare())
    return _figures(ours, bare)


def _figures(ours: list[_Ours], bare: list[float]) -> list[Figure]:
    value, peer = median(call.seconds for call in ours) * 1e3, median(bare) * 1e3
    trip = median(call.round_trip for call in ours) * 1e3
    more = sorted((call.seconds - alone) * 1e3 for call, alone in zip(ours, bare, strict=True))
    low, high = _interval(more)
    allowed = peer * 0.1 + trip
    return [
        Figure(
            name=_NAME, value=value, unit="ms", peer=f"bare aiortc, {len(bare)} pairs", peer_value=peer,
            ratio=value / peer, target="<= bare + 10 % + a round trip", met=at_most(peer + allowed, value),
        ),
        Figure(
            name=f"what of it is ours: median of the pairs, 95 % within {low:.3g} to {high:.3g}", value=median(more),
            unit="ms", peer=f"10 % of bare and a round trip of {trip:.2g} ms", peer_value=allowed,
            ratio=median(more) / allowed,
        ),
    ]  # fmt: skip


def _interval(values: list[float]) -> tuple[float, float]:
    """Where the median lies with 95 % confidence, by the order of the values alone; all of them if they are few."""
    count = len(values)
    rank = max(0, int(count / 2 - 0.98 * sqrt(count)))
    return values[rank], values[min(count - 1, ceil(count / 2 + 0.98 * sqrt(count)))]


def _tracks() -> tuple[MediaStreamTrack, MediaStreamTrack]:
    from aiortc import AudioStreamTrack, VideoStreamTrack

    return AudioStreamTrack(), VideoStreamTrack()


# --- ours -------------------------------------------------------------------------------------------------------------


async def _call() -> _Ours:
    """One call; times its connecting, and an action once it is active."""
    from statecore_aiortc import AiortcMedia

    tracks = [*_tracks(), *_tracks()]
    waiting = _Opening(AiortcMedia(*tracks[2:]))
    async with (
        CallService() as service,
        CallClient(service.signaling("bob"), AiortcMedia(*tracks[:2])) as bob,
        CallClient(service.signaling("alice"), waiting) as alice,
    ):
        rings: asyncio.Queue[object] = asyncio.Queue()
        bob.on("incoming_call_received", rings.put_nowait)
        call = await alice.initiate_call("bob")
        await rings.get()
        await bob.accept_call(call.session_id)
        await call.answered()
        tokens = [await client.generate_token(call.session_id) for client in (alice, bob)]
        first = asyncio.create_task(alice.start_session(tokens[0]))
        await waiting.done.wait()
        await asyncio.sleep(_SETTLE)
        start = time.perf_counter()
        async with asyncio.timeout(_BOUND):
            session = await bob.start_session(tokens[1])
            await first
        seconds = time.perf_counter() - start
        await asyncio.sleep(_SETTLE)
        trip = await _round_trip(session)
        await session.end()
    for track in tracks:
        track.stop()
    return _Ours(seconds, trip)


class _Opening:
    """A media adapter that tells when it has opened."""

    def __init__(self, adapter: MediaAdapter) -> None:
        self.adapter = adapter
        self.done = asyncio.Event()

    async def open(self, host: MediaHost, *, audio: bool, video: bool) -> MediaSession:
        """Open the adapter's session."""
        session = await self.adapter.open(host, audio=audio, video=video)
        self.done.set()
        return session


async def _round_trip(session: Session) -> float:
    turns = []
    for act in (session.raise_hand, session.lower_hand) * 3:
        start = time.perf_counter()
        await act()
        turns.append(time.perf_counter() - start)
    return median(turns)


# --- bare -------------------------------------------------------------------------------------------------------------


async def _bare() -> float:
    """Two peer connections, introduced to each other at once; seconds until both are connected.

    Raises ConnectionError where bare aiortc cannot connect."""
    from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection
    from aiortc.contrib.media import MediaBlackhole

    tracks = _tracks(), _tracks()
    sinks = MediaBlackhole(), MediaBlackhole()
    settings = RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
    start = time.perf_counter()
    ends = RTCPeerConnection(settings), RTCPeerConnection(settings)
    try:
        async with asyncio.timeout(_BOUND):
            await _introduce(ends, tracks, sinks)
        return time.perf_counter() - start
    finally:
        for sink in sinks:
            await sink.stop()
        for end in ends:
            await end.close()
        for track in (*tracks[0], *tracks[1]):
            track.stop()


async def _introduce(
    ends: tuple[RTCPeerConnection, RTCPeerConnection],
    tracks: tuple[tuple[MediaStreamTrack, ...], ...],
    sinks: tuple[MediaBlackhole, MediaBlackhole],
) -> None:
    connected = [_connected(end) for end in ends]
    for end, own, sink in zip(ends, tracks, sinks, strict=True):
        end.on("track", sink.addTrack)
        for track in own:
            end.addTrack(track)
    caller, callee = ends
    await caller.setLocalDescription(await caller.createOffer())
    if "a=candidate:" not in caller.localDescription.sdp:
        # Where loopback is the only interface, aiortc by itself offers no address, and would wait for ever.
        raise ConnectionError("no address to offer")
    await callee.setRemoteDescription(caller.localDescription)
    await sinks[1].start()
    await callee.setLocalDescription(await callee.createAnswer())
    await caller.setRemoteDescription(callee.localDescription)
    await sinks[0].start()
    await asyncio.gather(*connected)


def _connected(end: RTCPeerConnection) -> asyncio.Future[None]:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def changed() -> None:
        if end.connectionState == "connected" and not future.done():
            future.set_result(None)

    end.on("connectionstatechange", changed)
    return future
