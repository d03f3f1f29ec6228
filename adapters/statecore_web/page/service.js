// What the page asks of the service by HTTP, in the name of who is logged in.

import { CallError } from "./errors.js";

const PATIENCE = 3000; // milliseconds for an answer: on a connection that only seems to stand there is none

/** The token of who is logged in. */
export const access = { token: "" };

/** An answer, or an error with its `status`; or with none, if there is no answer. */
export async function ask(path, more = {}) {
  const headers = access.token ? { Authorization: `Bearer ${access.token}` } : {};
  const signal = AbortSignal.timeout(PATIENCE);
  const asked = fetch(path, { ...more, signal, headers: { ...headers, ...more.headers } });
  const response = await asked.catch((error) => {
    throw error.name === "TimeoutError" ? error : new CallError("not_connected");
  });
  const body = await response.json();
  if (!response.ok) throw Object.assign(new Error(body.message ?? response.statusText), { status: response.status });
  return body;
}
