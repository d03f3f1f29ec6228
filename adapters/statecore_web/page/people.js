// Who is there and whom one has called, as lists; and who anybody is, as far as it is known here.

import { ask } from "./service.js";
import { $, ENDS, duration, face, icon, make, when } from "./words.js";

const LOOK = 4000; // milliseconds between two looks at who is there
const SOME = 30; // of so many calls the service tells at a time who is in them
const TYPING = 200; // milliseconds after a letter until one looks for what is written: another may follow

const known = new Map(); // uid -> whom the service has told of
const asked = new Set(); // the calls of which the service was asked who is in them
let log = []; // the calls that are shown, newest first
let older = ""; // how to ask for those before them
let looking = 0;
let looks = 0; // only the answer to the latest look counts
let page = null;

/** `page` has `user()`, who is logged in, if anybody, `place(uid, type)`, which calls, and `fault(error)`, which says it. */
export function begin(around) {
  page = around;
  $("older").addEventListener("click", showOlder);
  $("by-id").addEventListener("submit", (event) => {
    event.preventDefault();
    page.place($("call-id").value.trim(), event.submitter?.dataset.call ?? "audio");
  });
  $("search").addEventListener("input", () => lookIn(TYPING));
  document.addEventListener("visibilitychange", look);
}

/** Where nobody is listed one calls by an id that one has been told. */
export function arrange(directory) {
  for (const id of ["search-field", "people"]) $(id).hidden = !directory;
  $("by-id").hidden = directory;
}

/** Who somebody is, as far as it is known here: from the lists there were, or from the call that they are in. */
export function userOf(uid, call = null) {
  return known.get(uid) ?? call?.participants.find((one) => one.uid === uid) ?? { uid, name: uid };
}

export const nameOf = (uid, call = null) => userOf(uid, call).name;

/** Ask who those are of whom only calls tell; tells whether that is known now. A call has `session` and `other`. */
export async function meet(calls) {
  const lacking = calls.filter(({ session, other }) => other && !known.has(other) && !asked.has(session)).slice(0, SOME);
  if (!lacking.length) return false;
  const query = new URLSearchParams(lacking.map(({ session }) => ["call", session]));
  const found = await ask(`page/people?${query}`).catch(() => null); // it is asked again with the next look
  if (!found) return false;
  for (const { session } of lacking) asked.add(session);
  for (const one of found) known.set(one.uid, one);
  return lacking.some(({ other }) => known.has(other));
}

export async function look() {
  const turn = lookIn(LOOK);
  if (!page.user() || document.body.dataset.view !== "home" || document.hidden) return;
  const sought = $("search").value.trim();
  const listed = $("people").hidden ? [] : ask(`page/people?q=${encodeURIComponent(sought)}`);
  try {
    const [there, newest] = await Promise.all([listed, ask("page/calls")]);
    if (turn !== looks) return;
    for (const one of there) known.set(one.uid, one);
    drawPeople(there, sought);
    take(newest);
    await drawLog();
  } catch {
    // the next look may succeed
  }
}

/** Who was logged in is not any more: the next may know others. */
export function forget() {
  known.clear();
  asked.clear();
  log = [];
  older = "";
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
  const state = one.online ? "Available" : "Offline, can be rung";
  return make("li", {}, face(one, { online: one.online }),
    make("div", { class: "who" }, make("b", {}, one.name), make("small", {}, state)),
    call("audio", "call", "Call"), call("video", "video", "Video call"));
}

/** The newest calls come before those that are shown; unless none of them is, as too many came at once. */
function take(newest) {
  const rest = log.filter((call) => !newest.calls.some((each) => each.session_id === call.session_id));
  if (rest.length < log.length) log = [...newest.calls, ...rest];
  else ({ calls: log, older } = newest);
}

async function showOlder() {
  $("older").disabled = true;
  try {
    const more = await ask(`page/calls?from=${encodeURIComponent(older)}`);
    log.push(...more.calls);
    ({ older } = more);
    await drawLog();
  } catch (error) {
    page.fault(error);
  }
  $("older").disabled = false;
}

async function drawLog() {
  const draw = () => {
    fill($("log"), log.length ? log.map(entry) : [make("li", { class: "empty" }, "No calls yet.")]);
    $("older").hidden = !older;
  };
  draw();
  if (await meet(log.map((call) => ({ session: call.session_id, other: otherOf(call) })))) draw();
}

const otherOf = (call) => (call.initiator === page.user()?.uid ? call.receiver : call.initiator);

function entry(call) {
  const out = call.initiator === page.user()?.uid;
  const other = otherOf(call);
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
