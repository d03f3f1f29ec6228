// Media of a session in a browser: what this device captures and sends, and what arrives from each participant.

import { CallError } from "./errors.js";
import { ORDER } from "./link.js";
import { Peer } from "./peer.js";

const CONSTRAINTS = {
  audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true },
  video: { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } },
};

/** Makes the media of sessions: WebRTC between the participants themselves. */
export class BrowserMedia {
  /** `iceServers` and `icePolicy` ("all" or "relay") as RTCPeerConnection takes them. Without servers, those that the
   * service hands out are used. */
  constructor({ iceServers = [], icePolicy = "all" } = {}) {
    this.iceServers = iceServers;
    this.icePolicy = icePolicy;
  }

  /** How to reach others from now on: what the service hands out has an end. */
  configuration({ iceServers, iceTransportPolicy }) {
    if (this.iceServers.length) return { iceServers: this.iceServers, iceTransportPolicy: this.icePolicy };
    return { iceServers, iceTransportPolicy: this.icePolicy === "relay" ? "relay" : iceTransportPolicy };
  }

  /** Open media: what is to be captured from the beginning. What cannot be opened is told as a fault, and not sent. */
  async open(host, capture) {
    if (!this.iceServers.length) await host.ice.ready();
    const session = new MediaSession(host, () => this.configuration(host.ice.current));
    await session.begin(capture);
    return session;
  }
}

export class MediaSession {
  constructor(host, configure) {
    this.host = host;
    this.configure = configure;
    this.audioOnly = Boolean(host.settings.audioOnly);
    this.wanted = ["audio"]; // the kinds that need an m-line
    this.asked = new Set(); // the kinds that the session wants captured
    this.hushed = new Set(); // the kinds of which nothing is sent, whatever is wanted
    this.sent = new Map(); // kind -> the track that is sent
    this.facing = host.settings.cameraFacing === "rear" ? "environment" : "user";
    this.sources = new Map(); // kind -> which device it is captured from, as constraints say it
    this.source("audio", host.settings.audioInput);
    this.source("video", host.settings.videoInput);
    this.peers = new Map();
    this.closed = false;
    this.work = new Map(); // kind -> when what is being opened is
  }

  async begin(capture) {
    if (capture.includes("video") && !this.audioOnly) this.want("video");
    for (const kind of capture) await this.enable(kind, true); // the browser may ask for each
  }

  // --- who is there

  setPeers(peers) {
    if (this.closed) return;
    const here = peers.map((peer) => peer.pid);
    for (const [pid, peer] of this.peers) {
      if (here.includes(pid)) continue;
      peer.close();
      this.peers.delete(pid);
    }
    for (const peer of peers) if (!this.peers.has(peer.pid)) this.peers.set(peer.pid, new Peer(this, peer));
    this.connectionChanged();
  }

  connectionChanged() {
    if (!this.closed && [...this.peers.values()].every((peer) => peer.connected)) this.host.up();
  }

  receive(pid, kind, body) {
    this.peers.get(pid)?.receive(kind, body);
  }

  granted(pid) {
    if (this.peers.has(pid)) this.peers.get(pid).granted();
    else this.host.free(pid);
  }

  resumed() {
    for (const peer of this.peers.values()) peer.resumed();
  }

  // --- what is sent

  track(kind) {
    return this.sent.get(kind) ?? null;
  }

  want(kind) {
    if (this.wanted.includes(kind)) return;
    this.wanted = ORDER.filter((one) => one === kind || this.wanted.includes(one));
    for (const peer of this.peers.values()) peer.changed();
  }

  /** Capture a kind, or no more. */
  enable(kind, on) {
    mark(this.asked, kind, on);
    return this.apply(kind);
  }

  /** Send nothing of a kind from now on, whatever is wanted; or what is wanted again. */
  hush(kind, on) {
    mark(this.hushed, kind, on);
    return this.apply(kind);
  }

  /** Whether a kind is to be sent: what is wanted and is not hushed. */
  goes(kind) {
    const possible = !this.closed && (kind === "audio" || !this.audioOnly);
    return possible && this.asked.has(kind) && !this.hushed.has(kind);
  }

  /** What is not to be sent stops at once, also while a device is being opened. */
  apply(kind) {
    const track = this.sent.get(kind);
    if (track && this.goes(kind)) track.enabled = true;
    // A muted microphone stays open, so that it speaks again at once; a camera that is off shows no light.
    else if (track && kind === "audio") track.enabled = false;
    else if (track) this.replace(kind, null);
    else if (this.goes(kind) && kind !== "screen") this.next(kind, () => this.open(kind));
    return this.work.get(kind);
  }

  /** One device of a kind after the other. */
  next(kind, job) {
    const done = Promise.resolve(this.work.get(kind)).then(job);
    this.work.set(kind, done.catch(() => {})); // the next is opened all the same
    return done;
  }

  async open(kind) {
    if (!this.goes(kind) || this.sent.has(kind)) return;
    this.want(kind);
    try {
      this.put(kind, await this.capture(kind));
    } catch (error) {
      this.lacks(kind, error);
    }
  }

