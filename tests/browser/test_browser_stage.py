"""How whoever is seen shares the room there is, on every screen: measured in real Chromium."""

from __future__ import annotations

import asyncio
from typing import Any

SCREENS = [
    (1280, 800, ""), (1280, 800, "p"), (800, 800, ""), (800, 800, "p"), (667, 375, ""), (640, 400, ""), (568, 320, ""),
    (375, 667, ""), (320, 568, ""), (320, 480, ""), (320, 256, ""),
]  # fmt: skip


def test_every_layout_has_room_for_everybody_on_every_screen(world: Any) -> None:
    """One to thirteen people, one of whom may show a screen, in each layout: every tile lies within the stage or can be
    scrolled there, shows its face and its label whole and stands in no other's way, one's own is seen at once, and
    nothing covers a control."""

    async def main() -> None:
        async with world() as all_:
            alice = await all_.person("alice")
            await alice.click("#new-session")
            await alice.in_call()
            await alice.run(_CROWD)
            wrong = []
            for width, height, key in SCREENS:
                await alice.looks(width=width, height=height)
                if key:
                    await alice.press(key)
                wrong += [f"{width}x{height}{key} {each}" for each in await alice.run(_MEASURED)]
                if key:
                    await alice.press(key)
            assert wrong == []

    asyncio.run(main())


# From now on `crowd(count, shares)` shows so many people, oneself among them, in the page's own call.
_CROWD = """(() => {
  const [session] = [...statecore.sessions.values()];
  const [own] = session.participants;
  session.settings = { ...session.settings, showChatButton: true, showNetworkButton: true };
  const canvas = document.createElement('canvas');
  canvas.getContext('2d');
  const [track] = canvas.captureStream().getVideoTracks();
  session.track = (pid, kind) => (kind === 'screen' ? track : null);
  const names = ['Bartholomew Montgomery-Featherstone', 'Chloe', 'Li', 'Dimitri Papadopoulos', 'Eve', 'Zoe', 'Hiro',
    'Kim', 'Abdul', 'Ines', 'Per', 'Yu'];
  const others = names.map((name, n) => ({
    ...own, pid: `other-${n}`, uid: `other-${n}`, name, videoOn: false,
    audioMuted: n % 2 === 0, handRaised: n % 3 === 1,
  }));
  globalThis.crowd = (count, shares) => {
    const there = others.slice(0, count - 1).map((one, n) => ({ ...one, presenting: shares && n === 1 }));
    Object.defineProperty(session, 'participants', { configurable: true, get: () => [own, ...there] });
    session.listeners.emit('user_list_updated');
  };
})()"""
# What is not as it should be, for each layout and number of people.
_MEASURED = """(async () => {
  const found = [];
  const box = (each) => each.getBoundingClientRect();
  const within = (a, b, by = 1) =>
    a.left >= b.left - by && a.right <= b.right + by && a.top >= b.top - by && a.bottom <= b.bottom + by;
  const common = (a, b, from, to) => Math.min(a[to], b[to]) - Math.max(a[from], b[from]) > 1;
  const meet = (a, b) => common(a, b, 'left', 'right') && common(a, b, 'top', 'bottom');
  const stage = document.querySelector('#stage');
  const look = (layout, say) => {
    const tiles = [...stage.querySelectorAll('.tile')];
    const main = stage.querySelector('.main');
    const own = stage.querySelector('.own[data-kind=video]');
    if (!within(box(own), box(stage))) say('own is not seen');
    for (const one of tiles) {
      const { width, height } = box(one);
      if (width < 85 || height < 56) say(`small ${width}x${height}`);
      if (one !== main && (width / height > 2 || width / height < 0.7)) say(`shape ${width}x${height}`);
      const [label, face] = [one.querySelector('.label'), one.querySelector('.avatar')];
      const initials = one.querySelector('video').hidden;
      if (!within(box(label), box(one)) || (initials && !within(box(face), box(one)))) say('cut');
      if (initials && meet(box(label), box(face))) say(`label on face ${width}x${height}`);
      if (one.dataset.kind === 'screen' && box(label.lastElementChild).right > box(label).right) say('no screen');
      for (const other of tiles) {
        const over = layout === 'spotlight' && (one === main || other === main);
        if (one !== other && !over && meet(box(one), box(other))) say('overlap');
      }
    }
    for (const one of tiles) {
      one.scrollIntoView({ block: 'nearest', inline: 'nearest' });
      if (!within(box(one), box(stage))) say('beyond the stage');
    }
    own.scrollIntoView({ block: 'nearest', inline: 'nearest' });
    for (const button of document.querySelectorAll('button')) {
      if (!button.checkVisibility()) continue;
      const { left, top, width, height } = box(button);
      if (width < 24 || height < 24) say(`control ${button.id} ${width}x${height}`);
      if (!button.contains(document.elementFromPoint(left + width / 2, top + height / 2))) say(`covered ${button.id}`);
    }
    const names = [...document.querySelectorAll('#controls span')].filter((each) => box(each).width > 2);
    if (names.some((one, n) => n && meet(box(one), box(names[n - 1])))) say('names of controls meet');
    const title = document.querySelector('#call-with');
    if (title.scrollWidth > title.clientWidth) say('title');
  };
  for (const [count, shares] of [[1, false], [2, false], [3, true], [8, true], [13, false]]) {
    crowd(count, shares);
    for (const layout of ['tile', 'sidebar', 'spotlight']) {
      document.querySelector(`#layouts [data-layout=${layout}]`).click();
      look(layout, (what) => found.push(`${layout} ${count}${shares ? ' and a screen' : ''}: ${what}`));
    }
  }
  crowd(1, false);
  return [...new Set(found)];
})()"""
