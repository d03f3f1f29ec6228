"""The long way: every step of a call by itself, and what listeners on both sides hear of it."""

from __future__ import annotations

import asyncio

from statecore import Call, CallClient, CallListener, CallService, OngoingCallListener, Session
from statecore.errors import CallRejected
from statecore.testing import FakeMedia


def call_listener(who: str) -> CallListener:
    """Prints what a client hears of its calls."""
    return CallListener(
        on_incoming_call_received=lambda call: print(f"{who}: {call.initiator} calls ({call.type})"),
        on_outgoing_call_accepted=lambda call: print(f"{who}: {call.receiver} accepted"),
        on_outgoing_call_rejected=lambda call: print(f"{who}: came to nothing, {call.status}"),
        on_incoming_call_cancelled=lambda call: print(f"{who}: it rings no more, {call.status}"),
        on_call_ended_message_received=lambda call: print(f"{who}: the call is over, status {call.status}"),
    )


def session_listener(who: str, session: Session) -> OngoingCallListener:
    """Prints what a session tells. A handler may be async: it then runs in order with the others of its listener."""

    async def agree(session_id: str, initiator: str, responder: str) -> None:
        print(f"{who}: {initiator} asks {responder} for video")
        await session.accept_video()

    return OngoingCallListener(
        on_user_muted=lambda participant, by: print(f"{who}: {participant.uid} is muted"),
        on_user_unmuted=lambda participant, by: print(f"{who}: {participant.uid} is heard again"),
        on_call_switch_to_video_requested=agree,
        on_call_switched_to_video=lambda session_id, initiator, responder: print(f"{who}: now a video call"),
        on_message_received=lambda participant, data: print(f"{who}: {participant.uid} writes {data}"),
        on_session_left=lambda session, reason: print(f"{who}: left, {reason.what}"),
        on_call_ended=lambda reason: print(f"{who}: ended, {reason.what} by {reason.by}"),
    )


async def join(who: str, client: CallClient, call: Call) -> Session:
    """Get a call token, start the session with it, and listen."""
    token = await client.generate_token(call.session_id)
    session = await client.start_session(token, type=call.type)
    session.add_call_event_listener("print", session_listener(who, session))
    return session


async def talk(alice: CallClient, bob: CallClient) -> None:
    """Alice calls, Bob accepts, both join; then they do what people do in a call."""
    rings: asyncio.Queue[Call] = asyncio.Queue()
    bob.on("incoming_call_received", rings.put_nowait)
    call = await alice.initiate_call("bob", type="audio", metadata={"about": "lunch"})
    ringing = await rings.get()
    print(f"bob: it is about {ringing.metadata}")
    await ringing.accept()
    await call.answered()
    hers, his = await asyncio.gather(join("alice", alice, call), join("bob", bob, ringing))
    await hers.mute_audio()
    await hers.unmute_audio()
    await his.send_message({"text": "pizza?"})
    await hers.switch_to_video()
    await his.end()
    await hers.wait_ended()


async def main() -> None:
    """A call that is answered, and one that is rejected."""
    async with (
        CallService() as service,
        CallClient(service.signaling("alice"), FakeMedia()) as alice,
        CallClient(service.signaling("bob"), FakeMedia()) as bob,
    ):
        for who, client in (("alice", alice), ("bob", bob)):
            client.add_call_listener("print", call_listener(who))
        await talk(alice, bob)

        call = await alice.initiate_call("bob")
        await bob.reject_call(call.session_id)
        try:
            await call.answered()
        except CallRejected as error:
            print(f"alice: {error} ({error.call.status})")
        for entry in await service.call_log():
            print(f"log: {entry.initiator} to {entry.receiver}, {entry.type}, {entry.status}")


if __name__ == "__main__":
    asyncio.run(main())
