"""The calls of the demo: real ones, over an embedded service and WebRTC on the loopback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Self

import attrs

from ... import CallClient, CallListener, CallService, CallSettings, Session, StatecoreError
from ...diagram import Message
from ...errors import CallDeclined
from . import CALLS, _made
from ._watch import Ears, Eyes, States, Tap, state_of

_LONG = ["idle", "ringing", "accepted", "active", "ended"]
_TOKENS = ["idle", "accepted", "active", "ended"]
_RANG = ["idle", "ringing", "ended"]
SETTLE = 0.4
"""Seconds that sound is on its way at the most, through jitter buffers and codecs."""


@attrs.define
class Result:
    """What became of one call."""

    name: str
    flow: str
    expected: dict[str, list[str]]
    expected_reason: str
    alice: States = attrs.Factory(States)
    bob: States = attrs.Factory(States)
    reason: str | None = None
    ring_ms: float | None = None
    setup_ms: float | None = None
    delay_ms: float | None = None
    """From a picture's drawing to its arrival; for people, the documented form has no place for it."""
    audio: dict[str, float | None] | None = None
    video: dict[str, float] | None = None
    problems: list[str] = attrs.Factory(list)
    messages: list[Message] = attrs.Factory(list)
    recordings: list[Path] = attrs.Factory(list)

    def check(self, good: bool, what: str) -> None:
        """Note what is not as it should be."""
        if not good:
            self.problems.append(what)

    def as_json(self) -> dict[str, Any]:
        """The documented form."""
        return {
            "name": self.name,
            "flow": self.flow,
            "states": {"alice": self.alice.path, "bob": self.bob.path},
            "reason": self.reason,
            "ring_ms": self.ring_ms,
            "setup_ms": self.setup_ms,
            "audio": self.audio,
            "video": self.video,
        }


class _Watched:
    """A media adapter that tells when a session opens its media: the state is one that no listener hears of."""

    def __init__(self, media: Any, opened: Callable[[str], None]) -> None:
        self._media, self._opened = media, opened

    async def open(self, host: Any, *, audio: bool, video: bool) -> Any:
        self._opened(host.session_id)
        return await self._media.open(host, audio=audio, video=video)


