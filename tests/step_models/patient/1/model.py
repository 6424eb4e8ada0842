"""A step whose execute is a coroutine, and that waits: for a cancellation, for other models, for another execution."""

import asyncio
import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

PATIENCE_S = 10.0
LOOK_S = 0.01


class TritonPythonModel:
    def initialize(self, args):
        self._seen_of_cancelled = []
        self._put_back = 0

    async def execute(self, requests):
        return [await getattr(self, f"_{json.loads(each.parameters())['do']}")(each) for each in requests]

    async def _until_cancelled(self, request):
        sender, looks = request.get_response_sender(), int(PATIENCE_S / LOOK_S)
        before = [request.is_cancelled(), sender.is_cancelled()]
        (Path(pb_utils.get_model_dir()) / "waiting").touch()
        while not request.is_cancelled() and looks:
            await asyncio.sleep(LOOK_S)
            looks -= 1
        self._seen_of_cancelled.append([before, request.is_cancelled(), sender.is_cancelled()])
        return pb_utils.InferenceResponse([], pb_utils.TritonError("gone", pb_utils.TritonError.CANCELLED))

    async def _told(self, request):
        return answer(self._seen_of_cancelled)

    async def _put_back_twice(self, request):
        if self._put_back < 2:
            self._put_back += 1
            request.set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
            return None
        return answer([self._put_back, request.request_id(), float(x_of(request)[0, 0])])

    async def _asking(self, request):
        found = await asyncio.gather(*(ask(do).async_exec() for do in ("echo", "UNAVAILABLE")))
        return answer([heard(each) for each in found])

    async def _asking_a_stream(self, request):
        return answer([heard(each) for each in await ask("counting", "streamer", np.int32).async_exec(True)])

    async def _raising(self, request):
        raise ValueError("after all that")


def x_of(request):
    return pb_utils.get_input_tensor_by_name(request, "x").as_numpy()


def answer(seen):
    return pb_utils.InferenceResponse([pb_utils.Tensor("seen", np.array([[json.dumps(seen)]], dtype=np.object_))])


def ask(do, model="mimic", dtype=np.float32):
    x = np.array([1], dtype) if model == "streamer" else np.array([[1, 2]], dtype)
    return pb_utils.InferenceRequest(
        model_name=model, requested_output_names=["y"], inputs=[pb_utils.Tensor("x", x)], parameters={"do": do}
    )


def heard(response):
    if response.has_error():
        return [response.error().message(), int(response.error().code())]
    return {each.name(): each.as_numpy().tolist() for each in response.output_tensors()}
