"""A contact centre: customers wait in a queue, agents hold them, ask an expert, hand them over, and write a note after.

The queue is a user, and its agents are that user's devices: a call rings at all of them, and the first who accepts has
it. A consultation is a call of its own, so that the customer hears nothing of it; handing over is a row of the flow
that rings a further user into the customer's call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from importlib.util import find_spec

import attrs

from statecore import RINGING, Call, CallClient, CallService, Participant, Reason, ServiceSettings, Session
from statecore.errors import UnknownUser
from statecore.flow import (
    FLOWS,
    Answer,
    CloseMedia,
    Custom,
    Deadline,
    Effect,
    Fire,
    Invite,
    Mark,
    Release,
    Row,
    Tell,
    Trigger,
    Withdraw,
)
from statecore.ports import MediaAdapter
from statecore.testing import FakeMedia, Plan, Service
from statecore.testing.check import Scenario, does

# --- the flow: the ringing flow, whose caller is the customer, and whose callees are agents and experts ---------------

OVER = (Release(), Tell("call_ended_message_received"), Tell("session_left"), Tell("call_ended"))
CALLED_OFF: tuple[Effect, ...] = (Withdraw(), Fire("cancelled", "others"))
DONE: tuple[Effect, ...] = (Answer("left"), CloseMedia(), Mark("holding", False), Mark("transferring", False))
NO = {"reject", "reject_busy", "end", "leave"}
UNUSED = {"rejected", "rejected_busy"}
CUSTOMER_LEFT = {"hangup", "peer_lost", "peer_failed"}


def _fires(row: Row, *instead: Effect) -> tuple[Effect, ...]:
    """A row's effects, with others in place of what it fires."""
    return (*(effect for effect in row.effects if not isinstance(effect, Fire)), *instead)


def of_ringing() -> Iterator[Row]:
    """The ringing flow's rows, where a third may be rung, and an agent's no is not the queue's."""
    for row in RINGING.rows:
        fires = any(isinstance(effect, Fire) for effect in row.effects)
        if row.trigger in UNUSED:
            continue
        if row.state == "ringing" and row.trigger in NO and row.unless:
            passes = [effect for effect in row.effects if not isinstance(effect, Answer | Fire)]
            yield attrs.evolve(row, effects=passes, unless=("caller", "other_transferring"))
            refused = _fires(row, Fire("rejected_elsewhere", "siblings"), Fire("declined", "peers"))
            yield attrs.evolve(row, effects=refused, when="other_transferring")
        elif row.state == "active" and row.trigger in CUSTOMER_LEFT:
            yield attrs.evolve(row, when="caller")
        elif row.state == "accepted" and row.reason is not None and fires:
            yield attrs.evolve(row, effects=(*row.effects, *CALLED_OFF), unless="other_transferring")
            yield attrs.evolve(row, effects=_fires(row, Fire("declined", "peers")), when="other_transferring")
        elif row.state == "active" and row.reason is not None:
            yield attrs.evolve(row, effects=(*row.effects, *CALLED_OFF))
        else:
            yield row


def holding() -> Iterator[Row]:
    """Hold and resume: neither side sends while the customer is held."""
    back = (Mark("holding", False), Fire("taken_back", "others"))
    yield Row(
        "active", "hold", "active", [Mark("holding"), Fire("put_on_hold", "others")], unless=("caller", "holding")
    )
    yield Row("active", "put_on_hold", "active", [Mark("held")], when="caller")
    yield Row("active", "resume", "active", back, when="holding", unless="transferring")
    yield Row(
        "active",
        "resume",
        "active",
        [Mark("transferring", False), *CALLED_OFF, *back],
        when=("holding", "transferring"),
    )
    yield Row("active", "taken_back", "active", [Mark("held", False)], when="caller")


