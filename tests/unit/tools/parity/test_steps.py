"""Two ensembles walked side by side: the step that differs is named, whatever came before and whatever it is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from conch_tools.errors import NoAnswer
from conch_tools.parity.protocols import LATEST, Tensors
from conch_tools.parity.steps import Served, first_diverging_step
from conch_tools.xray.plan import plan_of

Function = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]
ITEM = {"x": np.array([3.0])}


class Models:
    """Models of one input and one output, each a function."""

    def __init__(self, functions: Mapping[str, Function]) -> None:
        self._functions = functions

    def __call__(self, model: str, tensors: Tensors, version: str = LATEST) -> Tensors:
        if model not in self._functions:
            raise NoAnswer(f"there is no `{model}`")
        return {"out": self._functions[model](tensors["in"])}

    def inputs(self, model: str) -> list[str]:
        return ["in"]

    def largest_batch(self, model: str) -> int:
        return 8


def served(name: str, wires: Sequence[str], functions: Sequence[Function]) -> Served:
    """An ensemble whose steps `<name>_0`, `<name>_1`, … lead from one tensor of `wires` to the next."""
    steps = [f"{name}_{number}" for number in range(len(wires) - 1)]
    own = {"input": [{"name": "in"}], "output": [{"name": "out"}]}
    scheduling = [
        {"model_name": step, "input_map": {"in": wires[place]}, "output_map": {"out": wires[place + 1]}}
        for place, step in enumerate(steps)
    ]
    whole = {
        "max_batch_size": 8,
        "input": [{"name": wires[0]}],
        "output": [{"name": wires[-1]}],
        "ensemble_scheduling": {"step": scheduling},
    }
    configs: dict[str, dict[str, Any]] = {name: whole, **dict.fromkeys(steps, own)}
    plan = plan_of(name, LATEST, lambda model, version: configs[model])
    return Served(Models(dict(zip(steps, functions, strict=False))), plan)


def double(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return 2 * x


def treble(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return 3 * x


ONE = served("one", ["x", "a", "b", "y"], [double, double, double])


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_step_that_differs_is_named_and_not_those_behind_it(place: int) -> None:
    functions = [double, double, double]
    functions[place] = treble
    found = first_diverging_step(ONE, served("two", ["x", "a", "b", "y"], functions), ITEM, 1e-3)
    assert found.step == f"two_{place} (for one_{place})"
    assert found.problem.endswith(f"differs by {3 * 2**place:.2e}, the gate is 1e-03")


def test_of_two_that_differ_the_first_is_named() -> None:
    found = first_diverging_step(ONE, served("two", ["x", "a", "b", "y"], [double, treble, treble]), ITEM, 1e-3)
    assert found.step.startswith("two_1")


def test_tensors_between_may_have_other_names() -> None:
    found = first_diverging_step(ONE, served("two", ["x", "p", "q", "y"], [double, treble, double]), ITEM, 1e-3)
    assert found.step == "two_1 (for one_1)"


def test_a_step_that_the_other_lacks_is_told() -> None:
    found = first_diverging_step(ONE, served("two", ["x", "a"], [double]), ITEM, 1e-3)
    assert found.step == "two"
    assert found.problem == "up to there each step agrees, but `two` has no step for `one_1`"


def test_a_step_that_does_not_answer_is_the_one() -> None:
    found = first_diverging_step(ONE, served("two", ["x", "a", "b", "y"], [double]), ITEM, 1e-3)
    assert (found.step, found.problem) == ("two_1 (for one_1)", "there is no `two_1`")


def test_where_each_step_agrees_the_whole_is_named() -> None:
    found = first_diverging_step(ONE, served("two", ["x", "a", "b", "y"], [double, double, double]), ITEM, 1e-3)
    assert found.step == "two" and found.problem.startswith("each step alone agrees")
