// The page: logs in, shows who is there, rings, and hands a call that was joined over to the call screen.

import { CallClient } from "./statecore.js";
import { CallScreen } from "./screen.js";
import { Developer } from "./developer.js";
import * as login from "./login.js";
import * as people from "./people.js";
import * as ring from "./ring.js";
import { access, ask } from "./service.js";
import * as sounds from "./sounds.js";
import { $, ENDS, STATES, face, reason } from "./words.js";

let client = null;
let config = { dev: false, settings: {} };
let joining = null; // the session that is being joined
const developer = new Developer();
const screen = new CallScreen({ notice, say, copyLink });

// --- views

function show(view) {
  if (document.body.dataset.view !== view) ring.settle();
  document.body.dataset.view = view;
  for (const name of ["login", "home", "call"]) $(`view-${name}`).hidden = name !== view;
}

function notice(text, bad = false) {
  clearTimeout(notice.timer);
  $("notice").textContent = text;
  $("notice").hidden = !text;
  $("notice").classList.toggle("bad", bad);
  if (text) notice.timer = setTimeout(() => notice(""), 6000);
}

function say(text) {
  $("say").textContent = text;
}

function showHome() {
  if (!client || screen.session) return;
  show("home");
  people.look();
}

// --- logging in

async function enterAs(me) {
  const device = await login.device();
  const more = device ? { device } : {};
  // The token is asked for anew at each connection.
  const token = () => (client?.endpoint.conn > 0 && !client.connected ? login.renewed(me.name) : access.token);
  client = new CallClient(new URL(".", location.href).href, { user: me.uid, name: me.name, token, ...more });
  window.statecore = client; // for the console
  developer.watch(client);
  listen(client);
  $("me").replaceChildren(...(me.avatar ? [face(me)] : []), me.name);
  $("own-id").textContent = me.uid;
  for (const id of ["me", "logout"]) $(id).hidden = false;
  link("lost", "Connecting…");
  await client.connect();
  login.keep(client.device);
  showHome();
  invited();
}

/** It ends the call that one is in: that is asked about. */
function logOut() {
  const call = client.activeCall;
  if (!call) {
    leave();
    location.reload();
    return;
  }
  ring.dialog(call.sessionId, client.user, "Logging out ends the call.", [
    ring.answer("bye", "danger", "end", "Log out", () => {
      leave();
      location.reload();
    }),
    ring.answer("not-now", "good", "call", "Stay", () => ring.shut()),
  ]);
}

function leave({ forget = true } = {}) {
  client?.close();
  client = null;
  joining = null;
  ring.shut();
  people.forget();
  access.token = "";
  if (forget) login.forget();
  for (const id of ["me", "logout", "link", "again"]) $(id).hidden = true;
}

function askWho(why = "") {
  show("login");
  login.focus(why);
}

/** The service does not take the token any more. */
function loggedOut() {
  leave();
  askWho("You have been logged out.");
}

function link(state, text) {
  $("link").hidden = false;
  $("again").hidden = state !== "failed";
  $("link").dataset.state = state;
  $("link").lastElementChild.textContent = text;
  $("link").title = text;
}

/** The link was given up: the user thinks that it may be had after all. */
function again() {
  link("lost", "Connecting…");
  client.connect().catch(() => {}); // what becomes of it is told
}

// --- ringing

function listen(to) {
  to.on("connected", () => link("on", "Connected"));
  to.on("connection_lost", () => link("lost", "Reconnecting…"));
  to.on("connection_restored", () => link("on", "Connected"));
  to.on("connection_failed", (code) => {
    link("failed", "Not connected");
    notice(reason({ code }), true);
    ask("page/me").catch((error) => error.status === 401 && client && loggedOut());
  });
  to.on("error", (error) => notice(reason(error), true));
  to.addCallListener("page", {
    onIncomingCallReceived: rings,
    onOutgoingCallAccepted: join,
    onOutgoingCallRejected: over,
    onIncomingCallCancelled: over,
    onCallEndedMessageReceived: over,
  });
}

const INCOMING = { audio: "Incoming call", video: "Incoming video call" };

async function rings(call) {
  offer();
  const met = await people.meet([{ session: call.sessionId, other: call.with }]);
  if (!client?.calls.some((each) => each.sessionId === call.sessionId)) return;
  const user = people.userOf(call.with, call);
  if (met) {
    ring.name(call.sessionId, user, asks(call, user));
    if (document.title === calling({ name: call.with })) document.title = calling(user);
  }
  say(`${INCOMING[call.type]} from ${user.name}`);
}

