"""Settings: defaults, bounds, the chained form, and that secrets stay secret."""

from __future__ import annotations

import contextlib
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statecore import Session
from statecore.errors import InvalidSettings
from statecore.settings import CallSettings, CallSettingsBuilder, IceServer, IceServers, ServiceSettings, reference

TURN = IceServer(urls=("turn:turn.example.org",), username="alice", credential="hunter2-hunter2")

GOOD: dict[str, list[Any]] = {
    "type": ["audio", "video"],
    "layout": ["tile", "sidebar", "spotlight"],
    "title": [None, "Stand-up", "x" * 256],
    "display_name": ["Alice"],
    "start_audio_muted": [True],
    "idle_timeout": [None, 0.5, 30, 86_400],
    "idle_prompt": [1, 60.0],
    "max_duration": [None, 3600, 30 * 86_400],
    "audio_input": [None, "hw:0"],
    "camera_facing": ["front", "rear"],
    "virtual_background_blur": [0, 1, 2],
    "virtual_background_image": ["https://example.org/beach.jpg"],
    "listener": [None, object()],
    "ice_servers": [(), [TURN], (TURN, IceServer(urls="stun:stun.example.org"))],
    "ice_policy": ["all", "relay"],
}

BAD: dict[str, list[Any]] = {
    "type": ["fax", None, 1, ["video"]],
    "layout": ["Tile", ""],
    "title": ["", "  ", "x" * 257, 7],
    "display_name": ["", b"Alice"],
    "start_audio_muted": [0, 1, "yes", None],
    "show_chat_button": ["no"],
    "idle_timeout": [0, -1, True, "120", float("nan"), float("inf"), 86_401, 10**400],
    "idle_prompt": [None, 0],
    "max_duration": [0, 30 * 86_400 + 1],
    "audio_input": [" "],
    "camera_facing": ["back"],
    "virtual_background_blur": [-1, 3, True, 1.0, None],
    "virtual_background_image": ["x" * 2049],
    "ice_servers": ["stun:stun.example.org", None, [TURN, "stun:stun.example.org"], 5],
    "ice_policy": ["none"],
}

BAD_SERVICE: dict[str, list[Any]] = {
    "line_capacity": [0, 101, True, "1"],
    "session_capacity": [0, 10_001],
    "session_joins": [0, True],
    "sessions_per_user": [9, 10_001],
    "devices_per_user": [0, "many"],
    "max_message_size": [1_023, 16_777_217, 65_536.0],
    "log_limit": [-1],
    "token_lifetime": [0, None, 365 * 86_400 + 1],
    "token_issuer": [None, "", " "],
    "max_metadata_size": [-1, 65_536],
    "attempts": [0],
    "lease_grace": [-0.1, 61],
}


def cases(table: dict[str, list[Any]]) -> list[Any]:
    """One parameter for each value of each name."""
    return [
        pytest.param(name, value, id=f"{name}-{number}")
        for name, values in table.items()
        for number, value in enumerate(values)
    ]


def test_the_defaults_are_those_that_the_reference_promises() -> None:
    """A session without settings is video, in tiles, live, prompts after 120 s alone and ends 60 s later."""
    plain = CallSettings()
    assert (plain.type, plain.layout, plain.title, plain.start_audio_muted) == ("video", "tile", None, False)
    assert (plain.idle_timeout, plain.idle_prompt, plain.max_duration) == (120.0, 60.0, None)
    assert (plain.ice_servers, plain.ice_policy, plain.listener) == ((), "all", None)
    shown = {field.name for field in attrs.fields(CallSettings) if field.default is True}
    assert shown == {
        f"show_{button}_button"
        for button in ("end", "mute", "pause", "share", "mode", "switch_to_video", "raise_hand", "participants")
    }


def test_the_defaults_of_a_service() -> None:
    """A service without settings has one line a user, 50 people a session, and 64 KiB a message."""
    plain = ServiceSettings()
    assert (plain.line_capacity, plain.session_capacity, plain.max_message_size) == (1, 50, 65_536)
    assert (plain.log_limit, plain.token_lifetime, plain.token_issuer) == (10_000, 3_600.0, "statecore")
    assert (plain.max_metadata_size, plain.attempts, plain.lease_grace) == (4_096, 32, 5.0)


