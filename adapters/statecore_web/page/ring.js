// What rings: a dialog in front of everything; or, while one is in a call, a question beside it.

import * as sounds from "./sounds.js";
import { $, face, icon, make } from "./words.js";

/** A round button of the dialog. */
export function answer(id, kind, picture, text, act) {
  return make("button", { id, class: `round ${kind}`, onclick: act }, icon(picture), make("span", {}, text));
}

/** Where it is said what happens. */
const tellers = () => [$("notice"), $("say")];

const SETTLE = 500; // milliseconds: as long as two clicks may be apart that are one double click

/** Something else is under the pointer now: a second click was meant for what was there before. */
export function settle() {
  clearTimeout(settle.timer);
  document.body.classList.add("settling");
  settle.timer = setTimeout(() => document.body.classList.remove("settling"), SETTLE);
}

/** Keys, whose clicks have no count, are not kept off. */
function keepOff(event) {
  if (!event.detail || !document.body.classList.contains("settling")) return;
  event.preventDefault();
  event.stopPropagation();
}

function portray(user) {
  $("ring-name").textContent = user.name;
  const portrait = face(user, { big: true });
  portrait.id = "ring-avatar";
  $("ring-avatar").replaceWith(portrait);
}

/** Whose call it is has become known, and what is asked beside a call then. Nothing else changes: somebody may be about
 * to press a button. */
export function name(sessionId, user, text) {
  if (shown() && $("ring").dataset.session === sessionId) portray(user);
  if (!$("waiting").hidden && $("waiting").dataset.session === sessionId) $("waiting-text").textContent = text;
}

/** Show the dialog; the last of its buttons gets the focus. */
export function dialog(sessionId, user, what, buttons) {
  portray(user);
  say(what);
  $("answers").replaceChildren(...buttons);
  $("ring").dataset.session = sessionId ?? "";
  if (!shown()) {
    $("say").textContent = ""; // within it, that would be read as a part of it
    $("ring").append(...tellers()); // what stands outside it is neither heard nor in front
    $("ring").showModal();
  }
  settle();
  buttons.at(-1)?.focus();
}

/** What has become of it. */
export function say(what) {
  $("ring-what").textContent = what;
}

export const shown = () => $("ring").open;

/** Take the dialog away, if it is about this session; tells whether it was there. */
export function shut(sessionId) {
  if (!shown() || (sessionId && $("ring").dataset.session !== sessionId)) return false;
  $("ring").close();
  document.body.append(...tellers());
  settle();
  sounds.silence();
  return true;
}

/** Ask beside a call. The focus stays where it is: whoever types or speaks is not to answer by accident. */
export function beside(sessionId, text, accept, decline) {
  $("waiting").dataset.session = sessionId;
  $("waiting-text").textContent = text;
  $("waiting-yes").onclick = accept;
  $("waiting-no").onclick = decline;
  $("waiting").hidden = false;
  sounds.waiting();
}

/** Take the question away, if it is about this session; tells whether it was there. */
export function putAway(sessionId) {
  if ($("waiting").hidden || (sessionId && $("waiting").dataset.session !== sessionId)) return false;
  $("waiting").hidden = true;
  sounds.silence();
  return true;
}

/** Escape gives up a call of one's own, and silences one that comes in: nothing is declined by accident. A key that is
 * still held was pressed for what was there before. */
function key(event) {
  if (event.repeat) event.preventDefault();
  if (event.key !== "Escape") return;
  event.preventDefault();
  sounds.silence();
  ($("cancel") ?? $("not-now"))?.click();
}

$("ring").addEventListener("cancel", (event) => event.preventDefault());
$("ring").addEventListener("keydown", key);
for (const act of ["mousedown", "click"]) document.addEventListener(act, keepOff, { capture: true });
