"""What is in a file of the user's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SourceError

RATE = 48_000


def has_video(path: Path | str | None) -> bool:
    """Whether a file has a video track. Raises SourceError if it is missing, or cannot be read."""
    import av

    try:
        with av.open(str(path)) as container:
            return bool(container.streams.video)
    except (OSError, ValueError) as error:
        raise SourceError(source=str(path), why=getattr(error, "strerror", None) or str(error)) from error


def sound_of(path: Path | None, seconds: float = 30.0) -> Any:
    """The beginning of a file's sound: int16 of shape (samples, 1) at 48 kHz."""
    import av

    parts = []
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        for frame in container.decode(audio=0):
            parts += [part.to_ndarray()[0] for part in resampler.resample(frame)]
            if sum(map(len, parts)) > seconds * RATE:
                break
    return np.concatenate(parts)[:, np.newaxis]
