"""Media for tests: the conformance suite for media adapters, a room to meet in, and an adapter without a network.

`MediaConformance` is what an adapter's tests inherit. `MeetingRoom` stands in for the switchboard as far as media is
concerned. `FakeMedia` moves real frames between the sessions of one process, and fails at any step if told to.
"""

from __future__ import annotations

from ._media_fake import FakeMedia, FakeSession, Step
from ._media_room import MeetingRoom, RoomHost
from ._media_sources import ClockPicture, Tone
from ._media_suite import MediaConformance

__all__ = [
    "ClockPicture",
    "FakeMedia",
    "FakeSession",
    "MediaConformance",
    "MeetingRoom",
    "RoomHost",
    "Step",
    "Tone",
]
