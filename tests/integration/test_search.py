"""The catalogue on running servers: searching while items come and go, refusals, and what outlives a server."""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import psutil
import pytest

from conch_client import Client, InvalidInput
from conch_tools.pipelines import load_pipelines, models_of
from conch_tools.server import EmbeddedServer
from conch_tools.settings import Settings

REPOSITORY = Settings().repository
SEARCHERS, SEARCHES = 8, 40
CALLERS = 16
NUMBERS = itertools.count()
ICY, CLEATS = "afraid of falling on frozen sidewalks", "cleats-ice-tread"


@pytest.fixture
def client(triton: EmbeddedServer) -> Iterator[Client]:
    with Client(triton.grpc_url) as client:
        yield client


def novelty(title: str = "Copper sundial for a moonlit greenhouse") -> dict[str, Any]:
    """An item that is not in the catalogue, each time another."""
    return {
        "id": f"novelty-{next(NUMBERS)}",
        "title": title,
        "text": f"{title}. It tells the hour by the moon and nothing else in the catalogue does that.",
        "category": "garden",
        "price": 77.0,
        "in_stock": True,
        "year": 2026,
    }


def test_words_likeness_and_taste_find_what_a_person_expects(client: Client) -> None:
    assert client.search(ICY)[0].id == CLEATS
    alike = client.similar("tent-ridge-2", k=4)
    assert "tent-ridge-2" not in {hit.id for hit in alike}
    assert sum(hit.id.startswith("tent-") for hit in alike) >= 2
    liked = ["skis-touring-lynx", "shovel-avalanche-burrow"]
    wanted = client.recommend(liked, disliked=["mat-yoga-moss"], k=10)
    assert not {hit.id for hit in wanted} & {*liked, "mat-yoga-moss"}
    scores = [hit.score for hit in wanted]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score <= 1 for score in scores)


def test_a_filter_gives_every_item_that_fits_and_no_other(client: Client) -> None:
    lines = (REPOSITORY / "search" / "catalogue.jsonl").read_text(encoding="utf-8").splitlines()
    items = [json.loads(line) for line in lines]
    fitting = {
        each["id"] for each in items if each["category"] == "camping" and each["in_stock"] and each["price"] < 60
    }
    assert fitting
    found = client.search("a piano", k=100, filter={"category": "camping", "in_stock": True, "price": {"max": 59.99}})
    assert {hit.id for hit in found} == fitting
    assert client.search("a piano", filter={"category": ["camping"], "year": {"max": 1900}}) == []


