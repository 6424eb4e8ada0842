"""Every rule there is, by subject.

A new rule is one function in the module of its subject; a new module of rules is entered in `RULEBOOKS`. The letters
of a code say what it is about, in the words of `SUBJECTS`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from conch_tools.check.rulebook import Rule, Rulebook
from conch_tools.check.rules import (
    accelerators,
    backend,
    batching,
    cache,
    config,
    dataflow,
    ensemble,
    ensemble_steps,
    files,
    graph,
    graph_batching,
    graph_tensors,
    graph_version,
    instances,
    labels,
    manifest,
    pipelines,
    python_batches,
    python_calls,
    python_loading,
    python_responses,
    python_tensors,
    queues,
    sequences,
    shapes,
    shared_memory,
    steps,
    streams,
    tensors,
)

SUBJECTS: Mapping[str, str] = {
    "ACC": "Execution accelerators",
    "BAK": "Backends",
    "CAC": "The response cache",
    "CFG": "A model's configuration",
    "ENS": "Ensembles",
    "FIL": "Folders and files",
    "LAB": "Label files",
    "MAN": "Manifests of what was built",
    "ONX": "ONNX graphs",
    "PIP": "Pipelines (pipeline.toml)",
    "PYC": "Models in Python: other models that they ask",
    "PYR": "Models in Python: how they answer",
    "PYS": "Models in Python: what loads",
    "PYT": "Models in Python: tensors",
    "SHM": "Shared memory",
    "STP": "Models of this project's own backends",
}
"""What rules are about, by the letters that their codes begin with."""

RULEBOOKS: tuple[Rulebook[Any], ...] = (
    config.SYNTAX,
    config.CONFIG,
    tensors.TENSORS,
    batching.BATCHING,
    queues.QUEUES,
    sequences.SEQUENCES,
    backend.BACKENDS,
    backend.AGENTS,
    files.FOLDERS,
    files.FILES,
    files.REPOSITORIES,
    instances.INSTANCES,
    instances.CPU_ONLY,
    ensemble.ENSEMBLES,
    ensemble_steps.ENSEMBLE_STEPS,
    dataflow.FLOW,
    streams.STREAMS,
    shapes.SHAPES,
    graph.GRAPH_FILES,
    graph.GRAPH_SETTINGS,
    graph.STAND_IN,
    graph.OTHER_RUNTIME,
    graph_tensors.GRAPH_TENSORS,
    graph_batching.GRAPH_BATCHING,
    manifest.MANIFESTS,
    pipelines.PIPELINES,
    steps.STEPS,
    graph_version.GRAPH_VERSIONS,
    labels.LABELS,
    accelerators.ONNX_MODELS,
    accelerators.MODELS,
    cache.CACHED,
    shared_memory.STUBS,
    shared_memory.REPOSITORIES,
    python_loading.SOURCE_FILES,
    python_loading.ADAPTORS,
    python_tensors.ADAPTORS,
    python_responses.ADAPTORS,
    python_batches.ADAPTORS,
    python_calls.ADAPTORS,
)


def all_rules() -> Iterator[Rule[Any]]:
    """Every rule, in the order in which they run."""
    return (rule for book in RULEBOOKS for rule in book.rules)
