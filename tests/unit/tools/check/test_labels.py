"""Rules about label files."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from conch_tools.check import Finding

Check = Callable[[Mapping[str, str | bytes]], list[Finding]]


def labelled(text: str, dims: str = "[ 3 ]", data_type: str = "TYPE_FP32") -> dict[str, str | bytes]:
    config = f"""\
backend: "echo"
input {{ name: "x" data_type: TYPE_FP32 dims: [ 4 ] }}
output {{ name: "y" data_type: {data_type} dims: {dims} label_filename: "labels.txt" }}
"""
    return {"m/config.pbtxt": config, "m/1/": "", "m/labels.txt": text}


@pytest.mark.parametrize(
    "files",
    [labelled("a\nb\nc\n"), labelled("a\nb\nc"), labelled("a\n", dims="[ -1 ]"), labelled("a\nb", dims="[ 1, 2 ]")],
)
def test_a_label_for_each_element_is_right(check: Check, files: dict[str, str | bytes]) -> None:
    assert check(files) == []


@pytest.mark.parametrize(("text", "count"), [("a\nb\n", 2), ("a\nb\nc\n\n", 4), ("", 0)])
def test_another_number_of_labels_is_found_in_the_file(check: Check, text: str, count: int) -> None:
    (finding,) = check(labelled(text))
    assert (finding.code, finding.file.name) == ("LAB002", "labels.txt")
    assert finding.what == f"{count} labels for the 3 elements of output `y`"


def test_texts_have_no_labels(check: Check) -> None:
    (finding,) = check(labelled("a\nb\nc\n", data_type="TYPE_STRING"))
    assert (finding.code, finding.line) == ("LAB001", 3)
