// A flow's table, compiled: which rows a command may take, and which way leads from what is known to what is told.
//
// The table is the Python one (see flows.js). Nothing here names a state or a trigger of a flow.

/** Sets are kept as sorted arrays without repetition: they compare as text and travel as they are. */
export const set = (...lists) => [...new Set(lists.flat())].sort();
export const without = (from, ...lists) => from.filter((name) => !lists.flat().includes(name));

/** The compiled form of one flow. */
export class FlowMachine {
  constructor(flow) {
    this.flow = flow;
    this.initial = flow.initial;
    this.final = flow.final;
    this.media = flow.roles.media;
    this.flags = set(flow.flags, ["joined", "connected"]);
    this.answered = set(flow.roles.joinable, flow.roles.media).filter((state) => !flow.roles.ringing.includes(state));
    this.triggers = new Map(flow.triggers.map((trigger) => [trigger.name, trigger]));
    this.ring = flow.rows.flatMap((row) => row.effects).find((e) => e.do === "Fire" && e.at === "invited")?.trigger;
    this.cells = new Map();
    for (const row of flow.rows) {
      const key = `${row.state} ${row.trigger}`;
      this.cells.set(key, [...(this.cells.get(key) ?? []), row]);
    }
    for (const [key, rows] of this.cells) this.cells.set(key, inOrder(rows));
  }

  rows(state, trigger) {
    return this.cells.get(`${state} ${trigger}`) ?? [];
  }
}

/** The rows of a cell in the order in which its conditions, counted up, first lead to them: what Python's does. */
function inOrder(rows) {
  const names = [...new Set(rows.flatMap((row) => [...row.when, ...row.unless]))];
  const found = new Set();
  for (let bits = 0; bits < 2 ** names.length; bits += 1) {
    const holds = (name) => Boolean((bits >> (names.length - 1 - names.indexOf(name))) & 1);
    const row = rows.find((one) => one.when.every(holds) && !one.unless.some(holds));
    if (row) found.add(row);
  }
  return [...found];
}

export const closes = (row) => row.effects.some((effect) => effect.do === "CloseMedia");
export const tells = (row) => row.effects.filter((effect) => effect.do === "Tell").map((effect) => effect.event);
export const customs = (row) => row.effects.filter((effect) => effect.do === "Custom");
const unjoins = (row) => closes(row) && row.reason === null;
/** What a row does to flags: which, and whether it sets or clears them, as one name each. */
const turns = (row) => [
  ...row.effects.filter((effect) => effect.do === "Mark").map((effect) => turn(effect.flag, effect.on)),
  ...(opens(row) ? [turn("joined", true)] : []),
  ...(unjoins(row) ? [turn("joined", false), turn("connected", false)] : []),
];
const turn = (flag, on) => `${on ? "+" : "-"}${flag}`;
const isOn = (one) => one.startsWith("+");
const flagOf = (one) => one.slice(1);
const opens = (row) => row.effects.some((effect) => effect.do === "OpenMedia");

/** What a command may come to for a leg, as far as the device can tell. */
export function intent(machine, leg, trigger) {
  const named = machine.triggers.get(trigger);
  const others = set(...leg.peers.map((peer) => peer.flags));
  const changing = changingOf(machine, leg);
  const knows = (name) => {
    // What an owed command is about to change, nobody knows here.
    if (machine.flags.includes(name)) return changing.includes(name) ? null : leg.flags.includes(name);
    if (name.startsWith("other_")) return others.includes(name.slice(6));
    if (name === "caller") return leg.role === "caller";
    if (name === "video") return leg.type === "video";
    if (name === "granted") return !named?.grant || leg.grants.includes(named.grant);
    return null; // only the switchboard knows
  };
  const possible = machine
    .rows(leg.state, trigger)
    .filter((row) => row.when.every((name) => knows(name) !== false) && !row.unless.some((name) => knows(name)));
  const rows = possible.filter((row) => row.refuse === null);
  return {
    rows,
    refusing: possible.filter((row) => row.refuse !== null),
    own: rows.find((row) => row.decider === "endpoint") ?? null,
    moves: rows.some((row) => row.effects.length || row.to !== leg.state),
    goal: goal(machine, leg.state, rows),
    agreed: set(named?.consent ?? []),
    revoked: set(named?.revokes ?? []),
  };
}

/** The flags that what is owed may change. */
const changingOf = (machine, leg) =>
  leg.owed.flatMap((command) => machine.rows(leg.state, command.trigger).flatMap(turns)).map(flagOf);

