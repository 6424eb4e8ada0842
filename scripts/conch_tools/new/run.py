"""The way of `conch new`: what the answers call for is written beside, asked of the source, checked, and moved in.

The expected answers of the samples are the source's own, so that they hold from the first day on.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conch_tools.build.hub import bring
from conch_tools.build.workers import in_workers
from conch_tools.deployment import Deployment
from conch_tools.errors import SettingsError
from conch_tools.new.expected import expected_answers
from conch_tools.new.layouts import LAYOUTS
from conch_tools.new.pipeline_file import pipeline_file
from conch_tools.new.source import as_written, source_named
from conch_tools.new.told import tables_of
from conch_tools.pipelines import (
    PIPELINE_FILE,
    Gates,
    Pipeline,
    Sample,
    Source,
    Task,
    owner_of,
    pipeline_folders,
    visible_folders,
)
from conch_tools.settings import Settings

NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")


@dataclass(frozen=True)
class Answers:
    """What `conch new` was told."""

    name: str
    task: Task
    source: str
    deployment: Deployment
    trusted: bool = False
    """Whether the source may run code when it is loaded."""
    labels: Sequence[str] = ()
    """Names of the classes, where the source has none."""
    preprocessing: Mapping[str, Any] | None = None
    """How an image becomes pixels, where the source does not tell; None for the usual way."""


def new_pipeline(settings: Settings, answers: Answers) -> list[Path]:
    """Write the folders of a pipeline; returns them, the ensemble's first.

    Raises SettingsError for a name or a source that is not usable, BuildError when the source is not what the task
    takes. Then the repository is as it was before.
    """
    if not NAME.fullmatch(answers.name):
        raise SettingsError(
            f"`{answers.name}` cannot name a pipeline: a to z, 0 to 9 and _, a letter first, at most 60"
        )
    layout = LAYOUTS[answers.task]
    models = [answers.name, *(f"{answers.name}_{role}" for role in layout.steps)]
    _require_free(settings.repository, models)
    source = source_named(answers.source, answers.trusted)
    bring(answers.name, source)
    # Named so that what a killed process leaves is swept.
    with tempfile.TemporaryDirectory(prefix=f"conch-{os.getpid()}-new-") as folder:
        repository = Path(folder)
        written = as_written(source, settings.repository / answers.name)
        # In one process of its own: whoever reads a source imports torch, which takes longer than all the rest.
        list(in_workers(_write, {answers.name: (repository, answers, source, written)}))
        return _move_in([repository / model for model in models], settings.repository)


def _write(repository: Path, answers: Answers, source: Source, written: Mapping[str, str | bool]) -> None:
    """The whole pipeline in a repository of its own. Runs in a worker process."""
    drafted = _draft(repository, answers, source)
    expected = expected_answers(drafted.folder)
    answered = list(zip((sample.input for sample in drafted.samples), expected, strict=True))
    _write_pipeline_file(drafted, written, answered)


def _draft(repository: Path, answers: Answers, source: Source) -> Pipeline:
    """The pipeline in a repository of its own, whose samples expect nothing yet."""
    pipeline = _pipeline(repository, answers, source)
    layout = LAYOUTS[answers.task]
    facts = layout.facts(pipeline)
    told = {
        "text": facts.text,
        "image": facts.image,
        "table": facts.table,
        "features": facts.features,
        "samples": layout.sent(facts),
    }
    drafted = pipeline.model_copy(update=told)
    for model, text in layout.configurations(drafted, facts, answers.deployment.priority).items():
        (repository / model).mkdir()
        (repository / model / "config.pbtxt").write_text(text, encoding="utf-8")
    for path, content in layout.files.items():
        (drafted.folder / path).parent.mkdir(exist_ok=True)
        (drafted.folder / path).write_bytes(content())
    _write_pipeline_file(drafted, as_written(source, drafted.folder), [(each.input, {}) for each in drafted.samples])
    return drafted


def _pipeline(repository: Path, answers: Answers, source: Source) -> Pipeline:
    """As far as the answers tell."""
    layout = LAYOUTS[answers.task]
    return Pipeline(
        name=answers.name,
        folder=repository / answers.name,
        task=answers.task,
        description=layout.description,
        source=source,
        samples=[Sample(input=sent, expect={}) for sent in layout.samples],
        gates=Gates(max_abs_difference=layout.gate),
        deployment=answers.deployment,
        **tables_of(answers.task, source, answers.labels, answers.preprocessing),
    )


def _move_in(folders: Sequence[Path], repository: Path) -> list[Path]:
    """All of them, or none: then the error is raised on. Raises OSError, also for a name that was taken meanwhile."""
    made: list[Path] = []
    try:
        # The ensemble last: without it the others belong to nobody.
        for folder in reversed(folders):
            target = repository / folder.name
            target.mkdir()
            made.insert(0, target)
            for file in folder.iterdir():
                shutil.move(file, target)
    except BaseException:
        for target in made:
            shutil.rmtree(target)
        raise
    return made


def _write_pipeline_file(
    pipeline: Pipeline, source: Mapping[str, str | bool], answered: Sequence[tuple[Any, Any]]
) -> None:
    text = pipeline_file(pipeline, source, answered, LAYOUTS[pipeline.task].limit)
    (pipeline.folder / PIPELINE_FILE).write_text(text, encoding="utf-8")


def _require_free(repository: Path, models: Sequence[str]) -> None:
    """Raise SettingsError where a folder is there already, or would belong to another pipeline."""
    name = models[0]
    there = {folder.name for folder in visible_folders(repository)}
    if taken := [model for model in models if model in there]:
        raise SettingsError(f"{repository / taken[0]} is there already: choose another name, or remove it")
    if owner := owner_of(name, pipeline_folders(repository)):
        raise SettingsError(f"`{name}` would be a step of `{owner}`, whose name it continues: choose another")
    if owned := [model for model in there if model.startswith(f"{name}_")]:
        raise SettingsError(f"`{owned[0]}` would become a step of `{name}`, whose name it continues: choose another")
