// A client under Node that has joined a session: its service, its devices and its clock are the test's.

import { pathToFileURL } from "node:url";

const page = pathToFileURL(`${process.argv[2]}/`).href;
export const { CallClient, CallError, TIMERS } = await import(`${page}statecore.js`);
const { MediaSession } = await import(`${page}media.js`);
export const { Peer } = await import(`${page}peer.js`);

let time = 1000;
performance.now = () => time;

/** Let everything happen that waits for nothing but its turn. */
export const settle = () => new Promise((done) => setTimeout(done, 1));

/** A track of a device, which the test ends as a cable does that is pulled. */
class Track extends EventTarget {
  constructor(kind, device) {
    super();
    Object.assign(this, { kind, device, enabled: true, readyState: "live", contentHint: "" });
  }

  get sends() {
    return this.enabled && this.readyState === "live";
  }

  getSettings() {
    return { deviceId: this.device };
  }

  stop() {
    this.readyState = "ended";
  }

  end() {
    this.stop();
    this.dispatchEvent(new Event("ended"));
  }
}

/** What a `getDisplayMedia` stream of one screen is. */
export const screen = (track = new Track("video", "screen")) => ({
  getTracks: () => [track],
  getVideoTracks: () => [track],
});

/** The devices of this machine: `broken` ones cannot be opened, and `asked` is what the user has yet to allow. */
export const devices = { opened: [], broken: new Set(), asked: null, picked: 0 };
const mediaDevices = {
  async getUserMedia(wanted) {
    const [[kind, { deviceId, facingMode }]] = Object.entries(wanted);
    await devices.asked?.[kind];
    const device = deviceId?.exact ?? facingMode ?? "any";
    if (devices.broken.has(device)) throw Object.assign(new Error(device), { name: "NotReadableError" });
    const track = new Track(kind, device);
    devices.opened.push(track);
    return { getTracks: () => [track] };
  },
  async getDisplayMedia() {
    devices.picked += 1;
    await settle();
    return screen();
  },
};
Object.defineProperty(globalThis, "navigator", { value: { mediaDevices }, configurable: true });

const TURNS = {
  mute_audio: ["+audio_muted"], unmute_audio: ["-audio_muted"], pause_video: ["+video_paused"],
  resume_video: ["-video_paused", "+camera"], start_screen_share: ["+presenting"], stop_screen_share: ["-presenting"],
  switch_to_video: ["+wants_video"], withdraw_video: ["-wants_video"],
};

/** Knows one session of alice, alone or with others; it can be away, and refuse what it is told. */
class Service {
  constructor(client, type, peers) {
    Object.assign(this, { client, type, peers, away: true, refuses: new Set(), seq: 0, heard: 0, took: [], sent: [] });
    this.flags = new Set();
    client.connection.send = (message) => this.away || this.take(message);
  }

  /** The link is cut: what is said from now on is lost. */
  cut() {
    this.away = true;
    this.client.linkDown();
  }

  /** The link stands again: a view tells what is, and what is owed is said. */
  mend() {
    this.away = false;
    this.client.linkUp();
    if (this.seq) this.view();
    this.client.linkTook({ m: "welcome" });
  }

  take(message) {
    this.sent.push(message);
    if (message.m !== "command") return;
    const { trigger, n, flags } = message;
    if (this.refuses.has(trigger)) {
      this.client.linkTook({ m: "refused", session: "room", n, code: "rate_limited", data: {} });
      return;
    }
    this.heard = n;
    this.took.push(trigger);
    for (const flag of trigger === "join" ? ["joined", ...flags] : []) this.flags.add(flag);
    for (const turn of TURNS[trigger] ?? []) this.flags[turn[0] === "+" ? "add" : "delete"](turn.slice(1));
    this.view(trigger === "join" ? "accepted" : "active");
  }

  view(state = "active") {
    this.seq += 1;
    const { seq, heard, type, peers } = this;
    const at = [1e12, 0, 1e12, state === "active" ? 1e12 + 5000 : 0, 0];
    this.client.linkTook({
      m: "view", session: "room", flow: "session", state, role: "member", pid: "1", joined: 1, joined_at: 1e12,
      grants: ["audio", "screen", "video"], flags: [...this.flags], initiator: "alice", age: 5000, at, type, peers, seq, heard,
    });
  }
}

const TOKEN = `h.${btoa(JSON.stringify({ sid: "room", sub: "alice" }))}.s`;

/** Alice in a session: {client, service, session, faults}. */
export async function joined({ type = "video", settings = {}, peers = [] } = {}) {
  Object.assign(devices, { opened: [], broken: new Set(), asked: null, picked: 0 });
  const media = {
    async open(host, capture) {
      const opened = new MediaSession(host, () => ({}));
      opened.setPeers = () => host.up();
      await opened.begin(capture);
      return opened;
    },
  };
  const client = new CallClient("https://calls.example.org", { user: "alice", token: "t", media });
  client.ice.start = () => {};
  const service = new Service(client, type, peers);
  const faults = [];
  service.mend();
  const listener = { onError: (error) => faults.push(error.data?.why ?? error.message) };
  const session = await client.startSession(TOKEN, { type, listener, ...settings });
  return { client, service, session, faults };
}

/** So many milliseconds pass. */
export async function pass(client, milliseconds) {
  time += milliseconds;
  client.tick();
  await settle();
}

/** What becomes of a promise, as far as it is known: a code of an error, or "done"; "" while nothing has. */
export function fate(promise) {
  const found = { now: "" };
  promise.then(() => (found.now = "done"), (error) => (found.now = error.code ?? String(error)));
  return found;
}

/** Run what the test file names, print what was wrong with each by its name, and leave nothing. */
export async function report(tests) {
  const wrong = {};
  for (const [name, test] of Object.entries(tests)) {
    const late = new Promise((_, reject) => setTimeout(() => reject(new Error("it does not end")), 5000));
    try {
      await Promise.race([test(), late]);
      wrong[name] = "";
    } catch (error) {
      wrong[name] = error.stack;
    }
  }
  process.stdout.write(JSON.stringify(wrong), () => process.exit(0));
}
