"""The demo for browsers, as a person meets it: one address, a name, a button, and the bot answers."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from typing import Any


def test_the_bot_answers_with_sound_and_a_moving_picture(browser: Any) -> None:
    """Open the address, type a name, press call: real sound and pictures arrive, also when it was an audio call that
    became a video call. An interruption is a clean end."""
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "statecore.cli", "demo", "--web", "--port", "0", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            asyncio.run(_visit(browser, json.loads(process.stdout.readline())["url"]))
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=20) == ("", "")
            assert process.returncode == 0
        finally:
            process.kill()


async def _visit(browser: Any, url: str) -> None:
    async with browser() as pages:
        alice = await pages.tab("alice")
        await alice.login(url, "Alice Liddell")
        await alice.call("bot")
        await alice.in_call()
        await alice.sees("bot")
        await alice.hears()
        await alice.click("#end")
        await alice.at_home()
        await alice.call("bot", "audio")
        await alice.in_call()
        await alice.click("#to-video")
        await alice.sees("bot")
