"""How `call` and `answer` end when they are told to, or have to."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pty
import signal
import subprocess

import pytest
from _shells import STATECORE, Shell, rest, wait_active, wait_for

from statecore.cli.network._who import Login
from statecore.errors import SignalingLost, SignalingRefused


def test_whom_the_service_does_not_have_any_more_ends(shell: Shell) -> None:
    """A bot whose device another process took over, one whose tokens were revoked, and the call of one whose user was
    deleted: each ends with exit code 1 and one line that says why, and says it with --json, too."""
    bot = shell.start("answer", "--as", "revoked", "--device", "d", "--json")
    wait_for(shell, "revoked")
    next_bot = shell.start("answer", "--as", "revoked", "--device", "d")
    assert bot.communicate(timeout=30) == (
        '{"session_id": null, "error": "signaling_refused"}\n',
        "statecore: the call service refused the connection: another process connected as this device\n",
    )
    assert next_bot.stdout is not None
    assert "revoked answers" in next_bot.stdout.readline()
    call = shell.start("call", "revoked", "--as", "deleted", "--json")
    wait_active(shell, "deleted")
    rest(shell, "DELETE", "/v1/users/deleted")
    out, err = call.communicate(timeout=30)
    told = json.loads(out)
    assert (told["status"], told["reason"], told["error"]) == ("ended", "lost", "call_ended")
    assert (call.returncode, err) == (1, f"statecore: the call {told['session_id']!r} ended (lost)\n")
    rest(shell, "DELETE", "/v1/users/revoked/auth-tokens")
    assert next_bot.communicate(timeout=30)[1] == "statecore: the token was revoked\n"
    assert (bot.returncode, next_bot.returncode) == (1, 1)


def test_a_login_lasts_as_long_as_it_is_wanted(shell: Shell) -> None:
    """Whoever is named by --as has a new token for each connection, good for a minute only: the places that a user's
    tokens have are not taken. A user who was deleted meanwhile is not made known again."""
    args = argparse.Namespace(url=shell.env["STATECORE_URL"], api_key=shell.env["STATECORE_API_KEY"], user="stays")
    login = Login(args)
    assert len({asyncio.run(login()), asyncio.run(login()), asyncio.run(login())}) == 3
    kept = rest(shell, "GET", "/v1/users/stays/auth-tokens")
    assert [token["expires_at"] - token["issued_at"] for token in kept] == [60_000] * 3
    rest(shell, "DELETE", "/v1/users/stays")
    with pytest.raises(SignalingRefused, match="does not know the user 'stays'"):
        asyncio.run(login())
    args.url = "http://127.0.0.1:9"
    with pytest.raises(SignalingLost, match="no service answers"):
        asyncio.run(login())


def test_who_is_told_to_end_hangs_up(shell: Shell) -> None:
    """A call that is terminated, in it or as it rings, and a bot that is interrupted although a shell had it ignore
    that, as it does in the background: the other side hears of it at once, and what there is to say is said."""
    ignoring = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *STATECORE, "answer", "--as", "ends", "--json"]
    bot = subprocess.Popen(ignoring, env=shell.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(shell, "ends")
    first = shell.start("call", "ends", "--as", "first")
    assert first.stdout is not None
    while "connected" not in (line := first.stdout.readline()):
        assert line
    first.send_signal(signal.SIGTERM)
    out, err = first.communicate(timeout=20)
    assert (first.returncode, err) == (143, "statecore: terminated\n")
    assert "over, hangup" in out
    assert bot.stdout is not None
    told = json.loads(bot.stdout.readline())
    assert (told["caller"], told["status"], told["reason"], told["by"], told["error"]) == (
        "first", "ended", "hangup", "first", None,
    )  # fmt: skip
    second = shell.start("call", "ends", "--as", "second", "--json")
    wait_active(shell, "second")
    bot.send_signal(signal.SIGINT)
    assert json.loads(second.communicate(timeout=20)[0])["by"] == "ends"
    told, err = json.loads(bot.communicate(timeout=20)[0]), bot.communicate()[1]
    assert (told["reason"], told["by"], told["error"]) == ("hangup", "ends", "interrupted")
    third = shell.start("call", "ends", "--as", "third", "--json")  # who is not there, and is rung
    wait_active(shell, "third", "initiated_at")
    third.send_signal(signal.SIGTERM)
    told = json.loads(third.communicate(timeout=20)[0])
    assert (told["status"], told["reason"], told["by"], told["error"]) == (
        "cancelled",
        "cancelled",
        "third",
        "interrupted",
    )
    assert (second.returncode, bot.returncode, third.returncode) == (0, 130, 143)


@pytest.mark.usefixtures("hears_its_terminal")
def test_who_loses_its_terminal_hangs_up(shell: Shell) -> None:
    """The other side hears of it at once; what was started with `nohup` goes on."""
    words = ["nohup", *STATECORE, "answer", "--as", "outlives", "--json"]
    bot = subprocess.Popen(words, env=shell.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(shell, "outlives")
    bot.send_signal(signal.SIGHUP)
    ours, its = pty.openpty()
    # What a session's first process opens is its terminal.
    words = ["sh", "-c", 'exec "$@" < "$0" > "$0" 2>&1', os.ttyname(its), *STATECORE, "call", "outlives"]
    caller = subprocess.Popen([*words, "--as", "closes"], env=shell.env, start_new_session=True)
    wait_active(shell, "closes")
    os.close(its)
    os.close(ours)
    assert caller.wait(timeout=20) == 129
    assert bot.stdout is not None
    told = json.loads(bot.stdout.readline())
    assert (told["caller"], told["reason"], told["by"], told["error"]) == ("closes", "hangup", "closes", None)
    bot.send_signal(signal.SIGTERM)
    bot.communicate(timeout=20)
    assert bot.returncode == 143


def test_who_is_not_read_any_more_ends(shell: Shell) -> None:
    """What a bot, a call and a service say goes into a pipe that nobody reads: each ends quietly, as what writes to one
    does. A disk that is full is told."""
    reader, writer = os.pipe()
    os.close(reader)
    words = (
        ["answer", "--as", "unread"],
        ["call", "nobody", "--as", "unread", "--json"],
        ["serve", "--port", "0", "--dev"],
    )
    with open(writer, "wb") as gone, open("/dev/full", "wb") as full:
        started = [(gone, "", each) for each in words] + [
            (full, "statecore: [Errno 28] No space left on device\n", words[0])
        ]
        commands = [
            subprocess.Popen([*STATECORE, *each], env=shell.env, stdout=where, stderr=subprocess.PIPE, text=True)
            for where, _, each in started
        ]
    for command, (_, told, each) in zip(commands, started, strict=True):
        err = command.communicate(timeout=30)[1]
        assert (each, command.returncode, err) == (each, 141, told)


def test_a_bot_that_is_interrupted_ends_cleanly(shell: Shell) -> None:
    """It answers call after call, and does not echo unless it is told to; Ctrl-C: exit 130, one line, and it is
    offline. A token from the environment is enough to call it."""
    bot = shell.start("answer", "--as", "carol", "--json")
    while {"uid": "carol", "name": "", "avatar": "", "online": True} not in json.loads(shell("users", "--json").stdout):
        assert bot.poll() is None
    token = json.loads(shell("token", "alice", "--json").stdout)["token"]
    called = shell("call", "carol", "--seconds", "0.2", STATECORE_API_KEY="", STATECORE_TOKEN=token)
    assert called.returncode == 0, called.stderr
    assert bot.stdout is not None
    assert json.loads(bot.stdout.readline())["caller"] == "alice"
    bot.send_signal(signal.SIGINT)
    assert bot.communicate(timeout=20)[1] == "statecore: interrupted\n"
    assert bot.returncode == 130
    assert {"uid": "carol", "name": "", "avatar": "", "online": False} in json.loads(shell("users", "--json").stdout)
