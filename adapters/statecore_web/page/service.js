// What the page asks of the service by HTTP, in the name of who is logged in.

const PATIENCE = 3000; // milliseconds for an answer: on a connection that only seems to stand there is none

export const access = { token: "" };

export async function ask(path, more = {}) {
  const headers = access.token ? { Authorization: `Bearer ${access.token}` } : {};
  const signal = AbortSignal.timeout(PATIENCE);
  const response = await fetch(path, { ...more, signal, headers: { ...headers, ...more.headers } });
  const body = await response.json();
  if (!response.ok) throw Object.assign(new Error(body.message ?? response.statusText), { status: response.status });
  return body;
}
