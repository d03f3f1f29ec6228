"""The commands of the network where something is missing: adapters, a service, or what it should say."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from _shells import STATECORE

from statecore.cli import main


class Proxy(BaseHTTPRequestHandler):
    """Something that stands in front of a service, and has none."""

    def do_GET(self) -> None:
        """Answer, as a proxy would."""
        self.send_error(502)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def proxy() -> Iterator[str]:
    """The address of one."""
    with HTTPServer(("127.0.0.1", 0), Proxy) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


def test_an_answer_that_is_not_the_services_is_told_by_its_status(
    proxy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A page of HTML is no error of ours: one line, with the HTTP status."""
    assert main(["users", "--url", proxy]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "HTTP status 502" in err


class Site(Proxy):
    """Somebody else's web site."""

    def do_GET(self) -> None:
        """Answer, as one does, to whatever is asked; by what its address begins with."""
        body = {"/html": b"<!doctype html>", "/list": b'[{"id": 1}]', "/deep": b"[" * 100_000}[self.path[:5]]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)


@pytest.mark.parametrize("path", ["html", "list", "deep"])
def test_what_is_no_call_service_is_told_so(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A site that answers everything, with a page or with JSON of its own: one line, and no traceback."""
    with HTTPServer(("127.0.0.1", 0), Site) as server:
        serving = threading.Thread(target=server.handle_request)
        serving.start()
        assert main(["users", "--url", f"http://127.0.0.1:{server.server_port}/{path}/"]) == 1
        serving.join()
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "is no call service of this version" in err


def test_what_speaks_something_else_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    """A port at which no HTTP is spoken, and a host's name that can be none."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def speak() -> None:
            link, _ = server.accept()
            link.sendall(b"220 mail.example.org\r\n")
            link.close()

        serving = threading.Thread(target=speak)
        serving.start()
        assert main(["users", "--url", f"http://127.0.0.1:{server.getsockname()[1]}"]) == 1
        serving.join()
    assert main(["users", "--url", f"http://{'a' * 70}.example.org"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), err.count("no service answers at")) == ("", 2, 2)


@pytest.mark.parametrize(
    ("words", "missing", "extra"),
    [
        (["serve"], "uvicorn", "statecore[web]"),
        (["serve", "--webhook", "http://a.example.org"], "statecore_web", "statecore[web]"),
        (["call", "bob", "--as", "alice"], "statecore_aiortc", "statecore[web,aiortc]"),
        (["answer", "--as", "bob"], "statecore_web", "statecore[web,aiortc]"),
    ],
)
def test_a_missing_adapter_is_told_with_what_mends_it(
    words: list[str],
    missing: str,
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without what an extra brings: exit 2, and one line with the command that installs it."""
    monkeypatch.setitem(sys.modules, missing, None)
    assert main(words) == 2
    err = capsys.readouterr().err
    assert f"pip install '{extra}'" in err
    assert err.count("\n") == 1


ATTIC = """from statecore import MemoryStore

class Attic(MemoryStore):
    def __init__(self, where):
        super().__init__()
        self.where = where

    def close(self):
        print("closed", self.where)
"""


def test_a_store_of_another_package_is_found_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is installed under `statecore.store` may be named, is told where, and closed whatever comes of it."""
    (tmp_path / "attic.py").write_text(ATTIC)
    (tmp_path / "attic-1.dist-info").mkdir()
    (tmp_path / "attic-1.dist-info" / "entry_points.txt").write_text("[statecore.store]\nattic = attic:Attic\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve", "--store", "attic:box"]) == 2
    assert capsys.readouterr().out == "closed box\n"


SECRET = __file__  # any file that can be read
PLACE = r"The call service is at http://127\.0\.0\.1:\d+ \(Ctrl-C stops it\)\.\n"
KEPT = r"Calls, users and tokens are kept in memory, for as long as it runs\.\n"
KEY = r"Its API key, for other shells: export STATECORE_API_KEY=\S{32}\n"


@pytest.mark.parametrize(("words", "told"), [(["--store", "memory"], [PLACE, KEPT, KEY]), (["--dev"], [PLACE, KEPT])])
def test_a_service_tells_people_where_it_is_and_its_key(words: list[str], told: list[str]) -> None:
    """Lines that can be read and copied, the key only where one is needed; an interruption is a clean end."""
    with subprocess.Popen(
        [*STATECORE, "serve", "--port", "0", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in told]
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 0
    assert all(re.fullmatch(pattern, line) for pattern, line in zip(told, lines, strict=True)), lines


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "needs one"),
        (["--turn-secret-file", "/nowhere/secret"], "cannot be read"),
        (["--turn-secret-file", os.devnull], "is empty"),
        (["--turn-secret-file", ""], "is empty"),
    ],
)
def test_a_turn_server_without_a_secret_is_not_handed_out(
    words: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that is not given, cannot be read or is empty: `serve` says so in a line, and does not begin."""
    monkeypatch.delenv("STATECORE_TURN_SECRET", raising=False)
    assert main(["serve", "--turn", "turn:a.example.org", *words]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("words", [["https://a.example.org"], ["ftp://a.example.org", "--webhook-secret-file", SECRET]])
def test_a_webhook_that_cannot_work_is_refused(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a secret, or with an address that is none: a line, and nothing begins."""
    monkeypatch.delenv("STATECORE_WEBHOOK_SECRET", raising=False)
    assert main(["serve", "--webhook", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("statecore: a webhook's ")
    assert error.count("\n") == 1


def test_a_place_to_listen_that_cannot_be_had_is_told_in_one_line(proxy: str) -> None:
    """Exit 1, with what is wrong with it, and which option takes another port."""
    port = proxy.rpartition(":")[2]
    for words in (["serve"], ["demo", "--web"]):
        done = _run(*words, "--port", port)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
        assert done.stderr.startswith(
            f"statecore: cannot listen on 127.0.0.1, port {port}: somebody else listens there"
        )
        assert "--port" in done.stderr
    done = _run("serve", "--host", "192.0.2.1")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert "cannot assign requested address" in done.stderr.lower()


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "statecore.cli", *words],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
