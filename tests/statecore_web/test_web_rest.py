"""What back ends ask over HTTP, over real sockets, and by a machine that tries everything the description allows."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import CHECKS

from statecore import CallClient, CallService, MemoryStore, join_session
from statecore.errors import CallCancelled, InvalidArgument, SignalingLost, TokenRevoked, UnknownUser, UserBusy
from statecore.testing import FakeMedia
from statecore.wire import Hello, Welcome, decode_down, encode
from statecore_web import CallApp, WebSocketSignaling

_app = CallApp(CallService(), api_key="key")


async def _lasting(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    """The application without its life: the machine would end it after each request."""
    if scope["type"] != "lifespan":
        await _app(scope, receive, send)
        return
    for step in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{step}.complete"})


_schema = schemathesis.openapi.from_asgi("/openapi.json", _lasting)
_NOT = [
    "positive_data_acceptance",  # what an id may consist of, and that a direction is somebody's, no schema can say
    "negative_data_rejection",  # parameters that are not known are tolerated
    "allow_header_conformance",  # the framework's own answer to OPTIONS names the last method only
]


@_schema.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_everything_the_description_allows_is_answered_as_it_says(case: Any) -> None:
    """No server error, no undocumented status, body or type, and nothing without the key."""
    left_out = [check for check in CHECKS.get_all() if check.__name__ in _NOT]
    case.call_and_validate(headers={"Authorization": "Bearer key"}, excluded_checks=left_out)


def _run(served: Any, main: Callable[[CallApp, str], Awaitable[None]], **more: Any) -> None:
    async def whole() -> None:
        app = CallApp(CallService(), api_key="key", **more)
        async with served(app) as url:
            await main(app, url)

    asyncio.run(whole())


def test_users_and_their_tokens(served: Any, ask: Any) -> None:
    """Made, read, listed; a token that REST issued lets a device in, and one that it revoked does not."""

    async def main(_: CallApp, url: str) -> None:
        assert await ask(url, "POST", "/v1/users", {"uid": "alice", "name": "Al", "avatar": "x:/a"}) == (
            201,
            {"uid": "alice", "name": "Al", "avatar": "x:/a", "online": False},
        )
        status, made = await ask(url, "POST", "/v1/users/alice/auth-tokens", {"lifetime": 60})
        assert status == 201
        async with CallClient(WebSocketSignaling(url, made["token"])) as client:
            assert client.connected
            assert (await ask(url, "GET", "/v1/users/alice"))[1]["online"]
        listed = (await ask(url, "GET", "/v1/users/alice/auth-tokens"))[1]
        assert [each["id"] for each in listed] == [made["id"]]
        assert "token" not in listed[0]
        assert (await ask(url, "DELETE", f"/v1/users/alice/auth-tokens/{made['id']}"))[0] == 204
        assert (await ask(url, "DELETE", "/v1/users/alice/auth-tokens"))[0] == 204
        with pytest.raises(Exception, match="revoked"):
            await WebSocketSignaling(url, made["token"]).connect()
        assert [user["uid"] for user in (await ask(url, "GET", "/v1/users"))[1]] == ["alice"]

    _run(served, main)


def test_users_come_a_page_at_a_time(served: Any, ask: Any) -> None:
    """In the order of their ids, each page from after the last id of the one before; who is there is known of each."""

    async def main(app: CallApp, url: str) -> None:
        for number in range(5):
            await app.service.register_user(f"u{number}")
        async with CallClient(app.service.signaling("u3")):
            pages, after = list[list[str]](), ""
            while page := (await ask(url, "GET", f"/v1/users?limit=2&after={after}"))[1]:
                pages.append([user["uid"] + "!" * user["online"] for user in page])
                after = page[-1]["uid"]
            assert pages == [["u0", "u1"], ["u2", "u3!"], ["u4"]]

    _run(served, main)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/v1/users/nobody", None, 404, "unknown_user"),
        ("POST", "/v1/users/nobody/auth-tokens", {}, 404, "unknown_user"),
        ("POST", "/v1/users", {"uid": "a b"}, 400, "spaced_id"),
        ("POST", "/v1/users", {"uid": ""}, 400, "invalid_argument"),
        ("POST", "/v1/users", {"uid": "."}, 400, "invalid_argument"),
        ("POST", "/v1/users", {"uid": ".."}, 400, "invalid_argument"),
        ("POST", "/v1/calls", {"users": {"..": "host"}}, 400, "invalid_argument"),
        ("POST", "/v1/calls/room/tokens", {"user": ".."}, 400, "invalid_argument"),
        ("POST", "/v1/users", {"uid": "a", "what": 1}, 400, "invalid_argument"),
        ("POST", "/v1/users", {"uid": "a", "capacity": 101}, 400, "invalid_argument"),
        ("POST", "/v1/users", b"{", 400, "invalid_argument"),
        ("POST", "/v1/users", b"[" * 100_000, 413, "invalid_argument"),
        ("POST", "/v1/users", b"[" * 60_000, 400, "invalid_argument"),
        ("POST", "/v1/users", b'{"uid": "\xff"}', 400, "invalid_argument"),
        ("GET", "/v1/calls?limit=501", None, 400, "invalid_argument"),
        ("GET", "/v1/users?limit=1001", None, 400, "invalid_argument"),
        ("GET", "/v1/calls?cursor=nonsense", None, 400, "invalid_argument"),
        ("GET", "/v1/calls?since=nan", None, 400, "invalid_argument"),
        ("GET", "/v1/calls?until=-inf", None, 400, "invalid_argument"),
        ("GET", "/v1/calls?until=1e999", None, 400, "invalid_argument"),
        ("GET", "/v1/calls?direction=incoming", None, 400, "invalid_argument"),
        ("GET", "/v1/calls/none", None, 404, "call_not_found"),
        ("GET", "/nowhere", None, 404, "not_found"),
        ("PUT", "/v1/users", {}, 405, "method_not_allowed"),
    ],
)
def test_a_wrong_request_is_told_why(
    served: Any, ask: Any, method: str, path: str, body: Any, status: int, code: str
) -> None:
    """A status and a stable code, always in the same form."""

    async def main(_: CallApp, url: str) -> None:
        got, told = await ask(url, method, path, body)
        assert (got, told["code"]) == (status, code)
        assert told["message"]

    _run(served, main)


def test_a_store_that_fails_is_told_and_logged(served: Any, ask: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What went wrong stands in the log, and not in the answer, which has the form that all have."""

    class Broken(MemoryStore):
        async def load(self, keys: Any) -> Any:
            raise OSError(f"the disk that has {[*keys]} is gone")

    async def main() -> None:
        app = CallApp(CallService(store=Broken()), api_key="key")
        async with served(app, lifespan="off") as url:
            status, told = await ask(url, "GET", "/v1/users/alice")
            assert (status, told["code"]) == (503, "signaling_lost")
            assert "disk" not in told["message"]
        await app.close()

    asyncio.run(main())
    assert "OSError: the disk" in caplog.text