  async capture(kind) {
    try {
      const wanted = { [kind]: { ...CONSTRAINTS[kind], ...this.sources.get(kind) } };
      const stream = await navigator.mediaDevices.getUserMedia(wanted);
      return stream.getTracks()[0];
    } catch (error) {
      throw new CallError("media_device", { why: `${kind}: ${error.name}` });
    }
  }

  /** A device was opened: meanwhile it may have been hushed, or not be wanted any more. */
  put(kind, track) {
    track.enabled = this.goes(kind);
    if (!track.enabled && kind !== "audio") {
      track.stop();
      return;
    }
    track.addEventListener("ended", () => this.gone(kind, track));
    this.replace(kind, track);
  }

  /** A device has gone by itself: unplugged, perhaps, or not allowed any more. */
  gone(kind, track) {
    if (this.sent.get(kind) !== track) return;
    this.source(kind, null);
    this.replace(kind, null);
    this.lacks(kind, new CallError("media_device", { why: `${kind}: ended` }));
  }

  /** It is not tried again until it is wanted anew. */
  lacks(kind, error) {
    this.asked.delete(kind);
    this.host.lacks(kind, error);
  }

  replace(kind, track) {
    const old = this.sent.get(kind);
    if (this.closed) {
      track?.stop();
      return;
    }
    if (track) this.sent.set(kind, track);
    else this.sent.delete(kind);
    for (const peer of this.peers.values()) peer.sends(kind, track);
    if (old !== track) old?.stop();
    this.host.localChanged(kind, track);
  }

  /** Share what a `getDisplayMedia` stream shows, unless that is not wanted any more. */
  share(stream) {
    const [track] = stream.getVideoTracks();
    if (!this.goes("screen")) {
      track.stop();
      return;
    }
    track.contentHint = "detail";
    track.addEventListener("ended", () => this.host.shareEnded());
    this.want("screen");
    this.replace("screen", track);
    if (track.readyState === "ended") this.host.shareEnded();
  }

  /** From now on a kind is captured from this device; null is the system's choice. */
  source(kind, device) {
    const any = kind === "video" ? { facingMode: this.facing } : {};
    this.sources.set(kind, device ? { deviceId: { exact: device } } : any);
  }

  /** The device that a kind is captured from, or would be; null where the system chooses. */
  device(kind) {
    return this.sent.get(kind)?.getSettings().deviceId ?? this.sources.get(kind).deviceId?.exact ?? null;
  }

  /** Capture from another device; null is the system's choice. If it cannot be opened, it is the one before again. */
  choose(kind, device) {
    return this.next(kind, () => this.change(kind, () => this.source(kind, device)));
  }

  switchCamera() {
    return this.next("video", () =>
      this.change("video", () => {
        this.facing = this.facing === "user" ? "environment" : "user";
        this.source("video", null);
      }),
    );
  }

  async change(kind, choose) {
    const before = [this.facing, this.sources.get(kind)];
    choose();
    const old = this.sent.get(kind);
    if (!old) return;
    if (kind === "video") old.stop(); // some systems open a camera only once
    try {
      this.put(kind, await this.capture(kind));
    } catch (error) {
      this.facing = before[0];
      this.sources.set(kind, before[1]);
      if (kind === "video" && this.sent.get(kind) === old) {
        this.replace(kind, null);
        await this.open(kind);
      }
      throw error;
    }
  }

  // --- what arrives

  arrived(pid, kind, track) {
    this.host.remoteChanged(pid, kind, track);
  }

  remote(pid, kind) {
    return this.peers.get(pid)?.tracks.get(kind) ?? null;
  }

  /** The counters of every stream with every participant, as the browser reports them. */
  async stats() {
    const found = [];
    for (const [pid, peer] of this.peers) {
      const { link } = peer;
      for (const [kind, line] of link?.lines ?? []) {
        const report = [...(await link.pc.getStats()).values()];
        for (const direction of ["in", "out"]) {
          const stream = report.find((each) => each.type === `${direction}bound-rtp` && each.mid === line.mid);
          if (stream) found.push(counters(pid, kind, direction, stream, report));
        }
      }
    }
    return found;
  }

  // --- the end

  close() {
    if (this.closed) return;
    this.closed = true;
    for (const peer of this.peers.values()) peer.close();
    for (const track of this.sent.values()) track.stop();
    this.peers.clear();
    this.sent.clear();
  }
}

const mark = (set, kind, on) => (on ? set.add(kind) : set.delete(kind));

export function counters(pid, kind, direction, stream, report) {
  const heard = direction === "in" ? stream : report.find((each) => each.localId === stream.id);
  const inwards = direction === "in";
  return {
    pid,
    kind,
    direction,
    packets: (inwards ? stream.packetsReceived : stream.packetsSent) ?? 0,
    bytes: (inwards ? stream.bytesReceived : stream.bytesSent) ?? 0,
    frames: (inwards ? stream.framesDecoded : stream.framesEncoded) ?? null,
    energy: stream.totalAudioEnergy ?? null,
    lost: heard?.packetsLost ?? null,
    jitter: heard?.jitter ?? null,
    round_trip: heard?.roundTripTime ?? null,
  };
}