def transferring() -> Iterator[Row]:
    """A held customer is handed over: the other user is rung into this call, and takes the agent's place."""

    def transfer(*effects: Effect, when: tuple[str, ...] = (), unless: tuple[str, ...] = (), **more: str) -> Row:
        guard = {"when": ("holding", *when), "unless": ("caller", "transferring", *unless)}
        return Row("active", "transfer", "active", effects, **guard, **more)  # type: ignore[arg-type]

    yield transfer(Mark("transferring"), Invite(), when=("known",), unless=("to_self", "present", "busy"))
    yield transfer(unless=("known",), refuse="unknown_user")
    yield transfer(when=("known", "to_self"), refuse="calling_self")
    yield transfer(when=("known", "present"), unless=("to_self",), refuse="already_in_call")
    yield transfer(when=("known", "busy"), unless=("to_self", "present"), refuse="user_busy")
    for trigger, fires in (
        ("declined", ()),
        ("unanswered", ()),
        ("transfer_timeout", (Fire("unanswered", "others"), Fire("cancelled", "others"))),
    ):
        yield Row("active", trigger, "active", [Mark("transferring", False), Withdraw(), *fires], when="transferring")
    over = (Answer("left"), CloseMedia(), *OVER)
    yield Row("accepted", "cancelled", "ended", over, unless="caller", reason=Reason.CANCELLED)
    # The expert's media works: the customer is connected, and the agent is out.
    yield Row("active", "connect", "active", [Mark("held", False)], when=("caller", "held"))
    yield Row("active", "connect", "wrap_up", [*DONE, Custom("wrap_up")], when="transferring", unless="caller")


def wrapping_up() -> Iterator[Row]:
    """The customer is gone, and the agent has something to write: free again when it is done, or after a while."""
    for trigger in sorted(CUSTOMER_LEFT):
        effects = [*DONE, *CALLED_OFF, Custom("wrap_up")]
        yield Row("active", trigger, "wrap_up", effects, unless="caller")
    hangs_up = [*DONE, *CALLED_OFF, Fire("hangup", "others"), Custom("wrap_up")]
    yield Row("active", "hang_up", "wrap_up", hangs_up, unless="caller")
    for trigger in ("done", "written", "dismissed"):
        yield Row("wrap_up", trigger, "ended", OVER, reason=Reason.HANGUP)
    for trigger in ("end", "leave", "cancel"):
        yield Row("wrap_up", trigger, "ended", OVER, reason=Reason.HANGUP, decider="endpoint")
    yield Row("wrap_up", "lost", "ended", OVER, reason=Reason.LOST, decider="endpoint")


SILENT = ("held", "holding")
FLOW = attrs.evolve(
    RINGING,
    name="contact_centre",
    rows=[*of_ringing(), *holding(), *transferring(), *wrapping_up()],
    triggers=[
        *(trigger for trigger in RINGING.triggers if trigger.name not in UNUSED),
        Trigger("hold", "user", "let the customer wait"),
        Trigger("resume", "user", "go on with the customer"),
        Trigger("put_on_hold", "leg", "the agent lets this one wait"),
        Trigger("taken_back", "leg", "the agent goes on"),
        Trigger("transfer", "user", "hand the customer over: data `user`"),
        Trigger("declined", "leg", "the one who was to take over did not"),
        Trigger("transfer_timeout", "timer", "nobody took over in time"),
        Trigger("hang_up", "user", "end it with the customer, and write the note"),
        Trigger("done", "user", "the note is written"),
        Trigger("written", "timer", "there was time enough for a note"),
    ],
    flags=[*RINGING.flags, *SILENT, "transferring"],
    captures=[attrs.evolve(each, off=(*each.off, *SILENT)) for each in RINGING.captures],
    deadlines=[
        *RINGING.deadlines,
        Deadline("active", "ring", "transfer_timeout", "transferring"),
        Deadline("wrap_up", 20.0, "written"),
    ],
)
"""A customer calls a queue; one of its agents answers, may hold, consult and hand over, and writes a note after it."""
FLOWS_HERE = {**FLOWS, FLOW.name: FLOW}
SETTINGS = ServiceSettings(line_capacity=20)
"""The queue is one user, who takes part in many calls."""

