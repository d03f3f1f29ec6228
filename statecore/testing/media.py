"""Media for tests: a room to meet in.

`MeetingRoom` stands in for the switchboard as far as media is concerned.
"""

from __future__ import annotations

from ._media_room import MeetingRoom, RoomHost

__all__ = ["MeetingRoom", "RoomHost"]
