"""Rules about ensembles: settings, steps, tensors, shapes. A real server gave each of these verdicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from conch_tools.check import Finding, Severity

Check = Callable[[Mapping[str, str | bytes]], list[Finding]]

FP32 = "data_type: TYPE_FP32 dims: [ 4 ]"
PLATFORM = 'platform: "ensemble"'
FIRST_STEP = 'model_name: "first" model_version:'
B_FROM_IN = 'key: "b" value: "in"'
INTO_OUT = 'output_map { key: "c" value: "out" }'
ENSEMBLE = """\
name: "e"
platform: "ensemble"
max_batch_size: 8
input [ { name: "in" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "out" data_type: TYPE_FP32 dims: [ 4 ] } ]
ensemble_scheduling { step [
  { model_name: "first" model_version: -1
    input_map { key: "x" value: "in" }
    output_map { key: "y" value: "middle" } },
  { model_name: "second" model_version: -1
    input_map { key: "a" value: "middle" }
    input_map { key: "b" value: "in" }
    output_map { key: "c" value: "out" } }
] }
"""


def step_model(inputs: str, outputs: str, batch: int = 8, extra: str = "") -> str:
    return f'backend: "echo"\nmax_batch_size: {batch}\n{inputs}\n{outputs}\n{extra}'


def tensor(side: str, name: str, dims: str = "4", data_type: str = "TYPE_FP32", extra: str = "") -> str:
    return f'{side} {{ name: "{name}" data_type: {data_type} dims: [ {dims} ] {extra} }}'


FIRST = step_model(tensor("input", "x"), tensor("output", "y"))
SECOND = step_model(
    tensor("input", "a") + tensor("input", "b") + tensor("input", "hint", extra="optional: true"),
    tensor("output", "c") + tensor("output", "d"),
)


def repository(ensemble: str = ENSEMBLE, first: str = FIRST, second: str = SECOND) -> dict[str, str | bytes]:
    return {
        "e/config.pbtxt": ensemble,
        "e/1/": "",
        "first/config.pbtxt": first,
        "first/1/": "",
        "second/config.pbtxt": second,
        "second/1/": "",
    }


def codes(findings: list[Finding]) -> list[str]:
    return [finding.code for finding in findings]


def edited(before: str, after: str) -> dict[str, str | bytes]:
    assert ENSEMBLE.count(before) == 1
    return repository(ENSEMBLE.replace(before, after))


def test_a_sound_ensemble_gives_no_finding(check: Check) -> None:
    assert check(repository()) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (INTO_OUT, INTO_OUT + ' input_map { key: "hint" value: "in" }'),
        (f'"in" {FP32}', '"in" data_type: TYPE_FP32 dims: [ 2, 2 ] reshape { shape: [ 4 ] }'),
        ("output [", f'output [ {{ name: "in" {FP32} }},'),
        ("max_batch_size: 8", "max_batch_size: 0"),
        (f"{FIRST_STEP} -1", f"{FIRST_STEP} 1"),
    ],
    ids=["optional input mapped", "reshaped input", "input handed back", "batches of one", "pinned version"],
)
def test_what_triton_loads_and_serves_gives_no_finding(check: Check, before: str, after: str) -> None:
    assert check(edited(before, after)) == []


@pytest.mark.parametrize(
    ("code", "before", "after", "line", "cure"),
    [
        ("ENS002", PLATFORM, "", 6, 'write `platform: "ensemble"`'),
        ("ENS002", PLATFORM, 'backend: "ensemble"', 6, 'write `platform: "ensemble"`'),
        ("ENS003", PLATFORM, f'{PLATFORM} backend: "echo"', 2, "remove the line"),
        ("ENS004", PLATFORM, f"{PLATFORM} instance_group {{ count: 2 }}", 2, "move it to the models"),
        ("ENS004", PLATFORM, f"{PLATFORM} optimization {{ }}", 2, "move it to the models"),
        ("ENS011", FIRST_STEP, "model_version:", 7, "add `model_name`"),
        ("ENS012", '"first"', '"frist"', 7, "did you mean `first`?"),
        ("ENS012", '"first"', '"zzz"', 7, "add the model to the repository"),
        ("ENS013", f"{FIRST_STEP} -1", 'model_name: "first"', 7, "write `model_version: -1`"),
        ("ENS013", f"{FIRST_STEP} -1", f"{FIRST_STEP} 3", 7, "there is `1`"),
        ("ENS014", 'key: "a"', 'key: "aa"', 11, "did you mean `a`?"),
        ("ENS015", 'key: "c"', 'key: "cc"', 13, "did you mean `c`?"),
        ("ENS016", f"input_map {{ {B_FROM_IN} }}", "", 10, 'add `input_map { key: "b"'),
        ("ENS020", "input [", f'input [ {{ name: "idle" {FP32} }},', 4, "map it to an input"),
        ("ENS021", "output [", f'output [ {{ name: "none" {FP32} }},', 5, "map an output"),
        ("ENS022", B_FROM_IN, 'key: "b" value: "elsewhere"', 12, "use one of `in` and `middle`"),
        ("ENS022", B_FROM_IN, 'key: "b" value: "midle"', 12, "did you mean `middle`?"),
        ("ENS023", INTO_OUT, INTO_OUT + ' output_map { key: "d" value: "out" }', 13, "its own"),
        ("ENS023", INTO_OUT, INTO_OUT + ' output_map { key: "d" value: "in" }', 13, "its own"),
        ("ENS024", INTO_OUT, INTO_OUT + ' output_map { key: "d" value: "rest" }', 13, "remove the entry"),
        ("ENS025", 'key: "x" value: "in"', 'key: "x" value: "out"', 7, "break the circle"),
        ("ENS025", B_FROM_IN, 'key: "b" value: "out"', 10, "break the circle"),
        ("ENS030", f'"out" {FP32}', '"out" data_type: TYPE_FP16 dims: [ 4 ]', 13, "one data type"),
        ("ENS031", f'"out" {FP32}', '"out" data_type: TYPE_FP32 dims: [ 5 ]', 13, "the same dims"),
        ("ENS031", f'"out" {FP32}', '"out" data_type: TYPE_FP32 dims: [ 1, 4 ]', 13, "batch dimension"),
        ("ENS033", "max_batch_size: 8", "max_batch_size: 16", 3, "at most 8"),
    ],
)
def test_what_triton_refuses_is_an_error_at_its_line(
    check: Check, code: str, before: str, after: str, line: int, cure: str
) -> None:
    findings = check(edited(before, after))
    assert {(finding.code, finding.severity) for finding in findings} == {(code, Severity.ERROR)}
    assert (findings[0].file.parent.name, findings[0].line) == ("e", line)
    assert cure in findings[0].cure


def test_an_ensemble_without_steps_or_scheduling_is_refused(check: Check) -> None:
    head = ENSEMBLE[: ENSEMBLE.index("ensemble_scheduling")]
    assert codes(check(repository(head))) == ["ENS001"]
    assert codes(check(repository(head + "dynamic_batching { }"))) == ["ENS001"]
    assert codes(check(repository(head + "ensemble_scheduling { }"))) == ["ENS010"]


def test_swapped_keys_and_values_are_recognised(check: Check) -> None:
    findings = check(edited('key: "x" value: "in"', 'key: "in" value: "x"'))
    assert 'write `key: "x" value: "in"`' in next(f.cure for f in findings if f.code == "ENS014")


def test_a_misspelt_key_is_not_taken_for_a_swapped_one(check: Check) -> None:
    first = FIRST.replace('"x"', '"pixels"')
    sound = ENSEMBLE.replace('name: "in"', 'name: "pixels"').replace('value: "in"', 'value: "pixels"')
    sound = sound.replace('key: "x"', 'key: "pixels"')
    assert check(repository(sound, first=first)) == []
    [finding] = check(repository(sound.replace('key: "pixels"', 'key: "pixel"'), first=first))
    assert (finding.code, finding.cure) == ("ENS014", "did you mean `pixels`?")


def test_a_version_that_the_policy_does_not_load_is_refused(check: Check) -> None:
    files = edited(f"{FIRST_STEP} -1", f"{FIRST_STEP} 1") | {"first/2/": ""}
    [finding] = check(files)
    assert (finding.code, finding.line) == ("ENS013", 7)
    assert "versions: [ 1 ]" in finding.cure


def test_a_key_mapped_twice_is_a_warning_for_triton_keeps_the_last(check: Check) -> None:
    twice = INTO_OUT.replace('"out"', '"lost"') + " " + INTO_OUT
    [finding] = check(edited(INTO_OUT, twice))
    assert (finding.code, finding.severity, finding.line) == ("ENS017", Severity.WARNING, 13)


def test_ensembles_that_contain_each_other_are_refused(check: Check) -> None:
    files = edited('"first"', '"loop"')
    loop = ENSEMBLE.replace('"e"', '"loop"').replace('"first"', '"e"')
    loop = loop.replace('key: "x"', 'key: "in"').replace('key: "y"', 'key: "out"')
    ensemble = str(files["e/config.pbtxt"]).replace('key: "x"', 'key: "in"').replace('key: "y"', 'key: "out"')
    findings = check({**files, "e/config.pbtxt": ensemble, "loop/config.pbtxt": loop, "loop/1/": ""})
    assert [(finding.code, finding.line) for finding in findings] == [("ENS026", 7), ("ENS026", 7)]
    assert "`e` -> `loop` -> `e`" in findings[0].what


def test_responses_of_a_decoupled_model_meet_nothing_else(check: Check) -> None:
    decoupled = "model_transaction_policy { decoupled: true }"
    [finding] = check(repository(first=FIRST + decoupled))
    assert (finding.code, finding.line) == ("ENS027", 10)
    assert "the request itself and decoupled step 0" in finding.what


def test_a_chain_behind_a_decoupled_model_is_sound(check: Check) -> None:
    decoupled = "model_transaction_policy { decoupled: true }"
    assert check(edited(B_FROM_IN, 'key: "b" value: "middle"') | {"first/config.pbtxt": FIRST + decoupled}) == []


def test_outputs_of_a_decoupled_model_and_of_the_request_do_not_go_together(check: Check) -> None:
    decoupled = SECOND + "model_transaction_policy { decoupled: true }"
    findings = check(edited("output [", f'output [ {{ name: "middle" {FP32} }},') | {"second/config.pbtxt": decoupled})
    assert [(finding.code, finding.line) for finding in findings] == [("ENS027", 5)]


def test_an_output_that_a_step_declares_twice_cannot_be_mapped(check: Check) -> None:
    found = check(repository(first=FIRST + tensor("output", "y")))
    assert [(each.code, each.file.parent.name) for each in found] == [("ENS023", "e"), ("CFG014", "first")]


def test_of_outputs_of_one_name_the_first_counts(check: Check) -> None:
    again = f'"out" {FP32} }}, {{ name: "out" data_type: TYPE_FP64 dims: [ 9 ]'
    assert codes(check(edited(f'"out" {FP32}', again))) == ["CFG014"]


def test_a_nested_ensemble_streams_only_if_a_step_of_it_does(check: Check) -> None:
    inner = """\
