"""The simulator's scripts on the real thing: `statecore serve` in a process of its own, and devices behind sockets."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sqlite3
import sys
import urllib.request
from collections.abc import Callable, Coroutine, Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Self

import attrs
import msgspec
from _hurried_serve import PROBLEM, Switches
from _socket_links import SocketLink

from statecore.flow import Timers
from statecore.model import Line, Record
from statecore.ports import Notice
from statecore.testing import FastLoop
from statecore.testing.loop import NOON
from statecore.testing.sim import Mix, Script
from statecore.testing.sim._services import TIMERS, check_notices
from statecore_sql import SqliteStore
from statecore_web import AuthTokens, verify_webhook

_SERVE = Path(__file__).with_name("_hurried_serve.py")
_KEY, _SECRET = "the-key-of-back-ends", "what signs webhooks"
_SET = [f"--set={name}={value}" for name, value in attrs.asdict(TIMERS).items() if value != getattr(Timers(), name)]


class SocketSite:
    """One service on a SQLite file, and proxies in front of it. Implements the simulator's `Site`; to be made on a
    `FastLoop`. `planted` is a mistake that the service makes: see `_hurried_serve`."""

    def __init__(self, folder: Path, script: Script, *, planted: str = "") -> None:
        folder.mkdir(parents=True)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, FastLoop)
        self._loop = loop
        self.mix = Mix()
        self.problems: list[str] = []
        self.forgotten: set[str] = set()
        self.patience = 6_000  # less than any timer by which something forgotten would end
        self.running: list[object | None] = [None]
        self.starts = 0
        self.told: dict[str, Notice] = {}
        self._folder, self._planted = folder, planted
        self._seed, self._users = script.seed, list(dict.fromkeys(script.devices.values()))
        self._chance = random.Random(f"{script.seed} notices")  # noqa: S311 - to be had again by its seed
        self._switches = Switches(folder / "switches")
        self._stores = 0
        self._tokens: dict[str, str] = {}
        self._links: list[SocketLink] = []
        self._port = self._hook = 0
        self._process: asyncio.subprocess.Process | None = None
        self._spare: asyncio.subprocess.Process | None = None
        self._last: Callable[[], object] | None = None
        self._watching: set[asyncio.Task[None]] = set()
        self._starting = asyncio.Lock()
        self._receiver: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave nothing, whatever went wrong."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
        self._process = None
        await self._closed()

    # --- the service

    @property
    def _path(self) -> Path:
        return self._folder / f"calls-{self._stores}.db"

    async def open(self, place: int) -> None:
        """See `Site`, for this and what follows."""
        async with self._starting:
            if self._process is not None:
                await self._process.wait()
            if not self._stores:
                await self._fill()
            if self._receiver is None and self._seed % 2 == 0:
                self._receiver = await asyncio.start_server(self._hear, "127.0.0.1", 0)
                self._hook = self._receiver.sockets[0].getsockname()[1]
            self._process = process = self._spare or await self._load()
            self._spare = None
            hook = ["--webhook", f"http://127.0.0.1:{self._hook}/"] if self._hook else []
            command = ["serve", "--port", "0", "--json", "--store", f"sqlite:{self._path}", *_SET, *hook]
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(command).encode() + b"\n")
            line = await process.stdout.readline()
            if line:  # it may have died of its first commit
                self._port = json.loads(line)["url"].rpartition(":")[2]
            self.running[place] = process
            self.starts += 1
            watching = self._loop.create_task(self._watch(process))
            self._watching.add(watching)
            watching.add_done_callback(self._watching.discard)
            self._spare = await self._load()

    async def _load(self) -> asyncio.subprocess.Process:
        """The machine of the next incarnation, up to where it starts."""
        env = {k: v for k, v in os.environ.items() if not k.startswith(("STATECORE_", "COV"))}
        return await asyncio.create_subprocess_exec(
            sys.executable, "-P", _SERVE, self._folder / "switches", str(self._loop.speed), str(self._loop.began),
            self._planted, env={**env, "STATECORE_API_KEY": _KEY, "STATECORE_WEBHOOK_SECRET": _SECRET},
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def _fill(self) -> None:
        """Another store, to which everybody is known, so that they may log in."""
        self._stores += 1
        with closing(SqliteStore(self._path, now=self.wall)) as store:
            tokens = AuthTokens(store, now=self.wall)
            for user in self._users:
                await store.commit({("line", user): (0, Line(user))})
                self._tokens[user], _ = await tokens.issue(user)

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """What it complains of, and whether it dies of itself."""
        _, complaints = await process.communicate()
        text = complaints.decode()
        if PROBLEM in text or "Traceback" in text:
            self.problems.append(text)
        if self.running[0] is process and self._process is process:
            if process.returncode == -signal.SIGKILL and self._last is not None:
                self._last()
            else:
                self.problems.append(f"the service ended by itself, {process.returncode}: {text}")

    def take(self, place: int, *, dead: bool) -> Coroutine[Any, Any, object] | None:
        process, self.running[place] = self.running[place], None
        if process is None:
            return None
        assert isinstance(process, asyncio.subprocess.Process)
        ends = {-signal.SIGKILL} if dead else {0, *([-signal.SIGKILL] if self._switches.doomed else ())}
        self.at_next_commit(place, None)
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL if dead else signal.SIGTERM)
        return self._gone(process, ends)

    async def _gone(self, process: asyncio.subprocess.Process, ends: set[int]) -> None:
        code = await asyncio.wait_for(process.wait(), 300)
        assert code in ends, f"it ended with {code}, and not with one of {ends}"

    def at_next_commit(self, place: int, do: Callable[[], object] | None) -> None:  # noqa: ARG002 - of the only one
        if do is not None and self.running[0] is None:
            return  # it is on its way out, and is to come to an end
        self._switches.doomed = do is not None
        self._last = do or self._last  # it may have happened, and not be known yet

    async def forget(self) -> None:
        async with self._starting:
            assert self._process is not None
            await self._process.wait()
            records = await self.records()
            self.mix.count(records)
            self.forgotten |= {record.session_id for record in records}
            await self._fill()

    # --- time

    def wall(self) -> int:
        return NOON + round(self._loop.time() * 1000) + self._switches.turned

    def turn_clock(self, milliseconds: int) -> None:
        self._switches.turned += milliseconds

    # --- devices

    def link(self, user: str, device: str) -> SocketLink:
        chance = random.Random(f"{self._seed} {device}")  # noqa: S311 - to be had again by its seed
        self._links.append(SocketLink(user, device, lambda: self._port, lambda: self._tokens[user], chance))
        return self._links[-1]

    def place(self, device: str) -> int:  # noqa: ARG002 - there is only one
        return 0

    @property
    def connections(self) -> int:
        """How many connections were made."""
        return sum(link.connections for link in self._links)

    # --- what is kept

    def _kept(self, kind: str) -> list[bytes]:
        """What stands in the file, as another process may read it at any time."""
        with closing(sqlite3.connect(self._path)) as file:
            rows = file.execute("SELECT value FROM records WHERE kind = ? AND value IS NOT NULL", (kind,))
            return [value for (value,) in rows]

    async def _answered(self) -> None:
        """Until the service has answered what it is asked now, were it by a refusal: what devices said before, it has
        read by then, however busy the machine is. Of one that is dead, or dies meanwhile, nothing is expected."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        try:
            async with asyncio.timeout(300):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                with closing(writer):
                    writer.write(b"GET /v1/ice HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    await reader.read()
        except TimeoutError:
            assert process.returncode is not None, "the service lives, and does not answer"
        except OSError:
            pass  # it is not up yet, or it has just died

    async def records(self) -> list[Record]:
        await self._answered()
        return [msgspec.msgpack.decode(value, type=Record) for value in self._kept("call")]

    async def lines(self) -> list[Line]:
        return [msgspec.msgpack.decode(value, type=Line) for value in self._kept("line")]

    async def is_idle(self) -> bool:
        over = all(record.end.at or record.merged_into for record in await self.records())
        return over and not self._kept("outbox")

    async def log(self) -> list[str]:
        def asked(cursor: str) -> Any:
            url = f"http://127.0.0.1:{self._port}/v1/calls?limit=500" + (f"&cursor={cursor}" if cursor else "")
            request = urllib.request.Request(url, headers={"Authorization": f"Bearer {_KEY}"})
            with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310
                return json.load(answer)

        rows, cursor = [], ""
        while True:
            page = await asyncio.to_thread(asked, cursor)
            rows += [call["session_id"] for call in page["calls"]]
            if not (cursor := page["older"]):
                return rows

    # --- what is told to others

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a webhook's request; one in ten is not answered well, and comes again."""
        with suppress(OSError, asyncio.IncompleteReadError), closing(writer):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
            body = await reader.readexactly(int(fields["content-length"]))
            notice = verify_webhook(_SECRET, fields["statecore-signature"], body, tolerance=1e9)
            well = self._chance.random() > 0.1
            if well:
                self.told[notice.id] = notice
            else:
                self.mix.faults["notice_refused"] += 1
            writer.write(b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" % (b"204 Taken" if well else b"503 Later"))
            await writer.drain()

    def check_notices(self, records: Iterable[Record]) -> None:
        if self._receiver is not None:
            check_notices(self.told.values(), records, self.forgotten)

    # --- the end

    async def close(self) -> None:
        gone = self.take(0, dead=False)
        assert gone is not None
        await gone
        await self._closed()

    async def _closed(self) -> None:
        for link in self._links:
            await link.close()
        if self._receiver is not None:
            self._receiver.close()
            await self._receiver.wait_closed()
        if self._spare is not None:
            await self._spare.communicate(b"")  # it is not told to start
            self._spare = None
        while self._watching:
            await asyncio.wait(self._watching)
        self._switches.close()
