"""When an endpoint does something by itself: each of its deadlines, to the millisecond, and nothing in between."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from on_a_device import BOB, BOTH, CAROL, GRANTS, HERE, NOW, device, told

from statecore.endpoint import Do, Endpoint, EndpointMachine, LocalLeg, Media, Received, Tick, Wait
from statecore.endpoint._types import Lane, Mail
from statecore.flow import RINGING, Mark, Row, Timers, Trigger
from statecore.model import Reason
from statecore.wire import Beat, Command, Peer, View, Welcome

DORA = Peer("4", "dora", "d1")
"""She has not joined."""


def leg(session: str = "S", **more: Any) -> LocalLeg:
    """Alice is in a session, with Bob unless it is told otherwise."""
    plain: dict[str, Any] = {
        "role": "member", "pid": "1", "initiator": "alice", "seq": 4, "flags": HERE, "joined": 1, "peers": (BOB,),
        "media": "open", "reported": True, "flow": "session", "state": "active",
    }  # fmt: skip
    return LocalLeg(session, **{**plain, **more})


def at(endpoint: Endpoint, later: int, given_: Any = None) -> tuple[Endpoint, list[tuple[Any, ...]]]:
    """What becomes of it then, by a tick unless it is told otherwise; and everything that it does."""
    after, effects = EndpointMachine().step(endpoint, given_ or Tick(), NOW + later)
    return after, told(effects)


def due(endpoint: Endpoint) -> int:
    """How long after now the next timer is due."""
    return EndpointMachine().next_due(endpoint) - NOW


def timed(endpoint: Endpoint, later: int) -> tuple[Endpoint, list[tuple[Any, ...]]]:
    """Its next timer is due so much later, nothing is done a moment before, and this is done then."""
    assert due(endpoint) == later
    assert at(endpoint, later - 1) == (endpoint, [])
    return at(endpoint, later)


def over(was: LocalLeg, reason: Reason, owed: tuple[Command, ...], **more: Any) -> LocalLeg:
    """The leg as it is when it has ended here by itself."""
    plain: dict[str, Any] = {"waits": (), "lost": (), "lanes": {}, "media": "closed", "by": ""}
    return replace(was, state="ended", reason=reason, owed=owed, consent=frozenset(), **{**plain, **more})


def ending(ended: LocalLeg, said: Command | None = None) -> list[tuple[Any, ...]]:
    """What it does when it ends with media open: it says so, closes, and tells."""
    events = ("call_ended_message_received", "session_left", "call_ended")
    emits = [("Emit", event, ended, None, None) for event in events]
    return [*([("Send", said)] if said is not None else []), ("CloseMedia", ended.session), *emits]


# --- each deadline ----------------------------------------------------------------------------------------------------


def test_it_beats_when_that_is_due_and_then_once_a_period() -> None:
    """As often as the service has said, counted from then; what was welcomed is the first period."""
    after, effects = timed(device(beat_due=NOW + 500, heartbeat=700), 500)
    assert effects == [("Send", Beat())]
    assert after == device(beat_due=NOW + 1200, heartbeat=700)
    welcomed, _ = at(device(), 3, Received(Welcome("alice", heartbeat=40, lease=90, rate=7)))
    assert (welcomed.beat_due, welcomed.heartbeat, welcomed.lease, welcomed.rate) == (NOW + 43, 40, 90, 7)
    assert welcomed.confirmed == NOW + 3
    assert due(device(beat_due=NOW + 500, online=False)) == -NOW, "never"


def test_silence_of_a_lease_cuts_the_link_and_ends_every_call() -> None:
    """The link only seemed to stand: it says so once, beats no more, and ends what lives; what has ended is let be."""
    first, ended, last = leg("A"), leg("B", state="ended", reason=Reason.HANGUP), leg("C", flow="ringing")
    for online in (True, False):
        before = device(first, ended, last, lease=2000, online=online, beat_due=NOW + 2000 if online else NOW - 1)
        after, effects = timed(before, 2000)
        lost = [
            over(each, Reason.LOST, (Command(each.session, n, "lost", "1"),)) for n, each in ((10, first), (11, last))
        ]
        cut = [("Emit", "connection_lost", None, None, None)] if online else []
        assert effects == [*cut, *ending(lost[0]), *ending(lost[1])]
        assert after.legs == {"A": lost[0], "B": ended, "C": lost[1]}
        assert (after.online, after.n, after.confirmed, after.beat_due) == (False, 11, NOW, before.beat_due)
        assert due(after) == -NOW
    assert due(device(lease=2000)) == 2000, "also without a call, to find out that the link is gone"
    assert at(device(lease=2000), 2000)[1] == [("Emit", "connection_lost", None, None, None)]


def test_whatever_is_heard_confirms_the_link() -> None:
    """A lease runs from the last message, whatever it was."""
    after, effects = at(device(leg(), lease=2000), 1500, Received(Beat()))
    assert effects == []
    assert due(after) == 3500


def test_a_command_that_was_not_heard_fails_then() -> None:
    """Each wait when it is due, with the name of its command and the leg as it is then; the others wait on."""
    owed = tuple(Command("S", n, trigger, "1") for n, trigger in ((7, "raise_hand"), (8, "lower_hand")))
    waits = (Wait(1, "heard", 7, "raise_hand", NOW + 300), Wait(2, "heard", 8, "lower_hand", NOW + 900))
    standing = Wait(3, "heard", 6, "mute_audio")
    after, effects = timed(device(leg(owed=owed, waits=(standing, *waits))), 300)
    left = leg(owed=owed[1:], waits=(standing, waits[1]))
    assert effects == [("Settle", 1, left, ("command_timeout", {"trigger": "raise_hand"}))]
    assert after == device(left)
    assert due(after) == 900


@pytest.mark.parametrize("goal", ["ringing", "joinable", "media"])
def test_what_was_to_begin_something_ends_it_if_it_is_not_heard(goal: Any) -> None:
    """Whoever waited hears that time has passed; the rest, that the call has ended; and the loss is owed."""
    state, flow = ("accepted", "session") if goal == "media" else ("idle", "ringing")
    begun = leg(
        flow=flow, state=state, role="caller" if flow == "ringing" else "member", media="wanted", seq=0, peers=(),
        pid="", flags=frozenset(), receiver="bob", owed=(Command("S", 9, "x"),),
    )  # fmt: skip
    waits = (Wait(1, goal, 9, "x", NOW + 300), Wait(2, "joinable", 0, ""), Wait(3, "heard", 9, "y", NOW + 300))
    after, effects = timed(device(replace(begun, waits=waits)), 300)
    reason = Reason.LOST
    ended = over(begun, reason, (Command("S", 10, "lost"),), media="wanted")
    awaiting = replace(begun, waits=waits[1:2], owed=())
    assert effects[:3] == [
        ("Settle", 1, awaiting, ("command_timeout", {"trigger": "x"})),
        ("Settle", 3, awaiting, ("command_timeout", {"trigger": "y"})),
        ("Send", Command("S", 10, "lost")),
    ]
    error = ("call_gone" if flow == "session" else "call_ended", {"session_id": "S", "reason": reason})
    assert effects[-1] == ("Settle", 2, ended, error)
    assert after.legs == {"S": ended}


@pytest.mark.parametrize(
    ("flow", "others", "lost", "stages"),
    [
        ("ringing", (BOB,), ("2",), [2000, 30_000]),
        ("session", (BOB,), ("2",), [2000, 30_000, 75_000]),
        ("session", (BOB, CAROL), ("2",), [2000, 30_000, 75_000]),
        ("session", (BOB, CAROL), ("2", "3"), [2000, 30_000]),
        ("session", (BOB, DORA), ("2",), [2000, 30_000, 75_000]),
    ],
    ids=["call", "two", "one-of-several", "nobody-of-several", "who-has-not-joined-does-not-count"],
)
def test_media_that_is_lost_has_its_stages(flow: str, others: Any, lost: Any, stages: list[int]) -> None:
    """Told after the first; after the last it is the end, unless others can be reached: to the millisecond, once each.
    Of two in a session the last comes a lease later."""
    before = device(leg(flow=flow, peers=others), lease=45_000)
    for pid in lost:
        before, effects = at(before, 0, Media("S", "peer_lost", pid))
        assert effects == []
    assert before.legs["S"].lost == tuple((pid, NOW, 0) for pid in lost)
    for passed, later in enumerate(stages, 1):
        before = replace(before, confirmed=NOW + later - 1)  # the service is there all the time
        was = before.legs["S"]
        before, effects = timed(before, later)
        known = before.legs["S"]
        peers = {peer.pid: peer for peer in others}
        if passed == 1:
            assert effects == [("Emit", "remote_connection_lost", was, peers[pid], None) for pid in lost]
        elif passed == len(stages) and len(lost) == sum(1 for peer in others if peer.joined):
            failed = Command("S", 10, "failed", "1")
            assert effects == [("Send", failed)]
            assert known == leg(flow=flow, peers=others, owed=(failed,))
            continue
        else:
            assert effects == []
        assert known == leg(flow=flow, peers=others, lost=tuple((pid, NOW, passed) for pid in lost))
    assert due(before) > stages[-1], "nothing of it stays due"


def test_the_last_of_several_to_be_lost_decides() -> None:
    """Each has his own time; while one may still be reached nothing ends."""
    before, _ = at(device(leg(peers=(BOB, CAROL)), lease=45_000), 0, Media("S", "peer_lost", "2"))
    before, _ = at(before, 700, Media("S", "peer_lost", "3"))
    for later in (2000, 2700, 30_000):
        before, effects = timed(replace(before, confirmed=NOW + later), later)
        assert [kind for kind, *_ in effects] == (["Emit"] if later < 3000 else [])
    assert before.legs["S"].lost == (("2", NOW, 2), ("3", NOW + 700, 1))
    assert timed(before, 30_700)[1] == [("Send", Command("S", 10, "failed", "1"))]


def test_media_that_comes_back_is_told_if_it_was_told_lost() -> None:
    """Of that participant, and of no other."""
    entries = (("2", NOW - 3000, 1), ("3", NOW - 2500, 1))
    before = device(leg(peers=(BOB, CAROL), lost=entries))
    after, effects = at(before, 0, Media("S", "peer_connected", "2"))
    assert after == device(leg(peers=(BOB, CAROL), lost=entries[1:]))
    assert effects == [("Emit", "remote_connection_restored", before.legs["S"], BOB, None)]
    early = device(leg(peers=(BOB, CAROL), lost=(("3", NOW - 5, 0), ("2", NOW - 3000, 1))))
    after, effects = at(early, 0, Media("S", "peer_connected", "3"))
    assert (after.legs["S"].lost, effects) == ((("2", NOW - 3000, 1),), [])
    for pid in ("2", "4", "9"):  # lost already, not joined, not there
        lost = (("2", NOW - 3000, 1),)
        there = device(leg(peers=(BOB, CAROL, DORA), lost=lost))
        assert at(there, 0, Media("S", "peer_lost", pid)) == (there, [])


def test_a_session_that_has_lasted_as_long_as_it_may_ends_then() -> None:
    """By the row for that, and it is owed."""
    before = leg(until=NOW + 400, longest=900)
    after, effects = timed(device(before), 400)
    said = Command("S", 10, "expire", "1")
    ended = over(before, Reason.EXPIRED, (said,))
    assert effects == ending(ended, said)
    assert after == device(ended, n=10)


def test_who_is_alone_is_asked_and_then_put_out() -> None:
    """The prompt tells how many seconds are left, once; then the time is up."""
    before = leg(peers=(), alone_since=NOW, idle=(2000, 1500))
    after, effects = timed(device(before), 2000)
    asked = replace(before, alone_since=-NOW)
    assert effects == [("Emit", "idle_prompt", before, None, 1.5)]
    assert after == device(asked)
    after, effects = timed(after, 3500)
    said = Command("S", 10, "idle_timeout", "1")
    ended = over(asked, Reason.IDLE, (said,))
    assert effects == [("Emit", "session_timeout", asked, None, None), *ending(ended, said)]
    assert after == device(ended, n=10)


def test_who_is_alone_from_the_beginning_of_time_is_asked_too() -> None:
    """A device's clock may begin when a session does."""
    before = leg(peers=(), alone_since=1, idle=(2000, 1500))
    _, effects = timed(device(before), 2001 - NOW)
    assert effects == [("Emit", "idle_prompt", before, None, 1.5)]


