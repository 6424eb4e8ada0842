"""Rules about models that a backend of ours serves: their parameters, their files and the models that they call.

What a backend wants is read from its own declaration, and whether a value or a file will do is its own verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from conch_steps.class_labels import LABELS_FILE, read_labels
from conch_steps.errors import ModelConfigError, StepError
from conch_tools.check.findings import Place, Problem, Severity, cure_for_name, listed
from conch_tools.check.rulebook import Rulebook
from conch_tools.check.served import ServedStep, build_of, clause, served_steps

STEPS = Rulebook[ServedStep](served_steps)


@STEPS.rule("STP001", Severity.ERROR)
def parameter_not_usable(served: ServedStep) -> Iterator[Problem]:
    """A parameter that the backend wants is missing, or is not what it must be.

    The backend reads its parameters when it loads a model, and refuses the model.

    Bad in `sentiment_labels/config.pbtxt`:

        parameters { key: "activation" value { string_value: "relu" } }

    Good:

        parameters { key: "activation" value { string_value: "softmax" } }
    """
    for parameter in served.wants.parameters:
        try:
            (parameter.given if parameter.optional else parameter.of)(served.step)
        except ModelConfigError as problem:
            what = clause(problem, served.model, served.step.version_folder)
            cure = f"write {parameter.wanted} as its `string_value`"
            yield Problem(served.place(parameter.name), what, cure)


@STEPS.rule("STP002", Severity.WARNING)
def parameter_unknown(served: ServedStep) -> Iterator[Problem]:
    """The backend does not know a parameter.

    It is passed over without a word, and what was meant stays at its default.

    Bad in `sentiment_labels/config.pbtxt`:

        parameters { key: "activaton" value { string_value: "softmax" } }

    Good:

        parameters { key: "activation" value { string_value: "softmax" } }
    """
    known = [parameter.name for parameter in served.wants.parameters]
    for name in served.step.parameters:
        if name not in known:
            what = f"backend `{served.model.backend.name}` has no parameter `{name}`"
            cure = cure_for_name(name, known, f"remove it; known are {listed(known)}")
            yield Problem(served.place(name), what, cure)


@STEPS.rule("STP003", Severity.ERROR)
def called_model_missing(served: ServedStep) -> Iterator[Problem]:
    """A step calls a model that is not in the repository.

    Triton loads the step all the same, and every request that needs the other model fails.

    Bad in `topics_scores/config.pbtxt`:

        parameters { key: "embedding" value { string_value: "embedder" } }

    Good:

        parameters { key: "embedding" value { string_value: "embed" } }
    """
    for name, call in served.called.items():
        if name not in served.repository.models:
            others = [other for other in served.repository.models if other != served.model.name]
            cure = cure_for_name(name, others, "add the model to the repository, or name another")
            yield Problem(served.place(call.model.name), f"model `{name}` is not in the repository", cure)


@STEPS.rule("STP004", Severity.ERROR)
def called_model_has_other_tensors(served: ServedStep) -> Iterator[Problem]:
    """The model that a step calls does not take what the step sends, or does not give what it reads.

    Triton loads both, and every call fails.

    Bad in `topics_scores/config.pbtxt`:

        parameters { key: "embedding" value { string_value: "running_total" } }

    Good:

        parameters { key: "embedding" value { string_value: "embed" } }
    """
    for name, call in served.called.items():
        model = served.completed(name)
        place = served.place(call.model.name)
        if model is None or not model.inputs or not model.outputs:
            continue
        cure = "name a model that is made for this step"
        types = {tensor.name: tensor.data_type for tensor in model.inputs}
        sent = {**call.sent, **call.may_send}
        for tensor, data_type in sent.items():
            if tensor not in types and tensor in call.sent:
                yield Problem(place, f"`{name}` has no input `{tensor}`, which this step sends", cure)
            elif types.get(tensor, data_type) != data_type:
                what = f"input `{tensor}` of `{name}` is {types[tensor]}, this step sends {data_type}"
                yield Problem(place, what, cure)
        for tensor in (each.name for each in model.inputs if not each.optional and each.name not in sent):
            yield Problem(place, f"`{name}` needs input `{tensor}`, which this step does not send", cure)
        if call.output not in (tensor.name for tensor in model.outputs):
            yield Problem(place, f"`{name}` has no output `{call.output}`, which this step reads", cure)


@STEPS.rule("STP005", Severity.ERROR)
def calls_with_too_many_rows(served: ServedStep) -> Iterator[Problem]:
    """A step calls a model with more rows than it takes.

    `max_rows` is how many rows a call may have; Triton refuses a call with more than the called model's
    `max_batch_size`, and any batch where that is 0.

    Bad in `topics_scores/config.pbtxt`:

        parameters { key: "max_rows" value { string_value: "64" } }

    Good:

        parameters { key: "max_rows" value { string_value: "8" } }
    """
    for name, call in served.called.items():
        model = served.completed(name)
        try:
            rows = call.max_rows.of(served.step)
        except ModelConfigError:
            continue
        if model is not None and rows > model.max_batch_size:
            what = f"`{call.max_rows.name}` is {rows}, but `{name}` takes batches of {model.max_batch_size} at most"
            cure = f"set `{call.max_rows.name}` to {model.max_batch_size}, or raise max_batch_size of `{name}`"
            if model.max_batch_size == 0:
                cure = f"let `{name}` batch: set its max_batch_size above 0"
            yield Problem(served.place(call.max_rows.name), what, cure)


@STEPS.rule("STP006", Severity.ERROR)
def file_not_usable(served: ServedStep) -> Iterator[Problem]:
    """A file that the backend reads is missing, or is not what it must be.

    The backend reads the files of the version folder when it loads a model, and refuses the model.

    Bad in `sentiment_labels/1/labels.txt`:

        negative

        positive

    Good:

        negative
        positive
    """
    said = {problem.what for problem in parameter_not_usable(served)}
    for name, read in served.wants.files.items():
        try:
            read(served.step)
        except StepError as problem:
            what = clause(problem, served.model, served.step.version_folder)
            if what not in said:
                # Files may be read together, so that the fault of one is met by another's reader as well.
                said.add(what)
                yield Problem(Place(served.step.version_folder / name), what, build_of(served.model))


@STEPS.rule("STP007", Severity.WARNING)
def label_named_twice(served: ServedStep) -> Iterator[Problem]:
    """Two classes have the same label.

    Callers cannot tell them apart, and their scores are not added up.

    Bad in `sentiment_labels/1/labels.txt`:

        positive
        positive

    Good:

        negative
        positive
    """
    for label, count in Counter(_labels(served)).items():
        if count > 1:
            line = _labels(served).index(label) + 1
            place = Place(served.step.version_folder / LABELS_FILE, line)
            yield Problem(place, f"label `{label}` stands there {count} times", "give each class a label of its own")


@STEPS.rule("STP008", Severity.ERROR)
def labels_and_classes_differ(served: ServedStep) -> Iterator[Problem]:
    """The number of labels is not the number of classes that the model scores.

    Triton loads the model, and every request fails.

    Bad in `sentiment_labels/1/labels.txt`:

        negative
        neutral
        positive

    Good:

        negative
        positive
    """
    labels = len(_labels(served))
    for giver, classes in _classes(served):
        if labels and classes not in (labels, -1):
            place = Place(served.step.version_folder / LABELS_FILE)
            what = f"{LABELS_FILE} names {labels} classes, but {giver} has {classes}"
            yield Problem(place, what, "name one class a line, in the order of the model's outputs")


@STEPS.rule("STP009", Severity.ERROR)
def called_model_of_another_pipeline(served: ServedStep) -> Iterator[Problem]:
    """A step calls a model of a pipeline that its own does not use.

    Nothing but `uses` in pipeline.toml says that the other pipeline must be built first and loaded along; an ensemble
    brings its steps, but not what these call.

    Bad in `topics_scores/config.pbtxt`:

        parameters { key: "embedding" value { string_value: "photo" } }

    Good:

        parameters { key: "embedding" value { string_value: "embed" } }
    """
    own = served.model.pipeline
    pipelines = {pipeline.name: pipeline for pipeline in served.repository.pipelines}
    for name, call in served.called.items():
        model = served.repository.models.get(name)
        if own not in pipelines or model is None or model.pipeline in (None, own):
            continue
        if model.pipeline not in pipelines[own].uses:
            what = f"`{name}` belongs to pipeline `{model.pipeline}`, which `{own}` does not use"
            cure = f'add `uses = ["{model.pipeline}"]` to the pipeline.toml of `{own}`'
            yield Problem(served.place(call.model.name), what, cure)


def _labels(served: ServedStep) -> list[str]:
    """The labels that the step reads; none where it reads none, or cannot."""
    if LABELS_FILE not in served.wants.files:
        return []
    try:
        return read_labels(served.step.version_folder / LABELS_FILE)
    except StepError:
        return []


def _classes(served: ServedStep) -> Iterator[tuple[str, int]]:
    """How many classes there are, -1 for any number, by all who say so."""
    if served.wants.classes_of is None:
        for name, call in served.called.items():
            model = served.completed(name)
            for tensor in () if model is None else model.outputs:
                if tensor.name == call.output and tensor.dims:
                    yield f"output `{tensor.name}` of `{name}`", (tensor.reshape or tensor.dims)[-1]
        return
    try:
        scored = served.wants.classes_of(served.step)
    except ModelConfigError:
        return
    for tensor in served.model.inputs:
        if tensor.name == scored and tensor.dims:
            yield f"input `{scored}`", (tensor.reshape or tensor.dims)[-1]
    for wiring in served.wirings:
        for port in (port for step in wiring.steps if step.model is served.model for port in step.inputs):
            givers = [giver.declared for giver in wiring.producers.get(port.ensemble_tensor, ())]
            for giver in (giver for giver in givers if port.key == scored and giver is not None and giver.dims):
                yield f"`{giver.tensor.name}` of `{giver.model}`", giver.dims[-1]
