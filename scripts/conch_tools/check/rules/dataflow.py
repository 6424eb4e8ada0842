"""Rules about the tensors inside an ensemble: each one comes from one place, is used, and arrives."""

from __future__ import annotations

from collections.abc import Iterator

from conch_tools.check.findings import Problem, Severity, cure_for_name, listed
from conch_tools.check.repository import Repository
from conch_tools.check.rulebook import Rulebook
from conch_tools.check.wiring import Step, Wiring, wirings

FLOW = Rulebook[Wiring](lambda repository: (wiring for wiring in wirings(repository) if wiring.steps))


@FLOW.rule("ENS020", Severity.ERROR)
def input_not_consumed(wiring: Wiring) -> Iterator[Problem]:
    """No step uses an input of the ensemble.

    Callers would have to send it for nothing; Triton refuses the ensemble.

    Bad in `topics/config.pbtxt`:

        { name: "labels" data_type: TYPE_STRING dims: [ -1 ] },
        { name: "language" data_type: TYPE_STRING dims: [ 1 ] }

    Good:

        { name: "labels" data_type: TYPE_STRING dims: [ -1 ] }
    """
    for index, name in enumerate(wiring.inputs):
        if name not in wiring.consumers:
            fed = {*wiring.producers, *wiring.inputs}
            unfed = [tensor for tensor in wiring.consumers if tensor not in fed]
            cure = cure_for_name(name, unfed, "map it to an input of a step, or remove it")
            mark = wiring.ensemble.marks.at("input", index)
            yield Problem(wiring.place(mark), f"no step uses ensemble input `{name}`", cure)


@FLOW.rule("ENS021", Severity.ERROR)
def output_not_produced(wiring: Wiring) -> Iterator[Problem]:
    """No step produces an output of the ensemble.

    Callers would wait for a tensor that never comes; Triton refuses the ensemble.

    Bad in `topics/config.pbtxt`:

        { name: "score" data_type: TYPE_FP32 dims: [ -1 ] },
        { name: "reason" data_type: TYPE_STRING dims: [ 1 ] }

    Good:

        { name: "score" data_type: TYPE_FP32 dims: [ -1 ] }
    """
    for index, name in enumerate(wiring.outputs):
        # An input that a step reads may be an output as well: Triton hands it back.
        if name not in wiring.producers and not (name in wiring.inputs and name in wiring.consumers):
            mark = wiring.ensemble.marks.at("output", index)
            unused = [tensor for tensor in wiring.producers if tensor not in wiring.outputs]
            cure = cure_for_name(name, unused, "map an output of a step to it, or remove it")
            yield Problem(wiring.place(mark), f"no step produces ensemble output `{name}`", cure)


@FLOW.rule("ENS022", Severity.ERROR)
def tensor_never_produced(wiring: Wiring) -> Iterator[Problem]:
    """A step reads a tensor that neither the ensemble's inputs nor any step provide.

    The step could never run; Triton refuses the ensemble.

    Bad in `sentiment/config.pbtxt`:

        input_map { key: "length" value: "lengths" }

    Good:

        input_map { key: "length" value: "length" }
    """
    for name, ports in wiring.consumers.items():
        if name not in wiring.inputs and name not in wiring.producers:
            for port in ports:
                others = (step for step in wiring.steps if step is not port.step)
                available = [*wiring.inputs, *(out for step in others for out in step.output_map.values())]
                reader = f"step {port.step.index} (`{port.step.model_name}`)"
                what = f"{reader} reads `{name}`, which nothing provides"
                cure = cure_for_name(name, available, f"use one of {listed(available)}")
                yield Problem(wiring.place(port.mark), what, cure)


@FLOW.rule("ENS023", Severity.ERROR)
def tensor_produced_twice(wiring: Wiring) -> Iterator[Problem]:
    """Two outputs are mapped to the same ensemble tensor, or one to an input of the ensemble.

    A tensor has one source. Triton refuses a second step that writes it, and a step whose model declares the output
    twice; where a step writes an input of the ensemble, Triton loads it, and requests never end.

    Bad in `sentiment/config.pbtxt`:

        output_map { key: "input_ids" value: "input_ids" }
        output_map { key: "span" value: "input_ids" }

    Good:

        output_map { key: "input_ids" value: "input_ids" }
    """
    for name, ports in wiring.producers.items():
        sources = [f"step {port.step.index}" for port in ports]
        if name in wiring.inputs:
            sources.insert(0, "the ensemble's input")
        if len(sources) > 1:
            what = f"`{name}` comes from {' and from '.join(sources)}"
            yield Problem(wiring.place(ports[-1].mark), what, "give each its own ensemble tensor")
        for port in ports:
            if [tensor.name for tensor in port.step.completed.outputs].count(port.key) > 1:
                what = f"`{name}` comes from output `{port.key}`, which `{port.step.model_name}` declares twice"
                yield Problem(wiring.place(port.mark), what, f"declare it once in `{port.step.model_name}`")


