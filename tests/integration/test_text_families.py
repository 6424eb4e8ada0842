"""Text classifiers of every family that people bring: added by `conch new`, built and served, they answer as
transformers does, whatever the tokenizer, the length of a text and the company of a request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from transformers import pipeline as transformers_pipeline

from conch_client import Classification, Client
from conch_tools.build.run import build
from conch_tools.new import run
from conch_tools.new.questions import answers
from conch_tools.pipelines import load_pipeline, load_pipelines, models_of
from conch_tools.server import EmbeddedServer
from conch_tools.settings import Settings
from small_text_models import FAMILIES, POSITIONS, SENTENCES, save_small_model
from workers_here import one_after_the_other

StartTriton = Callable[..., EmbeddedServer]

CALLERS = 16
TOLERANCE = 1e-4
LABELS = ["good", "bad", "so so"]
SEVERAL_FIT, ONE_CLASS = "several", "one"
"""Classifiers of another form than one class of many, of two of the families."""
MODELS: Mapping[str, tuple[str, Sequence[str], Mapping[str, Any]]] = {
    **{family.replace("-", "_"): (family, LABELS, {}) for family in FAMILIES},
    SEVERAL_FIT: ("roberta", LABELS, {"problem_type": "multi_label_classification"}),
    ONE_CLASS: ("distilbert", ["spam"], {}),
}
"""By the pipeline's name: family, classes and what config.json says beside them."""
TEXTS = [
    *SENTENCES,
    "",
    "?",
    "naïve café — 東京 🙂🙂",
    "A\u0301 e\u0301 שלום עולם",
    "x" * 400,
    "\n\t tab and newline \r\n",
    *(" ".join(SENTENCES * 3)[: 7 * length] for length in range(1, 24)),
    " ".join(SENTENCES * 4),
]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sources")
    return {
        name: save_small_model(folder / name, family, "SequenceClassification", labels, **config)
        for name, (family, labels, config) in MODELS.items()
    }


@pytest.fixture(scope="module")
def repository(sources: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `conch new` writes for each of them, and `conch build` makes of that."""
    folder = tmp_path_factory.mktemp("classifiers")
    settings = Settings(repository=folder / "repository", state=folder / "state")
    settings.repository.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        # A process of its own for each, which saves memory, would spend its time on importing torch.
        patch.setattr(run, "in_workers", one_after_the_other)
        for name, source in sources.items():
            run.new_pipeline(settings, answers(name, {"task": "text-classification", "source": str(source)}, None))
    assert sorted(build(settings, load_pipelines(settings.repository), lambda line: None)) == sorted(MODELS)
    return settings.repository


@pytest.fixture(scope="module")
def server(repository: Path, start_triton: StartTriton) -> EmbeddedServer:
    return start_triton(repository, models_of(load_pipelines(repository)))


@pytest.fixture
def client(server: EmbeddedServer) -> Iterator[Client]:
    with Client(server.grpc_url, timeout_s=60) as client:
        yield client


@pytest.fixture(params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture
def wanted(sources: Mapping[str, Path], name: str) -> list[dict[str, float]]:
    """What transformers says to each text, with its own tokenizer, one at a time: the scores of all classes."""
    classify: Any = transformers_pipeline("text-classification", model=str(sources[name]), device="cpu")
    found = [classify([text], top_k=None, truncation=True, max_length=POSITIONS)[0] for text in TEXTS]
    return [{each["label"]: each["score"] for each in scores} for scores in found]


def assert_equal(answers: Sequence[Classification], wanted: Sequence[Mapping[str, float]]) -> None:
    for answer, scores in zip(answers, wanted, strict=True):
        assert answer.label == max(scores, key=lambda label: scores[label])
        assert answer.scores == pytest.approx(dict(scores), abs=TOLERANCE)


def test_it_answers_as_transformers_does_to_many_texts_at_once_and_to_each_alone(
    client: Client, name: str, wanted: Sequence[Mapping[str, float]]
) -> None:
    spread = [max(scores[label] for scores in wanted) - min(scores[label] for scores in wanted) for label in wanted[0]]
    assert max(spread) > 0.1, "a model that says the same to all texts proves nothing"
    assert_equal(client.classify(name, TEXTS), wanted)
    with ThreadPoolExecutor(CALLERS) as callers:
        assert_equal(list(callers.map(lambda text: client.classify(name, text), TEXTS)), wanted)


def test_a_text_over_the_limit_counts_as_far_as_the_limit(client: Client, repository: Path, name: str) -> None:
    limits = load_pipeline(repository / name).text
    assert limits is not None and limits.max_tokens == POSITIONS
    long = " ".join(SENTENCES * 4)
    assert client.classify(name, long).scores == client.classify(name, f"{long} and more").scores


def test_classes_that_may_fit_together_have_scores_of_their_own(client: Client) -> None:
    sums = [sum(each.scores.values()) for each in client.classify(SEVERAL_FIT, TEXTS)]
    assert max(sums) - min(sums) > 0.1


def test_a_class_alone_is_more_or_less_sure(client: Client) -> None:
    found = client.classify(ONE_CLASS, TEXTS)
    assert {each.label for each in found} == {"spam"}
    assert min(each.score for each in found) < max(each.score for each in found) - 0.1
