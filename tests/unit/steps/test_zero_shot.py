"""Reading a zero-shot request, refusing what cannot be answered, and ranking by what either kind of model says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from conch_steps.errors import ArtifactError, InvalidInput, ModelConfigError, WrongAnswer
from conch_steps.serving import StepModel, StepRequest
from conch_steps.texts import MAX_TEXT_BYTES
from conch_steps.zero_shot import MAX_ROWS, Question, Rules, checked_template, ranked, read_question, require_rows
from conch_steps.zero_shot_entailment import EntailmentClasses, EntailmentRanking
from conch_steps.zero_shot_similarity import SCALE, SimilarityRanking

RULES = Rules("about {}", max_labels=4)
WORDS = ["[UNK]", "[CLS]", "[SEP]", "rain", "sun", "all", "day", "about", "weather", "food"]
TOKENS = 9

Vectors = Mapping[str, Sequence[float]]


def byte_rows(*rows: Sequence[str | bytes]) -> npt.NDArray[np.object_]:
    encoded = [[each.encode() if isinstance(each, str) else each for each in row] for row in rows]
    return np.array(encoded, dtype=np.object_)


def question(texts: Sequence[str], *labels: Sequence[str], multi_label: bool = False) -> Question:
    return Question(texts, byte_rows(*labels), [[f"about {each}" for each in row] for row in labels], multi_label)


@pytest.fixture
def ask(make_request: Any) -> Any:
    """Reads a request of these texts and labels."""

    def read(texts: Sequence[str | bytes], *labels: Sequence[str | bytes], **parameters: Any) -> Question:
        tensors = {"text": byte_rows(*([text] for text in texts)), "labels": byte_rows(*labels)}
        return read_question(StepRequest(make_request(tensors, parameters=parameters)), RULES)

    return read


def test_a_label_becomes_a_sentence_by_the_models_template_or_the_requests_own(ask: Any) -> None:
    asked = ask(["rain", "soup"], ["weather", "food"], ["weather", "food"])
    assert asked.texts == ["rain", "soup"]
    assert asked.hypotheses == [["about weather", "about food"]] * 2
    assert ask(["rain"], ["weather"], hypothesis_template="{}!").hypotheses == [["weather!"]]


def test_a_label_may_hold_the_mark_of_its_own_place(ask: Any) -> None:
    assert ask(["rain"], ["{} {0.x}"]).hypotheses == [["about {} {0.x}"]]


@pytest.mark.parametrize(
    ("texts", "labels", "said"),
    [
        (["t"], [[]], "names 0 labels for a text, must be from 1 to 4"),
        (["t"], [list("abcde")], "names 5 labels"),
        (["t"], [["a", " "]], r"`labels`\[0\]\[1\] is empty"),
        (["t", "u"], [["a", "b"], ["b", "b"]], r"`labels`\[1\] names 'b' twice"),
        (["t"], [[b"\xff"]], r"`labels`\[0\]\[0\] is not UTF-8: byte 0 is 0xff"),
        (["t"], [["a" * 2000]], r"`labels`\[0\]\[0\] has 2000 bytes"),
        (["t", b"a\xfe"], [["a"], ["a"]], r"`text`\[1\] is not UTF-8: byte 1 is 0xfe"),
        (["t" * MAX_TEXT_BYTES] * 5, [["a"]] * 5, "`text` has more than 4194304 bytes together"),
        (["t", "u"], [["a"]], "`labels` has 1 rows for 2 texts"),
    ],
)
def test_what_cannot_be_answered_is_refused_by_its_place(ask: Any, texts: Any, labels: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        ask(texts, *labels)


@pytest.mark.parametrize("template", ["", "none", "{} and {}", 5, None, "x" * 600 + "{}"])
def test_a_template_has_one_place_for_the_label(template: object) -> None:
    with pytest.raises(InvalidInput, match=r"with \{\} once") as refused:
        checked_template(template)
    assert len(str(refused.value)) < 250


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_multi_label_is_true_or_false(ask: Any, value: object) -> None:
    with pytest.raises(InvalidInput, match="must be true or false"):
        ask(["t"], ["a"], multi_label=value)


def test_rules_come_from_config_parameters() -> None:
    model = StepModel("m", Path(), {"hypothesis_template": "x {}", "max_labels": "7"})
    assert Rules.of(model) == Rules("x {}", 7)
    with pytest.raises(ModelConfigError, match="model `m`: parameter `hypothesis_template` is missing"):
        Rules.of(StepModel("m", Path(), {}))


def test_a_request_makes_only_so_many_rows() -> None:
    require_rows(MAX_ROWS)
    with pytest.raises(InvalidInput, match=f"make {MAX_ROWS + 1} rows for the model"):
        require_rows(MAX_ROWS + 1)


def test_labels_are_ranked_best_first_and_equal_ones_stay_in_order() -> None:
    answer = ranked(byte_rows(["a", "b", "c"]), np.array([[0.2, 0.6, 0.2]], dtype=np.float32))
    assert answer["label"].tolist() == [[b"b", b"a", b"c"]]
    assert answer["score"].dtype == np.float32


def test_scores_that_are_no_numbers_are_the_models_fault() -> None:
    with pytest.raises(WrongAnswer, match="NaN"):
        ranked(byte_rows(["a", "b"]), np.array([[np.nan, 1]], dtype=np.float32))


class Embedder:
    """Looks vectors up, and keeps what it was asked."""

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = vectors
        self.asked: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
        self.asked.append(list(texts))
        return {text: np.array(self.vectors[text], dtype=np.float32) for text in texts}


PLANE = {"rain": [2, 0], "soup": [0, 3], "about weather": [5, 0], "about food": [0, 1], "about mud": [1, 1]}


def test_scores_are_the_softmax_of_scaled_cosines() -> None:
    answer = SimilarityRanking(Embedder(PLANE), scale=2).answer(
        question(["rain", "soup"], ["food", "weather"], ["food", "mud"])
    )
    assert answer["label"].tolist() == [[b"weather", b"food"], [b"food", b"mud"]]
    powers = np.exp([2, 0])
    np.testing.assert_allclose(answer["score"][0], powers / powers.sum(), rtol=1e-6)
    powers = np.exp([2, np.sqrt(2)])
    np.testing.assert_allclose(answer["score"][1], powers / powers.sum(), rtol=1e-6)


def test_labels_that_come_again_are_embedded_once_but_for_one_probe() -> None:
    embed = Embedder(PLANE)
    ranking = SimilarityRanking(embed, scale=2)
    first = ranking.answer(question(["rain"], ["food", "weather"]))
    again = ranking.answer(question(["rain"], ["food", "weather"]))
    assert embed.asked == [["rain", "about food", "about weather"], ["rain", "about food"]]
    np.testing.assert_array_equal(first["score"], again["score"])


def test_other_weights_behind_the_embedding_are_noticed() -> None:
    embed = Embedder(PLANE)
    ranking = SimilarityRanking(embed, scale=2)
    ranking.answer(question(["rain"], ["food", "weather"]))
    embed.vectors = {**PLANE, "rain": [0, 1], "about food": [0, -1], "about weather": [0, 1]}
    answer = ranking.answer(question(["rain"], ["food", "weather"]))
    np.testing.assert_allclose(answer["score"][0, 0], 1 / (1 + np.exp(-4)), rtol=1e-6)


def test_the_labels_that_were_used_last_are_remembered() -> None:
    embed = Embedder(PLANE)
    ranking = SimilarityRanking(embed, scale=2, cached_labels=1)
    ranking.answer(question(["rain"], ["food", "weather"]))
    ranking.answer(question(["rain"], ["food", "weather"]))
    assert embed.asked[1] == ["rain", "about food", "about weather"]


def test_similarity_cannot_judge_a_label_for_itself() -> None:
    with pytest.raises(InvalidInput, match="needs a model of natural-language inference"):
        SimilarityRanking(Embedder(PLANE), scale=2).answer(question(["rain"], ["food"], multi_label=True))


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "much"])
def test_a_scale_is_a_number_above_zero(text: str) -> None:
    assert SCALE.of(StepModel("m", Path(), {"scale": "2.5"})) == 2.5
    with pytest.raises(ModelConfigError, match="model `m`: parameter `scale`"):
        SCALE.of(StepModel("m", Path(), {"scale": text}))


@pytest.fixture
def tokenizer_file(tmp_path: Path) -> Path:
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    tokenizer.enable_truncation(TOKENS, strategy="only_first")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


class Judge:
    """Logits of contradiction, neutral, entailment for each pair in turn; keeps the pairs."""

    def __init__(self, *logits: Sequence[float]) -> None:
        self.logits = logits
        self.rows: list[list[int]] = []
        self.segments: list[list[int]] | None = None

    def __call__(
        self, rows: Sequence[Sequence[int]], segments: Sequence[Sequence[int]] | None
    ) -> list[npt.NDArray[np.float32]]:
        self.rows = [list(row) for row in rows]
        self.segments = None if segments is None else [list(row) for row in segments]
        return [np.array(row, dtype=np.float32) for row in self.logits]


CLASSES = EntailmentClasses(entailment=2, contradiction=0, segments=True)


def test_one_label_of_many_is_the_softmax_of_entailment(tokenizer_file: Path) -> None:
    judge = Judge([9, 9, 0], [-9, -9, 1])
    answer = EntailmentRanking(tokenizer_file, CLASSES, judge).answer(question(["rain"], ["weather", "food"]))
    assert answer["label"].tolist() == [[b"food", b"weather"]]
    np.testing.assert_allclose(answer["score"], [[1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))]], rtol=1e-6)


@pytest.mark.parametrize(("labels", "multi_label"), [(["food"], False), (["food", "weather"], True)])
def test_single_labels_are_entailment_against_contradiction(
    tokenizer_file: Path, labels: list[str], multi_label: bool
) -> None:
    judge = Judge(*[[1, 9, 3]] * len(labels))
    answer = EntailmentRanking(tokenizer_file, CLASSES, judge).answer(
        question(["rain"], labels, multi_label=multi_label)
    )
    np.testing.assert_allclose(answer["score"], [[1 / (1 + np.exp(-2))] * len(labels)], rtol=1e-6)


def test_pairs_are_what_the_tokenizer_itself_makes_of_them(tokenizer_file: Path) -> None:
    judge = Judge(*[[0, 0, 0]] * 4)
    texts = ["rain all day", "sun rain all day sun rain all day sun"]
    EntailmentRanking(tokenizer_file, CLASSES, judge).answer(question(texts, *[["weather", "food"]] * 2))
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    wanted = [tokenizer.encode(text, f"about {label}") for text in texts for label in ("weather", "food")]
    assert judge.rows == [each.ids for each in wanted]
    assert judge.segments == [each.type_ids for each in wanted]
    assert len(judge.rows[3]) == TOKENS


def test_a_model_without_segments_gets_none(tokenizer_file: Path) -> None:
    judge = Judge([0, 0, 0])
    EntailmentRanking(tokenizer_file, EntailmentClasses(2, 0, False), judge).answer(question(["rain"], ["food"]))
    assert judge.segments is None


def test_a_hypothesis_that_leaves_no_room_is_refused(tokenizer_file: Path) -> None:
    ranking = EntailmentRanking(tokenizer_file, CLASSES, Judge())
    with pytest.raises(InvalidInput, match="has more than 5 tokens"):
        ranking.answer(question(["rain"], ["all all all all all"]))


def test_a_tokenizer_that_would_cut_the_hypothesis_is_refused(tokenizer_file: Path) -> None:
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.enable_truncation(TOKENS)
    tokenizer.save(str(tokenizer_file))
    with pytest.raises(ModelConfigError, match="only_first"):
        EntailmentRanking(tokenizer_file, CLASSES, Judge())


def test_the_classes_are_read_from_their_file(tmp_path: Path) -> None:
    file = tmp_path / "entailment.json"
    with pytest.raises(ArtifactError, match="run `conch build`"):
        EntailmentClasses.read(file)
    file.write_text('{"entailment": 2, "contradiction": 0, "segments": true}')
    assert EntailmentClasses.read(file) == CLASSES
    file.write_text('{"entailment": 2}')
    with pytest.raises(ModelConfigError, match="must be a JSON object with entailment"):
        EntailmentClasses.read(file)
