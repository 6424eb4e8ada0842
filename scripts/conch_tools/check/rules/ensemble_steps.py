"""Rules about the steps of an ensemble: each names a model that is there, and tensors that the model has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from conch_tools.check.findings import Problem, Severity, closest, cure_for_name, listed
from conch_tools.check.rulebook import Rulebook
from conch_tools.check.wiring import Port, Wiring, wirings

ENSEMBLE_STEPS = Rulebook[Wiring](wirings)


@ENSEMBLE_STEPS.rule("ENS010", Severity.ERROR)
def no_steps(wiring: Wiring) -> Iterator[Problem]:
    """The ensemble has no step.

    Nothing would produce its outputs; Triton refuses it.

    Bad in `topics/config.pbtxt`:

        ensemble_scheduling { }

    Good:

        ensemble_scheduling {
          step {
            model_name: "topics_scores"
            model_version: -1
            input_map { key: "text" value: "text" }
            input_map { key: "labels" value: "labels" }
            output_map { key: "label" value: "label" }
            output_map { key: "score" value: "score" }
          }
        }
    """
    if not wiring.steps:
        mark = wiring.ensemble.marks.at("ensemble_scheduling")
        yield Problem(wiring.place(mark), "the ensemble has no step", "add a `step` for each model")


@ENSEMBLE_STEPS.rule("ENS011", Severity.ERROR)
def incomplete_step(wiring: Wiring) -> Iterator[Problem]:
    """A step lacks its model's name, its input_map or its output_map.

    Triton cannot tell when to run such a step or what it gives, and refuses the ensemble.

    Bad in `topics/config.pbtxt`:

        step {
          model_version: -1

    Good:

        step {
          model_name: "topics_scores"
          model_version: -1
    """
    for step in wiring.steps:
        for field in ("model_name", "input_map", "output_map"):
            if not getattr(step, field):
                yield Problem(wiring.place(step.mark), f"step {step.index} has no `{field}`", f"add `{field}`")


@ENSEMBLE_STEPS.rule("ENS012", Severity.ERROR)
def step_model_missing(wiring: Wiring) -> Iterator[Problem]:
    """A step names a model that is not in the repository.

    Triton loads an ensemble only when all models of its steps are there.

    Bad in `topics/config.pbtxt`:

        model_name: "topic_scores"

    Good:

        model_name: "topics_scores"
    """
    for step in wiring.steps:
        if step.model is None and step.model_name:
            others = [name for name in wiring.repository.models if name != wiring.ensemble.name]
            cure = cure_for_name(step.model_name, others, "add the model to the repository, or remove the step")
            what = f"model `{step.model_name}` of step {step.index} is not in the repository"
            yield Problem(wiring.place(step.mark.at("model_name")), what, cure)


@ENSEMBLE_STEPS.rule("ENS013", Severity.ERROR)
def step_version_missing(wiring: Wiring) -> Iterator[Problem]:
    """A step wants a version of its model that is not loaded.

    Versions are loaded by the model's version policy, which is the latest one only unless it says otherwise.
    A step without `model_version` means version 0, not the latest: that is -1.

    Bad in `topics/config.pbtxt`:

        model_name: "topics_scores"
        input_map { key: "text" value: "text" }

    Good:

        model_name: "topics_scores"
        model_version: -1
        input_map { key: "text" value: "text" }
    """
    for step in wiring.steps:
        model, wanted = step.model, step.model_version
        if model is None or model.unparsable is not None or wanted == -1 or wanted in model.served_versions:
            continue
        mark = step.mark.at("model_version")
        if mark is step.mark:
            what = f"step {step.index} names no version, which means version 0"
            cure = "write `model_version: -1`"
        elif wanted in model.numbered_folders:
            what = f"the version policy of `{model.name}` does not load version {wanted}"
            policy = f"version_policy {{ specific {{ versions: [ {wanted} ] }} }}"
            cure = f"add `{policy}` to it, or write -1 for the latest"
        else:
            served = listed((str(number) for number in model.served_versions), "no version at all")
            what = f"`{model.name}` has no version {wanted}"
            cure = f"write -1 for the latest; there is {served}"
        yield Problem(wiring.place(mark), what, cure)


@ENSEMBLE_STEPS.rule("ENS014", Severity.ERROR)
def input_map_key_unknown(wiring: Wiring) -> Iterator[Problem]:
    """A key of an input_map is no input of the step's model.

    The key is the name that the model knows, the value the name inside the ensemble. Triton refuses a key
    that the model does not have.

    Bad in `topics/config.pbtxt`:

        input_map { key: "texts" value: "text" }

    Good:

        input_map { key: "text" value: "text" }
    """
    for step in wiring.steps:
        if step.completed.inputs and not step.completed.open:
            known = [tensor.name for tensor in step.completed.inputs]
            yield from _unknown(wiring, step.inputs, known, "input")


@ENSEMBLE_STEPS.rule("ENS015", Severity.ERROR)
def output_map_key_unknown(wiring: Wiring) -> Iterator[Problem]:
    """A key of an output_map is no output of the step's model.

    The key is the name that the model knows, the value the name inside the ensemble. Triton refuses a key
    that the model does not have.

    Bad in `topics/config.pbtxt`:

        output_map { key: "labels" value: "label" }

    Good:

        output_map { key: "label" value: "label" }
    """
    for step in wiring.steps:
        if step.completed.outputs and not step.completed.open:
            known = [tensor.name for tensor in step.completed.outputs]
            yield from _unknown(wiring, step.outputs, known, "output")


@ENSEMBLE_STEPS.rule("ENS016", Severity.ERROR)
def step_input_not_mapped(wiring: Wiring) -> Iterator[Problem]:
    """A required input of a step's model is mapped to no ensemble tensor.

    Only inputs with `optional: true` may be left out; Triton refuses the ensemble for any other.

    Bad in `sentiment/config.pbtxt`:

          output_map { key: "input_ids" value: "input_ids" }
        },
        {
          model_name: "sentiment_model"
          model_version: -1
          input_map { key: "input_ids" value: "input_ids" }

    Good:

          output_map { key: "input_ids" value: "input_ids" }
          output_map { key: "length" value: "length" }
        },
        {
          model_name: "sentiment_model"
          model_version: -1
          input_map { key: "input_ids" value: "input_ids" }
          input_map { key: "length" value: "length" }
    """
    for step in wiring.steps:
        known = [tensor.name for tensor in step.completed.inputs]
        # A misspelt key leaves its input without a tensor as well; one finding is enough.
        misspelt = {closest(key, known) for key in step.input_map if key not in known}
        for tensor in step.completed.inputs:
            if not tensor.optional and tensor.name not in step.input_map and tensor.name not in misspelt:
                what = f"input `{tensor.name}` of `{step.model_name}` gets no tensor in step {step.index}"
                cure = f'add `input_map {{ key: "{tensor.name}" value: "<ensemble tensor>" }}`'
                yield Problem(wiring.place(step.mark), what, cure)


@ENSEMBLE_STEPS.rule("ENS017", Severity.WARNING)
def key_mapped_twice(wiring: Wiring) -> Iterator[Problem]:
    """A key stands twice in an input_map or output_map.

    Maps hold one value a key: Triton keeps the last and drops the others without a word. To use one output
    twice, use its one ensemble tensor in several steps.

    Bad in `topics/config.pbtxt`:

        input_map { key: "text" value: "labels" }
        input_map { key: "text" value: "text" }

    Good:

        input_map { key: "text" value: "text" }
    """
    for step in wiring.steps:
        for field in ("input_map", "output_map"):
            entries = step.mark.entries(field)
            for key, count in Counter(key for key, _ in entries).items():
                if count > 1:
                    what = f"`{key}` stands {count} times in the {field} of step {step.index}"
                    yield Problem(wiring.place(step.mark.entry(field, key)), what, "keep one entry")


def _unknown(wiring: Wiring, ports: Iterable[Port], known: list[str], side: str) -> Iterator[Problem]:
    for port in ports:
        if port.key not in known:
            what = f"`{port.key}` is no {side} of `{port.step.model_name}` (step {port.step.index})"
            cure = _cure_for_key(port, known, side)
            yield Problem(wiring.place(port.mark), what, cure)


def _cure_for_key(port: Port, known: list[str], side: str) -> str:
    if closest(port.key, known) is None and port.ensemble_tensor in known:
        return f'key and value are swapped: write `key: "{port.ensemble_tensor}" value: "{port.key}"`'
    return cure_for_name(port.key, known, f"the model's {side}s are {listed(known)}")
