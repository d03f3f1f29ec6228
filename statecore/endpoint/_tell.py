"""What a new view changed, told: events for the listeners, and word for the open media session."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from ..machine import FlowMachine
from ..model import NO_FLAGS, Reason
from ..wire import Peer
from ._types import Drive, LocalLeg

if TYPE_CHECKING:
    from ._step import Step

_CORE_FLAGS = frozenset({"joined", "connected"})
_WISH = frozenset({"wants_video"})


@functools.lru_cache(maxsize=4096)
def capturing(
    machine: FlowMachine, grants: frozenset[str], consent: frozenset[str], flags: frozenset[str]
) -> frozenset[str]:
    """What a device is to capture: granted, agreed to, and on."""
    return frozenset(
        capture.kind
        for capture in machine.flow.captures
        if capture.kind in grants
        and (capture.kind in consent or not capture.at_join)
        and (capture.on is None or capture.on in flags)
        and flags.isdisjoint(capture.off)
    )


def drive_peers(step: Step, leg: LocalLeg) -> None:
    """Tell the media session with whom it is to exchange."""
    step.effects.append(Drive(leg.session, "peers", (tuple([peer for peer in leg.peers if peer.joined]),)))


def tell_peers(
    step: Step, peers: tuple[Peer, ...], leg: LocalLeg, gone: dict[str, Reason] | None, *, switched: bool
) -> None:
    """Tell who came, who left and why, and whose flags changed; `switched` to video, or not."""
    before = {peer.pid: peer for peer in peers if peer.joined}
    after = {peer.pid: peer for peer in leg.peers if peer.joined}
    same = before.keys() == after.keys()
    if not same:
        for pid, peer in before.items():
            if pid not in after:
                step.emit("user_left", leg, peer, gone.get(pid, "left") if gone else "left")
        for peer in sorted([peer for pid, peer in after.items() if pid not in before], key=_place):
            step.emit("user_joined", leg, peer)
    for pid, peer in after.items():
        flags = before[pid].flags if pid in before else NO_FLAGS
        if flags != peer.flags:
            for event, value in flag_events(flags, peer.flags, own=False, switched=switched):
                step.emit(event, leg, peer, value)
    if not same:
        step.emit("user_list_updated", leg)


def _place(peer: Peer) -> int:
    return peer.joined


_FLAG_EVENTS: dict[str, tuple[str, str, str, str]] = {
    "audio_muted": ("audio_muted", "audio_unmuted", "user_muted", "user_unmuted"),
    "video_paused": ("video_paused", "video_resumed", "user_video_paused", "user_video_resumed"),
    "presenting": ("screen_share_started", "screen_share_stopped", "screen_share_started", "screen_share_stopped"),
    "hand_raised": ("hand_raised", "hand_lowered", "hand_raised", "hand_lowered"),
    "wants_video": (
        "",
        "call_switch_to_video_declined",
        "call_switch_to_video_requested",
        "call_switch_to_video_declined",
    ),
}
"""What listeners hear when a flag goes on or off: of oneself, and of another."""
_OURS = frozenset({*_CORE_FLAGS, *_FLAG_EVENTS, "camera"})
"""Flags that are told so, or not at all; any other is of a flow of the application's own."""


@functools.lru_cache(maxsize=4096)
def flag_events(old: frozenset[str], new: frozenset[str], *, own: bool, switched: bool) -> tuple[tuple[str, Any], ...]:
    """What listeners hear when the flags of this leg (`own`), or of another, become others; and the value told. Once
    the call has `switched` to video, that is what became of whoever wanted it."""
    place, changed = 0 if own else 2, sorted((old ^ new) - _CORE_FLAGS - (_WISH if switched else NO_FLAGS))
    events = [_FLAG_EVENTS[flag][place + (flag not in new)] for flag in changed if flag in _FLAG_EVENTS]
    told = [("flag_changed", (flag, flag in new)) for flag in changed if flag not in _OURS]
    return (*[(event, None) for event in events if event], *told)