def test_no_body_follows_a_head() -> None:
    """Whatever answers it, the application itself sends none: not every server takes it away."""
    app, sent = CallApp(CallService()), list[bytes]()

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message.get("body", b""))

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def main() -> None:
        for path in ("/", "/page/config", "/v1/ice", "/healthz", "/v1/users"):
            headers = [(b"host", b"localhost")]
            scope = {"type": "http", "method": "HEAD", "path": path, "query_string": b"", "headers": headers}
            await app(scope, receive, send)
        await app.close()

    asyncio.run(main())
    assert len(sent) == 10
    assert not any(sent)


def test_a_path_is_not_remembered_as_long_as_it_is(served: Any, ask: Any) -> None:
    """What nothing can be called is not found, and takes no room of its own; the longest id is."""

    async def main(app: CallApp, url: str) -> None:
        app.service.add_user("é" * 128)
        assert (await ask(url, "GET", "/v1/users/" + quote("é" * 128)))[1]["uid"] == "é" * 128
        for long in ("é" * 129, "x" * 50_000):
            status, told = await ask(url, "GET", "/v1/users/" + quote(long))
            assert (status, told["data"]) == (404, {"user": long[:129]})
        assert (await ask(url, "POST", f"/v1/calls/{'x' * 300}/tokens", {"user": "a"}))[0] == 400

    _run(served, main)


