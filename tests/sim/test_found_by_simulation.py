"""What the simulator found in the core, each as the shortest way there."""

from __future__ import annotations

from statecore.endpoint import Do, Endpoint, EndpointMachine, Received
from statecore.model import Reason
from statecore.testing.oracle import assert_over
from statecore.testing.races import Race, named
from statecore.testing.world import World
from statecore.wire import View


def test_a_ring_that_its_end_has_overtaken_does_not_ring() -> None:
    """A device that hears of the end of a call it never knew does not ring when the ring comes after all."""
    world = World({"a1": "alice", "b1": "bob"}).settle()
    world.user("a1", Do("S", "initiate", flow="ringing", receiver="bob"))
    world.act(("up", "a1"))
    world.user("a1", Do("S", "cancel"))
    world.act(("up", "a1"))
    place = world.places["b1"]
    ring, end = place.down
    world.places["b1"] = type(place)(place.endpoint, place.born, True, True, (), (end, ring))
    world.settle()
    assert world.state("b1", "S") == ""
    assert world.watch.told.get(("b1", "incoming_call_received"), 0) == 0


def test_the_end_of_an_earlier_leg_does_not_settle_a_later_one() -> None:
    """Who left, came back and left again still owes the second end after he has heard that the first one was taken."""
    world = World({"a1": "alice"}).settle()
    join = Do("S", "join", flow="session", token=world.token("alice", "S"))
    for given in (join, Do("S", "leave"), join, Do("S", "end")):
        world.user("a1", given)
    world.act(("up", "a1"))
    world.act(("up", "a1"))
    world.act(("up", "a1"))
    first, left, _joined_again = world.places["a1"].down
    place = world.places["a1"]
    world.places["a1"] = type(place)(place.endpoint, place.born, True, True, (), (first, left))
    world.act(("down", "a1"))
    world.act(("down", "a1"))
    world.cut("a1")  # the second leg's view is lost, and the end on its way, too
    world.settle()
    assert world.state("a1", "S") == ""
    assert all(leg.end.at for leg in world.record("S").legs)


def test_a_refusal_that_was_lost_is_not_taken_for_the_end_of_what_went_before() -> None:
    """Who comes back to a session that was ended for all, and loses the refusal with his link, is told of one end."""
    race = named("somebody ends the session for all")
    assert isinstance(race, Race)
    world = race.build(cuts=1)
    plans = [("plan", 2), ("plan", 3), ("plan", 4)]
    way = [("up", "a1"), ("up", "b1"), ("up", "a1"), ("cut", "a1"), ("notice", 0), ("mend", "a1"), ("up", "a1")]
    for action in [*plans, *way]:
        world.act(action)
    world.settle()
    assert world.watch.told["a1", "call_ended_message_received"] == 1
    assert world.watch.outcomes[5] == "call_gone"
    assert_over(world.end_all().pass_time(100))


def test_a_flood_of_messages_for_unknown_sessions_takes_bounded_memory() -> None:
    """Ends and views of thousands of calls that a device knows nothing of leave a bounded number of tombstones."""
    machine, endpoint = EndpointMachine(), Endpoint("bob", "b1", "1", online=True)
    for number in range(3000):
        for state, reason in (("nonsense", None), ("ended", Reason.CANCELLED), ("nonsense", None)):
            view = View(f"S{number}", 1, "2", state, "alice", receiver="bob", reason=reason)
            endpoint, effects = machine.step(endpoint, Received(view), number)
            assert effects == []
    assert endpoint.legs == {}
    assert len(endpoint.tombs) <= 256
