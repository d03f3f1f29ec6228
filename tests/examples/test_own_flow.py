"""What becomes of a flow of one's own when one side does not hold it, or holds another."""

from __future__ import annotations

import asyncio

import pytest

from statecore import RINGING, CallClient, CallService, Flow
from statecore.errors import InvalidArgument, UnsupportedVersion
from statecore.flow import FLOWS, Mark, Row, Trigger


def parking(mark: str) -> Flow:
    """The ringing flow with one more action; the mark makes the difference."""
    row = Row("active", "park", "active", [Mark(mark)])
    return RINGING.extend("parking", triggers=[Trigger("park", "user")], flags=[mark], rows=[row])


def test_call_with_a_flow_that_the_client_does_not_hold() -> None:
    """Naming a flow that the client does not hold, or that does not ring, is an error, and no call comes of it."""

    async def main() -> None:
        async with CallService() as service, CallClient(service.signaling("alice")) as alice:
            service.add_user("bob")
            for flow in ("parking", "session"):
                with pytest.raises(InvalidArgument):
                    await alice.initiate_call("bob", flow=flow)
            assert (alice.calls, await service.calls(), await service.call_log()) == ([], [], [])

    asyncio.run(main())


def test_call_with_a_flow_that_the_service_does_not_hold() -> None:
    """The service refuses a call whose flow it does not hold, and the client goes on with others."""

    async def main() -> None:
        flows = {**FLOWS, "parking": parking("parked")}
        async with CallService() as service, CallClient(service.signaling("alice"), flows=flows) as alice:
            service.add_user("bob")
            with pytest.raises(UnsupportedVersion):
                await alice.initiate_call("bob", flow="parking")
            assert (await alice.initiate_call("bob")).state == "ringing"

    asyncio.run(main())


def test_same_name_but_another_table() -> None:
    """A client whose flow has the name of the service's, but another table, is not let in."""

    async def main() -> None:
        async with CallService(flows={**FLOWS, "parking": parking("parked")}) as service:
            client = CallClient(service.signaling("alice"), flows={**FLOWS, "parking": parking("left_alone")})
            with pytest.raises(UnsupportedVersion):
                await client.connect()
            assert not client.connected
            await client.close()

    asyncio.run(main())
