// Who is there and whom one has called, as lists; and who anybody is, as far as it is known here.

import { ask } from "./service.js";
import { $, ENDS, duration, face, icon, make, when } from "./words.js";

const LOOK = 4000; // milliseconds between two looks at who is there
const TYPING = 200; // milliseconds after a letter until one looks for what is written: another may follow

const known = new Map(); // uid -> whom the service has told of
let looking = 0;
let looks = 0; // only the answer to the latest look counts
let page = null;

/** `page` has `user()`, who is logged in, if anybody, and `place(uid, type)`, which calls. */
export function begin(around) {
  page = around;
  $("search").addEventListener("input", () => lookIn(TYPING));
  document.addEventListener("visibilitychange", look);
}

/** Who somebody is, as far as it is known here: from the lists there were, or from the call that they are in. */
export function userOf(uid, call = null) {
  return known.get(uid) ?? call?.participants.find((one) => one.uid === uid) ?? { uid, name: uid };
}

export const nameOf = (uid, call = null) => userOf(uid, call).name;

export async function look() {
  const turn = lookIn(LOOK);
  if (!page.user() || document.body.dataset.view !== "home" || document.hidden) return;
  const sought = $("search").value.trim();
  try {
    const [there, calls] = await Promise.all([ask(`page/people?q=${encodeURIComponent(sought)}`), ask("page/calls")]);
    if (turn !== looks) return;
    for (const one of there) known.set(one.uid, one);
    drawPeople(there, sought);
    drawLog(calls);
  } catch {
    // the next look may succeed
  }
}

/** Look so much later; what was asked before is out of date. */
function lookIn(milliseconds) {
  clearTimeout(looking);
  looking = setTimeout(look, milliseconds);
  looks += 1;
  return looks;
}

function drawPeople(found, sought) {
  found.sort((a, b) => b.online - a.online || a.name.localeCompare(b.name));
  const text = sought ? "Nobody of that name." : "Nobody else is here yet. Open this page in another window, under another name.";
  fill($("people"), found.length ? found.map(person) : [make("li", { class: "empty" }, text)]);
}

function person(one) {
  const call = (type, picture, what) =>
    make("button", { class: "icon", "aria-label": `${what} ${one.name}`, title: what, "data-call": type, "data-user": one.uid,
      onclick: () => page.place(one.uid, type) }, icon(picture));
  const state = one.online ? "Available" : "Offline, can still be rung";
  return make("li", {}, face(one, { online: one.online }),
    make("div", { class: "who" }, make("b", {}, one.name), make("small", {}, state)),
    call("audio", "call", "Call"), call("video", "video", "Video call"));
}

function drawLog(calls) {
  fill($("log"), calls.length ? calls.map(entry) : [make("li", { class: "empty" }, "No calls yet.")]);
}

function entry(call) {
  const out = call.initiator === page.user().uid;
  const other = out ? call.receiver : call.initiator;
  const missed = call.status === "missed";
  const what = missed ? "Missed" : call.duration ? duration(call.duration) : (ENDS[call.reason] ?? call.status);
  const name = other ? nameOf(other) : "Session";
  const row = make("li", { class: missed ? "missed" : "" }, icon(out ? "out" : "in"),
    make("div", { class: "who" }, make("b", {}, name), make("small", {}, `${call.type === "video" ? "Video" : "Audio"} · ${what}`)),
    make("time", {}, call.initiated_at ? when(call.initiated_at) : ""));
  row.firstElementChild.setAttribute("aria-hidden", "true");
  return row;
}

/** Replace what differs only: a button under the finger or in focus stays. */
function fill(list, items) {
  const same = items.length === list.children.length && items.every((item, n) => item.isEqualNode(list.children[n]));
  if (same) return;
  const focus = document.activeElement?.getAttribute?.("aria-label");
  list.replaceChildren(...items);
  if (focus) [...list.querySelectorAll("button")].find((each) => each.getAttribute("aria-label") === focus)?.focus();
}
