// Prints what statecore.js really has, as JSON: to be compared with what its types declare.

import { pathToFileURL } from "node:url";

const page = pathToFileURL(`${process.argv[2]}/`).href;
const client = await import(`${page}statecore.js`);
const { Session } = await import(`${page}session.js`);
const { checked } = await import(`${page}settings.js`);

const device = new client.CallClient("https://calls.example.org", { user: "alice", token: "t" });
const session = new Session(device, "room", checked({}));
const names = (one) => [...Object.getOwnPropertyNames(Object.getPrototypeOf(one)), ...Object.keys(one)];
const wrong = {
  type: "film", layout: "", audioOnly: 1, startAudioMuted: null, startVideoPaused: "no", audioInput: " ", videoInput: 3,
  cameraFacing: "up", idleTimeout: -1, idlePrompt: 0, maxDuration: NaN, idle_timeout: 3,
};
const refused = Object.entries(wrong).map(([name, value]) => {
  try {
    return [name, checked({ [name]: value })];
  } catch (error) {
    return [name, error.code, error.data.name];
  }
});
const found = {
  exports: Object.keys(client),
  CallClient: names(device),
  Session: names(session),
  CallError: [...names(new client.CallError("call_gone")), "call"],
  CallSettings: Object.keys(checked({})),
  refused,
  frozen: Object.isFrozen(session.settings),
};
console.log(JSON.stringify(found));
device.alarm.close();
