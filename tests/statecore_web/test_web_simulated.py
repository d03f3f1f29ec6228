"""The simulator's scripts, and its oracle, on the real thing: `statecore serve` as a process on a SQLite file that is
killed and started again, WebSockets through proxies that break, and webhooks."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from msgspec.structs import replace

from statecore.endpoint import EndpointMachine, Send
from statecore.testing import FastLoop, assert_fully_reaped
from statecore.testing.sim import Item, Script, Violation, script_of
from statecore.testing.sim.shells import carry_out

sys.path.append(str(Path(__file__).parent))
from _socket_site import SocketSite

_SPEED = 8.0
"""How much faster time passes, for devices and service: a ring of 45 seconds takes less than 6."""
_AT_ONCE = 3
_ALONE = 16.0
"""The same where one script of two devices is all there is."""
_QUICK = 0.5
"""Seconds in which a process is up on a machine that is not busy; on another one time passes slower here."""
_PAIR = {"u0.0": "u0", "u1.0": "u1"}


def _do(at: int, device: str, trigger: str, **how: Any) -> Item:
    return Item(at, "do", device, "call", {"trigger": trigger, **how})


def _ring(timeout: int) -> Item:
    return _do(500, "u0.0", "initiate", flow="ringing", receiver="u1", type="audio", timeout=timeout)


_UNANSWERED = Script(
    1, _PAIR,
    [
        _ring(7000), *(Item(2500, "cut", device, how={"ms": 36_000}) for device in _PAIR),
        Item(3000, "stop", how={"ms": 1}),
    ],
)  # fmt: skip
"""The service dies while it rings and both devices are away, who could remind it."""
_DECLINED_AWAY = Script(
    2, _PAIR,
    [
        _ring(40_000), Item(3000, "cut", "u1.0", how={"ms": 500}), _do(3200, "u1.0", "end"),
        Item(6000, "slow", "u1.0", how={"ms": 1}),
    ],
)  # fmt: skip
"""Who is called says no, and has no link at that moment."""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where stores are: in memory if that can be had, since the time that a disk takes passes faster here, too. What
    the store keeps when its process is killed is the same there."""
    memory = Path("/dev/shm")  # noqa: S108 - within it, a folder of this test's own
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as name:
        yield Path(name)


async def _played(folder: Path, script: Script, planted: str = "") -> SocketSite:
    async with SocketSite(folder / f"seed-{script.seed}", script, planted=planted) as site:
        await carry_out(script, site)
    return site


