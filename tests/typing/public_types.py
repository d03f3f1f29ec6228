"""A user's program, as `mypy --strict` sees it: what every call gives, and what must be refused. It is never run.

Each `type: ignore` here stands for a mistake that the types must find; one that finds nothing is an error itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, assert_type

from statecore import (
    RINGING,
    SESSION,
    Call,
    CallClient,
    CallListener,
    CallService,
    CallSettings,
    CallSettingsBuilder,
    EndReason,
    Flow,
    IceServer,
    IceServers,
    MemoryLink,
    Newest,
    OngoingCallListener,
    Participant,
    Reason,
    ServiceSettings,
    Session,
    StatecoreError,
    Status,
    Timers,
    TurnCredentials,
    User,
    join_session,
)
from statecore.errors import CallDeclined, CommandTimeout, UserBusy
from statecore.flow import FLOWS, Custom, Fire, Mark, Row, Trigger
from statecore.listeners import Registration
from statecore.ports import (
    WAKE_UPS,
    AudioFrame,
    Channel,
    Clock,
    Ids,
    Key,
    MediaAdapter,
    MediaHost,
    MediaSession,
    Notice,
    Notifier,
    Played,
    Signaling,
    Store,
    StreamStats,
    VideoFrame,
)
from statecore.testing import FakeMedia, RefusingStore, SlowStore, VirtualClock
from statecore.tokens import JwtSigner, Keys, RevocationList, Role, TokenSigner
from statecore_web import Webhook, verify_webhook

# --- a call, the long way ---------------------------------------------------------------------------------------------


async def calls(media: MediaAdapter) -> None:
    """Ring, wait, join, act, end."""
    async with CallService(settings=ServiceSettings()) as service:
        assert_type(service, CallService)
        link = service.signaling("alice", "phone", name="Alice")
        assert_type(link, MemoryLink)
        async with CallClient(link, media, timers=Timers(ring=30.0)) as client:
            assert_type(client, CallClient)
            assert_type(client.user, User)
            assert_type(client.connected, bool)
            call = await client.initiate_call("bob", type="audio", timeout=20, metadata={"about": 1})
            assert_type(call, Call)
            assert_type(call.status, Status)
            assert_type(call.end_reason, EndReason | None)
            assert_type(call.participants, tuple[Participant, ...])
            assert_type(await call.answered(), Call)
            assert_type(client.active_call, Call | None)
            assert_type(client.calls, list[Call])
            assert_type(await client.accept_call(call.session_id), Call)
            token = await client.generate_token(call.session_id)
            assert_type(token, str)
            session = await client.start_session(token, CallSettings(type="audio"), title="Lunch")
            await acting(session)
            assert_type(await session.wait_ended(), EndReason)
            await client.cancel_call(call.session_id)
        assert_type(await service.call_log(), list[Any])  # type: ignore[assert-type]  # they are calls, not anything
        assert_type(service.revocations, RevocationList)
        assert_type(await service.generate_token("alice", "room", role=Role.HOST), str)


class Push:
    """A notifier, as an application writes one."""

    wants = WAKE_UPS

    async def notify(self, notice: Notice) -> None:
        """Look at it."""
        assert_type(notice.expires_in, float)
        assert_type(Newest().take(notice), bool)

    async def close(self) -> None:
        """Nothing."""


def noticed() -> Iterator[Notifier]:
    """Both are notifiers."""
    yield Push()
    yield Webhook("https://a.example.org", b"a secret of the two")
    assert_type(CallService(notifier=Push()), CallService)
    assert_type(verify_webhook("secret", "t=1,v1=00", b""), Notice)


async def acting(session: Session) -> None:
    """What a session does and gives."""
    assert_type(session, Session)
    assert_type(session.participants, tuple[Participant, ...])
    assert_type(session.end_reason, EndReason | None)
    assert_type(session.error, StatecoreError | None)
    assert_type(session.call, Call)
    assert_type(await session.stats(), list[StreamStats])
    async for frame in session.audio("bob"):
        assert_type(frame, AudioFrame)
    async for picture in session.video("bob", "screen"):
        assert_type(picture, VideoFrame)
    assert_type(session.add_audio_sink("bob", lambda frame: assert_type(frame, AudioFrame)), Registration)
    assert_type(session.add_video_sink("bob", lambda frame: assert_type(frame, VideoFrame), "screen"), Registration)
    assert_type(await session.play("hello.wav", wait=True), Played | None)
    await session.send_message({"anything": [1, None]}, to="bob")
    await session.trigger("park", minutes=5)
    session.set_layout("spotlight")


async def mistakes(client: CallClient, session: Session) -> None:
    """What a reader of the signatures would not write, and mypy does not let through."""
    await client.initiate_call("bob", type="hologram")  # type: ignore[arg-type]
    await client.initiate_call(42)  # type: ignore[arg-type]
    await client.initiate_call("bob", "audio")  # type: ignore[call-arg]
    await client.start_session(token=None)  # type: ignore[arg-type]
    await session.play("hello.wav", "screen")  # type: ignore[arg-type]
    session.set_layout("pile")  # type: ignore[arg-type]
    session.participants = ()  # type: ignore[misc]
    CallSettings(type="hologram")  # type: ignore[arg-type]
    CallSettings("video")  # type: ignore[call-arg]
    CallSettings(no_such_setting=True)  # type: ignore[call-arg]
    CallSettings().title = "frozen"  # type: ignore[misc]
    client.answer()  # type: ignore[attr-defined]


# --- the short ways ---------------------------------------------------------------------------------------------------


async def short_ways(client: CallClient, link: Signaling, media: MediaAdapter) -> None:
    """Each gives a session."""
    async with client.call("bob", type="video", settings=CallSettings(audio_only=True)) as session:
        assert_type(session, Session)
    async with join_session(link, "token", media, title="Lunch") as session:
        assert_type(session, Session)

    async def handler(call: Call) -> None:
        async with call.answer(CallSettings()) as answered:
            assert_type(answered, Session)

    await client.serve(handler, limit=5)

    def not_awaitable(call: Call) -> None: ...

    await client.serve(not_awaitable)  # type: ignore[arg-type]


# --- listeners --------------------------------------------------------------------------------------------------------


class Phone(CallListener):
    """A listener as a class."""

    def on_incoming_call_received(self, call: Call) -> None:
        """Sync."""

    async def on_call_ended_message_received(self, call: Call) -> None:
        """Or async."""


def listeners(client: CallClient, session: Session) -> None:
    """By id, by event, as a class or as functions."""

    def ring(call: Call) -> None:
        assert_type(call, Call)

    with client.add_call_listener("app", CallListener(on_incoming_call_received=ring)) as registration:
        assert_type(registration, Registration)
    client.add_call_listener("phone", Phone(), snapshot=True)
    assert_type(client.remove_call_listener("app"), bool)
    assert_type(session.on("user_joined", print), Registration)
    session.add_call_event_listener("ui", OngoingCallListener(on_user_joined=print))
    CallListener(on_user_joined=print)  # type: ignore[call-arg]  # that is a session's event
    CallListener(on_incoming_call_received=42)  # type: ignore[arg-type]


# --- settings and errors ----------------------------------------------------------------------------------------------


def settings() -> None:
    """The keyword form and the chained form."""
    assert_type(TurnCredentials(turn="turn:a.example.org", secret="s")("alice"), IceServers)
    assert_type(CallSettings(ice_servers=[IceServer(urls=["stun:example.org"])]), CallSettings)
    assert_type(CallSettingsBuilder().set_title("Lunch").set_type("audio").build(), CallSettings)


async def errors(client: CallClient) -> None:
    """One root; those that carry a call say so."""
    try:
        await client.initiate_call("bob")
    except UserBusy as error:
        assert_type(error.code, str)
        assert_type(error.retryable, bool)
        declined: CallDeclined = error
        raise declined from None
    except CommandTimeout as error:
        root: StatecoreError = error
        raise root from None


# --- adapters of one's own --------------------------------------------------------------------------------------------


class MyChannel:
    """A `Channel`."""

    def send(self, message: bytes) -> None:
        """Send."""

    async def receive(self) -> bytes:
        """Receive."""
        return b""

    async def close(self) -> None:
        """Close."""


class MyLink:
    """A `Signaling`."""

    user = "alice"
    device: str | None = None

    async def connect(self) -> MyChannel:
        """Connect."""
        return MyChannel()


class MyStore:
    """A `Store`."""

    async def load(self, keys: Iterable[Key]) -> dict[Key, tuple[int, Any]]:
        """Load."""
        return dict.fromkeys(keys, (0, None))

    async def commit(self, writes: Mapping[Key, tuple[int, Any]]) -> bool:
        """Commit."""
        return bool(writes)

    async def scan(self, kind: str) -> list[tuple[Key, Any]]:
        """Scan."""
        return [((kind, ""), None)]


class MyMedia:
    """A `MediaAdapter` around another."""

    def __init__(self, inner: MediaAdapter) -> None:
        self.inner = inner

    async def open(self, host: MediaHost, *, audio: bool, video: bool) -> MediaSession:
        """Open."""
        assert_type(host.settings, CallSettings)
        return await self.inner.open(host, audio=audio, video=video)


class HalfAStore:
    """No `Store`: it does not scan."""

    async def load(self, keys: Iterable[Key]) -> dict[Key, tuple[int, Any]]:
        """Load."""
        return dict.fromkeys(keys, (0, None))


def adapters(clock: Clock, ids: Ids, signer: TokenSigner) -> None:
    """Whatever has the port's methods will do, ours and a user's; what lacks one will not."""
    channel: Channel = MyChannel()
    link: Signaling = MyLink()
    store: Store = MyStore()
    media: MediaAdapter = MyMedia(FakeMedia())
    assert_type(CallClient(link, media, clock=clock, ids=ids), CallClient)
    CallService(store=store, clock=clock, ids=ids, signer=signer).serve(channel, "alice")
    CallService(store=SlowStore(RefusingStore(store)), clock=VirtualClock(), signer=JwtSigner(Keys("k1", b"k" * 32)))
    CallService(store=HalfAStore())  # type: ignore[arg-type]
    CallClient(MyChannel(), media)  # type: ignore[arg-type]
    CallClient(link, MyStore())  # type: ignore[arg-type]


async def frames(source: AsyncIterator[AudioFrame]) -> AsyncIterator[AudioFrame]:
    """A source of one's own, from another."""
    async for frame in source:
        assert_type(frame.rate, int)
        yield AudioFrame(samples=frame.samples, rate=frame.rate, time=frame.time)


# --- a flow of one's own ----------------------------------------------------------------------------------------------


def flows() -> Mapping[str, Flow]:
    """Rows, triggers and effects are typed; the result is what client and service take."""
    flow = RINGING.extend(
        "hold",
        triggers=[Trigger("hold", "user", "wait")],
        flags=["holding"],
        rows=[Row("active", "hold", "active", [Mark("holding"), Fire("hold", "others")])],
    )
    Row("active", "hold", "held", [Custom("held")])
    assert_type(flow, Flow)
    assert_type(flow.hash, str)
    Trigger("hold", "somebody")  # type: ignore[arg-type]
    Row("active", "hold", "active", ["mark"])  # type: ignore[list-item]
    Row("active", "hold", "ended", reason="bored")  # type: ignore[arg-type]
    Row("active", "hold", "ended", reason=Reason.HANGUP)
    return {**FLOWS, flow.name: flow, SESSION.name: SESSION}
