"""Which models are to blame when a pipeline's golden request fails.

Each model is asked the smallest request that its configuration allows. Any answer, even a refusal, comes from a living
process; what Triton says of an unhealthy one, or of an unknown model, does not. Silence is ambiguous, for a
busy model answers late, and killing what is overloaded makes an outage of a delay. So a silent model counts as hung
only when its process is stopped, or when none of the silent ones has used the processor while they were asked.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from conch_client import Client, ConchError, ModelMetadata
from conch_tools.healing.golden import Symptom, symptom_of
from conch_tools.server.stubs import Stub, cpu_seconds, is_stopped

BUSY_SHARE = 0.02
"""Of a processor: a process that used more than this while it was asked is at work."""
NUMPY_TYPES = {"BYTES": np.object_, "BF16": np.float32, "BOOL": np.bool_, "FP16": np.float16, "FP32": np.float32,
               "FP64": np.float64}  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """A model that is to be loaded anew, and why."""

    model: str
    symptom: Symptom
    noticed: float = field(default_factory=time.monotonic)
    """On the monotonic clock, seconds: when the request was sent that showed it. What was repaired since is well."""


@dataclass(frozen=True)
class Diagnosis:
    """What came of asking models one by one, in the order in which they were given."""

    faults: list[Fault]
    """Of the models that are to be loaded anew."""
    silent: list[str]
    """The models that did not answer in time, whether they are to blame for it or not."""


def diagnosed(client: Client, models: Sequence[str], stubs: Sequence[Stub], timeout_s: float) -> Diagnosis:
    """Ask each model. Takes at most twice `timeout_s`, for its description and its answer, and a little."""
    began, before = time.monotonic(), cpu_seconds(stubs)
    with ThreadPoolExecutor(max(1, len(models)), thread_name_prefix="diagnosis") as asking:
        symptoms = dict(zip(models, asking.map(lambda model: _symptom(client, model, timeout_s), models), strict=True))
    gone = (Symptom.DEAD, Symptom.ABSENT)
    faults = [Fault(model, found, began) for model, found in symptoms.items() if found in gone]
    silent = [model for model, found in symptoms.items() if found is Symptom.SILENT]
    if silent and not faults:
        faults = [Fault(model, Symptom.SILENT, began) for model in hung(silent, stubs, before, timeout_s)]
    return Diagnosis(faults, silent)


def hung(silent: Collection[str], stubs: Sequence[Stub], before: Mapping[Stub, float], seconds: float) -> list[str]:
    """Of the models that did not answer, those that do not work either.

    A stopped process explains the silence of all that wait for it. Where none is stopped and any of the silent ones is
    at work, the others may be waiting for it, and none is called hung.
    """
    of_silent = [stub for stub in stubs if stub.model in silent]
    stopped = {stub.model for stub in of_silent if is_stopped(stub.pid)}
    if stopped:
        return [model for model in silent if model in stopped]
    after = cpu_seconds(of_silent)
    used = {stub: after[stub] - before.get(stub, 0.0) for stub in after}
    if any(time > BUSY_SHARE * seconds for time in used.values()):
        return []
    return list(silent)


def smallest_request(metadata: ModelMetadata) -> dict[str, npt.NDArray[Any]]:
    """One item of every input, each dimension of any size being 1: zeros, and empty BYTES."""
    return {tensor.name: _zeros(tensor.datatype, tensor.shape) for tensor in metadata.inputs}


def _zeros(datatype: str, shape: Sequence[int]) -> npt.NDArray[Any]:
    sizes = [1 if size < 0 else size for size in shape]
    if datatype == "BYTES":
        return np.full(sizes, b"", dtype=np.object_)
    return np.zeros(sizes, dtype=NUMPY_TYPES.get(datatype) or np.dtype(datatype.lower()))


def _symptom(client: Client, model: str, timeout_s: float) -> Symptom:
    try:
        client.infer(model, inputs=smallest_request(client.metadata(model, timeout_s=timeout_s)), timeout_s=timeout_s)
    except ConchError as problem:
        found = symptom_of(problem)
        return Symptom.WELL if found is Symptom.FAILING else found
    return Symptom.WELL
