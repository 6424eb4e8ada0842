"""Rules about the batches that a model.py is given: all rows of a request, and requests of different shapes."""

from __future__ import annotations

from collections.abc import Iterator

from conch_tools.check.adaptors import Adaptor, adaptors
from conch_tools.check.findings import Problem, Severity
from conch_tools.check.repository import Tensor
from conch_tools.check.rulebook import Rulebook

ADAPTORS = Rulebook[Adaptor](adaptors)


@ADAPTORS.rule("PYR008", Severity.WARNING)
def first_row_only(adaptor: Adaptor) -> Iterator[Problem]:
    """Only the first row of an input is used.

    The configuration lets a request have several; the others are dropped without a word, and the response has fewer
    rows than the request.

    Bad in `embed/1/model.py`:

        text = pb_utils.get_input_tensor_by_name(request, "text").as_numpy()[0][0]
        numbers = np.array([[len(text), 1]], dtype=np.float32)

    Good:

        texts = pb_utils.get_input_tensor_by_name(request, "text").as_numpy()
        numbers = np.array([[len(text), 1] for (text,) in texts], dtype=np.float32)
    """
    taken = adaptor.facts.arrays.first_rows
    if (
        taken
        and not adaptor.shared
        and all(_has_rows(adaptor, name) for _, use in taken for name in use.names or ("",))
    ):
        node, use = taken[0]
        names = ", ".join(f"`{name}`" for name in sorted(use.names or ()))
        cure = "answer every row, or allow one only: `max_batch_size: 0` and `dims: [ 1 ]`"
        yield Problem(adaptor.source.place(node), f"only the first row of input {names} is used", cure)


@ADAPTORS.rule("PYR009", Severity.WARNING)
def batch_squeezed_away(adaptor: Adaptor) -> Iterator[Problem]:
    """The dimension of the batch is squeezed away.

    `max_batch_size` allows several rows. A batch of one loses the dimension, a larger one keeps it or cannot be
    squeezed: what comes after is right for one of the two only.

    Bad in `embed/1/model.py`:

        texts = np.squeeze(pb_utils.get_input_tensor_by_name(request, "text").as_numpy(), axis=0)

    Good:

        texts = pb_utils.get_input_tensor_by_name(request, "text").as_numpy()
    """
    for squeeze in adaptor.facts.arrays.squeezed if adaptor.batches and not adaptor.shared else ():
        for name in sorted(squeeze.use.names or ()):
            tensor = adaptor.inputs.get(name)
            if tensor is not None and (squeeze.axis == 0 or len(tensor.dims) > 1 or tensor.dims[:1] != (1,)):
                size = adaptor.models[0].config.max_batch_size
                what = f"the batch of input `{name}` is squeezed away, which can have {size} rows"
                cure = "name the axis that is to go, or go over the rows; for one row at a time set max_batch_size to 1"
                yield Problem(adaptor.source.place(squeeze.node), what, cure)


@ADAPTORS.rule("PYR011", Severity.ERROR)
def ragged_input_joined(adaptor: Adaptor) -> Iterator[Problem]:
    """A ragged input of all requests is joined to one array.

    `allow_ragged_batch` lets the batcher put requests of different shapes together. A model in Python gets each as it
    was sent; to join them fails for all of them as soon as two differ.

    Bad in `likeness/config.pbtxt`:

        { name: "other" data_type: TYPE_STRING dims: [ 1 ] allow_ragged_batch: true }

    Good:

        { name: "other" data_type: TYPE_STRING dims: [ 1 ] }
    """
    model = adaptor.single
    for index, tensor in enumerate(model.inputs if model is not None else ()):
        for call, use in adaptor.facts.arrays.joined if tensor.ragged else ():
            if model is not None and tensor.name in (use.names or ()):
                place = model.place(model.marks.at("input", index).at("allow_ragged_batch"))
                what = f"input `{tensor.name}` is ragged, but {adaptor.source.where(call)} joins it of all requests"
                cure = "pad them to the longest, or answer request by request, or remove `allow_ragged_batch`"
                yield Problem(place, what, cure)


def _has_rows(adaptor: Adaptor, name: str) -> bool:
    """Whether a request can have several rows of an input."""
    tensor: Tensor | None = adaptor.inputs.get(name)
    if tensor is None:
        return False
    return adaptor.batches or (not adaptor.models[0].batches and tensor.dims[:1] not in ((), (1,)))
