"""Settings: what a session is started with, and what a service is run with. Built once, validated then, frozen.

Every attribute carries its own line of reference as `metadata["help"]`, and `metadata["live"]` if an action may change
it while the session lasts; `reference()` makes the table of a class from them. One unit of time: seconds, as floats.
A value of a wrong type or outside its bounds raises InvalidSettings, which names the setting, the value and the rule.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

import attrs

from .errors import InvalidSettings

_DAY = 86_400.0

# --- kinds of fields --------------------------------------------------------------------------------------------------


def _field(default: Any, rule: Callable[[Any], str | None], text: str, *, live: bool = False, **more: Any) -> Any:
    """A field whose value keeps a rule: a function that says what is wrong with a value, or None."""

    def check(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if why := rule(value):
            shown = value if attribute.repr else "<secret>"
            raise InvalidSettings(name=attribute.name, value=shown, why=why)

    return attrs.field(default=default, validator=check, metadata={"help": text, "live": live}, **more)


def _flag(default: bool, text: str) -> Any:
    return _field(default, lambda value: None if isinstance(value, bool) else "must be True or False", text)


def _choice(default: str, choices: tuple[str, ...], text: str, *, live: bool = False) -> Any:
    why = f"must be one of {', '.join(choices)}"
    return _field(default, lambda value: None if isinstance(value, str) and value in choices else why, text, live=live)


def _text(default: str | None, text: str, *, at_most: int = 256, repr: bool = True) -> Any:  # noqa: A002 - the name attrs uses
    def rule(value: Any) -> str | None:
        if value is None and default is None:
            return None
        fits = isinstance(value, str) and value.strip() != "" and len(value) <= at_most
        return (
            None if fits else f"must be a text of 1 to {at_most} characters" + (" or None" if default is None else "")
        )

    return _field(default, rule, text, repr=repr)


def _whole(default: int, low: int, high: int, text: str) -> Any:
    def rule(value: Any) -> str | None:
        fits = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        return None if fits else f"must be a whole number from {low} to {high}"

    return _field(default, rule, text)


def _seconds(default: float | None, low: float, high: float, text: str, *, optional: bool = False) -> Any:
    def rule(value: Any) -> str | None:
        if value is None and optional:
            return None
        fits = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
        return None if fits else f"must be from {low:g} to {high:g} seconds" + (" or None" if optional else "")

    def to_float(value: Any) -> Any:
        # What breaks the rule stays as it is, so that the error shows what was given.
        return value if value is None or rule(value) else float(value)

    return _field(default, rule, text, converter=to_float)


def _tuple(value: Any) -> tuple[Any, ...]:
    # A lone text is an easy slip and would fall apart into characters; what is no series at all is left to the rule.
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes) else (value,)


# --- a session --------------------------------------------------------------------------------------------------------

_SCHEMES = ("stun:", "stuns:", "turn:", "turns:")


def is_address(url: object, *kinds: str) -> bool:
    """Whether it is a STUN or TURN server's address, of these kinds: it begins with the one or with it and an s, as in
    `turns:`, and names a server."""
    if not isinstance(url, str):
        return False
    scheme, _, place = url.partition(":")
    return scheme.removesuffix("s") in kinds and bool(place.partition("?")[0]) and not any(map(str.isspace, url))


def _addresses(urls: str | Iterable[str]) -> tuple[str, ...]:
    return _tuple(urls)


def _urls(_: object, attribute: attrs.Attribute[Any], urls: tuple[Any, ...]) -> None:
    if not urls or not all(is_address(url, "stun", "turn") for url in urls):
        why = f"must be one or more addresses that begin with {', '.join(_SCHEMES)}, and name a server"
        raise InvalidSettings(name=attribute.name, value=urls, why=why)


@attrs.frozen(kw_only=True)
class IceServer:
    """A STUN or TURN server. The credential never shows in a repr or an error."""

    urls: tuple[str, ...] = attrs.field(
        converter=_addresses, validator=_urls, metadata={"help": "Its addresses, or the only one.", "live": False}
    )
    username: str | None = _text(None, "The name to log in with; a TURN server needs one.")
    credential: str | None = _text(None, "The password of that name; never shown.", at_most=2048, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.relays and (self.username is None or self.credential is None):
            raise InvalidSettings(name="urls", value=self.urls, why="a TURN server needs a username and a credential")

    @property
    def relays(self) -> bool:
        """Whether one of its addresses is a TURN server's."""
        return any(url.startswith(("turn:", "turns:")) for url in self.urls)


