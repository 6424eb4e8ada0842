"""What callers saw of an outage, from their attempts."""

from __future__ import annotations

import threading

from conch_client import Client, InvalidInput, ModelNotFound, ModelNotReady
from conch_tools.bench.callers import Attempt, Callers, Seen

DIED = 10.0


def seen(*attempts: Attempt, concurrency: int = 2) -> Seen:
    return Seen(concurrency, list(attempts))


def test_service_is_full_when_the_last_caller_was_answered_what_it_asked_after_the_death() -> None:
    calm = (Attempt(0, 9.0, 10.5), Attempt(1, 9.0, 9.5))
    assert seen(*calm).full_service(DIED) is None
    assert seen(*calm, Attempt(0, 10.6, 11.0)).full_service(DIED) is None, "one was answered nothing since"
    assert seen(*calm, Attempt(0, 10.6, 11.0), Attempt(1, 10.1, 13.0)).full_service(DIED) == 13.0


def test_service_is_not_full_before_the_last_refusal() -> None:
    attempts = (Attempt(0, 10.1, 10.2), Attempt(1, 10.1, 10.2), Attempt(0, 10.2, 12.0, "died"), Attempt(0, 12.1, 12.2))
    assert seen(*attempts).full_service(DIED) == 12.0
    assert [each.problem for each in seen(*attempts).refused] == ["died"]


def test_latency_is_that_of_what_was_answered_in_the_span() -> None:
    attempts = (Attempt(0, 1.0, 1.5), Attempt(0, 2.0, 2.25), Attempt(0, 3.0, 9.0, "died"), Attempt(0, 11.0, 19.0))
    assert seen(*attempts).median_latency_s(0.0, 10.0) == 0.375
    assert seen(*attempts).median_latency_s(3.0, 10.0) is None


def test_what_is_unknown_while_it_is_restored_is_asked_again() -> None:
    outcomes = iter([ModelNotReady("died"), ModelNotFound("unknown model"), None, InvalidInput("no")])
    over = threading.Event()

    def ask(client: Client) -> None:
        problem = next(outcomes, None)
        if isinstance(problem, InvalidInput):
            over.set()
        if problem is not None:
            raise problem

    with Callers("127.0.0.1:1", [ask], 1) as callers:
        assert over.wait(30)
    assert [each.problem for each in callers.seen.attempts[:4]] == ["died", "unknown model", None, "no"]
    assert callers.seen.lost == ["no"]
