// A device's connection to the service: one at a time, again and again, until it is closed, refused or given up.

import { CallError } from "./errors.js";

const PROTOCOL = "statecore.v1";
const BEARER = "statecore.token."; // a browser cannot set headers on a WebSocket, and a token has no place in an address
const GUEST = "statecore.guest."; // the same for a call token that is shown without a login
const BACKOFF = [20, 100, 200, 500, 1000, 2000, 5000]; // milliseconds; shortened by chance, so that not all come at once
const STEADY = 5000; // only a connection that lasted so long shows that the next may be tried at once
const LONGEST = 2 ** 31 - 1; // milliseconds of a timer
const WELCOME = 10000; // milliseconds in which a connection has to be welcomed

/** Keeps a device connected. `device` has user, online, linkUp, linkTook(message), linkDown, linkFailed(error). */
export class Connection {
  /** `token` is one, or gives one; a guest's is a call token. `giveUpAfter` is in seconds without a link; 0 is never. */
  constructor(url, token, device, { guest = false, giveUpAfter = 0 } = {}) {
    this.url = socketUrl(url);
    this.token = token;
    this.guest = guest;
    this.device = device;
    this.giveUpAfter = giveUpAfter;
    this.socket = null;
    this.failures = 0;
    this.wait = 0; // milliseconds that the service wants to be left alone
    this.timer = 0;
    this.patience = 0;
    this.budget = 0;
    this.renewed = false; // whether another token is tried in place of one that was refused
    this.closed = true;
    this.hurry = () => this.again();
  }

  open() {
    this.closed = false;
    this.renewed = false;
    globalThis.addEventListener?.("online", this.hurry);
    this.spend();
    this.dial();
  }

  async dial() {
    clearTimeout(this.timer);
    if (this.closed || this.socket) return;
    const began = performance.now();
    const attempt = { close() {} };
    this.socket = attempt; // the place is taken while the token is on its way
    this.patience = setTimeout(() => this.device.online || this.give(this.socket, began), WELCOME);
    let token;
    try {
      token = typeof this.token === "function" ? await this.token() : this.token;
    } catch {
      this.give(attempt, began);
      return;
    }
    if (this.socket !== attempt) return; // it took too long, or nobody wants it any more
    let socket;
    try {
      socket = new WebSocket(this.url, [PROTOCOL, (this.guest ? GUEST : BEARER) + token]);
    } catch (error) {
      const malformed = error.name === "SyntaxError"; // the message would quote the token
      const why = malformed ? "it has a character that no token has" : error.message;
      this.refused(new CallError(malformed ? "token_malformed" : "signaling_refused", { why }));
      this.give(attempt, began);
      return;
    }
    this.socket = socket;
    socket.onopen = () => this.device.linkUp();
    socket.onmessage = ({ data }) => this.take(data);
    socket.onclose = () => this.give(socket, began);
  }

  take(data) {
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      return;
    }
    if (message?.m === "refused" && !message.n) {
      this.refused(new CallError(message.code, message.data ?? {}));
    } else if (message?.m === "welcome" && message.user !== this.device.user.uid) {
      // Whatever this device did, it would do in the name of somebody whom its program takes for another.
      this.fail(new CallError("token_foreign", { what: "user", theirs: message.user, ours: this.device.user.uid }));
    } else if (message?.m) {
      if (message.m === "welcome") this.welcomed();
      this.device.linkTook(message);
    }
  }

  welcomed() {
    this.renewed = false;
    clearTimeout(this.budget);
  }

  /** The service does not let this device in, and closes the link: for good, with this token, or for now. */
  refused(error) {
    const renew = error.is("token") && typeof this.token === "function" && !this.renewed && !this.device.online;
    if (renew) this.renewed = true;
    else if (["unsupported_version", "signaling_refused", "token"].some((code) => error.is(code))) this.fail(error);
    else this.wait = 1000 * Math.min(60, Number(error.data.seconds) || 0);
  }

  /** The socket is gone, or given up. */
  give(socket, began) {
    if (this.socket !== socket) return;
    clearTimeout(this.patience);
    this.socket = null;
    socket.onmessage = null;
    socket.onclose = null;
    socket.close();
    if (this.device.online) this.spend();
    this.device.linkDown();
    this.failures = performance.now() - began > STEADY ? 0 : this.failures + 1;
    if (this.closed) return;
    const pause = BACKOFF[Math.min(this.failures, BACKOFF.length - 1)];
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.dial(), this.wait + pause * (0.5 + Math.random() / 2));
    this.wait = 0;
  }

  /** From now on there is no link. */
  spend() {
    clearTimeout(this.budget);
    if (!this.giveUpAfter) return;
    this.budget = setTimeout(() => this.fail(new CallError("signaling_lost")), Math.min(this.giveUpAfter * 1000, LONGEST));
  }

  /** There is no use in trying again. */
  fail(error) {
    this.close();
    this.device.linkDown();
    this.device.linkFailed(error);
  }

  /** The network is back, or the user asks: do not wait any longer. */
  again() {
    this.failures = 0;
    if (!this.socket) this.dial();
  }

  /** Say something, if there is a link; lost otherwise: what matters is said again after the resume. */
  send(message) {
    if (this.socket?.readyState === 1) this.socket.send(JSON.stringify(message));
  }

  /** The socket only seems to stand: make another. */
  drop() {
    if (this.socket?.readyState !== undefined) this.give(this.socket, performance.now());
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    clearTimeout(this.patience);
    clearTimeout(this.budget);
    globalThis.removeEventListener?.("online", this.hurry);
    const { socket } = this;
    this.socket = null;
    if (socket?.close) {
      socket.onclose = null;
      socket.close();
    }
  }
}

function socketUrl(url) {
  const found = new URL(url, globalThis.location?.href);
  if (found.search || found.hash) throw new TypeError("the service's address must have no query or fragment");
  found.protocol = { "http:": "ws:", "https:": "wss:" }[found.protocol] ?? found.protocol;
  const path = found.pathname.replace(/\/+$/, "");
  found.pathname = path.endsWith("/signaling") ? path : `${path}/v1/signaling`;
  return found.href;
}
