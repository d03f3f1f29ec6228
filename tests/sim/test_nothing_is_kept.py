"""A refused command leaves nothing behind: what is none of the garbage collector's business must not be in a circle."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from statecore.endpoint import Do, Endpoint, EndpointMachine, Say, Settle
from statecore.errors import StatecoreError, TokenMalformed
from statecore.model import Line
from statecore.switchboard import Act, Connect, Done, Register, Switchboard
from statecore.wire import Command, Hello, Refused


def _kept(error: StatecoreError) -> weakref.ref[StatecoreError]:
    assert error.__traceback__ is None
    return weakref.ref(error)


def test_a_command_that_the_device_refuses_is_forgotten() -> None:
    """Thousands of illegal commands leave no error, frame or step that nothing can free."""
    machine, endpoint, errors = EndpointMachine(), Endpoint("alice", "a1", "1"), []
    for given in (Do("S", "accept", ticket=1), Say("S", "hello", ticket=2), Do("S", "join", ticket=3, flow="session")):
        endpoint, effects = machine.step(endpoint, given, 1)
        (settled,) = (effect for effect in effects if isinstance(effect, Settle))
        assert settled.error is not None
        errors.append(_kept(settled.error))
        del effects, settled
    gc.collect()
    assert [error() for error in errors] == [None, None, None]


def test_a_token_that_is_refused_is_forgotten() -> None:
    """Nor do tokens that are not good fill the service's memory."""
    board, store = Switchboard(), _Store()
    for given in (Register("alice"), Connect("alice", Hello("a1", "1", 1))):
        store.update(_done(board.step(store, given, 1)).writes)
    assert isinstance(store["line", "alice"], Line)
    error = TokenMalformed(why="it is not one")
    gone = weakref.ref(error)
    command = Command("S", 1, "join", flow="session", token="not one")
    decision = _done(board.step(store, Act("alice", "a1", "1", command, None, error), 2))
    assert isinstance(decision.effects[0].message, Refused)
    del error, decision
    gc.collect()
    assert gone() is None


class _Store(dict[Any, Any]):
    def __missing__(self, key: Any) -> None:
        return None


def _done(decision: Any) -> Done:
    assert isinstance(decision, Done)
    return decision
