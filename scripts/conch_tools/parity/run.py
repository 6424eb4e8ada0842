"""`conch parity`: how far what is served is off from its reference libraries, or from something else that is served.

A build proves the first once, before anything reaches the repository. Here the references are asked anew and the
artifacts are served as they are: what a changed file, library or machine did to the answers shows. Two that are served,
variants, versions or machines, are compared without a reference.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from conch_client import Client
from conch_tools.build.builder import builder_of
from conch_tools.build.parity import graph_outcome
from conch_tools.build.reference import Item, Reference
from conch_tools.build.workers import in_workers
from conch_tools.errors import SettingsError
from conch_tools.parity.asking import ALONE, BATCHES, WAYS, Outcome, measured, one_by_one, rows_of
from conch_tools.parity.corpus import Corpus, inputs_of, read_corpus
from conch_tools.parity.protocols import Ask, OverGrpc, OverHttp
from conch_tools.parity.steps import Divergence, Served, first_diverging_step, first_wrong_step, steps_of
from conch_tools.parity.verdict import Verdict
from conch_tools.pipelines import FIRST_VERSION, Likeness, Pipeline, load_pipelines, models_of, pipeline_folders
from conch_tools.serve import require_repository, require_sound
from conch_tools.server import EmbeddedServer, ServerOptions
from conch_tools.server.ports import free_ports
from conch_tools.settings import Settings

Report = Callable[[str], None]
HTTP = "over HTTP"


@dataclass(frozen=True)
class Other:
    """What is served as well, and compared with: another pipeline or model, another profile, another address."""

    name: str | None = None
    profile: str | None = None
    url: str | None = None

    def describe(self, pipeline: str) -> str:
        """What the report calls it."""
        name = self.name or pipeline
        if self.url is not None:
            return f"{name} at {self.url}"
        return name if self.profile is None else f"{name} with profile {self.profile}"


@dataclass(frozen=True)
class Unanswerable:
    """A case that the reference library refuses."""

    index: int
    problem: str


def parity(
    settings: Settings, names: Sequence[str], every: bool, corpus_file: Path | None, other: Other, report: Report
) -> list[Verdict]:
    """Compare the pipelines named, or `every` one, with their references or with `other`.

    Raises SettingsError for arguments that do not go together, and what `with_references` and `with_another` raise.
    """
    _require_sense(names, every, corpus_file, other)
    require_repository(settings)
    if other == Other():
        return with_references(settings, names, corpus_file, report)
    return with_another(settings, names, corpus_file, other, report)


def with_references(
    settings: Settings, names: Sequence[str], corpus_file: Path | None, report: Report
) -> list[Verdict]:
    """Compare pipelines, all of them if none is named, with their reference libraries.

    Raises RepositoryError when something is not built, CorpusError for a line that is no input or that the reference
    refuses, and what the references or the server raise; a difference is no error here but a verdict.
    """
    served = load_pipelines(settings.repository, names)
    pipelines = [each for each in served if each.name in names or not names]
    corpora = {each.name: _corpus_in(corpus_file, each) for each in pipelines if corpus_file is not None}
    models = models_of(served)
    require_sound(settings, models)
    jobs = {each.name: (each, corpora[each.name].items if corpora else None) for each in pipelines}
    references: dict[str, Reference] = {}
    for name, reference in in_workers(reference_of, jobs):
        if isinstance(reference, Unanswerable):
            raise corpora[name].refused(reference.index, f"the reference cannot answer it: {reference.problem}")
        references[name] = reference
        report(f"{name}: {len(reference.items)} answers from {reference.library}")
    with trial_server(settings, models) as server:
        return [
            _with_reference(server, each, references[each.name], corpora.get(each.name), settings.start_timeout_s)
            for each in pipelines
        ]


def with_another(
    settings: Settings, names: Sequence[str], corpus_file: Path | None, other: Other, report: Report
) -> list[Verdict]:
    """Compare pipelines with something else that is served, on the same cases.

    Raises as `with_references` does, and SettingsError for two that do not take the same inputs.
    """
    served = load_pipelines(settings.repository, names)
    pipelines = [each for each in served if each.name in names or not names]
    corpora = {each.name: _corpus_in(corpus_file, each) for each in pipelines if corpus_file is not None}
    models = models_of(served)
    beside = _models_beside(settings, other)
    require_sound(settings, [*models, *beside])
    if not corpora:
        jobs = {each.name: (each,) for each in pipelines}
        corpora = {name: Corpus(items) for name, items in in_workers(corpus_of, jobs)}
    timeout_s = settings.start_timeout_s
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(trial_server(settings, [*models, *beside]))
        one = stack.enter_context(Client(server.grpc_url, timeout_s=timeout_s))
        two = stack.enter_context(Client(_address(other, settings, models, server, stack), timeout_s=timeout_s))
        verdicts = []
        for each in pipelines:
            report(f"{each.name}: {len(corpora[each.name].items)} cases, compared with {other.describe(each.name)}")
            verdicts.append(_with_another(one, two, each, corpora[each.name], other))
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
                return Unanswerable(index, f"{type(problem).__name__}: {problem}")
        raise


def corpus_of(pipeline: Pipeline) -> Sequence[Item]:
    """A pipeline's own corpus. Runs in a worker process."""
    return builder_of(pipeline).corpus()


