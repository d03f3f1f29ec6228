// What a session is started with: checked before anything else is done, frozen, and what its join command says of it.

import { CallError } from "./errors.js";

const DAY = 86400;

// A rule says what is wrong with a value, if anything.
const flag = (value) => (typeof value === "boolean" ? "" : "must be true or false");
const choice = (...choices) => (value) => (choices.includes(value) ? "" : `must be one of ${choices.join(", ")}`);
const device = (value) => (value === null || (typeof value === "string" && value.trim()) ? "" : "must be a device's id, or null");
const text = (value) => {
  const fits = value === null || (typeof value === "string" && value.trim() && [...value].length <= 256);
  return fits ? "" : "must be a text of 1 to 256 characters, or null";
};
const seconds = (most, { off = false } = {}) => (value) => {
  const fits = (off && (value === 0 || value === null)) || (Number.isFinite(value) && value >= 0.001 && value <= most);
  return fits ? "" : `must be from 0.001 to ${most} seconds${off ? ", or 0 or null for none" : ""}`;
};

// The buttons that a page shows unless it is told not to, and those it shows if it is told to.
const SHOWN = ["End", "Mute", "Pause", "Share", "Mode", "SwitchToVideo", "RaiseHand", "Participants"];
const NOT_SHOWN = ["Recording", "Invite", "Chat", "Network"];
const buttons = (names, shown) => Object.fromEntries(names.map((name) => [`show${name}Button`, [shown, flag]]));

const SETTINGS = {
  // name: [default, rule]
  type: ["video", choice("audio", "video")],
  layout: ["tile", choice("tile", "sidebar", "spotlight")],
  title: [null, text],
  audioOnly: [false, flag],
  startAudioMuted: [false, flag],
  startVideoPaused: [false, flag],
  audioInput: [null, device],
  videoInput: [null, device],
  cameraFacing: ["front", choice("front", "rear")],
  idleTimeout: [120, seconds(DAY, { off: true })],
  idlePrompt: [60, seconds(DAY)],
  maxDuration: [0, seconds(30 * DAY, { off: true })],
  peerCall: [false, flag],
  ...buttons(SHOWN, true),
  ...buttons(NOT_SHOWN, false),
  listener: [null, () => ""],
};

/** These settings, the others at their defaults. Throws `invalid_settings`, which names the setting and the rule. */
export function checked(settings) {
  const given = Object.entries(settings).filter(([, value]) => value !== undefined);
  for (const [name, value] of given) {
    const why = Object.hasOwn(SETTINGS, name) ? SETTINGS[name][1](value) : "there is no such setting";
    if (why) throw new CallError("invalid_settings", { name, value, why: `${name}: ${why}` });
  }
  const defaults = Object.entries(SETTINGS).map(([name, [value]]) => [name, value]);
  return Object.freeze(Object.fromEntries([...defaults, ...given]));
}

/** What a join command says of them. */
export function joining(settings, token, flow) {
  const video = settings.type === "video" && !settings.audioOnly;
  const flags = [];
  if (video) flags.push("camera");
  if (settings.startAudioMuted) flags.push("audio_muted");
  if (settings.startVideoPaused) flags.push("video_paused");
  const { idleTimeout: idle, idlePrompt: prompt, maxDuration: longest } = settings;
  return {
    flow, token, flags, type: settings.type,
    consent: video ? ["audio", "video"] : ["audio"],
    idle: idle ? [Math.round(idle * 1000), Math.round(prompt * 1000)] : [0, 0],
    longest: longest ? Math.round(longest * 1000) : 0,
  };
}