def test_the_clocks_of_media_run_only_while_it_is_open() -> None:
    """What is set but not open, or over, ends nothing."""
    for more in ({"media": "wanted"}, {"media": "closed", "state": "ended", "reason": Reason.HANGUP}):
        before = device(leg(until=NOW + 5, alone_since=NOW, idle=(1, 1), lost=(("2", NOW, 0),), **more))
        assert at(before, 5000) == (before, [])


def test_each_call_has_its_own_time() -> None:
    """One that is over, or has nothing due, holds up nothing of those after it."""
    ended = leg("A", state="ended", reason=Reason.HANGUP, media="closed")
    calm, late = leg("B"), leg("C", until=NOW + 400, longest=900)
    waiting = leg("D", waits=(Wait(3, "heard", 6, "mute_audio", NOW + 400),))
    after, effects = timed(device(ended, calm, late, waiting), 400)
    said = Command("C", 10, "expire", "1")
    gone = over(late, Reason.EXPIRED, (said,))
    timeout = ("Settle", 3, leg("D"), ("command_timeout", {"trigger": "mute_audio"}))
    assert effects == [*ending(gone, said), timeout]
    assert after.legs == {"A": ended, "B": calm, "C": gone, "D": leg("D")}


# --- taking back ------------------------------------------------------------------------------------------------------


