"""What a new view changed, told: events for the listeners, and word for the open media session."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from ..machine import FlowMachine
from ..model import NO_FLAGS, CallType
from ..wire import Peer
from ._data import forget
from ._types import Drive, LocalLeg

if TYPE_CHECKING:
    from ._step import Step

_CORE_FLAGS = frozenset({"joined", "connected"})


def differences(step: Step, machine: FlowMachine, old: LocalLeg, leg: LocalLeg) -> None:
    """Tell what is different between a live leg as it was and as it is."""
    if leg.state in machine.media:  # a session's events begin when it was joined, and with who is there
        if old.state in machine.media:
            _tell(step, leg, old.type, old.flags, old.peers)
        else:
            _tell(step, leg, leg.type, NO_FLAGS, ())
    if leg.media != "open":
        return
    if "joined" in old.flags:
        before, after = capturing(machine, old), capturing(machine, leg)
        for kind in sorted(before ^ after) if before != after else ():
            step.effects.append(Drive(leg.session, "capture", (kind, kind in after)))
    if leg.peers != old.peers:
        leg = _forget_lost(step, leg)
        drive_peers(step, leg)
    if leg.offers:
        for pid, turn in leg.offers.items():
            if old.offers.get(pid) != turn:
                step.effects.append(Drive(leg.session, "granted", (pid,)))


def _forget_lost(step: Step, leg: LocalLeg) -> LocalLeg:
    """Let go of what concerns those who have left."""
    if leg.lost:
        joined = {peer.pid for peer in leg.peers if peer.joined}
        leg = step.put(leg, lost=tuple(entry for entry in leg.lost if entry[0] in joined))
    return forget(step, leg) if leg.outbox else leg


def capturing(machine: FlowMachine, leg: LocalLeg) -> frozenset[str]:
    """What a device is to capture: granted, agreed to, and on."""
    return _capturing(machine, leg.grants, leg.consent, leg.flags)


@functools.lru_cache(maxsize=4096)
def _capturing(
    machine: FlowMachine, grants: frozenset[str], consent: frozenset[str], flags: frozenset[str]
) -> frozenset[str]:
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


def _tell(step: Step, leg: LocalLeg, type_: CallType, flags: frozenset[str], peers: tuple[Peer, ...]) -> None:
    if leg.type != type_:
        step.emit("call_switched_to_video", leg)
    elif "wants_video" in flags and "wants_video" not in leg.flags:
        step.emit("call_switch_to_video_declined", leg)
    if flags != leg.flags:
        _tell_flags(step, leg, flags, leg.flags)
    if leg.peers != peers:
        _tell_peers(step, peers, leg)


def _tell_peers(step: Step, peers: tuple[Peer, ...], leg: LocalLeg) -> None:
    before = {peer.pid: peer for peer in peers if peer.joined}
    after = {peer.pid: peer for peer in leg.peers if peer.joined}
    for pid, peer in before.items():
        if pid not in after:
            step.emit("user_left", leg, peer)
    for pid, peer in sorted(after.items(), key=lambda item: item[1].joined):
        if pid not in before:
            step.emit("user_joined", leg, peer)
    for pid, peer in after.items():
        flags = before[pid].flags if pid in before else NO_FLAGS
        _tell_flags(step, leg, flags, peer.flags, peer)
    if before.keys() != after.keys():
        step.emit("user_list_updated", leg)


def _tell_flags(step: Step, leg: LocalLeg, old: frozenset[str], new: frozenset[str], peer: Peer | None = None) -> None:
    """What became of the flags of oneself, or of another."""
    for event in _flag_events(old, new, own=peer is None):
        step.emit(event, leg, peer)
    for flag in sorted((old ^ new) - _OURS):
        step.emit("flag_changed", leg, peer, (flag, flag in new))


_FLAG_EVENTS: dict[str, tuple[str, str, str, str]] = {
    "audio_muted": ("audio_muted", "audio_unmuted", "user_muted", "user_unmuted"),
    "video_paused": ("video_paused", "video_resumed", "user_video_paused", "user_video_resumed"),
    "presenting": ("screen_share_started", "screen_share_stopped", "screen_share_started", "screen_share_stopped"),
    "hand_raised": ("hand_raised", "hand_lowered", "hand_raised", "hand_lowered"),
    "wants_video": ("", "", "call_switch_to_video_requested", ""),
}
"""What listeners hear when a flag goes on or off: of oneself, and of another."""
_OURS = frozenset({*_CORE_FLAGS, *_FLAG_EVENTS, "camera"})
"""Flags that are told so, or not at all; any other is of a flow of the application's own."""


@functools.lru_cache(maxsize=4096)
def _flag_events(old: frozenset[str], new: frozenset[str], *, own: bool) -> tuple[str, ...]:
    place = 0 if own else 2
    events = [_FLAG_EVENTS[f][place + (f not in new)] for f in sorted((old ^ new) - _CORE_FLAGS) if f in _FLAG_EVENTS]
    return tuple([event for event in events if event])
