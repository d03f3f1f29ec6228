"""An intercom: the flat sees and hears who rings before anybody answers, and opens the door by a code."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

import attrs

from statecore import RINGING, Call, CallClient, CallService, Reason, Session
from statecore.errors import InvalidArgument
from statecore.flow import (
    FLOWS,
    Answer,
    Capture,
    CloseMedia,
    Custom,
    Deadline,
    Fire,
    Mark,
    OpenMedia,
    Release,
    Roles,
    Row,
    Tell,
    Trigger,
)
from statecore.ports import MediaAdapter
from statecore.switchboard import End
from statecore.testing import FakeMedia
from statecore.testing.check import Scenario, does

# --- the flow: the ringing flow, less what a door has no use for, with early media and a lock ------------------------

EARLY = ("opening", "looking")
LEFT = (Tell("session_left"), Tell("call_ended"))
OVER = (CloseMedia(), Release(), Tell("call_ended_message_received"), *LEFT)
SENDS = (Mark("talking"), Mark("showing"))
UNUSED = {
    "pause_video", "resume_video", "start_screen_share", "stop_screen_share", "raise_hand", "lower_hand",
    "switch_to_video", "accept_video", "decline_video", "withdraw_video", "video_agreed", "video_declined",
    "consent_timeout",
}  # fmt: skip


def of_ringing() -> list[Row]:
    """What stays of the ringing flow; who joins after the answer sends from then on, the flat only sound."""
    rows = []
    for row in RINGING.rows:
        if row.trigger in UNUSED or (row.state, row.trigger) == ("ringing", "join"):
            continue
        if OpenMedia() in row.effects:
            rows.append(attrs.evolve(row, effects=(*row.effects, *SENDS), when=(*row.when, "caller")))
            rows.append(attrs.evolve(row, effects=(*row.effects, SENDS[0]), unless=(*row.unless, "caller")))
        else:
            rows.append(row)
    return rows


def early(state: str) -> list[Row]:
    """While it rings, with media open: the door is seen and heard. It may end in every way in which a ring may."""
    yes = (Answer("joined"), Mark("talking"), Fire("answered_elsewhere", "siblings"), Fire("answered", "peers"))
    ends = [row for row in RINGING.rows if row.state == "ringing" and row.reason is not None]
    gives_up = (Fire("cancelled", "others"), *OVER)
    return [
        Row(state, "up", "looking", [Mark("connected")], when="joined"),
        Row(state, "accept", "accepted", yes, unless="caller"),
        Row(state, "failed", "ended", gives_up, when="caller", reason=Reason.FAILED_MEDIA),
        Row(state, "failed", "ended", OVER, unless="caller", reason=Reason.FAILED_MEDIA),
        *(attrs.evolve(row, state=state, effects=(CloseMedia(), *row.effects, *LEFT)) for row in ends),
    ]


def unlocked() -> list[Row]:
    """The door is open for a moment; all else is as in `active`."""
    rows = [row for row in of_ringing() if row.state == "active"]
    return [attrs.evolve(row, state="unlocked", to="unlocked" if row.to == "active" else row.to) for row in rows]


ACCEPTED = Tell("outgoing_call_accepted")
FLOW = attrs.evolve(
    RINGING,
    name="intercom",
    triggers=[
        *(trigger for trigger in RINGING.triggers if trigger.name not in UNUSED),
        Trigger("look", "user", "see and hear who rings, and send nothing"),
        Trigger("dtmf", "user", "press keys: data `digits`"),
        Trigger("unlock", "leg", "the code was right"),
        Trigger("relock", "timer", "the door has been open long enough"),
    ],
    conditions=["code_right"],
    flags=["audio_muted", "talking", "showing", "open"],
    captures=[
        Capture(kind="audio", on="talking", off="audio_muted"),
        Capture(kind="video", on="showing"),
    ],
    # Early media: states that ring although media opens (`opening`) and is up (`looking`).
    roles=Roles(ringing=["ringing", *EARLY], joinable=["accepted", "opening"], media=["active", "unlocked", "looking"]),
    deadlines=[
        *(deadline for deadline in RINGING.deadlines if deadline.flag is None),
        *(Deadline(state, "ring", "ring_timeout") for state in EARLY),
        Deadline("unlocked", 3.0, "relock"),
    ],
    rows=[
        *of_ringing(),
        *early("opening"),
        *early("looking"),
        *unlocked(),
        # The door joins as it rings, the flat may look.
        Row("ringing", "join", "opening", [OpenMedia(), *SENDS], when=("caller", "authorized")),
        Row("ringing", "join", "ringing", when="caller", unless="authorized", refuse="token"),
        Row("ringing", "join", "ringing", unless="caller", refuse="not_accepted"),
        Row("ringing", "look", "opening", [OpenMedia()], when="authorized", unless="caller"),
        Row("ringing", "look", "ringing", unless=("caller", "authorized"), refuse="token"),
        # The answer at the door: if media is up on both sides already, that is all it takes.
        Row("opening", "answered", "accepted", [ACCEPTED], when="caller"),
        Row("looking", "answered", "accepted", [ACCEPTED], when="caller", unless="ready"),
        Row(
            "looking", "answered", "active", [ACCEPTED, Fire("connect", "others"), Tell("session_joined")],
            when=("caller", "ready"),
        ),
        # Keys are the flat's, the lock is the door's.
        Row("active", "dtmf", "active", [Fire("unlock", "others")], when="code_right", unless="caller"),
        Row("active", "dtmf", "active", unless=("caller", "code_right"), refuse="invalid_argument"),
        Row("active", "unlock", "unlocked", [Mark("open"), Custom("door", "open")], when="caller"),
        Row("unlocked", "relock", "active", [Mark("open", False), Custom("door", "locked")]),
    ],
)  # fmt: skip
"""Somebody rings at a door, and whoever is in the flat may look, answer, and open."""
FLOWS_HERE = {**FLOWS, FLOW.name: FLOW}


def code_right(user: str, _session: str, data: Mapping[str, Any]) -> bool:
    """The service checks the keys that were pressed: neither the flat nor the door knows the code."""
    return user == "flat" and data.get("digits") == "42#"


# --- what `statecore check examples/intercom.py:FLOW` tries besides ---------------------------------------------------


def opened(role: str, *words: str, **faults: int) -> Scenario:
    """The door is open, and it says some of these words. It has joined by a token of this role."""
    way = (
        does("door", "initiate", flow=FLOW.name, receiver="flat"), does("door", "join", token=role, longest=9000),
        does("hall", "look", token="fresh"), does("hall", "accept"), does("hall", "dtmf", data={"digits": "42#"}),
    )  # fmt: skip
    hangs_up = (does(who, "end", *FLOW.states[:-1], again=True) for who in ("door", "hall"))
    return Scenario(
        name=f"opened by a {role}", help="a door that is open", devices={"door": "door", "hall": "flat"},
        begun=len(way), plans=(*way, *(does("door", word, "unlocked") for word in words), *hangs_up),
        asks=(End("S"),), faults=faults, conditions={"code_right": code_right}, flows=FLOWS_HERE,
    )  # fmt: skip


GIVES_UP = ("cancel", "leave", "reject", "reject_busy")
SCENARIOS = (
    opened("host", "end_for_all", "mute_audio", "unmute_audio", "accept", failures=1, crashes=1),
    opened("viewer", "end_for_all", "join", "unmute_audio", *GIVES_UP, asks=1),
)
_ONCE = "a device reports once; the row keeps a report that crosses harmless"
UNREACHED = {
    (FLOW.name, "looking", "up", "looking"): _ONCE,
    (FLOW.name, "unlocked", "up", "unlocked"): _ONCE,
    (FLOW.name, "unlocked", "peer_failed", "ended"): "both talk before the door opens, and who fails then is lost",
    (FLOW.name, "unlocked", "idle_timeout", "ended"): "nobody is alone in a call of two",
}
"""Rows that no call takes, and why: they are there since a state's ways out are the same for all."""

