"""What the types of the browser's client declare is there, and settings are checked before anything is done."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import attrs
import pytest

import statecore_web
from statecore import CallSettings
from statecore.listeners import OngoingCallListener, events

PAGE = Path(statecore_web.__file__).parent / "page"
TYPES = (PAGE / "statecore.d.ts").read_text()


@pytest.fixture(scope="module")
def real() -> dict[str, Any]:
    """What there is, under Node."""
    node = shutil.which("node")
    if node is None:
        assert os.environ.get("CI") != "true", "Node is missing"
        pytest.skip("Node is missing: apt-get install nodejs")
    program = [node, str(Path(__file__).with_name("types.mjs")), str(PAGE)]
    found: dict[str, Any] = json.loads(subprocess.run(program, capture_output=True, check=True, timeout=30).stdout)
    return found


def _declared(kind: str, name: str) -> set[str]:
    """The members that a class or an interface declares."""
    body = TYPES.split(f"export {kind} {name} ", 1)[1].split("{", 1)[1].split("\n}", 1)[0]
    return set(re.findall(r"^  (?:readonly )?(\w+)\??[:(]", body, re.MULTILINE))


@pytest.mark.parametrize("name", ["CallClient", "Session", "CallError"])
def test_what_the_types_declare_is_there(real: dict[str, Any], name: str) -> None:
    """Every method and property that an editor offers exists."""
    declared = _declared("class", name)
    assert len(declared) > 3
    assert declared <= set(real[name])


def test_every_export_that_is_declared_is_there(real: dict[str, Any]) -> None:
    """So does every class, function and constant; but for a session, which is had from a client."""
    declared = set(re.findall(r"^export (?:class|function|const) (\w+)", TYPES, re.MULTILINE))
    assert declared - {"Session"} <= set(real["exports"])


def test_settings_are_those_that_are_declared_and_checked(real: dict[str, Any]) -> None:
    """A setting of a wrong type, out of its bounds or of an unknown name is refused by its name; good ones stay."""
    assert set(real["CallSettings"]) == _declared("interface", "CallSettings")
    assert [entry[1:] for entry in real["refused"]] == [["invalid_settings", entry[0]] for entry in real["refused"]]
    assert real["frozen"]


def test_settings_are_those_of_the_python_side(real: dict[str, Any]) -> None:
    """Each has the name, as JavaScript writes it, and the default of one there; and all buttons are among them."""
    python = {field.name: field.default for field in attrs.fields(CallSettings)}
    camel = {re.sub("_(.)", lambda match: match[1].upper(), name): name for name in python}
    assert {name: python[camel[name]] for name in real["defaults"]} == {**real["defaults"], "maxDuration": None}
    assert {name for name, own in camel.items() if own.startswith("show_")} <= set(real["defaults"])


def test_buttons_are_those_of_the_python_side(real: dict[str, Any]) -> None:
    """A press that Python's listeners hear of can be told, and no other; nor any after the end."""
    told = {event.removesuffix("_button_pressed") for event in events(OngoingCallListener) if "_button_" in event}
    assert real["pressed"] == [*sorted(told), "invalid_argument", "session_inactive"]


def test_what_cannot_be_rung_is_refused(real: dict[str, Any]) -> None:
    """A group, which nothing here can ring, and nobody at all are refused before anything is asked of the service."""
    assert real["unrung"] == [["invalid_argument", "receiver_type"], ["blank_id", "receiver"]]