const calling = ({ name }) => `${name} calls`;

const asks = (call, { name }) => `${name} asks for ${call.type === "video" ? "a video call" : "a call"}.`;

/** Why nothing can be begun now, if so: one is in one call or session at a time. */
function taken() {
  return joining || screen.session || client?.activeCall ? reason({ code: "already_in_call" }) : "";
}

/** Show what rings here, beside the call that one is in, if there is one; else ask about the link that was opened. */
function offer() {
  if (!client || joining) return;
  const call = client.calls.find((each) => client.ringsHere(each));
  if (!call) {
    invited();
    return;
  }
  const user = people.userOf(call.with, call);
  if (screen.session) {
    ring.beside(call.sessionId, asks(call, user), () => accept(call), () => decline(call));
    return;
  }
  ring.dialog(call.sessionId, user, INCOMING[call.type], [
    ring.answer("reject", "danger", "end", "Decline", () => decline(call)),
    ring.answer("accept", "good", call.type === "video" ? "video" : "call", "Accept", () => accept(call)),
  ]);
  sounds.ringIn();
  document.title = calling(user);
}

async function place(uid, type) {
  sounds.unlock();
  const rung = client.calls.find((call) => call.with === uid && call.role === "callee" && call.state === "ringing");
  if (rung) return accept(rung); // it began to ring as the button was pressed
  if (taken() || ring.shown()) {
    notice(taken());
    return;
  }
  const sessionId = crypto.randomUUID();
  ring.dialog(sessionId, people.userOf(uid), STATES.idle, [
    ring.answer("cancel", "danger", "end", "Cancel", () => client.cancelCall(sessionId).catch((error) => notice(reason(error)))),
  ]);
  try {
    const made = await client.initiateCall(uid, { type, sessionId });
    if (made.sessionId !== sessionId && ring.shown()) $("ring").dataset.session = made.sessionId; // both called each other
    if (made.state === "ringing" && made.ringingAt && ring.shown()) {
      ring.say(STATES.ringing);
      sounds.ringOut();
    }
    if (made.state === "accepted") join(made);
  } catch (error) {
    ring.shut(sessionId);
    if (!["call_cancelled", "call_ended"].includes(error.code)) {
      const named = ["user_busy", "unknown_user"].includes(error.code);
      notice(named ? `${people.nameOf(uid)} ${reason(error)}` : reason(error), true);
    }
    offer();
  }
}

/** One call at a time has the screen: the one that it shows is left. */
function accept(call) {
  sounds.unlock();
  return enter(call.sessionId, people.userOf(call.with, call), { type: call.type }, async () => {
    await screen.session?.leave();
    return (await client.acceptCall(call.sessionId)).sessionId;
  });
}

function decline(call) {
  client.rejectCall(call.sessionId).catch((error) => notice(reason(error)));
}

function over(call) {
  const aside = ring.putAway(call.sessionId);
  const shown = aside || ring.shut(call.sessionId) || screen.session?.sessionId === call.sessionId || joining?.sessionId === call.sessionId;
  if (!shown) return;
  const text = ending(call);
  if (text) {
    notice(text);
    say(text);
  }
  if (aside) return;
  sounds.ended();
  if (joining?.sessionId === call.sessionId) joining = null;
  ring.putAway();
  screen.close(call.sessionId);
  left(call.sessionId);
}

/** What there is to say of an end. Whoever did not answer has missed the call, however it ended then. */
function ending(call) {
  const what = call.endReason?.what;
  const missed = call.role === "callee" && !call.answeredAt && ["cancelled", "unanswered", "lost"].includes(what);
  return missed ? `Missed call from ${people.nameOf(call.with, call)}` : ENDS[what];
}

/** A session is over here: its link is not asked about, and what there was before is shown. */
function left(sessionId) {
  document.title = "statecore";
  if (linked() === sessionId) unlink();
  showHome();
  if (!document.activeElement?.checkVisibility() || document.activeElement === document.body) $("main").focus();
  offer();
}

/** Two may be lacking at once. */
function faulty(error) {
  const shown = $("notice").classList.contains("bad") ? $("notice").textContent : "";
  const text = reason(error);
  notice(shown && !shown.includes(text) ? `${shown} ${text}` : text, true);
}

function join(call) {
  if (screen.session?.sessionId === call.sessionId) return; // both who called each other are told
  enter(call.sessionId, people.userOf(call.with, call), { type: call.type }, async () => call.sessionId);
}

