"""What the demo plays: sound and pictures made on the spot, so that what arrives can be told from anything else."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from ...testing.signals import draw_clock, resample

RATE = 48_000
WIDTH, HEIGHT, FPS = 320, 240, 15
_WORDS = "This is Bob. The line is clear, and every word you hear was made a moment ago. Good bye for now."


def speech() -> tuple[Any, str]:
    """Some seconds of speech and where it is from: the system's synthesizer if there is one, else our own syllables."""
    program = shutil.which("espeak-ng")
    if program is not None:
        spoken = _spoken(program)
        if spoken is not None:
            return spoken, "espeak-ng"
    return syllables(), "synthetic syllables"


def _spoken(program: str) -> Any:
    import wave

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        done = subprocess.run([program, "-s", "150", "-w", str(path), _WORDS], check=False, capture_output=True)  # noqa: S603
        if done.returncode or not path.exists():
            return None
        with wave.open(str(path)) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
            return resample(samples[:, np.newaxis], file.getframerate(), RATE)


def syllables(seconds: float = 5.0) -> Any:
    """Speech-like sound: a gliding voice through two moving formants, in bursts. The same each time."""
    random = np.random.default_rng(7)
    time = np.arange(round(seconds * RATE)) / RATE
    sound = np.zeros(len(time))
    start = 0.05
    while start < seconds - 0.3:
        length = random.uniform(0.12, 0.3)
        part = (time >= start) & (time < start + length)
        local = time[part] - start
        envelope = np.sin(np.pi * local / length) ** 2
        pitch = np.cumsum(110 + 60 * random.random() + 30 * np.sin(4 * local)) / RATE
        first, second = random.uniform(300, 800), random.uniform(1000, 2200)
        for harmonic in range(1, 25):
            hz = 130.0 * harmonic
            loud = np.exp(-(((hz - first) / 200) ** 2)) + 0.6 * np.exp(-(((hz - second) / 300) ** 2)) + 0.02
            sound[part] += envelope * loud * np.sin(2 * np.pi * harmonic * pitch)
        start += length + random.uniform(0.03, 0.15)
    return np.round(sound / np.abs(sound).max() * 12_000).astype(np.int16)[:, np.newaxis]


def tune(seconds: float = 6.0) -> Any:
    """A little melody."""
    notes = (523.25, 587.33, 659.25, 523.25, 659.25, 698.46, 783.99, 783.99)
    each = 0.35
    time = np.arange(round(each * RATE)) / RATE
    shape = np.minimum(1, np.minimum(time / 0.02, (each - time) / 0.1))
    once = np.concatenate([np.sin(2 * np.pi * hz * time) * shape for hz in notes])
    sound = np.resize(once, round(seconds * RATE))
    return np.round(sound * 12_000).astype(np.int16)[:, np.newaxis]


class Camera:
    """A moving picture with a readable clock, that counts what it draws and knows when it drew which time."""

    def __init__(self, offset_ms: int = 0, *, frozen: bool = False) -> None:
        self.offset = offset_ms
        self.frozen = frozen
        self.drawn = 0
        self.when: dict[int, float] = {}

    def __call__(self, time: float) -> Any:
        """The picture at a time in seconds."""
        self.drawn += 1
        clock = self.offset + (0 if self.frozen else round(time * 1000))
        self.when.setdefault(clock, monotonic())
        return draw_clock(WIDTH, HEIGHT, clock)
