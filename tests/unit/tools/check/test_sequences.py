"""Rules about the sequence batcher: each broken line gives its one finding, on its line."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from conch_tools.check import Finding, Severity

Check = Callable[[Mapping[str, str | bytes]], list[Finding]]

SOUND = """\
backend: "echo"
max_batch_size: 4
input { name: "x" data_type: TYPE_FP32 dims: 4 }
output { name: "y" data_type: TYPE_FP32 dims: 4 }
sequence_batching {
  control_input { name: "START" control { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } }
  control_input { name: "ID" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } }
  oldest { preferred_batch_size: [ 2, 4 ] }
  state {
    input_name: "s" output_name: "t" data_type: TYPE_FP32 dims: [ -1, 2 ]
    initial_state { name: "zeros" data_type: TYPE_FP32 dims: [ 3, 2 ] zero_data: true }
  }
}
"""


def check_changed(check: Check, before: str, after: str) -> list[Finding]:
    assert SOUND.count(before) == 1
    return check({"m/config.pbtxt": SOUND.replace(before, after), "m/1/": ""})


def test_a_sound_batcher_gives_no_finding(check: Check) -> None:
    assert check({"m/config.pbtxt": SOUND, "m/1/": ""}) == []


def test_an_initial_state_may_come_from_a_file(check: Check) -> None:
    files = {"m/config.pbtxt": SOUND.replace("zero_data: true", 'data_file: "zeros"'), "m/1/": ""}
    assert check({**files, "m/initial_state/zeros": b"0" * 24}) == []
    (finding,) = check({**files, "m/initial_state/zeros": b"0" * 23})
    assert (finding.code, finding.line) == ("CFG034", 11)
    assert finding.what == "the initial state of `s` needs 24 bytes, `zeros` has 23"


@pytest.mark.parametrize(
    ("code", "before", "after", "line", "what"),
    [
        ("CFG030", 'name: "ID" ', "", 7, "a control input has no name"),
        ("CFG030", 'name: "ID"', 'name: "START"', 7, "two control inputs have the name `START`"),
        (
            "CFG031",
            "CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64",
            "CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ]",
            7,
            "CONTROL_SEQUENCE_START stands more than once",
        ),
        ("CFG032", " int32_false_true: [ 0, 1 ]", "", 6, "CONTROL_SEQUENCE_START has no values"),
        ("CFG032", "[ 0, 1 ]", "[ 1 ]", 6, "`int32_false_true` of CONTROL_SEQUENCE_START has 1 values"),
        ("CFG032", "TYPE_UINT64", "TYPE_FP32", 7, "CONTROL_SEQUENCE_CORRID is TYPE_FP32"),
        ("CFG032", "TYPE_UINT64", "TYPE_UINT64 bool_false_true: true", 7, "CONTROL_SEQUENCE_CORRID has `bool_"),
        ("CFG033", "[ 2, 4 ]", "[ 2, 5 ]", 8, "preferred batch size 5, max_batch_size 4"),
        (
            "CFG033",
            "oldest { preferred_batch_size: [ 2, 4 ] }",
            "direct { minimum_slot_utilization: 2 }",
            8,
            "minimum_",
        ),
        ("CFG034", "zero_data: true }", 'zero_data: true } initial_state { name: "b" }', 11, "state `s` has 2 initial"),
        (
            "CFG034",
            '"zeros" data_type: TYPE_FP32',
            '"zeros" data_type: TYPE_FP16',
            11,
            "is TYPE_FP16, the state TYPE_FP32",
        ),
        ("CFG034", 'name: "zeros" ', "", 11, "has no name"),
        ("CFG034", "[ 3, 2 ]", "[ -1, 2 ]", 11, "has dims [-1, 2]"),
        ("CFG034", "[ 3, 2 ]", "[ 3, 4 ]", 11, "has dims [3, 4], the state [-1, 2]"),
        ("CFG034", " zero_data: true", "", 11, "has no data"),
        ("CFG034", "zero_data: true", 'data_file: "z"', 11, "is to come from `z`, which is not there"),
    ],
)
def test_what_triton_refuses_is_an_error(
    check: Check, code: str, before: str, after: str, line: int, what: str
) -> None:
    (finding,) = check_changed(check, before, after)
    assert (finding.code, finding.severity, finding.line) == (code, Severity.ERROR, line)
    assert what in finding.what
