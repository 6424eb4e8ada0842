"""What is known of the pipelines' health, and how probes and people are told."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

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


@pytest.fixture
def port(health: Health) -> Iterator[int]:
    (free,) = free_ports(1)
    with health_endpoint("127.0.0.1", free, health, HealingMetrics()):
        yield free


def get(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


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
    with health_endpoint("127.0.0.1", free, health, HealingMetrics()):
        pass
    with pytest.raises(OSError):
        get(free, "/live")
