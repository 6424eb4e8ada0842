"""Rules about how a model.py answers: one response for each request, in order, with all of its rows."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from conch_tools.check.adaptors import Adaptor, adaptors
from conch_tools.check.findings import Problem, Severity
from conch_tools.check.rulebook import Rulebook
from conch_tools.check.sources.kept import kept_lists

ADAPTORS = Rulebook[Adaptor](adaptors)

_EACH_REQUEST = "go over all requests, and add one response for each to a list that is returned after the loop"


@ADAPTORS.rule("PYR001", Severity.ERROR)
def no_responses(adaptor: Adaptor) -> Iterator[Problem]:
    """`execute` answers nothing.

    It has to return a list with one response for each request, or to send them by response senders; without either
    callers wait until they give up.

    Bad in `embed/1/model.py`:

        [self._answer(request) for request in requests]

    Good:

        return [self._answer(request) for request in requests]
    """
    execute = adaptor.source.execute
    if execute is not None and adaptor.facts.responses.answers_nothing:
        yield Problem(adaptor.source.place(execute), "`execute` neither returns nor sends a response", _EACH_REQUEST)


@ADAPTORS.rule("PYR002", Severity.ERROR)
def first_request_only(adaptor: Adaptor) -> Iterator[Problem]:
    """`execute` answers one request of several.

    Triton's batcher hands over as many requests as wait. When there are fewer responses than requests, all of them
    fail.

    Bad in `likeness/1/model.py`:

        request = requests[0]
        texts.append(pb_utils.get_input_tensor_by_name(request, "text").as_numpy())
        others.append(pb_utils.get_input_tensor_by_name(request, "other").as_numpy())

    Good:

        for request in requests:
            texts.append(pb_utils.get_input_tensor_by_name(request, "text").as_numpy())
            others.append(pb_utils.get_input_tensor_by_name(request, "other").as_numpy())
    """
    if adaptor.is_given_several_requests:
        yield from _one_request(adaptor)


@ADAPTORS.rule("PYR003", Severity.WARNING)
def first_request_only_so_far(adaptor: Adaptor) -> Iterator[Problem]:
    """`execute` answers one request only.

    That works as long as no batcher is configured, since Triton then hands over one at a time; with one, all requests
    of a batch fail.

    Bad in `embed/1/model.py`:

        return [self._answer(requests[0])]

    Good:

        return [self._answer(request) for request in requests]
    """
    if not adaptor.is_given_several_requests:
        yield from _one_request(adaptor)


@ADAPTORS.rule("PYR004", Severity.ERROR)
def response_for_each_row(adaptor: Adaptor) -> Iterator[Problem]:
    """`execute` gives a response for each row, not for each request.

    Triton matches responses and requests by their place in the list: callers get the rows of others, or all requests
    fail because there are more responses than requests.

    Bad in `likeness/1/model.py`:

        for rows in likeness:

    Good:

        for rows in np.split(likeness, ends[:-1]):
    """
    responses = adaptor.facts.responses
    of_joined = responses.one_for_each_joined_row if adaptor.batches else None
    for added in {responses.more_than_requests, responses.one_for_each_row, of_joined}:
        if added is not None and adaptor.decoupled is not True:
            cure = "collect the rows of a request in one tensor, and add one response for each request"
            yield Problem(adaptor.source.place(added), "a response is added for each row, not for each request", cure)


@ADAPTORS.rule("PYR005", Severity.ERROR)
def response_with_earlier_answers(adaptor: Adaptor) -> Iterator[Problem]:
    """A response holds the answers to earlier requests as well.

    Its tensor is made of a list that grows from round to round: each caller gets what belongs to the others before it.

    Bad in `likeness/1/model.py`:

        responses = []
        answered = []
        for rows in np.split(likeness, ends[:-1]):
            answered.append(rows)
            tensor = pb_utils.Tensor("likeness", np.concatenate(answered).astype(self._type))

    Good:

        responses = []
        for rows in np.split(likeness, ends[:-1]):
            tensor = pb_utils.Tensor("likeness", rows.astype(self._type))
    """
    for growing in adaptor.facts.responses.growing if adaptor.decoupled is not True else ():
        what = f"this tensor holds all of `{growing.name}`, which grows with each response"
        cure = f"begin `{growing.name}` anew for each response, or put only what belongs to this one into the tensor"
        yield Problem(adaptor.source.place(growing.node), what, cure)


@ADAPTORS.rule("PYR006", Severity.ERROR)
def decoupled_returns(adaptor: Adaptor) -> Iterator[Problem]:
    """`execute` of a decoupled model returns responses.

    A decoupled model sends its responses, any number of them for each request; the execution fails unless `execute`
    returns None. A return under a condition is not looked at.

    Bad in `embed/config.pbtxt`:

        output { name: "embedding" data_type: TYPE_FP32 dims: [ 2 ] }
        model_transaction_policy { decoupled: true }

    Good:

        output { name: "embedding" data_type: TYPE_FP32 dims: [ 2 ] }
    """
    if not adaptor.decoupled or adaptor.facts.requests.escape:
        return
    for returned in adaptor.facts.responses.returned:
        # A source that serves both kinds of models returns responses in one branch only.
        certain = not isinstance(adaptor.source.parents.get(returned), ast.If)
        answers = isinstance(returned.value, ast.List | ast.ListComp | ast.Name)
        for model in adaptor.models if certain and answers else ():
            place = model.place(model.marks.at("model_transaction_policy"))
            what = f"the model is decoupled, but {adaptor.source.where(returned)} returns responses"
            yield Problem(place, what, "send them by `request.get_response_sender()`, or remove `decoupled: true`")


@ADAPTORS.rule("PYR007", Severity.ERROR)
def stream_without_end(adaptor: Adaptor) -> Iterator[Problem]:
    """A decoupled model never says which response is the last one.

    Callers wait for more, and the request is never let go.

    Bad in `words/1/model.py`:

        sender.send()

    Good:

        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
    """
    execute = adaptor.source.execute
    responses = adaptor.facts.responses
    unknown = adaptor.facts.requests.escape or execute is None
    if adaptor.decoupled and not unknown and responses.sends and not responses.says_final:
        what = "no response is sent with TRITONSERVER_RESPONSE_COMPLETE_FINAL"
        cure = "send it as the `flags` of the last response, or alone"
        yield Problem(adaptor.source.place(execute or adaptor.source.tree), what, cure)


@ADAPTORS.rule("PYR010", Severity.WARNING)
def writes_files(adaptor: Adaptor) -> Iterator[Problem]:
    """A file is written for a request.

    Instances and versions of the model write at the same time and overwrite each other's files, the disk fills, and
    in a container whose file system is read-only every request fails.

    Bad in `embed/1/model.py`:

        np.save("embedding.npy", embedding)
        return pb_utils.InferenceResponse([pb_utils.Tensor("embedding", embedding)])

    Good:

        return pb_utils.InferenceResponse([pb_utils.Tensor("embedding", embedding)])
    """
    for call in adaptor.facts.effects.writes:
        cure = "return it in an output, or log it; for debugging, write on a switch and under a name of its own"
        yield Problem(adaptor.source.place(call), "`execute` writes a file", cure)


@ADAPTORS.rule("PYR012", Severity.WARNING)
def labels_in_the_source(adaptor: Adaptor) -> Iterator[Problem]:
    """The names of classes are written into a model.py.

    They belong to the model that scores the classes: when it is trained or exported again with other classes, or in
    another order, every answer has the wrong name and nothing notices.

    Bad in `likeness/1/model.py`:

        labels = ["unlike", "alike"]
        found = [labels[int(value > 0.5)] for value in likeness.flat]
        responses = []

    Good:

        labels = (Path(pb_utils.get_model_dir()) / "labels.txt").read_text().splitlines()
        found = [labels[int(value > 0.5)] for value in likeness.flat]
        responses = []

    Instead of:

        responses = []
    """
    for node in adaptor.facts.effects.labels:
        what = "the names of classes are written into the source"
        cure = "write them beside the model when it is exported, and read that file, or name it in `label_filename`"
        yield Problem(adaptor.source.place(node), what, cure)


@ADAPTORS.rule("PYR013", Severity.ERROR)
def another_number_of_responses(adaptor: Adaptor) -> Iterator[Problem]:
    """`execute` can return another number of responses than it got requests, or None for one.

    All requests that were handed over together fail then, also those that have a response; a request with None for
    one waits until its caller gives up. An exception that is passed over in silence is the usual reason.

    Bad in `embed/1/model.py`:

        responses = []
        for request in requests:
            try:
                responses.append(self._answer(request))
            except ValueError as problem:
                pb_utils.Logger.log_error(str(problem))
        return responses

    Good:

        responses = []
        for request in requests:
            try:
                responses.append(self._answer(request))
            except ValueError as problem:
                responses.append(pb_utils.InferenceResponse(error=pb_utils.TritonError(str(problem))))
        return responses

    Instead of:

        return [self._answer(request) for request in requests]
    """
    if adaptor.decoupled is True or adaptor.facts.responses.defers:
        return
    for fault in adaptor.facts.rounds.unanswered:
        cause = "after this exception " if fault.caught else ""
        what = f"{cause}a request can be left without a response"
        what += f": `{fault.function}` ends without one" if fault.function else ""
        cure = "answer it as well, where it failed by `pb_utils.InferenceResponse(error=pb_utils.TritonError(...))`"
        yield Problem(adaptor.source.place(fault.node), what, cure)
    for node, name in kept_lists(adaptor.facts.responses):
        what = f"`self.{name}` is never emptied: the responses of earlier executions are returned again"
        yield Problem(adaptor.source.place(node), what, "begin a list of responses in `execute`")


def _one_request(adaptor: Adaptor) -> Iterator[Problem]:
    responses = adaptor.facts.responses
    faults: tuple[tuple[ast.AST | None, str], ...] = (
        (adaptor.facts.requests.first_only, "`execute` looks at the first request only"),
        (responses.returned_in_loop, "`execute` returns in the first round of the loop over the requests"),
        (responses.emptied_in_loop, "the list of responses begins anew with each request, and the last one is left"),
        (adaptor.facts.rounds.cut_short, "`execute` can leave the loop over the requests before all are answered"),
        (adaptor.facts.rounds.one_for_all, "`execute` returns as many responses for one request as for several"),
    )
    for node, what in faults:
        if node is not None and adaptor.decoupled is not True:
            yield Problem(adaptor.source.place(node), what, _EACH_REQUEST)
