"""Conditions of a flow that the application answers for, and a flow's own command that opens media early."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import attrs
import pytest

from statecore import RINGING, CallClient, CallService
from statecore.errors import CallUnanswered, InvalidArgument, StatecoreError, TokenLacksGrant
from statecore.flow import FLOWS, CloseMedia, Deadline, Mark, OpenMedia, Roles, Row, Tell, Trigger
from statecore.testing import FakeMedia, run_virtual

SAFE = RINGING.extend(
    "safe",
    triggers=[Trigger("open_safe", "user")],
    flags=["safe_open"],
    conditions=["trusted"],
    rows=[
        Row("active", "open_safe", "active", [Mark("safe_open")], when="trusted"),
        Row("active", "open_safe", "active", unless="trusted", refuse="token_lacks_grant"),
    ],
)


def test_the_application_decides_a_condition() -> None:
    """Asked once for each command whose rows name the condition, with user, session and data; only True is yes."""
    asked: list[tuple[str, Mapping[str, Any]]] = []
    answers = iter([False, "yes", 1, True])

    def trusted(user: str, _session: str, data: Mapping[str, Any]) -> Any:
        asked.append((user, data))
        return next(answers)

    async def main() -> list[bool]:
        flows = {**FLOWS, "safe": SAFE}
        told: asyncio.Queue[tuple[str, str, bool]] = asyncio.Queue()
        async with (
            CallService(flows=flows, conditions={"trusted": trusted}) as service,
            CallClient(service.signaling("alice"), FakeMedia(), flows=flows) as alice,
            CallClient(service.signaling("bob"), FakeMedia(), flows=flows) as bob,
        ):
            bob.on("incoming_call_received", _talk)
            async with alice.call("bob", flow="safe") as session:
                session.on("flag_changed", lambda who, flag, on: told.put_nowait((who.uid, flag, on)))
                for number in range(3):
                    with pytest.raises(TokenLacksGrant):
                        await session.trigger("open_safe", number=number)
                await session.mute_audio()
                await session.trigger("open_safe", number=3)
                assert await told.get() == ("alice", "safe_open", True)
                return ["safe_open" in who.flags for who in session.participants]

    assert run_virtual(main()) == [True, False]
    assert asked == [("alice", {"number": number}) for number in range(4)]


async def _talk(call: Any) -> None:
    async with call.answer() as session:
        await session.wait_ended()


def test_a_condition_that_cannot_be_asked(caplog: pytest.LogCaptureFixture) -> None:
    """What the application raises is logged, and the command is refused at once: nobody waits, and the call goes on."""

    def trusted(*_: object) -> bool:
        raise OSError("the list of friends is gone")

    async def main() -> float:
        flows = {**FLOWS, "safe": SAFE}
        async with (
            CallService(flows=flows, conditions={"trusted": trusted}) as service,
            CallClient(service.signaling("alice"), FakeMedia(), flows=flows) as alice,
            CallClient(service.signaling("bob"), FakeMedia(), flows=flows) as bob,
        ):
            bob.on("incoming_call_received", _talk)
            async with alice.call("bob", flow="safe") as session:
                began = asyncio.get_running_loop().time()
                with pytest.raises(StatecoreError) as refused:
                    await session.trigger("open_safe")
                assert refused.type is StatecoreError
                await session.mute_audio()
                assert alice.connected
                return asyncio.get_running_loop().time() - began

    assert run_virtual(main()) < 1
    assert "the list of friends is gone" in caplog.text
    assert {"session", "user", "device"} <= vars(caplog.records[-1]).keys()


def test_a_condition_that_no_flow_declares() -> None:
    """A misspelled name is an error when the service is made, not a condition that never holds."""
    with pytest.raises(InvalidArgument, match="trustd"):
        CallService(flows={**FLOWS, "safe": SAFE}, conditions={"trustd": lambda *_: True})


def _peeking() -> list[Row]:
    rows = [Row("peeking", "up", "peeking"), Row("ringing", "peek", "peeking", [OpenMedia()], when="authorized")]
    for row in RINGING.rows:
        if row.state == "ringing" and row.trigger != "join":
            close = () if row.reason is None else (CloseMedia(), Tell("session_left"), Tell("call_ended"))
            rows.append(attrs.evolve(row, state="peeking", effects=(*close, *row.effects)))
    return rows


PEEK = RINGING.extend(
    "peek_first",
    triggers=[Trigger("peek", "user", "be in before the answer")],
    roles=Roles(ringing=["ringing", "peeking"], joinable="accepted", media=["active", "peeking"]),
    deadlines=[Deadline("peeking", "ring", "ring_timeout")],
    rows=_peeking(),
)


def test_early_media_is_no_answer() -> None:
    """Who has media while it rings has not answered: the caller waits on, the ring times out, and the log says so."""

    async def main() -> tuple[str, float | None, float | None]:
        flows = {**FLOWS, "peek_first": PEEK}
        async with (
            CallService(flows=flows) as service,
            CallClient(service.signaling("alice"), FakeMedia(), flows=flows) as alice,
            CallClient(service.signaling("bob"), FakeMedia(), flows=flows) as bob,
        ):
            call = await alice.initiate_call("bob", flow="peek_first", timeout=1)
            token = await bob.generate_token(call.session_id)
            session = await bob.start_session(token, trigger="peek")
            assert session.state == "peeking"
            with pytest.raises(CallUnanswered):
                await call.answered()
            await session.wait_ended()
            assert len(await service.call_log()) == 1
            (entry,) = await service.call_log()
            return entry.status, entry.answered_at, entry.active_at

    assert run_virtual(main()) == ("unanswered", None, None)
