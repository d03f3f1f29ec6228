// What the switchboard tells of a leg, and what becomes of the leg by it: views, refusals, and that it knows no such leg.

import { CallError, refusal } from "./errors.js";
import { capturing, intent, reached, set, walk, without } from "./machine.js";
import { LEG } from "./step.js";
import { differences, drivePeers } from "./tell.js";

const PEER = { device: "", name: "", avatar: "", role: "member", joined: 0, joined_at: 0 };
const VIEW = {
  flow: "ringing", role: "callee", type: "video", receiver: "", heard: 0, reason: null, by: "", by_device: "", via: "",
  joined: 0, joined_at: 0, flags: [], grants: [], peers: [], offers: {}, left: 0, age: 0, at: [0, 0, 0, 0, 0], metadata: "", gone: {},
  token: "",
};

/** A view with everything that its message left out. */
function whole(message) {
  const view = { ...VIEW, ...message };
  const peers = view.peers.map((peer) => ({ ...PEER, ...peer, flags: set(peer.flags ?? []) }));
  return { ...view, peers, flags: set(view.flags), grants: set(view.grants) };
}

/** The whole view of a leg, from the switchboard. */
export function view(step, message) {
  const view = whole(message);
  if (crosses(step, view)) {
    hold(step, view);
    return;
  }
  const takenBack = view.via ? meet(step, view) : "";
  let leg = step.legs.get(view.session) ?? null;
  if (!leg || leg.reason !== null) leg = legOf(step, view);
  if (!leg) return;
  const machine = step.machine(leg);
  if (leg.state === machine.final || view.heard < leg.first || view.seq < leg.seq) {
    const { waits } = leg;
    settleHeard(step, step.put(leg, hear(leg, view.heard, leg.flags)), waits, view.heard);
    settleEnd(step, view);
    return;
  }
  if (!view.via && view.state !== machine.final && succeed(step, leg, message)) return;
  const toJoined = view.flags.includes("joined");
  const caller = leg.role === "caller";
  const joined = leg.flags.includes("joined");
  const rows = walk(machine, leg.state, joined, caller, view.state, toJoined, view.reason);
  if (rows === null) { // of this leg it is not believed
    succeed(step, leg, message);
    return;
  }
  if (view.at[0]) step.endpoint.ahead = view.at[0] + view.age - step.now;
  const old = leg;
  const opens = toJoined && leg.media === "wanted" && view.state !== machine.final;
  leg = taken(step, leg, view, opens);
  settleHeard(step, leg, old.waits, view.heard);
  if (opens) {
    // The switchboard has verified the token, and this user has asked for media.
    step.effects.push({ do: "OpenMedia", session: leg.session, capture: without(capturing(machine, leg), "screen") });
    drivePeers(step, leg);
  }
  if (rows.length) leg = step.apply(leg, rows, Boolean(view.via));
  if (takenBack) {
    step.endBy(leg, takenBack);
  } else if (leg.state !== machine.final) {
    differences(step, machine, old, leg, view.gone);
    resolve(step, machine, step.legs.get(leg.session));
  }
  if (view.state === machine.final) settleEnd(step, view);
}

/**
 * Whether another leg is told of than this one: then this one has ended there as lost, with what it had opened and
 * whatever was said of it, and is succeeded. A ring that comes after a ring is told as one that is new.
 */
function succeed(step, leg, told) {
  const { own } = intent(step.machine(leg), leg, step.machine(leg).flow.lost);
  if (!own || !leg.pid || leg.pid === told.pid) return false;
  step.ended(step.put(leg, { owed: [] }), own);
  view(step, told);
  return true;
}

/** Whether a ring is from whom the user is calling himself, and nobody has said yet whether the two are one call. */
function crosses(step, view) {
  const machine = step.machines.get(view.flow);
  if (!machine || view.via || view.role === "caller" || !machine.flow.roles.ringing.includes(view.state)) return false;
  const leg = step.legs.get(view.session);
  if (leg ? !ringsAnew(step, leg, view) : isPast(step, view)) return false;
  const legs = [...step.legs.values()];
  return legs.some((own) => own.role === "caller" && !own.seq && own.receiver === view.initiator);
}

