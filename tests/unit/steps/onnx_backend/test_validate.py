"""Configurations are refused at load exactly where NVIDIA's C++ backend refuses them."""

from __future__ import annotations

from typing import Any

import pytest

from conch_steps.errors import ModelConfigError
from conch_steps.onnx_backend.config import BackendConfig
from conch_steps.onnx_backend.signature import GraphSignature, TensorSpec
from conch_steps.onnx_backend.validate import validate

Json = dict[str, Any]
Dims = tuple[int, ...]


def graph(inputs: dict[str, Dims], outputs: dict[str, Dims], **overridable: Dims) -> GraphSignature:
    def specs(dims: dict[str, Dims]) -> dict[str, TensorSpec]:
        return {name: TensorSpec(name, "TYPE_FP32", value) for name, value in dims.items()}

    return GraphSignature(specs(inputs), specs(outputs), specs(overridable))


def tensor(name: str, *dims: int, data_type: str = "TYPE_FP32", **more: Any) -> Json:
    return {"name": name, "data_type": data_type, "dims": list(dims), **more}


def check(signature: GraphSignature, inputs: list[Json], outputs: list[Json], **config: Any) -> None:
    given = {"name": "m", "max_batch_size": 8, "input": inputs, "output": outputs, **config}
    validate(BackendConfig.from_json(given), signature)


PLAIN = graph({"x": (-1, 4)}, {"y": (-1, 2), "z": (-1, -1)})
X, Y, Z = tensor("x", 4), tensor("y", 2), tensor("z", -1)


def refused(reason: str) -> Any:
    return pytest.raises(ModelConfigError, match=f"unable to load model 'm': .*{reason}")


def test_a_configuration_that_says_what_the_graph_says_is_accepted() -> None:
    check(PLAIN, [X], [Y, Z])


def test_outputs_may_be_left_out_inputs_may_not() -> None:
    check(PLAIN, [X], [Y])
    two = graph({"x": (-1, 4), "mask": (-1, 4)}, {"y": (-1, 2)})
    with refused(r"configuration expects 1 inputs, model provides 2 \(x, mask\); not in .*: mask"):
        check(two, [X], [Y])


def test_an_input_or_output_that_the_graph_lacks_is_refused_with_what_it_has() -> None:
    with refused("unexpected inference input 'a', allowed inputs are: x"):
        check(PLAIN, [tensor("a", 4)], [Y])
    with refused("unexpected inference output 'b', allowed outputs are: y, z"):
        check(PLAIN, [X], [tensor("b", 2)])


@pytest.mark.parametrize("side", ["input", "output"])
def test_another_element_type_is_refused(side: str) -> None:
    x, y = tensor("x", 4, data_type="TYPE_INT32"), tensor("y", 2, data_type="TYPE_FP64")
    with refused(f"for {side} '[xy]', model provides TYPE_FP32"):
        check(PLAIN, *([x], [Y]) if side == "input" else ([X], [y]))


def test_an_open_dim_of_the_graph_takes_any_input_but_only_an_open_output() -> None:
    check(graph({"x": (-1, -1)}, {"y": (-1, 2)}), [X], [Y])
    with refused(r"'z': the model expects 2 dimensions \(shape \[-1,-1\]\)"):
        check(PLAIN, [X], [tensor("z", 5)])


def test_a_fixed_dim_of_the_graph_takes_only_itself() -> None:
    with refused("'x': the model expects 2 dimensions"):
        check(PLAIN, [tensor("x", -1)], [Y])


def test_another_rank_is_refused_with_both_shapes() -> None:
    with refused(r"\(shape \[-1,4\]\) but the model configuration specifies 3 .* \(shape \[-1,4,1\], batch"):
        check(PLAIN, [tensor("x", 4, 1)], [Y])


def test_without_batching_the_first_dim_is_a_dim_like_any_other() -> None:
    check(PLAIN, [tensor("x", 3, 4)], [tensor("y", -1, 2)], max_batch_size=0)


def test_batching_needs_an_open_first_dim() -> None:
    with refused(r"first dimension must be -1; but shape expected by the model is \[1,4\]: set max_batch"):
        check(graph({"x": (1, 4)}, {"y": (-1, 2)}), [X], [Y])


def test_a_reshape_counts_instead_of_the_dims() -> None:
    scalar_a_row = graph({"x": (-1,)}, {"y": (-1, 2)})
    check(scalar_a_row, [tensor("x", 1, reshape={"shape": []})], [Y])
    with refused("'x': the model expects 1 dimensions"):
        check(scalar_a_row, [tensor("x", 1)], [Y])


def test_a_scalar_takes_ones_only() -> None:
    scalar = graph({"x": ()}, {"y": ()})
    check(scalar, [tensor("x", 1)], [tensor("y", 1, 1)], max_batch_size=0)
    with refused(r"scalar tensor 'x' should only provide 1 .* not \[2\]"):
        check(scalar, [tensor("x", 2)], [tensor("y", 1)], max_batch_size=0)


