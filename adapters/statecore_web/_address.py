"""Where a request goes: below what the application is mounted, and to which part of it."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote, unquote

from ._socket import Scope


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
    written = scope.get("raw_path", b"").decode("latin-1").partition("?")[0].split("/")
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
    """A part of a path that has no slash in it, whatever it is; `unquote` gives it back."""
    return part.replace("%", "%25").replace("/", "%2F")


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name]


__all__ = ["Address", "address", "escaped", "path_below"]
