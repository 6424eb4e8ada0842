"""How an ensemble joins its steps: which tensor comes from where and goes where, resolved in the repository.

Two names meet at each `Port`: the one that the step's model knows and the ensemble tensor that it is mapped
to. Where a step's model is missing, cannot be read, or leaves its tensors to be completed at load, nothing is
`declared`; rules about names, types and shapes pass such ports over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from tritonclient.grpc import model_config_pb2

from conch_tools.check.completion import UNKNOWN, Completed, completed
from conch_tools.check.findings import Place
from conch_tools.check.pbtxt import Mark
from conch_tools.check.repository import Model, Repository, Tensor
from conch_tools.data_types import WILDCARD, fits


@dataclass(frozen=True)
class Declared:
    """A tensor as one party of an ensemble knows it: `model` says so, and `batches` in front of its dims."""

    model: str
    tensor: Tensor
    dims: tuple[int, ...]
    batches: bool

    @property
    def full_dims(self) -> tuple[int, ...]:
        """The dims with the batch dimension, if there is one."""
        return (WILDCARD, *self.dims) if self.batches else self.dims

    def agrees_with(self, other: Declared) -> bool:
        """Whether core takes the two shapes for equal, with or without the batch; -1 fits any size."""
        return fits(self.dims, other.dims) or fits(self.full_dims, other.full_dims)


@dataclass(frozen=True)
class Port:
    """One entry of a step's input_map or output_map. `declared` is None where the model does not say."""

    step: Step
    key: str
    ensemble_tensor: str
    mark: Mark
    declared: Declared | None


@dataclass(frozen=True, eq=False)
class Step:
    """A step of an ensemble. `model` is None if the repository has none of that name."""

    index: int
    model_name: str
    model_version: int
    mark: Mark
    model: Model | None
    completed: Completed
    input_map: Mapping[str, str]
    output_map: Mapping[str, str]

    @cached_property
    def inputs(self) -> tuple[Port, ...]:
        """The ports through which tensors come in."""
        return tuple(self._ports("input_map", self.input_map, self.completed.inputs))

    @cached_property
    def outputs(self) -> tuple[Port, ...]:
        """The ports through which tensors go out."""
        return tuple(self._ports("output_map", self.output_map, self.completed.outputs))

    def _ports(self, field: str, mapping: Mapping[str, str], tensors: Iterable[Tensor]) -> Iterator[Port]:
        by_name = _by_name(tensors)
        for key, ensemble_tensor in mapping.items():
            tensor = by_name.get(key)
            declared = None
            if tensor is not None and self.completed.is_known(tensor):
                declared = Declared(self.model_name, tensor, tensor.dims, self.completed.max_batch_size > 0)
            yield Port(self, key, ensemble_tensor, self.mark.entry(field, key), declared)


@dataclass(frozen=True)
class Sighting:
    """A place in an ensemble's config.pbtxt where a tensor meets a declaration of it."""

    declared: Declared
    mark: Mark


@dataclass(frozen=True)
class Joint:
    """One way of an ensemble tensor: who gives it, and who takes it where."""

    ensemble_tensor: str
    giver: Declared
    taker: Sighting


@dataclass(frozen=True, eq=False)
class Wiring:
    """An ensemble with its steps."""

    ensemble: Model
    steps: tuple[Step, ...]
    repository: Repository

    def place(self, mark: Mark) -> Place:
        """Where in the ensemble's config.pbtxt `mark` is."""
        return self.ensemble.place(mark)

    @cached_property
    def inputs(self) -> Mapping[str, Declared]:
        """The ensemble's own inputs by name."""
        return {name: self._declare(tensor) for name, tensor in _by_name(self.ensemble.inputs).items()}

    @cached_property
    def outputs(self) -> Mapping[str, Declared]:
        """The ensemble's own outputs by name."""
        return {name: self._declare(tensor) for name, tensor in _by_name(self.ensemble.outputs).items()}

    @cached_property
    def producers(self) -> Mapping[str, tuple[Port, ...]]:
        """The ports that write each ensemble tensor."""
        return _by_tensor(port for step in self.steps for port in step.outputs)

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Port, ...]]:
        """The ports that read each ensemble tensor."""
        return _by_tensor(port for step in self.steps for port in step.inputs)

    @cached_property
    def runnable(self) -> tuple[Step, ...]:
        """The steps that ever run, in a possible order: a step runs when all its inputs are there."""
        ready, order, waiting = set(self.inputs), list[Step](), list(self.steps)
        while runnable := [step for step in waiting if ready.issuperset(step.input_map.values())]:
            order += runnable
            waiting = [step for step in waiting if step not in runnable]
            ready.update(name for step in runnable for name in step.output_map.values())
        return tuple(order)

    @cached_property
    def sightings(self) -> Mapping[str, tuple[Sighting, ...]]:
        """What is said of each ensemble tensor, in core's order: core compares the others with the first."""
        found: dict[str, list[Sighting]] = {}
        for side, tensors in (("input", self.inputs), ("output", self.outputs)):
            for index, (name, declared) in enumerate(tensors.items()):
                found.setdefault(name, []).append(Sighting(declared, self.ensemble.marks.at(side, index)))
        for port in (port for step in self.steps for port in (*step.inputs, *step.outputs)):
            if port.declared is not None:
                found.setdefault(port.ensemble_tensor, []).append(Sighting(port.declared, port.mark))
        return {name: tuple(sightings) for name, sightings in found.items()}

    @cached_property
    def joints(self) -> tuple[Joint, ...]:
        """Every way of a tensor from one that gives it to one that takes it, where both say what it is."""
        found = []
        for name, sightings in self.sightings.items():
            givers = [port.declared for port in self.producers.get(name, ())] + [self.inputs.get(name)]
            takers = [port.declared for port in self.consumers.get(name, ())] + [self.outputs.get(name)]
            for giver in (giver for giver in givers if giver is not None):
                found += [Joint(name, giver, taker) for taker in sightings if taker.declared in takers]
        return tuple(found)

    def _declare(self, tensor: Tensor) -> Declared:
        dims = tensor.dims if tensor.reshape is None else tensor.reshape
        return Declared(self.ensemble.name, tensor, dims, self.ensemble.batches)


def wirings(repository: Repository) -> Iterator[Wiring]:
    """Every ensemble that has steps to look at."""
    for model in repository.readable:
        if model.config.HasField("ensemble_scheduling"):
            steps = model.config.ensemble_scheduling.step
            marks = model.marks.at("ensemble_scheduling")
            resolved = tuple(_step(i, step, marks.at("step", i), repository) for i, step in enumerate(steps))
            yield Wiring(model, resolved, repository)


def _step(index: int, step: model_config_pb2.ModelEnsembling.Step, mark: Mark, repository: Repository) -> Step:
    model = repository.models.get(step.model_name)
    return Step(
        index=index,
        model_name=step.model_name,
        model_version=step.model_version,
        mark=mark,
        model=model,
        completed=UNKNOWN if model is None else completed(model),
        input_map=dict(step.input_map),
        output_map=dict(step.output_map),
    )


def _by_name(tensors: Iterable[Tensor]) -> Mapping[str, Tensor]:
    """The tensors by name; of equal names core keeps the first."""
    found: dict[str, Tensor] = {}
    for tensor in tensors:
        found.setdefault(tensor.name, tensor)
    return found


def _by_tensor(ports: Iterable[Port]) -> Mapping[str, tuple[Port, ...]]:
    found: dict[str, list[Port]] = {}
    for port in ports:
        found.setdefault(port.ensemble_tensor, []).append(port)
    return {name: tuple(ports) for name, ports in found.items()}
