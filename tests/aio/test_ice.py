"""STUN and TURN servers that a service hands out: how they are made, and how a device keeps them fresh."""

from __future__ import annotations

import asyncio
import hmac
import logging
from base64 import b64decode
from typing import Any

import pytest

from statecore import CallClient, CallService, IceServer, IceServers, MemoryLink, TurnCredentials
from statecore.errors import BlankId, InvalidSettings, SignalingLost
from statecore.ports import MediaHost
from statecore.testing import FakeMedia, VirtualClock, run_virtual

URLS = {"turn": ["turn:turn.example.org:3478"], "stun": "stun:turn.example.org:3478"}


def test_credentials_are_those_of_a_shared_secret() -> None:
    """The name is the time of expiry and the user, the password its HMAC-SHA1 in Base64; another user has another."""
    made = TurnCredentials(**URLS, secret="s3cret", ttl=600, now=lambda: 1_000.7)  # type: ignore[arg-type]
    ice = made("alice")
    stun, turn = ice.servers
    assert (stun.urls, stun.username, stun.credential) == (("stun:turn.example.org:3478",), None, None)
    assert (turn.urls, turn.username) == (("turn:turn.example.org:3478",), "1600:alice")
    assert turn.credential is not None
    assert b64decode(turn.credential) == hmac.digest(b"s3cret", b"1600:alice", "sha1")
    assert (ice.lifetime, ice.policy) == (600, "all")
    assert made("bob").servers[1].credential != turn.credential


def test_stun_alone_is_good_for_ever() -> None:
    """Without a TURN server there is no secret, no name, and no end."""
    ice = TurnCredentials(stun=["stun:a.example.org", "stuns:b.example.org"])("alice")
    assert ice == IceServers(servers=[IceServer(urls=["stun:a.example.org", "stuns:b.example.org"])])
    assert TurnCredentials(turn="turn:a.example.org", secret=b"s", policy="relay")("alice").policy == "relay"


@pytest.mark.parametrize(
    "wrong",
    [
        {"turn": "turn:a.example.org"},
        {"turn": "stun:a.example.org", "secret": "hunter2"},
        {"stun": "turn:a.example.org", "secret": "hunter2"},
        {"stun": "stun:a.example.org", "policy": "relay", "secret": "hunter2"},
        {"stun": "stun:a.example.org", "policy": "some", "secret": "hunter2"},
        {"turn": "turn:a.example.org", "secret": "hunter2", "ttl": 0},
        *({"turn": "turn:a.example.org", "secret": "hunter2", "ttl": ttl} for ttl in (float("nan"), 1e300, True)),
        {"turn": "turn:a.example.org", "secret": " \n"},
        {"stun": "stun:"},
        {"stun": "stun:a .example.org"},
        {"turn": "turn:?transport=udp", "secret": "hunter2"},
    ],
)
def test_what_cannot_work_is_refused_when_it_is_made(wrong: dict[str, Any]) -> None:
    """A TURN server without a secret, an address of the wrong kind, only a relay without one: an error that shows no
    secret."""
    with pytest.raises(InvalidSettings) as caught:
        TurnCredentials(**wrong)
    assert "hunter2" not in f"{caught.value!r} {caught.value} {caught.value.data}"


def test_a_secret_never_shows() -> None:
    """Neither the shared secret nor a password that was made of it stands in a repr."""
    made = TurnCredentials(turn="turn:a.example.org", secret="hunter2")
    password = made("alice").servers[0].credential
    assert password is not None
    assert "hunter2" not in repr(made)
    assert password not in repr(made("alice"))


class Sees(FakeMedia):
    """Media that keeps its hosts."""

    def __init__(self) -> None:
        super().__init__()
        self.hosts: list[MediaHost] = []

    async def open(self, host: MediaHost, **more: Any) -> Any:
        """Open, and keep the host and the name it may use first."""
        self.hosts.append(host)
        return await super().open(host, **more)

    def name(self) -> str | None:
        """The name for the first server, as of now."""
        return self.hosts[0].ice.servers[0].username


class Source:
    """A service's source of servers, that can fail or hang."""

    def __init__(self, ttl: float | None = 100.0) -> None:
        self.asked = 0
        self.ttl = ttl
        self.error: Exception | None = None
        self.answers = asyncio.Event()
        self.answers.set()

    async def __call__(self, user: str) -> IceServers:
        """The servers, numbered."""
        self.asked += 1
        await self.answers.wait()
        if self.error is not None:
            raise self.error
        server = IceServer(urls="turn:a.example.org", username=f"{user} {self.asked}", credential="c")
        return IceServers(servers=[server], lifetime=self.ttl)


def _client(link: Any, media: FakeMedia | None) -> CallClient:
    return CallClient(link, media, clock=VirtualClock(), jitter=lambda: 0.0)


async def _session(client: CallClient, service: CallService, **more: Any) -> Any:
    token = await service.generate_token("alice", "room")
    return await client.start_session(token, type="audio", start_audio_muted=True, idle_timeout=None, **more)


def test_media_has_what_the_service_hands_out_and_it_is_kept_fresh() -> None:
    """Media opens with servers for its user, and finds new ones there before the old ones expire, as long as needed."""

    async def main() -> None:
        source, media = Source(), Sees()
        async with CallService(ice=source, clock=VirtualClock()) as service:
            async with _client(service.signaling("alice"), media) as client:
                await _session(client, service)
                assert media.name() == "alice 1"
                await asyncio.sleep(51)
                assert media.name() == "alice 2"
                await asyncio.sleep(100)
                assert media.name() == "alice 4"
            asked = source.asked
            await asyncio.sleep(100)
            assert source.asked == asked

    run_virtual(main())


