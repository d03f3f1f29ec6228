"""A flow of one's own: the ringing flow, and a state `held` in which the call waits. Drawn, then run as a real call."""

from __future__ import annotations

import asyncio

import attrs

from statecore import RINGING, Call, CallClient, CallService, Session
from statecore.diagram import mermaid
from statecore.errors import IllegalTransition
from statecore.flow import FLOWS, Custom, Fire, Mark, Roles, Row, Trigger
from statecore.testing import FakeMedia

# Whoever holds sends nothing meanwhile, and is the only one who can resume.
SILENT = (Mark("holding"), Mark("audio_muted"), Mark("video_paused"))
HEARD = (Mark("holding", False), Mark("audio_muted", False), Mark("video_paused", False))

HOLD = RINGING.extend(
    "hold",
    triggers=[
        Trigger("hold", "user", "let the other side wait"),
        Trigger("resume", "user", "go on"),
        Trigger("put_on_hold", "leg", "the other side lets this one wait"),
        Trigger("taken_back", "leg", "the other side goes on"),
    ],
    flags=["holding"],
    roles=Roles(ringing="ringing", joinable="accepted", media=["active", "held"]),
    rows=[
        Row("active", "hold", "held", [*SILENT, Fire("put_on_hold", "others"), Custom("held")]),
        Row("active", "put_on_hold", "held", [Custom("held")]),
        Row("held", "resume", "active", [*HEARD, Fire("taken_back", "others"), Custom("resumed")], when="holding"),
        Row("held", "taken_back", "active", [Custom("resumed")], unless="holding"),
        Row("held", "up", "held"),
        # A call that waits can end in every way in which an active one can.
        *(attrs.evolve(row, state="held") for row in RINGING.rows if (row.state, row.to) == ("active", "ended")),
    ],
)
FLOWS_HERE = {**FLOWS, HOLD.name: HOLD}
# Rows that no call takes, and why; `statecore check examples/own_flow.py:HOLD` fails for any other that it never takes.
UNREACHED = {
    (HOLD.name, "held", "up", "held"): "a device reports once; the row keeps a report that crosses harmless",
    (HOLD.name, "held", "peer_failed", "ended"): "who fails when both have talked is lost",
    (HOLD.name, "held", "idle_timeout", "ended"): "nobody is alone in a call of two",
}


def report(who: str, session: Session) -> None:
    """Print what the flow tells of itself: the effect `Custom` becomes the event `custom`."""
    session.on("custom", lambda name, data: print(f"{who}: {name}; now {session.state}"))


async def main() -> None:
    """Draw the flow, then call with it."""
    print(*(line for line in mermaid(HOLD, guards=False).splitlines() if "held" in line), sep="\n")
    async with (
        CallService(flows=FLOWS_HERE) as service,
        CallClient(service.signaling("alice"), FakeMedia(), flows=FLOWS_HERE) as alice,
        CallClient(service.signaling("bob"), FakeMedia(), flows=FLOWS_HERE) as bob,
    ):

        async def answer(call: Call) -> None:
            async with call.answer() as session:
                report("bob", session)
                await session.wait_ended()

        bob.on("incoming_call_received", answer)
        async with alice.call("bob", flow="hold") as session:
            report("alice", session)
            await session.trigger("hold")
            try:
                await session.raise_hand()
            except IllegalTransition as error:
                print("alice:", error)
            await session.trigger("resume")
        print(f"ended: {(await session.wait_ended()).what}")


if __name__ == "__main__":
    asyncio.run(main())
