"""Pages in trouble, in real Chromium: several devices, a reload in the middle of a call, a network that is cut."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from statecore.flow import Timers


def test_two_tabs_are_two_devices(town: Any) -> None:
    """It rings in every tab of a user; one answers or declines, and the others stop, say why, and open nothing."""

    async def main(all_: Any, alice: Any, left: Any) -> None:
        right = await all_.person("bob")
        await alice.call("bob", "audio")
        await right.rings()
        await left.click("#accept")
        await asyncio.gather(left.in_call(), alice.in_call(), right.at_home(), alice.hears(), left.hears())
        await right.until("document.querySelector('#notice').textContent === 'Answered on another device'")
        await left.click("#end")
        await asyncio.gather(alice.at_home(), left.at_home())
        await alice.call("bob", "audio")
        await left.rings()
        await right.click("#reject")
        await asyncio.gather(*(tab.at_home() for tab in (alice, left, right)))
        await left.until("document.querySelector('#notice').textContent === 'Declined on another device'")
        await asyncio.gather(alice.off(), left.off())
        assert await right.run("opened.length") == 0
        assert await all_.calls() == [("rejected", "rejected"), ("ended", "hangup")]

    town.run(main)


def test_a_page_is_loaded_anew_in_the_middle_of_a_call(town: Any) -> None:
    """Who does so is asked, but only in a call. It ends at both sides, at once and with its reason; nothing rings, no
    camera is on, both can call again."""

    async def main(all_: Any, alice: Any, bob: Any) -> None:
        await alice.call("bob")
        await bob.click("#accept")
        await asyncio.gather(alice.in_call(), bob.in_call())
        await alice.sees("bob")
        before = all_.browser.warned
        await alice.reload()
        await asyncio.gather(alice.at_home(), bob.at_home(), bob.off())
        await alice.reload()
        assert all_.browser.warned == before + 1
        assert await alice.run("opened.length") == 0
        assert [status for status, _ in await all_.calls()] == ["ended"]
        await bob.call("alice")
        await alice.click("#accept")
        await asyncio.gather(alice.in_call(), bob.in_call())
        await asyncio.gather(alice.sees("bob"), bob.sees("alice"))

    town.run(main)


@pytest.mark.soak
def test_a_page_is_loaded_anew_while_it_rings(town: Any) -> None:
    """The callee's page rings again once it is back, and answers; the caller's takes its call along."""

    async def main(all_: Any, alice: Any, bob: Any) -> None:
        await alice.call("bob", "audio")
        await bob.rings()
        await bob.reload()
        await bob.click("#accept")
        await asyncio.gather(alice.in_call(), bob.in_call())
        await asyncio.gather(alice.hears(), bob.hears())
        await bob.click("#end")
        await alice.at_home()
        await alice.call("bob", "audio")
        await bob.rings()
        await alice.reload()
        await asyncio.gather(alice.at_home(), bob.at_home(), bob.off())
        await bob.until("document.querySelector('#notice').textContent === 'Missed call from alice'")
        assert [status for status, _ in await all_.calls()][1] == "ended"

    town.run(main)


def test_the_network_is_cut_in_the_middle_of_a_call(town: Any) -> None:
    """Media goes on meanwhile, but who mutes is not heard any more, however long it takes, and what is opened has its
    icons; both pages say that they reconnect, and do; then the other is told, the call goes on, and ends, as any."""

    async def main(all_: Any, alice: Any, bob: Any) -> None:
        await alice.call("bob")
        await bob.click("#accept")
        await asyncio.gather(alice.in_call(), bob.in_call())
        await asyncio.gather(alice.sees("bob"), bob.hears())
        all_.browser.offline = True
        all_.wire.cut()
        await asyncio.gather(alice.until(LOST), bob.until(LOST))
        await alice.press("p")
        assert await alice.run(ICONS) == 4
        await alice.press("p")
        await asyncio.gather(alice.sees("bob"), bob.hears())
        said = await alice.run(_IMPATIENT)
        await alice.press("m")
        await alice.until(f"{_MUTE} === 'Unmute true' && {MUTED % 'alice'}")
        await bob.hears_nothing()
        await alice.until(f"statecore.endpoint.n > {said + 3}")
        assert await bob.run(f"!{MUTED % 'alice'}")
        all_.wire.mend()
        await asyncio.gather(alice.until(BACK), bob.until(BACK))
        await asyncio.gather(bob.until(MUTED % "alice"), alice.until(f"{_MUTE} === 'Unmute false'"))
        await bob.hears_nothing()
        await alice.press("m")
        await asyncio.gather(bob.hears(), alice.until(f"{_MUTE} === 'Mute false'"))
        await alice.run("statecore.core.timers = patient")
        await asyncio.gather(alice.sees("bob"), bob.sees("alice"))
        await bob.click("#end")
        await asyncio.gather(alice.at_home(), bob.at_home(), alice.off(), bob.off())
        assert await all_.calls() == [("ended", "hangup")]

    town.run(main)


# From now on a command that is not heard within a moment has failed; gives how many there were.
_IMPATIENT = """(() => {
  globalThis.patient = statecore.core.timers;
  statecore.core.timers = { ...patient, command: 500 };
  return statecore.endpoint.n;
})()"""
_MUTE = "`${document.querySelector('#mute').innerText} ${document.querySelector('#mute').dataset.pending}`"
MUTED = """document.querySelector('.tile[data-user="%s"] .label').innerText.includes('muted')"""
# How many icons of the panel are drawn, by the page itself: what is fetched for it may come out of a cache, or not.
ICONS = """[...document.querySelectorAll('#panel use')]
  .filter((each) => each.getAttribute('href').startsWith('#') && each.getBBox().width > 0).length"""
LOST, BACK = (f"document.querySelector('#link').dataset.state === '{state}'" for state in ("lost", "on"))


@pytest.mark.soak
def test_the_network_falls_silent_in_the_middle_of_a_call(world: Any) -> None:
    """Both links only seem to stand: both pages notice, connect anew, and the call goes on; media, too."""

    async def main() -> None:
        async with world(timers=Timers(heartbeat=1, lease=30)) as all_:
            alice, bob = await all_.person("alice"), await all_.person("bob")
            await alice.call("bob")
            await bob.click("#accept")
            await asyncio.gather(alice.in_call(), bob.in_call(), alice.sees("bob"), bob.hears())
            all_.wire.silence()
            await asyncio.gather(*(page.until(LOST, 20) for page in (alice, bob)))
            await asyncio.gather(*(page.until(BACK) for page in (alice, bob)))
            await alice.click("#mute")
            await bob.until(MUTED % "alice")
            await asyncio.gather(alice.sees("bob"), bob.sees("alice"))
            await bob.click("#end")
            await asyncio.gather(alice.at_home(), bob.at_home(), alice.off(), bob.off())
            assert await all_.calls() == [("ended", "hangup")]

    asyncio.run(main())


@pytest.mark.soak
def test_the_network_is_silent_for_longer_than_a_lease(world: Any) -> None:
    """The call is lost at both sides, no camera stays on, and both are back by themselves and can call again."""

    async def main() -> None:
        async with world(timers=Timers(heartbeat=1, lease=3)) as all_:
            alice, bob = await all_.person("alice"), await all_.person("bob")
            await alice.call("bob")
            await bob.click("#accept")
            await asyncio.gather(alice.in_call(), bob.in_call(), alice.sees("bob"))
            all_.wire.silence()
            await asyncio.gather(alice.at_home(), bob.at_home(), alice.off(), bob.off())
            await asyncio.gather(alice.until(BACK), bob.until(BACK))
            await alice.call("bob", "audio")
            await bob.click("#accept")
            await asyncio.gather(alice.in_call(), bob.in_call(), alice.hears(), bob.hears())
            await bob.click("#end")
            await alice.at_home()
            assert await all_.calls() == [("ended", "hangup"), ("ended", "lost")]

    asyncio.run(main())


_ASKED = """(async () => {
  let asked = 0;
  const token = async () => { asked += 1; throw new Error('nobody gives one'); };
  const other = new statecore.constructor(location.href, { user: 'carol', token });
  other.connect().catch(() => {});
  await new Promise((done) => setTimeout(done, 3000));
  await other.close();
  return asked;
})()"""


@pytest.mark.soak
def test_a_page_does_not_storm_a_service_that_is_away(world: Any) -> None:
    """It tries again and again, but after longer and longer pauses, also for a token; and is back with the service."""

    async def main() -> None:
        async with world() as all_:
            alice = await all_.person("alice")
            all_.browser.offline = True
            all_.wire.cut()
            await alice.until(LOST)
            before = all_.wire.tries
            assert 3 <= await alice.run(_ASKED) <= 12
            assert 3 <= all_.wire.tries - before <= 40
            all_.wire.mend()
            await alice.until(BACK)

    asyncio.run(main())


@pytest.mark.soak
def test_the_network_is_cut_while_it_rings(town: Any) -> None:
    """What is answered meanwhile is answered once the network is back; what is cancelled then does not ring on."""

    async def main(all_: Any, alice: Any, bob: Any) -> None:
        all_.browser.offline = True
        await alice.call("bob", "audio")
        await bob.rings()
        all_.wire.cut()
        await bob.click("#accept")
        all_.wire.mend()
        await asyncio.gather(alice.in_call(), bob.in_call(), alice.hears(), bob.hears())
        await bob.click("#end")
        await alice.at_home()
        await alice.call("bob", "audio")
        await bob.rings()
        all_.wire.cut()
        await alice.click("#cancel")
        await alice.at_home()
        all_.wire.mend()
        await bob.at_home()
        await asyncio.gather(alice.off(), bob.off())
        assert await all_.calls() == [("cancelled", "cancelled"), ("ended", "hangup")]

    town.run(main)


_BLOCKED = """
if (navigator.mediaDevices) navigator.mediaDevices.getUserMedia = async () => {
  throw new DOMException('blocked', 'NotAllowedError');
};
"""


@pytest.mark.soak
def test_a_page_has_no_microphone_and_no_camera(world: Any) -> None:
    """It says so, sees and hears the other all the same, and both sides see it muted and without a picture."""

    async def main() -> None:
        async with world() as all_:
            alice, bob = await all_.browser.tab("alice"), await all_.person("bob")
            await alice.send("Page.addScriptToEvaluateOnNewDocument", source=_BLOCKED)
            await alice.login(all_.url, "alice")
            await bob.call("alice")
            await alice.click("#accept")
            await asyncio.gather(alice.in_call(), bob.in_call())
            notice = await alice.until("document.querySelector('#notice').textContent")
            assert "microphone is blocked" in notice
            assert "camera is blocked" in notice
            await asyncio.gather(alice.sees("bob"), alice.hears())
            muted = MUTED % "alice"
            await asyncio.gather(alice.until(muted), bob.until(muted))
            await bob.until("""document.querySelector('.tile[data-user="alice"] video').hidden""")
            await alice.run("document.querySelector('#notice').textContent = ''")
            await alice.click("#mute")  # which tries again
            await alice.until("document.querySelector('#notice').textContent.includes('microphone is blocked')")
            await asyncio.gather(alice.until(muted), bob.until(muted))

    asyncio.run(main())
