"""Logging in to the page, in real Chromium: what is wrong is said for people, and one attempt stands at a time."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import statecore_web


def test_what_hinders_a_login_is_said(world: Any) -> None:
    """A name of blanks, a service that cannot be reached, one that never welcomes: each is named, the form says that it
    is at it meanwhile and takes no second press, and afterwards all is as before; then a good name is let in."""

    async def main() -> None:
        async with world() as all_:
            page = await all_.browser.tab("dora")
            await page.send("Page.navigate", url=all_.url)
            await page.until("document.body.dataset.view === 'login'")

            async def tried(name: str) -> str:
                await page.run("document.querySelector('#name').value = ''")
                await page.type("#name", name)
                await page.double_click("#continue")
                await page.until(
                    "document.querySelector('#login-error').innerText && !document.querySelector('#continue').disabled"
                )
                return str(await page.run("document.querySelector('#login-error').innerText"))

            assert await tried("   ") == "Everybody has a name."
            all_.browser.offline = True
            all_.wire.cut()
            assert await tried("Dora") == "There is no connection to the service."
            all_.wire.mend()
            await page.run(_UNWELCOME)
            assert await tried("Dora") == "There is no connection to the service."
            assert await page.run("[dialled, ...labels]") == [1, "Continue", "Connecting…"]
            for each in ("me", "logout", "link", "again"):
                assert not await page.run(f"document.querySelector('#{each}').checkVisibility()")
            await page.login(all_.url, "Dora")

    asyncio.run(main())


# A service that is not heard of for a while that seems long; how often it was dialled, and what the button said then.
_UNWELCOME = """(() => {
  const later = setTimeout;
  globalThis.setTimeout = (act, pause, ...more) => later(act, pause === 10000 ? 700 : pause, ...more);
  globalThis.labels = new Set();
  globalThis.dialled = 0;
  globalThis.WebSocket = class {
    constructor() {
      dialled += 1;
    }
    close() {}
  };
  const button = document.querySelector('#continue');
  labels.add(button.innerText);
  new MutationObserver(() => labels.add(button.innerText)).observe(button, { childList: true });
})()"""


def test_a_token_that_is_none_is_said_not_to_be_good(world: Any) -> None:
    """Whether it can be sent or not: it is never the browser that speaks."""

    async def main() -> None:
        async with world(dev=False) as all_:
            all_.browser.refused = True
            page = await all_.browser.tab("dora")
            await page.send("Page.navigate", url=all_.url)
            await page.until("document.body.dataset.view === 'login'")
            for token in ("nonsense", "日本", "  "):
                await page.run("document.querySelector('#token').value = ''")
                await page.type("#token", token)
                await page.press("Enter")
                await page.until("document.querySelector('#login-error').innerText === 'This token is not good.'")
                await page.run("document.querySelector('#login-error').innerText = ''")

    asyncio.run(main())


def test_every_error_has_words_for_people(node: str) -> None:
    """Whatever the library or the browser throws: what is said of it is neither the sentence for programmers nor the
    browser's."""
    page = (Path(statecore_web.__file__).parent / "page").as_uri()
    program = [node, "--input-type=module", "-e", _SAID.replace("PAGE", page)]
    told = json.loads(subprocess.run(program, text=True, capture_output=True, check=True, timeout=30).stdout)
    assert len(told) > 50
    for code, said, meant in told:
        assert said.endswith("."), code
        assert said != meant, code


_SAID = """
const { reason } = await import("PAGE/words.js");
const { CallError } = await import("PAGE/errors.js");
const { ERRORS } = await import("PAGE/flows.js");
const all = [...Object.keys(ERRORS).map((code) => new CallError(code)), new TypeError("x is undefined"), "text."];
console.log(JSON.stringify(all.map((error) => [error.code ?? "", reason(error), error.message ?? error])));
"""
