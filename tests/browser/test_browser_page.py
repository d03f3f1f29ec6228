"""What the page offers beside the call itself, in real Chromium: as a person sees it, and as a screen reader does."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from statecore import CallService, CallSettings
from statecore.errors import InvalidSettings
from statecore_web import CallApp


def test_it_rings_while_one_is_in_a_session(town: Any) -> None:
    """Who is in a session, and copies its link, is asked beside it: declining leaves the session alone, accepting
    leaves it for the call, and what still rings when it is left rings on the screen."""

    async def main(all_: Any, alice: Any, bob: Any) -> None:
        await alice.click("#new-session")
        await alice.in_call()
        await all_.browser.allow("alice", "clipboardReadWrite", "clipboardSanitizedWrite")
        await alice.send("Page.bringToFront")
        await alice.click("#copy-link")
        await alice.until("document.querySelector('#notice').innerText.startsWith('The link is copied')")
        assert await alice.run("navigator.clipboard.readText()") == await alice.run("location.href")
        await bob.call("alice", "audio")
        await alice.until("document.querySelector('#waiting-text').innerText === 'bob asks for a call.'")
        await alice.plays(440)
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

    town.run(main)


def test_who_has_a_picture_is_shown_by_it(town: Any) -> None:
    """In the list, as it rings, in the call and among the participants; by initials who has none, one that does not
    load, or one whose address is neither safe nor the service's own."""

    async def main(all_: Any, alice: Any, bob: Any) -> None:
        register = all_.service.register_user
        mine = f"{all_.url}page/icon.svg"
        for name, address in {"alice": "page/icon.svg", "bob": _RED, "none": "", **_UNSEEN}.items():
            await register(name, name, avatar=address)
        all_.browser.offline = True  # one of the pictures cannot be reached
        await asyncio.gather(alice.reload(), bob.reload())
        initials = [[name[0].upper()] for name in sorted([*_UNSEEN, "none"])]
        await alice.until(f"{_FACES}('#people').length > {len(initials)}")
        await alice.until(f"!document.querySelector('#people img[src^=https]') && {_FACES}('#people')[0].length === 2")
        assert await alice.run(f"{_FACES}('#people')") == [["B", _RED], *initials]
        await bob.until(f"{_FACES}('#people')[0]?.length === 2")
        assert await bob.run(f"{_FACES}('#people')") == [["A", mine], *initials]
        assert await bob.run(f"{_FACES}('#me')") == [["B", _RED]]
        assert await bob.run("statecore.user") == {"uid": "bob", "name": "bob", "avatar": _RED}
        await alice.call("bob", "audio")
        await bob.rings()
        for page, face in ((alice, ["B", _RED]), (bob, ["A", mine])):
            await page.until(f"{_FACES}('#ring')[0].length === 2")
            assert await page.run(f"{_FACES}('#ring')") == [face]
        await bob.click("#accept")
        await asyncio.gather(alice.in_call(), bob.in_call())
        await bob.press("p")
        for place in ("#stage", "#panel"):
            both = [["A", mine], ["B", _RED]]
            await bob.until(f"{_FACES}('{place}').filter((face) => face.length === 2).length === 2")
            assert sorted(await bob.run(f"{_FACES}('{place}')")) == both
        for name in (*_UNSEEN, "none"):
            await all_.service.delete_user(name)

    town.run(main)


_RED = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'%3E%3Cpath d='M0 0h99v99H0' fill='red'/%3E%3C/svg%3E"
)
_UNSEEN = {
    "away": "https://127.0.0.1:1/a.png", "plain": "http://127.0.0.1:1/a.png", "script": "javascript:alert(1)",
    "text": "data:text/html,a", "odd": "https://",
}  # fmt: skip
# The faces within an element: their initials, and the address of the picture that is seen instead.
_FACES = """((place) => [...document.querySelectorAll(`${place} .avatar`)].map((face) => {
  const image = face.querySelector('img');
  const seen = image?.naturalWidth > 0 && image.referrerPolicy === 'no-referrer';
  return [face.innerText, ...(seen ? [image.src] : [])];
}))"""


