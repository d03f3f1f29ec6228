"""The browser's endpoint and the Python one are one machine: the same events, the same states, the same effects."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import statecore_web
from statecore import wire
from statecore.endpoint import (
    Await,
    Do,
    Emit,
    Endpoint,
    EndpointMachine,
    LinkDown,
    LinkUp,
    Media,
    Received,
    Say,
    Send,
    Signal,
    Tick,
)
from statecore.flow import FLOWS
from statecore.model import Reason
from statecore.tokens import GRANTS

PAGE = Path(statecore_web.__file__).parent / "page"
WHO = ("alice", "phone", "e1")
CORE = EndpointMachine()


class Other:
    """The browser's endpoint, in a process of its own."""

    def __init__(self, node: str) -> None:
        program = [node, str(Path(__file__).parent / "differential.mjs"), str(PAGE)]
        self.process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, steps: Sequence[tuple[Any, int]]) -> list[dict[str, Any]]:
        """What it does with these inputs, each at its time."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        line = json.dumps({"who": WHO, "steps": [[_input(given), now] for given, now in steps]})
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answers: list[dict[str, Any]] = json.loads(self.process.stdout.readline())
        return answers

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def other(node: str) -> Iterator[Other]:
    """The browser's endpoint under Node."""
    made = Other(node)
    yield made
    made.close()


# --- one form for both ------------------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """As JSON would say it: nothing left out, sets in order."""
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _message(message: Any) -> Any:
    return json.loads(wire.encode(message))


def _input(given: Any) -> dict[str, Any]:
    data = {"do": type(given).__name__, **_plain(given)}
    if isinstance(given, Received | Signal):
        data["message"] = _message(given.message)
    return data


def _leg(leg: Any) -> Any:
    if leg is None:
        return None
    data = _plain(leg)
    data["owed"] = [_sent(_message(command)) for command in leg.owed]
    return data


def _state(endpoint: Endpoint) -> dict[str, Any]:
    data: dict[str, Any] = _plain(endpoint)
    data["legs"] = [_leg(leg) for leg in endpoint.legs.values()]
    data["names"] = [list(item) for item in endpoint.names.items()]
    data["tombs"] = sorted([list(item) for item in {**data.pop("older"), **endpoint.tombs}.items()])
    data["held"] = [[session, ring.seq] for session, ring in endpoint.held.items()]
    return data


def _sent(message: dict[str, Any]) -> Any:
    """A message up, with everything that one of the two may leave out; the body of a data message is JSON itself."""
    data = _plain(wire.decode_up(json.dumps(message).encode()))
    if data.get("kind") == "data":
        data["body"] = json.loads(data["body"])
    return data


def _effect(effect: Any) -> dict[str, Any]:
    data: dict[str, Any] = {"do": type(effect).__name__}
    if isinstance(effect, Send):
        return {**data, "message": _sent(_message(effect.message))}
    for name in effect.__struct_fields__:
        value = getattr(effect, name)
        if name == "leg":
            data[name] = _seen(_leg(value))
        elif name == "error":
            data[name] = value and [value.code, value.data.get("legal")]
        elif isinstance(effect, Emit) and effect.event == "error" and name == "value":
            data[name] = value.code if value is not None else None
        else:
            data[name] = _plain(value)
    return data


def _seen(leg: Any) -> Any:
    """What others can see of a leg that is told: not what the device still owes, or who waits."""
    return leg and {name: value for name, value in leg.items() if name not in _OWN}


_OWN = (
    "owed",
    "waits",
    "lanes",
    "lost",
    "consent",
    "alone_since",
    "until",
    "media",
    "reported",
)


def _theirs(answer: dict[str, Any]) -> dict[str, Any]:
    answer["state"]["tombs"].sort()
    for leg in answer["state"]["legs"]:
        leg["owed"] = [_sent(command) for command in leg["owed"]]
    for did in answer["did"]:
        if "leg" in did:
            did["leg"] = _seen(did["leg"])
        if did["do"] == "Send":
            did["message"] = _sent(did["message"])
    return answer


