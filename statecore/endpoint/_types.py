"""What goes into an endpoint's `step`, what comes out, and what an endpoint is."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from msgspec import Struct

from ..errors import StatecoreError
from ..model import NO_FLAGS, CallType, Reason, Role
from ..wire import Command, Down, Peer, Up, View, without_token

MediaState: TypeAlias = Literal["none", "wanted", "open", "closed"]

# --- state ------------------------------------------------------------------------------------------------------------


class Wait(Struct, frozen=True, gc=False):
    """Somebody awaits the outcome of a command."""

    ticket: int
    """Whose wait this is: settled exactly once."""
    goal: Literal["ringing", "joinable", "media", "heard"]
    """What must be reached."""
    n: int
    """The number of the command."""
    trigger: str
    """Its trigger."""
    due: int = 0
    """When the wait fails unless the service has heard the command; 0 once it has."""
    until: str = ""
    """A flag that must be off, too, once the command was heard: what it asked for is answered then."""


class Mail(Struct, frozen=True, gc=False):
    """A data message that its receiver has not acknowledged."""

    n: int
    """Its number for that receiver."""
    text: str
    """The message."""
    ticket: int = 0
    """Whose wait it is."""
    due: int = 0
    """When that wait fails."""


class Lane(Struct, frozen=True, gc=False):
    """The data messages to and from one participant."""

    said: int = 0
    """How many were sent there."""
    mails: tuple[Mail, ...] = ()
    """Those that are not acknowledged."""
    posted: int = 0
    """The number of the last one that went out, since what may be lost was to go out again."""
    due: int = 0
    """When they are to go out again, for want of an answer; 0 for never."""
    got: int = 0
    """How many were delivered here."""
    owes: bool = False
    """Whether the participant is to hear what was got."""
    asks: Literal["no", "due", "said"] = "no"
    """Whether what is missing is to be asked for, or was and has not come yet."""


class LocalLeg(Struct, frozen=True, gc=False):
    """This device's part in a call, as the device knows it."""

    session: str
    flow: str
    state: str
    role: Role = "callee"
    pid: str = ""
    type: CallType = "video"
    initiator: str = ""
    receiver: str = ""
    seq: int = 0
    flags: frozenset[str] = NO_FLAGS
    grants: frozenset[str] = NO_FLAGS
    joined: int = 0
    joined_at: int = 0
    peers: tuple[Peer, ...] = ()
    offers: dict[str, int] = {}
    reason: Reason | None = None
    by: str = ""
    by_device: str = ""
    at: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)
    age: int = 0
    metadata: str = ""
    token: str = ""
    owed: tuple[Command, ...] = ()
    """What was told the switchboard and may not have been heard, in its order: said again after every resume."""
    waits: tuple[Wait, ...] = ()
    """Who awaits what."""
    consent: frozenset[str] = NO_FLAGS
    """What this user agreed, in this call, that his device captures."""
    media: MediaState = "none"
    """Whether the user has asked for media, it was opened, and closed again."""
    reported: bool = False
    """Whether media was reported up."""
    lost: tuple[tuple[str, int, int], ...] = ()
    """Participants with whom media is lost: pid, since when, and how many stages that has passed."""
    idle: tuple[int, int] = (0, 0)
    """Milliseconds alone until the prompt, and from the prompt to the end; 0 disables."""
    alone_since: int = 0
    """Since when nobody else is there, 0 while somebody is; negative once the prompt was shown."""
    until: int = 0
    """When the session has lasted as long as its settings allow; 0 for never."""
    longest: int = 0
    """How long it may last, in milliseconds; 0 for ever."""
    lanes: dict[str, Lane] = {}
    """Data messages, by participant."""
    first: int = 0
    """The number of the command that began this leg here, 0 if it was rung: a view that knows less is of an old leg."""

    __repr__ = without_token


