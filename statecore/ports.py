"""What statecore needs from the outside, as small protocols: media, signaling, store, bus, notifier, clock, ids.

An adapter implements one of them and is found by entry point (`statecore.media`, `statecore.signaling`,
`statecore.store`). Each port has a conformance suite in `statecore.testing` that every adapter passes, ours and other
people's. Nothing here imports asyncio: the async methods are only declared.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, get_args, runtime_checkable

import attrs

if TYPE_CHECKING:
    from .errors import MediaError
    from .model import Record
    from .settings import CallSettings, IceServers

# --- media ------------------------------------------------------------------------------------------------------------

Kind: TypeAlias = Literal["audio", "video", "screen"]
"""What a stream carries. A screen share is a second video stream."""


@attrs.frozen(kw_only=True)
class MediaPeer:
    """Another participant of the session with whom this one exchanges media."""

    pid: str
    """The participant's id in this session; never used again after the participant left."""
    uid: str
    """The user's id."""
    joined: int
    """The participant's place in the order of joining: of two, the one with the lower number makes the first offer."""


class MediaHost(Protocol):
    """What an open media session may ask of the session that drives it. Every method returns at once and may be
    called from any task of the loop, also after the end (then it does nothing)."""

    @property
    def session_id(self) -> str:
        """The session's id."""

    @property
    def pid(self) -> str:
        """This participant's own id; the same kind as `MediaPeer.pid`."""

    @property
    def joined(self) -> int:
        """This participant's own place in the order of joining."""

    @property
    def settings(self) -> CallSettings:
        """What the session was started with. Frozen."""

    @property
    def ice(self) -> IceServers:
        """What the service hands out to reach others by, as of now: read it for each new connection, as credentials
        expire. Meant for when neither the settings nor the adapter name servers."""

    def send(self, pid: str, kind: Literal["offer", "answer", "candidate"], body: str) -> None:
        """Send a piece of media signaling to one participant: delivered in order, at most once, lost with the link.

        An offer is carried only while this side holds the pair's offer token (see `ask`); an answer only in reply.
        """

    def ask(self, pid: str) -> None:
        """Ask for the pair's offer token. Answered, some time, by `MediaSession.granted(pid)`. Idempotent.

        Lost while the link is cut, like everything: ask again when the session is `resumed`."""

    def free(self, pid: str) -> None:
        """Give the pair's offer token back: the answer was applied, or there is nothing left to offer. Idempotent.

        A token not given back within 10 s is taken back; the other side may then get it."""

    def up(self) -> None:
        """Report that media can be exchanged with everyone who has joined (at once when alone). Idempotent."""

    def peer_connected(self, pid: str) -> None:
        """Report that media with one participant works, for the first time or again."""

    def peer_lost(self, pid: str) -> None:
        """Report that media with one participant stopped working; reported once per loss, without waiting."""

    def failed(self, error: MediaError) -> None:
        """Report that this media session cannot go on. Only the first report counts."""

    def fault(self, error: Exception) -> None:
        """Report something that went wrong but that the session survives; it reaches `on_error`."""


@attrs.frozen(kw_only=True, eq=False)
class AudioFrame:
    """A piece of sound."""

    samples: Any
    """An int16 NumPy array of shape (samples, channels)."""
    rate: int
    """Samples a second and channel."""
    time: float
    """Seconds since the stream's first frame, by the sender's timestamps."""


@attrs.frozen(kw_only=True, eq=False)
class VideoFrame:
    """A picture."""

    pixels: Any
    """A uint8 NumPy array of shape (height, width, 3), RGB."""
    time: float
    """Seconds since the stream's first frame, by the sender's timestamps."""


