"""What aiortc and aioice do not offer by themselves. Every use of their private parts stands in this module.

Each function takes care of one trap: see its docstring. Written against aiortc 1.16 and aioice 0.13.
"""

# ruff: noqa: SLF001 - that is what this module is for
from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import aioice
from aioice.ice import TransportPolicy
from aioice.stun import TransactionError, TransactionFailed
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCRtpReceiver
from aiortc.rtcconfiguration import RTCIceTransportPolicy
from aiortc.rtcicetransport import connection_kwargs

from statecore.errors import MediaConnectionFailed
from statecore.settings import IceServer

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from aioice import Candidate
    from aiortc.rtp import RtpPacket

LOOPBACK = "127.0.0.1"
GATHER_SECONDS = 3
"""How long STUN and TURN servers have to answer."""


def configuration(servers: Iterable[IceServer], policy: str) -> RTCConfiguration:
    """How to reach others. Servers are always named: with none given aiortc would ask a public STUN server.

    aiortc uses the first STUN and the first TURN address only. Raises MediaConnectionFailed for a malformed address."""
    ice = [RTCIceServer(list(server.urls), server.username, server.credential) for server in servers]
    try:
        connection_kwargs(ice)
    except ValueError as error:
        addresses = [url for server in ice for url in server.urls]
        raise MediaConnectionFailed(why=f"{error} among {addresses}") from None
    return RTCConfiguration(
        iceServers=ice,
        iceTransportPolicy=RTCIceTransportPolicy(policy),
        bundlePolicy=RTCBundlePolicy.MAX_BUNDLE,
    )


class _Connection(aioice.Connection):
    """Offers the loopback address as a host address where there is no other: aioice always leaves it out.

    And waits less for servers that do not answer: gathering cannot be cancelled, so a close may have to wait for it."""

    async def get_component_candidates(self, component: int, addresses: list[str], timeout: int = 5) -> list[Candidate]:
        if not addresses and self._transport_policy is TransportPolicy.ALL:
            addresses = [LOOPBACK]
        return await super().get_component_candidates(component, addresses, min(timeout, GATHER_SECONDS))

    async def query_consent(self) -> None:
        """Only while something is connected: a close that overtook the connecting would leave this loop running."""
        if self._nominated:
            await super().query_consent()


def _transport(pc: RTCPeerConnection) -> Any:
    """The one transport: everything is bundled. None as long as there is no transceiver."""
    transceivers = pc.getTransceivers()
    return transceivers[0].receiver.transport if transceivers else None


def _connection(pc: RTCPeerConnection) -> Any:
    """The ICE connection below the transport."""
    transport = _transport(pc)
    return None if transport is None else transport.transport._connection


async def gather(pc: RTCPeerConnection) -> None:
    """Gather candidates ahead of `setLocalDescription`, which would wait for it. Needs a transceiver.

    Takes GATHER_SECONDS where a STUN or TURN server does not answer. Must not be cancelled: sockets would be left."""
    # Only connections of ours are changed, and only their class: nothing global, no wrapper that keeps them alive.
    _connection(pc).__class__ = _Connection
    await _transport(pc).transport.iceGatherer.gather()


def candidate_types(pc: RTCPeerConnection) -> frozenset[str]:
    """The types of the candidates gathered. Wrong or expired TURN credentials show here only, by no `relay`."""
    connection = _connection(pc)
    return frozenset(candidate.type for candidate in connection.local_candidates) if connection else frozenset()


def packets_received(pc: RTCPeerConnection) -> int:
    """Packets that arrived by the transport: media and reports, not connectivity checks."""
    transport = _transport(pc)
    return 0 if transport is None else sum(each.packetsReceived for each in transport._get_stats().values())


async def answers(pc: RTCPeerConnection) -> bool:
    """Whether the other side answers a connectivity check within half a second, muted or not.

    aiortc itself needs half a minute to notice that a peer is dead."""
    connection = _connection(pc)
    if connection is None or connection.remote_password is None:
        return False
    for pair in list(connection._nominated.values()):
        request = connection.build_request(pair, nominate=False)
        key = connection.remote_password.encode()
        try:
            await pair.protocol.request(request, pair.remote_addr, integrity_key=key, retransmissions=0)
        except TransactionFailed:
            return True
        except TransactionError:
            continue
        else:
            return True
    return False


def drop_sockets(pc: RTCPeerConnection) -> None:
    """Close the sockets at once. What waits for packets then ends by itself."""
    connection = _connection(pc)
    if connection is not None:
        for protocol in connection._protocols:
            protocol.transport.close()


def scrap(pc: RTCPeerConnection) -> None:
    """Untie what a closed connection leaves tied in circles, with the memory of its codecs and keys, for minutes."""
    transport = _transport(pc)
    if transport is not None:
        transport.remove_all_listeners()
        _connection(pc)._check_list.clear()


class _Receiver(RTCRtpReceiver):
    """Counts what arrives: aiortc keeps no bytes of a received stream."""

    packets = 0
    bytes = 0

    def _handle_rtp_packet(  # passes the coroutine on instead of wrapping it
        self, packet: RtpPacket, arrival_time_ms: int
    ) -> Coroutine[Any, Any, None]:
        self.packets += 1
        self.bytes += len(packet.payload)
        return super()._handle_rtp_packet(packet, arrival_time_ms)


def count(receiver: RTCRtpReceiver) -> None:
    """Count what this receiver receives from now on. Idempotent."""
    receiver.__class__ = _Receiver


def counted(receiver: RTCRtpReceiver) -> tuple[int, int]:
    """Packets and payload bytes received since `count`."""
    return (receiver.packets, receiver.bytes) if isinstance(receiver, _Receiver) else (0, 0)


__all__ = [
    "answers",
    "candidate_types",
    "configuration",
    "count",
    "counted",
    "drop_sockets",
    "gather",
    "packets_received",
    "scrap",
]
