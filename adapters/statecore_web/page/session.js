// A session: one device's part in a call once it has joined, with its media, its actions and its listeners.

import * as check from "./arguments.js";
import { tookRequest, whoAsked } from "./asking.js";
import { CallError } from "./errors.js";
import { Host } from "./host.js";
import { Listeners } from "./listeners.js";
import { capturing } from "./machine.js";

/** What the buttons of a page are called when their press is told. */
export const BUTTONS = [
  "call_end", "mute", "pause", "share", "mode", "switch_to_video", "raise_hand", "participants", "recording", "invite",
  "chat", "network",
];
/** What turns on what is captured of each kind, and what turns it off. */
const TURNS = {
  audio: ["unmute_audio", "mute_audio"],
  video: ["resume_video", "pause_video"],
  screen: ["start_screen_share", "stop_screen_share"],
};
const WITH_NOBODY = ["session_joined", "session_timeout"];

export class Session {
  constructor(client, id, settings) {
    this.client = client;
    this.sessionId = id;
    this.settings = settings;
    this.layout = settings.layout;
    this.listeners = new Listeners();
    if (settings.listener) this.listeners.add("settings", settings.listener);
    this.streams = new Map();
    this.leg = null;
    this.before = null; // the leg by the view before its present one
    this.media = null;
    this.opening = null;
    this.waiting = [];
    this.lacking = new Set(); // kinds that could not be captured
    this.wishes = { audio: [], video: [], screen: [] }; // what is under way to turn each on or off, the newest last
    this.picking = null; // the screen that the user is choosing
    this.began = false;
    this.joined = false;
    this.over = false;
    this.ended = new Promise((resolve) => {
      this.tellEnded = resolve;
    });
  }

  // --- what it is

  get call() {
    return this.client.callOf(this.leg);
  }

  get state() {
    return this.leg?.state ?? "idle";
  }

  /** For how many seconds it has been active, by the service's clock, which this device's need not agree with. */
  get duration() {
    const { activeAt, endedAt } = this.call;
    return activeAt ? Math.max(0, (endedAt ?? this.client.serviceTime) - activeAt) : 0;
  }

  /** Everyone who has joined, oneself first. */
  get participants() {
    return [this.client.ownParticipant(this.leg), ...this.leg.peers.filter((p) => p.joined).map(participant)];
  }

  get flags() {
    return this.leg?.flags ?? [];
  }

  get grants() {
    return this.leg?.grants ?? [];
  }

  on(event, handler) {
    return this.listeners.on(event, handler);
  }

  addCallEventListener(id, listener) {
    return this.listeners.add(id, listener);
  }

  removeCallEventListener(id) {
    return this.listeners.remove(id);
  }

  // --- the end

  /** End my part, at once, connected or not. Of two, that ends the call. Idempotent. */
  async leave() {
    await this.client.endLeg(this.sessionId, "leave");
  }

  async end() {
    await this.client.endLeg(this.sessionId, "end");
  }

  async endForAll() {
    if (this.over) return;
    try {
      await this.act("end_for_all");
    } catch (error) {
      if (!error.is("call_ended")) throw error; // it is said all the same, and somebody has ended it
    }
  }

  // --- actions

  async act(trigger, more = {}) {
    this.needLife(trigger);
    return this.client.do(this.sessionId, trigger, more);
  }

  needLife(trigger) {
    if (this.over) throw new CallError("session_inactive", { session_id: this.sessionId, state: this.state, trigger });
  }

  /**
   * Turn a kind on or off. Off is off on this device at once, and is said until the service has it, it is over, or the
   * user wants it on again. On it is once the service has confirmed it; what the service never heard to be off, at once.
   */
  async turn(kind, on) {
    if (on && kind !== "audio" && this.settings.audioOnly) {
      throw check.invalid("kind", "this session is audio only");
    }
    const wishes = this.wishes[kind];
    const wish = { on };
    wishes.push(wish);
    this.heed(kind);
    try {
      while (!(await this.said(TURNS[kind][on ? 0 : 1], () => !on && !wishes.at(-1).on)));
      if (on) this.media?.enable(kind, this.confirmed(kind)); // perhaps no view told it to be off meanwhile
    } finally {
      wishes.splice(wishes.indexOf(wish), 1);
      this.heed(kind);
    }
  }

  /** Whether the service has it; if it did not answer in time, it may be wanted to be said again. */
  async said(trigger, again) {
    try {
      await this.act(trigger);
    } catch (error) {
      if (error.is("command_timeout") && again()) return false;
      throw error;
    }
    return true;
  }

  heed(kind) {
    this.media?.hush(kind, this.wishes[kind].at(-1)?.on === false);
    if (!this.over) this.listeners.emit("media_changed");
  }

  /** Whether a kind is to be captured, by what the service has confirmed. */
  confirmed(kind) {
    return capturing(this.client.core.machines.get(this.leg.flow), this.leg).includes(kind);
  }

