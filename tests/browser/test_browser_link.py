"""The browser's link to the service when it cannot be had any more: what is told, and when it is given up."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from statecore import CallClient, ServiceSettings, Timers

_CLIENT = """(async (token, more) => {
  const { CallClient } = await import('./page/statecore.js');
  globalThis.heard = [];
  globalThis.tokens = [token];
  const listen = (to, who) => {
    for (const what of ['lost', 'restored', 'closed', 'failed']) {
      to.on(`connection_${what}`, (...told) => heard.push([who, what, ...told]));
    }
  };
  const give = () => (tokens.length > 1 ? tokens.shift() : tokens[0]);
  globalThis.device = new CallClient(location.href, { user: 'alice', token: give, ...more });
  listen(device, 'client');
  await device.connect();
  globalThis.room = await device.startSession(await device.generateToken(crypto.randomUUID()), { type: 'audio' });
  listen(room, 'session');
  room.on('session_left', (_, reason) => heard.push(['session', 'left', reason.what]));
})"""

_COUNTED = """(async (token) => {
  const { CallClient } = await import('./page/statecore.js');
  globalThis.dials = [];
  globalThis.WebSocket = class extends WebSocket {
    constructor(...more) {
      super(...more);
      dials.push(performance.now());
    }
  };
  globalThis.device = new CallClient(location.href, { user: 'alice', token });
  device.connect().catch(() => {});
})"""


def _heard(what: str, reason: str, *, recoverable: bool) -> list[list[Any]]:
    """What a client and its session are told of the link, alike."""
    return [[who, what, reason, recoverable] for who in ("client", "session")]


LOST = _heard("lost", "signaling_lost", recoverable=True)
BACK = _heard("restored", "signaling_lost", recoverable=True)
REFUSED = _heard("failed", "token_revoked", recoverable=False)
EXPIRED = _heard("failed", "token_expired", recoverable=False)
GIVEN_UP = _heard("failed", "signaling_lost", recoverable=False)
CLOSED = _heard("closed", "client_closed", recoverable=False)
LEFT = [["session", "left", "lost"]]


def test_a_link_that_cannot_be_had_any_more_is_given_up_and_told(world: Any) -> None:
    """For a token that the service refuses another is asked for, and the session goes on; if that one is refused, too,
    or the link is away for as long as it may be, client and session hear it alike, and the session ends."""

    async def main() -> None:
        async with world() as all_:
            all_.service.add_user("alice")
            all_.browser.offline = all_.browser.refused = True
            page = await all_.browser.tab("alice")
            await page.send("Page.navigate", url=all_.url)
            await page.until("document.body.dataset.view === 'login'")

            async def token() -> str:
                return str((await all_.app.tokens.issue("alice"))[0])

            async def client(**more: Any) -> None:
                await page.run(f"({_CLIENT})({json.dumps(await token())}, {json.dumps(more)})")

            async def heard(*expected: list[list[Any]]) -> None:
                told = [each for some in expected for each in some]
                await page.until(f"heard.length === {len(told)}")
                assert await page.run("heard.splice(0)") == told

            await client()
            all_.wire.cut()
            await heard(LOST)
            await all_.app.tokens.revoke("alice")
            await page.run(f"tokens.push({json.dumps(await token())})")
            all_.wire.mend()
            await heard(BACK)
            assert await page.run("room.state") == "active"

            await all_.app.tokens.revoke("alice")
            all_.wire.cut()
            all_.wire.mend()
            await heard(LOST, REFUSED, LEFT)
            assert not await page.run("device.connected")
            await page.off()
            await page.run(f"tokens = [{json.dumps(await token())}]; device.connect()")
            assert await page.run("device.connected")
            await page.run("device.close()")
            await heard(BACK[:1], CLOSED[:1])

            await client()
            now, all_.app.tokens._now = all_.app.tokens._now, lambda: time.time_ns() // 1_000_000 + 40 * 86_400_000
            all_.wire.cut()
            all_.wire.mend()
            await heard(LOST, EXPIRED, [["session", "left", "expired"]])
            all_.app.tokens._now = now

            await client(giveUpAfter=0.5)
            all_.wire.cut()
            await heard(LOST, GIVEN_UP, LEFT)
            all_.wire.mend()
            await client()
            await page.run("device.close()")
            await heard(CLOSED, [["session", "left", "hangup"]])
            await page.off()

    asyncio.run(main())


def test_the_page_asks_who_it_is_once_its_token_is_refused(world: Any) -> None:
    """A page whose token was revoked says so where one logs in, instead of connecting for ever; a good one is taken.
    One whose device was taken over says so, too, and tries again when it is asked to."""

    async def main() -> None:
        async with world(dev=False) as all_:
            all_.service.add_user("alice", "Alice")
            page = await all_.browser.tab("alice")
            await page.send("Page.navigate", url=all_.url)

            async def enter() -> None:
                await page.type("#token", (await all_.app.tokens.issue("alice"))[0])
                await page.press("Enter")
                await page.until("document.body.dataset.view === 'home' && statecore.connected")

            await enter()
            await page.run(_TAKE)
            await page.until("document.querySelector('#link').innerText === 'Not connected'")
            await page.run("other.close()")
            await page.click("#again")
            await page.until("statecore.connected && document.querySelector('#again').hidden")
            all_.browser.offline = all_.browser.refused = True
            await all_.app.tokens.revoke("alice")
            all_.wire.cut()
            all_.wire.mend()
            await page.until("document.querySelector('#login-error').textContent === 'You have been logged out.'")
            assert await page.run("sessionStorage.length") == 0
            await page.run("document.querySelector('#token').value = ''")
            await enter()

    asyncio.run(main())


# Be the page's device in another client.
_TAKE = """(() => {
  const { token } = statecore.connection;
  globalThis.other = new statecore.constructor(location.href, { user: 'alice', token, device: statecore.device });
  return other.connect();
})()"""


def test_a_page_that_is_one_device_too_many_waits_until_there_is_room(world: Any) -> None:
    """It asks again when it was told to, and not all the while; once the other device has gone it is in."""

    async def main() -> None:
        async with world(settings=ServiceSettings(devices_per_user=1), timers=Timers(heartbeat=1)) as all_:
            async with CallClient(all_.service.signaling("alice"), timers=Timers(heartbeat=1)):
                page = await all_.browser.tab("alice")
                await page.send("Page.navigate", url=all_.url)
                await page.until("document.body.dataset.view === 'login'")
                token = (await all_.app.tokens.issue("alice"))[0]
                await page.run(f"({_COUNTED})({json.dumps(token)})")
                await page.until("dials.length === 3")
                assert await page.run("dials[2] - dials[0] >= 2000")
            await page.until("device.connected")
            await page.run("device.close()")

    asyncio.run(main())


_GUEST = """(async (token) => {
  const { joinSession } = await import('./page/statecore.js');
  globalThis.room = await joinSession(location.href, token, { type: 'audio' }, { device: 'tablet' });
  return room.participants.map((one) => [one.uid, one.device]);
})(%s)"""


def test_a_call_token_alone_lets_a_page_into_its_session(world: Any) -> None:
    """A guest's page is in without a login, the token can go on being used by its device and by no other, and leaving
    closes everything."""

    async def main() -> None:
        async with world(dev=False) as all_:
            page = await all_.browser.tab("guest")
            await page.send("Page.navigate", url=all_.url)
            await page.until("document.body.dataset.view === 'login'")
            token = json.dumps(await all_.service.generate_token("gästin", "room"))
            assert await page.run(_GUEST % token) == [["gästin", "tablet"]]
            assert await page.run("room.client.ice.answered.then(() => true)")
            await page.run("room.leave()")
            await page.until("room.client.closed")
            await page.off()
            all_.browser.refused = True
            other = (_GUEST % token).replace("tablet", "phone")
            assert await page.run(f"{other}.catch((error) => error.code)") == "token_foreign"
            assert await page.run(_GUEST % token) == [["gästin", "tablet"]]

    asyncio.run(main())