def test_its_buttons_are_those_that_are_asked_for_and_a_press_is_told(world: Any) -> None:
    """It shows the title, and of its buttons those that the settings of the session leave; the press of each is told by
    its name."""

    async def main() -> None:
        page = CallSettings(title="Stand-up", idle_timeout=None, **_ASKED)
        async with world(page=page) as all_:
            alice = await all_.person("alice")

            await alice.click("#new-session")
            await alice.in_call()
            assert (
                await alice.run("[document.querySelector('#call-with').innerText, document.title]") == ["Stand-up"] * 2
            )
            assert await alice.run(_SHOWN) == [each for each in _VIDEO if each not in ("copy-link", "mute")]
            assert await alice.run("document.activeElement.id") == "camera"
            assert await alice.run("[...statecore.sessions.values()][0].settings.idleTimeout") is None
            await alice.click("#end")
            await alice.at_home()
            await alice.run(_WANTED)
            for kind, controls in (("video", _VIDEO), ("audio", _AUDIO)):
                await alice.run(f"globalThis.wanted = {{ type: '{kind}', {_AND} }}")
                await alice.click("#new-session")
                await alice.in_call()
                assert await alice.run(_SHOWN) == controls
                buttons = {control: _BUTTONS[control] for control in controls if control in _BUTTONS}
                for control, (setting, name) in buttons.items():
                    without = await alice.run(f"{_WITHOUT}('{setting}', '{name}')")
                    assert without == [each for each in controls if each != control], setting
                for control, (_, name) in buttons.items():
                    await alice.click(f"#{control} [data-layout=sidebar]" if control == "layouts" else f"#{control}")
                    await alice.until(f"pressed.at(-1) === '{name}'")
                await alice.at_home()
                assert await alice.run("pressed.splice(0)") == [name for _, name in buttons.values()]

    asyncio.run(main())


_ASKED = {
    "show_invite_button": False, "show_chat_button": True, "show_network_button": True, "show_mute_button": False,
}  # fmt: skip
_AND = "showInviteButton: true, showMuteButton: true"
# The control that each setting and each press is about.
_BUTTONS = {
    "copy-link": ("showInviteButton", "invite"),
    "layouts": ("showModeButton", "mode"),
    "mute": ("showMuteButton", "mute"),
    "camera": ("showPauseButton", "pause"),
    "to-video": ("showSwitchToVideoButton", "switch_to_video"),
    "share": ("showShareButton", "share"),
    "hand": ("showRaiseHandButton", "raise_hand"),
    "participants": ("showParticipantsButton", "participants"),
    "chat": ("showChatButton", "chat"),
    "network": ("showNetworkButton", "network"),
    "end": ("showEndButton", "call_end"),
}
_REST = ["share", "hand", "participants", "chat", "network", "devices", "end"]
_VIDEO = ["copy-link", "layouts", "mute", "camera", *_REST]
_AUDIO = ["copy-link", "layouts", "mute", "to-video", *_REST]
_SHOWN = """[...document.querySelectorAll('.call .top > [id], #controls > [id]')]
  .filter((each) => each.checkVisibility() && each.matches('button, #layouts')).map((each) => each.id)"""
# From now on sessions are started by what is wanted here besides.
_WANTED = """(() => {
  globalThis.pressed = [];
  const start = statecore.startSession.bind(statecore);
  statecore.startSession = (what, more) => start(what, { ...more, ...wanted });
})()"""
# What is shown in the session without a button; and its press is listened for.
_WITHOUT = f"""((setting, name) => {{
  const [session] = [...statecore.sessions.values()];
  const {{ settings }} = session;
  session.settings = {{ ...settings, [setting]: false }};
  session.setLayout('tile');
  const shown = {_SHOWN};
  session.settings = settings;
  session.setLayout('tile');
  session.on(`${{name}}_button_pressed`, () => pressed.push(name));
  return shown;
}})"""


