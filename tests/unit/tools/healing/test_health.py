"""What is known of the pipelines' health, and how probes and people are told."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing
from http import HTTPStatus

import pytest

from conch_tools.budget.demands import Brought
from conch_tools.healing.endpoint import health_endpoint
from conch_tools.healing.golden import Outcome, Symptom
from conch_tools.healing.health import Health
from conch_tools.healing.journal import Journal
from conch_tools.healing.metrics import HealingMetrics
from conch_tools.server.ports import free_ports

WELL = Outcome(Symptom.WELL)
WRONG = Outcome(Symptom.WRONG, "`label` is 2")


@pytest.fixture
def health() -> Health:
    return Health(["mood", "moon"])


def test_nothing_is_ready_before_it_was_asked(health: Health) -> None:
    assert not health.ready
    health.note("mood", WELL)
    assert not health.ready
    health.note("moon", WELL)
    assert health.ready


def test_only_another_state_is_a_change(health: Health) -> None:
    assert [health.note("mood", each) for each in (WELL, WELL, WRONG, WRONG, WELL)] == [True, False, True, False, True]


def test_a_state_has_its_beginning_and_its_problem(health: Health) -> None:
    health.note("mood", WRONG)
    first = health.of("mood")
    assert first is not None and first.problem == "`label` is 2" and first.since == first.asked
    health.note("mood", WRONG)
    again = health.of("mood")
    assert again is not None and again.since == first.since and again.asked >= first.asked
    assert health.of("sun") is None


def test_a_server_that_is_gone_has_no_pipeline_that_is_well(health: Health) -> None:
    health.note("mood", WELL)
    health.lost("tritonserver was killed by SIGKILL")
    assert {each.problem for each in health.all().values()} == {"tritonserver was killed by SIGKILL"}


def test_a_server_without_pipelines_is_ready_unless_it_is_gone() -> None:
    health = Health([])
    assert health.ready
    health.lost("tritonserver was killed by SIGKILL")
    assert not health.ready
    health.replaced()
    assert health.ready


def test_prometheus_is_told_of_an_outage_and_of_what_died() -> None:
    journal = Journal(Health(["mood"]), HealingMetrics(), lambda _: None)
    journal.asked("mood", WELL)
    assert 'conch_pipeline_well{pipeline="mood"} 1.0' in journal.metrics.exposition().decode()
    journal.lost("was killed by SIGKILL")
    journal.died("mood_labels", "model `mood_labels`")
    journal.stopped("mood_words", "model `mood_words`")
    figures = journal.metrics.exposition().decode()
    assert 'conch_pipeline_well{pipeline="mood"} 0.0' in figures
    assert 'conch_process_deaths_total{model="mood_labels"} 1.0' in figures
    assert 'conch_process_stops_total{model="mood_words"} 1.0' in figures


def bring(pipeline: str, wait_s: float) -> Brought:
    """As much as it takes to see what the endpoint makes of it."""
    if pipeline == "sun":
        return Brought(HTTPStatus.NOT_FOUND, "there is no pipeline `sun`")
    if wait_s < 1:
        return Brought(HTTPStatus.SERVICE_UNAVAILABLE, f"it is still being loaded after {wait_s:g} s")
    return Brought(HTTPStatus.OK)


@pytest.fixture
def port(health: Health) -> Iterator[int]:
    (free,) = free_ports(1)
    with health_endpoint("127.0.0.1", free, health, HealingMetrics(), bring):
        yield free


def get(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    status, body, _ = ask(port, path, method)
    return status, body


def ask(port: int, path: str, method: str) -> tuple[int, str, str | None]:
    """Status, body, and the header Retry-After."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.getheader("Retry-After")


def test_probes_are_told_by_the_status(port: int, health: Health) -> None:
    assert get(port, "/live")[0] == 200
    assert get(port, "/ready")[0] == 503
    health.note("mood", WELL)
    health.note("moon", WRONG)
    assert get(port, "/ready/mood")[0] == 200
    assert get(port, "/ready/moon")[0] == 503
    assert get(port, "/ready?verbose=1")[0] == 503
    status, body = get(port, "/ready")
    assert status == 503
    assert json.loads(body)["pipelines"]["moon"]["problem"] == "`label` is 2"
    health.note("moon", WELL)
    assert get(port, "/ready")[0] == 200


@pytest.mark.parametrize("path", ["/", "/ready/", "/ready/sun", "/ready/../etc/passwd", "//", "/metricsx"])
def test_other_paths_are_not_found(port: int, path: str) -> None:
    assert get(port, path)[0] == 404


def test_metrics_are_in_prometheus_format(port: int) -> None:
    status, body = get(port, "/metrics")
    assert status == 200
    assert "conch_server_restarts_total 0.0" in body


def test_probes_may_ask_for_the_status_alone(port: int) -> None:
    assert get(port, "/live", "HEAD") == (200, "")
    assert get(port, "/ready", "HEAD") == (503, "")


def test_a_pipeline_is_demanded_for_a_limited_time(port: int) -> None:
    assert ask(port, "/load/mood", "POST") == (200, '{\n  "ready": true\n}\n', None)
    status, body, retry_after = ask(port, "/load/mood?wait_s=0.5", "POST")
    assert (status, json.loads(body), retry_after) == (503, {"error": "it is still being loaded after 0.5 s"}, "1")
    assert ask(port, "/load/sun", "POST")[0] == 404
    assert ask(port, "/ready", "POST")[0] == 404
    for wrong in ("soon", "-1", "inf", "nan"):
        assert ask(port, f"/load/mood?wait_s={wrong}", "POST")[0] == 400


def test_an_evicted_pipeline_is_not_ill_and_what_was_asked_of_it_before_is_no_news(health: Health) -> None:
    health.note("mood", WELL)
    health.note("moon", WELL)
    health.evicted("moon")
    assert health.ready and health.in_memory() == ["mood"]
    assert not health.note("moon", WRONG)
    health.back("moon")
    assert not health.ready, "it was not asked yet"
    health.note("moon", WELL)
    assert health.ready


def test_prometheus_is_told_who_left_and_who_came_back() -> None:
    journal = Journal(Health(["mood"]), HealingMetrics(), lambda _: None)
    journal.asked("mood", WELL)
    journal.evicted("mood")
    figures = journal.metrics.exposition().decode()
    assert 'conch_pipeline_evicted{pipeline="mood"} 1.0' in figures
    assert 'conch_evictions_total{pipeline="mood"} 1.0' in figures
    assert "conch_pipeline_well{" not in figures
    journal.back("mood")
    assert 'conch_pipeline_evicted{pipeline="mood"} 0.0' in journal.metrics.exposition().decode()


def test_a_prober_that_hangs_up_is_not_worth_a_stack_trace(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_connection(("127.0.0.1", port)) as prober:
        # Closing it now resets the connection.
        prober.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        prober.sendall(b"GET /met")
    assert get(port, "/live")[0] == 200, "who came before has been accepted"
    for thread in threading.enumerate():
        if "process_request_thread" in thread.name:
            thread.join(10)
    assert capfd.readouterr().err == ""


def test_the_endpoint_is_gone_afterwards(health: Health) -> None:
    (free,) = free_ports(1)
    with health_endpoint("127.0.0.1", free, health, HealingMetrics(), bring):
        pass
    with pytest.raises(OSError):
        get(free, "/live")
