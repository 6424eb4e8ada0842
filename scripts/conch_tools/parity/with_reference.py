"""Pipelines compared with their reference libraries.

A build proves them equal once, before anything reaches the repository. Here the references are asked anew and the
artifacts are served as they are: what a changed file, library or machine did to the answers shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from conch_client import Client
from conch_tools.build.builder import builder_of
from conch_tools.build.parity import graph_outcome
from conch_tools.build.reference import Item, Reference
from conch_tools.build.workers import in_workers
from conch_tools.errors import BuildError, NoAnswer
from conch_tools.parity.asking import ALONE, Outcome, measured, one_by_one, rows_of, ways_of
from conch_tools.parity.corpus import Corpus
from conch_tools.parity.protocols import Ask, OverGrpc, OverHttp
from conch_tools.parity.steps import Divergence, first_wrong_step
from conch_tools.parity.trial import trial_server
from conch_tools.parity.verdict import Verdict
from conch_tools.pipelines import Likeness, Pipeline, models_of, newest_version
from conch_tools.serve import Report, require_sound
from conch_tools.server import EmbeddedServer
from conch_tools.settings import Settings

HTTP = "over HTTP"


@dataclass(frozen=True)
class Unanswerable:
    """A case that the reference library refuses."""

    index: int
    problem: str


def compare_with_references(
    settings: Settings,
    pipelines: Sequence[Pipeline],
    served: Sequence[Pipeline],
    corpora: Mapping[str, Corpus],
    report: Report,
) -> list[Verdict]:
    """Ask each pipeline, and its reference library, its own corpus or the one given for it by name.

    `served` are the pipelines with those that they use. Raises RepositoryError when something is not built, CorpusError
    for a case that a reference refuses, and what the references or the server raise; a difference is no error here.
    """
    models = models_of(served)
    require_sound(settings, models)
    jobs = {each.name: (each, corpora[each.name].items if each.name in corpora else None) for each in pipelines}
    references: dict[str, Reference] = {}
    for name, reference in in_workers(reference_of, jobs):
        if isinstance(reference, Unanswerable):
            raise corpora[name].refused(reference.index, f"the reference cannot answer it: {reference.problem}")
        references[name] = reference
        report(f"{name}: {len(reference.items)} answers from {reference.library}")
    with trial_server(settings, models) as server:
        verdicts = []
        for each in pipelines:
            reference = references[each.name]
            try:
                verdicts.append(_compare(server, each, reference, corpora.get(each.name), settings.answer_timeout_s))
            except NoAnswer as problem:
                verdicts.append(Verdict.of_problem(each.name, reference.library, _gate(reference), str(problem)))
        return verdicts


def reference_of(pipeline: Pipeline, items: Sequence[Item] | None) -> Reference | Unanswerable:
    """A pipeline's reference from its source, on its own corpus or on these. Runs in a worker process."""
    builder = builder_of(pipeline)
    if items is None:
        return builder.reference(builder.corpus())
    try:
        return builder.reference(items)
    except Exception:
        # Whatever a library raises, a user wants to know of which line.
        for index, item in enumerate(items):
            try:
                builder.reference([item])
            except Exception as problem:
                return Unanswerable(index, _in_words(problem))
        raise


def _in_words(problem: Exception) -> str:
    return problem.problem if isinstance(problem, BuildError) else f"{type(problem).__name__}: {problem}"


def _compare(
    server: EmbeddedServer, pipeline: Pipeline, reference: Reference, corpus: Corpus | None, timeout_s: float
) -> Verdict:
    name, tolerance, items = pipeline.name, reference.tolerance, reference.items
    expected = rows_of(reference.answers)
    with Client(server.grpc_url, timeout_s=timeout_s) as client, OverHttp(server.http_url, timeout_s) as http:
        grpc = OverGrpc(client)
        answers = {way: asked(grpc, name, items) for way, asked in ways_of(grpc, name).items()}
        asked_by: dict[str, Ask] = dict.fromkeys(answers, grpc)
        outcomes = [measured(way, answered, expected, tolerance) for way, answered in answers.items()]
        alone = [answer.row for answer in answers[ALONE]]
        outcomes.append(measured(HTTP, one_by_one(http, name, items), alone, tolerance))
        asked_by[HTTP] = http
        divergence = None
        for outcome in (each for each in outcomes if each.differences):
            ask, first = asked_by[outcome.way], outcome.differences[0]
            divergence = divergence or first_wrong_step(name, reference, ask, outcome.way, first)
    graph = _graph(pipeline, reference)
    if graph is not None:
        outcomes.insert(0, graph)
        if graph.differences and divergence is None:
            divergence = Divergence(pipeline.step("model"), f"{graph.differences[0].problem}, in the graph itself")
    return Verdict(name, reference.library, _gate(reference), outcomes, corpus or Corpus(items), divergence)


def _gate(reference: Reference) -> Likeness:
    return Likeness(max_abs_difference=reference.tolerance)


def _graph(pipeline: Pipeline, reference: Reference) -> Outcome | None:
    step = pipeline.step("model")
    folder = pipeline.folder.parent / step
    graph = folder / newest_version(folder) / "model.onnx"
    return graph_outcome(reference, step, graph) if graph.is_file() else None
