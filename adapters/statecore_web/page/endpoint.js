// One device's side of every call it has a part in: state and input in, state and effects out. It has no clock and no
// socket. The same rules as statecore.endpoint in Python, held to it by a test that runs both on the same events.
//
// A leg moves on facts (views) from the service, along the table's shortest path. By itself the endpoint takes only
// rows whose decider it is: ends, which release media at once and are owed to the service. What is owed is said again
// after every resume until a fact shows that it was heard.

import { resume, say, take } from "./data.js";
import { CallError, refusal } from "./errors.js";
import * as facts from "./facts.js";
import { FlowMachine } from "./machine.js";
import { Step, newEndpoint } from "./step.js";
import { tickLeg, timesOf } from "./clocks.js";

/** Interprets flows on the device's side. Holds nothing but what it was configured with. */
export class EndpointMachine {
  constructor(flows, timers) {
    this.machines = new Map(Object.entries(flows).map(([name, flow]) => [name, new FlowMachine(flow)]));
    this.timers = timers; // milliseconds, by name
  }

  start(user, device, epoch) {
    return newEndpoint(user, device, epoch);
  }

  /** Take one input: {do: "Do" | "Await" | ..., ...}. `now` is the device's monotonic clock in milliseconds. */
  step(endpoint, given, now) {
    const step = new Step(endpoint, this.machines, this.timers, now);
    INPUTS[given.do](step, given);
    facts.letGo(step);
    return { endpoint: step.done(), effects: step.effects };
  }

  /** When to tick next; 0 for never. */
  nextDue(endpoint) {
    const times = endpoint.online ? [endpoint.beatDue, endpoint.confirmed + endpoint.lease] : [];
    for (const leg of endpoint.legs.values()) {
      const { flow, final } = this.machines.get(leg.flow);
      if (leg.state !== final) times.push(...timesOf(endpoint, leg, flow, this.timers));
    }
    return times.length ? Math.min(...times) : 0;
  }
}

const INPUTS = {
  Do: (step, given) => step.do(given),
  Await: awaited,
  Say: say,
  LinkUp: linkUp,
  LinkDown: linkDown,
  Received: (step, given) => {
    step.endpoint.confirmed = step.now;
    MESSAGES[given.message.m]?.(step, given.message);
  },
  Media: media,
  Signal: (step, given) => {
    const leg = step.legs.get(step.session(given.session));
    if (leg?.media === "open" && step.endpoint.online) step.send(given.message);
  },
  Tick: tick,
};

const MESSAGES = {
  welcome,
  view: facts.view,
  refused: (step, message) => {
    const error = new CallError(message.code, message.data ?? {});
    if (message.request) step.effects.push({ do: "Reply", n: message.n, token: "", error });
    else facts.refused(step, message.session, message.n, error);
  },
  unknown: (step, message) => facts.unknown(step, message.session, message.seq),
  relayed: (step, message) => {
    const leg = step.legs.get(step.session(message.session));
    if (leg?.media !== "open") return;
    if (message.kind === "data") take(step, leg, message.source, message.body);
    else step.drive(leg, "receive", message.source, message.kind, message.body);
  },
  token: (step, message) => step.effects.push({ do: "Reply", n: message.n, token: message.token, error: null }),
};

/** Wait for the acceptance: bounded by the ring timer and by the device's patience. */
function awaited(step, given) {
  const leg = step.legs.get(step.session(given.session));
  if (!leg) step.settle(given.ticket, null, new CallError("call_not_found", { session_id: given.session }));
  else if (step.isOver(leg)) step.settle(given.ticket, leg, refusal(leg, "joinable"));
  else if (step.machine(leg).answered.includes(leg.state)) step.settle(given.ticket, leg);
  else step.put(leg, { waits: [...leg.waits, { ticket: given.ticket, goal: "joinable", n: 0, trigger: "", due: 0, until: "" }] });
}

// --- the link

function linkUp(step, given) {
  linkDown(step); // this connection replaces the one before
  const { endpoint } = step;
  if (given.wall && !endpoint.ahead) endpoint.ahead = given.wall - step.now;
  endpoint.conn += 1;
  const sessions = {};
  for (const [session, ring] of endpoint.held) sessions[session] = ring.seq;
  for (const leg of step.legs.values()) if (leg.seq) sessions[leg.session] = leg.seq;
  const { device, epoch, conn } = endpoint;
  step.send({ m: "hello", v: 1, device, epoch, conn, name: given.name ?? "", flows: given.flows ?? {}, sessions });
}

function linkDown(step) {
  if (!step.endpoint.online) return;
  step.endpoint.online = false;
  step.emit("connection_lost");
}

/** The link stands: say again what is owed, and let media make good what was lost meanwhile. */
function welcome(step, message) {
  const { endpoint } = step;
  const again = endpoint.beatDue > 0;
  const { avatar = "", heartbeat = 15000, lease = 45000, rate = 200 } = message;
  Object.assign(endpoint, { online: true, avatar, heartbeat, lease, rate, beatDue: step.now + heartbeat });
  const owed = [...step.legs.values()].flatMap((leg) => leg.owed);
  for (const command of owed.sort((a, b) => a.n - b.n)) step.send(command);
  for (const leg of [...step.legs.values()]) {
    if (again && leg.media === "open") {
      step.drive(leg, "resumed");
      resume(step, leg);
    }
  }
  if (again) step.emit("connection_restored");
}

// --- media

function media(step, given) {
  const leg = step.legs.get(step.session(given.session));
  if (leg?.media !== "open") return; // too late: it has ended
  const { flow } = step.machine(leg);
  const known = leg.lost.find((entry) => entry.pid === given.pid);
  if (given.what === "up" && !leg.reported) {
    step.put(leg, { reported: true });
    step.do({ session: leg.session, trigger: flow.up });
  } else if (given.what === "failed") {
    step.do({ session: leg.session, trigger: flow.failed });
  } else if (given.what === "peer_lost" && !known && isHere(leg, given.pid)) {
    step.put(leg, { lost: [...leg.lost, { pid: given.pid, since: step.now, told: 0 }] });
  } else if (given.what === "peer_connected" && known) {
    const peer = leg.peers.find((one) => one.pid === given.pid);
    if (known.told) step.emit("remote_connection_restored", leg, peer ?? null);
    step.put(leg, { lost: leg.lost.filter((entry) => entry !== known) });
  }
}

/** Whether this is a participant: of anybody else there is no media to lose. */
const isHere = (leg, pid) => leg.peers.some((peer) => peer.joined && peer.pid === pid);

// --- time

function tick(step) {
  const { endpoint, now } = step;
  if (endpoint.online && now - endpoint.confirmed >= endpoint.lease) {
    linkDown(step); // it only seems to stand: nothing was heard for a whole lease
  }
  if (endpoint.online && endpoint.beatDue <= now) {
    endpoint.beatDue = now + endpoint.heartbeat;
    step.send({ m: "beat" });
  }
  for (const leg of [...step.legs.values()]) if (!step.isOver(leg)) tickLeg(step, leg);
}
