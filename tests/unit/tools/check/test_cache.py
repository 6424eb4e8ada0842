"""Rules about the response cache: whose answers it may keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from conch_tools.check import Finding

Check = Callable[[Mapping[str, str | bytes]], list[Finding]]
CheckSource = Callable[..., list[tuple[str, int | None]]]

CACHED = "response_cache { enable: true }\n"
TENSOR = '{{ name: "{}" data_type: {} dims: {} }}'
LABELS = f"""\
backend: "class_labels"
max_batch_size: 8
input {TENSOR.format("logits", "TYPE_FP32", "[ 2 ]")}
output {TENSOR.format("label", "TYPE_STRING", "[ -1 ]")}
output {TENSOR.format("score", "TYPE_FP32", "[ -1 ]")}
"""
ENSEMBLE = f"""\
platform: "ensemble"
max_batch_size: 8
input {TENSOR.format("logits", "TYPE_FP32", "[ 2 ]")}
output {TENSOR.format("label", "TYPE_STRING", "[ -1 ]")}
ensemble_scheduling {{ step {{
  model_name: "m" model_version: -1
  input_map {{ key: "logits" value: "logits" }} output_map {{ key: "label" value: "label" }}
}} }}
"""


def echo(dims: str, more: str = "", batch: int = 8) -> dict[str, str | bytes]:
    tensors = f"input {TENSOR.format('x', 'TYPE_FP32', dims)} {more} output {TENSOR.format('y', 'TYPE_FP32', '[ 4 ]')}"
    return {"m/config.pbtxt": f'backend: "echo" max_batch_size: {batch} {tensors}\n{CACHED}', "m/1/": ""}


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (echo("[ 4 ]"), False),
        (echo("[ -1 ]"), True),
        (echo("[ -1 ]", batch=0), False),
        (echo("[ -1 ]", batch=1), False),
        (echo("[ -1, 4 ]", batch=0), False),
        (echo("[ -1, -1, 3 ]", batch=0), True),
        (echo("[ -1 ]", f"input {TENSOR.format('length', 'TYPE_INT32', '[ 1 ]')}"), False),
        (echo("[ -1, -1 ]", f"input {TENSOR.format('length', 'TYPE_INT32', '[ 1 ]')}"), True),
    ],
)
def test_the_bytes_of_a_cached_models_inputs_must_tell_their_shape(
    check: Check, files: dict[str, str | bytes], found: bool
) -> None:
    assert [(finding.code, finding.line) for finding in check(files)] == ([("CAC002", 2)] if found else [])


def test_a_backend_that_is_steered_by_parameters_says_so(check_ours: Check) -> None:
    files = {"m/1/labels.txt": "a\nb\n", "m/config.pbtxt": LABELS}
    assert check_ours(files) == []
    (finding,) = check_ours({**files, "m/config.pbtxt": LABELS + CACHED})
    assert (finding.code, finding.line) == ("CAC001", 6)
    assert finding.what == "the answer depends on the request's own parameters"


def test_a_cached_ensemble_depends_on_what_its_steps_depend_on(check_ours: Check) -> None:
    files = {"m/1/labels.txt": "a\nb\n", "m/config.pbtxt": LABELS, "e/1/": ""}
    (finding,) = check_ours({**files, "e/config.pbtxt": ENSEMBLE + CACHED})
    assert (finding.code, finding.file.parent.name) == ("CAC001", "e")
    assert finding.what == "the answer of its step `m` depends on the request's own parameters"


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("x", False),
        ("x * json.loads(request.parameters())['scale']", True),
        ("x + np.random.rand()", True),
        ("x + self.random(x)", False),
        ("x + np.random.default_rng(0).normal()", False),
    ],
)
def test_sources_show_what_an_answer_depends_on(check_source: CheckSource, answer: str, found: bool) -> None:
    config = f"""\
backend: "python"
input {TENSOR.format("x", "TYPE_FP32", "[ 4 ]")}
output {TENSOR.format("y", "TYPE_FP32", "[ 4 ]")}
"""
    execute = f"""
responses = []
for request in requests:
    x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
    responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", {answer})]))
return responses
"""
    assert check_source(execute, config=config) == []
    assert check_source(execute, config=config, more=CACHED) == ([("CAC001", 4)] if found else [])
