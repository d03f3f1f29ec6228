"""Playing what arrives from one peer on a loudspeaker, by a process of its own: see `_play`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from statecore.errors import MediaDeviceError

from ._play import FRAME
from .sources import Resampler, audio_frame

PATIENCE = 10
"""Seconds that a device may take to open, or to take a frame."""
_LAST = 1.0
"""Seconds that a loudspeaker has to play what it was given, and then to be gone."""


@attrs.frozen
class Output:
    """A loudspeaker, in FFmpeg's terms."""

    way: str
    name: str
    options: dict[str, str]


class Loudspeaker(asyncio.SubprocessProtocol):
    """Plays on one device, which is opened for the first frame. A fault ends it and is told once."""

    def __init__(self, output: Output, fault: Callable[[Exception], None]) -> None:
        self._output = output
        self._fault = fault
        self._resampler = Resampler(2)
        self._transport: Any = None
        self._input: asyncio.WriteTransport | None = None
        self._said = b""
        self._stopped = False
        loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = loop.create_future()
        """Nothing is left of the process."""
        self._starting = loop.create_task(self._start(), name="statecore loudspeaker")

    async def _start(self) -> None:
        if getattr(sys, "frozen", False):
            self._ended("a frozen program has no Python that could play")  # it would run itself
            return
        try:
            program = str(Path(__file__).with_name("_play.py"))
            await asyncio.get_running_loop().subprocess_exec(
                lambda: self,
                *(sys.executable, "-P", program, json.dumps([PATIENCE, *attrs.astuple(self._output)])),
                stderr=None,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                start_new_session=True,  # an interrupt from the keyboard is for the application, and it ends this
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, the call goes on
            self._ended(f"{error}" or repr(error))

    def add(self, frame: Any) -> None:
        """Play a frame of sound as soon as possible. What the process does not take in time is left out."""
        if self._input is None or self._input.get_write_buffer_size():
            return
        # A copy: a recorder's thread and readers use the frame, too.
        copy = audio_frame(frame.to_ndarray().reshape(-1, len(frame.layout.channels)))
        copy.sample_rate = frame.sample_rate
        for made in self._resampler(copy):
            self._input.write(FRAME.pack(time.monotonic(), made.to_ndarray().tobytes()))

    # --- what the process does

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It runs."""
        self._transport = transport
        self._input = self._transport.get_pipe_transport(0)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """It says what is wrong."""
        del fd
        self._said += data

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """It takes or says no more."""
        del exc
        if fd == 0:
            self._input = None

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        del exc
        status = self._transport.get_returncode()
        slow = f"the device took no sound for {PATIENCE} seconds" if status == -14 else f"its process ended: {status}"
        self._transport.close()
        self._ended(self._said.decode(errors="replace") or slow)

    def _ended(self, why: str) -> None:
        if self._said or not self._stopped:
            self._stopped = True
            self._fault(MediaDeviceError(why=f"playing on {self._output.name!r} by {self._output.way}: {why}"))
        if not self._over.done():
            self._over.set_result(None)

    # --- the end

    async def close(self) -> None:
        """Let it play what it was given, for a second; then nothing is left of it. Idempotent."""
        self._stopped = True
        try:
            await asyncio.wait((self._starting,), timeout=_LAST)
            if self._input is not None:
                self._input.close()
            await asyncio.wait((self._over,), timeout=_LAST)
        finally:
            self.abort()
        await asyncio.wait((self._over,), timeout=_LAST)

    def abort(self) -> None:
        """End it at once. Idempotent."""
        self._stopped = True
        self._starting.cancel()
        if self._transport is not None:
            self._transport.close()


__all__ = ["Loudspeaker", "Output"]
