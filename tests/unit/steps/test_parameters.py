"""What a backend declares is how it reads a model's parameters."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

import pytest

from conch_steps.backends import declared
from conch_steps.errors import ModelConfigError
from conch_steps.parameters import Parameter, named, whole_number
from conch_steps.serving import StepModel
from conch_tools.settings import Settings

LIMIT = whole_number("limit", 5)
NAME = named("model", "the name of a model")
ADAPTORS = sorted(Settings().backends.glob("*/model.py"))


def model(parameters: Mapping[str, str]) -> StepModel:
    return StepModel("mood", Path(), parameters)


def test_a_whole_number_above_zero_is_read_from_the_parameters() -> None:
    assert LIMIT.of(model({"limit": "12"})) == 12
    assert LIMIT.of(model({})) == 5


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "", "many", "1_000", "\u0661", " 7"])
def test_any_other_number_is_refused_by_name(value: str) -> None:
    with pytest.raises(ModelConfigError, match=r"model `mood`: parameter `limit` is .* whole number above zero"):
        LIMIT.of(model({"limit": value}))


@pytest.mark.parametrize(
    ("parameters", "said"), [({}, "is missing: it must be"), ({"model": ""}, "is '', but must be")]
)
def test_a_name_must_be_given(parameters: Mapping[str, str], said: str) -> None:
    with pytest.raises(ModelConfigError, match=f"model `mood`: parameter `model` {said} the name of a model"):
        NAME.of(model(parameters))


def test_an_optional_parameter_may_be_absent_but_not_wrong() -> None:
    share: Parameter[float] = Parameter("share", "a number", float, optional=True)
    assert share.given(model({})) is None
    assert share.given(model({"share": "0.5"})) == 0.5
    with pytest.raises(ModelConfigError, match="but must be a number"):
        share.given(model({"share": "half"}))


@pytest.mark.parametrize("adaptor", ADAPTORS, ids=lambda path: path.parent.name)
def test_every_backend_but_onnxruntime_is_declared(adaptor: Path) -> None:
    name = adaptor.parent.name
    assert (declared(name, model({})) is None) == (name == "onnxruntime")


@pytest.mark.parametrize("adaptor", ADAPTORS, ids=lambda path: path.parent.name)
def test_an_adaptor_reads_parameters_by_their_declaration_only(adaptor: Path) -> None:
    reads = [node for node in ast.walk(ast.parse(adaptor.read_text())) if isinstance(node, ast.Attribute)]
    assert not any(node.attr == "parameters" and ast.unparse(node.value) == "model" for node in reads)


def test_zero_shot_wants_what_its_way_of_ranking_needs() -> None:
    by_similarity = declared("zero_shot", model({"embedding": "embed"}))
    by_entailment = declared("zero_shot", model({"model": "nli"}))
    assert by_similarity is not None and not by_similarity.files
    assert by_entailment is not None and set(by_entailment.files) == {"tokenizer.json", "entailment.json"}