@attrs.frozen(kw_only=True)
class StreamStats:
    """Counters of one stream since it began. A counter that the adapter cannot know is None, never a guess."""

    pid: str
    """The other participant."""
    kind: Kind
    """What the stream carries."""
    direction: Literal["in", "out"]
    """From this participant's point of view."""
    packets: int
    """Packets sent or received."""
    bytes: int
    """Payload bytes sent or received."""
    lost: int | None = None
    """Packets lost, by the receiver's count."""
    jitter: float | None = None
    """Inter-arrival jitter in seconds."""
    round_trip: float | None = None
    """Round-trip time in seconds."""
    dropped_frames: int | None = None
    """Frames dropped because nobody took them from `audio()` or `video()` in time."""


Played: TypeAlias = Literal["ended", "replaced", "failed", "closed"]
"""How what was played came to its end: by itself, because something else is sent, by an error of the source (which
`on_error` is told), or with the session."""


@runtime_checkable
class MediaSession(Protocol):
    """One participant's media in one session. Made by `MediaAdapter.open`, used from one event loop.

    The session that drives it makes the synchronous calls in the order of events, and never after `close` began.
    """

    def set_peers(self, peers: Sequence[MediaPeer]) -> None:
        """Say who else has joined: the whole list, each time. Begin media with who is new, stop it with who is gone."""

    def receive(self, pid: str, kind: str, body: str) -> None:
        """Take a piece of media signaling that a participant sent with `MediaHost.send`."""

    def granted(self, pid: str) -> None:
        """The offer token of the pair with `pid` is this side's now: make an offer, or `free` it.

        While an offer has no answer yet, this is another turn: one of the two links was cut, so the offer or its answer
        may be lost. Make it again; who has answered it already answers the same."""

    def resumed(self) -> None:
        """This side's link to the service was cut and is back; what was on its way is lost. Negotiate again if in need;
        an offer that has no answer yet gets another turn by itself (see `granted`)."""

    async def set_enabled(self, kind: Literal["audio", "video"], enabled: bool) -> None:
        """Send the stream, or send nothing (mute, pause). Nothing of the source is captured while it is off and never
        was on. Turning video on for the first time in an audio call opens the camera and negotiates. Idempotent."""

    async def set_source(self, kind: Kind, source: Any) -> None:
        """Replace what is sent, without negotiating where possible. `screen`: a source starts, None stops the share.

        Raises SourceError if the source cannot be opened; what was sent before goes on."""

    def audio(self, pid: str) -> AsyncIterator[AudioFrame]:
        """The sound of one participant, frame by frame: bounded, drops the oldest and counts it. Ends with the
        participant or the session. Several readers each get every frame."""

    def video(self, pid: str, kind: Literal["video", "screen"] = "video") -> AsyncIterator[VideoFrame]:
        """The pictures of one participant; otherwise like `audio`."""

    async def stats(self) -> list[StreamStats]:
        """The counters of every stream, now."""

    async def close(self) -> None:
        """Release everything: devices, sockets, tasks, files. Called once by the session, in a shielded task with a
        deadline; safe at any moment, also while opening peers. Must not raise for what is already gone."""

    def abort(self) -> None:
        """Release whatever can be released at once, without waiting: the force path when `close` takes too long."""


@runtime_checkable
class TellsPlayed(Protocol):
    """What a `MediaSession` has besides if it knows when a source has come to its end."""

    async def played(self, kind: Kind) -> Played:
        """Wait until what is sent when this is called has come to its end, and say how. `ended`: of a sound the others
        have been sent the last, so that hanging up now cuts nothing off; the last pictures may still be under way. At
        once, if it has ended or there is none. While nothing of it may be sent (muted), or nobody is there, it need not
        go on. Safe to cancel."""


@runtime_checkable
class MediaAdapter(Protocol):
    """A way to exchange media. One adapter serves any number of sessions.

    One that acts on settings of a session which not every adapter acts on (`statecore.settings.UNKEPT`) names them in
    an attribute `heeds`; a session that is started with any other of them is refused."""

    async def open(self, host: MediaHost, *, audio: bool, video: bool) -> MediaSession:
        """Open local media: the microphone if `audio`, the camera if `video`. Returns once it can take peers.

        Raises MediaError (device, negotiation, connection, time-out) and leaves nothing open then; the same when it is
        cancelled."""


