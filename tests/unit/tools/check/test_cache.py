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


PIPELINE = """\
task = "text-classification"
description = "The better one."
[source]
folder = "model"
[[samples]]
input = { logits = [1.0, 2.0] }
expect = { label = "b" }
"""
PLAIN = LABELS.replace("class_labels", "echo")


@pytest.mark.parametrize(
    ("cached", "sample", "found"),
    [
        ("", "", []),
        ("e", "", ["e"]),
        ("m", "", ["m"]),
        ("em", "", ["e", "m"]),
        ("n", "", []),
        ("em", "golden = false\n", []),
    ],
    ids=["nothing", "ensemble", "step", "both", "no step", "not golden"],
)
def test_the_cache_hides_from_golden_requests_whatever_model_it_answers_for(
    check: Check, cached: str, sample: str, found: list[str]
) -> None:
    configs = {"e": ENSEMBLE, "m": PLAIN, "n": PLAIN}
    files: dict[str, str | bytes] = {
        f"{name}/config.pbtxt": config + (CACHED if name in cached else "") for name, config in configs.items()
    }
    findings = check({**files, "e/1/": "", "m/1/": "", "n/1/": "", "e/pipeline.toml": PIPELINE + sample})
    hidden = [finding for finding in findings if finding.code == "CAC003"]
    assert [finding.file.parent.name for finding in hidden] == found
    assert all("golden requests of `e`" in finding.what for finding in hidden)


def test_without_a_pipeline_there_are_no_golden_requests_to_hide_from(check: Check) -> None:
    files = {"e/config.pbtxt": ENSEMBLE + CACHED, "e/1/": "", "m/config.pbtxt": PLAIN + CACHED, "m/1/": ""}
    assert "CAC003" not in {finding.code for finding in check(files)}


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
