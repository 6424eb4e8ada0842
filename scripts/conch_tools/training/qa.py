"""Answers found in a text: MiniLM with a low-rank adapter and a start/end head, trained on Conch's own texts.

The encoder was made for the meaning of sentences and knows nothing of spans, so it is taught in two lessons. The first
shows a question with one to three sentences, of which one holds the answer or none does: these rows are short, so the
same time holds more of them, and a window without the answer teaches when to stay silent. The second shows whole
paragraphs, as the pipeline meets them. "No answer" is the span of the first token, [CLS], as in SQuAD 2.

A fifth of the questions are on one to three everyday sentences with several persons, numbers or dates: without them
the model stays silent on "Anna built it.", which is like nothing in the paragraphs, and takes one neighbour for the
other. Both lessons show them SHORT_TIMES. The price: it answers more often where a paragraph does not.

The paragraphs and questions (data/qa) were written for this repository; nothing in them is taken from a published data
set. `paragraphs.txt` trains; `heldout.txt` was written by another hand and only measures. A block is

    # The paragraph, on one line.
    ? A question
    = the span that answers it, which the paragraph holds once
    ? A question without an answer
    -
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoTokenizer, BertForQuestionAnswering

from conch_tools.training import DATA, Report, encoder_folder
from conch_tools.training.adapter import Recipe, Row, adapt, fit, load_trained, save_trained

FOLDER = DATA / "qa"
ADAPTER = FOLDER / "adapter.safetensors"
SENTENCES = Recipe(tokens=480_000)
PARAGRAPHS = Recipe(tokens=450_000)
SEED = 0
MOST_SENTENCES = 3
"""Of a row of the first lesson."""
SILENT_SHARE = 0.15
"""How many questions of the first lesson are shown without the sentence that answers them."""
SHORT = 250
"""Characters of the longest context that counts as short."""
SHORT_TIMES = 3
"""How often a question on a short context is shown where others are shown once."""
MASKED = -1e4
"""The logit of a token that can begin or end no answer."""
_SENTENCE = re.compile(r"\S.*?(?:[.!?](?=\s+[A-Z\"'(])|$)")


@dataclass(frozen=True)
class Question:
    """A question on a context; the answer is the characters `start` to `end`, none when both are 0."""

    question: str
    context: str
    start: int
    end: int

    @property
    def answer(self) -> str:
        """The text of the answer, empty when there is none."""
        return self.context[self.start : self.end]


class SpanModel(torch.nn.Module):
    """Hugging Face's model as the trainer calls it: (ids [n, L], mask, segments) to start and end logits [n, L, 2]."""

    def __init__(self, answering: BertForQuestionAnswering) -> None:
        super().__init__()
        self.answering = answering

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
        found = self.answering(input_ids=ids, attention_mask=mask, token_type_ids=segments)
        return torch.stack([found.start_logits, found.end_logits], dim=-1)


def load(folder: Path) -> BertForQuestionAnswering:
    """The encoder in `folder` with the committed adapter merged into its weights, and the committed head."""
    model = _adapted(folder)
    load_trained(model, ADAPTER)
    model.eval()
    return model.answering


def heldout() -> list[Question]:
    """Questions by another hand."""
    return read_questions(FOLDER / "heldout.txt")


def read_questions(path: Path) -> list[Question]:
    """Every question of a file in the form above, in its order."""
    found: list[Question] = []
    for block in path.read_text(encoding="utf-8").strip().split("\n\n"):
        context, *lines = (line[2:] for line in block.splitlines())
        for question, answer in zip(lines[::2], lines[1::2], strict=True):
            start, end = _place(context, answer)
            found.append(Question(question, context, start, end))
    return found


def train(report: Report) -> None:
    """Train the adapter and the head on the questions and write them."""
    save_trained(fit_questions(encoder_folder(), read_questions(FOLDER / "paragraphs.txt"), report), ADAPTER)


def fit_questions(
    folder: Path,
    questions: Sequence[Question],
    report: Report,
    lessons: tuple[Recipe, Recipe] = (SENTENCES, PARAGRAPHS),
) -> SpanModel:
    """A model trained on `questions`: on a few sentences of each context, then on whole ones."""
    torch.manual_seed(SEED)
    model = _adapted(folder)
    tokenizer: Tokenizer = AutoTokenizer.from_pretrained(folder).backend_tokenizer
    tokenizer.no_padding()
    tokenizer.enable_truncation(model.answering.config.max_position_embeddings, strategy="only_second")
    short = [each for each in questions if len(each.context) <= SHORT]
    repeated = [*questions, *short * (SHORT_TIMES - 1)]
    few = list(excerpts(repeated, rounds=2))
    for lesson, (recipe, shown) in enumerate(zip(lessons, (few, repeated), strict=True), start=1):
        report(f"lesson {lesson}: {len(shown)} rows")
        _fit(model, tokenizer, shown, recipe, report)
    return model


def excerpts(questions: Sequence[Question], rounds: int) -> Iterator[Question]:
    """Each question `rounds` times with a few neighbouring sentences of its context, the same ones each time."""
    chance = random.Random(SEED)
    for question in list(questions) * rounds:
        sentences = [match.span() for match in _SENTENCE.finditer(question.context)]
        holding = [i for i, (start, end) in enumerate(sentences) if start < question.end and question.start < end]
        count = chance.randint(max(1, len(holding)), max(MOST_SENTENCES, len(holding)))
        firsts = list(range(max(1, len(sentences) - count + 1)))
        with_it = [first for first in firsts if holding and first <= holding[0] and holding[-1] < first + count]
        without = [first for first in firsts if not any(first <= i < first + count for i in holding)]
        silent = not with_it or (without and chance.random() < SILENT_SHARE)
        if silent and not without:
            continue
        first = chance.choice(without if silent else with_it)
        start, end = sentences[first][0], sentences[min(first + count, len(sentences)) - 1][1]
        place = (0, 0) if silent else (question.start - start, question.end - start)
        yield replace(question, context=question.context[start:end], start=place[0], end=place[1])


def _fit(model: SpanModel, tokenizer: Tokenizer, questions: Sequence[Question], recipe: Recipe, report: Report) -> None:
    encodings = tokenizer.encode_batch([(each.question, each.context) for each in questions])
    truths = torch.tensor(
        [
            [encoding.char_to_token(place, 1) or 0 for place in (each.start, each.end - 1)] if each.answer else [0, 0]
            for each, encoding in zip(questions, encodings, strict=True)
        ]
    )
    possible = [[place == 0 or where == 1 for place, where in enumerate(each.sequence_ids)] for each in encodings]

    def losses(logits: torch.Tensor, chosen: Sequence[int]) -> torch.Tensor:
        # The rows of a batch have one length.
        mask = torch.tensor([possible[index] for index in chosen]).unsqueeze(-1)
        masked = logits.masked_fill(~mask, MASKED)
        return torch.nn.functional.cross_entropy(masked, truths[chosen], reduction="none").mean(dim=1)

    fit(model, [Row(each.ids, each.type_ids) for each in encodings], losses, recipe, report)


def _place(context: str, answer: str) -> tuple[int, int]:
    """Where the answer stands as whole words; (0, 0) for the empty answer of `-`."""
    found = re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", context) if answer else None
    return found.span() if found else (0, 0)


def _adapted(folder: Path) -> SpanModel:
    # Eager attention: the fused one is slower on a CPU in BF16, and does not export to plain matrix products.
    answering = BertForQuestionAnswering.from_pretrained(
        folder, attn_implementation="eager", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    answering.bert.requires_grad_(False)
    adapt(answering.bert.encoder)
    return SpanModel(answering)