class Endpoint(Struct, frozen=True, gc=False):
    """One device, all its calls. Times are milliseconds of the device's monotonic clock."""

    user: str
    device: str
    epoch: str
    legs: dict[str, LocalLeg] = {}
    """By session id: live legs, and ended ones until the switchboard is known to know."""
    names: dict[str, str] = {}
    """Second names: the id of an own initiate that was merged, and the session it became."""
    tombs: dict[str, int] = {}
    """The last sessions that ended, and the number of the last view: bounded, so that a late ring does not ring."""
    older: dict[str, int] = {}
    """Those before them: as `tombs` was when it was full, so that a burial copies little."""
    held: dict[str, View] = {}
    """Rings of whom the user is calling himself, by session: not shown until it is decided whether the two are one."""
    avatar: str = ""
    """The address of the user's picture, as the service has it."""
    conn: int = 0
    """The number of the newest connection."""
    online: bool = False
    """Whether the service has welcomed that connection."""
    n: int = 0
    """The number of the last command."""
    confirmed: int = 0
    """When the service was last heard of."""
    beat_due: int = 0
    """When the next heartbeat is due."""
    heartbeat: int = 15_000
    """How often to beat, as the service says."""
    lease: int = 45_000
    """How long to believe in calls without word from the service, as the service says."""
    rate: int = 200
    """How many messages a second the service takes, as it says."""
    paced: int = 0
    """Until when, in microseconds, what went out of data messages counts."""
    ahead: int = 0
    """What to add to this clock for the service's Unix time, by its last view; before one came, for the device's own.
    Only to tell people when something ended."""

    def tomb(self, session: str) -> int | None:
        """The number of the last view of a session that has ended, if this device remembers it."""
        seq = self.tombs.get(session)
        return self.older.get(session) if seq is None else seq


# --- in ---------------------------------------------------------------------------------------------------------------


class Do(Struct, frozen=True, gc=False):
    """The user wants something of a call."""

    session: str
    trigger: str
    ticket: int = 0
    """Settled exactly once with the outcome; 0 if nobody waits."""
    flow: str = ""
    """Which flow, where this makes the call."""
    receiver: str = ""
    type: CallType = "video"
    timeout: int = 0
    metadata: str = ""
    token: str = ""
    flags: frozenset[str] = NO_FLAGS
    consent: frozenset[str] | None = None
    """What capture is agreed to, if less than the trigger says."""
    idle: tuple[int, int] = (0, 0)
    longest: int = 0
    data: dict[str, Any] | None = None
    until: str = ""
    """A flag of this leg that stands while others are asked: the outcome is that it is off again."""


class Await(Struct, frozen=True, gc=False):
    """Somebody wants to know when the call is accepted."""

    session: str
    ticket: int


class Say(Struct, frozen=True, gc=False):
    """The user sends a data message."""

    session: str
    text: str
    to: str = ""
    """A participant's pid; empty for everyone who has joined."""
    ticket: int = 0


class LinkUp(Struct, frozen=True, gc=False):
    """A connection stands: say hello."""

    name: str = ""
    flows: dict[str, str] = {}
    wall: int = 0
    """The device's own Unix time in milliseconds, if it has one."""


class LinkDown(Struct, frozen=True, gc=False):
    """The connection broke."""


class Received(Struct, frozen=True, gc=False):
    """A message came."""

    message: Down


class Media(Struct, frozen=True, gc=False):
    """What the media session reports."""

    session: str
    what: Literal["up", "failed", "peer_connected", "peer_lost"]
    pid: str = ""


class Signal(Struct, frozen=True, gc=False):
    """What the media session wants said."""

    session: str
    message: Up


class Tick(Struct, frozen=True, gc=False):
    """Time has passed."""


Input = Do | Await | Say | LinkUp | LinkDown | Received | Media | Signal | Tick

# --- out --------------------------------------------------------------------------------------------------------------


class Send(Struct, frozen=True, gc=False):
    """Say this to the switchboard, if there is a link; lost otherwise."""

    message: Up


class Emit(Struct, frozen=True, gc=False):
    """Tell the listeners."""

    event: str
    leg: LocalLeg | None = None
    """The leg as it stood then; None for what concerns the device."""
    peer: Peer | None = None
    """The participant concerned."""
    value: Any = None
    """Anything else."""


class OpenMedia(Struct, frozen=True, gc=False):
    """Open media for this leg, now."""

    session: str
    capture: frozenset[str]
    """What to capture from the beginning: audio, video."""


class CloseMedia(Struct, frozen=True, gc=False):
    """Close media of this leg, now and once."""

    session: str


class Drive(Struct, frozen=True, gc=False):
    """Tell the open media session: `peers`, `granted`, `receive`, `resumed` or `capture`."""

    session: str
    what: Literal["peers", "granted", "receive", "resumed", "capture"]
    args: tuple[Any, ...] = ()


class Settle(Struct, frozen=True, gc=False):
    """The outcome of a wait."""

    ticket: int
    leg: LocalLeg | None = None
    error: StatecoreError | None = None


class Reply(Struct, frozen=True, gc=False):
    """The answer to a `TokenRequest`."""

    n: int
    token: str = ""
    error: StatecoreError | None = None


Effect = Send | Emit | OpenMedia | CloseMedia | Drive | Settle | Reply
