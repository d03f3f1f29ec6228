"""What the tests of the simulator share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from statecore.flow import RINGING, Fire, Flow, Row


def _broken(trigger: str, state: str, at: str | None = None) -> Flow:
    """The ringing flow without the `Fire`s (at these targets, or all) in the rows of one trigger."""
    old = [row for row in RINGING.rows if (row.trigger, row.state) == (trigger, state) and row.refuse is None]

    def keeps(effect: object) -> bool:
        return not (isinstance(effect, Fire) and at in (None, effect.at))

    new = [
        Row(r.state, r.trigger, r.to, tuple(e for e in r.effects if keeps(e)), when=r.when, unless=r.unless,
            reason=r.reason, decider=r.decider)
        for r in old
    ]  # fmt: skip
    return RINGING.extend("ringing", rows=new, without=old)


@pytest.fixture
def broken() -> Callable[..., Flow]:
    """Makes a ringing flow with a fault in it."""
    return _broken