def test_a_ragged_input_needs_a_flat_graph_input() -> None:
    check(graph({"x": (-1,)}, {"y": (-1, 2)}), [tensor("x", -1, allow_ragged_batch=True)], [Y])
    with refused(r"shape \[-1\] for ragged input 'x', model provides \[-1,4\]"):
        check(PLAIN, [tensor("x", -1, allow_ragged_batch=True)], [Y])


def test_an_optional_input_is_an_initialiser_of_a_graph_that_does_not_batch() -> None:
    signature = graph({"x": (-1, 4)}, {"y": (-1, 2)}, scale=(1,))
    scale = tensor("scale", 1, optional=True)
    x, y = tensor("x", -1, 4), tensor("y", -1, 2)
    check(signature, [x, scale], [y], max_batch_size=0)
    with refused("optional input 'scale' is not supported for models that support batching"):
        check(signature, [X, scale], [Y])
    with refused("configuration expects 0 inputs, model provides 1"):
        check(signature, [{**x, "optional": True}], [y], max_batch_size=0)


def batch_input(target: str, data_type: str = "TYPE_FP32", kind: str = "BATCH_ELEMENT_COUNT") -> Json:
    return {"kind": kind, "target_name": [target], "data_type": data_type, "source_input": ["x"]}


def test_batch_inputs_count_as_inputs_and_must_fit_the_graph() -> None:
    signature = graph({"x": (-1,), "count": (-1,)}, {"y": (-1, 2)})
    ragged = [tensor("x", -1, allow_ragged_batch=True)]
    check(signature, ragged, [Y], batch_input=[batch_input("count")])
    with refused("unexpected inference input 'counts'"):
        check(signature, ragged, [Y], batch_input=[batch_input("counts")])
    with refused("configuration expects datatype TYPE_INT32 for input 'count'"):
        check(signature, ragged, [Y], batch_input=[batch_input("count", "TYPE_INT32")])
    with refused("unexpected batch input kind 'BATCH_MEDIAN'"):
        check(signature, ragged, [Y], batch_input=[batch_input("count", kind="BATCH_MEDIAN")])


def test_a_batch_output_may_have_another_shape_but_no_dims_beyond_its_source() -> None:
    signature = graph({"x": (-1,)}, {"y": (-1,)})
    ragged = [tensor("x", -1, allow_ragged_batch=True)]
    scatter = {"kind": "BATCH_SCATTER_WITH_INPUT_SHAPE", "target_name": ["y"], "source_input": ["x"]}
    check(signature, ragged, [tensor("y", -1)], batch_output=[scatter])
    with refused("batch_output 'y' has more dims than its source 'x'"):
        check(signature, ragged, [tensor("y", -1, -1)], batch_output=[scatter])


def control(kind: str, **values: Any) -> Json:
    return {"name": "start", "control": [{"kind": kind, **values}]}


START = control("CONTROL_SEQUENCE_START", fp32_false_true=[0, 1], int32_false_true=[], bool_false_true=[])
SEQUENCED = graph({"x": (-1, 4), "start": (-1, 1)}, {"y": (-1, 2)})


def test_sequence_controls_count_as_inputs() -> None:
    check(SEQUENCED, [X], [Y], sequence_batching={"control_input": [START]})
    identity = control("CONTROL_SEQUENCE_CORRID", data_type="TYPE_FP32")
    check(SEQUENCED, [X], [Y], sequence_batching={"control_input": [identity]})


@pytest.mark.parametrize(
    ("controls", "reason"),
    [
        ([START, START], "specifies multiple CONTROL_SEQUENCE_START"),
        ([control("CONTROL_SEQUENCE_END")], "must specify one of int32_false_true"),
        ([control("CONTROL_SEQUENCE_START", int32_false_true=[0, 1])], "specifies data-type TYPE_INT32"),
        ([control("CONTROL_SEQUENCE_CORRID", int32_false_true=[0, 1])], "must not specify 'int32_false"),
        ([{**START, "name": "begin"}], "sequence control 'begin', but model does not provide that input"),
        ([{**START, "name": "x"}], r"'x' in model has dims \[4\] but dims \[1\] is expected"),
    ],
)
def test_sequence_controls_that_do_not_fit_are_refused(controls: list[Json], reason: str) -> None:
    with refused(reason):
        check(SEQUENCED, [X], [Y], sequence_batching={"control_input": controls})


def test_what_this_backend_cannot_do_is_refused_by_name() -> None:
    with refused(r"implicit state \(sequence_batching.state\)"):
        check(PLAIN, [X], [Y], sequence_batching={"state": [{"input_name": "s", "output_name": "t"}]})
    with refused(r"decoupled answers \(model_transaction_policy.decoupled\)"):
        check(PLAIN, [X], [Y], model_transaction_policy={"decoupled": True})
