// Media with one other participant: the connection of the moment, and the negotiation that makes and changes it.
//
// A pair has one connection at a time, numbered by its generation; the offers on it are numbered by their round, from 1.
// An offer of round 1 begins a new connection. Whoever cannot apply an offer answers with `again`, his own generation:
// the offerer then begins a new connection, above both. Offers are serialised by the pair's offer token, which the
// service hands out. All of it happens one thing after the other.

import { Link } from "./link.js";

const ANSWER = 9000; // milliseconds to wait for an answer: less than the 10 s after which the token is taken back
const REBUILD = 3000; // for which a peer is lost before a new connection is tried
const STUCK = 12000; // without a connection, though negotiated, before another is tried
const PAUSE = 500; // between a failed negotiation and the next
const ATTEMPTS = 3; // new connections offered within one turn of the token

export class Peer {
  constructor(around, peer) {
    this.pid = peer.pid;
    this.connected = false; // as last reported
    this.tracks = new Map(); // kind -> what arrives
    this.around = around;
    this.host = around.host;
    this.link = null;
    this.gen = 0;
    this.round = 0;
    this.waiting = null; // the numbers of our offer that has no answer yet
    this.said = null; // our offer of the moment
    this.answer = null; // our answer of the moment
    this.attempt = 1;
    this.timer = 0;
    this.watch = 0;
    this.over = false;
    this.chain = Promise.resolve();
    if (this.host.joined < peer.joined) this.host.ask(this.pid);
  }

  post(job) {
    const failed = (error) => this.over || this.host.fault(error); // whose connection was closed meanwhile has no fault
    this.chain = this.chain.then(() => (this.over ? null : job())).catch(failed);
  }

  // --- from the session

  granted() {
    this.post(async () => {
      if (this.waiting) this.sendOffer(); // a new turn: the offer, or its answer, may have been lost with a link
      else if (this.needsOffer()) await this.offer();
      else this.host.free(this.pid);
    });
  }

  receive(kind, text) {
    let body;
    try {
      body = JSON.parse(text);
    } catch {
      return;
    }
    if (!Number.isInteger(body?.gen)) return;
    if (kind === "offer") this.post(() => this.offered(body));
    else if (kind === "answer") this.post(() => this.answered(body));
    else this.post(() => (this.link && body.gen === this.gen ? this.link.trickle(body) : null));
  }

  /** Signaling may have been lost. */
  resumed() {
    this.post(() => {
      if (!this.waiting && (!this.link?.up || this.needsOffer())) this.host.ask(this.pid); // who waits for an answer gets a new turn
    });
  }

  /** The session wants other kinds. */
  changed() {
    this.post(() => this.askIfNeeded());
  }

  /** Another track is sent. */
  sends(kind, track) {
    this.post(() => this.link?.send(kind, track));
  }

  // --- what a link asks

  get audioOnly() {
    return this.around.audioOnly;
  }

  track(kind) {
    return this.around.track(kind);
  }

  took(kind, track) {
    if (this.tracks.get(kind) === track) return;
    this.tracks.set(kind, track);
    this.around.arrived(this.pid, kind, track);
  }

  // --- the connection of the moment

  create() {
    const found = (link, { candidate, sdpMid, sdpMLineIndex }) => {
      if (link === this.link) this.send("candidate", { gen: this.gen, candidate, sdpMid, sdpMLineIndex });
    };
    this.link = new Link(this.around.configure(), this, (link) => this.post(() => this.linkChanged(link)), found);
    return this.link;
  }

  drop() {
    this.settle();
    clearTimeout(this.watch);
    const { link } = this;
    this.link = this.answer = null;
    if (link) {
      link.close();
      this.report(false);
    }
  }

  startOver() {
    this.drop();
    this.host.free(this.pid);
    this.timer = setTimeout(() => this.host.ask(this.pid), PAUSE);
  }

  settle() {
    this.waiting = null;
    clearTimeout(this.timer);
  }

