"""Variants held against the reference: on the running ensemble, in every way of asking, and on held-out data.

A variant is served for that as it will be later, by a profile that names its file; the profile is written into the
staging repository and never leaves it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from conch_client import Client
from conch_tools.build.parity import graph_feeds, inputs_of
from conch_tools.build.quality import Quality
from conch_tools.build.reference import Reference
from conch_tools.build.staging import Staged
from conch_tools.build.variants import RECIPES, make_variant, variant_file
from conch_tools.check.repository import CONFIG, PROFILES
from conch_tools.errors import BuildError, first_line
from conch_tools.parity.asking import WAYS, measured, rows_of
from conch_tools.parity.protocols import OverGrpc
from conch_tools.pipelines import Pipeline, Variant, models_of
from conch_tools.server import EmbeddedServer, ServerOptions
from conch_tools.server.own import own_settings
from conch_tools.settings import Settings


@dataclass(frozen=True)
class Judged:
    """What a variant of a pipeline came to."""

    figures: Mapping[str, float]
    problems: Sequence[str]
    """What it is refused for; none when it passes."""


def stage_variant(variant: Variant, staged: Staged, reference: Reference) -> None:
    """Make a variant of the model step's graph and a profile that serves it. Raises BuildError."""
    pipeline = staged.pipeline
    step = pipeline.step("model")
    graph, before = staged.version(step) / "model.onnx", inputs_of(reference, step)
    if not graph.is_file() or before is None:
        raise BuildError(pipeline.name, f"it has no graph `{step}` of its own to make variants of: leave them out")
    feeds = [graph_feeds(before, [index])[0] for index in range(len(reference.items))]
    try:
        made = make_variant(variant, graph, feeds)
    except Exception as problem:  # onnxruntime's tools raise whatever they meet
        said = f"onnxruntime cannot make its variant `{variant}`: {first_line(problem)}"
        raise BuildError(pipeline.name, said) from problem
    staged.made[made.name] = RECIPES[variant].words
    folder = staged.repository / step
    config = (folder / CONFIG).read_text(encoding="utf-8")
    (folder / PROFILES).mkdir(exist_ok=True)
    named = f'{config.rstrip()}\ndefault_model_filename: "{variant_file(variant)}"\n'
    (folder / PROFILES / f"{_profile(variant)}.pbtxt").write_text(named, encoding="utf-8")


def judged(
    settings: Settings,
    variant: Variant,
    pipelines: Sequence[Pipeline],
    asked: Mapping[str, tuple[Reference, Quality | None]],
    staging: Path,
) -> dict[str, Judged]:
    """What a staged variant comes to, by pipeline: a server is started with its profile and asked what `asked` holds.

    `pipelines` are all that it must load.
    """
    known = {each.name: each for each in pipelines}
    with contextlib.ExitStack() as running:
        own = running.enter_context(own_settings(settings, "variant"))
        trial = own.model_copy(update={"repository": staging, "profile": _profile(variant)})
        server = running.enter_context(EmbeddedServer(ServerOptions(trial, models=models_of(pipelines))))
        client = running.enter_context(Client(server.grpc_url, timeout_s=settings.start_timeout_s))
        return {name: _judge(client, known[name], *each) for name, each in asked.items()}


def _judge(client: Client, pipeline: Pipeline, reference: Reference, quality: Quality | None) -> Judged:
    gate, expected, ask = pipeline.variant_gate, rows_of(reference.answers), OverGrpc(client)
    ways = {
        way: measured(way, asked(ask, pipeline.name, reference.items), expected, gate.max_abs_difference).figures
        for way, asked in WAYS.items()
    }
    problems = [f"{way}: {missed}" for way, figures in ways.items() for missed in figures.missed(gate)]
    found = {"worst_difference": max(each.worst_difference for each in ways.values())}
    if cosines := [each.cosine for each in ways.values() if each.cosine is not None]:
        found["cosine"] = min(cosines)
    if flips := [each.flips / each.cases for each in ways.values() if each.flips is not None]:
        found["flips"] = max(flips)
    if scores := [each.span_f1 for each in ways.values() if each.span_f1 is not None]:
        found["span_f1"] = min(scores)
    if quality is not None:
        reached = quality.measure(lambda tensors: client.infer(pipeline.name, inputs=tensors))
        found.update(reached)
        if problem := pipeline.gates.missed_by(reached):
            problems.append(problem)
    return Judged(found, problems)


def _profile(variant: Variant) -> str:
    return f"variant-{variant}"
