// What the page says, and small things to build it with.

import { ERRORS } from "./flows.js";

export const $ = (id) => document.getElementById(id);

/** An element with attributes and children; text is only ever text. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

export function setIcon(button, name) {
  const use = button.querySelector("use");
  if (use.getAttribute("href") !== `#icon-${name}`) use.setAttribute("href", `#icon-${name}`);
}

export function label(button, text) {
  const span = button.querySelector("span");
  if (span.textContent !== text) span.textContent = text;
}

const broken = new Set(); // addresses of pictures that could not be loaded: not asked for again and again

/** A user as one sees them at a glance: a picture, or the initials where there is none. */
export function face({ name, avatar = "" }, { big = false, online = null } = {}) {
  const letters = name.trim().split(/\s+/).map((word) => [...word][0] ?? "").slice(0, 2).join("").toUpperCase();
  const hue = [...name].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7);
  const more = online === null ? {} : { "data-online": String(online) };
  const src = picture(avatar);
  const image = src && make("img", {
    referrerpolicy: "no-referrer", loading: "lazy", alt: "", src,
    onerror: () => {
      broken.add(src);
      image.remove();
    },
  });
  return make("div", { class: big ? "avatar big" : "avatar", style: `--hue:${hue}`, "aria-hidden": "true", ...more }, letters, image);
}

/** The address of a picture, if it may be shown: one of the service's own, or one that nobody on the way can change. */
function picture(address) {
  const url = address && URL.canParse(address, location.href) ? new URL(address, location.href).href : "";
  const good = ["https:", "data:image/", `${location.origin}/`].some((start) => url.startsWith(start));
  return good && !broken.has(url) ? url : null;
}

export const ENDS = {
  hangup: "Call ended",
  rejected: "Call declined",
  cancelled: "Call cancelled",
  busy: "Busy",
  unanswered: "No answer",
  answered_elsewhere: "Answered on another device",
  rejected_elsewhere: "Declined on another device",
  failed_media: "Media could not be connected",
  lost: "The connection was lost",
  expired: "The time is up",
  kicked: "Removed from the call",
  idle: "Nobody else was there",
  merged: "",
};

export const STATES = { idle: "Calling…", ringing: "Ringing…", accepted: "Connecting…", active: "", ended: "Ended" };

// By the code of an error, or of a kind of error that it is of.
const REASONS = {
  user_busy: "is busy.",
  unknown_user: "is not known here.",
  blank_id: "An id is needed.",
  spaced_id: "This cannot be an id.",
  calling_self: "You cannot call yourself.",
  already_in_call: "You are in a call already.",
  too_many_sessions: "You are in too many calls.",
  call_gone: "The call is over.",
  call_not_found: "The call is over.",
  call_ended: "The call is over.",
  call_declined: "The call came to nothing.",
  call: "That cannot be done now.",
  not_ready: "That cannot be done now.",
  token_lacks_grant: "You may not do that here.",
  token_revoked: "You have been logged out.",
  token_expired: "Your login has run out.",
  token: "This token is not good.",
  session_full: "As many are there as may be.",
  consent_declined: "Video was declined.",
  signaling_refused: "The service does not let this device in any more.",
  unsupported_version: "The service is of another version than this page: load it anew.",
  rate_limited: "That was too much at once.",
  too_many_devices: "You are connected with too many devices.",
  not_connected: "There is no connection to the service.",
  command_timeout: "The service did not answer.",
  signaling: "There is no connection to the service.",
  media: "Media could not be connected.",
  network: "The service cannot do that just now.",
  error: "That did not work.",
};

/** Why something did not work, for people: what it says to programmers is in the console. */
export function reason(error) {
  if (error?.name === "NotAllowedError") return "That was not allowed.";
  if (error?.name === "TimeoutError") return "The service did not answer.";
  if (error?.code === "media_device") return device(error);
  if (error?.status) return error.message; // the service's own words
  if (error?.code === "invalid_argument" && error.data?.why) return sentence(error.data.why);
  const kind = [error?.code, ...(ERRORS[error?.code]?.under ?? [])].find((each) => each in REASONS) ?? "error";
  if (kind === "error") console.warn(error);
  return REASONS[kind];
}

const sentence = (why) => `${why[0].toUpperCase()}${why.slice(1)}.`;

/** A microphone or camera that could not be opened. */
function device(error) {
  const [kind, name] = (error?.data?.why ?? "").split(": ");
  const what = kind === "audio" ? "microphone" : "camera";
  if (name === "NotAllowedError") return `The ${what} is blocked: allow it for this page.`;
  if (name === "NotFoundError") return `There is no ${what}.`;
  if (name === "ended") return `The ${what} is gone.`;
  return `The ${what} could not be opened.`;
}

export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  if (!parts[0]) parts.shift();
  return parts.map((part, n) => (n ? String(part).padStart(2, "0") : part)).join(":");
}

export function when(seconds) {
  const date = new Date(seconds * 1000);
  const today = date.toDateString() === new Date().toDateString();
  return date.toLocaleString([], today ? { timeStyle: "short" } : { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
}