def test_nothing_is_asked_in_vain() -> None:
    """Not without media, not of a service without servers, not again for what is good for ever and still stands; a
    session that names servers waits for nothing."""

    async def main() -> None:
        source, media = Source(ttl=None), Sees()
        async with CallService(ice=source, clock=VirtualClock()) as service:
            async with _client(service.signaling("alice"), None):
                assert source.asked == 0
            source.answers.clear()
            async with _client(service.signaling("alice"), media) as client:
                began = asyncio.get_running_loop().time()
                await _session(client, service, ice_servers=[IceServer(urls="stun:b.example.org")])
                assert asyncio.get_running_loop().time() - began < 1
                source.answers.set()
                await asyncio.sleep(100)
                assert (source.asked, media.name()) == (1, "alice 1")
        async with CallService(clock=VirtualClock()) as service:
            assert await service.ice_servers("alice") == IceServers()
            with pytest.raises(BlankId):
                await service.ice_servers(" ")
            async with _client(service.signaling("alice"), Sees()) as client:
                assert [task.get_name() for task in asyncio.all_tasks() if "ice" in task.get_name().split()] == []

    run_virtual(main())


def test_a_source_that_hangs_delays_media_for_three_seconds() -> None:
    """Media opens without servers then, and has them as soon as they come."""

    async def main() -> None:
        source, media = Source(), Sees()
        source.answers.clear()
        service = CallService(ice=source, clock=VirtualClock())
        async with service, _client(service.signaling("alice"), media) as client:
            began = asyncio.get_running_loop().time()
            await _session(client, service)
            assert 2.9 < asyncio.get_running_loop().time() - began < 3.5
            assert media.hosts[0].ice == IceServers()
            source.answers.set()
            await asyncio.sleep(0.1)
            assert media.name() == "alice 1"

    run_virtual(main())


def test_a_source_that_fails_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    """After a while, more and more slowly, and at once when the link is made anew; what was had before stays."""

    async def main() -> None:
        source, media = Source(), Sees()
        async with CallService(ice=source, clock=VirtualClock()) as service:
            link = service.signaling("alice")
            async with _client(link, media) as client:
                await _session(client, service)
                source.error = SignalingLost("not now")
                await asyncio.sleep(50 + 1 + 2 + 5 + 15 + 60 + 60 + 1)
                assert source.asked == 1 + 7
                assert media.name() == "alice 1"
                source.error = None
                link.drop()
                await asyncio.sleep(1)
                assert media.name() == "alice 9"
                link.drop()  # what is being kept fresh is not asked for again
                await asyncio.sleep(1)
                assert source.asked == 9

    with caplog.at_level(logging.WARNING, "statecore.client"):
        run_virtual(main())
    assert sum("STUN and TURN" in record.message for record in caplog.records) == 7


def test_what_is_good_for_ever_is_asked_for_with_each_connection() -> None:
    """A service that was started again with other servers is noticed."""

    async def main() -> None:
        source, media = Source(ttl=None), Sees()
        async with CallService(ice=source, clock=VirtualClock()) as service:
            link = service.signaling("alice")
            async with _client(link, media) as client:
                await _session(client, service)
                link.drop()
                await asyncio.sleep(1)
                assert media.name() == "alice 2"

    run_virtual(main())


def test_who_has_lost_the_device_for_good_asks_no_more(caplog: pytest.LogCaptureFixture) -> None:
    """Once the link is given up nothing is asked for, by whatever it would be refused now; connected anew, it is."""

    async def main() -> None:
        source, media = Source(), Sees()
        service = CallService(ice=source, clock=VirtualClock())
        async with service, _client(service.signaling("alice", "phone"), media) as client:
            await asyncio.sleep(1)
            source.error, failed = SignalingLost("not now"), asyncio.Event()
            client.on("connection_failed", lambda *_: failed.set())
            async with _client(service.signaling("alice", "phone"), None):
                await failed.wait()
                await asyncio.sleep(1000)
                assert source.asked == 1
            source.error = None
            await client.connect()
            await _session(client, service)
            assert media.name() == "alice 2"

    with caplog.at_level(logging.WARNING, "statecore.client"):
        run_virtual(main())
    assert not any("STUN and TURN" in record.message for record in caplog.records)


def test_relay_only_may_be_left_to_the_service() -> None:
    """A session may ask for a relay and name no server; media then sees the policy and the servers handed out."""

    async def main() -> None:
        media = Sees()
        source = TurnCredentials(turn="turn:a.example.org", secret="s", policy="relay")
        service = CallService(ice=source, clock=VirtualClock())
        async with service, _client(service.signaling("alice"), media) as client:
            await _session(client, service, ice_policy="relay")
            assert (media.hosts[0].ice.policy, media.hosts[0].settings.ice_policy) == ("relay", "relay")

    run_virtual(main())


def test_a_link_of_ones_own_hands_out_nothing() -> None:
    """A link that knows nothing of servers is as good as ever."""
    assert MemoryLink("alice", None, lambda *_: None).ice_servers is None