platform: "ensemble" max_batch_size: 8 model_transaction_policy { decoupled: true }
input { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } output { name: "y" data_type: TYPE_FP32 dims: [ 4 ] }
ensemble_scheduling { step { model_name: "inner" model_version: -1
  input_map { key: "x" value: "x" } output_map { key: "y" value: "y" } } }
"""
    files = repository(first=inner) | {"inner/config.pbtxt": FIRST, "inner/1/": ""}
    assert check(files) == []
    streams = FIRST + "model_transaction_policy { decoupled: true }"
    assert codes(check(files | {"inner/config.pbtxt": streams})) == ["ENS027"]


def test_shapes_that_core_does_not_compare_are_compared_with_each_other(check: Check) -> None:
    open_input = ENSEMBLE.replace('"in" data_type: TYPE_FP32 dims: [ 4 ]', '"in" data_type: TYPE_FP32 dims: [ -1 ]')
    assert check(repository(open_input)) == []
    [finding] = check(repository(open_input, first=FIRST.replace("[ 4 ]", "[ 5 ]", 1)))
    assert (finding.code, finding.severity, finding.line) == ("ENS032", Severity.ERROR, 12)


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        ("4", "-1, 4", []),
        ("-1, 4", "4", []),
        ("4", "1, 4", []),
        ("4", "3, 4", ["ENS032"]),
        ("-1, 4", "1, -1", []),
    ],
)
def test_of_two_steps_without_batches_one_may_take_the_batch_of_one(
    check: Check, ours: str, theirs: str, found: list[str]
) -> None:
    first = step_model(tensor("input", "x", ours), tensor("output", "y", "-1, 4"), batch=0)
    second = step_model(tensor("input", "a", "-1, 4") + tensor("input", "b", theirs), tensor("output", "c"), batch=0)
    files = {"first/config.pbtxt": first, "second/config.pbtxt": second}
    assert codes(check(edited("max_batch_size: 8", "max_batch_size: 1") | files)) == found


@pytest.mark.parametrize(
    ("dims", "found"),
    [("4", ["ENS034"]), ("-1, 4", []), ("-1, 5", ["ENS031"]), ("-1", ["ENS034"])],
)
def test_a_step_without_batches_needs_a_dimension_for_them(check: Check, dims: str, found: list[str]) -> None:
    first = step_model(tensor("input", "x", dims), tensor("output", "y", "-1, 4"), batch=0)
    assert codes(check(repository(first=first))) == found


def test_batches_of_one_reach_a_step_without_batches(check: Check) -> None:
    first = step_model(tensor("input", "x"), tensor("output", "y"), batch=0)
    assert check(edited("max_batch_size: 8", "max_batch_size: 1") | {"first/config.pbtxt": first}) == []


def test_an_optional_input_that_a_step_needs_is_a_warning(check: Check) -> None:
    findings = check(edited(f'"in" {FP32}', f'"in" {FP32} optional: true'))
    assert [(finding.code, finding.severity, finding.line) for finding in findings] == [
        ("ENS035", Severity.WARNING, 8),
        ("ENS035", Severity.WARNING, 12),
    ]


@pytest.mark.parametrize("first", ['backend: "echo"', "nonsense {"], ids=["to be completed", "unreadable"])
def test_what_is_not_known_of_a_step_is_not_judged(check: Check, first: str) -> None:
    assert {finding.file.parent.name for finding in check(repository(first=first))} <= {"first"}
