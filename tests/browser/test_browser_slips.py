"""What a person does by accident, or twice, in real Chromium: nothing comes of it that was not meant."""

from __future__ import annotations

import asyncio
from typing import Any

from statecore import CallQuery


def test_who_presses_twice_is_in_one_session(town: Any) -> None:
    """While the browser still asks for the microphone, a second click begins nothing; what is being connected can be
    given up, and then nothing of it is left; and whoever is in a session calls nobody besides, and is told why."""

    async def main(all_: Any, alice: Any, bob: Any) -> None:
        await alice.call("bob", "audio")
        await bob.click("#reject")
        await alice.at_home()
        await alice.run(_ASKED)
        for end in ("#cancel", "#end"):
            await alice.run("allowed = false")
            await alice.double_click("#new-session")
            await alice.until("document.querySelector('#ring-what').innerText === 'Connecting…'")
            await alice.run("document.querySelector('#new-session').click()")
            assert await alice.run("document.querySelector('#notice').innerText") == "You are in a call already."
            await alice.until("statecore.sessions.size === 1")
            if end == "#end":
                await alice.run("allowed = true")
                await alice.in_call()
                await alice.run("document.querySelector('[data-user=bob][data-call=audio]').click()")
                assert await alice.run("document.querySelector('#notice').innerText") == "You are in a call already."
            await alice.click(end)
            await alice.at_home()
            await alice.run("allowed = true")
            await asyncio.gather(alice.off(), alice.until("statecore.sessions.size === 0"))
        assert await alice.run("location.hash") == ""
        assert len(await all_.calls()) == 3  # of which two are sessions, and over
        empty = (await all_.service.find_calls(CallQuery(live=True))).calls
        assert {call.state for call in empty} == {"ended"}
        await alice.run("navigator.mediaDevices.getUserMedia = opener")

    town.run(main)


# Nothing is opened for as long as the user has not said that it may be.
_ASKED = """(() => {
  globalThis.opener = navigator.mediaDevices.getUserMedia;
  globalThis.allowed = false;
  navigator.mediaDevices.getUserMedia = async (wanted) => {
    while (!allowed) await new Promise((done) => setTimeout(done, 20));
    return opener(wanted);
  };
})()"""


def test_the_second_click_of_two_is_not_for_what_appears_there(town: Any) -> None:
    """Who clicks twice on what takes a ring or a call away calls nobody by the second, whatever is beneath; and a key
    that is held does nothing, and one that is pressed at once what it is for."""

    async def main(all_: Any, alice: Any, bob: Any) -> None:
        for tab, user in ((alice, "bob"), (bob, "alice")):
            await tab.run(_BENEATH % user)
        await alice.call("bob", "audio")
        await bob.rings()
        await alice.double_click("#cancel")
        await asyncio.gather(alice.at_home(), bob.at_home())
        await alice.call("bob", "audio")
        await bob.double_click("#reject")
        await asyncio.gather(alice.at_home(), bob.at_home())
        for tab in (alice, bob):
            await tab.until("!document.body.matches('.settling')")
        assert await all_.calls() == [("rejected", "rejected"), ("cancelled", "cancelled")]
        await alice.double_click("[data-user=bob][data-call=audio]")
        await bob.rings()
        await alice.send("Page.bringToFront")
        await alice.send("Input.dispatchKeyEvent", **_HELD)
        assert await alice.run("document.querySelector('#ring').open")
        await alice.press("Enter")
        await asyncio.gather(alice.at_home(), bob.at_home())
        assert len(await all_.calls()) == 3
        await alice.call("bob", "audio")
        await bob.click("#accept")
        await asyncio.gather(alice.in_call(), bob.in_call())
        await alice.double_click("#end")
        await asyncio.gather(alice.at_home(), bob.at_home())
        assert len(await all_.calls()) == 4
        for tab in (alice, bob):
            await tab.run("document.querySelector('#beneath').remove()")

    town.run(main)


# Wherever the page can be clicked, it is on the button that calls a user.
_BENEATH = """document.head.insertAdjacentHTML('beforeend',
  `<style id="beneath">[data-user=%s][data-call=audio] { position: fixed; inset: 0; width: auto; height: auto; }
  </style>`)"""
_HELD: Any = {
    "type": "keyDown",
    "autoRepeat": True,
    "key": "Enter",
    "code": "Enter",
    "windowsVirtualKeyCode": 13,
    "text": "\r",
}


