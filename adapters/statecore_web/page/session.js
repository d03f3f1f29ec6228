// A session: one device's part in a call once it has joined, with its media, its actions and its listeners.

import { CallError } from "./errors.js";
import { Listeners } from "./listeners.js";

/** What the buttons of a page are called when their press is told. */
export const BUTTONS = [
  "call_end", "mute", "pause", "share", "mode", "switch_to_video", "raise_hand", "participants", "recording", "invite",
  "chat", "network",
];
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

  async act(trigger, data = null) {
    await this.client.do(this.sessionId, trigger, data ? { data } : {});
  }

  muteAudio() {
    return this.act("mute_audio");
  }

  unmuteAudio() {
    return this.act("unmute_audio");
  }

  toggleAudio() {
    return this.flags.includes("audio_muted") ? this.unmuteAudio() : this.muteAudio();
  }

  pauseVideo() {
    return this.act("pause_video");
  }

  resumeVideo() {
    return this.act("resume_video");
  }

  toggleVideo() {
    const on = this.flags.includes("camera") && !this.flags.includes("video_paused");
    return on ? this.pauseVideo() : this.resumeVideo();
  }

  switchCamera() {
    return this.ready().switchCamera();
  }

  raiseHand() {
    return this.act("raise_hand");
  }

  lowerHand() {
    return this.act("lower_hand");
  }

  /** Share a screen. To be called from a click: the browser asks what to share. */
  async startScreenShare(stream = null) {
    const shown = stream ?? (await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: 15 }, audio: false }));
    try {
      await this.act("start_screen_share");
      this.ready().share(shown);
    } catch (error) {
      for (const track of shown.getTracks()) track.stop();
      throw error;
    }
    if (!this.flags.includes("presenting")) this.media?.enable("screen", false); // stopped meanwhile
  }

  stopScreenShare() {
    return this.act("stop_screen_share");
  }

  /** Ask the others to make this a video call; resolves when somebody agreed, rejects with `consent_declined`. */
  async switchToVideo() {
    const leg = await this.client.do(this.sessionId, "switch_to_video", { until: "wants_video" });
    if (leg.reason !== null) throw new CallError("call_ended", { session_id: this.sessionId, reason: leg.reason });
    if (leg.type !== "video") throw new CallError("consent_declined", { what: "video" });
  }

  acceptVideo() {
    return this.act("accept_video");
  }

  declineVideo() {
    return this.act("decline_video");
  }

  withdrawVideo() {
    return this.act("withdraw_video");
  }

  /** Send anything that JSON can carry; resolves when all who are to have it have it. */
  async sendMessage(data, to = null) {
    await this.client.say(this.sessionId, JSON.stringify(data), to ?? "");
  }

  /** A trigger of a flow of one's own. */
  trigger(name, data = {}) {
    return this.act(name, data);
  }

  setLayout(layout) {
    if (!["tile", "sidebar", "spotlight"].includes(layout)) throw new CallError("invalid_argument", { name: "layout" });
    this.layout = layout;
    this.listeners.emit("layout_changed", layout);
  }

  /** A button of the page was pressed: told, and does nothing by itself. */
  press(button) {
    if (!BUTTONS.includes(button)) throw new CallError("invalid_argument", { name: "button", why: `there is no button ${button}` });
    if (this.over) throw new CallError("session_inactive", { session_id: this.sessionId });
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

  chooseDevice(kind, deviceId) {
    return this.ready().choose(kind, deviceId);
  }

  stats() {
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
    const off = { audio: ["audio_muted", "mute_audio"], video: ["video_paused", "pause_video"] };
    for (const kind of this.lacking) {
      const [flag, trigger] = off[kind] ?? [];
      if (trigger && !this.flags.includes(flag)) this.act(trigger).catch(() => {}); // it may have ended meanwhile
    }
    this.lacking.clear();
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

/**
 * The initiator and the responder of an event about switching to video, as this user's device knows them: empty where it
 * does not. `before` is the leg by the view before this one.
 */
function whoAsked(event, before, leg, peer, user) {
  if (event === "call_switched_to_video") return whoSwitched(before, leg, user);
  const asker = peer?.user ?? user;
  if (event === "call_switch_to_video_requested") return [asker, user];
  const asked = leg.peers.filter((one) => one.joined && one.pid !== peer?.pid).map((one) => one.user);
  if (peer) asked.push(user);
  return [asker, only(asked)]; // which of several declined, no view says
}

/** Whether somebody has left with a request for video that was not answered, of which no view says more. */
function tookRequest(event, leg, peer) {
  return event === "user_left" && peer.flags.includes("wants_video") && leg.type === "audio";
}

/** One wish stands at a time, and besides the asker's only the camera of who agreed goes on with the switch. If a view
 * between the two was missed, it may have held any of that. */
function whoSwitched(before, after, user) {
  if (after.seq !== before?.seq + 1) return ["", ""];
  const all = (leg) => [{ pid: leg.pid, user, flags: leg.flags }, ...leg.peers];
  const was = new Map(all(before).map((one) => [one.pid, one.flags]));
  const had = ({ pid }, flag) => was.get(pid)?.includes(flag) ?? false;
  const asked = all(after).filter((one) => had(one, "wants_video"));
  const began = all(after).filter((one) => one.flags.includes("camera") && !had(one, "camera"));
  const agreed = began.filter((one) => !had(one, "wants_video"));
  return [asked, agreed].map((found) => only(found.map((one) => one.user)));
}

const only = (names) => (names.length === 1 ? names[0] : "");

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

/** What media may ask of its session. */
class Host {
  constructor(session) {
    this.session = session;
    this.settings = session.settings;
    this.ice = session.client.ice;
  }

  get joined() {
    return this.session.leg.joined;
  }

  signal(message) {
    const { client, sessionId } = this.session;
    client.feed({ do: "Signal", session: sessionId, message: { session: sessionId, ...message } });
  }

  report(what, pid = "") {
    this.session.client.feed({ do: "Media", session: this.session.sessionId, what, pid });
  }

  send(pid, kind, body) {
    this.signal({ m: "relay", to: pid, kind, body });
  }

  ask(pid) {
    this.signal({ m: "ask", pid });
  }

  free(pid) {
    this.signal({ m: "free", pid });
  }

  up() {
    this.report("up");
  }

  peerConnected(pid) {
    this.report("peer_connected", pid);
    this.session.listeners.emit("media_changed");
  }

  peerLost(pid) {
    this.report("peer_lost", pid);
    this.session.listeners.emit("media_changed");
  }

  fault(error) {
    if (!this.session.closing) this.session.fault(error);
  }

  lacks(kind, error) {
    if (!this.session.closing) this.session.lacks(kind, error);
  }

  localChanged() {
    this.session.listeners.emit("media_changed");
  }

  remoteChanged(pid) {
    this.session.fillStream(pid);
    this.session.listeners.emit("media_changed");
  }

  shareEnded() {
    if (!this.session.over) this.session.stopScreenShare().catch(() => {});
  }
}
