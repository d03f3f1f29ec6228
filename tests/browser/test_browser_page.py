"""What the page offers beside the call itself, in real Chromium: as a person sees it, and as a screen reader does."""

from __future__ import annotations

import asyncio
from typing import Any


def test_it_rings_while_one_is_in_a_session(world: Any) -> None:
    """Who is in a session is asked beside it: declining leaves the session alone, accepting leaves it for the call, and
    what still rings when it is left rings on the screen."""

    async def main() -> None:
        async with world() as all_:
            alice, bob = await all_.person("alice"), await all_.person("bob")
            await alice.click("#new-session")
            await alice.in_call()
            await bob.call("alice", "audio")
            await alice.until("document.querySelector('#waiting-text').innerText === 'bob asks for a call.'")
            assert "bob" in await alice.run("document.querySelector('#say').textContent")
            assert not await alice.run("document.querySelector('#ring').open")
            await alice.click("#waiting-no")
            await bob.at_home()
            assert await alice.run("document.querySelector('#waiting').hidden && document.body.dataset.view") == "call"
            await bob.call("alice", "audio")
            await alice.click("#waiting-yes")
            await asyncio.gather(bob.in_call(), alice.until("document.querySelector('#call-with').innerText === 'bob'"))
            await alice.click("#end")
            await asyncio.gather(alice.at_home(), bob.at_home(), alice.off(), bob.off())
            await alice.click("#new-session")
            await alice.in_call()
            await bob.call("alice", "audio")
            await alice.until("!document.querySelector('#waiting').hidden")
            await alice.click("#end")
            await alice.click("#reject")
            await asyncio.gather(alice.at_home(), bob.at_home(), alice.off())
            assert {("rejected", "rejected"), ("ended", "hangup")} <= set(await all_.calls())

    asyncio.run(main())
