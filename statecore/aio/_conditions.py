"""The conditions of flows that are the application's own: named in rows, answered by functions of the application."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from ..errors import InvalidArgument, StatecoreError
from ..flow import Flow
from ..model import NO_FLAGS
from ..wire import Command

_log = logging.getLogger("statecore.service")

Condition: TypeAlias = Callable[[str, str, Mapping[str, Any]], bool]
"""Takes (user, session id, the command's data): whether the condition holds. Only True is a yes. Must not block."""


class ConditionFailed(StatecoreError):
    """A function of the application raised: the command is refused, as rows may ask for what does not hold."""


class Conditions:
    """Which of them hold for a command. Each is asked only about triggers whose rows name it, and once a command."""

    def __init__(self, conditions: Mapping[str, Condition], flows: Iterable[Flow]) -> None:
        self._asked: dict[str, dict[str, Condition]] = {}
        declared: set[str] = set()
        for flow in flows:
            declared |= set(flow.conditions)
            for row in flow.rows:
                for name in {*row.when, *row.unless} & set(flow.conditions) & conditions.keys():
                    self._asked.setdefault(row.trigger, {})[name] = conditions[name]
        if unknown := conditions.keys() - declared:
            raise InvalidArgument(f"no flow has the condition {min(unknown)!r}", name="conditions")

    def hold(self, user: str, command: Command, extra: Mapping[str, str]) -> frozenset[str]:
        """The names of those that hold. `extra` is what a log record carries. Raises ConditionFailed."""
        asked = self._asked.get(command.trigger)
        if not asked:
            return NO_FLAGS
        data = command.data or {}
        try:
            return frozenset(name for name, holds in asked.items() if holds(user, command.session, data) is True)
        except Exception:  # noqa: BLE001 - the application's own, and whatever it is
            _log.exception("a condition could not be asked", extra={**extra, "session": command.session})
            raise ConditionFailed from None
