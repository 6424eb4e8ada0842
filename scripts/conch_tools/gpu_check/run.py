"""The whole check: look, run the pipelines that are built, show, write, and only then complain."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from conch_tools.errors import ConchError, RepositoryError, WrongAnswers
from conch_tools.files import write_json
from conch_tools.gpu_check.findings import Findings, look
from conch_tools.gpu_check.report import machine_text, samples_text
from conch_tools.gpu_check.samples import serve_samples, unbuilt_models
from conch_tools.pipelines import Pipeline, load_pipelines
from conch_tools.serve import require_repository
from conch_tools.settings import Settings

Say = Callable[[str], None]


def gpu_check(settings: Settings, only: Sequence[str], output: Path | None, say: Say) -> Findings:
    """Say what this machine has and how the pipelines answer on it; also as JSON in `output`.

    Raises RepositoryError, UnsuitableMachine or ServerFailed when the server cannot start, WrongAnswers when a sample
    is answered otherwise than its pipeline.toml says; the findings have been said and written by then.
    """
    findings = look()
    say(machine_text(findings))
    require_repository(settings)
    pipelines = load_pipelines(settings.repository, only)
    failure: ConchError | None = None
    try:
        findings = _with_samples(findings, settings, pipelines)
    except ConchError as problem:
        failure, findings = problem, dataclasses.replace(findings, failure=str(problem))
    say(samples_text(findings))
    if output is not None:
        write_json(output, findings.as_json())
    if failure is not None:
        raise failure
    _require_right_answers(findings)
    return findings


def _with_samples(findings: Findings, settings: Settings, pipelines: Sequence[Pipeline]) -> Findings:
    unbuilt = {pipeline.name: models for pipeline in pipelines if (models := unbuilt_models(pipeline))}
    skipped = {name: f"{', '.join(models)} not built: run `conch build`" for name, models in unbuilt.items()}
    built = [pipeline for pipeline in pipelines if pipeline.name not in unbuilt]
    if not built:
        raise RepositoryError(f"no pipeline of {settings.repository} is built: run `conch build`")
    return dataclasses.replace(findings, skipped=skipped, served=serve_samples(settings, built))


def _require_right_answers(findings: Findings) -> None:
    samples = findings.served.samples if findings.served is not None else ()
    wrong = [f"`{each.pipeline}`: {each.problem}" for each in samples if each.problem]
    if wrong:
        raise WrongAnswers("; ".join(wrong))
