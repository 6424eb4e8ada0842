"""An ensemble of steps in the test's own process: tensors from step to step, as its config.pbtxt wires them.

After core's ensemble_scheduler.cc. A tensor that nobody gave, because the caller or a step has left it out, holds up
nothing there: the next step is asked without it, and the caller is answered without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from conch_tools.errors import StepFailed, StepNotLoaded
from conch_tools.step_kit import core_rules
from conch_tools.step_kit.calls import CalledStep, is_version
from conch_tools.step_kit.talk import Reply, Request, Response
from conch_tools.step_kit.tensors import Array

Config = dict[str, Any]
Tensors = dict[str, Array | None]
"""By name, those that are there so far; None where a tensor was left out."""


class Ensemble:
    """Runs each step as soon as its inputs are there, one at a time. Steps may not be decoupled."""

    def __init__(self, config: Config, version: str, models: Mapping[str, CalledStep]) -> None:
        self.name = str(config["name"])
        self.version = version
        self.config = config
        self.decoupled = False
        self._models = models

    def execute(self, requests: Sequence[Request]) -> list[Reply]:
        """What each request got: the outputs, or the error of the first step that failed, in the ensemble's name.

        Raises StepNotLoaded where a step is not there as the ensemble wants it.
        """
        return [self._answer(request) for request in requests]

    def close(self) -> None:
        """Nothing: the steps belong to whoever loaded them."""

    def _answer(self, request: Request) -> Reply:
        arrays = core_rules.as_arrays(self.config, request.inputs)
        try:
            wanted = core_rules.wanted_outputs(self.config, request.outputs)
            admitted = core_rules.admitted(self.config, arrays, request.request_id)
        except StepFailed as refused:
            return Reply((Response({}, refused),), refused=True)
        tensors: Tensors = {each["name"]: admitted.get(each["name"]) for each in self.config["input"]}
        try:
            self._run(request, tensors)
        except StepFailed as problem:
            failed = StepFailed(problem.code, f"in ensemble '{self.name}', {problem.message}")
            return Reply((Response({}, failed),))
        found = {name: tensors.get(name) for name in sorted(wanted)}
        return Reply((Response({name: array for name, array in found.items() if array is not None}),))

    def _run(self, request: Request, tensors: Tensors) -> None:
        waiting = list(self.config["ensemble_scheduling"]["step"])
        while waiting:
            step = next((each for each in waiting if tensors.keys() >= set(each["input_map"].values())), None)
            if step is None:
                raise StepFailed(
                    "INVALID_ARG",
                    f"[request id: {request.request_id or '<id_unknown>'}] unexpected deadlock, at least one output is "
                    "not set while no more ensemble steps can be made",
                )
            waiting.remove(step)
            tensors.update(self._ask(step, request, tensors))

    def _ask(self, step: Config, request: Request, tensors: Tensors) -> Tensors:
        model = self._model(step["model_name"], step["model_version"])
        given = {name: tensors[tensor] for name, tensor in step["input_map"].items()}
        asked = Request(
            {name: array for name, array in given.items() if array is not None},
            sorted(step["output_map"]),
            parameters=request.parameters,
            request_id=request.request_id,
            correlation_id=request.correlation_id,
            flags=request.flags,
            timeout_us=request.timeout_us,
            cancelled=request.cancelled,
        )
        outputs = model.execute([asked])[0].outputs
        return {tensor: outputs.get(name) for name, tensor in step["output_map"].items()}

    def _model(self, name: str, version: int) -> CalledStep:
        model = self._models.get(name)
        if model is None:
            raise StepNotLoaded(f"ensemble `{self.name}` has the step `{name}`, and there is no such model")
        if not is_version(model, version):
            raise StepNotLoaded(
                f"ensemble `{self.name}` wants version {version} of `{name}`, and {model.version} is loaded: "
                "say `model_version: -1` for the latest"
            )
        if model.decoupled:
            raise StepNotLoaded(f"ensemble `{self.name}` has the decoupled step `{name}`: ask that step by itself")
        return model
