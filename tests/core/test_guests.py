"""Guests, decided by the switchboard alone: who is let in, to what, and on which device."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from statecore.endpoint import Do
from statecore.flow import Timers
from statecore.model import Line
from statecore.settings import ServiceSettings
from statecore.switchboard import Act, Connect, Deliver, Done, Forget, Goodbye, Need, Register, bound_to
from statecore.testing.oracle import assert_always, assert_deaf, assert_over
from statecore.testing.world import NOON, World
from statecore.tokens import Claims
from statecore.wire import Command, Hello, Refused

HOST = {"a1": "alice"}
GUESTS = {"g1": "gast", "g2": "gast"}


def world(devices: dict[str, str] | None = None, guests: dict[str, str] | None = None, **more: Any) -> World:
    """Alice, who has logged in, and two devices with one token of a guest's."""
    return World(devices or HOST | GUESTS, guests=guests or dict.fromkeys(GUESTS, "S"), **more).settle()


def enter(made: World, device: str, session: str = "S", *, token: str = "fresh") -> str:  # noqa: S107 - a name
    """A device joins a session by a token: what came of it."""
    ticket = made.user(device, Do(session, "join", flow="session", token=token))
    made.settle(media=True)
    return made.watch.outcomes[ticket]


def line(made: World, user: str = "gast") -> Line | None:
    """What is known of a user."""
    value: Line | None = made.store["line", user]
    return value


def claims(**more: Any) -> Claims:
    """What the guest's token says."""
    said: dict[str, Any] = {"issuer": "statecore", "user": "gast", "session": "S", "token_id": "gast/S"}
    second = NOON // 1000
    return Claims(**{**said, "issued_at": second, "not_before": second, "expires": second + 60, **more})


def refused(effects: tuple[Deliver, ...]) -> tuple[str, dict[str, Any]]:
    """The error that is told."""
    (message,) = [effect.message for effect in effects if isinstance(effect.message, Refused)]
    return message.code, message.data


def connect(made: World, device: str, guest: Claims | None, epoch: str = "e1", user: str = "gast", **more: Any) -> Done:
    """A device connects."""
    return made.decide(Connect(user, Hello(device, epoch, 1, **more), guest))


def act(made: World, device: str, command: Command, guest: Claims, epoch: str = "e1") -> tuple[str, dict[str, Any]]:
    """A guest's device says something that is refused: by what."""
    given = Act("gast", device, epoch, command, guest if command.token else None, guest=guest)
    return refused(made.decide(given).effects)


def test_a_guest_is_in_and_nobody_becomes_known() -> None:
    """The token is enough to join its session; its user cannot be rung by that, and has no line once the guest went."""
    made = world()
    assert enter(made, "a1") == enter(made, "g1") == "ok"
    assert {leg.user for leg in made.record("S").legs} == {"alice", "gast"}
    assert_always(made)
    assert_deaf(made)
    found = line(made)
    assert found is not None
    assert not found.known
    assert found.sessions == ("S",)
    assert made.say("a1", "initiate", "T", flow="ringing", receiver="gast") == "unknown_user"
    made.decide(Goodbye("gast", "g1", "g1-1"))
    assert line(made) is not None, "the other device is here still"
    made.decide(Goodbye("gast", "g2", "g2-1"))
    assert line(made) is None
    assert_over(made.end_all().pass_time(100))


def test_the_first_device_that_joins_is_the_only_one() -> None:
    """Two devices may show one token until one of them has joined; the other is told that it is another device's then,
    whether it joins or connects; the first may leave and come back, also as a new process."""
    made = world(crashes=1)
    assert enter(made, "g2") == "ok"
    assert made.store["bound", "gast/S"] == f"{(NOON // 1000 + 36_000) * 1000} g2".encode()
    assert enter(made, "g1") == "token_foreign"
    assert made.leg("g1", "S") is None
    assert refused(connect(made, "g3", claims()).effects) == ("token_foreign", {"what": "device"})
    assert made.say("g2", "leave") == "ok"
    assert enter(made, "g2") == "ok"
    made.act(("crash", "g2"))
    made.settle()
    assert enter(made, "g2") == "ok"
    assert_deaf(made)
    assert_over(made.end_all().pass_time(100))