def _same(other: Other, steps: Sequence[tuple[Any, int]]) -> None:
    endpoint = Endpoint(*WHO)
    for (given_, now), theirs in zip(steps, other.run(steps), strict=True):
        endpoint, effects = CORE.step(endpoint, given_, now)
        ours = {"state": _state(endpoint), "did": [_effect(e) for e in effects], "due": CORE.next_due(endpoint)}
        ours = json.loads(json.dumps(ours))
        theirs = _theirs(theirs)
        assert theirs["did"] == ours["did"], given_
        assert theirs["state"] == ours["state"], given_
        assert theirs["due"] == ours["due"], given_


# --- events -----------------------------------------------------------------------------------------------------------

SESSIONS = st.sampled_from(["s1", "s2", "s3"])
PIDS = st.sampled_from(["p1", "p2", "p3"])
TRIGGERS = sorted({trigger.name for flow in FLOWS.values() for trigger in flow.triggers} | {"unheard_of"})
STATES = sorted({state for flow in FLOWS.values() for state in flow.states})
FLAGS = sorted({flag for flow in FLOWS.values() for flag in flow.flags} | {"joined", "connected", "on_hold"})
SMALL = st.integers(0, 9)


def _flags(*more: str) -> st.SearchStrategy[frozenset[str]]:
    return st.frozensets(st.sampled_from(FLAGS), max_size=4).map(lambda flags: flags | set(more))


@st.composite
def _do(draw: st.DrawFn) -> Do:
    start = draw(st.sampled_from([("initiate", "ringing"), ("join", "session"), ("join", "ringing"), None]))
    trigger, flow = start or (draw(st.sampled_from(TRIGGERS)), draw(st.sampled_from(["", "ringing", "session"])))
    return Do(
        draw(SESSIONS),
        trigger,
        draw(st.integers(0, 99)),
        flow=flow,
        receiver="bob",
        type=draw(st.sampled_from(["audio", "video"])),
        token="t",
        flags=draw(_flags()),
        consent=draw(st.none() | st.frozensets(st.sampled_from(["audio", "video"]))),
        idle=draw(st.sampled_from([(0, 0), (3000, 2000)])),
        longest=draw(st.sampled_from([0, 20_000])),
        data=draw(st.none() | st.just({"key": 1})),
        until=draw(st.sampled_from(["", "wants_video"])),
    )


PEER = st.builds(
    wire.Peer,
    pid=PIDS,
    user=st.sampled_from(["bob", "carol"]),
    name=st.sampled_from(["", "Bob"]),
    joined=st.integers(0, 3),
    flags=_flags(),
)


@st.composite
def _view(draw: st.DrawFn) -> wire.View:
    state = draw(st.sampled_from([*STATES, "active", "accepted", "ringing"]))
    joined = ["joined"] if state == "active" or (state == "accepted" and draw(st.booleans())) else []
    peers = {peer.pid: peer for peer in draw(st.lists(PEER, max_size=3))}
    return wire.View(
        session=draw(SESSIONS),
        seq=draw(SMALL),
        pid=draw(PIDS),
        state=state,
        initiator="bob",
        flow=draw(st.sampled_from(["ringing", "ringing", "session", "unknown"])),
        role=draw(st.sampled_from(["caller", "callee", "member"])),
        type=draw(st.sampled_from(["audio", "video"])),
        heard=draw(SMALL),
        reason=draw(st.sampled_from(list(Reason))) if state == "ended" else None,
        via=draw(st.sampled_from(["", "", "", "s1", "s2"])),
        joined=1,
        age=draw(st.sampled_from([0, 3000])),
        at=draw(st.sampled_from([(0,) * 5, (1_700_000_000_000, 0, 0, 0, 0), (5, 5, 6, 1_800_000_000_000, 0)])),
        by_device=draw(st.sampled_from(["", "b1"])),
        joined_at=draw(st.sampled_from([0, 7])),
        flags=draw(_flags(*joined)),
        grants=draw(st.frozensets(st.sampled_from(sorted(GRANTS)), max_size=5)),
        peers=tuple(peers.values()),
        offers=draw(st.dictionaries(PIDS, st.integers(1, 3), max_size=2)),
        gone=draw(st.dictionaries(PIDS, st.sampled_from(list(Reason)), max_size=2)),
        token=draw(st.sampled_from(["", "token"])),
    )


