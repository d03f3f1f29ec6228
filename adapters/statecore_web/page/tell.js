// What a new view changed, told: events for the listeners, and word for the open media session.

import { forget } from "./data.js";
import { capturing } from "./machine.js";

const CORE = ["joined", "connected"];
const FLAG_EVENTS = {
  // own on, own off, another's on, another's off
  audio_muted: ["audio_muted", "audio_unmuted", "user_muted", "user_unmuted"],
  video_paused: ["video_paused", "video_resumed", "user_video_paused", "user_video_resumed"],
  presenting: ["screen_share_started", "screen_share_stopped", "screen_share_started", "screen_share_stopped"],
  hand_raised: ["hand_raised", "hand_lowered", "hand_raised", "hand_lowered"],
  wants_video: [
    "", "call_switch_to_video_declined", "call_switch_to_video_requested", "call_switch_to_video_declined",
  ],
};
const OURS = [...CORE, ...Object.keys(FLAG_EVENTS), "camera"]; // any other flag is of a flow of the application's own

const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
const differ = (one, other) =>
  [...one.filter((name) => !other.includes(name)), ...other.filter((name) => !one.includes(name))].sort();

/** Tell what is different between a live leg as it was and as it is. */
export function differences(step, machine, old, leg, gone) {
  if (machine.media.includes(leg.state)) {
    // A session's events begin when it was joined, and with who is there.
    if (machine.media.includes(old.state)) tell(step, leg, old.type, old.flags, old.peers, gone);
    else tell(step, leg, leg.type, [], [], gone);
  }
  if (leg.media !== "open") return;
  if (old.flags.includes("joined")) {
    const after = capturing(machine, leg);
    for (const kind of differ(capturing(machine, old), after)) step.drive(leg, "capture", kind, after.includes(kind));
  }
  if (!same(leg.peers, old.peers)) {
    leg = forgetLost(step, leg);
    drivePeers(step, leg);
  }
  for (const [pid, turn] of Object.entries(leg.offers)) {
    if (old.offers[pid] !== turn) step.drive(leg, "granted", pid);
  }
}

/** Let go of what concerns those who have left. */
function forgetLost(step, leg) {
  const here = leg.peers.filter((peer) => peer.joined).map((peer) => peer.pid);
  if (leg.lost.length) leg = step.put(leg, { lost: leg.lost.filter((entry) => here.includes(entry.pid)) });
  return leg.lanes.size ? forget(step, leg) : leg;
}

/** Tell the media session with whom it is to exchange. */
export function drivePeers(step, leg) {
  step.drive(leg, "peers", leg.peers.filter((peer) => peer.joined));
}

function tell(step, leg, type, flags, peers, gone) {
  const switched = leg.type !== type;
  if (switched) step.emit("call_switched_to_video", leg);
  tellFlags(step, leg, flags, leg.flags, switched);
  if (!same(leg.peers, peers)) tellPeers(step, peers, leg, gone, switched);
}

function tellPeers(step, peers, leg, gone, switched) {
  const byPid = (list) => new Map(list.filter((peer) => peer.joined).map((peer) => [peer.pid, peer]));
  const before = byPid(peers);
  const after = byPid(leg.peers);
  for (const [pid, peer] of before) if (!after.has(pid)) step.emit("user_left", leg, peer, gone[pid] ?? "left");
  for (const peer of [...after.values()].sort((a, b) => a.joined - b.joined)) {
    if (!before.has(peer.pid)) step.emit("user_joined", leg, peer);
  }
  for (const [pid, peer] of after) tellFlags(step, leg, before.get(pid)?.flags ?? [], peer.flags, switched, peer);
  if (!same([...before.keys()].sort(), [...after.keys()].sort())) step.emit("user_list_updated", leg);
}

/** What became of the flags of oneself, or of another. Once the call has switched to video, that is what became of
 * whoever wanted it. */
function tellFlags(step, leg, old, flags, switched, peer = null) {
  const place = peer ? 2 : 0;
  const changed = differ(old, flags).filter((flag) => !(switched && flag === "wants_video"));
  for (const flag of changed) {
    const event = FLAG_EVENTS[flag]?.[place + (flags.includes(flag) ? 0 : 1)];
    if (event) step.emit(event, leg, peer);
  }
  for (const flag of changed) {
    if (!OURS.includes(flag)) step.emit("flag_changed", leg, peer, [flag, flags.includes(flag)]);
  }
}