def test_a_join_that_comes_to_nothing_binds_nothing() -> None:
    """A token with which a guest was refused, for whatever reason, is good on another device."""
    made = world(settings=ServiceSettings(session_capacity=1))
    assert enter(made, "a1") == "ok"
    assert enter(made, "g1") == "session_full"
    assert enter(made, "g1", token="nonsense") == "token_malformed"
    assert ("bound", "gast/S") not in made.store
    assert made.say("a1", "leave") == "ok"
    assert enter(made, "g2") == "ok"


def test_two_at_once_are_decided_by_the_commit() -> None:
    """The join rests on what the token is bound to: it is asked for, and written in the same commit as the leg."""
    made = world()
    command = Command("S", 1, "join", flow="session", token="x")
    given = Act("gast", "g1", "g1-1", command, claims(), guest=claims())
    view = {key: made.store[key] for key in (("call", "S"), ("line", "gast"))}
    assert made.board.step(view, given, NOON) == Need((("bound", "gast/S"),))
    done = made.board.step({**view, ("bound", "gast/S"): None}, given, NOON)
    assert isinstance(done, Done)
    assert set(done.writes) == {("call", "S"), ("line", "gast"), ("bound", "gast/S")}
    assert ("bound", "gast/S") in done.reads


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (Command("T", 1, "join", flow="session", token="x"), ("token_foreign", {"what": "session"})),
        (Command("T", 1, "initiate", flow="ringing", receiver="alice"), ("token_foreign", {"what": "session"})),
        (Command("S", 1, "initiate", flow="ringing", receiver="alice"), ("token_lacks_grant", {"grant": "initiate"})),
        (Command("S", 1, "end"), ("call_not_found", {"session_id": "S"})),
    ],
)  # fmt: skip
def test_a_guest_is_confined_to_the_session(command: Command, error: tuple[str, dict[str, Any]]) -> None:
    """Another session, or a call that rings, is refused by a typed error, and nothing changes."""
    made = world()
    connect(made, "g3", claims())
    before = dict(made.store)
    assert act(made, "g3", command, claims()) == error
    assert made.store == before


def test_in_the_session_it_does_not_count_which_flow_a_guest_names() -> None:
    """The session has its own; only a call that a command would make is asked what it is."""
    made = world()
    assert enter(made, "a1") == enter(made, "g1") == "ok"
    command = Command("S", 900, "raise_hand", flow="ringing")
    assert made.decide(Act("gast", "g1", "g1-1", command, guest=claims())).writes
    assert "hand_raised" in made.record("S").legs[1].control.flags


def test_a_guest_hears_nothing_of_the_users_other_calls() -> None:
    """A guest by the name of somebody who is known: that one's devices ring, the guest's does not, nor is a ring shown
    that is open as it connects; neither the calls nor the name of the user are the guest's to see or change."""
    made = World({"a1": "alice", "b1": "bob", "g1": "bob"}, guests={"g1": "S"}).settle()
    assert made.say("a1", "initiate", "T", flow="ringing", receiver="bob") == "ok"
    assert [leg.device for leg in made.record("T").legs] == ["a1", "b1"]
    done = connect(made, "g9", claims(user="bob", token_id="9"), user="bob", name="Mallory", sessions={"T": 0})
    assert [type(effect.message).__name__ for effect in done.effects] == ["Welcome", "Unknown"]
    found = line(made, "bob")
    assert found is not None
    assert (found.name, found.known) == ("Bob", True)
    assert [device.device for device in found.ringing] == ["b1"]
    assert made.say("b1", "accept", "T") == "ok"
    assert_over(made.end_all().pass_time(100))


