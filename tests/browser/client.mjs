// What a client and its session tell and take, whatever they are asked: each function is one test.

import assert from "node:assert/strict";

import { CallClient, CallError, Peer, fate, joined, pass, report, screen, settle } from "./fakes.mjs";

const [LONG, CYCLE] = ["x".repeat(129), {}];
CYCLE.self = CYCLE;

/** What each of some calls is refused with: its code, and the name of the argument. */
async function refusals(calls) {
  const refused = {};
  for (const [what, call] of Object.entries(calls)) {
    try {
      refused[what] = await call();
    } catch (error) {
      refused[what] = error instanceof CallError ? `${error.code} ${error.data.name ?? ""}`.trim() : error.stack;
    }
  }
  return refused;
}

/** The same, all of them refused as one. */
const all = (calls, refusal) => Object.fromEntries(Object.keys(calls).map((what) => [what, refusal]));

async function a_call_lasts_by_the_clock_of_the_service() {
  const right = Date.now;
  for (const wrong of [-600_000, 600_000]) {
    Date.now = () => right() + wrong;
    const { client, session } = await joined();
    assert.equal(session.duration, 0);
    await pass(client, 12_000);
    assert.equal(session.duration, 12);
    assert.equal(client.serviceTime, session.call.activeAt + 12);
    await session.end();
    await pass(client, 5_000);
    assert.equal(session.duration, 12);
  }
  Date.now = right;
}

async function what_makes_no_sense_is_refused_before_anything_is_sent() {
  const { client, service, session } = await joined({ peers: [{ pid: "2", user: "bob", joined: 2 }] });
  const before = service.sent.length;
  const ids = { nothing: undefined, none: null, number: 7, blank: " ", spaced: "a b", long: LONG, control: "a\n" };
  const codes = ["invalid_argument", "invalid_argument", "invalid_argument", "blank_id", "spaced_id", "spaced_id", "spaced_id"];
  const takers = {
    receiver: (id) => client.initiateCall(id),
    session_id: (id) => client.answered(id),
    ...Object.fromEntries(
      ["acceptCall", "rejectCall", "cancelCall", "endCall", "generateToken"].map((name) => [name, (id) => client[name](id)]),
    ),
    user: (id) => new CallClient("https://calls.example.org", { user: id, token: "t" }),
    device: (id) => new CallClient("https://calls.example.org", { user: "u", device: id, token: "t" }),
  };
  for (const [taker, call] of Object.entries(takers)) {
    const name = ["receiver", "user", "device"].includes(taker) ? taker : "session_id";
    const given = Object.entries(ids).map(([what, id], n) => [what, codes[n], () => call(id)]);
    const checked = given.filter(([what]) => !(taker === "device" && what === "nothing")); // which makes one
    assert.deepEqual(
      await refusals(Object.fromEntries(checked.map(([what, , act]) => [what, act]))),
      Object.fromEntries(checked.map(([what, code]) => [what, `${code} ${name}`])),
      taker,
    );
  }
  const ring = (more) => () => client.initiateCall("bob", more);
  const tables = {
    timeout: ["x", NaN, Infinity, 3601, true, {}].map((timeout) => ring({ timeout })),
    metadata: ["x", [], 7, CYCLE, { n: NaN }, { n: 1n }, { text: "x".repeat(16384) }].map((metadata) => ring({ metadata })),
    type: ["film", null, 1].map((type) => ring({ type })),
    receiver_type: [ring({ receiverType: "group" })],
    session_id: [ring({ sessionId: 7 })],
    flow: ["none", "session", null, 7].map((flow) => ring({ flow })),
    reason: ["tired", null].map((reason) => () => client.rejectCall("room", reason)),
    data: [
      ...[undefined, () => 1, NaN, { n: Infinity }, CYCLE, 1n].map((data) => () => session.sendMessage(data)),
      ...[null, 7, "x", [1], CYCLE].map((data) => () => session.trigger("wave", data)),
    ],
    participant: ["carol", "", 7, {}].map((to) => () => session.sendMessage("x", to)),
    layout: ["wall", null].map((layout) => () => session.setLayout(layout)),
    button: ["coffee", undefined].map((button) => () => session.press(button)),
    kind: ["film", "screen"].flatMap((kind) => [() => session.chooseDevice(kind, null), () => session.device(kind)]),
    deviceId: [7, " ", undefined].map((device) => () => session.chooseDevice("audio", device)),
    stream: [{}, { getVideoTracks: () => [] }].map((stream) => () => session.startScreenShare(stream)),
    name: ["x".repeat(257), 7, null].map((name) => () => new CallClient("https://x.org", { user: "u", name, token: "t" })),
    giveUpAfter: [-1, NaN, Infinity, "1", null].map(
      (giveUpAfter) => () => new CallClient("https://x.org", { user: "u", giveUpAfter, token: "t" }),
    ),
  };
  for (const [name, calls] of Object.entries(tables)) {
    assert.deepEqual(await refusals(calls), all(calls, `invalid_argument ${name}`), name);
  }
  const tokens = ["x", "a.b.c", `a.${btoa("null")}.c`, `a.${btoa("{}")}.c`, `a.${btoa('{"sid":" "}')}.c`, 7, {}];
  const starts = tokens.map((token) => () => client.startSession(token));
  assert.deepEqual(await refusals(starts), all(starts, "token_malformed"));
  assert.deepEqual(await refusals({ none: () => client.startSession("") }), { none: "token_missing" });
  assert.equal(await session.trigger("wave").catch((error) => error.code), "illegal_transition");
  assert.equal(service.sent.length, before);
  assert.equal(session.state, "active");
}

