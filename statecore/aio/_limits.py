"""How much somebody may do in a time."""

from __future__ import annotations

from collections.abc import Hashable


class Bucket:
    """So much a second in the long run, and so much at once. Times are milliseconds of a clock that never goes back."""

    __slots__ = ("_at", "_left", "_most", "_rate")

    def __init__(self, rate: float, most: float, now: int) -> None:
        self._rate = rate / 1000
        self._most = self._left = most
        self._at = now

    def take(self, now: int) -> float:
        """Take one, and give 0.0; if there is none, give the seconds until there is, and take nothing."""
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return (1 - self._left) / self._rate / 1000
        self._left -= 1
        return 0.0

    def is_full(self, now: int) -> bool:
        """Whether it is as good as a new one."""
        return self._left + (now - self._at) * self._rate >= self._most


class Buckets:
    """A bucket for each name; one that is full again is forgotten when there are many."""

    def __init__(self, rate: float, most: float) -> None:
        self._rate = rate
        self._most = most
        self._buckets: dict[Hashable, Bucket] = {}
        self._look_at = 1_000
        """From how many on those are looked for that may be forgotten."""

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, name: Hashable, now: int) -> float:
        """As `Bucket.take`."""
        bucket = self._buckets.get(name)
        if bucket is None:
            if len(self._buckets) >= self._look_at:
                self._buckets = {name: kept for name, kept in self._buckets.items() if not kept.is_full(now)}
                self._look_at = max(1_000, 2 * len(self._buckets))
            bucket = self._buckets[name] = Bucket(self._rate, self._most, now)
        return bucket.take(now)


class Allowances:
    """What devices may say, however often they connect: each so many messages a second, ten times that at once, and all
    of a user's together as much as `devices` of them, since a device may call itself anything. What a connection costs
    until it has said whose it is, counts as said by one more device, without a name."""

    def __init__(self, rate: float, devices: int) -> None:
        self._devices = Buckets(rate, 10 * rate)
        self._users = Buckets(devices * rate, 10 * devices * rate)

    def __len__(self) -> int:
        return len(self._devices) + len(self._users)

    def take(self, user: Hashable, device: str, now: int) -> float:
        """As `Bucket.take`."""
        return self._devices.take((user, device), now) or self._users.take(user, now)


__all__ = ["Allowances", "Buckets"]