def _up() -> float:
    """After how many seconds a process is up."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-P", "-c", "import statecore.aio"], check=True)
    return time.monotonic() - began


def _play(folder: Path, scripts: Iterable[Script], speed: float, planted: str = "") -> list[SocketSite]:
    """Carry scripts out, a few side by side, each on a service of its own. Raises Violation, in a group."""
    sites: list[SocketSite] = []

    async def work(waiting: Iterator[Script]) -> None:
        for script in waiting:
            sites.append(await _played(folder, script, planted))  # noqa: PERF401 - of several workers

    async def main() -> None:
        waiting = iter(scripts)
        async with asyncio.TaskGroup() as workers:
            for _ in range(_AT_ONCE):
                workers.create_task(work(waiting))

    speed *= min(1.0, _QUICK / _up())
    with assert_fully_reaped(), asyncio.Runner(loop_factory=partial(FastLoop, speed)) as runner:
        runner.run(main())
    assert logging.getLogger("statecore").isEnabledFor(logging.WARNING), "what is logged afterwards is shown again"
    return sites


def _play_well(
    folder: Path, scripts: list[Script], speed: float, well: Callable[[list[SocketSite]], bool], planted: str = ""
) -> list[SocketSite]:
    """Carry scripts out until what they are for has come about: where a machine is too busy for that, slower. What must
    never be is raised at once."""
    for slower in (1, 2, 4):
        sites = _play(folder / f"slower-{slower}", scripts, speed / slower, planted)
        if well(sites):
            break
    return sites


def _brief(script: Script) -> Script:
    """With everything that takes long cut short: what is drawn for a sample is over in seconds."""

    def cut(item: Item) -> Item:
        how = dict(item.how)
        if "ms" in how:
            how["ms"] = min(how["ms"], 4000)
        if how.get("trigger") == "initiate":
            how["timeout"] = min(how.get("timeout", 0) or 6000, 6000)
        return replace(item, how=how)

    return replace(script, items=[cut(item) for item in script.items])


def _met(sites: list[SocketSite]) -> dict[str, int]:
    """What runs have met, all together."""
    met: Counter[str] = Counter()
    for site in sites:
        told = site.mix.report()
        met.update({name: told[name] for name in ("calls", "met_any", "agreements", "virtual_seconds")})
        met.update(starts=site.starts, connections=site.connections, faults=sum(told["faults"].values()))
    return dict(met)


@pytest.mark.soak
def test_the_simulators_scripts_on_the_real_thing(folder: Path, request: pytest.FixtureRequest) -> None:
    """What holds of simulated calls under faults holds over real sockets, too, with a service that is killed and comes
    back: both sides' traces, the store while it goes on, the call log and the webhooks tell one story."""
    many = settings.default is settings.get_profile("soak")
    seed = int(request.config.getoption("--hypothesis-seed") or random.SystemRandom().randrange(1 << 31))
    print(f"seed {seed}")  # noqa: T201 - to draw the same again
    drawn = [script_of(seed + n, calls=20 if many else 6, users=8) for n in range(200 if many else 3)]
    scripts = drawn if many else [_brief(script) for script in drawn]
    sites = _play_well(folder, scripts, _SPEED, lambda sites: _met(sites)["calls"] > len(sites))
    met = _met(sites)
    print(f"{len(sites)} scripts: {met}")  # noqa: T201 - the figures
    assert met["calls"] > len(sites)
    assert met["faults"] > len(sites)
    assert met["agreements"]


def _ended(reason: str) -> Callable[[list[SocketSite]], bool]:
    """Whether the only call of the only script has ended so."""
    return lambda sites: sites[0].mix.reasons == {reason: 1}


def _never(_: list[SocketSite]) -> bool:
    return False


def test_a_ring_outlasts_the_service_that_dies(folder: Path) -> None:
    """A service that is killed while it rings, and comes back while nobody is connected, ends the ring in time."""
    (site,) = _play_well(folder, [_UNANSWERED], _ALONE, _ended("unanswered"))
    assert site.mix.reasons == {"unanswered": 1}
    assert site.starts == 2


def test_a_service_that_forgets_its_deadlines_is_found(folder: Path) -> None:
    """The same script, with a service that takes no timer up when it comes back: that is seen."""
    with pytest.raises(ExceptionGroup) as found:
        _play_well(folder, [_UNANSWERED], _ALONE, _never, "forgets its deadlines")
    assert found.group_contains(Violation, match="Record call.*was due at")


def test_an_endpoint_that_does_not_say_again_what_it_owes_is_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who says no without a link says so when it is back: a client that does not is seen, one that does is well."""
    (site,) = _play_well(folder / "well", [_DECLINED_AWAY], _ALONE, _ended("rejected"))
    assert site.mix.reasons == {"rejected": 1}
    welcome = EndpointMachine._welcome

    def forgetful(self: EndpointMachine, step: Any, message: Any) -> None:
        welcome(self, step, message)
        step.effects = [effect for effect in step.effects if not isinstance(effect, Send)]

    monkeypatch.setattr(EndpointMachine, "_welcome", forgetful)
    with pytest.raises(ExceptionGroup) as found:
        _play_well(folder / "forgetful", [_DECLINED_AWAY], _ALONE, _never)
    assert found.group_contains(Violation, match="call u1.0")
