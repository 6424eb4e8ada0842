"""Retrieval pipelines: the catalogue with a vector for each item, and the reference's answers.

The vectors are sentence-transformers' own. The reference is an exact search over them in numpy, with the question's
words embedded by the same library; the served pipeline embeds them by the pipeline it uses, and finds by its index.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from conch_steps.catalogue_seed import ITEMS_FILE, Seed, read_items
from conch_steps.errors import ArtifactError
from conch_steps.manifest import sha256_of
from conch_steps.retrieval import DISLIKE_WEIGHT, SCORE_DIGITS
from conch_steps.retrieval_query import DEFAULT_COUNT
from conch_tools.build.quality import Quality
from conch_tools.build.recall import Recall, read_judgements
from conch_tools.build.reference import Item, Reference, StepAnswers, byte_item, json_row, texts_of
from conch_tools.build.sources import source_folder
from conch_tools.build.staging import Staged
from conch_tools.build.text import token_limit
from conch_tools.errors import BuildError
from conch_tools.pipelines import Pipeline, load_pipeline

JUDGEMENTS_FILE = "relevance.jsonl"
STEPS = ("index", "changes")
"""Both open the database and bring it up to the seed, whichever comes first."""
FILTERS: Sequence[Mapping[str, Any]] = (
    {"category": "camping"},
    {"category": ["kitchen", "garden"], "in_stock": True},
    {"price": {"max": 40}},
    {"price": {"min": 20, "max": 90}, "year": {"min": 2023}},
    {"in_stock": False},
    {"category": "camping", "price": {"max": 1}},
)
TIE = 1e-5
"""Scores nearer than this may come in either order; a question that hangs on one proves nothing."""


class RetrievalBuilder:
    """`<pipeline>_index` and `<pipeline>_changes` over the items of the pipeline's catalogue.jsonl."""

    def __init__(self, pipeline: Pipeline) -> None:
        from sentence_transformers import SentenceTransformer

        self._pipeline = pipeline
        encoder = _encoder(pipeline)
        folder = source_folder(encoder)
        self._source = SentenceTransformer(str(folder), device="cpu")
        self._source.max_seq_length = token_limit(encoder)
        self._encoder = f"{_digest_of(folder)}, {token_limit(encoder)} tokens"
        try:
            self._items = read_items(pipeline.folder / ITEMS_FILE)
        except (ArtifactError, OSError) as problem:
            raise BuildError(pipeline.name, f"its catalogue cannot be read: {problem}") from problem

    def stage(self, staged: Staged) -> None:
        """Write items, vectors and the encoder's name for each step."""
        seed = Seed.of(self._items, self._vectors, self._encoder)
        for step in STEPS:
            seed.write(staged.version(self._pipeline.step(step)))

    def corpus(self) -> Sequence[Item]:
        """What is judged, without the questions where two scores are too near to say which comes first."""
        decided = [question for question in self._questions() if not self._is_tied(question)]
        return [byte_item(query=json.dumps(question, ensure_ascii=False)) for question in decided]

    def reference(self, items: Sequence[Item]) -> Reference:
        """Exact search in numpy over sentence-transformers' vectors."""
        answers = [json_row(self._answer(json.loads(texts_of(item, "query")[0]))) for item in items]
        return Reference(
            library="sentence-transformers, exact search",
            items=items,
            steps=[StepAnswers(self._pipeline.step("index"), {"results": answers})],
            tolerance=self._pipeline.gates.max_abs_difference,
        )

    def quality(self) -> Quality | None:
        """Recall on what a fair judge wants."""
        return Recall(read_judgements(self._pipeline.folder / JUDGEMENTS_FILE))

    @cached_property
    def _vectors(self) -> npt.NDArray[np.float32]:
        return self._embed([item.embedded_text for item in self._items])

    def _embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        vectors = self._source.encode(
            list(texts), batch_size=16, convert_to_numpy=True, normalize_embeddings=True, show_progress_bar=False
        )
        return np.asarray(vectors, dtype=np.float32)

    def _questions(self) -> list[dict[str, Any]]:
        """What is judged, in turns with every filter and several numbers of answers."""
        judged = read_judgements(self._pipeline.folder / JUDGEMENTS_FILE)
        questions: list[dict[str, Any]] = [dict(each.question) for each in judged[::2]]
        for number, question in enumerate(questions):
            if number % 3:
                question["filter"] = FILTERS[number % len(FILTERS)]
            if number % 4:
                question["k"] = (1, 3, 20)[number % 3]
            if "liked" in question and number % 2:
                question["disliked"] = [next(each.id for each in self._items if each.id not in question["liked"])]
        return [*(dict(sample.input["query"]) for sample in self._pipeline.samples), *questions]

    def _answer(self, question: Mapping[str, Any]) -> list[dict[str, Any]]:
        items = [item.model_dump() for item in self._items]
        return [
            {"id": items[row].pop("id"), "score": round(score, SCORE_DIGITS), "item": items[row]}
            for row, score in self._best(question)[: question.get("k", DEFAULT_COUNT)]
        ]

    def _is_tied(self, question: Mapping[str, Any]) -> bool:
        best = self._best(question)[: question.get("k", DEFAULT_COUNT) + 1]
        return any(one - next_ < TIE for (_, one), (_, next_) in itertools.pairwise(best))

    def _best(self, question: Mapping[str, Any]) -> list[tuple[int, float]]:
        """All rows that may answer and their scores, best first."""
        scores = self._vectors @ self._direction(question)
        named = {question.get("item"), *question.get("liked", ()), *question.get("disliked", ())}
        wanted = question.get("filter", {})
        items = enumerate(item.model_dump() for item in self._items)
        rows = [(row, float(scores[row])) for row, item in items if item["id"] not in named and _fits(item, wanted)]
        return sorted(rows, key=lambda each: -each[1])

    def _direction(self, question: Mapping[str, Any]) -> npt.NDArray[np.float32]:
        if "text" in question:
            return np.asarray(self._embed([question["text"]])[0], dtype=np.float32)
        rows = {item.id: row for row, item in enumerate(self._items)}
        liked = self._vectors[[rows[name] for name in question.get("liked", [question.get("item")])]]
        direction = np.mean(liked, axis=0)
        if question.get("disliked"):
            direction = direction - DISLIKE_WEIGHT * np.mean(
                self._vectors[[rows[name] for name in question["disliked"]]], axis=0
            )
        return np.asarray(direction / np.linalg.norm(direction), dtype=np.float32)


def _fits(item: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    for field, value in wanted.items():
        if isinstance(value, Mapping):
            if not value.get("min", -np.inf) <= item[field] <= value.get("max", np.inf):
                return False
        elif item[field] not in (value if isinstance(value, list) else [value]):
            return False
    return True


def _encoder(pipeline: Pipeline) -> Pipeline:
    """The pipeline that embeds while serving. Raises BuildError unless it has this pipeline's source."""
    if len(pipeline.uses) != 1:
        raise BuildError(pipeline.name, 'retrieval needs one pipeline that embeds: uses = ["embed"]')
    encoder = load_pipeline(pipeline.folder.parent / pipeline.uses[0])
    if encoder.source != pipeline.source:
        raise BuildError(
            pipeline.name, f"its items would be embedded by another model than `{encoder.name}`: give both one source"
        )
    return encoder


def _digest_of(folder: Path) -> str:
    """Tells source models apart by their files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in {".safetensors", ".json"})
    return " ".join(sha256_of(path)[:8] for path in files)
