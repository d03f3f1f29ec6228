"""The values: statuses of reasons, which ends may stand side by side, and what participants and calls say."""

from __future__ import annotations

from itertools import product

import attrs
import msgspec
import pytest

from statecore import model
from statecore.flow import RINGING, SESSION
from statecore.model import COMPATIBLE, STATUS, Call, Control, EndReason, Leg, Participant, Reason, Status, User

ROLES = ("caller", "callee", "member")
OVERTAKEN = {
    "caller": {Reason.HANGUP, Reason.CANCELLED},
    "callee": {Reason.HANGUP, Reason.REJECTED, Reason.BUSY},
    "member": {Reason.HANGUP},
}
"""What a user of each role may have done by himself before he heard of an earlier decision."""
BY_ITSELF = {Reason.LOST, Reason.IDLE, Reason.EXPIRED}
"""Ends that every endpoint may come to by itself."""


def test_every_reason_has_a_status_and_no_live_one() -> None:
    """Each end reason stands for exactly one classic status, and that one is terminal."""
    assert set(STATUS) == set(Reason)
    assert not {Status.INITIATED, Status.ONGOING} & set(STATUS.values())


def test_statuses_are_the_classic_ones() -> None:
    """A reason that has a status of its own name gets it; the others are plain ends."""
    for reason, status in STATUS.items():
        own = {"rejected_elsewhere": "rejected"}.get(reason.value, reason.value)
        assert status.value == (own if own in set(Status) else "ended")


@pytest.mark.parametrize("role", ROLES)
def test_compatible_holds_the_natural_and_the_overtaken_and_nothing_else(role: str) -> None:
    """A leg's own reason equals the record's, or is one it came to by itself while another decision was earlier."""
    for local, record in product(Reason, Reason):
        allowed = local == record or local in OVERTAKEN[role] | BY_ITSELF
        assert ((role, local, record) in COMPATIBLE) == allowed


def test_every_end_an_endpoint_decides_may_be_overtaken() -> None:
    """A row an endpoint takes by itself has a reason that may stand beside any recorded one, for the role it fits."""
    for flow in (RINGING, SESSION):
        for row in flow.rows:
            if row.decider == "endpoint":
                roles = (
                    {"caller"} if "caller" in row.when or row.state == "idle" else {"callee"} if row.unless else set()
                )
                for role in roles if flow is RINGING else {"member"}:
                    assert all((role, row.reason, record) in COMPATIBLE for record in Reason)


def _call(**changes: object) -> Call:
    base = {"session_id": "s", "type": "audio", "state": "ringing", "role": "caller", "status": Status.INITIATED}
    return Call(**{**base, "initiator": "alice", "receiver": "bob", **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(("role", "peer"), [("caller", "bob"), ("callee", "alice")])
def test_the_peer_is_the_other_one(role: str, peer: str) -> None:
    """A call's peer is the receiver at the caller, and the initiator at the callee."""
    assert _call(role=role).peer == peer


def test_a_session_has_no_peer() -> None:
    """Among several people there is no other one."""
    assert _call(role="member", receiver="").peer == ""


@pytest.mark.parametrize("flag", ["audio_muted", "video_paused", "presenting", "hand_raised"])
def test_a_participant_says_what_its_flags_say(flag: str) -> None:
    """Each property of a participant follows its flag and no other."""
    properties = ["audio_muted", "video_paused", "presenting", "hand_raised"]
    person = Participant(pid="1", uid="alice", flags=frozenset({flag}))
    assert [name for name in properties if getattr(person, name)] == [flag]
    assert not any(getattr(Participant(pid="1", uid="alice"), name) for name in properties)


@pytest.mark.parametrize("reason", list(Reason))
def test_an_end_knows_its_status(reason: Reason) -> None:
    """The status of an end reason is that of the table."""
    assert EndReason(what=reason).status is STATUS[reason]


def test_what_users_see_cannot_be_changed() -> None:
    """Public values and records are frozen, so a snapshot stays what it was."""
    for value, name in ((_call(), "state"), (User(uid="alice"), "name"), (Participant(pid="1", uid="a"), "flags")):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(value, name, "other")
    with pytest.raises(AttributeError):
        Control(state="idle", role="caller").state = "active"  # type: ignore[misc]


def test_control_states_compare_and_hash_by_value() -> None:
    """Two legs in the same condition have equal controls, whatever their ids, so controls can be shared."""
    one = Control(state="active", role="caller", flags=frozenset({"joined", "presenting"}))
    other = Control(state="active", role="caller", flags=frozenset({"presenting", "joined"}))
    assert one == other
    assert len({one, other}) == 1
    legs = [Leg(pid=str(i), user="u", device="d", epoch="e", control=one) for i in range(2)]
    assert legs[0] != legs[1]


def test_records_survive_encoding() -> None:
    """A record with everything in it is the same after JSON and back."""
    control = Control(state="active", role="caller", flags=frozenset({"joined"}))
    leg = Leg(pid="1", user="alice", device="d", epoch="e", control=control, grants=frozenset({"audio"}))
    record = model.Record(
        session_id="s", flow="ringing", type="video", initiator="alice", receiver="bob", legs=(leg,),
        invitations=(model.Invitation(user="bob"),), offers=(model.Offer(pair=("1", "2")),),
    )  # fmt: skip
    line = model.Line(user="alice", devices=(model.Device(device="d", epoch="e"),), holds=("s",))
    for value in (record, line):
        assert msgspec.json.decode(msgspec.json.encode(value), type=type(value)) == value
