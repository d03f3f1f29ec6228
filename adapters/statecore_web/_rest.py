"""What back ends ask over HTTP: users, tokens, calls. Behind the API key, but for health and the description itself."""

from __future__ import annotations

import hmac
import uuid
from collections.abc import Collection
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import quote, unquote

from litestar import Controller, Litestar, MediaType, Request, Response, Router, delete, get, post
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency, Provide
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.spec import Components, SecurityScheme
from litestar.params import FromPath, JSONBody, PathParameter, QueryParameter

from statecore import CallQuery, StatecoreError, Status, __version__, errors

from ._asyncapi import asyncapi
from ._bodies import (
    AuthTokenBody,
    CallBody,
    CallPageBody,
    CallTokenBody,
    ErrorBody,
    GivenToken,
    NewAuthToken,
    NewCallToken,
    NewSession,
    NewUser,
    OldToken,
    SessionBody,
    UserBody,
    call_body,
)
from ._ice import ice_path
from ._local import check_local
from ._metrics import CONTENT_TYPE
from ._refusals import refusal
from .app import CallApp

App: TypeAlias = NamedDependency[CallApp]

REFUSALS = {
    400: "Something in the request is not as it must be.",
    401: "The API key is missing or wrong.",
    403: "This user has no part in that.",
    404: "There is no such thing.",
    405: "Not with this method.",
    409: "Not as things stand.",
    410: "The call has ended.",
    413: "The body is too long.",
    503: "The service cannot answer now.",
}
"""What a back end may be told besides what it asked for."""
_TOLD = {
    status: ResponseSpec(ErrorBody, generate_examples=False, description=text) for status, text in REFUSALS.items()
}


# --- what can be asked ------------------------------------------------------------------------------------------------


async def _user(app: App, uid: str) -> UserBody:
    user = await app.service.user(uid)
    return UserBody(user.uid, user.name, user.avatar, await app.service.online(uid))


class Users(Controller):
    """Who can call and be called."""

    path = "/users"
    tags = ("users",)

    @post(summary="Make a user known", responses=_TOLD)
    async def create(self, app: App, data: JSONBody[NewUser]) -> UserBody:
        """Make a user known, who can be rung from then on. Again: changes the name, the picture or the capacity."""
        await app.service.register_user(data.uid, data.name, avatar=data.avatar, capacity=data.capacity)
        return await _user(app, data.uid)

    @get(summary="List the users", responses=_TOLD)
    async def every(
        self,
        app: App,
        after: Annotated[str, QueryParameter(description="The last id of the page before.")] = "",
        limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 1000,
    ) -> list[UserBody]:
        """Everybody who is known, in the order of their ids, a page at a time: one that is not full is the last."""
        page = await app.service.presence(after=after, limit=limit)
        return [UserBody(user.uid, user.name, user.avatar, there) for user, there in page]

    @delete("/{uid:str}", summary="Delete a user", responses=_TOLD)
    async def remove(self, app: App, uid: FromPath[str]) -> None:
        """The user's auth tokens are void, calls end, connections are closed. What has ended stays in the log."""
        await app.service.user(uid)
        await app.revoke(uid)  # who has not said hello yet would make the user known again
        await app.service.delete_user(uid)

    @get("/{uid:str}", summary="Read a user", responses=_TOLD)
    async def read(self, app: App, uid: FromPath[str]) -> UserBody:
        """One user."""
        return await _user(app, uid)

    @post("/{uid:str}/auth-tokens", summary="Issue an auth token", responses=_TOLD)
    async def issue(self, app: App, uid: FromPath[str], data: JSONBody[NewAuthToken]) -> AuthTokenBody:
        """A token that a device of this user connects with. It is not kept, and cannot be had again."""
        await app.service.user(uid)
        text, made = await app.tokens.issue(uid, lifetime=data.lifetime)
        return AuthTokenBody(made.id, made.user, made.issued_at, made.expires_at, text)

    @get("/{uid:str}/auth-tokens", summary="List a user's auth tokens", responses=_TOLD)
    async def tokens(self, app: App, uid: FromPath[str]) -> list[AuthTokenBody]:
        """Those that are good, without the tokens themselves."""
        return [AuthTokenBody(t.id, t.user, t.issued_at, t.expires_at) for t in await app.tokens.list(uid)]

    @delete("/{uid:str}/auth-tokens", summary="Revoke all auth tokens of a user", responses=_TOLD)
    async def revoke_all(self, app: App, uid: FromPath[str]) -> None:
        """From now on none of them is good, and connections that were made by one are closed: their devices are told
        `token_revoked`, and what they had a part in is lost. So are those by an application's own tokens."""
        await app.revoke(uid)

    @delete("/{uid:str}/auth-tokens/{token_id:str}", summary="Revoke an auth token", responses=_TOLD)
    async def revoke(self, app: App, uid: FromPath[str], token_id: FromPath[str]) -> None:
        """From now on it is not good, and connections that were made by it are closed: their devices are told
        `token_revoked`, and what they had a part in is lost. One that only expires closes nothing."""
        await app.revoke(uid, token_id)


