"""Scripts written by hand: what each fault brings about, and what the simulator takes for a violation."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from statecore.aio._time import Deadlines
from statecore.endpoint import EndpointMachine, Send
from statecore.flow import FLOWS
from statecore.ports import Notice
from statecore.switchboard import Done, Switchboard
from statecore.testing import run_virtual
from statecore.testing.sim import Core, Item, Script, Violation, simulate
from statecore.testing.sim._parts import Mix
from statecore.testing.sim._run import TIMERS
from statecore.testing.sim._services import Board, Post, Services
from statecore.testing.sim.shells import _Town, simulate_shells
from statecore.wire import View, Welcome

TWO = {"a.0": "a", "b.0": "b"}


def _script(*items: Item) -> Script:
    return Script(5, TWO, list(items))


def _does(at: int, device: str, trigger: str, *, session: str = "S", **how: Any) -> Item:
    return Item(at, "do", device, session, {"trigger": trigger, **how})


def _breaks(at: int, what: str, device: str = "", **how: Any) -> Item:
    return Item(at, what, device, how=how)


CALL = (
    _does(100, "a.0", "initiate", flow="ringing", receiver="b", type="video"),
    _does(200, "b.0", "accept", when=["ringing"], wait=5000),
    *(_does(300, device, "join", when=["accepted"], wait=5000) for device in TWO),
)


def test_a_process_that_is_dead_does_not_die_again() -> None:
    """Of two crashes of one device before it is back, or in one moment, one counts, here and in the shells."""
    core = _script(_breaks(100, "crash", "a.0", ms=5000), _breaks(200, "crash", "a.0", ms=10))
    assert simulate(core).faults == {"crash": 1}
    shells = _script(_breaks(1000, "crash", "a.0", ms=500), _breaks(1000, "crash", "a.0", ms=500))
    assert simulate_shells(shells).faults == {"crash": 1}


def test_a_device_whose_lease_runs_out_is_to_connect_anew() -> None:
    """Whose clock is far too slow beats too seldom: the service loses it, closes its end, and lets it in again."""
    lines: list[str] = []
    script = _script(_breaks(100, "clock_rate", "a.0", rate=0.1), _breaks(65_000, "slow", "b.0", ms=1))
    simulate(script, trace=lines.append)
    decided = [json.loads(text) for _, who, text in (line.split(" ", 2) for line in lines) if who == "service"]
    at = next(place for place, made in enumerate(decided) if made["service"] == "Due" and made["writes"])
    assert [made["service"] for made in decided[at : at + 3]] == ["Due", "Disconnect", "Connect"]


def test_a_call_that_its_store_did_not_outlive_is_lost_and_another_can_be_made() -> None:
    """Both sides of a call end as lost as soon as they are back, and the same two may call again."""
    lines: list[str] = []
    first = (replace(item, at=item.at + 2000) for item in CALL)
    again = (replace(item, at=item.at + 20_000, session="T") for item in CALL)
    script = _script(*first, _breaks(8000, "forget", ms=1000), *again, _does(40_000, "a.0", "end", session="T"))
    mix = simulate(script, trace=lines.append)
    assert mix.faults == {"forget": 1}
    assert mix.reasons == {"forgotten": 1, "hangup": 1}
    assert sum('"ended":{"S":"lost"}' in line for line in lines) == 2


def test_a_service_that_is_down_forgets_nothing_more() -> None:
    """A store is lost once for each time that the service goes."""
    assert simulate(_script(_breaks(1000, "stop", ms=900), _breaks(1100, "forget", ms=10))).faults == {"stop": 1}


class Unwelcoming(Switchboard):
    """A service that greets nobody."""

    def step(self, *given: Any) -> Any:
        """Decide."""
        decision = super().step(*given)
        assert isinstance(decision, Done)
        return replace(decision, effects=tuple(e for e in decision.effects if not isinstance(e.message, Welcome)))


def test_a_device_that_never_comes_to_rest_is_a_violation() -> None:
    """The simulation does not wait for it for ever, and names it."""
    with pytest.raises(Violation, match=r"never quiet: \['a.0', 'b.0'\]"):
        simulate(_script(), core=Core(Unwelcoming(timers=TIMERS), EndpointMachine(timers=TIMERS)))


@pytest.mark.parametrize(("milliseconds", "reason"), [(3000, "hangup"), (20_000, "lost")])
def test_media_that_drops_may_come_back_in_time(milliseconds: int, reason: str) -> None:
    """A call whose media was lost for three seconds goes on; one that has to wait too long for it is lost."""
    end = _does(15_000, "a.0", "end")
    mix = simulate_shells(_script(*CALL, _breaks(4000, "media_drop", "a.0", ms=milliseconds), end))
    assert mix.faults == {"media_drop": 1}
    assert mix.reasons == {reason: 1}


def test_whoever_starts_while_the_service_is_down_waits_for_it() -> None:
    """A process that comes back before the service does connects with it; a service that is down cannot stop."""
    stops = (_breaks(1000, "stop", ms=15_000), _breaks(1500, "stop", ms=10))
    mix = simulate_shells(
        _script(*stops, _breaks(1600, "crash", "a.0", ms=500), *(replace(i, at=i.at + 20_000) for i in CALL))
    )
    assert mix.faults == {"stop": 1, "crash": 1}
    assert mix.reasons == {"hangup": 1}


def test_a_command_that_does_not_settle_is_a_violation() -> None:
    """Nobody waits for longer than five minutes: a ring of seven is taken for one that never ends."""
    call = _does(100, "a.0", "initiate", receiver="b", timeout=400_000)
    with pytest.raises(Violation, match=r"initiate of a\.0 never settled"):
        simulate_shells(_script(call, _breaks(305_000, "slow", "a.0", ms=1)))


def test_a_service_that_dies_where_it_stands_is_simulated_in_the_shells() -> None:
    """Killed once it has committed the accept, or in the middle of a call, it has told nobody; the call goes on."""
    mix = simulate_shells(_script(*CALL, _breaks(150, "stop_after_commit", ms=900), _breaks(8000, "stop", ms=900)))
    assert mix.faults == {"stop_after_commit": 1, "stop": 1}
    assert mix.reasons == {"hangup": 1}
    assert mix.agreements > 10


def test_a_store_that_does_not_outlive_its_service_is_simulated_in_the_shells() -> None:
    """Both sides of the call hear that it is lost, and call again; so it is with two services, which both die."""
    again = [replace(item, at=item.at + 20_000, session="T") for item in CALL]
    items = (*CALL, _breaks(5000, "forget", ms=1000), _breaks(5100, "forget", ms=10), *again)
    for seed in (5, 7):
        site = Services(seed, TWO.values(), FLOWS)
        town = _Town(replace(_script(*items), seed=seed), site, FLOWS)
        run_virtual(town.run())
        assert site.mix.faults == {"forget": 1}
        assert site.mix.reasons == {"forgotten": 1, "hangup": 1}
        lost = [line for home in town.homes.values() for line in home.traces[0] if '"ended":{"S":"lost"}' in line]
        assert len(lost) == 2


def test_an_endpoint_that_does_not_say_again_what_it_owes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who says no while the link is cut says so once it is back; whoever does not, the service still rings."""
    welcome = EndpointMachine._welcome

    def forgetful(self: EndpointMachine, step: Any, message: Any) -> None:
        welcome(self, step, message)
        step.effects = [effect for effect in step.effects if not isinstance(effect, Send)]

    away = _script(CALL[0], _breaks(2000, "cut", "b.0", ms=500), _does(2200, "b.0", "end"))
    assert simulate_shells(away).reasons == {"rejected": 1}
    monkeypatch.setattr(EndpointMachine, "_welcome", forgetful)
    with pytest.raises(Violation, match=r"never of one mind: .'S b\.0': \('1 ringing"):
        simulate_shells(away)


