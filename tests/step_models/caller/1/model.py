"""A step that asks other models, and tells what it hears."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils

TOO_EARLY = []


class TritonPythonModel:
    def initialize(self, args):
        try:
            ask("mimic", {"do": "echo"}).exec()
        except Exception as problem:
            TOO_EARLY.append(str(problem))

    def execute(self, requests):
        return [self._tell(request) for request in requests]

    def _tell(self, request):
        what = pb_utils.get_input_tensor_by_name(request, "do").as_numpy()[0].decode()
        seen = np.array([json.dumps(CALLS[what](), sort_keys=True)], dtype=np.object_)
        return pb_utils.InferenceResponse([pb_utils.Tensor("seen", seen)])


def ask(model, parameters=None, inputs=None, outputs=("y",), version=-1):
    x = pb_utils.Tensor("x", np.array([[1, 2]], np.float32))
    return pb_utils.InferenceRequest(
        model_name=model,
        model_version=version,
        requested_output_names=list(outputs),
        inputs=[x] if inputs is None else inputs,
        parameters=parameters or {},
        request_id="bls",
        correlation_id=3,
    )


def heard(response):
    if response.has_error():
        return [response.error().message(), int(response.error().code())]
    return {each.name(): [str(each.as_numpy().dtype), each.as_numpy().tolist()] for each in response.output_tensors()}


def stream(do):
    integer = pb_utils.Tensor("x", np.array([1], np.int32))
    return ask("streamer", {"do": do}, [integer])


def text_of(response):
    tensor = pb_utils.get_output_tensor_by_name(response, "seen")
    return heard(response) if tensor is None else json.loads(tensor.as_numpy()[0, 0])


CALLS = {
    "too_early": lambda: TOO_EARLY,
    "echo": lambda: heard(ask("mimic").exec()),
    "request_seen": lambda: text_of(ask("mimic", {"do": "request_seen", "n": 2, "b": True}, outputs=["seen"]).exec()),
    "refused_by_step": lambda: heard(ask("mimic", {"do": "UNAVAILABLE"}).exec()),
    "raising": lambda: heard(ask("mimic", {"do": "plain_error"}).exec()),
    "unknown_model": lambda: heard(ask("nobody").exec()),
    "its_version": lambda: heard(ask("mimic", version=1).exec()),
    "another_version": lambda: heard(ask("mimic", version=2).exec()),
    "unknown_output": lambda: heard(ask("mimic", outputs=["z"]).exec()),
    "wrong_input": lambda: heard(ask("mimic", inputs=[pb_utils.Tensor("x", np.ones((1, 2)))]).exec()),
    "decoupled": lambda: [heard(each) for each in stream("counting").exec(decoupled=True)],
    "decoupled_last_with_flag": lambda: [heard(each) for each in stream("last_with_flag").exec(decoupled=True)],
    "decoupled_wrongly": lambda: heard(stream("counting").exec()),
    "decoupled_of_one": lambda: [heard(each) for each in ask("mimic").exec(decoupled=True)],
}