# --- signaling --------------------------------------------------------------------------------------------------------


class Channel(Protocol):
    """One live connection to the call service: whole messages, in order, at most once."""

    def send(self, message: bytes) -> None:
        """Queue a message; returns at once. Raises SignalingLost when the channel is closed."""

    async def receive(self) -> bytes:
        """The next message. Raises SignalingLost when the channel broke or was closed. Safe to cancel."""

    async def close(self) -> None:
        """Close. Idempotent."""


class Signaling(Protocol):
    """How one user's device reaches the call service, again and again."""

    @property
    def user(self) -> str:
        """The user's id."""

    @property
    def device(self) -> str | None:
        """The device's id if the application gave one; else the client makes one from its id source."""

    async def connect(self) -> Channel:
        """A new channel. Raises SignalingLost (worth another try), SignalingRefused, or a TokenError for a token that
        is not good (neither is). Safe to cancel."""


@runtime_checkable
class ProvidesIce(Protocol):
    """What a `Signaling` has besides if its service hands out STUN and TURN servers."""

    async def ice_servers(self) -> IceServers:
        """The servers for this user, with credentials that are good from now on. Raises SignalingError. Safe to
        cancel."""


IceSource: TypeAlias = "Callable[[str], IceServers | Awaitable[IceServers]]"
"""What a service is given to hand out STUN and TURN servers: takes a user's id. `TurnCredentials` is one."""

# --- store ------------------------------------------------------------------------------------------------------------

Key: TypeAlias = tuple[str, str]
"""What a record is kept under: (kind, id), for example ("call", session id) or ("line", user id)."""


EXPIRING: frozenset[str] = frozenset({"revoked", "bound"})
"""The kinds of records that are of use until a time: call tokens that are void, and the device that a guest's token is
good on."""


class Store(Protocol):
    """Versioned records with an all-or-nothing commit. Values are immutable: a `Record` for the kind "call", a `Line`
    for the kind "line", bytes for every other kind. Those of the kinds in `EXPIRING` begin with the digits of a time in
    Unix milliseconds, and a space if there is more: after it the record is of no use, and a store may forget it.

    A store may let go of a call that has ended, as if the call had been deleted: the key stays written, as the
    tombstone of an id that is never used again."""

    async def load(self, keys: Iterable[Key]) -> dict[Key, tuple[int, Any]]:
        """Each key with its version and value; (version, None) for a deleted key and (0, None) for one never written.

        All of one call are read at one instant."""

    async def commit(self, writes: Mapping[Key, tuple[int, Any]]) -> bool:
        """Write every value if every key still has the expected version, else write nothing and return False.

        A value of None deletes: the key keeps its version, which goes up by one with every write. A key that is
        written with the value it has (a check of the version only) is legal."""

    async def scan(self, kind: str) -> list[tuple[Key, Any]]:
        """Every live record of a kind, in the order of first writing."""


Place: TypeAlias = tuple[int, str]
"""Where a call stands in the log: when it was made, in Unix milliseconds, then its id."""


@runtime_checkable
class CallIndex(Protocol):
    """What a store may do besides, so that lists of calls take no longer however long the log is. Of a store that does
    not, everything is read for each of them.

    Calls are the records of the kind "call" but for those with `merged_into`, which are a second name of another."""

    async def find_calls(
        self, *, user: str | None, live: bool | None, above: Place, below: Place, newest: bool, limit: int | None
    ) -> list[Record]:
        """The first calls between two places, without these, the newest first or the oldest: of everybody, or of one of
        its `people`; whether they live or have ended, or those which do (`live`). `limit` of None is all of them."""

    async def count_live(self) -> int:
        """How many calls live."""


# --- bus --------------------------------------------------------------------------------------------------------------