def test_a_link_that_is_opened_meanwhile_is_asked_about_afterwards(town: Any) -> None:
    """In a session its own link is copied, whatever stands in the address; when it is over one is asked about the other
    link, and again when a call rang before one had answered. One that leads nowhere leaves the address."""

    async def main(all_: Any, alice: Any, bob: Any) -> None:
        await all_.browser.allow("alice", "clipboardReadWrite", "clipboardSanitizedWrite")
        await alice.send("Page.bringToFront")
        await alice.click("#new-session")
        await alice.in_call()
        link = await alice.run("location.href")
        await alice.run("location.hash = '#session=another'")
        await alice.until("document.querySelector('#notice').innerText.startsWith('You are asked about the link')")
        await alice.click("#copy-link")
        await alice.until("document.querySelector('#notice').innerText.startsWith('The link is copied')")
        assert await alice.run("navigator.clipboard.readText()") == link
        await alice.click("#end")
        await alice.until(_INVITED)
        await bob.call("alice", "audio")
        await alice.rings()
        await bob.click("#cancel")
        await asyncio.gather(bob.at_home(), alice.until(_INVITED))
        await alice.click("#not-now")
        await alice.at_home()
        await alice.run("location.hash = '#session=a%20b'")
        await alice.until("document.querySelector('#notice').innerText === 'This is not the link of a session.'")
        assert await alice.run("location.hash") == ""
        over = next(call for call in (await all_.service.find_calls()).calls if call.receiver)
        await alice.run(f"location.hash = '#session={over.session_id}'")
        await alice.click("#meet")
        await alice.until("document.querySelector('#notice').innerText === 'The call is over.'")
        await alice.at_home()
        assert await alice.run("location.hash") == ""

    town.run(main)


_INVITED = "document.querySelector('#meet')?.checkVisibility() && statecore.calls.length === 0"


def test_whoever_logs_out_in_a_call_is_asked(town: Any) -> None:
    """One may stay, in which case nothing comes of it; or leave, which ends the call at both sides. What is said while
    the question stands is seen in front of it, and heard."""

    async def main(all_: Any, alice: Any, bob: Any) -> None:
        await alice.call("bob", "audio")
        await bob.click("#accept")
        await asyncio.gather(alice.in_call(), bob.in_call())
        await alice.click("#logout")
        await alice.run("statecore.listeners.emit('error', { code: 'rate_limited' })")
        assert ("StaticText", "That was too much at once.") in await alice.heard_as()
        assert await alice.run(_IN_FRONT)
        assert ("dialog", "alice") in await alice.heard_as()
        await alice.press("Escape")
        assert await alice.run("document.body.dataset.view") == "call"
        assert not await alice.run("document.querySelector('#ring').open")
        before = all_.browser.warned
        await alice.click("#logout")
        await alice.click("#bye")
        await asyncio.gather(bob.at_home(), alice.until("document.body.dataset.view === 'login'"))
        assert all_.browser.warned == before
        await alice.login(all_.url, "alice")

    town.run(main)


_IN_FRONT = """(() => {
  const { x, y, width, height } = document.querySelector('#notice').getBoundingClientRect();
  return document.elementFromPoint(x + width / 2, y + height / 2).id === 'notice';
})()"""


def test_a_panel_has_the_focus_for_as_long_as_it_is_open(town: Any) -> None:
    """Whoever opens one is in it, Escape leaves it also from a field, and the control that opened it has the focus
    then; and a key that is held is one press."""

    async def main(all_: Any, alice: Any, bob: Any) -> None:
        await alice.call("bob", "audio")
        await bob.click("#accept")
        await asyncio.gather(alice.in_call(), bob.in_call())
        await alice.send("Page.bringToFront")
        held = {"type": "keyDown", "key": "m", "code": "KeyM", "text": "m", "windowsVirtualKeyCode": 77}
        for repeat in (False, True):
            await alice.send("Input.dispatchKeyEvent", autoRepeat=repeat, **held)
        await alice.until("document.querySelector('#mute').innerText === 'Unmute'")
        await alice.press("p")
        assert await alice.run("document.activeElement.id") == "panel"
        await alice.press("Escape")
        assert await alice.run("[document.querySelector('#panel').hidden, document.activeElement.id]") == [
            True,
            "participants",
        ]
        await alice.press("d")
        await alice.until("document.querySelector('#panel select')")
        await alice.press("Tab")
        assert await alice.run("document.activeElement.tagName") == "SELECT"
        await alice.press("Escape")
        assert await alice.run("[document.querySelector('#panel').hidden, document.activeElement.id]") == [
            True,
            "devices",
        ]
        assert await alice.run("document.querySelector('#mute').innerText") == "Unmute"
        await alice.click("#end")
        await asyncio.gather(alice.at_home(), bob.at_home())

    town.run(main)
