/**
 * statecore in the browser: calls as explicit state machines, by the table that the Python side runs.
 *
 *     const client = new CallClient("https://calls.example.org", { user: "alice", token });
 *     await client.connect();
 *     const call = await client.initiateCall("bob", { type: "video" });
 *     await client.answered(call.sessionId);
 *     const session = await client.startSession(call.sessionId);
 *
 * No dependencies. The types are in statecore.d.ts.
 */

import * as check from "./arguments.js";
import { EndpointMachine } from "./endpoint.js";
import { CallError, refusal } from "./errors.js";
import { FLOWS, HASHES, STATUS, TIMERS } from "./flows.js";
import { FreshIce } from "./ice.js";
import { Listeners } from "./listeners.js";
import { BrowserMedia } from "./media.js";
import { Session, marks, participant, seconds } from "./session.js";
import { checked, joining } from "./settings.js";
import { Connection } from "./socket.js";
import { Alarm } from "./alarm.js";

const CALL_EVENTS = [
  "incoming_call_received", "outgoing_call_accepted", "outgoing_call_rejected", "incoming_call_cancelled",
  "call_ended_message_received",
];
const REMEMBERED = 256; // ended calls whose outcome can still be said
const now = () => Math.max(1, Math.round(performance.now()));
const identity = () => {
  const octets = crypto.getRandomValues(new Uint8Array(16));
  return [...octets].map((octet) => octet.toString(16).padStart(2, "0")).join("");
};

export class CallClient {
  constructor(url, {
    user, token, guest = false, device = identity(), name = "", media = new BrowserMedia(), giveUpAfter = 0, flows = FLOWS,
    hashes = HASHES,
  }) {
    this.device = check.id("device", device);
    this.name = check.label("name", name);
    this.media = media;
    this.hashes = hashes;
    this.core = new EndpointMachine(flows, TIMERS);
    this.endpoint = this.core.start(check.id("user", user), device, identity());
    this.listeners = new Listeners();
    this.sessions = new Map();
    this.waits = new Map();
    this.requests = new Map();
    this.endedLegs = new Map();
    this.queue = [];
    this.draining = false;
    this.ticket = 0;
    this.closed = false;
    this.connection = new Connection(url, token, this, { guest, giveUpAfter: check.patience("giveUpAfter", giveUpAfter) });
    this.ice = new FreshIce(url, token, guest);
    this.alarm = new Alarm(() => this.tick());
    this.welcomed = null;
  }

  // --- life

  get connected() {
    return this.endpoint.online;
  }

  get online() {
    return this.endpoint.online;
  }

  /**
   * Connect, and stay connected until `close`, the service refuses this device, or `giveUpAfter` is over: `connection_failed`
   * tells, and this may be called again. Rejects with `signaling_lost` if nothing stood within ten seconds; it is still
   * tried then.
   */
  connect() {
    if (this.closed) return Promise.reject(new CallError("client_closed"));
    if (this.welcomed) return this.welcomed.promise;
    this.endpoint = { ...this.endpoint, confirmed: now() };
    const welcomed = {};
    welcomed.promise = new Promise((resolve, reject) => Object.assign(welcomed, { resolve, reject }));
    setTimeout(() => welcomed.reject(new CallError("signaling_lost")), TIMERS.command);
    this.welcomed = welcomed;
    this.connection.open();
    return welcomed.promise;
  }

  /** Try the service again now, if the link is down. */
  reconnect() {
    this.connection.again();
  }

  /** End every call, say good-bye, and leave nothing. Idempotent. */
  close() {
    if (this.closed) return;
    if (this.welcomed) this.tellOfLink("connection_closed", "client_closed", false);
    for (const { sessionId } of this.calls) this.feed({ do: "Do", session: sessionId, trigger: "end" });
    this.closed = true;
    this.connection.send({ m: "bye" });
    this.connection.close();
    this.ice.stop();
    this.alarm.close();
    this.giveUp(new CallError("client_closed"));
    for (const { reject } of this.waits.values()) reject(new CallError("client_closed"));
    this.waits.clear();
  }

  /** Who this is; the picture is known once the device is connected. */
  get user() {
    const { user: uid, avatar } = this.endpoint;
    return { uid, name: this.name || uid, avatar };
  }

