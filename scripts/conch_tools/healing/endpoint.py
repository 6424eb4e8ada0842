"""Health over HTTP, for probes, load balancers and people.

    GET /live               200 while the supervisor runs
    GET /ready              200 when every pipeline answers its golden requests, else 503; the body says which does not
    GET /ready/<pipeline>   the same for one; 404 when it is not served
    GET /metrics            what healing counts, for Prometheus
    POST /load/<pipeline>   200 when it is in memory and well; an evicted one is brought back, for which `?wait_s=N`
                            waits; 503 with Retry-After when it is not there by then, 507 when it never fits, 404

HEAD answers the same without the body. Triton's own /v2/health/ready stays 200 with dead models, so probes belong here.
"""

from __future__ import annotations

import json
import math
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote

from conch_tools.budget.demands import Brought
from conch_tools.healing.health import Health
from conch_tools.healing.metrics import HealingMetrics

REQUEST_LIMIT_S = 5.0
DEFAULT_WAIT_S = 30.0
RETRY_AFTER_S = 1
JSON = "application/json"
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
Bring = Callable[[str, float], Brought]
"""Has a pipeline brought back, and waits for it so many seconds at most."""


@contextmanager
def health_endpoint(host: str, port: int, health: Health, metrics: HealingMetrics, bring: Bring) -> Iterator[None]:
    """Answer as long as the block lasts. Raises OSError when the port cannot be had."""

    class Handler(_Handler):
        answers = _Answers(health, metrics, bring)

    server = _Server((host, port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="health", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


class _Answers:
    """What is answered to each path: status, content type, body."""

    def __init__(self, health: Health, metrics: HealingMetrics, bring: Bring) -> None:
        self._health = health
        self._metrics = metrics
        self._bring = bring

    def to_post(self, path: str, query: str) -> tuple[HTTPStatus, str, bytes]:
        pipeline = path.removeprefix("/load/")
        if pipeline == path:
            return _json(HTTPStatus.NOT_FOUND, {"error": "there is /load/<pipeline>"})
        given = parse_qs(query).get("wait_s", [f"{DEFAULT_WAIT_S:g}"])[-1]
        wait_s = _seconds(given)
        if wait_s is None:
            return _json(HTTPStatus.BAD_REQUEST, {"error": f"wait_s is a number of seconds, got {given!r}"})
        brought = self._bring(unquote(pipeline), wait_s)
        return _json(brought.status, {"error": brought.problem} if brought.problem else {"ready": True})

    def to(self, path: str) -> tuple[HTTPStatus, str, bytes]:
        if path == "/metrics":
            return HTTPStatus.OK, EXPOSITION, self._metrics.exposition()
        if path == "/live":
            return _json(HTTPStatus.OK, {"live": True})
        if path == "/ready":
            return _json(_status(self._health.ready), self._health.as_json())
        if path.startswith("/ready/"):
            one = self._health.of(path.removeprefix("/ready/"))
            if one is not None:
                return _json(_status(bool(one.well)), asdict(one))
        return _json(HTTPStatus.NOT_FOUND, {"error": "there is /live, /ready, /ready/<pipeline> and /metrics"})


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A prober that hangs up is no fault of ours, and not worth a stack trace."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    answers: _Answers
    timeout = REQUEST_LIMIT_S
    """Of a connection that sends nothing."""

    def do_GET(self) -> None:
        self._send(*self.answers.to(self.path.partition("?")[0]))

    do_HEAD = do_GET

    def do_POST(self) -> None:
        path, _, query = self.path.partition("?")
        status, content_type, body = self.answers.to_post(path, query)
        after = {"Retry-After": str(RETRY_AFTER_S)} if status is HTTPStatus.SERVICE_UNAVAILABLE else {}
        self._send(status, content_type, body, after)

    def _send(self, status: HTTPStatus, content_type: str, body: bytes, headers: Mapping[str, str] = {}) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Probes come every second; they are not worth a line."""


def _status(well: bool) -> HTTPStatus:
    return HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if 0 <= seconds < math.inf else None


def _json(status: HTTPStatus, content: dict[str, Any]) -> tuple[HTTPStatus, str, bytes]:
    return status, JSON, (json.dumps(content, indent=2) + "\n").encode()
