"""An ensemble of steps in the test's own process: tensors from step to step, as its config.pbtxt wires them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from conch_tools.errors import StepFailed, StepNotLoaded
from conch_tools.step_kit import core_rules
from conch_tools.step_kit.calls import CalledStep
from conch_tools.step_kit.talk import Reply, Request, Response
from conch_tools.step_kit.tensors import Array

Config = dict[str, Any]


class Ensemble:
    """Runs each step as soon as its inputs are there, one at a time. Steps may not be decoupled."""

    def __init__(self, config: Config, models: Mapping[str, CalledStep]) -> None:
        self.name = str(config["name"])
        self.config = config
        self.decoupled = False
        self._models = models

    def execute(self, requests: Sequence[Request]) -> list[Reply]:
        """What each request got: the outputs, or the error of the first step that failed, in the ensemble's name."""
        return [self._answer(request) for request in requests]

    def close(self) -> None:
        """Nothing: the steps belong to whoever loaded them."""

    def _answer(self, request: Request) -> Reply:
        arrays = core_rules.as_arrays(self.config, request.inputs)
        try:
            wanted = core_rules.wanted_outputs(self.config, request.outputs)
            tensors = core_rules.admitted(self.config, arrays, request.request_id)
        except StepFailed as refused:
            return Reply((Response({}, refused),), refused=True)
        try:
            self._run(request, tensors)
        except StepFailed as problem:
            failed = StepFailed(problem.code, f"in ensemble '{self.name}', {problem.message}")
            return Reply((Response({}, failed),))
        return Reply((Response({name: tensors[name] for name in sorted(wanted)}),))

    def _run(self, request: Request, tensors: dict[str, Array]) -> None:
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

    def _ask(self, step: Config, request: Request, tensors: Mapping[str, Array]) -> dict[str, Array]:
        model = self._models[step["model_name"]]
        if model.decoupled:
            raise StepNotLoaded(
                f"ensemble `{self.name}` has the decoupled step `{model.name}`: ask that step by itself"
            )
        asked = Request(
            {name: tensors[tensor] for name, tensor in step["input_map"].items()},
            sorted(step["output_map"]),
            parameters=request.parameters,
            request_id=request.request_id,
            correlation_id=request.correlation_id,
            flags=request.flags,
            timeout_us=request.timeout_us,
            cancelled=request.cancelled,
        )
        outputs = model.execute([asked])[0].outputs
        return {tensor: outputs[name] for name, tensor in step["output_map"].items() if name in outputs}