class Demo:
    """Runs the calls one after the other."""

    def __init__(
        self,
        out: Path,
        *,
        only: Collection[str],
        broken: str | None,
        play: Path | None,
        say: Callable[[str, str, str], None],
    ) -> None:
        self.out, self.only, self.broken, self.play, self.say = out, only, broken, play, say
        self.spoken, self.voice = _made.speech()
        self.tune = _made.tune()
        self.results: list[Result] = []
        self._start = time.monotonic()

    async def run(self) -> None:
        """The calls that are wanted."""
        calls = (
            self._video_call, self._token_call, self._rejected, self._cancelled, self._busy, self._unanswered,
            self._wrong_token,
        )  # fmt: skip
        async with CallService() as service:
            self._service = service
            for name, call in zip(CALLS, calls, strict=True):
                if name in self.only:
                    await call()

    # --- two parties for each call

    def _sources(self, result: Result) -> tuple[Any, Any, _made.Camera, _made.Camera]:
        from statecore_aiortc import AiortcMedia, File, Frames, Samples, Tone

        cameras = _made.Camera(frozen=self.broken == "frozen-video"), _made.Camera()
        record = self.out / result.name.replace(" ", "-")
        sound: Any = Samples(_silence) if self.broken == "no-audio" else Tone(440.0)
        sight: Any = Frames(cameras[0], _made.FPS)
        if self.play is not None:
            sound, sight = self._from_file(File, sight)
        alice = AiortcMedia(audio=sound, video=sight, record=str(record / "heard-by-alice.webm"))
        bob = AiortcMedia(
            audio=Samples(self.spoken, _made.RATE, loop=True), video=Frames(cameras[1], _made.FPS),
            record=str(record / "heard-by-bob.webm"),
        )  # fmt: skip
        result.recordings = [record / "heard-by-alice.webm", record / "heard-by-bob.webm"]
        return alice, bob, cameras[0], cameras[1]

    def _from_file(self, file: Any, sight: Any) -> tuple[Any, Any]:
        from .._files import has_video

        source = file(str(self.play), loop=True)
        return source, source if has_video(self.play) else sight

    async def _parties(self, result: Result, stack: AsyncExitStack) -> tuple[CallClient, CallClient, Any, Any]:
        self.results.append(result)
        begun = time.monotonic()
        alice_media, bob_media, *cameras = self._sources(result)
        clients: list[CallClient] = []
        for name, states, media in (("alice", result.alice, alice_media), ("bob", result.bob, bob_media)):
            tap = Tap(self._service.signaling(name), name, result.messages, begun)

            def opened(session: str, states: States = states, name: str = name) -> None:
                self._saw(result, name, states, state_of(clients[0 if name == "alice" else 1], session) or "idle")

            client = CallClient(tap, _Watched(media, opened))
            clients.append(await stack.enter_async_context(client))
            self._follow(client, result, name, states)
        return clients[0], clients[1], cameras[0], cameras[1]

    def _follow(self, client: CallClient, result: Result, name: str, states: States) -> None:
        def told(call: Any) -> None:
            if not states.path:
                self._saw(result, name, states, "idle")
            self._saw(result, name, states, call.state)
            if call.end_reason is not None and name == "alice":
                result.reason = str(call.end_reason.what)

        events = (
            "incoming_call_received", "outgoing_call_accepted", "outgoing_call_rejected", "incoming_call_cancelled",
            "call_ended_message_received",
        )  # fmt: skip
        client.add_call_listener("demo", CallListener(**{f"on_{event}": told for event in events}))

    def _saw(self, result: Result, name: str, states: States, state: str) -> None:
        before = list(states.path)
        states.saw(state)
        if states.path != before:
            self.say(result.name, name, state)

    async def _call(self, result: Result, alice: CallClient, bob: CallClient, **more: Any) -> tuple[Any, Any]:
        """Alice calls Bob: both sides' calls, once it rings at Bob's."""
        rang: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        begun = time.monotonic()

        def ring(call: Any) -> None:
            result.ring_ms = round((time.monotonic() - begun) * 1000, 1)
            rang.set_result(call)

        with bob.on("incoming_call_received", ring):
            self._saw(result, "alice", result.alice, "idle")
            out = await alice.initiate_call("bob", **more)
            self._saw(result, "alice", result.alice, out.state)
            return out, await asyncio.wait_for(rang, 10)

    async def _started(
        self, result: Result, *starts: tuple[CallClient, str, States, Awaitable[Session]]
    ) -> list[Session]:
        begun = time.monotonic()
        sessions = list(await asyncio.gather(*(start for *_, start in starts)))
        result.setup_ms = round((time.monotonic() - begun) * 1000, 1)
        for (_, name, states, _), session in zip(starts, sessions, strict=True):
            self._saw(result, name, states, session.state)
        return sessions

    # --- the calls

    async def _video_call(self) -> None:
        from statecore_aiortc import Frames

        result = Result("video call", "ringing", {"alice": _LONG, "bob": _LONG}, "hangup")
        async with AsyncExitStack() as stack:
            alice, bob, camera, _ = await self._parties(result, stack)
            out, incoming = await self._call(result, alice, bob, type="video")
            begun = time.monotonic()
            answered = await incoming.accept()
            self._saw(result, "bob", result.bob, answered.state)
            await out.answered()
            token_a, token_b = [await client.generate_token(out.session_id) for client in (alice, bob)]
            settings = CallSettings(type="video")
            at_alice, at_bob = await self._started(
                result,
                (alice, "alice", result.alice, alice.start_session(token_a, settings)),
                (bob, "bob", result.bob, bob.start_session(token_b, settings)),
            )
            result.setup_ms = round((time.monotonic() - begun) * 1000, 1)
            async with _Watching(at_alice, at_bob) as watch:
                await _pass(2.5)
                tone_until = time.monotonic()
                await self._mute(result, at_alice, watch)
                second = _made.Camera(1_000_000)
                if self.play is None and self.broken != "frozen-video":
                    await at_alice.play(Frames(second, _made.FPS), "video")
                await _pass(2.0)
                speech_until = time.monotonic()
                drawn, when = camera.drawn + second.drawn, camera.when | second.when
                await at_bob.end()
                await at_alice.wait_ended()
            self._measure(result, watch, tone_until, speech_until, drawn)
            result.delay_ms = watch.eyes.delay_ms(when)
            seen = any(clock >= 1_000_000 for clock in watch.eyes.clocks)
            result.check(seen or self.play is not None, "the second camera was not seen")

    async def _mute(self, result: Result, alice: Session, watch: _Watching) -> None:
        self.say(result.name, "alice", "mutes")
        await alice.mute_audio()
        await _pass(SETTLE)
        begun = time.monotonic()
        await _pass(0.8)
        loud = watch.at_bob.loudness(begun, time.monotonic())
        result.check(loud < -60, f"not silent while muted: {loud:.0f} dBFS")
        await alice.unmute_audio()
        self.say(result.name, "alice", "unmutes")
        await _pass(SETTLE)

    async def _token_call(self) -> None:
        result = Result("call by tokens", "session", {"alice": _TOKENS, "bob": _TOKENS}, "hangup")
        async with AsyncExitStack() as stack:
            alice, bob, camera, _ = await self._parties(result, stack)
            tokens = [await self._service.generate_token(user, "meeting") for user in ("alice", "bob")]
            self._saw(result, "alice", result.alice, "idle")
            self._saw(result, "bob", result.bob, "idle")
            settings = CallSettings(type="audio")
            at_alice, at_bob = await self._started(
                result,
                (alice, "alice", result.alice, alice.start_session(tokens[0], settings)),
                (bob, "bob", result.bob, bob.start_session(tokens[1], settings)),
            )
            await until(lambda: len(at_alice.participants) == len(at_bob.participants) == 2)
            async with _Watching(at_alice, at_bob) as watch:
                await _pass(1.5)
                tone_until = time.monotonic()
                tune_from = await self._play_tune(result, at_alice)
                await _pass(1.0)
                if tune_from is None:
                    tone_until = time.monotonic()  # the file goes on
                at_bob.on("call_switch_to_video_requested", lambda *_: _consent(at_bob))
                before = camera.drawn
                await at_alice.switch_to_video()
                self.say(result.name, "both", "agreed to video")
                await _pass(2.5)
                drawn = camera.drawn - before
                speech_until = time.monotonic()
                await at_bob.end()
                await at_alice.end()
            self._measure(result, watch, tone_until, speech_until, drawn, tune_from)
            result.delay_ms = watch.eyes.delay_ms(camera.when)
            # Each leg of a session ends by its own user's act.

    async def _play_tune(self, result: Result, alice: Session) -> float | None:
        """Alice plays it in place of the tone; gives when it is to be heard. Not if she plays a file all along."""
        from statecore_aiortc import Samples

        if self.play is not None:
            return None
        heard = self.broken not in ("no-audio", "no-tune")
        await alice.play(Samples(self.tune * heard, _made.RATE, loop=True))
        self.say(result.name, "alice", "plays a tune")
        return time.monotonic() + SETTLE

    def _measure(
        self,
        result: Result,
        watch: _Watching,
        tone_until: float,
        speech_until: float,
        drawn: int,
        tune_from: float | None = None,
    ) -> None:
        """Is what was sent what arrived?"""
        begun = watch.begun + SETTLE
        sent_hz = 440.0 if self.play is None else None
        received = watch.at_bob.hz(begun, tone_until) if self.play is None else None
        spoken = watch.at_alice.likeness(self.spoken, begun, speech_until)
        played = self._played(watch, begun, tone_until)
        tune = None
        if tune_from is not None:
            # It is not played for long: one hiccup is to spoil only a small part.
            tune = watch.at_bob.likeness(self.tune, tune_from, speech_until, seconds=0.5)
        result.audio = {"sent_hz": sent_hz, "received_hz": received, "correlation": spoken, "tune": tune}
        eyes = watch.eyes
        result.video = {"frames": eyes.frames, "fps": eyes.fps, "width": eyes.size[0], "height": eyes.size[1]}
        if sent_hz is not None:
            near = received is not None and abs(received - sent_hz) <= sent_hz / 100
            result.check(near, f"the tone sent at {sent_hz:g} Hz arrived at {received} Hz")
        heard = tune_from is None or (tune is not None and tune >= 0.8)
        result.check(heard, f"the tune was not found in what arrived: {tune}")
        result.check(played is None or played >= 0.8, f"the file's sound was not found in what arrived: {played}")
        result.check(spoken is not None and spoken >= 0.8, f"the speech was not found in what arrived: {spoken}")
        result.check(eyes.frames >= 0.8 * drawn, f"only {eyes.frames} of {drawn} pictures arrived")
        advances = len(set(eyes.clocks)) >= 5 and eyes.advancing() >= 5
        result.check(advances or not drawn, "the sender's clock does not advance")
        result.check(eyes.frames > 0, "no picture arrived")

    def _played(self, watch: _Watching, begun: float, until: float) -> float | None:
        if self.play is None:
            return None
        from .._files import sound_of

        return watch.at_bob.likeness(sound_of(self.play), begun, until) or 0.0

    async def _rejected(self) -> None:
        result = Result("rejected", "ringing", {"alice": _RANG, "bob": _RANG}, "rejected")
        async with AsyncExitStack() as stack:
            alice, bob, *_ = await self._parties(result, stack)
            out, incoming = await self._call(result, alice, bob, type="audio")
            await incoming.reject("busy" if self.broken == "swapped-reason" else "rejected")
            await self._declined(result, out)

    async def _cancelled(self) -> None:
        result = Result("cancelled", "ringing", {"alice": _RANG, "bob": _RANG}, "cancelled")
        async with AsyncExitStack() as stack:
            alice, bob, *_ = await self._parties(result, stack)
            out, _incoming = await self._call(result, alice, bob, type="audio")
            await out.cancel()
            await until(lambda: result.bob.path[-1:] == ["ended"])

    async def _busy(self) -> None:
        result = Result("busy", "ringing", {"alice": ["idle", "ended"], "bob": _RANG}, "busy")
        async with AsyncExitStack() as stack:
            alice, *_ = await self._parties(result, stack)
            carol = await stack.enter_async_context(CallClient(self._service.signaling("carol")))
            other = await carol.initiate_call("bob", type="audio")  # so Bob's line is taken
            await until(lambda: result.bob.path[-1:] == ["ringing"])
            try:
                await alice.initiate_call("bob", type="audio")
            except CallDeclined as error:
                result.reason = str(error.call.end_reason.what)
            await other.cancel()
            await until(lambda: result.bob.path[-1:] == ["ended"])

    async def _unanswered(self) -> None:
        result = Result("unanswered", "ringing", {"alice": _RANG, "bob": _RANG}, "unanswered")
        async with AsyncExitStack() as stack:
            alice, bob, *_ = await self._parties(result, stack)
            out, _incoming = await self._call(result, alice, bob, type="audio", timeout=1.0)
            await self._declined(result, out)

    async def _declined(self, result: Result, out: Any) -> None:
        with suppress(CallDeclined):
            await out.answered()
        await until(lambda: result.bob.path[-1:] == ["ended"])

    async def _wrong_token(self) -> None:
        result = Result("wrong token", "session", {"alice": ["idle"], "bob": []}, "token_foreign")
        async with AsyncExitStack() as stack:
            alice, *_ = await self._parties(result, stack)
            token = await self._service.generate_token("bob", "private")
            self._saw(result, "alice", result.alice, "idle")
            try:
                await alice.start_session(token, CallSettings(type="audio"))
            except StatecoreError as error:
                result.reason = error.code


def _silence(_first: int, count: int) -> Any:
    import numpy as np

    return np.zeros((count, 1), np.int16)


async def _consent(session: Session) -> None:
    await session.accept_video()


async def _pass(seconds: float) -> None:
    """Let the call go on for so long: sound and pictures take their time."""
    await asyncio.sleep(seconds)


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until something holds; raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for is what several listeners wrote down
            await asyncio.sleep(0.01)


class _Watching:
    """Both sides' ears, and Bob's eyes, while a session lasts."""

    def __init__(self, alice: Session, bob: Session) -> None:
        self.begun = time.monotonic()
        self.at_alice, self.at_bob, self.eyes = Ears(), Ears(), Eyes()
        self._jobs = (
            self.at_alice.listen(alice, "bob"), self.at_bob.listen(bob, "alice"), self.eyes.look(bob, "alice"),
        )  # fmt: skip
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(job) for job in self._jobs]
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.wait(self._tasks, timeout=5)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
