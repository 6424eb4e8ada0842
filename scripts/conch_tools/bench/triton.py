"""Conch as a contender: the embedded Triton with the repository as it is, asked over HTTP for its text ensemble."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from types import TracebackType

import numpy as np

from conch_client import Client
from conch_tools.bench.contenders import Embeddings, HttpApi, HttpLoad, Turn, wire_requests
from conch_tools.bench.load import Answer
from conch_tools.server import EmbeddedServer, ServerOptions
from conch_tools.settings import Settings


class TritonContender:
    """A server of its own, with settings of its own (`own_settings`). Use it as a context manager; what it serves must
    pass `conch check`.
    """

    def __init__(
        self, settings: Settings, pipeline: str, texts: Sequence[str], reference: Embeddings, name: str = "Conch"
    ) -> None:
        self.name = name
        self.setup = f"embedded Triton, ensemble `{pipeline}`, JSON in, binary out"
        self._pipeline = pipeline
        self._settings = settings
        self._server = EmbeddedServer(ServerOptions(self._settings, models=[pipeline]))
        api = HttpApi(f"/v2/models/{pipeline}/infer", infer_body, read_first_output)
        self._load = HttpLoad(
            name=self.name,
            api=api,
            address=(settings.host, settings.http_port),
            requests=wire_requests(api, texts, settings.host),
            reference=reference,
            timeout_s=settings.answer_timeout_s,
        )

    def __enter__(self) -> TritonContender:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()

    def turn(self, seconds: float, concurrency: int) -> Turn:
        """One closed loop, with the average batch of the model step in Triton's own statistics (warm-up included)."""
        inferences, executions = self._counts()
        turn = self._load.turn(seconds, concurrency)
        more_inferences, more_executions = self._counts()
        batch = (more_inferences - inferences) / max(1, more_executions - executions)
        return dataclasses.replace(turn, average_batch=batch)

    def _counts(self) -> tuple[int, int]:
        with Client(self._server.grpc_url, timeout_s=self._settings.answer_timeout_s) as client:
            [statistics] = client.statistics(f"{self._pipeline}_model")
        return statistics.inference_count, statistics.execution_count


def infer_body(text: str) -> bytes:
    """An inference request of one text that asks for binary tensors back, as tritonclient does by default."""
    tensor = {"name": "text", "shape": [1, 1], "datatype": "BYTES", "data": [text]}
    return json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()


def read_first_output(answer: Answer) -> Embeddings:
    """The only output, FP32, which follows the JSON of the answer."""
    return np.frombuffer(answer.body, dtype="<f4", offset=int(answer.header("Inference-Header-Content-Length") or 0))
