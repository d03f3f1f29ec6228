// One RTCPeerConnection: its m-lines, what is sent and taken on them, and its end.
//
// Every m-line goes both ways for as long as the connection lives; what is muted, paused or no longer shared is simply
// not sent. So a connection is negotiated again only when a kind is needed for the first time.

export const ORDER = ["audio", "video", "screen"];
const GATHER = 1500; // milliseconds to wait for addresses; later ones are sent by themselves
const PARKED = 64; // candidates kept while the description they belong to is on its way

const media = (kind) => (kind === "audio" ? "audio" : "video");

/** A connection that is new, then up, then down; never up again. */
export class Link {
  constructor(configuration, around, changed, found) {
    this.pc = new RTCPeerConnection({ bundlePolicy: "max-bundle", ...configuration });
    this.around = around; // whose tracks are sent, and who takes what arrives
    this.lines = new Map(); // kind -> transceiver
    this.parked = [];
    this.described = false;
    this.told = false;
    this.fresh = true; // nothing was offered or answered on it yet
    this.closed = false;
    this.pc.onconnectionstatechange = () => this.closed || changed(this);
    this.pc.onicecandidate = ({ candidate }) => {
      if (candidate?.candidate && this.told && !this.closed) found(this, candidate);
    };
  }

  get up() {
    return this.pc.connectionState === "connected";
  }

  get down() {
    return this.closed || ["failed", "closed"].includes(this.pc.connectionState);
  }

  get stable() {
    return this.pc.signalingState === "stable";
  }

  has(kinds) {
    return kinds.every((kind) => this.lines.has(kind));
  }

  /** An offer with an m-line for each of these kinds, and what each line is for. */
  async offer(kinds) {
    for (const kind of ORDER.filter((one) => kinds.includes(one) && !this.lines.has(one))) {
      await this.attach(kind, this.pc.addTransceiver(media(kind), { direction: "sendrecv" }));
    }
    this.fresh = false;
    await this.pc.setLocalDescription();
    const sdp = await this.gathered();
    return { sdp, kinds: Object.fromEntries([...this.lines].map(([kind, line]) => [line.mid, kind])) };
  }

  /** Apply the answer to our offer. */
  async accept(sdp) {
    await this.pc.setRemoteDescription({ type: "answer", sdp });
    await this.take();
  }

  /** Apply an offer; gives the answer. Throws if it is for another connection. */
  async answer({ sdp, kinds }) {
    for (const [kind, line] of this.lines) {
      if (kinds[line.mid] !== kind) throw new Error("the offer does not have the m-lines of this connection");
    }
    this.fresh = false;
    await this.pc.setRemoteDescription({ type: "offer", sdp: this.keepIds(sdp) });
    for (const line of this.pc.getTransceivers()) {
      const kind = kinds[line.mid];
      if (kind && !this.lines.has(kind)) await this.attach(kind, line);
    }
    await this.pc.setLocalDescription();
    await this.take();
    return this.gathered();
  }

  /** Header extensions keep the numbers they have here: a browser refuses an offer that numbers them anew. */
  keepIds(sdp) {
    const ours = new Map();
    for (const [, id, uri] of (this.pc.localDescription?.sdp ?? "").matchAll(/^a=extmap:(\d+)\S* (\S+)/gm)) ours.set(uri, id);
    if (!ours.size) return sdp;
    return sdp.replace(/^a=extmap:(\d+)(\S*) (\S+)(.*)\r\n/gm, (_, __, direction, uri, rest) =>
      ours.has(uri) ? `a=extmap:${ours.get(uri)}${direction} ${uri}${rest}\r\n` : "",
    );
  }

  async trickle(body) {
    if (!this.described) {
      if (this.parked.length < PARKED) this.parked.push(body);
    } else if (!this.down && body.candidate) {
      const { candidate, sdpMid = null, sdpMLineIndex = null } = body;
      await this.pc.addIceCandidate({ candidate, sdpMid, sdpMLineIndex });
    }
  }

  async take() {
    this.described = true;
    for (const [kind, line] of this.lines) this.around.took(kind, line.receiver.track);
    for (const body of this.parked.splice(0)) await this.trickle(body);
  }

  async attach(kind, line) {
    this.lines.set(kind, line);
    if (this.around.audioOnly && kind !== "audio") {
      line.direction = "inactive";
      return;
    }
    line.direction = "sendrecv";
    await line.sender.replaceTrack(this.around.track(kind));
  }

  /** Send another track of a kind, or none. */
  async send(kind, track) {
    const line = this.lines.get(kind);
    if (line && !this.down && !(this.around.audioOnly && kind !== "audio")) await line.sender.replaceTrack(track);
  }

  /** The local description with its addresses: an older peer cannot begin without any. */
  async gathered() {
    if (this.pc.iceGatheringState !== "complete") {
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, GATHER);
        this.pc.addEventListener("icegatheringstatechange", () => {
          if (this.pc.iceGatheringState !== "complete") return;
          clearTimeout(timer);
          resolve();
        });
      });
    }
    this.told = true;
    return this.pc.localDescription.sdp;
  }

  close() {
    this.closed = true;
    this.pc.close();
  }
}
