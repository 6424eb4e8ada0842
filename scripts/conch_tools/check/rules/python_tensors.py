"""Rules about the tensors that a model.py names, compared with those of the configuration."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from conch_tools.check.adaptors import Adaptor, adaptors
from conch_tools.check.findings import Problem, Severity, closest, cure_for_name, listed
from conch_tools.check.rulebook import Rulebook
from conch_tools.check.sources.source import argument

ADAPTORS = Rulebook[Adaptor](adaptors)

_CONFIG_BY_NAME = ("get_input_config_by_name", "get_output_config_by_name")


@ADAPTORS.rule("PYT001", Severity.ERROR)
def reads_unknown_input(adaptor: Adaptor) -> Iterator[Problem]:
    """A model.py reads an input that the model does not have.

    It gets None instead of a tensor, and every request fails when it is used.

    Bad in `embed/1/model.py`:

        texts = pb_utils.get_input_tensor_by_name(request, "txet").as_numpy()

    Good:

        texts = pb_utils.get_input_tensor_by_name(request, "text").as_numpy()
    """
    known = {*adaptor.inputs, *adaptor.provided}
    for use in adaptor.facts.tensors.reads if adaptor.inputs else ():
        for name in sorted((use.names or frozenset()) - known):
            meant = closest(name, _never_read(adaptor))
            conditional = any(isinstance(node, ast.If | ast.IfExp) for node in adaptor.source.around(use.node))
            if adaptor.facts.tensors.may_be_absent(use.node) or (meant is None and conditional):
                continue
            cure = f"did you mean `{meant}`?" if meant else f"the inputs are {listed(adaptor.inputs)}"
            what = f"input `{name}` is not in {adaptor.named}"
            yield Problem(adaptor.source.place(use.node), what, cure)


@ADAPTORS.rule("PYT002", Severity.ERROR)
def makes_unknown_output(adaptor: Adaptor) -> Iterator[Problem]:
    """A model.py puts a tensor into its response that is no output of the model.

    Triton leaves out what nobody can ask for, and the output that was meant is missing from the response.

    Bad in `embed/1/model.py`:

        return pb_utils.InferenceResponse([pb_utils.Tensor("embeddings", embedding)])

    Good:

        return pb_utils.InferenceResponse([pb_utils.Tensor("embedding", embedding)])
    """
    known = {*adaptor.outputs, *adaptor.provided}
    for use in adaptor.facts.tensors.answered if adaptor.outputs else ():
        for name in sorted((use.names or frozenset()) - known):
            cure = cure_for_name(name, adaptor.outputs, f"the outputs are {listed(adaptor.outputs)}")
            yield Problem(adaptor.source.place(use.node), f"output `{name}` is not in {adaptor.named}", cure)


@ADAPTORS.rule("PYT003", Severity.WARNING)
def input_never_read(adaptor: Adaptor) -> Iterator[Problem]:
    """A model.py never reads an input of its model.

    Callers must send it all the same, and nothing depends on it.

    Bad in `likeness/config.pbtxt`:

        input [
          { name: "language" data_type: TYPE_STRING dims: [ 1 ] },

    Good:

        input [
    """
    model = adaptor.single
    if model is None or not adaptor.facts.tensors.reads_are_known:
        return
    strangers = _strangers(adaptor)
    for index, tensor in enumerate(model.inputs):
        if tensor.name and tensor.name in _never_read(adaptor) and closest(tensor.name, strangers) is None:
            what = f"{adaptor.source.file.name} never reads input `{tensor.name}`"
            yield Problem(model.place(model.marks.at("input", index)), what, "remove it, or read it")


@ADAPTORS.rule("PYT004", Severity.WARNING)
def output_never_made(adaptor: Adaptor) -> Iterator[Problem]:
    """A model.py never makes an output of its model.

    Callers that ask for it, and steps of an ensemble that wait for it, get a response without it.

    Bad in `embed/config.pbtxt`:

        output { name: "embedding" data_type: TYPE_FP32 dims: [ 2 ] }
        output { name: "size" data_type: TYPE_INT32 dims: [ 1 ] }

    Good:

        output { name: "embedding" data_type: TYPE_FP32 dims: [ 2 ] }
    """
    model = adaptor.single
    if model is None or not adaptor.facts.tensors.answers_are_known:
        return
    made = {name for use in adaptor.facts.tensors.made for name in use.names or ()}
    strangers = made - {tensor.name for tensor in model.outputs}
    for index, tensor in enumerate(model.outputs):
        if tensor.name and tensor.name not in made and closest(tensor.name, strangers) is None:
            what = f"{adaptor.source.file.name} never makes output `{tensor.name}`"
            yield Problem(model.place(model.marks.at("output", index)), what, "remove it, or put it into the response")


@ADAPTORS.rule("PYT005", Severity.ERROR)
def asks_for_unknown_tensor(adaptor: Adaptor) -> Iterator[Problem]:
    """A model.py looks a tensor up in its configuration that is not there.

    It gets None, and the load fails when its data type is read.

    Bad in `likeness/1/model.py`:

        output = pb_utils.get_output_config_by_name(config, "likelihood")

    Good:

        output = pb_utils.get_output_config_by_name(config, "likeness")
    """
    for function, tensors in zip(_CONFIG_BY_NAME, (adaptor.inputs, adaptor.outputs), strict=True):
        known = {*tensors, *adaptor.provided}
        for call in adaptor.source.calls_of(function) if tensors else ():
            given = argument(call, 1, "name")
            names = adaptor.source.names.texts(given) if given is not None else None
            for name in sorted((names or frozenset()) - known):
                if not adaptor.facts.tensors.may_be_absent(call):
                    cure = cure_for_name(name, tensors, f"there are {listed(tensors)}")
                    what = f"`{function}` asks for `{name}`, which is not in {adaptor.named}"
                    yield Problem(adaptor.source.place(call), what, cure)


@ADAPTORS.rule("PYT006", Severity.ERROR)
def optional_input_taken_for_granted(adaptor: Adaptor) -> Iterator[Problem]:
    """A model.py uses an optional input without looking whether it is there.

    Where a request leaves it out there is None instead of a tensor, and the request fails.

    Bad in `likeness/config.pbtxt`:

        { name: "other" data_type: TYPE_STRING dims: [ 1 ] optional: true }

    Good:

        { name: "other" data_type: TYPE_STRING dims: [ 1 ] }
    """
    model = adaptor.single
    for index, tensor in enumerate(model.inputs if model is not None else ()):
        reads = (use for use in adaptor.facts.tensors.reads if tensor.optional and tensor.name in (use.names or ()))
        for use in reads:
            guarded = any(isinstance(node, ast.If | ast.IfExp) for node in adaptor.source.around(use.node))
            if model is not None and not guarded and not adaptor.facts.tensors.may_be_absent(use.node):
                place = model.place(model.marks.at("input", index).at("optional"))
                used = adaptor.source.where(use.node)
                what = f"input `{tensor.name}` is optional, but {used} uses it as if every request had it"
                yield Problem(place, what, "compare the tensor with None there, or remove `optional`")


@ADAPTORS.rule("PYT007", Severity.WARNING)
def output_of_another_type(adaptor: Adaptor) -> Iterator[Problem]:
    """A model.py makes an output of another data type than the configuration has.

    Callers get a type that they did not expect, and an ensemble refuses to hand it on to a step that declares the
    other.

    Bad in `embed/1/model.py`:

        tensor = pb_utils.Tensor("embedding", embedding.astype(np.float64))
        return pb_utils.InferenceResponse([tensor])

    Good:

        tensor = pb_utils.Tensor("embedding", embedding.astype(np.float32))
        return pb_utils.InferenceResponse([tensor])

    Instead of:

        return pb_utils.InferenceResponse([pb_utils.Tensor("embedding", embedding)])
    """
    for use in adaptor.facts.tensors.answered if not adaptor.shared else ():
        made = adaptor.facts.tensors.data_type(use)
        for name in sorted(use.names or ()) if made is not None else ():
            wanted = adaptor.outputs[name].data_type if name in adaptor.outputs else made
            if made != wanted:
                what = f"output `{name}` is made as {made}, config.pbtxt has {wanted}"
                cure = f"convert the array, or write `data_type: {made}`"
                yield Problem(adaptor.source.place(use.node), what, cure)


@ADAPTORS.rule("PYT008", Severity.WARNING)
def batch_input_not_computed(adaptor: Adaptor) -> Iterator[Problem]:
    """A model in Python has a `batch_input`.

    Backends compute these tensors, as the sizes of the requests in a batch, and the Python backend does not: nothing
    comes.

    Bad in `embed/config.pbtxt`:

        input { name: "text" data_type: TYPE_STRING dims: [ 1 ] }
        batch_input { target_name: "sizes" data_type: TYPE_INT32 source_input: "text" }

    Good:

        input { name: "text" data_type: TYPE_STRING dims: [ 1 ] }
    """
    model = adaptor.single
    if model is not None and model.config.batch_input:
        place = model.place(model.marks.at("batch_input"))
        yield Problem(place, "`batch_input` does nothing here", "remove it: `execute` has the sizes of its requests")


def _never_read(adaptor: Adaptor) -> set[str]:
    read = {name for use in adaptor.facts.tensors.reads for name in use.names or ()}
    return set(adaptor.inputs) - read


def _strangers(adaptor: Adaptor) -> set[str]:
    """Names that are read and are no inputs: misspellings, for which there is a finding already."""
    read = {name for use in adaptor.facts.tensors.reads for name in use.names or ()}
    return read - set(adaptor.inputs)