def test_a_session_whose_id_has_a_slash(served: Any, ask: Any) -> None:
    """A back end reads a call by it, gives a token for it, and ends it; a path with a real slash is another one."""

    async def main(app: CallApp, url: str) -> None:
        app.service.add_user("bob")
        async with CallClient(app.service.signaling("alice"), FakeMedia()) as alice:
            await alice.initiate_call("bob", session_id="room/9")
            assert (await ask(url, "GET", "/v1/calls/room%2F9"))[1]["session_id"] == "room/9"
            assert (await ask(url, "POST", "/v1/calls/room%2F9/tokens", {"user": "bob"}))[0] == 201
            assert (await ask(url, "GET", "/v1/calls/room/9"))[0] == 404
            assert (await ask(url, "POST", "/v1/calls/room%2F9/end"))[1]["reason"] == "cancelled"

    _run(served, main)


def test_what_can_be_read_has_a_head(served: Any, ask: Any) -> None:
    """HEAD is answered as GET is, without a body: for who balances load. It needs the key where GET does, and where
    nothing is read there is none."""

    async def main(_: CallApp, url: str) -> None:
        for path in ("/healthz", "/readyz", "/openapi.json", "/metrics", "/v1/users", "/v1/calls", "/v1/calls?limit=1"):
            assert await ask(url, "HEAD", path) == (200, "")
        for path in ("/", "/page/config", "/page/app.js"):
            assert await ask(url, "HEAD", path) == (200, "")
        for path in ("/v1/users/nobody", "/nowhere"):
            assert await ask(url, "HEAD", path) == (404, "")
        assert await ask(url, "HEAD", "/v1/ice") == (401, "")
        assert await ask(url, "HEAD", "/v1/users", None, None) == (401, "")
        assert await ask(url, "HEAD", "/v1/call-tokens/revoke") == (405, "")

        def refused() -> Any:
            request = urllib.request.Request(url + "/healthz", b"", method="PUT")  # noqa: S310
            with pytest.raises(urllib.error.HTTPError) as raised, urllib.request.urlopen(request, timeout=10):  # noqa: S310
                pass
            with raised.value as error:
                return error.headers["allow"]

        assert {"GET", "HEAD"} <= {*(await asyncio.to_thread(refused)).split(", ")}

    _run(served, main)


@pytest.mark.parametrize("key", [None, "", "kez", "key2"])
def test_nothing_is_open_without_the_key(served: Any, ask: Any, key: str | None) -> None:
    """But health and the description; with no key set, nothing at all."""

    async def main(_: CallApp, url: str) -> None:
        for path in ("/v1/users", "/v1/calls", "/v1/calls/x", "/v1/users/a/auth-tokens"):
            assert (await ask(url, "GET", path, None, key))[0] == 401
        for path in ("/healthz", "/readyz", "/openapi.json"):
            assert (await ask(url, "GET", path, None, key))[0] == 200
        assert (await ask(url, "POST", "/v1/dev/login", {"uid": "a"}))[0] == 404
        app = CallApp(CallService())
        async with served(app) as other:
            assert (await ask(other, "GET", "/v1/users", None, "None"))[0] == 401

    _run(served, main)


