"""`conch build --compare`: what every variant of a pipeline's graph gains and loses on this machine.

All variants are made, whatever pipeline.toml names, in a staging repository that is dropped afterwards. Quality is that
of the running ensemble, as in a build. Speed is that of the graph alone, opened as the model's config.pbtxt says; the
variants take turns, so that what else the machine does slows all of them, and medians are compared.
"""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import psutil

from conch_steps.onnx_backend.batch import Tensors
from conch_steps.onnx_backend.served import open_session
from conch_steps.onnx_backend.session import Session
from conch_tools.build.builder import builder_of
from conch_tools.build.parity import graph_feeds, inputs_of
from conch_tools.build.quality import Quality
from conch_tools.build.reference import Reference
from conch_tools.build.staging import Staged
from conch_tools.build.variant_gate import judged, stage_variant
from conch_tools.build.variants import variant_file
from conch_tools.build.workers import in_workers
from conch_tools.check.pbtxt import Unparsable, parse
from conch_tools.check.repository import CONFIG
from conch_tools.errors import BuildError
from conch_tools.pipelines import FIRST_VERSION, Variant, load_pipeline, load_pipelines
from conch_tools.serve import Report
from conch_tools.settings import Settings
from conch_tools.tune.configs import as_json

AS_BUILT = "as built"
BATCH = 32
ROUNDS = 7
FIELDS = ("name", "parameters", "instance_group", "optimization")
"""Of a configuration, what a session is opened by."""


@dataclass(frozen=True)
class Row:
    """One form of the graph. Figures are None of a variant that cannot be made."""

    name: str
    bytes: int | None = None
    load_s: float | None = None
    memory_bytes: int | None = None
    """What loading it and answering a batch adds to a process."""
    single_ms: float | None = None
    """Of a case alone, over the cases of a batch."""
    batch_ms: float | None = None
    speed_1: float | None = None
    """How many times as fast as the graph as built; the median of turns."""
    speed_32: float | None = None
    quality: Mapping[str, float] | None = None
    problems: Sequence[str] = ()
    """What it is refused for."""


@dataclass(frozen=True)
class _Material:
    """What a worker made: everything that needs no torch from here on."""

    reference: Reference
    quality: Quality | None
    feeds: Sequence[Tensors]
    """Every case of a batch alone, then all of them together."""
    refused: Mapping[str, str]
    """Variants that onnxruntime cannot make, and why."""


def compare(settings: Settings, name: str, report: Report) -> list[Row]:
    """The graph as built and all its variants. Raises BuildError where the pipeline has no graph of its own."""
    pipeline = next(each for each in load_pipelines(settings.repository, [name]) if each.name == name)
    step = pipeline.step("model")
    with tempfile.TemporaryDirectory(prefix="conch-compare-") as folder:
        staging = Path(folder)
        report(f"{name}: making {', '.join(get_args(Variant))}")
        ((_, material),) = in_workers(_stage_all, {name: (pipeline.folder, staging)})
        version = staging / step / FIRST_VERSION
        files = {AS_BUILT: "model.onnx"}
        files |= {each: variant_file(each) for each in get_args(Variant) if each not in material.refused}
        asked = {name: (material.reference, material.quality)}
        found = {}
        for variant in get_args(Variant):
            if variant in files:
                report(f"{name}: asking the ensemble with {variant}")
                found[variant] = judged(settings, variant, [pipeline], asked, staging)[name]
        config = _session_config(staging / step / CONFIG)
        report(f"{name}: measuring, {ROUNDS} turns each")
        weights = {each: _apart(config, version, file, material.feeds[-1]) for each, file in files.items()}
        singles, batches = _timed(config, version, files, material.feeds)
        rows = [
            Row(
                each,
                (version / file).stat().st_size,
                *weights[each],
                statistics.median(singles[each]) / (len(material.feeds) - 1) * 1e3,
                statistics.median(batches[each]) * 1e3,
                _ratio(singles, each),
                _ratio(batches, each),
                found[each].figures if each in found else None,
                found[each].problems if each in found else (),
            )
            for each, file in files.items()
        ]
    return [*rows, *(Row(each, problems=[said]) for each, said in material.refused.items())]


def as_plain(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows for JSON."""
    return [asdict(row) for row in rows]


def _stage_all(folder: Path, staging: Path) -> _Material:
    pipeline = load_pipeline(folder)
    staged, builder = Staged.fresh(pipeline, staging), builder_of(pipeline)
    builder.stage(staged)
    reference = builder.reference(builder.corpus())
    before = inputs_of(reference, pipeline.step("model"))
    if before is None:
        raise BuildError(pipeline.name, "it has no graph of its own to compare variants of")
    refused = {}
    for variant in get_args(Variant):
        try:
            stage_variant(variant, staged, reference)
        except BuildError as problem:
            refused[variant] = str(problem)
    cases = range(min(BATCH, len(reference.items)))
    feeds = [dict(graph_feeds(before, [index])[0]) for index in cases]
    return _Material(reference, builder.quality(), [*feeds, dict(graph_feeds(before, cases)[-1])], refused)


def _session_config(file: Path) -> dict[str, Any]:
    config = parse(file.read_text(encoding="utf-8"))
    if isinstance(config, Unparsable):
        raise BuildError(file.parent.name, f"{file}:{config.line}: {config.sentence}")
    return {name: value for name, value in as_json(config).items() if name in FIELDS}


def _opened(config: Mapping[str, Any], version: Path, file: str) -> Session:
    return open_session({**config, "default_model_filename": file}, version)


def _apart(config: Mapping[str, Any], version: Path, file: str, feed: Tensors) -> tuple[float, int]:
    """Seconds to load and bytes of memory, in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(_footprint, config, version, file, feed).result()


def _footprint(config: Mapping[str, Any], version: Path, file: str, feed: Tensors) -> tuple[float, int]:
    process = psutil.Process()
    before, started = process.memory_info().rss, time.perf_counter()
    session = _opened(config, version, file)
    seconds = time.perf_counter() - started
    _run(session, feed)
    return seconds, process.memory_info().rss - before


def _timed(
    config: Mapping[str, Any], version: Path, files: Mapping[str, str], feeds: Sequence[Tensors]
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds for all cases one by one, and for the batch, of every turn."""
    sessions = {each: _opened(config, version, file) for each, file in files.items()}
    for session in sessions.values():
        _run(session, feeds[0])
        _run(session, feeds[-1])
    singles: dict[str, list[float]] = {each: [] for each in files}
    batches: dict[str, list[float]] = {each: [] for each in files}
    for _ in range(ROUNDS):
        for each, session in sessions.items():
            singles[each].append(_seconds(session, feeds[:-1]))
            batches[each].append(_seconds(session, feeds[-1:]))
    return singles, batches


def _seconds(session: Session, feeds: Sequence[Tensors]) -> float:
    started = time.perf_counter()
    for feed in feeds:
        _run(session, feed)
    return time.perf_counter() - started


def _run(session: Session, feed: Tensors) -> None:
    session.run(list(session.signature.outputs), {name: feed[name] for name in session.signature.inputs})


def _ratio(turns: Mapping[str, Sequence[float]], name: str) -> float:
    return statistics.median(built / taken for built, taken in zip(turns[AS_BUILT], turns[name], strict=True))
