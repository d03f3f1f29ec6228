"""The pytest plugin: fixtures of the kit, and asynchronous tests in virtual time. Registered as `statecore`::

    @pytest.mark.virtual_time
    async def test_nobody_answers(call_pair):
        call = await call_pair.ring()
        with pytest.raises(CallUnanswered):
            await call_pair.caller.answered(call.session_id)

A test with the marker `virtual_time` runs on a loop of its own whose time jumps; what its fixtures made is opened
before it on that loop, and closed after it. In any other test use these fixtures as asynchronous context managers
(`async with call_service:`); whatever runs asynchronous tests will do.

Every pytest in an environment loads this module, so it imports nothing that takes its time before a fixture is used.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from statecore.aio import CallService
    from statecore.testing import CallPair, FakeMedia, VirtualClock

_OPENS = pytest.StashKey[list[AbstractAsyncContextManager[Any]]]()
"""What is to be open while a test in virtual time runs."""


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest of the markers."""
    for marker in (
        "virtual_time: run this `async def` test on a loop whose time jumps to the next timer",
        "call_service(**options): what the fixture `call_service` gives to CallService",
        "call_pair(**options): what the fixture `call_pair` gives to CallPair",
    ):
        config.addinivalue_line("markers", marker)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test in virtual time."""
    if pyfuncitem.get_closest_marker("virtual_time") is None:
        return None
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        pytest.fail(f"{pyfuncitem.name} runs in virtual time, so it has to be an `async def`", pytrace=False)
    from .loop import run_virtual  # noqa: PLC0415 - see above

    run_virtual(_run(pyfuncitem))
    return True


async def _run(item: pytest.Function) -> None:
    names = inspect.signature(item.obj).parameters
    with _nothing_left() if "assert_fully_reaped" in item.fixturenames else nullcontext():
        async with AsyncExitStack() as stack:
            for each in item.stash.get(_OPENS, []):
                await stack.enter_async_context(each)
            await item.obj(**{name: item.funcargs[name] for name in names})


def _open(request: pytest.FixtureRequest, what: AbstractAsyncContextManager[Any]) -> None:
    request.node.stash.setdefault(_OPENS, []).append(what)


def _options(request: pytest.FixtureRequest, name: str) -> dict[str, Any]:
    """What the markers of a name say; the closest to the test goes before the others."""
    options: dict[str, Any] = {}
    for marker in request.node.iter_markers(name):
        options = {**marker.kwargs, **options}
    return options


def _nothing_left() -> Any:
    from .leaks import assert_fully_reaped as nothing_left  # noqa: PLC0415 - see above

    return nothing_left()


@pytest.fixture
def virtual_clock() -> VirtualClock:
    """A clock by the loop's time, for a service and its clients: their wall time goes with it."""
    from .loop import VirtualClock  # noqa: PLC0415 - see above

    return VirtualClock()


@pytest.fixture
def fake_media() -> FakeMedia:
    """A media adapter that moves frames in memory, and fails on purpose: see FakeMedia."""
    from .media import FakeMedia  # noqa: PLC0415 - see above

    return FakeMedia()


@pytest.fixture
def call_service(request: pytest.FixtureRequest, virtual_clock: VirtualClock) -> CallService:
    """A service by the virtual clock. `@pytest.mark.call_service(settings=..., flows=...)` says more."""
    from statecore.aio import CallService  # noqa: PLC0415 - see above

    service = CallService(**{"clock": virtual_clock, **_options(request, "call_service")})
    _open(request, service)
    return service


@pytest.fixture
def call_pair(request: pytest.FixtureRequest, virtual_clock: VirtualClock) -> CallPair:
    """Two people who can call each other: see CallPair. `@pytest.mark.call_pair(timers=...)` says more."""
    from .pair import CallPair  # noqa: PLC0415 - see above

    pair = CallPair(**{"clock": virtual_clock, **_options(request, "call_pair")})
    _open(request, pair)
    return pair


@pytest.fixture
def assert_fully_reaped() -> Iterator[None]:
    """Fails the test that leaves a thread or an open file, and, in virtual time, a task or a timer.

    Ask for it by name, or for a whole module: `pytestmark = pytest.mark.usefixtures("assert_fully_reaped")`."""
    with _nothing_left():
        yield
