"""A call as listeners and callers get it: a snapshot that also knows how to act."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs

from .. import model
from ..errors import NotReady
from ..settings import CallSettings

if TYPE_CHECKING:
    from .client import CallClient
    from .session import Session


@attrs.frozen(kw_only=True)
class Call(model.Call):
    """A `statecore.model.Call` of this client: the values are a snapshot, the methods act on the call as it is now.

    Its `participants` are known once this device has a part in it itself, and none are left after its end. Those of a
    call that a service tells are all who are in it, and of one that has ended all who were."""

    _client: CallClient | None = attrs.field(default=None, repr=False, eq=False, alias="client")

    @property
    def client(self) -> CallClient:
        """The client whose call it is."""
        if self._client is None:
            raise NotReady("this call is a record, not a call of a client")
        return self._client

    async def answered(self) -> Call:
        """Wait for the acceptance; gives the call as it is then.

        Raises UserBusy, CallRejected, CallUnanswered or CallCancelled with the ended `call`, or CallEnded. Bounded by
        the ring timer. Safe to cancel: the call goes on."""
        return await self.client.answered(self.session_id)

    async def accept(self) -> Call:
        """Answer; see `CallClient.accept_call`."""
        return await self.client.accept_call(self.session_id)

    async def reject(self, reason: str = "rejected") -> None:
        """Decline; see `CallClient.reject_call`."""
        await self.client.reject_call(self.session_id, reason)

    async def cancel(self) -> None:
        """Give up; see `CallClient.cancel_call`."""
        await self.client.cancel_call(self.session_id)

    async def end(self) -> None:
        """End for both; see `CallClient.end_call`."""
        await self.client.end_call(self.session_id)

    @asynccontextmanager
    async def answer(self, settings: CallSettings | None = None, **more: Any) -> AsyncIterator[Session]:
        """Accept and start the session; ends it on leaving. `more` is for `CallSettings`."""
        await self.accept()
        async with self.client.started(self.session_id, settings, **more) as session:
            yield session
