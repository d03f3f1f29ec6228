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
    "`end()` inside a handler": "tests/testing/test_call_pair.py::test_ending_a_call_inside_a_handler",
    "a handler raises, hangs or is cancelled": (
        "tests/aio/test_client_listener_faults.py::test_a_bad_handler_in_every_event"
    ),
    "a program ends in good order, at any message of a call": (
        "tests/aio/test_every_gap.py::test_a_program_ends_in_good_order_at_any_message"
    ),
    "a store that raises at any commit keeps no line busy": (
        "tests/aio/test_every_gap.py::test_a_store_that_raises_at_any_commit_keeps_no_line_busy"
    ),
    "wall clocks that are wrong by minutes or a day, either way": (
        "tests/aio/test_every_gap.py::test_clocks_that_are_wrong_by_minutes_or_a_day"
    ),
    "several reasons to reconnect at once": (
        "tests/testing/test_faulty_network.py::test_several_reasons_to_reconnect_at_once_are_one_reconnect"
    ),
    "two decisions at once about one call, a store that refuses": (
        "tests/aio/test_service_stores.py::test_the_same_on_stores_that_refuse_or_are_slow"
    ),
    "the service is killed at any message or commit": (
        "tests/aio/test_service_stores.py::test_the_service_dies_at_any_message_and_commit"
    ),
    "both initiates, or anything else, at two services on one store": (
        "tests/aio/test_service_stores.py::test_both_call_each_other_at_two_services"
    ),
    "a service goes, or the bus between several": ("tests/aio/test_nodes.py::test_what_the_bus_lost_is_made_up_for"),
    "a service dies before it has told what it decided": (
        "tests/aio/test_nodes.py::test_what_a_service_decided_and_never_told_is_told_at_the_next_beat"
    ),
    "the service is killed as a process, with calls kept in a file": (
        "tests/statecore_sql/test_calls_outlast_serve.py::test_calls_go_on_or_end_when_the_service_is_killed"
    ),
    "the service is told to stop (SIGTERM) in the middle of calls": (
        "tests/statecore_sql/test_calls_outlast_serve.py::test_calls_go_on_or_end_when_the_service_is_told_to_stop"
    ),
    "the network changes in the middle of a call": (
        "tests/statecore_aiortc/test_aiortc_network.py::test_network_changes"
    ),
    "closing media hangs or raises": ("tests/aio/test_aio_media.py::test_media_that_does_not_close"),
    "candidates that come too early are kept, bounded, and used": (
        "tests/statecore_aiortc/test_aiortc_traps.py::test_candidates_before_the_description"
    ),
    "the log tells missed calls from answered elsewhere": (
        "tests/aio/test_missed_calls.py::test_how_a_call_stands_in_the_log_of_either"
    ),
    "the log's duration runs from active, not from ringing": (
        "tests/aio/test_missed_calls.py::test_a_call_lasts_from_when_it_was_active"
    ),
    "a malformed, oversized or unknown message": ("tests/fuzz/test_corpus.py::test_what_was_kept_is_damaged_by_chance"),
    "a request body that is malformed": (
        "tests/statecore_web/test_web_rest.py::test_everything_the_description_allows_is_answered_as_it_says"
    ),
    "a hundred thousand bad messages over sockets, among good calls": (
        "tests/statecore_web/test_web_bad_messages.py::test_what_may_not_be_said_harms_nobody"
    ),
    "a socket that breaks at any message, on either side, or repeats": (
        "tests/statecore_web/test_web_faulty_way.py::test_a_connection_that_breaks_at_any_message"
    ),
    "a call token that is forged, without a signature, revoked or otherwise bad, over sockets": (
        "tests/statecore_web/test_web_tokens.py::test_no_bad_call_token_lets_anybody_in"
    ),
    "a user's own token expires during a reconnect": (
        "tests/statecore_web/test_web_tokens.py::test_an_auth_token_runs_out_while_the_link_is_cut"
    ),
    "a guest's token, over sockets: not good, or another's": (
        "tests/statecore_web/test_web_guests.py::test_no_bad_token_admits_a_guest"
    ),
    "a guest's token on another device, at another service, after a restart": (
        "tests/aio/test_service_guests.py::test_only_the_first_device_that_joins"
    ),
    "a flood of messages for unknown sessions": (
        "tests/sim/test_found_by_simulation.py::test_a_flood_of_messages_for_unknown_sessions_takes_bounded_memory"
    ),
    "a call token of which any character was changed": "tests/test_tokens.py::test_a_tampered_token_is_refused",
    "a call token that chooses its algorithm, or none": "tests/test_tokens.py::test_another_algorithm_is_refused",
    "a call token that was revoked": "tests/test_tokens.py::test_a_revoked_token_is_refused",
    "push and socket both deliver the ring, in any order": (
        "tests/aio/test_notices.py::test_push_and_socket_both_deliver_the_ring"
    ),
    "webhooks arrive twice and out of order": (
        "tests/statecore_web/test_web_webhook.py::test_webhooks_arrive_twice_and_out_of_order"
    ),
    "many calls among many people, with everything going wrong at once": (
        "tests/sim/test_simulator.py::test_a_small_sample_keeps_what_must_hold_and_is_hard_enough"
    ),
    "the same through the asyncio shells": (
        "tests/sim/test_shell_simulator.py::test_a_small_sample_keeps_what_must_hold"
    ),
    "the same over real sockets, with a service that is killed and comes back": (
        "tests/statecore_web/test_web_simulated.py::test_the_simulators_scripts_on_the_real_thing"
    ),
    "any of these with a browser on one side, whose table it runs": (
        "tests/browser/test_browser_endpoint.py::test_both_do_the_same_on_any_events"
    ),
    "a browser has several tabs, is loaded anew or loses the network": (
        "tests/browser/test_browser_trouble.py::test_a_page_is_loaded_anew_in_the_middle_of_a_call"
    ),
}
"""What is not generated here, and a test that holds it."""

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
