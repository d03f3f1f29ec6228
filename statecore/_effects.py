"""What a row does: the effects, a closed set of data."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

# Structs, not attrs classes: ten of those would take longer to make than all else that a flow is made of.

Target: TypeAlias = Literal["peers", "siblings", "others", "invited", "merged", "stale"]


class OpenMedia(Struct, frozen=True, gc=False):
    """The device opens its media; the leg is marked `joined`."""


class CloseMedia(Struct, frozen=True, gc=False):
    """The device closes its media, once."""


class Claim(Struct, frozen=True, gc=False):
    """Take the caller's line and the line of everyone invited."""


class Release(Struct, frozen=True, gc=False):
    """Free the user's line, unless another leg or an open invitation of the same user still holds it."""


class Tell(Struct, frozen=True, gc=False):
    """Tell the device's listeners. On a row that leads to another state."""

    event: str
    """The event; a listener's method is `on_` and this."""


class Fire(Struct, frozen=True, gc=False):
    """Send a trigger to other legs, before anything else happens to them."""

    trigger: str
    """The trigger."""
    at: Target
    """Which legs."""


class Mark(Struct, frozen=True, gc=False):
    """Set or clear a flag of the leg. Everyone in the session sees it."""

    flag: str
    """One of the flow's flags."""
    on: bool = True
    """Set or clear."""


class Retype(Struct, frozen=True, gc=False):
    """Change the type of the whole call."""

    type: Literal["audio", "video"]
    """The new type."""


class Answer(Struct, frozen=True, gc=False):
    """Settle the invitation of the leg's user, if there is one."""

    state: Literal["joined", "declined", "unanswered", "left"]
    """What became of it."""


class Invite(Struct, frozen=True, gc=False):
    """Ring a further user, who takes part in this call then: the one that the command's data names as `user`. Takes
    that user's line; each device rings by the flow's own trigger, for as long as the timer `ring` says."""


class Withdraw(Struct, frozen=True, gc=False):
    """Settle every invitation that is still open as unanswered. The legs that ring hear of it by a `Fire`."""


class Custom(Struct, frozen=True, gc=False):
    """Something of the application's own: the event `custom` with this name and data. On a row that leads to another
    state; what may change within one is a flag (`Mark`), which is told as `flag_changed`."""

    name: str
    """What it is."""
    data: str = ""
    """Anything, as text."""


Effect: TypeAlias = (
    OpenMedia | CloseMedia | Claim | Release | Tell | Fire | Mark | Retype | Answer | Custom | Invite | Withdraw
)
