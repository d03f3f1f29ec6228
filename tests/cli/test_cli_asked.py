"""What the commands that speak over the network say to what they are asked wrongly."""

from __future__ import annotations

import logging

import pytest
from _shells import Shell

from statecore.cli import main

WRONG_URLS = [
    "ftp://x", "http://", "http://127.0.0.1:abc", "http://127.0.0.1:65536", "http://127.0.0.1 :80", "http://[::1",
    "http://127.0.0.1/?x=1", "http://ann:s3cret@127.0.0.1/",
]  # fmt: skip


NUMBERS = [
    ("serve", [], "--port", ["99999", "65536", "-1", "abc", ""]),
    ("serve", [], "--grace", ["0", "nan", "inf", "1e12", "-1"]),
    ("serve", ["--store", "sqlite:x"], "--keep", ["0", "nan", "inf", "1e300"]),
    ("serve", ["--turn", "turn:x"], "--turn-ttl", ["0", "nan", "inf"]),
    ("call", ["x"], "--seconds", ["0", "-1", "nan", "inf", "x"]),
    ("call", ["x"], "--timeout", ["nan", "3601", "-1"]),
    ("call", ["x"], "--tone", ["nan", "-5", "1e9"]),
    ("answer", [], "--calls", ["0", "-1", "1.5"]),
    ("answer", [], "--limit", ["0", "1000"]),
    ("token", ["x"], "--lifetime", ["nan", "inf", "-1", "1e300"]),
]


