// What is asked of a client, checked before it goes anywhere: what is wrong has the errors and the names of Python's.

import { CallError } from "./errors.js";

const MOST_METADATA = 16384; // characters
const MOST_RING = 3600; // seconds

export const invalid = (name, why) => new CallError("invalid_argument", { name, why });

/** An id that is fit to be one: of a user, a device or a session. */
export function id(name, value) {
  if (typeof value !== "string") throw invalid(name, `${name} must be text`);
  if (!value.trim()) throw new CallError("blank_id", { name });
  if ([...value].length > 128 || /[\p{C}\p{Z}]/u.test(value)) throw new CallError("spaced_id", { name, value: value.slice(0, 128) });
  return value;
}

/** One of these. */
export function choice(name, value, choices) {
  if (!choices.includes(value)) throw invalid(name, `${name} must be one of ${choices.join(", ")}`);
  return value;
}

/** What others are shown of it. */
export function label(name, value) {
  if (typeof value !== "string" || [...value].length > 256) throw invalid(name, `${name} must be a text of at most 256 characters`);
  return value;
}

/** What JSON carries unchanged, as text. */
export function json(name, value) {
  try {
    const text = JSON.stringify(value, (_, each) => {
      if (typeof each === "number" && !Number.isFinite(each)) throw new TypeError(`${each} is no number of JSON`);
      return each;
    });
    if (text !== undefined) return text;
  } catch (error) {
    throw invalid(name, `${name} cannot be JSON: ${error.message}`);
  }
  throw invalid(name, `${name} cannot be JSON`);
}

/** An object that JSON carries, as text. */
export function object(name, value) {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw invalid(name, `${name} must be an object`);
  return json(name, value);
}

/** What a caller attaches; empty for nothing. */
export function metadata(value) {
  const text = value === null ? "" : object("metadata", value);
  if (text.length > MOST_METADATA) throw invalid("metadata", `metadata must have at most ${MOST_METADATA} characters`);
  return text;
}

/** For how many milliseconds to ring; 0 is the service's default. */
export function ringTime(seconds) {
  if (seconds === null) return 0;
  const fits = typeof seconds === "number" && seconds <= MOST_RING;
  if (!fits) throw invalid("timeout", `timeout must be seconds, at most ${MOST_RING}, or null for the service's`);
  return Math.max(0, Math.round(seconds * 1000));
}

/** After how many seconds to give up; 0 is never. */
export function patience(name, seconds) {
  if (!Number.isFinite(seconds) || seconds < 0) throw invalid(name, `${name} must be seconds, or 0 for never`);
  return seconds;
}