def test_they_write_to_each_other_and_see_how_well_they_are_connected(town: Any) -> None:
    """Where the buttons for it are shown: what one writes the other is told of, finds when the chat is opened, and
    answers there. The field is free for the next at once, what could not be sent says so where it stands and can be
    sent again, and what is still on its way cannot. Whoever has no chat is not told what is written; the network's
    figures are there and change."""

    async def main(all_: Any, alice: Any, bob: Any) -> None:
        for page in (alice, bob):
            await page.run(_WANTED)
            await page.run("globalThis.wanted = { showChatButton: true, showNetworkButton: true }")
        await alice.call("bob", "audio")
        await bob.click("#accept")
        await asyncio.gather(alice.in_call(), bob.in_call())
        await alice.press("c")
        for text in ("<b>Hello</b>", "Are you there?"):
            await alice.type("#panel input", text)
            await alice.press("Enter")
            assert await alice.run("document.querySelector('#panel input').value") == ""
        await bob.until("document.querySelector('#chat').innerText === 'Chat (2)'")
        assert await bob.run("document.querySelector('#notice').innerText") == "alice: Are you there?"
        await bob.click("#chat")
        assert await bob.run(_SAID) == ["alice: <b>Hello</b>", "alice: Are you there?"]
        assert await bob.run("document.querySelector('#chat').innerText") == "Chat"
        assert await bob.run("document.querySelector('#notice').hidden")
        await bob.type("#panel input", "Yes")
        await bob.press("Enter")
        await alice.until(f"{_SAID}.at(-1) === 'bob: Yes'")
        await alice.run("document.querySelector('#panel input').value = 'long'.repeat(10_000)")
        await alice.press("Enter")
        await alice.until(f"{_STATE} === 'Not sent: The message is too long.'")
        await _is_late_and_too_much(alice, bob)
        await bob.run(_NO_CHAT)
        await alice.type("#panel input", "Unheard")
        await alice.press("Enter")
        await alice.until(f"{_SAID}.at(-1) === 'You: Unheard'")  # and bob has it
        await alice.until(f"{_STATE} === undefined")
        assert await bob.run("document.querySelector('#say').textContent") == "alice: Are you there?"
        assert await bob.run(f"{_SAID}.at(-1)") == "alice: Three"
        assert ("log", "Messages") in await alice.heard_as()
        await _fits(alice, bob)
        await alice.press("Tab")  # out of the field: letters are keys again
        await alice.run("document.activeElement.blur()")
        await alice.press("n")
        await alice.until(
            r"/bob\n\d+ ms there and back · 0\.0 % lost/.test(document.querySelector('#panel').innerText)"
        )
        await _fits(alice)
        await alice.click("#end")
        await asyncio.gather(alice.at_home(), bob.at_home())
        for page in (alice, bob):
            await page.run("delete statecore.startSession")

    town.run(main)


async def _is_late_and_too_much(alice: Any, bob: Any) -> None:
    """What the other's device does not say that it has, and what is more than may be on the way to it."""
    await alice.run(_IMPATIENT)
    await bob.run("statecore.connection.send = () => {}")  # nobody is told that he has anything
    for text in ("One", "Two"):
        await alice.type("#panel input", text)
        await alice.press("Enter")
    assert await alice.run(f"{_SAID}.slice(-2)") == ["You: One", "You: Two"]
    assert await alice.run(_STATE) == "Sending…"
    await alice.until(f"{_STATE} === 'Not everybody had it in time: it still goes to them.'")
    await alice.run(_FULL)
    await alice.type("#panel input", "Three")
    await alice.press("Enter")
    await alice.until(f"{_STATE}.startsWith('Not sent: ')")
    await _fits(alice)
    await bob.run("delete statecore.connection.send")
    await alice.until("[...room.leg.lanes.values()].every((lane) => !lane.mails.length)")
    assert await alice.run("[...document.querySelectorAll('.chat button')].length") == 1
    await alice.click(".chat button")
    await bob.until(f"{_SAID}.at(-1) === 'alice: Three'")
    assert await bob.run(f"{_SAID}.slice(-4)") == ["You: Yes", "alice: One", "alice: Two", "alice: Three"]
    await alice.until(f"{_SAID}.at(-1) === 'You: Three' && {_STATE} === undefined")
    await alice.run("statecore.core.timers = patient")


