"""What the reference says beyond the code's own tables is true."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest

import statecore
from statecore.listeners import CallListener, OngoingCallListener, events
from statecore.settings import UNKEPT, CallSettings
from statecore_aiortc import AiortcMedia

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """The generator of the reference."""
    spec = importlib.util.spec_from_file_location("docs_generate_reference", ROOT / "docs" / "_generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sources(*places: str) -> str:
    """All code in some folders and files of the tree."""
    found: list[Path] = []
    for place in places:
        path = ROOT / place
        found += [path] if path.is_file() else sorted(path.rglob("*.py"))
    assert found
    return "\n".join(path.read_text(encoding="utf-8") for path in found)


def test_events_that_nothing_tells_are_marked(generator: ModuleType) -> None:
    """An event is marked in the reference exactly if no code names it to tell it."""
    code = sources("statecore/aio", "statecore/endpoint", "statecore/flow.py")
    told = set(re.findall(r'"(\w+)"', code))
    names = {*events(CallListener), *events(OngoingCallListener)}
    silent = {name for name in names if name not in told and not name.endswith("_button_pressed")}
    assert silent == set(generator.NOT_TOLD)


def test_settings_that_nothing_acts_on_are_marked(generator: ModuleType) -> None:
    """A setting of a session is marked in the reference exactly if no code reads it: it is a hint, or refused; or only
    a media adapter that heeds it does."""
    code = sources("statecore/aio", "adapters")
    read = set(re.findall(r"settings\.(\w+)", code))
    unread = {field.name for field in attrs.fields(CallSettings)} - read
    heeded = {*AiortcMedia().heeds}
    assert heeded <= {*UNKEPT}
    assert unread == {*generator.CARRIED, *UNKEPT, *(name for name in unread if name.startswith("show_"))} - heeded


def test_pages_say_every_event_and_setting(generator: ModuleType) -> None:
    """The pages name each event with its arguments, and each setting with its default."""
    files: dict[str, str] = generator.made()
    for cls in (CallListener, OngoingCallListener):
        for name, arguments in events(cls).items():
            row = next(line for line in files["docs/reference/events.md"].splitlines() if f"`on_{name}`" in line)
            assert all(f"`{argument}`" in row for argument in arguments)
    for each in attrs.fields(CallSettings):
        field: Any = each
        row = next(
            line for line in files["docs/reference/settings.md"].splitlines() if line.startswith(f"| `{field.name}`")
        )
        assert f"`{field.default!r}`" in row


def test_every_public_name_stands_in_the_reference() -> None:
    """Each name that `statecore` exports is on the page of names, or made by one of its lines."""
    page = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    known = {"RINGING", "SESSION", "__version__", "errors"}  # data and a module, not documented by autodoc lines
    assert [name for name in statecore.__all__ if name not in known and f"statecore.{name}\n" not in page] == []
    assert {"RINGING", "SESSION"} <= set(re.findall(r"\w+", page))