# --- what `statecore check examples/contact_centre.py:FLOW` tries besides ---------------------------------------------


def cared_for(service: Service) -> None:
    """Who talks, talks with one; who is held, is held by that one; nobody else is rung unless to take over."""
    record = service.record("S")
    customer, *others = [leg.control for leg in record.legs]
    talking = [control for control in others if control.state == "active"]
    if customer.state == "active":
        assert len(talking) == 1
        assert ("held" in customer.flags) == ("holding" in talking[0].flags)
        rung = any(each.state == "ringing" for each in record.invitations)
        assert not rung or "transferring" in talking[0].flags


WHO = {"phone": "carol", "anna": "support", "dora": "dora"}
HELD = (
    does("phone", "initiate", flow=FLOW.name, receiver="support"), does("anna", "accept"),
    does("phone", "join", token="given"), does("anna", "join", token="given"), does("anna", "hold"),
)  # fmt: skip
OVER_AND_OUT = tuple(does(who, "end", *FLOW.states[:-1], again=True) for who in WHO)


def hands_over(user: str) -> Plan:
    """Anna hands the customer over."""
    return does("anna", "transfer", "active", data={"user": user})


SCENARIOS = (
    Scenario(
        name="handed over", help="a held customer, and an expert who may take over", devices=WHO, begun=len(HELD),
        plans=(
            *HELD, hands_over("dora"), does("anna", "resume", "active"), does("dora", "accept", "ringing"),
            does("dora", "reject", "ringing"), does("dora", "join", "accepted", token="given"), *OVER_AND_OUT,
        ),
        faults={"failures": 1}, always=cared_for, flows=FLOWS_HERE, settings=SETTINGS,
    ),
    Scenario(
        name="declined", help="every word by which an expert does not take over", devices=WHO, begun=len(HELD) + 1,
        plans=(
            *HELD, hands_over("dora"), does("dora", "accept", "ringing"),
            *(does("dora", word, "ringing", "accepted") for word in ("reject", "reject_busy", "leave", "cancel")),
            *OVER_AND_OUT,
        ),
        timers=False, always=cared_for, flows=FLOWS_HERE, settings=SETTINGS,
    ),
    Scenario(
        name="not handed over", help="to whom a held customer cannot be handed over", devices=WHO | {"d1": "dave"},
        begun=len(HELD) + 1,
        plans=(
            *HELD, does("dora", "initiate", session="T", flow=FLOW.name, receiver="dave"),
            *(hands_over(user) for user in ("dora", "carol", "support", "bill")), *OVER_AND_OUT,
            does("d1", "end", "ringing", session="T"), does("dora", "end", "ringing", session="T"),
        ),
        timers=False, always=cared_for, flows=FLOWS_HERE,
    ),
)  # fmt: skip
_FAILS = "an expert whose media fails has declined, and nobody else's can before all talk"
_ALONE = "nobody talks alone: who is left is out, or writes a note"
UNREACHED = {
    (FLOW.name, "active", "peer_failed", "ended"): _FAILS,
    (FLOW.name, "active", "peer_failed", "wrap_up"): _FAILS,
    (FLOW.name, "active", "idle_timeout", "ended"): _ALONE,
}
"""Rows that no call takes, and why: they are there since a state's ways out are the same for all."""

# --- the program ------------------------------------------------------------------------------------------------------

Say = Callable[[str], None]


