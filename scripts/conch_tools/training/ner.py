"""Persons, organisations, places, products and dates: the MiniLM encoder with a low-rank adapter and a linear head on
its token states, trained on Conch's own sentences.

The sentences (data/ner) were written for this repository; nothing in them is taken from a published data set.
`sentences.txt` trains; `heldout.txt` was written by another hand and only measures. An entity is written like a link of
Markdown, `[Ada Lovelace](person)`.

Every piece of a word carries its word's label, not only the first, because the strategies that look at each piece
(`simple`, `average`, `max`) need it. New sentences are made of old ones by putting other mentions of
the same type in their places, because the encoder would otherwise learn names instead of what stands around them; and
of two persons a third is made, with the given name of one and the family name of the other, because it would otherwise
learn which of them go together and cut names that it never saw whole.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, BertForTokenClassification

from conch_tools.training import DATA, Report, encoder_folder
from conch_tools.training.adapter import Recipe, Row, adapt, fit, load_trained, save_trained

TYPES = ("person", "organisation", "place", "product", "date")
labels: Sequence[str] = ["O", *(f"{prefix}-{kind}" for kind in TYPES for prefix in "BI")]

FOLDER = DATA / "ner"
ADAPTER = FOLDER / "adapter.safetensors"
RECIPE = Recipe(tokens=600_000)
VARIANTS = 4
"""Variants of each sentence with other mentions, beside the sentence itself."""
REPLACED_SHARE = 0.5
"""Of the mentions of a variant."""
INVENTED_SHARE = 0.5
"""Of the persons put in place of others, how many are nobody in the sentences."""
SEED = 0
IGNORED = -100
"""The label of special tokens, which cross-entropy leaves out."""
MENTION = re.compile(r"\[([^\]]+)\]\((\w+)\)")


@dataclass(frozen=True)
class Mention:
    """Where an entity stands in its text: characters `start` up to `end`."""

    type: str
    start: int
    end: int


@dataclass(frozen=True)
class Sentence:
    """A text and its entities, in their order."""

    text: str
    mentions: Sequence[Mention]


class TokenLogits(torch.nn.Module):
    """Only the logits of a token classifier: (ids [n, L], mask [n, L]) to FP32 [n, L, labels]. A text alone needs no
    segments, and not every classifier takes them."""

    def __init__(self, classifier: Any) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, segments: torch.Tensor | None = None) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(input_ids=ids, attention_mask=mask).logits
        return logits


def load(folder: Path) -> BertForTokenClassification:
    """The encoder in `folder` with the committed adapter merged into its weights, and the committed head."""
    model = TokenLogits(_adapted(folder))
    load_trained(model, ADAPTER)
    classifier: BertForTokenClassification = model.classifier
    classifier.eval()
    return classifier


def heldout() -> list[Sentence]:
    """Sentences by another hand."""
    return read_sentences(FOLDER / "heldout.txt")


def read_sentences(path: Path) -> list[Sentence]:
    """The sentence of every line."""
    return [parsed(line) for line in path.read_text(encoding="utf-8").splitlines()]


def parsed(line: str) -> Sentence:
    """The text of a line without its marks, and what they mark."""
    parts: list[str] = []
    mentions: list[Mention] = []
    length = end = 0
    for match in MENTION.finditer(line):
        before, surface = line[end : match.start()], match[1]
        start = length + len(before)
        length = start + len(surface)
        mentions.append(Mention(match[2], start, length))
        parts += [before, surface]
        end = match.end()
    return Sentence("".join([*parts, line[end:]]), mentions)


def train(report: Report) -> None:
    """Train the adapter and the head on the sentences and write them."""
    sentences = read_sentences(FOLDER / "sentences.txt")
    save_trained(fit_sentences(encoder_folder(), sentences, RECIPE, report), ADAPTER)


def fit_sentences(folder: Path, sentences: Sequence[Sentence], recipe: Recipe, report: Report) -> TokenLogits:
    """A model trained on `sentences` and their variants."""
    torch.manual_seed(SEED)
    model = TokenLogits(_adapted(folder))
    examples = [*sentences, *variants(sentences)]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encodings = tokenizer([each.text for each in examples], return_offsets_mapping=True)
    rows = [Row(ids, [0] * len(ids)) for ids in encodings["input_ids"]]
    truths = [
        torch.tensor(token_labels(example, offsets))
        for example, offsets in zip(examples, encodings["offset_mapping"], strict=True)
    ]

    def losses(logits: torch.Tensor, chosen: Sequence[int]) -> torch.Tensor:
        wanted = torch.nn.utils.rnn.pad_sequence([truths[i] for i in chosen], batch_first=True, padding_value=IGNORED)
        each = torch.nn.functional.cross_entropy(logits.transpose(1, 2), wanted, ignore_index=IGNORED, reduction="none")
        return each.sum(dim=1) / (wanted != IGNORED).sum(dim=1)

    fit(model, rows, losses, recipe, report)
    return model


def token_labels(sentence: Sentence, offsets: Sequence[tuple[int, int]]) -> list[int]:
    """The index of each token's label; IGNORED where its offsets are empty, as those of special tokens are."""
    found = []
    for start, end in offsets:
        # A token may begin before its mention: the tokenizer takes an emoji and the name that it touches for one word.
        mention = next((each for each in sentence.mentions if each.start < end and start < each.end), None)
        if start == end:
            found.append(IGNORED)
        elif mention is None:
            found.append(0)
        else:
            found.append(labels.index(f"{'B' if start <= mention.start else 'I'}-{mention.type}"))
    return found


def variants(sentences: Sequence[Sentence]) -> list[Sentence]:
    """VARIANTS of each sentence that mentions something; always the same."""
    chance = random.Random(SEED)
    surfaces: dict[str, list[str]] = defaultdict(list)
    for sentence in sentences:
        for mention in sentence.mentions:
            surfaces[mention.type].append(sentence.text[mention.start : mention.end])
    return [
        _variant(sentence, surfaces, chance) for sentence in sentences if sentence.mentions for _ in range(VARIANTS)
    ]


def _variant(sentence: Sentence, surfaces: Mapping[str, Sequence[str]], chance: random.Random) -> Sentence:
    line, end = "", 0
    for mention in sentence.mentions:
        surface = sentence.text[mention.start : mention.end]
        if chance.random() < REPLACED_SHARE:
            surface = _other(mention.type, surfaces, chance)
        line += f"{sentence.text[end : mention.start]}[{surface}]({mention.type})"
        end = mention.end
    return parsed(line + sentence.text[end:])


def _other(kind: str, surfaces: Mapping[str, Sequence[str]], chance: random.Random) -> str:
    """A mention of that type from any sentence, or an invented person."""
    if kind == "person" and chance.random() < INVENTED_SHARE:
        given, family = (chance.choice(surfaces[kind]) for _ in range(2))
        return f"{given.split()[0]} {family.split(' ', 1)[-1]}"
    return chance.choice(surfaces[kind])


def _adapted(folder: Path) -> BertForTokenClassification:
    # Eager attention: the fused one is slower on a CPU in BF16, and does not export to plain matrix products.
    model = BertForTokenClassification.from_pretrained(
        folder,
        attn_implementation="eager",
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
    )
    model.bert.requires_grad_(False)
    adapt(model.bert.encoder)
    return model
