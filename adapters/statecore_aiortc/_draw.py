"""The default test picture: a colored wave that moves, and a clock to be read by people."""

from __future__ import annotations

from typing import Any

import numpy as np

# Seven strokes of a figure, as (top, left, bottom, right) in a box of 9 by 5; each figure names the strokes it has.
_STROKES = {
    "a": (0, 0, 1, 5),
    "b": (0, 4, 5, 5),
    "c": (4, 4, 9, 5),
    "d": (8, 0, 9, 5),
    "e": (4, 0, 9, 1),
    "f": (0, 0, 5, 1),
    "g": (4, 0, 5, 5),
    ".": (7, 2, 9, 4),
}
_FIGURES = {
    "0": "abcdef",
    "1": "bc",
    "2": "abged",
    "3": "abgcd",
    "4": "fgbc",
    "5": "afgcd",
    "6": "afgedc",
    "7": "abc",
    "8": "abcdefg",
    "9": "abcdfg",
    ".": ".",
}


def clock(width: int, height: int, seconds: float) -> Any:
    """A picture at a time: uint8 of shape (height, width, 3), RGB."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[..., 0] = _wave(np.arange(width) * 256 / width + seconds * 80)
    pixels[..., 1] = _wave(np.arange(height) * 256 / height + seconds * 50)[:, np.newaxis]
    pixels[..., 2] = 128
    text = f"{seconds:.2f}"
    scale = max(1, min(width // (7 * len(text)), height // 18))
    left, top = (width - 7 * len(text) * scale) // 2, (height - 9 * scale) // 2
    for place, figure in enumerate(text):
        for stroke in _FIGURES[figure]:
            y, x, bottom, right = (edge * scale for edge in _STROKES[stroke])
            start = left + 7 * place * scale
            pixels[top + y : top + bottom, start + x : start + right] = 255
    return pixels


def _wave(angle: Any) -> Any:
    """A triangle between 32 and 160 with a period of 256."""
    return (32 + np.abs(angle % 256 - 128)).astype(np.uint8)


__all__ = ["clock"]
