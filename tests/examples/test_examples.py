"""Every example runs by itself, without a warning, and prints what it promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
PROMISES = {
    "quickstart": ["bob talks with alice", "bob: over, hangup"],
    "echo_bot": ["bot: alice is here", "alice and carol hear themselves: True"],
    "two_parties": [
        "bob: alice calls (audio)",
        "alice: bob accepted",
        "bob: alice is muted",
        "alice: bob writes {'text': 'pizza?'}",
        "bob: alice asks bob for video",
        "alice: now a video call",
        "alice: ended, hangup by bob",
        "alice: user 'bob' rejected the call (rejected)",
        "log: alice to bob, video, ended",
        "log: alice to bob, video, rejected",
    ],
    "session_by_token": [
        "here: guest alice bob",
        "another device, token_foreign: the token is for another device",
        "known: alice bob mallory",
        "refused, token_foreign: the token is for another user",
        "refused, token_forged: the token's signature is not valid",
        "refused, token_malformed: the token is malformed: it names no session",
        "refused, token_missing: a token is needed",
        "refused, not_a_party: user 'mallory' has no part in the call 'standup'",
        "bob: kicked by alice",
    ],
    "listeners": [
        "  new window: alice calls",
        "  told as an error: the fault of one listener",
        "  slow: has rejected the call",
        "  alice: user 'bob' rejected the call",
    ],
    "sync_program": ["it rings: ringing", "accepted: accepted", "talking: active", "over: hangup"],
    "own_flow": [
        "    active --> held: hold, put_on_hold",
        "alice: held; now held",
        "bob: held; now held",
        "alice: resumed; now active",
        "ended: hangup",
    ],
    "intercom": [
        "flat: sees and hears the door, and is not heard; looking",
        "door: somebody answered, and is heard",
        "flat: a wrong code is refused",
        "door: the lock is open; unlocked",
        "door: over, hangup",
    ],
    "contact_centre": [
        "ben: rings no more, answered_elsewhere",
        "carol: is held",
        "anna: the service does not know the user 'bill'",
        "carol: meets dora",
        "carol: is heard again",
        "anna: is free again",
        "anna: talks with dave",
    ],
    "own_tokens": [
        "bob: alice calls",
        "expired: token_expired",
        "another application's: token_foreign",
        "changed: token_forged",
        "by another key: token_forged",
    ],
    "media_adapter": ["bob heard 0.50 s of sound", "alice: ended by bob"],
}
"""Lines that each example prints, among others."""
APPLICATIONS = {"mount_fastapi", "mount_litestar", "mount_starlette"}
"""Those that a server runs: `tests/statecore_web/test_web_mounted.py` does."""


def run(name: str, folder: Path) -> list[str]:
    """The lines that an example prints; it must end well, and say nothing on its standard error."""
    # The interpreter decides what is found: from a checkout its parts, in CI the installed wheel.
    command = [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py")]
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_every_example_is_tested() -> None:
    """No example is left out."""
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*PROMISES, *APPLICATIONS}


@pytest.mark.parametrize("name", PROMISES)
def test_example(name: str, tmp_path: Path) -> None:
    """It runs anywhere, and prints its lines in this order or another."""
    lines = run(name, tmp_path)
    assert [line for line in PROMISES[name] if line not in lines] == []
    if name == "quickstart":
        assert (tmp_path / "bob.wav").stat().st_size > 50_000
