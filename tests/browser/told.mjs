// Tells a session's listeners something, and prints what they heard of switching to video: each case comes as [the leg
// before, the leg after, the event, who it is of].

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const page = pathToFileURL(`${process.argv[2]}/`).href;
const { CallClient } = await import(`${page}statecore.js`);
const { Session } = await import(`${page}session.js`);
const { checked } = await import(`${page}settings.js`);

const device = new CallClient("https://calls.example.org", { user: "alice", token: "t" });
const events = ["requested", "declined"].map((what) => `call_switch_to_video_${what}`);
const heard = [];
for (const [before, after, event, peer] of JSON.parse(readFileSync(0, "utf8"))) {
  const session = new Session(device, "room", checked({}));
  const told = [];
  for (const each of [...events, "call_switched_to_video"]) session.on(each, (...args) => told.push([each, ...args]));
  if (before) session.update(before);
  session.emit(event, after, peer, null);
  heard.push(told);
}
console.log(JSON.stringify(heard));
device.alarm.close();
