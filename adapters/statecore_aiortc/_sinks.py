"""Where what arrives in a session goes besides its readers: to files, and to a loudspeaker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from statecore.ports import Kind, MediaHost, MediaPeer

from ._record import Names, Recorder
from ._speaker import Loudspeaker, Output

Take: TypeAlias = Callable[[Kind, Any, float], None]


class Sinks:
    """The sinks of one session, some for each participant. No file or device is opened before there is something to
    write."""

    def __init__(self, host: MediaHost, names: Names | None, speaker: Output | None) -> None:
        self._host = host
        self._names = names
        self._speaker = speaker
        self._writers: dict[tuple[str, str], Recorder | Loudspeaker] = {}
        """By pid, and what is written."""

    def of(self, peer: MediaPeer) -> Take | None:
        """What takes each frame from a participant; None if nothing wants any."""
        names, speaker = self._names, self._speaker
        if names is None and speaker is None:
            return None
        # Made at once: its process is to be there for the first frame.
        voice = None if speaker is None else self._voice(speaker, peer)

        def take(kind: Kind, frame: Any, when: float) -> None:
            if names is not None and (kind == "audio" or names.video):
                self._recorder(names, peer, "screen" if kind == "screen" else "av").add(kind, frame, when)
            if voice is not None and kind == "audio":
                voice.add(frame)

        return take

    def _recorder(self, names: Names, peer: MediaPeer, what: Literal["av", "screen"]) -> Recorder:
        recorder = self._writers.get((peer.pid, what))
        if not isinstance(recorder, Recorder):
            path = names.take(self._host.session_id, peer.uid, peer.pid, what)
            video = not self._host.settings.audio_only
            recorder = Recorder(path, audio=what == "av", video=video, fault=self._host.fault)
            self._writers[peer.pid, what] = recorder
        return recorder

    def _voice(self, speaker: Output, peer: MediaPeer) -> Loudspeaker:
        self._writers[peer.pid, "voice"] = voice = Loudspeaker(speaker, self._host.fault)
        return voice

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

    def _give_back(self, writer: Recorder | Loudspeaker) -> None:
        if self._names is not None and isinstance(writer, Recorder):
            self._names.give_back(writer.path)


__all__ = ["Sinks", "Take"]
