"""Question answering: the tokenizer, the model with its ragged head, and the reference's answers.

transformers 5 has dropped the question-answering pipeline, so the reference is the algorithm that version 4 documents,
written here on the library's own model and tokenizer, one window at a time. It shares no code with the step that
serves, and was compared with the pipeline of transformers 4.57 itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import torch
from transformers import AutoModelForQuestionAnswering, PreTrainedModel, PreTrainedTokenizerFast

from conch_tools.build.answer_quality import AnswerF1, HeldoutQuestion
from conch_tools.build.encoders import require_positions, source_model, tells_segments
from conch_tools.build.quality import Quality
from conch_tools.build.ragged import export_ragged
from conch_tools.build.reference import Item, Reference, StepAnswers, byte_item, json_row, mixed_texts, texts_of
from conch_tools.build.sources import source_folder, token_positions
from conch_tools.build.staging import Staged
from conch_tools.build.step_config import step_parameters
from conch_tools.build.text import fast_tokenizer, token_limit
from conch_tools.errors import BuildError
from conch_tools.pipelines import Pipeline
from conch_tools.training import question_training

ROLE = "answers"
LONG_WORDS = 900
"""Of the corpus's longest contexts, which take several windows."""
MAX_ANSWER_LENGTH = 15
CANDIDATES = 12
"""Spans of each window for one answer: transformers' 2 * top_k + 10."""


class SpanLogits(torch.nn.Module):
    """A question-answering model as the ragged head calls it: (ids, mask, segments [n, L]) to logits [n, L, 2]."""

    def __init__(self, model: PreTrainedModel, knows_segments: bool) -> None:
        super().__init__()
        self.model = model
        self.knows_segments = knows_segments

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
        if self.knows_segments:
            found = self.model(input_ids=ids, attention_mask=mask, token_type_ids=segments)
        else:
            # The exporter drops an input that nothing reads, but config.pbtxt has it for every model.
            found = self.model(input_ids=ids + 0 * segments, attention_mask=mask)
        return torch.stack([found.start_logits, found.end_logits], dim=-1)


class QuestionAnsweringBuilder:
    """`<pipeline>_answers` and `<pipeline>_model` of a model that Conch trained, or of any for question answering."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        folder = source_folder(pipeline)
        self._tokenizer = fast_tokenizer(pipeline, folder)
        name = pipeline.source.training
        self._training = None if name is None else question_training(name)
        self._model = (
            source_model(pipeline, AutoModelForQuestionAnswering, "model for question answering")
            if self._training is None
            else self._training.load(folder)
        )
        self._model.eval()
        self._limit = token_limit(pipeline)
        require_positions(pipeline, self._limit, token_positions(pipeline, self._model.config))
        self._overlap = _overlap(pipeline, self._limit)

    def stage(self, staged: Staged) -> None:
        """Write tokenizer and model."""
        tokenizer = self._tokenizer.backend_tokenizer
        tokenizer.no_padding()
        tokenizer.no_truncation()
        tokenizer.save(str(staged.version(self._pipeline.step(ROLE)) / "tokenizer.json"))
        export_ragged(
            SpanLogits(self._model, tells_segments(self._tokenizer, self._model.config)),
            self._limit,
            "logits",
            staged.version(self._pipeline.step("model")) / "model.onnx",
            segments=True,
        )

    def corpus(self) -> Sequence[Item]:
        """Questions on awkward, short and long contexts."""
        return [byte_item(question=question, context=context) for question, context in _corpus(self._pipeline)]

    def reference(self, items: Sequence[Item]) -> Reference:
        """transformers' algorithm on the source model, one question at a time."""
        pairs = [(texts_of(item, "question")[0], texts_of(item, "context")[0]) for item in items]
        answers = [json_row([asdict(self._answer(*pair))]) for pair in pairs]
        return Reference(
            library="transformers",
            items=items,
            steps=[StepAnswers(self._pipeline.step(ROLE), {"answers": answers})],
            tolerance=self._pipeline.gates.max_abs_difference,
        )

    def quality(self) -> Quality | None:
        """Token F1 on the training's held-out questions; None for a model that was not trained here."""
        if self._training is None:
            return None
        held = self._training.heldout()
        return AnswerF1([HeldoutQuestion(each.question, each.context, each.answer) for each in held])

    def _answer(self, question: str, context: str) -> ReferenceAnswer:
        return reference_answer(self._model, self._tokenizer, question, context, self._limit, self._overlap)


