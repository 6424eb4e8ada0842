"""What calls give back: plain values, numpy arrays where they belong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class Classification:
    """What a classifier says about one input."""

    label: str
    """The best label."""

    score: float
    """The score of the best label, between 0 and 1."""

    scores: Mapping[str, float] = field(hash=False)
    """Every label the model gave with its score, best first; `top_k` limits them."""


@dataclass(frozen=True, eq=False)
class InferResult(Mapping[str, NDArray[Any]]):
    """The outputs of one inference: a mapping from an output's name to its array.

    The arrays belong to the caller. BF16 comes as float32. A BYTES output is an object array of str if all
    its values are UTF-8, else of bytes. Where one item without a batch dimension was asked, the answer has
    none either.
    """

    outputs: Mapping[str, NDArray[Any]]

    model: str
    """The name of the model that answered."""

    version: str
    """The version that answered, also where none was asked for."""

    request_id: str

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.outputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.outputs)

    def __len__(self) -> int:
        return len(self.outputs)


@dataclass(frozen=True)
class TensorMetadata:
    """A tensor as the server describes it."""

    name: str

    datatype: str
    """Triton's name: BOOL, INT8 to UINT64, FP16, BF16, FP32, FP64 or BYTES."""

    shape: tuple[int, ...]
    """With the batch dimension where the model has one; -1 stands for any size."""


@dataclass(frozen=True)
class ModelMetadata:
    """A model as the server describes it."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


@dataclass(frozen=True)
class Duration:
    """How often something happened and how long it took altogether, in nanoseconds."""

    count: int
    ns: int


@dataclass(frozen=True)
class ModelStatistics:
    """What one version of a model has done since it was loaded."""

    name: str
    version: str

    inference_count: int
    """Inferences, every item of a batch counted."""

    execution_count: int
    """Executions of the model; fewer than inferences where batching helped."""

    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration
    cache_hit: Duration
    cache_miss: Duration

    @property
    def average_batch(self) -> float:
        """Items an execution, 0.0 before the first."""
        return self.inference_count / self.execution_count if self.execution_count else 0.0