  /** Whether a kind is on: by the newest wish under way, else by what the service has confirmed. */
  isOn(kind) {
    const { audioMuted, videoOn, presenting } = marks(this.flags);
    return this.wishes[kind].at(-1)?.on ?? { audio: !audioMuted, video: videoOn, screen: presenting }[kind];
  }

  /** Whether the service has yet to confirm what `isOn` says. */
  isPending(kind) {
    return this.wishes[kind].length > 0;
  }

  muteAudio() {
    return this.turn("audio", false);
  }

  unmuteAudio() {
    return this.turn("audio", true);
  }

  toggleAudio() {
    return this.turn("audio", !this.isOn("audio"));
  }

  pauseVideo() {
    return this.turn("video", false);
  }

  resumeVideo() {
    return this.turn("video", true);
  }

  toggleVideo() {
    return this.turn("video", !this.isOn("video"));
  }

  async switchCamera() {
    await this.ready().switchCamera();
  }

  async raiseHand() {
    await this.act("raise_hand");
  }

  async lowerHand() {
    await this.act("lower_hand");
  }

  /** Share a screen. To be called from a click: the browser asks what to share, and does so once at a time. */
  async startScreenShare(stream = null) {
    if (stream && !stream.getVideoTracks?.().length) throw check.invalid("stream", "it has no picture");
    const shown = stream ?? (await this.pick());
    try {
      await this.turn("screen", true);
      this.ready().share(shown);
    } catch (error) {
      for (const track of shown.getTracks()) track.stop();
      throw error;
    }
  }

  pick() {
    const wanted = { video: { frameRate: 15 }, audio: false };
    this.picking ??= navigator.mediaDevices.getDisplayMedia(wanted).finally(() => {
      this.picking = null;
    });
    return this.picking;
  }

  stopScreenShare() {
    return this.turn("screen", false);
  }

  /** Ask the others to make this a video call; resolves when somebody agreed, rejects with `consent_declined`. */
  async switchToVideo() {
    const leg = await this.act("switch_to_video", { until: "wants_video" });
    const { reason } = leg;
    if (reason !== null) throw this.client.withCall(new CallError("call_ended", { session_id: this.sessionId, reason }), leg);
    if (leg.type !== "video") throw new CallError("consent_declined", { what: "video" });
  }

  async acceptVideo() {
    await this.act("accept_video");
  }

  async declineVideo() {
    await this.act("decline_video");
  }

  async withdrawVideo() {
    await this.act("withdraw_video");
  }

  /** Send anything that JSON can carry, to a participant (by user id or pid) or to all; resolves when they have it. */
  async sendMessage(data, to = null) {
    this.needLife("send_message");
    const text = check.json("data", data);
    await this.client.say(this.sessionId, text, to === null ? "" : this.pidOf(to));
  }

  /** What is one's user id and another's pid means the user. */
  pidOf(name) {
    const found = this.leg.peers.find((peer) => peer.user === name) ?? this.leg.peers.find((peer) => peer.pid === name);
    if (!found) throw check.invalid("participant", `nobody here is called ${name}`);
    return found.pid;
  }

  /** A trigger of a flow of one's own. */
  async trigger(name, data = {}) {
    const text = check.object("data", data);
    await this.act(name, text === "{}" ? {} : { data });
  }

  setLayout(layout) {
    check.choice("layout", layout, ["tile", "sidebar", "spotlight"]);
    this.needLife("set_layout");
    this.layout = layout;
    this.listeners.emit("layout_changed", layout);
  }

  /** A button of the page was pressed: told, and does nothing by itself. */
  press(button) {
    check.choice("button", button, BUTTONS);
    this.needLife("press");
    this.listeners.emit(`${button}_button_pressed`);
  }

  // --- media

  ready() {
    if (!this.media || this.over) throw new CallError("session_inactive", { session_id: this.sessionId });
    return this.media;
  }

  /** The track that arrives from a participant, or null. */
  track(pid, kind = "video") {
    return this.media?.remote(pid, kind) ?? null;
  }

  /** What is heard and seen of a participant, as one stream that stays and changes with it: for a video element. */
  stream(pid) {
    if (!this.streams.has(pid)) this.streams.set(pid, new MediaStream());
    this.fillStream(pid);
    return this.streams.get(pid);
  }

  fillStream(pid) {
    const stream = this.streams.get(pid);
    const tracks = ["audio", "video"].map((kind) => this.track(pid, kind)).filter(Boolean);
    for (const track of stream?.getTracks() ?? []) if (!tracks.includes(track)) stream.removeTrack(track);
    for (const track of tracks) stream?.addTrack(track); // one that it has already changes nothing
  }

  /** The track that this device sends, or null. */
  localTrack(kind = "video") {
    return this.media?.track(kind) ?? null;
  }

