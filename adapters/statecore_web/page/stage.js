// The stage of a call: whoever is seen, each on a tile, and how the tiles share the room there is.

import { face, icon, make } from "./words.js";

const [SLIM, FULL, WIDE] = [3 / 4, 4 / 3, 16 / 9]; // width to height: what cameras give, upright and lying
const LEAST = [90, 60]; // pixels, width and height: on a tile that is smaller nobody is seen
const MANY = { columns: 0, wide: 112, high: 84 }; // where the stage does not hold all

/** In how many columns so many tiles are as large as can be in this room, and how large; 0 if they would be too small. */
export function fit(count, width, height, gap) {
  const sizes = Array.from({ length: count }, (_, n) => size(n + 1, Math.ceil(count / (n + 1)), width, height, gap));
  const large = ({ wide, high }) => Math.min(wide / 4, high / 3); // as pictures mostly are
  const best = sizes.reduce((one, other) => (large(other) > large(one) ? other : one));
  return best.wide < LEAST[0] || best.high < LEAST[1] ? MANY : best;
}

function size(columns, rows, width, height, gap) {
  const [across, down] = [(width + gap) / columns - gap, (height + gap) / rows - gap];
  const least = width > height ? FULL : SLIM; // what is slimmer than the pictures cuts them at the sides
  return { columns, wide: Math.floor(Math.min(across, down * WIDE)), high: Math.floor(Math.min(down, across / least)) };
}

export class Stage {
  constructor(element) {
    this.element = element;
    this.room = element.firstElementChild; // what the tiles stand in
    this.tiles = new Map(); // "pid kind" -> tile
    new ResizeObserver(() => this.fit()).observe(element);
  }

  clear() {
    for (const tile of this.tiles.values()) tile.remove();
    this.tiles.clear();
  }

  /** Show these: each a participant, whether it is their "video" or "screen", and the track. The first is the main one
   * where the layout has one. */
  place(wanted, layout, own, lost) {
    const keys = wanted.map(([one, kind]) => `${one.pid} ${kind}`);
    for (const [key, tile] of this.tiles) {
      if (keys.includes(key)) continue;
      tile.remove();
      this.tiles.delete(key);
    }
    wanted.forEach(([one, kind, track], n) => {
      const tile = this.tiles.get(keys[n]) ?? this.tile(keys[n], one, kind, one === own);
      tile.classList.toggle("main", n === 0 && layout !== "tile");
      tile.classList.toggle("lost", lost.has(one.pid));
      tile.style.setProperty("--place", n);
      fill(tile, one, kind, track, one === own);
    });
    if (this.element.dataset.layout !== layout) this.room.scrollTo(0, 0);
    this.element.dataset.layout = layout;
    this.room.style.setProperty("--small", Math.max(1, wanted.length - 1));
    this.fit();
  }

  /** Where all are equal they fill the stage; what it does not hold is scrolled, as it is in the other layouts. */
  fit() {
    const { width, height } = this.element.getBoundingClientRect();
    if (!this.tiles.size || !width) return;
    const { columns, wide, high } = fit(this.tiles.size, width, height, parseFloat(getComputedStyle(this.room).columnGap));
    this.room.classList.toggle("many", !columns);
    for (const [name, value] of [["--columns", columns], ["--wide", `${wide}px`], ["--high", `${high}px`]]) {
      this.room.style.setProperty(name, value);
    }
  }

  tile(key, one, kind, own) {
    const video = make("video", { playsinline: true, autoplay: true, "aria-label": `${kind === "screen" ? "Screen" : "Picture"} of ${one.name}` });
    video.muted = true; // sound has elements of its own
    const tile = make("div", { class: `tile${own ? " own" : ""}${kind === "screen" ? " screen" : ""}`, "data-user": one.uid, "data-kind": kind, role: "group", "aria-label": own ? "You" : one.name },
      face(one, { big: true }), video, make("div", { class: "label" }));
    this.tiles.set(key, tile);
    this.room.append(tile);
    return tile;
  }
}

function fill(tile, one, kind, track, own) {
  const video = tile.querySelector("video");
  if ((video.srcObject?.getTracks()[0] ?? null) !== track) video.srcObject = track ? new MediaStream([track]) : null;
  video.hidden = !track;
  const name = own ? "You" : one.name;
  const muted = one.audioMuted && kind === "video";
  const state = `${name} ${muted} ${one.handRaised}`;
  if (tile.dataset.state === state) return;
  tile.dataset.state = state;
  const more = kind === "screen" ? [make("b", {}, "· screen")] : muted ? [icon("mic-off"), make("span", { class: "hidden" }, "muted")] : [];
  tile.querySelector(".label").replaceChildren(make("span", {}, name), ...more);
  tile.querySelector(".badge")?.remove();
  if (one.handRaised && kind === "video") tile.append(make("div", { class: "badge", role: "img", "aria-label": "Hand raised" }, icon("hand")));
}
