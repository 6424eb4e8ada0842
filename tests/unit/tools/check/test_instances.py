"""Rules about instance groups and warm-up samples: what Triton refuses when it loads a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from conch_tools.check import Finding, Severity

Check = Callable[[Mapping[str, str | bytes]], list[Finding]]

ECHO = """\
backend: "echo"
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: [ -1, 4 ] }
output { name: "y" data_type: TYPE_FP32 dims: 4 }
"""
INPUT = 'inputs { key: "%s" value { data_type: %s dims: [ %s ] %s } }'


def warmup(
    key: str = "x", data_type: str = "TYPE_FP32", dims: str = "3, 4", data: str = "zero_data: true", size: int = 1
) -> dict[str, str | bytes]:
    sample = f"model_warmup {{ batch_size: {size}\n{INPUT % (key, data_type, dims, data)} }}"
    return {"m/config.pbtxt": ECHO + sample, "m/1/": ""}


def test_a_sample_that_the_model_takes_gives_no_finding(check: Check) -> None:
    assert check(warmup()) == []
    from_file = warmup(data='input_data_file: "x.bin"')
    assert check({**from_file, "m/warmup/x.bin": b"0" * 48}) == []


@pytest.mark.parametrize(
    ("files", "line", "what", "cure"),
    [
        (warmup(dims="3, 5"), 6, "has dims [3, 5], the model's [-1, 4]", "write the dims of one item"),
        (warmup(dims="1, 3, 4"), 6, "has dims [1, 3, 4]", "write the dims of one item, without the batch"),
        (warmup(dims="-1, 4"), 6, "has dims [-1, 4]", "write the sizes of one item, without -1 or 0"),
        (warmup(data_type="TYPE_FP16"), 6, "is TYPE_FP16, the model's TYPE_FP32", "write `data_type: TYPE_FP32`"),
        (warmup(key="X"), 5, "the warm-up sample has no input `x`", "did you mean `X`?"),
        (warmup(data=""), 6, "has no data", "write `zero_data: true`"),
        (warmup(size=9), 5, "warm-up batch of 9, max_batch_size 8", "set batch_size to at most 8"),
        (warmup(data='input_data_file: "x"'), 6, "is to come from `x`, which is not there", "put the file into "),
        (
            {**warmup(data='input_data_file: "x"'), "m/warmup/x": b"0" * 47},
            6,
            "needs 48 bytes, `x` has 47",
            "write the tensor's own bytes",
        ),
    ],
)
def test_a_sample_that_the_model_refuses_is_an_error(
    check: Check, files: dict[str, str | bytes], line: int, what: str, cure: str
) -> None:
    (finding,) = check(files)
    assert (finding.code, finding.severity, finding.line) == ("CFG016", Severity.ERROR, line)
    assert what in finding.what and finding.cure.startswith(cure)


STRANGER = {"data_type": "TYPE_FP32", "dims": "1", "data": "zero_data: true"}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({}, None),
        ({"dims": "-1"}, "input `z` of the warm-up sample has dims [-1]"),
        ({"data": ""}, "input `z` of the warm-up sample has no data"),
        ({"data": 'input_data_file: "x"'}, "input `z` of the warm-up sample is to come from `x`, which is not there"),
    ],
)
def test_what_is_sent_for_an_input_that_nothing_is_known_of_is_read_as_well(
    check: Check, change: dict[str, str], what: str | None
) -> None:
    data_type, dims, data = {**STRANGER, **change}.values()
    stranger = INPUT % ("z", data_type, dims, data)
    (known,) = (text for text in warmup().values() if isinstance(text, str) and text)
    beside = {"m/config.pbtxt": known.replace("inputs {", f"{stranger}\ninputs {{"), "m/1/": ""}
    completed = {"m/config.pbtxt": f'backend: "python" model_warmup {{ batch_size: 1 {stranger} }}', "m/1/model.py": ""}
    for files in (beside, completed):
        assert [finding.what for finding in check(files)] == ([] if what is None else [what])


def test_a_file_lies_below_the_folder_even_if_its_name_begins_with_a_slash(check: Check) -> None:
    (finding,) = check(warmup(data='input_data_file: "/etc/hostname"'))
    assert finding.what.endswith("is to come from `/etc/hostname`, which is not there")
    assert check({**warmup(data='input_data_file: "/x"'), "m/warmup/x": b"0" * 48}) == []


def test_a_sample_without_a_batch_size_is_skipped(check: Check) -> None:
    (finding,) = check(warmup(dims="9", size=0))
    assert (finding.code, finding.severity, finding.line) == ("CFG017", Severity.WARNING, 5)


@pytest.mark.parametrize("kind", ["KIND_CPU", "KIND_MODEL"])
def test_gpus_go_with_their_kind_only(check: Check, kind: str) -> None:
    groups = "instance_group [ { kind: KIND_GPU gpus: 0 }, { gpus: 0 },\n{ kind: %s gpus: [ 1 ] } ]"
    findings = check({"m/config.pbtxt": ECHO + groups % kind, "m/1/": ""})
    (finding,) = (each for each in findings if each.code != "CFG018")
    assert (finding.code, finding.line) == ("CFG019", 6)
    assert finding.cure == f"remove `gpus`, or write `kind: KIND_GPU` in place of {kind}"


@pytest.mark.parametrize(
    ("group", "code", "severity", "what"),
    [
        ("passive: true", "CFG035", Severity.ERROR, "every instance group is passive"),
        ('profile: "0"', "CFG036", Severity.ERROR, "`profile` is for TensorRT plans only"),
        ("rate_limiter { priority: 2 }", "CFG037", Severity.WARNING, "`rate_limiter` does nothing"),
        ("count: 0", "CFG038", Severity.WARNING, "count is 0"),
        ("count: -1", "CFG038", Severity.WARNING, "count is -1"),
    ],
)
def test_what_a_group_cannot_have_is_told(check: Check, group: str, code: str, severity: Severity, what: str) -> None:
    (finding,) = check({"m/config.pbtxt": f"{ECHO}instance_group {{ {group} }}", "m/1/": ""})
    assert (finding.code, finding.severity, finding.line, finding.what) == (code, severity, 5, what)


def test_one_passive_group_ends_a_server_of_sequences_only(check: Check) -> None:
    groups = ECHO + "instance_group [ { count: 1 }, { passive: true } ]"
    assert check({"m/config.pbtxt": groups, "m/1/": ""}) == []
    (finding,) = check({"m/config.pbtxt": groups + "sequence_batching { }", "m/1/": ""})
    assert (finding.code, finding.what) == ("CFG035", "an instance group is passive beside sequence_batching")
