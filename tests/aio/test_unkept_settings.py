"""Settings that promise what nothing keeps yet are refused where a session starts, and not taken in silence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from statecore import CallSettings
from statecore.errors import InvalidSettings
from statecore.settings import UNKEPT
from statecore.testing import FakeMedia

Town, Run = Callable[..., Any], Callable[..., Any]

ASKED = {
    "display_name": "Alice", "auto_record": True, "presenter_mode": True, "noise_reduction": True,
    "audio_output": "speaker", "camera_facing": "rear", "virtual_background_blur": 1,
    "virtual_background_image": "https://example.org/beach.jpg", "low_bandwidth": True,
    "audio_input": "nonsense", "video_input": "nonsense",
}  # fmt: skip


@pytest.mark.parametrize("name", UNKEPT)
def test_a_promise_that_nobody_keeps_is_refused(town: Town, run: Run, name: str) -> None:
    """A session that is started with such a setting is refused by its name and why, before anybody rings or joins."""

    async def main() -> None:
        async with town("alice", "bob") as t:
            alice, asked = t.clients["alice"], {name: ASKED[name]}
            token = await alice.generate_token("room")
            for more in ({"settings": CallSettings(**asked)}, asked):
                with pytest.raises(InvalidSettings, match=f"{name}=.*{UNKEPT[name][:12]}"):
                    await alice.start_session(token, **more)
                with pytest.raises(InvalidSettings, match=name):
                    async with alice.call("bob", **more):
                        raise AssertionError("it must not begin")
            assert not alice.calls
            assert not t.seen
            assert not t.media["alice"].sessions

    run(main)


def test_what_the_adapter_heeds_is_taken(town: Town, run: Run) -> None:
    """A media adapter that says that it acts on a setting is handed it; what is said to be a hint is taken by all."""

    class Phone(FakeMedia):
        heeds = ("camera_facing",)

    async def main() -> None:
        async with town() as t:
            alice = await t.add("alice", media=Phone())
            token = await alice.generate_token("room")
            with pytest.raises(InvalidSettings, match="low_bandwidth"):
                await alice.start_session(token, camera_facing="rear", low_bandwidth=True)
            session = await alice.start_session(token, camera_facing="rear", title="Standup", show_chat_button=True)
            assert session.settings.camera_facing == "rear"
            await session.leave()

    run(main)