def test_what_failed_is_taken_back_by_a_command_that_nobody_waits_for() -> None:
    """It is owed and said, and has no bound; the one that failed is not owed any more, and the rest is."""
    owed = tuple(Command("S", n, trigger, "1") for n, trigger in ((6, "raise_hand"), (7, "unmute_audio")))
    waits = (Wait(3, "heard", 6, "raise_hand"), Wait(4, "heard", 7, "unmute_audio", NOW))
    before = leg(flags=HERE | {"audio_muted"}, grants=GRANTS, consent=BOTH, owed=owed, waits=waits)
    after, did = at(device(before), 0)
    back = Command("S", 10, "mute_audio", "1")
    failed = replace(before, owed=owed[:1], waits=waits[:1])
    now = replace(
        failed, consent=frozenset({"video"}), owed=(owed[0], back), waits=(waits[0], Wait(0, "heard", 10, "mute_audio"))
    )  # fmt: skip
    assert did == [("Settle", 4, failed, ("command_timeout", {"trigger": "unmute_audio"})), ("Send", back)]
    assert after == device(now, n=10)


def test_several_that_failed_at_once_are_each_taken_back() -> None:
    """Each by its opposite; one of which nothing needs to be taken back holds up nothing."""
    triggers = ("raise_hand", "unmute_audio", "start_screen_share")
    owed = tuple(Command("S", n, trigger, "1") for n, trigger in enumerate(triggers, 6))
    waits = tuple(Wait(command.n, "heard", command.n, command.trigger, NOW) for command in owed)
    before = leg(flags=HERE | {"audio_muted"}, grants=GRANTS, consent=BOTH, owed=owed, waits=waits)
    after, did = at(device(before), 0)
    backs = (Command("S", 10, "mute_audio", "1"), Command("S", 11, "stop_screen_share", "1"))
    assert did[3:] == [("Send", back) for back in backs]
    assert after.legs["S"].owed == backs
    assert after.legs["S"].waits == tuple(Wait(0, "heard", back.n, back.trigger) for back in backs)