async function who_is_written_to_is_named_by_user_or_by_pid() {
  const peers = [{ pid: "2", user: "bob", joined: 2 }, { pid: "bob", user: "carol", joined: 3 }];
  const { service, session } = await joined({ peers });
  for (const to of ["bob", "2", "carol"]) session.sendMessage("x", to).catch(() => {});
  assert.deepEqual(service.sent.slice(-3).map(({ to }) => to), ["2", "2", "bob"]);
}

async function after_the_end_every_action_says_that_it_is_over() {
  const { session } = await joined();
  session.end();
  const actions = [
    "muteAudio", "unmuteAudio", "toggleAudio", "pauseVideo", "resumeVideo", "toggleVideo", "switchCamera", "raiseHand",
    "lowerHand", "stopScreenShare", "switchToVideo", "acceptVideo", "declineVideo", "withdrawVideo", "stats",
  ].map((name) => () => session[name]());
  actions.push(
    () => session.trigger("wave"), () => session.sendMessage("x"), () => session.setLayout("tile"),
    () => session.press("mute"), () => session.chooseDevice("audio", null), () => session.startScreenShare(screen()),
  );
  assert.deepEqual(await refusals(actions), all(actions, "session_inactive"));
  await Promise.all([session.end(), session.leave(), session.endForAll()]);
}

async function nobody_waits_for_a_link_that_is_given_up() {
  const { client, service } = await joined();
  const token = fate(client.generateToken("room"));
  client.linkFailed(new CallError("signaling_refused"));
  await settle();
  assert.equal(token.now, "signaling_refused");
  service.mend();
  const [other, refused] = [fate(client.generateToken("room")), fate(client.answered("elsewhere"))];
  client.close();
  await settle();
  assert.deepEqual([other.now, refused.now], ["client_closed", "call_not_found"]);
  assert.equal(await client.generateToken("room").catch((error) => error.code), "client_closed");
  const late = new CallClient("https://calls.example.org", { user: "u", token: () => new Promise(() => {}) });
  assert.equal(await late.generateToken("room").catch((error) => error.code), "not_connected");
  const connecting = fate(late.connect());
  late.close();
  await settle();
  assert.equal(connecting.now, "client_closed");
}

async function a_token_that_is_none_is_refused_at_once_and_not_quoted() {
  globalThis.WebSocket = class {
    constructor(_, [, token]) {
      if (/\s/.test(token)) throw Object.assign(new Error(token), { name: "SyntaxError" });
    }
    close() {}
  };
  const tokens = ["a secret", "another secret"];
  const client = new CallClient("https://calls.example.org", { user: "u", token: () => tokens.shift() ?? "good" });
  const error = await client.connect().catch((wrong) => wrong);
  assert.equal(error.code, "token_malformed");
  assert.equal(JSON.stringify([error.message, error.data]).includes("secret"), false);
  assert.deepEqual(tokens, []);
  client.connect().catch(() => {});
  await settle();
  assert.equal(client.connection.closed, false);
  client.close();
}

async function a_link_that_is_another_users_is_given_up() {
  globalThis.WebSocket = class {
    readyState = 1;
    send() {}
    close() {}
  };
  const client = new CallClient("https://calls.example.org", { user: "carol", token: "alice's" });
  const failed = [];
  client.on("connection_failed", (code) => failed.push(code));
  const connecting = client.connect().catch((wrong) => wrong);
  await settle();
  client.connection.socket.onmessage({ data: JSON.stringify({ m: "welcome", user: "alice" }) });
  const error = await connecting;
  assert.deepEqual([error.code, error.data], ["token_foreign", { what: "user", theirs: "alice", ours: "carol" }]);
  assert.deepEqual([failed, client.online, client.connection.closed], [["token_foreign"], false, true]);
}

async function whose_connection_is_closed_meanwhile_has_no_fault() {
  const faults = [];
  const around = { host: { joined: 2, fault: (error) => faults.push(error.message), ask() {} } };
  for (const leaves of [false, true]) {
    const peer = new Peer(around, { pid: "2", joined: 1 });
    peer.post(async () => {
      if (leaves) peer.close();
      throw new Error(`closed: ${leaves}`);
    });
    await settle();
    peer.close();
  }
  assert.deepEqual(faults, ["closed: false"]);
}

async function how_a_call_ended_is_said_to_whoever_asks_later() {
  const { client, service } = await joined();
  service.take = () => {};
  const call = fate(client.initiateCall("bob", { sessionId: "ring" }));
  const view = { m: "view", session: "ring", flow: "ringing", role: "caller", pid: "1", initiator: "alice", receiver: "bob" };
  client.linkTook({ ...view, state: "ringing", seq: 1, heard: 9 });
  await settle();
  assert.equal(call.now, "done");
  client.linkTook({ ...view, state: "ended", reason: "rejected", seq: 2, heard: 9 });
  const error = await client.answered("ring").catch((wrong) => wrong);
  assert.deepEqual([error.code, error.call.status], ["call_rejected", "rejected"]);
}

await report({
  what_makes_no_sense_is_refused_before_anything_is_sent,
  who_is_written_to_is_named_by_user_or_by_pid,
  after_the_end_every_action_says_that_it_is_over,
  nobody_waits_for_a_link_that_is_given_up,
  a_token_that_is_none_is_refused_at_once_and_not_quoted,
  a_link_that_is_another_users_is_given_up,
  whose_connection_is_closed_meanwhile_has_no_fault,
  how_a_call_ended_is_said_to_whoever_asks_later,
  a_call_lasts_by_the_clock_of_the_service,
});