# What stands with the last message of what has become of it.
_STATE = "document.querySelector('.chat li:last-child small:nth-of-type(2)')?.innerText"
_IMPATIENT = """(() => {
  globalThis.room = [...statecore.sessions.values()][0];
  globalThis.patient = statecore.core.timers;
  statecore.core.timers = { ...patient, command: 500 };
})()"""
# As much is on the way to the other as may be.
_FULL = """(() => {
  const [lane] = room.leg.lanes.values();
  for (let n = lane.mails.length; n < 256; n++) room.sendMessage(n).catch(() => {});
})()"""
_NO_CHAT = """(() => {
  const [session] = [...statecore.sessions.values()];
  session.settings = { ...session.settings, showChatButton: false };
})()"""
_SAID = """[...document.querySelectorAll('.chat li')]
  .map((each) => `${each.querySelector('small').innerText}: ${each.querySelector('p').innerText}`)"""


@pytest.mark.parametrize("asked", [{"show_recording_button": True}, {"presenter_mode": True}, {"type": "audio"}])
def test_what_the_page_cannot_do_is_not_promised(asked: dict[str, Any]) -> None:
    """A setting that the page does not act on is refused by its name when the service is made."""
    with pytest.raises(InvalidSettings, match=next(iter(asked))):
        CallApp(CallService(), page=CallSettings(**asked))


def test_whoever_is_known_is_found(town: Any) -> None:
    """Also who is beyond those that the list begins with. What was written last counts, whichever answer comes last;
    and in the log who is not among those that were found keeps the name."""

    async def main(all_: Any, alice: Any, bob: Any) -> None:
        names = [f"u{number:03}" for number in range(201)]
        for name in names:
            await all_.service.register_user(name, f"Person {name}")
        await bob.call("alice", "audio")
        await alice.click("#reject")
        await alice.until(f"{_LISTED}.length === 200")
        await alice.run(_HELD % "q=u0")
        await alice.type("#search", "u0")
        await alice.until("globalThis.letGo")
        await alice.type("#search", "99")
        await alice.until(f"String({_LISTED}) === 'u099'")
        await alice.run("letGo()")
        assert await alice.run(_LISTED) == ["u099"]
        await alice.run("document.querySelector('#search').value = ''")
        await alice.type("#search", "u200")
        await alice.until(f"String({_LISTED}) === 'u200'")
        assert await alice.run("document.querySelector('#log b').innerText") == "bob"
        await alice.type("#search", "?")
        await alice.until("document.querySelector('#people').innerText === 'Nobody of that name.'")
        await alice.run("document.querySelector('#search').value = ''")
        for name in names:
            await all_.service.delete_user(name)

    town.run(main)


_LISTED = "[...document.querySelectorAll('#people [data-call=video]')].map((each) => each.dataset.user)"
# What is answered to a request whose address ends so is known no sooner than `letGo` is called; it returns when that is
# over.
_HELD = """(() => {
  const asked = fetch;
  globalThis.fetch = async (path, ...more) => {
    const answer = await asked(path, ...more);
    if (!path.endsWith('%s')) return answer;
    const body = await answer.json();
    const held = new Promise((resolve) => {
      globalThis.letGo = () => {
        resolve(body);
        return new Promise((done) => setTimeout(done));
      };
    });
    return { ok: true, json: () => held };
  };
})()"""


def test_what_can_be_done_in_a_call(town: Any) -> None:
    """Every control does what it says, and the other page shows it; the developer view follows; on a phone, in the dark
    nothing stands outside the screen, every text can be read, and a screen reader is told what there is."""

    async def main(all_: Any, alice: Any, bob: Any) -> None:
        await alice.looks()
        await bob.looks(width=390, height=844, scheme="dark")
        await asyncio.gather(alice.reload(), bob.reload())
        await _fits(alice, bob)
        await _rings_and_is_accepted(alice, bob)
        await _asks_for_video(alice, bob)
        await _pauses_and_raises_a_hand(alice, bob)
        await _chooses_devices(alice, bob)
        await _is_told(alice, bob)
        await bob.click("#end")
        await asyncio.gather(alice.at_home(), bob.at_home(), alice.off(), bob.off())
        assert await bob.run("document.activeElement.id") == "main"

    town.run(main)


async def _fits(*pages: Any) -> None:
    """Everything stands within the screen, and every text can be read."""
    for page in pages:
        assert await page.run(_MISPLACED) == []
        assert await page.run(_UNREADABLE) == []


