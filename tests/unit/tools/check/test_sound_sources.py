"""Sound models in Python as Triton's users write them, in the shapes that its own examples have: nothing is found."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping

import pytest

from conch_tools.check import Finding

Check = Callable[[Mapping[str, str | bytes]], list[Finding]]

TENSORS = """\
max_batch_size: 8
input [ { name: "a" data_type: TYPE_FP32 dims: [ 4 ] }, { name: "b" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "sum" data_type: TYPE_FP32 dims: [ 4 ] }, { name: "difference" data_type: TYPE_FP32 dims: [ 4 ] } ]
"""
CONFIG = f'backend: "python"\n{TENSORS}dynamic_batching {{ }}\n'
HEAD = """\
import asyncio
import json
import threading

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.model_config = json.loads(args["model_config"])
        sum_config = pb_utils.get_output_config_by_name(self.model_config, "sum")
        self.sum_type = pb_utils.triton_string_to_numpy(sum_config["data_type"])
        self.lock = threading.Lock()

"""
READ = """\
            a = pb_utils.get_input_tensor_by_name(request, "a")
            b = pb_utils.get_input_tensor_by_name(request, "b")
"""
PACK = """\
            total = pb_utils.Tensor("sum", (a.as_numpy() + b.as_numpy()).astype(np.float32))
            difference = pb_utils.Tensor("difference", a.as_numpy() - b.as_numpy())
            responses.append(pb_utils.InferenceResponse(output_tensors=[total, difference]))
"""
ADD_AND_SUBTRACT = f"""\
    def execute(self, requests):
        responses = []
        for request in requests:
{READ}{PACK}        return responses

    def finalize(self):
        print("Cleaning up...")
"""
CALL = """\
            for name in ("add", "subtract"):
                ask = pb_utils.InferenceRequest(
                    model_name=name, requested_output_names=["sum", "difference"], inputs=[a, b]
                )
"""
ASK_IN_TURN = f"""\
    def execute(self, requests):
        responses = []
        for request in requests:
{READ}            tensors = []
{CALL}                answer = ask.exec()
                if answer.has_error():
                    raise pb_utils.TritonModelException(answer.error().message())
                tensors.append(pb_utils.get_output_tensor_by_name(answer, "sum" if name == "add" else "difference"))
            responses.append(pb_utils.InferenceResponse(output_tensors=tensors))
        return responses
"""
ASK_AT_ONCE = f"""\
    async def execute(self, requests):
        responses = []
        for request in requests:
{READ}            waiting = []
{CALL}                waiting.append(ask.async_exec())
            answers = await asyncio.gather(*waiting)
            for answer in answers:
                if answer.has_error():
                    raise pb_utils.TritonModelException(answer.error().message())
            total = pb_utils.get_output_tensor_by_name(answers[0], "sum")
            difference = pb_utils.get_output_tensor_by_name(answers[1], "difference")
            responses.append(pb_utils.InferenceResponse(output_tensors=[total, difference]))
        return responses
"""
ASK_FOR_A_STREAM = f"""\
    def execute(self, requests):
        responses = []
        for request in requests:
{READ}            ask = pb_utils.InferenceRequest(model_name="add", requested_output_names=["sum"], inputs=[a, b])
            total = np.zeros((1, 4), dtype=np.float32)
            for answer in ask.exec(decoupled=True):
                if answer.has_error():
                    raise pb_utils.TritonModelException(answer.error().message())
                if len(answer.output_tensors()) > 0:
                    total += pb_utils.get_output_tensor_by_name(answer, "sum").as_numpy()
            tensors = [pb_utils.Tensor("sum", total), pb_utils.Tensor("difference", total)]
            responses.append(pb_utils.InferenceResponse(output_tensors=tensors))
        return responses
"""
ERROR_OF_ONE = f"""\
    def execute(self, requests):
        responses = []
        for request in requests:
{READ}            error = self.refusal(a, b)
            if error is not None:
                responses.append(pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(error)))
                continue
{PACK}        return responses

    def refusal(self, a, b):
        if a.shape() != b.shape():
            return "the shapes differ"
