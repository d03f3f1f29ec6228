// What time does to a leg: patience, commands that nobody heard, media that is lost, being alone, the longest duration.

import { clock, messageTimes } from "./data.js";

/**
 * For how long media with somebody is lost when that is told, and when it is for good. Where a call waits for people to
 * come back, whoever is left with one other waits a lease more: it may be that device which is gone.
 */
function stagesOf(flow, timers, lease) {
  const { media_notice: notice, media_lost: lost } = timers;
  return flow.lingers ? [notice, lost, lost + lease] : [notice, lost];
}

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
  const stages = stagesOf(flow, timers, step.endpoint.lease);
  const lost = leg.lost.map(({ pid, since, told }) => {
    const peer = leg.peers.find((one) => one.pid === pid) ?? null;
    if (!told && now - since >= stages[0]) step.emit("remote_connection_lost", leg, peer);
    return { pid, since, told: stages.filter((stage) => now - since >= stage).length };
  });
  leg = step.put(leg, { lost });
  const others = leg.peers.filter((peer) => peer.joined).length;
  // If nobody of several can be reached, it is this side's media that cannot go on; of two, it is everybody's.
  const last = others === 1 ? stages.length : 2;
  if (others && others === lost.filter((entry) => entry.told >= last).length) {
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
export function timesOf(endpoint, leg, flow, timers) {
  const times = [endpoint.confirmed + endpoint.lease];
  times.push(...leg.waits.filter((wait) => wait.due).map((wait) => wait.due));
  const stages = stagesOf(flow, timers, endpoint.lease);
  times.push(...leg.lost.filter((e) => e.told < stages.length).map((e) => e.since + stages[e.told]));
  times.push(...messageTimes(endpoint, leg));
  if (leg.until) times.push(leg.until);
  if (leg.aloneSince) times.push(Math.abs(leg.aloneSince) + leg.idle[0] + (leg.aloneSince < 0 ? leg.idle[1] : 0));
  return times;
}
