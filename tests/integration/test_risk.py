"""`risk` and `risk_vote` on the running server: scikit-learn's answers, stored values, refusals by name."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from conch_client import Client, InvalidInput
from conch_steps.features import ENTITY
from conch_tools.build.feature_repo import MEASURED, TIMESTAMP
from conch_tools.pipelines import load_pipeline
from conch_tools.server import EmbeddedServer
from conch_tools.settings import Settings
from conch_tools.training import risk as training

REPOSITORY = Settings().repository
TOLERANCE = 1e-6
CALLERS = 16
PIPELINES = ["risk", "risk_vote"]

BAD_ROWS: Mapping[str, tuple[str | dict[str, Any], str]] = {
    "missing": ({"size_class": "small"}, "`mean_concavity` is missing, it must be a number from 0 to 0.9"),
    "unknown": ({"size_clas": "small"}, '"size_clas" is not a feature: did you mean `size_class`?'),
    "range": ({"area_error": 5000}, "`area_error` is 5000, but must be a number from 0 to 1200"),
    "type": ({"area_error": "24.5"}, '`area_error` is "24.5", but must be a number'),
    "category": ({"texture_class": "fuzzy"}, '`texture_class` is "fuzzy", but must be one of smooth, mixed, coarse'),
    "not a number": ('{"area_error": NaN}', "`area_error` is not a number (NaN), but must be"),
    "infinite": ('{"area_error": 1e999}', "`area_error` is infinite, but must be"),
    "twice": ('{"area_error": 1, "area_error": 2}', 'names "area_error" twice'),
    "no object": ("[1, 2]", "is a list, but must be an object of names and values"),
    "broken": ('{"area_error": ', "is not JSON"),
    "nested": ("[" * 30_000, "is nested too deeply"),
    "unknown entity": ({"entity_id": "patient-569"}, '`entity_id` "patient-569" is not in the feature store'),
    "no entity": ({"entity_id": 17}, "`entity_id` is 17, but must be a text"),
}


@pytest.fixture
def client(triton: EmbeddedServer) -> Iterator[Client]:
    with Client(triton.grpc_url) as client:
        yield client


def complete(name: str) -> str | dict[str, Any]:
    """A bad row of BAD_ROWS, on top of a good one where it is a mapping of its own."""
    row, _ = BAD_ROWS[name]
    if isinstance(row, str) or name in ("missing", "unknown entity", "no entity"):
        return row
    return {**training.split()[1][0].values, **row}


def probabilities(pipeline: str, rows: list[Mapping[str, float | str]]) -> Any:
    """scikit-learn's own answers, [n, 2] in the order of the training's labels."""
    matrix = training.matrix(rows)
    if pipeline == "risk":
        return training.fit("linear").predict_proba(matrix)
    members = load_pipeline(REPOSITORY / "risk_vote").members
    opinions = [training.fit(name).predict_proba(matrix) for name in members]
    return np.average(np.stack(opinions), axis=0, weights=list(members.values()))


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_scores_are_scikit_learn_s(client: Client, pipeline: str) -> None:
    rows = [each.values for each in training.split()[1][:60]]
    answers = client.score(rows, pipeline)
    scores = [[answer.scores[label] for label in training.labels] for answer in answers]
    np.testing.assert_allclose(scores, probabilities(pipeline, rows), atol=TOLERANCE)


def test_the_vote_is_the_weighted_average_of_its_members_on_the_server(client: Client) -> None:
    rows = training.matrix([each.values for each in training.split()[1][:60]])
    members = load_pipeline(REPOSITORY / "risk_vote").members
    opinions = [client.infer(f"risk_vote_{name}", rows=rows)[name].astype(np.float64) for name in members]
    assert len({opinion[0, 0] for opinion in opinions}) == len(members), "the members are different models"
    given = {name: opinion.astype(np.float32) for name, opinion in zip(members, opinions, strict=True)}
    joined = client.infer("risk_vote_join", inputs=given)
    average = np.average(np.stack(opinions), axis=0, weights=list(members.values()))
    np.testing.assert_allclose(joined["probabilities"], average, atol=TOLERANCE)


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_an_entity_scores_as_its_values_do_and_given_values_override_them(client: Client, pipeline: str) -> None:
    patient = training.patients()[17]
    assert client.score({ENTITY: patient.entity}, pipeline) == client.score(patient.values, pipeline)
    other = {"size_class": "small", "worst_concave_points": 0.05}
    changed = client.score({ENTITY: patient.entity, **other}, pipeline)
    assert changed == client.score({**patient.values, **other}, pipeline)
    assert changed != client.score(patient.values, pipeline)


def test_values_served_online_are_the_offline_ones(client: Client) -> None:
    with warnings.catch_warnings():
        # Feast and the libraries below it warn of themselves.
        warnings.simplefilter("ignore")
        import pandas as pd
        from feast import FeatureStore

        entities = [f"patient-{number}" for number in range(0, 569, 9)]
        history = FeatureStore(repo_path=str(REPOSITORY / "risk_features" / "1")).get_historical_features(
            entity_df=pd.DataFrame({ENTITY: entities, TIMESTAMP: MEASURED}),
            features=[f"measurements:{name}" for name in training.columns],
        )
        offline = history.to_df().set_index(ENTITY)
    rows = [json.dumps({ENTITY: entity}) for entity in entities]
    online = client.infer("risk_features", features=np.array(rows, dtype=np.object_).reshape(-1, 1))["rows"]
    np.testing.assert_array_equal(online, training.matrix(offline.loc[entities].to_dict(orient="records")))


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_row_that_cannot_be_answered_is_a_400_that_names_the_value(triton: EmbeddedServer, name: str) -> None:
    row = complete(name)
    data = row if isinstance(row, str) else json.dumps(row)
    body = {"inputs": [{"name": "features", "shape": [1, 1], "datatype": "BYTES", "data": [data]}]}
    answer = httpx.post(f"http://{triton.http_url}/v2/models/risk/infer", json=body)
    assert answer.status_code == httpx.codes.BAD_REQUEST
    assert BAD_ROWS[name][1] in answer.json()["error"]


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_bad_rows_fail_alone_among_good_ones(client: Client, pipeline: str) -> None:
    patients = training.split()[1][:24]
    alone = [client.score(patient.values, pipeline) for patient in patients]
    names = list(BAD_ROWS)

    def ask(number: int) -> Any:
        if number % 3:
            row = patients[number % 24]
            return client.score({ENTITY: row.entity} if number % 2 else row.values, pipeline)
        with pytest.raises(InvalidInput) as refused:
            client.score([patients[0].values, complete(names[number % len(names)])], pipeline)
        return str(refused.value)

    with ThreadPoolExecutor(CALLERS) as callers:
        answers = list(callers.map(ask, range(192)))
    for number, answer in enumerate(answers):
        if number % 3:
            expected = alone[number % 24]
            assert answer.label == expected.label
            assert answer.score == pytest.approx(expected.score, abs=TOLERANCE)
        else:
            assert BAD_ROWS[names[number % len(names)]][1] in answer
            assert "`features`[1]" in answer
