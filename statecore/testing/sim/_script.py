"""What happens in a simulation: who does what and when, and what goes wrong meanwhile. Made from a seed, or read."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from msgspec import Struct

LIVE = ("idle", "ringing", "accepted", "active")
_IN_CALL = (
    "mute_audio", "unmute_audio", "pause_video", "resume_video", "raise_hand", "lower_hand", "start_screen_share",
    "stop_screen_share", "switch_to_video", "accept_video", "decline_video", "withdraw_video",
)  # fmt: skip


class Item(Struct, frozen=True, omit_defaults=True):
    """Something that happens: a user does something, or something breaks."""

    at: int
    """When, in milliseconds since the simulation began."""
    what: str
    """`do`, `say`, `negotiate`, or the name of a fault: see `FAULTS`."""
    device: str = ""
    """On which device; empty for the service."""
    session: str = ""
    """In which call."""
    how: dict[str, Any] = {}
    """For `do`, the fields of an endpoint's `Do`, with `when` (in which states of the leg it is done) and `wait` (how
    long its user waits for one of them); for a fault, its size, mostly `ms`."""


class Script(Struct, frozen=True):
    """A whole simulation, as a value that can be kept and made smaller."""

    seed: int
    """Of the network's chance."""
    devices: dict[str, str]
    """Device to user."""
    items: list[Item]
    """What happens, in the order of time."""
    found: str = ""
    """What it showed once."""
    kind: Literal["core", "shells"] = "core"
    """What it is run on: the pure core, or the asyncio shells."""

    def check(self) -> None:
        """Raises ValueError if something that is to happen is nothing that can."""
        for item in self.items:
            if item.what not in FAULTS and item.what not in DOINGS:
                raise ValueError(f"there is no fault {item.what!r}")


DOINGS = frozenset({"do", "say", "negotiate"})
"""What users do, as `Item.what`."""
FAULTS = {
    "cut": 26, "crash": 7, "half_open": 6, "partition": 4, "slow": 8, "repeat": 14, "overtake": 8, "media_fail": 5,
    "media_drop": 7, "clock_rate": 5, "clock_jump": 4, "restart": 1, "stop": 2, "stop_after_commit": 3, "forget": 1,
    "service_clock": 1,
}  # fmt: skip
"""Every fault, and how often it is chosen beside the others. Of the service: it is closed and opened again
(`restart`), dies where it stands (`stop`) or once it has committed something (`stop_after_commit`), or comes back with
an empty store (`forget`)."""


