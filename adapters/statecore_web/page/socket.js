// A device's connection to the service: one at a time, again and again, until it is closed.

const PROTOCOL = "statecore.v1";
const BEARER = "statecore.token."; // a browser cannot set headers on a WebSocket, and a token has no place in an address
const BACKOFF = [20, 100, 200, 500, 1000, 2000, 5000]; // milliseconds; shortened by chance, so that not all come at once
const STEADY = 5000; // only a connection that lasted so long shows that the next may be tried at once
const WELCOME = 10000; // milliseconds in which a connection has to be welcomed

/** Keeps a device connected. `device` has linkUp, linkTook(message), linkDown, linkRefused(code, data). */
export class Connection {
  constructor(url, token, device) {
    this.url = socketUrl(url);
    this.token = token;
    this.device = device;
    this.socket = null;
    this.failures = 0;
    this.timer = 0;
    this.patience = 0;
    this.closed = false;
    this.hurry = () => this.again(0);
  }

  open() {
    globalThis.addEventListener?.("online", this.hurry);
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
    const socket = new WebSocket(this.url, [PROTOCOL, BEARER + token]);
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
      if (["unsupported_version", "signaling_refused"].includes(message.code)) {
        this.close();
        this.device.linkRefused(message.code, message.data ?? {});
      }
    } else if (message?.m) {
      this.device.linkTook(message);
    }
  }

  /** The socket is gone, or given up. */
  give(socket, began) {
    if (this.socket !== socket) return;
    clearTimeout(this.patience);
    this.socket = null;
    socket.onmessage = null;
    socket.onclose = null;
    socket.close();
    this.device.linkDown();
    this.failures = performance.now() - began > STEADY ? 0 : this.failures + 1;
    if (this.closed) return;
    const pause = BACKOFF[Math.min(this.failures, BACKOFF.length - 1)];
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.dial(), pause * (0.5 + Math.random() / 2));
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
