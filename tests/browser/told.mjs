// Tells a session's listeners of switching to video, and prints what they heard: each case comes as [the leg before, the
// leg after, the event, who it is of].

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const page = pathToFileURL(`${process.argv[2]}/`).href;
const { CallClient } = await import(`${page}statecore.js`);
const { Session } = await import(`${page}session.js`);
const { checked } = await import(`${page}settings.js`);

const device = new CallClient("https://calls.example.org", { user: "alice", token: "t" });
const heard = [];
for (const [before, after, event, peer] of JSON.parse(readFileSync(0, "utf8"))) {
  const session = new Session(device, "room", checked({}));
  session.on(event, (...args) => heard.push(args));
  if (before) session.update(before);
  session.emit(event, after, peer, null);
}
console.log(JSON.stringify(heard));
device.alarm.close();
