// One step of an endpoint in the making: a draft of its state, and the effects so far.

import { drop } from "./data.js";
import { CallError, refusal } from "./errors.js";
import { closes, customs, endsMore, intent, legal, set, tells, undone, without } from "./machine.js";

const TOMBS = 256; // ended sessions that a device remembers

/** One device without a call. Times are milliseconds of the device's monotonic clock. */
export const newEndpoint = (user, device, epoch) => ({
  user, device, epoch, legs: new Map(), names: new Map(), tombs: new Map(), held: new Map(), avatar: "", conn: 0,
  online: false, n: 0, confirmed: 0, beatDue: 0, heartbeat: 15000, lease: 45000, rate: 200, paced: 0, ahead: 0,
});

/** What a leg is before anything is known of it. */
export const LEG = {
  role: "callee", pid: "", type: "video", initiator: "", receiver: "", seq: 0, flags: [], grants: [], joined: 0,
  joinedAt: 0, peers: [], offers: {}, reason: null, by: "", byDevice: "", at: [0, 0, 0, 0, 0], age: 0, metadata: "", token: "", owed: [], waits: [],
  consent: [], media: "none", reported: false, lost: [], idle: [0, 0], aloneSince: 0, until: 0, longest: 0,
  lanes: new Map(), first: 0,
};

export class Step {
  constructor(endpoint, machines, timers, now) {
    this.endpoint = { ...endpoint };
    this.legs = new Map(endpoint.legs);
    this.machines = machines;
    this.timers = timers;
    this.now = now;
    this.effects = [];
  }

  done() {
    return { ...this.endpoint, legs: this.legs };
  }

  machine(leg) {
    return this.machines.get(leg.flow);
  }

  isOver(leg) {
    return leg.state === this.machine(leg).final;
  }

  session(name) {
    return this.endpoint.names.get(name) ?? name;
  }

  put(leg, changes = {}) {
    const after = { ...leg, ...changes };
    this.legs.set(leg.session, after);
    return after;
  }

  send(message) {
    this.effects.push({ do: "Send", message });
  }

  drive(leg, what, ...args) {
    this.effects.push({ do: "Drive", session: leg.session, what, args });
  }

  emit(event, leg = null, peer = null, value = null) {
    this.effects.push({ do: "Emit", event, leg, peer, value });
  }

  settle(ticket, leg, error = null) {
    if (ticket) this.effects.push({ do: "Settle", ticket, leg, error });
  }

  // --- what the user wants

  /** A command: taken here at once if the table lets the endpoint decide, owed to the switchboard otherwise. */
  do(want) {
    let leg = this.legs.get(this.session(want.session)) ?? null;
    let may;
    try {
      if (!leg || (this.isOver(leg) && this.startsAnew(leg, want))) leg = this.begin(want);
      may = this.may(leg, want.trigger);
    } catch (error) {
      this.settle(want.ticket, leg, error);
      return;
    }
    if (!may?.moves) {
      this.settle(want.ticket, leg); // what was wanted is so already
    } else if (may.own) {
      this.endHere(leg, may.own);
      this.settle(want.ticket, this.legs.get(leg.session) ?? null);
    } else {
      this.owe(leg, want, may);
    }
  }

  /** What a command may come to. Null: it is so already. Throws if the table does not allow it. */
  may(leg, trigger) {
    if (this.isOver(leg)) {
      this.afterEnd(leg, trigger);
      return null;
    }
    const may = intent(this.machine(leg), leg, trigger);
    if (!may.rows.length) throw this.illegal(leg, trigger, may.refusing);
    return may;
  }

  startsAnew(leg, want) {
    const machine = this.machine(leg);
    return want.flow === leg.flow && machine.flow.start === want.trigger && !machine.ring;
  }

  /** A leg that the switchboard does not know of yet. */
  begin(want) {
    const machine = this.machines.get(want.flow);
    const session = this.session(want.session);
    if (machine?.flow.start !== want.trigger) {
      const known = this.endpoint.tombs.has(session) || this.legs.has(session);
      throw new CallError(known ? "call_gone" : "call_not_found", { session_id: want.session, reason: "ended" });
    }
    if (!this.endpoint.online) throw new CallError("not_connected");
    const { receiver = "", type = "video", metadata = "" } = want;
    return this.put({
      ...LEG, session, flow: want.flow, state: machine.initial, role: machine.ring ? "caller" : "member", type,
      initiator: this.endpoint.user, receiver, metadata, owed: this.legs.get(session)?.owed ?? [],
      first: this.endpoint.n + 1,
    });
  }

