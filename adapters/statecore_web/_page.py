"""The web page: its files, and the little it asks of the service in a user's name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any, Protocol, TypeAlias
from urllib.parse import parse_qs

import attrs
import msgspec

from statecore import CallQuery, CallService, CallSettings, User
from statecore.errors import CallNotFound, InvalidArgument, InvalidSettings, UnknownUser

from ._people import People
from ._refusals import refusal
from ._socket import Scope, Send

_TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".svg": b"image/svg+xml",
    ".ts": b"text/plain; charset=utf-8",
}
_POLICY = (
    b"default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: https:; media-src 'self' blob:; "
    b"worker-src blob:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_SAFE = [
    (b"content-security-policy", _POLICY),
    (b"permissions-policy", b"camera=(self), microphone=(self), display-capture=(self)"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-cache"),
]
_SETTINGS = frozenset(
    (
        "layout", "title", "start_audio_muted", "start_video_paused", "audio_only", "idle_timeout", "idle_prompt",
        "max_duration", "peer_call", "camera_facing", "show_end_button", "show_mute_button", "show_pause_button",
        "show_share_button", "show_mode_button", "show_switch_to_video_button", "show_raise_hand_button",
        "show_participants_button", "show_invite_button", "show_chat_button", "show_network_button",
    )
)  # fmt: skip
"""What the page can be told to start its sessions with."""
_SOME = 30
"""How many calls it is told of at a time, and about how many it may ask who is in them."""
_ANSWERS = {"/page/me", "/page/people", "/page/calls"}

Asked: TypeAlias = dict[str, list[str]]
"""What the query of a request names, as often as it does."""


class App(Protocol):
    """What the page needs of the application that serves it."""

    @property
    def service(self) -> CallService:
        """The call service."""


class Page:
    """Serves the page at `/` of an application, with its files under `/page/`."""

    def __init__(
        self,
        app: App,
        authenticate: Callable[[str], Awaitable[str]],
        *,
        dev: bool,
        settings: CallSettings | None = None,
        directory: bool = True,
    ) -> None:
        self._app = app
        self._known = People(app.service.presence) if directory else None
        self._authenticate = authenticate
        self._config = msgspec.json.encode(
            {"dev": dev, "directory": directory, "settings": _told(settings) if settings else {}}
        )

    async def serve(self, scope: Scope, send: Send, path: str, headers: dict[str, str]) -> bool:
        """Answer a request if it is for the page; tells whether it was. `path` has no slash at its end."""
        if scope["method"] not in ("GET", "HEAD"):
            return False
        if path == "" and not str(scope["path"]).endswith("/"):
            # What the page names stands beside it, which only works below a path that ends so.
            away = str(scope["path"]).encode() + b"/"
            await _answer(send, 307, b"", [(b"location", away)])
        elif path == "/page/config":
            await _answer(send, 200, self._config, _json())
        elif path in _ANSWERS:
            await self._told(send, path, headers, _asked(scope))
        else:
            return await _file(send, "index.html" if path == "" else path.removeprefix("/page/"), headers)
        return True

    async def _told(self, send: Send, path: str, headers: dict[str, str], asked: Asked) -> None:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        try:
            user = await self._authenticate(token.strip() if scheme.lower() == "bearer" else "")
            find = {"/page/me": self._me, "/page/people": self._people, "/page/calls": self._calls}[path]
            status, body = 200, msgspec.json.encode(await find(user, asked))
        except Exception as error:  # noqa: BLE001 - also the application's own, and whatever it is
            status, body, *_ = refusal(error)
        await _answer(send, status, body, _json())

    async def _me(self, uid: str, _: Asked) -> dict[str, Any]:
        user = User(uid=uid)
        with suppress(UnknownUser):  # whom the application knows, and who has not connected yet
            user = await self._app.service.user(uid)
        return _shown(user)

    async def _people(self, uid: str, asked: Asked) -> list[dict[str, Any]]:
        """Others who are known, and whether they are there: `?q=` says how an id or name begins. Or, by `?call=`, as
        often as need be, those whom one's own calls tell of."""
        if "call" in asked:
            return [one for session in asked["call"][:_SOME] for one in await self._met(uid, session)]
        found = await self._known.find(asked.get("q", [""])[0], but=uid) if self._known is not None else []
        return [{**_shown(user), "online": there} for user, there in found]

    async def _met(self, uid: str, session: str) -> list[dict[str, Any]]:
        """Who called one, and who was in a call with one; but where nobody is listed, not whom one called in vain: any
        id would be told the name of."""
        with suppress(CallNotFound, InvalidArgument):
            call = await self._app.service.fetch(session)
            there = {one.uid: User(uid=one.uid, name=one.name, avatar=one.avatar) for one in call.participants}
            if uid in {call.initiator, call.receiver, *there}:
                for other in {call.initiator, call.receiver if self._known is not None else uid} - {uid, "", *there}:
                    with suppress(UnknownUser):
                        there[other] = await self._app.service.user(other)
                return [_shown(user) for user in there.values()]
        return []

    async def _calls(self, uid: str, asked: Asked) -> dict[str, Any]:
        """The user's own call log, newest first, a part at a time: what is `older` is `?from=` there."""
        cursor = asked.get("from", [""])[0]
        page = await self._app.service.find_calls(CallQuery(user=uid, live=False, limit=_SOME, cursor=cursor))
        calls = [
            {
                "session_id": call.session_id,
                "type": call.type,
                "status": call.status,
                "initiator": call.initiator,
                "receiver": call.receiver,
                "initiated_at": call.initiated_at,
                "duration": call.ended_at - call.active_at if call.ended_at and call.active_at else 0,
                "reason": call.end_reason.what if call.end_reason else "",
            }
            for call in page.calls
        ]
        return {"calls": calls, "older": page.older}


