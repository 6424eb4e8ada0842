"""The client as callers see it, against the fake Triton."""

from __future__ import annotations

import io
import json
import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from conch_client import (
    Cancelled,
    Classification,
    Client,
    DeadlineExceeded,
    InvalidInput,
    ModelNotFound,
    PermissionDenied,
    ServerUnavailable,
)

if TYPE_CHECKING:
    from tests.unit.client.conftest import Column, FakeTriton


def add_images(fake: FakeTriton) -> None:
    """`digits`: labels an image by its encoded size, so that what arrives is seen."""
    embed = fake.models["embed"]
    fake.models["digits"] = type(embed)(
        {"image": ("BYTES", [1])},
        {"label": ("BYTES", [-1]), "score": ("FP32", [-1])},
        lambda arrays: {
            "label": np.array([[str(len(image))] for (image,) in arrays["image"]], dtype=object),
            "score": np.ones((len(arrays["image"]), 1), dtype=np.float32),
        },
        8,
    )


class TestEmbed:
    def test_several_texts_give_a_row_each_in_order(self, client: Client) -> None:
        embeddings = client.embed(["a", "abc", "ab"])
        assert embeddings.dtype == np.float32
        assert embeddings.tolist() == [[1, 1, 0], [3, 1, 0], [2, 1, 0]]

    def test_a_single_text_gives_a_vector(self, client: Client) -> None:
        assert client.embed("abc").tolist() == [3, 1, 0]

    def test_a_list_of_one_text_gives_one_row(self, client: Client) -> None:
        assert client.embed(["abc"]).tolist() == [[3, 1, 0]]

    @pytest.mark.parametrize("texts", [iter(["a", "b"]), ("a", "b"), {"a": 1, "b": 2}.keys(), np.array(["a", "b"])])
    def test_any_collection_of_texts_will_do(self, client: Client, texts: Any) -> None:
        assert client.embed(texts).shape == (2, 3)

    @pytest.mark.parametrize("texts", [[], iter([]), np.array([])])
    def test_no_texts_give_no_rows(self, client: Client, texts: Any) -> None:
        assert client.embed(texts).shape == (0, 3)

    @pytest.mark.parametrize("texts", [["a", "b"], []])
    def test_a_column_of_texts_gives_a_row_each(self, client: Client, column: type[Column], texts: list[str]) -> None:
        given: Any = column(texts)
        assert client.embed(given).shape == (len(texts), 3)

    def test_too_many_texts_are_refused_with_both_numbers(self, client: Client, fake: FakeTriton) -> None:
        with pytest.raises(InvalidInput, match="a batch of 9 is over the model's maximum of 8"):
            client.embed(["a"] * 9)
        assert fake.requests == []

    def test_another_embedding_model_is_named(self, client: Client, fake: FakeTriton) -> None:
        fake.models["embed_large"] = fake.models.pop("embed")
        assert client.embed("abc", model="embed_large").shape == (3,)