@st.composite
def _parcel(draw: st.DrawFn) -> wire.Relayed:
    body = {
        "n": draw(st.integers(0, 4)),
        "got": draw(st.integers(0, 4)),
        "again": draw(st.booleans()),
        "text": '{"a":1}',
    }
    text = draw(st.sampled_from([json.dumps(body), "{}", "no JSON", "[]", '{"n": "1"}']))
    return wire.Relayed(draw(SESSIONS), draw(PIDS), "data", text)


CODES = ["call_gone", "answered_elsewhere", "call_not_found", "not_a_party", "unknown_user", "token_expired"]
MESSAGES: st.SearchStrategy[Any] = st.one_of(
    _view(),
    _view(),
    _view(),
    _parcel(),
    st.builds(
        wire.Welcome,
        user=st.just("alice"),
        avatar=st.sampled_from(["", "x:/a"]),
        heartbeat=st.sampled_from([5000, 15_000]),
        rate=st.sampled_from([1, 200]),
    ),
    st.builds(wire.Refused, session=SESSIONS, n=SMALL, code=st.sampled_from(CODES), request=st.booleans()),
    st.builds(wire.Unknown, session=SESSIONS, seq=SMALL),
    st.builds(wire.Relayed, session=SESSIONS, source=PIDS, kind=st.just("offer"), body=st.just("{}")),
    st.builds(wire.Token, session=SESSIONS, n=SMALL, token=st.just("t")),
    st.just(wire.Beat()),
)
INPUTS: st.SearchStrategy[Any] = st.one_of(
    _do(),
    _do(),
    MESSAGES.map(Received),
    MESSAGES.map(Received),
    st.builds(Await, SESSIONS, st.integers(1, 99)),
    st.builds(Say, SESSIONS, st.sampled_from(['"hello"', '"' + "x" * 40_000 + '"']), st.just("") | PIDS, SMALL),
    st.builds(LinkUp, st.just("Alice"), st.just({"ringing": "1"}), st.sampled_from([0, 1_700_000_000_000])),
    st.just(LinkDown()),
    st.builds(Media, SESSIONS, st.sampled_from(["up", "failed", "peer_connected", "peer_lost"]), PIDS),
    st.builds(Signal, SESSIONS, st.just(wire.Ask("s1", "p1"))),
    st.just(Tick()),
)
PAUSES = st.sampled_from([0, 0, 1, 300, 2000, 3000, 10_000, 16_000, 31_000, 46_000])
BEGIN = [(LinkUp(), 1), (Received(wire.Welcome("alice")), 2)]


@given(st.lists(st.tuples(INPUTS, PAUSES), max_size=25))
@settings(deadline=None, suppress_health_check=list(HealthCheck))
def test_both_do_the_same_on_any_events(other: Other, drawn: list[tuple[Any, int]]) -> None:
    """Any sequence of commands, messages, reports and pauses leads to the same state by the same effects."""
    now, steps = 2, list(BEGIN)
    for given_, pause in drawn:
        now += pause
        steps.append((given_, now))
    _same(other, steps)