@contextlib.contextmanager
def trial_server(settings: Settings, models: Sequence[str]) -> Iterator[EmbeddedServer]:
    """A server of its own on free ports, which answers nothing from a cache.

    Its state is new: what changed at run time is kept there, and no reference knows of it.
    """
    http, grpc, metrics = free_ports(3)
    own = {"http_port": http, "grpc_port": grpc, "metrics_port": metrics, "response_cache_bytes": 0}
    with tempfile.TemporaryDirectory(prefix="conch-parity-") as state:
        trial = settings.model_copy(update={**own, "state": Path(state)})
        with EmbeddedServer(ServerOptions(trial, models=models)) as server:
            yield server


def _require_sense(names: Sequence[str], every: bool, corpus_file: Path | None, other: Other) -> None:
    if bool(names) == every:
        raise SettingsError("name the pipelines to compare, or say --all")
    if len(names) != 1 and (corpus_file is not None or other.name is not None):
        option = "--against" if corpus_file is None else "--corpus"
        raise SettingsError(f"{option} is for one pipeline: name one")
    if other.profile is not None and (other.url is not None or other.name is not None):
        raise SettingsError("--against-profile is the same pipeline, on a server of its own: leave out --against")


def _corpus_in(file: Path, pipeline: Pipeline) -> Corpus:
    return read_corpus(file, inputs_of(pipeline.folder / "config.pbtxt"))


def _with_reference(
    server: EmbeddedServer, pipeline: Pipeline, reference: Reference, corpus: Corpus | None, timeout_s: float
) -> Verdict:
    name, tolerance, items = pipeline.name, reference.tolerance, reference.items
    expected = rows_of(reference.answers)
    with Client(server.grpc_url, timeout_s=timeout_s) as client, OverHttp(server.http_url, timeout_s) as http:
        grpc = OverGrpc(client)
        answers = {way: asked(grpc, name, items) for way, asked in WAYS.items()}
        asked_by: dict[str, Ask] = dict.fromkeys(WAYS, grpc)
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
    gate = Likeness(max_abs_difference=tolerance)
    return Verdict(name, reference.library, gate, outcomes, corpus or Corpus(items), divergence)


def _graph(pipeline: Pipeline, reference: Reference) -> Outcome | None:
    step = pipeline.step("model")
    graph = pipeline.folder.parent / step / FIRST_VERSION / "model.onnx"
    return graph_outcome(reference, step, graph) if graph.is_file() else None


def _with_another(one: Client, two: Client, pipeline: Pipeline, corpus: Corpus, other: Other) -> Verdict:
    gate = pipeline.gates.variant or Likeness(max_abs_difference=pipeline.gates.max_abs_difference)
    ours, theirs = _served(one, pipeline.name), _served(two, other.name or pipeline.name)
    _require_same_inputs(one, ours.model, two, theirs.model)
    expected = [answer.row for answer in one_by_one(ours.ask, ours.model, corpus.items)]
    # A server that others use as well is not asked by many callers at once.
    ways = [way for way in WAYS if other.url is None or way in (ALONE, BATCHES)]
    tolerance = gate.max_abs_difference
    outcomes = [measured(way, WAYS[way](theirs.ask, theirs.model, corpus.items), expected, tolerance) for way in ways]
    first = next((difference for outcome in outcomes for difference in outcome.differences), None)
    divergence = None
    if first is not None:
        divergence = first_diverging_step(ours, theirs, corpus.items[first.index], tolerance)
    return Verdict(pipeline.name, other.describe(pipeline.name), gate, outcomes, corpus, divergence)


def _served(client: Client, model: str) -> Served:
    return Served(model, OverGrpc(client), steps_of(client.config(model)))


def _require_same_inputs(one: Client, ours: str, two: Client, theirs: str) -> None:
    taken = [
        {tensor.name: tensor.datatype for tensor in client.metadata(model).inputs}
        for client, model in ((one, ours), (two, theirs))
    ]
    if taken[0] != taken[1]:
        said = [", ".join(f"{name} ({datatype})" for name, datatype in each.items()) for each in taken]
        raise SettingsError(f"`{ours}` takes {said[0]} and `{theirs}` takes {said[1]}: compare two of the same inputs")


def _models_beside(settings: Settings, other: Other) -> list[str]:
    """What our own server loads for the other one. Raises RepositoryError for a name that is not there."""
    if other.name is None or other.url is not None:
        return []
    folder = settings.repository / other.name
    if other.name not in pipeline_folders(settings.repository) and (folder / "config.pbtxt").is_file():
        return [other.name]
    return models_of(load_pipelines(settings.repository, [other.name]))


def _address(
    other: Other, settings: Settings, models: Sequence[str], server: EmbeddedServer, stack: contextlib.ExitStack
) -> str:
    """Where the other one is asked: a second server with another profile is started and left on the stack."""
    if other.url is not None:
        return other.url
    if other.profile is None:
        return server.grpc_url
    profiled = settings.model_copy(update={"profile": other.profile})
    require_sound(profiled, models)
    return stack.enter_context(trial_server(profiled, models)).grpc_url
