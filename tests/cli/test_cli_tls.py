"""A service behind TLS, whose certificate is the system's to trust: the client and the commands, with no context."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from _shells import STATECORE
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from statecore import CallClient, Timers
from statecore.errors import SignalingLost
from statecore.testing import FakeMedia
from statecore_web import WebSocketSignaling


def _certified(folder: Path) -> tuple[Path, Path, Path]:
    """An authority, and what it says of 127.0.0.1: its certificate, then the server's, and the server's key."""
    now = dt.datetime.now(dt.UTC)
    root, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority of our own")])

    def builder(name: x509.Name, key: Any) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False)
        )  # fmt: skip

    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    authority = (
        builder(issuer, root).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(root.public_key()), critical=False)
        .add_extension(usage, critical=True).sign(root, hashes.SHA256())
    )  # fmt: skip
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    server = builder(x509.Name([]), leaf).add_extension(here, critical=True).sign(root, hashes.SHA256())
    files = folder / "ca.pem", folder / "cert.pem", folder / "key.pem"
    files[0].write_bytes(authority.public_bytes(Encoding.PEM))
    files[1].write_bytes(server.public_bytes(Encoding.PEM))
    files[2].write_bytes(leaf.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


class Place:
    """A service behind TLS, and commands that are to trust an authority, or not."""

    def __init__(self, url: str, authority: Path) -> None:
        self.url, self.authority = url, authority

    def start(self, *words: str, trust: bool = True, **more: str) -> subprocess.Popen[str]:
        """Start a command."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("SSL_CERT_")}
        env |= {"STATECORE_URL": self.url, "STATECORE_API_KEY": "key", **more}
        if trust:
            env["SSL_CERT_FILE"] = str(self.authority)
        return subprocess.Popen(
            [*STATECORE, *words], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def token(self) -> str:
        """A token of Alice's."""
        return self.start("token", "alice").communicate(timeout=60)[0].strip()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """For all tests of this file."""
    authority, certificate, key = _certified(tmp_path_factory.mktemp("tls"))
    words = [
        "--port",
        "0",
        "--json",
        "--store",
        "memory",
        "--tls-cert",
        str(certificate),
        "--tls-key",
        str(key),
        "--stun",
        "stun:127.0.0.1",
    ]
    process = Place("", authority).start("serve", *words)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    yield Place(json.loads(line)["url"], authority)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 0


def test_a_client_trusts_what_the_system_trusts(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """It connects over wss: without a context of its own, and asks for STUN and TURN servers over https:."""

    async def main() -> None:
        link = WebSocketSignaling(place.url, place.token())
        assert link.url.startswith("wss:")
        async with CallClient(link) as client:
            assert client.connected
            (server,) = (await link.ice_servers()).servers
            assert server.urls == ("stun:127.0.0.1",)

    monkeypatch.setenv("SSL_CERT_FILE", str(place.authority))
    asyncio.run(main())


def test_a_certificate_that_is_not_trusted_is_one_error(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """It says what is wrong, may be tried again, and leaves no traceback in the log: also from `connect` of a client,
    which has tried several times by then."""

    async def main() -> None:
        link = WebSocketSignaling(place.url, place.token())
        with pytest.raises(SignalingLost, match=r"certificate is not good: .*issuer") as told:
            await link.connect()
        assert told.value.retryable
        with pytest.raises(SignalingLost, match=r"servers: .*CERTIFICATE_VERIFY_FAILED"):
            await link.ice_servers()
        client = CallClient(link, FakeMedia(), timers=Timers(command=0.5))
        with pytest.raises(SignalingLost, match="certificate is not good"):
            await client.connect()
        await client.close()

    asyncio.run(main())
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


def test_two_shells_call_each_other_over_tls(place: Place) -> None:
    """`answer` and `call` reach a service behind TLS for tokens, for the link, and for STUN servers."""
    bot = place.start("answer", "--as", "bot", "--calls", "1", "--json")
    while (
        '"uid": "bot", "name": "", "avatar": "", "online": true'
        not in place.start("users", "--json").communicate(timeout=60)[0]
    ):
        assert bot.poll() is None, bot.communicate()
    call = place.start("call", "bot", "--as", "alice", "--seconds", "0.2", "--json")
    out, err = call.communicate(timeout=60)
    assert (call.returncode, err) == (0, "")
    assert json.loads(out)["reason"] == "hangup"
    out, err = bot.communicate(timeout=60)
    assert (bot.returncode, err) == (0, "")
    assert json.loads(out)["caller"] == "alice"


@pytest.mark.parametrize("words", [["call", "bot", "--as", "alice"], ["answer", "--as", "bot"], ["users"]])
def test_a_certificate_that_is_not_trusted_is_one_line(place: Place, words: list[str]) -> None:
    """No traceback, whichever command."""
    command = place.start(*words, trust=False)
    out, err = command.communicate(timeout=60)
    assert (command.returncode, out) == (1, "")
    assert "is not good: " in err
    assert err.count("\n") == 1
