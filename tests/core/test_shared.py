"""What the records of a call that rings, and those of others, hold alike is held once."""

from __future__ import annotations

from typing import Any

import pytest

from statecore import wire
from statecore.model import Line, Record
from statecore.ports import Key
from statecore.switchboard import Act, Confirm, Connect, Done, Input, Restart, Switchboard
from statecore.switchboard._lines import LineChange, delist, enlist, let_go, seize

Kept = dict[Key, Any]


def now(later: int = 0) -> int:
    """The same time, and yet another number: nobody's clock gives the same object twice."""
    return int(f"{1_700_000_000_000 + later}")


def new(text: str) -> str:
    """An id as it comes over the wire: a text of its own."""
    return text.encode().decode()


def decide(kept: Kept, given: Input, *lacking: Key, later: int = 0) -> None:
    """Decide over what is kept, with nothing under the keys that it lacks, and keep what is decided."""
    done = Switchboard().step({**dict.fromkeys(lacking), **kept}, given, now(later))
    assert isinstance(done, Done)
    kept.update(done.writes)


def ring(kept: Kept, caller: str, callee: str) -> Record:
    """A call between two new users."""
    for user in (caller, callee):
        hello = wire.decode_up(wire.encode(wire.Hello(f"{user}-device", f"{user}-epoch", 1)))
        assert isinstance(hello, wire.Hello)
        decide(kept, Connect(new(user), hello), ("line", new(user)))
    line, session = kept["line", caller], f"{caller}-calls-{callee}"
    command = wire.decode_up(wire.encode(wire.Command(session, 1, "initiate", flow="ringing", receiver=callee)))
    assert isinstance(command, wire.Command)
    decide(kept, Act(line.user, line.devices[0].device, line.devices[0].epoch, command), ("call", new(session)))
    record = kept["call", session]
    assert isinstance(record, Record)
    return record


@pytest.mark.parametrize("change", [enlist, seize, let_go, delist], ids=["enlist", "seize", "let-go", "delist"])
@pytest.mark.parametrize("line", [Line("a"), Line("a", holds=("R", "S")), Line("a", holds=("R",), sessions=("S", "T"))])
def test_what_a_call_does_to_a_line_it_does_once(change: LineChange, line: Line) -> None:
    """Done again it changes nothing, so that nothing is written, and what other calls have done stays."""
    once = change(line, "S")
    again = change(once, "S")
    assert again == once
    assert again is once or change is seize  # which is said once a call
    assert [*once.holds, *once.sessions].count("S") <= 1
    assert {*line.holds, *line.sessions} - {"S"} == {*once.holds, *once.sessions} - {"S"}


def test_each_id_of_a_ringing_call_is_one_text() -> None:
    """The session's, the users', their devices' and the epochs', in the record, on the lines and as keys."""
    kept: Kept = {}
    record = ring(kept, "ada", "ben")  # of whom no other test has made the core remember anything
    texts = [record.session_id, record.initiator, record.receiver, *(i.user for i in record.invitations)]
    texts += [text for leg in record.legs for text in (leg.user, leg.device, leg.epoch)]
    for kind, name in kept:
        texts.append(name)
        value = kept[kind, name]
        if isinstance(value, Line):
            texts += [value.user, *value.holds, *(t for d in value.devices for t in (d.device, d.epoch))]
    assert len(texts) == 21
    assert len({id(text) for text in texts}) == len(set(texts)) == 7


def test_a_record_is_kept_under_its_own_id() -> None:
    """Not under one more copy of it, as it came with what a device said."""
    kept: Kept = {}
    ring(kept, "alice", "bob")
    for given in (Confirm(new("bob"), "bob-device", "bob-epoch"), Restart(new("alice"))):
        done = Switchboard().step(kept, given, now(10_000))
        assert isinstance(done, Done)
        ((key, value),) = done.writes.items()
        assert key[1] is value.user


def test_both_lines_of_a_call_share_what_they_hold() -> None:
    """One tuple, of the one call that each of them has."""
    kept: Kept = {}
    record = ring(kept, "alice", "bob")
    assert kept["line", "alice"].holds == (record.session_id,)
    assert kept["line", "alice"].holds is kept["line", "bob"].holds


def test_equal_times_of_many_calls_are_one_number() -> None:
    """When calls were made, until when they ring, and when the leases of their devices end."""
    kept: Kept = {}
    records = [ring(kept, "alice", "bob"), ring(kept, "carol", "dave")]
    times = [time for r in records for time in (r.initiated_at, r.ring_until, *(leg.deadline for leg in r.legs))]
    times += [device.lease for value in kept.values() if isinstance(value, Line) for device in value.devices]
    assert len(times) == 12
    assert len({id(time) for time in times}) == len(set(times)) == 3


def test_leases_that_begin_anew_at_once_end_at_once() -> None:
    """Devices that are heard of in the same millisecond have one number for when their leases end."""
    kept: Kept = {}
    ring(kept, "alice", "bob")
    for user in ("alice", "bob"):
        decide(kept, Confirm(user, f"{user}-device", f"{user}-epoch"), later=10_000)
    alice, bob = (kept["line", user].devices[0].lease for user in ("alice", "bob"))
    assert alice is bob
    assert alice > now(10_000)