  /** After the end, ending again is done already; anything else is too late. */
  afterEnd(leg, trigger) {
    const { flow } = this.machine(leg);
    const rows = flow.rows.filter((row) => row.trigger === trigger);
    if (rows.some((row) => row.to === flow.final && row.decider === "endpoint")) return;
    if (trigger === flow.start) throw new CallError("call_gone", { session_id: leg.session, reason: leg.reason });
    if (rows.some((row) => row.state === flow.final)) throw refusal(leg, "joinable");
    throw new CallError("already_left", { session_id: leg.session });
  }

  illegal(leg, trigger, rows) {
    const machine = this.machine(leg);
    const { session, state } = leg;
    if (rows[0]?.refuse === "token_lacks_grant") {
      return new CallError("token_lacks_grant", { grant: machine.triggers.get(trigger).grant });
    }
    if (rows.length) return new CallError(rows[0].refuse, { session_id: session, reason: state, user: this.endpoint.user });
    const states = machine.flow.rows.filter((row) => row.trigger === trigger).map((row) => row.state);
    if (states.length && states.every((one) => machine.media.includes(one)) && !machine.media.includes(state)) {
      return new CallError("session_inactive", { session_id: session, state, trigger });
    }
    return new CallError("illegal_transition", { state, trigger, legal: legal(machine, leg) });
  }

  /** Tell the switchboard, and wait for a fact. A command that is owed already is not said twice. */
  owe(leg, want, may) {
    let changes = {};
    let last = leg.owed.at(-1);
    if (last?.trigger === want.trigger && JSON.stringify(last.data ?? null) === JSON.stringify(want.data ?? null)) {
      if (may.goal === "media") {
        this.settle(want.ticket, leg, new CallError("already_joined", { session_id: leg.session }));
        return;
      }
    } else {
      last = this.command(want, leg);
      changes = { ...this.agree(leg, want, may), owed: [...leg.owed, last] };
      this.say(last);
    }
    if (want.ticket) {
      const due = this.now + this.timers.command;
      const wait = { ticket: want.ticket, goal: may.goal, n: last.n, trigger: want.trigger, due, until: want.until ?? "" };
      changes.waits = [...leg.waits, wait];
    }
    this.put(leg, changes);
  }

  /** What the user says yes to by this command. */
  agree(leg, want, may) {
    const changes = {};
    if (may.agreed.length || may.revoked.length) {
      const agreed = want.consent ? may.agreed.filter((kind) => want.consent.includes(kind)) : may.agreed;
      changes.consent = without(set(leg.consent, agreed), may.revoked);
    }
    if (may.goal === "media") {
      Object.assign(changes, { idle: want.idle ?? [0, 0], longest: want.longest ?? 0, media: "wanted" });
    }
    return changes;
  }

  command(want, leg) {
    this.endpoint.n += 1;
    const makes = Boolean(want.flow) && leg.seq === 0;
    const { receiver = "", timeout = 0, metadata = "", token = "", flags = [], data = null } = want;
    return {
      m: "command", session: want.session, n: this.endpoint.n, trigger: want.trigger, pid: leg.pid,
      flow: makes ? want.flow : "", receiver, type: makes ? (want.type ?? "video") : "video", timeout, metadata, token,
      flags: set(flags), data,
    };
  }

  // --- the safe local end

  /** End a live leg by a row that the endpoint may take itself, if there is one. */
  endBy(leg, trigger) {
    const { own } = intent(this.machine(leg), leg, trigger ?? "");
    if (own) this.endHere(leg, own);
  }

  /** Media is released at once; the end is owed, and of what was owed before only an end for more than this leg. */
  endHere(leg, row) {
    const wider = leg.owed.filter((before) => endsMore(this.machine(leg), leg.state, before.trigger));
    this.ended(this.oweEnd(leg, row.trigger, wider), row);
  }

  /** A leg has ended by this row: everybody hears of it. */
  ended(leg, row) {
    const mine = this.machine(leg).triggers.get(row.trigger).by === "user";
    const [by, byDevice] = mine ? [this.endpoint.user, this.endpoint.device] : ["", ""];
    this.apply(this.put(leg, { consent: [], by, byDevice, at: [...leg.at.slice(0, -1), this.aboutNow(leg)] }), [row]);
  }

