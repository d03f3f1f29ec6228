// The call screen: who is seen and heard, and what can be done in a call.

import { Chat } from "./chat.js";
import { Stage } from "./stage.js";
import { $, STATES, duration, face, icon, label, make, reason, setIcon } from "./words.js";

// The controls that an application may leave out: the setting that shows each, and what its press is called.
const BUTTONS = {
  "copy-link": ["showInviteButton", "invite"],
  layouts: ["showModeButton", "mode"],
  mute: ["showMuteButton", "mute"],
  camera: ["showPauseButton", "pause"],
  "to-video": ["showSwitchToVideoButton", "switch_to_video"],
  share: ["showShareButton", "share"],
  hand: ["showRaiseHandButton", "raise_hand"],
  participants: ["showParticipantsButton", "participants"],
  chat: ["showChatButton", "chat"],
  network: ["showNetworkButton", "network"],
  end: ["showEndButton", "call_end"],
};

const DOUBLE = 500; // milliseconds: as long as two clicks may be apart that are one double click
// What is said of others, to whoever does not see it; and what only where there is one other: of many it would never end.
const SAID = {
  onScreenShareStarted: "shares a screen.",
  onScreenShareStopped: "has stopped sharing.",
  onHandRaised: "has raised a hand.",
  onHandLowered: "has lowered the hand.",
};
const SAID_OF_ONE = {
  onUserMuted: "is muted.",
  onUserUnmuted: "is not muted any more.",
  onUserVideoPaused: "has stopped the video.",
  onUserVideoResumed: "has started the video.",
};

const PANELS = ["participants", "chat", "network", "devices"];

export class CallScreen {
  constructor(page) {
    this.page = page;
    this.session = null;
    this.stage = new Stage($("stage"));
    this.panel = "";
    this.lost = new Set();
    this.asking = null; // one's request for video
    this.chat = new Chat(page, () => this.draw());
    this.clock = 0;
    this.listed = ""; // the devices that were used when they were listed
    this.left = null; // what there is to say of the time left, while it is asked about
    const acts = {
      "copy-link": () => this.page.copyLink(),
      mute: () => this.session.toggleAudio(),
      camera: () => this.session.toggleVideo(),
      "to-video": () => this.toVideo(),
      share: () => (this.own.presenting ? this.session.stopScreenShare() : this.share()),
      hand: () => (this.own.handRaised ? this.session.lowerHand() : this.session.raiseHand()),
      ...Object.fromEntries(PANELS.map((what) => [what, () => this.toggle(what)])),
      end: () => this.session.end(),
    };
    for (const [id, act] of Object.entries(acts)) $(id).addEventListener("click", () => this.press(id, act));
    for (const button of $("layouts").children) {
      button.addEventListener("click", () => this.press("layouts", () => this.session.setLayout(button.dataset.layout)));
      button.addEventListener("keydown", (event) => this.arrows(event, button));
    }
    navigator.mediaDevices?.addEventListener("devicechange", () => this.listDevices());
  }

  get alone() {
    return this.session.participants.length === 1;
  }

  /** Everyone, oneself first: as one wants to be, also while the service has yet to confirm it. */
  get people() {
    const { session } = this;
    const [own, ...others] = session.participants;
    const [audio, videoOn, presenting] = ["audio", "video", "screen"].map((kind) => session.isOn(kind));
    return [{ ...own, audioMuted: !audio, videoOn, presenting }, ...others];
  }

  get own() {
    return this.people[0];
  }

  /** A control was pressed: listeners hear of it, and then it does what it is for. */
  press(id, act) {
    return this.act(() => {
      if (BUTTONS[id]) this.session.press(BUTTONS[id][1]);
      return act();
    });
  }

  async act(act) {
    if (!this.session) return;
    try {
      await act();
    } catch (error) {
      if (!["call_ended", "session_inactive"].includes(error.code)) this.page.notice(reason(error));
    }
    this.draw();
  }

  /** One letter for each control, which stands in its title; but the call does not end by a letter. */
  key(event) {
    const { key } = event;
    if (event.repeat) return; // one press is one act, however long
    const control = [...$("controls").children].find((each) => !each.hidden && each.dataset.key === key.toLowerCase());
    if (control) event.preventDefault(); // what it opens has a field, perhaps, which is not what the letter is for
    control?.click();
    if (key === "Escape" && this.panel) this.toggle(this.panel);
  }

