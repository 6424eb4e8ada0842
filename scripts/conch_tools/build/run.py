"""The way of a build: what is stale is staged side by side, proven in one server, and moved into the repository.

Staging runs in worker processes (see workers.py); the server is started once for all pipelines of a build, so building
three costs one start.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from conch_client import Client
from conch_tools.build.builder import builder_of
from conch_tools.build.hub import bring
from conch_tools.build.parity import Agreement, check_graph, check_server
from conch_tools.build.promotion import settle
from conch_tools.build.quality import Quality
from conch_tools.build.reference import Reference
from conch_tools.build.staging import Staged, fingerprint_of, is_current
from conch_tools.build.variant_gate import judged, stage_variant
from conch_tools.build.workers import in_workers
from conch_tools.errors import BuildError
from conch_tools.locks import Locked, only_one
from conch_tools.parity.protocols import OverGrpc
from conch_tools.pipelines import (
    FIRST_VERSION,
    PIPELINE_FILE,
    Pipeline,
    Variant,
    load_pipeline,
    load_pipelines,
    models_of,
    newest_version,
)
from conch_tools.releases.folders import require_room
from conch_tools.releases.listing import VARIANTS
from conch_tools.serve import Report
from conch_tools.server import EmbeddedServer, ServerOptions
from conch_tools.server.own import own_settings
from conch_tools.settings import Settings

LOCK_FILE = "build.lock"
LOCK_WAIT_S = 1800.0


@dataclass(frozen=True)
class StagedBuild:
    """A pipeline whose artifacts are staged and whose graph agrees with the reference."""

    staged: Staged
    reference: Reference
    quality: Quality | None
    graph: Agreement
    seconds: float


def build(
    settings: Settings, pipelines: Sequence[Pipeline], report: Report, force: bool = False, new_version: bool = False
) -> list[str]:
    """Build the pipelines that are not current (all of them with `force`); returns the names of those that were.

    What is built takes the place of the newest release, or its place behind it with `new_version`, which builds all.
    Raises BuildError or ParityError, or RepositoryError for a configuration that leaves no room for another release;
    then the model repository is as it was before.
    """
    if new_version:
        for each in pipelines:
            require_room(each)
    force = force or new_version
    if not _stale(pipelines, force):
        return []
    settings.state.mkdir(parents=True, exist_ok=True)
    with _only_build(settings.state / LOCK_FILE, report):
        for each in pipelines:
            settle([*each.models, each.name], settings.repository)
        # Asked again, because the build that we waited for may have made them.
        stale = _stale(pipelines, force)
        if not stale:
            return []
        staging = settings.state / "staging"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        try:
            report(f"building {', '.join(stale)}")
            builds = _stage_all(stale, staging, new_version, report)
            _prove_and_promote(settings, builds, staging, report)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return list(stale)


def stage(folder: Path, staging: Path, number: str = FIRST_VERSION) -> StagedBuild:
    """Make one pipeline's artifacts and compare its graph with the reference. Runs in a worker process."""
    started = time.monotonic()
    pipeline = load_pipeline(folder)
    staged = Staged.fresh(pipeline, staging, number)
    builder = builder_of(pipeline)
    builder.stage(staged)
    reference = builder.reference(builder.corpus())
    for variant in pipeline.variants:
        stage_variant(variant, staged, reference)
    model = pipeline.step("model")
    graph = check_graph(pipeline.name, reference, model, staged.version(model) / "model.onnx")
    return StagedBuild(staged, reference, builder.quality(), graph, time.monotonic() - started)


def _stale(pipelines: Sequence[Pipeline], force: bool) -> dict[str, Pipeline]:
    return {each.name: each for each in pipelines if force or not is_current(each, fingerprint_of(each))}


def _stage_all(stale: dict[str, Pipeline], staging: Path, new_version: bool, report: Report) -> list[StagedBuild]:
    builds: list[StagedBuild] = []
    for name, pipeline in stale.items():
        bring(name, pipeline.source)
    jobs = {name: (each.folder, staging, _number(each, new_version)) for name, each in stale.items()}
    for name, built in in_workers(stage, jobs):
        builds.append(built)
        compared = (
            f", its graph equals the reference ({built.graph.cases} answers, "
            f"worst difference {built.graph.worst_difference:.1e})"
        )
        report(f"{name}: staged in {built.seconds:.0f} s{compared if built.graph.cases else ''}")
        for note in built.staged.notes:
            report(f"{name}: warning: {note}")
    return builds