@pytest.mark.parametrize("key", ["", " ", "\t\n"])
def test_a_blank_key_opens_nothing(key: str) -> None:
    """An application with a key that anybody has, as of a variable that is not set, is not made: it says what to do."""
    with pytest.raises(InvalidArgument, match="blank: give a secret, or None"):
        CallApp(CallService(), api_key=key)


def test_in_development_anybody_logs_in_by_name(served: Any, ask: Any) -> None:
    """And gets a token that lets a device in."""

    async def main(_: CallApp, url: str) -> None:
        status, made = await ask(url, "POST", "/v1/dev/login", {"uid": "alice"}, None)
        assert status == 201
        async with CallClient(WebSocketSignaling(url, made["token"])) as client:
            assert client.user.uid == "alice"

    _run(served, main, dev=True)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 201),
        ({"Host": "localhost:1"}, 201),
        ({"Host": "app.localhost", "Origin": "http://app.localhost"}, 201),
        ({"Host": "[::1]:1", "Origin": "http://[::1]:1"}, 201),
        ({"Host": "app.example.org", "Origin": "https://app.example.org"}, 201),
        ({"Content-Type": "application/json; charset=utf-8"}, 201),
        ({"Content-Type": "text/plain"}, 415),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Origin": "http://127.0.0.1.evil.example"}, 403),
        ({"Host": "evil.example:8765", "Origin": "http://evil.example:8765"}, 403),
        ({"Host": "evil.example:8765"}, 403),
        ({"Host": "x@localhost"}, 403),
        ({"Host": "localhost", "Origin": "http://x@localhost"}, 403),
    ],
)
def test_nobody_from_elsewhere_logs_in_by_name(served: Any, headers: dict[str, str], status: int) -> None:
    """Not a page of another origin, which could send plain text, nor one whose name was made to lead to this machine;
    an origin that may connect may log in."""

    async def main(_: CallApp, url: str) -> None:
        body, given = b'{"uid": "alice"}', {"Content-Type": "application/json", **headers}
        request = urllib.request.Request(f"{url}/v1/dev/login", body, given, method="POST")  # noqa: S310 - our own
        try:
            with await asyncio.to_thread(urllib.request.urlopen, request, timeout=10) as answer:
                told = answer.status
        except urllib.error.HTTPError as error:
            with error:
                told = error.code
        assert told == status

    _run(served, main, dev=True, origins=["https://app.example.org"])