class TestClassify:
    def test_one_input_gives_one_classification(self, client: Client) -> None:
        answer = client.classify("sentiment", "a long one")
        assert answer.label == "long"
        assert answer.score == pytest.approx(0.9)
        assert list(answer.scores) == ["long", "short"]
        assert list(answer.scores.values()) == pytest.approx([0.9, 0.1])

    def test_several_inputs_give_a_list_in_order(self, client: Client) -> None:
        answers = client.classify("sentiment", ["long one", "abc"])
        assert [answer.label for answer in answers] == ["long", "short"]

    def test_a_column_of_a_frame_gives_a_list(self, client: Client, column: type[Column]) -> None:
        answers = client.classify("sentiment", column(["abc"]))
        assert isinstance(answers, list) and isinstance(answers[0], Classification)

    def test_the_number_of_labels_is_a_parameter_of_the_request(self, client: Client, fake: FakeTriton) -> None:
        client.classify("sentiment", "abc", top_k=1)
        client.classify("sentiment", "abc")
        assert fake.requests[0].parameters["top_k"].int64_param == 1
        assert "top_k" not in fake.requests[1].parameters

    @pytest.mark.parametrize("top_k", [0, -1, True, 1.5, "1"])
    def test_the_number_of_labels_is_at_least_one(self, client: Client, top_k: Any) -> None:
        with pytest.raises(InvalidInput, match="top_k"):
            client.classify("sentiment", "abc", top_k=top_k)

    def test_a_text_that_names_a_file_is_still_a_text(self, client: Client, fake: FakeTriton, tmp_path: Path) -> None:
        file = tmp_path / "review.txt"
        file.write_text("what the file holds")
        client.classify("sentiment", str(file))
        assert fake.received[0]["text"].tolist() == [[str(file).encode()]]

    def test_images_come_as_paths_bytes_pil_images_or_arrays(
        self, client: Client, fake: FakeTriton, tmp_path: Path
    ) -> None:
        add_images(fake)
        image = Image.new("L", (8, 8), 7)
        image.save(tmp_path / "seven.png")
        encoded = (tmp_path / "seven.png").read_bytes()
        inputs = [str(tmp_path / "seven.png"), tmp_path / "seven.png", encoded, image, np.asarray(image)]
        assert len(client.classify("digits", inputs)) == 5
        sent = [data for (data,) in fake.received[0]["image"]]
        assert sent[:3] == [encoded] * 3
        assert [Image.open(io.BytesIO(data)).getpixel((0, 0)) for data in sent[3:]] == [7, 7]

    def test_a_single_image_array_is_one_image(self, client: Client, fake: FakeTriton) -> None:
        add_images(fake)
        assert isinstance(client.classify("digits", np.zeros((8, 8), dtype=np.uint8)), Classification)

    def test_the_lines_of_a_binary_file_are_no_images(self, client: Client, fake: FakeTriton) -> None:
        add_images(fake)
        with pytest.raises(InvalidInput, match="got BytesIO"):
            client.classify("digits", io.BytesIO(b"\x89PNG\r\n\x1a\n"))

    def test_a_file_that_is_not_there_is_the_callers_mistake(self, client: Client, fake: FakeTriton) -> None:
        add_images(fake)
        with pytest.raises(InvalidInput, match=r"'seven\.png' cannot be read \(No such file") as caught:
            client.classify("digits", "seven.png")
        assert caught.value.model == "digits"


