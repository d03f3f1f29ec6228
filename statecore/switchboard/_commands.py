"""What goes into the switchboard's `step`, and what comes out."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from ..errors import TokenError
from ..model import NO_FLAGS
from ..ports import Key
from ..tokens import Claims
from ..wire import Ask, Command, Down, Free, Hello, Relay

# --- in: who, and what ------------------------------------------------------------------------------------------------


class Register(Struct, frozen=True, gc=False):
    """A user exists. Idempotent."""

    user: str
    """The user's id."""
    name: str = ""
    """A name to show; empty leaves it as it is."""
    capacity: int = 0
    """How many calls the user may be in at once before being busy; 0 leaves it as it is."""
    avatar: str = ""
    """The address of a picture; empty leaves it as it is."""


class Forget(Struct, frozen=True, gc=False):
    """A user is no more: their calls end, the line is deleted. Of a session only their part ends. Idempotent."""

    user: str
    """The user's id."""


class End(Struct, frozen=True, gc=False):
    """The application ends a call, by its id or a second name of it, whatever its people do. Idempotent."""

    session: str
    """The session id."""


class Connect(Struct, frozen=True, gc=False):
    """A device's link stands."""

    user: str
    """The user it speaks for."""
    hello: Hello
    """What it said."""
    guest: Claims | None = None
    """The verified claims of the call token that admitted it, if the user has not logged in."""


class Disconnect(Struct, frozen=True, gc=False):
    """A link broke. Stale if a newer connection took its place."""

    user: str
    device: str
    epoch: str
    conn: int


class Confirm(Struct, frozen=True, gc=False):
    """A device was heard of: its lease begins anew."""

    user: str
    device: str
    epoch: str
    sessions: dict[str, int] | None = None
    """The number of the last view it was sent of each session, so that it hears what it lacks; None to leave that."""


class Goodbye(Struct, frozen=True, gc=False):
    """A device goes for good."""

    user: str
    device: str
    epoch: str


class Act(Struct, frozen=True, gc=False):
    """A device's command for its leg."""

    user: str
    device: str
    epoch: str
    command: Command
    claims: Claims | None = None
    """The verified claims of the command's token."""
    token_error: TokenError | None = None
    """Why the token could not be verified."""
    given: frozenset[str] = NO_FLAGS
    """The application's own conditions that hold."""
    leeway: float = 0.0
    """How many seconds the clock of who issued the token may differ from this one."""
    guest: Claims | None = None
    """What admitted the device, as in `Connect`."""


class Route(Struct, frozen=True, gc=False):
    """A device's message for another participant."""

    user: str
    device: str
    epoch: str
    relay: Relay


class Negotiate(Struct, frozen=True, gc=False):
    """A device asks for an offer token, or frees it."""

    user: str
    device: str
    epoch: str
    wish: Ask | Free


class Due(Struct, frozen=True, gc=False):
    """A timer of a record may be due. Does nothing unless it is."""

    key: Key
    """("call", session id) or ("line", user id)."""


class Restart(Struct, frozen=True, gc=False):
    """The service was down: the downtime does not count against the leases of this user's devices."""

    user: str


Input = Register | Forget | End | Connect | Disconnect | Confirm | Goodbye | Act | Route | Negotiate | Due | Restart

# --- out --------------------------------------------------------------------------------------------------------------


class Deliver(Struct, frozen=True, gc=False):
    """A message for one device, to be sent after the commit. Dropped if the device has no connection: a view is sent
    again when it comes back."""

    user: str
    device: str
    epoch: str
    message: Down
    wants_token: bool = False
    """Whether the shell is to put a fresh call token into the view."""


class Need(Struct, frozen=True, gc=False):
    """These records are needed to decide: load them and ask again."""

    keys: tuple[Key, ...]


class Done(Struct, frozen=True, gc=False):
    """The decision: commit the writes if nothing that was read has changed, then carry out the effects."""

    writes: dict[Key, Any]
    """The new values; None deletes."""
    reads: tuple[Key, ...]
    """Every record the decision rests on, written or not."""
    effects: tuple[Deliver, ...]
    """What to send after the commit, in this order."""
