"""The bodies of media signaling between two participants: JSON, checked before anything of it reaches aiortc.

A pair has one connection at a time, numbered by its *generation*; the offers on it are numbered by their *round*, from
1. An offer of round 1 begins a new connection: the receiver drops what it had. A later round changes the connection of
that generation. Whoever cannot apply an offer (another generation is current, or the connection is gone) answers with
`again`, his own generation, instead of a description: the offerer then begins a new connection, above both.

    offer      {"gen": 1, "round": 1, "sdp": "v=0...", "kinds": {"0": "audio", "1": "video"}}
    answer     {"gen": 1, "round": 1, "sdp": "v=0..."}   or   {"gen": 1, "round": 1, "again": 3}
    candidate  {"gen": 1, "candidate": "candidate:...", "sdpMid": "0", "sdpMLineIndex": 0}; empty text: no more

`kinds` says what each m-line is for, by its mid: the camera and the screen are both video. There is one m-line of each
kind at most, and either side may send on it.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from aiortc import RTCIceCandidate
from aiortc.codecs import CODECS
from aiortc.sdp import MediaDescription, SessionDescription, candidate_from_sdp

from statecore.errors import NegotiationFailed
from statecore.ports import Kind

MAX_BODY = 65_536
"""The longest body that is looked at, in bytes."""

_Number = Annotated[int, msgspec.Meta(ge=1, le=2**31)]
_HASHES = ("sha-256", "sha-384", "sha-512")


class Offer(msgspec.Struct, frozen=True):
    """A proposal of how to exchange media."""

    gen: _Number
    round: _Number
    sdp: str
    kinds: dict[str, Kind]


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The reply to the offer with the same numbers."""

    gen: _Number
    round: _Number
    sdp: str = ""
    again: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = 0
    """Not 0: the offer was not applied; begin a new connection with a generation above this one."""


class Trickle(msgspec.Struct, frozen=True):
    """One more address of the other side, or the end of them."""

    gen: _Number
    candidate: str
    sdpMid: str | None = None  # noqa: N815 - the name browsers give it
    sdpMLineIndex: int | None = None  # noqa: N815 - as above

    def parse(self) -> RTCIceCandidate | None:
        """The candidate as aiortc takes it; None for the end. Raises NegotiationFailed."""
        text = self.candidate.removeprefix("a=").removeprefix("candidate:").strip()
        if not text:
            return None
        try:
            candidate = candidate_from_sdp(text)
        except (ValueError, AssertionError, IndexError) as error:
            raise NegotiationFailed(why=f"malformed candidate: {error!r}") from None
        candidate.sdpMid, candidate.sdpMLineIndex = self.sdpMid, self.sdpMLineIndex
        if self.sdpMid is None and self.sdpMLineIndex is None:
            raise NegotiationFailed(why="a candidate names no m-line")
        return candidate


_TYPES: dict[str, type[Offer | Answer | Trickle]] = {
    "offer": Offer,
    "answer": Answer,
    "candidate": Trickle,
}


def encode(body: Offer | Answer) -> str:
    """The text to send."""
    return msgspec.json.encode(body).decode()


def decode(kind: str, body: str) -> Offer | Answer | Trickle:
    """What a text says, with its description checked. Raises NegotiationFailed."""
    if kind not in _TYPES:
        raise NegotiationFailed(why=f"unknown kind of signaling {kind!r}")
    try:
        octets = body.encode()
        if len(octets) > MAX_BODY:
            raise NegotiationFailed(why=f"the {kind} has {len(octets)} bytes, more than {MAX_BODY}")
        message = msgspec.json.decode(octets, type=_TYPES[kind])
    except (msgspec.DecodeError, UnicodeError, AttributeError, RecursionError) as error:
        raise NegotiationFailed(why=f"malformed {kind}: {error}") from None
    if isinstance(message, Offer):
        media = check(message.sdp)
        if {line.rtp.muxId for line in media} != message.kinds.keys():
            raise NegotiationFailed(why="the kinds do not name the offer's m-lines")
        if len(set(message.kinds.values())) < len(media):
            raise NegotiationFailed(why="the offer has two m-lines of one kind")
        if any(line.kind != ("audio" if message.kinds[line.rtp.muxId] == "audio" else "video") for line in media):
            raise NegotiationFailed(why="an m-line is not of the kind it is named")
    elif isinstance(message, Answer) and not message.again:
        media = check(message.sdp)
        if any(line.dtls is None or line.dtls.role not in ("client", "server") for line in media):
            raise NegotiationFailed(why="the answer does not say who begins the DTLS handshake")
    return message


def candidates(sdp: str) -> list[RTCIceCandidate]:
    """The addresses in a description that was checked, each with the m-line that it was named in."""
    found = []
    for line in SessionDescription.parse(sdp).media:
        for candidate in line.ice_candidates:
            candidate.sdpMid = line.rtp.muxId
            found.append(candidate)
    return found


def check(sdp: str) -> list[MediaDescription]:
    """The m-lines of a description that aiortc can apply. Raises NegotiationFailed for every other text.

    aiortc by itself accepts an empty offer, and meets others with bare assertions, some when half of it is applied."""
    try:
        media = SessionDescription.parse(sdp).media
    except Exception as error:  # noqa: BLE001 - the parser raises whatever the text makes it stumble over
        raise NegotiationFailed(why=f"malformed description: {error!r}") from None
    if not sdp.startswith("v=0") or not media:
        raise NegotiationFailed(why="the description has no media")
    for line in media:
        _check_line(line)
    if len({line.rtp.muxId for line in media}) < len(media):
        raise NegotiationFailed(why="two m-lines have the same mid")
    return media


def _check_line(line: MediaDescription) -> None:
    ice, dtls = line.ice, line.dtls
    if line.kind not in ("audio", "video"):
        why = f"m-lines of the kind {line.kind!r} are not supported"
    elif not line.rtp.muxId:
        why = "an m-line has no mid"
    elif not (ice and ice.usernameFragment and ice.password):
        why = "the ICE user name or password is missing"
    elif dtls is None or not any(each.algorithm.lower() in _HASHES for each in dtls.fingerprints):
        why = "the DTLS fingerprint or role is missing"
    elif not line.rtcp_mux:
        why = "RTCP is not multiplexed"
    elif line.direction is None:
        why = "an m-line has no direction"
    elif not _common(line):
        why = f"there is no common {line.kind} codec"
    else:
        return
    raise NegotiationFailed(why=why)


def _common(line: MediaDescription) -> bool:
    ours = {codec.mimeType.lower() for codec in CODECS[line.kind]} - {"video/rtx"}
    return any(codec.mimeType.lower() in ours for codec in line.rtp.codecs)


__all__ = ["MAX_BODY", "Answer", "Offer", "Trickle", "candidates", "check", "decode", "encode"]
