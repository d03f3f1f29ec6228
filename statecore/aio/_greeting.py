"""What a device says first, looked at before anything is decided about it."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import InvalidArgument, SignalingRefused, UnsupportedVersion
from ..settings import ServiceSettings
from ..switchboard import check_id
from ..wire import Hello

_RUNG = 1_000
"""In how many more calls a device may have a part than its user begins or joins: in those that ring it. A line takes a
hundred at the most, so there is room for what was begun while a service allowed more, and for word of ends that is
still owed."""
_SHOWN = 8
"""How much of a flow's hash says which it is."""


def check_hello(hello: Hello, hashes: Mapping[str, str], settings: ServiceSettings) -> None:
    """Raises UnsupportedVersion if the device holds another flow under a name of this service's, SignalingRefused for
    what no device of ours says."""
    for name, theirs in hello.flows.items():
        ours = hashes.get(name, theirs)
        if ours != theirs:
            raise UnsupportedVersion(theirs=f"{name} {theirs[:_SHOWN]}", ours=f"{name} {ours[:_SHOWN]}")
    try:
        check_id("device", hello.device)
    except InvalidArgument as error:
        raise SignalingRefused(why=str(error)) from None
    most = settings.sessions_per_user + _RUNG  # each is looked up
    if len(hello.sessions) > most:
        raise SignalingRefused(why=f"a hello names {len(hello.sessions)} sessions, more than {most}")


__all__ = ["check_hello"]
