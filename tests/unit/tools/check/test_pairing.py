"""The graph rules together are as strict as the stand-in, and no stricter."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

from conch_steps.errors import ModelConfigError
from conch_steps.onnx_backend.config import BackendConfig
from conch_steps.onnx_backend.signature import GraphSignature, TensorSpec
from conch_steps.onnx_backend.validate import validate
from conch_tools.check.pairing import Pair
from conch_tools.check.pbtxt import Mark
from conch_tools.check.repository import Model
from conch_tools.check.rules.graph import GRAPH_SETTINGS
from conch_tools.check.rules.graph_batching import GRAPH_BATCHING
from conch_tools.check.rules.graph_tensors import GRAPH_TENSORS

MODEL = Model(
    name="m",
    folder=Path("m"),
    config_file=None,
    config=model_config_pb2.ModelConfig(),
    marks=Mark(1, 1),
    unparsable=None,
    subfolders=MappingProxyType({}),
    pipeline=None,
    backend_folders=None,
)

CANCEL_EACH_OTHER = {"ONX009", "ONX010"}
"""Triton counts a batch_input as one input, whatever targets it has, and an initialiser as one unless it is optional.
With one fault of each, its count is right again; both are told nevertheless: mending one alone brings the other out."""

names = st.sampled_from(["a", "b"])
computed_names = st.sampled_from(["c", "d"])
types = st.sampled_from(["TYPE_INT32", "TYPE_FP32"])
dims = st.lists(st.sampled_from([-1, 1, 2]), max_size=2)


def tensors(**more: st.SearchStrategy[bool]) -> st.SearchStrategy[list[dict[str, object]]]:
    tensor = st.fixed_dictionaries({"name": names, "data_type": types, "dims": dims, **more})
    return st.lists(tensor, max_size=2, unique_by=lambda io: str(io["name"]))


batch_inputs = st.lists(
    st.fixed_dictionaries(
        {
            "kind": st.just("BATCH_ITEM_SHAPE"),
            "target_name": st.lists(computed_names, min_size=1, max_size=2, unique=True),
            "data_type": types,
            "source_input": st.just(["a"]),
        }
    ),
    max_size=1,
)
configs = st.fixed_dictionaries(
    {
        "max_batch_size": st.sampled_from([0, 4]),
        "input": tensors(optional=st.booleans(), allow_ragged_batch=st.booleans()),
        "output": tensors(),
        "batch_input": batch_inputs,
    }
)


def fitting(config: BackendConfig) -> dict[str, dict[str, TensorSpec]]:
    """The tensors of a graph that goes with a configuration, by the field of GraphSignature."""
    first = (-1,) if config.batching else ()
    sides: dict[str, dict[str, TensorSpec]] = {"inputs": {}, "outputs": {}, "overridable": {}}
    for io in config.inputs:
        side = sides["overridable" if io.optional else "inputs"]
        side[io.name] = TensorSpec(io.name, io.data_type, (-1,) if io.ragged else first + io.dims)
    for io in config.outputs:
        sides["outputs"][io.name] = TensorSpec(io.name, io.data_type, first + io.dims)
    for batch_input in config.batch_inputs:
        for name in batch_input.targets:
            sides["inputs"][name] = TensorSpec(name, batch_input.data_type, (-1, 1))
    return sides


changes = st.tuples(
    st.sampled_from(["inputs", "outputs", "overridable"]),
    st.builds(TensorSpec, names | computed_names, types, dims.map(tuple)),
    st.booleans(),
)


@settings(deadline=None, max_examples=200)
@example(
    {
        "max_batch_size": 0,
        "input": [{"name": name, "data_type": "TYPE_INT32", "dims": []} for name in ("a", "b")],
        "batch_input": [
            {
                "kind": "BATCH_ITEM_SHAPE",
                "target_name": ["c", "d"],
                "data_type": "TYPE_INT32",
                "source_input": ["a"],
            }
        ],
    },
    [("overridable", TensorSpec("a", "TYPE_INT32", ()), False)],
)
@given(configs, st.lists(changes, max_size=1))
def test_a_configuration_has_a_finding_exactly_when_it_would_be_refused(
    config: dict[str, object], changed: list[tuple[str, TensorSpec, bool]]
) -> None:
    read = BackendConfig.from_json(config)
    sides = fitting(read)
    for side, spec, removed in changed:
        # An input is overridable or not, never both.
        for either in ("outputs",) if side == "outputs" else ("inputs", "overridable"):
            sides[either].pop(spec.name, None)
        if not removed:
            sides[side][spec.name] = spec
    signature = GraphSignature(**sides)
    try:
        validate(read, signature)
        refusal = None
    except ModelConfigError as problem:
        refusal = str(problem)
    pair = Pair(MODEL, 1, signature, read)
    rules = (*GRAPH_SETTINGS.rules, *GRAPH_TENSORS.rules, *GRAPH_BATCHING.rules)
    findings = {rule.code: [finding.what for finding in rule.findings(pair)] for rule in rules}
    found = {code: problems for code, problems in findings.items() if problems}
    if refusal is None and found.keys() == CANCEL_EACH_OTHER:
        return
    assert bool(found) == bool(refusal), (found, refusal)
