"""What options take, and what is wrong with what they were given."""

from __future__ import annotations

import argparse
import math
import tempfile
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from ..errors import InvalidArgument

DAY = 86_400.0


def whole(low: int, high: int) -> Callable[[str], int]:
    """A whole number within bounds."""

    def kind(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise ArgumentTypeError(f"{text!r} is no whole number from {low} to {high}")
        return value

    return kind


def number(high: float, unit: str, low: float = 0.0) -> Callable[[str], float]:
    """A number of some unit: more than `low`, and `high` at the most."""

    def kind(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low < value <= high:
            raise ArgumentTypeError(f"{text!r} is no number of {unit}, more than {low:g} and at most {high:g}")
        return value

    return kind


port = whole(0, 65_535)
"""Where to listen; 0 takes a free one."""


def path(text: str) -> Path:
    """A file or a directory."""
    if not text.strip():
        raise ArgumentTypeError("it is empty: say what it is, or leave it out")
    return Path(text)


def secret(text: str) -> str:
    """A token or a key, without the white space around it: what is wrong is said, and never what it is."""
    text = text.strip()
    if not all("!" <= letter <= "~" for letter in text):
        raise ArgumentTypeError("it has characters that no token and no key has: white space, or such as é")
    return text


def address(text: str) -> str:
    """Where a service is, over HTTP. A password in it would be shown."""
    text = text.strip()
    try:
        parts = urlsplit(text)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        more = parts.query or parts.fragment or parts.username is not None or parts.password is not None
    except ValueError:  # of a port, or of brackets
        fits, more = False, False
    if not fits or any(letter.isspace() or not letter.isprintable() for letter in text):
        raise ArgumentTypeError("a service's address is http://HOST, http://HOST:PORT, or the same with https:")
    if more:
        raise ArgumentTypeError("a service's address has no query, fragment, user or password")
    return text.rstrip("/")


def check_given(args: argparse.Namespace, *may_be_empty: str, **words: str) -> None:
    """An option that is there and says nothing, as of a variable that is not set, is a mistake: its default may be less
    safe than what was meant. What is not named like its option is named by `words`. Raises InvalidArgument."""
    for name, value in vars(args).items():
        said = value if isinstance(value, list) else [value]
        if name not in may_be_empty and any(isinstance(each, str) and not each.strip() for each in said):
            word = words.get(name, f"--{name.replace('_', '-')}")
            where = ", or the variable STATECORE_API_KEY" if name == "api_key" else ""
            raise InvalidArgument(f"{word}{where} is empty: say what it is, or leave it out", name=name)


def check_needed(args: argparse.Namespace, **needs: str) -> None:
    """What does nothing without something else is there by mistake. Raises InvalidArgument."""
    for name, need in needs.items():
        if getattr(args, name) is not None and not getattr(args, need):
            option = name.replace("_", "-")
            raise InvalidArgument(f"--{option} does nothing without --{need}", name=option)


def openable(path: str | Path, option: str, mode: Literal["rb", "ab"] = "rb") -> None:
    """Raises InvalidArgument, with what it is, for a file that cannot be read, or be written."""
    try:
        with Path(path).open(mode):
            pass
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"--{option} {str(path)!r} cannot be opened: {_why(error)}", name=option) from None


def writable(folder: Path, option: str) -> None:
    """Make a directory if it is missing. Raises InvalidArgument, with what it is, if nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:
        why = f"--{option}: nothing can be written to {str(folder)!r}: {_why(error)}"
        raise InvalidArgument(why, name=option) from None


def output(path: Path, option: str) -> None:
    """Raises InvalidArgument, with what it is, for a file that cannot be written, before there is what to write."""
    if path.exists():
        openable(path, option, "ab")
    else:
        writable(path.parent, option)


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
