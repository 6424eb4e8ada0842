"""The tasks of text beside classification, added by `conch new`, built and served, each with models of some families:
tests/unit/tools/build/test_families.py has them all. Answers are held against the library that a user comes from.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from transformers import AutoTokenizer
from transformers import pipeline as transformers_pipeline

from conch_client import Client, InvalidInput
from conch_tools.build.run import build
from conch_tools.check import check_repository, render
from conch_tools.new import run
from conch_tools.new.questions import answers
from conch_tools.pipelines import Task, load_pipelines, models_of
from conch_tools.server import EmbeddedServer
from conch_tools.settings import Settings
from conch_tools.step_kit import Step, StepRepository
from conch_tools.step_kit.fuzzing import fuzz_step, requests_of
from conch_tools.step_kit.model_folder import read_config
from small_text_models import POSITIONS, SENTENCES, save_small_model
from workers_here import one_after_the_other

StartTriton = Callable[..., EmbeddedServer]

CALLERS = 16
TOLERANCE = 1e-4
ENTITIES = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
ENTAILMENT = ["contradiction", "neutral", "entailment"]
QUESTION = "Who built the lighthouse?"
LABELS = ["sport", "travel", "a complaint"]
MODELS: Mapping[str, tuple[Task, str, str | None, Sequence[str]]] = {
    "entities_bert": ("token-classification", "bert", "TokenClassification", ENTITIES),
    "entities_roberta": ("token-classification", "roberta", "TokenClassification", ENTITIES),
    "entities_xlmr": ("token-classification", "xlm-roberta", "TokenClassification", ENTITIES),
    "answers_deberta": ("question-answering", "deberta-v2", "QuestionAnswering", []),
    "answers_modernbert": ("question-answering", "modernbert", "QuestionAnswering", []),
    "labels_bert": ("zero-shot-classification", "bert", "SequenceClassification", ENTAILMENT),
    "labels_roberta": ("zero-shot-classification", "roberta", "SequenceClassification", ENTAILMENT),
    "vectors_mpnet": ("feature-extraction", "mpnet", None, []),
    "vectors_sentence": ("feature-extraction", "electra", None, []),
    "fills_distilbert": ("fill-mask", "distilbert", "MaskedLM", []),
    "fills_roberta": ("fill-mask", "roberta", "MaskedLM", []),
}
"""By the pipeline's name: task, family, head and labels."""
TEXTS = [*SENTENCES, "?", "naïve café — 東京 🙂🙂", "A\u0301 e\u0301 שלום", "\t tab\r\n", " ".join(SENTENCES * 4)]


def of_task(task: Task) -> list[str]:
    return [name for name, (its, *_) in MODELS.items() if its == task]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sources")
    saved = {
        name: save_small_model(folder / name, family, head, labels)
        for name, (_, family, head, labels) in MODELS.items()
    }
    _as_sentence_transformers(saved["vectors_sentence"])
    return saved


def _as_sentence_transformers(folder: Path) -> None:
    """The same encoder in the form of that library, with mean pooling, unit length and a limit of its own."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    encoder = Transformer(str(folder), max_seq_length=POSITIONS // 2)
    SentenceTransformer(modules=[encoder, Pooling(32), Normalize()], device="cpu").save(str(folder))


@pytest.fixture(scope="module")
def settings(sources: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Of the repository that `conch new` writes and `conch build` fills."""
    folder = tmp_path_factory.mktemp("tasks")
    settings = Settings(repository=folder / "repository", state=folder / "state")
    settings.repository.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        # A process of its own for each, which saves memory, would spend its time on importing torch.
        patch.setattr(run, "in_workers", one_after_the_other)
        for name, source in sources.items():
            told = {"task": MODELS[name][0], "source": str(source)}
            run.new_pipeline(settings, answers(name, told, None))
    assert sorted(build(settings, load_pipelines(settings.repository), lambda line: None)) == sorted(MODELS)
    return settings


