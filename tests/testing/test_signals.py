"""The measuring of sound and pictures: what was put in is found again, and what was not is not."""

from __future__ import annotations

import importlib
import math
import sys
from typing import Any

import numpy as np
import pytest

from statecore.errors import AdapterMissing
from statecore.testing import signals
from statecore.testing.signals import (
    CLOCK_WRAP,
    correlation,
    dominant_hz,
    draw_clock,
    mono,
    read_clock,
    resample,
    rms_dbfs,
    tone,
)

TIMES = [0, 1, 999, 12_345, 5_000_000, 11_184_810, CLOCK_WRAP - 1]


def chatter(seconds: float, rate: int, seed: int = 1) -> Any:
    """Noise that comes and goes like speech."""
    noise = np.random.default_rng(seed)
    count = round(seconds * rate)
    wide = np.convolve(noise.normal(size=count), np.ones(8) / 8, "same")
    swell = np.repeat(noise.random(count // 2400 + 1), 2400)[:count]
    return np.clip(wide * swell * 12_000, -32768, 32767).astype(np.int16)[:, np.newaxis]


def blur(pixels: Any, size: int) -> Any:
    """Every pixel becomes the mean of a square around it."""
    for axis in (0, 1):
        pixels = sum(np.roll(pixels.astype(float), shift, axis) for shift in range(-size, size + 1)) / (2 * size + 1)
    return pixels


def scale(pixels: Any, height: int, width: int) -> Any:
    """Nearest-neighbor scaling, the roughest there is."""
    rows = np.arange(height) * pixels.shape[0] // height
    columns = np.arange(width) * pixels.shape[1] // width
    return pixels[rows][:, columns]


@pytest.mark.parametrize("hz", [60.0, 440.0, 997.3, 7_900.0])
@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_dominant_hz_finds_the_tone(hz: float, rate: int) -> None:
    """A tone's frequency is found within a tenth of a percent, in noise and in two channels."""
    sound = tone(hz, rate, 0.5)
    noisy = sound + np.random.default_rng(2).normal(scale=300, size=(len(sound), 2))
    for heard in (sound, sound[:, 0], noisy.astype(np.int16)):
        assert dominant_hz(heard, rate) == pytest.approx(hz, rel=1e-3)


@pytest.mark.parametrize("sound", [np.zeros((4800, 1), np.int16), np.zeros((0, 1), np.int16), tone(440)[:4]])
def test_dominant_hz_of_silence_is_zero(sound: Any) -> None:
    """No frequency is invented where there is no sound, or too little."""
    assert dominant_hz(sound, 48_000) == 0.0


def test_tone_continues_with_its_phase() -> None:
    """Two pieces joined by the phase are the piece made at once."""
    whole = tone(440, 8000, 0.2)
    second = tone(440, 8000, 0.1, phase=2 * math.pi * 440 * 0.1)
    assert np.abs(whole[800:].astype(int) - second).max() <= 1
    assert whole.shape == (1600, 1)
    assert whole.dtype == np.int16


def test_rms_dbfs_is_relative_to_full_scale() -> None:
    """A full square wave is at 0, a full sine 3 dB below, silence and nothing at minus infinity."""
    assert rms_dbfs(np.full((100, 1), -32768, np.int16)) == pytest.approx(0.0)
    assert rms_dbfs(tone(1000, amplitude=1.0)) == pytest.approx(-3.01, abs=0.01)
    assert rms_dbfs(tone(1000, amplitude=0.001)) < -60
    assert rms_dbfs(np.zeros((100, 2), np.int16)) == -math.inf
    assert rms_dbfs(np.zeros((0, 1), np.int16)) == -math.inf


def test_mono_of_floats_keeps_their_scale() -> None:
    """Floats are already from -1 to 1; channels are averaged."""
    assert mono(np.array([[0.5, -0.5], [1.0, 0.0]])).tolist() == [0.0, 0.5]


@pytest.mark.parametrize(("a", "b"), [(48_000, 16_000), (16_000, 48_000), (44_100, 48_000), (8_000, 8_000)])
def test_resample_keeps_the_sound(a: int, b: int) -> None:
    """A tone keeps frequency, loudness, length, shape and type at another rate."""
    sound = tone(440, a, 0.5)
    other = resample(sound, a, b)
    assert other.shape == (round(len(sound) * b / a), 1)
    assert other.dtype == np.int16
    assert dominant_hz(other, b) == pytest.approx(440, rel=1e-3)
    assert rms_dbfs(other) == pytest.approx(rms_dbfs(sound), abs=0.1)
    assert resample(mono(sound), a, b).dtype == np.float64


def test_resample_leaves_nothing_to_nothing() -> None:
    """No samples stay no samples."""
    assert len(resample(np.zeros((0, 1), np.int16), 8000, 16_000)) == 0


@pytest.mark.parametrize("lag", [-3000, 0, 1, 7777])
def test_correlation_finds_the_lag(lag: int) -> None:
    """What was sent is found at its lag in a noisy copy that was shifted and cut."""
    sent = chatter(1.0, 16_000)
    received = np.concatenate([np.zeros((lag, 1), np.int16), sent]) if lag > 0 else sent[-lag:]
    received = received + np.random.default_rng(3).normal(scale=50, size=received.shape).astype(np.int16)
    coefficient, found = correlation(sent, received)
    assert found == lag
    assert coefficient > 0.95


def test_correlation_works_over_different_rates() -> None:
    """Brought to one rate, what was sent at 48 kHz is found in what arrived at 16 kHz."""
    sent = chatter(1.0, 48_000)
    received = np.concatenate([np.zeros((800, 1), np.int16), resample(sent, 48_000, 16_000)])
    coefficient, lag = correlation(resample(sent, 48_000, 16_000), received)
    assert lag == 800
    assert coefficient == pytest.approx(1.0, abs=0.001)


def test_correlation_of_strangers_is_low() -> None:
    """Other speech, silence and a flat line are not taken for what was sent."""
    sent = chatter(1.0, 16_000)
    assert correlation(sent, chatter(1.0, 16_000, seed=9))[0] < 0.4
    assert correlation(sent, np.zeros_like(sent)) == (0.0, 0)
    assert correlation(sent, np.full_like(sent, 7)) == (0.0, 0)


@pytest.mark.parametrize("ms", TIMES)
@pytest.mark.parametrize(("width", "height"), [(64, 48), (160, 120), (640, 480), (1281, 719)])
def test_clock_is_read_again(ms: int, width: int, height: int) -> None:
    """Every time in every size of picture is read as it was drawn."""
    pixels = draw_clock(width, height, ms)
    assert (pixels.shape, pixels.dtype) == ((height, width, 3), np.uint8)
    assert read_clock(pixels) == ms


@pytest.mark.parametrize("ms", TIMES)
def test_clock_survives_damage(ms: int) -> None:
    """Noise, blur, poor contrast and scaling, in both directions and unevenly, leave the time readable."""
    pixels = draw_clock(320, 240, ms)
    noisy = pixels + np.random.default_rng(4).normal(scale=60, size=pixels.shape)
    damaged = {
        "noise": np.clip(noisy, 0, 255),
        "blur": blur(pixels, 4),
        "contrast": pixels * 0.5 + 60,
        "smaller": scale(pixels, 90, 160),
        "larger": scale(pixels, 500, 333),
        "all": scale(np.clip(blur(noisy, 3), 0, 255), 120, 160),
    }
    assert {name: read_clock(picture) for name, picture in damaged.items()} == dict.fromkeys(damaged, ms)


def test_clock_is_not_read_from_anything_else() -> None:
    """Black, white, noise, a picture cut in two, one wrong block and a scrap carry no time."""
    pixels = draw_clock(160, 120, 12_345)
    wrong = pixels.copy()
    wrong[-15:, :10] = 255 - wrong[-15:, :10]
    noise = np.random.default_rng(5).integers(0, 256, (120, 160, 3), np.uint8)
    others = [np.zeros_like(pixels), np.full_like(pixels, 255), noise, pixels[:80], wrong, pixels[:8, :8]]
    assert [read_clock(other) for other in others] == [None] * len(others)


def test_clock_wraps() -> None:
    """A time beyond the wrap is drawn modulo the wrap."""
    assert read_clock(draw_clock(160, 120, CLOCK_WRAP + 77)) == 77


def test_background_and_digits_move() -> None:
    """Pictures of different times differ above the blocks too, for people to see."""
    first, second = draw_clock(160, 120, 1000)[:90], draw_clock(160, 120, 1100)[:90]
    assert (first != second).mean() > 0.2


def test_missing_numpy_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without numpy the import fails with the extra that mends it."""
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(AdapterMissing, match=r"statecore\[testing\]"):
        importlib.reload(signals)