class BusMember(Protocol):
    """One service's place on a bus."""

    def tell(self, message: bytes) -> None:
        """Send to every other member; returns at once and never raises. What one member tells arrives in order and at
        most once; after a failure it may not arrive, and then `lost` is called wherever it did not."""

    async def leave(self) -> None:
        """Hear nothing more, and tell nothing more. What was told before goes out. Idempotent."""


class Bus(Protocol):
    """How services that share a store tell each other what is of use to more than one of them: what a device is to hear
    that is connected to another, when something is due. Nothing on it is the truth, which stands in the store; but it
    holds call tokens' ids and what people say to each other, so nobody else is to read it or write to it."""

    async def join(self, heard: Callable[[bytes], None], lost: Callable[[], None]) -> BusMember:
        """Take part: `heard` is called with whatever another member tells from when this returns, and `lost` when some
        of that may have been missed, once it is heard again. Neither waits nor raises; both are called in the loop
        that joined. Raises OSError if the bus cannot be reached."""


# --- notices ----------------------------------------------------------------------------------------------------------

Change: TypeAlias = Literal[
    "ring", "stop", "initiated", "accepted", "started", "participant_joined", "participant_left", "ended"
]
"""What a notice tells. `ring` and `stop` are for the devices of a user that are not connected: they are to ring, and to
stop ringing. The others are the life of a call: made, accepted, active for the first time, who came and went, ended."""

WAKE_UPS: frozenset[Change] = frozenset({"ring", "stop"})
"""What devices that are not connected are woken up for."""
CHANGES: frozenset[Change] = frozenset(get_args(Change))
"""Everything there is to tell."""


@attrs.frozen(kw_only=True)
class Notice:
    """One change, for whoever is told from outside of a connection. Holds nothing secret.

    It may come twice, and later than a newer one: `id` and `sequence` are for the receiver to sort that out (`Newest`
    does)."""

    id: str
    """The idempotency key: the same however often it is sent, and no other has it."""
    sequence: int
    """Within a session, what has a higher number happened later."""
    what: Change
    """What changed."""
    session_id: str
    """The session's id."""
    type: str
    """Audio or video."""
    caller: str
    """The user who called, or who opened the session."""
    caller_name: str = ""
    """The caller's name to show."""
    receiver: str = ""
    """Whom it is called: of `ring` and `stop`, the user whose devices are meant; empty for a session."""
    user: str = ""
    """Who joined or left; else the same as `receiver`."""
    reason: str = ""
    """Why it ended, or why they stop ringing; a `Reason`."""
    at: float = 0.0
    """When it happened; Unix seconds, by the service's clock."""
    expires_at: float = 0.0
    """Until when it rings, likewise; 0 if it is not about ringing."""
    expires_in: float = 0.0
    """The same, as seconds from when it was given to be sent, and never less than 0."""


class Notifier(Protocol):
    """Sends notices: a push service, a webhook. Given to `CallService(notifier=...)`."""

    @property
    def wants(self) -> Collection[Change]:
        """What it is to be told."""

    async def notify(self, notice: Notice) -> None:
        """Send one, or give it up: in its own time, with its own retries, but not for ever. Those of one caller come
        one after the other, those of several side by side. Returning means that it was taken; an error is logged, and
        the notice is not given again. One that is cancelled here, or whose service dies, is given again by the next
        service on the store."""

    async def close(self) -> None:
        """Release everything. Called once, when the service closes."""


# --- what makes a run repeatable --------------------------------------------------------------------------------------


class Clock(Protocol):
    """The two times there are. They are never compared with each other."""

    def wall(self) -> int:
        """Unix time in integer milliseconds: the switchboard's time."""

    def monotonic(self) -> int:
        """Milliseconds of a clock that never goes back: an endpoint's time."""


class Ids(Protocol):
    """Where ids come from."""

    def __call__(self) -> str:
        """A new id that no other call has returned or will return, anywhere: 36 characters of a UUID by default."""
