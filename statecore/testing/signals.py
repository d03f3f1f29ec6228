"""Sound and pictures that measure themselves: made before sending, found again in what arrived.

Sound is int16 of shape (samples, channels), as in AudioFrame; the functions that measure also take (samples,), and
floats from -1 to 1. A clock picture carries milliseconds twice: as digits for people, and as 32 black and white blocks
(24 bits and a check sum) that survive lossy coding, noise and scaling.
"""

from __future__ import annotations

import math
from typing import Any

from statecore.errors import AdapterMissing

try:
    import numpy as np
except ImportError as missing:
    raise AdapterMissing(what="numpy", extra="'statecore[testing]'") from missing

CLOCK_WRAP = 1 << 24
"""A clock picture's time is taken modulo this many milliseconds (4.66 hours)."""

# --- sound ------------------------------------------------------------------------------------------------------------


def tone(hz: float, rate: int = 48_000, seconds: float = 1.0, phase: float = 0.0, amplitude: float = 0.5) -> Any:
    """A sine: int16 of shape (samples, 1). `phase` is the angle in radians at the first sample; amplitude 1 is full."""
    turns = np.arange(round(rate * seconds)) * (2 * math.pi * hz / rate) + phase
    return np.round(np.sin(turns) * (amplitude * 32767)).astype(np.int16)[:, np.newaxis]


def mono(samples: Any) -> Any:
    """The mean of the channels as float64 from -1 to 1, shape (samples,)."""
    samples = np.asarray(samples)
    full = 32768 if samples.dtype == np.int16 else 1
    flat = samples.mean(axis=1) if samples.ndim > 1 else samples
    return flat.astype(np.float64) / full


def dominant_hz(samples: Any, rate: int) -> float:
    """The strongest frequency, to a small part of a Hz for a pure tone of some tenths of a second; 0 for silence."""
    sound = mono(samples)
    if len(sound) < 8 or not sound.any():
        return 0.0
    power = np.abs(np.fft.rfft((sound - sound.mean()) * np.hanning(len(sound))))
    peak = int(power[1:-1].argmax()) + 1
    # A parabola through the logarithms of the three highest bins finds the top between them.
    left, top, right = np.log(power[peak - 1 : peak + 2] + 1e-12)
    bend = left - 2 * top + right
    offset = 0.0 if bend == 0 else 0.5 * (left - right) / bend
    return float((peak + offset) * rate / len(sound))


def rms_dbfs(samples: Any) -> float:
    """Loudness in decibels relative to full scale: 0 for a full square wave, -inf for digital silence or no samples."""
    sound = mono(samples)
    mean = float(np.mean(sound**2)) if len(sound) else 0.0
    return 10 * math.log10(mean) if mean else -math.inf