async def _rings_and_is_accepted(alice: Any, bob: Any) -> None:
    """The developer view lights each state and lists what happens."""
    await alice.click("#developer")
    assert await alice.run(_LIT) == ["idle"]
    await alice.call("bob", "audio")
    await bob.rings()
    await alice.until(f"String({_LIT}) === 'ringing'")
    await _fits(alice, bob)
    assert {("dialog", "alice"), ("button", "Accept"), ("button", "Decline")} <= set(await bob.heard_as())
    await bob.click("#accept")
    await asyncio.gather(alice.in_call(), bob.in_call())
    assert await alice.run(_LIT) == ["active"]
    events = await alice.run("document.querySelector('#events').innerText")
    assert "ringing → accepted" in events
    assert "on_outgoing_call_accepted" in events
    await _fits(alice, bob)
    await alice.looks(width=800)
    await alice.press("p")
    await _fits(alice)
    await alice.press("p")
    await alice.looks()
    await alice.click("#developer")
    await alice.until("!document.querySelector('#dev').checkVisibility()")


async def _asks_for_video(alice: Any, bob: Any) -> None:
    """Declined, withdrawn, and agreed to; until then no camera is open."""
    asked = "document.querySelector('#asked').checkVisibility()"
    await alice.click("#to-video")
    await bob.click("#asked-no")
    await alice.until("document.querySelector('#notice').innerText === 'Video was declined.'")
    await alice.click("#to-video")
    await bob.until(asked)
    assert await bob.run("document.querySelector('#say').textContent") == "alice asks to switch to video."
    await _fits(bob)
    since = await alice.run("performance.now()")
    await alice.until(f"performance.now() > {since} + 500")  # before, it would be a double click
    await alice.click("#to-video")
    await bob.until(f"!{asked}")
    assert await bob.run(_CAMERAS) == await alice.run(_CAMERAS) == 0
    await alice.click("#to-video")
    await bob.click("#asked-yes")
    await asyncio.gather(alice.sees("bob"), bob.sees("alice"))


async def _pauses_and_raises_a_hand(alice: Any, bob: Any) -> None:
    """A paused camera is shut; a hand is seen until it is lowered; who does not see it is told."""
    dark = """document.querySelector('.tile[data-user="alice"] video').hidden"""
    hand = """Boolean(document.querySelector('.tile[data-user="alice"] [aria-label="Hand raised"]'))"""
    await alice.press("v")
    await asyncio.gather(bob.until(dark), bob.until(_SAYS % "has stopped the video."), alice.until(f"{_CAMERAS} === 0"))
    await alice.press("v")
    await alice.press("h")
    await asyncio.gather(
        bob.until(f"!{dark}"), bob.until(hand), bob.until(_SAYS % "has raised a hand."), alice.until(hand)
    )  # the key lowers what she sees is up
    await alice.press("h")
    await bob.until(f"!{hand}")
    await bob.until(_SAYS % "has lowered the hand.")


async def _chooses_devices(alice: Any, bob: Any) -> None:
    """Another microphone and camera are heard and seen, and those before are shut; sound comes from another speaker."""
    await alice.press("d")
    await alice.until("document.querySelectorAll('#panel select').length === 3")
    for kind, name in (("audio", "Microphone"), ("video", "Camera")):
        chosen = await alice.run(_CHOOSE % name)
        used = f"statecore.sessions.values().next().value.localTrack('{kind}').getSettings().deviceId"
        await alice.until(f"{used} === {json.dumps(chosen)}")
    await asyncio.gather(bob.sees("alice"), bob.hears())
    assert await alice.run("opened.filter((track) => track.readyState === 'live').length") == 2
    speaker = await alice.run(_CHOOSE % "Speaker")
    await alice.until(f"document.querySelector('#sound audio').sinkId === {json.dumps(speaker)}")