@pytest.mark.parametrize(
    ("client", "status"),
    [
        (("127.0.0.1", 1), 201),
        (("::1", 1), 201),
        (("::ffff:127.0.0.1", 1), 201),
        (None, 201),
        (("", 0), 201),
        (("203.0.113.9", 1), 403),
        (("::ffff:203.0.113.9", 1), 403),
        (("2001:db8::1", 1), 403),
        (("localhost", 1), 403),
    ],
)
def test_no_program_from_elsewhere_logs_in_by_name(served: Any, ask: Any, client: Any, status: int) -> None:
    """Whatever host it says it asks: who does not come from this machine is refused, also where the service answers
    others; a socket file has no address."""

    async def main() -> None:
        app = CallApp(CallService(), dev=True)

        async def from_there(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
            await app({**scope, "client": client} if scope["type"] == "http" else scope, receive, send)

        async with served(from_there) as url:
            assert (await ask(url, "POST", "/v1/dev/login", {"uid": "alice"}, None))[0] == status

    asyncio.run(main())


def test_calls_are_found(served: Any, ask: Any) -> None:
    """Live ones and the log, by each filter; a page leads to the next and back; a call token admits."""

    async def main(app: CallApp, url: str) -> None:
        for user in ("alice", "bob", "carol"):
            app.service.add_user(user)
        async with (
            CallClient(app.service.signaling("alice")) as alice,
            CallClient(app.service.signaling("bob")),
            CallClient(app.service.signaling("carol")) as carol,
        ):
            for number in range(4):
                kind: Any = "audio" if number % 2 else "video"
                call = await alice.initiate_call("bob", type=kind, session_id=f"c{number}")
                if number < 3:
                    await call.cancel()
                    with suppress(Exception):
                        await call.answered()
            with pytest.raises(UserBusy):
                await carol.initiate_call("bob", session_id="busy")
            expected = {
                "": {"c0", "c1", "c2", "c3", "busy"},
                "?live=true": {"c3"},
                "?live=false&user=alice": {"c0", "c1", "c2"},
                "?status=cancelled&type=audio": {"c1"},
                "?status=busy": {"busy"},
                "?user=bob&direction=incoming": {"c0", "c1", "c2", "c3", "busy"},
                "?user=carol&direction=incoming": set(),
                "?category=direct": set(),
                "?until=0": set(),
                "?since=0&limit=500": {"c0", "c1", "c2", "c3", "busy"},
            }
            for query, ids in expected.items():
                status, page = await ask(url, "GET", f"/v1/calls{query}")
                assert (status, {call["session_id"] for call in page["calls"]}) == (200, ids), query
            first = (await ask(url, "GET", "/v1/calls?limit=2"))[1]
            second = (await ask(url, "GET", f"/v1/calls?limit=2&cursor={first['older']}"))[1]
            back = (await ask(url, "GET", f"/v1/calls?limit=2&cursor={second['newer']}"))[1]
            assert (len(first["calls"]), len(second["calls"]), back["calls"]) == (2, 2, first["calls"])
            one = (await ask(url, "GET", "/v1/calls/c0"))[1]
            assert (one["status"], one["reason"], one["category"]) == ("cancelled", "cancelled", "call")
            assert (one["ended_by"], bool(one["ended_on"])) == ("alice", True)
            assert one["initiated_at"] <= one["ringing_at"] <= one["ended_at"]
            token = (await ask(url, "POST", "/v1/calls/room/tokens", {"user": "carol", "role": "host"}))[1]["token"]
            assert token.count(".") == 2
            assert (await ask(url, "POST", "/v1/calls/c3/tokens", {"user": "carol"}))[0] == 403
            assert (await ask(url, "POST", "/v1/calls/c0/tokens", {"user": "alice"}))[0] == 410

    _run(served, main)


def test_one_user_is_looked_up_without_the_others(served: Any, ask: Any) -> None:
    """Somebody made known a moment ago is read with the name given last, also when it was taken into the store."""

    async def main(app: CallApp, url: str) -> None:
        app.service.add_user("alice", "Al")  # not in the store before something is decided
        known = {"uid": "alice", "name": "Al", "avatar": "", "online": False}
        assert (await ask(url, "GET", "/v1/users/alice"))[1] == known
        async with CallClient(app.service.signaling("bob")):
            assert (await app.service.user("alice")).name == "Al"
            app.service.add_user("alice", "Alice")
            assert (await app.service.user("alice")).name == "Alice"
            with pytest.raises(UnknownUser):
                await app.service.user("nobody")

    _run(served, main)


def test_a_user_is_deleted(served: Any, ask: Any) -> None:
    """The devices are let go for good, the token is void, the other's call ends; the log still has it."""

    async def main(app: CallApp, url: str) -> None:
        for uid in ("alice", "bob"):
            await ask(url, "POST", "/v1/users", {"uid": uid})
        token = (await ask(url, "POST", "/v1/users/alice/auth-tokens", {}))[1]["token"]
        async with (
            CallClient(WebSocketSignaling(url, token)) as alice,
            CallClient(app.service.signaling("bob")) as bob,
        ):
            call = await bob.initiate_call("alice", session_id="c")
            silent = await WebSocketSignaling(url, token).connect()
            assert (await ask(url, "DELETE", "/v1/users/alice"))[0] == 204
            with suppress(SignalingLost):  # a device that had not said hello makes nobody known
                silent.send(encode(Hello("laptop", "1", 1)))
                while True:
                    assert not isinstance(decode_down(await silent.receive()), Welcome)
            with pytest.raises(CallCancelled):
                await call.answered()
            async with asyncio.timeout(10):
                while alice.connected:  # noqa: ASYNC110 - a client tells a session of its link, and there is none
                    await asyncio.sleep(0.01)
            with pytest.raises(TokenRevoked):
                await WebSocketSignaling(url, token).connect()
        assert (await ask(url, "DELETE", "/v1/users/alice"))[1]["code"] == "unknown_user"
        assert [user["uid"] for user in (await ask(url, "GET", "/v1/users"))[1]] == ["bob"]
        assert (await ask(url, "GET", "/v1/calls/c"))[1]["status"] == "cancelled"

    _run(served, main)


def test_a_session_is_made_and_ended(served: Any, ask: Any) -> None:
    """With the tokens that REST gives its people join, in their roles; ending it ends it for them."""

    async def main(app: CallApp, url: str) -> None:
        status, made = await ask(url, "POST", "/v1/calls", {"users": {"alice": "host", "bob": "viewer"}})
        assert (status, set(made["tokens"])) == (201, {"alice", "bob"})
        path = f"/v1/calls/{made['session_id']}"
        assert (await ask(url, "GET", path))[0] == 404  # nobody has joined
        assert (await ask(url, "POST", f"{path}/end"))[0] == 404
        async with (
            CallClient(app.service.signaling("alice"), FakeMedia()) as alice,
            CallClient(app.service.signaling("bob"), FakeMedia()) as bob,
        ):
            sessions = [await client.start_session(made["tokens"][client.user.uid]) for client in (alice, bob)]
            people = (await ask(url, "GET", path))[1]["participants"]
            assert [one["uid"] for one in people] == ["alice", "bob"]
            status, ended = await ask(url, "POST", f"{path}/end")
            assert (status, ended["reason"], ended["ended_by"]) == (200, "kicked", None)
            for session in sessions:
                assert (await session.wait_ended()).what == "kicked"
        assert (await ask(url, "POST", f"{path}/end"))[1] == ended
        for wrong in ({"users": {}}, {"users": {"a": "king"}}, {}):
            assert (await ask(url, "POST", "/v1/calls", wrong))[0] == 400

    _run(served, main)


def test_call_tokens_are_revoked_and_renewed(served: Any, ask: Any) -> None:
    """A guest joins by a token that was renewed, and not by one that was revoked, which is neither renewed nor good for
    anything else; what is no token is refused by its name. None of it without the key."""

    async def main(app: CallApp, url: str) -> None:
        token = (await ask(url, "POST", "/v1/calls/room/tokens", {"user": "gast", "lifetime": 60}))[1]["token"]
        for path in ("/v1/call-tokens/revoke", "/v1/call-tokens/refresh"):
            assert (await ask(url, "POST", path, {"token": token}, None))[0] == 401
            assert (await ask(url, "POST", path, {"token": ""}))[0] == 400
            for wrong, code in (("nonsense", "token_malformed"), (token[:-4] + "AAAA", "token_forged")):
                status, body = await ask(url, "POST", path, {"token": wrong})
                assert (status, body["code"]) == (400, code)
        status, renewed = await ask(url, "POST", "/v1/call-tokens/refresh", {"token": token, "lifetime": 3600})
        assert status == 201
        for _ in range(2):
            assert await ask(url, "POST", "/v1/call-tokens/revoke", {"token": token}) == (204, "")
        assert (await ask(url, "POST", "/v1/call-tokens/refresh", {"token": token}))[1]["code"] == "token_revoked"
        with pytest.raises(TokenRevoked):
            await WebSocketSignaling.guest(url, token).connect()
        link = WebSocketSignaling.guest(url, renewed["token"])
        async with join_session(link, renewed["token"], FakeMedia(), type="audio") as session:
            assert session.state == "active"

    _run(served, main)