def _asked(scope: Scope) -> Asked:
    query: bytes = scope.get("query_string", b"")
    return parse_qs(query.decode("latin-1"))


def _shown(user: User) -> dict[str, str]:
    return {"uid": user.uid, "name": user.name or user.uid, "avatar": user.avatar}


def _told(settings: CallSettings) -> dict[str, Any]:
    """All of what the page acts on, as its client names it. Raises InvalidSettings for what it cannot do."""
    told = {}
    for field in attrs.fields(CallSettings):
        value = getattr(settings, field.name)
        if field.name in _SETTINGS:
            first, *others = field.name.split("_")
            told["".join((first, *(each.title() for each in others)))] = value
        elif value != field.default:
            raise InvalidSettings(name=field.name, value=value, why="the page of the service does not act on it")
    return told


@cache
def _files() -> dict[str, tuple[bytes, bytes, bytes]]:
    """Every file of the page: its content, type and digest."""
    found = {}
    for each in files("statecore_web").joinpath("page").iterdir():
        kind = _TYPES.get("." + each.name.rpartition(".")[2])
        if kind is not None:
            body = each.read_bytes()
            found[each.name] = (body, kind, b'"' + sha256(body).hexdigest()[:20].encode() + b'"')
    return found


async def _file(send: Send, name: str, headers: dict[str, str]) -> bool:
    if name not in _files():
        return False
    body, kind, digest = _files()[name]
    known = headers.get("if-none-match", "").encode() == digest
    # Pages of other origins may import the client. What they may do with it, the service decides by its own list.
    more = [(b"content-type", kind), (b"etag", digest), (b"access-control-allow-origin", b"*")]
    await _answer(send, 304 if known else 200, b"" if known else body, more)
    return True


def _json() -> list[tuple[bytes, bytes]]:
    return [(b"content-type", b"application/json")]


async def _answer(send: Send, status: int, body: bytes, more: list[tuple[bytes, bytes]]) -> None:
    length = [] if status == 304 else [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*_SAFE, *more, *length]})
    await send({"type": "http.response.body", "body": body})