  /** The time of the service in Unix seconds, as far as it has told it. */
  get serviceTime() {
    const { ahead } = this.endpoint;
    return (ahead ? now() + ahead : Date.now()) / 1000;
  }

  // --- what it is in

  /** Every call this device has a live part in, oldest first. */
  get calls() {
    return [...this.endpoint.legs.values()].filter((leg) => leg.reason === null).map((leg) => this.callOf(leg));
  }

  /** The newest call this device is in, if any; one that rings here and is not answered is not counted. */
  get activeCall() {
    return this.calls.filter((call) => !this.ringsHere(call)).at(-1) ?? null;
  }

  ringsHere(call) {
    const machine = this.core.machines.get(call.flow);
    return call.role === "callee" && machine.flow.roles.ringing.includes(call.state);
  }

  named(session) {
    return this.endpoint.names.get(session) ?? session;
  }

  leg(session) {
    return this.endpoint.legs.get(this.named(session)) ?? null;
  }

  // --- listeners

  on(event, handler) {
    return this.listeners.on(event, handler);
  }

  addCallListener(id, listener) {
    return this.listeners.add(id, listener);
  }

  removeCallListener(id) {
    return this.listeners.remove(id);
  }

  // --- ringing

  /** Ring a user; resolves when it rings. `timeout` is in seconds; null is the service's. Rejects as Python's raises. */
  async initiateCall(receiver, more = {}) {
    const { type = "video", receiverType = "user", timeout = null, metadata = null, sessionId = null, flow = "ringing" } = more;
    check.id("receiver", receiver);
    check.choice("type", type, ["audio", "video"]);
    check.choice("receiver_type", receiverType, ["user"]);
    const session = sessionId === null ? identity() : check.id("session_id", sessionId);
    const machine = this.core.machines.get(flow);
    if (!machine?.ring) throw check.invalid("flow", "this client has no flow of that name that rings");
    const consent = type === "video" ? ["audio", "video"] : ["audio"];
    const command = { flow, receiver, type, consent, timeout: check.ringTime(timeout), metadata: check.metadata(metadata) };
    return this.callOf(await this.do(session, machine.flow.start, command));
  }

  /** Wait until a call is accepted; rejects with how it ended otherwise. */
  async answered(sessionId) {
    const ended = this.endedLegs.get(check.id("session_id", sessionId));
    if (ended && !this.leg(sessionId)) throw this.withCall(refusal(ended, "joinable"), ended);
    return this.callOf(await this.wait((ticket) => ({ do: "Await", session: sessionId, ticket })));
  }

  async acceptCall(sessionId) {
    return this.callOf(await this.do(check.id("session_id", sessionId), "accept"));
  }

  async rejectCall(sessionId, reason = "rejected") {
    const trigger = { rejected: "reject", busy: "reject_busy" }[check.choice("reason", reason, ["rejected", "busy"])];
    await this.do(check.id("session_id", sessionId), trigger);
  }

  async cancelCall(sessionId) {
    await this.endLeg(sessionId, "cancel");
  }

  async endCall(sessionId) {
    await this.endLeg(sessionId, "end");
  }

  async clearActiveCall() {
    if (this.activeCall) await this.endCall(this.activeCall.sessionId);
  }

  // --- tokens and sessions

