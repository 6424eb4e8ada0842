"""Searching a catalogue: who is found, who is not, and which of several requests a fault fails."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conch_steps.catalogue import Catalogue
from conch_steps.catalogue_items import Change, Item
from conch_steps.catalogue_seed import Seed
from conch_steps.errors import CallFailed, InvalidInput, StoreFailed
from conch_steps.retrieval import Retrieval, taste
from conch_steps.retrieval_query import Question
from conch_steps.text_embedder import Vector

PLACES = {"lake": (1, 0, 0), "boat": (0.9, 0.436, 0), "forest": (0, 1, 0), "axe": (0, 0.7, 0.714), "sky": (0, 0, 1)}


def item(name: str, category: str = "camping") -> Item:
    return Item(id=name, title=name, text="A thing.", category=category, price=9.0, in_stock=True, year=2024)


def embed(texts: Sequence[str]) -> dict[str, Vector]:
    """A text lies where the first of the known words that it has does."""
    return {text: np.array(next(PLACES[word] for word in PLACES if word in text), dtype=np.float32) for text in texts}


def seed(encoder: str = "first") -> Seed:
    items = [item("lake"), item("boat", "sports"), item("forest"), item("axe", "garden"), item("sky")]
    return Seed.of(items, np.array([PLACES[each.id] for each in items], dtype=np.float32), encoder)


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    return Catalogue(tmp_path / "shop.sqlite3", seed())


@pytest.fixture
def retrieval(catalogue: Catalogue) -> Retrieval:
    return Retrieval(catalogue, embed, 3)


def ask(retrieval: Retrieval, **question: Any) -> list[dict[str, Any]]:
    (answer,) = retrieval.answer([[Question(**question)]])
    if isinstance(answer, Exception):
        raise answer
    assert answer.shape == (1, 1)
    return list(json.loads(answer[0, 0]))


def ids(retrieval: Retrieval, **question: Any) -> list[str]:
    return [hit["id"] for hit in ask(retrieval, **question)]


def test_words_find_the_nearest_first_with_score_and_item(retrieval: Retrieval) -> None:
    first, second = ask(retrieval, text="the lake at dawn", k=2)
    assert (first["id"], first["score"], second["id"], second["score"]) == ("lake", 1.0, "boat", 0.9)
    assert first["item"] == item("lake").model_dump(exclude={"id"})


def test_more_like_an_item_is_not_the_item_itself(retrieval: Retrieval) -> None:
    assert ids(retrieval, item="lake", k=2) == ["boat", "axe"]
    assert "lake" not in ids(retrieval, item="lake", k=100)


def test_what_was_liked_and_disliked_is_not_recommended(retrieval: Retrieval) -> None:
    assert ids(retrieval, liked=("lake", "forest"), k=1) == ["boat"]
    assert ids(retrieval, liked=("lake", "sky"), disliked=("boat",), k=100) == ["axe", "forest"]


def test_a_dislike_moves_the_answer_away(retrieval: Retrieval) -> None:
    assert ids(retrieval, liked=("forest",), k=1) == ["axe"]
    assert ids(retrieval, liked=("forest",), disliked=("sky",), k=1) == ["boat"]


def test_a_filter_keeps_every_item_that_fits(retrieval: Retrieval) -> None:
    assert ids(retrieval, text="lake", k=100, filter={"category": "garden"}) == ["axe"]
    assert ids(retrieval, item="lake", k=2, filter={"category": ("camping",)}) == ["forest", "sky"]
    assert ids(retrieval, text="lake", filter={"price": {"max": 1.0}}) == []


def test_an_unknown_item_is_named(retrieval: Retrieval) -> None:
    for question in ({"item": "ghost"}, {"liked": ("lake", "ghost")}, {"liked": ("lake",), "disliked": ("ghost",)}):
        with pytest.raises(InvalidInput, match="no item `ghost`"):
            ids(retrieval, **question)


def test_likes_that_cancel_out_have_no_direction() -> None:
    with pytest.raises(InvalidInput, match="cancels out"):
        taste(np.array([[0.5, 0]], dtype=np.float32), np.array([[1, 0]], dtype=np.float32))


def test_a_change_is_seen_by_the_next_search(retrieval: Retrieval, catalogue: Catalogue) -> None:
    assert ids(retrieval, text="sky", k=1) == ["sky"]
    kite = item("sky-kite")
    catalogue.apply([Change(add=(kite,), remove=("sky",))], embed([kite.embedded_text]))
    assert ids(retrieval, text="sky", k=1) == ["sky-kite"]
    with pytest.raises(InvalidInput, match="no item `sky`"):
        ids(retrieval, item="sky")


def test_a_bad_request_fails_alone(retrieval: Retrieval) -> None:
    refusal = InvalidInput("no question")
    asked: list[list[Question] | Exception] = [
        [Question(text="lake"), Question(item="lake")],
        refusal,
        [Question(text="lake"), Question(item="ghost")],
        [Question(text="sky")],
    ]
    good, bad, unknown, last = retrieval.answer(asked)
    assert not isinstance(good, Exception)
    assert good.shape == (2, 1)
    assert bad is refusal
    assert isinstance(unknown, InvalidInput)
    assert not isinstance(last, Exception)


def test_an_encoder_that_fails_fails_only_those_that_have_words(catalogue: Catalogue) -> None:
    def busy(texts: Sequence[str]) -> dict[str, Vector]:
        if texts:
            raise CallFailed("embed", "its queue is full")
        return {}

    words, item_only = Retrieval(catalogue, busy, 3).answer([[Question(text="lake")], [Question(item="lake")]])
    assert isinstance(words, CallFailed)
    assert not isinstance(item_only, Exception)


def test_a_database_that_cannot_be_used_fails_each_request_that_was_not_refused(
    retrieval: Retrieval, catalogue: Catalogue
) -> None:
    refusal = InvalidInput("no question")
    assert ids(retrieval, item="lake", k=1) == ["boat"]
    catalogue._database.execute("UPDATE facts SET encoder = 'another'")
    bad, good = retrieval.answer([refusal, [Question(item="lake")]])
    assert bad is refusal
    assert isinstance(good, StoreFailed)
    catalogue._database.execute("UPDATE facts SET encoder = 'first'")
    assert ids(retrieval, item="lake", k=1) == ["boat"]


def test_an_item_of_another_build_s_schema_is_named_and_can_be_replaced(
    retrieval: Retrieval, catalogue: Catalogue
) -> None:
    catalogue._database.execute("UPDATE items SET item = '{}' WHERE id = 'boat'")
    (failed,) = retrieval.answer([[Question(item="lake")]])
    assert isinstance(failed, StoreFailed)
    assert "`boat` is not an item of this build (id: Field required;" in str(failed)
    boat = item("boat", "sports")
    catalogue.apply([Change(add=(boat,))], embed([boat.embedded_text]))
    assert ids(retrieval, item="lake", k=1) == ["boat"]


def test_items_of_another_encoder_are_embedded_anew_and_kept(catalogue: Catalogue, tmp_path: Path) -> None:
    kite = item("sky-kite")
    catalogue.apply([Change(add=(kite,))], {kite.embedded_text: np.ones(3, dtype=np.float32)})
    newer = Catalogue(tmp_path / "shop.sqlite3", seed("second"))
    assert ids(Retrieval(newer, embed, 3), text="sky", k=2) == ["sky", "sky-kite"]
    (row,) = [row for row in newer.newer_than(0)[1] if row.id == "sky-kite"]
    assert row.vector is not None
    assert row.vector.tolist() == [0, 0, 1]