def _series(servers: Iterable[IceServer]) -> tuple[IceServer, ...]:
    return _tuple(servers)


def _servers(_: object, attribute: attrs.Attribute[Any], servers: tuple[Any, ...]) -> None:
    if not all(isinstance(server, IceServer) for server in servers):
        # By their types: what was given instead may hold a credential.
        kinds = [type(server).__name__ for server in servers]
        raise InvalidSettings(name=attribute.name, value=kinds, why="must be a series of IceServer")


@attrs.frozen(kw_only=True)
class IceServers:
    """What a service hands out to one user: the servers to reach others by, and for how long that is good.

    The port behind it: a function that takes a user's id and gives this, or an awaitable of it; `TurnCredentials` is
    one."""

    servers: tuple[IceServer, ...] = attrs.field(
        default=(), converter=_series, validator=_servers, metadata={"help": "STUN and TURN servers.", "live": False}
    )
    policy: Literal["all", "relay"] = _choice(
        "all", ("all", "relay"), "all: any way to the others; relay: only through a TURN server."
    )
    lifetime: float | None = _seconds(
        None, 1.0, 365 * _DAY, "For how many seconds this is good; None: for ever.", optional=True
    )


@attrs.frozen(kw_only=True)
class CallSettings:
    """What one session is started with. Immutable; `attrs.evolve` makes a changed copy.

    Nothing in this version keeps those in `UNKEPT`: a session that is started with one is refused, unless its media
    adapter heeds it. The setting marked live, the layout, is where an action of the session begins: acting changes the
    session, never this object. Raises InvalidSettings.
    """

    type: Literal["audio", "video"] = _choice("video", ("audio", "video"), "What the session begins as.")
    layout: Literal["tile", "sidebar", "spotlight"] = _choice(
        "tile",
        ("tile", "sidebar", "spotlight"),
        "How the page places participants: tile, sidebar or spotlight.",
        live=True,
    )
    title: str | None = _text(None, "A title for the page to show in place of whom the call is with; None shows none.")
    display_name: str | None = _text(None, "The name others see; None means the user's own.")
    start_audio_muted: bool = _flag(False, "Join with the microphone muted: nothing is captured until unmuting.")
    start_video_paused: bool = _flag(False, "Join with the camera paused: nothing is captured until resuming.")
    audio_only: bool = _flag(False, "Neither send nor receive video in this session, whatever its type.")
    auto_record: bool = _flag(False, "Start recording once active; needs the grant `record`.")
    idle_timeout: float | None = _seconds(
        120.0, 0.001, _DAY, "How long one may be alone before `on_idle_prompt`; None disables.", optional=True
    )
    idle_prompt: float = _seconds(60.0, 0.001, _DAY, "How long after the prompt the session ends as idle.")
    max_duration: float | None = _seconds(
        None, 0.001, 30 * _DAY, "How long the session may last from joining; None sets no limit.", optional=True
    )
    peer_call: bool = _flag(
        False, "A session of two people: the page invites nobody else. It asks nothing of the media."
    )
    show_end_button: bool = _flag(True, "The page shows the button that ends the call.")
    show_mute_button: bool = _flag(True, "The page shows the button that mutes the microphone.")
    show_pause_button: bool = _flag(True, "The page shows the button that pauses the camera.")
    show_share_button: bool = _flag(True, "The page shows the button that shares the screen.")
    show_mode_button: bool = _flag(True, "The page shows the button that changes the layout.")
    show_switch_to_video_button: bool = _flag(True, "The page shows the button that asks for video in an audio call.")
    show_raise_hand_button: bool = _flag(True, "The page shows the button that raises the hand.")
    show_participants_button: bool = _flag(True, "The page shows the button that lists the participants.")
    show_recording_button: bool = _flag(
        False, "A page of your own shows a button for recording; the service's has none."
    )
    show_invite_button: bool = _flag(
        False, "The page shows the button that invites others: it copies the session's link."
    )
    show_chat_button: bool = _flag(False, "The page shows the button that opens the chat.")
    show_network_button: bool = _flag(False, "The page shows the button that tells the quality of the network.")
    noise_reduction: bool = _flag(False, "Reduce noise in what the microphone captures, where the adapter can.")
    audio_input: str | None = _text(None, "The microphone, by the adapter's device id; None means the system's.")
    audio_output: str | None = _text(None, "The loudspeaker, likewise.")
    video_input: str | None = _text(None, "The camera, likewise.")
    camera_facing: Literal["front", "rear"] = _choice(
        "front", ("front", "rear"), "Which camera of a phone: front or rear."
    )
    virtual_background_blur: int = _whole(0, 0, 2, "How strongly the background is blurred; 0 is off.")
    virtual_background_image: str | None = _text(
        None, "The address of a picture that replaces the background; it wins over the blur.", at_most=2048
    )
    low_bandwidth: bool = _flag(False, "Spare the network: smaller pictures, fewer of them.")
    presenter_mode: bool = _flag(False, "At most 5 send and 100 take part; otherwise 50 take part.")
    listener: object | None = _field(
        None,
        lambda _: None,
        "An OngoingCallListener, or any object with `on_<event>` methods, added when the session starts.",
    )
    ice_servers: tuple[IceServer, ...] = attrs.field(
        default=(),
        converter=_series,
        validator=_servers,
        metadata={
            "help": "STUN and TURN servers; none means those that the adapter has, or the service hands out.",
            "live": False,
        },
    )
    ice_policy: Literal["all", "relay"] = _choice(
        "all", ("all", "relay"), "all: any way to the others; relay: only through a TURN server."
    )

    def __attrs_post_init__(self) -> None:
        # Named servers take the place of the service's: without a relay among them there would be none.
        if self.ice_policy == "relay" and self.ice_servers and not any(server.relays for server in self.ice_servers):
            raise InvalidSettings(name="ice_policy", value="relay", why="needs a TURN server among ice_servers")


