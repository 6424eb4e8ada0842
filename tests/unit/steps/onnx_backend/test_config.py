"""config.pbtxt's JSON form is read the same whether Triton or protobuf wrote it."""

from __future__ import annotations

from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

from conch_steps.onnx_backend.config import BackendConfig, BatchInput, TensorConfig

CONFIG = """
name: "mini"
max_batch_size: 8
input [
  { name: "ids" data_type: TYPE_INT32 dims: [-1] allow_ragged_batch: true },
  { name: "flag" data_type: TYPE_BOOL dims: [1] reshape { shape: [] } }
]
output [{ name: "score" data_type: TYPE_FP32 dims: [2, -1] }]
batch_input [
  { kind: BATCH_ELEMENT_COUNT target_name: "count" data_type: TYPE_FP32 source_input: "ids" }
]
parameters { key: "execution_mode" value { string_value: "1" } }
instance_group [{ count: 3 }]
"""


def read(text: str) -> BackendConfig:
    message = text_format.Parse(text, model_config_pb2.ModelConfig())
    return BackendConfig.from_json(json_format.MessageToDict(message, preserving_proto_field_name=True))


def test_what_protobuf_writes_is_understood() -> None:
    config = read(CONFIG)
    assert config.inputs == (
        TensorConfig("ids", "TYPE_INT32", (-1,), ragged=True),
        TensorConfig("flag", "TYPE_BOOL", ()),
    )
    assert config.outputs == (TensorConfig("score", "TYPE_FP32", (2, -1)),)
    assert config.batch_inputs == (BatchInput("BATCH_ELEMENT_COUNT", ("count",), "ids", "TYPE_FP32"),)
    assert config.parameters == {"execution_mode": "1"}
    assert (config.model, config.batching, config.instances) == ("mini", True, 3)


def test_a_reshape_to_a_scalar_is_told_from_no_reshape() -> None:
    written_by_triton = {"input": [{"name": "x", "dims": [1], "reshape": {"shape": []}}]}
    assert BackendConfig.from_json(written_by_triton).inputs[0].dims == ()


def test_an_empty_configuration_has_no_batching_and_no_tensors() -> None:
    config = BackendConfig.from_json({})
    assert not config.batching
    assert config.inputs == config.outputs == ()