function hold(step, view) {
  const last = step.endpoint.held.get(view.session);
  if (!last || last.seq < view.seq) step.endpoint.held = new Map(step.endpoint.held).set(view.session, view);
}

/** Follow the rings that were held, once the user's own call is decided; forget those that have ended. */
export function letGo(step) {
  for (const [session, ring] of step.endpoint.held) {
    if (!crosses(step, ring)) {
      step.endpoint.held = new Map([...step.endpoint.held].filter(([other]) => other !== session));
      view(step, ring);
    }
  }
}

function taken(step, leg, view, opens) {
  const { pid, type, by, at, age, receiver, initiator, metadata, seq, flags, grants, joined, peers, offers } = view;
  return step.put(leg, {
    byDevice: view.by_device, joinedAt: view.joined_at, pid, type, by, at, age, receiver, initiator, metadata, seq, flags, grants, joined, peers, offers,
    token: view.token || leg.token, media: opens ? "open" : leg.media, ...hear(leg, view.heard, flags),
  });
}

/** The leg a view is about: made if it is news. */
function legOf(step, view) {
  let leg = step.legs.get(view.session) ?? null;
  if (leg && ringsAnew(step, leg, view)) {
    step.bury(leg.session);
    leg = null;
  }
  if (leg) return leg;
  const machine = step.machines.get(view.flow);
  if (!machine || isPast(step, view)) return null;
  if (view.state === machine.final) {
    step.entomb([view.session], view.seq); // its ring may still be on the way, and is not to ring then
    return null;
  }
  const { session, flow, role, pid, type, initiator, receiver, metadata } = view;
  const state = machine.initial;
  return { ...LEG, session, flow, state, role, pid, type, initiator, receiver, metadata };
}

/** Whether a view is older than the end of what it is about. */
function isPast(step, view) {
  return view.seq <= (step.endpoint.tombs.get(view.session) ?? -1);
}

/** Whether a leg that ended here without the user's doing has a successor. */
function ringsAnew(step, leg, view) {
  if (!step.isOver(leg) || view.seq <= leg.seq || view.pid === leg.pid || !leg.pid) return false;
  const { triggers } = step.machine(leg);
  return leg.owed.every((command) => triggers.get(command.trigger).by !== "user");
}

/** Both called each other: my own call is a second name of the other's. My waits, my yes, or my no, go over. */
function meet(step, view) {
  const own = step.legs.get(view.via);
  const there = step.legs.get(view.session);
  if (!own || view.via === view.session) return "";
  step.legs.delete(own.session);
  step.endpoint.names = new Map(step.endpoint.names).set(own.session, view.session);
  if (!there) {
    step.put({ ...own, session: view.session, role: step.isOver(own) ? own.role : view.role });
  } else if (step.isOver(there)) {
    for (const wait of own.waits) step.settle(wait.ticket, there, refusal(there, wait.goal));
  } else if (step.isOver(own)) {
    return own.owed.at(-1).trigger;
  } else {
    const consent = set(there.consent, own.consent);
    const owed = [...there.owed, ...own.owed].sort((a, b) => a.n - b.n);
    step.put(there, { waits: [...there.waits, ...own.waits], owed, consent });
  }
  return "";
}

function settleHeard(step, leg, waits, heard) {
  for (const wait of waits) if (isTaken(wait, heard, leg.flags)) step.settle(wait.ticket, leg);
}

/** If the switchboard knows of the end too, nothing is owed any more, and the leg may be forgotten. */
function settleEnd(step, view) {
  const leg = step.legs.get(view.session);
  if (view.heard < leg.first) return; // the end of a leg before this one
  if (step.isOver(leg) && view.state === step.machine(leg).final && view.seq > leg.seq - 1) {
    step.bury(step.put(leg, { seq: view.seq, at: view.at }).session);
  }
}