def test_what_would_be_nothing_by_now_is_not_taken_back() -> None:
    """A yes to video that nobody heard, to a request that was withdrawn meanwhile: it fails, and that is all."""
    owed = (Command("S", 7, "accept_video", "1"),)
    waits = (Wait(4, "heard", 7, "accept_video", NOW),)
    before = leg(type="audio", owed=owed, waits=waits, grants=GRANTS, consent=BOTH)
    after, did = at(device(before), 0)
    now = replace(before, owed=(), waits=())
    assert (after, did) == (device(now), [("Settle", 4, now, ("command_timeout", {"trigger": "accept_video"}))])


def test_only_what_a_user_may_say_at_any_time_takes_something_back() -> None:
    """Of a flow's own commands the one that turns back most; but none of a machine's, none that needs a grant, and none
    that would open capture itself."""
    muted, raised = Mark("audio_muted"), Mark("hand_raised", False)
    opposites = (
        Trigger("hush", "user"), Trigger("silence", "system"), Trigger("gag", "user", grant="gag"),
        Trigger("swap", "user", consent="video"),
    )  # fmt: skip
    flow = RINGING.extend(
        "loud",
        triggers=(Trigger("speak", "user", consent="audio"), *opposites),
        rows=(
            Row("active", "speak", "active", (Mark("audio_muted", False), Mark("hand_raised"), Mark("presenting"))),
            Row("active", "hush", "active", (muted, raised)),
            *(
                Row("active", name, "active", (muted, raised, Mark("presenting", False)))
                for name in ("silence", "gag", "swap")
            ),
        ),
    )
    owed = (Command("S", 7, "speak", "1"),)
    before = leg(
        flow="loud", role="caller", flags=HERE | {"audio_muted"}, consent=BOTH, owed=owed,
        waits=(Wait(4, "heard", 7, "speak", NOW),),
    )  # fmt: skip
    _, effects = EndpointMachine(flows={"loud": flow}).step(device(before), Tick(), NOW)
    did = told(effects)
    assert did[1:] == [("Send", Command("S", 10, "hush", "1"))]


