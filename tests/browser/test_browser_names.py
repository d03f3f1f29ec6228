"""Who is who in the page, where it lists people and where it does not, in real Chromium."""

from __future__ import annotations

import asyncio
from typing import Any


def test_where_nobody_is_listed_one_calls_by_id_and_is_called_by_name(world: Any) -> None:
    """There is a field for the id in place of a search; an unknown one is named as such; who is called is told the
    caller's name, at home, beside a session and in the log; and who called in vain is not told a name."""

    async def main() -> None:
        async with world(directory=False) as all_:
            alice, bob = await all_.person("Alice Liddell"), await all_.person("Bob Ross")
            assert await bob.run("document.querySelector('#search').checkVisibility()") is False
            assert await bob.run("document.querySelector('#people').checkVisibility()") is False
            assert await bob.run("document.querySelector('#by-id small').innerText.endsWith('Yours is bob-ross.')")
            await bob.type("#call-id", "  nobody ")
            await bob.press("Enter")
            await bob.until("document.querySelector('#notice').innerText === 'nobody is not known here.'")
            await bob.run("document.querySelector('#call-id').value = 'alice-liddell'")
            await alice.run(_HOLD)
            await bob.click("#by-id [data-call=video]")
            await alice.until("document.querySelector('#ring').open && window.release")
            await alice.run("(window.pressed = document.querySelector('#reject')).focus(); release()")
            await alice.until("document.querySelector('#ring-name').innerText === 'Bob Ross'")
            assert await alice.run("document.activeElement === pressed"), "who is about to decline does"
            assert await alice.run("document.title") == "Bob Ross calls"
            await alice.until("document.querySelector('#say').innerText === 'Incoming video call from Bob Ross'")
            await alice.click("#reject")
            await asyncio.gather(alice.at_home(), bob.at_home())
            await alice.until("document.querySelector('#log b')?.innerText === 'Bob Ross'")
            await bob.until("document.querySelector('#log b')?.innerText === 'alice-liddell'")
            await alice.reload()
            await alice.until("document.querySelector('#log b')?.innerText === 'Bob Ross'")
            await alice.click("#new-session")
            await alice.in_call()
            carol = await all_.person("Carol C")
            await carol.type("#call-id", "alice-liddell")
            await carol.press("Enter")
            await alice.until("document.querySelector('#waiting-text').innerText === 'Carol C asks for a call.'")
            await alice.click("#waiting-yes")
            await asyncio.gather(
                carol.in_call(), alice.until("document.querySelector('#call-with').innerText === 'Carol C'")
            )
            await carol.until("document.querySelector('#call-with').innerText === 'Alice Liddell'")

    asyncio.run(main())


def test_a_log_is_read_to_its_beginning(world: Any) -> None:
    """It shows thirty calls, and older ones when asked to, which stay when a new one comes. On a phone it is still seen
    whole what there is to say of somebody who is not there."""

    async def main() -> None:
        async with world() as all_:
            alice = await all_.person("alice")
            all_.service.add_user("carol")
            await alice.run(_MANY)
            await alice.run("document.dispatchEvent(new Event('visibilitychange'))")
            await alice.until(f"{_SHOWN} === 30")
            await alice.looks(width=375)
            await alice.until("document.querySelector('#people small')")
            assert await alice.run(_STATE) == ["Offline, can be rung", True]
            await alice.click("#older")
            await alice.until(f"{_SHOWN} === 33 && document.querySelector('#older').hidden")
            await alice.call("carol", "audio")
            await alice.until("document.querySelector('#ring-what').innerText === 'Calling…'")  # it rings nowhere
            await alice.click("#cancel")
            await alice.at_home()
            await alice.until(f"{_SHOWN} === 34")

    asyncio.run(main())


_HOLD = """(() => {
  const real = window.fetch;
  window.fetch = async (url, ...more) => {
    if (String(url).includes("people?call=")) await new Promise((resolve) => { window.release = resolve; });
    return real(url, ...more);
  };
})()"""
_SHOWN = "document.querySelectorAll('#log time').length"
_STATE = """(({ innerText, scrollWidth, clientWidth }) => [innerText, scrollWidth <= clientWidth])(
  document.querySelector('#people small'))"""
_MANY = """(async () => {
  for (let n = 0; n < 33; n++) {
    const sessionId = crypto.randomUUID();
    await statecore.initiateCall('carol', { type: 'audio', sessionId });
    await statecore.cancelCall(sessionId);
  }
})()"""
