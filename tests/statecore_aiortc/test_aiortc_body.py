"""The bodies of media signaling: what is taken, and what is refused before it reaches aiortc."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection

from statecore.errors import NegotiationFailed
from statecore_aiortc._body import MAX_BODY, Answer, Offer, Trickle, decode, encode


@pytest.fixture(scope="module")
def sdp() -> str:
    """A real offer of sound and pictures."""

    async def main() -> str:
        pc = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        pc.addTransceiver("audio")
        pc.addTransceiver("video")
        await pc.setLocalDescription(await pc.createOffer())
        text: str = pc.localDescription.sdp
        await pc.close()
        return text

    return asyncio.run(main())


def offer(sdp: str, more: dict[str, Any] | None = None) -> str:
    """The body of an offer, good unless told otherwise."""
    return json.dumps({"gen": 1, "round": 1, "sdp": sdp, "kinds": {"0": "audio", "1": "video"}} | (more or {}))


def test_round_trip(sdp: str) -> None:
    """Offers and answers come back as they were; unknown members of later versions do no harm."""
    made = Offer(1, 2, sdp, {"0": "audio", "1": "screen"})
    assert decode("offer", encode(made)) == made
    assert isinstance(decode("offer", offer(sdp, {"later": 1})), Offer)
    again = Answer(1, 2, again=7)
    assert encode(again) == '{"gen":1,"round":2,"again":7}'
    assert decode("answer", encode(again)) == again
    answer = Answer(3, 4, sdp.replace("a=setup:actpass", "a=setup:active"))
    assert decode("answer", encode(answer)) == answer


@pytest.mark.parametrize(
    ("find", "put", "why"),
    [
        ("v=0", "w=0", "no media"),
        ("m=audio", "m=", "malformed"),
        ("m=audio", "m=application", "not supported"),
        ("a=mid:0", "a=mad:0", "no mid"),
        ("a=mid:1", "a=mid:0", "same mid"),
        ("a=ice-pwd", "a=ice-no", "ICE user name or password"),
        ("a=fingerprint", "a=finger", "DTLS"),
        ("sha-", "md", "DTLS"),
        ("a=setup:actpass", "a=setting:it", "DTLS"),
        ("a=rtcp-mux", "a=rtcp-mix", "multiplexed"),
        ("a=sendrecv", "a=sendmuch", "direction"),
        ("VP8", "VP7", "no common video codec"),
    ],
)
def test_unfit_descriptions(sdp: str, find: str, put: str, why: str) -> None:
    """A description that aiortc would choke on, or take though it means nothing, is refused with the reason."""
    changed = sdp.replace(find, put)
    if find == "VP8":
        changed = changed.replace("H264", "H265")
    assert changed != sdp
    with pytest.raises(NegotiationFailed, match=why):
        decode("offer", offer(changed))


@pytest.mark.parametrize("kind", ["offer", "answer", "candidate"])
def test_what_is_nested_too_deep_is_refused(kind: str) -> None:
    """Not even where it stands in a member that nobody reads."""
    with pytest.raises(NegotiationFailed, match="malformed"):
        decode(kind, '{"later":' + "[" * 20_000)


@pytest.mark.parametrize(
    "text", ["", "v=0", "v=0\r\n", "\r\n" * 9, "m=audio", "v=0\r\nm=audio 9 X 300\r\n", "v=x", "\x00"]
)
def test_texts_that_are_no_description(text: str) -> None:
    """Texts that aiortc accepts as an offer or meets with an assertion are refused."""
    with pytest.raises(NegotiationFailed):
        decode("offer", offer(text))


@pytest.mark.parametrize(
    "change",
    [
        {"gen": 0},
        {"gen": -1},
        {"gen": 2**40},
        {"gen": "1"},
        {"round": 0},
        {"sdp": None},
        {"kinds": {}},
        {"kinds": {"0": "audio"}},
        {"kinds": {"0": "audio", "1": "audio"}},
        {"kinds": {"0": "video", "1": "screen"}},
        {"kinds": {"0": "audio", "1": "video", "2": "screen"}},
        {"kinds": {"0": "audio", "1": "smell"}},
    ],
    ids=str,
)
def test_unfit_members(sdp: str, change: dict[str, Any]) -> None:
    """Numbers out of bounds and kinds that do not fit the m-lines are refused."""
    with pytest.raises(NegotiationFailed):
        decode("offer", offer(sdp, change))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("offer", "x" * (MAX_BODY + 1)),
        ("offer", "\ud800"),
        ("offer", "[]"),
        ("answer", "{}"),
        ("candidate", "3"),
        ("bye", "{}"),
        ("", ""),
    ],
)
def test_bodies_that_are_none(kind: str, body: str) -> None:
    """What is too long, no JSON, of another shape or of an unknown kind is refused."""
    with pytest.raises(NegotiationFailed):
        decode(kind, body)


def test_answer_must_name_a_role(sdp: str) -> None:
    """An answer that leaves open who begins the handshake is refused."""
    with pytest.raises(NegotiationFailed, match="handshake"):
        decode("answer", encode(Answer(1, 1, sdp)))


def test_candidates() -> None:
    """Candidates are taken in the forms that browsers send; an empty one is the end; others are refused."""
    line = "1 1 udp 2130706431 192.0.2.1 5000 typ host"
    for text in (line, f"candidate:{line}", f"a=candidate:{line}"):
        body = decode("candidate", json.dumps({"gen": 1, "candidate": text, "sdpMid": "0", "sdpMLineIndex": 0}))
        assert isinstance(body, Trickle)
        candidate = body.parse()
        assert candidate is not None
        assert (candidate.ip, candidate.port, candidate.sdpMid) == ("192.0.2.1", 5000, "0")
    assert Trickle(1, "").parse() is None
    for text, mid in (("nonsense", "0"), ("1 1 udp x 192.0.2.1 5000 typ host", "0"), (line, None)):
        with pytest.raises(NegotiationFailed):
            Trickle(1, text, mid).parse()