class _Maker:
    """Writes a script by chance."""

    def __init__(self, seed: int, users: int) -> None:
        self.chance = random.Random(f"script {seed}")
        self.devices: dict[str, str] = {}
        for number in range(users):
            user = f"u{number}"
            for device in range(self.chance.choices((1, 2, 3), (6, 3, 1))[0]):
                self.devices[f"{user}.{device}"] = user
        self.users = list(dict.fromkeys(self.devices.values()))
        self.free = dict.fromkeys(self.users, 0)
        self.items: list[Item] = []

    def device(self, user: str) -> str:
        """One of a user's devices."""
        return self.chance.choice([device for device, owner in self.devices.items() if owner == user])

    def pick(self, at: int, count: int) -> list[str]:
        """Users who are mostly free."""
        free = [user for user in self.users if self.free[user] <= at]
        if len(free) < count or self.chance.random() < 0.08:
            free = self.users
        return self.chance.sample(free, count)

    def maybe(self, share: float) -> bool:
        """Whether something happens that happens so often."""
        return self.chance.random() < share

    def do(self, at: int, device: str, session: str, trigger: str, **how: Any) -> None:
        """Somebody does something."""
        self.items.append(Item(at, "do", device, session, {"trigger": trigger, **how}))

    # --- calls

    def call(self, at: int, name: str) -> None:
        """One call, or two that meet, or a session without ringing; and what goes wrong with it."""
        kind = self.chance.choices((self.ring, self.glare, self.meet), (76, 12, 12))[0]
        devices = kind(at, name)
        for _ in range(1 + self.maybe(0.25) + self.maybe(0.08)):
            self.fault(at, self.chance.choice(devices), name)

    def ring(self, at: int, name: str) -> list[str]:
        """Somebody calls somebody."""
        a, b = self.pick(at, 2)
        caller, callee = self.device(a), self.device(b)
        timeout = self.chance.choice((0, 5000, 8000, 20_000))
        self.do(at, caller, name, "initiate", flow="ringing", receiver=b, type=self._type(), timeout=timeout)
        answers = (self._accepted, self._declined, self._cancelled, self._ignored)
        until = self.chance.choices(answers, (66, 11, 15, 8))[0](at, name, caller, callee, timeout)
        self.free[a] = self.free[b] = until
        return [caller, callee]

    def _type(self) -> str:
        return self.chance.choice(("audio", "video", "video"))

    def _accepted(self, at: int, name: str, caller: str, callee: str, _timeout: int) -> int:
        yes = at + self.chance.randint(20, 2500)
        self.do(yes, callee, name, "accept", when=["ringing"], wait=6000)
        other = self.device(self.devices[callee])
        if other != callee and self.maybe(0.6):
            trigger = self.chance.choice(("accept", "accept", "reject", "reject_busy"))
            self.do(yes + self.chance.randint(0, 120), other, name, trigger, when=["ringing"])
        if self.maybe(0.06):
            self.do(yes + self.chance.randint(-60, 60), caller, name, self.chance.choice(("cancel", "end")))
        if self.maybe(0.05):
            self.do(yes + self.chance.randint(0, 60), callee, name, "accept", when=["ringing", "accepted"])
        return self._talk(yes, name, (caller, callee))

    def _declined(self, at: int, name: str, _caller: str, callee: str, _timeout: int) -> int:
        no = at + self.chance.randint(20, 2500)
        self.do(no, callee, name, self.chance.choice(("reject", "reject", "reject_busy", "end")), when=["ringing"])
        return no

    def _cancelled(self, at: int, name: str, caller: str, callee: str, _timeout: int) -> int:
        no = at + self.chance.choice((0, 10, self.chance.randint(0, 200), self.chance.randint(0, 2500)))
        self.do(no, caller, name, self.chance.choice(("cancel", "cancel", "end", "leave")))
        if self.maybe(0.5):
            other = self.chance.choice(("accept", "accept", "reject"))
            self.do(no + self.chance.randint(-100, 150), callee, name, other, when=["ringing"])
        return no

    def _ignored(self, at: int, _name: str, _caller: str, _callee: str, timeout: int) -> int:
        return at + (timeout or 45_000)

    def _talk(self, at: int, name: str, devices: Sequence[str], *, names: Sequence[str] = ()) -> int:
        """Those who may join do, do what one does in a call, and end it."""

        def named() -> str:
            return self.chance.choice(names) if names else name

        last = at
        for device in devices:
            last = joined = at + self.chance.randint(0, 1500)
            if self.maybe(0.03):
                self.do(joined, device, named(), "join", when=["accepted"], wait=6000, token="wrong")  # noqa: S106 - a kind of token
                joined += 300
            if not self.maybe(0.03):
                token = self.chance.choice(("given", "given", "fresh"))
                self.do(joined, device, named(), "join", when=["accepted"], wait=6000, token=token)
        last += 300
        for _ in range(self.chance.randint(0, 4)):
            last += self.chance.randint(0, 900)
            self._act(last, self.chance.choice(devices), named())
        return self._end(last + self.chance.randint(0, 2500), devices, named)

    def _act(self, at: int, device: str, name: str) -> None:
        roll = self.chance.random()
        if roll < 0.2:
            self.items.append(Item(at, "say", device, name))
        elif roll < 0.35:
            self.items.append(Item(at, "negotiate", device, name))
        else:
            self.do(at, device, name, self.chance.choice(_IN_CALL), when=["active"], wait=4000)

    def _end(self, at: int, devices: Sequence[str], named: Callable[[], str]) -> int:
        if self.maybe(0.04):
            return at  # nobody hangs up
        order = self.chance.sample(list(devices), len(devices))
        both = self.maybe(0.25)
        for place, device in enumerate(order):
            if place == 0 or both:
                self.do(at + place * self.chance.randint(0, 60), device, named(), self.chance.choice(("end", "leave")))
        return at

    def glare(self, at: int, name: str) -> list[str]:
        """Two people call each other."""
        a, b = self.pick(at, 2)
        one, two = self.device(a), self.device(b)
        names = (f"{name}a", f"{name}b")
        self.do(at, one, names[0], "initiate", flow="ringing", receiver=b, type=self._type())
        late = at + self.chance.choice((0, self.chance.randint(0, 120), self.chance.randint(0, 1500)))
        self.do(late, two, names[1], "initiate", flow="ringing", receiver=a, type=self._type())
        if self.maybe(0.2):
            self.do(late + self.chance.randint(0, 150), two, names[1], self.chance.choice(("cancel", "end")))
        if self.maybe(0.2):
            device, ring = self.chance.choice(((one, names[1]), (two, names[0])))
            self.do(late + self.chance.randint(0, 200), device, ring, self.chance.choice(("accept", "reject")))
        if self.maybe(0.3):
            ring, device = self.chance.choice(((names[0], two), (names[1], one)))
            self.do(late + 200, device, ring, "accept", when=["ringing"], wait=2000)
        self.free[a] = self.free[b] = self._talk(late + 200, name, (one, two), names=names)
        for place, device in enumerate((one, two)):  # under the other name too, should there be two calls after all
            self.do(self.free[a] + 200, device, names[1 - place], "end")
        return [one, two]

    def meet(self, at: int, name: str) -> list[str]:
        """Several people meet in a session, by tokens alone."""
        devices = [self.device(user) for user in self.pick(at, self.chance.randint(2, 4))]
        last = at
        for device in devices:
            joined = at + self.chance.randint(0, 2500)
            self.do(joined, device, name, "join", flow="session", token="fresh")  # noqa: S106 - a kind of token
            if self.maybe(0.15):
                self.do(joined + 1500, device, name, "leave")
                again = joined + 1500 + self.chance.randint(0, 800)
                self.do(again, device, name, "join", flow="session", token="fresh")  # noqa: S106 - a kind of token
            last = max(last, joined)
        for _ in range(self.chance.randint(0, 4)):
            self._act(last + self.chance.randint(200, 1500), self.chance.choice(devices), name)
        last += self.chance.randint(1500, 4000)
        if self.maybe(0.15):
            self.do(last, devices[0], name, "end_for_all", when=["active"])
        for device in devices if not self.maybe(0.05) else devices[1:]:
            self.do(last + self.chance.randint(0, 1000), device, name, self.chance.choice(("leave", "end")))
        return devices

    # --- faults

    def fault(self, at: int, device: str, name: str) -> None:
        """Something breaks while the call is on."""
        what = self.chance.choices(list(FAULTS), list(FAULTS.values()))[0]
        when = max(0, at + self.chance.choice((0, self.chance.randint(0, 1500), self.chance.randint(-200, 7000))))
        self.items.append(Item(when, what, device if what not in _SERVICE else "", name, self._size(what, device)))
        if what == "crash" and self.maybe(0.5):  # who comes back calls again
            back = self.chance.choice([user for user in self.users if user != self.devices[device]])
            self.do(when + self.chance.randint(1500, 4000), device, f"{name}again", "initiate", flow="ringing",
                    receiver=back, timeout=5000)  # fmt: skip

    def _size(self, what: str, device: str) -> dict[str, Any]:
        short, long = self.chance.randint(1, 900), self.chance.randint(1000, 70_000)
        if what == "clock_rate":
            return {"rate": self.chance.choice((0.8, 0.95, 1.05, 1.25))}
        if what in ("clock_jump", "service_clock"):
            return {"ms": self.chance.choice((50, 1000, 11_000, 50_000)) if what == "clock_jump" else short * 10}
        if what in ("repeat", "overtake"):
            return {"count": self.chance.randint(1, 6)}
        if what == "partition":
            others = self.chance.sample(list(self.devices), min(len(self.devices), 4))
            return {"ms": short * 10, "devices": sorted({device, *others})}
        if what in _SERVICE:
            return {"ms": short * self.chance.choice((1, 1, 1, 10))}
        return {"ms": self.chance.choices((short, short * 10, long), (6, 3, 1))[0]}


_SERVICE = frozenset({"restart", "stop", "stop_after_commit", "forget", "service_clock"})


def script_of(seed: int, *, calls: int = 200, users: int = 20, kind: Literal["core", "shells"] = "core") -> Script:
    """A script by chance: so many calls among so many users of one to three devices, at least one fault a call."""
    maker = _Maker(seed, users)
    at = 1000
    for number in range(calls):
        maker.call(at, f"c{number}")
        at += maker.chance.randint(0, 2 * 24_000 // users)
    return Script(seed, maker.devices, ordered(maker.items), kind=kind)


def ordered(items: Iterable[Item]) -> list[Item]:
    """In the order of time; what is at the same time stays as it was."""
    return sorted(items, key=lambda item: item.at)
