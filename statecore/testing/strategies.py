"""Hypothesis strategies for what statecore takes and gives: messages, flows, settings, tokens, commands.

Everything valid is made from the types themselves, so a new field or message is covered from its first day. What is
damaged is something valid in which fields were replaced, left out or added: most of it is wrong in one place only, and
so comes further into a decoder than noise does.
"""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import attrs
import msgspec
from hypothesis import strategies as st

from .. import wire
from ..flow import RINGING, SESSION, Custom, Effect, Fire, Flow, Mark, Roles, Row, Trigger
from ..settings import UNKEPT, CallSettings, IceServer, ServiceSettings
from ..tokens import GRANTS, Claims, TokenSigner
from ..tokens import Role as TokenRole
from .oracle import assert_always
from .world import Action, World

_T = TypeVar("_T")
_DEEP = 3
"""How deep a value without a type of its own is nested."""


def ids() -> st.SearchStrategy[str]:
    """Valid ids of users, devices and sessions: short ones, so that they meet, and of any script."""
    plain = st.sampled_from(["a", "b", "alice", "bob", "x" * 128])
    return plain | st.text(st.characters(categories=("L", "N")), min_size=1, max_size=12)


def json_values() -> st.SearchStrategy[Any]:
    """Anything that JSON can say."""
    numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    leaves: st.SearchStrategy[Any] = st.none() | st.booleans() | numbers | st.text(max_size=8)
    nested: Callable[[st.SearchStrategy[Any]], st.SearchStrategy[Any]] = lambda inner: (  # noqa: E731 - a local rule
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    )
    return st.recursive(leaves, nested, max_leaves=_DEEP * 2)


# --- messages ---------------------------------------------------------------------------------------------------------


def messages_up() -> st.SearchStrategy[wire.Up]:
    """Every message that a device may send."""
    return st.one_of(*(of_struct(kind) for kind in get_args(wire.Up)))


def messages_down() -> st.SearchStrategy[wire.Down]:
    """Every message that a service may send."""
    return st.one_of(*(of_struct(kind) for kind in get_args(wire.Down)))


def damaged_messages() -> st.SearchStrategy[bytes]:
    """Encoded messages in which something is wrong, now and then only slightly."""
    return damaged_json((messages_up() | messages_down()).map(lambda message: json.loads(wire.encode(message))))


def of_struct(kind: type[_T]) -> st.SearchStrategy[_T]:
    """Instances of a `msgspec.Struct`, made from its types and their bounds; a version stands as it is."""
    info = msgspec.inspect.type_info(kind)
    if not isinstance(info, msgspec.inspect.StructType):
        raise TypeError(f"{kind!r} is no Struct")
    fields = {field.name: _of(field.type) for field in info.fields if field.name != "v"}
    return st.fixed_dictionaries({}, optional=fields).flatmap(
        lambda chosen: st.fixed_dictionaries(
            {f.name: fields[f.name] for f in info.fields if f.required and f.name not in chosen}
        ).map(lambda needed: kind(**needed, **chosen))
    )


def _of(info: Any) -> st.SearchStrategy[Any]:
    make = _MAKERS.get(type(info))
    if make is None:
        raise TypeError(f"no strategy for {info!r}")
    return make(info)


def _texts(info: Any) -> st.SearchStrategy[str]:
    return ids() if info.min_length else st.text(max_size=min(12, info.max_length or 12))


def _whole(info: Any) -> st.SearchStrategy[int]:
    return st.integers(-(2**53) if info.ge is None else info.ge, 2**53 if info.le is None else info.le)


_MAKERS: dict[type, Callable[[Any], st.SearchStrategy[Any]]] = {
    msgspec.inspect.AnyType: lambda _: json_values(),
    msgspec.inspect.BoolType: lambda _: st.booleans(),
    msgspec.inspect.DictType: lambda info: st.dictionaries(_of(info.key_type), _of(info.value_type), max_size=3),
    msgspec.inspect.EnumType: lambda info: st.sampled_from(list(info.cls)),
    msgspec.inspect.FrozenSetType: lambda info: st.frozensets(_of(info.item_type), max_size=3),
    msgspec.inspect.IntType: _whole,
    msgspec.inspect.LiteralType: lambda info: st.sampled_from(info.values),
    msgspec.inspect.Metadata: lambda info: _of(info.type),
    msgspec.inspect.NoneType: lambda _: st.none(),
    msgspec.inspect.StrType: _texts,
    msgspec.inspect.StructType: lambda info: of_struct(info.cls),
    msgspec.inspect.TupleType: lambda info: st.tuples(*map(_of, info.item_types)),
    msgspec.inspect.UnionType: lambda info: st.one_of(*map(_of, info.types)),
    msgspec.inspect.VarTupleType: lambda info: st.lists(_of(info.item_type), max_size=3).map(tuple),
}


