"""Sessions that are joined by their link, in real Chromium: several at once, and one who is left alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytestmark = pytest.mark.soak


def test_three_pages_meet_by_a_link(world: Any) -> None:
    """Whoever opens the link is asked first; all see and hear each other, in each layout; one leaves, two go on; who
    loads the page anew may come back."""

    async def main() -> None:
        async with world() as all_:
            alice, bob, carol = [await all_.person(name) for name in ("alice", "bob", "carol")]
            await alice.click("#new-session")
            await alice.in_call()
            link = await alice.run("location.hash")
            for tab in (bob, carol):
                await tab.run(f"location.hash = '{link}'")
                await tab.until("document.querySelector('#meet')?.checkVisibility()")
                assert await tab.run("opened.length") == 0
                await tab.click("#meet")
            await asyncio.gather(bob.in_call(), carol.in_call())
            await asyncio.gather(alice.sees("bob"), bob.sees("carol"), carol.sees("alice"), carol.hears())
            for layout in ("sidebar", "spotlight", "tile"):
                await carol.click(f"[data-layout={layout}]")
                await carol.until(f"document.querySelector('#stage').dataset.layout === '{layout}'")
                assert await carol.run(_APART), layout
            await bob.click("#end")
            await asyncio.gather(bob.at_home(), bob.off())
            assert await bob.run("location.hash") == ""
            await alice.until("document.querySelectorAll('.tile').length === 2")
            await carol.reload()
            await carol.click("#meet")
            await carol.in_call()
            await asyncio.gather(carol.sees("alice"), alice.sees("carol"))

    asyncio.run(main())


# Every tile stands within the stage, and shows its label whole.
_APART = """(() => {
  const within = (inner, outer) => inner.left >= outer.left - 1 && inner.right <= outer.right + 1
    && inner.top >= outer.top - 1 && inner.bottom <= outer.bottom + 1;
  const stage = document.querySelector('#stage').getBoundingClientRect();
  const tiles = [...document.querySelectorAll('.tile')];
  return tiles.length === 3 && tiles.every((tile) => within(tile.getBoundingClientRect(), stage)
    && within(tile.querySelector('.label').getBoundingClientRect(), tile.getBoundingClientRect()));
})()"""


def test_who_is_alone_is_asked_and_then_it_ends(world: Any) -> None:
    """The idle prompt says how long it still takes, and that somebody has to join, whom the link can be sent to;
    somebody who joins takes it away; left alone, the session ends."""

    async def main() -> None:
        async with world() as all_:
            alice, bob = await all_.person("alice"), await all_.person("bob")
            await alice.run(_IMPATIENT)
            await alice.click("#new-session")
            await alice.in_call()
            await alice.until(
                "document.querySelector('#asked').innerText.includes('Unless somebody joins, the call ends in')"
            )
            await alice.click("#asked-yes")
            await alice.until("document.querySelector('#notice').innerText")
            assert not await alice.run("document.querySelector('#asked').hidden")
            await bob.run(f"location.hash = '{await alice.run('location.hash')}'")
            await bob.click("#meet")
            await bob.in_call()
            await alice.until("document.querySelector('#asked').hidden")
            await bob.click("#end")
            await alice.until("!document.querySelector('#asked').hidden")
            await asyncio.gather(alice.at_home(), alice.off())
            await alice.until("document.querySelector('#notice').textContent === 'Nobody else was there'")

    asyncio.run(main())


_IMPATIENT = """(() => {
  const start = statecore.startSession.bind(statecore);
  statecore.startSession = (what, more) => start(what, { ...more, idleTimeout: 0.3, idlePrompt: 3 });
})()"""