class Calls(Controller):
    """Calls and sessions, live and ended."""

    path = "/calls"
    tags = ("calls",)

    @get(summary="List calls", responses=_TOLD)
    async def find(
        self,
        app: App,
        user: Annotated[str | None, QueryParameter(description="Whose calls.")] = None,
        type_: Annotated[Literal["audio", "video"] | None, QueryParameter(name="type")] = None,
        status: Annotated[Status | None, QueryParameter(description="As `user` sees it, if given.")] = None,
        category: Annotated[Literal["call", "direct"] | None, QueryParameter()] = None,
        direction: Annotated[Literal["incoming", "outgoing"] | None, QueryParameter()] = None,
        live: Annotated[bool | None, QueryParameter()] = None,
        since: Annotated[float | None, QueryParameter(description="Unix seconds.")] = None,
        until: Annotated[float | None, QueryParameter(description="Unix seconds.")] = None,
        limit: Annotated[int, QueryParameter(ge=1, le=500)] = 50,
        cursor: Annotated[str, QueryParameter(description="`older` or `newer` of a page.")] = "",
    ) -> CallPageBody:
        """The call log and what lives, newest first, a page at a time."""
        query = CallQuery(
            user=user, type=type_, status=status, category=category, direction=direction,
            live=live, since=since, until=until, limit=limit, cursor=cursor,
        )  # fmt: skip
        page = await app.service.find_calls(query)
        return CallPageBody([call_body(call) for call in page.calls], page.older, page.newer)

    @post(summary="Create a session", responses=_TOLD)
    async def create(self, app: App, data: JSONBody[NewSession]) -> SessionBody:
        """A new session without ringing: its id, and a call token for each who may join. It begins with the first who
        joins. No request rings anybody, neither from the back end nor in a user's name: who rings says yes to a
        microphone by it, which only a device can, for its own user. A back end that is to ring people has a device of
        its own: a `CallClient`, for a user such as a bot, over the WebSocket or in the process."""
        session_id = str(uuid.uuid4())
        more = {"lifetime": data.lifetime} if data.lifetime is not None else {}
        issue = app.service.generate_token
        tokens = {uid: await issue(uid, session_id, role=role, **more) for uid, role in data.users.items()}
        return SessionBody(session_id, tokens)

    @post("/{session_id:str}/end", summary="End a call", responses=_TOLD, status_code=200)
    async def end(self, app: App, session_id: FromPath[str]) -> CallBody:
        """End a call for everyone in it. One that has ended stays as it is."""
        return call_body(await app.service.end_call(session_id))

    @get("/{session_id:str}", summary="Read a call", responses=_TOLD)
    async def read(self, app: App, session_id: FromPath[str]) -> CallBody:
        """One call, by its id or a second name."""
        return call_body(await app.service.fetch(session_id))

    @post("/{session_id:str}/tokens", summary="Issue a call token", responses=_TOLD)
    async def token(
        self, app: App, session_id: Annotated[str, PathParameter()], data: JSONBody[NewCallToken]
    ) -> CallTokenBody:
        """A token that admits a user to a session, in any role. For a call that rings, only its two people."""
        more = {"lifetime": data.lifetime} if data.lifetime is not None else {}
        return CallTokenBody(await app.service.generate_token(data.user, session_id, role=data.role, **more))


