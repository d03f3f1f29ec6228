"""The pytest plugin, by running tests of others with it."""

from __future__ import annotations

import os
import sys
import textwrap

import pytest

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inner runs find what this one finds, and no plugin of the environment."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def run(pytester: pytest.Pytester, code: str) -> pytest.RunResult:
    """Run a module of tests with the plugin."""
    pytester.makepyfile("import asyncio\nimport pytest\n" + textwrap.dedent(code))
    # In a process of its own: one that shares this one's would forget on leaving what modules it has loaded.
    return pytester.runpytest_subprocess("-p", "statecore.testing.plugin", "--strict-markers", "-W", "error")


def test_an_asynchronous_test_runs_in_virtual_time(pytester: pytest.Pytester) -> None:
    """An hour takes none, parameters and other people's fixtures arrive, and a failure is a failure."""
    result = run(
        pytester,
        """
        @pytest.fixture
        def hours():
            return 3

        @pytest.mark.virtual_time
        @pytest.mark.parametrize("more", [1, 2])
        async def test_long(virtual_clock, hours, more):
            before = virtual_clock.wall()
            await asyncio.sleep(3600 * (hours + more))
            assert virtual_clock.wall() - before == 3600_000 * (hours + more)

        class TestInAClass:
            @pytest.mark.virtual_time
            async def test_method(self, tmp_path):
                await asyncio.sleep(1)
                assert tmp_path.is_dir()

        @pytest.mark.virtual_time
        async def test_failing():
            await asyncio.sleep(1)
            assert 1 == 2
        """,
    )
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["*assert 1 == 2*"])


def test_everybody_waits_for_ever(pytester: pytest.Pytester) -> None:
    """A test that can never go on fails, and does not hang."""
    result = run(
        pytester,
        """
        @pytest.mark.virtual_time
        async def test_stuck():
            asyncio.get_running_loop()._jumping._patience = 0.01
            await asyncio.Event().wait()
        """,
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*Deadlock: nothing is ready*"])


def test_the_marker_wants_a_coroutine(pytester: pytest.Pytester) -> None:
    """A plain function that is marked says what is wrong; one that is not marked is none of the plugin's business."""
    result = run(
        pytester,
        """
        @pytest.mark.virtual_time
        def test_plain():
            pass

        def test_other():
            pass
        """,
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*test_plain runs in virtual time, so it has to be an `async def`*"])


def test_leaks_are_opt_in(pytester: pytest.Pytester) -> None:
    """Only who asks is told of a task, a timer or a file that stays; who leaves nothing passes."""
    result = run(
        pytester,
        """
        kept = []

        async def leave():
            kept.append(asyncio.ensure_future(asyncio.sleep(100)))
            await asyncio.sleep(0)

        @pytest.mark.virtual_time
        async def test_unasked():
            await leave()

        @pytest.mark.virtual_time
        async def test_asked(assert_fully_reaped):
            await leave()

        def test_file(assert_fully_reaped):
            kept.append(open(__file__))

        @pytest.mark.virtual_time
        @pytest.mark.usefixtures("assert_fully_reaped")
        async def test_tidy(call_service, fake_media):
            from statecore import CallClient
            async with CallClient(call_service.signaling("alice"), fake_media) as alice:
                session = await alice.start_session(await alice.generate_token("room"))
                assert session.state == "active"

        def test_close():
            kept[-1].close()
        """,
    )
    result.assert_outcomes(passed=4, failed=1, errors=1)
    result.stdout.fnmatch_lines(["*left behind: task*sleep*", "*left behind: file*"])


def test_fixtures_outside_of_virtual_time(pytester: pytest.Pytester) -> None:
    """In a test of another kind the fixtures are opened by the test, on its own loop."""
    run(
        pytester,
        """
        @pytest.mark.call_service(key=b"a secret of at least thirty-two bytes")
        def test_by_hand(call_service, fake_media):
            from statecore import CallClient

            async def main():
                async with call_service, CallClient(call_service.signaling("alice"), fake_media) as alice:
                    return alice.connected

            assert asyncio.run(main())
        """,
    ).assert_outcomes(passed=1)


def test_markers_of_a_class_and_of_a_test_are_joined(pytester: pytest.Pytester) -> None:
    """What stands at the test goes before what stands at its class."""
    run(
        pytester,
        """
        from statecore import ServiceSettings, Timers

        @pytest.mark.virtual_time
        @pytest.mark.call_service(settings=ServiceSettings(line_capacity=2), timers=Timers(ring=5))
        class TestService:
            @pytest.mark.call_service(settings=ServiceSettings(line_capacity=3))
            async def test_both(self, call_service):
                assert call_service.settings.line_capacity == 3
                assert call_service.switchboard.timers.ring == 5
        """,
    ).assert_outcomes(passed=1)


def test_two_can_talk(pytester: pytest.Pytester) -> None:
    """The pair is connected when the test begins, follows the virtual clock, takes options, and is closed after it."""
    run(
        pytester,
        """
        from statecore import Timers

        @pytest.mark.virtual_time
        @pytest.mark.call_pair(caller="carol", timers=Timers(ring=5))
        async def test_talk(call_pair, virtual_clock, assert_fully_reaped):
            mine, theirs = await call_pair.talk()
            assert (mine.state, theirs.state, call_pair.caller.user.uid) == ("active", "active", "carol")
            assert abs(mine.call.active_at * 1000 - virtual_clock.wall()) < 1000
            assert call_pair.caller.timers.ring == 5
        """,
    ).assert_outcomes(passed=1)
