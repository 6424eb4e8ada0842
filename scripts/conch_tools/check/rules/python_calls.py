"""Rules about the other models that a model.py asks: they are there, have these tensors, and their errors are seen."""

from __future__ import annotations

from collections.abc import Iterator

from conch_tools.check.adaptors import Adaptor, adaptors
from conch_tools.check.completion import Completed, completed
from conch_tools.check.findings import Problem, Severity, cure_for_name, listed
from conch_tools.check.rulebook import Rulebook
from conch_tools.check.sources.calls import Call

ADAPTORS = Rulebook[Adaptor](adaptors)


@ADAPTORS.rule("PYC001", Severity.ERROR)
def asks_a_missing_model(adaptor: Adaptor) -> Iterator[Problem]:
    """A model.py asks a model that is not in the repository.

    Triton loads it all the same, and every request that needs the other model fails.

    Bad in `likeness/1/model.py`:

        ask = pb_utils.InferenceRequest(
            model_name="embedder", inputs=[pb_utils.Tensor("text", texts)], requested_output_names=["embedding"]
        )

    Good:

        ask = pb_utils.InferenceRequest(
            model_name="embed", inputs=[pb_utils.Tensor("text", texts)], requested_output_names=["embedding"]
        )
    """
    models = adaptor.of.repository.models
    for call in adaptor.facts.calls.made:
        if call.model is not None and call.model not in models:
            own = {model.name for model in adaptor.models}
            cure = cure_for_name(call.model, set(models) - own, "add the model to the repository, or name another")
            yield Problem(adaptor.source.place(call.node), f"model `{call.model}` is not in the repository", cure)


@ADAPTORS.rule("PYC002", Severity.ERROR)
def asks_for_other_tensors(adaptor: Adaptor) -> Iterator[Problem]:
    """A model.py sends another model an input that it does not have, leaves one out, or asks for an unknown output.

    Triton loads both, and every such call fails.

    Bad in `likeness/1/model.py`:

        ask = pb_utils.InferenceRequest(
            model_name="embed", inputs=[pb_utils.Tensor("texts", texts)], requested_output_names=["embedding"]
        )

    Good:

        ask = pb_utils.InferenceRequest(
            model_name="embed", inputs=[pb_utils.Tensor("text", texts)], requested_output_names=["embedding"]
        )
    """
    for call in adaptor.facts.calls.made:
        model = adaptor.of.repository.models.get(call.model or "")
        if model is not None and model.unparsable is None:
            as_loaded = completed(model)
            for what, cure in _faults(call, as_loaded):
                yield Problem(adaptor.source.place(call.node), what, cure)


@ADAPTORS.rule("PYC003", Severity.ERROR)
def wrong_response_checked(adaptor: Adaptor) -> Iterator[Problem]:
    """After a call of another model, an older response is asked whether it is an error.

    An error of the newer call passes unseen: its tensors are missing, and the request fails later with a message that
    does not tell why, or is answered with what is left.

    Bad in `likeness/1/model.py`:

        if first.has_error():
            raise pb_utils.TritonModelException(second.error().message())

    Good:

        if second.has_error():
            raise pb_utils.TritonModelException(second.error().message())
    """
    for fault in adaptor.facts.calls.unchecked:
        if fault.instead is not None:
            what = f"`{fault.instead_of}.has_error()` is asked, but the new response is `{fault.name}`"
            cure = f"did you mean `{fault.name}.has_error()`?"
            yield Problem(adaptor.source.place(fault.instead), what, cure)


@ADAPTORS.rule("PYC004", Severity.WARNING)
def response_never_checked(adaptor: Adaptor) -> Iterator[Problem]:
    """The response of another model is never asked whether it is an error.

    Of a failed call there are no tensors: the request fails with a message about None, and the model's own error is
    lost.

    Bad in `likeness/1/model.py`:

        second = ask_again.exec()

    Good:

        second = ask_again.exec()
        if second.has_error():
            raise pb_utils.TritonModelException(second.error().message())
    """
    for fault in adaptor.facts.calls.unchecked:
        if fault.instead is None:
            what = f"nobody asks `{fault.name}.has_error()` before its tensors are read"
            cure = f"raise TritonModelException({fault.name}.error().message()) where it has one"
            yield Problem(adaptor.source.place(fault.node), what, cure)


def _faults(call: Call, as_loaded: Completed) -> Iterator[tuple[str, str]]:
    """What is wrong with the tensors of a call, each with its cure. No tensors: nothing is known of the model's."""
    known = {tensor.name: tensor for tensor in as_loaded.inputs}
    given = [tensor.name for tensor in as_loaded.outputs]
    strangers = (call.sent or frozenset()) - set(known) if known and not as_loaded.open else frozenset[str]()
    for name in sorted(strangers):
        cure = cure_for_name(name, known, f"its inputs are {listed(known)}")
        yield f"`{call.model}` has no input `{name}`, which is sent", cure
    for name, tensor in known.items():
        if call.sent is not None and name not in call.sent and not tensor.optional and not strangers:
            yield f"`{call.model}` needs input `{name}`, which is not sent", "send it"
    for name in sorted((call.asked_for or frozenset()) - set(given) if given and not as_loaded.open else ()):
        cure = cure_for_name(name, given, f"its outputs are {listed(given)}")
        yield f"`{call.model}` has no output `{name}`, which is asked for", cure
