// What a client and its session tell and take, whatever they are asked: each function is one test.

import assert from "node:assert/strict";

import { joined, pass, report } from "./fakes.mjs";

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

await report({
  a_call_lasts_by_the_clock_of_the_service,
});