def test_a_service_that_forgets_a_timer_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ring that is over and is not ended is seen, though nobody does anything."""
    monkeypatch.setattr(Deadlines, "watch", lambda *_: None)
    rings = _does(100, "a.0", "initiate", flow="ringing", receiver="b", timeout=2000)
    with pytest.raises(Violation, match=r"Record S.*was due at"):
        simulate_shells(_script(rings, _breaks(8000, "slow", "a.0", ms=1)))


def test_a_service_that_is_opened_again_lets_what_it_is_about_come_to_an_end() -> None:
    """An orderly restart in a call is a reconnect, and the media may be negotiated anew meanwhile."""
    negotiates = (Item(at, "negotiate", device, "S") for at, device in ((4000, "a.0"), (5010, "b.0")))
    mix = simulate_shells(
        _script(*CALL, *negotiates, _breaks(5000, "restart", ms=900), _breaks(9000, "slow", "a.0", ms=1))
    )
    assert mix.faults == {"restart": 1, "slow": 1}
    assert mix.reasons == {"hangup": 1}


@pytest.mark.parametrize("what", ["repeat", "overtake"])
def test_what_is_said_comes_twice_or_late_in_the_shells(what: str) -> None:
    """What a device says is heard and not answered, or heard after what it says next: the call does not notice."""
    mix = simulate_shells(_script(*CALL, *(_breaks(at, what, "b.0", count=3) for at in (150, 6000))))
    assert mix.faults[what] > 2
    assert mix.reasons == {"hangup": 1}


def test_a_change_that_is_not_told_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who takes notices and passes one kind of them over is found out."""
    script = replace(_script(*CALL, _breaks(9000, "slow", "a.0", ms=1)), seed=2)
    mix = simulate_shells(script)
    assert mix.faults["notice_refused"] + mix.faults["notice_slow"] > 0

    class Careless(Post):
        async def notify(self, notice: Notice) -> None:
            if notice.what != "accepted":
                await super().notify(notice)

    monkeypatch.setattr("statecore.testing.sim._services.Post", Careless)
    with pytest.raises(Violation, match="was told"):
        simulate_shells(script)


