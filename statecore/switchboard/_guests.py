"""Guests: devices that a call token has admitted without a login, each to the token's session and to nothing else.

The first join by a guest binds the token to that guest's device: the record ("bound", token id) is written in the
commit of the join, so that whatever service decides next sees it. It reads `until device`, where the digits say, in
Unix milliseconds, when the token has expired and the record is of no use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import StatecoreError, TokenForeign, TokenLacksGrant
from ..model import Device
from ..ports import Key
from ..tokens import Claims

if TYPE_CHECKING:
    from ..machine import FlowMachine
    from ._commands import Act, Connect
    from ._work import Work


def check_bound(work: Work, claims: Claims, device: str) -> None:
    """Raises TokenForeign if the token is for another device, or another has joined by it."""
    if (claims.device or bound_to(work.binding(bound_key(claims.token_id)))) not in (None, device):
        raise TokenForeign(what="device")


def bind(work: Work, claims: Claims, device: str) -> None:
    """From this commit on the token is good on this device only. Idempotent."""
    key = bound_key(claims.token_id)
    if work.binding(key) is None:
        work.bindings[key] = f"{claims.until} {device}".encode()


def bound_key(token_id: str) -> Key:
    """Where it stands what a token is bound to."""
    return "bound", token_id


def bound_to(value: bytes | None) -> str | None:
    """The device that a token is bound to, by what stands there."""
    return value.partition(b" ")[2].decode() if value is not None else None


def refusal(work: Work, before: Device | None, command: Connect) -> StatecoreError | None:
    """Why a guest's device may not connect; None if it may, or is no guest's."""
    if command.guest is None:
        return None
    try:
        check_bound(work, command.guest, command.hello.device)
    except TokenForeign as error:
        return error.with_traceback(None)
    # Whoever holds a token must not drive out a device of a user who has logged in, or of another session.
    return TokenForeign(what="device") if before is not None and before.guest != command.guest.session else None


def confine(act: Act, machine: FlowMachine | None) -> None:
    """Keep a guest to the session of the token, and from making a call that rings. `machine` runs the call that the
    command would make, None if it makes none. Raises TokenForeign, TokenLacksGrant."""
    if act.guest is None:
        return
    if act.command.session != act.guest.session:
        raise TokenForeign(what="session")
    if machine is not None and machine.ring is not None:
        raise TokenLacksGrant(grant=act.command.trigger)


__all__ = ["bind", "bound_key", "bound_to", "check_bound", "confine", "refusal"]