# --- the program ------------------------------------------------------------------------------------------------------


async def door(client: CallClient, say: Callable[[str], None]) -> None:
    """Ring, show who is there at once, and obey the lock."""
    call = await client.initiate_call("flat", flow="intercom")
    session = await client.start_session(await client.generate_token(call.session_id))
    say(f"door: rings, with open eyes and ears; {session.state}")
    session.on("custom", lambda _, what: say(f"door: the lock is {what}; {session.state}"))
    await call.answered()
    async for _ in session.audio("flat"):
        break
    say("door: somebody answered, and is heard")
    say(f"door: over, {(await session.wait_ended()).what}")


async def seen(session: Session) -> None:
    """Wait until the door is seen and heard."""
    here = asyncio.Event()
    with session.on("user_joined", lambda _: here.set()):
        if len(session.participants) == 1:
            await here.wait()
    async for _ in session.video("door"):
        break
    async for _ in session.audio("door"):
        break


async def flat(client: CallClient, call: Call, say: Callable[[str], None]) -> None:
    """Look first, then answer, open the door and hang up."""
    session = await client.start_session(await client.generate_token(call.session_id), trigger="look")
    await seen(session)
    say(f"flat: sees and hears the door, and is not heard; {session.state}")
    await call.accept()
    say("flat: answers")
    opened: asyncio.Queue[bool] = asyncio.Queue()
    session.on("flag_changed", lambda _, flag, on: opened.put_nowait(on) if flag == "open" else None)
    try:
        await session.trigger("dtmf", digits="11#")
    except InvalidArgument:
        say("flat: a wrong code is refused")
    await session.trigger("dtmf", digits="42#")
    if await opened.get():
        say("flat: the door is open")
    await session.end()


async def scene(media: Callable[[str], MediaAdapter], say: Callable[[str], None] = print) -> None:
    """Somebody rings, is seen, and is let in."""
    async with (
        CallService(flows=FLOWS_HERE, conditions={"code_right": code_right}) as service,
        CallClient(service.signaling("door"), media("door"), flows=FLOWS_HERE) as outside,
        CallClient(service.signaling("flat"), media("flat"), flows=FLOWS_HERE) as inside,
    ):
        inside.on("incoming_call_received", lambda call: flat(inside, call, say))
        await door(outside, say)


def best_media(_name: str) -> MediaAdapter:
    """WebRTC if it is installed, else media in memory."""
    if find_spec("aiortc") is None:
        return FakeMedia()
    from statecore_aiortc import AiortcMedia, Picture, Tone  # noqa: PLC0415 - only if there is aiortc

    return AiortcMedia(audio=Tone(440), video=Picture())


if __name__ == "__main__":
    asyncio.run(scene(best_media))
