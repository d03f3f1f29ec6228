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
    this.sent = new Map(); // kind -> the track that is sent
    this.devices = new Map([["audio", host.settings.audioInput], ["video", host.settings.videoInput]]);
    this.facing = host.settings.cameraFacing === "rear" ? "environment" : "user";
    this.peers = new Map();
    this.closed = false;
    this.work = Promise.resolve();
  }

  async begin(capture) {
    if (capture.includes("video") && !this.audioOnly) this.want("video");
    await Promise.all(capture.map((kind) => this.enable(kind, true)));
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

  /** One change of what is sent after the other. */
  enable(kind, on) {
    this.work = this.work.then(() => this.change(kind, on)).catch((error) => this.host.lacks(kind, error));
    return this.work;
  }

  async change(kind, on) {
    if (this.closed || (kind !== "audio" && this.audioOnly)) return;
    const track = this.sent.get(kind);
    if (!on) {
      // A muted microphone stays open, so that it speaks again at once; a camera that is off shows no light.
      if (kind === "audio" && track) track.enabled = false;
      else this.replace(kind, null);
    } else if (track) {
      track.enabled = true;
    } else if (kind !== "screen") {
      this.want(kind);
      this.replace(kind, await this.capture(kind));
    }
  }

  async capture(kind) {
    const chosen = this.devices.get(kind);
    const which = chosen ? { deviceId: { exact: chosen } } : kind === "video" ? { facingMode: this.facing } : {};
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ [kind]: { ...CONSTRAINTS[kind], ...which } });
      return stream.getTracks()[0];
    } catch (error) {
      throw new CallError("media_device", { why: `${kind}: ${error.name}` });
    }
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

  /** Share what a `getDisplayMedia` stream shows. */
  share(stream) {
    const [track] = stream.getVideoTracks();
    track.contentHint = "detail";
    track.addEventListener("ended", () => this.host.shareEnded());
    this.want("screen");
    this.replace("screen", track);
  }

  /** Capture from another device from now on; null is the system's choice. */
  async choose(kind, device) {
    this.devices.set(kind, device);
    const track = this.sent.get(kind);
    if (!track) return;
    const { enabled } = track;
    if (kind === "video") track.stop(); // some systems open a camera only once
    const made = await this.capture(kind);
    made.enabled = enabled;
    this.replace(kind, made);
  }

  async switchCamera() {
    this.facing = this.facing === "user" ? "environment" : "user";
    await this.choose("video", null);
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
      for (const [kind, line] of peer.link?.lines ?? []) {
        const report = [...(await peer.link.pc.getStats()).values()];
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

function counters(pid, kind, direction, stream, report) {
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