@st.composite
def _talks(draw: st.DrawFn) -> list[tuple[Any, int]]:
    """A call that becomes active, and what is done and told in it: what random events hardly reach."""
    mine = draw(st.booleans())
    role: Any = "caller" if mine else "callee"
    first = Do("s1", "initiate", 1, flow="ringing", receiver="bob") if mine else Do("s1", "accept", 1)
    every = frozenset(GRANTS)
    kind: Any = draw(st.sampled_from(["audio", "video"]))

    def view(seq: int, state: str, heard: int, **more: Any) -> Received:
        return Received(
            wire.View(session="s1", seq=seq, pid="p1", state=state, initiator="x", role=role, type=kind, heard=heard,
                      grants=every, **more)
        )  # fmt: skip

    peer = wire.Peer("p2", "bob", joined=2)
    joined = frozenset({"joined", "camera"})
    steps: list[Any] = [*(step for step, _ in BEGIN)]
    steps += [first, view(1, "ringing", 1)] if mine else [view(1, "ringing", 0), first]
    steps += [
        view(2, "accepted", 1, token="t"),
        Do("s1", "join", 2, token="t", flags=joined - {"joined"}, idle=draw(st.sampled_from([(0, 0), (3000, 2000)]))),
        view(3, "accepted", 2, flags=joined, peers=(peer,), joined=1),
        Media("s1", "peer_connected", "p2"),
        Media("s1", "up"),
        view(4, "active", 3, flags=joined | {"connected"}, peers=(peer,), joined=1, offers={"p2": 1}),
    ]
    n, now = 4, 0
    timed = []
    for step in steps:
        now += 1
        timed.append((step, now))
    for seq in range(5, 5 + draw(st.integers(0, 12))):
        now += draw(PAUSES)
        flags = draw(_flags("joined", "connected"))
        peers = tuple({p.pid: p for p in draw(st.lists(PEER, max_size=2))}.values())
        told = view(seq, "active", draw(st.integers(2, n + 4)), flags=flags, peers=peers, joined=1)
        timed.append((draw(st.just(told) | INPUTS), now))
    return timed


@given(_talks())
@settings(deadline=None, suppress_health_check=list(HealthCheck))
def test_both_do_the_same_in_a_call(other: Other, steps: list[tuple[Any, int]]) -> None:
    """In a call that stands, flags, participants, media reports, data messages and time are taken alike."""
    _same(other, steps)


OPENING = ["unmute_audio", "resume_video", "switch_to_video", "accept_video", "start_screen_share", "mute_audio"]


@st.composite
def _lapses(draw: st.DrawFn) -> list[tuple[Any, int]]:
    """A call in which commands that open capture are given, and the service is heard late or not at all."""
    asked = st.sampled_from([frozenset(), frozenset({"wants_video"})])
    here = wire.View(session="s1", seq=1, pid="p9", state="active", initiator="alice", flow="session", role="member",
                     heard=1, flags=frozenset({"joined"}), grants=frozenset(GRANTS), type="audio")  # fmt: skip
    views = st.builds(
        lambda seq, kind, flags, heard, others: msgspec.structs.replace(
            here, seq=seq, type=kind, flags=flags, heard=heard, peers=(wire.Peer("p1", "bob", joined=2, flags=others),)
        ),
        st.integers(2, 9), st.sampled_from(["audio", "video"]), _flags("joined"), st.integers(1, 6), asked,
    )  # fmt: skip
    orders = st.builds(Do, st.just("s1"), st.sampled_from(OPENING), st.integers(0, 99))
    relink = [LinkUp(), Received(wire.Welcome("alice"))]
    single = orders | orders | views.map(Received) | st.sampled_from([Tick(), LinkDown()])
    steps: list[Any] = [Do("s1", "join", 1, flow="session", token="t"), Received(here)]
    for more in draw(st.lists(single.map(lambda one: [one]) | st.just(relink), max_size=14)):
        steps += more
    now, timed = 2, list(BEGIN)
    for step in steps:
        now += draw(st.sampled_from([0, 0, 5000, 10_000]))
        timed += [(step, now), (Tick(), now)]
    return timed


@given(_lapses())
@settings(deadline=None, suppress_health_check=list(HealthCheck))
def test_both_take_back_the_same(other: Other, steps: list[tuple[Any, int]]) -> None:
    """What failed and may have been heard all the same is taken back alike."""
    _same(other, steps)


