"""A configuration and its ONNX graph side by side, and the question whether one tensor fits.

Whether a tensor fits is the stand-in's own verdict (`conch_steps.onnx_backend.validate`), which is that of
the C++ backend. It stops at the first fault; here it is asked about one tensor at a time, so that each gets
its finding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from conch_steps.errors import ModelConfigError
from conch_steps.onnx_backend.config import BackendConfig, BatchInput, Json, TensorConfig
from conch_steps.onnx_backend.signature import GraphSignature, TensorSpec
from conch_steps.onnx_backend.validate import validate
from conch_tools.check.completion import complete_json
from conch_tools.check.findings import Place
from conch_tools.check.graphs import Graph
from conch_tools.check.pbtxt import Mark
from conch_tools.check.repository import Model, Repository


@dataclass(frozen=True, eq=False)
class Pair:
    """One version's graph and the configuration, completed from the graph where it leaves tensors out."""

    model: Model
    version: int
    signature: GraphSignature
    config: BackendConfig

    def place(self, mark: Mark) -> Place:
        """Where in config.pbtxt `mark` is, or the model's folder."""
        return self.model.place(mark)

    def mark(self, field: str, index: int) -> Mark:
        """Where the tensor stands, or the configuration as a whole if the graph has completed it."""
        return self.model.marks.at(field, index)

    @property
    def named(self) -> str:
        """The graph, as it is called in a sentence."""
        return f"the graph of version {self.version}" if len(self.model.graphs) > 1 else "the graph"

    @cached_property
    def controls(self) -> tuple[str, ...]:
        """The graph inputs that the sequence batcher fills."""
        return tuple(control.get("name", "") for control in self.config.control_inputs)

    @cached_property
    def computed(self) -> tuple[str, ...]:
        """The graph inputs that Triton computes as `batch_input`."""
        return tuple(name for batch_input in self.config.batch_inputs for name in batch_input.targets)

    @cached_property
    def undeclared(self) -> tuple[str, ...]:
        """The graph inputs that nothing in the configuration provides."""
        declared = {tensor.name for tensor in self.config.inputs}
        return tuple(name for name in self.signature.inputs if name not in {*declared, *self.computed, *self.controls})

    def declaration(self, spec: TensorSpec) -> str:
        """How the configuration says what the graph knows of a tensor."""
        dims = spec.dims[1:] if self.config.batching else spec.dims
        if not dims:
            # Triton has no empty dims: one value a row is [1] outside and [] inside.
            reshape = " reshape { shape: [ ] }" if self.config.batching and spec.dims else ""
            return f"`data_type: {spec.data_type} dims: [ 1 ]{reshape}`"
        return f"`data_type: {spec.data_type} dims: [ {', '.join(map(str, dims))} ]`"

    def input_verdict(self, tensor: TensorConfig) -> str | None:
        """Why the backend refuses this input, None if it does not. The graph must have it."""
        spec = {tensor.name: self.input_spec(tensor.name)}
        alone = GraphSignature({}, {}, spec) if tensor.optional else GraphSignature(spec, {}, {})
        return _refusal(replace(self._bare, inputs=(tensor,)), alone)

    def output_verdict(self, tensor: TensorConfig, *, if_closed: bool = False) -> str | None:
        """Why the backend refuses this output, None if it does not. The graph must have it.

        `if_closed` asks the same, should ONNX Runtime close the graph's open dims to the configured sizes.
        """
        spec = self.signature.outputs[tensor.name]
        if if_closed:
            spec = replace(spec, dims=_closed(spec.dims, self._full(tensor.dims)))
        # A batch_output has its shape from the requests, so that it is compared with its source.
        scattered = tuple(output for output in self.config.batch_outputs if output.target == tensor.name)
        named = {output.source for output in scattered}
        sources = tuple(replace(io, optional=False) for io in self.config.inputs if io.name in named)
        given = {io.name: TensorSpec(io.name, io.data_type, self._own_dims(io)) for io in sources}
        alone = replace(self._bare, inputs=sources, outputs=(tensor,), batch_outputs=scattered)
        return _refusal(alone, GraphSignature(given, {spec.name: spec}, {}))

    def batch_input_verdict(self, batch_input: BatchInput, target: str) -> str | None:
        """Why the backend refuses this target, None if it does not. The graph must have such an input."""
        alone = GraphSignature({target: self.signature.inputs[target]}, {}, {})
        return _refusal(replace(self._bare, batch_inputs=(replace(batch_input, targets=(target,)),)), alone)

    def control_verdict(self, control: Json) -> str | None:
        """Why the backend refuses this control of sequences, None if it does not."""
        specs = {name: spec for name, spec in self.signature.inputs.items() if name == control.get("name")}
        return _refusal(replace(self._bare, control_inputs=(control,)), GraphSignature(specs, {}, {}))

    def input_spec(self, name: str) -> TensorSpec:
        """What the graph knows of an input, be it overridable or not."""
        return {**self.signature.overridable, **self.signature.inputs}[name]

    def _full(self, dims: tuple[int, ...]) -> tuple[int, ...]:
        return (-1, *dims) if self.config.batching else dims

    def _own_dims(self, tensor: TensorConfig) -> tuple[int, ...]:
        """The dims of a graph that takes the input just as it is configured."""
        return (-1,) if tensor.ragged else self._full(tensor.dims)

    @cached_property
    def _bare(self) -> BackendConfig:
        """The configuration without any tensor, and without what only the stand-in cannot do."""
        return replace(
            self.config,
            inputs=(), outputs=(), batch_inputs=(), batch_outputs=(), control_inputs=(),
            implicit_state=False, decoupled=False,
        )  # fmt: skip


def pairs(repository: Repository) -> Iterator[Pair]:
    """Every graph whose configuration is sound enough to be compared; other rules tell of the rest."""
    for model in repository.readable:
        for version, graph in model.graphs.items():
            if isinstance(graph, Graph) and _comparable(model):
                try:
                    config = BackendConfig.from_json(complete_json(model, graph))
                except ModelConfigError:
                    continue
                yield Pair(model, version, graph.signature, config)


def _comparable(model: Model) -> bool:
    named = all(tensor.name for tensor in (*model.inputs, *model.outputs))
    batch_io = (*model.config.batch_input, *model.config.batch_output)
    sources = {tensor.name for tensor in model.inputs}
    return named and all(
        io.target_name and len(io.source_input) == 1 and sources.issuperset(io.source_input) for io in batch_io
    )


def _closed(dims: tuple[int, ...], sizes: tuple[int, ...]) -> tuple[int, ...]:
    if len(dims) != len(sizes):
        return dims
    return tuple(size if dim == -1 else dim for dim, size in zip(dims, sizes, strict=True))


def _refusal(config: BackendConfig, signature: GraphSignature) -> str | None:
    try:
        validate(config, signature)
    except ModelConfigError as refusal:
        return str(refusal).removeprefix(f"unable to load model '{config.model}': ")
    return None
