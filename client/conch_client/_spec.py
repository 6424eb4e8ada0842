"""What a client needs to know of a model to talk to it, learned once from the server's metadata and
configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ._results import ModelMetadata, TensorMetadata


@dataclass(frozen=True)
class TensorSpec:
    """A tensor of a model, seen as one item: without the batch dimension."""

    name: str
    datatype: str
    dims: tuple[int, ...]
    """-1 stands for any size."""
    optional: bool = False

    @property
    def takes_one_value(self) -> bool:
        """An item is a single value, though Triton writes it as a vector of one."""
        return self.dims == (1,)


@dataclass(frozen=True)
class ModelSpec:
    """A model's tensors and its batching. Two are equal when nothing that matters has changed."""

    model: str
    version: str
    """The version asked for; empty for the latest."""
    latest: str
    """The highest version the server had when it was asked."""
    max_batch_size: int
    """0: the model knows no batch dimension."""
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]

    @classmethod
    def of(cls, version: str, metadata: ModelMetadata, config: Mapping[str, Any]) -> ModelSpec:
        max_batch_size = int(config.get("max_batch_size", 0))
        optional = {tensor["name"] for tensor in config.get("input", ()) if tensor.get("optional")}

        def specs(tensors: tuple[TensorMetadata, ...]) -> dict[str, TensorSpec]:
            return {
                tensor.name: TensorSpec(
                    name=tensor.name,
                    datatype=tensor.datatype,
                    dims=tensor.shape[1:] if max_batch_size > 0 else tensor.shape,
                    optional=tensor.name in optional,
                )
                for tensor in tensors
            }

        return cls(
            model=metadata.name,
            version=version,
            latest=max(metadata.versions, key=_as_number, default=""),
            max_batch_size=max_batch_size,
            inputs=specs(metadata.inputs),
            outputs=specs(metadata.outputs),
        )

    def outdated_by(self, answering_version: str) -> bool:
        """Another version than the one described here has answered."""
        return not self.version and answering_version != self.latest


def _as_number(version: str) -> int:
    return int(version) if version.isdecimal() else -1


class Catalog:
    """The models a client knows, by name and version asked for. Threads may share it: each step is one dict
    access.
    """

    def __init__(self) -> None:
        self._specs: dict[tuple[str, str], ModelSpec] = {}

    def find(self, model: str, version: str) -> ModelSpec | None:
        return self._specs.get((model, version))

    def keep(self, spec: ModelSpec) -> None:
        self._specs[spec.model, spec.version] = spec

    def forget(self, spec: ModelSpec) -> None:
        self._specs.pop((spec.model, spec.version), None)
