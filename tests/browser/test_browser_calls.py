"""Calls between pages in real Chromium, with fake devices and real media."""

from __future__ import annotations

import asyncio
from typing import Any


def test_a_page_calls_a_page(world: Any) -> None:
    """One page rings another, which accepts: both see moving pictures and hear sound, and an end shows at both."""

    async def main() -> None:
        async with world() as all_:
            alice, bob = await all_.person("alice"), await all_.person("bob")
            await alice.call("bob")
            await bob.click("#accept")
            await asyncio.gather(alice.in_call(), bob.in_call())
            await asyncio.gather(alice.sees("bob"), bob.sees("alice"), alice.hears(), bob.hears())
            await alice.click("#end")
            await asyncio.gather(alice.at_home(), bob.at_home())

    asyncio.run(main())


def test_a_call_is_declined_and_one_is_cancelled(world: Any) -> None:
    """A declined call and a cancelled one leave both pages as they were, and stand in the log as what they are."""

    async def main() -> None:
        async with world() as all_:
            alice, bob = await all_.person("alice"), await all_.person("bob")
            await alice.call("bob")
            await bob.click("#reject")
            await asyncio.gather(alice.at_home(), bob.at_home())
            await alice.call("bob")
            await bob.until("document.querySelector('#ring').open")
            await alice.click("#cancel")
            await asyncio.gather(alice.at_home(), bob.at_home())
            calls = (await all_.service.find_calls()).calls
            assert [str(call.status) for call in calls] == ["cancelled", "rejected"]

    asyncio.run(main())
