// Data messages between participants: numbered for each pair, delivered in order and once, said again after a cut.
// They travel as relays, which the service does not keep: the sender keeps each until its receiver has got it.

import { CallError, refusal } from "./errors.js";

const KEPT = 256; // unacknowledged messages for one participant
const LONGEST = 32768; // bytes of one message as it goes over the wire

const octets = (text) => new TextEncoder().encode(text).length;
const wrapped = (parcel) => JSON.stringify(parcel);

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
  const said = new Map(leg.said);
  const mails = to.map((pid) => {
    const numbers = leg.outbox.filter((mail) => mail.pid === pid).map((mail) => mail.n);
    const n = 1 + (numbers.length ? Math.max(...numbers) : (said.get(pid) ?? 0));
    said.set(pid, n);
    return { pid, n, text: given.text, ticket: given.ticket ?? 0, due };
  });
  for (const mail of mails) post(step, leg, mail);
  step.put(leg, { outbox: [...leg.outbox, ...mails], said });
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
  if (to.some((pid) => leg.outbox.filter((mail) => mail.pid === pid).length >= KEPT)) {
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
  if (parcel.n === 0) {
    if (parcel.again) sendAgain(step, leg, source);
    return;
  }
  let got = leg.got.get(source) ?? 0;
  if (parcel.n === got + 1) {
    got += 1;
    const asked = leg.asked.filter((pid) => pid !== source);
    leg = step.put(leg, { got: new Map(leg.got).set(source, got), asked });
    tell(step, leg, peer, parcel.text);
  }
  // A later one than expected tells that some were lost: they are asked for once.
  const again = parcel.n > got && !leg.asked.includes(source);
  if (again) leg = step.put(leg, { asked: [...leg.asked, source].sort() });
  relay(step, leg, source, { got, again });
}

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

function acknowledged(step, leg, source, got) {
  const kept = leg.outbox.filter((mail) => mail.pid !== source || mail.n > got);
  if (kept.length === leg.outbox.length) return leg;
  const waiting = new Set(kept.map((mail) => mail.ticket));
  const done = new Set(leg.outbox.map((mail) => mail.ticket).filter((ticket) => !waiting.has(ticket)));
  leg = step.put(leg, { outbox: kept });
  for (const ticket of [...done].sort((a, b) => a - b)) step.settle(ticket, leg);
  return leg;
}

/** The link was cut and is back: say again what was not acknowledged, and ask for what was missed. */
export function resume(step, leg) {
  leg = step.put(leg, { asked: [] });
  for (const peer of leg.peers.filter((one) => one.joined)) {
    sendAgain(step, leg, peer.pid);
    relay(step, leg, peer.pid, { got: leg.got.get(peer.pid) ?? 0, again: true });
  }
}

function sendAgain(step, leg, pid) {
  for (const mail of leg.outbox) if (mail.pid === pid) post(step, leg, mail);
}

/** Nobody waits for those who have left. */
export function forget(step, leg) {
  const here = leg.peers.filter((peer) => peer.joined).map((peer) => peer.pid);
  const gone = new Set(leg.outbox.map((mail) => mail.pid).filter((pid) => !here.includes(pid)));
  for (const pid of [...gone].sort()) leg = acknowledged(step, leg, pid, Infinity);
  return leg;
}

/** What was not acknowledged in time has failed, though it may still arrive. */
export function late(step, leg) {
  const overdue = new Set(leg.outbox.filter((mail) => mail.ticket && mail.due <= step.now).map((mail) => mail.ticket));
  if (!overdue.size) return leg;
  const outbox = leg.outbox.map((mail) => (overdue.has(mail.ticket) ? { ...mail, ticket: 0 } : mail));
  leg = step.put(leg, { outbox });
  for (const ticket of [...overdue].sort((a, b) => a - b)) {
    step.settle(ticket, leg, new CallError("command_timeout", { trigger: "send_message" }));
  }
  return leg;
}

/** The leg has ended: nothing of it is awaited any more. */
export function drop(step, leg) {
  const tickets = [...new Set(leg.outbox.map((mail) => mail.ticket))].sort((a, b) => a - b);
  for (const ticket of tickets) step.settle(ticket, leg, refusal(leg, "heard"));
}

function post(step, leg, mail) {
  relay(step, leg, mail.pid, { n: mail.n, got: leg.got.get(mail.pid) ?? 0, text: mail.text });
}

function relay(step, leg, to, parcel) {
  if (!step.endpoint.online) return;
  const said = Object.fromEntries(Object.entries(parcel).filter(([, value]) => value)); // what is not said is 0
  step.send({ m: "relay", session: leg.session, to, kind: "data", body: wrapped(said) });
}