UNKEPT: Mapping[str, str] = {
    "display_name": "others see the name of the client: give it to CallClient, as `name`",
    "auto_record": "nothing records yet",
    "presenter_mode": "nothing bounds how many send yet",
    **dict.fromkeys(
        (
            "noise_reduction", "camera_facing", "virtual_background_blur", "virtual_background_image",
            "low_bandwidth",
        ),
        "the media adapter does not act on it",
    ),
    **dict.fromkeys(("audio_input", "audio_output", "video_input"), "the media adapter opens no device by it"),
}  # fmt: skip
"""Settings of a session that nothing in this version keeps, but a media adapter that heeds them; and why not."""


def check_kept(settings: CallSettings, heeds: Collection[str] = ()) -> None:
    """Raises InvalidSettings if a session is to be started with a setting that nothing keeps: it would be a promise.
    `heeds` names those that its media adapter acts on."""
    for name, why in UNKEPT.items():
        value = getattr(settings, name)
        if name not in heeds and value != getattr(attrs.fields(CallSettings), name).default:
            raise InvalidSettings(name=name, value=value, why=why)


class CallSettingsBuilder:
    """The chained form of CallSettings: one `set_<name>(value)` for each setting, then `build()`.

    Setters may come in any order, the last one of a name counts, and each returns the builder. Nothing is validated
    before `build()`, and building twice gives equal settings.
    """

    __slots__ = ("_values",)

    if TYPE_CHECKING:
        # The setters are made below from the fields; to a type checker they all look like this.
        def __getattr__(self, name: str) -> Callable[[Any], Self]: ...

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    def build(self) -> CallSettings:
        """The settings chosen so far, the others at their defaults. Raises InvalidSettings."""
        return CallSettings(**self._values)


