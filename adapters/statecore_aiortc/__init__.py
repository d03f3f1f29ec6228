"""Media for statecore by aiortc: WebRTC between the participants themselves.

    media = AiortcMedia(audio=File("hello.wav"), record="out.webm")

`AiortcMedia` is the adapter; the rest is what can be sent.
"""

from __future__ import annotations

from statecore.errors import AdapterMissing

try:
    import aiortc as _aiortc
except ImportError as missing:
    raise AdapterMissing(what="aiortc", extra="'statecore[aiortc]'") from missing

from ._devices import DeviceInfo, devices
from .adapter import AiortcMedia
from .files import Device, File
from .session import AiortcSession
from .sources import Frames, Picture, Reader, Samples, Source, Stream, Tone, Track

del _aiortc

__all__ = [
    "AiortcMedia",
    "AiortcSession",
    "Device",
    "DeviceInfo",
    "File",
    "Frames",
    "Picture",
    "Reader",
    "Samples",
    "Source",
    "Stream",
    "Tone",
    "Track",
    "devices",
]
