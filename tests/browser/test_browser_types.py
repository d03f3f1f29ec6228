"""What the types of the browser's client declare is there, and settings are checked before anything is done."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import attrs
import pytest

import statecore_web
from statecore import CallClient, CallSettings, Session
from statecore.listeners import OngoingCallListener, events

PAGE = Path(statecore_web.__file__).parent / "page"
TYPES = (PAGE / "statecore.d.ts").read_text()


def _camel(name: str) -> str:
    """A name as JavaScript writes it."""
    return re.sub("_(.)", lambda match: match[1].upper(), name)


@pytest.fixture(scope="module")
def real(node: str) -> dict[str, Any]:
    """What there is, under Node."""
    program = [node, str(Path(__file__).with_name("types.mjs")), str(PAGE)]
    found: dict[str, Any] = json.loads(subprocess.run(program, capture_output=True, check=True, timeout=30).stdout)
    return found


def _body(name: str) -> str:
    """What stands in a class or an interface."""
    return (
        re.split(rf"^export (?:class|interface) {name} ", TYPES, flags=re.MULTILINE)[1].split("{", 1)[1].split("\n}")[0]
    )


def _declared(name: str) -> dict[str, int | None]:
    """Its members: how many arguments each method needs, and None for what is no method."""
    found = re.findall(r"^  (?:readonly )?(\w+)\??(?::|\((.*)\)[:;])", _body(name), re.MULTILINE)
    methods = set(re.findall(r"^  (\w+)\??\(", _body(name), re.MULTILINE))
    return {member: _needed(arguments) if member in methods else None for member, arguments in found}


def _needed(arguments: str) -> int:
    """How many arguments have to be given."""
    plain = re.sub(r"\([^()]*\)|<[^<>]*>", "", arguments)
    return len([each for each in plain.split(",") if each.strip() and "?:" not in each])


MADE = ("CallClient", "CallError", "BrowserMedia", "EndpointMachine")
"""What a page makes itself; a session it gets from a client."""


@pytest.mark.parametrize("name", [*MADE, "Session"])
def test_what_the_types_declare_is_there(real: dict[str, Any], name: str) -> None:
    """Every method and property that an editor offers exists, and takes as many arguments as it says."""
    declared = _declared(name)
    assert declared.pop("constructor", None) == (real["exports"][name] if name in MADE else None)
    assert name == "BrowserMedia" or len(declared) > 2
    assert {member: real[name].get(member, "missing") for member in declared} == declared


@pytest.mark.parametrize(("name", "python"), [("CallClient", CallClient), ("Session", Session)])
def test_what_python_offers_and_the_browser_has_is_declared(real: dict[str, Any], name: str, python: type) -> None:
    """A method or a property of Python's client or session that is there by the same name is no secret."""
    both = {_camel(each) for each in dir(python) if not each.startswith("_")} & set(real[name])
    assert both - {"leg", "listeners"} <= set(_declared(name))  # which are made otherwise


def test_every_export_is_declared_and_there(real: dict[str, Any]) -> None:
    """So is every class, function and constant, with the arguments it takes."""
    declared = re.findall(r"^export (class|function|const) (\w+)(?:\(([^;]*?)\):)?", TYPES, re.MULTILINE)
    assert {each for _, each, _ in declared} == set(real["exports"])
    functions = {each: _needed(arguments) for kind, each, arguments in declared if kind == "function"}
    assert functions == {each: real["exports"][each] for each in functions}


@pytest.mark.parametrize("name", ["Call", "EndReason", "Participant", "StreamStats"])
def test_what_is_told_is_declared(real: dict[str, Any], name: str) -> None:
    """Every value that is handed out has the fields that its type has, and no others."""
    assert set(_declared(name)) == set(real["kept"][name])


def test_settings_are_those_that_are_declared_and_checked(real: dict[str, Any]) -> None:
    """A setting of a wrong type, out of its bounds or of an unknown name is refused by its name; good ones stay."""
    assert set(real["CallSettings"]) == set(_declared("CallSettings"))
    assert [entry[1:] for entry in real["refused"]] == [["invalid_settings", entry[0]] for entry in real["refused"]]
    assert real["frozen"]


def test_settings_are_those_of_the_python_side(real: dict[str, Any]) -> None:
    """Each has the name, as JavaScript writes it, and the default of one there; and all buttons are among them."""
    python = {field.name: field.default for field in attrs.fields(CallSettings)}
    camel = {_camel(name): name for name in python}
    assert {name: python[camel[name]] for name in real["defaults"]} == {**real["defaults"], "maxDuration": None}
    assert {name for name, own in camel.items() if own.startswith("show_")} <= set(real["defaults"])


def test_buttons_are_those_of_the_python_side(real: dict[str, Any]) -> None:
    """A press that Python's listeners hear of can be told, and no other; nor any after the end."""
    told = {event.removesuffix("_button_pressed") for event in events(OngoingCallListener) if "_button_" in event}
    assert real["pressed"] == [*sorted(told), "invalid_argument", "session_inactive"]
