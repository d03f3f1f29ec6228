// The STUN and TURN servers that the service hands out: asked for when the device connects, and kept fresh.

const PATIENCE = 3000; // milliseconds that an answer may take, and that media waits for the first
const AGAIN = [1000, 2000, 5000, 15000, 60000]; // until a service is asked again that could not answer

export class FreshIce {
  constructor(url, token, guest = false) {
    this.url = url;
    this.token = token;
    this.guest = guest;
    this.current = { iceServers: [], iceTransportPolicy: "all" }; // as RTCPeerConnection takes them
    this.asking = false;
    this.timer = 0;
    this.failures = 0;
    this.stopped = false;
    this.answered = new Promise((resolve) => {
      this.answer = resolve;
    });
  }

  /** The device is connected: ask, unless what was told is being kept fresh. */
  start() {
    this.stopped = false;
    if (!this.asking && (!this.timer || this.failures)) this.ask();
  }

  /** Resolves with the first answer, or after a while without. */
  ready() {
    return Promise.race([this.answered, new Promise((resolve) => setTimeout(resolve, PATIENCE))]);
  }

  /** Ask no more, until `start`. */
  stop() {
    this.stopped = true;
    clearTimeout(this.timer);
  }

  async ask() {
    this.asking = true;
    clearTimeout(this.timer);
    this.timer = 0;
    let pause;
    try {
      pause = await this.renew();
      this.failures = 0;
      this.answer();
    } catch {
      pause = AGAIN[Math.min(this.failures++, AGAIN.length - 1)];
    }
    this.asking = false;
    if (pause && !this.stopped) this.timer = setTimeout(() => this.ask(), pause);
  }

  /** Ask; gives the milliseconds after which to ask again, or 0 for never. */
  async renew() {
    const token = typeof this.token === "function" ? await this.token() : this.token;
    const response = await askIce(this.url, token, this.guest);
    if (response.status === 404) return 0; // a service that knows nothing of this
    if (!response.ok) throw new Error(response.statusText);
    const { ice_servers: iceServers, ice_policy: iceTransportPolicy, lifetime } = await response.json();
    this.current = { iceServers, iceTransportPolicy };
    return Math.min((lifetime ?? 0) * 500, 2 ** 31 - 1);
  }
}

/** What the service answers to a device that shows this token. */
function askIce(url, token, guest = false) {
  const headers = { Authorization: `${guest ? "Guest" : "Bearer"} ${token}` };
  return fetch(iceUrl(url), { headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
}

/** Beside where devices connect. */
function iceUrl(url) {
  const found = new URL(url, globalThis.location?.href);
  found.protocol = { "ws:": "http:", "wss:": "https:" }[found.protocol] ?? found.protocol;
  found.pathname = `${found.pathname.replace(/\/+$/, "").replace(/\/v1\/signaling$/, "")}/v1/ice`;
  return found.href;
}
