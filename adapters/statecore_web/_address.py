"""Where a request goes, below what the application is mounted and to which part of it; and where pages are from."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

from statecore.errors import InvalidArgument

from ._socket import Scope

_LONGEST = 129
"""One character more than an id may have."""
_PORTS = {"http": 80, "https": 443}


class Address(NamedTuple):
    """A place in an application that may stand below a path."""

    mount: str
    """The path that it stands below, as a client writes it; empty if below none."""
    parts: tuple[str, ...]
    """The parts of the path below that. A part may have a slash in it, as ids may: it was written `%2F`."""


def path_below(scope: Scope) -> str:
    """The path below where the application is mounted. Frameworks differ in whether they leave the path whole, and in
    how it ends."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return (path[len(root) :] if root and path.startswith(root) else path).rstrip("/")


def address(scope: Scope) -> Address:
    """Where a request goes. The path that is told has `%2F` as a slash: what was written is looked up beside it, from
    its end, as frameworks take away from the beginning of the one and not of the other. A server that does not tell
    what was written cannot be asked for an id with a slash."""
    told, root = _names(path_below(scope)), str(scope.get("root_path", "")).rstrip("/")
    written = (scope.get("raw_path") or b"").decode("latin-1").partition("?")[0].split("/")
    place, names = len(written), 0
    while names < len(told) and place > 0:
        place -= 1
        names += len(_names(unquote(written[place])))
    parts = [unquote(part) for part in written[place:]]
    mount = "/".join(written[:place]).rstrip("/")
    if _names("/".join(parts)) != told:
        return Address(quote(root), tuple(told))
    return Address(mount if unquote(mount).startswith(root) else quote(root) + mount, tuple(parts))


def escaped(part: str) -> str:
    """A part of a path that has no slash in it, whatever it is; `unquote` gives it back, unless it is longer than what
    anything is called: the framework remembers a thousand paths that anybody has asked for."""
    return part[:_LONGEST].replace("%", "%25").replace("/", "%2F")


def origin(text: str) -> str:
    """A web origin as browsers say it: scheme, host, and the port unless it is the scheme's own. Raises InvalidArgument
    for what no browser says, which would let nobody in."""
    with suppress(ValueError):  # of a host or port that is none
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
        bare = parts.path in ("", "/") and not (parts.query or parts.fragment) and parts.username is None
        if bare and parts.scheme and host and text.isascii() and text.isprintable() and " " not in text:
            named = f"[{host}]" if ":" in host else host
            return f"{parts.scheme}://{named}" + (f":{port}" if port not in (None, _PORTS.get(parts.scheme)) else "")
    if text == "null":  # of a page that was read from a file
        return text
    raise InvalidArgument(f"{text!r} is no web origin: write it as https://example.org", name="origins")


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name]


__all__ = ["Address", "address", "escaped", "origin", "path_below"]