def _setter(field: attrs.Attribute[Any]) -> Callable[[CallSettingsBuilder, Any], CallSettingsBuilder]:
    def set_value(self: CallSettingsBuilder, value: Any) -> CallSettingsBuilder:
        self._values[field.name] = value
        return self

    set_value.__name__ = f"set_{field.name}"
    set_value.__qualname__ = f"CallSettingsBuilder.set_{field.name}"
    set_value.__doc__ = field.metadata["help"]
    set_value.__annotations__["value"] = field.type
    return set_value


for _each in attrs.fields(CallSettings):
    setattr(CallSettingsBuilder, f"set_{_each.name}", _setter(_each))


# --- a service --------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class ServiceSettings:
    """What a call service is run with. Immutable. Raises InvalidSettings."""

    line_capacity: int = _whole(
        1,
        1,
        100,
        "How many calls one user may be in at once before being busy, unless registered with a `capacity`.",
    )
    session_capacity: int = _whole(50, 1, 10_000, "How many people one session takes.")
    session_joins: int = _whole(1_000, 1, 1_000_000, "How often one session is joined in all, coming back included.")
    sessions_per_user: int = _whole(
        100,
        10,
        10_000,
        "In how many calls and sessions a user may be when he begins or joins another. Devices that connect may name "
        "a thousand more.",
    )
    devices_per_user: int = _whole(50, 1, 10_000, "How many devices of one user may be connected at once.")
    calls_per_minute: int = _whole(
        600, 1, 1_000_000, "How many calls a minute one user may begin in the long run; as many may begin at once."
    )
    messages_per_second: int = _whole(
        200, 1, 1_000_000, "How many messages a second a device may send in the long run, ten times that at once."
    )
    max_message_size: int = _whole(65_536, 1_024, 16_777_216, "The longest message taken from a device, in bytes.")
    log_limit: int = _whole(10_000, 0, 1_000_000_000, "How many ended calls the in-memory store keeps.")
    token_lifetime: float = _seconds(3_600.0, 1.0, 365 * _DAY, "How long a call token is good for.")
    token_issuer: str = _text("statecore", "The issuer named in call tokens; tokens of another issuer are refused.")
    max_metadata_size: int = _whole(4_096, 0, 1_048_576, "The most metadata a call may carry, in characters of JSON.")
    attempts: int = _whole(32, 1, 10_000, "How often a refused commit is decided again before StoreConflict.")
    lease_grace: float = _seconds(5.0, 0.0, 60.0, "A silent device is ended this long after its lease ran out.")

    def __attrs_post_init__(self) -> None:
        if self.max_metadata_size >= self.max_message_size:
            raise InvalidSettings(
                name="max_metadata_size", value=self.max_metadata_size, why="must be less than max_message_size"
            )


# --- reference --------------------------------------------------------------------------------------------------------


def reference(cls: type[IceServer | IceServers | CallSettings | ServiceSettings]) -> list[dict[str, Any]]:
    """The table of a settings class for people: name, type, default, help, and whether an action may change it."""
    return [
        {
            "name": field.name,
            "type": field.type,
            "default": None if field.default is attrs.NOTHING else field.default,
            "required": field.default is attrs.NOTHING,
            "help": field.metadata["help"],
            "live": field.metadata["live"],
        }
        for field in attrs.fields(cls)
    ]


__all__ = [
    "UNKEPT",
    "CallSettings",
    "CallSettingsBuilder",
    "IceServer",
    "IceServers",
    "ServiceSettings",
    "check_kept",
    "reference",
]