class Agent:
    """One who answers customers: rings with the others of the queue, and takes one customer at a time."""

    def __init__(self, name: str, client: CallClient, say: Say) -> None:
        self.name = name
        self.client = client
        self.say = say
        self.rings: asyncio.Queue[Call] = asyncio.Queue()
        self.wraps_up = asyncio.Event()
        client.on("incoming_call_received", self.rings.put_nowait)
        client.on("incoming_call_cancelled", lambda call: say(f"{name}: rings no more, {call.end_reason.what}"))

    async def take(self) -> Session:
        """Answer who has waited longest."""
        call = await self.rings.get()
        await call.accept()
        session = await self.client.start_session(await self.client.generate_token(call.session_id), type="audio")
        session.on("custom", self.told)
        self.say(f"{self.name}: talks with {call.initiator}")
        return session

    def told(self, _wrap_up: str, _data: str) -> None:
        """The customer is gone, or somebody else's."""
        self.say(f"{self.name}: writes a note")
        self.wraps_up.set()

    async def write(self, session: Session) -> None:
        """Write the note, and be free again."""
        await self.wraps_up.wait()
        self.wraps_up.clear()
        await session.trigger("done")
        self.say(f"{self.name}: is free again")

    async def consult(self, agent: Agent) -> None:
        """Ask somebody, in a call that the customer has no part in."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(agent.advise())
            async with self.client.call(agent.name, type="audio"):
                self.say(f"{self.name}: asks {agent.name}")

    async def advise(self) -> None:
        """Answer a colleague, and listen until he knows enough."""
        async with (await self.rings.get()).answer() as session:
            await session.wait_ended()


async def customer(client: CallClient, say: Say, satisfied: asyncio.Event) -> None:
    """Call, wait in the queue, talk until satisfied."""
    name = client.user.uid

    def held(who: Participant, flag: str, on: bool) -> None:
        if (who.uid, flag) == (name, "held"):
            say(f"{name}: {'is held' if on else 'is heard again'}")

    say(f"{name}: calls")
    async with client.call("support", type="audio", flow=FLOW.name) as session:
        session.on("flag_changed", held)
        session.on("user_joined", lambda who: say(f"{name}: meets {who.uid}"))
        await satisfied.wait()
        say(f"{name}: hangs up")


async def work(anna: Agent, ben: Agent, dora: Agent, carol: CallClient, dave: CallClient, say: Say) -> None:
    """Two customers, two agents, one expert."""
    satisfied = asyncio.Event()
    async with asyncio.TaskGroup() as customers:
        customers.create_task(customer(carol, say, satisfied))
        hers = await anna.take()
        await ben.rings.get()
        customers.create_task(customer(dave, say, satisfied))
        await (await ben.rings.get()).reject()
        say("ben: passes")
        await hers.trigger("hold")
        await anna.consult(dora)
        try:
            await hers.trigger("transfer", user="bill")
        except UnknownUser as error:
            say(f"anna: {error}")
        await hers.trigger("transfer", user="dora")
        taken_over = await dora.take()
        await anna.write(hers)
        his = await anna.take()
        satisfied.set()
    await asyncio.gather(anna.write(his), dora.write(taken_over))


async def scene(media: Callable[[str], MediaAdapter], say: Say = print) -> None:
    """A morning at the contact centre."""
    async with CallService(flows=FLOWS_HERE, settings=SETTINGS) as service, AsyncExitStack() as stack:

        async def client(user: str, device: str) -> CallClient:
            link = service.signaling(user, device)
            return await stack.enter_async_context(CallClient(link, media(device), flows=FLOWS_HERE))

        anna = Agent("anna", await client("support", "anna"), say)
        ben = Agent("ben", await client("support", "ben"), say)
        dora = Agent("dora", await client("dora", "dora"), say)
        await work(anna, ben, dora, await client("carol", "phone"), await client("dave", "phone"), say)


def best_media(_name: str) -> MediaAdapter:
    """WebRTC if it is installed, else media in memory."""
    if find_spec("aiortc") is None:
        return FakeMedia()
    from statecore_aiortc import AiortcMedia, Tone  # noqa: PLC0415 - only if there is aiortc

    return AiortcMedia(audio=Tone(440))


if __name__ == "__main__":
    asyncio.run(scene(best_media))
