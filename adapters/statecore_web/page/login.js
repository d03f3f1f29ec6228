// Logging in: the form, and what is kept of it, for this tab only: another tab is another device.

import { access, ask } from "./service.js";
import * as sounds from "./sounds.js";
import { $, reason } from "./words.js";

const KEPT = "statecore";
const TOKEN = /^[\x21-\x7e]+$/; // what can stand in a request

let page = null;
let dev = false;

/** `page` has `enter(me)`, which connects, and `leave()`, which forgets whatever came of it. */
export function begin(around) {
  page = around;
  $("login").addEventListener("submit", logIn);
}

/** In development anybody logs in by a name; otherwise the application gives a token. */
export function arrange(inDevelopment) {
  dev = inDevelopment;
  for (const [what, shown] of [["name", dev], ["token", !dev]]) {
    $(`${what}-field`).hidden = !shown;
    $(what).required = shown;
  }
  $("login-title").textContent = dev ? "Who are you?" : "Log in";
  $("login-text").textContent = dev
    ? "Any name will do: this service is for development."
    : "Your application gives you an auth token.";
}

/** Have the form to be filled in, and say why. */
export function focus(why = "") {
  $("login-error").textContent = why;
  (dev ? $("name") : $("token")).focus();
}

async function logIn(event) {
  event.preventDefault();
  const given = (dev ? $("name") : $("token")).value.trim();
  if (!given || !(dev || TOKEN.test(given))) {
    focus(dev ? "Everybody has a name." : "This token is not good.");
    return;
  }
  sounds.unlock();
  busy(true);
  let why = "";
  try {
    access.token = dev ? await byName(given) : given;
    await page.enter(await ask("page/me"));
  } catch (error) {
    page.leave();
    why = said(error);
  }
  busy(false);
  if (why) focus(why);
}

/** One attempt at a time. */
function busy(on) {
  for (const each of $("login").elements) each.disabled = on;
  $("continue").textContent = on ? "Connecting…" : "Continue";
  if (on) $("login-error").textContent = "";
}

const said = (error) => ({ 400: "This name cannot be used.", 401: "This token is not good." })[error.status] ?? reason(error);

async function byName(name) {
  const body = JSON.stringify({ uid: name.replace(/\s+/g, "-").toLowerCase(), name });
  const made = await ask("v1/dev/login", { method: "POST", body, headers: { "Content-Type": "application/json" } });
  return made.token;
}

/** The token for another connection: in development it may have gone with a restart of the service. */
export async function renewed(name) {
  if (dev) await ask("page/me").catch(async (error) => {
    if (error.status === 401) access.token = await byName(name);
  });
  return access.token;
}

// --- what is kept

export const kept = () => JSON.parse(sessionStorage.getItem(KEPT) ?? "{}");

export const forget = () => sessionStorage.removeItem(KEPT);

/** From now on this tab is this device. */
export function keep(device) {
  sessionStorage.setItem(KEPT, JSON.stringify({ token: access.token, device }));
  navigator.locks?.request(`statecore ${device}`, () => new Promise(() => {}));
}

/** The device that this tab is. A copied tab has the kept device of the first: whoever holds its lock is that device. */
export async function device() {
  const was = kept().device;
  if (!was || !navigator.locks) return was;
  const free = await navigator.locks.request(`statecore ${was}`, { ifAvailable: true }, async (lock) => Boolean(lock));
  return free ? was : undefined;
}
