"""What one request to a model goes through, read from the configurations that the server gives: the steps in an order
in which they can run, and the tensors between them.

Ensembles within an ensemble are opened up. Every tensor between steps is a `wire`: it has the name that the ensemble
knows it by, and inside a nested ensemble that name behind the step's own (`embed/input_ids`), unless the outer ensemble
knows the same tensor too. A plain model is a plan of one step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from conch_tools.data_types import protocol_name
from conch_tools.errors import RepositoryError

Config: TypeAlias = Mapping[str, Any]
"""A model's configuration in config.pbtxt's terms; unset fields are absent."""

ConfigOf: TypeAlias = Callable[[str, str], Config]
"""The configuration of a model by name and version, "" for the latest."""

LATEST = ""


@dataclass(frozen=True)
class Step:
    """One model asked by an ensemble."""

    name: str
    """The model's name; of a step of a nested ensemble behind that one's (`embed/embed_model`), and with `#2` where the
    same ensemble asks the same model a second time."""
    model: str
    version: str
    inputs: Mapping[str, str]
    """The model's own name of each tensor it takes, and the wire that it comes from."""
    outputs: Mapping[str, str]
    """The same of each tensor it gives that somebody takes."""
    config: Config


@dataclass(frozen=True)
class Plan:
    """One model with all that answers behind it."""

    model: str
    version: str
    config: Config
    inputs: tuple[str, ...]
    """Its input tensors, which are wires as well."""
    outputs: tuple[str, ...]
    steps: tuple[Step, ...]
    """Each behind those that it takes tensors of."""
    models: frozenset[str]
    """All models that are asked: this one, its steps', and the ensembles within."""

    @property
    def is_ensemble(self) -> bool:
        """Whether there is anything to take apart."""
        return _is_ensemble(self.config)

    def before(self, step: Step) -> list[Step]:
        """The steps that this one waits for."""
        taken = set(step.inputs.values())
        return [each for each in self.steps if taken.intersection(each.outputs.values())]

    @property
    def datatypes(self) -> dict[str, str]:
        """Triton's datatype of each wire, as the models that give it declare it; FP32, BYTES."""
        declared = {
            each["name"]: protocol_name(str(each.get("data_type", "TYPE_INVALID")))
            for each in self.config.get("input", ())
        }
        for step in self.steps:
            own = {
                each["name"]: protocol_name(str(each.get("data_type", "TYPE_INVALID")))
                for each in step.config.get("output", ())
            }
            declared |= {wire: own[name] for name, wire in step.outputs.items() if name in own}
        return declared


def plan_of(model: str, version: str, config_of: ConfigOf) -> Plan:
    """The plan of a model that the server has. Raises RepositoryError for an ensemble whose steps never come to run,
    and what `config_of` raises."""
    asked: set[str] = set()

    def noted(model: str, version: str) -> Config:
        asked.add(model)
        return config_of(model, version)

    config = noted(model, version)
    inputs, outputs = _names(config, "input"), _names(config, "output")
    if _is_ensemble(config):
        wires = {name: name for name in (*inputs, *outputs)}
        steps = tuple(_in_order(model, inputs, list(_opened(config, "", wires, (model,), noted))))
    else:
        steps = (Step(model, model, version, _same(inputs), _same(outputs), config),)
    return Plan(model, version, config, inputs, outputs, steps, frozenset(asked))


def _opened(
    config: Config, prefix: str, known: Mapping[str, str], within: tuple[str, ...], config_of: ConfigOf
) -> Iterator[Step]:
    """An ensemble's steps. `known` are its tensors that the outside has a wire for, `within` the ensembles around."""
    asked: dict[str, int] = {}
    for each in config["ensemble_scheduling"].get("step", ()):
        model = each["model_name"]
        if model in within:
            raise RepositoryError(f"the ensemble `{model}` is a step of itself: {' -> '.join((*within, model))}")
        asked[model] = asked.get(model, 0) + 1
        name = f"{prefix}{model}" + (f"#{asked[model]}" if asked[model] > 1 else "")
        version = str(each["model_version"]) if each.get("model_version", -1) > 0 else LATEST
        inner = config_of(model, version)
        inputs, outputs = (
            {key: known.get(wires[key], prefix + wires[key]) for key in _names(inner, side) if key in wires}
            for side, wires in (("input", each.get("input_map", {})), ("output", each.get("output_map", {})))
        )
        if _is_ensemble(inner):
            yield from _opened(inner, f"{name}/", {**inputs, **outputs}, (*within, model), config_of)
        else:
            yield Step(name, model, version, inputs, outputs, inner)


def _in_order(ensemble: str, inputs: tuple[str, ...], waiting: list[Step]) -> Iterator[Step]:
    there = set(inputs)
    while waiting:
        ready = [step for step in waiting if there.issuperset(step.inputs.values())]
        if not ready:
            names = ", ".join(f"`{step.name}`" for step in waiting)
            raise RepositoryError(f"the ensemble `{ensemble}` never asks {names}: nothing gives what they take")
        yield from ready
        there.update(wire for step in ready for wire in step.outputs.values())
        waiting = [step for step in waiting if step not in ready]


def _is_ensemble(config: Config) -> bool:
    return "ensemble_scheduling" in config


def _names(config: Config, side: str) -> tuple[str, ...]:
    return tuple(each["name"] for each in config.get(side, ()))


def _same(names: tuple[str, ...]) -> dict[str, str]:
    return {name: name for name in names}


def _datatypes(config: Config, side: str) -> dict[str, str]:
    return {each["name"]: protocol_name(str(each.get("data_type", "TYPE_INVALID"))) for each in config.get(side, ())}
