"""No ringing: whoever holds a good call token for a session is in. A guest needs nothing but one."""

from __future__ import annotations

import asyncio
import logging

from statecore import CallClient, CallService, OngoingCallListener, join_session
from statecore.errors import NotAParty, TokenError
from statecore.testing import FakeMedia
from statecore.tokens import Role


async def main() -> None:
    """A stand-up of three: two who have logged in, and a guest by the token alone."""
    async with (
        # Who may have a token for which session is the application's to say.
        CallService(authorize=lambda user, session_id: user != "mallory") as service,
        CallClient(service.signaling("alice"), FakeMedia()) as alice,
        CallClient(service.signaling("bob"), FakeMedia()) as bob,
        CallClient(service.signaling("mallory"), FakeMedia()) as mallory,
    ):
        # A higher role never comes from a client: the host application gives it.
        hosts = await service.generate_token("alice", "standup", role=Role.HOST)
        standup = await alice.start_session(hosts, type="audio")
        standup.add_call_event_listener(
            "print",
            OngoingCallListener(
                on_user_joined=lambda participant: print(f"{participant.uid} joined"),
                on_user_left=lambda participant, reason: print(f"{participant.uid} left"),
            ),
        )
        bobs = await bob.start_session(await bob.generate_token("standup"), type="audio")

        token = await service.generate_token("guest", "standup", lifetime=60)
        async with join_session(service.guest(token), token, FakeMedia(), type="audio") as session:
            print("here:", *(participant.uid for participant in session.participants))
            try:
                async with join_session(service.guest(token), token, FakeMedia(), type="audio"):
                    print("the same link twice")
            except TokenError as error:
                print(f"another device, {error.code}: {error}")
        print("known:", *(user.uid for user in await service.users()))

        for wrong in (token, token[:-4] + "AAAA", "not a token", ""):
            try:
                await mallory.start_session(wrong)
            except TokenError as error:
                print(f"refused, {error.code}: {error}")
        try:
            await mallory.generate_token("standup")
        except NotAParty as error:
            print(f"refused, {error.code}: {error}")

        await standup.end_for_all()
        reason = await bobs.wait_ended()
        print(f"bob: {reason.what} by {reason.by}")


if __name__ == "__main__":
    logging.getLogger("statecore").addHandler(logging.NullHandler())  # what is refused is printed above
    asyncio.run(main())