# --- what is damaged --------------------------------------------------------------------------------------------------


@st.composite
def damaged_json(draw: st.DrawFn, whole: st.SearchStrategy[Any]) -> bytes:
    """JSON of something whole, with one to three fields or items replaced, left out or added; or cut off, or noise."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=80))
    value = copy.deepcopy(draw(whole))
    for _ in range(draw(st.integers(1, 3))):
        value = _damage(draw, value)
    text = json.dumps(value).encode()
    return text[: draw(st.integers(0, len(text)))] if draw(st.integers(0, 9)) == 0 else text


def _damage(draw: st.DrawFn, value: Any) -> Any:
    """The value with something in it changed, in place where it can be."""
    inner = draw(st.sampled_from(list(_containers(value)) or [None]))
    if inner is None or draw(st.integers(0, 19)) == 0:
        return draw(json_values())
    if isinstance(inner, dict):
        key = draw(st.sampled_from(sorted(inner) or ["m"]) | st.text(max_size=6))
        if draw(st.booleans()):
            inner.pop(key, None)
        else:
            inner[key] = draw(json_values())
    elif inner and draw(st.booleans()):
        inner.pop(draw(st.integers(0, len(inner) - 1)))
    else:
        inner.insert(draw(st.integers(0, len(inner))), draw(json_values()))
    return value


def _containers(value: Any) -> Sequence[Any]:
    if isinstance(value, dict | list):
        inside = value.values() if isinstance(value, dict) else value
        return [value, *(each for item in inside for each in _containers(item))]
    return []


# --- settings ---------------------------------------------------------------------------------------------------------

_TEXTS = st.text(st.characters(categories=("L", "N")), min_size=1, max_size=20)
_URLS = st.builds("{}{}".format, st.sampled_from(["stun:", "stuns:"]), _TEXTS)
_RELAYS = st.builds("{}{}".format, st.sampled_from(["turn:", "turns:"]), _TEXTS)
_BOUNDED: dict[str, st.SearchStrategy[Any]] = {
    "idle_timeout": st.none() | st.floats(0.001, 86_400.0),
    "idle_prompt": st.floats(0.001, 86_400.0),
    "max_duration": st.none() | st.floats(0.001, 30 * 86_400.0),
    "listener": st.none(),
}


def ice_servers() -> st.SearchStrategy[IceServer]:
    """STUN and TURN servers; a TURN server has a name and a password."""
    stun = st.builds(IceServer, urls=st.lists(_URLS, min_size=1, max_size=3))
    turn = st.builds(IceServer, urls=st.lists(_RELAYS, min_size=1, max_size=3), username=_TEXTS, credential=_TEXTS)
    return stun | turn


@st.composite
def call_settings(draw: st.DrawFn) -> CallSettings:
    """Settings of a session, any of those that one may start with, all within their bounds."""
    hints = get_type_hints(CallSettings)
    names = sorted({field.name for field in attrs.fields(CallSettings)} - {"ice_servers", "ice_policy", *UNKEPT})
    chosen = draw(st.lists(st.sampled_from(names), unique=True, max_size=8))
    values: dict[str, Any] = {
        name: draw(_BOUNDED[name] if name in _BOUNDED else _of_hint(hints[name])) for name in chosen
    }
    servers = draw(st.lists(ice_servers(), max_size=2))
    relayed = any(server.relays for server in servers)
    values["ice_policy"] = draw(st.sampled_from(["all", "relay"] if relayed else ["all"]))
    return CallSettings(**values, ice_servers=servers)


def _of_hint(hint: Any) -> st.SearchStrategy[Any]:
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    return st.booleans() if hint is bool else st.none() | _TEXTS


def service_settings() -> st.SearchStrategy[ServiceSettings]:
    """Settings of a service, within their bounds, for small services."""
    return st.builds(
        ServiceSettings,
        line_capacity=st.integers(1, 4),
        session_capacity=st.integers(1, 8),
        max_message_size=st.integers(8_192, 1_048_576),
        log_limit=st.integers(0, 1_000),
        token_lifetime=st.floats(1.0, 86_400.0),
        token_issuer=_TEXTS,
        max_metadata_size=st.integers(0, 8_191),
        attempts=st.integers(1, 64),
        lease_grace=st.floats(0.0, 60.0),
    )


# --- tokens -----------------------------------------------------------------------------------------------------------


def claims(issuer: str = "statecore") -> st.SearchStrategy[Claims]:
    """What a call token of an issuer may say, of times around the year 2026."""
    seconds = st.integers(1_760_000_000, 1_800_000_000)
    return st.builds(
        Claims,
        issuer=st.just(issuer), user=ids(), session=ids(), token_id=ids(),
        issued_at=seconds, not_before=seconds, expires=seconds,
        role=st.sampled_from(TokenRole), grants=st.frozensets(st.sampled_from(sorted(GRANTS))),
        device=st.none() | ids(),
    )  # fmt: skip


def tokens(signer: TokenSigner, issuer: str = "statecore") -> st.SearchStrategy[str]:
    """Genuine call tokens of a signer, good or not by their times and names."""
    return claims(issuer).map(signer.sign)


@st.composite
def damaged_tokens(draw: st.DrawFn, signer: TokenSigner, issuer: str = "statecore") -> str:
    """Texts that are nearly tokens: a part replaced, cut, swapped or taken from another token; or no token at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.text(max_size=60))
    parts = draw(tokens(signer, issuer)).split(".")
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.integers(0, len(parts) - 1))
        parts[place] = draw(
            st.just(draw(tokens(signer, issuer)).split(".")[place % 3])
            | st.text(max_size=20)
            | st.just(parts[place][: draw(st.integers(0, 20))])
            | damaged_json(st.just({"alg": "none", "typ": "JWT", "kid": "1"})).map(_segment)
        )
    if draw(st.booleans()):
        parts.insert(draw(st.integers(0, len(parts))), draw(st.text(max_size=5)))
    return ".".join(parts)


