"""Health over HTTP, for probes, load balancers and people.

    GET /live               200 while the supervisor runs
    GET /ready              200 when every pipeline answers its golden requests, else 503; the body says which does not
    GET /ready/<pipeline>   the same for one; 404 when it is not served
    GET /metrics            what healing counts, for Prometheus

HEAD answers the same without the body. Triton's own /v2/health/ready stays 200 with dead models, so probes belong here.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from conch_tools.healing.health import Health
from conch_tools.healing.metrics import HealingMetrics

REQUEST_LIMIT_S = 5.0
JSON = "application/json"
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


@contextmanager
def health_endpoint(host: str, port: int, health: Health, metrics: HealingMetrics) -> Iterator[None]:
    """Answer as long as the block lasts. Raises OSError when the port cannot be had."""

    class Handler(_Handler):
        answers = _Answers(health, metrics)

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

    def __init__(self, health: Health, metrics: HealingMetrics) -> None:
        self._health = health
        self._metrics = metrics

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
        status, content_type, body = self.answers.to(self.path.partition("?")[0])
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Probes come every second; they are not worth a line."""


def _status(well: bool) -> HTTPStatus:
    return HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE


def _json(status: HTTPStatus, content: dict[str, Any]) -> tuple[HTTPStatus, str, bytes]:
    return status, JSON, (json.dumps(content, indent=2) + "\n").encode()
