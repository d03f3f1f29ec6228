// Runs the browser's endpoint on events that come as lines of JSON, and answers each line with what it did. Speaks of
// its state in the words of the Python side.

import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const page = pathToFileURL(`${process.argv[2]}/`).href;
const { EndpointMachine } = await import(`${page}endpoint.js`);
const { FLOWS, TIMERS } = await import(`${page}flows.js`);

const NAMES = { aloneSince: "alone_since", beatDue: "beat_due", byDevice: "by_device", joinedAt: "joined_at" };
const words = (object) => Object.fromEntries(Object.entries(object).map(([key, value]) => [NAMES[key] ?? key, value]));
const leg = (one) =>
  one && {
    ...words(one),
    lost: one.lost.map(({ pid, since, told }) => [pid, since, told]),
    lanes: Object.fromEntries(one.lanes),
  };
const state = (endpoint) => ({
  ...words(endpoint),
  legs: [...endpoint.legs.values()].map(leg),
  names: [...endpoint.names],
  tombs: [...endpoint.tombs],
  held: [...endpoint.held].map(([session, ring]) => [session, ring.seq]),
});
const effect = (one) => ({
  ...one,
  ...("leg" in one ? { leg: leg(one.leg) } : {}),
  ...("error" in one ? { error: one.error && [one.error.code, one.error.data.legal ?? null] } : {}),
  ...(one.event === "error" ? { value: one.value.code } : {}),
});

const machine = new EndpointMachine(FLOWS, TIMERS);
for await (const line of createInterface({ input: process.stdin })) {
  const { who, steps } = JSON.parse(line);
  let endpoint = machine.start(...who);
  const answers = [];
  for (const [given, now] of steps) {
    const result = machine.step(endpoint, given, now);
    endpoint = result.endpoint;
    answers.push({ state: state(endpoint), did: result.effects.map(effect), due: machine.nextDue(endpoint) });
  }
  process.stdout.write(`${JSON.stringify(answers)}\n`);
}
