// What time does to a leg: patience, commands that nobody heard, media that is lost, being alone, the longest duration.

import { clock, messageTimes } from "./data.js";

const STAGES = ["media_notice", "media_lost"]; // of media that is lost with a participant, one after the other

/** Time has passed for a live leg. */
export function tickLeg(step, leg) {
  if (step.now - step.endpoint.confirmed >= step.endpoint.lease) {
    step.endBy(leg, step.machine(leg).flow.lost);
    return;
  }
  step.timeouts(leg);
  leg = step.legs.get(leg.session) ?? leg;
  if (leg.lanes.size) leg = clock(step, leg);
  if (!step.isOver(leg) && leg.media === "open") mediaClocks(step, leg);
}

function mediaClocks(step, leg) {
  const { now, timers } = step;
  const { flow } = step.machine(leg);
  const lost = leg.lost.map(({ pid, since, told }) => {
    const peer = leg.peers.find((one) => one.pid === pid) ?? null;
    if (!told && now - since >= timers.media_notice) step.emit("remote_connection_lost", leg, peer);
    return { pid, since, told: STAGES.filter((stage) => now - since >= timers[stage]).length };
  });
  leg = step.put(leg, { lost });
  const gone = lost.filter((entry) => entry.told > 1).length;
  const others = leg.peers.filter((peer) => peer.joined).length;
  // Of two, or if nobody of several can be reached, it is this side's media that cannot go on.
  if (gone && gone === others && (step.machine(leg).ring || others > 1)) {
    step.put(leg, { lost: [] });
    step.do({ session: leg.session, trigger: flow.failed });
  } else if (leg.until && leg.until <= now) {
    step.endBy(leg, flow.expire);
  } else if (leg.aloneSince) {
    alone(step, leg, flow);
  }
}

function alone(step, leg, flow) {
  const [untilPrompt, untilEnd] = leg.idle;
  const time = step.now - Math.abs(leg.aloneSince);
  if (leg.aloneSince > 0 && time >= untilPrompt) {
    step.put(leg, { aloneSince: -leg.aloneSince });
    step.emit("idle_prompt", leg, null, untilEnd / 1000);
  } else if (time >= untilPrompt + untilEnd) {
    step.emit("session_timeout", leg);
    step.endBy(leg, flow.idle);
  }
}

/** When a live leg wants the time. */
export function timesOf(endpoint, leg, timers) {
  const times = [endpoint.confirmed + endpoint.lease];
  times.push(...leg.waits.filter((wait) => wait.due).map((wait) => wait.due));
  times.push(...leg.lost.filter((e) => e.told < STAGES.length).map((e) => e.since + timers[STAGES[e.told]]));
  times.push(...messageTimes(endpoint, leg));
  if (leg.until) times.push(leg.until);
  if (leg.aloneSince) times.push(Math.abs(leg.aloneSince) + leg.idle[0] + (leg.aloneSince < 0 ? leg.idle[1] : 0));
  return times;
}