@FLOW.rule("ENS024", Severity.ERROR)
def tensor_not_used(wiring: Wiring) -> Iterator[Problem]:
    """A step's output is mapped to a tensor that nobody reads.

    Triton refuses tensors without a use; an output that is not needed may be left out of the output_map.

    Bad in `sentiment/config.pbtxt`:

        output_map { key: "length" value: "length" }
        output_map { key: "span" value: "span" }

    Good:

        output_map { key: "length" value: "length" }
    """
    for name, ports in wiring.producers.items():
        if name not in wiring.consumers and name not in wiring.outputs:
            wanted = (*wiring.outputs, *wiring.consumers)
            missing = [tensor for tensor in wanted if tensor not in wiring.producers]
            cure = cure_for_name(name, missing, "remove the entry, or use the tensor")
            for port in ports:
                what = f"nobody reads `{name}`, which step {port.step.index} produces"
                yield Problem(wiring.place(port.mark), what, cure)


@FLOW.rule("ENS025", Severity.ERROR)
def steps_wait_for_each_other(wiring: Wiring) -> Iterator[Problem]:
    """Steps wait for each other in a circle.

    A step runs when all its inputs are there; in a circle none ever runs. Triton refuses the ensemble.

    Bad in `sentiment/config.pbtxt`:

        input_map { key: "text" value: "label" }

    Good:

        input_map { key: "text" value: "text" }
    """
    circle = _circle(wiring)
    if circle:
        names = " -> ".join(f"`{step.model_name}` (step {step.index})" for step in (*circle, circle[0]))
        yield Problem(wiring.place(circle[0].mark), f"steps wait for each other: {names}", "break the circle")


@FLOW.rule("ENS026", Severity.ERROR)
def ensembles_contain_each_other(wiring: Wiring) -> Iterator[Problem]:
    """An ensemble has itself as a step, directly or through other ensembles.

    Such a request would never end; Triton refuses all ensembles of the circle.

    Bad in `topics/config.pbtxt`:

        model_name: "topics"

    Good:

        model_name: "topics_scores"
    """
    for step in wiring.steps:
        path = _path_between(wiring.repository, step.model_name, wiring.ensemble.name)
        if path:
            names = " -> ".join(f"`{name}`" for name in (wiring.ensemble.name, *path))
            yield Problem(wiring.place(step.mark), f"the ensemble contains itself: {names}", "remove this step")


def _circle(wiring: Wiring) -> list[Step]:
    """Steps of which each waits for the next and the last for the first; empty if there are none."""
    stuck = [step for step in wiring.steps if step not in wiring.runnable]
    while any(_provider(wiring, step, stuck) is None for step in stuck):
        # A step that waits for none of these is held up by a tensor that nothing provides, not by a circle.
        stuck = [step for step in stuck if _provider(wiring, step, stuck) is not None]
    path = stuck[:1]
    while path and (provider := _provider(wiring, path[-1], stuck)) is not None:
        if provider in path:
            return path[path.index(provider) :]
        path.append(provider)
    return []


def _provider(wiring: Wiring, step: Step, among: list[Step]) -> Step | None:
    """The first of the steps `among` these that gives `step` one of its inputs."""
    ports = (port for name in step.input_map.values() for port in wiring.producers.get(name, ()))
    return next((port.step for port in ports if port.step in among), None)


def _path_between(repository: Repository, start: str, goal: str) -> list[str]:
    """The models from `start` to `goal`, following the steps of ensembles; empty if there is no way."""
    paths, seen = [[start]], {start}
    while paths:
        path = paths.pop()
        if path[-1] == goal:
            return path
        model = repository.models.get(path[-1])
        for step in model.config.ensemble_scheduling.step if model is not None else ():
            if step.model_name not in seen:
                seen.add(step.model_name)
                paths.append([*path, step.model_name])
    return []