/** Enter a session by these settings, and those that the service gives its page; `what` gives what it is joined by. Until
 * then it can be given up. */
async function enter(sessionId, user, more, what) {
  if (joining) return;
  const attempt = { sessionId };
  joining = attempt;
  notice("");
  ring.putAway(sessionId);
  ring.dialog(sessionId, user, STATES.accepted, [ring.answer("cancel", "danger", "end", "Cancel", () => giveUp(attempt))]);
  sounds.silence();
  const settings = { ...more, ...config.settings, listener: { onError: faulty } };
  try {
    const by = await what();
    if (joining !== attempt) return;
    const session = await client.startSession(by, settings);
    if (session.over) return;
    ring.shut();
    sounds.connected();
    show("call");
    const title = settings.title ?? titleOf(session.call);
    document.title = title;
    screen.open(session, title);
    say("Connected");
  } catch (error) {
    if (joining === attempt) {
      giveUp(attempt);
      notice(reason(error), true);
    }
  } finally {
    if (joining === attempt) joining = null;
    offer();
  }
}

/** A call is named by whom it is with; several there may be in a session. */
const titleOf = (call) => (call.role === "member" ? "Session" : people.nameOf(call.with, call));

/** It is not to be joined any more, or cannot be. */
function giveUp(attempt) {
  joining = null;
  client?.endCall(attempt.sessionId).catch(() => {}); // there may be nothing yet
  ring.shut(attempt.sessionId);
  left(attempt.sessionId);
}

// --- sessions that are joined by their link

function linked() {
  return new URLSearchParams(location.hash.slice(1)).get("session");
}

function unlink() {
  history.replaceState(null, "", location.pathname);
}

/** Join the session of the address. Nobody else need be there. */
function meet() {
  sounds.unlock();
  const sessionId = linked();
  enter(sessionId, { name: "Session" }, { type: "video", showInviteButton: true }, () => client.generateToken(sessionId));
}

function startSession() {
  if (taken()) {
    notice(taken());
    return;
  }
  history.replaceState(null, "", `#session=${crypto.randomUUID()}`);
  meet();
}

/** Another link was opened here. */
function followed() {
  if (linked() && taken()) notice("You are asked about the link when this call is over.");
  else invited();
}

/** Somebody has opened a link: no camera opens before they agree. */
function invited() {
  if (!linked() || taken() || ring.shown() || document.body.dataset.view !== "home") return;
  if (!/^[^\s\p{Cc}]{1,128}$/u.test(linked())) {
    unlink();
    notice("This is not the link of a session.", true);
    return;
  }
  ring.dialog(linked(), { name: "Session" }, "You have opened the link of a session", [
    ring.answer("not-now", "danger", "end", "Not now", () => {
      ring.shut();
      unlink();
    }),
    ring.answer("meet", "good", "video", "Join", meet),
  ]);
}

async function copyLink() {
  const link = new URL(`#session=${encodeURIComponent(screen.session.sessionId)}`, location.href).href;
  try {
    await navigator.clipboard.writeText(link);
    notice("The link is copied: whoever opens it can join.");
  } catch {
    notice(link);
  }
}

// --- begin

login.begin({ enter: enterAs, leave });
people.begin({ user: () => client?.user, place, fault: (error) => notice(reason(error), true) });
$("logout").addEventListener("click", logOut);
$("again").addEventListener("click", again);
$("new-session").addEventListener("click", startSession);
addEventListener("hashchange", followed);
$("developer").addEventListener("click", () => developer.toggle());
for (const act of ["click", "keydown"]) document.addEventListener(act, sounds.unlock);
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, select, textarea") && (event.key !== "Escape" || event.isComposing)) return;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.body.dataset.view === "call" && !ring.shown()) screen.key(event);
});
addEventListener("beforeunload", (event) => client?.activeCall && event.preventDefault());
addEventListener("pagehide", () => client?.connection.send({ m: "bye" }));

async function start() {
  config = await ask("page/config");
  people.arrange(config.directory);
  login.arrange(config.dev);
  access.token = login.kept().token ?? "";
  if (!access.token) {
    askWho();
    return;
  }
  try {
    await enterAs(await ask("page/me"));
  } catch (error) {
    leave({ forget: error.status === 401 });
    askWho(error.status === 401 ? "" : reason(error));
  }
}

start().catch((error) => notice(reason(error), true));
