// Data messages between participants: numbered for each pair, delivered in order and once, said again after a cut.
// They travel as relays, which the service does not keep: the sender keeps each until its receiver has got it. The first
// few of those for each are on the way at a time, and no more goes out than the service takes.

import { CallError, refusal } from "./errors.js";

const KEPT = 256; // unacknowledged messages for one participant
const WINDOW = 16; // of those, how many are on the way at a time
const LONGEST = 32768; // bytes of one message as it goes over the wire
const BURST = 10000000; // microseconds of what may be said in the long run: so much may be said at once
const LANE = { said: 0, mails: [], posted: 0, due: 0, got: 0, owes: false, asks: "no" };

const octets = (text) => new TextEncoder().encode(text).length;
const wrapped = (parcel) => JSON.stringify(parcel);
const laneOf = (leg, pid) => leg.lanes.get(pid) ?? LANE;
const ticketsOf = (leg) => new Set([...leg.lanes.values()].flatMap((lane) => lane.mails.map((mail) => mail.ticket)));
const inOrder = (tickets) => [...tickets].sort((a, b) => a - b);

/** Send a message to one participant or to all who have joined; settles when all of them have it. */
export function say(step, given) {
  const leg = step.legs.get(step.session(given.session));
  let to;
  try {
    to = receivers(step, leg, given);
  } catch (error) {
    step.settle(given.ticket, leg ?? null, error);
    return;
  }
  if (!to.length) {
    step.settle(given.ticket, leg);
    return;
  }
  const due = step.now + step.timers.command;
  const lanes = new Map(leg.lanes);
  for (const pid of to) {
    const lane = laneOf(leg, pid);
    const mail = { n: lane.said + 1, text: given.text, ticket: given.ticket ?? 0, due };
    lanes.set(pid, { ...lane, said: mail.n, mails: [...lane.mails, mail] });
  }
  post(step, step.put(leg, { lanes }));
}

function receivers(step, leg, given) {
  if (!leg || !step.machine(leg).media.includes(leg.state)) {
    const data = { session_id: given.session, state: leg?.state ?? "unknown", trigger: "send_message" };
    throw new CallError("session_inactive", data);
  }
  const largest = wrapped(wrapped({ n: 2 ** 53, got: 2 ** 53, text: given.text }));
  if (octets(largest) > LONGEST) throw new CallError("invalid_argument", { name: "data", why: "the message is too long" });
  const joined = leg.peers.filter((peer) => peer.joined).map((peer) => peer.pid);
  if (given.to && !joined.includes(given.to)) {
    throw new CallError("invalid_argument", { name: "to", why: "no such participant is here" });
  }
  const to = given.to ? [given.to] : joined;
  if (to.some((pid) => laneOf(leg, pid).mails.length >= KEPT)) {
    throw new CallError("rate_limited", { what: "data messages", seconds: 1 });
  }
  return to;
}

/** Something came from a participant: a message, or word of what it has got. */
export function take(step, leg, source, body) {
  const parcel = read(body);
  const peer = leg.peers.find((one) => one.pid === source);
  if (!parcel || !peer) return; // the sender's fault, and nobody else's concern
  leg = acknowledged(step, leg, source, parcel.got);
  const lane = laneOf(leg, source);
  if (parcel.again) leg = put(step, leg, source, { posted: 0 });
  if (parcel.n === lane.got + 1) {
    leg = put(step, leg, source, { got: parcel.n, owes: true, asks: "no" });
    tell(step, leg, peer, parcel.text);
  } else if (parcel.n > lane.got && lane.asks === "no") {
    leg = put(step, leg, source, { owes: true, asks: "due" }); // some were lost: they are asked for once
  } else if (parcel.n) {
    leg = put(step, leg, source, { owes: true });
  }
  post(step, leg);
}

const put = (step, leg, pid, changes) =>
  step.put(leg, { lanes: new Map(leg.lanes).set(pid, { ...laneOf(leg, pid), ...changes }) });

function read(body) {
  try {
    const { n = 0, got = 0, text = "", again = false } = JSON.parse(body);
    const whole = Number.isInteger(n) && Number.isInteger(got);
    return whole && typeof text === "string" && typeof again === "boolean" ? { n, got, text, again } : null;
  } catch {
    return null;
  }
}

function tell(step, leg, peer, text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    return; // taken, so that what comes after it arrives, but not worth telling
  }
  step.emit("message_received", leg, peer, value);
}

function acknowledged(step, leg, pid, got) {
  const { mails } = laneOf(leg, pid);
  const kept = mails.filter((mail) => mail.n > got);
  if (kept.length === mails.length) return leg;
  const before = mails.map((mail) => mail.ticket);
  leg = put(step, leg, pid, { mails: kept, due: kept.length ? step.now + retry(step.timers) : 0 });
  settle(step, leg, before);
  return leg;
}

/** Settle those of these waits that wait for nobody any more. */
function settle(step, leg, tickets) {
  const waiting = ticketsOf(leg);
  const done = tickets.filter((ticket) => !waiting.has(ticket));
  for (const ticket of inOrder(new Set(done))) step.settle(ticket, leg);
}

