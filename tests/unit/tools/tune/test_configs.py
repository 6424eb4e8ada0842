"""Settings are read as Triton reads them, and written so that reading them again gives the same."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from conch_tools.tune.configs import as_json, settings_of, with_settings
from conch_tools.tune.space import StepSettings

CORES = 4


def config(text: str) -> Any:
    return text_format.Parse(f'name: "m" {text}', ModelConfig())


ONNX = 'backend: "onnxruntime" dynamic_batching {}'


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        (ONNX, StepSettings("m", 2, 2, False, 0)),
        (f"{ONNX} instance_group {{}}", StepSettings("m", 2, 2, False, 0)),
        (f"{ONNX} instance_group {{ count: 1 }}", StepSettings("m", 1, 4, False, 0)),
        (f"{ONNX} instance_group {{ kind: KIND_GPU }}", StepSettings("m", 1, None, False, 0)),
        (
            f'{ONNX} parameters {{ key: "intra_op_thread_count" value {{ string_value: "3" }} }} '
            'parameters { key: "session.intra_op.allow_spinning" value { string_value: "1" } }',
            StepSettings("m", 2, 3, True, 0),
        ),
        ('backend: "text_tokenizer"', StepSettings("m", 1, None, False, None)),
        (
            'backend: "b" dynamic_batching { preferred_batch_size: [4, 8] max_queue_delay_microseconds: 7 }',
            StepSettings("m", 1, None, False, 7, (4, 8)),
        ),
    ],
)
def test_what_is_left_out_means_what_triton_makes_of_it(text: str, settings: StepSettings) -> None:
    assert settings_of(config(text), CORES) == settings


def test_instances_of_several_groups_cannot_be_set() -> None:
    assert settings_of(config("instance_group [ { count: 1 }, { count: 2 } ]"), CORES) is None


def test_an_ensemble_has_no_settings() -> None:
    assert settings_of(config("ensemble_scheduling {}"), CORES) is None


@pytest.mark.parametrize(
    "values",
    [
        {"instances": 4},
        {"instances": 1, "threads": 4},
        {"threads": 4, "spinning": True},
        {"queue_delay_us": 500, "preferred": (8, 16)},
    ],
)
def test_written_settings_are_read_again(values: dict[str, Any]) -> None:
    original = config(ONNX)
    now = settings_of(original, CORES)
    assert now is not None
    wanted = dataclasses.replace(now, **values)
    assert settings_of(with_settings(original, now, wanted), CORES) == wanted


def test_nothing_is_written_that_is_so_already() -> None:
    original = config(f"{ONNX} version_policy {{ all {{}} }}")
    now = settings_of(original, CORES)
    assert now is not None
    assert with_settings(original, now, now) == original


def test_the_rest_of_a_batcher_stays() -> None:
    original = config('backend: "b" dynamic_batching { preserve_ordering: true max_queue_delay_microseconds: 9 }')
    now = settings_of(original, CORES)
    assert now is not None
    changed = with_settings(original, now, dataclasses.replace(now, queue_delay_us=0))
    assert as_json(changed)["dynamic_batching"] == {"preserve_ordering": True}
