// Prints what statecore.js really has, as JSON: to be compared with what its types declare.

import { pathToFileURL } from "node:url";

const page = pathToFileURL(`${process.argv[2]}/`).href;
const client = await import(`${page}statecore.js`);
const { BUTTONS, Session } = await import(`${page}session.js`);
const { checked } = await import(`${page}settings.js`);
const { counters } = await import(`${page}media.js`);
const { joined } = await import("./fakes.mjs");

const device = new client.CallClient("https://calls.example.org", { user: "alice", token: "t" });
const session = new Session(device, "room", checked({}));
// Every member of an object: how many arguments a method needs, and null for what is no method.
const names = (one) => {
  const members = { ...Object.getOwnPropertyDescriptors(Object.getPrototypeOf(one)), ...Object.getOwnPropertyDescriptors(one) };
  const needs = ({ value }) => (typeof value === "function" ? value.length : null);
  return Object.fromEntries(Object.entries(members).map(([name, member]) => [name, needs(member)]));
};
const wrong = {
  type: "film", layout: "", audioOnly: 1, startAudioMuted: null, startVideoPaused: "no", audioInput: " ", videoInput: 3,
  cameraFacing: "up", idleTimeout: -1, idlePrompt: 0, maxDuration: NaN, idle_timeout: 3, title: "", showEndButton: 0,
};
const refused = Object.entries(wrong).map(([name, value]) => {
  try {
    return [name, checked({ [name]: value })];
  } catch (error) {
    return [name, error.code, error.data.name];
  }
});
const pressed = [];
for (const button of BUTTONS) session.on(`${button}_button_pressed`, () => pressed.push(button));
const press = (button) => {
  try {
    session.press(button);
  } catch (error) {
    pressed.push(error.code);
  }
};
for (const button of [...BUTTONS].sort()) press(button);
press("coffee");
session.over = true;
press("mute");
const live = (await joined({ peers: [{ pid: "2", user: "bob", joined: 2 }] })).session;
const [own, other] = live.participants;
live.end();
const kept = {
  Call: Object.keys(live.call),
  EndReason: Object.keys(live.call.endReason),
  Participant: [...new Set([...Object.keys(own), ...Object.keys(other)])],
  StreamStats: Object.keys(counters("2", "audio", "in", {}, [])),
};
const found = {
  kept,
  exports: Object.fromEntries(Object.entries(client).map(([name, one]) => [name, one.length ?? null])),
  CallClient: names(device),
  Session: names(session),
  CallError: { ...names(new client.CallError("call_gone")), call: null },
  EndpointMachine: names(device.core),
  BrowserMedia: names(device.media),
  CallSettings: Object.keys(checked({})),
  defaults: checked({}),
  pressed,
  refused,
  frozen: Object.isFrozen(session.settings),
};
process.stdout.write(JSON.stringify(found), () => process.exit(0));