def _segment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


# --- flows ------------------------------------------------------------------------------------------------------------


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    """Valid flows that run as real calls: one of ours, with up to three states beside `active` to go to and come back
    from, by a command that moves everybody, or only who gave it."""
    base = draw(st.sampled_from([RINGING, SESSION]))
    count = draw(st.integers(0, 3))
    triggers: list[Trigger] = []
    rows: list[Row] = []
    states = [f"aside_{number}" for number in range(count)]
    ways_out = [row for row in base.rows if row.state == "active" and row.to == base.final]
    for number, state in enumerate(states):
        origin = draw(st.sampled_from(["active", *states[:number]]))
        go, back, moved = f"go_{number}", f"back_{number}", f"moved_{number}"
        together = draw(st.booleans())
        effects: list[Effect] = [Custom(state), *([Fire(moved, "others")] if together else [])]
        triggers += [Trigger(go, "user"), Trigger(back, "user")]
        rows += [Row(origin, go, state, effects), Row(state, back, origin, [Mark("hand_raised", draw(st.booleans()))])]
        if together:
            triggers.append(Trigger(moved, "leg"))
            rows.append(Row(origin, moved, state))
        rows += [Row(state, base.up, state), *(attrs.evolve(row, state=state) for row in ways_out)]
    roles = Roles(ringing=base.roles.ringing, joinable=base.roles.joinable, media={*base.roles.media, *states})
    return base.extend(f"{base.name}_{draw(st.integers(0, 10**6))}", triggers=triggers, rows=rows, roles=roles)