"""
CANCELLED = f"""\
    def execute(self, requests):
        responses = []
        for request in requests:
            if request.is_cancelled():
                error = pb_utils.TritonError("cancelled", pb_utils.TritonError.CANCELLED)
                responses.append(pb_utils.InferenceResponse(error=error))
            else:
{textwrap.indent(READ + PACK, "    ")}        return responses
"""
BATCHED_BY_HAND = """\
    def execute(self, requests):
        firsts, seconds, sizes = [], [], []
        for request in requests:
            a = pb_utils.get_input_tensor_by_name(request, "a").as_numpy()
            b = pb_utils.get_input_tensor_by_name(request, "b").as_numpy()
            firsts.append(a)
            seconds.append(b)
            sizes.append(a.shape[0])
        total = np.concatenate(firsts, axis=0) + np.concatenate(seconds, axis=0)
        responses, start = [], 0
        for size in sizes:
            part = total[start : start + size]
            tensors = [pb_utils.Tensor("sum", part), pb_utils.Tensor("difference", part)]
            responses.append(pb_utils.InferenceResponse(tensors))
            start += size
        return responses
"""
CHOSEN_BY_PLACE = """\
    def execute(self, requests):
        responses = [None] * len(requests)
        waiting = {}
        for place, request in enumerate(requests):
            a = pb_utils.get_input_tensor_by_name(request, "a").as_numpy()
            b = pb_utils.get_input_tensor_by_name(request, "b").as_numpy()
            if a.shape != b.shape:
                responses[place] = pb_utils.InferenceResponse(error=pb_utils.TritonError("the shapes differ"))
            else:
                waiting[place] = (a, b)
        for place, (a, b) in waiting.items():
            tensors = [pb_utils.Tensor("sum", a + b), pb_utils.Tensor("difference", a - b)]
            responses[place] = pb_utils.InferenceResponse(tensors)
        return responses
"""
ALL_OR_NONE = """\
    def execute(self, requests):
        try:
            return [self.answer(request) for request in requests]
        except Exception as problem:
            return [pb_utils.InferenceResponse(error=pb_utils.TritonError(str(problem))) for _ in requests]

    def answer(self, request):
        with self.lock:
            a = pb_utils.get_input_tensor_by_name(request, "a").as_numpy()
            b = pb_utils.get_input_tensor_by_name(request, "b").as_numpy()
            for attempt in range(3):
                try:
                    return self.packed(a, b)
                except MemoryError:
                    continue
        raise pb_utils.TritonModelException("no memory")

    def packed(self, a, b):
        return pb_utils.InferenceResponse([pb_utils.Tensor("sum", a + b), pb_utils.Tensor("difference", a - b)])
"""
BY_SENDERS = """\
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            a = pb_utils.get_input_tensor_by_name(request, "a").as_numpy()
            b = pb_utils.get_input_tensor_by_name(request, "b").as_numpy()
            if a.shape != b.shape:
                sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
                continue
            tensors = [pb_utils.Tensor("sum", a + b), pb_utils.Tensor("difference", a - b)]
            sender.send(pb_utils.InferenceResponse(tensors), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        return None
"""
ONCE_MORE = """\
    def execute(self, requests):
        return [self.answer(requests[place]) for place in range(len(requests))]

    def answer(self, request):
        a = pb_utils.get_input_tensor_by_name(request, "a").as_numpy()
        b = pb_utils.get_input_tensor_by_name(request, "b").as_numpy()
        if a.sum() < b.sum():
            request.set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
            return None
        return pb_utils.InferenceResponse([pb_utils.Tensor("sum", a + b), pb_utils.Tensor("difference", a - b)])
"""
SOUND = {
    "one response each": ADD_AND_SUBTRACT,
    "other models in turn": ASK_IN_TURN,
    "other models at once": ASK_AT_ONCE,
    "another model's stream": ASK_FOR_A_STREAM,
    "an error for one request": ERROR_OF_ONE,
    "cancelled requests": CANCELLED,
    "joined and split": BATCHED_BY_HAND,
    "by their places": CHOSEN_BY_PLACE,
    "all or none": ALL_OR_NONE,
    "by senders": BY_SENDERS,
    "once more": ONCE_MORE,
}


@pytest.mark.parametrize("body", SOUND.values(), ids=SOUND)
def test_nothing_is_found_in_a_sound_model(check: Check, body: str) -> None:
    step = f'backend: "echo"\n{TENSORS}'
    models = {"add/config.pbtxt": step, "add/1/": "", "subtract/config.pbtxt": step, "subtract/1/": ""}
    assert check({**models, "m/config.pbtxt": CONFIG, "m/1/model.py": HEAD + body}) == []
