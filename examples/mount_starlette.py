"""The call service below a path of a Starlette application: `uvicorn mount_starlette:api --ws websockets-sansio`.

Devices connect to `http://localhost:8000/calls`, and there is the page, too."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import Mount

from statecore import CallService
from statecore_web import CallApp


def mount(calls: CallApp) -> Starlette:
    """An application that opens and closes the service with itself."""
    return Starlette(routes=[Mount("/calls", calls)], lifespan=calls.lifespan)


api = mount(CallApp(CallService(), dev=True))  # in development: anybody on this machine logs in by name