class TestScore:
    @pytest.fixture
    def asked(self, fake: FakeTriton) -> list[Any]:
        """The rows that reach `risk`, which answers how many values each has."""
        asked: list[Any] = []

        def answer(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
            rows = [json.loads(row) for (row,) in arrays["features"]]
            asked.extend(rows)
            labels = np.array([[str(len(row))] for row in rows], dtype=object)
            return {"label": labels, "score": np.ones((len(rows), 1), dtype=np.float32)}

        outputs = {"label": ("BYTES", [-1]), "score": ("FP32", [-1])}
        fake.models["risk"] = type(fake.models["embed"])({"features": ("BYTES", [1])}, outputs, answer, 8)
        return asked

    def test_one_row_of_named_values_gives_one_classification(self, client: Client, asked: list[Any]) -> None:
        assert client.score({"size": np.float32(0.5), "class": "large", "age": None}).label == "3"
        assert asked == [{"size": 0.5, "class": "large", "age": None}]

    def test_several_rows_give_a_list_in_order(self, client: Client, asked: list[Any]) -> None:
        assert [each.label for each in client.score([{"a": 1, "b": 2}, {"entity_id": "x"}], "risk")] == ["2", "1"]
        assert asked == [{"a": 1, "b": 2}, {"entity_id": "x"}]

    def test_a_number_that_json_does_not_have_is_refused_before_it_is_sent(
        self, client: Client, asked: list[Any]
    ) -> None:
        with pytest.raises(InvalidInput, match="write None for a missing value"):
            client.score({"size": math.nan})
        assert not asked


class TestZeroShot:
    @pytest.fixture
    def asked(self, fake: FakeTriton) -> list[tuple[list[Any], list[Any]]]:
        """Texts and labels that reach `zero_shot`, which ranks labels as they came."""
        asked: list[tuple[list[Any], list[Any]]] = []

        def answer(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
            asked.append((arrays["text"].tolist(), arrays["labels"].tolist()))
            labels = arrays["labels"]
            return {"label": labels, "score": np.full(labels.shape, 0.5, dtype=np.float32)}

        inputs = {"text": ("BYTES", [1]), "labels": ("BYTES", [-1])}
        outputs = {"label": ("BYTES", [-1]), "score": ("FP32", [-1])}
        fake.models["zero_shot"] = type(fake.models["embed"])(inputs, outputs, answer, 8)
        return asked

    def test_one_text_gives_one_classification(self, client: Client, asked: list[Any]) -> None:
        assert client.zero_shot("rain", ["weather", "food"]).scores == {"weather": 0.5, "food": 0.5}
        ((texts, labels),) = asked
        assert (len(texts), len(labels[0])) == (1, 2)

    def test_several_texts_are_asked_the_same_labels(self, client: Client, asked: list[Any]) -> None:
        answers = client.zero_shot(["rain", "soup"], ("weather", "food"))
        assert [each.label for each in answers] == ["weather", "weather"]
        ((_, labels),) = asked
        assert labels[0] == labels[1]
        assert client.zero_shot([], ["weather"]) == []

    def test_parameters_travel_only_when_they_are_given(
        self, client: Client, fake: FakeTriton, asked: list[Any]
    ) -> None:
        client.zero_shot("rain", ["weather"], multi_label=True, hypothesis_template="{}!")
        client.zero_shot("rain", ["weather"])
        first, second = (dict(request.parameters) for request in fake.requests)
        assert first["multi_label"].bool_param is True
        assert first["hypothesis_template"].string_param == "{}!"
        assert not {"multi_label", "hypothesis_template"} & set(second)

    def test_labels_are_not_the_letters_of_a_text(self, client: Client, asked: list[Any]) -> None:
        with pytest.raises(InvalidInput, match="labels is a list of texts, got a single text: put it in a list"):
            client.zero_shot("rain", "weather")
        assert not asked


class TestInfer:
    def test_arrays_by_name_out_for_values_by_name_in(self, client: Client) -> None:
        result = client.infer("double", x=[[1, 2], [3, 4.5]])
        assert result["y"].tolist() == [[2, 4], [6, 9]]
        assert (result.model, result.version) == ("double", "1")

    def test_one_item_goes_and_comes_without_a_batch_dimension(self, client: Client, fake: FakeTriton) -> None:
        assert client.infer("double", x=[1, 2])["y"].tolist() == [2, 4]
        assert fake.received[0]["x"].shape == (1, 2)

    def test_what_would_be_sent_can_be_seen_without_sending_it(self, client: Client, fake: FakeTriton) -> None:
        sent = client.tensors("double", x=[1, 2])["x"]
        assert sent.dtype == np.float32
        assert sent.tolist() == [[1, 2]]
        assert client.tensors("embed", inputs={"text": ["a", "bc"]})["text"].tolist() == [[b"a"], [b"bc"]]
        with pytest.raises(InvalidInput, match="has no input 'z'"):
            client.tensors("double", z=1)
        assert not fake.requests

    def test_a_named_version_is_asked_for(self, client: Client, fake: FakeTriton) -> None:
        for version in ("1", 1):
            assert client.infer("double", version, x=[1, 2]).version == "1"
            assert client.metadata("double", version).versions == ("1",)
        assert [request.model_version for request in fake.requests] == ["1", "1"]
        with pytest.raises(ModelNotFound) as caught:
            client.infer("double", "9", x=[1, 2])
        assert caught.value.version == "9"

    def test_a_tensor_may_have_any_name(self, client: Client, fake: FakeTriton) -> None:
        names = ["version", "inputs", "timeout_s", "name", "self"]
        double = fake.models["double"]
        double.inputs = {name: ("FP32", [2]) for name in names}
        double.answer = lambda arrays: {"y": arrays["version"] + arrays["name"]}
        given: dict[str, Any] = {"name": [1, 1], "self": [1, 1]}
        others = {name: [1, 2] for name in ("version", "inputs", "timeout_s")}
        assert client.infer("double", inputs=others, **given)["y"].tolist() == [2, 3]

    def test_inputs_are_a_mapping(self, client: Client) -> None:
        not_a_mapping: Any = [1, 2]
        with pytest.raises(InvalidInput, match="for a tensor of that name write"):
            client.infer("double", inputs=not_a_mapping)

    def test_a_tensor_is_given_once(self, client: Client) -> None:
        with pytest.raises(InvalidInput, match="'x' is given twice"):
            client.infer("double", inputs={"x": [1, 2]}, x=[1, 2])

    def test_parameters_go_to_the_model(self, client: Client, fake: FakeTriton) -> None:
        client.infer("double", x=[1, 2], parameters={"priority": 1, "mode": "fast"})
        assert fake.requests[0].parameters["priority"].int64_param == 1
        assert fake.requests[0].parameters["mode"].string_param == "fast"

    @pytest.mark.parametrize(
        ("parameters", "reason"),
        [
            ({"timeout": 5}, "use timeout_s"),
            ({"mode": None}, "'mode' is a bool, int, float or str, got NoneType"),
            ({"seed": 2**64}, "'seed' is beyond 64 bits"),
        ],
    )
    def test_parameters_triton_cannot_take_are_refused(
        self, client: Client, parameters: dict[str, Any], reason: str
    ) -> None:
        with pytest.raises(InvalidInput, match=reason):
            client.infer("double", x=[1, 2], parameters=parameters)

    def test_each_request_has_an_id_of_its_own_unless_one_is_given(self, client: Client) -> None:
        ids = {client.infer("double", x=[1, 2]).request_id for _ in range(3)}
        assert len(ids) == 3
        assert client.infer("double", x=[1, 2], request_id="mine").request_id == "mine"

    def test_an_iterator_survives_a_model_that_has_changed(self, client: Client, fake: FakeTriton) -> None:
        client.infer("double", x=[1, 2])
        fake.models["double"].inputs = {"x": ("FP32", [3])}
        assert client.infer("double", x=iter([1, 2, 3]))["y"].tolist() == [2, 4, 6]


class TestDeadline:
    def test_the_server_learns_how_long_the_request_may_wait(self, client: Client, fake: FakeTriton) -> None:
        client.infer("double", x=[1, 2])
        client.infer("double", x=[1, 2], timeout_s=0.5)
        clients, own = (request.parameters["timeout"].int64_param for request in fake.requests)
        assert 9_000_000 < clients <= 10_000_000
        assert 0 < own <= 500_000

    def test_without_a_limit_nothing_is_said_of_it(self, client: Client, fake: FakeTriton) -> None:
        client.infer("double", x=[1, 2], timeout_s=math.inf)
        assert "timeout" not in fake.requests[0].parameters

    def test_learning_a_model_and_asking_it_share_one_deadline(self, client: Client, fake: FakeTriton) -> None:
        fake.hang = True
        with pytest.raises(DeadlineExceeded, match=r"no answer within 0\.2 s") as caught:
            client.infer("double", x=[1, 2], timeout_s=0.2)
        assert caught.value.model == "double"
        assert fake.cancelled.wait(5)

    @pytest.mark.parametrize("timeout_s", [0, -1, math.nan])
    def test_a_timeout_is_positive(self, fake: FakeTriton, timeout_s: float) -> None:
        with pytest.raises(InvalidInput, match="timeout_s"):
            Client(fake.url, timeout_s=timeout_s)
        with Client(fake.url) as client, pytest.raises(InvalidInput, match="timeout_s"):
            client.is_live(timeout_s=timeout_s)


class TestServer:
    def test_a_server_that_answers_is_live_and_ready(self, client: Client, fake: FakeTriton) -> None:
        assert client.is_live() and client.is_ready() and client.model_ready("embed")
        assert not client.model_ready("nobody")
        fake.ready = False
        assert not client.is_ready()

    @pytest.mark.parametrize("failure", [("UNAVAILABLE", "Socket closed"), ("DEADLINE_EXCEEDED", "")])
    def test_a_server_that_does_not_answer_is_neither(
        self, client: Client, fake: FakeTriton, failure: tuple[str, str]
    ) -> None:
        fake.failure = failure
        assert not (client.is_live() or client.is_ready() or client.model_ready("embed"))

    def test_a_server_that_refuses_the_caller_is_an_error(self, client: Client, fake: FakeTriton) -> None:
        fake.failure = ("UNAVAILABLE", "This protocol is restricted, expecting header 'x'")
        with pytest.raises(PermissionDenied):
            client.is_live()

    def test_what_the_server_knows_of_a_model_is_asked_anew_each_time(self, client: Client, fake: FakeTriton) -> None:
        assert client.metadata("double").inputs[0].shape == (-1, 2)
        assert client.config("double")["max_batch_size"] == 4
        assert client.statistics("double")[0].execution_count == 4
        fake.models["double"].inputs = {"x": ("FP32", [3])}
        assert client.metadata("double").inputs[0].shape == (-1, 3)

    def test_an_unknown_model_is_named(self, client: Client, fake: FakeTriton) -> None:
        with pytest.raises(ModelNotFound, match="'nobody' is not found: check the name") as caught:
            client.infer("nobody", x=1)
        assert (caught.value.model, caught.value.endpoint) == ("nobody", fake.url)


class TestAddress:
    @pytest.mark.parametrize(
        ("url", "endpoint"),
        [
            ("triton", "triton:8001"),
            ("triton:9000", "triton:9000"),
            ("grpc://triton:9000", "triton:9000"),
            ("[::1]", "[::1]:8001"),
            ("[::1]:9000", "[::1]:9000"),
            ("dns:///triton:9000", "dns:///triton:9000"),
        ],
    )
    def test_the_port_is_tritons_unless_one_is_given(self, url: str, endpoint: str) -> None:
        with Client(url) as client:
            assert client.endpoint == endpoint
            assert repr(client) == f"Client('{endpoint}')"

    @pytest.mark.parametrize("url", ["http://localhost:8000", "https://triton", "", " "])
    def test_what_is_no_grpc_address_is_refused(self, url: str) -> None:
        with pytest.raises(InvalidInput, match="give host:port"):
            Client(url)


class TestLife:
    def test_making_a_client_asks_nothing(self, client: Client, fake: FakeTriton) -> None:
        assert not fake.asked

    def test_threads_share_a_client_and_each_gets_its_own_answer(self, client: Client) -> None:
        def ask(length: int) -> float:
            return float(client.embed("x" * length)[0])

        with ThreadPoolExecutor(32) as pool:
            assert list(pool.map(ask, range(1, 201))) == list(range(1, 201))

    def test_a_closed_client_says_so(self, fake: FakeTriton) -> None:
        with Client(fake.url) as client:
            pass
        with pytest.raises(Cancelled, match="the client is closed"):
            client.embed("a")

    def test_closing_ends_the_calls_under_way(self, client: Client, fake: FakeTriton) -> None:
        errors = []
        arrived = threading.Event()

        def answer(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
            arrived.set()
            fake.cancelled.wait()
            return {"y": arrays["x"]}

        def ask() -> None:
            with pytest.raises(Cancelled) as caught:
                client.infer("double", x=[1, 2])
            errors.append(caught.value)

        fake.models["double"].answer = answer
        thread = threading.Thread(target=ask)
        thread.start()
        arrived.wait()
        client.close()
        thread.join()
        assert errors[0].model == "double"

    def test_a_server_that_comes_back_is_found_again(self, fake: FakeTriton) -> None:
        with Client(fake.url) as client:
            assert client.is_live()
            fake.stop()
            with pytest.raises(ServerUnavailable):
                client.embed("a")
            successor = type(fake)(models=fake.models, port=fake.port)
            try:
                assert list(_until_live(client)) and client.embed("ab").tolist() == [2, 1, 0]
            finally:
                successor.stop()


def _until_live(client: Client, seconds: float = 10) -> Iterator[None]:
    done = threading.Event()
    timer = threading.Timer(seconds, done.set)
    timer.start()
    while not done.is_set() and not client.is_live():
        done.wait(0.02)
    timer.cancel()
    if not done.is_set():
        yield