function resolve(step, machine, leg) {
  const goals = reached(machine, leg.state);
  const done = leg.waits.filter((wait) => goals.includes(wait.goal));
  if (done.length) leg = step.put(leg, { waits: leg.waits.filter((wait) => !done.includes(wait)) });
  for (const wait of done) step.settle(wait.ticket, leg);
  if (leg.media === "open" && machine.media.includes(leg.state)) step.put(leg, clocks(step, leg));
}

/** The session's own clocks: alone for too long, and as long as it may last. */
function clocks(step, leg) {
  const clocks = {};
  if (leg.peers.some((peer) => peer.joined)) {
    if (leg.aloneSince) clocks.aloneSince = 0;
  } else if (leg.idle[0] && !leg.aloneSince) {
    clocks.aloneSince = Math.max(1, step.now);
  }
  if (leg.longest && !leg.until) clocks.until = step.now + leg.longest;
  return clocks;
}

/** The switchboard refused a command. */
export function refused(step, session, n, error) {
  let leg = step.legs.get(step.session(session));
  const refusedOne = leg?.owed.find((command) => command.n === n);
  if (!refusedOne) return;
  const waits = leg.waits.filter((wait) => wait.n === n);
  leg = step.put(leg, {
    owed: leg.owed.filter((command) => command.n > n),
    waits: leg.waits.filter((wait) => wait.n !== n),
  });
  for (const wait of waits) step.settle(wait.ticket, leg, error);
  if (!waits.length && !step.isOver(leg) && n >= leg.first) step.emit("error", leg, null, error);
  if (!step.isOver(leg)) {
    if (n === leg.first) neverWas(step, leg);
  } else if (!leg.owed.length) { // else the end itself is still to be heard
    insist(step, leg, refusedOne.trigger, error);
  }
}

/**
 * An end was refused: the switchboard has no such leg, or its table knows a surer word; or the leg has ended there,
 * too, and the view that says so has been overtaken. Until it comes the leg is not forgotten.
 */
function insist(step, leg, trigger, error) {
  const { lost } = step.machine(leg).flow;
  const none = ["call_gone", "call_not_found", "not_a_party"].some((code) => error.is(code));
  if (none) neverWas(step, leg);
  else if (trigger !== lost) step.oweEnd(leg, lost);
  else if (!leg.seq || !error.is("illegal_transition")) neverWas(step, leg);
}

/** The switchboard made no call of it, or knows it no more: no trace but the id. */
function neverWas(step, leg) {
  for (const wait of leg.waits) {
    step.settle(wait.ticket, leg, new CallError("call_not_found", { session_id: leg.session }));
  }
  step.bury(leg.session);
}

/** The switchboard knows no part of this device in a session that it named. */
export function unknown(step, session, seq) {
  if (step.endpoint.held.has(session)) step.entomb([session], seq);
  const leg = step.legs.get(step.session(session));
  if (!leg || leg.seq > seq) return;
  if (step.isOver(leg)) {
    step.bury(leg.session);
  } else if (leg.seq) {
    step.endBy(leg, step.machine(leg).flow.lost);
    step.bury(leg.session);
    step.entomb([leg.session], 0); // its numbers begin anew, should whoever began the call say so once more
  }
  // A leg it was never told of is told now: what is owed is said again.
}

/** Whether somebody waits no more: the switchboard has heard the command, and the flag that it asked by is off. */
const isTaken = (wait, heard, flags) => wait.goal === "heard" && wait.n <= heard && !flags.includes(wait.until);

/** What is owed and awaited once the switchboard has taken the commands up to this number, and the leg has these flags. */
function hear(leg, heard, flags) {
  const waits = leg.waits
    .filter((wait) => !isTaken(wait, heard, flags))
    .map((wait) => (wait.n > heard ? wait : { ...wait, due: 0 }));
  return { owed: leg.owed.filter((command) => command.n > heard), waits };
}
