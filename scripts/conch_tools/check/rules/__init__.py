"""Every rule there is, by subject.

A new rule is one function in the module of its subject; a new module of rules is entered in `RULEBOOKS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from conch_tools.check.rulebook import Rule, Rulebook
from conch_tools.check.rules import (
    backend,
    config,
    dataflow,
    ensemble,
    files,
    graph,
    instances,
    manifest,
    pipelines,
    shapes,
    steps,
)

RULEBOOKS: tuple[Rulebook[Any], ...] = (
    config.SYNTAX,
    config.CONFIG,
    backend.BACKENDS,
    files.FOLDERS,
    files.FILES,
    instances.INSTANCES,
    instances.CPU_ONLY,
    ensemble.MODELS,
    ensemble.STEPS,
    dataflow.FLOW,
    shapes.SHAPES,
    graph.GRAPH_FILES,
    graph.PAIRS,
    manifest.MANIFESTS,
    pipelines.PIPELINES,
    steps.STEPS,
)


def all_rules() -> Iterator[Rule[Any]]:
    """Every rule, in the order in which they run."""
    return (rule for book in RULEBOOKS for rule in book.rules)
