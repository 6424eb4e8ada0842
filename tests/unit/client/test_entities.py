"""Entities as the client gives them: one list a text, typed, or a refusal that says what cannot be read."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from conch_client import Client, ConchError, Entity, InferenceFailed, InvalidInput, ModelMetadata, TensorMetadata
from conch_client import _flows as flows
from conch_client._call import Call, Deadline
from conch_client._encode import WireTensor
from conch_client._flows import Flow
from conch_client._protocol import WireAnswer
from conch_client._spec import Catalog

CALL = Call(endpoint="host:8001", deadline=Deadline(math.inf), model="ner", request_id="r")
ADA: dict[str, Any] = {"type": "person", "score": 0.98, "text": "Ada", "start": 0, "end": 3}


def answered(texts: object, *rows: str) -> Any:
    """What the flow makes of an answer with these rows."""
    tensor = TensorMetadata("text", "BYTES", (-1, 1))
    metadata = ModelMetadata("ner", ("1",), "ensemble", (tensor,), ())
    data = b"".join(len(row.encode()).to_bytes(4, "little") + row.encode() for row in rows)
    wire = WireAnswer("ner", "1", "r", [WireTensor("entities", "BYTES", (len(rows), 1), data)])
    flow: Flow[Any] = flows.entities(Catalog(), CALL, texts)
    replies: list[Any] = [None, metadata, {"max_batch_size": 64}, wire]
    try:
        for reply in replies:
            flow.send(reply)
    except StopIteration as end:
        return end.value
    raise AssertionError("the flow asks for more")


def test_one_text_has_one_list_of_typed_entities() -> None:
    assert answered("Ada left.", json.dumps([ADA])) == [Entity("person", 0.98, "Ada", 0, 3)]


def test_several_texts_have_a_list_each_in_their_order() -> None:
    assert answered(["Ada left.", "Nobody."], json.dumps([ADA]), "[]") == [[Entity(**ADA)], []]


def test_a_list_of_one_text_stays_a_list() -> None:
    assert answered(["Ada left."], json.dumps([ADA])) == [[Entity(**ADA)]]


def test_no_texts_have_no_entities() -> None:
    with pytest.raises(StopIteration) as end:
        next(flows.entities(Catalog(), CALL, []))
    assert end.value.value == []


def test_one_text_has_one_list_and_not_several() -> None:
    with pytest.raises(InferenceFailed, match="entities has 2 texts for 1 items"):
        answered("Ada left.", json.dumps([ADA]), "[]")


@pytest.mark.parametrize("row", ["no json", "7", '[{"type": "person"}]', '["Ada"]'])
def test_an_answer_of_another_form_cannot_be_read(row: str) -> None:
    with pytest.raises(InferenceFailed, match="cannot be read: entities is not a list of type"):
        answered("Ada left.", row)


def test_a_strategy_that_cannot_be_sent_is_refused_before_anything_is_asked() -> None:
    with Client("localhost:1") as client, pytest.raises(ConchError) as refused:
        client.entities("Ada left.", aggregation_strategy=["first"])  # type: ignore[call-overload]
    assert isinstance(refused.value, InvalidInput)
