"""Recorded traces: nothing secret, read again, replayed through the core to the same transitions."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statecore import CallClient, CallService, MemoryLink, join_session
from statecore.cli.trace._timeline import timeline
from statecore.errors import CallRejected, InvalidTrace, SignalingRefused, StatecoreError
from statecore.flow import FLOWS
from statecore.testing import FakeMedia, VirtualClock, run_virtual
from statecore.trace import Trace, read, replay
from statecore.wire import Relayed, Welcome, encode

SECRETS = ("the secret word", "for your eyes", "v=0")


async def ringing(alice: CallClient, bob: CallClient) -> None:
    """A call with everything in it, ended by the caller."""
    over = asyncio.Event()

    async def answer(call: Any) -> None:
        async with call.answer() as session:
            await session.wait_ended()
        over.set()

    bob.on("incoming_call_received", answer)
    async with alice.call("bob", metadata={"note": SECRETS[0]}) as session:
        await session.mute_audio()
        await session.send_message({"text": SECRETS[1]})
        await session.trigger("raise_hand", note=SECRETS[1])
    await over.wait()


async def rejected(alice: CallClient, bob: CallClient) -> None:
    """A call that is declined."""
    bob.on("incoming_call_received", lambda call: bob.reject_call(call.session_id))
    call = await alice.initiate_call("bob")
    with pytest.raises(CallRejected):
        await call.answered()


async def unanswered(alice: CallClient, bob: CallClient) -> None:
    """A call that nobody takes."""
    call = await alice.initiate_call("bob", timeout=3)
    with pytest.raises(StatecoreError):
        await call.answered()


async def by_token(alice: CallClient, bob: CallClient) -> None:
    """Both meet by tokens alone."""
    sessions = [
        await client.start_session(await client.generate_token("meeting"), type="audio") for client in (alice, bob)
    ]
    for session in sessions:
        await session.leave()


def record(folder: Path, play: Callable[[CallClient, CallClient], Any]) -> list[Trace]:
    """What both sides' clients write down of a call."""
    files = [folder / f"{name}.jsonl" for name in ("alice", "bob")]

    async def main() -> None:
        clock = VirtualClock()
        async with (
            CallService(clock=clock) as service,
            CallClient(service.signaling("alice"), FakeMedia(), clock=clock, trace=files[0]) as alice,
            CallClient(service.signaling("bob"), FakeMedia(), clock=clock, trace=str(files[1])) as bob,
        ):
            await play(alice, bob)

    run_virtual(main())
    return [read(file) for file in files]


