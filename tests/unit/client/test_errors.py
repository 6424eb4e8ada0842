from __future__ import annotations

import pickle

import pytest

import conch_client
from conch_client import ConchError, ModelNotReady, ServerUnavailable

FACTS = {"model": "sentiment", "version": "3", "endpoint": "host:8001", "request_id": "ab-1"}

ERRORS = [
    member
    for name in conch_client.__all__
    if isinstance(member := getattr(conch_client, name), type) and issubclass(member, ConchError)
]


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_carries_the_facts_of_its_call(kind: type[ConchError]) -> None:
    error = kind("it broke", **FACTS)
    assert {name: getattr(error, name) for name in FACTS} == FACTS


def test_the_text_is_the_problem_with_the_known_facts_behind_it() -> None:
    error = ConchError("it broke", model="sentiment", endpoint="host:8001")
    assert str(error) == "it broke [model sentiment, endpoint host:8001]"
    assert error.problem == "it broke"


def test_the_text_of_an_error_without_facts_is_the_problem_alone() -> None:
    assert str(ConchError("it broke")) == "it broke"


def test_errors_survive_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(ModelNotReady("it broke", **FACTS)))
    assert isinstance(error, ModelNotReady)
    assert str(error) == str(ModelNotReady("it broke", **FACTS))


def test_a_model_that_is_not_ready_can_be_handled_like_a_server_that_is_not() -> None:
    assert issubclass(ModelNotReady, ServerUnavailable)


def test_the_tree_in_the_module_names_every_class() -> None:
    from conch_client import _errors

    assert [kind.__name__ for kind in ERRORS if kind.__name__ not in (_errors.__doc__ or "")] == []