async def _is_told(alice: Any, bob: Any) -> None:
    """Everything has a role and a name; each control's key stands in its title, and no letter ends the call. The
    drawing can be read."""
    await bob.press("p")
    await bob.until("document.querySelector('#panel').checkVisibility()")
    await _fits(alice, bob)
    told = await bob.heard_as()
    assert set(told) >= {
        ("toolbar", "Call controls"), ("button", "Mute"), ("button", "End call"), ("radiogroup", "Layout"),
        ("radio", "Tile"), ("heading", "Participants (2)"), ("image", "Camera on"), ("status", ""),
    }  # fmt: skip
    assert ("group", "bob") in await alice.heard_as()
    assert [role for role, name in told if role in ("button", "radio", "combobox", "image") and not name] == []
    keys = await bob.run("[...document.querySelectorAll('#controls [data-key]')].map((each) => each.title)")
    assert [title[-3:] for title in keys] == ["(m)", "(v)", "(v)", "(s)", "(h)", "(p)", "(c)", "(n)", "(d)"]
    await bob.press("e")
    assert await bob.run("document.body.dataset.view") == "call"
    await bob.click("#developer")
    assert await bob.run(_DRAWN) >= 9
    await _fits(bob)
    await bob.click("#developer")


_SAYS = "document.querySelector('#say').textContent === 'alice %s'"
# How large its text is, in pixels.
_DRAWN = """(() => {
  const drawing = document.querySelector('#drawing svg');
  const size = parseFloat(getComputedStyle(drawing.querySelector('text')).fontSize);
  return size * drawing.getBoundingClientRect().width / drawing.viewBox.baseVal.width;
})()"""
_LIT = "[...document.querySelectorAll('#drawing .state.lit')].map((each) => each.dataset.state)"
_CAMERAS = "opened.filter((track) => track.kind === 'video' && track.readyState === 'live').length"
# Choose the last device of a kind, as a person does; gives its id.
_CHOOSE = """(() => {
  const label = [...document.querySelectorAll('#panel label')].find((each) => each.innerText.startsWith('%s'));
  const select = label.control;
  select.value = select.options[select.options.length - 1].value;
  select.dispatchEvent(new Event('change'));
  return select.value;
})()"""
# What a person could use but for its place: outside the screen and not within anything that scrolls, or a tile that is
# too small to show anybody.
_MISPLACED = """(() => {
  const { clientWidth: width, clientHeight: height } = document.documentElement;
  const scrolls = (each) => each && (['auto', 'scroll'].includes(getComputedStyle(each).overflowY)
    ? each.scrollHeight > each.clientHeight : scrolls(each.parentElement));
  const outside = ({ left, right, top, bottom }, each) => left < -1 || right > width + 1
    || (each.matches('.tile') && (right - left < 90 || bottom - top < 60))
    || (!scrolls(each) && (top < -1 || bottom > height + 1));
  const used = [...document.querySelectorAll('button, input, select, .tile, .label, dialog[open], .asked')];
  return used.filter((each) => each.checkVisibility() && !each.closest('.hidden'))
    .filter((each) => outside(each.getBoundingClientRect(), each))
    .map((each) => each.id || each.className || each.outerHTML);
})()"""
# Texts whose contrast to what is behind them is too low to be read (WCAG 2.2, 1.4.3), on plain grounds; and fields
# whose borders can hardly be seen (1.4.11).
_UNREADABLE = """(() => {
  const canvas = Object.assign(document.createElement('canvas'), { width: 1, height: 1 });
  const context = canvas.getContext('2d', { willReadFrequently: true });
  const rgba = (colour) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const light = (colour) => {
    const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = colour.map((each) => linear(each / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (each) => {
    const colour = rgba(getComputedStyle(each).backgroundColor);
    return colour[3] === 255 || !each.parentElement ? colour : ground(each.parentElement);
  };
  const found = [];
  const check = (what, colour, on, least) => {
    const [one, other] = [light(rgba(colour)), light(ground(on))].sort((a, b) => b - a);
    const contrast = (one + 0.05) / (other + 0.05);
    if (contrast < least) found.push(`${what}: ${contrast.toFixed(2)}`);
  };
  for (const each of document.querySelectorAll('body *')) {
    const text = [...each.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data.trim()).join('');
    if (!text || !each.checkVisibility() || each.matches('.avatar:has(img)')
      || each.closest('.hidden, .skip, .tile, svg, .notice, script')) continue;
    check(text, getComputedStyle(each).color, each, 4.5);
  }
  for (const each of document.querySelectorAll('input, select')) {
    if (!each.checkVisibility()) continue;
    check(`border of ${each.id}`, getComputedStyle(each).borderTopColor, each.parentElement, 3);
    if (each.placeholder) check(each.placeholder, getComputedStyle(each, '::placeholder').color, each, 4.5);
  }
  return found;
})()"""