async def pressing(alice: CallClient, bob: CallClient) -> None:
    """Both meet, and what listeners are told comes from the shell alone: a button, a layout, a handler's fault."""
    sessions = [await client.start_session(await client.generate_token("meeting")) for client in (alice, bob)]
    sessions[0].on("layout_changed", lambda _: 1 // 0)
    sessions[0].set_layout("sidebar")
    sessions[0].press("call_end")
    alice.on("incoming_call_received", lambda _: 1 // 0)
    call = await bob.initiate_call("alice")
    await call.cancel()
    for session in sessions:
        await session.leave()


def test_a_trace_has_what_the_core_knows_nothing_of(tmp_path: Path) -> None:
    """What the client told by itself stands in the trace where it happened, with its session, also in the timeline; and
    what it did not tell does not: with a link that is closed on purpose none is lost."""
    alice = record(tmp_path, pressing)[0]
    told = [(did.what, did.session) for entry in alice.entries if entry.given == "told" for did in entry.did]
    assert told == [
        ("layout_changed", "meeting"), ("error", "meeting"), ("call_end_button_pressed", "meeting"), ("error", ""),
        ("connection_closed", ""),
    ]  # fmt: skip
    assert [entry.at for entry in alice.entries] == sorted(entry.at for entry in alice.entries)
    lines = [(line.session, *line.did) for line in timeline([alice])]
    assert ("meeting", "tell layout_changed") in lines
    assert ("", "tell connection_closed") in lines
    assert ("", "tell connection_lost") not in lines
    assert replay(alice) == []


def test_a_client_that_never_came_in_leaves_a_trace(tmp_path: Path) -> None:
    """Whoever is refused before anything else happened finds in the trace that its link failed, each time it tried; no
    file is left open. It is read and replayed like any other."""
    path = tmp_path / "alice.jsonl"

    class Refusing:
        user, device = "alice", "phone"

        async def connect(self) -> Any:
            raise SignalingRefused(why="not today")

    async def main() -> None:
        client = CallClient(Refusing(), clock=VirtualClock(), trace=path)
        for _ in range(2):
            with pytest.raises(SignalingRefused):
                await client.connect()

    run_virtual(main())
    trace = read(path)
    assert [did.what for entry in trace.entries for did in entry.did] == ["connection_failed"] * 2
    assert replay(trace) == []


def test_a_session_by_its_token_alone_is_recorded(tmp_path: Path) -> None:
    """`join_session` takes a trace as a client does."""
    path = tmp_path / "guest.jsonl"

    async def main() -> None:
        clock = VirtualClock()
        async with CallService(clock=clock) as service:
            token = await service.generate_token("guest", "meeting")
            async with join_session(service.guest(token), token, FakeMedia(), trace=path, type="audio") as session:
                await session.mute_audio()

    run_virtual(main())
    trace = read(path)
    assert trace.path("meeting") == ["idle", "accepted", "active", "ended"]
    assert replay(trace) == []


@pytest.mark.parametrize("play", [ringing, rejected, unanswered, by_token, pressing])
def test_a_replay_comes_to_the_same(tmp_path: Path, play: Callable[..., Any]) -> None:
    """The core, given a recorded device's inputs again, takes the same transitions and has the same effects."""
    for trace in record(tmp_path, play):
        assert len(trace.entries) > 4
        assert replay(trace) == []


def test_a_trace_tells_the_path_and_the_time(tmp_path: Path) -> None:
    """A trace knows its device, its sessions, and the states that each went through."""
    alice, bob = record(tmp_path, ringing)
    (session,) = alice.sessions
    assert (alice.user, bob.user, bob.sessions) == ("alice", "bob", [session])
    assert alice.path(session) == ["idle", "ringing", "accepted", "active", "ended"]
    assert bob.path(session)[-4:] == ["ringing", "accepted", "active", "ended"]
    assert [entry.at for entry in alice.entries] == sorted(entry.at for entry in alice.entries)
    assert alice.began_at <= alice.entries[0].at


def test_nothing_secret_is_written(tmp_path: Path) -> None:
    """No token, session description, data message or metadata is in a trace."""
    tokens: list[str] = []

    async def play(alice: CallClient, bob: CallClient) -> None:
        await ringing(alice, bob)
        tokens.append(await alice.generate_token("another"))
        async with await alice.start_session(tokens[0]):
            pass

    record(tmp_path, play)
    text = "".join(file.read_text() for file in tmp_path.iterdir())
    for secret in (*SECRETS, *tokens, "eyJ"):
        assert secret not in text


def test_a_data_message_that_is_none_is_not_written(tmp_path: Path) -> None:
    """Of what comes as a data message and is no JSON of ours, at most numbers are written."""
    path, ends = tmp_path / "alice.jsonl", list[Any]()

    def accept(channel: Any, _: str) -> None:
        ends.append(channel)
        channel.send(encode(Welcome("alice")))

    async def main() -> None:
        async with CallClient(MemoryLink("alice", "phone", accept), clock=VirtualClock(), trace=path):
            for body in ("a secret that is no JSON", '["a secret"]', '{"n": 1, "note": "a secret"}'):
                ends[0].send(encode(Relayed("S", "2", "data", body)))
            await asyncio.sleep(0.1)

    run_virtual(main())
    entries = [entry.input["message"] for entry in read(path).entries if entry.given == "Received"]
    assert [message["m"] for message in entries] == ["welcome", "relayed", "relayed", "relayed"]
    assert "secret" not in path.read_text()


def test_a_change_of_the_core_is_found(tmp_path: Path) -> None:
    """A replay names the line where it comes to something else than what was recorded."""
    record(tmp_path, ringing)
    lines = (tmp_path / "alice.jsonl").read_text().splitlines()
    number = next(place for place, line in enumerate(lines, 1) if '"active"]' in line)
    lines[number - 1] = lines[number - 1].replace('"active"]', '"ended"]')
    (difference,) = replay(read(lines))
    assert difference.line == number
    assert "recorded" in str(difference)
    assert "accepted -> ended" in str(difference)
    assert "accepted -> active" in str(difference)


def test_a_sink_that_fails_harms_no_call(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A trace that cannot be written is given up with one warning; the call goes on."""
    taken: list[str] = []

    def full(line: str) -> None:
        taken.append(line)
        raise OSError("disk full")

    async def main() -> None:
        clock = VirtualClock()
        async with (
            CallService(clock=clock) as service,
            CallClient(service.signaling("alice"), FakeMedia(), clock=clock, trace=full) as alice,
            CallClient(
                service.signaling("bob"), FakeMedia(), clock=clock, trace=tmp_path / "nowhere" / "bob.jsonl"
            ) as bob,
        ):
            await ringing(alice, bob)

    with caplog.at_level(logging.WARNING, "statecore.trace"):
        run_virtual(main())
    assert len(taken) == 1
    assert len([record for record in caplog.records if record.name == "statecore.trace"]) == 2


def test_what_a_crash_cut_off_is_left_out(tmp_path: Path) -> None:
    """A last line without its end is no error, nor is an empty one; anything else that is no JSON is."""
    whole = record(tmp_path, rejected)[0]
    file = tmp_path / "alice.jsonl"
    text = file.read_text()
    file.write_text(text + '{"at":12,"in":"Ti')
    assert read(file) == whole
    file.write_text(text + "\n\n")
    assert read(file) == whole
    file.write_text(text + '{"at":12,"in":"Ti\n')
    with pytest.raises(InvalidTrace, match="no JSON"):
        read(file)


HEAD = '{"trace":1,"user":"a","device":"d","epoch":"e","flows":{},"timers":{},"began":0,"at":0}'


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([], "empty"),
        (["[]"], "no JSON object"),
        (["{}"], "version 1"),
        (['{"trace":2}'], "version 1"),
        (['{"trace":1}'], "lacks 'user'"),
        ([HEAD.replace('"a"', "7")], "no text"),
        ([HEAD.replace('"at":0', '"at":0.5')], "no whole number"),
        ([HEAD, "{}"], "lacks 'at'"),
        ([HEAD, '{"at":1,"in":"Tick","given":3}'], "not iterable"),
        ([HEAD, '{"at":1,"in":"Tick","given":{},"did":[["a","b","c","d"]]}'], "argument"),
    ],
)
def test_what_is_no_trace_is_refused(lines: list[str], why: str) -> None:
    """A file that is no trace is refused with the line and the reason."""
    with pytest.raises(InvalidTrace, match=why):
        read(lines)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"at":1,"in":"Nothing","given":{}}', "no input"),
        ('{"at":1,"in":"Do","given":{}}', "session"),
        ('{"at":1,"in":"confirmed","given":{"at":"now"}}', "no whole number"),
        ('{"at":1,"in":"confirmed","given":{}}', "lacks 'at'"),
    ],
)
def test_what_cannot_be_replayed_is_refused(line: str, why: str) -> None:
    """An entry that is no input of an endpoint is refused when the trace is replayed."""
    with pytest.raises(InvalidTrace, match=why):
        replay(read([HEAD, line]))


def test_a_trace_is_replayed_with_its_own_flows(tmp_path: Path) -> None:
    """A trace that was recorded with another table than the one given is refused."""
    trace = record(tmp_path, rejected)[0]
    with pytest.raises(InvalidTrace, match="ringing"):
        replay(trace, {"session": FLOWS["session"]})


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    """A file that is no text is refused like any other that is no trace."""
    (tmp_path / "x").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidTrace, match="not text"):
        read(tmp_path / "x")


ODD = st.sampled_from([None, True, -1, 0.5, float("nan"), 2**70, "", "Do", [], ["x"], {}, {"x": []}, {"at": 1}])
STEPS = (
    json.loads(HEAD),
    {"at": 1, "in": "Tick", "given": {}, "moves": {"s": ["idle"]}, "did": [["send", "x", "s"]]},
    {"at": 2, "in": "Do", "given": {"session": "s", "trigger": "end"}},
    {"at": 3, "in": "Received", "given": {"message": {"m": "token", "session": "s", "n": 1, "token": "x"}}},
    {"at": 4, "in": "confirmed", "given": {"at": 7}},
)


@st.composite
def damaged(draw: st.DrawFn) -> list[str]:
    """The lines of a trace with fields replaced, left out and added anywhere."""
    lines = copy.deepcopy(STEPS)
    for _ in range(draw(st.integers(1, 3))):
        line = draw(st.sampled_from(lines))
        inner = draw(st.sampled_from([line, *(value for value in line.values() if isinstance(value, dict))]))
        key = draw(st.sampled_from([*sorted(inner), "more"]))
        if draw(st.booleans()):
            inner[key] = copy.deepcopy(draw(ODD))
        else:
            inner.pop(key, None)
    return [json.dumps(line) for line in lines]


@given(damaged())
def test_the_reader_refuses_or_reads(lines: list[str]) -> None:
    """Whatever stands in a trace, it is read and replayed, or refused with InvalidTrace; never anything else."""
    with contextlib.suppress(InvalidTrace):
        replay(read(lines))
