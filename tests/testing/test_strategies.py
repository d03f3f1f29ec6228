"""The strategies make what they say, and every decoder takes it or refuses it with an error of ours."""

from __future__ import annotations

import contextlib
from datetime import date
from typing import Any, get_args

import attrs
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from statecore import CallSettings, ServiceSettings
from statecore.errors import InvalidFlow, MalformedMessage, TokenError, UnsupportedVersion
from statecore.flow import FLOWS, Flow
from statecore.machine import asked, compiled
from statecore.testing import strategies as made
from statecore.tokens import Claims, JwtSigner, Keys, session_of
from statecore.wire import Down, Up, decode_down, decode_up, encode

SIGNER = JwtSigner(Keys("k1", b"a secret of at least thirty-two bytes"), issuer="statecore")
SLOW = settings(
    deadline=None, max_examples=settings.default.max_examples * 3 // 5, suppress_health_check=[HealthCheck.too_slow]
)


@SLOW
@given(made.messages_up())
def test_a_message_up_survives_the_wire(message: Up) -> None:
    """What a device may send comes out of the codec as it went in."""
    assert decode_up(encode(message)) == message


@SLOW
@given(made.messages_down())
def test_a_message_down_survives_the_wire(message: Down) -> None:
    """What a service may send comes out of the codec as it went in."""
    assert decode_down(encode(message)) == message


@pytest.mark.parametrize("kind", [*get_args(Up), *get_args(Down)])
def test_every_kind_of_message_is_made(kind: type) -> None:
    """No message of the protocol is left out."""
    for all_kinds, makes in ((Up, made.messages_up()), (Down, made.messages_down())):
        if kind in get_args(all_kinds):
            tries = settings(
                database=None, max_examples=2000, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
            )  # the first will do: to look for the least takes far longer
            assert type(find(makes, lambda message: type(message) is kind, settings=tries)) is kind


@settings(SLOW, max_examples=settings.default.max_examples * 2)  # fewer leave out a kind of damage now and then
@given(made.damaged_messages())
def test_a_damaged_message_is_refused_or_whole(data: bytes) -> None:
    """A decoder gives a message that can be said again, or an error that the documentation names."""
    for decode in (decode_up, decode_down):
        with contextlib.suppress(MalformedMessage, UnsupportedVersion):
            message = decode(data)
            assert decode(encode(message)) == message


@SLOW
@given(made.flows())
def test_a_made_flow_keeps_every_rule(flow: Flow) -> None:
    """A flow that the strategy makes is valid, and its look-up agrees with `transitions` on a sample of its cells."""
    machine = compiled(flow)
    for state, cells in machine.cells.items():
        for trigger, cell in cells.items():
            truth = dict.fromkeys(cell.needs, True)
            expected = asked(machine.machine, state, trigger, truth)[1]
            assert cell.rows.get(machine.pack(set(truth)) & cell.mask) is expected


@SLOW
@given(made.damaged_flows())
def test_a_damaged_flow_is_refused_or_valid(values: dict[str, Any]) -> None:
    """A table with anything wrong in it is refused with InvalidFlow; what is built can be compiled and exported."""
    with contextlib.suppress(InvalidFlow):
        flow = Flow(**values)
        compiled(flow)
        assert len(flow.hash) == 16


@SLOW
@given(made.call_settings(), made.service_settings())
def test_made_settings_are_valid(session: CallSettings, service: ServiceSettings) -> None:
    """Settings can be built again from their own values, and show no credential."""
    assert attrs.evolve(session) == session
    assert attrs.evolve(service) == service
    for server in session.ice_servers:
        assert "credential" not in repr(server)


@SLOW
@given(made.claims())
def test_a_token_says_what_was_signed(claims: Claims) -> None:
    """A genuine token names its session, and verifies to its claims or to an error about its time or issuer."""
    token = SIGNER.sign(claims)
    assert session_of(token) == claims.session
    with contextlib.suppress(TokenError):
        assert SIGNER.verify(token, claims.not_before * 1000) == claims


@SLOW
@given(made.damaged_tokens(SIGNER), st.integers(0, 4_000_000_000_000))
def test_a_damaged_token_is_refused(token: str, now: int) -> None:
    """Whatever a text is, verifying it gives claims or a TokenError, and so does a look at its session."""
    with contextlib.suppress(TokenError):
        assert SIGNER.verify(token, now).issuer == "statecore"
    with contextlib.suppress(TokenError):
        assert session_of(token)


@SLOW
@given(st.data())
def test_commands_name_a_flow_and_its_triggers(data: st.DataObject) -> None:
    """Commands are of the flow that was given, and survive the wire."""
    flow = data.draw(st.sampled_from(list(FLOWS.values())))
    command = data.draw(made.commands(flow, st.just("s")))
    assert (command.flow, command.session) == (flow.name, "s")
    assert decode_up(encode(command)) == command


class Dated(Struct):
    """A type of which no message has anything."""

    day: date


def test_a_type_without_a_strategy_is_named() -> None:
    """What cannot be made is refused when the strategy is built, not when it is drawn from."""
    with pytest.raises(TypeError, match="Struct"):
        made.of_struct(int)
    with pytest.raises(TypeError, match="no strategy for DateType"):
        made.of_struct(Dated)
