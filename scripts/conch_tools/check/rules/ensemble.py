"""Rules about an ensemble by itself: its settings, its steps and the models that they name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from conch_tools.check.backends import ENSEMBLE
from conch_tools.check.findings import Problem, Severity, closest, cure_for_name, listed
from conch_tools.check.repository import Model, Repository
from conch_tools.check.rulebook import Rulebook
from conch_tools.check.wiring import Port, Wiring, wirings


def ensembles(repository: Repository) -> Iterable[Model]:
    """Every model that is an ensemble, or half of one."""
    return (model for model in repository.readable if model.is_ensemble)


MODELS = Rulebook[Model](ensembles)
STEPS = Rulebook[Wiring](wirings)

_NOT_FOR_ENSEMBLES = ("instance_group", "optimization", "model_warmup")


@MODELS.rule("ENS001", Severity.ERROR)
def scheduling_missing(model: Model) -> Iterator[Problem]:
    """The platform is ensemble, but there is no `ensemble_scheduling`.

    An ensemble is nothing but its steps; Triton refuses one without. The dynamic and the sequence batcher
    cannot stand in for them.

    Bad in `topics/config.pbtxt`:

        dynamic_batching { }

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
    if not model.config.HasField("ensemble_scheduling"):
        other = model.config.WhichOneof("scheduling_choice")
        cure = "add `ensemble_scheduling { step [ ... ] }`" + (f" and remove `{other}`" if other else "")
        mark = model.marks.at("platform")
        yield Problem(model.place(mark), "this ensemble has no ensemble_scheduling", cure)


@MODELS.rule("ENS002", Severity.ERROR)
def scheduling_without_platform(model: Model) -> Iterator[Problem]:
    """`ensemble_scheduling` stands in a model whose platform is not ensemble.

    Triton tells ensembles by `platform: "ensemble"` alone, and refuses steps in any other model.

    Bad in `topics/config.pbtxt`:

        backend: "python"

    Good:

        platform: "ensemble"
    """
    platform, backend = model.config.platform, model.config.backend
    if model.config.HasField("ensemble_scheduling") and platform != ENSEMBLE:
        given = f"backend `{backend}`" if backend else "no platform"
        what = f"there is ensemble_scheduling, but {f'platform `{platform}`' if platform else given}"
        cure = f'write `platform: "{ENSEMBLE}"` and no backend, or remove the steps'
        yield Problem(model.place(model.marks.at("ensemble_scheduling")), what, cure)


@MODELS.rule("ENS003", Severity.ERROR)
def backend_in_ensemble(model: Model) -> Iterator[Problem]:
    """An ensemble names a backend.

    Core itself runs ensembles; with `platform: "ensemble"` it refuses any backend.

    Bad in `topics/config.pbtxt`:

        platform: "ensemble"
        backend: "python"

    Good:

        platform: "ensemble"
    """
    if model.config.platform == ENSEMBLE and model.config.backend:
        mark = model.marks.at("backend")
        yield Problem(model.place(mark), f"the ensemble names backend `{model.config.backend}`", "remove the line")


@MODELS.rule("ENS004", Severity.ERROR)
def setting_not_for_ensembles(model: Model) -> Iterator[Problem]:
    """An ensemble has an instance group, optimization settings or warm-up samples.

    It has no instances of its own, so Triton refuses settings about them.

    Bad in `topics/config.pbtxt`:

        platform: "ensemble"
        instance_group { count: 2 }

    Good:

        platform: "ensemble"
    """
    for field in _NOT_FOR_ENSEMBLES:
        mark = model.marks.at(field)
        if mark is not model.marks:
            what = f"an ensemble cannot have `{field}`"
            yield Problem(model.place(mark), what, "move it to the models of the steps that it is meant for")


@STEPS.rule("ENS010", Severity.ERROR)
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


@STEPS.rule("ENS011", Severity.ERROR)
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


@STEPS.rule("ENS012", Severity.ERROR)
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


@STEPS.rule("ENS013", Severity.ERROR)
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


@STEPS.rule("ENS014", Severity.ERROR)
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
        if step.completed.inputs:
            known = [tensor.name for tensor in step.completed.inputs]
            yield from _unknown(wiring, step.inputs, known, "input")


@STEPS.rule("ENS015", Severity.ERROR)
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
        if step.completed.outputs:
            known = [tensor.name for tensor in step.completed.outputs]
            yield from _unknown(wiring, step.outputs, known, "output")


@STEPS.rule("ENS016", Severity.ERROR)
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


@STEPS.rule("ENS017", Severity.WARNING)
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