class CallTokens(Controller):
    """Call tokens that were given out."""

    path = "/call-tokens"
    tags = ("calls",)

    @post("/revoke", summary="Revoke a call token", responses=_TOLD, status_code=204)
    async def revoke(self, app: App, data: JSONBody[GivenToken]) -> None:
        """From now on nobody joins by it; who has joined stays. One that is not good any more is refused."""
        await app.service.revoke_token(data.token)

    @post("/refresh", summary="Renew a call token", responses=_TOLD)
    async def refresh(self, app: App, data: JSONBody[OldToken]) -> CallTokenBody:
        """A token that says what this one says, for longer; this one stays good for its time. One that is not good any
        more is refused."""
        return CallTokenBody(await app.service.refresh_token(data.token, lifetime=data.lifetime))


@post("/v1/dev/login", summary="Log in by name, in development", tags=["users"], opt={"open": True, "local": True})
async def login(app: App, data: JSONBody[NewUser]) -> AuthTokenBody:
    """An auth token for anybody who asks on this machine."""
    await app.service.register_user(data.uid, data.name, avatar=data.avatar, capacity=data.capacity)
    text, made = await app.tokens.issue(data.uid, lifetime=86_400)
    return AuthTokenBody(made.id, made.user, made.issued_at, made.expires_at, text)


@get("/healthz", summary="Whether the process lives", tags=["health"], media_type=MediaType.TEXT, opt={"open": True})
async def healthz() -> str:
    """Answers as long as the process does."""
    return "ok"


@get(
    "/readyz",
    summary="Whether it takes calls",
    tags=["health"],
    media_type=MediaType.TEXT,
    opt={"open": True},
    responses={503: ResponseSpec(str, generate_examples=False, description="Not now.", media_type=MediaType.TEXT)},
)
async def readyz(app: App) -> Response[str]:
    """200 while new connections are taken, 503 when not."""
    ready = await app.ready()
    return Response("ok" if ready else "not ready", status_code=200 if ready else 503, media_type=MediaType.TEXT)


@get("/metrics", summary="What it did, for Prometheus", tags=["health"], media_type=MediaType.TEXT)
async def metrics(app: App) -> Response[bytes]:
    """Counters and gauges, in Prometheus' text format."""
    return Response(await app.metrics.text(), media_type=CONTENT_TYPE)


