"""The catalogue of races: each a family whose interleavings are generated and walked through under the oracle.

`RACES` holds them by heading; `ELSEWHERE` says which tests hold what concerns the shells, and `WAITING` what cannot be
checked yet, and what it waits for: whoever builds that adds the race and removes the line.
"""

from __future__ import annotations

from . import _connections, _each_other, _middle, _old, _setting_up
from ._parts import Budget, Race, Sweep

RACES: dict[str, list[Race | Sweep]] = {
    "Setting up, cancelling, accepting": _setting_up.RACES,
    "Both call each other; busy; again": _each_other.RACES,
    "Old, repeated, foreign, out of order": _old.RACES,
    "Connections and tokens": _connections.RACES,
    "In the middle of a call": _middle.RACES,
}
"""Every race that is generated, by heading."""

ELSEWHERE: dict[str, str] = {
    "`end()` inside a handler": "tests/testing/test_call_pair.py",
    "a handler raises, hangs or is cancelled": "tests/aio/test_client_listener_faults.py",
    "several reasons to reconnect at once": "tests/testing/test_faulty_network.py",
    "two decisions at once about one call, a store that refuses": "tests/aio/test_service_stores.py",
    "the service is killed at any message or commit": "tests/aio/test_service_stores.py",
    "both initiates, or anything else, at two services on one store": "tests/aio/test_service_stores.py",
    "a service goes, or the bus between several": "tests/aio/test_nodes.py",
    "the service is killed as a process, with calls kept in a file": "tests/statecore_sql/test_calls_outlast_serve.py",
    "the network changes in the middle of a call": "tests/statecore_aiortc/test_aiortc_network.py",
    "closing media hangs or raises": "tests/aio/test_aio_media.py",
    "the log tells missed calls from answered elsewhere": "tests/aio/test_missed_calls.py",
    "a malformed, oversized or unknown message": "tests/aio/test_aio_bad_input.py",
    "a request body that is malformed": "tests/statecore_web/test_web_rest.py",
    "a hundred thousand bad messages over sockets, among good calls": "tests/statecore_web/test_web_bad_messages.py",
    "a socket that breaks at any message, on either side, or repeats": "tests/statecore_web/test_web_faulty_way.py",
    "a bad call token, over sockets; a user's own expires during a reconnect": "tests/statecore_web/test_web_tokens.py",
    "a guest's token, over sockets: not good, or another's": "tests/statecore_web/test_web_guests.py",
    "a guest's token on another device, at another service, after a restart": "tests/aio/test_service_guests.py",
    "a flood of messages for unknown sessions": "tests/sim/test_found_by_simulation.py",
    "a token that is forged, without a signature, or revoked": "tests/test_tokens.py",
    "push and socket both deliver the ring, in any order": "tests/aio/test_notices.py",
    "webhooks arrive twice and out of order": "tests/statecore_web/test_web_webhook.py",
    "many calls among many people, with everything going wrong at once": "tests/sim/test_simulator.py",
    "the same through the asyncio shells": "tests/sim/test_shell_simulator.py",
    "any of these with a browser on one side, whose table it runs": "tests/browser/test_browser_endpoint.py",
    "a browser has several tabs, is loaded anew or loses the network": "tests/browser/test_browser_trouble.py",
}
"""What is not generated here, and the tests that hold it."""

WAITING: dict[str, str] = {
    "both hold, one resumes": "hold in the flows that ship",
    "one member of a group accepts; the caller leaves first; an empty group": "ringing groups",
}
"""What cannot be checked yet, and what it waits for."""


def named(name: str) -> Race | Sweep:
    """A race by its name. Raises KeyError."""
    found = {race.name: race for races in RACES.values() for race in races}
    return found[name]


__all__ = ["ELSEWHERE", "RACES", "WAITING", "Budget", "Race", "Sweep", "named"]