/** The link was cut and is back: say again what was not acknowledged, and ask for what was missed. */
export function resume(step, leg) {
  const lanes = new Map(leg.lanes);
  for (const { pid } of leg.peers.filter((one) => one.joined)) {
    lanes.set(pid, { ...laneOf(leg, pid), posted: 0, owes: true, asks: "due" });
  }
  post(step, step.put(leg, { lanes }));
}

/** Nobody waits for those who have left. */
export function forget(step, leg) {
  const here = leg.peers.map((peer) => peer.pid);
  const lanes = new Map([...leg.lanes].filter(([pid]) => here.includes(pid)));
  if (lanes.size === leg.lanes.size) return leg;
  const before = [...ticketsOf(leg)];
  leg = step.put(leg, { lanes });
  settle(step, leg, before);
  return leg;
}

/** The leg has ended: nothing of it is awaited any more. */
export function drop(step, leg) {
  for (const ticket of inOrder(ticketsOf(leg))) step.settle(ticket, leg, refusal(leg, "heard"));
}

// --- time

/** Time has passed: waits fail, though what they wait for may still arrive; who does not answer is sent it again. */
export function clock(step, leg) {
  const overdue = new Set();
  const lanes = new Map();
  for (const [pid, lane] of leg.lanes) {
    const late = lane.mails.filter((mail) => mail.ticket && mail.due <= step.now).map((mail) => mail.ticket);
    for (const ticket of late) overdue.add(ticket);
    const mails = lane.mails.map((mail) => (late.includes(mail.ticket) ? { ...mail, ticket: 0 } : mail));
    const again = step.endpoint.online && lane.due > 0 && lane.due <= step.now;
    lanes.set(pid, { ...lane, mails, ...(again ? { posted: 0, due: 0 } : {}) });
  }
  leg = step.put(leg, { lanes });
  for (const ticket of inOrder(overdue)) {
    step.settle(ticket, leg, new CallError("command_timeout", { trigger: "send_message" }));
  }
  return post(step, leg);
}

/** When the clock is wanted. */
export function messageTimes(endpoint, leg) {
  const lanes = [...leg.lanes.values()];
  const times = lanes.flatMap((lane) => lane.mails.filter((mail) => mail.ticket).map((mail) => mail.due));
  if (!endpoint.online) return times;
  times.push(...lanes.filter((lane) => lane.due).map((lane) => lane.due));
  if (owing(leg).length || next(leg).length) times.push(Math.max(1, Math.ceil((endpoint.paced + cost(endpoint) - BURST) / 1000)));
  return times;
}

/** How long to wait for an answer: what was lost is made good before the wait for it fails. */
const retry = (timers) => Math.floor(timers.command / 2);

// --- what goes out

/** Send what is to go now, as far as it may: what was got first, which lets others go on; then messages. */
function post(step, leg) {
  if (!step.endpoint.online) return leg;
  const lanes = new Map(leg.lanes);
  for (const pid of owing(leg)) {
    if (may(step)) {
      const lane = lanes.get(pid);
      const again = lane.asks === "due";
      relay(step, leg, pid, { got: lane.got, again });
      lanes.set(pid, { ...lane, owes: false, asks: again ? "said" : lane.asks });
    }
  }
  for (const { pid, mail } of next(leg)) {
    if (may(step)) {
      const lane = lanes.get(pid);
      relay(step, leg, pid, { n: mail.n, got: lane.got, text: mail.text });
      lanes.set(pid, { ...lane, posted: mail.n, due: lane.due || step.now + retry(step.timers) });
    }
  }
  return step.put(leg, { lanes });
}

const here = (leg) => leg.peers.filter((peer) => peer.joined && leg.lanes.has(peer.pid)).map((peer) => peer.pid);
const owing = (leg) => here(leg).filter((pid) => leg.lanes.get(pid).owes);

/** What may go out, and to whom: of what is not acknowledged the first few, the oldest in front. */
function next(leg) {
  const mails = here(leg).flatMap((pid) => {
    const { mails, posted } = leg.lanes.get(pid);
    return mails.slice(0, WINDOW).filter((mail) => mail.n > posted).map((mail) => ({ pid, mail }));
  });
  return mails.sort((a, b) => a.mail.due - b.mail.due || a.mail.n - b.mail.n);
}

/** The microseconds between two messages in the long run: a quarter of what the service takes is for all else. */
const cost = (endpoint) => Math.floor(4000000 / (3 * endpoint.rate));

/** Whether one more may go now; it counts then. */
function may(step) {
  const now = step.now * 1000;
  const at = Math.max(now, step.endpoint.paced) + cost(step.endpoint);
  if (at > now + BURST) return false;
  step.endpoint.paced = at;
  return true;
}

function relay(step, leg, to, parcel) {
  const said = Object.fromEntries(Object.entries(parcel).filter(([, value]) => value)); // what is not said is 0
  step.send({ m: "relay", session: leg.session, to, kind: "data", body: wrapped(said) });
}