@st.composite
def damaged_flows(draw: st.DrawFn) -> dict[str, Any]:
    """Arguments for `Flow` that may break any of its rules: a valid flow's, with rows, names and roles changed."""
    flow = draw(flows())
    values = {field.name: getattr(flow, field.name) for field in attrs.fields(Flow) if field.init}
    rows = list(flow.rows)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(rows) - 1))
        names = st.sampled_from([*flow.states, "nowhere", *(trigger.name for trigger in flow.triggers), "", "joined"])
        change = draw(
            st.sampled_from(["drop", "double", "state", "trigger", "to", "effects", "unless", "refuse", "role"])
        )
        if change == "drop":
            rows.pop(place)
        elif change == "double":
            rows.append(rows[place])
        elif change == "role":
            values["roles"] = Roles(joinable=draw(st.sets(names, max_size=2)), media=draw(st.sets(names, max_size=2)))
        elif change == "effects":
            rows[place] = attrs.evolve(rows[place], effects=rows[draw(st.integers(0, len(rows) - 1))].effects)
        elif change == "unless":
            rows[place] = attrs.evolve(rows[place], unless=draw(st.sets(names, max_size=2)))
        else:
            changed: dict[str, Any] = {change: draw(names)}
            rows[place] = attrs.evolve(rows[place], **changed)
    return {**values, "rows": rows}


# --- commands ---------------------------------------------------------------------------------------------------------


def commands(flow: Flow, session: st.SearchStrategy[str] | None = None) -> st.SearchStrategy[wire.Command]:
    """Commands of a flow's triggers, legal or not where they arrive, and now and then of a trigger it does not have."""
    names = st.sampled_from([trigger.name for trigger in flow.triggers]) | ids()
    sessions = session if session is not None else ids()
    return st.builds(
        wire.Command,
        session=sessions, n=st.integers(1, 9), trigger=names, flow=st.just(flow.name), receiver=ids(),
        type=st.sampled_from(["audio", "video"]), flags=st.frozensets(st.sampled_from(flow.flags or ("",)), max_size=2),
    )  # fmt: skip


# --- whole calls ------------------------------------------------------------------------------------------------------


@st.composite
def histories(
    draw: st.DrawFn,
    begin: Callable[[], World],
    *,
    session: str = "S",
    triggers: Collection[str] | None = None,
    data: Mapping[str, Mapping[str, Any]] | None = None,
    always: Callable[[World], object] = assert_always,
    most: int = 40,
) -> World:
    """Worlds in which a call has gone some way, by up to `most` steps: users give commands that are legal where they
    are, messages arrive, media connects, and what the world's budget allows (cuts, timers, crashes ...) happens.

    `begin` makes a world in which the call has begun, `triggers` are the commands that users give (default: all),
    `data` is what commands bring along, by their triggers, and `always` raises AssertionError where something is wrong
    after a step. The world's own oracle looks on, too."""
    world = begin()
    for _ in range(draw(st.integers(0, most) | st.just(most))):
        goes_on, harms = _possible(world, session, triggers, data or {})
        # What ends or breaks things is rarer, or nothing would ever come far.
        actions = harms if harms and (not goes_on or draw(st.integers(0, 9)) == 9) else goes_on
        if not actions or all(leg.end.at for leg in world.record(session).legs):
            break
        world.act(draw(st.sampled_from(actions)))
        always(world)
        if draw(st.booleans()):
            world.settle(media=True)
            always(world)
    return world


def _possible(
    world: World, session: str, triggers: Collection[str] | None, data: Mapping[str, Mapping[str, Any]]
) -> tuple[list[Action], list[Action]]:
    """What can happen next: what a call goes on by, and what ends it or stands in its way."""
    goes_on: list[Action] = []
    harms: list[Action] = []
    for action in world.enabled():
        (goes_on if action[0] in ("up", "down", "mend", "notice", "up_media") else harms).append(action)
    for device in world.places:
        leg = world.leg(device, session)
        if leg is not None:
            machine = world.board.machine(leg.flow)
            ending = {row.trigger for row in machine.flow.rows if (row.state, row.to) == (leg.state, machine.final)}
            for trigger in machine.legal(leg.state):
                if triggers is None or trigger in triggers:
                    said = ("say", device, trigger, session, dict(data.get(trigger, {})))
                    (harms if trigger in ending else goes_on).append(said)
    return goes_on, harms


__all__ = [
    "call_settings",
    "claims",
    "commands",
    "damaged_flows",
    "damaged_json",
    "damaged_messages",
    "damaged_tokens",
    "flows",
    "histories",
    "ice_servers",
    "ids",
    "json_values",
    "messages_down",
    "messages_up",
    "of_struct",
    "service_settings",
    "tokens",
]
