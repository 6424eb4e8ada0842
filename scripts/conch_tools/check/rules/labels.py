"""Rules about label files, by which Triton gives classes in place of numbers to callers who ask for them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from conch_tools.check.findings import Place, Problem, Severity
from conch_tools.check.repository import Model
from conch_tools.check.rulebook import Rulebook

LABELS = Rulebook[Model](lambda repository: (model for model in repository.readable if model.config_file is not None))

_WITHOUT_CLASSES = ("TYPE_STRING", "TYPE_BOOL")


@LABELS.rule("LAB001", Severity.WARNING)
def labels_of_no_scores(model: Model) -> Iterator[Problem]:
    """An output with a label file holds no numbers.

    Triton sorts the elements of an output to find the best classes; it refuses to do so with texts.

    Bad in `sentiment_labels/config.pbtxt`:

        { name: "label" data_type: TYPE_STRING dims: [ -1 ] label_filename: "1/labels.txt" },

    Good:

        { name: "label" data_type: TYPE_STRING dims: [ -1 ] },
    """
    for index, output in enumerate(model.outputs):
        if model.config.output[index].label_filename and output.data_type in _WITHOUT_CLASSES:
            place = model.place(model.marks.at("output", index).at("label_filename"))
            what = f"output `{output.name}` has labels but is {output.data_type}"
            yield Problem(place, what, "name them at the output with the scores, or remove `label_filename`")


@LABELS.rule("LAB002", Severity.WARNING)
def labels_and_dims_differ(model: Model) -> Iterator[Problem]:
    """A label file does not have one line for each element of its output.

    Triton gives the line whose number is the element's: classes without a line have no label, and where a line is
    missing in between all that follow are those of others.

    Bad with `sentiment_model/labels.txt`:

        negative
    """
    for index, output in enumerate(model.outputs):
        filename = model.config.output[index].label_filename
        lines = _lines(model.file(filename)) if filename else None
        if lines is not None and output.dims and -1 not in output.dims and lines != math.prod(output.dims):
            what = f"{lines} labels for the {math.prod(output.dims)} elements of output `{output.name}`"
            yield Problem(Place(model.file(filename)), what, "write one label a line, in the order of the elements")


def _lines(file: Path) -> int | None:
    """How many labels core reads of a file; None where it cannot be read."""
    try:
        text = file.read_bytes()
    except OSError:
        return None
    return text.count(b"\n") + (not text.endswith(b"\n") and text != b"")
