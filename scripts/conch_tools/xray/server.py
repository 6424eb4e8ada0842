"""A running Triton as `conch xray` asks it: inference and configurations through conch_client, what that has no words
for (the statistics of all models at once, trace settings) through Triton's own client. Every question has a limit."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from conch_client import Client
from conch_tools.errors import ConchError
from conch_tools.server.embedded import ADMIN_HEADER
from conch_tools.xray.counters import AllCounters, counters_in
from conch_tools.xray.plan import Config

GRPC_ADMIN_HEADER = f"triton-grpc-protocol-{ADMIN_HEADER}"
"""What Triton calls over gRPC the header that opens a restricted API."""
SHORT_S = 5.0
"""For what Triton answers without work."""
NO_PROXY = ("grpc.enable_http_proxy", 0)


class Refused(ConchError):
    """Triton refused what only some servers allow, or did not answer it in time; says why."""


class Server:
    """One server. Use it as a context manager; threads may share it."""

    def __init__(self, url: str, admin_key: str | None, timeout_s: float) -> None:
        """`url` is host:port of gRPC; `admin_key` opens the trace API of a server of Conch's own."""
        self.client = Client(url, timeout_s=timeout_s)
        options = [NO_PROXY] if self.is_local else []
        self._triton = InferenceServerClient(self.client.endpoint, channel_args=options)
        self._headers = {} if admin_key is None else {GRPC_ADMIN_HEADER: admin_key}
        self._configs: dict[tuple[str, str], Config] = {}

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()
        self._triton.close()

    @property
    def is_local(self) -> bool:
        """Whether it runs on this machine, by its address alone."""
        host = self.client.endpoint.rpartition(":")[0].strip("[]")
        try:
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def config(self, model: str, version: str) -> Config:
        """A model's configuration, asked once. Raises the client's errors."""
        if (model, version) not in self._configs:
            self._configs[model, version] = self.client.config(model, version)
        return self._configs[model, version]

    def counters(self) -> AllCounters:
        """The statistics of every model. Raises Refused where the server keeps them to itself."""
        try:
            return counters_in(self._triton.get_inference_statistics(client_timeout=SHORT_S))
        except InferenceServerException as problem:
            raise Refused(f"the server does not tell its statistics: {problem.message()}") from problem

    def trace_settings(self, model: str) -> dict[str, list[str]]:
        """The trace settings that hold for a model, for all models where it is "". Raises Refused."""
        try:
            reply = self._triton.get_trace_settings(model, headers=self._headers, client_timeout=SHORT_S)
        except InferenceServerException as problem:
            raise Refused(problem.message()) from problem
        return {name: list(setting.value) for name, setting in reply.settings.items()}

    def set_trace(self, model: str, settings: Mapping[str, Any]) -> None:
        """Set them for one model; None takes a setting back to what holds for all models. Raises Refused."""
        try:
            self._triton.update_trace_settings(
                model, settings=dict(settings), headers=self._headers, client_timeout=SHORT_S
            )
        except InferenceServerException as problem:
            raise Refused(problem.message()) from problem