# --- all of them together ---------------------------------------------------------------------------------------------

ago, ahead = st.integers(-80_000, 0), st.integers(1, 100_000)
moments = st.one_of(st.just(0), ahead.map(lambda later: NOW + later))
"""0 for never, or in the time that comes."""


@st.composite
def lanes(draw: st.DrawFn) -> Lane:
    """Data messages that are on their way, some of them awaited."""
    mails = draw(st.lists(st.tuples(st.integers(0, 3), ahead), max_size=2))
    posted = tuple(Mail(n, "x", ticket, NOW + later) for n, (ticket, later) in enumerate(mails, 1))
    return Lane(2, posted, posted=2, due=draw(moments))


@st.composite
def legs(draw: st.DrawFn, session: str) -> LocalLeg:
    """A leg with any of the clocks that one can have, of which none is due."""
    flow = draw(st.sampled_from(["ringing", "session"]))
    stages = (2000, 30_000) if flow == "ringing" else (2000, 30_000, 75_000)
    away = {pid: draw(ago) for pid in draw(st.sampled_from([(), ("2",), ("2", "3")]))}
    idle = (draw(ahead), draw(ahead))
    waits, asked = NOW - draw(st.integers(0, idle[0] - 1)), NOW - draw(st.integers(0, sum(idle) - 1))
    alone, dues = draw(st.sampled_from([0, waits, -asked])), draw(st.lists(moments, max_size=2))
    return leg(
        session, flow=flow, peers=(BOB, CAROL, replace(DORA, joined=4)), idle=idle, alone_since=alone,
        lost=tuple((pid, NOW + since, sum(-since >= stage for stage in stages)) for pid, since in away.items()),
        lanes={pid: draw(lanes()) for pid in draw(st.sampled_from([(), ("2",), ("2", "4")]))},
        waits=tuple(Wait(n, "heard", n, "raise_hand", when) for n, when in enumerate(dues)),
        until=draw(moments), state=draw(st.sampled_from(["active", "active", "active", "ended"])),
    )  # fmt: skip


@st.composite
def devices(draw: st.DrawFn) -> Endpoint:
    """A device with any clocks, of which none is due."""
    lease, passed = 45_000, draw(st.integers(0, 44_999))
    made = [draw(legs(session)) for session in ("A", "B", "C")[: draw(st.integers(0, 3))]]
    return device(
        *made, lease=lease, confirmed=NOW - passed, beat_due=NOW + draw(ahead), online=draw(st.booleans())
    )  # fmt: skip


