"""A PostgreSQL server for the tests, a database of it for each, and what runs on either kind of store."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import attrs
import psycopg
import pytest

from statecore_sql import PostgresStore, SqliteStore


class Server:
    """A PostgreSQL server on the loopback; it asks for a password. Not as root, which it refuses."""

    password = "s3cret @/?#%:"

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="statecore-", dir=_in_memory()))
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._names = map("calls{}".format, count())
        secret = self._folder / "password"
        secret.write_text(self.password)
        secret.chmod(0o644)  # for who the server runs as
        self._run(
            "initdb", "--username=statecore", f"--pwfile={secret}", "--auth=scram-sha-256", "--encoding=UTF8",
            "--locale=C", "--no-sync",
        )  # fmt: skip
        (self._folder / "data" / "postgresql.auto.conf").write_text(
            f"port = {self.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\nfsync = off\n"
        )

    def _run(self, program: str, *words: str) -> None:
        command = [str(self._programs / program), "-D", str(self._folder / "data"), *words]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=60, cwd=self._folder, env={}, **self._user
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        """It takes connections when this returns."""
        self._run("pg_ctl", "start", "-w", "-s", "-l", str(self._folder / "log"))

    def stop(self, mode: str = "fast") -> None:
        """Stop it; `immediate` is a crash."""
        self._run("pg_ctl", "stop", "-w", "-s", "-m", mode)

    def close(self) -> None:
        """Leave nothing of it."""
        self.stop("immediate")
        shutil.rmtree(self._folder)

    def another(self) -> Server:
        """One more, which runs."""
        made = Server(self._programs)
        made.start()
        return made

    def url(self, database: str, *, port: int | None = None, password: str | None = None) -> str:
        """What a store is given."""
        secret = "".join(f"%{byte:02x}" for byte in (password or self.password).encode())
        return f"postgresql://statecore:{secret}@127.0.0.1:{port or self.port}/{database}"

    def database(self) -> str:
        """The URL of a new one."""
        name = next(self._names)
        with psycopg.connect(self.url("postgres"), autocommit=True) as db:
            db.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)


def _in_memory() -> str | None:
    """Where there is no disk to wait for, if there is room: a database takes 10 MB, and each test has its own."""
    shared = Path("/dev/shm")  # noqa: S108 - whose folder it is, `mkdtemp` sees to
    return str(shared) if shared.is_dir() and shutil.disk_usage(shared).free > 4 << 30 else None


def _programs() -> Path | None:
    """Where they are: Debian has them outside of PATH."""
    places = [*Path("/usr/lib/postgresql").glob("*/bin"), *map(Path, os.get_exec_path())]
    return next((place for place in places if (place / "initdb").exists() and (place / "postgres").exists()), None)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server that runs; there is a reason for a skip where PostgreSQL is missing."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is missing: apt-get install postgresql")
    made = Server(programs)
    made.start()
    with closing(made):
        yield made


@pytest.fixture
def database(server: Server) -> str:
    """The URL of an empty database."""
    return server.database()


@attrs.frozen
class Place:
    """Where records are kept, whichever kind it is."""

    kind: Callable[..., Any]
    where: str
    """What the store is given."""

    @property
    def spec(self) -> str:
        """What `statecore serve --store` is given."""
        return self.where if self.kind is PostgresStore else f"sqlite:{self.where}"

    def open(self, **more: Any) -> Any:
        """A store there."""
        return self.kind(self.where, **more)


@pytest.fixture(params=["sqlite", "postgres"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Place]:
    """Makes new and empty places, on either kind of store."""
    if request.param == "postgres":
        server = request.getfixturevalue("server")
        return lambda: Place(PostgresStore, server.database())
    numbers = count()
    return lambda: Place(SqliteStore, str(tmp_path / f"{next(numbers)}.db"))


@pytest.fixture
def place(places: Callable[[], Place]) -> Place:
    """A new and empty place, on either kind of store."""
    return places()
