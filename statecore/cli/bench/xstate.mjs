// The flow of the benchmark in XState. Reads a number of pairs of transitions per line, answers with seconds.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

// As seen from the folder it was started in, and, as usual for Node, from those above.
const { createActor, createMachine } = createRequire(process.cwd() + "/")("xstate");

const subject = { allowed: () => true, locked: () => false };
const guard = () => subject.allowed() && !subject.locked();
let told;
const tell = (effects) => () => {
  told = effects;
};
const over = { end: "ended", lost: "ended", failed: "ended" };
const machine = createMachine({
  initial: "idle",
  states: {
    idle: { on: { ...over, initiate: "ringing" } },
    ringing: { on: { ...over, accept: "accepted" } },
    accepted: { on: { ...over, up: "active" } },
    active: { on: { ...over, hold: { target: "held", guard, actions: tell(["quiet"]) } } },
    held: { on: { ...over, resume: { target: "active", guard, actions: tell(["loud"]) } } },
    ended: { type: "final" },
  },
});

const actor = createActor(machine);
actor.start();
for (const type of ["initiate", "accept", "up"]) actor.send({ type });
const [hold, resume] = [{ type: "hold" }, { type: "resume" }];

// Node compiles what has run often: let it, before anything is measured.
for (let left = 20000; left > 0; left--) {
  actor.send(hold);
  actor.send(resume);
}

for await (const line of createInterface({ input: process.stdin })) {
  const [cpu, wall] = [process.cpuUsage(), process.hrtime.bigint()];
  for (let left = Number(line); left > 0; left--) {
    actor.send(hold);
    actor.send(resume);
  }
  const used = process.cpuUsage(cpu);
  const passed = Number(process.hrtime.bigint() - wall) / 1e9;
  // Node compiles and collects in threads of its own, and others use the machine: the smaller one favors XState.
  const seconds = Math.min(passed, (used.user + used.system) / 1e6);
  if (told === undefined || actor.getSnapshot().value !== "active") throw new Error("the machine did not move");
  console.log(seconds);
}