def test_what_is_written_and_built_has_no_faults(settings: Settings) -> None:
    assert render(check_repository(settings.repository, settings.backends)) == "no faults found"


@pytest.fixture(scope="module")
def server(settings: Settings, start_triton: StartTriton) -> EmbeddedServer:
    return start_triton(settings.repository, models_of(load_pipelines(settings.repository)))


@pytest.fixture
def client(server: EmbeddedServer) -> Iterator[Client]:
    with Client(server.grpc_url, timeout_s=60) as client:
        yield client


def each_alone(ask: Callable[[str], Any], texts: Sequence[str]) -> list[Any]:
    with ThreadPoolExecutor(CALLERS) as callers:
        return list(callers.map(ask, texts))


@pytest.mark.parametrize("name", of_task("token-classification"))
@pytest.mark.parametrize("strategy", ["simple", "first"])
def test_entities_are_those_of_transformers_and_stand_where_it_says(
    client: Client, sources: Mapping[str, Path], name: str, strategy: str
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(sources[name], model_max_length=POSITIONS)
    find: Any = transformers_pipeline(
        "token-classification",
        model=str(sources[name]),
        tokenizer=tokenizer,
        aggregation_strategy=strategy,
        stride=POSITIONS // 4,
        device="cpu",
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Tokenizer does not support real words")
        wanted = [find(text) for text in TEXTS]
    together = client.entities(TEXTS, model=name, aggregation_strategy=strategy)
    alone = each_alone(lambda text: client.entities(text, model=name, aggregation_strategy=strategy), TEXTS)
    assert sum(map(len, wanted)) > len(TEXTS)
    for found in (together, alone):
        for text, entities, expected in zip(TEXTS, found, wanted, strict=True):
            places = [(each.type, each.start, each.end, each.text) for each in entities]
            assert places == [
                (each["entity_group"], each["start"], each["end"], text[each["start"] : each["end"]])
                for each in expected
            ]
            np.testing.assert_allclose(
                [each.score for each in entities], [each["score"] for each in expected], atol=TOLERANCE
            )


@pytest.mark.parametrize("name", of_task("question-answering"))
def test_answers_stand_where_they_say_and_are_the_same_in_any_company(client: Client, name: str) -> None:
    together = client.answer(QUESTION, TEXTS, model=name, handle_impossible_answer=False)
    alone = each_alone(lambda text: client.answer(QUESTION, text, model=name, handle_impossible_answer=False), TEXTS)
    for text, one, other in zip(TEXTS, together, alone, strict=True):
        assert (one.text, one.start, one.end) == (other.text, other.start, other.end)
        assert one.score == pytest.approx(other.score, abs=TOLERANCE)
        assert text[one.start : one.end] == one.text


@pytest.mark.parametrize("name", of_task("zero-shot-classification"))
def test_labels_are_ranked_as_transformers_ranks_them(client: Client, sources: Mapping[str, Path], name: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(sources[name], model_max_length=POSITIONS)
    rank: Any = transformers_pipeline(
        "zero-shot-classification", model=str(sources[name]), tokenizer=tokenizer, device="cpu"
    )
    wanted = [rank(text, LABELS) for text in TEXTS]
    together = client.zero_shot(TEXTS, LABELS, model=name)
    alone = each_alone(lambda text: client.zero_shot(text, LABELS, model=name), TEXTS)
    for found in (together, alone):
        for answer, expected in zip(found, wanted, strict=True):
            assert answer.label == expected["labels"][0]
            scores = dict(zip(expected["labels"], expected["scores"], strict=True))
            assert answer.scores == pytest.approx(scores, abs=TOLERANCE)


@pytest.mark.parametrize("name", of_task("feature-extraction"))
def test_vectors_are_those_of_sentence_transformers(client: Client, sources: Mapping[str, Path], name: str) -> None:
    from sentence_transformers import SentenceTransformer

    library = SentenceTransformer(str(sources[name]), device="cpu")
    library.max_seq_length = min(library.max_seq_length or POSITIONS, POSITIONS)
    wanted = library.encode(TEXTS, batch_size=1, show_progress_bar=False)
    np.testing.assert_allclose(client.embed(TEXTS, model=name), wanted, atol=TOLERANCE)
    alone = each_alone(lambda text: client.embed(text, model=name), TEXTS)
    np.testing.assert_allclose(np.stack(alone), wanted, atol=TOLERANCE)


def test_vectors_have_the_length_and_the_limit_that_their_source_asks_for(client: Client) -> None:
    long, longer = " ".join(SENTENCES * 4), " ".join(SENTENCES * 5)
    vectors = client.embed([long, longer, " ".join(long.split()[:4])], model="vectors_sentence")
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)
    assert not np.allclose(vectors[0], vectors[2], atol=1e-2)


def fills(client: Client, name: str, texts: Sequence[str], **parameters: Any) -> list[Any]:
    tensor = np.array([[text.encode()] for text in texts], dtype=np.object_)
    return [json.loads(row[0]) for row in client.infer(name, inputs={"text": tensor}, parameters=parameters)["fills"]]


@pytest.mark.parametrize("name", of_task("fill-mask"))
def test_masks_are_filled_as_transformers_fills_them(client: Client, sources: Mapping[str, Path], name: str) -> None:
    fill: Any = transformers_pipeline("fill-mask", model=str(sources[name]), device="cpu")
    mask = fill.tokenizer.mask_token
    texts = [
        f"{mask}",
        f"The room was {mask} and the staff could not have been kinder.",
        f"naïve café — {mask} 🙂",
        f"Broke on the {mask} day and nobody {mask} my emails.",
    ]
    wanted = [fill(text, top_k=7) for text in texts]
    for found in (
        fills(client, name, texts, top_k=7),
        each_alone(lambda text: fills(client, name, [text], top_k=7)[0], texts),
    ):
        for answer, expected in zip(found, wanted, strict=True):
            lists = zip(answer, expected, strict=True) if isinstance(expected[0], list) else [(answer, expected)]
            for mine, theirs in lists:
                assert [(each["token"], each["text"]) for each in mine] == [
                    (each["token_str"], each["sequence"]) for each in theirs
                ]
                scores = [each["score"] for each in theirs]
                assert [each["score"] for each in mine] == pytest.approx(scores, abs=TOLERANCE)


@pytest.mark.parametrize(
    ("text", "parameters", "said"),
    [
        ("no mask", {}, r"`text`\[0\] has no \[MASK\]: write it where a word is missing"),
        ("[MASK]" + " x" * POSITIONS, {}, f"the limit is {POSITIONS}: shorten it"),
        ("[MASK]", {"top_k": 0}, "parameter `top_k` is 0, but must be a whole number from 1 to 100"),
    ],
)
def test_a_text_that_nothing_can_be_filled_into_is_refused_by_name(
    client: Client, text: str, parameters: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        fills(client, "fills_distilbert", [text], **parameters)


@pytest.mark.parametrize("name", of_task("fill-mask"))
def test_the_step_that_fills_answers_each_request_alike_in_any_company(settings: Settings, name: str) -> None:
    mask = "[MASK]" if name == "fills_distilbert" else "<mask>"
    texts = st.sampled_from([f"{mask} day", f"{mask} {mask}", f"the {mask} 🙂", "no mask", f"{mask}{' x' * POSITIONS}"])
    parameters: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
        {}, optional={"top_k": st.sampled_from([1, 3, 0])}
    )
    config = read_config(settings.repository / f"{name}_fills")
    requests = requests_of(config, {"text": texts.map(str.encode)}, parameters)
    with StepRepository(settings.repository, settings.backends) as models:
        step = models[f"{name}_fills"]
        assert isinstance(step, Step)
        fuzz_step(step, requests, may_fail_with=("INVALID_ARG",), examples=8)