@get("/openapi.json", summary="This description", tags=["health"], opt={"open": True}, include_in_schema=False)
async def openapi(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """What can be asked, as an OpenAPI document."""
    schema = request.app.openapi_schema.to_schema()
    schema["paths"] |= ice_path(schema["components"])
    schema["servers"] = [{"url": quote(request.scope["root_path"]) or "/"}]
    return schema


@get(
    "/asyncapi.json", summary="What devices say and hear", tags=["health"], opt={"open": True}, include_in_schema=False
)
async def messages(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """The protocol of the WebSocket, as an AsyncAPI document."""
    return asyncapi(quote(request.scope["root_path"]))


# --- together ---------------------------------------------------------------------------------------------------------

STATUS: dict[type[StatecoreError], int] = {
    errors.UnknownUser: 404,
    errors.CallNotFound: 404,
    errors.CallGone: 410,
    errors.NotAParty: 403,
    errors.TokenError: 400,  # one that was asked about; who asks shows the API key
    errors.RateLimited: 429,
    errors.InvalidArgument: 400,
    errors.CallError: 409,
    errors.NotReady: 409,
    errors.UsageError: 400,
    errors.NetworkError: 503,
}
"""The HTTP status of an error: the first entry that fits."""


def status_of(error: StatecoreError) -> int:
    """The HTTP status that an error is told with."""
    return next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)


def body_of(error: StatecoreError) -> ErrorBody:
    """An error as it is told."""
    data = {k: v for k, v in error.data.items() if isinstance(v, str | int | float | list) or v is None}
    return ErrorBody(error.code, str(error), data)


def _told(_: Request[Any, Any, Any], error: StatecoreError) -> Response[ErrorBody]:
    return Response(body_of(error), status_code=status_of(error))


def _unreadable(_: Request[Any, Any, Any], _error: Exception) -> Response[ErrorBody]:
    """A body that the framework cannot even find to be malformed. Nothing else here decodes, or goes deep."""
    return Response(ErrorBody(errors.InvalidArgument.code, "the body is no UTF-8, or nested too deep"), status_code=400)


def _failed(_: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Whatever else it is, of the store above all: it stands in the log."""
    refused = refusal(error)
    return Response(refused.body, status_code=refused.status, media_type=MediaType.JSON)


def _refused(_: Request[Any, Any, Any], error: HTTPException) -> Response[ErrorBody]:
    """What the framework refuses: no such path, a body that does not fit."""
    extra = error.extra if isinstance(error.extra, list | dict) else []
    code = {401: "unauthorized", 404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_argument")
    body = ErrorBody(code, error.detail, {"problems": extra} if extra else {})
    headers = dict(error.headers or {})
    if "GET" in (allowed := headers.get("allow", "").split(", ")):  # and so the same without a body
        headers["allow"] = ", ".join(sorted({*allowed, "HEAD"}))
    return Response(body, status_code=error.status_code, headers=headers)


def _named(request: Request[Any, Any, Any]) -> None:
    """What an address names may have a slash in it, and stands in the path so that it has none."""
    request.scope["path_params"] = {name: unquote(value) for name, value in request.scope["path_params"].items()}


def rest(app: CallApp, api_key: str | None, *, dev: bool, origins: Collection[str] = ()) -> Litestar:
    """The application that answers requests. Without an API key, everything behind it is closed."""

    def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        if handler.opt.get("local"):
            check_local(connection, origins)
        if handler.opt.get("open"):
            return
        scheme, _, given = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or api_key is None or not hmac.compare_digest(given.encode(), api_key.encode()):
            raise HTTPException(
                "this needs the API key, as a bearer token", status_code=401, headers={"WWW-Authenticate": "Bearer"}
            )

    bearer = SecurityScheme(type="http", scheme="bearer", description="The API key.")
    return Litestar(
        [
            Router("/v1", route_handlers=[Users, Calls, CallTokens], security=[{"api_key": []}]),
            *([login] if dev else []),
            healthz,
            readyz,
            metrics,
            openapi,
            messages,
        ],
        dependencies={"app": _given(app)},
        guards=[guard],
        before_request=_named,
        exception_handlers={
            StatecoreError: _told,
            HTTPException: _refused,
            UnicodeDecodeError: _unreadable,
            RecursionError: _unreadable,
            Exception: _failed,
        },
        openapi_config=OpenAPIConfig(
            title="statecore",
            version=__version__,
            description="The call service, for back ends: users, their tokens, sessions, and the calls that live and "
            "have ended. Calls that ring are begun by devices, over the WebSocket (`/asyncapi.json`).",
            components=Components(security_schemes={"api_key": bearer}),
            path="/description",
            render_plugins=[],
        ),
        request_max_body_size=64 * 1024,
        logging_config=None,
    )


def _given(app: CallApp) -> Provide:
    def provide() -> CallApp:
        return app

    return Provide(provide, sync_to_thread=False)
