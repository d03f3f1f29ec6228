"""What the reference says beyond the code's own tables is true."""

from __future__ import annotations

import importlib.util
import inspect
import pkgutil
import re
from importlib import import_module
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import attrs
import pytest

import statecore
import statecore.testing
from statecore.errors import StatecoreError
from statecore.listeners import CallListener, OngoingCallListener, events
from statecore.settings import UNKEPT, CallSettings
from statecore.testing import plugin
from statecore_aiortc import AiortcMedia, Device

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
    heeded = {*AiortcMedia(speaker=Device()).heeds}
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


PUBLIC = [
    "statecore", "statecore.errors", "statecore.flow", "statecore.diagram", "statecore.model", "statecore.settings",
    "statecore.listeners", "statecore.ports", "statecore.tokens", "statecore.trace",
    "statecore_aiortc", "statecore_otel", "statecore_sql", "statecore_web", "statecore.testing",
    *(each.name for each in pkgutil.walk_packages(statecore.testing.__path__, "statecore.testing.")),
]  # fmt: skip
"""What an application may import from. The rest of `statecore` is how it is made."""


def _exported(module: ModuleType) -> dict[str, Any]:
    """What a module offers: what it says, or else what it makes itself."""
    if hasattr(module, "__all__"):
        return {name: getattr(module, name) for name in module.__all__}
    made = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    return {name: value for name, value in made.items() if getattr(value, "__module__", None) == module.__name__}


def test_the_page_of_names_has_every_public_name() -> None:
    """Whatever a public module offers is shown on the page, or named there; what is not there may change any time."""
    page = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    shown: set[int] = set()
    for kind, name in re.findall(r"^\.\. auto(module|class|function|data):: (\S+)", page, re.MULTILINE):
        place, _, last = name.rpartition(".")
        found = _exported(import_module(name)) if kind == "module" else {last: getattr(import_module(place), last)}
        # Of a module Sphinx shows no constant that comes from another one.
        shown |= {id(value) for each, value in found.items() if kind != "module" or _is_shown(name, each, value)}
    lacking = [
        f"{module}.{name}"
        for module in PUBLIC
        if "._" not in module
        for name, value in _exported(import_module(module)).items()
        if id(value) not in shown and f"`{name}`" not in page and not _is_error(value)
    ]
    assert not lacking, ", ".join(lacking)


def _is_shown(module: str, name: str, value: object) -> bool:
    made_there = re.search(rf"^{name}\b.*=", inspect.getsource(import_module(module)), re.MULTILINE)
    return made_there is not None or isinstance(value, type | FunctionType | type(plugin.call_pair))


def _is_error(value: object) -> bool:
    """They stand on a page of their own."""
    return isinstance(value, type) and issubclass(value, StatecoreError)