def _number(pipeline: Pipeline, new_version: bool) -> str:
    """The number that a build gets: of the newest release, or the next one."""
    newest = newest_version(pipeline.folder)
    return str(int(newest) + 1) if new_version and (pipeline.folder / newest).is_dir() else newest


def _prove_and_promote(settings: Settings, builds: Sequence[StagedBuild], staging: Path, report: Report) -> None:
    pipelines = load_pipelines(settings.repository, [each.staged.pipeline.name for each in builds])
    _lend(pipelines, settings.repository, staging)
    proven: dict[str, dict[str, Any]] = {}
    with contextlib.ExitStack() as running:
        own = running.enter_context(own_settings(settings, "build"))
        trial = own.model_copy(update={"repository": staging, "profile": None})
        server = running.enter_context(EmbeddedServer(ServerOptions(trial, models=models_of(pipelines))))
        with Client(server.grpc_url, timeout_s=settings.start_timeout_s) as client:
            for each in builds:
                pipeline = each.staged.pipeline
                served = check_server(pipeline.name, each.reference, OverGrpc(client))
                worst = max(each.graph.worst_difference, served.worst_difference)
                quality = _measured_quality(each, client)
                proven[pipeline.name] = {"worst_difference": worst, **quality}
                said = "".join(f", {name} {value:.4f}" for name, value in quality.items())
                report(
                    f"{pipeline.name}: {served.cases} answers of the running ensemble equal the reference "
                    f"(worst difference {served.worst_difference:.1e}){said}"
                )
    for name, variants in _proven_variants(settings, builds, pipelines, staging, report).items():
        proven[name][VARIANTS] = variants
    for each in builds:
        each.staged.write_manifests(proven[each.staged.pipeline.name], fingerprint_of(each.staged.pipeline))
    for each in builds:
        each.staged.promote(settings.repository)
        if int(each.staged.number) > 1:
            report(f"{each.staged.pipeline.name}: built as release {each.staged.number}")


def _proven_variants(
    settings: Settings, builds: Sequence[StagedBuild], pipelines: Sequence[Pipeline], staging: Path, report: Report
) -> dict[str, dict[str, Any]]:
    """Figures of every variant by pipeline. Raises BuildError for one that misses a gate."""
    proven: dict[str, dict[str, Any]] = {}
    for variant in get_args(Variant):
        asked = {
            each.staged.pipeline.name: (each.reference, each.quality)
            for each in builds
            if variant in each.staged.pipeline.variants
        }
        if not asked:
            continue
        for name, found in judged(settings, variant, pipelines, asked, staging).items():
            said = ", ".join(f"{figure} {value:.4g}" for figure, value in found.figures.items())
            if found.problems:
                raise BuildError(name, f"its variant `{variant}` is refused: {found.problems[0]} ({said})")
            report(f"{name}: variant {variant} passes its gates ({said})")
            proven.setdefault(name, {})[variant] = dict(found.figures)
    return proven


def _lend(pipelines: Sequence[Pipeline], repository: Path, staging: Path) -> None:
    """Link what the staged pipelines use, and was built before, into the staging repository."""
    for model in models_of(pipelines):
        if not (staging / model).exists():
            (staging / model).symlink_to((repository / model).resolve(), target_is_directory=True)


def _measured_quality(build: StagedBuild, client: Client) -> dict[str, float]:
    """What the served ensemble reaches on held-out data. Raises BuildError when a gate is missed."""
    pipeline, figures = build.staged.pipeline, dict[str, float]()
    if build.quality is not None:
        figures = build.quality.measure(lambda tensors: client.infer(pipeline.name, inputs=tensors))
    problem = pipeline.gates.missed_by(figures)
    if problem:
        file = pipeline.folder / PIPELINE_FILE
        raise BuildError(pipeline.name, f"{problem}: take a better source, or change [gates] in {file}")
    return figures


@contextlib.contextmanager
def _only_build(lock: Path, report: Report) -> Iterator[None]:
    """Hold the lock inside the block. Raises BuildError when another build holds it for longer than LOCK_WAIT_S."""

    def waiting() -> None:
        report(f"another build is under way in this checkout: waiting, at most {LOCK_WAIT_S / 60:.0f} minutes")

    try:
        with only_one(lock, LOCK_WAIT_S, waiting):
            yield
    except Locked as other:
        raise BuildError("all", f"another build ({other}) still holds {lock}: stop it, or wait for it") from other
