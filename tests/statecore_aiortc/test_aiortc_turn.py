"""Calls through a real TURN server (coturn), with credentials that the call service hands out."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import wave
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from statecore import CallClient, CallService
from statecore.errors import StatecoreError
from statecore.model import Reason
from statecore.settings import CallSettings
from statecore.testing._media_probe import hears, sees
from statecore.testing.media import MeetingRoom
from statecore.testing.signals import dominant_hz, draw_clock
from statecore_aiortc import AiortcMedia, Frames, Tone, _webrtc


class Seen(AiortcMedia):
    """Media that keeps its sessions."""

    def __init__(self, hz: float, **more: Any) -> None:
        super().__init__(Tone(hz), Frames(lambda t: draw_clock(160, 120, round(t * 1000)), fps=12), **more)
        self.sessions: list[Any] = []

    async def open(self, host: Any, **more: Any) -> Any:
        """Open, and keep it."""
        self.sessions.append(await super().open(host, **more))
        return self.sessions[-1]

    def pairs(self) -> set[tuple[str, str]]:
        """The kinds of the two addresses of each connection in use."""
        found = set()
        for peer in self.sessions[0]._peers.values():
            for pair in _webrtc._connection(peer._link._pc)._nominated.values():
                found.add((pair.local_candidate.type, pair.remote_candidate.type))
        return found


@asynccontextmanager
async def _two(service: CallService, alice: AiortcMedia, bob: AiortcMedia) -> AsyncIterator[Coroutine[Any, Any, Any]]:
    """Alice has called Bob, who has accepted: gives both who are about to start their sessions."""
    async with (
        service,
        CallClient(service.signaling("alice"), alice) as hers,
        CallClient(service.signaling("bob"), bob) as his,
    ):
        ringing: asyncio.Queue[Any] = asyncio.Queue()
        his.on("incoming_call_received", ringing.put_nowait)
        call = await hers.initiate_call("bob")
        await his.accept_call((await ringing.get()).session_id)
        await call.answered()
        tokens = [await client.generate_token(call.session_id) for client in (hers, his)]
        starts = [client.start_session(token) for client, token in zip((hers, his), tokens, strict=True)]
        yield asyncio.gather(*starts, return_exceptions=True)


def test_a_call_through_the_relay_only(coturn: Any) -> None:
    """Two hear and see each other, and both addresses of the connection in use are the TURN server's; it knows them by
    names that the service has made."""
    alice, bob = Seen(440), Seen(880)

    async def main() -> None:
        async with _two(CallService(ice=coturn.credentials()), alice, bob) as starting:
            hers, his = await starting
            await asyncio.gather(
                hears(hers, "bob", 880, 15), hears(his, "alice", 440, 15), sees(hers, "bob", 15), sees(his, "alice", 15)
            )
            assert alice.pairs() == bob.pairs() == {("relay", "relay")}

    asyncio.run(main())
    assert ":alice>" in coturn.log
    assert ":bob>" in coturn.log
    assert coturn.secret not in coturn.log


@pytest.mark.parametrize(
    "wrong", [{"secret": "another secret"}, {"now": lambda: time.time() - 7200}], ids=["secret", "expired"]
)
def test_credentials_that_the_relay_refuses(coturn: Any, wrong: dict[str, Any]) -> None:
    """Another secret, or a name whose time is over: the call ends as failed(media), soon, and says why."""

    async def main() -> None:
        service = CallService(ice=coturn.credentials(**wrong))
        async with asyncio.timeout(10), _two(service, Seen(440), Seen(880)) as starting:
            outcomes = await starting
            assert any("no TURN server gave a relay" in str(outcome) for outcome in outcomes), outcomes
            assert all(isinstance(outcome, StatecoreError) for outcome in outcomes)
            assert coturn.secret not in repr(outcomes)
            (ended,) = await service.call_log()
            assert ended.end_reason is not None
            assert ended.end_reason.what == Reason.FAILED_MEDIA

    asyncio.run(main())


def test_a_new_connection_uses_what_is_handed_out_by_then(coturn: Any) -> None:
    """With who comes later one connects by new credentials: those of the beginning may be over by then."""

    async def main() -> None:
        settings = CallSettings(type="audio")
        async with MeetingRoom() as room:
            alice = room.host("alice", settings)
            await alice.open(AiortcMedia(Tone(440)))
            for name in ("bob", "carol"):
                other = room.host(name, settings)
                alice.ice, other.ice = coturn.credentials()(f"alice-for-{name}"), coturn.credentials()(name)
                await other.open(AiortcMedia(Tone(880)))
                await alice.wait_connected(other.pid)
                assert f":alice-for-{name}>" in coturn.log

    asyncio.run(main())


# --- two machines that cannot reach each other ------------------------------------------------------------------------

HUB = "10.201.0.1"
HOMES = {"one": "10.201.1.2", "two": "10.201.2.2"}


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)  # noqa: S607 - found by the path, as elsewhere


@contextmanager
def _networks() -> Iterator[dict[str, list[str]]]:
    """Three networks: `one` and `two` reach `hub`, which forwards nothing. Gives what a command in each begins with."""
    names = {each: f"statecore-{os.getpid()}-{each}" for each in ("hub", *HOMES)}
    try:
        for name in names.values():
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", names["hub"], "addr", "add", f"{HUB}/32", "dev", "lo")
        for home, address in HOMES.items():
            gate = f"{address.rpartition('.')[0]}.1"
            _ip("-n", names[home], "link", "add", "eth0", "type", "veth", "peer", "name", home, "netns", names["hub"])
            for name, end, own in ((names[home], "eth0", address), (names["hub"], home, gate)):
                _ip("-n", name, "addr", "add", f"{own}/24", "dev", end)
                _ip("-n", name, "link", "set", end, "up")
            _ip("-n", names[home], "route", "add", "default", "via", gate)
        yield {each: ["ip", "netns", "exec", name] for each, name in names.items()}
    finally:
        for name in names.values():
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)  # noqa: S607 - as above


@pytest.fixture
def networks() -> Iterator[dict[str, list[str]]]:
    """Three networks, which are gone after the test."""
    with ExitStack() as stack:
        try:
            inside = stack.enter_context(_networks())
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("needs iproute2, and the right to make network namespaces")
        yield inside


_REACHES = "import socket, sys; socket.create_connection((sys.argv[1], 9), 0.5)"


def test_two_networks_that_cannot_reach_each_other(
    turn_server: Any, networks: dict[str, list[str]], tmp_path: Path
) -> None:
    """With the service and the TURN server in a third network, a bot in one answers a caller in the other: by the
    servers that the service hands out, named nowhere else, the caller's own tone comes back."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("STATECORE_")} | {
        "STATECORE_API_KEY": "key",
        "STATECORE_URL": f"http://{HUB}:8765",
    }
    secret, heard = tmp_path / "secret", tmp_path / "echo.wav"
    secret.write_text(turn_server.secret + "\n")
    running: list[subprocess.Popen[str]] = []

    def start(network: list[str], *words: str) -> subprocess.Popen[str]:
        command = [*network, sys.executable, "-P", "-m", "statecore.cli", *words]
        running.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return running[-1]

    coturn = turn_server(tmp_path, HUB, networks["hub"])
    try:
        reached = subprocess.run(
            [*networks["one"], sys.executable, "-c", _REACHES, HOMES["two"]],
            check=False,
            capture_output=True,
            text=True,
        )
        assert "TimeoutError" in reached.stderr or "unreachable" in reached.stderr
        turn = ("--turn", coturn.url, "--turn-secret-file", str(secret))
        serve = start(networks["hub"], "serve", "--host", HUB, "--json", *turn)
        assert serve.stdout is not None
        assert "url" in json.loads(serve.stdout.readline())
        bot = start(networks["two"], "answer", "--as", "bot", "--echo", "--calls", "1")
        assert bot.stdout is not None
        assert "bot answers" in bot.stdout.readline()
        words = ["call", "bot", "--as", "alice", "--tone", "600", "--seconds", "1", "--json", "--record"]
        caller = start(networks["one"], *words, str(heard))
        out, err = caller.communicate(timeout=40)
        assert caller.returncode == 0, err
        assert json.loads(out)["reason"] == "hangup"
        assert (":alice>" in coturn.log, ":bot>" in coturn.log) == (True, True)
    finally:
        for process in running:
            process.terminate()
            process.communicate(timeout=20)
        coturn.stop()
    with wave.open(str(heard)) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, file.getnchannels())
        assert abs(dominant_hz(sound[-file.getframerate() // 2 :, 0], file.getframerate()) - 600) < 10
