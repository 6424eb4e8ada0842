"""The lines of a TOML file's fields, or of what is nearest around them."""

from __future__ import annotations

import pytest

from conch_tools.check.toml_lines import Key, line_in, line_of

TEXT = """\
task = "qa"
uses = [
  "embed",
]
[source]
'hub' = "x"
[[samples]]
input = { text = "a" }
[[samples]]
input.text = "b"
[samples.expect]
label = "c"
[features.age]
minimum = 1
"""


@pytest.mark.parametrize(
    ("field", "line"),
    [
        (("task",), 1),
        (("uses", 0), 2),
        (("source",), 5),
        (("source", "hub"), 6),
        (("samples", 0), 7),
        (("samples", 0, "input", "text"), 8),
        (("samples", 1, "input", "text"), 10),
        (("samples", 1, "expect", "label"), 12),
        (("samples", 1, "tolerance"), 9),
        (("features", "age", "numeric", "minimum"), 13),
        (("gates",), None),
        ((), None),
    ],
)
def test_a_field_is_found_or_what_is_around_it(field: Key, line: int | None) -> None:
    assert line_of(TEXT, field) == line


def test_the_parser_names_lines_itself() -> None:
    assert line_in("Invalid value (at line 3, column 8)") == 3
    assert line_in("Invalid value (at end of document)") is None
