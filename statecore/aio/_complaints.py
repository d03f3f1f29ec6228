"""What is logged of devices that say what is no message."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

from ..errors import StatecoreError
from ._limits import Buckets
from ._served import Served

_log = logging.getLogger("statecore.service")
_A_MINUTE = 1 / 60
_VALUE = re.compile(r"""['"].*['"]""", re.DOTALL)
"""What was said, as the decoder quotes it: as long as a message, with lines' ends, and maybe a token."""


class Complaints:
    """One line about a user, and then one a minute at the most, with how many there would have been: whoever says a
    thousand wrong things must not fill the log. `now` gives milliseconds that never go back."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._lines = Buckets(_A_MINUTE, 1)

    def note(self, connection: Served, error: StatecoreError) -> None:
        """Something that a device said was wrong."""
        if self._lines.take(connection.whose, self._now()):
            connection.unlogged += 1
            return
        more = f" ({connection.unlogged} more before it)" if connection.unlogged else ""
        connection.unlogged = 0
        what = _VALUE.sub("...", str(error))
        _log.warning("user %r, device %r: %s%s", connection.user, connection.device, what, more, extra=connection.extra)


__all__ = ["Complaints"]