@st.composite
def _chats(draw: st.DrawFn) -> list[tuple[Any, int]]:
    """A session in which many messages are sent, while some get lost and the link breaks."""
    peers = tuple(wire.Peer(pid, "bob", joined=place) for place, pid in enumerate(("p1", "p2"), 2))
    here = wire.View(session="s1", seq=1, pid="p9", state="active", initiator="alice", flow="session", role="member",
                     heard=1, flags=frozenset({"joined"}), peers=peers)  # fmt: skip
    relayed = st.builds(
        lambda source, n, got, again: wire.Relayed(
            "s1", source, "data", json.dumps({"n": n, "got": got, "again": again, "text": "1"})
        ),
        st.sampled_from(["p1", "p2"]), st.integers(0, 4), st.integers(0, 45), st.booleans(),
    )  # fmt: skip
    left = st.sampled_from([peers, peers[:1], (msgspec.structs.replace(peers[0], joined=0), peers[1])])
    views = left.map(lambda others: msgspec.structs.replace(here, seq=2, peers=others))
    relink = [LinkUp(), Received(wire.Welcome("alice", rate=1))]
    single = (relayed | views).map(Received) | st.just(Tick()) | st.just(LinkDown())
    bursts = st.integers(1, 20).map(lambda count: [Say("s1", "1", ticket=7 * count + n) for n in range(count)])
    steps: list[Any] = [Received(wire.Welcome("alice", rate=draw(st.sampled_from([1, 200]))))]
    steps += [Do("s1", "join", 1, flow="session", token="t"), Received(here)]
    for more in draw(st.lists(single.map(lambda one: [one]) | bursts | st.just(relink), max_size=12)):
        steps += more
    now, timed = 2, list(BEGIN)
    for step in steps:
        now += draw(st.sampled_from([0, 0, 100, 1500, 5000]))
        timed.append((step, now))
    return timed


@given(_chats())
@settings(deadline=None, suppress_health_check=list(HealthCheck))
def test_both_send_the_same_messages(other: Other, steps: list[tuple[Any, int]]) -> None:
    """Bursts of data messages are held back, sent on and sent again alike."""
    _same(other, steps)


@pytest.mark.parametrize("flow", ["session", "ringing"])
def test_both_give_up_media_alike(other: Other, flow: str) -> None:
    """Media with the only other participant is lost: it is told, it ends who can reach nobody, at the same time."""
    start = Do("s1", "join", 1, flow=flow, token="t") if flow == "session" else Do("s1", "initiate", 1, flow=flow)
    role: Any = "member" if flow == "session" else "caller"
    here = wire.View(session="s1", seq=1, pid="p9", state="active", initiator="alice", flow=flow, role=role, heard=2,
                     flags=frozenset({"joined"}), peers=(wire.Peer("p1", "bob", joined=2),))  # fmt: skip
    join = Do("s1", "join", 2, token="t")
    accepted = Received(msgspec.structs.replace(here, state="accepted", flags=frozenset(), heard=1))
    inputs = [start, *([accepted, join] if flow == "ringing" else []), Received(msgspec.structs.replace(here, seq=2))]
    steps = [*BEGIN, *((given_, 3) for given_ in inputs), (Media("s1", "peer_lost", "p1"), 3)]
    for now in range(1003, 90_000, 1000):
        steps += [(Received(wire.Beat()), now), (Tick(), now)]
    _same(other, steps)


CALL = Do("s1", "initiate", 1, flow="ringing", receiver="bob")
RING = wire.View("s2", 1, "p2", "ringing", "bob", receiver="alice")


@pytest.mark.parametrize(
    "decided",
    [
        wire.View("s2", 2, "p2", "accepted", "bob", receiver="alice", via="s1", heard=1),
        wire.View("s2", 2, "p2", "ended", "bob", receiver="alice", reason=Reason.CANCELLED),
        wire.View("s1", 1, "p1", "ringing", "alice", role="caller", receiver="bob", heard=1),
        wire.Refused("s1", 1, "unknown_user"),
        wire.Unknown("s2", 1),
    ],
    ids=["merged", "ended", "rings", "refused", "unknown"],
)
def test_both_hold_a_ring_that_their_own_call_may_be(other: Other, decided: Any) -> None:
    """Whatever comes of two who call each other, both sides show the same rings, and none that is their own call."""
    inputs = [CALL, Received(RING), LinkDown(), LinkUp(), BEGIN[1][0], Received(decided), Received(RING)]
    _same(other, [*BEGIN, *((given_, now) for now, given_ in enumerate(inputs, 3))])
