// What can go wrong, by the codes of the Python side. `ERRORS` is generated from its tree.

import { ERRORS } from "./flows.js";

/** Every error of statecore. `code` is stable; `data` says what it is about; `retryable` whether to try again. */
export class CallError extends Error {
  constructor(code, data = {}) {
    super(sentence(code, data));
    this.name = "CallError";
    this.code = code;
    this.data = data;
    this.retryable = ERRORS[code]?.retryable ?? false;
  }

  /** Whether it is of this kind or of one below it: `error.is("call_gone")`. */
  is(code) {
    return this.code === code || (ERRORS[this.code]?.under ?? []).includes(code);
  }
}

function sentence(code, data) {
  const what = ERRORS[code]?.help ?? code.replaceAll("_", " ");
  const why = typeof data.why === "string" ? ` (${data.why})` : "";
  return what + why;
}

const DECLINED = {
  busy: "user_busy",
  rejected: "call_rejected",
  unanswered: "call_unanswered",
  cancelled: "call_cancelled",
};

/** The error that an ended leg gives to whoever awaits `goal`. */
export function refusal(leg, goal) {
  const reason = leg.reason ?? "lost";
  const session_id = leg.session;
  if (leg.role === "caller" && DECLINED[reason]) {
    return new CallError(DECLINED[reason], { user: leg.receiver, session_id });
  }
  if (goal === "joinable" && (reason === "answered_elsewhere" || reason === "rejected_elsewhere")) {
    return new CallError("answered_elsewhere", { session_id });
  }
  if (goal === "joinable" && leg.role !== "caller") return new CallError("call_gone", { session_id, reason });
  if (goal === "media" && reason === "failed_media") {
    return new CallError("media_connection_failed", { why: "not connected in time, or the other side failed" });
  }
  return new CallError("call_ended", { session_id, reason });
}
