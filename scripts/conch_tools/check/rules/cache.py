"""Rules about the response cache: which models it answers for wrongly, and which faults it hides.

Triton's key is a hash of the model's name and version and of the name and the bytes of each input (core's
`cache_manager.cc`); shapes, data types, request parameters and the time of day are not in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from conch_tools.check.adaptors import Adaptor, adaptors
from conch_tools.check.completion import Completed, completed
from conch_tools.check.findings import Place, Problem, Severity, listed
from conch_tools.check.repository import Model, Repository, Tensor
from conch_tools.check.rulebook import Rulebook
from conch_tools.check.served import served_steps
from conch_tools.pipelines import Pipeline


@dataclass(frozen=True, eq=False)
class CachedModel:
    """A model with the response cache on. `reasons` says what answers depend on beside the inputs, by model."""

    model: Model
    as_loaded: Completed
    reasons: Mapping[str, tuple[str, ...]]
    repository: Repository

    @property
    def place(self) -> Place:
        """Where the cache is switched on."""
        return self.model.place(self.model.marks.at("response_cache"))


def cached_models(repository: Repository) -> Iterator[CachedModel]:
    """Every model, ensembles included, whose answers are cached."""
    cached = [model for model in repository.readable if model.config.response_cache.enable]
    reasons = _reasons(repository) if cached else {}
    for model in cached:
        yield CachedModel(model, completed(model), reasons, repository)


CACHED = Rulebook[CachedModel](cached_models)


@CACHED.rule("CAC001", Severity.ERROR)
def cached_beside_its_inputs(cached: CachedModel) -> Iterator[Problem]:
    """The answers of a cached model depend on more than its inputs.

    The cache knows answers by the bytes of the inputs. Who asks with other parameters, or after a change, gets what
    somebody else was told.

    Bad in `sentiment_labels/config.pbtxt`:

        max_batch_size: 8
        response_cache { enable: true }

    Good:

        max_batch_size: 8
    """
    for name in _steps(cached.model, cached.repository):
        for reason in cached.reasons.get(name, ()):
            whose = "" if name == cached.model.name else f" of its step `{name}`"
            cure = "remove `response_cache`, or cache the steps that depend on their inputs alone"
            yield Problem(cached.place, f"the answer{whose} depends on {reason}", cure)


@CACHED.rule("CAC002", Severity.WARNING)
def cached_whatever_its_shape(cached: CachedModel) -> Iterator[Problem]:
    """Requests of different shapes can have the same bytes, and a cached model answers one with the other's answer.

    The cache does not look at shapes: a batch of 2 rows with 3 numbers has the bytes of one with 3 rows of 2.

    Bad in `likeness/config.pbtxt`:

        { name: "text" data_type: TYPE_STRING dims: [ -1 ] },
        { name: "other" data_type: TYPE_STRING dims: [ -1 ] }
        ]
        response_cache { enable: true }

    Good:

        { name: "text" data_type: TYPE_STRING dims: [ 1 ] },
        { name: "other" data_type: TYPE_STRING dims: [ 1 ] }
        ]
        response_cache { enable: true }

    Instead of:

        { name: "text" data_type: TYPE_STRING dims: [ 1 ] },
        { name: "other" data_type: TYPE_STRING dims: [ 1 ] }
        ]
    """
    as_loaded = cached.as_loaded
    known_rows = as_loaded.max_batch_size <= 1 or any(_is_fixed(tensor) for tensor in as_loaded.inputs)
    open_shapes = [tensor for tensor in as_loaded.inputs if tensor.dims.count(-1) + (not known_rows) > 1]
    if open_shapes:
        names = listed(tensor.name for tensor in open_shapes)
        what = f"the size in bytes does not tell the shape of input {names}"
        cure = "fix all dims but one, or remove `response_cache`"
        yield Problem(cached.place, what, cure)


@CACHED.rule("CAC003", Severity.WARNING)
def cached_golden_requests(cached: CachedModel) -> Iterator[Problem]:
    """The response cache answers golden requests in the place of the model that they are to watch.

    Golden requests are the samples of a pipeline.toml, the same bytes each time. Those that the cache knows come
    neither to the model nor to an ensemble's steps: these can hang, fail or answer wrongly, and the pipeline is still
    called well. The cache of one step alone hides that step. Without golden requests only processes that died or were
    stopped are noticed.

    Bad in `embed/config.pbtxt`:

        max_batch_size: 8
        response_cache { enable: true }

    Good:

        max_batch_size: 8
    """
    watching = [pipeline.name for pipeline in cached.repository.pipelines if _watches(pipeline, cached)]
    if watching:
        what = f"golden requests of {listed(watching)} are answered by the cache, not by `{cached.model.name}`"
        cure = "remove `response_cache`; keep answers in front of Triton, where golden requests do not pass"
        yield Problem(cached.place, what, cure)


def _watches(pipeline: Pipeline, cached: CachedModel) -> bool:
    """Whether golden requests of a pipeline come to the model; which models steps call by themselves is not known."""
    steps = _steps(cached.repository.models[pipeline.name], cached.repository)
    return any(sample.golden for sample in pipeline.samples) and cached.model.name in steps


def _is_fixed(tensor: Tensor) -> bool:
    """Whether an input's size tells how many rows a request has."""
    return bool(tensor.dims) and -1 not in tensor.dims and not tensor.optional


def _reasons(repository: Repository) -> Mapping[str, tuple[str, ...]]:
    """What answers depend on beside the inputs, by model: what backends of ours declare and what sources show."""
    found: dict[str, tuple[str, ...]] = {}
    for served in served_steps(repository):
        found[served.model.name] = served.wants.depends_on
    for adaptor in adaptors(repository):
        for model in adaptor.models if not adaptor.shared else ():
            found[model.name] = tuple(_shown(adaptor))
    return found


def _shown(adaptor: Adaptor) -> Iterator[str]:
    if adaptor.facts.requests.reads_parameters:
        yield "the request's own parameters"
    if adaptor.facts.effects.is_random:
        yield "chance"


def _steps(model: Model, repository: Repository) -> Iterator[str]:
    """The model, and all that it has for steps, directly or through other ensembles."""
    waiting, seen = [model.name], set[str]()
    while waiting:
        name = waiting.pop()
        if name not in seen and name in repository.models:
            seen.add(name)
            yield name
            waiting += [step.model_name for step in repository.models[name].config.ensemble_scheduling.step]
