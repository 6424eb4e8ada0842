"""Where fields stand in a text, and what is said of a text that protobuf refuses."""

from __future__ import annotations

import pytest

from conch_tools.check.pbtxt import Unparsable, marks, parse

TEXT = """\
# { a comment
name: "m" platform: 'ensemble'
input [
  { name: "a" dims: [ 1, 2 ] },
  { name: "b"
    dims: 3 }
]
input { name: "c" }
ensemble_scheduling {
  step [ {
    model_name: "s" "plit"
    input_map { key: "k" value: "1" }
    input_map <
      key: "k"; value: "2" >
  } ]
}
"""


def test_each_field_stands_where_it_was_written() -> None:
    root = marks(TEXT)
    step = root.at("ensemble_scheduling").at("step")
    assert (root.at("name").line, root.at("platform").line, root.at("platform").column) == (2, 2, 11)
    assert [root.at("input", index).line for index in range(3)] == [4, 5, 8]
    assert root.at("input", 1).at("dims").line == 6
    assert (root.at("input", 0).at("dims", 1).value, root.at("input", 0).at("dims", 1).column) == ("2", 26)
    assert (step.line, step.at("model_name").line, step.at("model_name").value) == (10, 11, "split")


def test_a_field_that_is_not_there_points_to_its_message() -> None:
    root = marks(TEXT)
    assert root.at("output") is root
    assert root.at("input", 7) is root
    assert root.at("input", 1).at("data_type").line == 5


def test_the_last_entry_of_a_map_counts_and_all_are_listed() -> None:
    step = marks(TEXT).at("ensemble_scheduling").at("step")
    assert [(key, mark.line) for key, mark in step.entries("input_map")] == [("k", 12), ("k", 13)]
    assert step.entry("input_map", "k").line == 13
    assert step.entry("input_map", "other") is step


@pytest.mark.parametrize(
    ("text", "line", "column", "cure"),
    [
        ('name: "m"\ninputs { }', 2, 1, "did you mean `input`?"),
        ("input { data_tpe: TYPE_FP32 }", 1, 9, "did you mean `data_type`?"),
        ("input { data_type: BYTES }", 1, 20, "did you mean `TYPE_STRING`?"),
        ("input { data_type: float32 }", 1, 20, "did you mean `TYPE_FP32`?"),
        ("input { data_type: INT64 }", 1, 20, "did you mean `TYPE_INT64`?"),
        ("instance_group [ { kind: GPU } ]", 1, 26, "did you mean `KIND_GPU`?"),
        ("instance_group [ { kind: 7 } ]", 1, 20, "use one of `KIND_AUTO`, `KIND_GPU`, `KIND_CPU` and `KIND_MODEL`"),
        ("wxyz: 1", 1, 1, "remove it; known here are `backend`"),
        ("input [ { }, ]", 1, 14, "remove the comma before this bracket"),
        ("dynamic_batching { }\nsequence_batching { }", 2, 1, "keep one of the two"),
        ("input [ { }", 1, 12, "correct the text here"),
        ('name: "m', 1, 7, "correct the text here"),
        ("\ufeffname: 'm'", 1, 1, "save the file as UTF-8 without a byte order mark"),
        ("name:\u00a0'm'", 1, 6, "write a blank in its place"),
        ("# “a”\nname: “m”", 2, 7, 'write `"` in its place'),
        ("input { dims: [ \u20131 ] }", 1, 17, "write `-` in its place"),
        ("name: 'm' # \0", 1, 11, "the file may be in another encoding"),
        ("max_batch_size: 1_000", 1, 17, "write digits alone"),
        ("max_batch_size: - 1_000", 1, 17, "write digits alone"),
        ("max_batch_size: - - 1", 1, 17, "correct the text here"),
        ("input { dims: [ - 1, 2, x ] }", 1, 25, "correct the text here"),
        ("max_batch_size: - # \0\n 1", 1, 19, "the file may be in another encoding"),
    ],
)
def test_a_refused_text_has_a_position_and_a_cure(text: str, line: int, column: int, cure: str) -> None:
    problem = parse(text)
    assert isinstance(problem, Unparsable)
    assert (problem.line, problem.column) == (line, column)
    assert cure in problem.cure


def test_strings_and_comments_hold_any_sign() -> None:
    assert not isinstance(parse("name: 'a\u00a0“b”' # \ufeff \r \u2013"), Unparsable)


def test_a_minus_may_stand_apart_from_its_number_as_triton_reads_it() -> None:
    text = "max_batch_size: -\n  # none\n  1\ninput { name: '- 1' dims: [ - 1, -\t2 ] }"
    config = parse(text)
    assert not isinstance(config, Unparsable)
    assert (config.max_batch_size, config.input[0].name, list(config.input[0].dims)) == (-1, "- 1", [-1, -2])
    field = marks(text).at("input")
    assert [(field.at("dims", each).column, field.at("dims", each).value) for each in (0, 1)] == [
        (29, "-1"),
        (34, "-2"),
    ]


def test_the_sentence_is_the_parsers_own_without_the_position() -> None:
    problem = parse("max_batch_size: 1\nmax_batch_size: 'x'")
    assert isinstance(problem, Unparsable)
    assert problem.sentence == "Couldn't parse integer: 'x'"
