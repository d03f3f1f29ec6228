// The developer view: the flow's drawing with the state of the newest call lit, and each event as it happens.

import { DRAWINGS } from "./drawings.js";
import { $, make } from "./words.js";

const KEPT = 200; // events
const MARGIN = 24; // of a drawing, which has one of its own here

export class Developer {
  constructor() {
    this.flow = "";
    this.session = "";
    $("dev-clear").addEventListener("click", () => $("events").replaceChildren());
  }

  toggle() {
    const shown = $("dev").hidden;
    $("dev").hidden = !shown;
    document.body.classList.toggle("developing", shown);
    $("developer").setAttribute("aria-pressed", shown);
  }

  watch(client) {
    this.draw("ringing");
    this.light("idle");
    client.on("step", (given, effects, before, after) => this.step(given, effects, before, after));
  }

  draw(flow) {
    if (this.flow === flow || !DRAWINGS[flow]) return;
    this.flow = flow;
    // Of this service's own making, and without scripts.
    const svg = new DOMParser().parseFromString(DRAWINGS[flow], "image/svg+xml").documentElement;
    const { width, height } = svg.viewBox.baseVal;
    svg.setAttribute("viewBox", `${MARGIN} ${MARGIN} ${width - 2 * MARGIN} ${height - 2 * MARGIN}`); // its text is small
    $("drawing").replaceChildren(svg);
  }

  light(state, from = "") {
    $("dev-state").textContent = state;
    for (const group of $("drawing").querySelectorAll(".state, .edge")) {
      const { state: own, from: source, to } = group.dataset;
      group.classList.toggle("lit", own === state || (Boolean(from) && source === from && to === state));
    }
  }

  step(given, effects, before, after) {
    if (given.do === "Do") this.note("sent", given.trigger, "wanted");
    if (given.do === "Media") this.note("sent", given.what, "media");
    if (given.do === "Received" && given.message.m === "view") {
      this.note("came", "view", `${given.message.state} · number ${given.message.seq}`);
    } else if (given.do === "Received" && given.message.m !== "beat") {
      this.note("came", given.message.m, given.message.kind ?? given.message.code ?? "");
    }
    this.moves(before, after, effects);
    for (const effect of effects) {
      if (effect.do === "Send" && effect.message.m === "command") {
        this.note("sent", effect.message.trigger, `command ${effect.message.n}`);
      } else if (effect.do === "Emit") {
        this.note("told", `on_${effect.event}`, effect.peer?.user ?? "");
      } else if (effect.do === "OpenMedia" || effect.do === "CloseMedia") {
        this.note("told", effect.do === "OpenMedia" ? "media opens" : "media closes", (effect.capture ?? []).join(", "));
      }
    }
  }

  moves(before, after, effects) {
    const sessions = new Set([...before.legs.keys(), ...after.legs.keys()]);
    for (const session of sessions) {
      const old = before.legs.get(session)?.state ?? "idle";
      const last = effects.filter((effect) => effect.leg?.session === session).at(-1)?.leg;
      const leg = after.legs.get(session) ?? last;
      if (!leg || leg.state === old) continue;
      this.draw(leg.flow);
      this.light(leg.state, old);
      this.note("moved", `${old} → ${leg.state}`, leg.reason ?? "");
    }
  }

  note(kind, what, more) {
    const time = new Date().toISOString().slice(14, 23);
    const list = $("events");
    list.prepend(make("li", { class: kind }, make("time", {}, time), make("span", {}, make("b", {}, what), more ? ` ${more}` : "")));
    while (list.children.length > KEPT) list.lastElementChild.remove();
  }
}
