"""Makes a script that shows a violation smaller, and keeps it as a file that a test replays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec.structs import replace

from ._run import Violation, simulate
from ._script import Item, Script

_encoder = msgspec.json.Encoder()


def violation(script: Script, *, run: Callable[[Script], object] = simulate) -> Violation | None:
    """What a script shows, if anything; `run` is what may raise a Violation."""
    try:
        run(script)
    except Violation as found:
        return found
    return None


def shrink(script: Script, *, runs: int = 600, find: Callable[[Script], Violation | None] = violation) -> Script:
    """The script with everything dropped that the violation can do without, as far as so many runs go.

    Dropping an item changes what the network draws later on, so any violation counts, not only the first one. The
    answer carries the text of its violation."""
    found = find(script)
    if found is None:
        return script
    kept = replace(script, found=str(found))
    size = max(1, len(script.items) // 2)
    while runs > 0:
        smaller, runs = _pass(kept, size, runs, find)
        if len(smaller.items) == len(kept.items) and size == 1:
            break
        size = max(1, min(size, len(smaller.items)) // 2)
        kept = smaller
    return _without_idle_devices(kept, find)


def _pass(script: Script, size: int, runs: int, find: Callable[[Script], Violation | None]) -> tuple[Script, int]:
    """Try to do without each part of this size."""
    place = 0
    while place < len(script.items) and runs > 0:
        items: list[Item] = [*script.items[:place], *script.items[place + size :]]
        found = find(replace(script, items=items))
        runs -= 1
        if found is None:
            place += size
        else:
            script = replace(script, items=items, found=str(found))
    return script, runs


def _without_idle_devices(script: Script, find: Callable[[Script], Violation | None]) -> Script:
    """The script without the devices that nothing is said of."""
    text = _encoder.encode(script.items).decode()
    devices = {d: user for d, user in script.devices.items() if f'"{d}"' in text or f'"{user}"' in text}
    found = find(replace(script, devices=devices))
    return replace(script, devices=devices, found=str(found)) if found is not None else script


def save(script: Script, folder: Path) -> Path:
    """Keep a script in a folder, under its kind and seed; answers with the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{script.kind}-{script.seed}.json"
    path.write_bytes(written(script))
    return path


def load(path: Path) -> Script:
    """A script that was kept. Raises ValueError for what is none."""
    return parsed(path.read_bytes())


def written(script: Script) -> bytes:
    """A script as a file has it, to be read by people, too."""
    return msgspec.json.format(_encoder.encode(script), indent=1) + b"\n"


def parsed(data: bytes) -> Script:
    """A script that was written. Raises ValueError for what is none."""
    try:
        script = msgspec.json.decode(data, type=Script)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"this is no script: {error}") from None
    script.check()
    return script


__all__ = ["load", "parsed", "save", "shrink", "violation", "written"]
