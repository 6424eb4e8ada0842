"""The sources that serve a repository's models: a model.py of each version, or one of a Python-based backend for many.

What a shared source does for one of its models can depend on that model's parameters. Rules therefore ask what holds
for every model that a source serves, or for the names of all of them together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from conch_tools.check.backends import PYTHON
from conch_tools.check.repository import Model, Repository, Tensor
from conch_tools.check.sources.facts import Facts, facts_of
from conch_tools.check.sources.source import COMPLETION, Source, Unreadable, read_source

_ENVIRONMENT = "EXECUTION_ENV_PATH"
"""The parameter that gives a model a Python environment of its own."""
_BACKEND_ENVIRONMENT = "pb_exec_env_model.py.tar.gz"
"""The file that gives one to a Python-based backend."""


@dataclass(frozen=True, eq=False)
class SourceFile:
    """A source, parsed or not, with the models that it serves and whether it is a backend's."""

    file: Path
    content: Source | Unreadable
    models: tuple[Model, ...]
    shared: bool
    repository: Repository

    @cached_property
    def has_own_environment(self) -> bool:
        """Whether it runs in another Python environment than this check."""
        own = any(_ENVIRONMENT in model.config.parameters for model in self.models)
        return own or (self.shared and (self.file.parent / _BACKEND_ENVIRONMENT).exists())


@dataclass(frozen=True, eq=False)
class Adaptor:
    """A source that could be parsed, what it does, and the models that it serves."""

    of: SourceFile
    source: Source
    facts: Facts

    @property
    def models(self) -> tuple[Model, ...]:
        """The models that it serves, at least one."""
        return self.of.models

    @property
    def shared(self) -> bool:
        """Whether it is a backend's, for models of any kind."""
        return self.of.shared

    @property
    def named(self) -> str:
        """Whose tensors are meant, as it is called in a sentence."""
        return "any model of this backend" if self.shared else "config.pbtxt"

    @property
    def single(self) -> Model | None:
        """The model that a source of its own serves; None for a backend's."""
        return None if self.shared else self.models[0]

    @cached_property
    def inputs(self) -> Mapping[str, Tensor]:
        """The inputs of its models by name; of equal ones the first."""
        return {tensor.name: tensor for model in reversed(self.models) for tensor in reversed(model.inputs)}

    @cached_property
    def outputs(self) -> Mapping[str, Tensor]:
        """The outputs of its models by name; of equal ones the first."""
        return {tensor.name: tensor for model in reversed(self.models) for tensor in reversed(model.outputs)}

    @cached_property
    def provided(self) -> frozenset[str]:
        """The tensors that a request can have or take beside these: batch inputs, controls and states of sequences."""
        found: set[str] = set()
        for model in self.models:
            sequences = model.config.sequence_batching
            found |= {control.name for control in sequences.control_input}
            found |= {name for state in sequences.state for name in (state.input_name, state.output_name)}
            # The Python backend computes none; a Python-based one may do so itself.
            for batch_input in model.config.batch_input if self.shared else ():
                found.update(batch_input.target_name)
        return frozenset(found) | self.facts.tensors.completed

    @cached_property
    def decoupled(self) -> bool | None:
        """Whether its models answer with any number of responses; None where that differs or the source may say so."""
        said = {bool(model.config.model_transaction_policy.decoupled) for model in self.models}
        completing = self.source.method(COMPLETION) is not None
        return None if len(said) != 1 or (completing and said == {False}) else said.pop()

    @cached_property
    def batches(self) -> bool:
        """Whether every model takes requests of several rows."""
        return all(model.config.max_batch_size > 1 for model in self.models)

    @cached_property
    def is_given_several_requests(self) -> bool:
        """Whether Triton joins requests for one of its models, so that `execute` gets more than one at a time."""
        schedulers = ("dynamic_batching", "sequence_batching")
        return any(
            model.config.max_batch_size > 1 and any(model.config.HasField(name) for name in schedulers)
            for model in self.models
        )


def source_files(repository: Repository) -> Iterator[SourceFile]:
    """Every source that Triton would run, once, however many models it serves."""
    shared: dict[Path, list[Model]] = {}
    for model in repository.readable:
        for file in model.sources.values():
            yield SourceFile(file, read_source(file), (model,), False, repository)
        if model.backend.name != PYTHON and model.adaptor is not None:
            shared.setdefault(model.adaptor, []).append(model)
    for file, models in shared.items():
        yield SourceFile(file, read_source(file), tuple(models), True, repository)


def adaptors(repository: Repository) -> Iterator[Adaptor]:
    """Every source that could be parsed."""
    for file in source_files(repository):
        if isinstance(file.content, Source):
            yield Adaptor(file, file.content, facts_of(file.content))
