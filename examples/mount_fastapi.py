"""The call service below a path of a FastAPI application: `uvicorn mount_fastapi:api --ws websockets-sansio`.

Devices connect to `http://localhost:8000/calls`, and there is the page, too."""

from __future__ import annotations

from fastapi import FastAPI

from statecore import CallService
from statecore_web import CallApp


def mount(calls: CallApp) -> FastAPI:
    """An application that opens and closes the service with itself."""
    api = FastAPI(lifespan=calls.lifespan)
    api.mount("/calls", calls)
    return api


api = mount(CallApp(CallService(), dev=True))  # in development: anybody on this machine logs in by name