def first(endpoint: Endpoint) -> int:
    """A plain model of when something is due: the least of everything that may be; 0 for never."""
    times = [endpoint.beat_due, endpoint.confirmed + endpoint.lease] if endpoint.online else []
    for each in endpoint.legs.values():
        if each.state == "ended":
            continue
        stages = (2000, 30_000) if each.flow == "ringing" else (2000, 30_000, 30_000 + endpoint.lease)
        times.append(endpoint.confirmed + endpoint.lease)
        times += [wait.due for wait in each.waits]
        times += [since + stage for _, since, _ in each.lost for stage in stages if since + stage > NOW]
        times += [each.until]
        times += [mail.due for lane in each.lanes.values() for mail in lane.mails if mail.ticket]
        times += [lane.due for lane in each.lanes.values()] if endpoint.online else []
        prompt, end = each.idle
        times += [each.alone_since + prompt] if each.alone_since > 0 else []
        times += [-each.alone_since + prompt + end] if each.alone_since < 0 else []
    return min((time for time in times if time), default=0)


@given(endpoint=devices())
@settings(deadline=None, max_examples=50)
def test_the_next_timer_is_the_first_of_all_and_nothing_happens_before(endpoint: Endpoint) -> None:
    """However many clocks run: a tick a moment before changes nothing, a tick at its time does, and after a few of
    those at one time nothing is due any more."""
    when = EndpointMachine().next_due(endpoint)
    assert when == first(endpoint)
    if not when:
        assert at(endpoint, 10**6) == (endpoint, [])
        return
    assert at(endpoint, when - 1 - NOW) == (endpoint, [])
    after, effects = at(endpoint, when - NOW)
    assert (after, effects) != (endpoint, [])
    for _ in range(4):
        after, _ = at(after, when - NOW)
    assert EndpointMachine().next_due(after) > when or not EndpointMachine().next_due(after)


def test_timers_of_ones_own_are_kept_to() -> None:
    """When lost media is told and given up, and how long a command may take, as the application has set it."""
    machine = EndpointMachine(timers=Timers(media_notice=0.5, media_lost=0.75, command=3.25))
    before = device(leg(flow="ringing", lost=(("2", NOW, 0),)))
    assert machine.next_due(before) == NOW + 500
    before, _ = machine.step(before, Tick(), NOW + 500)
    assert machine.next_due(before) == NOW + 750
    _, effects = machine.step(before, Tick(), NOW + 750)
    assert told(effects) == [("Send", Command("S", 10, "failed", "1"))]
    waiting, _ = machine.step(device(leg()), Do("S", "raise_hand", 5), NOW)
    assert machine.next_due(waiting) == NOW + 3250


# --- the session's own clocks begin -----------------------------------------------------------------------------------


def joined(before: LocalLeg, *peers: Peer, now: int = NOW, **more: Any) -> LocalLeg:
    """The leg after a view with these others."""
    plain: dict[str, Any] = {
        "state": "active",
        "role": "member",
        "flags": HERE,
        "joined": 1,
        "peers": peers,
        "heard": 99,
    }
    fact = View("S", 5, "1", initiator="alice", flow="session", **{**plain, **more})
    return EndpointMachine().step(device(before), Received(fact), now)[0].legs["S"]


def test_being_alone_counts_from_when_the_last_other_left() -> None:
    """Company sets it back, whether the prompt was shown or not; it counts on while nobody comes; without limits, and
    before media is open, it does not run."""
    idle = (2000, 1500)
    assert joined(leg(idle=idle)).alone_since == NOW
    assert joined(leg(idle=idle), now=0).alone_since == 1, "at the beginning of all time, too"
    assert joined(leg(idle=idle), DORA).alone_since == NOW, "who has not joined is no company"
    for since in (NOW - 700, 700 - NOW):
        assert joined(leg(idle=idle, alone_since=since)).alone_since == since
        assert joined(leg(idle=idle, alone_since=since), DORA, CAROL).alone_since == 0
    assert joined(leg()).alone_since == 0
    assert joined(leg(idle=(0, 1500))).alone_since == 0
    assert joined(leg(idle=(2000, 0))).alone_since == NOW
    assert joined(leg(idle=idle, media="wanted", flags=HERE), flags=frozenset()).alone_since == 0


def test_the_longest_time_counts_from_being_in_and_is_not_set_anew() -> None:
    """Once set it stays, whoever comes and goes."""
    assert joined(leg(longest=900), BOB).until == NOW + 900
    assert joined(leg(longest=900, until=NOW + 5), BOB).until == NOW + 5
    assert joined(leg(idle=(5, 5)), BOB).until == 0
    assert joined(leg(longest=900, state="accepted"), BOB, state="accepted").until == 0, "it has not begun"