def test_a_guest_drives_no_other_device_out() -> None:
    """Under the name of a device whose user has logged in, or of a guest's in another session, no guest connects; who
    logs in on a guest's device takes its place, and the guest's part ends as lost."""
    made = world({"a1": "alice", "b1": "gast"}, guests={"a1": "S"})
    for guest in (claims(), claims(session="T", token_id="2")):
        assert refused(connect(made, "b1", guest).effects) == ("token_foreign", {"what": "device"})
    connect(made, "g3", claims())
    assert refused(connect(made, "g3", claims(session="T", token_id="2"), "e2").effects)[0] == "token_foreign"
    given = Act("gast", "g3", "e1", Command("S", 1, "join", flow="session", token="x"), claims(), guest=claims())
    made.decide(given)
    assert [leg.end.at for leg in made.record("S").legs] == [0]
    connect(made, "g3", None, "e2")
    assert [leg.control.reason for leg in made.record("S").legs] == ["lost"]


def test_guests_take_no_room_from_the_user() -> None:
    """As many guests of a session as a user may have devices leave room for as many of the user's own."""
    made = World({"a1": "alice"}, settings=ServiceSettings(devices_per_user=2)).settle()
    for number in range(2):
        assert connect(made, f"g{number}", claims()).writes
    assert refused(connect(made, "g9", claims()).effects)[0] == "too_many_devices"
    assert connect(made, "g1", claims(), "e2").writes
    for number in range(2):
        assert connect(made, f"b{number}", None).writes
    assert refused(connect(made, "b9", None).effects)[0] == "too_many_devices"


def test_who_was_a_guest_becomes_known() -> None:
    """A user by whose name guests are here is known once the application says so, or once the user logs in, and is not
    called what a guest chose to be called; and is no more when deleted, guests and all."""
    made = world()
    connect(made, "g3", claims(), name="Bank Support")
    found = line(made)
    assert found is not None
    assert (found.known, found.name) == (False, "Bank Support")
    connect(made, "g3", claims(), "e2")
    found = line(made)
    assert found is not None
    assert found.name == "Bank Support"
    made.decide(Register("gast"))
    found = line(made)
    assert found is not None
    assert (found.known, found.name) == (True, "")
    made.decide(Forget("gast"))
    assert line(made) is None
    connect(made, "g3", claims(), "e3", name="Bank Support")
    connect(made, "b1", None)
    found = line(made)
    assert found is not None
    assert (found.known, found.name) == (True, "")
    assert [device.device for device in found.ringing] == ["b1"]
    connect(made, "b1", None, "e2", name="Bob")
    connect(made, "b1", None, "e3")
    made.decide(Register("gast"))
    found = line(made)
    assert found is not None
    assert found.name == "Bob"


def test_who_is_only_a_guest_cannot_be_deleted() -> None:
    """To delete a user whom nobody made known does nothing to the guests by that name."""
    made = world()
    assert enter(made, "a1") == enter(made, "g1") == "ok"
    before = dict(made.store)
    assert not made.decide(Forget("gast")).writes
    assert made.store == before
    assert_over(made.end_all().pass_time(100))


def test_whoever_logged_in_is_bound_to_no_device() -> None:
    """A token that a guest is bound to is good for its user's own devices, and theirs for a guest's."""
    made = World({"g1": "bob", "b1": "bob", "b2": "bob"}, guests={"g1": "S"}).settle()
    assert enter(made, "b1") == enter(made, "g1") == enter(made, "b2") == "ok"
    assert made.store["bound", "bob/S"].endswith(b" g1")
    assert_over(made.end_all().pass_time(100))


def test_a_line_of_nobody_known_keeps_nothing_behind() -> None:
    """A guest whose lease runs out leaves the session, and no line."""
    made = world({"a1": "alice", "g1": "gast"}, guests={"g1": "S"}, timers=Timers())
    assert enter(made, "a1") == enter(made, "g1") == "ok"
    made.cut("g1")
    while made.notices:
        made.act(("notice", 0))
    while line(made) is not None:
        made.fire(made.timers()[0])
        made.places["g1"] = replace(made.places["g1"], linked=False, up=(), down=())
        while made.places["a1"].up or made.places["a1"].down:
            made.act(("down" if made.places["a1"].down else "up", "a1"))
    assert [leg.control.reason for leg in made.record("S").legs if leg.user == "gast"] == ["lost"]


def test_a_device_may_have_a_name_of_several_words() -> None:
    """A token is bound to it by the whole of its name."""
    assert [bound_to(value) for value in (b"17 phone", b"17 my old phone", None)] == ["phone", "my old phone", None]
