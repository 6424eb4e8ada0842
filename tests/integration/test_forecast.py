"""The pipeline `forecast` on the running server: any history and horizon, whatever else is in the batch."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from conch_client import Client, Forecast, InvalidInput
from conch_tools.pipelines import load_pipeline
from conch_tools.server import EmbeddedServer
from conch_tools.settings import Settings

CALLERS = 16
LONGEST = 400
MAX_HORIZON = 60
RELATIVE = 1e-5
PIPELINE = load_pipeline(Settings().repository / "forecast")
Floats = npt.NDArray[np.float32]


@pytest.fixture
def client(triton: EmbeddedServer) -> Iterator[Client]:
    with Client(triton.grpc_url) as client:
        yield client


def series(length: int, seed: int = 7) -> Floats:
    """A season of 12 and a trend, with noise."""
    steps = np.arange(length)
    noise = np.random.default_rng(seed).normal(0, 0.3, length)
    return np.asarray(300 + 0.1 * steps + 3 * np.sin(steps * np.pi / 6) + noise, dtype=np.float32)


def mixed(count: int) -> list[tuple[Floats, int]]:
    """Histories of 1 to 400 values and horizons of 1 to 60."""
    chance = np.random.default_rng(7)
    return [(series(int(chance.integers(1, LONGEST)), seed), int(chance.integers(1, 61))) for seed in range(count)]


def assert_same(answer: Forecast, expected: Forecast) -> None:
    for name in ("values", "lower", "upper"):
        np.testing.assert_allclose(getattr(answer, name), getattr(expected, name), rtol=RELATIVE)


def test_a_season_and_a_trend_are_carried_on(client: Client) -> None:
    whole = series(240)
    answer = client.forecast(whole[:180], 60)
    naive = np.tile(whole[168:180], 5)
    assert np.abs(answer.values - whole[180:]).mean() < 0.5 * np.abs(naive - whole[180:]).mean()
    assert ((answer.lower <= whole[180:]) & (whole[180:] <= answer.upper)).mean() > 0.6


@pytest.mark.parametrize("horizon", [1, 12, MAX_HORIZON])
@pytest.mark.parametrize("length", [1, 2, 95, 96, 97, 5000])
def test_any_length_and_horizon_are_answered_in_order(client: Client, length: int, horizon: int) -> None:
    answer = client.forecast(series(length), horizon)
    assert answer.values.shape == answer.lower.shape == answer.upper.shape == (horizon,)
    assert answer.values.dtype == np.float32
    assert (answer.lower <= answer.values).all() and (answer.values <= answer.upper).all()


def test_a_shorter_horizon_is_the_beginning_of_a_longer_one(client: Client) -> None:
    short, long = client.forecast(series(60), 5), client.forecast(series(60), 60)
    np.testing.assert_allclose(short.values, long.values[:5], rtol=RELATIVE)


@pytest.mark.parametrize("unit", [1e-12, 1e12, -1e12, 1e30])
def test_a_series_in_other_units_has_the_same_forecast_in_those_units(client: Client, unit: float) -> None:
    answer, plain = client.forecast(series(50) * np.float32(unit), 12), client.forecast(series(50), 12)
    np.testing.assert_allclose(answer.values[0] / np.float32(unit), plain.values[0], rtol=0.01)
    assert np.isfinite(answer.lower).all() and np.isfinite(answer.upper).all()
    if unit > 0:
        np.testing.assert_allclose(answer.values / np.float32(unit), plain.values, rtol=1e-4)


@pytest.mark.parametrize("value", [0.0, -7.5, 1e-12, 1e12, 3e38])
@pytest.mark.parametrize("length", [1, 30, 200])
def test_a_constant_series_stays_as_it_is(client: Client, value: float, length: int) -> None:
    answer = client.forecast([value] * length, 12)
    for values in (answer.values, answer.lower, answer.upper):
        assert values.tolist() == [np.float32(value)] * 12


def test_extreme_movements_give_finite_answers(client: Client) -> None:
    for history in ([3.4e38, -3.4e38] * 20, [0.0] * 95 + [1e12], [1e-45, 0.0, 1e-45], [1e12, 1e-12] * 30):
        answer = client.forecast(history, 60)
        assert np.isfinite([answer.values, answer.lower, answer.upper]).all()


def test_a_list_of_histories_of_different_lengths_is_answered_in_its_order(client: Client) -> None:
    histories = [series(length) for length in (30, 96, 1, 30, 150)]
    for answer, history in zip(client.forecast(histories, 24), histories, strict=True):
        assert_same(answer, client.forecast(history, 24))


def test_histories_of_different_lengths_share_executions_and_change_nothing(client: Client) -> None:
    asked = mixed(48)
    alone = [client.forecast(*each) for each in asked]
    steps = ("forecast_prepare", "forecast_model", "forecast_restore")
    before = {step: client.statistics(step)[0] for step in steps}
    with ThreadPoolExecutor(CALLERS) as callers:
        together = list(callers.map(lambda number: client.forecast(*asked[number % 48]), range(480)))
    for number, answer in enumerate(together):
        assert_same(answer, alone[number % 48])
    for step in steps:
        after = client.statistics(step)[0]
        assert after.inference_count - before[step].inference_count == 480
        assert after.execution_count - before[step].execution_count < 400, f"{step} answered nearly all alone"


def test_a_batch_equals_its_rows_alone(client: Client) -> None:
    histories = np.stack([series(70, seed) for seed in range(32)])
    horizons = np.full((32, 1), 36, dtype=np.int32)
    answer = client.infer("forecast", history=histories, horizon=horizons)
    for row, history in enumerate(histories):
        np.testing.assert_allclose(answer["upper"][row], client.forecast(history, 36).upper, rtol=RELATIVE)


@pytest.mark.parametrize(
    ("history", "horizon", "said"),
    [
        ([1.0, float("nan")], 5, r"`history`\[0\]\[1\] is nan"),
        ([float("inf")], 5, r"`history`\[0\]\[0\] is inf"),
        ([], 5, "`history` is empty"),
        ([1.0, 2.0], 0, "`horizon` is 0, but must be between 1 and 60"),
        ([1.0, 2.0], -1, "`horizon` is -1, but must be between 1 and 60"),
        ([1.0, 2.0], 61, "`horizon` is 61, but must be between 1 and 60"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_its_name(
    client: Client, history: list[float], horizon: int, said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        client.forecast(history, horizon)


def test_rows_of_one_request_must_have_one_horizon(client: Client) -> None:
    with pytest.raises(InvalidInput, match=r"`horizon` differs between the rows of this request \(5, 6\)"):
        client.infer("forecast", history=[[1.0, 2.0], [3.0, 4.0]], horizon=[[5], [6]])


def test_bad_requests_fail_alone_among_good_ones(client: Client) -> None:
    asked = mixed(24)
    alone = [client.forecast(*each) for each in asked]

    def ask(number: int) -> Any:
        history, horizon = asked[number % 24]
        if number % 3:
            return client.forecast(history, horizon)
        spoilt = np.append(history, np.float32("nan"))
        with pytest.raises(InvalidInput):
            client.forecast(history if number % 2 else spoilt, 0 if number % 2 else horizon)
        return None

    with ThreadPoolExecutor(CALLERS) as callers:
        answers = list(callers.map(ask, range(240)))
    for number, answer in enumerate(answers):
        if number % 3:
            assert_same(answer, alone[number % 24])


@pytest.mark.parametrize(
    ("history", "shape", "status"), [([1.5, 2.5], [1, 2], 200), ([], [1, 0], 400), ([1e39], [1, 1], 400)]
)
def test_over_http_in_json(triton: EmbeddedServer, history: list[float], shape: list[int], status: int) -> None:
    body = {
        "inputs": [
            {"name": "history", "datatype": "FP32", "shape": shape, "data": history},
            {"name": "horizon", "datatype": "INT32", "shape": [1, 1], "data": [4]},
        ]
    }
    connection = http.client.HTTPConnection(triton.http_url, timeout=30)
    connection.request("POST", "/v2/models/forecast/infer", json.dumps(body))
    answer = connection.getresponse()
    read = json.loads(answer.read())
    connection.close()
    assert answer.status == status, read
    if status == 200:
        assert {output["name"]: output["shape"] for output in read["outputs"]} == {
            "forecast": [1, 4],
            "lower": [1, 4],
            "upper": [1, 4],
        }
    else:
        assert "`history`" in read["error"]


def test_the_sample_is_answered_as_pipeline_toml_says(client: Client) -> None:
    (sample,) = PIPELINE.samples
    answer = client.infer("forecast", inputs=PIPELINE.sample_inputs(sample))
    for name, values in sample.expect.items():
        np.testing.assert_allclose(answer[name], values, atol=sample.tolerance)