  arrows(event, button) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const all = [...$("layouts").children];
    const next = all[(all.indexOf(button) + step + all.length) % all.length];
    next.focus();
    next.click();
  }

  /** To the first control that there is. */
  focus() {
    [...$("controls").children].find((each) => !each.hidden)?.focus({ preventScroll: true });
  }

  // --- a session

  open(session, name) {
    if (this.session) this.close(this.session.sessionId);
    this.session = session;
    this.lost.clear();
    this.asking = null;
    this.chat.begin(session);
    $("call-with").textContent = name;
    const draw = () => this.draw();
    for (const event of [
      "media_changed", "user_joined", "user_left", "user_list_updated", "audio_muted", "audio_unmuted", "video_paused",
      "video_resumed", "user_muted", "user_unmuted", "user_video_paused", "user_video_resumed", "screen_share_started",
      "screen_share_stopped", "hand_raised", "hand_lowered", "layout_changed",
    ]) session.on(event, draw);
    session.addCallEventListener("page", {
      onCallSwitchToVideoRequested: (_, initiator) => this.asked(initiator),
      onCallSwitchedToVideo: () => this.answered(),
      onCallSwitchToVideoDeclined: () => this.answered(),
      onIdlePrompt: (seconds) => this.idle(seconds),
      onUserJoined: (who) => {
        this.unasked();
        this.page.say(`${who.name} is here.`);
      },
      onUserLeft: (who) => this.page.say(`${who.name} has left.`),
      onMessageReceived: (who, data) => typeof data === "string" && session.settings.showChatButton && this.chat.wrote(who.name, data),
      onRemoteConnectionLost: (who) => this.connection(who, true),
      onRemoteConnectionRestored: (who) => this.connection(who, false),
      ...this.sayings(SAID, () => true),
      ...this.sayings(SAID_OF_ONE, () => session.participants.length === 2),
    });
    this.clock = setInterval(() => this.tick(), 1000);
    this.draw();
    this.focus();
  }

  close(sessionId) {
    if (this.session?.sessionId !== sessionId) return;
    clearInterval(this.clock);
    this.stage.clear();
    $("sound").replaceChildren();
    this.unasked();
    if (this.panel) this.toggle(this.panel);
    this.session = null;
  }

  tick() {
    const { state } = this.session;
    const more = this.asking ? "waiting for an answer" : this.alone ? "nobody else yet" : "";
    $("call-state").textContent = [STATES[state] || duration(this.session.duration), more].filter(Boolean).join(" · ");
    if (this.left) $("asked-text").textContent = this.left();
    if (this.panel === "network") this.showNetwork().catch(() => {}); // it may have ended meanwhile
  }

  connection(who, lost) {
    if (lost) this.lost.add(who.pid);
    else this.lost.delete(who.pid);
    this.page.say(`The connection with ${who.name} ${lost ? "is lost" : "is back"}.`);
    this.draw();
  }

  sayings(texts, wanted) {
    const say = (text) => (who) => who.pid !== this.own.pid && wanted() && this.page.say(`${who.name} ${text}`);
    return Object.fromEntries(Object.entries(texts).map(([event, text]) => [event, say(text)]));
  }

  // --- questions

  /** Ask. The focus stays where it is: nobody's camera opens by a key that was meant for something else. The question
   * goes with its answer, unless it stays when that is yes. */
  question(text, yes, no, act, refuse, stays = false) {
    $("asked-text").textContent = text;
    $("asked-yes").textContent = yes;
    $("asked-no").textContent = no;
    $("asked-no").hidden = !no;
    $("asked-yes").onclick = () => {
      if (!stays) this.unasked();
      this.act(act);
    };
    $("asked-no").onclick = () => {
      this.unasked();
      this.act(refuse);
    };
    $("asked").hidden = false;
    $("asked").scrollIntoView({ block: "nearest" }); // it does not move what has room
    this.page.say(text);
  }

  unasked() {
    if ($("asked").contains(document.activeElement)) this.focus();
    $("asked").hidden = true;
    this.left = null;
  }

  asked(uid) {
    const { session } = this;
    const name = session.participants.find((one) => one.uid === uid)?.name ?? uid;
    const answer = async (act) => {
      try {
        await act();
      } catch (error) {
        const asks = session.participants.some((one) => one.uid === uid && one.flags.includes("wants_video"));
        if (asks && this.session === session) this.asked(uid); // the answer was not heard
        throw error;
      }
    };
    this.question(`${name} asks to switch to video.`, "Accept with video", "Decline",
      () => answer(() => session.acceptVideo()), () => answer(() => session.declineVideo()));
  }

  answered() {
    this.unasked();
    this.draw();
  }

  /** Ask for video, or take the request back; the second click of a double click is no second thought. */
  async toVideo() {
    const { session, asking } = this;
    if (asking) {
      if (performance.now() - asking.since < DOUBLE) return;
      asking.withdrawn = true;
      await session.withdrawVideo().catch((error) => {
        if (error.code !== "illegal_transition") throw error; // else it was answered just now
      });
      return;
    }
    const request = { since: performance.now(), withdrawn: false };
    this.asking = request;
    this.draw();
    try {
      await session.switchToVideo();
    } catch (error) {
      if (!request.withdrawn || error.code !== "consent_declined") throw error; // else one knows
    } finally {
      if (this.asking === request) this.asking = null;
    }
  }

  /** Whoever closes what the browser asks has chosen nothing, and was not kept from it. */
  async share() {
    try {
      await this.session.startScreenShare();
    } catch (error) {
      if (error.name !== "NotAllowedError") throw error;
      this.page.notice("No screen was chosen.");
    }
  }

  /** Nothing that is pressed here lets it go on, but that somebody joins. */
  idle(seconds) {
    const until = performance.now() + seconds * 1000;
    const left = () =>
      `Nobody else is here. Unless somebody joins, the call ends in ${Math.max(0, Math.round((until - performance.now()) / 1000))} seconds.`;
    const end = () => this.session.end();
    if ($("copy-link").hidden) this.question(left(), "End now", "", end);
    else this.question(left(), "Copy link", "End now", () => $("copy-link").click(), end, true);
    this.left = left;
  }

  // --- drawing

  draw() {
    const { session } = this;
    if (!session?.leg || session.over) return;
    const [own, ...others] = this.people;
    const track = (one, kind) => (one === own ? session.localTrack(kind) : session.track(one.pid, kind));
    const screens = (some) => some.filter((one) => one.presenting).map((one) => [one, "screen", track(one, "screen")]);
    const pictures = (some) => some.map((one) => [one, "video", one.videoOn ? track(one, "video") : null]);
    const wanted = [...screens(others), ...pictures(others), ...screens([own]), ...pictures([own])]
      .filter(([, kind, shown]) => shown || kind === "video");
    this.stage.place(wanted, session.layout, own, this.lost);
    this.layouts();
    this.sounds(others);
    this.controls(own);
    if (this.panel === "participants") this.listParticipants();
    if (this.panel === "devices" && String(this.used()) !== this.listed) this.listDevices();
    this.tick();
  }

  layouts() {
    for (const button of $("layouts").children) {
      const chosen = button.dataset.layout === this.session.layout;
      button.setAttribute("aria-checked", chosen);
      button.tabIndex = chosen ? 0 : -1;
    }
  }

  sounds(others) {
    const box = $("sound");
    for (const audio of [...box.children]) if (!others.some((one) => one.pid === audio.dataset.pid)) audio.remove();
    for (const one of others) {
      const track = this.session.track(one.pid, "audio");
      let audio = [...box.children].find((each) => each.dataset.pid === one.pid);
      if (!audio) {
        audio = make("audio", { autoplay: true, "data-pid": one.pid });
        box.append(audio);
        if (this.output) audio.setSinkId?.(this.output).catch(() => {});
      }
      if ((audio.srcObject?.getTracks()[0] ?? null) !== track) audio.srcObject = track ? new MediaStream([track]) : null;
    }
  }

  controls(own) {
    const { session } = this;
    const video = session.call.type === "video";
    const show = (id, on, text, picture) => {
      $(id).dataset.on = on;
      label($(id), text);
      if (picture) setIcon($(id), picture);
    };
    show("mute", own.audioMuted, own.audioMuted ? "Unmute" : "Mute", own.audioMuted ? "mic-off" : "mic");
    show("camera", !own.videoOn, own.videoOn ? "Stop video" : "Start video", own.videoOn ? "video" : "video-off");
    show("to-video", Boolean(this.asking), this.asking ? "Withdraw" : "Switch to video");
    show("share", own.presenting, own.presenting ? "Stop sharing" : "Share screen");
    for (const [id, kind] of [["mute", "audio"], ["camera", "video"], ["share", "screen"]]) $(id).dataset.pending = session.isPending(kind);
    show("hand", own.handRaised, own.handRaised ? "Lower hand" : "Raise hand");
    show("chat", false, this.chat.unread ? `Chat (${this.chat.unread})` : "Chat");
    for (const button of $("controls").children) {
      const { key } = button.dataset;
      button.title = button.textContent + (key ? ` (${key})` : "");
      if (key) button.setAttribute("aria-keyshortcuts", key);
    }
    const possible = {
      "copy-link": session.call.role === "member" && !session.settings.peerCall,
      camera: video && !session.settings.audioOnly,
      "to-video": !video && session.grants.includes("video"),
      share: session.grants.includes("screen") && !session.settings.audioOnly && navigator.mediaDevices?.getDisplayMedia,
    };
    for (const [id, [setting]] of Object.entries(BUTTONS)) $(id).hidden = !session.settings[setting] || !(possible[id] ?? true);
  }

  // --- the panel

  toggle(what) {
    const within = $("panel").contains(document.activeElement);
    this.panel = this.panel === what ? "" : what;
    for (const id of PANELS) $(id).setAttribute("aria-expanded", this.panel === id);
    $("panel").hidden = !this.panel;
    if (this.panel) $("panel").focus();
    else if (within) $(what).focus();
    if (this.panel === "participants") this.listParticipants();
    if (this.panel === "chat") {
      this.fillPanel("Chat", this.chat.list, this.chat.form);
      this.chat.opened();
    }
    if (this.panel === "network") this.fillPanel("Network"); // what there is to say comes with the next look
    if (this.panel === "devices") this.listDevices();
  }

  listParticipants() {
    const state = (picture, text) => make("span", { role: "img", "aria-label": text, title: text }, icon(picture));
    const rows = this.people.map((one, n) =>
      make("li", {}, face(one), make("div", { class: "who" }, make("b", {}, one.name), make("small", {}, n ? "" : "You")),
        one.handRaised ? state("hand", "Hand raised") : null,
        one.audioMuted ? state("mic-off", "Muted") : state("mic", "Microphone on"),
        one.videoOn ? state("video", "Camera on") : state("video-off", "Camera off")));
    this.fillPanel(`Participants (${rows.length})`, make("ul", { class: "list" }, ...rows));
  }

  // --- how well it is connected

  async showNetwork() {
    const streams = await this.session.stats();
    if (this.panel !== "network") return;
    const [, ...others] = this.session.participants;
    const rows = others.map((one) => make("li", {}, face(one), make("div", { class: "who" }, make("b", {}, one.name),
      make("small", {}, quality(streams.filter((each) => each.pid === one.pid))))));
    const nobody = make("li", { class: "empty" }, "Nobody else is here yet.");
    this.fillPanel("Network", make("ul", { class: "list" }, ...(rows.length ? rows : [nobody])));
  }

  fillPanel(title, ...content) {
    $("panel").replaceChildren(make("h2", { id: "panel-title" }, title), ...content);
  }

  async listDevices() {
    const all = this.panel === "devices" ? await navigator.mediaDevices.enumerateDevices() : [];
    if (this.panel !== "devices") return;
    const chooser = (kind, text, chosen, choose) => {
      const found = all.filter((each) => each.kind === kind && each.deviceId);
      if (!found.length) return null;
      if (!found.some((each) => each.deviceId === chosen)) found.unshift({ deviceId: "", label: "System's choice" });
      const options = found.map((each) => make("option", { value: each.deviceId, selected: each.deviceId === (chosen ?? "") }, each.label || text));
      const chose = (event) => this.act(() => choose(event.target.value || null)).then(() => this.listDevices());
      return make("label", {}, text, make("select", { onchange: chose }, ...options));
    };
    const [microphone, camera] = this.used();
    this.listed = String([microphone, camera]);
    const selects = () => [...$("panel").querySelectorAll("select")];
    const focus = selects().indexOf(document.activeElement);
    this.fillPanel("Devices", ...[
      chooser("audioinput", "Microphone", microphone, (id) => this.session.chooseDevice("audio", id)),
      chooser("videoinput", "Camera", camera, (id) => this.session.chooseDevice("video", id)),
      "setSinkId" in HTMLMediaElement.prototype ? chooser("audiooutput", "Speaker", this.output, (id) => this.speaker(id ?? "")) : null,
    ].filter(Boolean));
    selects()[focus]?.focus();
  }

  used() {
    return ["audio", "video"].map((kind) => this.session.device(kind));
  }

  async speaker(id) {
    this.output = id;
    await Promise.all([...$("sound").children].map((audio) => audio.setSinkId(id)));
  }
}

/** How well somebody's sound and pictures arrive, and how far away they are. */
function quality(streams) {
  const coming = streams.filter((each) => each.direction === "in");
  const sum = (what) => coming.reduce((total, each) => total + (each[what] ?? 0), 0);
  const longest = (some, what) => Math.round(1000 * Math.max(0, ...some.map((each) => each[what] ?? 0)));
  const lost = (100 * sum("lost")) / Math.max(1, sum("lost") + sum("packets"));
  return `${longest(streams, "round_trip")} ms there and back · ${lost.toFixed(1)} % lost · ${longest(coming, "jitter")} ms of jitter`;
}