def test_a_silent_link_is_given_up_or_mended() -> None:
    """Its device connects anew when its lease is over, while the service has the old connection; or it is mended."""
    given_up = _script(_breaks(3000, "half_open", "a.0", ms=90_000), _breaks(80_000, "slow", "b.0", ms=1))
    assert simulate(given_up).faults == {"half_open": 1, "slow": 1}
    assert simulate(_script(_breaks(3000, "half_open", "a.0", ms=90_000))).faults == {"half_open": 1}


@pytest.mark.parametrize("run", [simulate, simulate_shells])
def test_the_clock_of_the_service_is_set_forward(run: Callable[[Script], Mix]) -> None:
    """A ring ends by its timer when that is set forward meanwhile."""
    ring = _does(2000, "a.0", "initiate", flow="ringing", receiver="b", timeout=20_000)
    mix = run(_script(ring, _breaks(5000, "service_clock", ms=10_000), _breaks(30_000, "slow", "a.0", ms=1)))
    assert mix.reasons == {"unanswered": 1}


def test_nothing_drops_where_nobody_else_is() -> None:
    """Who is alone in a session has no media with anybody that could be lost."""
    join = _does(1000, "a.0", "join", flow="session", token="fresh")
    mix = simulate_shells(_script(join, _breaks(3000, "media_drop", "a.0", ms=10)))
    assert mix.faults == {}
    assert mix.calls == {"S"}


@pytest.mark.parametrize("run", [simulate, simulate_shells])
def test_what_is_no_fault_is_an_error(run: Callable[[Script], object]) -> None:
    """A name that a simulator does not know is not passed over."""
    with pytest.raises(ValueError, match="no fault 'overtaken'"):
        run(_script(_breaks(10, "overtaken", "a.0")))


class Forgetful(Board):
    """A service that tells nobody of a cancel."""

    def step(self, *given: Any) -> Any:
        """Decide."""
        decision = super().step(*given)
        if not isinstance(decision, Done):
            return decision
        return replace(decision, effects=tuple(e for e in decision.effects if not self._is_cancel(e.message)))

    def _is_cancel(self, message: object) -> bool:
        return isinstance(message, View) and message.reason == "cancelled" and message.role == "callee"


def test_a_device_that_was_not_told_is_seen_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that rings on while the service knows that the call is over: who, and both states."""
    monkeypatch.setattr("statecore.testing.sim._services.Board", Forgetful)
    later = _breaks(5000, "slow", "a.0", ms=1)
    with pytest.raises(Violation, match=r"S b\.0: \d+ ended ringing"):
        simulate_shells(_script(CALL[0], _does(2000, "a.0", "cancel"), later))
