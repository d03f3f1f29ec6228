"""What a session of the browser tells its listeners is what a session of the Python client tells them."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import msgspec

import statecore_web
from statecore.aio._asking import took_request, who_asked
from statecore.endpoint import LocalLeg
from statecore.wire import Peer

PAGE = Path(statecore_web.__file__).parent / "page"
DECLINED = "call_switch_to_video_declined"
EVENTS = ["call_switched_to_video"] * 3 + ["call_switch_to_video_requested", DECLINED, "user_left"]


def _legs(draw: random.Random) -> tuple[LocalLeg | None, LocalLeg]:
    """A leg before a view and after it, with up to three others in the call, each of whom may have done anything."""
    pids = range(1, draw.randint(1, 4) + 1)

    def leg(seq: int) -> LocalLeg:
        flags = [frozenset(draw.sample(["camera", "wants_video", "video_paused"], draw.randint(0, 2))) for _ in pids]
        peers = [Peer(str(pid), f"user-{pid}", joined=draw.choice((0, pid)), flags=flags[pid - 1]) for pid in pids[1:]]
        kind = draw.choice(("audio", "audio", "video"))
        return LocalLeg("room", "session", "active", pid="1", type=kind, seq=seq, flags=flags[0], peers=tuple(peers))

    return draw.choice((leg(1), leg(1), leg(1), None)), leg(draw.choice((2, 2, 2, 3)))


def test_who_asked_for_video_and_who_agreed(node: str) -> None:
    """Of any two legs, one after the other, both clients name the same initiator and the same responder; and of who
    left, both know the same way whether a request is over by that."""
    draw = random.Random(1)  # noqa: S311 - a sample, no secret
    cases: list[tuple[LocalLeg | None, LocalLeg, str, Peer | None]] = []
    for _ in range(600):
        before, after = _legs(draw)
        event = draw.choice(EVENTS)
        about: list[Peer | None] = list(after.peers) if event != "call_switched_to_video" else []
        if event == "user_left":
            about = [Peer("9", "user-9", joined=9, flags=frozenset(draw.sample(["camera", "wants_video"], 1)))]
        cases.append((before, after, event, draw.choice(about if event == "user_left" else [*about, None])))
    given = json.dumps(_whole(cases))
    program = [node, str(Path(__file__).with_name("told.mjs")), str(PAGE)]
    heard = json.loads(
        subprocess.run(program, input=given, text=True, capture_output=True, check=True, timeout=30).stdout
    )
    expected = [_told(*case) for case in cases]
    assert heard == expected
    assert {(told[2] != "", told[3] != "") for (told,) in filter(None, expected)} == {
        (a, b) for a in (0, 1) for b in (0, 1)
    }
    assert {len(told) for told, case in zip(expected, cases, strict=True) if case[2] == "user_left"} == {0, 1}


def _told(before: LocalLeg | None, after: LocalLeg, event: str, peer: Peer | None) -> list[list[str]]:
    """What Python's client tells of switching to video."""
    if event == "user_left":
        if not took_request(event, after, peer):
            return []
        event = DECLINED
    return [[event, "room", *who_asked(event, before, after, peer, "alice")]]


def _whole(value: Any) -> Any:
    """As JSON would say it, with what stands at its default."""
    if isinstance(value, msgspec.Struct):
        return {name: _whole(getattr(value, name)) for name in value.__struct_fields__}
    return [_whole(each) for each in value] if isinstance(value, list | tuple | frozenset) else value
