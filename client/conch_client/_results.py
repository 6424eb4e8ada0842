"""What calls give back: plain values, numpy arrays where they belong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Classification:
    """What a classifier says about one input."""

    label: str
    """The best label."""

    score: float
    """The score of the best label, between 0 and 1."""

    scores: Mapping[str, float] = field(hash=False)
    """Every label the model gave with its score, best first; `top_k` limits them. A name that the model gave twice
    has its first score, the better one."""


@dataclass(frozen=True)
class Answer:
    """The words of a text that answer a question. An empty text says that it does not answer it."""

    text: str

    score: float
    """How sure the model is. The same words in several windows of a long text add up, so it may pass 1."""

    start: int
    """The text's first character in the context, counted in Unicode code points as Python does."""

    end: int
    """The character after the text's last."""

    others: tuple[Answer, ...] = ()
    """The next best answers, best first; `top_k` says how many there are at most, this one included."""


@dataclass(frozen=True)
class Entity:
    """A named entity in a text."""

    type: str
    """`person`, say; with the aggregation strategy `none` the label of one token, `B-person`."""

    score: float
    """How sure the model is, between 0 and 1."""

    text: str
    """The entity as the text has it."""

    start: int
    """Its first character in the text, counted in Unicode code points as Python does."""

    end: int
    """The character after its last."""


@dataclass(frozen=True, eq=False)
class Forecast:
    """How a series goes on."""

    values: NDArray[np.float32]
    """The next `horizon` values, [horizon]: as likely too high as too low."""

    lower: NDArray[np.float32]
    """Lower end of the prediction interval of each value, [horizon]."""

    upper: NDArray[np.float32]
    """Upper end of the prediction interval of each value, [horizon]."""


@dataclass(frozen=True)
class SearchResult:
    """An item of a catalogue that a search found."""

    id: str

    score: float
    """How near it is in meaning, at most 1: the cosine of the two vectors."""

    item: Mapping[str, Any] = field(hash=False)
    """The item's fields without its id: title, text, category, price, in_stock, year."""


@dataclass(frozen=True)
class CatalogueChange:
    """What a change of a catalogue did; it is on the server's disk."""

    added: int
    replaced: int

    unchanged: int
    """Items that were there already, equal in every field."""

    removed: int

    absent: int
    """Ids to remove that were not there."""

    items: int
    """Items in the catalogue now."""

    revision: int
    """Grows with every change that changed something."""


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
