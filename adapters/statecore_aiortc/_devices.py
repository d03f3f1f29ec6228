"""The devices of this machine, as FFmpeg reaches them: which there are, and how to get at them."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from typing import Literal, TypeAlias

import attrs
import av

from statecore.errors import MediaDeviceError

Use: TypeAlias = Literal["audio_input", "audio_output", "video_input"]
"""What a device is for, by the setting of a session that names it."""

_SYSTEM: dict[tuple[str, Use], tuple[str, str]] = {
    ("linux", "audio_input"): ("alsa", "default"),
    ("linux", "audio_output"): ("alsa", "default"),
    ("linux", "video_input"): ("v4l2", "/dev/video0"),
    ("darwin", "audio_input"): ("avfoundation", ":default"),
    ("darwin", "video_input"): ("avfoundation", "default:none"),
}
"""By platform and use: FFmpeg's name of the system's way to its devices, and the default device."""

_ALSA = {
    "ALSA_CONFIG_DIR": ("/usr/share/alsa",),
    "ALSA_PLUGIN_DIR": tuple(
        f"/usr/{place}/alsa-lib" for place in (f"lib/{sysconfig.get_config_var('MULTIARCH')}", "lib64", "lib")
    ),
}
"""Where the ALSA library that comes with PyAV is to look: else it looks where it was built, and knows no device."""


@attrs.frozen
class DeviceInfo:
    """A device that FFmpeg knows of."""

    name: str
    """What `Device` and the settings call it."""
    title: str
    """What people call it."""
    use: Use
    """What it is for: the setting of a session that takes its name."""
    default: bool
    """Whether it is the system's choice."""


def devices() -> list[DeviceInfo]:
    """The microphones, loudspeakers and cameras that FFmpeg can list on this platform; may take some time. Raises
    MediaDeviceError if PyAV is older than 17, and cannot ask it."""
    if not hasattr(av, "enumerate_input_devices"):
        raise MediaDeviceError(why="PyAV 17 or later is needed to list devices")
    found: list[DeviceInfo] = []
    for (platform, use), (way, _) in _SYSTEM.items():
        if platform != sys.platform:
            continue
        prepare(way)
        try:
            listed = (av.enumerate_output_devices if use == "audio_output" else av.enumerate_input_devices)(way)
        except (av.FFmpegError, ValueError):
            continue  # it has such devices, and cannot list them
        media = "video" if use == "video_input" else "audio"
        found += [
            DeviceInfo(each.name, each.description or each.name, use, each.is_default)
            for each in listed
            if media in (each.media_types or [media])  # ALSA does not say
        ]
    return found


def reach(use: Use, name: str | None, way: str | None) -> tuple[str, str]:
    """FFmpeg's names of the way to a device and of the device: those given, else the system's. Raises MediaDeviceError
    where there is no telling."""
    system_way, system_name = _SYSTEM.get((sys.platform, use), (None, None))
    way, name = way or system_way, name or system_name
    if way is None or name is None:
        raise MediaDeviceError(why=f"say which device and format to use for {use} on {sys.platform}")
    prepare(way)
    return way, name


def prepare(way: str) -> None:
    """What must be so before FFmpeg goes a way."""
    if way == "alsa":
        for variable, places in _ALSA.items():
            place = next((place for place in places if Path(place).is_dir()), None)
            if place is not None and "ALSA_CONFIG_PATH" not in os.environ:
                os.environ.setdefault(variable, place)


__all__ = ["DeviceInfo", "Use", "devices", "prepare", "reach"]