/**
 * How a command that failed is taken back, which may have been heard all the same: what capture it is not to open, and
 * the user's command that turns back the flags it may have turned (of several the one that turns back most). Nothing,
 * and none, if it opens no capture, or what was said after it opens the same.
 */
export function undone(machine, leg, trigger, n) {
  const { rows } = intent(machine, leg, trigger);
  const changing = changingOf(machine, leg);
  const turned = set(rows.flatMap(turns)).filter(
    (one) => changing.includes(flagOf(one)) || isOn(one) !== leg.flags.includes(flagOf(one)),
  );
  const { captures } = machine.flow;
  const switches = captures.flatMap(({ on, off }) => [...(on ? [turn(on, true)] : []), ...off.map((f) => turn(f, false))]);
  const kinds = machine.triggers.get(trigger).consent;
  const does = (state, name) => machine.rows(state, name).flatMap(turns);
  const meet = (some, others) => some.filter((one) => others.includes(one));
  const later = leg.owed.filter((command) => command.n > n).flatMap((command) => does(leg.state, command.trigger));
  if ((!kinds.length && !meet(turned, switches).length) || meet(turned, later).length) return { kinds: [], back: "" };
  const wanted = turned.map((one) => turn(flagOf(one), !isOn(one)));
  const best = { back: "", most: 0 };
  for (const other of machine.flow.triggers) {
    if (other.by !== "user" || other.grant || other.consent.length) continue;
    const most = Math.max(0, ...rows.map((row) => meet(wanted, does(row.to, other.name)).length));
    if (most > best.most) Object.assign(best, { back: other.name, most });
  }
  return { kinds: turned.length ? without(kinds, capturing(machine, leg)) : [], back: best.back };
}

/** What a device is to capture: granted, agreed to, and on. */
export function capturing(machine, leg) {
  const wanted = (capture) =>
    leg.grants.includes(capture.kind) &&
    (leg.consent.includes(capture.kind) || !capture.at_join) &&
    (capture.on === null || leg.flags.includes(capture.on)) &&
    !capture.off.some((flag) => leg.flags.includes(flag));
  return machine.flow.captures.filter(wanted).map((capture) => capture.kind).sort();
}

/** The users' triggers that a leg takes, as far as the device can tell. */
export const legal = (machine, leg) => {
  const users = machine.flow.triggers.filter((trigger) => trigger.by === "user").map((trigger) => trigger.name);
  return set(users.filter((name) => intent(machine, leg, name).rows.length));
};

/** Whether a command that needs a grant ends the leg: then it is no end of this leg alone. */
export const endsMore = (machine, state, trigger) =>
  Boolean(machine.triggers.get(trigger).grant) && machine.rows(state, trigger).some((row) => row.to === machine.final);

function goal(machine, state, rows) {
  const { ringing, joinable } = machine.flow.roles;
  if (rows.some(opens)) return "media";
  if (rows.some((row) => ringing.includes(row.to) && row.to !== state)) return "ringing";
  if (rows.some((row) => joinable.includes(row.to) && row.to !== state)) return "joinable";
  return "heard";
}

/** The goals that a leg in this state has reached. */
export function reached(machine, state) {
  const goals = {
    ringing: state !== machine.initial,
    joinable: machine.answered.includes(state),
    media: machine.media.includes(state),
  };
  return Object.keys(goals).filter((name) => goals[name]);
}

/** The rows from one (state, joined) to another, the last one with this reason if it ends the leg; null for no way. */
export function walk(machine, from, joined, caller, to, toJoined, reason) {
  const key = (state, is) => `${is ? "+" : "-"}${state}`;
  const paths = new Map([[key(from, joined), []]]);
  const todo = [[from, joined]];
  while (todo.length) {
    const [state, is] = todo.shift();
    const path = paths.get(key(state, is));
    if ((state === to && is === toJoined) || (state === to && to === machine.final)) return path;
    for (const row of machine.flow.rows) {
      if (row.state !== state || !may(row, is, caller) || (row.to === machine.final && row.reason !== reason)) continue;
      const after = (is || opens(row)) && !unjoins(row);
      if (!paths.has(key(row.to, after))) {
        paths.set(key(row.to, after), [...path, row]);
        todo.push([row.to, after]);
      }
    }
  }
  return null;
}

function may(row, joined, caller) {
  const known = { caller, joined };
  const holds = (name, otherwise) => (name in known ? known[name] : otherwise);
  return row.refuse === null && row.when.every((n) => holds(n, true)) && !row.unless.some((n) => holds(n, false));
}
