"""Rules about one config.pbtxt: each broken line gives its one finding, each sound one gives none."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from conch_tools.check import Finding, Severity

Check = Callable[[Mapping[str, str | bytes]], list[Finding]]

SOUND = """\
name: "m"
backend: "echo"
max_batch_size: 8
input [
  { name: "x" data_type: TYPE_FP32 dims: [ 4 ] },
  { name: "z" data_type: TYPE_INT32 dims: [ -1 ] optional: true }
]
output [
  { name: "y" data_type: TYPE_FP32 dims: [ 2, 2 ] reshape { shape: [ 4 ] } }
]
dynamic_batching { preferred_batch_size: [ 4, 8 ] }
batch_input [
  { kind: BATCH_ELEMENT_COUNT target_name: "n" data_type: TYPE_FP32 source_input: "x" }
]
batch_output [
  { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: "y" source_input: "x" }
]
"""


def config_of(text: str) -> dict[str, str]:
    return {"m/config.pbtxt": text, "m/1/": ""}


def test_a_sound_configuration_gives_no_finding(check: Check) -> None:
    assert check(config_of(SOUND)) == []


def test_other_ways_to_write_it_are_sound(check: Check) -> None:
    text = """\
    # { a comment with "quotes
    backend: 'ec' "ho"; max_batch_size: 8,
    input < name: "x" data_type: TYPE_FP32 dims: 4 >
    input { name: "z" data_type: 11 dims: 2 dims: 2 }
    output: [ { name: "y" data_type: TYPE_FP32 dims: [ 4 ] } ]
    """
    assert check(config_of(text)) == []


@pytest.mark.parametrize(
    ("code", "before", "after", "line", "what"),
    [
        ("CFG001", "max_batch_size", "max_batchsize", 3, 'no field named "max_batchsize"'),
        ("CFG001", "TYPE_INT32", "INT32", 6, "no value named INT32"),
        ("CFG001", "optional: true }\n]", "optional: true },\n]", 7, 'Expected "{"'),
        ("CFG001", "max_batch_size: 8", "max_batch_size: 3000000000", 3, "out of range"),
        ("CFG001", "dynamic_batching {", "ensemble_scheduling { } dynamic_batching {", 11, "oneof"),
        ("CFG002", 'name: "m"', 'name: "n"', 1, "`n` stands in folder `m`"),
        ("CFG003", '{ name: "z" ', "{ ", 6, "an input has no name"),
        ("CFG004", '"z"', '"x"', 6, "input `x` is declared more than once"),
        ("CFG005", "data_type: TYPE_INT32 ", "", 6, "input `z` has no data type"),
        ("CFG006", " dims: [ -1 ]", "", 6, "input `z` has no dims"),
        ("CFG007", "dims: [ -1 ]", "dims: [ 0 ]", 6, "input `z` has 0 in its dims"),
        ("CFG007", "shape: [ 4 ]", "shape: [ -2 ]", 9, "output `y` has -2 in its reshape"),
        ("CFG009", "[ 4, 8 ]", "[ 4, 16 ]", 11, "preferred batch size 16, max_batch_size 8"),
        ("CFG010", 'TYPE_FP32 source_input: "x"', 'TYPE_FP32 source_input: "xx"', 13, "`xx` is no input"),
        ("CFG010", 'TYPE_FP32 source_input: "x"', "TYPE_FP32", 13, "batch_input `n` has 0 source inputs"),
        ("CFG011", '"n" data_type: TYPE_FP32', '"n" data_type: TYPE_INT64', 13, "`n` is TYPE_INT64"),
        (
            "CFG012",
            "dynamic_batching",
            "model_metrics { }\ndynamic_batching",
            11,
            "`model_metrics` came with",
        ),
        ("CFG013", 'target_name: "y"', 'target_name: "q"', 16, "`q` is no output of the model"),
        ("CFG013", '"y" source_input: "x"', '"y" source_input: [ "x", "z" ]', 16, "has 2 source inputs"),
        ("CFG013", 'target_name: "y"', 'target_name: [ "y", "y" ]', 16, "target_name `y` stands there twice"),
        ("CFG025", "shape: [ 4 ]", "shape: [ 2, 3 ]", 9, "output `y` is reshaped from [2, 2] to [2, 3]"),
        ("CFG025", "shape: [ 4 ]", "shape: [ -1 ]", 9, "output `y` is reshaped from [2, 2] to [-1]"),
        ("CFG026", "dims: [ 4 ] }", "dims: [ 4 ] format: FORMAT_NCHW }", 5, "input `x` is FORMAT_NCHW with dims [4]"),
        ("CFG027", "dims: [ 4 ] }", "dims: [ 4 ] is_shape_tensor: true }", 5, "input `x` has `is_shape_tensor`"),
        (
            "CFG028",
            "dynamic_batching",
            'parameters { key: "TRITON_BATCH_STRATEGY_PATH" value { string_value: "/no.so" } }\ndynamic_batching',
            11,
            "`/no.so` is not there",
        ),
        (
            "CFG029",
            "dynamic_batching",
            "response_cache { enable: true } model_transaction_policy { decoupled: true }\ndynamic_batching",
            11,
            "response_cache beside decoupled answers",
        ),
    ],
)
def test_a_broken_line_gives_one_error_that_names_it(
    check: Check, code: str, before: str, after: str, line: int, what: str
) -> None:
    assert SOUND.count(before) == 1
    [finding] = check(config_of(SOUND.replace(before, after)))
    assert (finding.code, finding.severity, finding.line) == (code, Severity.ERROR, line)
    assert what in finding.what
    assert finding.why and finding.cure


def test_a_negative_batch_size_is_refused(check: Check) -> None:
    text = SOUND.replace("max_batch_size: 8", "max_batch_size: -1").replace("dynamic_batching", "#")
    assert [(finding.code, finding.line) for finding in check(config_of(text))] == [("CFG008", 3)]


def test_an_output_declared_twice_is_only_a_warning(check: Check) -> None:
    text = SOUND + 'output { name: "y" data_type: TYPE_FP32 dims: [ 4 ] }\n'
    [finding] = check(config_of(text))
    assert (finding.code, finding.severity, finding.line) == ("CFG014", Severity.WARNING, 18)


@pytest.mark.parametrize(
    "policy",
    [
        "default_queue_policy { max_queue_size: 8 }",
        "priority_levels: 2 default_priority_level: 1",
        "default_queue_policy { default_timeout_microseconds: 100000 }",
    ],
)
def test_a_queue_policy_that_turns_prefetching_off_is_a_warning(check: Check, policy: str) -> None:
    text = SOUND.replace("preferred_batch_size", f"{policy} preferred_batch_size")
    [finding] = check(config_of(text))
    assert (finding.code, finding.severity, finding.line) == ("CFG015", Severity.WARNING, 11)
    assert f"`{policy.split()[0].strip(':')}`" in finding.what


def test_a_backend_that_completes_tensors_may_leave_out_type_and_dims(check: Check) -> None:
    text = 'backend: "tensorrt"\ninput { name: "x" }\noutput { name: "y" data_type: TYPE_FP32 }\n'
    assert check({"m/config.pbtxt": text, "m/1/model.plan": ""}) == []


def test_a_file_that_is_not_utf8_is_read_as_triton_reads_it(check: Check) -> None:
    assert check({"m/config.pbtxt": SOUND.encode() + b"# caf\xe9\n", "m/1/": ""}) == []


def test_broken_text_is_the_only_finding_of_its_model(check: Check) -> None:
    [finding] = check({"m/config.pbtxt": 'name: "n"\ninput [', "m/1/": ""})
    assert (finding.code, finding.line) == ("CFG001", 2)
