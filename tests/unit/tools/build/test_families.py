"""Every task on every family of text models: what is built of a folder answers as its library does, in the test's own
process. That the running server does so as well is proven with some of them, in tests/integration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from conch_tools.build.builder import builder_of
from conch_tools.build.staging import Staged
from conch_tools.new import run
from conch_tools.new.questions import answers
from conch_tools.parity.asking import BATCHES, in_batches, measured, rows_of
from conch_tools.parity.protocols import LATEST, Tensors
from conch_tools.pipelines import Task, load_pipeline
from conch_tools.settings import Settings
from conch_tools.step_kit import Request, StepRepository
from small_text_models import FAMILIES, save_small_model
from workers_here import one_after_the_other

EVERY = 4
"""Of the corpus, to save time."""
HEADS: Mapping[Task, tuple[str | None, Sequence[str]]] = {
    "text-classification": ("SequenceClassification", ["good", "bad", "so so"]),
    "token-classification": ("TokenClassification", ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]),
    "question-answering": ("QuestionAnswering", []),
    "zero-shot-classification": ("SequenceClassification", ["contradiction", "neutral", "entailment"]),
    "feature-extraction": (None, []),
    "fill-mask": ("MaskedLM", []),
}


class InThisProcess:
    """The models of a repository, asked as a running server is."""

    def __init__(self, models: StepRepository) -> None:
        self._models = models

    def __call__(self, model: str, tensors: Tensors, version: str = LATEST) -> Tensors:
        (reply,) = self._models[model].execute([Request(tensors)])
        return reply.outputs

    def inputs(self, model: str) -> list[str]:
        return [tensor["name"] for tensor in self._models[model].config["input"]]

    def largest_batch(self, model: str) -> int:
        return int(self._models[model].config["max_batch_size"])


@pytest.mark.parametrize("task", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_it_answers_as_its_library_does(
    family: str, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "in_workers", one_after_the_other)
    settings = Settings(repository=tmp_path / "repository", state=tmp_path / "state")
    settings.repository.mkdir()
    head, labels = HEADS[task]
    source = save_small_model(tmp_path / "source", family, head, labels)
    folder, *_ = run.new_pipeline(settings, answers("small", {"task": task, "source": str(source)}, None))

    pipeline = load_pipeline(folder)
    builder = builder_of(pipeline)
    staged = Staged.fresh(pipeline, tmp_path / "staged")
    builder.stage(staged)
    staged.write_manifests({}, "")
    reference = builder.reference(builder.corpus()[::EVERY])
    with StepRepository(staged.repository, settings.backends) as models:
        given = in_batches(InThisProcess(models), pipeline.name, reference.items)
    outcome = measured(BATCHES, given, rows_of(reference.answers), reference.tolerance)
    assert [each.problem for each in outcome.differences] == []
    assert outcome.figures.cases == len(reference.items) > 5
