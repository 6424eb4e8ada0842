"""Searching and changing a catalogue, against the fake Triton: what is sent, and what is made of the answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from conch_client import CatalogueChange, Client, InferenceFailed, InvalidInput, SearchResult

if TYPE_CHECKING:
    from tests.unit.client.conftest import FakeTriton

LAMP: dict[str, Any] = {"id": "lamp", "title": "Lamp", "price": 9.0}
DONE = {"added": 1, "replaced": 0, "unchanged": 0, "removed": 0, "absent": 0, "items": 3, "revision": 7}


def hits(question: dict[str, Any]) -> list[dict[str, Any]]:
    """One result, whose item is the question."""
    return [{"id": "lamp", "score": 0.5, "item": question}]


@pytest.fixture
def shop(fake: FakeTriton) -> FakeTriton:
    """`search` answers with its question; `search_catalogue` says DONE."""

    def answered(arrays: dict[str, Any], tensor: str, output: str, answer: Any) -> dict[str, Any]:
        rows = [[json.dumps(answer(json.loads(raw))).encode()] for (raw,) in arrays[tensor]]
        return {output: np.array(rows, dtype=object)}

    kind = type(fake.models["embed"])
    fake.models["search"] = kind(
        {"query": ("BYTES", [1])},
        {"results": ("BYTES", [1])},
        lambda arrays: answered(arrays, "query", "results", hits),
        8,
    )
    fake.models["search_catalogue"] = kind(
        {"change": ("BYTES", [1])},
        {"outcome": ("BYTES", [1])},
        lambda arrays: answered(arrays, "change", "outcome", lambda _: DONE),
        8,
    )
    return fake


@pytest.mark.usefixtures("shop")
class TestSearch:
    def test_a_query_gives_its_results_and_several_a_list_for_each(self, client: Client) -> None:
        assert client.search("tea") == [SearchResult("lamp", 0.5, {"text": "tea"})]
        assert client.search(["tea", "é"]) == [client.search("tea"), client.search("é")]
        assert client.search([]) == []

    def test_number_and_filter_are_sent_where_they_are_given(self, client: Client) -> None:
        wanted = {"price": {"max": 40}, "in_stock": True}
        (found,) = client.search("tea", k=3, filter=wanted)
        assert found.item == {"text": "tea", "k": 3, "filter": wanted}

    def test_an_item_is_named_by_its_id(self, client: Client) -> None:
        assert client.similar("lamp")[0].item == {"item": "lamp"}
        assert [each[0].item for each in client.similar(["lamp", "tent"])] == [{"item": "lamp"}, {"item": "tent"}]

    def test_a_taste_is_likes_and_dislikes(self, client: Client) -> None:
        assert client.recommend(["a", "b"])[0].item == {"liked": ["a", "b"]}
        assert client.recommend("a", disliked=iter(["c"]))[0].item == {"liked": ["a"], "disliked": ["c"]}

    def test_what_json_cannot_say_is_refused_before_it_is_sent(self, client: Client, shop: FakeTriton) -> None:
        with pytest.raises(InvalidInput, match="cannot be written as JSON"):
            client.search("tea", filter={"price": {"max": float("nan")}})
        assert not shop.received

    def test_numbers_of_numpy_are_numbers(self, client: Client) -> None:
        assert client.search("tea", k=int(np.int64(2)), filter={"year": {"min": np.int64(2020)}})[0].item["filter"] == {
            "year": {"min": 2020}
        }


def test_an_answer_that_is_none_is_told(client: Client, shop: FakeTriton) -> None:
    rows = np.array([[b'[{"name": 1}]']], dtype=object)
    shop.models["search"].answer = lambda arrays: {"results": rows}
    with pytest.raises(InferenceFailed, match="results is not a list of id, score and item"):
        client.search("tea")
    shop.models["search_catalogue"].answer = lambda arrays: {"outcome": rows}
    with pytest.raises(InferenceFailed, match="outcome is not an object"):
        client.change_catalogue(remove="lamp")


class TestChange:
    def test_items_and_ids_are_sent_as_one_change(self, client: Client, shop: FakeTriton) -> None:
        assert client.change_catalogue(add=[LAMP], remove=iter(["tent", "mat"])) == CatalogueChange(**DONE)
        assert json.loads(shop.received[-1]["change"][0, 0]) == {"add": [LAMP], "remove": ["tent", "mat"]}

    def test_a_single_id_is_not_taken_for_its_letters(self, client: Client, shop: FakeTriton) -> None:
        client.change_catalogue(remove="tent")
        assert json.loads(shop.received[-1]["change"][0, 0]) == {"add": [], "remove": ["tent"]}