  /** The service's time, as far as this device can tell; 0 if it cannot. */
  aboutNow(leg) {
    const { ahead } = this.endpoint;
    return ahead ? Math.max(...leg.at, this.now + ahead) : 0;
  }

  oweEnd(leg, trigger, before = []) {
    const command = this.command({ session: leg.session, trigger }, leg);
    this.say(command);
    return this.put(leg, { owed: [...before, command] });
  }

  /** Say it now, unless the link is still to be welcomed: what is owed goes first then, in its order. */
  say(command) {
    if (this.endpoint.online) this.send(command);
  }

  /** Walk rows: states change one by one, listeners are told, media closes. One's own call (`own`) does not ring. */
  apply(leg, rows, own = false) {
    for (const row of rows) {
      if (row.to !== leg.state) leg = this.put(leg, { state: row.to, reason: row.reason });
      if (closes(row)) leg = this.close(leg);
      if (!(own && this.machine(leg).flow.roles.ringing.includes(row.to))) {
        for (const event of tells(row)) this.emit(event, leg);
      }
      for (const custom of customs(row)) this.emit("custom", leg, null, [custom.name, custom.data]);
    }
    if (this.isOver(leg)) this.finishWaits(this.close(leg));
    return this.legs.get(leg.session);
  }

  close(leg) {
    if (leg.media !== "open") return leg;
    this.effects.push({ do: "CloseMedia", session: leg.session });
    return this.put(leg, { media: "closed", lost: [] });
  }

  /** Forget an ended leg, but for its id and the names it had. */
  bury(session) {
    const leg = this.legs.get(session);
    this.legs.delete(session);
    const names = [...this.endpoint.names];
    const old = names.filter(([, into]) => into === session).map(([name]) => name);
    this.endpoint.names = new Map(names.filter(([, into]) => into !== session));
    this.entomb([...old, session], Math.max(leg.seq, this.endpoint.tombs.get(session) ?? 0));
  }

  entomb(sessions, seq) {
    const tombs = [...this.endpoint.tombs].filter(([session]) => !sessions.includes(session));
    this.endpoint.tombs = new Map([...tombs, ...sessions.map((session) => [session, seq])].slice(-TOMBS));
  }

  finishWaits(leg) {
    for (const wait of leg.waits) this.settle(wait.ticket, leg, refusal(leg, wait.goal));
    drop(this, leg);
    this.put(leg, { waits: [], lanes: new Map() });
  }

  /** Commands that were not heard in time fail; what they were to begin is ended. */
  timeouts(leg) {
    const late = leg.waits.filter((wait) => wait.due && wait.due <= this.now);
    if (!late.length) return;
    // What nobody awaits any more is not owed any more: a microphone must not open by itself when the link returns.
    const waits = leg.waits.filter((wait) => !late.includes(wait));
    const failed = new Map(late.filter((wait) => wait.goal === "heard").map((wait) => [wait.n, wait.trigger]));
    for (const wait of waits) failed.delete(wait.n);
    leg = this.put(leg, { waits, owed: leg.owed.filter((command) => !failed.has(command.n)) });
    for (const wait of late) this.settle(wait.ticket, leg, new CallError("command_timeout", { trigger: wait.trigger }));
    if (late.some((wait) => wait.goal !== "heard") && !this.isOver(leg)) {
      this.endBy(leg, this.machine(leg).flow.lost);
    } else {
      for (const [n, trigger] of failed) leg = this.takeBack(leg, trigger, n);
    }
  }

  /**
   * A command has failed, but may have been heard: it opens no capture any more, and its opposite is owed, whose outcome
   * nobody waits for: it may well have nothing to take back.
   */
  takeBack(leg, trigger, n) {
    const { kinds, back } = undone(this.machine(leg), leg, trigger, n);
    const after = this.put(leg, { consent: without(leg.consent, kinds) });
    if (!back) return after;
    const command = this.command({ session: leg.session, trigger: back }, after);
    this.say(command);
    const wait = { ticket: 0, goal: "heard", n: command.n, trigger: back, due: 0, until: "" };
    return this.put(after, { owed: [...after.owed, command], waits: [...after.waits, wait] });
  }
}