def test_one_request_of_many_many_of_one_and_any_mix_answer_the_same(client: Client) -> None:
    words = ["warm feet at night", "🙂 cook for ten", "שלום", "A\u0301 quiet keyboard", "x" * 9000, "tea " * 300]
    questions: list[dict[str, Any]] = [{"text": text} for text in words]
    questions += [{"item": "tent-ridge-2"}, {"liked": [CLEATS], "disliked": ["mat-yoga-moss"]}, {"text": ICY, "k": 30}]
    questions *= 4

    def ask(chosen: list[int]) -> list[Any]:
        rows = [[json.dumps(questions[number])] for number in chosen]
        return [json.loads(row) for row in client.infer("search", query=rows)["results"].reshape(-1)]

    alone = [ask([number])[0] for number in range(len(questions))]
    cuts = [0, 1, 3, 10, 11, len(questions)]
    requests = [list(range(len(questions))), *(list(range(*cut)) for cut in itertools.pairwise(cuts))]
    requests += [[number] for number in range(len(questions))]
    with ThreadPoolExecutor(CALLERS) as callers:
        for chosen, answers in zip(requests, callers.map(ask, requests), strict=True):
            for number, answer in zip(chosen, answers, strict=True):
                assert [hit["id"] for hit in answer] == [hit["id"] for hit in alone[number]]
                scores, expected = ([hit["score"] for hit in hits] for hits in (answer, alone[number]))
                np.testing.assert_allclose(scores, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "tensor", "content", "said"),
    [
        ("search", "query", {"item": "no-such-thing"}, "there is no item `no-such-thing`"),
        ("search", "query", {"text": "tea", "k": 1000}, "k: Input should be less than or equal to 100"),
        ("search", "query", {"text": "tea", "filter": {"colour": "red"}}, 'filter: "colour" is not a field'),
        ("search", "query", {}, "give one of `text`, `item` and `liked`"),
        ("search_catalogue", "change", {"add": [{"id": "half-an-item"}]}, "add[0].title: Field required"),
        ("search_catalogue", "change", {}, "it changes nothing"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_the_field(
    client: Client, model: str, tensor: str, content: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        client.infer(model, inputs={tensor: json.dumps(content)})
    assert said in str(refused.value)


def test_good_and_bad_questions_at_once_do_not_touch_each_other(client: Client) -> None:
    expected = [hit.id for hit in client.search("boil water quickly")]

    def ask(number: int) -> str:
        if number % 3 == 0:
            return "right" if [hit.id for hit in client.search("boil water quickly")] == expected else "wrong"
        try:
            client.infer("search", query='{"text": 4}' if number % 3 == 1 else b"\xff\xfe")
        except InvalidInput:
            return "refused"
        return "answered"

    with ThreadPoolExecutor(CALLERS) as callers:
        said = list(callers.map(ask, range(120)))
    assert said == ["right" if number % 3 == 0 else "refused" for number in range(120)]


def test_a_change_is_seen_by_the_next_search_and_undone_by_the_next_change(client: Client) -> None:
    item = novelty()
    made = client.change_catalogue(add=[item])
    assert (made.added, made.replaced) == (1, 0)
    found = client.search(item["title"], k=1)[0]
    assert {"id": found.id, **found.item} == item
    assert client.change_catalogue(add=[item]).revision == made.revision
    dearer = {**item, "price": 99.0}
    assert client.change_catalogue(add=[dearer]).replaced == 1
    assert client.search(item["title"], k=1)[0].item["price"] == 99.0
    assert client.change_catalogue(remove=[item["id"]]).items == made.items - 1
    assert client.search(item["title"], k=1)[0].id != item["id"]
    assert client.change_catalogue(remove=item["id"]).absent == 1


def test_a_change_with_one_unsound_item_changes_nothing(client: Client) -> None:
    item = novelty("Brass barometer for a submarine library")
    with pytest.raises(InvalidInput, match=r"add\[1\]\.price"):
        client.change_catalogue(add=[item, {**novelty(), "price": -1}])
    assert client.search(item["title"], k=1)[0].id != item["id"]


def test_changes_of_one_request_are_made_together(client: Client) -> None:
    items = [novelty("Glass anvil"), novelty("Paper anchor")]
    rows = [[json.dumps({"add": [item]})] for item in items]
    outcomes = [json.loads(row) for row in client.infer("search_catalogue", change=rows)["outcome"].reshape(-1)]
    assert [outcome["added"] for outcome in outcomes] == [1, 1]
    assert outcomes[0]["revision"] == outcomes[1]["revision"]
    client.change_catalogue(remove=[item["id"] for item in items])


def test_searches_under_load_are_right_while_items_come_and_go(triton: EmbeddedServer) -> None:
    """What was acknowledged before a search began is in its answer, and what was removed before is not."""
    stop = threading.Event()

    def search(number: int) -> list[str]:
        wrong = []
        with Client(triton.grpc_url) as client:
            for turn in range(SEARCHES):
                found = client.search(ICY, k=3)
                if CLEATS not in {hit.id for hit in found}:
                    wrong.append(f"searcher {number}, turn {turn}: {found}")
                if turn % 4 == 0 and "tent-ridge-2" in {hit.id for hit in client.similar("tent-ridge-2", k=20)}:
                    wrong.append(f"searcher {number}, turn {turn}: the item itself")
        return wrong

    def come_and_go(number: int) -> list[str]:
        wrong = []
        with Client(triton.grpc_url) as client:
            while not stop.is_set():
                item = novelty(f"Wooden comet detector number {number}")
                client.change_catalogue(add=[item])
                if item["id"] not in {hit.id for hit in client.search(item["title"], k=20)}:
                    wrong.append(f"{item['id']} was added, but is not found")
                client.change_catalogue(remove=[item["id"]])
                if item["id"] in {hit.id for hit in client.search(item["title"], k=20)}:
                    wrong.append(f"{item['id']} was removed, but is found")
        return wrong

    with ThreadPoolExecutor(SEARCHERS + 2) as threads:
        movers = [threads.submit(come_and_go, number) for number in range(2)]
        searchers = [threads.submit(search, number) for number in range(SEARCHERS)]
        wrong = [problem for each in searchers for problem in each.result()]
        stop.set()
        wrong += [problem for each in movers for problem in each.result()]
    assert wrong == []


def serve(start_triton: Any, state: Any, models: list[str]) -> EmbeddedServer:
    server: EmbeddedServer = start_triton(REPOSITORY, models, state=state)
    return server


def killed(server: EmbeddedServer) -> None:
    """End the server and its steps at once, as a power cut would end them."""
    root = psutil.Process(server.pid)
    for process in [root, *root.children(recursive=True)]:
        os.kill(process.pid, signal.SIGKILL)
    server.wait(10.0)
    server.stop()


@pytest.mark.parametrize("end", [killed, EmbeddedServer.stop], ids=["killed", "stopped"])
def test_changes_outlive_the_server(end: Any, start_triton: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    state = tmp_path_factory.mktemp("kept")
    models = models_of(load_pipelines(REPOSITORY, ["search"]))
    item = novelty()
    server = serve(start_triton, state, models)
    with Client(server.grpc_url) as client:
        made = client.change_catalogue(add=[item], remove=["flask-fjell"])
    end(server)
    server = serve(start_triton, state, models)
    with Client(server.grpc_url) as client:
        assert client.search(item["title"], k=1)[0].id == item["id"]
        assert "flask-fjell" not in {hit.id for hit in client.search("flask", k=100)}
        assert client.change_catalogue(remove=["flask-fjell"]).revision == made.revision
    server.stop()


def test_two_servers_on_one_catalogue_see_each_others_changes(
    start_triton: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    state = tmp_path_factory.mktemp("shared")
    models = models_of(load_pipelines(REPOSITORY, ["search"]))
    one, other = serve(start_triton, state, models), serve(start_triton, state, models)
    items = [novelty(f"Iron kite of size {number}") for number in range(12)]
    with Client(one.grpc_url) as first, Client(other.grpc_url) as second:
        clients = [first, second]
        with ThreadPoolExecutor(4) as callers:
            list(callers.map(lambda pair: clients[pair[0] % 2].change_catalogue(add=[pair[1]]), enumerate(items)))
        wanted = {item["id"] for item in items}
        for client in clients:
            assert wanted <= {hit.id for hit in client.search("Iron kite", k=20)}
        assert np.isclose(first.search("Iron kite")[0].score, second.search("Iron kite")[0].score, atol=1e-5)
    one.stop()
    other.stop()
