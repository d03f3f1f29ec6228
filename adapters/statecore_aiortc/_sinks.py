"""Where what arrives in a session goes besides its readers: to files, and to a loudspeaker."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, TypeAlias

import attrs

from statecore.ports import Kind, MediaHost, MediaPeer

from ._record import Names, Recorder, Writer
from ._speaker import Loudspeaker

Take: TypeAlias = Callable[[Kind, Any, float], None]


@attrs.frozen
class Output:
    """A loudspeaker, in FFmpeg's terms."""

    way: str
    name: str
    options: dict[str, str]


class Sinks:
    """The sinks of one session, some for each participant. Nothing is opened before there is something to write."""

    def __init__(self, host: MediaHost, names: Names | None, speaker: Output | None) -> None:
        self._host = host
        self._names = names
        self._speaker = speaker
        self._writers: dict[tuple[str, str], Writer] = {}
        """By pid, and what is written."""

    def of(self, peer: MediaPeer) -> Take | None:
        """What takes each frame from a participant; None if nothing wants any."""
        names, speaker = self._names, self._speaker
        if names is None and speaker is None:
            return None

        def take(kind: Kind, frame: Any, when: float) -> None:
            if names is not None and (kind == "audio" or names.video):
                self._recorder(names, peer, "screen" if kind == "screen" else "av").add(kind, frame, when)
            if speaker is not None and kind == "audio":
                self._voice(speaker, peer).add(kind, frame, when)

        return take

    def _recorder(self, names: Names, peer: MediaPeer, what: Literal["av", "screen"]) -> Writer:
        key = (peer.pid, what)
        if key not in self._writers:
            path = names.take(self._host.session_id, peer.uid, peer.pid, what)
            video = not self._host.settings.audio_only
            self._writers[key] = Recorder(path, audio=what == "av", video=video, fault=self._host.fault)
        return self._writers[key]

    def _voice(self, speaker: Output, peer: MediaPeer) -> Writer:
        key = (peer.pid, "voice")
        if key not in self._writers:
            what = f"playing on {speaker.name!r} by {speaker.way}"
            opened = partial(Loudspeaker, speaker.way, speaker.name, speaker.options)
            self._writers[key] = Writer(what, opened, self._host.fault)
        return self._writers[key]

    async def finish(self, pid: str) -> None:
        """Close those of a participant, who is gone."""
        for key in [key for key in self._writers if key[0] == pid]:
            writer = self._writers.pop(key)
            await writer.close()
            self._give_back(writer)

    def abort(self) -> None:
        """Close all of them in the background."""
        for writer in self._writers.values():
            writer.abort()
            self._give_back(writer)

    def _give_back(self, writer: Writer) -> None:
        if self._names is not None and isinstance(writer, Recorder):
            self._names.give_back(writer.path)


__all__ = ["Output", "Sinks", "Take"]