  /** A call token for this user and a session. */
  async generateToken(sessionId) {
    check.id("session_id", sessionId);
    if (this.closed) throw new CallError("client_closed");
    if (!this.connected) throw new CallError("not_connected");
    this.ticket += 1;
    const n = this.ticket;
    const request = { m: "token?", session: this.named(sessionId), n };
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.requests.delete(n);
        reject(new CallError("command_timeout", { trigger: "generate_token" }));
      }, TIMERS.command);
      this.requests.set(n, { request, resolve, reject, timer });
      this.connection.send(request);
    });
  }

  /** Join: the session of an accepted call by its id, or any by a call token. Resolves when active. */
  async startSession(what, settings = {}) {
    const accepted = this.leg(what);
    const token = accepted ? accepted.token : what;
    if (!token) throw new CallError(accepted ? "not_accepted" : "token_missing", { session_id: what });
    const id = accepted ? accepted.session : this.named(sessionOf(token));
    const chosen = checked({ type: accepted?.type, ...settings });
    if (this.sessions.has(id)) throw new CallError("already_joined", { session_id: id });
    const session = new Session(this, id, chosen);
    this.sessions.set(id, session);
    try {
      await this.do(id, "join", joining(chosen, token, accepted?.flow ?? this.leg(id)?.flow ?? "session"));
    } catch (error) {
      if (this.sessions.get(id) === session) this.sessions.delete(id);
      session.closeMedia();
      throw error;
    }
    session.begin();
    return session;
  }

  // --- feed, then drain

  feed(given) {
    if (this.closed) return;
    const before = this.endpoint;
    const { endpoint, effects } = this.core.step(before, given, now());
    this.endpoint = endpoint;
    this.queue.push(...effects);
    this.listeners.emit("step", given, effects, before, endpoint);
    if (this.draining) return;
    this.draining = true;
    try {
      while (this.queue.length) this.carryOut(this.queue.shift());
    } finally {
      this.draining = false;
    }
    this.lookAround();
    this.alarm.set(this.core.nextDue(this.endpoint) - now(), this.core.nextDue(this.endpoint) > 0);
  }

  carryOut(effect) {
    const session = this.sessions.get(effect.session);
    if (effect.do === "Send") this.connection.send(effect.message);
    else if (effect.do === "Emit") this.emit(effect);
    else if (effect.do === "Settle") this.settle(effect);
    else if (effect.do === "Reply") this.reply(effect);
    else if (effect.do === "CloseMedia") session?.closeMedia();
    else if (effect.do === "Drive") session?.drive(effect);
    else if (session) {
      session.update(this.endpoint.legs.get(effect.session));
      session.openMedia(effect.capture);
    }
  }

  emit({ event, leg, peer, value }) {
    if (!leg) {
      this.tellOfLink(event, "signaling_lost", true);
    } else if (CALL_EVENTS.includes(event)) {
      if (leg.reason !== null) this.remember(leg);
      this.listeners.emit(event, this.callOf(leg));
    } else if (this.sessions.has(leg.session)) {
      this.sessions.get(leg.session).emit(event, leg, peer, value);
    } else if (event === "error") {
      this.listeners.emit("error", value);
    }
  }

  remember(leg) {
    this.endedLegs.delete(leg.session);
    this.endedLegs.set(leg.session, leg);
    if (this.endedLegs.size > REMEMBERED) this.endedLegs.delete(this.endedLegs.keys().next().value);
  }

  settle({ ticket, leg, error }) {
    const wait = this.waits.get(ticket);
    this.waits.delete(ticket);
    if (!wait) return;
    if (error) {
      wait.reject(this.withCall(error, leg));
    } else {
      wait.resolve(leg);
    }
  }

  withCall(error, leg) {
    if (leg && (error.is("call_declined") || error.is("call_ended"))) error.call = this.callOf(leg);
    return error;
  }

  reply({ n, token, error }) {
    const asked = this.requests.get(n);
    this.requests.delete(n);
    clearTimeout(asked?.timer);
    if (error) asked?.reject(error);
    else asked?.resolve(token);
  }

  lookAround() {
    for (const [id, session] of [...this.sessions]) {
      session.update(this.endpoint.legs.get(id));
      if (!session.over) continue;
      this.sessions.delete(id);
      session.closeMedia();
    }
  }

  tick() {
    const stood = this.endpoint.online;
    this.feed({ do: "Tick" });
    const { online, confirmed, heartbeat } = this.endpoint;
    const silent = now() - confirmed > heartbeat + TIMERS.command;
    if (stood && (silent || !online)) this.connection.drop(); // or not even a lease was left
  }

  // --- the link

  linkUp() {
    this.feed({ do: "LinkUp", name: this.name, flows: this.hashes, wall: Date.now() });
  }

  linkTook(message) {
    this.feed({ do: "Received", message });
    if (message.m !== "welcome") return;
    for (const { request } of this.requests.values()) this.connection.send(request);
    this.ice.start();
    this.welcomed?.resolve();
    this.listeners.emit("connected");
  }

  linkDown() {
    this.feed({ do: "LinkDown" });
  }

  /** There is no link any more: what lives is over, at once; by the token that ran out, where that may be. */
  linkFailed(error) {
    this.ice.stop();
    this.giveUp(error);
    this.welcomed = null;
    this.tellOfLink("connection_failed", error.code, false);
    for (const call of this.calls) {
      const { expire, lost } = this.core.machines.get(call.flow).flow;
      const triggers = error.code === "token_expired" ? [expire, lost] : [lost];
      for (const trigger of triggers.filter(Boolean)) this.feed({ do: "Do", session: call.sessionId, trigger });
    }
  }

  /** What waits for the link waits in vain. */
  giveUp(error) {
    this.welcomed?.reject(error);
    for (const n of [...this.requests.keys()]) this.reply({ n, error });
  }

  tellOfLink(event, reason, recoverable) {
    for (const { listeners } of [this, ...this.sessions.values()]) listeners.emit(event, reason, recoverable);
  }

  // --- waiting

  do(session, trigger, more = {}) {
    return this.wait((ticket) => ({ do: "Do", session, trigger, ticket, ...more }));
  }

  say(session, text, to) {
    return this.wait((ticket) => ({ do: "Say", session, text, to, ticket }));
  }

  wait(make) {
    if (this.closed) return Promise.reject(new CallError("client_closed"));
    this.ticket += 1;
    const { ticket } = this;
    return new Promise((resolve, reject) => {
      this.waits.set(ticket, { resolve, reject });
      this.feed(make(ticket));
    });
  }

  async endLeg(session, trigger) {
    const leg = this.leg(check.id("session_id", session));
    if (leg?.reason === null) await this.do(session, trigger);
    else if (!leg && !this.endpoint.tombs.has(this.named(session))) throw new CallError("call_not_found", { session_id: session });
  }

  // --- what a leg is to people

  callOf(leg) {
    const [initiatedAt, ringingAt, answeredAt, activeAt, endedAt] = leg.at.map(seconds);
    const [by, device] = [leg.by || null, leg.byDevice || null];
    const endReason = leg.reason !== null ? { what: leg.reason, by, device, when: endedAt } : null;
    const status = endReason ? STATUS[leg.reason] : answeredAt ? "ongoing" : "initiated";
    const { session, flow, type, state, role, initiator, receiver } = leg;
    const other = leg.peers.find((peer) => peer.user !== this.user.uid);
    return {
      sessionId: session, flow, type, state, role, status, initiator, receiver, endReason, initiatedAt, ringingAt,
      answeredAt, activeAt, endedAt, metadata: parsed(leg.metadata), participants: leg.peers.map(participant),
      with: role === "caller" ? receiver : role === "callee" ? initiator : (other?.user ?? ""),
    };
  }

  ownParticipant(leg) {
    const { uid, name, avatar } = this.user;
    const { pid, role, joined, flags } = leg;
    return { pid, uid, name, avatar, device: this.device, role, joined, joinedAt: seconds(leg.joinedAt), ...marks(flags) };
  }
}

function parsed(text) {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}

/** The session a call token is for. Nothing is verified: that is the service's. */
const sessionOf = (token) => claimOf(token, "sid", "session");

function claimOf(token, name, what) {
  try {
    const octets = atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"));
    const claims = JSON.parse(new TextDecoder().decode(Uint8Array.from(octets, (octet) => octet.charCodeAt(0))));
    return check.id(name, claims[name]);
  } catch {
    throw new CallError("token_malformed", { why: `it names no ${what}` });
  }
}

/**
 * Be in a session by a call token alone: nobody need be logged in. The client goes with the session. `more` is as for a
 * client; a `device` that stays the same is let in again after a reload, as the token is bound to the first.
 */
export async function joinSession(url, token, settings = {}, more = {}) {
  const client = new CallClient(url, { user: claimOf(token, "sub", "user"), token, guest: true, ...more });
  try {
    await client.connect();
    const session = await client.startSession(token, settings);
    session.ended.then(() => client.close());
    return session;
  } catch (error) {
    client.close();
    throw error;
  }
}

export { BrowserMedia, CallError, EndpointMachine, FLOWS, HASHES, TIMERS };
