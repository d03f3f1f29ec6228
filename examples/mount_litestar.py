"""The call service below a path of a Litestar application: `uvicorn mount_litestar:api --ws websockets-sansio`.

Devices connect to `http://localhost:8000/calls`, and there is the page, too."""

from __future__ import annotations

from litestar import Litestar, asgi

from statecore import CallService
from statecore_web import CallApp


def mount(calls: CallApp) -> Litestar:
    """An application that opens and closes the service with itself, and leaves the program's logging as it is."""
    routes = [asgi("/calls", is_mount=True, copy_scope=True)(calls)]
    return Litestar(routes, lifespan=[calls.lifespan], logging_config=None)


api = mount(CallApp(CallService(), dev=True))  # in development: anybody on this machine logs in by name
