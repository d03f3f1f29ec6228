"""`statecore serve`: the call service on the network."""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import json
import math
import os
import secrets
import ssl
import threading
from collections.abc import AsyncIterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs

from ...errors import AdapterMissing, InvalidArgument, StoreUnusable
from .._types import DAY, check_given, check_needed, number, openable, port
from ._server import GRACE, serve
from ._service import add_key

if TYPE_CHECKING:
    from ... import CallService, ServiceSettings, Timers
    from ...ports import Bus, IceSource, Notifier, Store

_TTL = 3600.0
_DATABASES = ("sqlite", "postgresql", "postgres")


def register(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser("serve", help="run the call service", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at (default: 127.0.0.1)")
    parser.add_argument("--port", type=port, default=8765, help="the port; 0 takes a free one (default: 8765)")
    add_key(parser, "what back ends show; better in the variable STATECORE_API_KEY (default: a new one, printed)")
    parser.add_argument(
        "--store",
        metavar="STORE",
        help="where calls, users and tokens are kept: sqlite:PATH or postgresql://USER@HOST/DATABASE to outlive the"
        " process, or memory (default: a SQLite file in $XDG_STATE_HOME or ~/.local/state; with --dev: memory);"
        " a password is better in PGPASSWORD or ~/.pgpass",
    )
    parser.add_argument(
        "--keep",
        type=number(36_500, "days"),
        metavar="DAYS",
        help="how long a database keeps a call in the log after its end (default: for ever)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a limit of the service or a timer, by its name in the reference: calls_per_minute=60, ring=30 (repeat)",
    )
    parser.add_argument("--origin", action="append", default=[], help="a web origin whose pages may connect (repeat)")
    parser.add_argument("--dev", action="store_true", help="let anybody log in by name; on a loopback address only")
    parser.add_argument("--no-directory", action="store_true", help="have the page tell nobody who else can be called")
    parser.add_argument("--stun", action="append", default=[], metavar="URL", help="hand out a STUN server (repeat)")
    parser.add_argument("--turn", action="append", default=[], metavar="URL", help="hand out a TURN server (repeat)")
    parser.add_argument(
        "--turn-secret-file",
        metavar="FILE",
        help="what the TURN server shares (coturn: static-auth-secret); or the variable STATECORE_TURN_SECRET",
    )
    parser.add_argument(
        "--turn-ttl",
        type=number(365 * DAY, "seconds"),
        metavar="SECONDS",
        help="how long its logins are good (an hour)",
    )
    parser.add_argument("--relay-only", action="store_true", help="have clients go through the TURN server only")
    parser.add_argument("--webhook", metavar="URL", help="post every change in the life of calls to this address")
    parser.add_argument(
        "--webhook-secret-file", metavar="FILE", help="what its requests are signed by; or STATECORE_WEBHOOK_SECRET"
    )
    parser.add_argument("--tls-cert", metavar="FILE", help="a certificate chain, as PEM")
    parser.add_argument("--tls-key", metavar="FILE", help="its private key, as PEM")
    parser.add_argument(
        "--grace",
        type=number(DAY, "seconds"),
        default=GRACE,
        metavar="SECONDS",
        help=f"how long what is under way has to finish when it is to stop (default: {GRACE:g})",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object when it listens")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted or terminated; both are a clean end."""
    check_given(args)
    check_needed(args, turn_secret_file="turn", turn_ttl="turn", webhook_secret_file="webhook")  # noqa: S106 - names
    if args.dev and not _is_loopback(args.host):
        raise InvalidArgument("--dev lets anybody in: it is for a loopback address only", name="dev")
    if bool(args.tls_cert) != bool(args.tls_key):
        raise InvalidArgument("--tls-cert and --tls-key belong together", name="tls-cert")
    _check_certificate(args)
    from ... import CallService

    settings, timers = _settings(args.set)
    key = args.api_key or secrets.token_urlsafe(24)
    args.store = args.store or _usual_store(args)
    # What hangs may be a thread of the store's, which neither closing it nor leaving the interpreter would outwait.
    gone = threading.Timer(args.grace, os._exit, (0,))
    gone.daemon = True
    store = _opened(args.store, args.keep)
    try:
        service = CallService(
            store=store,
            bus=_bus(args.store),
            settings=settings,
            timers=timers,
            ice=_ice(args),
            notifier=_notifier(args),
        )
        return _serve(args, service, key, gone)
    finally:
        if store is not None and hasattr(store, "close"):
            store.close()
        gone.cancel()


def _check_certificate(args: argparse.Namespace) -> None:
    """Raises InvalidArgument for files that are missing, hold something else, or do not belong together."""
    if args.tls_cert is None:
        return
    for option, path in (("tls-cert", args.tls_cert), ("tls-key", args.tls_key)):
        openable(path, option)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(args.tls_cert, args.tls_key)
    except ssl.SSLError:
        why = f"--tls-cert {args.tls_cert!r} and --tls-key {args.tls_key!r} are no certificate and its key, as PEM"
        raise InvalidArgument(why, name="tls-cert") from None


def _serve(args: argparse.Namespace, service: CallService, key: str, gone: threading.Timer) -> int:
    @contextlib.asynccontextmanager
    async def running(port: int) -> AsyncIterator[None]:
        _announce(args, port, key)
        yield
        gone.start()

    return serve(
        service,
        running,
        api_key=key,
        dev=args.dev,
        directory=not args.no_directory,
        origins=args.origin,
        grace=args.grace,
        host=args.host,
        port=args.port,
        ssl_certfile=args.tls_cert,
        ssl_keyfile=args.tls_key,
    )


def _settings(words: list[str]) -> tuple[ServiceSettings, Timers]:
    """The limits and timers that were set, the others as they are. Raises InvalidArgument or InvalidSettings."""
    from ... import ServiceSettings, Timers

    kinds = {field.name: cls for cls in (ServiceSettings, Timers) for field in attrs.fields(cls)}
    given: dict[type, dict[str, Any]] = {ServiceSettings: {}, Timers: {}}
    for word in words:
        name, _, text = word.partition("=")
        if name not in kinds or not text:
            raise InvalidArgument(f"--set is NAME=VALUE, with a name of {', '.join(sorted(kinds))}", name="set")
        value = given[kinds[name]][name] = _value(text)
        if kinds[name] is Timers and not (isinstance(value, int | float) and math.isfinite(value)):
            raise InvalidArgument(f"--set {name}: {text!r} is no number of seconds", name="set")
    return ServiceSettings(**given[ServiceSettings]), Timers(**given[Timers])


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def _ice(args: argparse.Namespace) -> IceSource | None:
    """What hands out STUN and TURN servers, if any were named."""
    if not (args.stun or args.turn or args.relay_only):
        return None
    from ... import TurnCredentials

    secret = _secret(args.turn_secret_file, "turn-secret-file") or os.environ.get("STATECORE_TURN_SECRET", "").strip()
    policy: Literal["all", "relay"] = "relay" if args.relay_only else "all"
    ttl = args.turn_ttl if args.turn_ttl is not None else _TTL
    return TurnCredentials(turn=args.turn, stun=args.stun, secret=secret, ttl=ttl, policy=policy)


def _notifier(args: argparse.Namespace) -> Notifier | None:
    """What tells an address of changes, if one was named."""
    if args.webhook is None:
        return None
    try:
        from statecore_web import Webhook
    except ImportError as missing:
        raise AdapterMissing(what="statecore_web", extra="'statecore[web]'") from missing

    secret = _secret(args.webhook_secret_file, "webhook-secret-file")
    return Webhook(args.webhook, secret or os.environ.get("STATECORE_WEBHOOK_SECRET", "").strip())


def _secret(path: str | None, option: str) -> str:
    """What a file holds, without the end of its line. Raises InvalidArgument."""
    if path is None:
        return ""
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"--{option} cannot be read: {error}", name=option) from None
    if not text:
        raise InvalidArgument(f"--{option} is empty", name=option)
    return text


def _bus(spec: str) -> Bus | None:
    """How to hear of other services on the store: those on a database of a server hear each other by it."""
    if spec.partition(":")[0] not in ("postgresql", "postgres"):
        return None
    from statecore_sql import PostgresBus

    return PostgresBus(spec)


def _usual_store(args: argparse.Namespace) -> str:
    """A file of this user's, whose directory is made if it is not there. Raises StoreUnusable."""
    if args.dev:
        return "memory"
    told = Path(os.environ.get("XDG_STATE_HOME", ""))
    try:
        folder = (told if told.is_absolute() else Path.home() / ".local" / "state") / "statecore"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # of who has no home, too
        why = f"its directory cannot be made ({error}): say --store sqlite:PATH, or --store memory"
        raise StoreUnusable(store="the usual file", why=why) from error
    return f"sqlite:{folder / 'calls.db'}"


def _opened(spec: str, keep: float | None) -> Store | None:
    """The store that is meant: None for the service's own, in memory."""
    name, _, where = spec.partition(":")
    if keep is not None and name not in _DATABASES:
        raise InvalidArgument("--keep is for a database: memory keeps what it has", name="keep")
    if spec == "memory":
        return None
    if name not in (*_DATABASES, *_others()):
        # Only the beginning is shown: what follows may hold a password.
        raise InvalidArgument(f"--store is memory, sqlite:PATH or postgresql://..., and not {name!r}", name="store")
    if not where:
        raise InvalidArgument(f"--store {name} needs to know where: {name}:PATH", name="store")
    seconds = keep * 86_400 if keep is not None else None
    if name == "sqlite":
        from statecore_sql import SqliteStore

        return SqliteStore(where, keep=seconds)
    if name in _DATABASES:
        from statecore_sql import PostgresStore

        return PostgresStore(spec, keep=seconds)
    made: Store = _others()[name].load()(where)
    return made


def _others() -> dict[str, EntryPoint]:
    """Stores that other packages bring."""
    return {entry.name: entry for entry in entry_points(group="statecore.store") if entry.name != "memory"}


def _announce(args: argparse.Namespace, port: int, key: str) -> None:
    host = f"[{args.host}]" if ":" in args.host else args.host
    url = f"{'https' if args.tls_cert else 'http'}://{host}:{port}"
    made = {} if args.api_key else {"api_key": key}
    kind, _, where = args.store.partition(":")
    # Of others only the kind is shown: there may be a password in what follows.
    kept = {"memory": "in memory, for as long as it runs", "sqlite": f"in {where}"}.get(kind, f"in its {kind} store")
    if args.json:
        shown = args.store if kind in ("memory", "sqlite") else kind
        print(json.dumps({"url": url, "store": shown, **made}), flush=True)
        return
    print(f"The call service is at {url} (Ctrl-C stops it).", flush=True)
    print(f"Calls, users and tokens are kept {kept}.", flush=True)
    if made and not args.dev:
        print(f"Its API key, for other shells: export STATECORE_API_KEY={key}", flush=True)


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
