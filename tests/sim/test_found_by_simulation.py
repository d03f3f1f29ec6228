"""What the simulator found in the core, each as the shortest way there."""

from __future__ import annotations

from statecore.endpoint import Do
from statecore.testing.world import World


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
    assert all(leg.ended_at for leg in world.record("S").legs)