  async chooseDevice(kind, deviceId) {
    check.choice("kind", kind, ["audio", "video"]);
    if (deviceId !== null && !(typeof deviceId === "string" && deviceId.trim())) throw check.invalid("deviceId", "it must be an id, or null");
    await this.ready().choose(kind, deviceId);
  }

  /** The id of the device that a kind is captured from, or would be; null where the system chooses, or has yet to. */
  device(kind) {
    check.choice("kind", kind, ["audio", "video"]);
    return this.media?.device(kind) ?? null;
  }

  async stats() {
    return this.ready().stats();
  }

  // --- driven by the client

  async openMedia(capture) {
    const host = new Host(this);
    this.opening = this.client.media.open(host, capture);
    try {
      const media = await this.opening;
      if (this.closing) {
        media.close();
        return;
      }
      this.media = media;
      for (const kind of Object.keys(this.wishes)) this.heed(kind);
      for (const drive of this.waiting.splice(0)) drive(media);
    } catch (error) {
      host.fault(error);
      this.client.feed({ do: "Media", session: this.sessionId, what: "failed", pid: "" });
    }
  }

  drive({ what, args }) {
    const drive = (media) => {
      try {
        DRIVES[what](media, ...args);
      } catch (error) {
        this.fault(error);
      }
    };
    if (this.media) drive(this.media);
    else this.waiting.push(drive);
  }

  closeMedia() {
    this.closing = true;
    this.waiting = [];
    this.media?.close();
  }

  fault(error) {
    this.listeners.emit("error", error);
  }

  /** A microphone or camera could not be opened. */
  lacks(kind, error) {
    this.lacking.add(kind);
    if (this.began) this.admit();
    this.fault(error);
  }

  /** It has begun. What cannot be captured is not said to be on: others see it muted or paused, and so does the user. */
  begin() {
    this.began = true;
    this.admit();
  }

  admit() {
    const on = [...this.lacking].filter((kind) => this.isOn(kind));
    this.lacking.clear();
    for (const kind of on) this.turn(kind, false).catch(() => {}); // it may have ended meanwhile
  }

  update(leg) {
    if (leg) {
      if (this.leg && this.leg.seq !== leg.seq) this.before = this.leg;
      this.leg = leg;
    }
    if (this.leg?.reason !== null && this.leg) this.over = true;
  }

  emit(event, leg, peer, value) {
    this.update(leg);
    if (event === "session_joined") this.joined = true;
    if (tookRequest(event, leg, peer)) {
      const declined = "call_switch_to_video_declined";
      this.listeners.emit(declined, ...this.args(declined, leg, peer, null));
    }
    // Whoever starts a session is told why it did not begin; listeners are not told the end of what had no beginning.
    if (this.joined || !["session_left", "call_ended"].includes(event)) {
      this.listeners.emit(event, ...this.args(event, leg, peer, value));
    }
    if (event === "call_ended") this.tellEnded(this.client.callOf(leg).endReason);
  }

  args(event, leg, peer, value) {
    const who = peer ? participant(peer) : this.client.ownParticipant(leg);
    const reason = this.client.callOf(leg).endReason;
    if (WITH_NOBODY.includes(event)) return [this];
    if (event === "session_left") return [this, reason];
    if (event === "call_ended") return [reason];
    if (event === "user_left") return [who, value];
    if (event === "user_list_updated") return [this.participants];
    if (["user_muted", "user_unmuted", "user_video_paused", "user_video_resumed"].includes(event)) return [who, who.uid];
    if (["audio_muted", "audio_unmuted", "video_paused", "video_resumed"].includes(event)) return [this.client.user];
    if (event.startsWith("call_switch")) {
      return [this.sessionId, ...whoAsked(event, this.before, leg, peer, this.client.user.uid)];
    }
    if (event === "idle_prompt" || event === "error") return [value];
    if (event === "custom") return value;
    if (event === "flag_changed") return [who, ...value];
    if (event === "message_received") return [who, value];
    return [who];
  }
}

const DRIVES = {
  capture: (media, kind, on) => media.enable(kind, on),
  peers: (media, peers) => media.setPeers(peers),
  receive: (media, pid, kind, body) => media.receive(pid, kind, body),
  granted: (media, pid) => media.granted(pid),
  resumed: (media) => media.resumed(),
};

/** A participant as others see it. */
export function participant(peer) {
  const { pid, user, name, avatar, device, role, joined, joined_at: at, flags } = peer;
  return { pid, uid: user, name: name || user, avatar, device, role, joined, joinedAt: seconds(at), ...marks(flags) };
}

/** A time of the service as people count it; null for none. */
export const seconds = (milliseconds) => (milliseconds ? milliseconds / 1000 : null);

export function marks(flags) {
  return {
    flags,
    audioMuted: flags.includes("audio_muted"),
    videoOn: flags.includes("camera") && !flags.includes("video_paused"),
    presenting: flags.includes("presenting"),
    handRaised: flags.includes("hand_raised"),
  };
}