@dataclass
class ReferenceAnswer:
    """What the reference says, in the fields of the pipeline's answers."""

    text: str
    score: float
    start: int
    end: int


def reference_answer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    question: str,
    context: str,
    max_tokens: int,
    overlap: int,
) -> ReferenceAnswer:
    """The best answer, with `handle_impossible_answer`, of transformers 4's question-answering pipeline."""
    encoded = tokenizer(
        question,
        context,
        truncation="only_second",
        max_length=max_tokens,
        stride=overlap,
        return_overflowing_tokens=True,
    )
    answers: list[ReferenceAnswer] = []
    silence = 1.0
    for index, encoding in enumerate(encoded.encodings):
        names = [name for name in tokenizer.model_input_names if name in encoded]
        with torch.no_grad():
            found = model(**{name: torch.tensor([encoded[name][index]]) for name in names})
        inside = torch.tensor([place == 0 or part == 1 for place, part in enumerate(encoding.sequence_ids)])
        start, end = (
            torch.where(inside, logits[0], torch.tensor(-10000.0)).softmax(0)
            for logits in (found.start_logits, found.end_logits)
        )
        silence = min(silence, float(start[0] * end[0]))
        start[0] = end[0] = 0
        for first, last, score in _candidates(start, end):
            begin = encoding.word_to_chars(encoding.token_to_word(first), 1)[0]
            stop = encoding.word_to_chars(encoding.token_to_word(last), 1)[1]
            text = context[begin:stop]
            same = [answer for answer in answers if answer.text.lower() == text.lower()]
            if same:
                same[0].score += score
            else:
                answers.append(ReferenceAnswer(text, score, begin, stop))
    return max([*answers, ReferenceAnswer("", silence, 0, 0)], key=lambda answer: answer.score)


def _candidates(start: torch.Tensor, end: torch.Tensor) -> Iterator[tuple[int, int, float]]:
    """First token, last token and score of a window's best spans."""
    products = torch.outer(start, end).triu().tril(MAX_ANSWER_LENGTH - 1)
    scores, places = products.flatten().topk(min(CANDIDATES, products.numel()))
    for score, place in zip(scores.tolist(), places.tolist(), strict=True):
        if score > 0:
            yield (*divmod(place, len(end)), score)


def _corpus(pipeline: Pipeline) -> list[tuple[str, str]]:
    """Questions and contexts: the samples, and awkward, short and long contexts made of their words."""
    samples = [(str(sample.input["question"]), str(sample.input["context"])) for sample in pipeline.samples]
    contexts = [context for _, context in samples]
    long = " ".join(itertools.islice(itertools.cycle(" ".join(contexts).split()), LONG_WORDS))
    decorated = [f"🙂 e\u0301 שלום — {context} 東京" for context in contexts]
    others = [each for each in mixed_texts(contexts) if each.strip() and each not in contexts]
    questions = itertools.cycle([question for question, _ in samples])
    return [*samples, *zip(questions, [long, *decorated, *others], strict=False)]


def _overlap(pipeline: Pipeline, limit: int) -> int:
    """The `overlap` in the step's config.pbtxt. Raises BuildError when its `max_tokens` is not the pipeline's."""
    given = step_parameters(pipeline, ROLE)
    if given.get("max_tokens") != str(limit) or not given.get("overlap", "").isdigit():
        raise BuildError(
            pipeline.name,
            f"{pipeline.step(ROLE)} must have parameters `overlap`, a number, and `max_tokens`, {limit} as in [text]",
        )
    return int(given["overlap"])
