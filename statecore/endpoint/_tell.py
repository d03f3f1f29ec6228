"""What a new view changed, told: events for the listeners, and word for the open media session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from ..machine import FlowMachine
from ..model import NO_FLAGS
from ._data import forget
from ._types import Drive, LocalLeg

if TYPE_CHECKING:
    from ._step import Step

_CORE_FLAGS = frozenset({"joined", "connected"})


def differences(step: Step, old: LocalLeg, leg: LocalLeg) -> None:
    """Tell what is different between a live leg as it was and as it is."""
    machine = step.machine(leg)
    media = machine.flow.roles.media
    if leg.state in media:  # a session's events begin when it was joined, and with who is there
        _tell(step, old if old.state in media else replace(old, type=leg.type, flags=NO_FLAGS, peers=()), leg)
    if leg.media != "open":
        return
    before = capturing(machine, old) if "joined" in old.flags else capturing(machine, leg)
    after = capturing(machine, leg)
    for kind in sorted(before ^ after):
        step.effects.append(Drive(leg.session, "capture", (kind, kind in after)))
    if leg.peers != old.peers:
        joined = {peer.pid for peer in leg.peers if peer.joined}
        leg = step.put(leg, lost=tuple(entry for entry in leg.lost if entry[0] in joined))
        leg = forget(step, leg)
        drive_peers(step, leg)
    for pid, turn in leg.offers.items():
        if old.offers.get(pid) != turn:
            step.effects.append(Drive(leg.session, "granted", (pid,)))


def capturing(machine: FlowMachine, leg: LocalLeg) -> frozenset[str]:
    """What a device is to capture: granted, agreed to, and on."""
    return frozenset(
        capture.kind
        for capture in machine.flow.captures
        if capture.kind in leg.grants
        and (capture.kind in leg.consent or not capture.at_join)
        and (capture.on is None or capture.on in leg.flags)
        and (capture.off is None or capture.off not in leg.flags)
    )


def drive_peers(step: Step, leg: LocalLeg) -> None:
    """Tell the media session with whom it is to exchange."""
    step.effects.append(Drive(leg.session, "peers", (tuple(peer for peer in leg.peers if peer.joined),)))


def _tell(step: Step, old: LocalLeg, leg: LocalLeg) -> None:
    if leg.type != old.type:
        step.emit("call_switched_to_video", leg)
    elif "wants_video" in old.flags - leg.flags:
        step.emit("call_switch_to_video_declined", leg)
    for event in _flag_events(old.flags, leg.flags, own=True):
        step.emit(event, leg)
    if leg.peers != old.peers:
        _tell_peers(step, old, leg)


def _tell_peers(step: Step, old: LocalLeg, leg: LocalLeg) -> None:
    before = {peer.pid: peer for peer in old.peers if peer.joined}
    after = {peer.pid: peer for peer in leg.peers if peer.joined}
    for pid, peer in before.items():
        if pid not in after:
            step.emit("user_left", leg, peer)
    for pid, peer in sorted(after.items(), key=lambda item: item[1].joined):
        if pid not in before:
            step.emit("user_joined", leg, peer)
    for pid, peer in after.items():
        flags = before[pid].flags if pid in before else NO_FLAGS
        for event in _flag_events(flags, peer.flags, own=False):
            step.emit(event, leg, peer)
    if before.keys() != after.keys():
        step.emit("user_list_updated", leg)


_FLAG_EVENTS: dict[str, tuple[str, str, str, str]] = {
    "audio_muted": ("audio_muted", "audio_unmuted", "user_muted", "user_unmuted"),
    "video_paused": ("video_paused", "video_resumed", "user_video_paused", "user_video_resumed"),
    "presenting": ("screen_share_started", "screen_share_stopped", "screen_share_started", "screen_share_stopped"),
    "hand_raised": ("hand_raised", "hand_lowered", "hand_raised", "hand_lowered"),
    "wants_video": ("", "", "call_switch_to_video_requested", ""),
}
"""What listeners hear when a flag goes on or off: of oneself, and of another."""


def _flag_events(old: frozenset[str], new: frozenset[str], *, own: bool) -> list[str]:
    place = 0 if own else 2
    events = [_FLAG_EVENTS[f][place + (f not in new)] for f in sorted((old ^ new) - _CORE_FLAGS) if f in _FLAG_EVENTS]
    return [event for event in events if event]
