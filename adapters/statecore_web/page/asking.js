// Who asked whom for video, by what a device knows of it: the same as Python's.

/**
 * The initiator and the responder of an event about switching to video, as this user's device knows them: empty where it
 * does not. `before` is the leg by the view before this one.
 */
export function whoAsked(event, before, leg, peer, user) {
  if (event === "call_switched_to_video") return whoSwitched(before, leg, user);
  const asker = peer?.user ?? user;
  if (event === "call_switch_to_video_requested") return [asker, user];
  const asked = leg.peers.filter((one) => one.joined && one.pid !== peer?.pid).map((one) => one.user);
  if (peer) asked.push(user);
  return [asker, only(asked)]; // which of several declined, no view says
}

/** Whether somebody has left with a request for video that was not answered, of which no view says more. */
export function tookRequest(event, leg, peer) {
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
