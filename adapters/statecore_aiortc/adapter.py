"""The adapter: how an application wants its media, for any number of sessions."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from os import PathLike, fspath
from typing import Any, Literal

from aiortc import RTCConfiguration

from statecore.errors import InvalidArgument
from statecore.ports import Kind, MediaHost
from statecore.settings import CallSettings, IceServer

from . import _webrtc
from ._devices import reach
from ._record import Names
from ._speaker import Output
from .files import Device
from .session import AiortcSession, as_source


class AiortcMedia:
    """WebRTC between the participants themselves, each with each, by aiortc: a `statecore.ports.MediaAdapter`.

    `audio` and `video` are what sessions send: a source (`File`, `Device`, `Tone`, `Picture`, `Samples`, `Frames`,
    `Track`, `Stream`), the path of a file, an aiortc track, or an async iterable of `statecore.ports` frames. None
    sends nothing until `set_source`; receiving needs no source.

    `record` writes what arrives from each participant to a file: a directory, or a path whose suffix chooses the form
    (`.wav` for sound only, `.webm`, `.mp4`, ...) and which may hold {session}, {uid}, {pid} and {kind}. A file is
    complete when its participant has left or the session is closed.

    `speaker` plays what is heard of each participant: `Device()` is the system's loudspeaker, by ALSA on Linux; other
    platforms need a name and a format, and without them no session opens. It is opened once for each participant who is
    heard, in a Python process of its own, and closed when he has left or the session is closed. One that cannot be
    opened, or takes no sound for ten seconds, is told by `on_error`, and the call goes on without it.

    `ice_servers` and `ice_policy` hold for sessions whose settings name no servers, or leave the policy at "all"; with
    no servers there either, those that the service hands out are used, with its policy. aiortc uses one STUN and one
    TURN address, the first of each. Raises InvalidArgument, also for a suffix by which nothing can be recorded, or
    SourceError."""

    def __init__(
        self,
        audio: Any = None,
        video: Any = None,
        *,
        record: str | PathLike[str] | None = None,
        speaker: Device | None = None,
        ice_servers: Iterable[IceServer] = (),
        ice_policy: Literal["all", "relay"] | None = None,
    ) -> None:
        if ice_policy not in (None, "all", "relay"):
            raise InvalidArgument(f"ice_policy {ice_policy!r} is neither 'all' nor 'relay'", name="ice_policy")
        given: dict[Kind, Any] = {"audio": audio, "video": video}
        self._sources = {kind: None if each is None else as_source(each) for kind, each in given.items()}
        if not isinstance(speaker, Device | None):
            raise InvalidArgument(f"speaker {speaker!r} is no Device", name="speaker")
        self._names = None if record is None else Names(fspath(record))
        self._speaker = speaker
        self._servers = tuple(ice_servers)
        self._policy = ice_policy

    @property
    def heeds(self) -> tuple[str, ...]:
        """The settings of a session that this adapter acts on, and not every adapter does: `audio_input` names the
        microphone, and `video_input` the camera, where a `Device` without a name is sent, or nothing is so far;
        `audio_output` names the loudspeaker, where `speaker` does not."""
        inputs: dict[str, Kind] = {"audio_input": "audio", "video_input": "video"}
        heeded = [name for name, kind in inputs.items() if _takes_a_name(self._sources[kind])]
        if self._speaker is not None and self._speaker.name is None:
            heeded.append("audio_output")
        return tuple(heeded)

    async def open(self, host: MediaHost, *, audio: bool, video: bool) -> AiortcSession:
        """Open local media: its sources where asked for. Returns once it can take peers.

        Raises SourceError, MediaDeviceError, or MediaConnectionFailed for a malformed server address, and leaves
        nothing open then; the same when it is cancelled."""
        settings = host.settings
        session = AiortcSession(host, partial(self._configuration, host), self._names, self._output(settings))
        enabled: set[Kind] = {"audio"} if audio else set()
        if video and not settings.audio_only:
            enabled.add("video")
        try:
            await session.begin(dict(self._sources), enabled)
        except BaseException:
            await session.close()
            raise
        return session

    def _output(self, settings: CallSettings) -> Output | None:
        speaker = self._speaker
        if speaker is None:
            return None
        way, name = reach("audio_output", speaker.name or settings.audio_output, speaker.format)
        return Output(way, name, speaker.options)

    def _configuration(self, host: MediaHost) -> RTCConfiguration:
        """How to reach others from now on: what the service hands out has an end."""
        settings = host.settings
        servers = settings.ice_servers or self._servers
        relay = "relay" in (settings.ice_policy, self._policy, "all" if servers else host.ice.policy)
        return _webrtc.configuration(servers or host.ice.servers, "relay" if relay else "all")


def _takes_a_name(source: object) -> bool:
    return source is None or (isinstance(source, Device) and source.name is None)


__all__ = ["AiortcMedia"]
