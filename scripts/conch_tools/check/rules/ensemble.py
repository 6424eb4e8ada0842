"""Rules about an ensemble's settings: it has steps and nothing that belongs to models which run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from conch_tools.check.backends import ENSEMBLE
from conch_tools.check.findings import Problem, Severity
from conch_tools.check.repository import Model, Repository
from conch_tools.check.rulebook import Rulebook


def ensembles(repository: Repository) -> Iterable[Model]:
    """Every model that is an ensemble, or half of one."""
    return (model for model in repository.readable if model.is_ensemble)


ENSEMBLES = Rulebook[Model](ensembles)

_NOT_FOR_ENSEMBLES = ("instance_group", "optimization", "model_warmup")


@ENSEMBLES.rule("ENS001", Severity.ERROR)
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


@ENSEMBLES.rule("ENS002", Severity.ERROR)
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


@ENSEMBLES.rule("ENS003", Severity.ERROR)
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


@ENSEMBLES.rule("ENS004", Severity.ERROR)
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
