// Prints what statecore.js really has, as JSON: to be compared with what its types declare.

import { pathToFileURL } from "node:url";

const page = pathToFileURL(`${process.argv[2]}/`).href;
const client = await import(`${page}statecore.js`);
const { BUTTONS, Session } = await import(`${page}session.js`);
const { checked } = await import(`${page}settings.js`);

const device = new client.CallClient("https://calls.example.org", { user: "alice", token: "t" });
const session = new Session(device, "room", checked({}));
const names = (one) => [...Object.getOwnPropertyNames(Object.getPrototypeOf(one)), ...Object.keys(one)];
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
const ringing = [["bob", { receiverType: "group" }], [" ", {}]].map(async (args) => {
  try {
    await device.initiateCall(...args);
  } catch (error) {
    return [error.code, error.data.name];
  }
  return null;
});
const found = {
  unrung: await Promise.all(ringing),
  exports: Object.keys(client),
  CallClient: names(device),
  Session: names(session),
  CallError: [...names(new client.CallError("call_gone")), "call"],
  CallSettings: Object.keys(checked({})),
  defaults: checked({}),
  pressed,
  refused,
  frozen: Object.isFrozen(session.settings),
};
console.log(JSON.stringify(found));
device.alarm.close();