@pytest.mark.parametrize(
    ("words", "env", "told"),
    [
        (["users"], {"STATECORE_API_KEY": "wrong"}, "API key"),
        (["users", "--url", "http://127.0.0.1:9"], {}, "no service answers"),
        *((["users", "--url", url], {}, "address") for url in WRONG_URLS),
        (["call", "bot"], {}, "--as"),
        (["call", "bot", "--as", "a b"], {}, "white space"),
        (["answer", "--as", "bot", "--play", "/nowhere.wav"], {}, "No such file"),
        (["answer", "--as", "bot", "--play", __file__], {}, "Invalid data"),
        (["token", "x", "--session", "s", "--role", "king"], {}, "role"),
        (["serve", "--host", "0.0.0.0", "--dev"], {}, "loopback"),  # noqa: S104 - it is refused
        (["serve", "--tls-cert", "x"], {}, "belong together"),
        (["serve", "--tls-cert", "", "--tls-key", ""], {}, "--tls-cert is empty"),
        (["serve", "--api-key", " "], {}, "--api-key, or the variable"),
        (["serve"], {"STATECORE_API_KEY": ""}, "STATECORE_API_KEY"),
        (["serve", "--host", ""], {}, "--host is empty"),
        (["serve", "--origin", "https://a.example.org", "--origin", ""], {}, "--origin is empty"),
        (["serve", "--store", "sqlite:/nowhere/calls.db"], {}, "its directory is there"),
        (["serve", "--store", "mongo:x"], {}, "memory, sqlite:PATH or postgresql:"),
        (["serve", "--store", "sqlite"], {}, "where"),
        (["serve", "--store", "postgresql://ann:1/s3cret@127.0.0.1/x"], {}, "the URL of the store cannot be read"),
        (["serve", "--store", "postgres://ann:s3cret@127.0.0.1:9/x"], {}, "postgresql://127.0.0.1:9/x cannot be used"),
        (["serve", "--store", "postgre://ann:s3cret@127.0.0.1/x"], {}, "and not 'postgre'"),
        (["serve", "--keep", "9", "--store", "memory"], {}, "for a database"),
        (["serve"], {"XDG_STATE_HOME": __file__}, "say --store"),
        (["serve", "--set", "calls_per_hour=1"], {}, "calls_per_minute"),
        (["serve", "--set", "ring"], {}, "NAME=VALUE"),
        (["serve", "--set", "session_capacity=many"], {}, "a whole number"),
        (["serve", "--set", "lease=3"], {}, "longer than the heartbeat"),
        (["serve", "--set", "ring=abc"], {}, "--set ring: 'abc' is no number of seconds"),
        (["serve", "--set", "lease=nan"], {}, "--set lease: 'nan' is no number of seconds"),
        (["serve", "--stun", "stun:"], {}, "name a server"),
        (["serve", "--turn-secret-file", __file__], {}, "--turn-secret-file does nothing without --turn"),
        (["serve", "--turn-ttl", "60"], {}, "--turn-ttl does nothing without --turn"),
        (["serve", "--webhook-secret-file", __file__], {}, "--webhook-secret-file does nothing without --webhook"),
        (["serve", "--tls-cert", "/nowhere.pem", "--tls-key", __file__], {}, "--tls-cert '/nowhere.pem' cannot be"),
        (["serve", "--tls-cert", __file__, "--tls-key", __file__], {}, "are no certificate and its key"),
        *(
            ([command, *words, option, value], {}, f"argument {option}: '{value}' is no ")
            for command, words, option, values in NUMBERS
            for value in values
        ),
        *(
            (["token", "x", "--api-key", key], {}, "characters that no token")
            for key in ("s3cret\nx", "s3crét", "s3 cret")
        ),
        (["users"], {"STATECORE_API_KEY": "s3cret\x07"}, "--api-key: it has characters"),
        (["serve"], {"STATECORE_API_KEY": "s3\ncret"}, "--api-key: it has characters"),
        (["call", "x", "--token", "s3cret é"], {}, "--token: it has characters"),
        (["call", "x"], {"STATECORE_TOKEN": "s3 cret"}, "STATECORE_TOKEN: it has characters"),
        (["call", "x", "--as", ""], {}, "--as is empty"),
        (["call", "", "--as", "x"], {}, "USER is empty"),
        (["token", ""], {}, "USER is empty"),
        (["token", "x", "--session", ""], {}, "--session is empty"),
        (["token", "x", "--role", "host"], {}, "--role does nothing without --session"),
        (["call", "x", "--as", "carol", "--token", "YWxpY2U.s3cret"], {}, "is one of 'alice', and --as says 'carol'"),
        (
            ["call", "x", "--as", "carol"],
            {"STATECORE_API_KEY": "", "STATECORE_TOKEN": "YWxpY2U.s3cret"},
            "is one of 'alice', and --as says 'carol'",
        ),
        (["call", "x", "--as", "carol", "--token", "s3cret"], {}, "token is malformed"),
        (["call", "x", "--as", "carol"], {"STATECORE_API_KEY": ""}, "lets nobody in by name alone"),
        (["call", "x", "--as", "a", "--stun", "stun:"], {}, "name a server"),
        (["call", "x", "--as", "a", "--record", "/proc/x.wav"], {}, "--record: nothing can be written to '/proc'"),
        (["call", "x", "--as", "a", "--record", f"{__file__}/x.wav"], {}, "--record: nothing can be written to"),
        (["answer", "--as", "a", "--record", "x.nonsense"], {}, "nothing can be recorded as '.nonsense'"),
        (["answer", "--as", "a", "--record", "{nobody}.wav"], {}, "is no placeholder"),
    ],
)
def test_what_is_asked_wrongly_is_told_in_a_line(
    shell: Shell,
    words: list[str],
    env: dict[str, str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No traceback, and an exit code that is not 0; what the library logs afterwards is not held back."""
    for name, value in {**shell.env, **env}.items():
        monkeypatch.setenv(name, value)
    try:
        code = main(words)
    except SystemExit as stopped:  # by the parser
        code = int(stopped.code or 0)
    assert code in (1, 2)
    err = capsys.readouterr().err
    assert told in err
    assert "s3" not in err
    assert err.count("\n") == 1
    assert not logging.getLogger("statecore.client").filters