@pytest.mark.parametrize(("name", "value"), cases(GOOD))
def test_a_good_value_is_taken(name: str, value: Any) -> None:
    """Each documented value is accepted and can be read back, a list as a tuple."""
    taken = getattr(CallSettings(**{name: value}), name)
    assert taken == (tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize(("name", "value"), cases(BAD))
def test_a_bad_value_is_refused_by_name(name: str, value: Any) -> None:
    """A wrong type or a value out of bounds raises InvalidSettings that names the setting and says why."""
    with pytest.raises(InvalidSettings) as caught:
        CallSettings(**{name: value})
    assert caught.value.name == name
    assert caught.value.why in str(caught.value)


@pytest.mark.parametrize(("name", "value"), cases(BAD_SERVICE))
def test_a_bad_value_is_refused_by_the_service(name: str, value: Any) -> None:
    """The settings of a service are held to their bounds in the same way."""
    with pytest.raises(InvalidSettings) as caught:
        ServiceSettings(**{name: value})
    assert caught.value.name == name


def test_seconds_are_floats_however_they_were_given() -> None:
    """A whole number of seconds becomes a float, so that there is one unit and one type of time."""
    assert isinstance(CallSettings(idle_timeout=30).idle_timeout, float)
    assert isinstance(ServiceSettings(token_lifetime=60).token_lifetime, float)


def test_settings_are_frozen() -> None:
    """Settings cannot be changed once built."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        CallSettings().layout = "sidebar"  # type: ignore[misc]


@pytest.mark.parametrize("urls", [(), "", "http://example.org", ["stun:a", ""], [1], 1, None])
def test_an_ice_server_needs_addresses_of_the_right_kind(urls: Any) -> None:
    """Anything but STUN and TURN addresses is refused."""
    with pytest.raises(InvalidSettings) as caught:
        IceServer(urls=urls)
    assert caught.value.name == "urls"


def test_a_lone_address_is_a_list_of_one() -> None:
    """A single text is taken for one address, not for its characters."""
    assert IceServer(urls="stun:stun.example.org").urls == ("stun:stun.example.org",)


@pytest.mark.parametrize("lacking", ["username", "credential"])
def test_a_turn_server_needs_a_login(lacking: str) -> None:
    """A TURN server without a name or a password is refused at once, for it would fail later without an error."""
    given_: dict[str, Any] = {"urls": "turns:turn.example.org", "username": "a", "credential": "b"}
    with pytest.raises(InvalidSettings):
        IceServer(**{**given_, lacking: None})


def test_relaying_only_needs_a_relay() -> None:
    """The policy `relay` is taken with a TURN server, and without servers, as the service may hand one out; it is
    refused with STUN alone."""
    assert CallSettings(ice_servers=[TURN], ice_policy="relay").ice_policy == "relay"
    assert CallSettings(ice_policy="relay").ice_servers == ()
    with pytest.raises(InvalidSettings):
        CallSettings(ice_servers=[IceServer(urls="stun:stun.example.org")], ice_policy="relay")


def test_a_credential_never_shows() -> None:
    """The password of a server stands in no repr and in no error's text or data."""
    assert "hunter2" not in repr(TURN)
    assert "hunter2" not in repr(CallSettings(ice_servers=[TURN]))
    with pytest.raises(InvalidSettings) as slip:
        CallSettings(ice_servers=[{"urls": "turn:turn.example.org", "credential": "hunter2"}])  # type: ignore[list-item]
    assert "hunter2" not in str(slip.value) + repr(slip.value.data)
    secret = "hunter2" * 1000
    with pytest.raises(InvalidSettings) as caught:
        IceServer(urls="turn:turn.example.org", username="a", credential=secret)
    assert "hunter2" not in str(caught.value) + repr(caught.value) + repr(caught.value.data)


@settings(deadline=None)  # a shared machine is slow at times
@given(st.dictionaries(st.sampled_from(sorted(GOOD)), st.integers(0, 9)))
def test_the_chained_form_equals_the_keyword_form(chosen: dict[str, int]) -> None:
    """Whatever is chosen, in whatever order, the builder makes the same settings as the keywords do."""
    values = {name: GOOD[name][number % len(GOOD[name])] for name, number in chosen.items()}
    builder = CallSettingsBuilder()
    for name, value in values.items():
        assert getattr(builder, f"set_{name}")(value) is builder
    assert builder.build() == builder.build() == CallSettings(**values)


def test_the_builder_chains_and_the_last_setter_counts() -> None:
    """Setters chain, and a later one of the same name wins."""
    built = CallSettingsBuilder().set_type("audio").set_layout("sidebar").set_layout("spotlight").build()
    assert built == CallSettings(type="audio", layout="spotlight")


def test_the_builder_has_a_documented_setter_for_each_setting_and_no_other() -> None:
    """Setters are exactly those of the settings, each with its help text; an unknown one does not exist."""
    setters = {name: getattr(CallSettingsBuilder, name) for name in dir(CallSettingsBuilder) if name.startswith("set_")}
    assert {name: setter.__doc__ for name, setter in setters.items()} == {
        f"set_{row['name']}": row["help"] for row in reference(CallSettings)
    }
    with pytest.raises(AttributeError):
        CallSettingsBuilder().set_colour("red")


def test_the_builder_validates_when_it_builds() -> None:
    """A bad value raises from build(), as it does from the keyword form."""
    builder = CallSettingsBuilder().set_type("fax")
    with pytest.raises(InvalidSettings):
        builder.build()


@pytest.mark.parametrize("cls", [IceServer, IceServers, CallSettings, ServiceSettings])
def test_every_setting_has_its_line_of_reference(cls: type[Any]) -> None:
    """The reference table has a row with type and help for each attribute of a class, in order."""
    rows = reference(cls)
    assert [row["name"] for row in rows] == [field.name for field in attrs.fields(cls)]
    assert all(row["help"].endswith(".") and row["type"] for row in rows)


def test_what_may_change_in_a_session_is_marked() -> None:
    """The setting that an action of the session changes is marked live, the rest are not."""
    live = {row["name"] for row in reference(CallSettings) if row["live"]}
    assert live == {"layout"}
    assert all(hasattr(Session, f"set_{name}") for name in live)
    assert [row["name"] for row in reference(IceServer) if row["required"]] == ["urls"]


@settings(deadline=None)  # a shared machine is slow at times
@given(
    st.sampled_from([field.name for field in attrs.fields(CallSettings)]),
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(st.text())),
)
def test_any_value_is_taken_or_refused_with_a_typed_error(name: str, value: Any) -> None:
    """No value of a plain type makes settings fail in any other way than InvalidSettings."""
    with contextlib.suppress(InvalidSettings):
        built = CallSettings(**{name: value})
        assert getattr(built, name) in (value, tuple(value) if isinstance(value, list) else value)