def resample(samples: Any, a: int, b: int) -> Any:
    """The same sound at rate `b` instead of `a`, band-limited; the shape's other axis and the type are kept.

    Works on the whole signal at once, so that its two ends influence each other a little."""
    samples = np.asarray(samples)
    if a == b or not len(samples):
        return samples.copy()
    count = max(1, round(len(samples) * b / a))
    spectrum = np.fft.rfft(samples, axis=0)
    kept = np.zeros((count // 2 + 1, *spectrum.shape[1:]), complex)
    both = min(len(kept), len(spectrum))
    kept[:both] = spectrum[:both]
    sound = np.fft.irfft(kept, count, axis=0) * (count / len(samples))
    return np.clip(np.round(sound), -32768, 32767).astype(np.int16) if samples.dtype == np.int16 else sound


def correlation(sent: Any, received: Any) -> tuple[float, int]:
    """How much of what was sent is in what arrived: (coefficient from 0 to 1, lag in samples).

    Both at one rate (see `resample`). They are shifted to where they fit best, and compared where they then overlap;
    the lag is how many samples later the sound stands in `received`. Silence correlates with nothing."""
    x, y = mono(sent), mono(received)
    if not x.any() or not y.any():
        return 0.0, 0
    x, y = x - x.mean(), y - y.mean()
    size = 1 << (len(x) + len(y)).bit_length()
    fit = np.fft.irfft(np.conj(np.fft.rfft(x, size)) * np.fft.rfft(y, size), size)
    lag = int(fit.argmax())
    lag = lag - size if lag > size // 2 else lag
    x, y = x[max(0, -lag) :], y[max(0, lag) :]
    both = min(len(x), len(y))
    x, y = x[:both], y[:both]
    energy = math.sqrt(float(x @ x) * float(y @ y))
    return (max(0.0, float(x @ y) / energy) if energy else 0.0), lag


# --- pictures ---------------------------------------------------------------------------------------------------------

_ROWS, _COLUMNS = 2, 16
_BAND = 1 / 8  # the height of one row of blocks, as a part of the picture's
# Digits of 3 x 5 dots: each octal figure is one row of three dots.
_FONT = {
    "0": "75557",
    "1": "26227",
    "2": "71747",
    "3": "71717",
    "4": "55711",
    "5": "74717",
    "6": "74757",
    "7": "71222",
    "8": "75757",
    "9": "75717",
    ".": "00002",
}


def draw_clock(width: int, height: int, ms: int) -> Any:
    """A picture of a moving background and the time `ms`: uint8 of shape (height, width, 3), RGB.

    The time is drawn modulo CLOCK_WRAP, as seconds in digits and as blocks along the bottom. At least 64 x 48."""
    ms = int(ms) % CLOCK_WRAP
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[..., 0] = _wave(np.arange(width) * 256 / width + ms * 0.08)
    pixels[..., 1] = _wave(np.arange(height) * 256 / height + ms * 0.05)[:, np.newaxis]
    pixels[..., 2] = 96
    _draw_digits(pixels, f"{ms / 1000:.3f}")
    for (rows, columns), bit in zip(_blocks(height, width), _bits(ms), strict=True):
        pixels[rows, columns] = 255 if bit else 0
    return pixels


def read_clock(pixels: Any) -> int | None:
    """The milliseconds that a picture made by `draw_clock` carries, or None if it cannot be told for certain.

    The picture may have been scaled (both ways by the same or different factors), blurred and coded."""
    grey = np.asarray(pixels)[..., :3].mean(axis=2)
    height, width = grey.shape
    if height < 16 or width < 32:
        return None
    light = np.array([grey[_middle(rows), _middle(columns)].mean() for rows, columns in _blocks(height, width)])
    contrast = np.ptp(light)
    side = (light - light.min() - contrast / 2) / max(contrast, 1)
    # A block that is neither black nor white, or a picture without any contrast, is no clock.
    if contrast < 80 or np.abs(side).min() < 0.12:
        return None
    word = int("".join("1" if bright else "0" for bright in side > 0), 2)
    ms, check = word >> 8, word & 0xFF
    return ms if check == _check(ms) else None


def _wave(angle: Any) -> Any:
    """A triangle between 32 and 223 with a period of 256."""
    return (32 + np.abs(angle % 256 - 128) * 1.49).astype(np.uint8)


def _bits(ms: int) -> list[bool]:
    word = ms << 8 | _check(ms)
    return [bool(word >> place & 1) for place in reversed(range(32))]


def _check(ms: int) -> int:
    """The remainder by x^8 + x^2 + x + 1; it begins with ones so that an empty picture is not a valid time."""
    remainder = 0xFF
    for octet in ms.to_bytes(3, "big"):
        remainder ^= octet
        for _ in range(8):
            remainder = (remainder << 1 ^ 0x07) & 0xFF if remainder & 0x80 else remainder << 1
    return remainder


def _blocks(height: int, width: int) -> list[tuple[slice, slice]]:
    """Where the blocks stand, row by row, the last row at the bottom edge."""
    top = 1 - _ROWS * _BAND
    ys = [round(height * (top + row * _BAND)) for row in range(_ROWS + 1)]
    xs = [round(width * column / _COLUMNS) for column in range(_COLUMNS + 1)]
    return [
        (slice(ys[row], ys[row + 1]), slice(xs[column], xs[column + 1]))
        for row in range(_ROWS)
        for column in range(_COLUMNS)
    ]


def _middle(span: slice) -> slice:
    """The middle half, away from the neighbors that blur runs in from."""
    margin = (span.stop - span.start) // 4
    return slice(span.start + margin, span.stop - margin)


def _draw_digits(pixels: Any, text: str) -> None:
    rows = [[f"{int(_FONT[letter][row]):03b}0" for letter in text] for row in range(5)]
    dots = np.array([[dot == "1" for dot in "0" + "".join(row)] for row in rows])
    dots = np.pad(dots, ((1, 1), (0, 0)))
    scale = max(1, min(pixels.shape[1] // 42, pixels.shape[0] // 12))
    mask = np.kron(dots, np.ones((scale, scale), bool))[: pixels.shape[0], : pixels.shape[1]]
    top, left = pixels.shape[0] // 12, max(0, (pixels.shape[1] - mask.shape[1]) // 2)
    pixels[top : top + mask.shape[0], left : left + mask.shape[1]] = np.where(mask, 255, 0)[..., np.newaxis]


__all__ = [
    "CLOCK_WRAP",
    "correlation",
    "dominant_hz",
    "draw_clock",
    "mono",
    "read_clock",
    "resample",
    "rms_dbfs",
    "tone",
]
