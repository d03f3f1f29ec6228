"""Who asked for video and who agreed, for listeners: a device is told what a call is, and not how it came to be so."""

from __future__ import annotations

from ..endpoint import LocalLeg
from ..model import NO_FLAGS
from ..wire import Peer

_WISH, _CAMERA = "wants_video", "camera"


def who_asked(event: str, before: LocalLeg | None, leg: LocalLeg, peer: Peer | None, user: str) -> tuple[str, str]:
    """The initiator and the responder of an event about switching to video, as this user's device knows them: empty
    where it does not. `before` is the leg by the view before this one."""
    if event == "call_switched_to_video":
        return _switched(before, leg, user)
    asker = peer.user if peer is not None else user
    if event == "call_switch_to_video_requested":
        return asker, user
    asked = [other.user for other in leg.peers if other.joined and (peer is None or other.pid != peer.pid)]
    if peer is not None:
        asked.append(user)
    return asker, _only(asked)  # which of several declined, no view says


def took_request(event: str, leg: LocalLeg, peer: Peer | None) -> bool:
    """Whether somebody has left with a request for video that was not answered, of which no view says more."""
    return event == "user_left" and peer is not None and _WISH in peer.flags and leg.type == "audio"


def _switched(before: LocalLeg | None, after: LocalLeg, user: str) -> tuple[str, str]:
    """One wish stands at a time, and besides the asker's only the camera of who agreed goes on with the switch. If a
    view between the two was missed, it may have held any of that."""
    if before is None or after.seq != before.seq + 1:
        return "", ""
    was, now = _flags(before), _flags(after)
    asked = [pid for pid in now if _WISH in was.get(pid, NO_FLAGS)]
    agreed = [pid for pid in now if pid not in asked and _CAMERA in now[pid] - was.get(pid, NO_FLAGS)]
    users = {after.pid: user, **{peer.pid: peer.user for peer in after.peers}}
    return _only([users[pid] for pid in asked]), _only([users[pid] for pid in agreed])


def _flags(leg: LocalLeg) -> dict[str, frozenset[str]]:
    return {leg.pid: leg.flags, **{peer.pid: peer.flags for peer in leg.peers}}


def _only(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ""


__all__ = ["took_request", "who_asked"]