  // --- offering

  needsOffer() {
    const { link } = this;
    return !link || link.down || link.fresh || !link.stable || !link.has(this.around.wanted);
  }

  askIfNeeded() {
    // Without a connection, whoever joined first is about to make one, with all that is wanted by then.
    if (!this.waiting && this.link && !this.link.fresh && this.needsOffer()) this.host.ask(this.pid);
  }

  async offer(attempt = 1) {
    if (this.link && (this.link.down || !this.link.stable)) this.drop();
    if (!this.link || this.link.fresh) {
      this.gen += 1;
      this.round = 0;
    }
    const link = this.link ?? this.create();
    const { sdp, kinds } = await link.offer(this.around.wanted);
    this.round += 1;
    this.waiting = `${this.gen}.${this.round}`;
    this.attempt = attempt;
    this.said = { gen: this.gen, round: this.round, sdp, kinds };
    this.sendOffer();
  }

  sendOffer() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.post(() => this.waiting && this.startOver()), ANSWER);
    this.send("offer", this.said);
  }

  async answered(answer) {
    if (`${answer.gen}.${answer.round}` !== this.waiting || !this.link) return; // it answers an offer that was given up
    if (answer.again) {
      this.gen = Math.max(this.gen, answer.again);
      this.drop();
      if (this.attempt < ATTEMPTS) await this.offer(this.attempt + 1);
      else this.startOver();
      return;
    }
    try {
      await this.link.accept(answer.sdp);
    } catch (error) {
      this.startOver();
      throw error;
    }
    this.settle();
    this.expect(this.link, STUCK);
    this.host.free(this.pid);
    this.askIfNeeded();
  }

  // --- answering

  async offered(offer) {
    let { link } = this;
    if (link && this.answer?.gen === offer.gen && this.answer.round === offer.round) {
      this.send("answer", this.answer); // the same offer again: the answer may have been lost
      return;
    }
    if (offer.round === 1 && offer.gen >= this.gen) {
      if (!link?.fresh) {
        this.drop();
        link = this.create();
      }
    } else if (offer.gen !== this.gen || !link || link.down || !link.stable || link.fresh) {
      this.refuse(offer);
      return;
    }
    this.gen = offer.gen;
    this.round = offer.round;
    let sdp;
    try {
      sdp = await link.answer(offer);
    } catch (error) {
      this.drop();
      this.refuse(offer);
      throw error;
    }
    this.answer = { gen: offer.gen, round: offer.round, sdp };
    this.send("answer", this.answer);
    if (!link.up) this.expect(link, STUCK);
    this.askIfNeeded();
  }

  refuse(offer) {
    this.send("answer", { gen: offer.gen, round: offer.round, again: Math.max(this.gen, offer.gen) });
  }

  send(kind, body) {
    this.host.send(this.pid, kind, JSON.stringify(body));
  }

  // --- how the connection fares

  linkChanged(link) {
    if (link !== this.link) return;
    if (link.up) {
      clearTimeout(this.watch);
      this.report(true);
    } else if (link.down) {
      this.drop();
      this.host.ask(this.pid);
    } else if (link.pc.connectionState === "disconnected") {
      this.report(false);
      this.expect(link, REBUILD);
    }
  }

  /** Unless the connection stands by then, another is made. */
  expect(link, milliseconds) {
    clearTimeout(this.watch);
    this.watch = setTimeout(() => {
      this.post(() => {
        if (link !== this.link || link.up || this.waiting) return;
        this.drop();
        this.host.ask(this.pid);
      });
    }, milliseconds);
  }

  report(connected) {
    if (connected === this.connected) return;
    this.connected = connected;
    if (connected) this.host.peerConnected(this.pid);
    else this.host.peerLost(this.pid);
    this.around.connectionChanged();
  }

  close() {
    this.over = true;
    this.settle();
    clearTimeout(this.watch);
    this.link?.close();
    this.link = null;
  }
}
