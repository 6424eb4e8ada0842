"""Which configurations a graph cannot keep: the C++ backend's checks at load, with its verdict on each.

Where the C++ backend loads a configuration whose every request must fail, this one refuses it at load: a
`batch_input` whose target the graph does not have or has with another element type. It also refuses by name
what it cannot do in Python: implicit state and decoupled answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from conch_steps.errors import ModelConfigError
from conch_steps.onnx_backend.batch import BATCH_INPUT_KINDS
from conch_steps.onnx_backend.config import BackendConfig, Json, TensorConfig
from conch_steps.onnx_backend.signature import GraphSignature, TensorSpec

BOOLEAN_CONTROLS = ("CONTROL_SEQUENCE_START", "CONTROL_SEQUENCE_END", "CONTROL_SEQUENCE_READY")
TYPED_CONTROL = "CONTROL_SEQUENCE_CORRID"
FALSE_TRUE = {
    "int32_false_true": "TYPE_INT32",
    "fp32_false_true": "TYPE_FP32",
    "bool_false_true": "TYPE_BOOL",
}


def validate(config: BackendConfig, signature: GraphSignature) -> None:
    """Raises ModelConfigError for the first thing that the graph, or this backend, cannot keep."""
    try:
        _refuse_unavailable(config)
        controls = _check_controls(config, signature)
        _check_input_count(config, signature, controls)
        for io in config.inputs:
            _check_input(config, io, signature)
        for io in config.outputs:
            _check_output(config, io, signature)
        _check_batch_inputs(config, signature)
        _check_batch_outputs(config)
    except ModelConfigError as problem:
        raise ModelConfigError(f"unable to load model '{config.model}': {problem}") from None


def _refuse_unavailable(config: BackendConfig) -> None:
    if config.implicit_state:
        raise ModelConfigError(
            "implicit state (sequence_batching.state) works in NVIDIA's onnxruntime backend only, not in "
            "this stand-in: make the state an output and an input of the model, or serve it in the GPU "
            "image"
        )
    if config.decoupled:
        raise ModelConfigError(
            "decoupled answers (model_transaction_policy.decoupled) are not available in this stand-in, "
            "and an ONNX model gives one answer a request: remove the setting"
        )


def _check_controls(config: BackendConfig, signature: GraphSignature) -> int:
    """The number of sequence control inputs; the graph must have each as [1] of its element type."""
    found = 0
    for kind in (*BOOLEAN_CONTROLS, TYPED_CONTROL):
        named = [
            (io.get("name", ""), control)
            for io in config.control_inputs
            for control in io.get("control", ())
            if control.get("kind", BOOLEAN_CONTROLS[0]) == kind
        ]
        if len(named) > 1:
            raise ModelConfigError(f"sequence batching specifies multiple {kind} tensors")
        for name, control in named:
            _check_control(config, name, _control_type(kind, control), signature)
            found += 1
    return found


def _control_type(kind: str, control: Json) -> str:
    values = [key for key in FALSE_TRUE if control.get(key)]
    if kind == TYPED_CONTROL:
        if values:
            raise ModelConfigError(f"sequence batching must not specify '{values[0]}' for {kind}")
        return str(control.get("data_type", "TYPE_INVALID"))
    if len(values) != 1 or len(control[values[0]]) != 2:
        raise ModelConfigError(
            f"sequence batching must specify one of {', '.join(FALSE_TRUE)} for {kind}, with two values"
        )
    return FALSE_TRUE[values[0]]


def _check_control(config: BackendConfig, name: str, data_type: str, signature: GraphSignature) -> None:
    spec = signature.inputs.get(name)
    if spec is None:
        raise ModelConfigError(
            f"configuration specified sequence control '{name}', but model does not provide that input"
        )
    dims = spec.dims[1:] if config.batching else spec.dims
    if dims != (1,):
        raise ModelConfigError(f"sequence control '{name}' in model has dims {_text(dims)} but dims [1] is expected")
    if spec.data_type != data_type:
        raise ModelConfigError(
            f"sequence control '{name}', the model expects data-type {spec.data_type} but the model "
            f"configuration specifies data-type {data_type}"
        )


def _check_input_count(config: BackendConfig, signature: GraphSignature, controls: int) -> None:
    required = [io.name for io in config.inputs if not io.optional]
    computed = [name for io in config.batch_inputs for name in io.targets]
    expected = len(required) + len(config.batch_inputs) + controls
    if expected != len(signature.inputs):
        controlled = [io.get("name", "") for io in config.control_inputs]
        missing = [name for name in signature.inputs if name not in (*required, *computed, *controlled)]
        hint = f"; not in the configuration: {', '.join(missing)}" if missing else ""
        raise ModelConfigError(
            f"configuration expects {expected} inputs, model provides {len(signature.inputs)} "
            f"({', '.join(signature.inputs)}){hint}: name each in input or batch_input"
        )


def _check_input(config: BackendConfig, io: TensorConfig, signature: GraphSignature) -> None:
    if io.optional and config.batching:
        raise ModelConfigError(
            f"optional input '{io.name}' is not supported for models that support batching: set max_batch_size to 0"
        )
    spec = _find("input", io, {**signature.inputs, **signature.overridable})
    if io.optional and io.ragged:
        raise ModelConfigError(f"ragged input '{io.name}' is not supported as optional input")
    if not io.ragged:
        _check_dims(config, io, spec, exact=False)
    elif spec.dims != (-1,):
        raise ModelConfigError(
            f"configuration expects model provides input with shape [-1] for ragged input '{io.name}', "
            f"model provides {_text(spec.dims)}: export the graph with a flat input, or remove "
            "allow_ragged_batch"
        )


def _check_output(config: BackendConfig, io: TensorConfig, signature: GraphSignature) -> None:
    spec = _find("output", io, signature.outputs)
    if io.name not in [batch_output.target for batch_output in config.batch_outputs]:
        _check_dims(config, io, spec, exact=True)


def _find(side: str, io: TensorConfig, specs: Mapping[str, TensorSpec]) -> TensorSpec:
    spec = specs.get(io.name)
    if spec is None:
        raise ModelConfigError(
            f"unexpected inference {side} '{io.name}', allowed {side}s are: {', '.join(sorted(specs))}"
        )
    if io.data_type != spec.data_type:
        raise ModelConfigError(
            f"configuration expects datatype {io.data_type} for {side} '{io.name}', model provides {spec.data_type}"
        )
    return spec


def _check_dims(config: BackendConfig, io: TensorConfig, spec: TensorSpec, *, exact: bool) -> None:
    """Compare the dims of configuration and graph. Unless `exact`, an open dim of the graph takes any."""
    if not spec.dims:
        if any(dim != 1 for dim in io.dims):
            raise ModelConfigError(
                f"scalar tensor '{io.name}' should only provide 1 in the model configuration, not {_text(io.dims)}"
            )
        return
    if config.batching and spec.dims[0] != -1:
        raise ModelConfigError(
            f"tensor '{io.name}': for the model to support batching the shape should have at least 1 "
            "dimension and the first dimension must be -1; but shape expected by the model is "
            f"{_text(spec.dims)}: set max_batch_size to 0, or export the graph with an open batch dimension"
        )
    dims = (-1, *io.dims) if config.batching else io.dims
    if len(dims) != len(spec.dims) or not all(_agree(dims, spec.dims, exact)):
        batch = ", batch dimension in front as max_batch_size is above 0" if config.batching else ""
        raise ModelConfigError(
            f"tensor '{io.name}': the model expects {len(spec.dims)} dimensions (shape {_text(spec.dims)}) "
            f"but the model configuration specifies {len(dims)} dimensions (shape {_text(dims)}{batch})"
        )


def _agree(dims: Sequence[int], graph: Sequence[int], exact: bool) -> Iterator[bool]:
    return (dim == known or (known == -1 and not exact) for dim, known in zip(dims, graph, strict=True))


def _check_batch_inputs(config: BackendConfig, signature: GraphSignature) -> None:
    for io in config.batch_inputs:
        if io.kind not in BATCH_INPUT_KINDS:
            raise ModelConfigError(f"unexpected batch input kind '{io.kind}'")
        for target in io.targets:
            _find("input", TensorConfig(target, io.data_type, ()), signature.inputs)


def _check_batch_outputs(config: BackendConfig) -> None:
    ranks = {io.name: len(io.dims) for io in (*config.inputs, *config.outputs)}
    for io in config.batch_outputs:
        if ranks[io.target] > ranks[io.source]:
            raise ModelConfigError(f"batch_output '{io.target}' has more dims than its source '{io.source}' could give")


def _text(dims: Sequence[int]) -> str:
    return f"[{','.join(map(str, dims))}]"
