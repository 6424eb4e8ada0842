"""The load of a tuning: requests of a pipeline as people send them, in a closed loop.

A pipeline of texts gets mixed lengths, because what is tuned for one length of text is tuned for nobody; any other gets
its samples, unless a file names the requests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tritonclient.grpc import model_config_pb2
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.http import InferenceServerClient, InferInput
from tritonclient.utils import triton_to_np_dtype

from conch_tools.bench.corpus import mixed_length_texts
from conch_tools.bench.errors import ContenderFailed
from conch_tools.bench.load import closed_loop
from conch_tools.data_types import protocol_name
from conch_tools.errors import SettingsError
from conch_tools.parity.corpus import inputs_of, read_corpus
from conch_tools.pipelines import Pipeline
from conch_tools.tune.errors import CandidateRejected
from conch_tools.tune.figures import Traffic

Inputs = Mapping[str, Any]
"""Public tensor to value, as in the samples of pipeline.toml, or to an array."""
WARM_UP_S = 0.7
"""Unmeasured beginning of each turn: connections are made, batches form, a new runtime grows its memory."""


@dataclass(frozen=True)
class Address:
    """Where a server listens, for whoever sends the requests."""

    host: str
    http_port: int
    grpc_url: str


class Generator(Protocol):
    """Whoever sends the requests."""

    @property
    def name(self) -> str:
        """What reports call it."""

    def run(self, concurrency: int, seconds: float) -> Traffic:
        """Load the server for some seconds. Raises CandidateRejected when a request fails."""


class ClosedLoop:
    """Our own generator over HTTP."""

    name = "conch"

    def __init__(self, address: tuple[str, int], requests: Sequence[bytes], timeout_s: float) -> None:
        self._address, self._requests, self._timeout_s = address, requests, timeout_s

    def run(self, concurrency: int, seconds: float) -> Traffic:
        """One closed loop. Raises CandidateRejected when a request fails or none is answered."""
        try:
            load = closed_loop(self._address, self._requests, concurrency, WARM_UP_S, seconds, self._timeout_s)
        except ContenderFailed as problem:
            raise CandidateRejected(str(problem)) from problem
        if not load.latencies_s:
            raise CandidateRejected(f"nothing was answered within {seconds:g} s: try a lower --concurrency")
        p50, p99 = np.percentile(load.latencies_s, [50, 99]) * 1e3
        return Traffic(concurrency, len(load.latencies_s) / load.seconds, float(p50), float(p99))


def own_generator(config: ModelConfig, inputs: Sequence[Inputs], timeout_s: float) -> Callable[[Address], ClosedLoop]:
    """Makes our own generator for a server, once it is known where that listens."""

    def generator(address: Address) -> ClosedLoop:
        requests = [wire(each, config, address.host) for each in inputs]
        return ClosedLoop((address.host, address.http_port), requests, timeout_s)

    return generator


def requests_of(pipeline: Pipeline, config: ModelConfig, file: Path | None) -> tuple[Sequence[Inputs], str]:
    """The requests to send, and what they are in words.

    A file is read as `conch parity --corpus` reads it. Raises CorpusError, with the line, for what is no request.
    """
    if file is not None:
        corpus = read_corpus(file, inputs_of(pipeline.folder / "config.pbtxt"))
        return corpus.items, f"the requests of {file}"
    if [(each.name, each.data_type) for each in config.input] == [("text", model_config_pb2.TYPE_STRING)]:
        texts = mixed_length_texts()
        return [{"text": text} for text in texts], f"{len(texts)} texts of mixed lengths"
    samples = [pipeline.sample_inputs(sample) for sample in pipeline.samples]
    return samples, "its sample" if len(samples) == 1 else f"its {len(samples)} samples"


def wire(inputs: Inputs, config: ModelConfig, host: str) -> bytes:
    """A whole HTTP request of one row, with binary tensors, as tritonclient sends it.

    Raises SettingsError when the pipeline takes no such inputs.
    """
    declared = {each.name: each for each in config.input}
    unknown = sorted(inputs.keys() - declared.keys())
    if unknown:
        raise SettingsError(f"`{config.name}` has no input `{unknown[0]}`: it takes {', '.join(declared)}")
    tensors = [_tensor(declared[name], value, config.max_batch_size > 0) for name, value in inputs.items()]
    body, json_bytes = InferenceServerClient.generate_request_body(tensors)
    head = (
        f"POST /v2/models/{config.name}/infer HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/octet-stream\r\n"
        f"Inference-Header-Content-Length: {len(body) if json_bytes is None else json_bytes}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + bytes(body)


def _tensor(declared: Any, value: Any, batches: bool) -> InferInput:
    """One row of an input; a single value fills an input of one element."""
    datatype = protocol_name(model_config_pb2.DataType.Name(declared.data_type))
    try:
        array = np.array(value, dtype=np.object_ if datatype == "BYTES" else triton_to_np_dtype(datatype))
    except (TypeError, ValueError) as problem:
        raise SettingsError(f"input `{declared.name}` is {datatype}, and {value!r} is not: {problem}") from problem
    shape = array.shape or (1,) * len(declared.dims)
    array = array.reshape((1, *shape) if batches else shape)
    tensor = InferInput(declared.name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array)
    return tensor
